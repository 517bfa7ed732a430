"""
Journals that a dead process left behind: found, locked, finished, sent on.

Knows files and locks, as `_journal` does. What the last records of a dead source say is up to the
caller.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from ._frames import (
    FINAL,
    Chunk,
    Reader,
    delete_acknowledged,
    frame,
    open_new,
    remove_directory,
    segment_name,
)
from ._journal import acknowledgement, read_acknowledgement, set_aside
from ._wire import number_line

__all__ = ["AdoptedJournal", "adopt", "owner_of"]

LEFTOVER_SECONDS = 3_600
"""How old a directory that was never finished must be before it is removed."""


class AdoptedJournal:
    """
    The journal of a source that is dead, held by its lock.

    Attributes:
        owner: Who it was; {} where that cannot be read.
        open: The words noted, in order.
        last_seq: The highest number given.
        finished: Whether the source, or who adopted it before, wrote a final record.
    """

    def __init__(self, directory: Path, lock_fd: int) -> None:
        self.directory = directory
        self.source = directory.name
        self._lock_fd = lock_fd
        self.owner = owner_of(directory)
        self.open = _words(directory)
        self._acknowledged = read_acknowledgement(directory)
        self._reader = Reader(directory, after=self._acknowledged)
        self.last_seq = self._acknowledged
        self.finished = False
        self.last_line: bytes | None = None
        """The last record that is left."""
        self._survey()

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
        frames = [
            frame(
                number_line(line, seq) + b"\n",
                seq,
                FINAL if seq == self.last_seq + len(lines) else 0,
            )
            for seq, line in enumerate(lines, first)
        ]
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
        self.last_seq += len(lines)
        self.finished = True

    def read(self, max_records: int, max_bytes: int) -> Chunk | None:
        return self._reader.read(max_records, max_bytes)

    def set_aside(self, line: bytes, reason: str) -> None:
        set_aside(self.directory.parent, self.source, line, reason)

    def acknowledge(self, seq: int) -> None:
        with contextlib.suppress(OSError):
            (self.directory / "acknowledged").write_bytes(acknowledgement(seq))
        self._acknowledged = seq
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
    try:
        names = sorted(os.listdir(root))
    except OSError:
        return
    for name in names:
        directory = root / name
        fd = _lock_of(directory)
        if fd is None:
            continue
        if name.startswith("."):  # never finished
            with contextlib.suppress(OSError):
                if time.time() - directory.stat().st_mtime > LEFTOVER_SECONDS:
                    remove_directory(directory)
            os.close(fd)
            continue
        try:
            journal = AdoptedJournal(directory, fd)
        except OSError:
            os.close(fd)
            continue
        yield journal


def _lock_of(directory: Path) -> int | None:
    """
    The lock of a journal whose owner is gone, now ours; None where it has one or is no journal.
    """
    path = directory / "lock"
    try:
        fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # another may have adopted, delivered and removed it between our open and our lock
        if os.path.samestat(os.fstat(fd), os.stat(path)):
            return fd
    except OSError:
        pass
    os.close(fd)
    return None


def owner_of(directory: Path) -> dict[str, Any]:
    """
    Who owns the journal in *directory*, dead or alive; {} where that cannot be read.
    """
    try:
        owner = msgspec.json.decode((directory / "lock").read_bytes())
    except (OSError, msgspec.DecodeError):
        return {}
    return owner if isinstance(owner, dict) else {}


def _words(directory: Path) -> list[str]:
    try:
        data = (directory / "open").read_bytes()
    except OSError:
        return []
    return data.decode(errors="replace").split("\n")[:-1]
