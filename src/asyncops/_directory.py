"""
The directory of one journal: which files lie in it, how they are made, and whose it is.

    lock            held by `flock` for as long as the source lives; says in JSON who that is
    00...0001.seg   frames (`_frames`), named after the first record number in it; the last one is
                    being written
    marks           the highest number that is acknowledged, and the highest that was given while
                    the disk took nothing; rewritten in place
    open            what is open at the moment, a line with a checksum per change
    reserve         space to give up when the disk is full, so that an ending still fits
    signal-...      which signals the process got (`_signals`)

It lies with others under one directory per destination, whose name begins with a dot until it is
whole and locked.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import os
import re
import resource
import stat
import zlib
from pathlib import Path
from typing import Any

import msgspec

__all__ = [
    "SET_ASIDE",
    "Marks",
    "delete_acknowledged",
    "is_held",
    "journals",
    "make_private",
    "make_reserve",
    "open_new",
    "open_words",
    "owner_of",
    "read_marks",
    "remove_directory",
    "segment_name",
    "segment_names",
    "set_aside",
    "sync_directory",
    "take_lock",
    "word_line",
]

RESERVE_BYTES = 65_536
"""How much space the reserve file holds back."""

SET_ASIDE_BYTES = 16 * 1_048_576
"""How large the file of refused records may become."""

SET_ASIDE = "set-aside.ndjson"
"""Where refused records are kept, beside the journals of a destination."""

_UUID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


# -- files ------------------------------------------------------------------------------------


def make_private(directory: Path) -> None:
    """
    Make *directory* and what is missing above it, for this user alone.

    Raises:
        OSError: It cannot be made, or somebody else may have made it.
    """
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    _refuse_planted(missing[-1].parent if missing else directory)
    for path in reversed(missing):
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
    _refuse_planted(directory)  # another may have been quicker


def _refuse_planted(directory: Path) -> None:
    """
    Refuse a *directory* under one for everybody, such as /tmp, where the name there is not this
    user's alone: whoever took it first could read, replace or lead elsewhere what is in it.

    Raises:
        PermissionError: It is somebody else's, a link, or others may write to it.
    """
    shared = stat.S_ISVTX | stat.S_IWOTH
    for path in (directory, *directory.parents):
        if path.parent.stat().st_mode & shared == shared:
            status = path.lstat()
            if (
                not stat.S_ISDIR(status.st_mode)
                or status.st_uid not in (os.geteuid(), 0)
                or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
            ):
                raise PermissionError(errno.EPERM, "others may have made or may change", str(path))


def open_new(path: Path, flags: int = 0) -> int:
    """
    A new file of this user's alone; never one that is there already, nor through a link.

    Raises:
        OSError: It cannot be made.
    """
    return _keep_clear(
        os.open(
            path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC | flags, 0o600
        )
    )


def _keep_clear(fd: int) -> int:
    """
    *fd*, moved to where the host program's descriptors hardly ever are.

    A program that turns itself into a daemon closes every descriptor and then opens files of its
    own, which get the lowest numbers that are free. What is written to ours must not end up there.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = (1024 if soft == resource.RLIM_INFINITY else min(soft, 1024)) * 7 // 8
    try:
        clear = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, lowest)
    except OSError:  # there is no room up there
        return fd
    os.close(fd)
    return clear


def make_reserve(directory: Path) -> bool:
    """
    Hold back some space; says whether there is any to hold.
    """
    path = directory / "reserve"
    try:
        fd = open_new(path)
        try:
            whole = os.write(fd, bytes(RESERVE_BYTES)) == RESERVE_BYTES
        finally:
            os.close(fd)
        if not whole:
            path.unlink()
    except OSError:
        return False
    return whole


def remove_directory(directory: Path) -> None:
    """
    Remove a journal's directory and the files in it; says nothing where it cannot.
    """
    with contextlib.suppress(OSError):
        # the lock last: whoever finds the rest of it can then finish this
        for name in sorted(os.listdir(directory), key="lock".__eq__):
            os.unlink(directory / name)
        os.rmdir(directory)


def sync_directory(directory: Path) -> None:
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


# -- segments ---------------------------------------------------------------------------------


def segment_name(first_seq: int) -> str:
    """
    The name of the segment that begins with record *first_seq*; names sort as their numbers do.
    """
    return f"{first_seq:020d}.seg"


def segment_names(directory: Path) -> list[str]:
    """
    The segments in *directory*, oldest first.

    Raises:
        OSError: There is no such directory.
    """
    return sorted(
        name for name in os.listdir(directory) if name.endswith(".seg") and name[0] != "."
    )


def delete_acknowledged(directory: Path, seq: int) -> None:
    """
    Delete the segments that hold nothing after *seq*; never the last, which is being written.
    """
    with contextlib.suppress(OSError, ValueError):
        for name, following in itertools.pairwise(segment_names(directory)):
            if int(following.removesuffix(".seg")) > seq + 1:
                break
            os.unlink(directory / name)


# -- marks ------------------------------------------------------------------------------------


class Marks:
    """
    How far things are, in a file of fixed length, so that it can be rewritten on a full disk.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def begin(self, acknowledged: int, numbered: int) -> None:
        """
        Make the file as long as it will be.

        Raises:
            OSError: The disk is full.
        """
        os.pwrite(self._fd, _mark(acknowledged) + _mark(numbered), 0)

    def acknowledged(self, seq: int) -> None:
        """
        The collector has stored everything up to *seq*.
        """
        self._write(_mark(seq), 0)

    def numbered(self, seq: int) -> None:
        """
        *seq* was given to a record that could not be written.
        """
        self._write(_mark(seq), len(_mark(0)))

    def _write(self, mark: bytes, at: int) -> None:
        with contextlib.suppress(OSError):  # then records are sent again, and stored once
            os.pwrite(self._fd, mark, at)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self._fd)


def _mark(seq: int) -> bytes:
    text = b"%020d" % seq
    return b"%b %08x\n" % (text, zlib.crc32(text))


def read_marks(directory: Path) -> tuple[int, int]:
    """
    The highest number acknowledged and the highest that could not be written; 0 for one that cannot
    be read: then everything is sent again.
    """
    try:
        lines = (directory / "marks").read_bytes().split(b"\n")
    except OSError:
        return 0, 0
    found = [0, 0]
    for position, line in enumerate(lines[:2]):
        text, _, crc = line.partition(b" ")
        with contextlib.suppress(ValueError):
            if int(crc, 16) == zlib.crc32(text):
                found[position] = int(text)
    return found[0], found[1]


# -- what is open -----------------------------------------------------------------------------


def word_line(word: str, *, opened: bool) -> bytes:
    """
    The line that says that *word* is open from now on, or no longer.
    """
    text = b"%b%b" % (b"+" if opened else b"-", word.encode())
    return b"%b %08x\n" % (text, zlib.crc32(text))


def open_words(directory: Path) -> list[str]:
    """
    What was open when the file was last written. A line that is damaged says nothing.
    """
    try:
        data = (directory / "open").read_bytes()
    except OSError:
        return []
    still: dict[str, None] = {}
    for line in data.split(b"\n"):
        text, _, crc = line.rpartition(b" ")
        if crc != b"%08x" % zlib.crc32(text):
            continue
        word = text[1:].decode(errors="replace")
        if text.startswith(b"+"):
            still[word] = None
        else:
            still.pop(word, None)
    return list(still)


# -- which there are, and whose they are -------------------------------------------------------


def journals(root: Path) -> list[Path]:
    """
    The directories of journals under *root*, the oldest first: their names, being UUIDs of version
    7, tell the time. Whatever else lies there is nobody's business.
    """
    try:
        _refuse_planted(root)
        with os.scandir(root) as entries:
            names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []
    return [root / name for name in sorted(names) if _UUID.fullmatch(name)]


def take_lock(directory: Path) -> int | None:
    """
    The lock of a journal whose owner is gone, now ours; None where it has one or is no journal.

    The kernel's lock decides, not a pid: it is released with the process, however that ends, and
    cannot be mistaken for another's.
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


def is_held(directory: Path) -> bool:
    """
    Whether somebody, its owner or who adopts it, has the journal in *directory*.

    Raises:
        OSError: That cannot be asked.
    """
    fd = os.open(directory / "lock", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def owner_of(directory: Path) -> dict[str, Any]:
    """
    Who owns the journal in *directory*, dead or alive; {} where that cannot be read.
    """
    try:
        owner = msgspec.json.decode((directory / "lock").read_bytes())
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return owner if isinstance(owner, dict) else {}


# -- beside the journals ----------------------------------------------------------------------


def set_aside(root: Path, source: str, line: bytes, reason: str) -> None:
    """
    Keep a *line* that no collector takes in the file `SET_ASIDE`, for a person to look at.
    """
    entry = {"source": source, "reason": reason, "line": line.decode(errors="replace")}
    with contextlib.suppress(OSError):
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(root / SET_ASIDE, flags, 0o600)
        try:
            if os.fstat(fd).st_size < SET_ASIDE_BYTES:
                os.write(fd, msgspec.json.encode(entry) + b"\n")
        finally:
            os.close(fd)
