"""
What an event has to do with those around it: how long it worked itself, which attempt it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..store.base import EventSummary

__all__ = ["possible_attempts", "self_time"]

MAX_ATTEMPTS = 10
"""How many attempts before and after one are looked at."""


def self_time(event: EventSummary, events: Sequence[EventSummary]) -> int | None:
    """
    For how long nothing below *event* ran while it did, nanoseconds; None where nothing lies below
    it, or where it has not ended.
    """
    if event.ended_at is None:
        return None
    children = sorted(
        (child.started_at, event.ended_at if child.ended_at is None else child.ended_at)
        for child in events
        if child.parent_id == event.id and child.id != event.id
    )
    if not children:
        return None
    alone, reached = 0, event.started_at
    for started_at, ended_at in children:
        alone += max(min(started_at, event.ended_at) - reached, 0)
        reached = max(reached, ended_at)
    return alone + max(event.ended_at - reached, 0)


def possible_attempts(
    event: EventSummary, events: Sequence[EventSummary]
) -> tuple[list[EventSummary], list[EventSummary]]:
    """
    The calls before *event*, last first, and those after it, that it may be another attempt of, or
    that may be other attempts of it: calls of the same model in the same place, each after one that
    failed. Whether they said the same is for who knows their prompts.
    """
    calls = sorted(
        (
            call
            for call in events
            if call.kind == "llm"
            and (call.parent_id, call.agent, call.name, call.model)
            == (event.parent_id, event.agent, event.name, event.model)
        ),
        key=lambda call: (call.started_at, call.seq),
    )
    place = next(place for place, call in enumerate(calls) if call.id == event.id)
    before = list(_failed_before(calls, place))
    after: list[EventSummary] = []
    for one, following in zip(calls[place:], calls[place + 1 :], strict=False):
        if one.state != "Fail" or len(after) == MAX_ATTEMPTS:
            break
        after.append(following)
    return before, after


def _failed_before(calls: Sequence[EventSummary], place: int) -> Iterator[EventSummary]:
    for call in reversed(calls[max(place - MAX_ATTEMPTS, 0) : place]):
        if call.state != "Fail":
            return
        yield call
