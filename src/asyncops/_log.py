"""
What asyncops tells the host program's log: trouble, at most once a minute per kind.
"""

from __future__ import annotations

import contextlib
import logging
import time

__all__ = ["logger", "trouble"]

logger = logging.getLogger("asyncops")
"""The one logger; nothing above debug in normal work."""

QUIET_SECONDS = 60.0
"""How long a kind of trouble is not told again."""

_told: dict[str, float] = {}


def trouble(kind: str, message: str, *args: object) -> None:
    """
    Warn of *kind*, unless that was done within the last `QUIET_SECONDS`. Never raises `Exception`.
    """
    now = time.monotonic()
    if now - _told.get(kind, -QUIET_SECONDS) < QUIET_SECONDS:
        return
    _told[kind] = now
    with contextlib.suppress(Exception):  # a handler of the host's that fails is the host's matter
        logger.warning(message, *args)
