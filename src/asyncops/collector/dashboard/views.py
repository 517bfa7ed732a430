"""
Which address shows which page.

`routes()` is what the collector serves; `render()` and `error_page()` are for the others in it that
answer a person. Pages read through the `Store` of `request.app.state.store`, for the project of
`request.state.project`.
"""

from __future__ import annotations

import datetime
import functools
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import jinja2
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from ..._exceptions import SessionNotFoundError, StoreError
from ..api import event_json, json_bytes, session_query, timestamp
from ..store.base import (
    EventDetail,
    Overview,
    SessionPage,
    SessionSummary,
    Store,
)
from . import charts
from .assets import Assets
from .conversations import messages
from .costs import said_by, sources_words
from .filters import Filters, Range, address_of, has_blanks
from .format import (
    NANOS_PER_DAY,
    clock,
    compact,
    cost_of,
    count,
    day_of,
    dollars,
    duration,
    exact_time,
    percent,
    plural,
    relative_time,
    web_address,
)
from .hosts import host_entry, host_line
from .missing import missing_words
from .payloads import json_html, text_html
from .timeline import columns, in_tree_order

__all__ = ["error_page", "render", "routes"]

HERE = Path(__file__).parent

PLAIN_EVENTS = 300
"""How many events one page lists where there is no script."""

DEFAULT_ENDPOINT = "http://127.0.0.1:4319"
"""Where programs send their records if nobody says otherwise."""

SORTS = {
    "started": "Newest",
    "duration": "Longest",
    "cost": "Dearest",
    "tokens": "Most tokens",
    "events": "Most events",
    "errors": "Most errors",
}

COLUMNS = {
    "started": "Started",
    "duration": "Duration",
    "cost": "Cost",
    "tokens": "Tokens",
    "events": "Events",
    "errors": "Errors",
}

TITLES = {
    400: "That was not understood",
    401: "Sign in first",
    403: "Not from here",
    404: "Not found",
    405: "Not like that",
    503: "The collector cannot answer now",
}

assets = Assets.read(HERE / "static")

environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader(HERE / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)
environment.globals["asset"] = assets.url
environment.globals["host_entry"] = host_entry
environment.filters["rfc3339"] = timestamp
for filter_ in (
    clock, compact, cost_of, count, dollars, duration, exact_time, json_html, percent, plural,
    missing_words, said_by, relative_time, text_html, web_address,
):  # fmt: skip
    environment.filters[filter_.__name__] = filter_


def routes() -> list[BaseRoute]:
    """
    The pages, the parts of them that are fetched anew, and their static files.
    """
    compressed = [Middleware(GZipMiddleware, minimum_size=1_024, compresslevel=4)]
    session_page = "/sessions/{session_id}"
    pages: dict[str, Callable[[Request], Awaitable[Response]]] = {
        "/": show_sessions,
        "/fragments/sessions": show_session_rows,
        "/overview": show_overview,
        session_page: show_session,
        f"{session_page}/head": show_session_head,
        f"{session_page}/timeline.json": give_timeline,
        f"{session_page}/events/{{event_id}}.json": give_event,
        f"{session_page}/events/{{event_id}}": show_event,
    }
    return [
        *(Route(path, _page(view), middleware=compressed) for path, view in pages.items()),
        Route("/static/{digest}/{name}", assets.respond, middleware=compressed),
    ]


def render(
    request: Request, name: str, context: Mapping[str, Any], status: int = 200
) -> HTMLResponse:
    """
    The template *name* as an answer. Works for those, too, who are not signed in.

    Args:
        context: What the template asks for; `sign_in.html`: `next` and `error` (None for none).
    """
    common = {
        "project": getattr(request.state, "project", None),
        "page": None,
        "now": time.time_ns(),
        "signed_in": "asyncops_session" in request.cookies,
    }
    html = environment.get_template(name).render({**common, **context})
    return HTMLResponse(html, status, headers={"Cache-Control": "no-store"})


def error_page(request: Request, status: int, message: str) -> HTMLResponse:
    """
    A page that says what went wrong, to a person.
    """
    title = TITLES.get(status, "Something went wrong")
    context = {"status": status, "title": title, "message": message}
    return render(request, "error.html", context, status)


def _page(view: Callable[[Request], Awaitable[Response]]) -> Callable[..., Awaitable[Response]]:
    @functools.wraps(view)
    async def answer(request: Request) -> Response:
        try:
            return await view(request)
        except SessionNotFoundError as error:
            message = f"There is no session {error.session_id} in this project."
            return error_page(request, 404, message)
        except HTTPException as error:
            return error_page(request, error.status_code, error.detail)
        except StoreError as error:
            return error_page(request, 503, str(error))

    return answer


# -- the list -------------------------------------------------------------------------------------


async def show_sessions(request: Request) -> Response:
    if has_blanks(request.query_params):
        return RedirectResponse("/" + address_of(request.query_params.multi_items()), 303)
    context = await _sessions(request)
    context |= {
        "page": "sessions",
        "states": ("Running", "Success", "Fail", "Cancelled", "Indeterminate"),
        "sorts": SORTS,
    }
    return render(request, "sessions.html", context, 400 if context["problem"] else 200)


async def show_session_rows(request: Request) -> Response:
    return render(request, "_sessions.html", await _sessions(request))


async def _sessions(request: Request) -> dict[str, Any]:
    store: Store = request.app.state.store
    now = time.time_ns()
    problem, page = None, SessionPage(sessions=(), next=None)
    try:
        query = session_query(request.query_params)
        page = await store.sessions(request.state.project, query)
    except HTTPException as error:
        problem = error.detail
    except ValueError:
        problem = "This list has changed its order: go back to its first page."
    durations = [_duration(session, now) for session in page.sessions]
    longest = max(durations, default=0)
    endpoint = str(request.base_url).rstrip("/")
    return {
        "filters": Filters.from_query(request.query_params),
        "sessions": [
            {
                "session": session,
                "duration": taken,
                "share": round(100 * taken / longest, 1) if longest else 0,
            }
            for session, taken in zip(page.sessions, durations, strict=True)
        ],
        "columns": COLUMNS,
        "next": page.next,
        "problem": problem,
        "endpoint": None if endpoint == DEFAULT_ENDPOINT else endpoint,
    }


def _duration(session: SessionSummary, now: int) -> int:
    return max((now if session.ended_at is None else session.ended_at) - session.started_at, 0)


# -- one session ----------------------------------------------------------------------------------


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
        "taken": _duration(session, time.time_ns()),
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
    return _json(columns(session, events, now=time.time_ns()))


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
    return _json(event_json(event))


def _json(value: Any) -> Response:
    return Response(
        json_bytes(value), media_type="application/json", headers={"Cache-Control": "no-store"}
    )


# -- the overview ---------------------------------------------------------------------------------


async def show_overview(request: Request) -> Response:
    if has_blanks(request.query_params):
        return RedirectResponse("/overview" + address_of(request.query_params.multi_items()), 303)
    store: Store = request.app.state.store
    now = time.time_ns()
    wanted = Range.from_query(request.query_params, now=now)
    context: dict[str, Any] = {"page": "overview", "range": wanted, "problem": None}
    try:
        query = session_query(wanted.query)
    except HTTPException as error:
        context["problem"] = error.detail
        return render(request, "overview.html", context, 400)
    overview = await store.overview(request.state.project, since=query.since, until=query.until)
    context |= {
        "overview": overview,
        "shares": _shares(overview),
        "charts": _charts(overview, since=query.since, until=query.until, now=now),
        "models": _models(overview),
    }
    return render(request, "overview.html", context)


def _shares(overview: Overview) -> list[dict[str, Any]]:
    shares, x = [], 0.0
    for state in charts.STATES:
        number = overview.states.get(state, 0)
        if number:
            width = 100 * number / overview.sessions
            shares.append(
                {"state": state, "number": number, "x": round(x, 3), "width": round(width, 3)}
            )
            x += width
    return shares


def _charts(
    overview: Overview, *, since: int | None, until: int | None, now: int
) -> dict[str, charts.Chart]:
    if not overview.days:
        return {}
    day = datetime.date.fromisoformat
    first, last = day(overview.days[0].day), day(overview.days[-1].day)
    # the range that was asked for, as far as there can be anything in it
    if since is not None and since >= now - 366 * NANOS_PER_DAY:
        first = min(first, day(day_of(since)))
    if until is None or until > now:
        last = max(last, min(day(day_of(now)), first + datetime.timedelta(days=3_660)))
    over = charts.buckets(overview.days, first=first, last=last)
    return {
        "sessions": charts.chart(
            over,
            series={state: _state_counter(state) for state in charts.STATES},
            say=lambda value: f"{value:,.0f}",
        ),
        "cost": charts.chart(over, series={"cost": lambda it: it.cost}, say=dollars),
        "tokens": charts.chart(
            over,
            series={"in": lambda it: it.prompt_tokens, "out": lambda it: it.completion_tokens},
            say=compact,
        ),
    }


def _state_counter(state: str) -> Callable[[charts.Bucket], int]:
    return lambda bucket: bucket.states.get(state, 0)


def _models(overview: Overview) -> list[dict[str, Any]]:
    dearest = max((model["cost"] or 0 for model in overview.models), default=0)
    return [
        {**model, "share": round(100 * (model["cost"] or 0) / dearest, 1) if dearest else 0}
        for model in overview.models
    ]
