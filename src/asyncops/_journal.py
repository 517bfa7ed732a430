"""
The journal: a source's append-only file segments, written before anything is sent.

Knows frames, files and locks; has never heard of sessions. A directory per source, under one per
destination:

    lock            held by `flock` for as long as the source lives; says in JSON who that is
    00...0001.seg   frames; named after the first record number in it; the last one is being written
    acknowledged    the highest number the collector has stored, rewritten in place
    open            what is open at the moment, a line per change (see `Journal.note`)
    reserve         space to give up when the disk is full, so that an ending still fits

What the kernel has been given survives the death of the process, however it dies. So `append` is
one `os.write` of one framed record, done when it returns. mmap would be cheaper, but turns a full
disk or a truncated file into SIGBUS in the host program.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import msgspec

from ._frames import (
    EXPENDABLE,
    FINAL,
    Chunk,
    Reader,
    compact,
    delete_acknowledged,
    frame,
    open_new,
    remove_directory,
    segment_name,
    segment_names,
)
from ._wire import number_line

__all__ = [
    "FileJournal",
    "Journal",
    "MemoryJournal",
    "Readable",
    "acknowledgement",
    "read_acknowledgement",
    "set_aside",
]

SEGMENT_BYTES = 4 * 1_048_576
"""A segment is closed once it is this large: small enough to be deleted without a stall."""

RESERVE_BYTES = 65_536
"""How much space the reserve file holds back."""

MEMORY_BYTES = 8 * 1_048_576
"""How much is kept in memory while the disk takes nothing."""

RETRY_SECONDS = 1.0
"""How long a disk that took nothing is left alone."""


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

    def note(self, word: str) -> None:
        """
        Leave *word* for whoever adopts this journal, at once and in order.
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


class _Ring:
    """
    Records in memory, within a bound; the oldest expendable ones go first.
    """

    def __init__(self, max_bytes: int) -> None:
        self.records: deque[tuple[int, bytes, int]] = deque()
        self._bytes = 0
        self._max_bytes = max_bytes

    def append(self, seq: int, line: bytes, flags: int) -> int:
        """
        Keep a record; returns how many had to go for it.
        """
        self.records.append((seq, line, flags))
        self._bytes += len(line)
        gone = 0
        if self._bytes > self._max_bytes:
            kept: deque[tuple[int, bytes, int]] = deque()
            for record in self.records:
                if self._bytes > self._max_bytes * 3 // 4 and record[2] & EXPENDABLE:
                    self._bytes -= len(record[1])
                    gone += 1
                else:
                    kept.append(record)
            self.records = kept
        return gone

    def forget(self, seq: int) -> None:
        while self.records and self.records[0][0] <= seq:
            self._bytes -= len(self.records.popleft()[1])

    def chunk(self, after: int, max_records: int, max_bytes: int) -> Chunk | None:
        lines: list[bytes] = []
        numbers: list[int] = []
        size = 0
        for seq, line, _ in self.records:
            if seq > after:
                if lines and (len(lines) >= max_records or size + len(line) > max_bytes):
                    break
                lines.append(line)
                numbers.append(seq)
                size += len(line)
        return Chunk(lines, numbers) if lines else None


class _Numbering:
    """
    Gives each record its number, from any thread and from inside itself.
    """

    def __init__(self, wake: Callable[[int], None]) -> None:
        self.dropped: dict[str, int] = {}
        # Re-entrant: a signal handler or a finalizer may record while this thread holds it.
        self._lock = threading.RLock()
        self._wake = wake
        self._writing = False
        self._deferred: deque[tuple[bytes, int]] = deque()
        self._seq = 0
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
                self._number(line, flags)
                while self._deferred:
                    self._number(*self._deferred.popleft())
            finally:
                self._writing = False
        self._wake(self.unread)

    def _number(self, line: bytes, flags: int) -> None:
        # The number is spent first: an exception raised into us between these lines (a second
        # Ctrl-C) then leaves a hole that is noticed, not a number used twice that is not.
        seq = self._seq = self._seq + 1
        self._keep(number_line(line, seq) + b"\n", seq, flags)

    def _keep(self, line: bytes, seq: int, flags: int) -> None:
        raise NotImplementedError

    def _drop(self, reason: str, count: int) -> None:
        if count:
            self.dropped[reason] = self.dropped.get(reason, 0) + count

    @property
    def unread(self) -> int:
        raise NotImplementedError

    @property
    def backlog(self) -> int:
        return self._seq - self._acknowledged

    @property
    def last_seq(self) -> int:
        return self._seq


class MemoryJournal(_Numbering):
    """
    A journal that keeps nothing on disk: `durability="memory"`, or where no directory can be had.
    """

    def __init__(self, source: str, *, wake: Callable[[int], None] = lambda count: None) -> None:
        super().__init__(wake)
        self.source = source
        self._ring = _Ring(MEMORY_BYTES)
        self._read = 0

    def _keep(self, line: bytes, seq: int, flags: int) -> None:
        self._drop("memory", self._ring.append(seq, line, flags))

    def note(self, word: str) -> None:
        pass  # nobody can adopt what is not there

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

    @property
    def unread(self) -> int:
        return self._seq - self._read

    def seal(self) -> None:
        self._closed = True

    def close(self) -> None:
        self._closed = True

    def abandon(self) -> None:
        self._closed = True


class FileJournal(_Numbering):
    """
    A source's journal on disk.

    Args:
        root: The directory of one destination; made if it is not there.
        source: The id of the source.
        owner: Who this is, for people and for whoever adopts it.
        max_bytes: How much all journals under *root* may take together.
        fsync: Whether each record is forced to the disk itself.
        wake: Called after each record with how many are waiting to be read; must not raise.
        trouble: Called with a word for the kind and the error, when the disk takes nothing.

    Raises:
        OSError: The directory cannot be made.
    """

    def __init__(
        self,
        root: Path,
        source: str,
        *,
        owner: dict[str, Any],
        max_bytes: int,
        fsync: bool = False,
        wake: Callable[[int], None] = lambda count: None,
        trouble: Callable[[str, OSError], None] = lambda kind, error: None,
    ) -> None:
        super().__init__(wake)
        self.source = source
        self.directory = root / source
        self._root = root
        self._max_bytes = max_bytes
        self._fsync = fsync
        self._trouble = trouble
        self._size = 0
        self._ring = _Ring(MEMORY_BYTES)
        self._retry_at = 0.0
        self._compacted: set[str] = set()
        self._open_directory(root, owner)
        self._reader = Reader(self.directory, after=0)

    def _open_directory(self, root: Path, owner: dict[str, Any]) -> None:
        """
        Make the directory under a hidden name, and show it only when it is already locked.
        """
        _make_private(root)
        hidden = root / f".{self.source}"
        hidden.mkdir(mode=0o700)
        opened: list[int] = []
        try:
            for name, flags in (("lock", 0), ("acknowledged", 0), ("open", os.O_APPEND)):
                opened.append(open_new(hidden / name, flags))
            self._lock_fd, self._acknowledged_fd, self._open_fd = opened
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.write(self._lock_fd, msgspec.json.encode(owner))
            os.pwrite(self._acknowledged_fd, acknowledgement(0), 0)
            _reserve(hidden / "reserve")
            self._fd = open_new(hidden / segment_name(1), os.O_APPEND)
            hidden.rename(self.directory)
            if self._fsync:
                _sync_directory(self.directory)
                _sync_directory(root)
        except BaseException:
            for fd in opened:
                os.close(fd)
            remove_directory(hidden)
            raise

    # -- writing ------------------------------------------------------------------------------

    def _keep(self, line: bytes, seq: int, flags: int) -> None:
        if self._ring.records and not self._drain_ring():
            self._keep_in_memory(seq, line, flags)
            return
        try:
            self._write(line, seq, flags)
        except OSError as error:
            if not flags & EXPENDABLE and self._give_up_reserve():
                with contextlib.suppress(OSError):
                    self._write(line, seq, flags)
                    return
            self._trouble("disk", error)
            self._retry_at = time.monotonic() + RETRY_SECONDS
            self._keep_in_memory(seq, line, flags)

    def _write(self, line: bytes, seq: int, flags: int) -> None:
        data = frame(line, seq, flags)
        written = os.write(self._fd, data)
        if written != len(data):  # the disk is full in the middle of it
            # asked of the file, not remembered: an interrupt may have come between write and count
            end = os.lseek(self._fd, 0, os.SEEK_CUR)
            os.ftruncate(self._fd, end - written)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._size += written
        if self._fsync:
            os.fdatasync(self._fd)
        if self._size >= SEGMENT_BYTES:
            self._roll(seq + 1)

    def _roll(self, first_seq: int) -> None:
        """
        Begin the next segment; where that fails this one simply goes on growing.
        """
        try:
            fd = open_new(self.directory / segment_name(first_seq), os.O_APPEND)
        except OSError as error:
            self._trouble("disk", error)
            return
        os.close(self._fd)
        self._fd, self._size = fd, 0
        if self._fsync:
            _sync_directory(self.directory)
        self._keep_to_limit()

    def _keep_to_limit(self) -> None:
        """
        While the journals take too much space, drop the expendable records of the oldest segment.
        """
        with contextlib.suppress(OSError):
            for name in segment_names(self.directory)[:-1]:
                if _bytes_under(self._root) <= self._max_bytes:
                    return
                if name not in self._compacted:
                    self._compacted.add(name)
                    self._drop("journal_max_bytes", compact(self.directory / name))

    def _keep_in_memory(self, seq: int, line: bytes, flags: int) -> None:
        self._drop("disk", self._ring.append(seq, line, flags))

    def _drain_ring(self) -> bool:
        """
        Try to write what had to be kept in memory; says whether the disk is well again.
        """
        if time.monotonic() < self._retry_at:
            return False
        try:
            if not self.directory.is_dir():
                raise FileNotFoundError(
                    errno.ENOENT, os.strerror(errno.ENOENT), str(self.directory)
                )
            while self._ring.records:
                seq, line, flags = self._ring.records[0]
                self._write(line, seq, flags)
                self._ring.forget(seq)
        except OSError:
            self._retry_at = time.monotonic() + RETRY_SECONDS
            return False
        return True

    def _give_up_reserve(self) -> bool:
        try:
            os.unlink(self.directory / "reserve")
        except OSError:
            return False
        return True

    def note(self, word: str) -> None:
        with self._lock, contextlib.suppress(OSError):
            if not self._closed:
                os.write(self._open_fd, word.encode() + b"\n")
                if self._fsync:
                    os.fdatasync(self._open_fd)

    # -- reading ------------------------------------------------------------------------------

    def read(self, max_records: int, max_bytes: int) -> Chunk | None:
        chunk = self._reader.read(max_records, max_bytes)
        if chunk is None and self._ring.records:
            with self._lock:
                chunk = self._ring.chunk(self._reader.after, max_records, max_bytes)
                if chunk is not None:
                    self._reader.after = chunk.last
        return chunk

    def acknowledge(self, seq: int) -> None:
        if self._closed:
            return
        with self._lock:
            self._ring.forget(seq)
        # first the mark, then the files: the other way round a crash would lose the mark
        os.pwrite(self._acknowledged_fd, acknowledgement(seq), 0)
        self._acknowledged = seq
        delete_acknowledged(self.directory, seq)

    @property
    def unread(self) -> int:
        return self._seq - self._reader.after

    def set_aside(self, line: bytes, reason: str) -> None:
        set_aside(self._root, self.source, line, reason)

    def seal(self) -> None:
        with self._lock:
            if not self._closed:
                self._closed = True
                if self.backlog == 0:
                    remove_directory(self.directory)

    def close(self) -> None:
        self.seal()
        self._close_files()

    def abandon(self) -> None:
        self._closed = True
        self._close_files()

    def _close_files(self) -> None:
        self._reader.close()
        for fd in (self._fd, self._open_fd, self._acknowledged_fd, self._lock_fd):
            with contextlib.suppress(OSError):
                os.close(fd)


def _sync_directory(directory: Path) -> None:
    """
    Make the names in *directory* last: without it a file that was synced may be gone after a power
    loss all the same (`fsync(2)`).
    """
    with contextlib.suppress(OSError):
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _make_private(directory: Path) -> None:
    """
    Make *directory* and what is missing above it, for this user alone.
    """
    for missing in reversed(
        [path for path in (directory, *directory.parents) if not path.exists()]
    ):
        with contextlib.suppress(FileExistsError):
            missing.mkdir(mode=0o700)


def _bytes_under(root: Path) -> int:
    total = 0
    for segment in root.glob("*/*.seg"):
        with contextlib.suppress(OSError):
            total += segment.stat().st_size
    return total


def _reserve(path: Path) -> None:
    with contextlib.suppress(OSError):
        fd = open_new(path)
        try:
            os.write(fd, bytes(RESERVE_BYTES))
        finally:
            os.close(fd)


def set_aside(root: Path, source: str, line: bytes, reason: str) -> None:
    """
    Keep a *line* that no collector takes in `set-aside.ndjson`, for a person to look at.
    """
    entry = {"source": source, "reason": reason, "line": line.decode(errors="replace")}
    with contextlib.suppress(OSError):
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(root / "set-aside.ndjson", flags, 0o600)
        try:
            os.write(fd, msgspec.json.encode(entry) + b"\n")
        finally:
            os.close(fd)


def acknowledgement(seq: int) -> bytes:
    """
    What the file `acknowledged` says: of one length, so that it can be rewritten on a full disk.
    """
    text = b"%020d" % seq
    return b"%b %08x\n" % (text, zlib.crc32(text))


def read_acknowledgement(directory: Path) -> int:
    """
    The highest number acknowledged; 0 where that cannot be read, and everything is sent again.
    """
    try:
        text, _, crc = (directory / "acknowledged").read_bytes().partition(b" ")
        return int(text) if int(crc, 16) == zlib.crc32(text) else 0
    except (OSError, ValueError):
        return 0
