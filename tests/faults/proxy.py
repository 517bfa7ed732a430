"""
A bad network: a TCP proxy between a program and its collector, the fault of which can be changed.

A fault is a coroutine function that is given each request as it begins and does to it whatever a
network or a stranger at that address would do.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any, TypeVar
from urllib.parse import urlsplit

import attrs
from processes import SECONDS, own_port

__all__ = [
    "Exchange",
    "Fault",
    "Proxy",
    "answering",
    "cut_answer",
    "cut_request",
    "deaf",
    "delivering_twice",
    "dripping",
    "endless",
    "going",
    "http",
    "late",
    "losing_the_answer",
    "passing",
    "proxy",
    "refusing",
    "silent",
    "swallowing_the_answer",
    "throttling",
]

T = TypeVar("T")


@attrs.define(eq=False)
class Exchange:
    """
    One request, of which the first byte has come.
    """

    proxy: Proxy
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    first: bytes

    async def request(self) -> bytes:
        """
        All of the request.
        """
        head = self.first + await self.reader.readuntil(b"\r\n\r\n")
        lengths = [
            int(line.partition(b":")[2])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length:")
        ]
        body = await self.reader.readexactly(sum(lengths))
        self.proxy.heard.append(head)
        return head + body

    async def forward(self, request: bytes) -> bytes:
        """
        What the collector answers to *request*, once all of that is here.
        """
        host, port = self.proxy.target
        reader, writer = await asyncio.open_connection(host, port)
        try:
            writer.write(request)
            await writer.drain()
            head = await reader.readuntil(b"\r\n\r\n")
            (length,) = (
                int(line.partition(b":")[2])
                for line in head.split(b"\r\n")
                if line.lower().startswith(b"content-length:")
            )
            return head + await reader.readexactly(length)
        finally:
            writer.close()

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()
        self.proxy.said_bytes += len(data)

    async def forever(self) -> None:
        """
        Until the other side gives up, or the proxy is closed.
        """
        with contextlib.suppress(OSError):
            while await self.reader.read(65_536):
                pass

    def reset(self) -> None:
        """
        End the connection as a router does: what is under way is gone, and a RST says so.
        """
        channel = self.writer.get_extra_info("socket")
        channel.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Fault = Callable[[Exchange], Awaitable[None]]


class Proxy:
    """
    A proxy at work.

    Attributes:
        url: Where it listens, also while it refuses.
        connections: How many there have been.
        requests: How many have begun.
        heard: The head of each request that was read to its end.
        said_bytes: How much of its own answers it could get rid of.
    """

    def __init__(self, collector: str, port: int, loop: asyncio.AbstractEventLoop) -> None:
        parts = urlsplit(collector)
        assert parts.hostname is not None
        assert parts.port is not None
        self.target = (parts.hostname, parts.port)
        self.connections = self.requests = self.said_bytes = 0
        self.heard: list[bytes] = []
        self._fault: Fault = passing
        self._loop = loop
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._port = port
        self._do(self._listen())
        self.url = f"http://127.0.0.1:{port}"

    def become(self, fault: Fault) -> None:
        """
        Do *fault* from now on, to every request that begins; what has begun takes its course.
        """
        self._do(self._become(fault))

    def close(self) -> None:
        """
        Be gone; the port is free for a real collector.
        """
        self._do(self._gone())

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(SECONDS)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self._port, backlog=1_000
        )

    async def _gone(self) -> None:
        if self._server is not None:
            # a connection that is accepted as the server closes would be left open by asyncio
            for listening in self._server.sockets:
                self._loop.remove_reader(listening.fileno())
            await asyncio.sleep(0)
            self._server.close()
            self._server = None
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.sleep(0)

    async def _become(self, fault: Fault) -> None:
        self._fault = fault
        if fault is refusing:
            await self._gone()
        elif self._server is None:
            await self._listen()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            while first := await reader.read(1):
                self.requests += 1
                await self._fault(Exchange(self, reader, writer, first))
                if writer.is_closing():
                    return
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the other side, the collector or the proxy has gone
        finally:
            self._writers.discard(writer)
            writer.close()


@contextlib.contextmanager
def proxy(collector: str, port: int | None = None) -> Iterator[Proxy]:
    """
    A proxy before the collector at that address, in a thread of its own; it passes all at first.
    It listens on *port*, an `own_port` of the caller's, or on one that is its own as long as it is.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="proxy", daemon=True)
    thread.start()
    try:
        with contextlib.ExitStack() as stack:
            bad = Proxy(collector, port or stack.enter_context(own_port()), loop)
            stack.callback(bad.close)
            yield bad
    finally:
        asyncio.run_coroutine_threadsafe(_cancel_others(), loop).result(SECONDS)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(SECONDS)
        loop.close()


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


# -- faults: the line -------------------------------------------------------------------------


async def passing(exchange: Exchange) -> None:
    """
    No fault.
    """
    await exchange.say(await exchange.forward(await exchange.request()))


async def refusing(exchange: Exchange) -> None:
    """
    Nobody listens: the port is closed, and so is every connection.
    """
    exchange.reset()  # it came before the port was closed


async def silent(exchange: Exchange) -> None:
    """
    Takes everything and never answers.
    """
    await exchange.forever()


async def deaf(exchange: Exchange) -> None:
    """
    Stops reading, as behind a cable that was pulled.
    """
    await exchange.writer.wait_closed()  # of which the proxy knows: asyncio keeps no task alive


def late(seconds: float) -> Fault:
    """
    Everything arrives, the answers so many *seconds* later.
    """

    async def fault(exchange: Exchange) -> None:
        answer = await exchange.forward(await exchange.request())
        await asyncio.sleep(seconds)
        await exchange.say(answer)

    return fault


def throttling(bytes_per_second: int) -> Fault:
    """
    Reads no faster than that.
    """

    async def fault(exchange: Exchange) -> None:
        while await exchange.reader.read(bytes_per_second // 50):  # noqa: ASYNC110
            await asyncio.sleep(0.02)

    return fault


def cut_request(after_bytes: int) -> Fault:
    """
    Resets the connection after so many bytes of the request.
    """

    async def fault(exchange: Exchange) -> None:
        if after_bytes > 1:
            await exchange.reader.readexactly(after_bytes - 1)
        exchange.reset()

    return fault


def cut_answer(after_bytes: int, *, reset: bool) -> Fault:
    """
    The collector has stored it and answered; of the answer come so many bytes, then the connection
    is reset or, as by a server that goes down, ended.
    """

    async def fault(exchange: Exchange) -> None:
        answer = await exchange.forward(await exchange.request())
        await exchange.say(answer[:after_bytes])
        if reset:
            await asyncio.sleep(0.01)  # a RST overtakes what was sent before it
            exchange.reset()
        else:
            exchange.writer.close()

    return fault


losing_the_answer = cut_answer(0, reset=True)
"""Everything is stored, and nobody is told."""


async def swallowing_the_answer(exchange: Exchange) -> None:
    """
    Everything is stored, and nobody is told nor sees the connection end.
    """
    await exchange.forward(await exchange.request())
    await exchange.forever()


async def delivering_twice(exchange: Exchange) -> None:
    """
    The collector gets every request twice, the second time after the first was answered.
    """
    request = await exchange.request()
    await exchange.forward(request)
    await exchange.say(await exchange.forward(request))


# -- faults: who answers ----------------------------------------------------------------------


def http(status: str, body: bytes = b"", *headers: str) -> bytes:
    """
    An answer as it travels.
    """
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def answering(data: bytes, *, to: Callable[[bytes], bool] = lambda body: True) -> Fault:
    """
    Somebody answers with *data* where the body is one of those, and nothing of it gets to the
    collector; all else passes.
    """

    async def fault(exchange: Exchange) -> None:
        request = await exchange.request()
        if to(request.partition(b"\r\n\r\n")[2]):
            await exchange.say(data)
        else:
            await exchange.say(await exchange.forward(request))

    return fault


def going(data: bytes) -> Fault:
    """
    Somebody answers with *data*, however incomplete, and hangs up.
    """

    async def fault(exchange: Exchange) -> None:
        await exchange.request()
        await exchange.say(data)
        exchange.writer.close()

    return fault


def dripping(data: bytes, *, seconds: float) -> Fault:
    """
    Somebody answers with *data*, a byte every so many *seconds*.
    """

    async def fault(exchange: Exchange) -> None:
        await exchange.request()
        for n in range(len(data)):
            await exchange.say(data[n : n + 1])
            await asyncio.sleep(seconds)

    return fault


def endless(head: bytes, part: bytes, *, max_bytes: int) -> Fault:
    """
    Somebody answers with *head* and then *part* over and over, up to *max_bytes* of it.
    """

    async def fault(exchange: Exchange) -> None:
        await exchange.request()
        await exchange.say(head)
        for _ in range(max_bytes // len(part)):
            await exchange.say(part)

    return fault
