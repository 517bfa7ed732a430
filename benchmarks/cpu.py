"""
How much processor time 1,000 events take that are recorded, exported and acknowledged.

A program that makes 2,000 calls a second, ten at a time, alone and recording, in turns, before a
real collector in another process. All threads of the program count, from its first call on until
the last is acknowledged; httpx is imported before.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from .harness import Effort, Report, figure

sys.path += [str(Path(__file__).parent.parent / "tests")]

from processes import collector

__all__ = ["run"]

RATE = 2_000
"""Calls a second."""

SIZES = (20, 500, 2_000)
"""Bytes of the argument of each."""

PROGRAM = f"""
import asyncio, json, sys, time

recording, size, calls = sys.argv[1] == "recording", *map(int, sys.argv[2:])
payload = "".join(chr(33 + n * n % 90) for n in range(size))

async def work(text):
    pass

if recording:
    import asyncops
    work = asyncops.tool(work)

async def pace(calls):
    began = time.perf_counter()
    for n in range(0, calls, 10):
        for _ in range(10):
            await work(payload)
        await asyncio.sleep(max(0.0, began + (n + 10) / {RATE} - time.perf_counter()))

async def main():
    if recording:
        await asyncops.start_session("cpu")
    await pace(100)
    if recording:
        assert await asyncops.flush(timeout=30)
        await asyncio.sleep(1)  # the host is told of
    cpu, loop = time.process_time(), time.thread_time()
    await pace(calls)
    if recording:
        assert await asyncops.flush(timeout=30)
    print(json.dumps([time.process_time() - cpu, time.thread_time() - loop]))

asyncio.run(main())
"""


def seconds(url: str, *, recording: bool, size: int, calls: int) -> tuple[float, float]:
    """
    Processor time of the whole program, and of the loop's thread alone.
    """
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            PROGRAM,
            "recording" if recording else "bare",
            str(size),
            str(calls),
        ],
        env={**os.environ, "ASYNCOPS_ENDPOINT": url},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    whole, loop = json.loads(done.stdout)
    return whole, loop


def run(effort: Effort, directory: str) -> Report:
    runs, calls, sizes = {
        Effort.QUICK: (3, 4_000, (20,)),
        Effort.FULL: (5, 20_000, SIZES),
    }[effort]
    rows, figures = [], {}
    found: dict[int, list[tuple[float, float, float]]] = {size: [] for size in sizes}
    with collector() as serving:
        for _ in range(runs):
            for size in sizes:
                bare, _ = seconds(serving.url, recording=False, size=size, calls=calls)
                whole, loop = seconds(serving.url, recording=True, size=size, calls=calls)
                ms = 1e6 / calls  # for 1,000 calls
                found[size].append((bare * ms, (whole - bare) * ms, (whole - loop) * ms))
    for size, each in found.items():
        alone, over, delivering = (
            figure(values, "ms/1,000 events") for values in zip(*each, strict=True)
        )
        figures |= {
            f"cpu.bare.{size}": alone,
            f"cpu.over_bare.{size}": over,
            f"cpu.delivering.{size}": delivering,
        }
        cells = (alone, over, delivering)
        rows.append((f"{size:,} B", *(f"{cell.value:.1f}" for cell in cells)))
    return Report(
        f"Processor time per 1,000 events at {RATE:,}/s, recorded, exported and acknowledged",
        ("argument of", "without asyncops, ms", "more with it, ms", "of that our thread, ms"),
        rows,
        figures,
        [f"Medians of {runs} runs of {calls:,} calls."],
    )
