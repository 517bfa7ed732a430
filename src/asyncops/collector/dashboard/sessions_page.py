"""
The list of sessions.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ..api import session_query
from ..store.base import Participants, SessionPage, SessionQuery, SessionSummary, Store
from .filters import RANGES, Filters, address_of, has_blanks
from .hosts import host_line
from .rendering import render

__all__ = ["show_session_rows", "show_sessions"]

DEFAULT_ENDPOINT = "http://127.0.0.1:4319"
"""Where programs send their records if nobody says otherwise."""

MAX_PINNED = 20
"""How many running sessions stand above all others."""

STATES = ("Running", "Success", "Fail", "Cancelled", "Indeterminate")

SORTS = {
    "started": "Newest",
    "duration": "Longest",
    "cost": "Dearest",
    "tokens": "Most tokens",
    "events": "Most events",
    "errors": "Most errors",
}

VIEWS = {
    "All": "",
    "Running": "?state=Running",
    "Failed": "?state=Fail",
    "With errors": "?min_errors=1",
    "Dearest": "?sort=cost",
    "Longest": "?sort=duration",
    "Incomplete": "?missing=1",
}
"""Lists that everybody needs, by their addresses."""

COLUMNS_COOKIE = "asyncops_columns"
"""What `sessions.js` keeps a person's columns in, with dots between them."""


@attrs.frozen
class Column:
    """
    A column that can be chosen.

    Attributes:
        numeric: Whether it is a number, and stands on the right.
        chosen: Whether it is there for who has chosen nothing.
    """

    said: str
    numeric: bool = True
    chosen: bool = False


COLUMNS = {
    "tags": Column("Tags", numeric=False, chosen=True),
    "agents": Column("Agents", numeric=False),
    "models": Column("Models", numeric=False),
    "host": Column("Host", numeric=False),
    "started": Column("Started", numeric=False, chosen=True),
    "ended": Column("Ended", numeric=False),
    "duration": Column("Duration", numeric=False, chosen=True),
    "cost": Column("Cost", chosen=True),
    "tokens": Column("Tokens", chosen=True),
    "prompt_tokens": Column("Tokens in"),
    "completion_tokens": Column("Tokens out"),
    "cached_tokens": Column("Cached"),
    "events": Column("Events", chosen=True),
    "llms": Column("LLM calls"),
    "tools": Column("Tools"),
    "actions": Column("Actions"),
    "errors": Column("Errors", chosen=True),
    "missing": Column("Missing"),
    "score": Column("Score"),
}
"""In the order in which they stand."""

NAMED = {"agents", "models", "host"}
"""Those that tell who took part."""


async def show_sessions(request: Request) -> Response:
    if has_blanks(request.query_params):
        return RedirectResponse("/" + address_of(request.query_params.multi_items()), 303)
    context = await _sessions(request)
    context |= {
        "page": "sessions",
        "states": STATES,
        "sorts": SORTS,
        "ranges": RANGES,
        "views": VIEWS,
        "all_columns": COLUMNS,
    }
    return render(request, "sessions.html", context, 400 if context["problem"] else 200)


async def show_session_rows(request: Request) -> Response:
    return render(request, "_sessions.html", await _sessions(request))


async def _sessions(request: Request) -> dict[str, Any]:
    store: Store = request.app.state.store
    project = request.state.project
    now = time.time_ns()
    problem, page = None, SessionPage(sessions=(), next=None)
    running: Sequence[SessionSummary] = ()
    try:
        query = session_query(request.query_params)
        page = await store.sessions(project, query)
        running = await _running(store, project, query)
    except HTTPException as error:
        problem = error.detail
    except ValueError:
        problem = "This list has changed its order: go back to its first page."
    pinned = {session.id for session in running}
    sessions = [*running, *(session for session in page.sessions if session.id not in pinned)]
    columns = _columns(request)
    named: Mapping[str, Participants] = {}
    if NAMED & set(columns):
        named = await store.participants(project, [session.id for session in sessions])
    durations = [session.taken(now) for session in sessions]
    longest = max(durations, default=0)
    endpoint = str(request.base_url).rstrip("/")
    return {
        "filters": Filters.from_query(request.query_params),
        "sessions": [
            {
                "session": session,
                "duration": taken,
                "share": round(100 * taken / longest, 1) if longest else 0,
                "named": _names(named.get(session.id, Participants())),
            }
            for session, taken in zip(sessions, durations, strict=True)
        ],
        "columns": columns,
        "sorts": SORTS,
        "next": page.next,
        "problem": problem,
        "endpoint": None if endpoint == DEFAULT_ENDPOINT else endpoint,
    }


async def _running(store: Store, project: str, query: SessionQuery) -> Sequence[SessionSummary]:
    """
    What runs now and stands first on the first page of the newest, however long ago it began.
    """
    if query.sort != "started" or query.cursor is not None:
        return ()
    if query.states and "Running" not in query.states:
        return ()
    running = SessionQuery(states=("Running",), limit=min(query.limit, MAX_PINNED))
    if not (found := (await store.sessions(project, running)).sessions):
        return ()  # as it mostly is: what takes longer to look for is not looked for twice
    wanted = attrs.evolve(query, states=running.states, limit=running.limit)
    return found if wanted == running else (await store.sessions(project, wanted)).sessions


def _columns(request: Request) -> dict[str, Column]:
    """
    Those that the address asks for, or else the person's own, or else the usual ones.
    """
    kept = request.cookies.get(COLUMNS_COOKIE, "").split(".")
    for wanted in (request.query_params.getlist("column"), kept):
        found = {name: column for name, column in COLUMNS.items() if name in wanted}
        if found:
            return found
    return {name: column for name, column in COLUMNS.items() if column.chosen}


def _names(named: Participants) -> dict[str, Sequence[str]]:
    hosts = dict.fromkeys(filter(None, map(host_line, named.hosts)))
    return {"agents": named.agents, "models": named.models, "host": tuple(hosts)}
