"""
What the host's event loop feels: a heartbeat every millisecond beside 2,000 events a second.

A real program, alone and recording, in turns, before a real collector that is well, slow, dead or
comes and goes. Our thread competes for the interpreter, so what it does counts, too.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import attrs

from .harness import Effort, Report, figure

_TESTS = Path(__file__).parent.parent / "tests"
sys.path += [str(_TESTS), str(_TESTS / "faults")]

from processes import collector  # noqa: E402
from proxy import Fault, Proxy, late, passing, proxy, refusing, silent  # noqa: E402

__all__ = ["run"]

RATE = 2_000
"""Events a second."""

SIZES = (500, 2_000, 5_000)
"""Bytes of the argument of each."""

BACKLOG = 20_000
"""Events that a collector gets at once when it comes."""

FLAP_SECONDS = 0.4
"""How long a collector that comes and goes stays, and stays away."""

STATES: dict[str, Fault] = {
    "well": passing,
    "50 ms slow": late(0.05),
    "refuses": refusing,
    "never answers": silent,
    "comes and goes": passing,
}
"""What the collector is like."""

PHASES = {
    "first": "the first 1.5 s",
    "then": "then",
    "rotating": "a call that begins a new segment of the journal, how long it took",
    "backlog": f"while {BACKLOG:,} events are sent that waited",
    "end": "the session's end",
}
"""What the program does; in the first phase the session starts, httpx is imported, the host is told
of and the first batches are sent."""

PROGRAM = f"""
import asyncio, contextlib, gc, json, os, sys, time

recording, size, seconds, backlog = sys.argv[1] == "recording", *map(int, sys.argv[2:5])
payload = "".join(chr(33 + n * n % 90) for n in range(size))
beats, rotating, segments = [], [], []

try:
    kernel = os.open(f"/proc/self/task/{{os.getpid()}}/schedstat", os.O_RDONLY)
except OSError:
    kernel = -1

def waited():  # for a core, as the kernel counts it: that is not what we do to the loop
    return int(os.pread(kernel, 100, 0).split()[1]) / 1e9 if kernel >= 0 else 0.0

async def work(text):
    pass

if recording:
    import asyncops
    work = asyncops.tool(work)

async def beat():
    while True:
        before, due = waited(), time.perf_counter() + 0.001
        await asyncio.sleep(0.001)
        lag = time.perf_counter() - due
        beats.append((due, lag, max(0.0, lag - (waited() - before))))

async def record(seconds):
    began, done = time.perf_counter(), 0
    while (now := time.perf_counter() - began) < seconds:
        while done < now * {RATE}:
            before, slept, held = time.perf_counter(), waited(), len(segments)
            await work(payload)
            if len(segments) != held:
                took = time.perf_counter() - before
                rotating.append((before, took, max(0.0, took - (waited() - slept))))
            done += 1
            if done % 2 == 0:  # what it makes up for comes not all at once
                await asyncio.sleep(0)
        await asyncio.sleep(0.001)

def lags(since, of=beats):
    raw, net = (sorted(each[n] for each in of if each[0] >= since) for n in (1, 2))
    at = [int((len(raw) - 1) * part) for part in (0.5, 0.99, 1)]
    return [1000 * some[n] for n in at for some in (raw, net)]

async def main():
    global segments
    beating = asyncio.create_task(beat())
    await asyncio.sleep(0.2)
    gc.freeze()  # garbage of the imports is not what is measured
    told = {{}}
    first = began = time.perf_counter()
    if recording:
        await asyncops.start_session("loop")
        segments = asyncops.current_session()._active.client._journal._segments
    await record(1.5)
    told["first"] = lags(began)
    began = time.perf_counter()
    await record(seconds)
    told["then"] = lags(began)
    told["all"] = lags(first)
    if rotating:
        told["rotating"] = lags(first, rotating)
    print("ready", flush=True)
    if backlog:
        for n in range(backlog):  # nobody takes them yet
            await work(payload)
            if n % 10 == 9:
                await asyncio.sleep(0)
        await asyncio.to_thread(sys.stdin.readline)
        began = time.perf_counter()
        if recording:
            assert await asyncops.flush(timeout=60)
        await asyncio.sleep(max(0.0, began + 1 - time.perf_counter()))
        told["backlog"] = lags(began)
    began = time.perf_counter()
    if recording:
        await asyncops.end_session("Success")
    await asyncio.sleep(0.05)
    told["end"] = lags(began)
    beating.cancel()
    print(json.dumps(told), flush=True)

asyncio.run(main())
"""


@attrs.frozen
class Lags:
    """
    By how much the beats of a program were late, in milliseconds; and the same less what it waited
    for a core, which others on this machine had.
    """

    median: float
    median_net: float
    p99: float
    p99_net: float
    most: float
    most_net: float


@contextlib.contextmanager
def _flapping(bad: Proxy) -> Iterator[None]:
    over = threading.Event()

    def flap() -> None:
        faults = [refusing, passing]
        while not over.wait(FLAP_SECONDS):
            bad.become(faults[0])
            faults.reverse()

    thread = threading.Thread(target=flap)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        bad.become(passing)


def beats(
    bad: Proxy, state: str | None, *, size: int, seconds: int, backlog: int = 0
) -> dict[str, Lags]:
    """
    Run the program before a collector in that *state*, or (None) without asyncops; returns the lags
    of each of its phases. With a *backlog* the collector comes to take it.
    """
    bad.become(STATES[state or "well"])
    flapping = _flapping(bad) if state == "comes and goes" else contextlib.nullcontext()
    command = [sys.executable, "-c", PROGRAM, "bare" if state is None else "recording"]
    command += map(str, (size, seconds, backlog))
    with (
        flapping,
        subprocess.Popen(
            command,
            env={**os.environ, "ASYNCOPS_ENDPOINT": bad.url, "ASYNCOPS_SHUTDOWN_TIMEOUT": "0"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # that an outage lasts is told there
            text=True,
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        if backlog:
            bad.become(passing)
            process.stdin.write("\n")
            process.stdin.flush()
        told = json.loads(process.stdout.readline())
    return {phase: Lags(*found) for phase, found in told.items()}


_READ = """\
Medians of {runs} runs. In brackets: less the time that the loop's thread waited for a core, as the
kernel counts it, because other processes had them, collector and proxy among them. Budgets compare
the figures in brackets, over the whole life of a program from the session's start on: the worst of
all states and sizes, over the same program without asyncops in the same turn."""


Found = Mapping[tuple[str | None, int], Sequence[dict[str, Lags]]]
"""What the programs told, by the state of the collector and the size of the events."""


def run(effort: Effort, directory: str) -> Report:
    runs, seconds, sizes = {
        Effort.QUICK: (3, 1, (500, 5_000)),
        Effort.FULL: (5, 4, SIZES),
    }[effort]
    states = ["well", "never answers"] if effort is Effort.QUICK else list(STATES)
    found: dict[tuple[str | None, int], list[dict[str, Lags]]] = {}
    with collector() as serving, proxy(serving.url) as bad:
        for _ in range(runs):
            for size in sizes:
                for state in (None, *states):
                    backlog = BACKLOG if state in (None, "refuses") else 0
                    told = beats(bad, state, size=size, seconds=seconds, backlog=backlog)
                    found.setdefault((state, size), []).append(told)
    rows = [
        (state or "without asyncops", f"{size:,} B", does, *cells)
        for size in sizes
        for state in (None, *states)
        for phase, does in PHASES.items()
        if (cells := _cells(found[state, size], phase))
    ]
    figures = {
        "loop.bare_p99": figure(_bare(found, "p99_net"), "ms"),
        "loop.bare_max": figure(_bare(found, "most_net"), "ms"),
        "loop.p99_over_bare": figure(_worst(found, "p99_net"), "ms"),
        "loop.max_over_bare": figure(_worst(found, "most_net"), "ms"),
        "loop.p99_over_bare_with_waits": figure(_worst(found, "p99"), "ms"),
        "loop.max_over_bare_with_waits": figure(_worst(found, "most"), "ms"),
    }
    return Report(
        f"Lag of a 1 ms heartbeat in the host's loop, {RATE:,} events a second",
        ("the collector", "events of", "the program", "median ms", "p99 ms", "most ms"),
        rows,
        figures,
        [_READ.format(runs=runs)],
    )


def _cells(told: Sequence[dict[str, Lags]], phase: str) -> list[str]:
    some = [each[phase] for each in told if phase in each]

    def cell(name: str) -> str:
        raw = statistics.median(getattr(lags, name) for lags in some)
        net = statistics.median(getattr(lags, f"{name}_net") for lags in some)
        return f"{raw:.2f} ({net:.2f})"

    return [cell(name) for name in ("median", "p99", "most")] if some else []


def _bare(found: Found, name: str) -> Iterable[float]:
    """
    In each turn the median over the sizes.
    """
    turns = zip(*(told for (state, _), told in found.items() if state is None), strict=True)
    return [statistics.median(getattr(each["all"], name) for each in turn) for turn in turns]


def _worst(found: Found, name: str) -> Iterable[float]:
    """
    In each turn, by how much the worst program was over the same without asyncops.
    """
    over = [
        [
            getattr(each["all"], name) - getattr(bare["all"], name)
            for each, bare in zip(told, found[None, size], strict=True)
        ]
        for (state, size), told in found.items()
        if state is not None
    ]
    return [max(turn) for turn in zip(*over, strict=True)]
