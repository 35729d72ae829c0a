#!/usr/bin/env python3
"""The examples on Boost.Asio: the Beast server with curl, the TLS server and client with openssl and with each other.

Usage: example_asio.py <build directory> [case...]
"""

import os
import signal
from contextlib import contextmanager

from example_servers import Directory, Peer, Server, call, expect, expect_in, free_port, main, program, tool, until

TLS = "libboost-dev libssl-dev"  # packages without which there are no TLS examples
HELLO = "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"


def http(build, *options):
    return Server([program(build, "beast_server", "libboost-dev"), "--port", "0", *options])


def curl(port, path, *options, stdin="", scheme="http"):
    """(exit status, body, HTTP status)"""
    status, out, _ = call([tool("curl", "curl"), "-sS", "--max-time", "20", "-w", "\n%{http_code}", *options,
                           f"{scheme}://localhost:{port}{path}"], stdin)
    body, _, code = out.rpartition("\n")
    return status, body, int(code or 0)


def response(peer):
    """(status, body) of an answer with a Content-Length."""
    first, *lines = peer.receive_until(b"\r\n\r\n").decode().split("\r\n")
    length = next(int(line.split(": ")[1]) for line in lines if line.lower().startswith("content-length"))
    return int(first.split()[1]), peer.receive_exactly(length)


def routes(build):
    with http(build) as server:
        port = server.port
        expect(curl(port, "/hello"), (0, "hello\n", 200), "GET")
        expect(curl(port, "/hello", "--http1.0"), (0, "hello\n", 200), "HTTP/1.0")
        expect(curl(port, "/echo", "-d", "some text"), (0, "some text", 200), "POST")
        expect(curl(port, "/echo", "-H", "Transfer-Encoding: chunked", "-d", "x"), (0, "x", 200), "a chunked body")
        expect(curl(port, "/nothing")[2], 404, "what does not exist")
        expect(curl(port, "/echo")[2], 405, "GET of what can be posted to")
        large = "x" * 900_000
        expect(curl(port, "/echo", "-H", "Expect:", "-d", "@-", stdin=large), (0, large, 200), "a large body")
        expect(curl(port, "/echo", "-H", "Expect:", "-d", "@-", stdin=large + large)[2], 413, "too large a body")
        status, out, _ = call([tool("curl", "curl"), "-sS", *[f"http://127.0.0.1:{port}/hello"] * 3])
        expect((status, out), (0, "hello\n" * 3), "three on one connection")


def bad_clients(build):
    with http(build, "--patience", "3") as server:
        with Peer(server.port) as peer:
            peer.send(HELLO * 20)
            expect([response(peer) for _ in range(20)], [(200, b"hello\n")] * 20, "pipelined requests")
        with Peer(server.port) as peer:
            peer.send("nonsense\r\n\r\n")
            expect(response(peer)[0], 400, "no HTTP")
        with Peer(server.port) as peer:
            peer.send("GET / HTTP/1.1\r\nX: " + "y" * 20_000 + "\r\n\r\n")
            expect(response(peer)[0], 431, "too long a head")
        with Peer(server.port) as silent, Peer(server.port) as slow:
            slow.send("GET /hel")
            expect([silent.all(), slow.all()], [b"", b""], "who says nothing, or too little, is not waited for")
        with Peer(server.port, receive_buffer=4096) as greedy:
            body = "x" * 1_000_000
            try:
                for _ in range(50):
                    greedy.send(f"POST /echo HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n{body}")
            except OSError:
                pass  # it was given up
            until(lambda: server.connections() == 0, "who takes no answers is given up")
        peers = [Peer(server.port) for _ in range(100)]
        for peer in peers:
            peer.send(HELLO)
            peer.reset()
        until(lambda: server.connections() == 0, "resets leave no descriptor behind")
        expect(curl(server.port, "/hello"), (0, "hello\n", 200), "and it serves on")


def stop(build):
    """Who waits for nothing is ended at once; a request that has begun is answered."""
    for number in (signal.SIGINT, signal.SIGTERM):
        with http(build) as server, Peer(server.port) as idle, Peer(server.port) as busy:
            idle.send(HELLO)
            expect(response(idle), (200, b"hello\n"), "before the stop")
            busy.send("POST /echo HTTP/1.1\r\nContent-Length: 4\r\n\r\nwo")
            until(busy.was_read, "the server has read that")
            server.signal(number)
            expect(idle.all(), b"", "an idle connection ends")
            busy.send("rd")
            expect(response(busy), (200, b"word"), "the request that had begun")
            expect(busy.all(), b"", "and then the end")
            expect(server.wait(10), 0, "the exit status, before any limit")


# --- TLS ---

@contextmanager
def certificates():
    """An authority, and a certificate of it for localhost: a function from a name to the file's path."""
    openssl = tool("openssl", "openssl")
    with Directory() as place:
        def path(name):
            return os.path.join(place, name)
        for command in (
                ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=test authority", "-days", "2",
                 "-keyout", path("ca.key"), "-out", path("ca.pem")],
                ["req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-addext",
                 "subjectAltName=DNS:localhost", "-keyout", path("server.key"), "-out", path("server.csr")],
                ["x509", "-req", "-in", path("server.csr"), "-CA", path("ca.pem"), "-CAkey", path("ca.key"),
                 "-CAcreateserial", "-copy_extensions", "copy", "-days", "2", "-out", path("server.pem")]):
            status, _, error = call([openssl, *command])
            expect((status, error if status else ""), (0, ""), "openssl " + command[0])
        yield path


def tls(build, path, *options):
    return Server([program(build, "tls_server", TLS), "--port", "0", "--certificate", path("server.pem"),
                   "--key", path("server.key"), *options])


def client(build, path, port, text, *options):
    return call([program(build, "tls_client", TLS), "--ca", path("ca.pem"), *options, "localhost", str(port)], text)


def tls_with_openssl(build):
    program(build, "tls_server", TLS)
    openssl = tool("openssl", "openssl")
    with certificates() as path, tls(build, path) as server:
        where = ["-connect", f"127.0.0.1:{server.port}"]
        for version in ("-tls1_2", "-tls1_3"):
            peer = Server([openssl, "s_client", "-quiet", "-verify_return_error", "-CAfile", path("ca.pem"),
                           "-verify_hostname", "localhost", version, *where], ready=r"one\ntwo\n", stdin=True)
            peer.process.stdin.write(b"one\ntwo\n")
            peer.process.stdin.flush()
            with peer:
                pass  # it is ready when both have come back
        expect(call([openssl, "s_client", "-tls1_1", *where])[0], 1, "an old TLS is refused")


def tls_with_each_other(build):
    program(build, "tls_server", TLS)
    with certificates() as path, tls(build, path) as server:
        lines = "".join(f"line {number}\n" for number in range(200))
        expect(client(build, path, server.port, lines)[:2], (0, lines), "what comes back")
        long = "x" * 60_000 + "\n"
        expect(client(build, path, server.port, long)[:2], (0, long), "a long line")
        until(lambda: server.connections() == 0, "all connections are closed")


def tls_client_with_openssl(build):
    program(build, "tls_client", TLS)
    with certificates() as path:
        port = free_port()
        with Server([tool("openssl", "openssl"), "s_server", "-accept", str(port), "-cert", path("server.pem"), "-key",
                     path("server.key"), "-rev"], ready=r"ACCEPT"):
            expect(client(build, path, port, "hello\nabc\n")[:2], (0, "olleh\ncba\n"), "reversed by openssl")


def tls_refusals(build):
    program(build, "tls_client", TLS)
    with certificates() as path, tls(build, path, "--patience", "3") as server:
        status, _, error = client(build, path, server.port, "x\n", "--name", "elsewhere")
        told = f"TLS handshake with localhost:{server.port}: certificate verify failed" in error
        expect((status, told), (1, True), f"another name: {error}")
        status, _, error = call([program(build, "tls_client", TLS), "localhost", str(server.port)], "x\n")
        expect((status, "TLS handshake" in error), (1, True), f"an authority that nobody trusts: {error}")
        port = free_port()
        status, _, error = client(build, path, port, "x\n")
        told = f"connect to localhost:{port}: Connection refused" in error
        expect((status, told), (1, True), f"nobody listens: {error}")
        with Peer(server.port) as silent, Peer(server.port) as plain:
            plain.send(HELLO)
            expect_in(b"", plain.all(), "no TLS")
            expect(silent.all(), b"", "who does not shake hands is not waited for")
        peers = [Peer(server.port) for _ in range(50)]
        for peer in peers:
            peer.reset()
        until(lambda: server.connections() == 0, "resets leave no descriptor behind")
        expect(client(build, path, server.port, "still there\n")[:2], (0, "still there\n"), "and it serves on")
        with Peer(server.port) as silent:
            expect(silent.all(), b"", "a handshake has a limit")


def tls_stop(build):
    program(build, "tls_server", TLS)
    with certificates() as path, tls(build, path) as server:
        with Server([tool("openssl", "openssl"), "s_client", "-CAfile", path("ca.pem"), "-connect",
                     f"localhost:{server.port}"], ready=r"Verify return code: 0 \(ok\)", stdin=True) as peer, \
                Peer(server.port) as silent:
            server.signal(signal.SIGTERM)
            expect(peer.wait(), 0, "openssl hears the farewell")
            silent.socket.close()
            expect(server.wait(), 0, "the exit status")


def usage(build):
    for name, wrong in {"beast_server": ["--port", "x"], "tls_server": ["--port", "0"], "tls_client": ["localhost"]}.items():
        expect(call([program(build, name, TLS), "--help"])[0], 0, f"{name} --help")
        status, _, error = call([program(build, name, TLS), *wrong])
        expect((status, "usage:" in error), (2, True), f"{name} {wrong}")
    status, _, error = call([program(build, "tls_server", TLS), "--certificate", "/nothing", "--key", "/nothing"])
    expect((status, "from /nothing" in error), (1, True), f"certificates that do not exist: {error}")
    status, _, error = call([program(build, "beast_server", TLS), "--host", "192.0.2.1", "--port", "0"])
    expect((status, "listen on 192.0.2.1:0: " in error), (1, True), f"an address of somebody else: {error}")


if __name__ == "__main__":
    main("Boost.Asio examples", {
        "HTTP": routes, "HTTP, bad clients": bad_clients, "HTTP, stop": stop, "TLS server, openssl": tls_with_openssl,
        "TLS, both": tls_with_each_other, "TLS client, openssl": tls_client_with_openssl, "TLS, refusals": tls_refusals,
        "TLS, stop": tls_stop, "usage": usage})
