"""
Sessions side by side: what they have in common, and in what they differ.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import anyio.to_thread
import attrs
import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ..api import json_bytes
from ..store.base import EventDetail, EventSummary, SessionSummary, Store
from .alignment import AlignedRow, align
from .conversations import messages
from .filters import address_of
from .format import compact, count, dollars, duration
from .images import without_images
from .rendering import as_html, render
from .shared import Shared
from .word_diff import word_diff

__all__ = ["show_compare", "show_compared"]

LEAST, MOST = 2, 4
"""How many sessions can be compared at once."""

MAX_EVENTS = 1_000
"""How many events of each session are compared."""

PAGE = 100
"""How many events, with their payloads, are held in memory."""

ROWS = 250
"""How many places one page shows."""

MAX_TAGS = 20

LETTERS = "ABCD"

PAYLOADS = ("prompt", "params", "completion", "returns")

TEXTS = {
    "prompt": "Prompt",
    "params": "Params",
    "completion": "Completion",
    "returns": "Returned",
    "failure": "Failure",
}
"""What is compared word by word."""


@attrs.frozen(kw_only=True)
class _Asked:
    """
    What an address asks for.

    Attributes:
        step: The place that is unfolded, by its name; "" for none.
        only: Whether only places are shown in which the sessions differ.
        start: The first place shown.
    """

    ids: tuple[str, ...]
    step: str
    only: bool
    start: int

    @classmethod
    def by(cls, request: Request) -> _Asked:
        query = request.query_params
        given = [id for text in query.getlist("ids") for id in text.split(",")]
        after = query.get("after", "0")
        return cls(
            ids=tuple(dict.fromkeys(filter(None, given))),
            step=query.get("step") or "",
            only=query.get("only") == "differences",
            start=int(after) if after.isascii() and after.isdecimal() and len(after) < 10 else 0,
        )

    @property
    def is_some(self) -> bool:
        return LEAST <= len(self.ids) <= MOST

    def address(self, **more: object) -> str:
        """
        The address of the same, but for what *more* says.
        """
        said = {"only": "differences" if self.only else "", "after": str(self.start or "")} | more
        return _address(self.ids, **said)


async def show_compare(request: Request) -> Response:
    asked = _Asked.by(request)
    if len(request.query_params.getlist("ids")) > 1:  # the list's form without a script
        return RedirectResponse("/compare" + _address(asked.ids), 303)
    context: dict[str, Any] = {"page": "sessions", "letters": LETTERS, "sessions": ()}
    if asked.is_some:
        context |= await _compared(request, asked)
    status = 200 if asked.is_some or not asked.ids else 400
    return render(request, "compare.html", context, status)


async def show_compared(request: Request) -> Response:
    """
    What changes of the comparison alone, for pages that follow it.
    """
    asked = _Asked.by(request)
    if not asked.is_some:
        raise HTTPException(400, "Two to four sessions can be compared.")
    shared: Shared = request.app.state.shared

    async def make() -> bytes:
        context = {"letters": LETTERS, **(await _compared(request, asked))}
        return bytes(render(request, "_compare.html", context).body)

    return as_html(await shared.get(("compare", request.state.project, asked), make))


async def _compared(request: Request, asked: _Asked) -> dict[str, Any]:
    store: Store = request.app.state.store
    project = request.state.project
    ids = asked.ids
    now = time.time_ns()
    sessions = [(await store.session(project, id)).summary for id in ids]
    named = await store.participants(project, ids)
    compared = [await _events(store, session) for session in sessions]
    rows, places = await anyio.to_thread.run_sync(_side_by_side, compared)
    different = [place for place in places if place["differs"]]
    shown = different if asked.only else places
    facts = [
        *_facts(sessions, now),
        _fact("Agents", [", ".join(sorted(named[id].agents)) for id in ids]),
        _fact("Models", [", ".join(sorted(named[id].models)) for id in ids]),
        _fact("Tags", [", ".join(session.tags[:MAX_TAGS]) for session in sessions]),
    ]
    opened = next((row for row in rows if _step(row) == asked.step), None)
    texts: list[dict[str, Any]] = []
    if opened is not None:
        details = [
            None if event is None else await store.event(project, session.id, event.id)
            for session, event in zip(sessions, opened.events, strict=True)
        ]
        texts = await anyio.to_thread.run_sync(_texts, details)
    last = asked.start + ROWS
    return {
        "sessions": sessions,
        "facts": [fact for fact in facts if fact["tells"]],
        "places": shown[asked.start : last],
        "start": asked.start,
        "following": last if len(shown) > last else None,
        "all": len(places),
        "different": len(different),
        "only": asked.only,
        "whole": all(session.events <= MAX_EVENTS for session in sessions),
        "most_events": MAX_EVENTS,
        "opened": opened,
        "texts": texts,
        "address": _address(ids),
        "address_of_differences": _address(ids, only="differences"),
        "address_with": asked.address,
        "here": asked.address(step=asked.step),
        "now_ns": now,
    }


def _address(ids: Sequence[str], **more: object) -> str:
    return address_of(
        [("ids", ",".join(ids)), *((name, str(value)) for name, value in more.items())]
    ).replace("%2C", ",")


@attrs.frozen(kw_only=True)
class _Event:
    """
    An event without its payloads, which can be large: `said` has a number for each of them, which
    is another where that is another.
    """

    summary: EventSummary
    said: dict[str, int]


async def _events(store: Store, session: SessionSummary) -> dict[str, _Event]:
    """
    The first events of *session*, each as it is last known.
    """
    found: dict[str, _Event] = {}
    cursor: str | None = None
    while len(found) < MAX_EVENTS:
        page = await store.events(
            session.project,
            session.id,
            cursor=cursor,
            limit=min(PAGE, MAX_EVENTS - len(found)),
        )
        for event in page.events:
            said = {name: hash(json_bytes(getattr(event, name))) for name in PAYLOADS}
            found[event.summary.id] = _Event(summary=event.summary, said=said)
        cursor = page.next
        if cursor is None:
            break
    return found


# -- heads ------------------------------------------------------------------------------------


def _facts(sessions: Sequence[SessionSummary], now: int) -> list[dict[str, Any]]:
    """
    What the sessions say of themselves; each differs from the first by so much.
    """
    return [
        _fact("Reason", [session.reason or "" for session in sessions]),
        _number("Duration", [session.taken(now) for session in sessions], duration),
        _costs(sessions),
        _number("Tokens in", [session.prompt_tokens for session in sessions], compact),
        _number("Tokens out", [session.completion_tokens for session in sessions], compact),
        _number("Events", [session.events for session in sessions], count),
        _number("LLM calls", [session.llms for session in sessions], count),
        _number("Tools", [session.tools for session in sessions], count),
        _number("Errors", [session.errors for session in sessions], count),
        _number("Records missing", [session.missing_records for session in sessions], count),
    ]


def _fact(name: str, said: Sequence[str]) -> dict[str, Any]:
    return {
        "name": name,
        "tells": any(said),
        "cells": [{"said": text, "delta": "", "differs": text != said[0]} for text in said],
    }


def _costs(sessions: Sequence[SessionSummary]) -> dict[str, Any]:
    """
    What the sessions cost: at least so much where the cost of a call is unknown.
    """
    fact = _number("Cost", [session.cost for session in sessions], dollars)
    for session, cell in zip(sessions, fact["cells"], strict=True):
        if session.cost is not None and session.costs_unknown:
            cell["said"] = f"at least {cell['said']}"
    return fact


def _number(name: str, values: Sequence[int | None], say: Callable[[int], str]) -> dict[str, Any]:
    first = values[0]
    return {
        "name": name,
        "tells": any(value != 0 for value in values),
        "cells": [
            {
                "said": "unknown" if value is None else say(value),
                "delta": _delta(first, value, say),
                "differs": value != first,
            }
            for value in values
        ],
    }


def _delta(first: int | None, value: int | None, say: Callable[[int], str]) -> str:
    """
    By how much *value* is more or less than the first; "" where it is not, or nobody knows.
    """
    if first is None or value is None or first == value:
        return ""
    sign = "+" if value > first else "\N{MINUS SIGN}"
    said = f"{sign}{say(abs(value - first))}"
    if first <= 0:
        return said
    share = round(100 * abs(value - first) / first)
    return f"{said} ({sign}{share:,} %)" if 0 < share < 1_000 else said


# -- places -----------------------------------------------------------------------------------


def _side_by_side(
    compared: Sequence[dict[str, _Event]],
) -> tuple[list[AlignedRow], list[dict[str, Any]]]:
    rows = align([[event.summary for event in events.values()] for events in compared])
    return rows, [_place(row, compared) for row in rows]


def _place(row: AlignedRow, compared: Sequence[dict[str, _Event]]) -> dict[str, Any]:
    """
    One row of the page: what each session has there, and in what it differs.
    """
    there = [
        events[event.id]
        for event, events in zip(row.events, compared, strict=True)
        if event is not None
    ]
    first, *others = there
    found = []
    if any(
        (it.summary.state, it.summary.error) != (first.summary.state, first.summary.error)
        for it in others
    ):
        found.append("outcome")
    if any(it.summary.model != first.summary.model for it in others):
        found.append("model")
    found += [name for name in PAYLOADS if any(it.said[name] != first.said[name] for it in others)]
    return {
        "row": row,
        "event": row.one,
        "step": _step(row),
        "depth": min(row.depth, 12),
        "cells": [_cell(event, row.events[0], at) for at, event in enumerate(row.events)],
        "words": found,
        "differs": bool(found) or not row.everywhere,
    }


def _step(row: AlignedRow) -> str:
    """
    What a row is called in an address: its first event, and whose that is.
    """
    at = next(at for at, event in enumerate(row.events) if event is not None)
    return f"{LETTERS[at]}-{row.one.id}"


def _cell(event: EventSummary | None, first: EventSummary | None, at: int) -> dict[str, Any]:
    if event is None:
        return {"event": None}
    taken = None if event.ended_at is None else max(event.ended_at - event.started_at, 0)
    delta = ""
    if at and first is not None and first.ended_at is not None and taken is not None:
        before = max(first.ended_at - first.started_at, 0)
        if abs(taken - before) > max(before, 1_000_000) / 10:  # less is no difference to look at
            delta = _delta(before, taken, duration)
    tokens = (event.prompt_tokens or 0) + (event.completion_tokens or 0)
    return {
        "event": event,
        "taken": taken,
        "delta": delta,
        "tokens": tokens,
        "cost_delta": _delta(_nano_dollars(first), _nano_dollars(event), dollars) if at else "",
    }


def _nano_dollars(event: EventSummary | None) -> int | None:
    """
    What *event* cost in nano-dollars; None where nobody knows, or not in dollars.
    """
    if event is None or event.cost is None or event.cost.currency != "USD":
        return None
    return int(event.cost.amount * 1_000_000_000)


# -- texts ------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class _Said:
    letter: str
    text: str


def _texts(details: Sequence[EventDetail | None]) -> list[dict[str, Any]]:
    """
    What was given and returned in one place, and how it differs from what the first one says.
    """
    found = []
    for name, title in TEXTS.items():
        said = [
            _Said(letter=letter, text=text)
            for letter, event in zip(LETTERS, details, strict=False)
            if event is not None and (text := _text(name, event)) is not None
        ]
        if not said:
            continue
        first, *others = said
        differences = []
        for other in others:
            if other.text != first.text:
                pieces, whole = word_diff(first.text, other.text)
                differences.append({"letter": other.letter, "pieces": pieces, "whole": whole})
        same = [other.letter for other in others if other.text == first.text]
        found.append({"title": title, "first": first, "same": same, "differences": differences})
    return found


def _text(name: str, event: EventDetail) -> str | None:
    """
    What *event* says under that name, to be read; None for nothing.
    """
    if name == "failure":
        failure = event.failure
        return None if failure is None else f"{failure.type}: {failure.message}"
    value = without_images(getattr(event, name))
    if value is None:
        return None
    if name in ("prompt", "completion"):
        turns = messages(value, role="user" if name == "prompt" else "assistant")
        if turns and all(part.kind == "text" for turn in turns for part in turn.parts):
            return "\n\n".join(
                f"{turn.role}: {' '.join(part.text for part in turn.parts)}" for turn in turns
            )
    if isinstance(value, str):
        return value
    return msgspec.json.format(json_bytes(value), indent=2).decode()
