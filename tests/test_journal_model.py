"""
The journal against a model of it: what was recorded is stored, waiting, or lost for a reason.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from books import Books, line_of
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from asyncops import _file_journal
from asyncops._adoption import adopt
from asyncops._directory import journals
from asyncops._file_journal import FileJournal
from asyncops._recovery import recover

SEGMENT_BYTES = 1_500
MEMORY_BYTES = 3_000
MAX_BYTES = 90_000
"""A journal's reserve is 64 KiB of it."""


class FullDisk:
    """
    Lets `os.write` fail as a full disk does, after so many more bytes.
    """

    def __init__(self) -> None:
        self.room: int | None = None
        self._write = os.write

    def write(self, fd: int, data: bytes) -> int:
        if self.room is None:
            return self._write(fd, data)
        if self.room <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = self._write(fd, data[: self.room])
        self.room -= written
        return written


class JournalMachine(RuleBasedStateMachine):
    """
    One source after another writes, is read, killed and adopted; the collector's books are the
    model: at the end every number is in them, as it was or with the reason why it is not.
    """

    @initialize()
    def begin(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="asyncops-model-"))
        self.disk = FullDisk()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(os, "write", self.disk.write)
        self.patch.setattr(_file_journal, "SEGMENT_BYTES", SEGMENT_BYTES)
        self.patch.setattr(_file_journal, "MEMORY_BYTES", MEMORY_BYTES)
        self.patch.setattr(_file_journal, "RETRY_SECONDS", 0.0)
        self.books: dict[str, Books] = {}
        self.recorded: dict[str, list[bytes]] = {}
        self.expendable: dict[str, set[int]] = {}
        self.expected_lost: dict[str, Counter[str]] = {}
        self.in_memory: dict[str, int] = {}
        self.alive: dict[str, bool] = {}
        self.new_journal()

    def new_journal(self) -> None:
        source = f"0198a0b0-0000-7000-8000-{len(self.books):012x}"
        self.books[source] = Books()
        self.recorded[source] = []
        self.expendable[source] = set()
        self.journal = FileJournal(self.root, source, owner={}, max_bytes=MAX_BYTES)
        self.alive[source] = True
        self.open: set[str] = set()

    @property
    def source(self) -> str:
        return self.journal.source

    # -- what happens ---------------------------------------------------------------------------

    @rule(count=st.integers(1, 25), size=st.integers(0, 300), expendable=st.booleans())
    def append(self, count: int, size: int, *, expendable: bool) -> None:
        for _ in range(count):
            lines = self.recorded[self.source]
            lines.append(line_of(len(lines) + 1, size))
            if expendable:
                self.expendable[self.source].add(len(lines))
            self.journal.append(lines[-1], expendable=expendable)

    @rule(word=st.sampled_from("abc"))
    def open_or_close(self, word: str) -> None:
        if word in self.open:
            self.open.discard(word)
            self.journal.closed(word)
        else:
            self.open.add(word)
            self.journal.opened(word)

    @rule(records=st.integers(1, 40), acknowledged=st.booleans())
    def read(self, records: int, *, acknowledged: bool) -> None:
        chunk = self.journal.read(records, 5_000)
        if chunk is not None:
            self.books[self.source].take(chunk)
        if acknowledged:
            self.journal.acknowledge(self.books[self.source].mark)

    @rule()
    def maintain(self) -> None:
        self.journal.maintain()

    @rule(room=st.integers(0, 600))
    def disk_fills_up(self, room: int) -> None:
        self.disk.room = room

    @rule()
    def disk_has_room_again(self) -> None:
        self.disk.room = None

    @rule()
    def crash(self) -> None:
        """
        The process is killed: memory is gone, the kernel keeps what it was given.
        """
        if self.journal.directory.exists():  # else it left nothing that could be found
            lost = self.books[self.source].lost | Counter(self.journal.dropped)
            lost["process_died"] += self.in_ring()
            self.expected_lost[self.source] = lost
        self.alive[self.source] = False
        self.journal._close_files()
        self.journal._reader.close()
        self.new_journal()

    @rule()
    def exit(self) -> None:
        # what was on its way, and had arrived, may be dropped and counted for want of an answer
        mark = self.books[self.source].mark
        arrived = sum(not kept.lost and kept.seq <= mark for kept in self.journal._ring.records)
        source = self.source
        self.journal.seal()
        self.crash()
        if source in self.expected_lost:
            self.expected_lost[source]["arrived all the same"] -= arrived

    @rule(records=st.integers(1, 40), batches=st.integers(0, 5))
    def adopter_is_killed_half_way(self, records: int, batches: int) -> None:
        for adopted in recover(self.root):
            for _ in range(batches):
                chunk = adopted.read(records, 10**6)
                if chunk is not None:
                    self.books[adopted.source].take(chunk)
                    adopted.acknowledge(chunk.last)
            adopted.close(delivered=False)

    @precondition(lambda self: self.disk.room is None)
    @rule()
    def adopter_delivers(self) -> None:
        for adopted in recover(self.root):
            self.books[adopted.source].take_all(adopted)
            adopted.close(delivered=True)

    # -- what must be true ----------------------------------------------------------------------

    def in_ring(self) -> int:
        """
        How many records are only in memory, and were neither counted as dropped nor delivered.
        """
        mark = self.books[self.source].mark
        return sum(not kept.lost and kept.seq > mark for kept in self.journal._ring.records)

    @invariant()
    def nobody_takes_a_live_journal(self) -> None:
        if self.journal.directory.exists():
            assert self.journal.directory not in [found.directory for found in held(self.root)]

    @invariant()
    def nothing_made_up(self) -> None:
        books = self.books[self.source]
        for seq, line in books.stored.items():
            assert line == b'{"seq":%d,%b\n' % (seq, self.recorded[self.source][seq - 1][1:])

    def teardown(self) -> None:
        if not hasattr(self, "root"):
            return
        try:
            self.disk.room = None
            self.settle()
        finally:
            self.patch.undo()
            shutil.rmtree(self.root)

    def settle(self) -> None:
        """
        The disk is well again, everything is delivered: now the books must be complete.
        """
        self.append(1, 10, expendable=False)
        self.books[self.source].take_all(self.journal)
        lost = Counter(self.journal.dropped)
        assert lost == self.books[self.source].lost
        assert self.books[self.source].are_complete(self.journal.last_seq)
        self.journal.close()
        for adopted in recover(self.root):
            self.books[adopted.source].take_all(adopted)
            adopted.close(delivered=True)
        assert [] == journals(self.root)
        for source, expected in self.expected_lost.items():
            self.check(source, expected)

    def check(self, source: str, expected: Counter[str]) -> None:
        books, recorded = self.books[source], self.recorded[source]
        own = {seq: line for seq, line in books.stored.items() if seq <= len(recorded)}
        for seq, line in own.items():
            assert line == b'{"seq":%d,%b\n' % (seq, recorded[seq - 1][1:])
        assert 0 == books.unexplained
        assert len(recorded) == len(own) + books.lost.total()
        assert expected.total() <= books.lost.total()


def held(root: Path) -> list[Any]:
    found = list(adopt(root))
    for each in found:
        each.close(delivered=False)
    return found


TestJournal = JournalMachine.TestCase
TestJournal.settings = settings(
    max_examples=40,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
