"""
How much of the disk the journals of one destination may take, all processes' together.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from ._directory import journals, read_marks, segment_names, take_lock
from ._frames import compact

__all__ = ["REASON", "keep_to_limit"]

REASON = "journal_max_bytes"
"""Why these records are dropped, in a word."""


def keep_to_limit(
    root: Path, max_bytes: int, *, own: Path, settled: int, kept: int, done: set[Path]
) -> int:
    """
    While the journals under *root* take more than *max_bytes*, drop the expendable records of the
    oldest segments: of our own journal and of those whose process is dead. Others look after
    themselves.

    Args:
        root: The directory of a destination.
        max_bytes: How much they may take.
        own: The directory of our own journal.
        settled: Of it, records up to this number are needed no more.
        kept: Of it, records up to this number are on their way and must stay.
        done: The segments this was done to before; added to.

    Returns:
        How many records of our own were dropped.
    """
    gone = 0
    excess = _bytes_under(root) - max_bytes
    for directory in journals(root) if excess > 0 else ():
        if excess <= 0:
            break
        if directory == own:
            dropped, freed = _compact(
                directory, segment_names(directory)[:-1], settled, kept, excess, done
            )
            gone += dropped
        else:
            freed = _compact_dead(directory, excess, done)
        excess -= freed
    return gone


def _compact_dead(directory: Path, excess: int, done: set[Path]) -> int:
    """
    Make the journal in *directory* smaller if its process is dead; returns by how many bytes.
    """
    lock = take_lock(directory)
    if lock is None:
        return 0
    try:
        freed = 0
        with contextlib.suppress(OSError):
            reserve = directory / "reserve"
            freed = reserve.stat().st_size
            reserve.unlink()
        settled, _ = read_marks(directory)
        return freed + _compact(directory, segment_names(directory), settled, 0, excess, done)[1]
    except OSError:
        return 0
    finally:
        os.close(lock)


def _compact(
    directory: Path, names: list[str], settled: int, kept: int, excess: int, done: set[Path]
) -> tuple[int, int]:
    """
    Returns how many records were dropped and how many bytes are free now that were not.
    """
    gone = freed = 0
    for path in (directory / name for name in names):
        if freed >= excess:
            break
        if path not in done:
            done.add(path)
            before = path.stat().st_size
            gone += compact(path, settled=settled, kept=kept, reason=REASON)
            freed += before - path.stat().st_size
    return gone, freed


def _bytes_under(root: Path) -> int:
    total = 0
    for path in root.glob("*/*"):
        with contextlib.suppress(OSError):
            total += path.lstat().st_size
    return total
