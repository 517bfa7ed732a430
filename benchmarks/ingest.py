"""
Events per second that a collector acknowledges after commit, on one core, with all sums kept.
"""

from __future__ import annotations

import itertools
import sqlite3
import statistics
import time
from pathlib import Path

from .harness import Effort, Figure, Report, figure
from .load import Load, Source, send, serving

__all__ = ["run"]

CASES = ((1, 1), (16, 1), (1, 20), (16, 20), (1, 500), (4, 500), (16, 500), (1, 5_000), (4, 5_000))
"""Sources, and records in a batch."""

QUICK_CASES = ((16, 1), (4, 500))

FLOOR_EVENTS = 20_000

WHAT = "Events of about 650 bytes, a hundred to a session; bodies compressed from 16 KiB on."
FLOOR = (
    "The floor, SQLite storing the same lines in one table and nothing else, takes {:.1f} ms of CPU"
    " per 1,000 events."
)


def run(effort: Effort, directory: str) -> Report:
    runs = {Effort.QUICK: 3, Effort.FULL: 5}[effort]
    cases = {Effort.QUICK: QUICK_CASES, Effort.FULL: CASES}[effort]
    clock = itertools.count(int(time.time()) - 86_400)
    loads: dict[tuple[int, int], list[Load]] = {case: [] for case in cases}
    floors = []
    with serving(Path(directory, "ingest.db")) as collector:
        for sources, batch in cases:  # nobody is measured who is still at the beginning
            send(collector, [Source(clock) for _ in range(sources)], batch, events=batch)
        for number in range(runs):
            floors.append(floor(Path(directory, f"floor{number}.db"), clock))
            for sources, batch in cases:
                events = {1: 2_000, 20: 20_000}.get(batch, 60_000)
                events //= {Effort.QUICK: 4, Effort.FULL: 1}[effort]
                some = [Source(clock) for _ in range(sources)]
                loads[sources, batch].append(send(collector, some, batch, events=events))
    figures: dict[str, Figure] = {"ingest.floor.cpu": figure(floors, "ms/1,000 events")}
    rows = []
    for (sources, batch), found in loads.items():
        name = f"ingest.{sources}x{batch}"
        rate = figures[f"{name}.rate"] = figure((load.rate for load in found), "events/s")
        cpu = figures[f"{name}.cpu"] = figure(
            (load.cpu_per_thousand for load in found), "ms/1,000 events"
        )
        latencies = sorted(second for load in found for second in load.latencies)
        rows.append(
            (
                f"{sources}",
                f"{batch:,}",
                f"{rate.value:,.0f}",
                f"{rate.least:,.0f}-{rate.most:,.0f}",
                f"{cpu.value:.1f}",
                f"{statistics.median(latencies) * 1e3:.1f}",
                f"{latencies[len(latencies) * 95 // 100] * 1e3:.1f}",
            )
        )
    figures["ingest.events_per_second"] = figures["ingest.4x500.rate"]
    return Report(
        f"Ingest: one collector on one core, acknowledged after commit; medians of {runs}",
        ("sources", "records in a batch", "events/s", "least-most", "CPU ms per 1,000 events",
         "request p50 ms", "p95 ms"),
        rows,
        figures,
        (WHAT, FLOOR.format(statistics.median(floors))),
    )  # fmt: skip


def floor(path: Path, clock: itertools.count[int]) -> float:
    """
    Milliseconds of processor time that SQLite takes to keep a thousand events as they come.
    """
    source = Source(clock)
    lines = source.body(FLOOR_EVENTS).splitlines()
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(
        "CREATE TABLE lines (source TEXT, seq INTEGER, line TEXT, UNIQUE (source, seq))"
    )
    began = time.process_time()
    for start in range(0, len(lines), 5_000):
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(
            "INSERT INTO lines VALUES (?, ?, ?)",
            (
                (source.id, seq, line)
                for seq, line in enumerate(lines[start : start + 5_000], start)
            ),
        )
        connection.execute("COMMIT")
    took = time.process_time() - began
    connection.close()
    return took * 1e6 / source.events
