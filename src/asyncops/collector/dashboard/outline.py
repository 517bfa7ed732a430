"""
A session's events as a compact tree: equal steps in a row are one line.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs

from ..store.base import EventSummary
from .timeline import TimelineRow

__all__ = ["OutlineRow", "outline"]

FEW = 3
"""So many equal steps in a row are still listed one by one."""


@attrs.frozen(kw_only=True)
class OutlineRow:
    """
    One event, or several of one kind and name that follow each other and have nothing below them.

    Attributes:
        events: The events, in order.
        took: How long they lasted, nanoseconds, added up; None where none has ended.
        tokens: How many they used, None where none says so.
    """

    depth: int
    events: tuple[EventSummary, ...]

    @property
    def first(self) -> EventSummary:
        return self.events[0]

    @property
    def took(self) -> int | None:
        times = [
            event.ended_at - event.started_at for event in self.events if event.ended_at is not None
        ]
        return sum(times) if times else None

    @property
    def tokens(self) -> int | None:
        told = [
            (event.prompt_tokens or 0) + (event.completion_tokens or 0)
            for event in self.events
            if event.prompt_tokens is not None or event.completion_tokens is not None
        ]
        return sum(told) if told else None


def outline(rows: Sequence[TimelineRow]) -> Iterator[OutlineRow]:
    """
    *rows*, which are in the order of the tree, with equal steps in a row as one.

    Only what ended well and cost nothing of its own is put together: nothing that failed, is open,
    or has a price hides in a number.
    """
    place = 0
    while place < len(rows):
        end = place + 1
        if _is_step(rows, place):
            while end < len(rows) and _is_step(rows, end) and _alike(rows[place], rows[end]):
                end += 1
        if end - place <= FEW:
            end = place + 1
        yield OutlineRow(
            depth=rows[place].depth, events=tuple(row.event for row in rows[place:end])
        )
        place = end


def _is_step(rows: Sequence[TimelineRow], place: int) -> bool:
    event = rows[place].event
    is_leaf = place + 1 == len(rows) or rows[place + 1].depth <= rows[place].depth
    is_plain = event.state == "Success" and event.cost is None
    return is_leaf and is_plain and event.kind in ("tool", "action")


def _alike(one: TimelineRow, other: TimelineRow) -> bool:
    return (
        one.depth == other.depth
        and one.event.kind == other.event.kind
        and one.event.name == other.event.name
        and one.event.agent == other.event.agent
    )
