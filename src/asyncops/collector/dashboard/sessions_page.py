"""
The list of sessions.
"""

from __future__ import annotations

import time
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ..api import session_query
from ..store.base import SessionPage, Store
from .filters import Filters, address_of, has_blanks
from .rendering import render

__all__ = ["show_session_rows", "show_sessions"]

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
    durations = [session.taken(now) for session in page.sessions]
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
