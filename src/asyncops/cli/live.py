"""
What a collector tells live, for as long as somebody listens: the stream is asked for again when it
breaks, and whoever listens hears that it may have missed something.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, Literal

import attrs

from .collector_api import CollectorAPI, UnavailableError
from .output import notice

__all__ = ["Told", "listen"]

TICK_SECONDS = 0.25
"""How often whoever listens gets a turn while nothing is told."""

SILENCE_SECONDS = 45.0
"""
How long a stream may say nothing: it says something every 20 seconds, so then its other end is
gone, as after a laptop has slept.
"""

FIRST_AGAIN_SECONDS = 0.2
MAX_AGAIN_SECONDS = 2.0
"""How long to wait until the stream is asked for again."""


@attrs.frozen
class Told:
    """
    Something that a stream says.

    Attributes:
        kind: "watching" each time that it begins: from then on nothing is missed. "tick" where
            nothing was told for a moment, "away" where there is no stream.
        data: What the stream sent with it.
    """

    kind: Literal["watching", "session", "events", "tick", "away"]
    data: Any = None


async def listen(api: CollectorAPI, path: str) -> AsyncGenerator[Told, None]:
    """
    What the stream at *path* tells, without an end. One that knows where it was goes on there.

    Raises:
        CommandError: The collector refuses it.
    """
    last: str | None = None
    again = FIRST_AGAIN_SECONDS
    is_away = False
    while True:
        try:
            async with (
                api.stream(path, last=last, silence=SILENCE_SECONDS) as lines,
                contextlib.aclosing(_messages(lines)) as messages,
            ):
                async for told, event_id in messages:
                    last = event_id or last
                    if told.kind == "watching":
                        again = FIRST_AGAIN_SECONDS
                        if is_away:
                            notice("the collector answers again")
                            is_away = False
                    yield told
        except UnavailableError:
            if not is_away and again > FIRST_AGAIN_SECONDS:
                notice("the collector does not answer; waiting for it")
                is_away = True
        yield Told("away")
        await asyncio.sleep(again)
        again = min(2 * again, MAX_AGAIN_SECONDS)


async def _messages(lines: AsyncIterator[str]) -> AsyncGenerator[tuple[Told, str | None], None]:
    """
    The messages that *lines* are, each with its id, and ticks between them.
    """
    fields: dict[str, str] = {}
    async with contextlib.aclosing(_unhurried(lines)) as unhurried:
        async for line in unhurried:
            if line is None:
                yield Told("tick"), None
            elif line and not line.startswith(":"):
                name, _, value = line.partition(":")
                fields[name] = value.removeprefix(" ")
            else:
                if "retry" in fields:  # what a stream says first, once it watches
                    yield Told("watching"), None
                elif fields.get("event") in ("session", "events"):
                    kind: Any = fields["event"]
                    yield Told(kind, json.loads(fields.get("data", "null"))), fields.get("id")
                fields = {}


async def _unhurried(lines: AsyncIterator[str]) -> AsyncGenerator[str | None, None]:
    """
    *lines*, and None whenever the next one takes a moment.
    """
    following: asyncio.Task[str] | None = None
    try:
        while True:
            following = following or asyncio.ensure_future(_next(lines))
            done, _ = await asyncio.wait({following}, timeout=TICK_SECONDS)
            if not done:
                yield None
                continue
            try:
                line = following.result()
            except StopAsyncIteration:
                return
            finally:
                following = None
            yield line
    finally:
        if following is not None:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)


async def _next(lines: AsyncIterator[str]) -> str:
    return await anext(lines)
