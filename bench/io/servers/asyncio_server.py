#!/usr/bin/env python3
"""asyncio's servers, on BufferedProtocol, its fastest interface: Protocol allocates 256 KiB for every recv.

What they do is what protocol.hpp says. All connections read into one buffer, since they answer at once; what a
transport cannot send at once, it copies.
"""
import asyncio
import platform
import sys

LONGEST_HEAD = 8192
BLANK_LINE = b"\r\n\r\n"
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, World!"
BUFFER = memoryview(bytearray(4096))


class Connection(asyncio.BufferedProtocol):
    """Reads nothing while the peer does not read."""

    __slots__ = ("transport",)

    def connection_made(self, transport):
        self.transport = transport

    def get_buffer(self, _):
        return BUFFER

    def pause_writing(self):
        self.transport.pause_reading()

    def resume_writing(self):
        self.transport.resume_reading()


class Echo(Connection):
    __slots__ = ()

    def buffer_updated(self, count):
        self.transport.write(BUFFER[:count])


class Hello(Connection):
    __slots__ = ("begun",)

    def __init__(self):
        self.begun = b""  # a head whose end has not come yet

    def buffer_updated(self, count):
        data = bytes(BUFFER[:count])
        if self.begun:
            data = self.begun + data
        heads = data.count(BLANK_LINE)
        if heads:
            self.transport.write(RESPONSE if heads == 1 else RESPONSE * heads)
        self.begun = b"" if data.endswith(BLANK_LINE) else data[data.rfind(BLANK_LINE) + 4 if heads else 0:]
        if len(self.begun) > LONGEST_HEAD:
            self.transport.close()


async def main(protocol):
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1],
          f"CPython {platform.python_version()}, BufferedProtocol on the default event loop (epoll)", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in ("echo", "http"):
        sys.exit("usage: asyncio_server.py echo|http")
    asyncio.run(main(Echo if sys.argv[1] == "echo" else Hello))
