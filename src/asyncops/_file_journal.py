"""
The journal on disk: a source's append-only segments, written before anything is sent.

What the kernel has been given survives the death of the process, however it dies. So `append` is
one `os.write` of one framed record, done when it returns. mmap would be cheaper, but turns a full
disk or a truncated file into SIGBUS in the host program.

While the disk takes nothing, records are kept in memory within a bound, and written when it takes
them again. That is also how it starts where its directory cannot be made, and how it gets over the
loss of it. What has to be dropped is counted, and a `lost` record stands in its place.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from ._directory import (
    Marks,
    delete_acknowledged,
    make_private,
    make_reserve,
    open_new,
    remove_directory,
    segment_name,
    set_aside,
    sync_directory,
    word_line,
)
from ._frames import EXPENDABLE, Chunk, Reader, frame, frames
from ._journal import MEMORY_BYTES, Numbering, Ring
from ._limit import REASON, keep_to_limit
from ._log import trouble

__all__ = ["FileJournal"]

SEGMENT_BYTES = 4 * 1_048_576
"""A segment is closed once it is this large: small enough to be deleted without a stall."""

SEGMENTS = 8
"""The journals may take at least this many segments; where that is too much, they are smaller."""

OPEN_BYTES = 65_536
"""How long the list of what is open may become before it is written anew."""

SPARE_SEGMENTS = 3
"""How many more there is room for when whoever reads has looked after the limit."""

PATIENCE_SECONDS = 0.25
"""How long a call that begins a segment for which there may be no room waits to look itself."""

RETRY_SECONDS = 1.0
"""How long a disk that took nothing is left alone, and how often the files are looked after."""

_REASONS = {
    errno.ENOSPC: "disk_full",
    errno.EDQUOT: "quota",
    errno.EFBIG: "quota",
    errno.EROFS: "read_only",
    errno.EACCES: "permission",
    errno.EPERM: "permission",
    errno.ENOENT: "journal_removed",
}
"""Why a record is dropped, in a word; docs/protocol.md has them."""


class FileJournal(Numbering):
    """
    A source's journal on disk. Making one never raises `Exception`.

    Args:
        root: The directory of one destination; made if it is not there.
        source: The id of the source.
        owner: Who this is, for people and for whoever adopts it.
        max_bytes: How much all journals under *root* may take together.
        fsync: Whether each record is forced to the disk itself.
        wake: Called as `wake_when` asks for it, from any thread; must not raise.
        made: Called with the directory once it is there, and again whenever it had to be made anew.
        lock: A re-entrant lock; one that is waited for patiently where None.
    """

    def __init__(
        self,
        root: Path,
        source: str,
        *,
        owner: dict[str, Any],
        max_bytes: int,
        fsync: bool = False,
        wake: Callable[[], None] = lambda: None,
        made: Callable[[Path], None] = lambda directory: None,
        lock: contextlib.AbstractContextManager[object] | None = None,
    ) -> None:
        super().__init__(wake, lock)
        self.source = source
        self.directory = root / source
        self._root = root
        self._owner = owner
        self._max_bytes = max_bytes
        self._segment_bytes = min(SEGMENT_BYTES, max_bytes // SEGMENTS)
        self._fsync = fsync
        self._made = made
        self._lock_fd = self._open_fd = self._fd = -1
        self._lock_stat = os.stat_result(range(10))
        self._marks: Marks | None = None
        self._size = 0
        self._segments: list[int] = []
        self._words: dict[str, None] = {}
        self._open_bytes = 0
        self._has_reserve = False
        self._ring = Ring(MEMORY_BYTES)
        self._reason = ""
        self._look_at = 0.0
        self._rolled = True
        self._begun = self._has_room = 0  # how many segments, and how many there is room for
        self._compacted: set[Path] = set()
        self._reader = Reader(self.directory, after=0)
        # Held while segments are read or rewritten: what is on its way must not be dropped.
        self._reading = threading.RLock()
        self._is_reading = False
        try:
            self._make_directory(1)
        except OSError as error:
            self._in_trouble(error)

    # -- writing ------------------------------------------------------------------------------

    def _keep(self, line: bytes, seq: int, flags: int) -> None:
        if (self._fd < 0 or self._ring.records) and not self._write_ring(seq):
            self._keep_in_memory(line, seq, flags)
            return
        try:
            self._write(line, seq, flags)
        except OSError as error:
            if not flags & EXPENDABLE and self._give_up_reserve():
                with contextlib.suppress(OSError):
                    self._write(line, seq, flags)
                    return
            self._in_trouble(error)
            self._keep_in_memory(line, seq, flags)

    def _write(self, line: bytes, seq: int, flags: int) -> None:
        # `_append` without the call: this is on every record's path
        data = frame(line, seq, flags)
        written = os.write(self._fd, data)
        if written != len(data):
            _take_back(self._fd, written)
        self._kept = seq
        size = self._size = self._size + written
        if self._fsync:
            os.fdatasync(self._fd)
        if size >= self._segment_bytes:
            self._roll(seq + 1)

    def _roll(self, first_seq: int) -> None:
        """
        Begin the next segment; where that fails this one simply goes on growing.
        """
        try:
            fd = open_new(self.directory / segment_name(first_seq), os.O_APPEND)
        except OSError as error:
            self._tell(error)
            return
        os.close(self._fd)
        self._fd, self._size = fd, 0
        self._segments.append(first_seq)
        self._rolled = True
        self._begun += 1
        if self._fsync:
            sync_directory(self.directory)
        self._keep_to_limit(1)

    def _keep_to_limit(self, spare: int) -> None:
        """
        Drop old events until there is room for so many *spare* segments.
        """
        try:
            # Who reads looks after the limit itself (`maintain`), so a call that records does not
            # wait for it, unless there is no room left for that; or we are called from inside a
            # read, by a finalizer.
            patience = PATIENCE_SECONDS if self._begun > self._has_room else 0
            if not self._reading.acquire(timeout=patience) or self._is_reading:
                return
            begun = self._begun
            gone = keep_to_limit(
                self._root, self._max_bytes - spare * self._segment_bytes, own=self.directory,
                settled=self._acknowledged, kept=self._reader.after, done=self._compacted,
            )  # fmt: skip
            self._has_room = begun + spare - 1  # one of them is being written
        except OSError:  # no room for the shorter segment, or no directory: another time
            return
        finally:
            # whether we have it is not remembered: Ctrl-C may have come right after we got it
            with contextlib.suppress(RuntimeError):
                self._reading.release()
        if gone:
            self._drop(REASON, gone)
            trouble(
                "limit",
                "the journals under %s have reached journal_max_bytes (%d): the oldest events that"
                " no collector has are dropped, and counted",
                self._root,
                self._max_bytes,
            )

    def _give_up_reserve(self) -> bool:
        if not self._has_reserve:
            return False
        self._has_reserve = False
        try:
            os.unlink(self.directory / "reserve")
        except OSError:
            return False
        return True

    # -- what is open -------------------------------------------------------------------------

    def opened(self, word: str) -> None:
        with self._lock:
            self._words[word] = None
            self._note(word_line(word, opened=True))

    def closed(self, word: str) -> None:
        with self._lock:
            self._words.pop(word, None)
            self._note(word_line(word, opened=False))

    def _note(self, line: bytes) -> None:
        if self._closed or self._open_fd < 0:
            return
        with contextlib.suppress(OSError):
            if self._open_bytes > OPEN_BYTES:
                self._note_anew()
                return
            try:
                self._open_bytes += _append(self._open_fd, line)
            except OSError:
                if self._give_up_reserve():
                    self._open_bytes += _append(self._open_fd, line)
            if self._fsync:
                os.fdatasync(self._open_fd)

    def _open_lines(self) -> bytes:
        return b"".join(word_line(word, opened=True) for word in self._words)

    def _note_anew(self) -> None:
        """
        Write what is open, and no more what was: a long life has many sessions.
        """
        self._open_bytes = 0  # whatever happens, not again at the next word
        hidden = self.directory / ".open"
        hidden.unlink(missing_ok=True)
        fd = open_new(hidden, os.O_APPEND)
        try:
            self._open_bytes = _append(fd, self._open_lines())
            if self._fsync:
                os.fdatasync(fd)
            hidden.rename(self.directory / "open")
        except BaseException:
            os.close(fd)
            raise
        os.close(self._open_fd)
        self._open_fd = fd

    # -- when the disk takes nothing ----------------------------------------------------------

    def _in_trouble(self, error: OSError) -> None:
        self._look_at = time.monotonic() + RETRY_SECONDS
        if not self._reason:
            self._tell(error)
        self._reason = _REASONS.get(error.errno or 0, "io_error")

    def _tell(self, error: OSError) -> None:
        trouble(
            "disk",
            "asyncops cannot write its journal under %s (%s): until it can, it keeps a little in"
            " memory, which is lost if this process is killed, and counts what it must drop;"
            " ASYNCOPS_JOURNAL_DIR names another directory",
            self._root,
            error,
        )

    def _keep_in_memory(self, line: bytes, seq: int, flags: int) -> None:
        self._ring.append(seq, line, flags)
        self._kept = seq
        self._drop(self._reason, self._ring.shed(self._reason, kept=self._reader.after))
        if self._marks is not None:
            self._marks.numbered(seq)

    def _write_ring(self, upcoming: int) -> bool:
        """
        Write what had to be kept in memory before record *upcoming*; says whether all of it is
        written, and the files are where they belong.
        """
        if time.monotonic() < self._look_at:
            return False
        try:
            if self._were_files_closed():
                return False
            if not self._is_whole():
                self._make_anew(upcoming)
            while self._ring.records:
                record = self._ring.records[0]
                self._write(record.line, record.seq, record.flags)
                self._ring.forget(record.seq)
        except OSError as error:
            self._in_trouble(error)
            return False
        self._reason = ""
        return True

    def _were_files_closed(self) -> bool:
        """
        Whether the program closed our files, as one does that turns itself into a daemon. Then the
        lock is gone, another process may deliver this journal, and it must not grow any more.
        """
        if self._lock_fd < 0:
            return False
        try:
            if os.path.samestat(os.fstat(self._lock_fd), self._lock_stat):
                return False
        except OSError as error:
            if error.errno != errno.EBADF:
                raise
        self._closed = True
        self._fd = self._open_fd = self._lock_fd = -1  # whoever has these numbers now
        self._marks = None
        trouble(
            "closed",
            "this program closed the files of asyncops: this process records no more in the journal"
            " under %s; the next one delivers what was recorded",
            self._root,
        )
        return True

    def _has_its_name(self) -> bool:
        """
        Whether our directory is still where others would find it.
        """
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            return os.path.samestat(self._lock_stat, os.stat(self.directory / "lock"))
        return False

    def _is_whole(self) -> bool:
        return self._fd >= 0 and self._has_its_name() and os.fstat(self._fd).st_nlink > 0

    def _make_anew(self, upcoming: int) -> None:
        """
        Make what is missing: the directory, which may never have been there, or the segment.
        """
        there = self._lock_fd >= 0 and (self._has_its_name() or self._restore_lock())
        if self._fd >= 0 and not (there and os.fstat(self._fd).st_nlink):
            self._save_segment(upcoming, others_remain=there)
        first = self._ring.records[0].seq if self._ring.records else upcoming
        if there and self._fd < 0:
            self._fd = open_new(self.directory / segment_name(first), os.O_APPEND)
            self._size = 0
            self._segments.append(first)
        elif not there:
            self._close_files()
            self._make_directory(first)

    def _restore_lock(self) -> bool:
        """
        If only the lock was removed, make another; says whether the directory is ours now.

        Raises:
            OSError: It cannot be made, or somebody else was faster.
        """
        if not (self.directory / segment_name(self._segments[-1])).exists():
            return False
        fd = open_new(self.directory / "lock")
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _append(fd, msgspec.json.encode(self._owner))
        except OSError:
            os.close(fd)
            raise
        os.close(self._lock_fd)
        self._lock_fd, self._lock_stat = fd, os.fstat(fd)
        return True

    def _save_segment(self, upcoming: int, *, others_remain: bool) -> None:
        """
        The segment that was being written has no name any more, but is still ours to read.
        """
        data = os.pread(self._fd, os.fstat(self._fd).st_size, 0)
        saved = [found for found in frames(data) if found.seq > self._acknowledged]
        for found in reversed(saved):
            self._ring.begin_with(found.seq, found.line, found.flags)
        before = (self._ring.records[0].seq if self._ring.records else upcoming) - 1
        safe = before if others_remain else max(self._acknowledged, self._readable_without_name())
        if before > safe:
            self._drop("journal_removed", before - safe)
            self._ring.begin_with_lost(before, before - safe, "journal_removed")
        if self._marks is not None:
            self._marks.numbered(self._ring.last)
        os.close(self._fd)
        self._fd = -1

    def _readable_without_name(self) -> int:
        """
        The last record the reader gets at in the segment it has open.
        """
        begun = self._reader.segment
        if begun is None:
            return self._reader.after
        return next((first for first in self._segments if first > begun), self._seq + 1) - 1

    def _make_directory(self, first_seq: int) -> None:
        """
        Make the directory under a hidden name, and show it only when it is whole and locked.
        """
        make_private(self._root)
        hidden = self._root / f".{self.source}"
        remove_directory(hidden)  # what an attempt left that could not even tidy up
        hidden.mkdir(mode=0o700)
        opened: list[int] = []
        try:
            for name, flags in (
                ("lock", 0), ("marks", 0), ("open", os.O_APPEND),
                (segment_name(first_seq), os.O_APPEND),
            ):  # fmt: skip
                opened.append(open_new(hidden / name, flags))
            lock_fd, marks_fd, open_fd, fd = opened
            fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _append(lock_fd, msgspec.json.encode(self._owner))
            marks = Marks(marks_fd)
            marks.begin(self._acknowledged, self._ring.last)
            open_bytes = _append(open_fd, self._open_lines())
            lock_stat = os.fstat(lock_fd)
            self._has_reserve = make_reserve(hidden)
            hidden.rename(self.directory)
            if self._fsync:
                sync_directory(self.directory)
                sync_directory(self._root)
        except BaseException:
            for fd in opened:
                os.close(fd)
            remove_directory(hidden)
            raise
        self._lock_fd, self._marks, self._open_fd, self._fd = lock_fd, marks, open_fd, fd
        self._lock_stat = lock_stat
        self._open_bytes, self._size, self._segments = open_bytes, 0, [first_seq]
        self._made(self.directory)

    def maintain(self) -> None:
        if time.monotonic() >= self._look_at:
            with self._lock:
                if not (self._closed or self._writing):
                    self._writing = True
                    try:
                        if self._write_ring(self._seq + 1):
                            self._look_at = time.monotonic() + RETRY_SECONDS
                            self._has_reserve = self._has_reserve or make_reserve(self.directory)
                        self._number_deferred()
                    finally:
                        self._writing = False
        if self._rolled and not self._closed:
            self._rolled = False
            # with room to spare, so that a call that records need not do it
            self._keep_to_limit(SPARE_SEGMENTS)

    # -- reading ------------------------------------------------------------------------------

    def read(self, max_records: int, max_bytes: int) -> Chunk | None:
        with self._reading:
            self._is_reading = True
            try:
                chunk = self._reader.read(max_records, max_bytes)
            except OSError:
                if self._segments:  # what is in memory comes after what is there
                    raise
                chunk = None
            finally:
                self._is_reading = False
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
            if self._marks is not None:
                self._marks.acknowledged(seq)
            self._acknowledged = seq
        delete_acknowledged(self.directory, seq)

    def _read_up_to(self) -> int:
        return self._reader.after

    @property
    def is_volatile(self) -> bool:
        return self._fd < 0 or bool(self._ring.records)

    def set_aside(self, line: bytes, reason: str) -> None:
        self._drop("rejected", 1)
        set_aside(self._root, self.source, line, reason)

    # -- the end ------------------------------------------------------------------------------

    def seal(self) -> None:
        with self._lock:
            if self._closed:
                return
            if self.backlog == 0:
                remove_directory(self.directory)
            elif self._ring.records:
                self._save_ending()
            self._closed = True

    def _save_ending(self) -> None:
        """
        The last chance for what is in memory: if not all of it, then at least what was no event.
        """
        self._look_at = 0.0
        if not self._write_ring(self._seq + 1):
            gone = self._ring.shed(self._reason, kept=0, everything=True)
            self._drop(self._reason, gone)
            self._give_up_reserve()
            self._look_at = 0.0
            self._write_ring(self._seq + 1)

    def close(self) -> None:
        self.seal()
        self._reader.close()
        self._close_files()

    def abandon(self) -> None:
        self._closed = True
        self._reader.close()
        self._close_files()

    def _close_files(self) -> None:
        for fd in (self._fd, self._open_fd, self._lock_fd):
            with contextlib.suppress(OSError):
                os.close(fd)
        self._fd = self._open_fd = self._lock_fd = -1
        if self._marks is not None:
            self._marks.close()
            self._marks = None


def _append(fd: int, data: bytes) -> int:
    """
    Write all of *data* at the end of a file, or nothing; returns how many bytes that are.

    Raises:
        OSError: The disk does not take it.
    """
    written = os.write(fd, data)
    if written != len(data):
        _take_back(fd, written)
    return written


def _take_back(fd: int, written: int) -> NoReturn:
    """
    The disk was full in the middle of a write: take back the *written* bytes.

    Raises:
        OSError: Always.
    """
    # asked of the file, not remembered: an interrupt may have come between write and count
    end = os.lseek(fd, 0, os.SEEK_CUR)
    os.ftruncate(fd, end - written)
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
