"""
A server on this machine that speaks as the vendors of language models do, and misbehaves on demand.

It writes to its sockets itself, because what matters are the pieces in which bytes come: a chunk
that ends in the midst of a character, a connection that breaks in the midst of a stream, a silence.
What it was asked, it keeps byte by byte.

Each `Case` has an address of its own, so that what one test does is not seen by another:

```python
with serving() as server:
    case = server.case(Behaviour.CUT)
    OpenAI(base_url=f"{case.url}/v1", ...)
    case.received
```
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import gzip
import itertools
import json
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import attrs
from formats import SILENT_FRAMES, Format, format_of
from processes import SECONDS

__all__ = ["Behaviour", "Case", "Received", "VendorServer", "serving"]

PACE_SECONDS = 0.05
"""Between two pieces of a slow stream."""

RETRY_AFTER_MS = 20
"""After how long a refused client may try again."""


class Behaviour(enum.Enum):
    """
    What the server does with a request.
    """

    GOOD = "good"
    """It answers, with a stream where one is asked for: each frame is a chunk."""

    SPLIT = "split"
    """As GOOD, in chunks of 7 bytes: they end within lines and within characters."""

    JOINED = "joined"
    """As GOOD, all frames in one chunk."""

    STEPS = "steps"
    """As GOOD, but each chunk is sent only when `Case.step` is called."""

    SLOW = "slow"
    """As GOOD, with a while between two chunks."""

    GZIP = "gzip"
    """As GOOD, compressed, whatever was asked for."""

    TOOLS = "tools"
    """As GOOD; the model asks for tools to be called."""

    REFUSED = "refused"
    """400, with the vendor's words."""

    UNAUTHORIZED = "unauthorized"
    """401, with the vendor's words."""

    BUSY_ONCE = "busy_once"
    """429 with Retry-After, then GOOD."""

    BROKEN = "broken"
    """500, with the vendor's words."""

    CUT = "cut"
    """The connection breaks after half of the frames, or half of the body."""

    ERROR_IN_STREAM = "error_in_stream"
    """After half of the frames comes one that says what went wrong, and the stream is over."""

    MALFORMED = "malformed"
    """200, and half of the JSON, as if that were all."""

    SILENT = "silent"
    """It never answers."""


@attrs.frozen
class Received:
    """
    A request as it came.

    Attributes:
        connection: Which of the case's connections it came by: 0, 1 ...
        method: POST ...
        target: Path and query, without what makes it the case's.
        headers: As they were written, in order.
        body: The bytes.
    """

    connection: int
    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


@attrs.define(eq=False)
class Case:
    """
    An address, what the server does there, and what became of it.

    Attributes:
        behaviour: What it does.
        url: Where; without a path that belongs to the vendor.
        received: All requests.
        sent: Of each chunk of a stream, when it was about to be written (ns since the epoch).
        over: Set once a stream is over, however it ended.
        hung_up: Set once the client has closed its connection before the answer was complete.
    """

    behaviour: Behaviour
    url: str
    _loop: asyncio.AbstractEventLoop
    received: list[Received] = attrs.field(factory=list)
    sent: list[int] = attrs.field(factory=list)
    over: threading.Event = attrs.field(factory=threading.Event)
    hung_up: threading.Event = attrs.field(factory=threading.Event)
    steps: asyncio.Semaphore = attrs.field(factory=lambda: asyncio.Semaphore(0))
    connections: list[object] = attrs.field(factory=list)

    def step(self, chunks: int = 1) -> None:
        """
        Let the next chunk go; from any thread.
        """
        for _ in range(chunks):
            self._loop.call_soon_threadsafe(self.steps.release)


@attrs.frozen
class Answer:
    """
    What is written: a body, or the chunks of a stream.
    """

    status: int = 200
    headers: Sequence[tuple[str, str]] = ()
    content_type: str = "application/json"
    body: bytes = b""
    chunks: Sequence[bytes] | None = None
    cut: bool = False


REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found",
           429: "Too Many Requests", 500: "Internal Server Error"}  # fmt: skip


def answer(behaviour: Behaviour, format_: Format, asked: Any, target: str, before: int) -> Answer:
    """
    What the vendor says to a request.

    Args:
        behaviour: How it behaves.
        format_: The vendor's way to write.
        asked: The JSON of the request.
        target: Path and query of the request.
        before: How many requests there have been before.
    """
    model = format_.model(target, asked)
    headers = [(format_.request_id_header, "req_0123")] if format_.request_id_header else []
    status = {
        Behaviour.REFUSED: 400, Behaviour.UNAUTHORIZED: 401, Behaviour.BROKEN: 500,
        Behaviour.BUSY_ONCE: 200 if before else 429,
    }.get(behaviour, 200)  # fmt: skip
    if status != 200:
        if status == 429:
            headers += [("retry-after-ms", str(RETRY_AFTER_MS)), ("Retry-After", "1")]
        return Answer(status, headers, body=format_.error(status))
    tools = behaviour is Behaviour.TOOLS
    if not format_.streams(target, asked):
        body = _json(format_.tools_body(model) if tools else format_.body(model))
        if behaviour is Behaviour.MALFORMED:
            body = body[: len(body) // 2]
        if behaviour is Behaviour.GZIP:
            headers.append(("Content-Encoding", "gzip"))
            body = gzip.compress(body)
        return Answer(200, headers, body=body, cut=behaviour is Behaviour.CUT)
    frames = format_.tools_frames(model, asked) if tools else format_.frames(model, asked)
    if behaviour in (Behaviour.CUT, Behaviour.ERROR_IN_STREAM, Behaviour.MALFORMED):
        frames = frames[: len(frames) // 2]
    if behaviour is Behaviour.ERROR_IN_STREAM:
        frames = [*frames, format_.error_frame()]
    if behaviour is Behaviour.MALFORMED:
        frames = [*frames, format_.broken_frame()]
    whole = b"".join(frames)
    if behaviour is Behaviour.GZIP:
        headers.append(("Content-Encoding", "gzip"))
        whole = gzip.compress(whole)
        frames = [whole[:40], whole[40:]]
    elif behaviour is Behaviour.SPLIT:
        frames = [whole[start : start + 7] for start in range(0, len(whole), 7)]
    elif behaviour is Behaviour.JOINED:
        frames = [whole]
    cut = behaviour is Behaviour.CUT
    return Answer(200, headers, format_.stream_type, chunks=frames, cut=cut)


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


class VendorServer:
    """
    The server, at work on a thread of its own.
    """

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._cases: dict[str, Case] = {}
        self._numbers = itertools.count(1)
        self._server: asyncio.Server | None = None
        self.url = ""

    def case(self, behaviour: Behaviour = Behaviour.GOOD) -> Case:
        """
        A new address where the server behaves so.
        """
        name = f"case-{next(self._numbers)}"
        self._cases[name] = Case(behaviour, f"{self.url}/{name}", self._loop)
        return self._cases[name]

    def run(self, started: threading.Event) -> None:
        """
        Serve until `stop`.
        """

        async def start() -> None:
            # each chunk of a stream has to leave at once: asyncio turns Nagle's algorithm off
            self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
            host, port = self._server.sockets[0].getsockname()
            self.url = f"http://{host}:{port}"
            started.set()

        self._loop.run_until_complete(start())
        self._loop.run_forever()
        self._loop.run_until_complete(self._close())
        self._loop.close()

    def stop(self) -> None:
        """
        From any thread.
        """
        self._loop.call_soon_threadsafe(self._loop.stop)

    async def _close(self) -> None:
        assert self._server is not None
        self._server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = object()
        read_ahead = b""
        try:
            while True:
                head = read_ahead + await reader.readuntil(b"\r\n\r\n")
                case, received = await self._receive(head, reader, connection)
                read_ahead = await self._answer(case, received, reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, _HungUpError, _CutError):
            pass
        except asyncio.CancelledError:
            pass  # the server stops; asyncio's own callback does not bear a task that was cancelled
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _receive(
        self, head: bytes, reader: asyncio.StreamReader, connection: object
    ) -> tuple[Case, Received]:
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        pairs = (line.split(": ", 1) for line in lines if line)
        headers = tuple((name, value) for name, value in pairs)
        length = next(
            (int(value) for name, value in headers if name.lower() == "content-length"), 0
        )
        body = await reader.readexactly(length)
        name, slash, rest = target.removeprefix("/").partition("/")
        case = self._cases[name]
        if connection not in case.connections:
            case.connections.append(connection)
        number = case.connections.index(connection)
        return case, Received(number, method, slash + rest, headers, body)

    async def _answer(
        self,
        case: Case,
        received: Received,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bytes:
        """
        Returns:
            What was read of the next request.
        """
        before = len(case.received)
        case.received.append(received)
        watch = asyncio.create_task(reader.read(1))
        try:
            if case.behaviour is Behaviour.SILENT:
                await watch
                raise _HungUpError
            path = received.target.partition("?")[0]
            asked = json.loads(received.body)
            format_ = format_of(path, str(asked.get("model")))
            told = answer(case.behaviour, format_, asked, received.target, before)
            await self._write(case, told, watch, writer)
        except (_HungUpError, ConnectionError):
            case.hung_up.set()
            raise
        finally:
            case.over.set()
            watch.cancel()
            await asyncio.wait({watch})
        return b"" if watch.cancelled() else watch.result()

    async def _write(
        self,
        case: Case,
        told: Answer,
        watch: asyncio.Task[bytes],
        writer: asyncio.StreamWriter,
    ) -> None:
        headers = [("Content-Type", told.content_type), *told.headers]
        if told.chunks is None:
            headers.append(("Content-Length", str(len(told.body))))
        else:
            headers.append(("Transfer-Encoding", "chunked"))
        head = f"HTTP/1.1 {told.status} {REASONS[told.status]}\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in headers) + "\r\n"
        if told.chunks is None:
            body = told.body[: len(told.body) // 2] if told.cut else told.body
            writer.write(head.encode() + body)
            await writer.drain()
        else:
            writer.write(head.encode())
            for number, chunk in enumerate(told.chunks):
                if case.behaviour is Behaviour.STEPS:
                    await self._unless_hung_up(case.steps.acquire(), watch)
                elif case.behaviour is Behaviour.SLOW and number:
                    await self._unless_hung_up(asyncio.sleep(PACE_SECONDS), watch)
                case.sent.append(time.time_ns())
                # whether the end comes with the last chunk decides in some clients whether the
                # connection is used again: here it always does
                end = b"0\r\n\r\n" if number == len(told.chunks) - 1 and not told.cut else b""
                writer.write(b"%x\r\n%b\r\n%b" % (len(chunk), chunk, end))
                await writer.drain()
                if chunk in SILENT_FRAMES:
                    case.step()
        if told.cut:
            raise _CutError

    async def _unless_hung_up(self, waited_for: Any, watch: asyncio.Task[bytes]) -> None:
        waiting = asyncio.ensure_future(waited_for)
        try:
            await asyncio.wait({waiting, watch}, return_when=asyncio.FIRST_COMPLETED)
            if watch.done():
                raise _HungUpError
        finally:
            waiting.cancel()


class _HungUpError(Exception):
    """
    The client has closed the connection.
    """


class _CutError(Exception):
    """
    The server closes it.
    """


@contextlib.contextmanager
def serving() -> Iterator[VendorServer]:
    """
    A server at work.
    """
    server = VendorServer()
    started = threading.Event()
    thread = threading.Thread(target=server.run, args=(started,), name="vendor", daemon=True)
    thread.start()
    assert started.wait(SECONDS)
    try:
        yield server
    finally:
        server.stop()
        thread.join()
