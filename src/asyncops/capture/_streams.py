"""
Streamed answers, piece by piece: bytes as they arrive in, JSON out.
"""

from __future__ import annotations

import binascii
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import msgspec

__all__ = [
    "DONE",
    "MALFORMED",
    "AWSEvents",
    "Inflate",
    "JSONLines",
    "Reader",
    "ServerSentEvents",
    "inflate",
    "reader_for",
]

MAX_PIECE_BYTES = 16 * 1_048_576
"""A line longer than this is no event of a stream."""

DONE: Any = object()
"""In place of JSON: what OpenAI, and whoever speaks as it does, sends as the last event."""

MALFORMED: Any = object()
"""In place of JSON: an event that is none."""

Inflate = Callable[[bytes], bytes]
"""Takes the bytes of a body as they arrive, gives them as they were before compression."""


def inflate(encoding: str) -> Inflate | None:
    """
    What undoes that `Content-Encoding`; None for one that cannot be undone piece by piece here.
    """
    if encoding in ("", "identity"):
        return bytes
    if encoding in ("gzip", "x-gzip", "deflate"):
        # 32: gzip or zlib, whichever the first bytes say
        return zlib.decompressobj(zlib.MAX_WBITS | 32).decompress
    return None


class Reader(Protocol):
    """
    Takes the bytes of a stream, gives what is complete.
    """

    def feed(self, data: bytes) -> Iterator[tuple[str, Any]]:
        """
        Of each event that *data* completes its name and its JSON, or `DONE`, or `MALFORMED`. Two
        line feeds complete the last one of a stream that was cut off.
        """
        ...


def reader_for(content_type: str) -> Reader | None:
    """
    What reads a stream of that `Content-Type`; None where it is not a stream.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "text/event-stream":
        return ServerSentEvents()
    if kind in ("application/x-ndjson", "application/jsonl", "application/x-jsonlines"):
        return JSONLines()
    if kind == "application/vnd.amazon.eventstream":
        return AWSEvents()
    return None


class _Lines:
    """
    Complete lines out of pieces.
    """

    def __init__(self) -> None:
        self._rest: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[bytes]:
        if b"\n" not in data:
            self._rest.append(data)
            self._size += len(data)
            if self._size > MAX_PIECE_BYTES:
                raise ValueError(f"a line of more than {MAX_PIECE_BYTES:,} bytes")
            return []
        if self._rest:
            data = b"".join((*self._rest, data))
        lines = data.split(b"\n")
        rest = lines.pop()
        self._rest = [rest] if rest else []
        self._size = len(rest)
        return lines


class ServerSentEvents:
    """
    `text/event-stream`. (WHATWG HTML, section 9.2.6; lines that end in a carriage return alone,
    which no vendor sends, are not told apart.)
    """

    def __init__(self) -> None:
        self._lines = _Lines()
        self._event = ""
        self._data: list[bytes] = []

    def feed(self, data: bytes) -> Iterator[tuple[str, Any]]:
        for line in self._lines.feed(data):
            if line.endswith(b"\r"):
                line = line[:-1]
            if not line:
                event, pieces = self._event, self._data
                self._event, self._data = "", []
                if pieces:
                    yield event, _json(b"\n".join(pieces))
            elif line.startswith(b"data:"):
                self._data.append(line[5:])
            elif line.startswith(b"event:"):
                self._event = line[6:].strip().decode(errors="replace")


class JSONLines:
    """
    One JSON document in each line.
    """

    def __init__(self) -> None:
        self._lines = _Lines()

    def feed(self, data: bytes) -> Iterator[tuple[str, Any]]:
        for line in self._lines.feed(data):
            if line and not line.isspace():
                yield "", _json(line)


class AWSEvents:
    """
    `application/vnd.amazon.eventstream`: the frames in which Bedrock has the events of a model's
    vendor. (Smithy, "Amazon Event Stream specification". Whoever asked for them looks at their
    checksums.)
    """

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[str, Any]]:
        rest = self._rest
        rest += data
        while len(rest) >= _LENGTHS.size:
            total, headers = _LENGTHS.unpack_from(rest)
            if not _LEAST_FRAME + headers <= total <= MAX_PIECE_BYTES:
                rest.clear()
                raise ValueError("what comes is no frame")
            if len(rest) < total:
                break
            begin = _HEADERS_BEGIN + headers
            frame = bytes(rest[:total])
            del rest[:total]
            yield _framed(frame[_HEADERS_BEGIN:begin], _json(frame[begin:-4]))


_LENGTHS = struct.Struct(">II")
_HEADERS_BEGIN = 12
"""After the lengths of the frame and of its headers, and the checksum of the two."""

_LEAST_FRAME = _HEADERS_BEGIN + 4

_EXCEPTION = re.compile(rb":(?:exception-type|error-code)\x07\x00.([\w.]+)", re.DOTALL)


def _framed(headers: bytes, value: Any) -> tuple[str, Any]:
    """
    The event in a frame: its name and its JSON.
    """
    exception = _EXCEPTION.search(headers)
    if exception is not None:
        said = value if isinstance(value, dict) else {}
        return "error", {"error": {"type": exception[1].decode(errors="replace"), **said}}
    if isinstance(value, dict) and isinstance(value.get("bytes"), str):
        try:
            return "", _json(binascii.a2b_base64(value["bytes"]))
        except ValueError:
            return "", MALFORMED
    return "", value


def _json(data: bytes) -> Any:
    text = data.strip()
    if text == b"[DONE]":
        return DONE
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return MALFORMED
