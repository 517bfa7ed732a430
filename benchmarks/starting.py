"""
How long a session's start and end take, and hold up the loop, with the collector 50 ms away.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from .harness import Effort, Report, figure

_TESTS = Path(__file__).parent.parent / "tests"
sys.path += [str(_TESTS), str(_TESTS / "faults")]

from processes import collector  # noqa: E402
from proxy import late, proxy  # noqa: E402

__all__ = ["run"]

AWAY_SECONDS = 0.05
"""How long each answer takes longer."""

SESSIONS = 30
"""How many a program has, one after the other."""

PROGRAM = f"""
import asyncio, json, time
import asyncops

lags = []

async def beat():
    while True:
        due = time.perf_counter() + 0.001
        await asyncio.sleep(0.001)
        lags.append(time.perf_counter() - due)

async def timed(call):
    lags.clear()
    began = time.perf_counter()
    await call
    took = time.perf_counter() - began
    while len(lags) < 3:  # the beat that the call held up is one of these
        await asyncio.sleep(0.001)
    return took, max(lags)

async def main():
    told = []
    beating = asyncio.create_task(beat())
    for _ in range({SESSIONS}):
        start = await timed(asyncops.start_session("starting"))
        asyncops.record(asyncops.ActionEvent(name="work"))
        await asyncio.sleep(0.02)
        end = await timed(asyncops.end_session("Success"))
        told.append([*start, *end])
        await asyncio.sleep(0.02)
    beating.cancel()
    print(json.dumps(told))

asyncio.run(main())
"""


def calls(url: str) -> list[list[float]]:
    """
    Of each session of a program, in seconds: how long its start took and held up the loop, and how
    long its end.
    """
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "ASYNCOPS_ENDPOINT": url},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: list[list[float]] = json.loads(done.stdout)
    return found


def run(effort: Effort, directory: str) -> Report:
    runs = {Effort.QUICK: 3, Effort.FULL: 7}[effort]
    with collector() as serving, proxy(serving.url) as bad:
        bad.become(late(AWAY_SECONDS))
        programs = [calls(bad.url) for _ in range(runs)]
    rows, figures = [], {}
    for what, at, sessions in (
        ("the first start of a program", 0, slice(0, 1)),
        ("start", 0, slice(1, None)),
        ("end", 2, slice(1, None)),
    ):
        name = "first_start" if sessions.stop else what
        took = figure(
            (1000 * statistics.median(each[at] for each in some[sessions]) for some in programs),
            "ms",
        )
        held = figure(
            (
                1000 * statistics.median(each[at + 1] for each in some[sessions])
                for some in programs
            ),
            "ms",
        )
        most = max(1000 * each[at] for some in programs for each in some[sessions])
        figures |= {f"starting.{name}": took, f"starting.{name}.lag": held}
        rows.append((what, f"{took.value:.2f}", f"{most:.2f}", f"{held.value:.2f}"))
    return Report(
        f"A session's start and end, the collector {1000 * AWAY_SECONDS:.0f} ms away",
        ("call", "took ms", "longest ms", "a beat of the loop came late by ms"),
        rows,
        figures,
        [f"Medians of {runs} programs with {SESSIONS} sessions each; neither call ever yields."],
    )
