"""
The journal: what a source writes to and an exporter reads from. Has never heard of sessions.

`FileJournal` (`_file_journal`) keeps records on disk; `MemoryJournal` only in memory. Both give
each record its number here.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

import attrs

from ._frames import EXPENDABLE, FINAL, LOST, Chunk, lost_line
from ._wire import NUMBERED

__all__ = ["MEMORY_BYTES", "Journal", "MemoryJournal", "Numbering", "Readable", "Ring"]

MEMORY_BYTES = 8 * 1_048_576
"""How much is kept in memory where the disk takes nothing."""

NEVER = 2**63
"""A number no record will have."""

_NUMBERED_LINE = NUMBERED + b"\n"


class Readable(Protocol):
    """
    What an exporter needs of a journal.
    """

    source: str

    def read(self, max_records: int, max_bytes: int) -> Chunk | None:
        """
        What follows the last chunk read, or None where there is nothing yet.
        """
        ...

    def acknowledge(self, seq: int) -> None:
        """
        Everything up to *seq* is settled and may be forgotten.
        """
        ...

    def set_aside(self, line: bytes, reason: str) -> None:
        """
        The collector will never take *line*: keep it apart, with the reason.
        """
        ...


class Journal(Readable, Protocol):
    """
    What a source writes to. Any thread may write; one thread reads.
    """

    dropped: dict[str, int]
    """Records that were lost, by reason."""

    def append(self, line: bytes, *, expendable: bool = False, final: bool = False) -> None:
        """
        Number *line* (as `_wire.encode` made it) and keep it. Never raises `Exception`.

        Called again from inside itself, by a signal handler or a finalizer, it keeps the line
        just after the one that was interrupted.
        """
        ...

    def opened(self, word: str) -> None:
        """
        Tell whoever adopts this journal that *word* is open from now on. Never raises `Exception`.
        """
        ...

    def closed(self, word: str) -> None:
        """
        Tell whoever adopts this journal that *word* is open no longer. Never raises `Exception`.
        """
        ...

    def maintain(self) -> None:
        """
        See to what lies on the disk; called now and then by whoever reads. Never raises
        `Exception`.
        """
        ...

    def wake_when(self, unread: int) -> None:
        """
        Call `wake` once, with the record by which *unread* of them wait to be read. If that many
        wait already it is called with the next: whoever asks looks at `unread` afterwards.
        """
        ...

    @property
    def unread(self) -> int:
        """
        How many records wait to be read.
        """
        ...

    @property
    def backlog(self) -> int:
        """
        How many records are not acknowledged yet.
        """
        ...

    @property
    def last_seq(self) -> int:
        """
        The number of the last record.
        """
        ...

    @property
    def is_volatile(self) -> bool:
        """
        Whether records that wait would be gone with the process.
        """
        ...

    def seal(self) -> None:
        """
        Write no more. What is not acknowledged stays for whoever adopts it.
        """
        ...

    def close(self) -> None:
        """
        `seal`, and let go of the files; nobody may be reading any more.
        """
        ...

    def abandon(self) -> None:
        """
        In a forked child: let go of the parent's journal without touching it.
        """
        ...


@attrs.frozen
class _Kept:
    """
    A record in memory.

    Attributes:
        lost: How many records it stands for; 0 where it is one itself.
        reason: Why those were dropped.
    """

    seq: int
    line: bytes
    flags: int
    lost: int = 0
    reason: str = ""


class Ring:
    """
    Records in memory, within a bound; the oldest expendable ones go first, and what stands in their
    place says how many they were.
    """

    def __init__(self, max_bytes: int) -> None:
        self.records: deque[_Kept] = deque()
        self._bytes = 0
        self._max_bytes = max_bytes

    @property
    def last(self) -> int:
        """
        The number of the last record; 0 where there is none.
        """
        return self.records[-1].seq if self.records else 0

    def append(self, seq: int, line: bytes, flags: int) -> None:
        self.records.append(_Kept(seq, line, flags))
        self._bytes += len(line)

    def begin_with(self, seq: int, line: bytes, flags: int) -> None:
        """
        Keep a record that comes before all others.
        """
        self.records.appendleft(_Kept(seq, line, flags))
        self._bytes += len(line)

    def begin_with_lost(self, seq: int, count: int, reason: str) -> None:
        """
        Say, before all others, that record *seq* and those before it, *count* in all, are lost.
        """
        self.records.appendleft(self._stand_in(_Kept(seq, b"", 0), count, reason))

    def shed(self, reason: str, *, kept: int, everything: bool = False) -> int:
        """
        If there is too much, drop the oldest expendable records until it is a good deal less; where
        that is not enough, any.

        Args:
            reason: Why.
            kept: Records up to this number are on their way, and stay.
            everything: Whether to drop all that is expendable, however much there is.

        Returns:
            How many were dropped.
        """
        if everything:
            return self._shed(reason, kept, 0)
        gone = 0
        if self._bytes > self._max_bytes:
            gone = self._shed(reason, kept, self._max_bytes * 3 // 4)
        if self._bytes > self._max_bytes:
            gone += self._shed(reason, kept, self._max_bytes * 3 // 4, any_record=True)
        return gone

    def _shed(self, reason: str, kept: int, wanted_bytes: int, *, any_record: bool = False) -> int:
        left: deque[_Kept] = deque()
        gone = run = 0
        last: _Kept | None = None
        enough = False  # for good: what stands in for the dropped takes some room again
        for record in self.records:
            joins = 0
            if record.seq > kept:
                if record.lost:  # what was dropped before joins what is dropped now
                    joins = record.lost if record.reason == reason else 0
                elif not enough and (any_record or record.flags & EXPENDABLE):
                    joins = 1
                    gone += 1
            if joins:
                self._bytes -= len(record.line)
                enough = enough or self._bytes <= wanted_bytes
                last, run = record, run + joins
                continue
            if last is not None:
                left.append(self._stand_in(last, run, reason))
                last, run = None, 0
            left.append(record)
        if last is not None:
            left.append(self._stand_in(last, run, reason))
        self.records = left
        return gone

    def _stand_in(self, last: _Kept, count: int, reason: str) -> _Kept:
        line = lost_line(last.seq, count, reason, last=last.line)
        self._bytes += len(line)
        return _Kept(last.seq, line, LOST, count, reason)

    def forget(self, seq: int) -> None:
        while self.records and self.records[0].seq <= seq:
            self._bytes -= len(self.records.popleft().line)

    def chunk(self, after: int, max_records: int, max_bytes: int) -> Chunk | None:
        lines: list[bytes] = []
        numbers: list[int] = []
        size = 0
        for record in self.records:
            if record.seq > after:
                if lines and (len(lines) >= max_records or size + len(record.line) > max_bytes):
                    break
                lines.append(record.line)
                numbers.append(record.seq)
                size += len(record.line)
        return Chunk(lines, numbers) if lines else None


class Numbering:
    """
    Gives each record its number, from any thread and from inside itself.
    """

    def __init__(
        self, wake: Callable[[], None], lock: AbstractContextManager[object] | None = None
    ) -> None:
        self.dropped: dict[str, int] = {}
        # Re-entrant: a signal handler or a finalizer may record while this thread holds it.
        self._lock = lock or threading.RLock()
        self._wake = wake
        self._wake_at = NEVER
        self._writing = False
        self._deferred: deque[tuple[bytes, int]] = deque()
        self._seq = 0
        self._kept = 0
        self._acknowledged = 0
        self._closed = False

    def append(self, line: bytes, *, expendable: bool = False, final: bool = False) -> None:
        flags = (EXPENDABLE if expendable else 0) | (FINAL if final else 0)
        with self._lock:
            if self._closed:
                return
            if self._writing:
                self._deferred.append((line, flags))
                return
            self._writing = True
            try:
                if self._deferred:
                    self._deferred.append((line, flags))
                elif not self._number(line, flags):
                    self._deferred.appendleft((line, flags))
                if self._deferred:
                    try:  # noqa: SIM105 - nothing more may have to be called here
                        self._number_deferred()
                    except RecursionError:  # what waits goes on waiting
                        pass
            finally:
                self._writing = False
        if self._seq >= self._wake_at:
            wake_at, self._wake_at = self._wake_at, NEVER
            try:
                self._wake()
            except RecursionError:  # it is kept all the same; the next one will wake
                self._wake_at = wake_at

    def _number_deferred(self) -> None:
        """
        Keep what was recorded while we were at work.
        """
        while self._deferred:
            # It waits there until it is kept: what a signal handler of the program's raises into
            # us, at any moment, costs no record.
            line, flags = self._deferred[0]
            try:
                if not self._number(line, flags):
                    return
            except RecursionError:  # there was not even room for the call
                return
            self._deferred.popleft()

    def _number(self, line: bytes, flags: int) -> bool:
        """
        Keep a record; says whether there was room on the stack for that.
        """
        # The number is spent first: an exception raised into us between these lines (a second
        # Ctrl-C) then leaves a hole that is noticed, not a number used twice that is not.
        seq = self._seq = self._seq + 1
        try:
            self._keep(_NUMBERED_LINE % (seq, line[1:]), seq, flags)
        except RecursionError:
            # The program's own recursion (signal handlers within each other, say) leaves no room
            # for ours: whoever comes next, from less deep, brings this one along.
            if self._kept < seq:
                self._seq = seq - 1
                return False
        return True

    def _keep(self, line: bytes, seq: int, flags: int) -> None:
        raise NotImplementedError

    def _drop(self, reason: str, count: int) -> None:
        if count:
            self.dropped[reason] = self.dropped.get(reason, 0) + count

    def _read_up_to(self) -> int:
        """
        The number of the last record that was read.
        """
        raise NotImplementedError

    def wake_when(self, unread: int) -> None:
        self._wake_at = self._read_up_to() + unread

    @property
    def unread(self) -> int:
        return self._seq - self._read_up_to()

    @property
    def backlog(self) -> int:
        return self._seq - self._acknowledged

    @property
    def last_seq(self) -> int:
        return self._seq


class MemoryJournal(Numbering):
    """
    A journal that keeps nothing on disk: `durability="memory"`.
    """

    def __init__(
        self,
        source: str,
        *,
        wake: Callable[[], None] = lambda: None,
        lock: AbstractContextManager[object] | None = None,
    ) -> None:
        super().__init__(wake, lock)
        self.source = source
        self._ring = Ring(MEMORY_BYTES)
        self._read = 0

    def _keep(self, line: bytes, seq: int, flags: int) -> None:
        self._ring.append(seq, line, flags)
        self._kept = seq
        self._drop("memory_full", self._ring.shed("memory_full", kept=self._read))

    def opened(self, word: str) -> None:
        pass  # nobody can adopt what is not there

    def closed(self, word: str) -> None:
        pass

    def maintain(self) -> None:
        pass

    def read(self, max_records: int, max_bytes: int) -> Chunk | None:
        with self._lock:
            chunk = self._ring.chunk(self._read, max_records, max_bytes)
            if chunk is not None:
                self._read = chunk.last
            return chunk

    def acknowledge(self, seq: int) -> None:
        with self._lock:
            self._acknowledged = max(self._acknowledged, seq)
            self._ring.forget(seq)

    def set_aside(self, line: bytes, reason: str) -> None:
        self._drop("rejected", 1)

    def _read_up_to(self) -> int:
        return self._read

    @property
    def is_volatile(self) -> bool:
        return True

    def seal(self) -> None:
        self._closed = True

    def close(self) -> None:
        self._closed = True

    def abandon(self) -> None:
        self._closed = True
