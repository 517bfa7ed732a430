"""
Journals that a dead process left behind: found, locked, finished, sent on.

Knows files and locks, as `_file_journal` does. What the last records of a dead source say is up to
the caller.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path

from ._directory import (
    Marks,
    delete_acknowledged,
    journals,
    open_new,
    open_words,
    owner_of,
    read_marks,
    remove_directory,
    segment_name,
    set_aside,
    take_lock,
)
from ._frames import FINAL, LOST, Chunk, Reader, frame, lost_line
from ._wire import number_line

__all__ = ["AdoptedJournal", "adopt"]

LEFTOVER_SECONDS = 3_600
"""How old a directory that was never finished must be before it is removed."""


class AdoptedJournal:
    """
    The journal of a source that is dead, held by its lock.

    Attributes:
        owner: Who it was; {} where that cannot be read.
        open: What was open in the end.
        last_seq: The highest number given, as far as the files tell.
        unwritten: How many records had a number after that one, but were only in memory.
        finished: Whether the source, or who adopted it before, wrote a final record.
    """

    def __init__(self, directory: Path, lock_fd: int) -> None:
        self.directory = directory
        self.source = directory.name
        self._lock_fd = lock_fd
        self.owner = owner_of(directory)
        self.open = open_words(directory)
        self._acknowledged, numbered = read_marks(directory)
        self._reader = Reader(directory, after=self._acknowledged)
        self.last_seq = self._acknowledged
        self.finished = False
        self.last_line: bytes | None = None
        """The last record that is left."""
        self._survey()
        self.unwritten = max(numbered - self.last_seq, 0)

    def _survey(self) -> None:
        survey = Reader(self.directory, after=0)
        with contextlib.closing(survey):
            while (chunk := survey.read(1_000, 4 * 1_048_576)) is not None:
                self.last_line = chunk.lines[-1]
                self.last_seq = max(self.last_seq, chunk.last)
        self.finished = survey.finished

    def append_final(self, lines: list[bytes]) -> None:
        """
        Add the last records, of which the last is final; all of them or, if we are killed, none.

        Raises:
            OSError: The disk does not take them.
        """
        first = self.last_seq + 1
        frames = []
        if self.unwritten:
            seq = self.last_seq + self.unwritten
            line = lost_line(seq, self.unwritten, "process_died", last=self.last_line or b"")
            frames.append(frame(line, seq, LOST))
        last = self.last_seq + self.unwritten + len(lines)
        for seq, line in enumerate(lines, last - len(lines) + 1):
            frames.append(frame(number_line(line, seq) + b"\n", seq, FINAL if seq == last else 0))
        hidden = self.directory / ".final"
        with contextlib.suppress(FileNotFoundError):
            hidden.unlink()
        (self.directory / "reserve").unlink(missing_ok=True)
        fd = open_new(hidden)
        try:
            data = b"".join(frames)
            if os.write(fd, data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(fd)
        hidden.rename(self.directory / segment_name(first))
        self.last_seq, self.unwritten = last, 0
        self.finished = True

    def read(self, max_records: int, max_bytes: int) -> Chunk | None:
        return self._reader.read(max_records, max_bytes)

    def set_aside(self, line: bytes, reason: str) -> None:
        set_aside(self.directory.parent, self.source, line, reason)

    def acknowledge(self, seq: int) -> None:
        with contextlib.suppress(OSError):
            fd = os.open(self.directory / "marks", os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                Marks(fd).acknowledged(seq)
            finally:
                os.close(fd)
        delete_acknowledged(self.directory, seq)

    def close(self, *, delivered: bool) -> None:
        """
        Let go of it: for good where everything was delivered, else for the next one to adopt.
        """
        self._reader.close()
        if delivered:
            remove_directory(self.directory)
        os.close(self._lock_fd)


def adopt(root: Path) -> Iterator[AdoptedJournal]:
    """
    The journals under *root* (of one destination) whose source is dead, each locked by us.

    The kernel's lock decides, not a pid: it is released with the process, however that ends, and
    cannot be mistaken for another's. Whoever takes one must `close` it.
    """
    _remove_leftovers(root)
    for directory in journals(root):
        fd = take_lock(directory)
        if fd is None:
            with contextlib.suppress(OSError):
                os.rmdir(directory)  # does so only where somebody was killed just before doing it
            continue
        try:
            journal = AdoptedJournal(directory, fd)
        except OSError:
            os.close(fd)
            continue
        yield journal


def _remove_leftovers(root: Path) -> None:
    """
    Remove directories that were never finished; one that is just being made is left alone.
    """
    for directory in root.glob(".*-*-*-*-*"):
        with contextlib.suppress(OSError):
            if time.time() - directory.stat().st_mtime > LEFTOVER_SECONDS:
                fd = take_lock(directory)
                if fd is not None:
                    remove_directory(directory)
                    os.close(fd)
