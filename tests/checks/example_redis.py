#!/usr/bin/env python3
"""The Redis client of docs/examples, with a real redis-server, and with servers that are none.

Usage: example_redis.py <build directory> [case...]
"""

import subprocess
import threading

from example_servers import Fake, Server, call, expect, expect_in, free_port, main, program, tool


def redis_server():
    port = free_port()
    return Server([tool("redis-server", "redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--save", "",
                   "--appendonly", "no", "--daemonize", "no"], ready="Ready to accept connections", port=port)


def redis(build, server, *words, stdin=""):
    """(exit status, standard output without the last line's end, standard error)"""
    status, out, error = call([program(build, "redis"), "--port", str(server.port), *words], stdin)
    return status, out.removesuffix("\n"), error


def commands(build):
    with redis_server() as server:
        for words, shown in [
                (["PING"], "PONG"), (["SET", "k", "v"], "OK"), (["GET", "k"], '"v"'), (["GET", "nothing"], "(nil)"),
                (["SET", "empty", ""], "OK"), (["GET", "empty"], '""'), (["INCR", "n"], "(integer) 1"),
                (["RPUSH", "l", "a", "b \r\n\" \\"], "(integer) 2"),
                (["LRANGE", "l", "0", "-1"], '1) "a"\n2) "b \\x0d\\x0a\\" \\\\"'), (["LRANGE", "no", "0", "-1"], "(empty)"),
                (["EVAL", "return {1, {'x', {}}, false}", "0"],
                 '1) (integer) 1\n2) 1) "x"\n   2) (empty)\n3) (nil)'),
                (["--", "ECHO", "--port"], '"--port"')]:
            expect(redis(build, server, *words)[:2], (0, shown), str(words))
        large = "x" * 100_000
        expect(redis(build, server, "SET", "large", large)[:2], (0, "OK"), "a large value")
        expect(redis(build, server, "GET", "large")[:2], (0, f'"{large}"'), "and back")
        status, out, _ = redis(build, server, "NONSENSE")
        expect((status, out.startswith("(error) ERR unknown command")), (1, True), "a command that is none")
        expect(redis(build, server, "INCR", "k")[0], 1, "an error of the server is an exit status")


def pipelining(build):
    with redis_server() as server:
        status, out, _ = redis(build, server, stdin='set "a key" "two words"\n\nget "a key"\nget a')
        expect((status, out), (0, 'OK\n"two words"\n(nil)'), "lines of standard input")
        count = 20_000
        status, out, _ = redis(build, server, stdin="incr n\n" * count)
        expect((status, out.split("\n")), (0, [f"(integer) {i + 1}" for i in range(count)]), "replies come in order")
        expect(redis(build, server, stdin="ping\nnonsense\nping\n")[0], 1, "one of them is an error")
        status, _, error = redis(build, server, stdin='get "a\n')
        expect((status, "quotes" in error), (1, True), "quotes without an end")


def interactive(build):
    """A reply comes although there may be more lines."""
    with redis_server() as server, Server([program(build, "redis"), "--port", str(server.port)], ready=None, port=server.port,
                                          stdin=True) as client:
        for number in range(1, 4):
            client.process.stdin.write(b"incr n\n")
            client.process.stdin.flush()
            client.await_output(rf"\(integer\) {number}\n")
        client.process.stdin.close()
        expect(client.wait(), 0, "the exit status at the end of standard input")


def subscriptions(build):
    with redis_server() as server, Server([program(build, "redis"), "--port", str(server.port), "SUBSCRIBE", "news", "more"],
                                          ready=r'"more"\n3\) \(integer\) 2') as listening:
        expect(redis(build, server, "PUBLISH", "news", "hello")[1], "(integer) 1", "one listens")
        listening.await_output(r'1\) "message"\n2\) "news"\n3\) "hello"\n')
        server.stop()
        expect(listening.wait(), 1, "the exit status when the server has gone")
        expect_in("127.0.0.1", listening.output(), "what it says then")


def many_clients(build):
    """Clients at once, each pipelining: what they add up to is right."""
    with redis_server() as server:
        results = []
        clients = [subprocess.Popen([program(build, "redis"), "--port", str(server.port)], stdin=subprocess.PIPE,
                                    stdout=subprocess.DEVNULL) for _ in range(5)]
        threads = [threading.Thread(target=lambda c=c: (c.communicate(b"incr sum\n" * 2000, 30), results.append(c.returncode)))
                   for c in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        expect(results, [0] * 5, "the exit statuses")
        expect(redis(build, server, "GET", "sum")[1], '"10000"', "the sum")


def no_server(build):
    """Whatever stands at the other end: a message that says what is wrong, and never a hang or a crash."""
    answers = {b"HTTP/1.1 200 OK\r\n\r\n": "no Redis server", b"+OK": "127.0.0.1", b"": "127.0.0.1",
               b"$5\r\nab": "127.0.0.1", b"$x\r\n": "no number", b"$-2\r\n": "-2 bytes",
               b"$99999999999\r\nx": "99999999999 bytes", b"$2\r\nabcd": "does not end",
               b"*99999999\r\n": "99999999 replies", b"*1\r\n" * 100: "arrays in arrays", b"\r\n": "no Redis server",
               b":99999999999999999999\r\n": "no number", b"+" + b"x" * 100_000: "limit", b"*2\r\n+a\r\n": "127.0.0.1"}
    for answer, said in answers.items():
        with Fake(lambda peer, answer=answer: (peer.receive_until(b"PING\r\n"), peer.send(answer))) as server:
            status, _, error = redis(build, server, "PING")
            expect((status, said in error), (1, True), f"{answer[:30]!r} -> {error!r}")
    with Fake(lambda peer: peer.all()) as silent:
        status, _, error = redis(build, silent, "--timeout", "1", "PING")
        expect((status, "timed out" in error), (1, True), "a server that says nothing")
        status, _, error = redis(build, silent, "--timeout", "1", stdin="ping\n" * 5000)
        expect((status, "timed out" in error), (1, True), "and with many commands under way")
    with Fake(lambda peer: peer.reset()) as resetting:
        status, _, error = redis(build, resetting, stdin="ping\n" * 5000)
        expect((status, "127.0.0.1" in error), (1, True), f"a reset: {error!r}")
    status, _, error = call([program(build, "redis"), "--port", str(free_port()), "PING"])
    expect((status, "refused" in error), (1, True), "nobody there")
    status, _, error = call([program(build, "redis"), "--port", "0", "PING"])
    expect((status, "usage:" in error), (2, True), "a port that cannot be")


if __name__ == "__main__":
    main("Redis client", {"commands": commands, "pipelining": pipelining, "interactive": interactive,
                          "subscriptions": subscriptions, "many clients": many_clients, "no server": no_server})
