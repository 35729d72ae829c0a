#!/usr/bin/env python3
"""The HTTP server of docs/examples, with curl, and with clients that send what curl never would.

Usage: example_http.py <build directory> [case...]
"""

import os
import re
import signal
import time
from contextlib import contextmanager

from example_servers import Directory, Peer, Server, call, expect, expect_in, main, program, tool, until

HELLO = "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"


def http(build, *options):
    return Server([program(build, "http_server"), "--port", "0", *options])


@contextmanager
def site():
    """A directory with files, and one outside of it."""
    with Directory() as above:
        root = os.path.join(above, "root")
        os.makedirs(os.path.join(root, "sub"))
        files = {"root/index.html": b"<p>index", "root/a b.txt": b"spaced", "root/empty": b"", "secret": b"secret",
                 "root/large": os.urandom(3_000_001), "root/sub/index.html": b"<p>sub"}
        for name, data in files.items():
            with open(os.path.join(above, name), "wb") as file:
                file.write(data)
        os.symlink("../secret", os.path.join(root, "link"))
        os.mkfifo(os.path.join(root, "fifo"))
        yield root, files


def curl(server, path, *options, stdin=""):
    """(exit status of curl, body, status code)"""
    status, out, error = call([tool("curl", "curl"), "-sS", "--max-time", "20", "-w", "\n%{http_code}", *options,
                               f"http://127.0.0.1:{server.port}{path}"], stdin)
    body, _, code = out.rpartition("\n")
    return status, body, int(code or 0), error


def response(peer):
    """(status, headers with names in lower case, body) of one answer."""
    first, *lines = peer.receive_until(b"\r\n\r\n").decode().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    return int(first.split()[1]), headers, peer.receive_exactly(int(headers.get("content-length", 0)))


def routes(build):
    with http(build) as server:
        expect(curl(server, "/hello")[:3], (0, "hello\n", 200), "GET")
        expect(curl(server, "/hello?x=y")[1:3], ("hello\n", 200), "GET with a query")
        expect(curl(server, "/hello", "--http1.0")[1:3], ("hello\n", 200), "HTTP/1.0")
        expect(curl(server, "/echo", "-d", "some text")[1:3], ("some text", 200), "POST")
        expect(curl(server, "/echo")[2], 405, "GET of what can be posted to")
        expect(curl(server, "/nothing")[2], 404, "what does not exist")
        expect(curl(server, "/hello", "-X", "BREW")[2], 501, "a method that nobody knows")
        large = "x" * 1_000_000
        expect(curl(server, "/echo", "-H", "Expect: 100-continue", "-d", "@-", stdin=large)[1:3], (large, 200),
               "a large body, after 100 Continue")
        expect(curl(server, "/echo", "-H", "Expect:", "-d", "@-", stdin=large + large)[2], 413, "too large a body")
        expect(curl(server, "/echo", "-H", "Transfer-Encoding: chunked", "-d", "x")[2], 501, "a chunked body")
        status, out, _ = call([tool("curl", "curl"), "-sSI", f"http://127.0.0.1:{server.port}/hello"])
        expect((status, "Content-Length: 6" in out, "hello" in out), (0, True, False), "HEAD")


def files(build):
    with site() as (root, wanted), http(build, "--root", root) as server:
        for path, name in {"/": "index.html", "/index.html": "index.html", "/sub": "sub/index.html",
                           "/a%20b.txt": "a b.txt", "/empty": "empty", "/sub/../empty": "empty"}.items():
            expect(curl(server, path, "--path-as-is")[1:3], (wanted["root/" + name].decode(), 200), path)
        for path in ("/../secret", "/%2e%2e/secret", "/sub/../../secret", "/link", "/fifo", "/a%00", "/nothing", "//etc/passwd",
                     "/empty/", "/" + "x" * 5000):
            expect(curl(server, path, "--path-as-is")[2], 404, path[:30])
        with Directory() as place:
            target = os.path.join(place, "large")
            expect(curl(server, "/large", "-o", target)[0], 0, "a large file")
            with open(target, "rb") as file:
                expect(file.read() == wanted["root/large"], True, "its content")
        with Peer(server.port) as peer:
            peer.send(HELLO.replace("GET /hello", "HEAD /large") + HELLO)
            head = peer.receive_until(b"\r\n\r\n").decode()
            expect_in("Content-Length: 3000001", head, "HEAD of a file")
            expect(response(peer)[2], b"hello\n", "the next answer follows at once")


def keep_alive(build):
    with http(build) as server:
        url = f"http://127.0.0.1:{server.port}/hello"
        status, out, error = call([tool("curl", "curl"), "-sSv", url, url, url])
        expect((status, out, error.count("Re-using existing connection")), (0, "hello\n" * 3, 2), "three on one connection")
        with Peer(server.port) as peer:
            peer.send("GET /hello HTTP/1.0\r\n\r\n")
            expect(response(peer)[1]["connection"], "close", "HTTP/1.0")
            expect(peer.all(), b"", "and then the end")
        with Peer(server.port) as peer:
            peer.send(HELLO.replace("x\r\n", "x\r\nConnection: close\r\n", 1))
            expect(response(peer)[2], b"hello\n", "the last answer")
            expect(peer.all(), b"", "and then the end")


def pipelining(build):
    with http(build) as server, Peer(server.port) as peer:
        post = "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabc"
        peer.send((HELLO + post) * 500)
        for _ in range(500):
            expect([response(peer)[2], response(peer)[2]], [b"hello\n", b"abc"], "the answers, in order")
        for byte in HELLO:
            peer.send(byte)
        expect(response(peer)[2], b"hello\n", "one that comes byte by byte")
        peer.send("\r\n" + HELLO.replace("\r\n", "\n"))
        expect(response(peer)[2], b"hello\n", "an empty line before, and ends without \\r")


def refusals(build):
    long = "x" * 9000
    cases = {
        f"GET /{long} HTTP/1.1\r\n": 414,
        f"GET / HTTP/1.1\r\nHost: x\r\nA: {long}\r\n" + f"B: {long}\r\n" * 4: 431,
        "GET / HTTP/1.1\r\nHost: x\r\n" + "a:\r\n" * 20_000: 431,
        "nonsense\r\n": 400,
        "GET  HTTP/1.1\r\n": 400,
        "GET / FTP/1.1\r\n": 400,
        "GET / HTTP/2.0\r\n": 505,
        "GET / HTTP/1.1\r\n\r\n": 400,  # no host
        "GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n": 400,
        "GET / HTTP/1.1\r\nHost : x\r\n\r\n": 400,
        "GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n": 400,
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd": 400,
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: -3\r\n\r\n": 400,
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3x\r\n\r\n": 400,
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n": 413,
        "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n": 501,
    }
    with http(build) as server:
        for sent, status in cases.items():
            with Peer(server.port) as peer:
                peer.send(sent)
                got, headers, _ = response(peer)
                expect((got, headers["connection"]), (status, "close"), f"the answer to {sent[:60]!r}")
                peer.send(HELLO)
                expect(peer.all(), b"", f"nothing more behind {sent[:60]!r}")
        expect(curl(server, "/hello")[1], "hello\n", "others are served")


def slow_clients(build):
    """Those who send, or take, too slowly are let go; meanwhile others are served."""
    with site() as (root, _), http(build, "--patience", "3", "--root", root) as server, \
            Peer(server.port) as loris, Peer(server.port) as silent, Peer(server.port) as half, \
            Peer(server.port, receive_buffer=4096) as deaf:
        until(lambda: server.connections() == 4, "all four are there")
        half.send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
        for _ in range(20):
            deaf.send(HELLO.replace("/hello", "/large"))
        start, ended = time.monotonic(), False
        loris.send("GET /hello HTTP/1.1\r\n")
        while not ended and time.monotonic() < start + 20:
            try:
                loris.send("a: b\r\n")
            except OSError:
                ended = True
            expect(curl(server, "/hello")[1], "hello\n", "meanwhile others are served")
            time.sleep(0.1)
        expect(ended, True, "one who sends a line now and then is let go")
        expect(silent.all(), b"", "one who says nothing gets no answer")
        expect(response(half)[0], 408, "one who stops in the middle of a body is told")
        until(lambda: server.connections() == 0, "the one who takes nothing is let go, too")


def resets(build):
    with site() as (root, _), http(build, "--root", root) as server:
        for sent in ("", "GET", HELLO, HELLO.replace("/hello", "/large"), "POST /echo HTTP/1.1\r\nContent-Length: 9\r\n\r\nx"):
            for _ in range(50):
                peer = Peer(server.port)
                peer.send(sent)
                peer.reset()
        expect(curl(server, "/hello")[1], "hello\n", "others are served")
        until(lambda: server.connections() == 0, "no connection is left")
        expect(re.sub(r"listening on .*\n", "", server.output()), "", "what the server says")


def many(build):
    with http(build) as server:
        peers = [Peer(server.port) for _ in range(300)]
        for peer in peers:
            peer.send(HELLO * 3)
        for peer in peers:
            expect([response(peer)[2] for _ in range(3)], [b"hello\n"] * 3, "the answers")
            peer.socket.close()


def stop(build):
    """A signal ends idle connections at once, and lets the running answer come to its end."""
    with site() as (root, wanted), http(build, "--root", root) as server, Peer(server.port) as idle, \
            Peer(server.port, receive_buffer=4096) as busy:
        idle.send(HELLO)
        expect(response(idle)[1]["connection"], "keep-alive", "before the signal")
        busy.send(HELLO.replace("/hello", "/large"))
        busy.receive_until(b"\r\n\r\n")
        server.signal(signal.SIGTERM)
        expect(idle.all(), b"", "an idle connection ends")
        until(lambda: not server.listens(), "no new connections")
        expect(busy.receive_exactly(3_000_001) == wanted["root/large"], True, "the running answer comes whole")
        busy.socket.close()
        expect(server.wait(), 0, "the exit status")


def usage(build):
    server = program(build, "http_server")
    expect(call([server, "--help"])[0], 0, "--help")
    for wrong in (["--port", "70000"], ["--patience", "0"], ["operand"], ["--root"]):
        status, _, error = call([server, *wrong])
        expect((status, "usage:" in error), (2, True), f"the command line {wrong}")
    status, _, error = call([server, "--root", "/no/such/directory"])
    expect((status, "/no/such/directory" in error), (1, True), "a root that is none")


if __name__ == "__main__":
    main("HTTP server", {"routes": routes, "files": files, "keep-alive": keep_alive, "pipelining": pipelining,
                         "refusals": refusals, "slow clients": slow_clients, "resets": resets, "many": many,
                         "stop": stop, "usage": usage})
