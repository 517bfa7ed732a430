"""
What the distance between a recorded call and the floor consists of, stage by stage.

Each stage is done by itself, with what a recorded call gives it, as often as it takes to be exact;
what is left of the whole call is what these pieces cost each other: Python's own calls between
them, and caches that the kernel has used in between.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import threading
import time
import zlib
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import asyncops
from asyncops import _clock, _ids
from asyncops._active import current
from asyncops._events import SucceededEvent
from asyncops._file_journal import FileJournal
from asyncops._frames import frame
from asyncops._wire import Encoder, encode, number_line

from .harness import Effort, Report, figure
from .recording import awaited, bare, floor

__all__ = ["run"]

CALLS = 10_000

SOURCE = "0198a0b0-0000-7000-8000-00000000000a"
SESSION = "0198a0b0-0000-7000-8000-000000000000"

_variable: ContextVar[int] = ContextVar("stage")


def per_call(call: Callable[[], object], calls: int) -> float:
    """
    Nanoseconds of this thread's processor time per *call*, of which there are so many.
    """
    began = time.thread_time_ns()
    for _ in range(calls):
        call()
    return (time.thread_time_ns() - began) / calls


def in_turn(called: Any) -> Callable[[int], float]:
    async def measure(calls: int) -> float:
        await awaited(called)(100)
        began = time.thread_time_ns()
        await awaited(called)(calls)
        return (time.thread_time_ns() - began) / calls

    return lambda calls: asyncio.run(measure(calls))


def stages(fd: int, journal: FileJournal) -> dict[str, Callable[[], object]]:
    """
    The pieces of a recorded call `f(n)`, by what they do; they write to *fd* or *journal*.
    """
    encoder = Encoder()
    now = _clock.wall_ns()
    lock = threading.RLock()
    opened: set[object] = set()
    one = object()
    decorator = asyncops.tool("bare")
    params = encoder.arguments({"n": 12_345})

    def event() -> SucceededEvent:
        return SucceededEvent(
            now, SESSION, "00000000000000aa", "tool", "bare", now, None, None, params, None,
            "Success", now, 12_345,
        )  # fmt: skip

    made = event()
    line = encode(made)
    numbered = number_line(line, 12_345) + b"\n"
    framed = frame(numbered, 12_345, 1)

    def variable() -> None:
        _variable.reset(_variable.set(1))

    def held() -> None:
        with lock:
            pass

    def registered() -> None:
        opened.add(one)
        opened.discard(one)

    return {
        "session of this context": current,
        "context variable, set and reset": variable,
        "clocks, three looks": lambda: (
            _clock.wall_ns(), _clock.monotonic_ns(), _clock.monotonic_ns(),
        ),
        "id": _ids.new_event_id,
        "span": lambda: decorator.again("bare"),
        "among the open spans, and out": registered,
        "params: a dict, JSON, no secret": lambda: encoder.arguments({"n": 12_345}),
        "returns: a number, no secret": lambda: encoder.member(12_345),
        "record": event,
        "record to JSON": lambda: encode(made),
        "lock": held,
        "number": lambda: number_line(line, 12_345),
        "frame": lambda: frame(numbered, 12_345, 1),
        "... of that the checksum": lambda: zlib.crc32(numbered),
        "os.write": lambda: os.write(fd, framed),
        "journal: lock, number, frame, os.write": lambda: journal.append(line, expendable=True),
    }  # fmt: skip


INCLUDED = ("... of that the checksum", "journal: lock, number, frame, os.write")
"""Told besides: the other stages add up without them."""


def run(effort: Effort, directory: str) -> Report:
    runs = {Effort.QUICK: 5, Effort.FULL: 15}[effort]
    calls = {Effort.QUICK: 2_000, Effort.FULL: CALLS}[effort]
    alone, recorded = in_turn(bare), in_turn(asyncops.tool(bare))
    least = in_turn(floor(bare))
    fd = os.open(Path(directory, "stages"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    journal = FileJournal(Path(directory, "stages.journal"), SOURCE, owner={}, max_bytes=2**30)
    pieces = stages(fd, journal)
    times: dict[str, list[float]] = {name: [] for name in pieces}
    floors, wholes, calling = [], [], []
    for _ in range(runs):
        nothing = per_call(lambda: None, calls)
        for name, piece in pieces.items():
            times[name].append(max(per_call(piece, calls) - nothing, 0.0))
        once = alone(calls)
        floors.append(least(calls) - once)
        with asyncops.session():
            wholes.append(recorded(calls) - once)
    os.close(fd)
    journal.close()
    over = statistics.median(floors)
    figures = {"stages.floor": figure(floors, "ns"), "stages.recorded": figure(wholes, "ns")}
    rows = []
    for name, found in times.items():
        median = statistics.median(found)
        word = name.replace("... of that the ", "").partition(":")[0].partition(",")[0]
        figures[f"stages.{word.replace(' ', '_')}"] = figure(found, "ns")
        rows.append((name, f"{median:,.0f}", f"{median / over:.2f}"))
        if name not in INCLUDED:
            calling.append(median)
    whole = statistics.median(wholes)
    rest = whole - sum(calling)
    figures["stages.rest"] = figure([rest], "ns")
    rows += [
        ("what is left: calls and checks between these, and what each costs more beside the others",
         f"{rest:,.0f}", f"{rest / over:.2f}"),
        ("**a recorded call, over the same unrecorded**", f"{whole:,.0f}", f"{whole / over:.2f}"),
        ("**the floor**", f"{over:,.0f}", "1.00"),
    ]  # fmt: skip
    return Report(
        f"Stages of a recorded call: processor time, each by itself; medians of {runs} runs",
        ("stage", "ns", "x floor"),
        rows,
        figures,
    )
