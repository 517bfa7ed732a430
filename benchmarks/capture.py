"""
What capture adds to a call of a model, and to requests that are none.

A server of its own process answers as OpenAI does, at once: what takes time is the client, httpx
and we. Every figure is of blocks of requests by one client, with and without capture in turn. Where
there is a session, a real collector takes in what it records.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import importlib.util
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import attrs

import asyncops

from .harness import Effort, Figure, Report, figure

sys.path += [str(Path(__file__).parent.parent / "tests")]

from processes import collector

__all__ = ["run"]

CHUNKS = 500
"""Of each streamed answer."""

SERVER = r"""
import asyncio, json

def body(**more):
    told = {"id": "chatcmpl-1", "created": 1, "model": "gpt-4o-mini", **more}
    return json.dumps(told).encode()

usage = {"prompt_tokens": 20, "completion_tokens": 500, "total_tokens": 520}
said = {"role": "assistant", "content": "word " * 500}
whole = body(object="chat.completion", usage=usage, choices=[
    {"index": 0, "message": said, "finish_reason": "stop"}])

def event(data):
    line = b"data: " + data + b"\n\n"
    return b"%x\r\n%b\r\n" % (len(line), line)

def chunk(delta, reason=None):
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return event(body(object="chat.completion.chunk", choices=[choice]))

pieces = [chunk({"content": "word "}) for _ in range(CHUNKS - 2)]
pieces += [chunk({}, "stop"), event(b"[DONE]")]
head = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\n"
plain = head % b"application/json" + b"Content-Length: %d\r\n\r\n" % len(whole) + whole
stream = head % b"text/event-stream" + b"Transfer-Encoding: chunked\r\n\r\n"

async def connected(reader, writer):
    try:
        while True:
            asked = await reader.readuntil(b"\r\n\r\n")
            length = int(asked.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
            if b'"stream":true' in (await reader.readexactly(length)).replace(b" ", b""):
                writer.write(stream)
                for piece in pieces:
                    writer.write(piece)
                writer.write(b"0\r\n\r\n")
            else:
                writer.write(plain)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()

async def main():
    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    print("http://127.0.0.1:%d" % server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
""".replace("CHUNKS", str(CHUNKS))

ASKED = {
    "model": "gpt-4o-mini",
    "messages": [{"role": "user", "content": "Say a word five hundred times."}],
}

NOTE = (
    f"Medians of {{runs}} runs. A stream has {CHUNKS} chunks, written as fast as the server can."
    " In a session each call is recorded whole, and a collector takes it in meanwhile. `cpu` is"
    " processor time of the thread that calls."
)

Call = Callable[[bool], Awaitable[None]]
"""Calls the model once, for a stream or not."""


@contextlib.contextmanager
def _server() -> Iterator[str]:
    with subprocess.Popen(
        [sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.kill()


def _over(package: str, url: str, path: str = "/v1/chat/completions") -> tuple[Any, Call]:
    """
    A client of httpx or httpx2, and how it calls.
    """
    client = importlib.import_module(package).AsyncClient(
        base_url=url, trust_env=False, verify=False
    )

    async def call(stream: bool) -> None:
        if not stream:
            await client.post(path, json=ASKED)
            return
        async with client.stream("POST", path, json={**ASKED, "stream": True}) as answer:
            async for _ in answer.aiter_bytes():
                pass

    return client, call


def _openai(url: str) -> tuple[Any, Call]:
    """
    OpenAI's client, and how it calls.
    """
    client = importlib.import_module("openai").AsyncOpenAI(base_url=f"{url}/v1", api_key="x")

    async def call(stream: bool) -> None:
        answer = await client.chat.completions.create(**ASKED, stream=stream)
        if stream:
            async for _ in answer:
                pass

    return client._client, call


@contextlib.contextmanager
def _bare() -> Iterator[None]:
    asyncops.uninstrument()
    yield


@contextlib.contextmanager
def _installed() -> Iterator[None]:
    asyncops.instrument()
    yield
    asyncops.uninstrument()


@contextlib.contextmanager
def _in_session() -> Iterator[None]:
    with asyncops.session("capture"):
        yield
    asyncops.uninstrument()


async def _milliseconds(call: Call, stream: bool, times: int) -> list[float]:
    """
    What each of some calls took.
    """
    found = []
    for _ in range(times):
        began = time.perf_counter_ns()
        await call(stream)
        found.append((time.perf_counter_ns() - began) / 1e6)
    return found


@attrs.define
class Taken:
    """
    What calls took.

    Attributes:
        milliseconds: Each of them.
        cpu: The thread that calls, by block, milliseconds of processor time for one call.
    """

    milliseconds: list[float] = attrs.field(factory=list)
    cpu: list[float] = attrs.field(factory=list)


async def _taken(call: Call, stream: bool, blocks: int, times: int) -> tuple[Taken, Taken]:
    """
    What calls took without us and in a session, block after block in turn.
    """
    bare, watched = Taken(), Taken()
    for _ in range(blocks):
        for mode, taken in ((_bare, bare), (_in_session, watched)):
            with mode():
                await call(stream)
                began = time.thread_time_ns()
                taken.milliseconds += await _milliseconds(call, stream, times)
                taken.cpu.append((time.thread_time_ns() - began) / 1e6 / times)
    return bare, watched


async def _rate_kept(call: Call, mode: Callable[[], Any], blocks: int, times: int) -> float:
    """
    How many requests per second there are in *mode* for each without us: of many short blocks in
    turn, so that what else the machine does hits both.
    """
    kept = []
    for number in range(blocks):
        took = {}
        for each in (_bare, mode) if number % 2 else (mode, _bare):
            with each():
                await call(False)
                took[each] = sum(await _milliseconds(call, False, times))
        kept.append(took[_bare] / took[mode])
    return statistics.median(kept)


def _percentile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100)[percent - 1]


QUANTITIES: dict[str, Callable[[Taken], float]] = {
    "p50": lambda taken: _percentile(taken.milliseconds, 50),
    "p99": lambda taken: _percentile(taken.milliseconds, 99),
    "cpu": lambda taken: statistics.median(taken.cpu),
}


def run(effort: Effort, directory: str) -> Report:
    runs = {Effort.QUICK: 3, Effort.FULL: 5}[effort]
    with collector() as serving, _server() as url:
        asyncops.init(endpoint=serving.url, auto_start_session=False)
        return asyncio.run(_run(url, runs, effort))


async def _run(url: str, runs: int, effort: Effort) -> Report:
    scale = {Effort.QUICK: 1, Effort.FULL: 3}[effort]
    rows: list[list[str]] = []
    figures: dict[str, Figure] = {}
    packages = [name for name in ("httpx", "httpx2") if importlib.util.find_spec(name)]
    clients = [(name, *_over(name, url)) for name in packages]
    if importlib.util.find_spec("openai"):
        clients.append(("openai", *_openai(url)))
    for name, _, call in clients:
        for kind, stream, times in (("plain", False, 20 * scale), ("stream", True, 4 * scale)):
            found = [await _taken(call, stream, 5, times) for _ in range(runs)]
            for what, of in QUANTITIES.items():
                took = [(of(bare), of(watched)) for bare, watched in found]
                without = figure((bare for bare, _ in took), "ms")
                added = figure((watched - bare for bare, watched in took), "ms")
                ratio = figure((watched / bare for bare, watched in took), "x")
                figures[f"capture.{name}.{kind}.{what}"] = ratio
                rows.append(
                    [f"{name}, {kind}", what, f"{without.value:.2f} ms",
                     f"{added.value:+.2f} ms", _spread(ratio)]
                )  # fmt: skip
    for name, client, call in clients[: len(packages)]:
        _, other = _over(name, url, "/v1/invoices")
        for what, mode, asked in (
            ("installed, no session", _installed, call),
            ("in a session, no model called", _in_session, other),
        ):
            kept = [await _rate_kept(asked, mode, 20 * scale, 20) for _ in range(runs)]
            key = "no_session" if mode is _installed else "no_call"
            figures[f"capture.{name}.{key}"] = found_rate = figure(kept, "x")
            rows.append([f"{name}, {what}", "requests/s", "", "", _spread(found_rate)])
        await client.aclose()
    return Report(
        "What capture adds to a request on this machine's loopback",
        ("", "", "without", "added", "ratio (least - most)"),
        rows,
        figures,
        [NOTE.format(runs=runs)],
    )


def _spread(found: Figure) -> str:
    return f"{found.value:.3f} ({found.least:.3f} - {found.most:.3f})"
