"""
The overview: a project in sums, over days.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Sequence
from typing import Any

import attrs
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ..api import session_query
from ..store.base import Group, Overview, SessionSort, Store
from . import charts
from .filters import Range, address_of, has_blanks
from .format import NANOS_PER_DAY, compact, day_of, dollars
from .rendering import as_html, render
from .shared import Shared

__all__ = ["show_overview", "show_overview_sums"]

MOST: tuple[tuple[str, SessionSort], ...] = (("Slowest", "duration"), ("Dearest", "cost"))

MOST_SESSIONS = 5
"""How many of the slowest and of the dearest sessions are named."""


async def show_overview(request: Request) -> Response:
    if has_blanks(request.query_params):
        return RedirectResponse("/overview" + address_of(request.query_params.multi_items()), 303)
    wanted = Range.from_query(request.query_params, now=time.time_ns())
    context: dict[str, Any] = {"page": "overview", "range": wanted, "problem": None}
    try:
        context |= await _overview(request, wanted)
    except HTTPException as error:
        context["problem"] = error.detail
        return render(request, "overview.html", context, 400)
    return render(request, "overview.html", context)


async def show_overview_sums(request: Request) -> Response:
    """
    What changes of the overview alone, for pages that follow it.
    """
    wanted = Range.from_query(request.query_params, now=time.time_ns())
    shared: Shared = request.app.state.shared

    async def make() -> bytes:
        context = {"range": wanted, **(await _overview(request, wanted))}
        return bytes(render(request, "_overview.html", context).body)

    key = ("overview", request.state.project, wanted.since, wanted.until)
    return as_html(await shared.get(key, make))


async def _overview(request: Request, wanted: Range) -> dict[str, Any]:
    store: Store = request.app.state.store
    query = session_query(wanted.query)
    project = request.state.project
    now = time.time_ns()
    overview = await store.overview(project, since=query.since, until=query.until)
    found = await store.breakdown(project, since=query.since, until=query.until)
    return {
        "found": found,
        "groups": [
            {"title": title, "filter": filter, "groups": _shown(groups), "more": more}
            for title, filter, groups, more in (
                ("Tags", "tag", found.tags, ""),
                ("Agents", "agent", found.agents, "each with what it spent itself"),
            )
        ],
        "most": [
            {
                "title": title,
                "sort": sort,
                "sessions": (
                    await store.sessions(
                        project, attrs.evolve(query, sort=sort, limit=MOST_SESSIONS)
                    )
                ).sessions,
            }
            for title, sort in MOST
        ],
        "ended": sum(overview.states.get(state, 0) for state in charts.ENDED),
        "overview": overview,
        "shares": _shares(overview),
        "charts": _charts(overview, since=query.since, until=query.until, now=now),
        "models": _models(overview),
        "now_ns": now,
    }


def _shown(groups: Sequence[Group]) -> list[dict[str, Any]]:
    dearest = max((group.cost or 0 for group in groups), default=0)
    return [
        {
            "group": group,
            "share": round(100 * (group.cost or 0) / dearest, 1) if dearest else 0,
        }
        for group in groups
    ]


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
        "failed": charts.chart(
            over,
            series={"fail": charts.failed_percent},
            say=lambda value: f"{value:.0f} %",
        ),
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
