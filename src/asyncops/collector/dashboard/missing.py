"""
Why records are missing, in words.
"""

from __future__ import annotations

from collections.abc import Mapping

from .format import count

__all__ = ["missing_words"]

REASONS = {
    "journal_max_bytes": "dropped because the journals had reached the most they may take of the"
    " disk (journal_max_bytes)",
    "disk_full": "dropped because the disk was full",
    "quota": "dropped because the disk quota was used up",
    "read_only": "dropped because the disk could only be read",
    "permission": "dropped because the program was not allowed to write its journal",
    "journal_removed": "dropped because somebody removed the journal while the program ran",
    "io_error": "dropped because the disk failed",
    "memory_full": "dropped because there was no more room in memory",
    "process_died": "lost with the process: they were in memory only, because the disk took"
    " nothing",
    "rejected": "refused by this collector, because they were no valid records",
    "unreadable": "could not be read back, or never arrived",
    "unknown": "missing for a reason this collector does not know",
}
"""What became of the records that are missing for a reason; one for each of `MISSING_REASONS`."""


def missing_words(by_reason: Mapping[str, int]) -> str:
    """
    What became of the records missing *by_reason*, most first.
    """
    most_first = sorted(by_reason.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(
        f"{count(records)} {REASONS.get(reason, REASONS['unknown'])}"
        for reason, records in most_first
    )
