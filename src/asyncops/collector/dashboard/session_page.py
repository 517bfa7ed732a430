"""
One session: its head, its timeline, the detail of an event.
"""

from __future__ import annotations

import time
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from ..api import event_json
from ..store.base import EventDetail, SessionSummary, Store
from .conversations import messages
from .costs import sources_words
from .hosts import host_line
from .rendering import as_json, render
from .timeline import columns, in_tree_order

__all__ = ["give_event", "give_timeline", "show_event", "show_session", "show_session_head"]

PLAIN_EVENTS = 300
"""How many events one page lists where there is no script."""


async def show_session(request: Request) -> Response:
    store: Store = request.app.state.store
    project, session_id = request.state.project, request.path_params["session_id"]
    after = request.query_params.get("after", "0")
    first = int(after) if after.isascii() and after.isdecimal() and len(after) < 10 else 0
    head = await _head(request)
    event_id = request.query_params.get("event")
    events = await store.timeline(project, session_id, after=first, limit=PLAIN_EVENTS)
    context = {
        **head,
        "page": "sessions",
        "rows": in_tree_order(events),
        "after": first,
        "following": events[-1].seq if len(events) == PLAIN_EVENTS else None,
        **(await _event(request, head["session"], event_id) if event_id else {"event_id": None}),
    }
    return render(request, "session.html", context)


async def show_session_head(request: Request) -> Response:
    return render(request, "_head.html", await _head(request))


async def _head(request: Request) -> dict[str, Any]:
    store: Store = request.app.state.store
    project, session_id = request.state.project, request.path_params["session_id"]
    detail = await store.session(project, session_id)
    session = detail.summary
    still_open = None
    if session.state == "Indeterminate":
        events = await store.timeline(project, session_id)
        running = [event for event in events if event.state == "Running"]
        still_open = in_tree_order(running)
    return {
        "session": session,
        "detail": detail,
        "taken": session.taken(time.time_ns()),
        "provenance": _provenance(session),
        "still_open": still_open,
        "last_heard": max(
            [session.last_record_at, *(source.last_seen_at for source in detail.sources)]
        ),
        "host_lines": list(
            dict.fromkeys(filter(None, (host_line(source.host) for source in detail.sources[:50])))
        ),
    }


def _provenance(session: SessionSummary) -> str:
    """
    Who says what the session cost.
    """
    said = sources_words(session.costs_from, unknown=session.costs_unknown)
    return said or ("nothing was used" if session.llms else "no LLM calls")


async def give_timeline(request: Request) -> Response:
    store: Store = request.app.state.store
    project, session_id = request.state.project, request.path_params["session_id"]
    after = request.query_params.get("after", "0")
    if not (after.isascii() and after.isdecimal() and len(after) < 16):
        raise HTTPException(400, "after must be the seq of an event")
    # the events first: what the session says of itself is then never older than they are
    events = await store.timeline(project, session_id, after=int(after))
    session = (await store.session(project, session_id)).summary
    return as_json(columns(session, events, now=time.time_ns()))


async def show_event(request: Request) -> Response:
    store: Store = request.app.state.store
    session_id = request.path_params["session_id"]
    session = (await store.session(request.state.project, session_id)).summary
    context = await _event(request, session, request.path_params["event_id"])
    status = 404 if context["event"] is None else 200
    return render(request, "_event.html", {"session": session, **context}, status)


async def _event(request: Request, session: SessionSummary, event_id: str) -> dict[str, Any]:
    store: Store = request.app.state.store
    event = await store.event(session.project, session.id, event_id)
    if event is None:
        return {"event": None, "event_id": event_id}
    trigger = None
    if event.trigger_event_id is not None:
        trigger = await store.event(session.project, session.id, event.trigger_event_id)
    said = messages(event.prompt, role="user") if event.prompt is not None else ()
    answered = messages(event.completion, role="assistant") if event.completion is not None else ()
    return {
        "event": event,
        "event_id": event_id,
        "trigger": trigger,
        "conversation": [*(said or ()), *(answered or ())],
        # what is no conversation in any way we know is shown as what it is
        "prompt_json": event.prompt if said is None else None,
        "completion_json": event.completion if answered is None else None,
    }


async def give_event(request: Request) -> Response:
    store: Store = request.app.state.store
    project, session_id = request.state.project, request.path_params["session_id"]
    event: EventDetail | None = await store.event(
        project, session_id, request.path_params["event_id"]
    )
    if event is None:
        raise HTTPException(404, "There is no such event in this session.")
    return as_json(event_json(event))
