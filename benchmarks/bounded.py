"""
How much memory and disk a program takes that records 500,000 events while no collector is there.

A real program, with the default limit and with 8 MB; then a collector comes, and what is stored and
what is counted as missing must add up.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest import mock

import attrs

from .harness import Effort, Report, figure

sys.path += [str(Path(__file__).parent.parent / "tests")]

from processes import collector, until

__all__ = ["Bounded", "bounded", "run"]

LIMITS = (256 * 1_048_576, 8 * 1_048_576)
"""Of the journals: the default, and little."""

PROGRAM = """
import asyncio, asyncops, psutil, sys
from pathlib import Path

events, root = int(sys.argv[1]), Path(sys.argv[2])
here = psutil.Process()

def disk():
    total = 0
    for path in root.rglob("*"):
        try:
            total += path.stat().st_size
        except OSError:  # rolled or rewritten meanwhile
            pass
    return total

with asyncops.session("bounded") as session:
    asyncops.record(asyncops.ActionEvent(name="first", params="x" * 100))
    before = most = here.memory_info().rss
    most_disk = 0
    asyncio.run(asyncops.flush(timeout=3))  # in vain, but then httpx is imported
    tried = here.memory_info().rss
    for n in range(1, events):
        asyncops.record(asyncops.ActionEvent(name=str(n), params="x" * 100))
        if n % 1_000 == 0:
            most = max(most, here.memory_info().rss)
            most_disk = max(most_disk, disk())
dropped = session._active.client._journal.dropped
print(session.id, most - before, most - tried, most_disk, dropped.get("journal_max_bytes", 0))
"""


@attrs.frozen
class Bounded:
    """
    What a program took and kept.

    Attributes:
        recorded: Events recorded.
        memory_bytes: By how much it grew.
        later_bytes: By how much it grew after it had tried to send something.
        disk_bytes: The most its journals took.
        limit_bytes: The most they may take.
        dropped: Records it says it dropped.
        stored: Events in the collector afterwards.
        missing: Records the collector says are missing, by reason.
    """

    recorded: int
    memory_bytes: int
    later_bytes: int
    disk_bytes: int
    limit_bytes: int
    dropped: int
    stored: int
    missing: dict[str, int]

    @property
    def adds_up(self) -> bool:
        return (
            self.recorded == self.stored + self.dropped
            and sum(self.missing.values()) == self.dropped
        )


def bounded(directory: Path, *, events: int, limit_bytes: int) -> Bounded:
    """
    Record *events* with nobody at the endpoint, then let a collector come.
    """
    journal_dir = directory / "journal"
    told = {
        "ASYNCOPS_JOURNAL_DIR": str(journal_dir),
        "ASYNCOPS_DB": str(directory / "collector.db"),
        "ASYNCOPS_JOURNAL_MAX_BYTES": str(limit_bytes),
    }
    with mock.patch.dict(os.environ, told), socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        port = nobody.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(events), str(journal_dir)],
            env={**os.environ, "ASYNCOPS_ENDPOINT": f"http://127.0.0.1:{port}"},
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True,
        )  # fmt: skip
        nobody.close()
        session_id, *numbers = done.stdout.split()
        memory_bytes, later_bytes, disk_bytes, dropped = map(int, numbers)
        with collector(port) as serving:
            until(lambda: not list(journal_dir.glob("*/*/lock")), seconds=300)
            session = serving.session(session_id)
    return Bounded(
        events, memory_bytes, later_bytes, disk_bytes, limit_bytes, dropped,
        session["events"], session["missing_by_reason"],
    )  # fmt: skip


def run(effort: Effort, directory: str) -> Report:
    runs, events = {Effort.QUICK: (1, 50_000), Effort.FULL: (5, 500_000)}[effort]
    rows, figures = [], {}
    for limit_bytes in LIMITS:
        took = []
        for _ in range(runs):
            with tempfile.TemporaryDirectory(dir=directory) as place:
                took.append(bounded(Path(place), events=events, limit_bytes=limit_bytes))
        mib = {
            name: figure((getattr(each, name) / 1_048_576 for each in took), "MiB")
            for name in ("memory_bytes", "later_bytes", "disk_bytes")
        }
        if limit_bytes == LIMITS[0]:
            figures["bounded.rss_growth"] = figure(
                (each.memory_bytes / 1_000_000 for each in took), "MB"
            )
            figures["bounded.later_rss_growth"] = figure(
                (each.later_bytes / 1_000_000 for each in took), "MB"
            )
        rows.append(
            (
                f"{limit_bytes / 1_048_576:.0f} MiB",
                *(f"{found.value:.1f} MiB" for found in mib.values()),
                f"{took[-1].dropped:,}",
                f"{took[-1].stored:,}",
                "yes" if all(each.adds_up for each in took) else "NO",
            )
        )
    return Report(
        f"{events:,} events with no collector there",
        ("limit on disk", "memory grew by", "of that after the first try to send",
         "disk, at most", "dropped", "stored in the end", "adds up"),
        rows,
        figures,
        [f"Medians of {runs} runs; at the first try to send, httpx is imported."],
    )  # fmt: skip


if __name__ == "__main__":
    from .registry import run as run_benchmark

    print(run_benchmark("bounded", Effort.FULL).markdown())
