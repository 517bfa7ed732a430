"""
Frames and segments: how records lie in the files of a journal, and how they are read back.

A frame is a head (magic, version, flags, length, number), a checksum over head and line, and the
line itself. A torn tail or a flipped byte is found by the checksum, and the rest survives.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import struct
import zlib
from pathlib import Path

import attrs

__all__ = [
    "EXPENDABLE",
    "FINAL",
    "Chunk",
    "Reader",
    "compact",
    "delete_acknowledged",
    "frame",
    "open_new",
    "remove_directory",
    "segment_name",
    "segment_names",
]

EXPENDABLE = 1
"""Flag of a record that may be dropped where there is no room."""

FINAL = 2
"""Flag of a record after which nothing follows: the source ended, or its journal was adopted."""

_MAGIC = b"\xa5j"
_VERSION = 1
_HEAD = struct.Struct("<2sBBIQ")  # magic, version, flags, length of the line, number
_CRC = struct.Struct("<I")  # of the head and the line
_FRAME_BYTES = _HEAD.size + _CRC.size
_MAX_LINE_BYTES = 2 * 1_048_576


@attrs.frozen
class Chunk:
    """
    Consecutive lines out of a journal.

    Attributes:
        lines: Each with its line break.
        numbers: The number of each.
    """

    lines: list[bytes]
    numbers: list[int]

    @property
    def last(self) -> int:
        return self.numbers[-1]

    def halves(self) -> tuple[Chunk, Chunk]:
        """
        Two chunks of half the lines each.
        """
        middle = len(self.lines) // 2
        return (
            Chunk(self.lines[:middle], self.numbers[:middle]),
            Chunk(self.lines[middle:], self.numbers[middle:]),
        )


class Reader:
    """
    Reads the frames of a directory in order, also while they are being written.

    What is torn or corrupt is passed over by looking for the next good frame.

    Attributes:
        after: The number of the last record read.
        finished: Whether that record was final.
    """

    def __init__(self, directory: Path, *, after: int) -> None:
        self.after = after
        self.finished = False
        self._directory = directory
        self._segment: str | None = None
        self._fd = -1
        self._offset = 0

    def read(self, max_records: int, max_bytes: int) -> Chunk | None:
        """
        What follows, or None where there is nothing yet. At least one record, however large.
        """
        chunk = Chunk([], [])
        before = self.after
        try:
            self._fill(chunk, max_records, max_bytes)
        except OSError:
            self.after = before  # what was read of it is not lost to the next try
            self.close()
            self._segment = None
            raise
        return chunk if chunk.lines else None

    def _fill(self, chunk: Chunk, max_records: int, max_bytes: int) -> None:
        while True:
            # Asked before we read: if the segment is not the last one now, then its end is its end,
            # and not a frame that is just being written.
            following = self._following()
            if self._fd >= 0:
                full = self._read_segment(chunk, max_records, max_bytes)
                if full:
                    break
            if following is None or not self._go_to(following):
                break

    def _read_segment(self, chunk: Chunk, max_records: int, max_bytes: int) -> bool:
        """
        Add what fits from the current segment to *chunk*; says whether it is full.
        """
        size = sum(map(len, chunk.lines))
        # any one frame fits in this, so a frame that does not is at the end of what we asked for
        want = max(max_bytes, _MAX_LINE_BYTES) + _FRAME_BYTES
        while True:
            data = os.pread(self._fd, want, self._offset)
            at = 0
            while at + _FRAME_BYTES <= len(data):
                found = _parse(data, at)
                if found is None:
                    good = _next_good(data, at + 1)
                    if good is None:
                        break
                    at = good
                    continue
                line, seq, flags, end = found
                if seq > self.after:
                    if chunk.lines and (
                        len(chunk.lines) >= max_records or size + len(line) > max_bytes
                    ):
                        self._offset += at
                        return True
                    chunk.lines.append(line)
                    chunk.numbers.append(seq)
                    size += len(line)
                    self.after = seq
                self.finished = bool(flags & FINAL)
                at = end
            if len(data) < want:
                self._offset += at
                return False
            self._offset += at or want - _FRAME_BYTES  # nothing but rubbish, as far as we can see

    def _following(self) -> str | None:
        """
        The segment after this one, if it is there.
        """
        try:
            names = segment_names(self._directory)
        except OSError:
            return None
        if self._segment is not None:
            return next((name for name in names if name > self._segment), None)
        # begin with the last segment that can hold the record we want
        wanted = segment_name(self.after + 1)
        return max((name for name in names if name <= wanted), default=min(names, default=None))

    def _go_to(self, name: str) -> bool:
        try:
            fd = os.open(self._directory / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return False
        self.close()
        self._segment, self._fd, self._offset = name, fd, 0
        return True

    def close(self) -> None:
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                os.close(self._fd)
            self._fd = -1


def frame(line: bytes, seq: int, flags: int) -> bytes:
    """
    *line*, framed.
    """
    head = _HEAD.pack(_MAGIC, _VERSION, flags, len(line), seq)
    return b"".join((head, _CRC.pack(zlib.crc32(line, zlib.crc32(head))), line))


def _parse(data: bytes, at: int) -> tuple[bytes, int, int, int] | None:
    """
    The line, number, flags and end of the frame at *at*; None where there is no good one.
    """
    if at + _FRAME_BYTES > len(data):
        return None
    magic, version, flags, length, seq = _HEAD.unpack_from(data, at)
    end = at + _FRAME_BYTES + length
    if magic != _MAGIC or version != _VERSION or length > _MAX_LINE_BYTES or end > len(data):
        return None
    line = data[at + _FRAME_BYTES : end]
    (crc,) = _CRC.unpack_from(data, at + _HEAD.size)
    if crc != zlib.crc32(line, zlib.crc32(data[at : at + _HEAD.size])):
        return None
    return line, seq, flags, end


def _next_good(data: bytes, at: int) -> int | None:
    while (at := data.find(_MAGIC, at)) >= 0:
        if _parse(data, at) is not None:
            return at
        at += 1
    return None


def segment_name(first_seq: int) -> str:
    """
    The name of the segment that begins with record *first_seq*; names sort as their numbers do.
    """
    return f"{first_seq:020d}.seg"


def segment_names(directory: Path) -> list[str]:
    """
    The segments in *directory*, oldest first.
    """
    return sorted(
        name for name in os.listdir(directory) if name.endswith(".seg") and name[0] != "."
    )


def delete_acknowledged(directory: Path, seq: int) -> None:
    """
    Delete the segments that hold nothing after *seq*; never the last, which is being written.
    """
    with contextlib.suppress(OSError):
        for name, following in itertools.pairwise(segment_names(directory)):
            if int(following.removesuffix(".seg")) > seq + 1:
                break
            os.unlink(directory / name)


def compact(segment: Path) -> int:
    """
    Rewrite *segment* without its expendable records; returns how many those were.

    Raises:
        OSError: The disk takes nothing; the segment is as it was.
    """
    data = segment.read_bytes()
    kept: list[bytes] = []
    gone = at = 0
    while (start := _next_good(data, at)) is not None:
        found = _parse(data, start)
        assert found is not None
        _, _, flags, at = found
        if flags & EXPENDABLE:
            gone += 1
        else:
            kept.append(data[start:at])
    hidden = segment.with_name(f".{segment.name}")
    hidden.unlink(missing_ok=True)
    fd = open_new(hidden)
    try:
        os.write(fd, b"".join(kept))
    finally:
        os.close(fd)
    hidden.rename(segment)
    return gone


def remove_directory(directory: Path) -> None:
    """
    Remove a journal's directory and the files in it; says nothing where it cannot.
    """
    with contextlib.suppress(OSError):
        for name in os.listdir(directory):
            os.unlink(directory / name)
        os.rmdir(directory)


def open_new(path: Path, flags: int = 0) -> int:
    """
    A new file of this user's alone; never one that is there already, nor through a link.
    """
    return os.open(
        path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC | flags, 0o600
    )
