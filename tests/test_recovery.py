"""
What a dead source can no longer say, from what it left.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from asyncops._events import SourceEndedRecord
from asyncops._file_journal import FileJournal
from asyncops._recovery import recover
from asyncops._wire import encode

SOURCE = "0198a0b0-0000-7000-8000-00000000000a"
SESSION = "0198a0b0-0000-7000-8000-000000000001"


@pytest.mark.parametrize(
    ("seconds_before", "state", "reason"),
    [(0, "Cancelled", "SIGTERM"), (60, "Indeterminate", "process died")],
    ids=["at the end", "a minute before"],
)
def test_a_signal_counts_if_it_came_at_the_end(
    tmp_path: Path, seconds_before: int, state: str, reason: str
) -> None:
    """
    What went on recording for long after a signal did not die of it.
    """
    last = 1_800_000_000
    journal = FileJournal(tmp_path, SOURCE, owner={}, max_bytes=2**30)
    journal.opened(SESSION)
    journal.append(encode(SourceEndedRecord(at=last * 10**9)))
    signal = journal.directory / "signal-SIGTERM"
    signal.write_text("Current thread ...")
    os.utime(signal, (last - seconds_before,) * 2)
    journal.abandon()

    (recovered,) = recover(tmp_path)
    chunk = recovered.read(10, 10**6)
    assert chunk is not None
    told = json.loads(chunk.lines[1])
    assert (SESSION, state, reason) == (told["session"], told["state"], told["reason"])
    recovered.close(delivered=True)
