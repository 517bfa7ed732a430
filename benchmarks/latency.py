"""
From a call's return until others can see it, at 5,000 events a second.

A program records and notes when each call returned. Meanwhile its session is asked for again and
again, and the live stream that an open page listens to is read, both from a real collector. The
n-th event is there with the first answer that tells of n.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx

from .harness import Effort, Report, figure

sys.path += [str(Path(__file__).parent.parent / "tests")]

from processes import collector

__all__ = ["run"]

RATE = 5_000
"""Events a second."""

POLL_SECONDS = 0.01
"""How long after an answer the session is asked for again."""

PROGRAM = f"""
import asyncio, json, sys, time
import asyncops

@asyncops.tool
async def work(n):
    pass

async def main():
    returned = []
    async with asyncops.session("latency") as session:
        await work(0)
        returned.append(time.monotonic())
        assert await session.flush(timeout=30)
        await asyncio.sleep(1)
        print(session.id, session._configuration.max_wait_time, flush=True)
        sys.stdin.readline()
        began = time.monotonic()
        while (now := time.monotonic() - began) < float(sys.argv[1]):
            while len(returned) <= now * {RATE}:
                await work(len(returned))
                returned.append(time.monotonic())
            await asyncio.sleep(0.002)
        assert await session.flush(timeout=60)
    print(json.dumps(returned))

asyncio.run(main())
"""

Seen = list[tuple[float, int]]
"""When something was seen, and how many events there were."""


@contextlib.contextmanager
def _watched(url: str, session: str) -> Iterator[tuple[Seen, Seen]]:
    """
    What is seen of a session meanwhile: by asking, and on its stream.
    """
    asked: Seen = []
    streamed: Seen = []
    over = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=url, trust_env=False) as http:
            while not over.wait(POLL_SECONDS):
                told = http.get(f"/api/sessions/{session}").json()["events"]
                asked.append((time.monotonic(), told))

    def listen() -> None:
        events = 0
        with (
            httpx.Client(base_url=url, trust_env=False, timeout=30) as http,
            http.stream("GET", f"/api/sessions/{session}/stream") as answer,
        ):
            kind = ""
            for line in answer.iter_lines():
                if line.startswith("event: "):
                    kind = line
                elif line.startswith("data: ") and kind == "event: events":
                    events += len(json.loads(line.removeprefix("data: ")))
                    streamed.append((time.monotonic(), events))
                if over.is_set():
                    return

    threads = [threading.Thread(target=ask), threading.Thread(target=listen)]
    for thread in threads:
        thread.start()
    try:
        yield asked, streamed
    finally:
        over.set()
        for thread in threads:
            thread.join()


def _latencies(returned: Sequence[float], seen: Seen) -> list[float]:
    """
    Of each event but the first, which came before anybody looked: seconds until it was seen.
    """
    found = []
    looks = iter(seen)
    at, there = next(looks)
    for number, when in enumerate(returned[1:], 2):
        while there < number:
            at, there = next(looks)
        found.append(max(0.0, at - when))
    return found


def latencies(url: str, seconds: int) -> tuple[list[float], list[float], float]:
    """
    Of one program: seconds until each event was seen by asking, and on the stream; and its
    `max_wait_time`.
    """
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(seconds)],
        env={**os.environ, "ASYNCOPS_ENDPOINT": url},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        session, wait = process.stdout.readline().split()
        with _watched(url, session) as (asked, streamed):
            process.stdin.write("\n")
            process.stdin.flush()
            returned = json.loads(process.stdout.readline())
            deadline = time.monotonic() + 30
            while not (asked and streamed and asked[-1][1] == streamed[-1][1] == len(returned)):
                if time.monotonic() > deadline:
                    raise RuntimeError(f"{asked[-1:]} {streamed[-1:]} of {len(returned)}")
                time.sleep(POLL_SECONDS)
    return _latencies(returned, asked), _latencies(returned, streamed), float(wait)


def run(effort: Effort, directory: str) -> Report:
    runs, seconds = {Effort.QUICK: (3, 2), Effort.FULL: (5, 6)}[effort]
    found: dict[str, list[list[float]]] = {"/api/sessions/{id}": [], "its live stream": []}
    with collector() as serving:
        for _ in range(runs):
            asked, streamed, wait = latencies(serving.url, seconds)
            found["/api/sessions/{id}"].append(asked)
            found["its live stream"].append(streamed)
    rows, figures = [], {}
    for (where, told), name in zip(found.items(), ("queryable", "streamed"), strict=True):
        parts = [statistics.quantiles(some, n=100) for some in told]
        cells = [figure((1000 * part[n - 1] for part in parts), "ms") for n in (50, 95)]
        cells.append(figure((1000 * max(some) for some in told), "ms"))
        figures |= {f"latency.{name}.p50": cells[0], f"latency.{name}.p95": cells[1]}
        waits = (part[94] / wait for part in parts)
        figures[f"latency.{name}_x_wait"] = figure(waits, "x max_wait_time")
        rows.append((where, *(f"{cell.value:.0f}" for cell in cells)))
    return Report(
        f"From a call's return until it can be seen, at {RATE:,} events/s",
        ("in", "p50 ms", "p95 ms", "most ms"),
        rows,
        figures,
        [f"Medians of {runs} runs of {seconds} s, with `max_wait_time` as it is, {wait:g} s."],
    )
