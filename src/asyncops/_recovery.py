"""
What a dead source can no longer say: how its sessions ended, told by whoever adopts its journal.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ._adoption import AdoptedJournal, adopt
from ._events import EndState, Record, SessionEndedRecord, SourceEndedRecord
from ._frames import recorded_at
from ._log import trouble
from ._signals import observed
from ._wire import encode

__all__ = ["ending_of_source", "recover"]

CANCELLING = frozenset({"SIGINT", "SIGTERM", "SIGHUP"})


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
    last_at, state, reason = ending_of_source(journal.directory, journal.last_line)
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


def ending_of_source(directory: Path, last_line: bytes | None) -> tuple[int, EndState, str]:
    """
    When the dead source of the journal in *directory* was last heard of (nanoseconds since the
    epoch), and how the sessions it had open ended, as far as anybody can tell.

    Args:
        directory: Where it lies.
        last_line: The last record that is left of it.
    """
    last_at = None if last_line is None else recorded_at(last_line)
    if last_at is None:
        last_at = max(path.stat().st_mtime_ns for path in directory.iterdir())
    state, reason = _ending(observed(directory))
    return last_at, state, reason


def _ending(signal: str | None) -> tuple[EndState, str]:
    if signal is None:
        return EndState.INDETERMINATE, "process died"
    return (EndState.CANCELLED if signal in CANCELLING else EndState.FAIL), signal
