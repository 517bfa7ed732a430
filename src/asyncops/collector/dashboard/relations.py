"""
What an event has to do with those around it: how long it worked itself, which attempt it was.
"""

from __future__ import annotations

from ..store.base import Around, EventSummary

__all__ = ["MAX_ATTEMPTS", "call_before", "possible_attempts", "self_time"]

MAX_ATTEMPTS = 10
"""How many attempts before and after one are looked at."""


def self_time(event: EventSummary, around: Around) -> int | None:
    """
    For how long nothing below *event* ran while it did, nanoseconds; None where nothing lies below
    it, or where it has not ended.
    """
    if event.ended_at is None or not around.below:
        return None
    alone, reached = 0, event.started_at
    for started_at, ended_at in sorted(
        (started_at, event.ended_at if ended_at is None else ended_at)
        for started_at, ended_at in around.below
    ):
        alone += max(min(started_at, event.ended_at) - reached, 0)
        reached = max(reached, ended_at)
    return alone + max(event.ended_at - reached, 0)


def call_before(event: EventSummary, around: Around) -> str | None:
    """
    The id of the call before *event* of the same model in the same place, if there is one.
    """
    ids = [id for id, _ in around.alike]
    place = ids.index(event.id) if event.id in ids else 0
    return ids[place - 1] if place else None


def possible_attempts(event: EventSummary, around: Around) -> tuple[list[str], list[str]]:
    """
    The ids of the calls before *event*, last first, and of those after it, that it may be another
    attempt of, or that may be other attempts of it: calls of the same model in the same place, each
    after one that failed. Whether they said the same is for who knows their prompts.
    """
    before: list[str] = []
    after: list[str] = []
    place = next((place for place, (id, _) in enumerate(around.alike) if id == event.id), None)
    if place is None:
        return before, after
    for id, state in reversed(around.alike[max(place - MAX_ATTEMPTS, 0) : place]):
        if state != "Fail":
            break
        before.append(id)
    for (_, state), (id, _) in zip(
        around.alike[place : place + MAX_ATTEMPTS], around.alike[place + 1 :], strict=False
    ):
        if state != "Fail":
            break
        after.append(id)
    return before, after
