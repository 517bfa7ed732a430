"""
What a collector keeps of one source, as simply as it can be said: for tests of the journal.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Protocol

import attrs

from asyncops._frames import Chunk

__all__ = ["Books", "line_of"]


class Readable(Protocol):
    def read(self, max_records: int, max_bytes: int) -> Chunk | None: ...

    def acknowledge(self, seq: int) -> None: ...


def line_of(number: int, size: int) -> bytes:
    """
    A line that tells which it is, so that a made-up one is known.
    """
    return b'{"n":%d,"x":"%b"}' % (number, b"x" * size)


@attrs.define
class Books:
    """
    Attributes:
        mark: The highest number that is settled.
        stored: The records there are, by number.
        lost: How many numbers are known to be lost, by reason.
        unexplained: How many numbers are missing, and nobody says why.
    """

    mark: int = 0
    stored: dict[int, bytes] = attrs.field(factory=dict)
    lost: Counter[str] = attrs.field(factory=Counter)
    unexplained: int = 0

    def take(self, chunk: Chunk) -> None:
        for line, seq in zip(chunk.lines, chunk.numbers, strict=True):
            record = json.loads(line)
            assert seq == record["seq"]
            if seq <= self.mark:
                continue
            gap = seq - self.mark - 1
            if record.get("type") == "lost":
                assert record["count"] >= 1
                # what it stands for may have been there before: then less is missing
                told = min(record["count"] - 1, gap)
                self.lost[record["reason"]] += told + 1
                gap -= told
            else:
                self.stored[seq] = line
            self.unexplained += gap
            self.mark = seq

    def take_all(self, journal: Readable, *, records: int = 7) -> None:
        """
        Take and acknowledge all there is to read; a disk that fails in between is asked again.
        """
        while True:
            try:
                chunk = journal.read(records, 10**6)
            except OSError:
                continue
            if chunk is None:
                return
            self.take(chunk)
            journal.acknowledge(self.mark)

    def are_complete(self, last_seq: int) -> bool:
        """
        Whether every number up to *last_seq* is accounted for.
        """
        return self.mark == last_seq == len(self.stored) + self.lost.total() + self.unexplained
