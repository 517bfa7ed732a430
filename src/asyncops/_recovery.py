"""
What a dead source can no longer say: how its sessions ended, told by whoever adopts its journal.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from ._adoption import AdoptedJournal, adopt
from ._events import EndState, Record, SessionEndedRecord, SourceEndedRecord
from ._exceptions import DecodeError
from ._log import trouble
from ._signals import Observation, observed
from ._wire import decode, encode

__all__ = ["recover"]

CANCELLING = frozenset({"SIGINT", "SIGTERM", "SIGHUP"})

GRACE_SECONDS = 5.0
"""A process that went on recording for longer than this after a signal did not die of it."""


def recover(root: Path) -> Iterator[AdoptedJournal]:
    """
    The journals under *root* whose source is dead, finished and ready to be delivered.

    A journal is locked from when it is yielded until its `close`. One that cannot be finished (the
    disk is full) is left for the next time.
    """
    for journal in adopt(root):
        try:
            if not journal.finished:
                journal.append_final([encode(record) for record in _last_records(journal)])
        except Exception as error:
            trouble(
                "adoption", "asyncops cannot finish the journal %s: %r", journal.directory, error
            )
            journal.close(delivered=False)
            continue
        yield journal


def _last_records(journal: AdoptedJournal) -> list[Record]:
    last_at = _last_at(journal)
    state, reason = _ending(observed(journal.directory), last_at)
    records: list[Record] = [
        SessionEndedRecord(
            at=last_at,
            session=session,
            said_by="adopter",
            ended_at=last_at,
            state=state,
            reason=reason,
        )
        for session in journal.open
    ]
    return [*records, SourceEndedRecord(at=last_at)]


def _last_at(journal: AdoptedJournal) -> int:
    """
    When the source was last heard of, nanoseconds since the epoch.
    """
    if journal.last_line is not None:
        with contextlib.suppress(DecodeError):
            return decode(journal.last_line).at
    newest = max(path.stat().st_mtime_ns for path in journal.directory.iterdir())
    return int(newest)


def _ending(signal: Observation | None, last_at: int) -> tuple[EndState, str]:
    if signal is None or signal.at + GRACE_SECONDS < last_at / 1e9:
        return EndState.INDETERMINATE, "process died"
    if signal.name in CANCELLING:
        return EndState.CANCELLED, signal.name
    return EndState.FAIL, signal.name
