"""
What many people look at and takes a while to make: made once for all of them.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Hashable

import anyio
import attrs

__all__ = ["Shared"]

HOLD_SECONDS = 2.0
"""How long what was made is given to others, too."""

MOST = 50
"""How many different things are kept."""


@attrs.define(eq=False)
class _Kept:
    lock: anyio.Lock = attrs.field(factory=anyio.Lock)
    until: float = 0.0
    made: bytes = b""


class Shared:
    """
    Keeps what was made for a moment.
    """

    def __init__(self) -> None:
        self._kept: dict[Hashable, _Kept] = {}

    async def get(self, key: Hashable, make: Callable[[], Awaitable[bytes]]) -> bytes:
        """
        What *make* makes, or made for somebody else a moment ago.
        """
        kept = self._kept.get(key)
        if kept is None:
            while len(self._kept) >= MOST:
                del self._kept[next(iter(self._kept))]
            kept = self._kept[key] = _Kept()
        async with kept.lock:
            if time.monotonic() >= kept.until:
                kept.made = await make()
                kept.until = time.monotonic() + HOLD_SECONDS
            return kept.made
