"""
Streams, piece by piece, wherever the pieces are cut.
"""

from __future__ import annotations

import base64
import gzip
import itertools
import json
import struct
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncops.capture._streams import (
    DONE,
    MALFORMED,
    MAX_PIECE_BYTES,
    AWSEvents,
    JSONLines,
    ServerSentEvents,
    inflate,
    reader_for,
)

EVENTS = (
    b": a comment\n"
    b'data: {"a": "\xc3\xa9\xe2\x82\xac"}\n\n'
    b'event: message_start\r\ndata: {"b":\r\ndata: 2}\r\n\r\n'
    b"id: 7\nretry: 10\n\n"
    b"event: ping\ndata: {no json}\n\n"
    b"data:[1]\n\n"
    b"data: [DONE]\n\n"
)
TOLD = [
    ("", {"a": "é€"}),
    ("message_start", {"b": 2}),
    ("ping", MALFORMED),
    ("", [1]),
    ("", DONE),
]


@given(st.lists(st.integers(0, len(EVENTS)), max_size=8))
def test_events_wherever_they_are_cut(cuts: list[int]) -> None:
    """
    Server-sent events are the same, whatever the pieces: in the midst of a line or of a character.
    """
    reader = ServerSentEvents()
    places = [0, *sorted(cuts), len(EVENTS)]

    told = [
        event
        for begin, end in itertools.pairwise(places)
        for event in reader.feed(EVENTS[begin:end])
    ]

    assert TOLD == told


@given(st.lists(st.integers(0, 60), max_size=8))
def test_lines_wherever_they_are_cut(cuts: list[int]) -> None:
    """
    So are lines of JSON; empty ones are none.
    """
    values: list[Any] = [{"a": "é"}, [1, 2], "x", None]
    data = b"\n\n".join(json.dumps(value).encode() for value in values) + b"\r\n"
    reader = JSONLines()
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]

    told = [
        value
        for begin, end in itertools.pairwise(places)
        for _, value in reader.feed(data[begin:end])
    ]

    assert values == told


def frame(payload: bytes, **headers: str) -> bytes:
    """
    A frame of Amazon's event streams: https://smithy.io/2.0/aws/amazon-eventstream.html
    """
    head = b""
    for name, value in headers.items():
        name = f":{name.replace('_', '-')}"
        head += struct.pack(">B", len(name)) + name.encode()
        head += struct.pack(">BH", 7, len(value)) + value.encode()
    prelude = struct.pack(">II", 16 + len(head) + len(payload), len(head))
    data = prelude + struct.pack(">I", zlib.crc32(prelude)) + head + payload
    return data + struct.pack(">I", zlib.crc32(data))


def wrapped(data: bytes) -> bytes:
    """
    *data* as Bedrock passes it on, with the padding that hides how long it is.
    """
    return json.dumps({"bytes": base64.b64encode(data).decode(), "p": "abcdefgh"}).encode()


CHUNK = {
    "event_type": "chunk",
    "content_type": "application/json",
    "message_type": "event",
}
FRAMES = (
    frame(wrapped('{"a": "é"}'.encode()), **CHUNK)
    + frame(wrapped(b"no json"), **CHUNK)
    + frame(b'{"bytes": "?"}', **CHUNK)
    + frame(b'{"delta": {"text": "x"}}', event_type="contentBlockDelta", message_type="event")
    + frame(b"", event_type="ping", message_type="event")
    + frame(
        b'{"message": "Too many tokens"}',
        exception_type="throttlingException",
        content_type="application/json",
        message_type="exception",
    )
)
FRAMED = [
    ("", {"a": "é"}),
    ("", MALFORMED),
    ("", MALFORMED),
    ("", {"delta": {"text": "x"}}),
    ("", MALFORMED),
    ("error", {"error": {"type": "throttlingException", "message": "Too many tokens"}}),
]


@given(st.lists(st.integers(0, len(FRAMES)), max_size=8))
def test_frames_wherever_they_are_cut(cuts: list[int]) -> None:
    """
    So are the frames of Bedrock, and two line feeds after them are none.
    """
    reader = AWSEvents()
    places = [0, *sorted(cuts), len(FRAMES)]

    told = [
        event
        for begin, end in itertools.pairwise(places)
        for event in reader.feed(FRAMES[begin:end])
    ]

    assert FRAMED == told
    assert [] == list(reader.feed(b"\n\n"))


@pytest.mark.parametrize("lengths", [(15, 0), (16, 1), (2**31, 0), (100, 2**32 - 1)])
def test_what_is_no_frame_is_given_up(lengths: tuple[int, int]) -> None:
    """
    Nothing is waited for that a length cannot be.
    """
    with pytest.raises(ValueError, match="no frame"):
        list(AWSEvents().feed(struct.pack(">II", *lengths)))


@pytest.mark.parametrize("reader", [ServerSentEvents, JSONLines])
def test_a_last_event_without_its_end(reader: Any) -> None:
    """
    Two line feeds complete what a server has left open.
    """
    begun = reader()
    prefix = b"data: " if reader is ServerSentEvents else b""

    assert [] == list(begun.feed(prefix + b'{"a": 1}'))
    assert [("", {"a": 1})] == list(begun.feed(b"\n\n"))


def test_a_line_without_end_is_given_up() -> None:
    """
    What never ends is not kept for ever.
    """
    reader = ServerSentEvents()
    piece = b"x" * 1_048_576
    for _ in range(MAX_PIECE_BYTES // len(piece)):
        list(reader.feed(piece))

    with pytest.raises(ValueError, match="a line of more than"):
        list(reader.feed(piece))


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [("", bytes), ("identity", bytes), ("gzip", gzip.compress), ("deflate", zlib.compress)],
)
def test_compression_is_undone_piece_by_piece(encoding: str, compress: Any) -> None:
    """
    The first token can be seen before the last one has come.
    """
    undo = inflate(encoding)
    assert undo is not None
    data = compress(EVENTS)

    assert EVENTS == b"".join(undo(data[at : at + 3]) for at in range(0, len(data), 3))


def test_what_is_a_stream() -> None:
    """
    The type of the content says so, whatever comes after it.
    """
    assert isinstance(reader_for("text/event-stream; charset=utf-8"), ServerSentEvents)
    assert isinstance(reader_for("application/x-ndjson"), JSONLines)
    assert isinstance(reader_for("application/vnd.amazon.eventstream"), AWSEvents)
    assert reader_for("application/json") is None
    assert inflate("br") is None
