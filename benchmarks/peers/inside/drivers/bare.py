"""
The coroutine alone: what all others are compared with.
"""

from __future__ import annotations


def setup(endpoint: str) -> None: ...


def recorded(work):
    return work


async def start() -> None: ...


async def end(session: None) -> None: ...


async def flush() -> None: ...


def shutdown() -> None: ...
