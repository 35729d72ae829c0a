#!/usr/bin/env python3
"""The downloader of docs/examples, with the HTTP server of docs/examples, and with servers that fail in every way.

Usage: example_downloader.py <build directory> [case...]
"""

import os
import pty
import re
import signal
import threading
import time

from example_servers import Directory, Fake, Server, Unavailable, call, expect, expect_in, free_port, main, program, until

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


def download(build, place, *arguments, stdin=""):
    """(exit status, {file or URL: (done or FAILED, bytes, tries, what went wrong)}, standard output, standard error)"""
    status, out, error = call([program(build, "downloader"), "--output", place, *arguments], stdin)
    rows = {}
    for verdict, size, tries, what, why in re.findall(r"^(done|FAILED) +(\d+) +(\d+) +[\d.]+  (\S+?)(?:: (.*))?$", out, re.M):
        rows[what] = (verdict, int(size), int(tries), why)
    return status, rows, out, error


def content(place, name):
    with open(os.path.join(place, name), "rb") as file:
        return file.read()


def answering(*steps):
    """A server whose nth connection is answered by the nth step, all later ones by the last: bytes to send, or a
    callable of the peer."""
    count, lock = iter(range(1 << 30)), threading.Lock()

    def act(peer):
        with lock:
            step = steps[min(next(count), len(steps) - 1)]
        peer.receive_until(b"\r\n\r\n")
        if callable(step):
            step(peer)
        else:
            peer.send(step)
    return Fake(act)


def url(server, path="/file"):
    return f"http://127.0.0.1:{server.port}{path}"


def files(build):
    with Directory() as root, Directory() as place:
        wanted = {f"f{number}": os.urandom(number * 5000) for number in range(60)} | {"large": os.urandom(5_000_000)}
        for name, data in wanted.items():
            with open(os.path.join(root, name), "wb") as file:
                file.write(data)
        with Server([program(build, "http_server"), "--port", "0", "--root", root]) as server:
            urls = [url(server, "/" + name) for name in wanted]
            status, rows, out, error = download(build, place, "--jobs", "5", stdin="\n".join(urls) + "\n\n")
        expect((status, error), (0, ""), "the exit status")
        expect(rows, {name: ("done", len(data), 1, "") for name, data in wanted.items()}, "the table")
        expect_in("61 done, 0 failed", out, "the sum")
        expect(out.count("done: http"), 61, "plain lines, since this is no terminal")
        expect(sorted(os.listdir(place)), sorted(wanted), "the files")
        for name, data in wanted.items():
            expect(content(place, name) == data, True, f"the content of {name}")


def names(build):
    with answering(OK) as server, Directory() as place:
        paths = ["/a", "/b/a", "/", "", "/x/..", "/q?x=/y#z", "/a#b", "?z"]
        status, rows, _, _ = download(build, place, *[url(server, path) for path in paths])
        expect((status, sorted(rows), sorted(os.listdir(place))), (0, sorted(os.listdir(place)), sorted(
            ["a", "a.2", "a.2.3", "index.html", "index.html.2", "index.html.2.3", "index.html.2.3.4", "q"])), "the files")


def kinds_of_bodies(build):
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nB;x=y\r\n big world!\r\n0\r\n\r\n"
    for answer, wanted in {chunked: b"hello big world!", b"HTTP/1.0 200 OK\r\n\r\nuntil the end": b"until the end",
                           b"HTTP/1.1 200 OK\r\ncontent-LENGTH:0\r\n\r\n": b""}.items():
        with answering(answer) as server, Directory() as place:
            expect(download(build, place, url(server))[1], {"file": ("done", len(wanted), 1, "")}, str(answer))
            expect(content(place, "file"), wanted, str(answer))


def limit(build):
    """No more at once than were asked for, and not one by one either."""
    now, most, lock, all_there = [0], [0], threading.Lock(), threading.Barrier(4)

    def act(peer):
        peer.receive_until(b"\r\n\r\n")
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        all_there.wait(20)  # four must be here at once
        with lock:
            now[0] -= 1
        peer.send(OK)
    with Fake(act) as server, Directory() as place:
        status, rows, _, _ = download(build, place, "--jobs", "4", *[url(server, f"/{n}") for n in range(40)])
        expect((status, len(rows), most[0]), (0, 40, 4), "forty downloads, four at a time")


def faults(build):
    """What may help is tried again, what cannot is not, and nobody else suffers."""
    def drip(peer):
        peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            peer.send(b"x")
            time.sleep(0.05)

    def break_off(peer):
        peer.send(OK[:-2])
        peer.reset()
    cases = {  # steps: (verdict, tries, what went wrong)
        (b"HTTP/1.1 500 Oh\r\n\r\n", b"HTTP/1.1 429 Slow down\r\n\r\n", OK): ("done", 3, ""),
        (break_off, OK): ("done", 2, ""),
        (OK[:-1], OK): ("done", 2, ""),
        (b"", OK): ("done", 2, ""),
        (lambda peer: peer.all(), OK): ("done", 2, ""),  # hangs
        (drip, OK): ("done", 2, ""),
        (b"HTTP/1.1 503 Never\r\n\r\n",): ("FAILED", 3, "HTTP 503 Never"),
        (lambda peer: peer.reset(),): ("FAILED", 3, "Connection reset"),
        (lambda peer: peer.all(),): ("FAILED", 3, "timed out"),
        (OK[:-3],): ("FAILED", 3, "3 bytes are missing"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe",): ("FAILED", 3, "3 bytes are missing"),
        (b"HTTP/1.1 404 Not \x1bhere\r\n\r\n",): ("FAILED", 1, "HTTP 404 Not here"),
        (b"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n",): ("FAILED", 1, "HTTP 302 Found"),
        (b"SSH-2.0-OpenSSH\r\n",): ("FAILED", 1, "does not speak HTTP/1"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",): ("FAILED", 1, "makes no sense"),
        (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 2000,): ("FAILED", 1, "headers without an end"),
        (b"HTTP/1.1 200 OK\r\na: " + b"b" * 10_000 + b"\r\n\r\n",): ("FAILED", 3, "limit"),
    }
    servers = [answering(*steps) for steps in cases]
    with Directory() as place:
        urls = [url(server, f"/{number}") for number, server in enumerate(servers)]
        status, rows, _, _ = download(build, place, "--jobs", "100", "--timeout", "3", "--retries", "2", *urls)
        expect((status, len(rows)), (1, len(cases)), "the exit status")
        for number, (verdict, tries, why) in enumerate(cases.values()):
            row = rows[str(number) if verdict == "done" else urls[number]]
            expect((row[0], row[2], why in row[3]), (verdict, tries, True), f"case {number}: {row}")
        done = sorted(str(number) for number, wanted in enumerate(cases.values()) if wanted[0] == "done")
        expect(sorted(os.listdir(place)), done, "whole files, and no others")
        expect({content(place, name) for name in done}, {b"hello"}, "their content")
    for server in servers:
        server.__exit__()


def bad_urls(build):
    port = free_port()
    cases = {"https://x/": "not a http", "nonsense": "not a http", "http://": "not a URL", "http://:80/": "not a URL",
             "http://x:y/": "no port", "http://x:99999/": "no port", f"http://127.0.0.1:{port}/": "refused",
             f"http://[::1]:{port}/": "", "http://no-such-host.invalid/": "resolve"}
    with Directory() as place:
        status, rows, _, _ = download(build, place, "--retries", "0", *cases)
        expect((status, len(rows), os.listdir(place)), (1, len(cases), []), "the exit status")
        for bad, why in cases.items():
            expect((rows[bad][0], why in rows[bad][3]), ("FAILED", True), f"{bad}: {rows[bad]}")


def interrupted(build):
    """A signal ends all at once; what is done stays, what is not leaves nothing behind."""
    def act(peer):
        whole = b"/whole" in peer.receive_until(b"\r\n\r\n")
        peer.send(OK if whole else OK[:-2])
        peer.all()
    with Fake(act) as server, Directory() as place:
        urls = [url(server, "/whole"), *[url(server, f"/{number}") for number in range(50)]]
        with Server([program(build, "downloader"), "--output", place, "--jobs", "60", *urls], ready="done: ") as client:
            until(lambda: "49.part" in os.listdir(place), "another one is under way")
            client.signal(signal.SIGINT)
            expect(client.wait(), 1, "the exit status")
            expect_in("1 done, 50 failed", client.output(), "the sum")
            expect(client.output().count(": cancelled"), 50, "those that were cancelled")
        expect(os.listdir(place), ["whole"], "the files")


def progress(build):
    """On a terminal a bar, and the table behind it."""
    try:
        master, slave = pty.openpty()
    except OSError as error:
        raise Unavailable(f"there are no pseudo-terminals (is /dev/pts mounted?): {error}") from None
    with answering(OK) as server, Directory() as place:
        with Server(["sh", "-c", f"exec {program(build, 'downloader')} --output {place} {url(server)} >{os.ttyname(slave)}"],
                    ready="") as client:
            expect(client.wait(), 0, "the exit status")
    shown = os.read(master, 65536).decode()
    os.close(slave)
    os.close(master)
    expect_in("[" + "#" * 40 + "] 1 of 1", shown, "the bar, when all is done")
    expect_in("1 done, 0 failed", shown, "the sum")
    expect("done: " in shown, False, "no plain lines")


def usage(build):
    downloader = program(build, "downloader")
    for wrong in ([], ["--jobs", "0", "http://x"], ["--what", "http://x"], ["--output", "/no/such", "http://x"]):
        status, _, error = call([downloader, *wrong])
        expect((status, "usage:" in error), (2, True), f"the command line {wrong}")
    with answering(OK) as server, Directory() as place:
        os.mkdir(os.path.join(place, "file.part"))
        status, rows, _, _ = download(build, place, url(server))
        expect((status, rows[url(server)][2:]), (1, (1, f"cannot write {place}/file.part")), "a file that cannot be written")


if __name__ == "__main__":
    main("downloader", {"files": files, "names": names, "kinds of bodies": kinds_of_bodies, "limit": limit,
                        "faults": faults, "bad URLs": bad_urls, "interrupted": interrupted, "progress": progress,
                        "usage": usage})
