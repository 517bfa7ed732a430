"""
Ids: of sessions and sources (UUIDv7), and of events (a random prefix, then a counter).

A random id per event would cost more than everything else about recording one. Everyone calls
through this module, so that `asyncops.testing` can put fixed ids in their place.
"""

from __future__ import annotations

import itertools
import os
import uuid
from collections.abc import Callable, Iterator

from . import _clock

__all__ = ["new_event_id", "new_uuid"]


def _uuid7() -> str:
    """
    A UUID of version 7 (RFC 9562, section 5.7): sorts by the time it was made.
    """
    milliseconds = _clock.wall_ns() // 1_000_000 & (2**48 - 1)
    random = int.from_bytes(os.urandom(10))
    number = (
        milliseconds << 80 | 0x7 << 76 | (random >> 68) << 64 | 0b10 << 62 | random & (2**62 - 1)
    )
    return str(uuid.UUID(int=number))


_BYTES = tuple(f"{number:02x}" for number in range(256))


def _block(_: None) -> Iterator[tuple[str, ...]]:
    """
    The parts of 2**32 - 1 ids with the same prefix, in order.
    """
    numbers = itertools.product((os.urandom(4).hex(),), _BYTES, _BYTES, _BYTES, _BYTES)
    next(numbers)  # counting begins with 1: were the prefix 0, this would be no id
    return numbers


def _event_ids() -> Callable[[], str]:
    # All of it runs in C: a sixth of the time of formatting a number, and no thread or signal
    # handler gets in between. When a block is used up, the next prefix is drawn.
    blocks = itertools.chain.from_iterable(map(_block, itertools.repeat(None)))
    return map("".join, blocks).__next__


def _reseed() -> None:
    global new_event_id
    new_event_id = _event_ids()


new_uuid: Callable[[], str] = _uuid7
"""A new id for a session or a source."""

new_event_id: Callable[[], str] = _event_ids()
"""A new id for an event: 16 hex digits, valid as a W3C span id."""

os.register_at_fork(after_in_child=_reseed)
