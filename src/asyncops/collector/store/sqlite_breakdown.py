"""
What a project's sessions have in common: how long they take, whose they are, how they fail.

Unlike sums by day this is worked out when somebody asks, over the latest sessions of a period, so
it takes the same time however many there are.
"""

# ruff: noqa: S608 - SQL is put together from texts of ours alone; whatever others say is bound

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

import attrs
import msgspec

from .base import Breakdown, Group
from .sqlite_filters import ENDED_DURATION

__all__ = ["read_breakdown"]

MAX_SESSIONS = 10_000
"""How many sessions are looked at, the latest ones."""

MAX_GROUPS = 10
"""How many tags, agents and errors are named."""

PERCENTILES = (50, 90, 99)

_LATEST = (
    "SELECT s.key, s.started_at, s.end_state, s.llms, CASE WHEN s.costs_known THEN s.cost END,"
    " s.costs_unknown, s.prompt_tokens + s.completion_tokens, s.tags,"
    f" {ENDED_DURATION}"
    " FROM sessions s INDEXED BY sessions_started"
    " WHERE s.project = ? AND s.started_at >= ? AND s.started_at < ?"
    " ORDER BY s.started_at DESC LIMIT ?"
)


def _sums(calls: str, spent: str) -> str:
    """
    SQL for the values of `_Sums` beside its text: counts of sessions `s`, and what *spent* has.
    """
    # floats: what is told could overflow integers, and is no more exact than these are
    return (
        f"COUNT(*), SUM(COALESCE(s.end_state = 'Fail', 0)), TOTAL({calls}),"
        f" TOTAL({spent}.costs_known), TOTAL({spent}.cost), TOTAL({spent}.costs_unknown),"
        f" TOTAL({spent}.prompt_tokens + {spent}.completion_tokens)"
    )


_PERIOD = "s.started_at >= :since AND s.started_at < :until"
_ERRORS = (
    f"SELECT l.text, {_sums('s.llms', 's')}"
    " FROM labels l CROSS JOIN session_labels sl ON sl.label = l.key"
    " CROSS JOIN sessions s ON s.key = sl.session"
    " WHERE l.project = :project AND l.kind = 'fingerprint' AND sl.session >= :first_key"
    f" AND {_PERIOD} GROUP BY l.key"
)
_AGENTS = (
    f"SELECT (SELECT text FROM labels WHERE key = a.agent), {_sums('a.calls', 'a')}"
    " FROM sessions s INDEXED BY sessions_started"
    " CROSS JOIN session_agents a ON a.session = s.key"
    f" WHERE s.project = :project AND {_PERIOD} GROUP BY a.agent"
)


@attrs.define
class _Sums:
    text: str | None
    sessions: int = 0
    failed: int = 0
    calls: float = 0
    priced: float = 0
    cost: float = 0
    costs_unknown: float = 0
    tokens: float = 0


def read_breakdown(
    connection: sqlite3.Connection, project: int | None, *, since: int | None, until: int | None
) -> Breakdown:
    end = 2**63 - 1 if until is None else until
    rows = connection.execute(_LATEST, (project, since or 0, end, MAX_SESSIONS + 1)).fetchall()
    latest = rows[:MAX_SESSIONS]
    asked = {
        "project": project,
        "since": latest[-1][1] if latest else end,
        "until": end,
        "first_key": min((row[0] for row in latest), default=0),
    }
    agents = [_Sums(*row) for row in connection.execute(_AGENTS, asked)]
    errors = [_Sums(*row) for row in connection.execute(_ERRORS, asked)]
    # NULL where it has not ended
    durations = sorted(row[-1] for row in latest if row[-1] is not None)
    return Breakdown(
        sessions=len(latest),
        whole=len(rows) == len(latest),
        durations={
            # the least duration that so many percent do not exceed
            percent: durations[max(-(-percent * len(durations) // 100) - 1, 0)]
            for percent in PERCENTILES
            if durations
        },
        tags=_dearest(_by_tag(latest)),
        agents=_dearest(agents),
        errors=_groups(sorted(errors, key=lambda it: (-it.sessions, it.text or ""))),
    )


def _by_tag(rows: Iterable[Sequence[Any]]) -> list[_Sums]:
    found: dict[str, _Sums] = {}
    tags_of: dict[str, list[_Sums]] = {}
    for _, _, end_state, calls, cost, costs_unknown, tokens, tags, _ in rows:
        those = tags_of.get(tags)
        if those is None:
            named = msgspec.json.decode(tags, type=list[str])
            those = tags_of[tags] = [found.setdefault(tag, _Sums(tag)) for tag in named]
        for sums in those:
            sums.sessions += 1
            sums.failed += end_state == "Fail"
            sums.calls += calls
            sums.costs_unknown += costs_unknown
            sums.tokens += tokens
            if cost is not None:
                sums.priced += 1
                sums.cost += cost
    return list(found.values())


def _dearest(found: Iterable[_Sums]) -> tuple[Group, ...]:
    return _groups(sorted(found, key=lambda it: (-it.cost, -it.sessions, it.text or "")))


def _groups(found: Iterable[_Sums]) -> tuple[Group, ...]:
    return tuple(
        Group(
            text=sums.text,
            sessions=sums.sessions,
            failed=sums.failed,
            calls=int(sums.calls),
            cost=int(sums.cost) if sums.priced else None,
            costs_unknown=int(sums.costs_unknown),
            tokens=int(sums.tokens),
        )
        for sums in list(found)[:MAX_GROUPS]
    )
