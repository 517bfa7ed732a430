"""
What a journal holds, counted without touching it: the ledger of one source.

Every number a source gave is accounted for once:

    recorded = acknowledged + waiting + lost (by reason) + unreadable + in memory
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs

from ._directory import is_held, open_words, owner_of, read_marks, segment_names
from ._events import LostRecord
from ._exceptions import DecodeError
from ._frames import FINAL, FRAME_BYTES, LOST, Frame, frames, recorded_at
from ._wire import decode

__all__ = ["Survey", "survey"]

LOOKS = 3
"""How often a journal that changes while it is read is looked at."""


@attrs.frozen(kw_only=True)
class Survey:
    """
    The ledger of a source.

    Attributes:
        directory: Where its journal lies.
        owner: Who it is, as it said itself; {} where that cannot be read.
        held: Whether its process, or one that adopts it, has it at the moment.
        recorded: How many records it numbered.
        acknowledged: How many of them the collector has settled.
        waiting: How many are still to be delivered.
        lost: How many were dropped, by reason, as far as the collector does not know it yet.
        unreadable: How many are gone without a word: the files were damaged.
        in_memory: How many were only in the memory of its process, the disk having taken nothing.
        damaged_bytes: How much of the files is no record.
        total_bytes: How much of the disk it takes.
        oldest_at: When the oldest record that waits was recorded, nanoseconds since the epoch.
        last_line: The last record that waits.
        open: The sessions that were open.
        finished: Whether the source, or who adopted it, wrote its last record.
    """

    directory: Path
    owner: dict[str, Any]
    held: bool
    recorded: int
    acknowledged: int
    waiting: int
    lost: dict[str, int]
    unreadable: int
    in_memory: int
    damaged_bytes: int
    total_bytes: int
    oldest_at: int | None
    last_line: bytes | None
    open: list[str]
    finished: bool


def survey(directory: Path) -> Survey:
    """
    The ledger of the journal in *directory*. One that is alive is in motion, so its figures are
    those of a moment.

    Raises:
        OSError: It is gone, or cannot be read.
    """
    for look in range(LOOKS):
        found = _survey(directory)
        # segments that were delivered and deleted while we read look like damage
        if not found.held or not (found.unreadable or found.damaged_bytes) or look == LOOKS - 1:
            break
    return found


def _survey(directory: Path) -> Survey:
    held = is_held(directory)
    acknowledged, numbered = read_marks(directory)
    lost: dict[str, int] = {}
    waiting = unreadable = damaged_bytes = 0
    at = acknowledged
    first: Frame | None = None
    last: Frame | None = None
    for name in segment_names(directory):
        data = (directory / name).read_bytes()
        damaged_bytes += len(data)
        for found in frames(data):
            damaged_bytes -= FRAME_BYTES + len(found.line)
            if found.seq <= acknowledged:
                continue
            first, last = first or found, found
            count, reason = _stands_for(found)
            gap = max(found.seq - count - at, 0)
            unreadable += gap
            if reason is None:
                waiting += 1
            else:
                lost[reason] = lost.get(reason, 0) + found.seq - at - gap
            at = max(at, found.seq)
    return Survey(
        directory=directory,
        owner=owner_of(directory),
        held=held,
        recorded=max(at, numbered),
        acknowledged=acknowledged,
        waiting=waiting,
        lost=lost,
        unreadable=unreadable,
        in_memory=max(numbered - at, 0),
        damaged_bytes=damaged_bytes,
        total_bytes=sum(path.lstat().st_size for path in directory.iterdir()),
        oldest_at=None if first is None else recorded_at(first.line),
        last_line=None if last is None else last.line,
        open=open_words(directory),
        finished=last is not None and bool(last.flags & FINAL),
    )


def _stands_for(found: Frame) -> tuple[int, str | None]:
    """
    For how many numbers a frame stands, and, if for dropped ones, why those were dropped.
    """
    if found.flags & LOST:
        try:
            record = decode(found.line)
        except DecodeError:
            return 1, None
        if isinstance(record, LostRecord):
            return record.count, record.reason
    return 1, None
