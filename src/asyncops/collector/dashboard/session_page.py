"""
One session: its head, its views, the detail of an event.

Each view is a page of its own (`?view=chat`) and a fragment that is fetched anew while the session
runs; only the waterfall is drawn by a module of ours. What is worked out from all events of a
session is worked out in a thread, so that a long one holds nobody else up.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from anyio.to_thread import run_sync
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ..api import event_json, session_json
from ..headers import content_policy
from ..store.base import Around, EventDetail, EventSummary, SessionDetail, SessionSummary, Store
from .chat import chat, in_chat_order, repeated
from .columns import columns
from .conversations import messages
from .costs import sources_words
from .faults import fault_groups
from .forms import read_form
from .hosts import host_line
from .opening import opening
from .outline import outline
from .relations import MAX_ATTEMPTS, call_before, possible_attempts, self_time
from .rendering import as_json, render
from .spending import by_agent, by_model, by_tool, dearest
from .timeline import in_tree_order
from .video import playable

__all__ = [
    "delete_session",
    "give_event",
    "give_matches",
    "give_timeline",
    "show_event",
    "show_session",
    "show_session_head",
    "show_session_view",
]

PLAIN_EVENTS = 300
"""How many events one page lists where there is no script."""


VIEWS = {
    "waterfall": "Waterfall",
    "tree": "Tree",
    "chat": "Chat",
    "agents": "Agents",
    "errors": "Errors",
    "raw": "Raw",
}
"""What the views are called, by their names in addresses."""

CHAT_CALLS = 60
"""How many calls of models and tools one page of the chat has."""

MAX_GROUPS = 50
"""How many groups of errors are shown."""

AROUND_EVENTS = 100_000
"""In a session with more events than this, an event is told without those around it."""

RAW_EVENTS = 25
"""How many events one page shows as JSON."""


async def show_session(request: Request) -> Response:
    head = await _head(request)
    event_id = request.query_params.get("event")
    view = request.query_params.get("view", "waterfall")
    video = playable(head["session"].video)
    begun = None
    if not request.query_params:  # else what it shows first is for its script to say
        store: Store = request.app.state.store
        begun = await opening(store, head["session"], now=time.time_ns())
    context = {
        **head,
        "opening": begun,
        "video": video,
        "page": "sessions",
        "views": VIEWS,
        **(await _view(request, head["detail"], view)),
        **(await _event(request, head["detail"], event_id) if event_id else {"event_id": None}),
    }
    response = render(request, "session.html", context)
    response.headers["Content-Security-Policy"] = content_policy(
        media=None if video is None else video.origin, style=begun.style if begun else None
    )
    return response


async def show_session_view(request: Request) -> Response:
    """
    One view alone, as it stands in the session's page.
    """
    store: Store = request.app.state.store
    detail = await store.session(request.state.project, request.path_params["session_id"])
    context = await _view(request, detail, request.path_params["view"])
    return render(
        request,
        f"_{context['view']}.html",
        {"session": detail.summary, "event_id": None, "opening": None, **context},
    )


async def _view(request: Request, detail: SessionDetail, view: str) -> dict[str, Any]:
    look = _LOOKS.get(view)
    if look is None:
        raise HTTPException(404, f"There is no view {view!r} of a session.")
    return {"view": view, **(await look(request, detail))}


async def _waterfall(request: Request, detail: SessionDetail) -> dict[str, Any]:
    store: Store = request.app.state.store
    session = detail.summary
    first = _place(request)
    events = await store.timeline(session.project, session.id, after=first, limit=PLAIN_EVENTS)
    return {
        "rows": in_tree_order(events),
        "after": first,
        "following": events[-1].seq if len(events) == PLAIN_EVENTS else None,
    }


async def _tree(request: Request, detail: SessionDetail) -> dict[str, Any]:
    first = _place(request)
    events = await _timeline(request, detail)
    rows = await run_sync(lambda: list(outline(in_tree_order(events))))
    last = first + PLAIN_EVENTS
    return {
        "rows": rows[first:last],
        "after": first,
        "following": last if len(rows) > last else None,
    }


async def _chat(request: Request, detail: SessionDetail) -> dict[str, Any]:
    calls = await run_sync(in_chat_order, await _timeline(request, detail))
    agents = list(dict.fromkeys(call.agent for call in calls))
    agent = request.query_params.get("agent")
    if agent is not None:
        calls = [call for call in calls if (call.agent or "") == agent]
    first = _place(request)
    last = first + CHAT_CALLS
    page = await _details(request, detail, calls[first:last])
    speakers = {call.summary.agent for call in page}
    # what the first call of a page repeats was said by the call before it
    earlier = {call.agent: call for call in calls[:first] if call.kind == "llm"}
    before = [call for agent, call in earlier.items() if agent in speakers]
    return {
        "speakers": chat(page, before=await _details(request, detail, before)),
        "agents": agents,
        "agent": agent,
        "after": first,
        "following": last if len(calls) > last else None,
    }


async def _agents(request: Request, detail: SessionDetail) -> dict[str, Any]:
    events = await _timeline(request, detail)
    until = detail.summary.ended_at or time.time_ns()
    return {
        "agents": await run_sync(lambda: by_agent(events, now=until)),
        "models": await run_sync(lambda: by_model(events, now=until)),
        "tools": await run_sync(lambda: by_tool(events, now=until)),
        "dearest": await run_sync(dearest, events),
    }


async def _errors(request: Request, detail: SessionDetail) -> dict[str, Any]:
    groups = await run_sync(fault_groups, await _timeline(request, detail))
    shown = groups[:MAX_GROUPS]
    told = await _details(request, detail, [group.faults[0].event for group in shown])
    return {
        "groups": shown,
        "more_groups": len(groups) - len(shown),
        "failures": {event.summary.id: event.failure for event in told},
    }


async def _raw(request: Request, detail: SessionDetail) -> dict[str, Any]:
    store: Store = request.app.state.store
    session = detail.summary
    try:
        page = await store.events(
            session.project,
            session.id,
            cursor=request.query_params.get("cursor") or None,
            limit=RAW_EVENTS,
        )
    except ValueError as error:
        raise HTTPException(400, str(error)) from error
    return {
        "session_json": session_json(detail),
        "events": [event_json(event) for event in page.events],
        "cursor": request.query_params.get("cursor"),
        "next": page.next,
    }


_LOOKS = {
    "waterfall": _waterfall,
    "tree": _tree,
    "chat": _chat,
    "agents": _agents,
    "errors": _errors,
    "raw": _raw,
}


async def _timeline(request: Request, detail: SessionDetail) -> tuple[EventSummary, ...]:
    store: Store = request.app.state.store
    return await store.timeline(detail.summary.project, detail.summary.id)


async def _details(
    request: Request, detail: SessionDetail, events: Sequence[EventSummary]
) -> list[EventDetail]:
    store: Store = request.app.state.store
    session = detail.summary
    found = [await store.event(session.project, session.id, event.id) for event in events]
    return [event for event in found if event is not None]


def _place(request: Request) -> int:
    """
    Where a page of a view begins.
    """
    after = request.query_params.get("after", "0")
    return int(after) if after.isascii() and after.isdecimal() and len(after) < 10 else 0


async def show_session_head(request: Request) -> Response:
    return render(request, "_head.html", await _head(request))


async def delete_session(request: Request) -> Response:
    if (await read_form(request)).get("sure") != "1":
        raise HTTPException(400, "say that you are sure: a deleted session does not come back")
    store: Store = request.app.state.store
    await store.delete(request.state.project, request.path_params["session_id"])
    return RedirectResponse("/", 303)


async def _head(request: Request) -> dict[str, Any]:
    store: Store = request.app.state.store
    project, session_id = request.state.project, request.path_params["session_id"]
    detail = await store.session(project, session_id)
    session = detail.summary
    still_open = None
    if session.state == "Indeterminate":
        still_open = in_tree_order(await store.timeline(project, session_id, only_open=True))
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
    if said or not session.llms:
        return said or "no LLM calls"
    # what was open when nothing more was heard may have cost something
    is_open = session.state in ("Running", "Indeterminate")
    return "no call has told yet" if is_open else "nothing was used"


async def give_timeline(request: Request) -> Response:
    store: Store = request.app.state.store
    project, session_id = request.state.project, request.path_params["session_id"]
    after = request.query_params.get("after", "0")
    if not (after.isascii() and after.isdecimal() and len(after) < 16):
        raise HTTPException(400, "after must be the seq of an event")
    # the events first: what the session says of itself is then never older than they are
    events = await store.columns(project, session_id, after=int(after))
    session = (await store.session(project, session_id)).summary
    return as_json(await run_sync(lambda: columns(session, events, now=time.time_ns())))


async def give_matches(request: Request) -> Response:
    """
    The seqs of the events in whose texts the words of `q` occur.
    """
    store: Store = request.app.state.store
    matches = await store.matches(
        request.state.project,
        request.path_params["session_id"],
        request.query_params.get("q", ""),
    )
    return as_json({"seqs": matches.seqs, "whole": matches.whole})


async def show_event(request: Request) -> Response:
    store: Store = request.app.state.store
    session_id = request.path_params["session_id"]
    detail = await store.session(request.state.project, session_id)
    context = await _event(request, detail, request.path_params["event_id"])
    status = 404 if context["event"] is None else 200
    return render(request, "_event.html", {"session": detail.summary, **context}, status)


async def _event(request: Request, detail: SessionDetail, event_id: str) -> dict[str, Any]:
    store: Store = request.app.state.store
    session = detail.summary
    event = await store.event(session.project, session.id, event_id)
    if event is None:
        return {"event": None, "event_id": event_id}
    trigger = None
    if event.trigger_event_id is not None:
        trigger = await store.event(session.project, session.id, event.trigger_event_id)
    said = messages(event.prompt, role="user") if event.prompt is not None else ()
    answered = messages(event.completion, role="assistant") if event.completion is not None else ()
    around = Around()
    if session.events <= AROUND_EVENTS:
        around = await store.around(session.project, session.id, event_id, near=MAX_ATTEMPTS)
    before = None
    if (earlier := call_before(event.summary, around)) is not None:
        before = await store.event(session.project, session.id, earlier)
    return {
        "event": event,
        "event_id": event_id,
        "trigger": trigger,
        "self_time": self_time(event.summary, around),
        "attempts": await _attempts(store, session, event, around),
        "before": before,
        "repeated": repeated(said, before) if said and before else 0,
        "conversation": [*(said or ()), *(answered or ())],
        # what is no conversation in any way we know is shown as what it is
        "prompt_json": event.prompt if said is None else None,
        "completion_json": event.completion if answered is None else None,
        "words": {
            "starred": event_id in detail.starred_events,
            "notes": [note for note in detail.notes if note.event == event_id],
            "scores": [score for score in detail.scores if score.event == event_id],
        },
    }


async def _attempts(
    store: Store, session: SessionSummary, event: EventDetail, around: Around
) -> list[EventDetail]:
    """
    The attempts of the call that *event* is one of, in order; none where it was the only one.
    """
    if event.prompt is None:
        return []
    before, after = possible_attempts(event.summary, around)
    found = [event]
    for calls, place in ((before, 0), (after, None)):
        for call in calls:
            other = await store.event(session.project, session.id, call)
            if other is None or other.prompt != event.prompt:
                break
            found.insert(len(found) if place is None else place, other)
    return found if len(found) > 1 else []


async def give_event(request: Request) -> Response:
    store: Store = request.app.state.store
    project, session_id = request.state.project, request.path_params["session_id"]
    event: EventDetail | None = await store.event(
        project, session_id, request.path_params["event_id"]
    )
    if event is None:
        raise HTTPException(404, "There is no such event in this session.")
    return as_json(event_json(event))
