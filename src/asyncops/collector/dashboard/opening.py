"""
The rows that a session's waterfall begins with, so that there is something to see before the script
has come that draws all of them. It takes these over: they look and lie as it would have them.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import attrs
from anyio.to_thread import run_sync

from ..store.base import EventStructure, EventSummary, SessionSummary, Store
from .costs import event_cost
from .format import NOTHING, compact, duration
from .timeline import Place, tree_order

__all__ = ["Opening", "OpeningRow", "opening"]

MOST_ROWS = 32
"""Some more than a usual window shows of them at first: each takes time to lay out."""

MOST_EVENTS = 100_000
"""In a session with more events than this, finding out which come first would take too long."""

MAX_INDENT = 14
INDENT_PIXELS = 14
"""Both as in `static/waterfall.js`."""

_MARKS = {"Fail": ("fail", "failed"), "Cancelled": ("cancelled", "cancelled")}
_ID_BITS = 0xFFFF_FFFF_FFFF_FFFF


@attrs.frozen(kw_only=True)
class OpeningRow:
    """
    An event as its row shows it.

    Attributes:
        beside: What stands beside its name: who did it, where that is not who did what is above it,
            and with which model.
        left: Where its bar begins and how long it is, in percent of the axis.
        still_open: Whether it is open, though the session has ended.
    """

    event: EventSummary
    place: Place
    beside: str
    took: str
    tokens: str
    cost: str
    left: float
    width: float
    still_open: bool

    @property
    def failed(self) -> bool:
        return self.event.state == "Fail" or self.event.kind == "error"

    @property
    def mark(self) -> tuple[str, str] | None:
        """
        The icon that says how it ended, and the words for it; None where it ended well.
        """
        if self.still_open:
            return "indeterminate", "still open when the session ended"
        return _MARKS.get(self.event.state)


@attrs.frozen(kw_only=True)
class Opening:
    """
    The first rows, and where everything in them lies: in a style sheet, because the page's policy
    allows no attribute to say so.
    """

    rows: Sequence[OpeningRow]
    style: str


async def opening(store: Store, session: SessionSummary, *, now: int) -> Opening | None:
    """
    How the waterfall of *session* begins; None where there is nothing, or too much to find out.

    Args:
        now: The end of what is open, where the session runs: nanoseconds since the epoch.
    """
    if session.events > MOST_EVENTS:
        return None
    structure = await store.structure(session.project, session.id)
    if structure.first_at is None or structure.last_at is None:
        return None
    places = await run_sync(_first_places, structure)
    ids = [f"{structure.ids[place.index] & _ID_BITS:016x}" for place in places]
    events = await store.timeline(session.project, session.id, only=ids)
    axis = _axis(session, structure.first_at, structure.last_at, now)
    known = {event.id: event for event in events}
    rows = [
        _row(session, known[id], place, known, axis, now)
        for id, place in zip(ids, places, strict=True)
        if id in known  # else it was deleted meanwhile
    ]
    style = "".join(itertools.starmap(_style, enumerate(rows)))
    return Opening(
        rows=rows, style=f"#canvas{{height:calc(var(--row)*{len(structure.ids)})}}{style}"
    )


def _first_places(structure: EventStructure) -> list[Place]:
    started_at = structure.started_at
    places = tree_order(structure.ids, structure.parents, lambda index: started_at[index] // 1_000)
    return [*itertools.islice(places, MOST_ROWS)]


def _axis(session: SessionSummary, first_at: int, last_at: int, now: int) -> tuple[int, int]:
    """
    From when to when all of it goes, microseconds.
    """
    until = now if session.state == "Running" else session.ended_at or 0
    first = min(session.started_at, first_at) // 1_000
    return first, max(max(last_at, until) // 1_000, first + 1)


def _row(
    session: SessionSummary,
    event: EventSummary,
    place: Place,
    known: Mapping[str, EventSummary],
    axis: tuple[int, int],
    now: int,
) -> OpeningRow:
    is_running = session.state == "Running"
    end = event.ended_at
    if end is None:
        end = max(event.started_at, now if is_running else session.ended_at or 0)
    first, last = axis
    left, right = (
        min(max((at // 1_000 - first) / (last - first), 0), 1) * 100
        for at in (event.started_at, end)
    )
    took = (end // 1_000 - event.started_at // 1_000) * 1_000
    tokens = (event.prompt_tokens, event.completion_tokens)
    return OpeningRow(
        event=event,
        place=place,
        beside=_beside(event, known.get(event.parent_id or "")),
        took=NOTHING if event.ended_at is None and not is_running else duration(took),
        tokens="" if tokens == (None, None) else compact(sum(filter(None, tokens))),
        cost=_cost(event),
        left=left,
        width=right - left,
        still_open=event.state == "Running" and not is_running,
    )


def _beside(event: EventSummary, parent: EventSummary | None) -> str:
    has_own = event.kind != "agent" and (parent is None or event.agent != parent.agent)
    said = (
        event.agent if has_own else None,
        event.model if event.kind == "llm" and event.model != event.name else None,
    )
    return " · ".join(filter(None, said))


def _cost(event: EventSummary) -> str:
    if event.cost is None and (event.kind != "llm" or event.state == "Running"):
        return ""
    return event_cost(event)


def _style(number: int, row: OpeningRow) -> str:
    itself = f"#row-{row.event.id}"
    indent = min(row.place.depth, MAX_INDENT) * INDENT_PIXELS
    return (
        f"{itself}{{transform:translateY(calc(var(--row)*{number}))}}"
        f"{itself} .indent{{width:{indent}px}}"
        f"{itself} .bar{{left:min({row.left:.4f}%,100% - 2px);width:{row.width:.4f}%}}"
    )
