"""
A session's events as a tree, and as columns for the page's own module.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from ..store.base import EventSummary, SessionSummary
from .costs import event_cost

__all__ = ["TimelineRow", "columns", "in_tree_order"]

KINDS = ("action", "tool", "llm", "agent", "error")
STATES = ("Running", "Success", "Fail", "Cancelled")
"""Both as `static/timeline.js` knows them: columns hold positions in these."""


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


def columns(session: SessionSummary, events: Sequence[EventSummary], *, now: int) -> dict[str, Any]:
    """
    *events* column by column, which is a third of the size of row by row and faster to read.

    Times are microseconds since `base` (itself microseconds since the epoch). Ids, names, agents
    and models are positions in lists of texts, -1 for none; the first of `ids` are the events' own,
    in their order. `now` is the collector's clock: a browser whose clock is wrong still draws open
    events rightly.
    """
    base = session.started_at // 1_000
    kinds = {kind: place for place, kind in enumerate(KINDS)}
    states = {state: place for place, state in enumerate(STATES)}
    ids, names, agents, models = _Texts(), _Texts(), _Texts(), _Texts()
    for event in events:
        ids.position(event.id)
    return {
        "state": session.state,
        "base": base,
        "now": now // 1_000 - base,
        "end": None if session.ended_at is None else session.ended_at // 1_000 - base,
        "ids": ids.texts,
        "parent": [ids.position(event.parent_id) for event in events],
        "seq": [event.seq for event in events],
        "kind": [kinds[event.kind] for event in events],
        "states": [states[event.state] for event in events],
        "starts": [event.started_at // 1_000 - base for event in events],
        "ends": [
            None if event.ended_at is None else event.ended_at // 1_000 - base for event in events
        ],
        "name": [names.position(event.name) for event in events],
        "agent": [agents.position(event.agent) for event in events],
        "model": [models.position(event.model) for event in events],
        "tokens": [_tokens(event) for event in events],
        "cost": [
            float(event.cost.amount) if event.cost and event.cost.currency == "USD" else None
            for event in events
        ],
        "other_cost": {
            event.id: event_cost(event)
            for event in events
            if (event.cost.currency != "USD" if event.cost else _is_refused(event))
        },
        "error": {event.id: event.error for event in events if event.error},
        "names": names.texts,
        "agents": agents.texts,
        "models": models.texts,
    }


def _is_refused(event: EventSummary) -> bool:
    return event.kind == "llm" and event.state != "Running" and event.cost_source is None


def _tokens(event: EventSummary) -> int | None:
    if event.prompt_tokens is None and event.completion_tokens is None:
        return None
    return (event.prompt_tokens or 0) + (event.completion_tokens or 0)


class _Texts:
    """
    Each different text once; None is -1.
    """

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._positions: dict[str, int] = {}

    def position(self, text: str | None) -> int:
        if text is None:
            return -1
        position = self._positions.get(text)
        if position is None:
            position = self._positions[text] = len(self.texts)
            self.texts.append(text)
        return position
