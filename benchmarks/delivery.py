"""
A burst of calls that never yields to the loop, until all of it can be read from the collector.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from .harness import Effort, Report, figure

sys.path += [str(Path(__file__).parent.parent / "tests")]

from processes import collector

__all__ = ["run"]

PROGRAM = """
import asyncio, json, sys, time
import asyncops

@asyncops.tool
async def work(n):
    return n

async def main():
    began = time.perf_counter()
    async with asyncops.session("burst") as session:
        for n in range(int(sys.argv[1])):
            await work(n)
        recorded = time.perf_counter() - began
        assert await session.flush(timeout=300)
    print(json.dumps([session.id, recorded, time.perf_counter() - began]))

asyncio.run(main())
"""


def burst(url: str, calls: int) -> tuple[str, float, float]:
    """
    The session, and the seconds until all was recorded and until all was acknowledged.
    """
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(calls)],
        env={**os.environ, "ASYNCOPS_ENDPOINT": url},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    session, recorded, stored = json.loads(done.stdout)
    return session, recorded, stored


def run(effort: Effort, directory: str) -> Report:
    runs, calls = {Effort.QUICK: (3, 20_000), Effort.FULL: (5, 200_000)}[effort]
    recorded, stored, lost = [], [], []
    with collector() as serving:
        for _ in range(runs):
            session, recorded_after, stored_after = burst(serving.url, calls)
            told = serving.session(session)
            recorded.append(recorded_after)
            stored.append(stored_after)
            lost.append(max(calls - told["events"], told["missing_records"]))
    figures = {
        "delivery.recorded": figure(recorded, "s"),
        "delivery.stored": figure(stored, "s"),
        "delivery.lost": figure(lost, "events"),
    }
    row = (
        f"{calls:,}",
        f"{statistics.median(recorded):.2f}",
        f"{statistics.median(stored):.2f}",
        f"{calls / statistics.median(stored):,.0f}",
        f"{max(lost)}",
    )
    return Report(
        "A burst that never yields to the loop, until all of it is stored",
        ("calls", "recorded after s", "all stored after s", "events/s end to end", "lost"),
        [row],
        figures,
        [f"Medians of {runs} runs, the collector in another process; the worst of what was lost."],
    )
