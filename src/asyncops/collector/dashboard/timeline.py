"""
A session's events as a tree.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from ..store.base import EventSummary

__all__ = ["TimelineRow", "in_tree_order"]


@attrs.frozen(kw_only=True)
class TimelineRow:
    """
    An event in its place: how deep it lies.
    """

    event: EventSummary
    depth: int


def in_tree_order(events: Sequence[EventSummary]) -> list[TimelineRow]:
    """
    *events* parent before child, siblings by when they started.

    Parents are what a program says they are: one that is missing, or that would make a circle,
    leaves its child at the top. Nothing is left out.
    """
    by_id = {event.id: event for event in events}
    children: dict[str | None, list[EventSummary]] = {}
    for event in events:
        parent = event.parent_id if event.parent_id in by_id else None
        children.setdefault(parent, []).append(event)
    for siblings in children.values():
        siblings.sort(key=lambda event: (event.started_at, event.seq), reverse=True)

    rows: list[TimelineRow] = []
    seen: set[str] = set()
    tops = children.get(None, [])
    # whoever is in a circle hangs below nobody who is at the top: taken last, in order of arrival
    for root in [*reversed(tops), *events]:
        stack = [(root, 0)]
        while stack:
            event, depth = stack.pop()
            if event.id in seen:
                continue
            seen.add(event.id)
            rows.append(TimelineRow(event=event, depth=depth))
            stack += [(child, depth + 1) for child in children.get(event.id, ())]
    return rows
