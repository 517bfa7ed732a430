"""
Frames: how records lie in the segments of a journal, and how they are read back.

A frame is a head (magic, version, flags, length, number), a checksum over head and line, and the
line itself. A torn tail or a flipped byte is found by the checksum, and the rest survives.
"""

from __future__ import annotations

import contextlib
import errno
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from zlib import crc32

import attrs
import msgspec

from . import _clock
from ._directory import open_new, segment_name, segment_names
from ._events import LostRecord
from ._giving_way import give_way
from ._wire import encode, number_line

__all__ = [
    "EXPENDABLE",
    "FINAL",
    "FRAMES_AT_ONCE",
    "FRAME_BYTES",
    "LOST",
    "WINDOW_BYTES",
    "Chunk",
    "Frame",
    "Reader",
    "compact",
    "frame",
    "frames",
    "lost_line",
    "recorded_at",
]

EXPENDABLE = 1
"""Flag of a record that may be dropped where there is no room."""

FINAL = 2
"""Flag of a record after which nothing follows: the source ended, or its journal was adopted."""

LOST = 4
"""Flag of a record that stands for others, which had to be dropped."""

_MAGIC = b"\xa5j"
_VERSION = 1
_HEAD = struct.Struct("<2sBBIQ")  # magic, version, flags, length of the line, number
_pack_head = _HEAD.pack
_CRC = struct.Struct("<I")  # of the head and the line
_FRAME = struct.Struct("<2sBBIQI")  # both
_pack_crc = _CRC.pack
FRAME_BYTES = _FRAME.size
"""How much a frame takes beside its line."""
_MAX_LINE_BYTES = 2 * 1_048_576

WINDOW_BYTES = 131_072
"""How much of a segment is read at once: a fraction of a millisecond's work."""

FRAMES_AT_ONCE = 256
"""How many frames of a segment are looked through at once when it is made smaller."""


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


class Frame(msgspec.Struct, frozen=True, gc=False):
    """
    A record as it lies in a segment.
    """

    line: bytes
    seq: int
    flags: int


class Reader:
    """
    Reads the frames of a directory in order, also while they are being written, rewritten with
    fewer records, or damaged. Used by one thread at a time.

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

    @property
    def segment(self) -> int | None:
        """
        The number that the segment it has open begins with.
        """
        if self._fd < 0 or self._segment is None:
            return None
        return int(self._segment.removesuffix(".seg"))

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
            self._look_again()
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
        want = WINDOW_BYTES
        while True:
            data = os.pread(self._fd, want, self._offset)
            at = 0
            while at + FRAME_BYTES <= len(data):
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
            cut = _cut_off(data, at)
            self._offset += cut
            want = WINDOW_BYTES if cut else _MAX_LINE_BYTES + FRAME_BYTES  # any frame fits in this
            give_way()

    def _following(self) -> str | None:
        """
        The segment after this one, if it is there.

        Raises:
            OSError: That cannot be told now, and so neither that there is none.
        """
        try:
            names = segment_names(self._directory)
        except (FileNotFoundError, NotADirectoryError):
            return None
        if self._segment is not None:
            return next((name for name in names if name > self._segment), None)
        # begin with the last segment that can hold the record we want
        wanted = segment_name(self.after + 1)
        return max((name for name in names if name <= wanted), default=min(names, default=None))

    def _look_again(self) -> None:
        """
        Begin the segment anew if it is not what it was: rewritten, made anew, or cut short.
        """
        if self._fd < 0 or self._segment is None:
            return
        with contextlib.suppress(FileNotFoundError):  # its directory is gone; we still have it
            here = os.fstat(self._fd)
            if not os.path.samestat(here, os.stat(self._directory / self._segment)):
                self._go_to(self._segment)
            elif here.st_size < self._offset:
                self._offset = 0

    def _go_to(self, name: str) -> bool:
        try:
            fd = os.open(self._directory / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ELOOP):
                raise
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
    head = _pack_head(_MAGIC, _VERSION, flags, len(line), seq)
    return head + _pack_crc(crc32(line, crc32(head))) + line


def _parse(data: bytes, at: int) -> tuple[bytes, int, int, int] | None:
    """
    The line, number, flags and end of the frame at *at*; None where there is no good one.
    """
    start = at + FRAME_BYTES
    if start > len(data):
        return None
    magic, version, flags, length, seq, crc = _FRAME.unpack_from(data, at)
    end = start + length
    if magic != _MAGIC or version != _VERSION or length > _MAX_LINE_BYTES or end > len(data):
        return None
    line = data[start:end]
    if crc != crc32(line, crc32(data[at : at + _HEAD.size])):
        return None
    return line, seq, flags, end


def frames(data: bytes) -> Iterator[Frame]:
    """
    The good frames in *data*, in order.
    """
    at: int | None = 0
    while at is not None:
        found = _parse(data, at)
        if found is None:
            at = _next_good(data, at + 1)
        else:
            line, seq, flags, at = found
            yield Frame(line, seq, flags)


def _next_good(data: bytes, at: int) -> int | None:
    while (at := data.find(_MAGIC, at)) >= 0:
        if _parse(data, at) is not None:
            return at
        at += 1
    return None


def _cut_off(data: bytes, start: int) -> int:
    """
    Where, from *start* on, a frame may begin that goes on after *data*.
    """
    at, last = start, len(data) - FRAME_BYTES
    while 0 <= (at := data.find(_MAGIC, at)) <= last:
        _, version, _, length, _, _ = _FRAME.unpack_from(data, at)
        if version == _VERSION and length <= _MAX_LINE_BYTES and at + length > last:
            return at
        at += 1
    return max(start, last + 1)


class _Recorded(msgspec.Struct):
    """
    Of a record, only when it was recorded.
    """

    at: int


_recorded = msgspec.json.Decoder(_Recorded)


def recorded_at(line: bytes) -> int | None:
    """
    When *line* was recorded, nanoseconds since the epoch; None where it does not say.
    """
    try:
        return _recorded.decode(line).at
    except msgspec.MsgspecError:
        return None


def lost_line(seq: int, count: int, reason: str, *, last: bytes = b"") -> bytes:
    """
    What stands in the place of record *seq*, whose line is *last*, and those before it, *count* in
    all.
    """
    at = recorded_at(last) or _clock.wall_ns()
    return number_line(encode(LostRecord(at=at, count=count, reason=reason)), seq) + b"\n"


def compact(segment: Path, *, settled: int, kept: int, reason: str) -> int:
    """
    Rewrite *segment* with something shorter in the place of each run of expendable records.

    Args:
        segment: A segment that nobody writes to.
        settled: Records up to this number are needed no more.
        kept: Records up to this number are on their way and must stay.
        reason: Why they are dropped.

    Returns:
        How many records were dropped.

    Raises:
        OSError: The disk takes nothing; the segment is as it was.
    """
    parts: list[bytes] = []
    gone = run = 0
    last = Frame(b"", 0, 0)

    def stand_in() -> None:
        line = lost_line(last.seq, run, reason, last=last.line)
        parts.append(frame(line, last.seq, LOST))

    for number, found in enumerate(frames(segment.read_bytes()), 1):
        if number % FRAMES_AT_ONCE == 0:
            give_way()
        dropped = bool(found.flags & EXPENDABLE) and found.seq > max(kept, settled)
        if run and not (dropped and found.seq == last.seq + 1):
            stand_in()
            run = 0
        if dropped:
            gone, run, last = gone + 1, run + 1, found
        elif found.seq > settled:
            parts.append(frame(found.line, found.seq, found.flags))
    if run:
        stand_in()
    hidden = segment.with_name(f".{segment.name}")
    hidden.unlink(missing_ok=True)
    fd = open_new(hidden)
    try:
        data = b"".join(parts)
        if os.write(fd, data) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    finally:
        os.close(fd)
    hidden.rename(segment)
    return gone
