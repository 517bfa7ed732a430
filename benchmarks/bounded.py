"""
How much memory and disk a program takes that records 500,000 events while no collector is there.

`python -m benchmarks.bounded [EVENTS]`: a real program, once with the default limit and once with
8 MB; then a collector comes, and what is stored and what is counted as missing must add up.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import attrs

TESTS = Path(__file__).parents[1] / "tests"

PROGRAM = """
import asyncops, psutil, sys, threading
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
    for n in range(1, events):
        asyncops.record(asyncops.ActionEvent(name=str(n), params="x" * 100))
        if n % 1_000 == 0:
            most = max(most, here.memory_info().rss)
            most_disk = max(most_disk, disk())
dropped = session._active.client._journal.dropped
print(session.id, most - before, most_disk, dropped.get("journal_max_bytes", 0))
"""


@attrs.frozen
class Bounded:
    """
    What a program took and kept.

    Attributes:
        recorded: Events recorded.
        memory_bytes: By how much it grew.
        disk_bytes: The most its journals took.
        limit_bytes: The most they may take.
        dropped: Records it says it dropped.
        stored: Events in the collector afterwards.
        missing: Records the collector says are missing, by reason.
    """

    recorded: int
    memory_bytes: int
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


def bounded(directory: Path, *, events: int, limit_bytes: int, port: int) -> Bounded:
    """
    Record *events* with nobody at *port*, then let a collector come.
    """
    sys.path[:0] = [str(TESTS)]
    from processes import collector, until

    journal_dir = directory / "journal"
    os.environ["ASYNCOPS_JOURNAL_DIR"] = str(journal_dir)
    os.environ["ASYNCOPS_DB"] = str(directory / "collector.db")
    environment = {
        **os.environ,
        "ASYNCOPS_ENDPOINT": f"http://127.0.0.1:{port}",
        "ASYNCOPS_JOURNAL_MAX_BYTES": str(limit_bytes),
    }
    path = directory / "program.py"
    path.write_text(textwrap.dedent(PROGRAM))
    done = subprocess.run(
        [sys.executable, str(path), str(events), str(journal_dir)],
        env=environment, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    session_id, memory_bytes, disk_bytes, dropped = done.stdout.split()
    with collector(port) as serving:
        until(lambda: not list(journal_dir.glob("*/*/lock")), seconds=300)
        session = serving.session(session_id)
    return Bounded(
        events, int(memory_bytes), int(disk_bytes), limit_bytes, int(dropped),
        session["events"], session["missing_by_reason"],
    )  # fmt: skip


def main() -> None:
    events = int(sys.argv[1]) if len(sys.argv) > 1 else 500_000
    print(
        "| events | limit on disk | memory grew by | disk, at most | dropped | stored | missing |"
    )
    print("|---|---|---|---|---|---|---|")
    for limit_bytes in (256 * 1_048_576, 8 * 1_048_576):
        with tempfile.TemporaryDirectory() as name:
            took = bounded(Path(name), events=events, limit_bytes=limit_bytes, port=42_319)
        print(
            f"| {took.recorded:,} | {limit_bytes / 1_048_576:.0f} MiB"
            f" | {took.memory_bytes / 1_048_576:.1f} MiB | {took.disk_bytes / 1_048_576:.1f} MiB"
            f" | {took.dropped:,} | {took.stored:,} | {took.missing}"
            f"{'' if took.adds_up else ' DOES NOT ADD UP'} |"
        )


if __name__ == "__main__":
    main()
