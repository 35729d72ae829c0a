#!/usr/bin/env python3
"""The chat server of docs/examples, with clients that talk, and with those that do not behave.

Usage: example_chat.py <build directory> [case...]
"""

import signal

from example_servers import Peer, Server, call, expect, expect_in, main, program, until


def chat(build, *options):
    return Server([program(build, "chat_server"), "--port", "0", *options])


def join(server, name, **options):
    peer = Peer(server.port, **options)
    expect(peer.line(), "* nickname?", "the question")
    peer.send(name + "\n")
    expect(peer.line(), f"* {name} has come", "one's own arrival")
    return peer


def talk(build):
    with chat(build) as server, join(server, "ada") as ada, join(server, "bob") as bob:
        expect(ada.line(), "* bob has come", "the other's arrival")
        ada.send("hello\r\nhow are you?\n")
        expect([bob.line(), bob.line()], ["ada: hello", "ada: how are you?"], "what the other hears")
        bob.send("/who\n\x1b[31mfine\n")
        expect(bob.line(), "* here: ada bob", "the list")
        expect(ada.line(), "bob: [31mfine", "control characters are taken out")
        bob.send("/quit\nnobody hears this\n")
        expect(ada.line(), "* bob has left", "the departure")
        expect(bob.all(), b"", "nothing more behind /quit")


def many(build):
    with chat(build) as server:
        peers = [join(server, f"n{number}") for number in range(50)]
        peers[0].send("hear me\n")
        for peer in peers[1:]:
            while peer.line() != "n0: hear me":
                pass
        for peer in peers[1:]:
            peer.reset() if peer.socket.fileno() % 2 else peer.socket.close()
        peers[0].send("/who\n")
        until(lambda: (peers[0].send("/who\n"), peers[0].line())[1] == "* here: n0", "all others have left")
        until(lambda: server.connections() == 1, "their connections are gone")
        peers[0].socket.close()


def bad_names(build):
    with chat(build) as server, join(server, "ada"):
        for name, answer in {"ada": "taken", "": "from 1 to 32", "x" * 33: "from 1 to 32",
                             "x" * 5000: "line too long"}.items():
            with Peer(server.port) as peer:
                peer.line()
                peer.send(name + "\n")
                expect_in(answer, peer.line(), f"the answer to {name[:40]!r}")
                expect(peer.all(), b"", "and then the end")


def oversized(build):
    with chat(build) as server, join(server, "ada") as ada, join(server, "bob") as bob:
        expect(ada.line(), "* bob has come", "the other's arrival")
        bob.send("x" * 1023 + "\n" + "y" * 100_000)
        expect(bob.line(), "* line too long, goodbye", "the answer")
        expect(ada.line(), "bob: " + "x" * 1023, "a line of the greatest length")
        expect(ada.line(), "* bob has left", "and no more of him")


def idle(build):
    with chat(build, "--idle", "3") as server, join(server, "ada") as ada, Peer(server.port) as silent:
        expect(ada.line(), "* idle for too long, goodbye", "one who says nothing")
        expect(ada.all(), b"", "and then the end")
        expect(silent.all(), b"* nickname?\n* idle for too long, goodbye\n", "one who does not even say his name")


def slow_reader(build):
    """One who does not read is dropped when his outbox and the kernel's buffers are full; the others hear everything."""
    with chat(build, "--outbox", "16") as server, join(server, "ada") as ada, \
            join(server, "slow", receive_buffer=4096), join(server, "bob") as bob:
        expect([ada.line(), ada.line()], ["* slow has come", "* bob has come"], "the arrivals")
        text = "x" * 1000
        said, dropped = 0, False
        while not dropped:
            assert said < 100_000, "the slow reader is never dropped"
            ada.send(text + "\n")
            said += 1
            heard = bob.line()
            if heard == "* slow was dropped: does not read":
                dropped, heard = True, bob.line()
            expect(heard, "ada: " + text, "what the other hears")
        expect(ada.line(), "* slow was dropped: does not read", "the speaker hears it, too")
        assert server.memory() < 100 << 20, f"{server.memory()} bytes in memory"
        with join(server, "slow"):
            pass  # the name is free again


def stop(build):
    """A signal ends it at once: everybody hears it, and it does not wait for those who do not react."""
    for number in (signal.SIGINT, signal.SIGTERM):
        with chat(build) as server, join(server, "ada") as ada, Peer(server.port) as nameless:
            expect(nameless.line(), "* nickname?", "the question")
            ada.send("last words\n/who\n")
            expect(ada.line(), "* here: ada", "the list")
            server.signal(number)
            expect(ada.line(), "* the server stops", "the farewell")
            expect(ada.all(), b"", "and then the end")
            ada.socket.close()
            expect(server.wait(), 0, "the exit status")
            expect_in("stopping", server.output(), "what it says")


def usage(build):
    chat_server = program(build, "chat_server")
    expect(call([chat_server, "--help"])[0], 0, "--help")
    for wrong in (["--port", "99999"], ["--port"], ["--port", "x"], ["--nonsense"], ["operand"], ["--outbox=0"]):
        status, _, error = call([chat_server, *wrong])
        expect((status, "usage:" in error), (2, True), f"the command line {wrong}")
    status, _, error = call([chat_server, "--host", "nowhere"])
    expect((status, "nowhere" in error), (1, True), "an address that is none")
    with chat(build) as server:
        status, _, error = call([chat_server, "--port", str(server.port)])
        expect((status, f":{server.port}" in error), (1, True), "a port that is taken")


if __name__ == "__main__":
    main("chat server", {"talk": talk, "fifty at once": many, "bad names": bad_names, "oversized lines": oversized,
                         "idle": idle, "a slow reader": slow_reader, "stop": stop, "usage": usage})
