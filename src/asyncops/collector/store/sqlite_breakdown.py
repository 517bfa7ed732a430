"""
What a project's sessions have in common: how long they take, whose they are, how they fail.

Unlike sums by day this is worked out when somebody asks, over the latest sessions of a period, so
it takes the same time however many there are.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

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
    "SELECT s.key, s.started_at, s.end_state, CASE WHEN s.costs_known THEN s.cost END,"  # noqa: S608
    f" s.prompt_tokens + s.completion_tokens, s.tags, {ENDED_DURATION}"
    " FROM sessions s INDEXED BY sessions_started"
    " WHERE s.project = ? AND s.started_at >= ? AND s.started_at < ?"
    " ORDER BY s.started_at DESC LIMIT ?"
)
# the sums are floats: what is told could overflow integers, and is no more exact than these are
_LABELLED = (
    "SELECT l.text, COUNT(*), SUM(COALESCE(s.end_state = 'Fail', 0)), SUM(s.costs_known > 0),"
    " TOTAL(s.cost), TOTAL(s.prompt_tokens + s.completion_tokens)"
    " FROM labels l CROSS JOIN session_labels sl ON sl.label = l.key"
    " CROSS JOIN sessions s ON s.key = sl.session"
    " WHERE l.project = ? AND l.kind = ? AND sl.session >= ?"
    " AND s.started_at >= ? AND s.started_at < ? GROUP BY 1"
)


@attrs.define
class _Sums:
    text: str
    sessions: int = 0
    failed: int = 0
    priced: int = 0
    cost: float = 0
    tokens: float = 0


def read_breakdown(
    connection: sqlite3.Connection, project: int | None, *, since: int | None, until: int | None
) -> Breakdown:
    end = 2**63 - 1 if until is None else until
    rows = connection.execute(_LATEST, (project, since or 0, end, MAX_SESSIONS + 1)).fetchall()
    latest = rows[:MAX_SESSIONS]
    first_key = min((row[0] for row in latest), default=0)
    first_start = latest[-1][1] if latest else end

    def labelled(kind: str) -> list[_Sums]:
        found = connection.execute(_LABELLED, (project, kind, first_key, first_start, end))
        return [_Sums(*row) for row in found]

    # NULL where it has not ended
    durations = sorted(row[6] for row in latest if row[6] is not None)
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
        agents=_dearest(labelled("agent")),
        errors=_groups(sorted(labelled("fingerprint"), key=lambda it: (-it.sessions, it.text))),
    )


def _by_tag(rows: Iterable[tuple[int, int, str | None, int | None, int, str, int]]) -> list[_Sums]:
    found: dict[str, _Sums] = {}
    tags_of: dict[str, list[_Sums]] = {}
    for _, _, end_state, cost, tokens, tags, _ in rows:
        those = tags_of.get(tags)
        if those is None:
            named = msgspec.json.decode(tags, type=list[str])
            those = tags_of[tags] = [found.setdefault(tag, _Sums(tag)) for tag in named]
        for sums in those:
            sums.sessions += 1
            sums.failed += end_state == "Fail"
            sums.tokens += tokens
            if cost is not None:
                sums.priced += 1
                sums.cost += cost
    return list(found.values())


def _dearest(found: Iterable[_Sums]) -> tuple[Group, ...]:
    return _groups(sorted(found, key=lambda it: (-it.cost, -it.sessions, it.text)))


def _groups(found: Iterable[_Sums]) -> tuple[Group, ...]:
    return tuple(
        Group(
            text=sums.text,
            sessions=sums.sessions,
            failed=sums.failed,
            cost=int(sums.cost) if sums.priced else None,
            tokens=int(sums.tokens),
        )
        for sums in list(found)[:MAX_GROUPS]
    )
