"""
OTLP requests, put together by hand: a server is sent what it has never seen, fast enough.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Mapping

__all__ = ["field", "request", "span", "trace"]


def request(traces: Iterable[bytes]) -> bytes:
    """
    An ExportTraceServiceRequest of what `trace()` made.
    """
    resource = field(1, field(1, _attribute("service.name", "peers")))
    return field(1, resource + field(2, b"".join(traces)))


def trace(spans: int, question: str, answer: str) -> bytes:
    """
    A trace: one span, and the others as its children.
    """
    identity, parent = secrets.token_bytes(16), b""
    made = []
    for n in range(spans):
        own, began = secrets.token_bytes(8), time.time_ns()
        said = {
            "openinference.span.kind": "TOOL", "input.value": question, "output.value": answer
        }  # fmt: skip
        made.append(span(identity, own, parent, "search", (began, began + n + 1), said))
        parent = parent or own
    return b"".join(made)


def span(
    trace: bytes, identity: bytes, parent: bytes, name: str, times: tuple[int, int],
    attributes: Mapping[str, str], *, failed: bool = False,
) -> bytes:  # fmt: skip
    """
    A span of what `request()` takes; of a root, *parent* is empty.

    Args:
        times: When it began and when it ended, in nanoseconds.
    """
    content = [
        field(1, trace), field(2, identity), field(4, parent) if parent else b"",
        field(5, name.encode()), _number(6, 1), _moment(7, times[0]), _moment(8, times[1]),
        *(field(9, _attribute(*pair)) for pair in attributes.items()),
        field(15, _number(3, 2)) if failed else b"",
    ]  # fmt: skip
    return field(2, b"".join(content))


def field(number: int, content: bytes) -> bytes:
    """
    A field of a message: bytes, text or another message.
    """
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _attribute(key: str, value: str) -> bytes:
    return field(1, key.encode()) + field(2, field(1, value.encode()))


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _moment(number: int, nanoseconds: int) -> bytes:
    return _varint(number << 3 | 1) + nanoseconds.to_bytes(8, "little")


def _varint(value: int) -> bytes:
    parts = []
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])
