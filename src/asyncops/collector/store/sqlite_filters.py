"""
Which sessions a query asks for: each of its filters as a condition, and as the keys of those that
pass it.

A list that is sorted walks the index of its order and looks at session after session: that is quick
where many pass. Where only a few pass a filter, they are looked up by it and sorted. Which of the
two it is nobody knows beforehand, so the keys are listed up to a limit.
"""

# ruff: noqa: S608 - SQL is put together from texts of ours alone; whatever others say is bound

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import attrs
import msgspec

from .base import LEASE_SECONDS, SessionQuery
from .sqlite_schema import SEQ_BITS
from .sqlite_texts import match, sessions_with

__all__ = [
    "DIED",
    "DURATION",
    "ENDED_DURATION",
    "SORTS",
    "STATE",
    "Filter",
    "Moment",
    "few",
    "filters",
]

FEW = 4_000
"""How many sessions are looked up and sorted rather than found by a walk in order."""

DIED = "process died"
"""The reason of an open session nobody was heard from."""

_KEYS = "SELECT s.key FROM sessions s WHERE s.project = :project AND"

_ID = re.compile(r"[0-9a-fA-F-]+")


@attrs.frozen(kw_only=True)
class Moment:
    """
    When a question is asked.

    Attributes:
        now: Nanoseconds since the epoch.
        opened_at: When the store was opened: before that nobody could be heard.
    """

    now: int
    opened_at: int

    def parameters(self) -> dict[str, int]:
        return {
            "now": self.now,
            "opened_at": self.opened_at,
            "silent_since": self.now - int(LEASE_SECONDS * 1e9),
        }


# When a session was last heard of: from those who neither left nor ended; where all of them did,
# when the last one was heard of this session. The owner's word may still be on its way then.
_HEARD = (
    "(SELECT MAX(COALESCE("
    "MAX(CASE WHEN NOT (ss.left_at OR so.ended) THEN so.last_seen_at END),"
    " MAX(CASE WHEN ss.left_at THEN ss.left_at ELSE so.last_seen_at END), 0), :opened_at)"
    " FROM session_sources ss JOIN sources so ON so.key = ss.source WHERE ss.session = s.key)"
)
STATE = (
    f"CASE WHEN s.end_state IS NOT NULL THEN s.end_state"
    f" WHEN {_HEARD} < :silent_since THEN 'Indeterminate' ELSE 'Running' END"
)
"""The state of a session `s`."""

DURATION = (
    "MAX(0, CASE WHEN s.ended_at IS NOT NULL THEN s.ended_at"
    " WHEN {state} = 'Running' THEN {now} ELSE s.last_record_at END - s.started_at)"
)
ENDED_DURATION = "MAX(0, s.ended_at - s.started_at)"
"""What `DURATION` is for sessions that ended."""

SORTS = {
    "started": "s.started_at",
    "duration": DURATION.format(state=f"({STATE})", now=":as_of"),
    "cost": "CASE WHEN s.costs_known THEN s.cost ELSE -1 END",
    "tokens": "s.prompt_tokens + s.completion_tokens",
    "events": "s.events",
    "errors": "s.errors",
}
"""There is an index for each; for the duration, of the sessions that ended."""

_VALUES = {**SORTS, "score": "s.score"}
"""What has a least and a most."""


@attrs.frozen
class Filter:
    """
    A filter in SQL.

    Attributes:
        condition: True of a session `s` that passes.
        keys: The keys of all sessions that pass, and perhaps of others, out of an index; None where
            there are known to be many.
    """

    condition: str
    keys: str | None


_NONE = Filter("FALSE", "SELECT NULL WHERE FALSE")


def filters(
    connection: sqlite3.Connection, query: SessionQuery, parameters: dict[str, Any]
) -> Iterator[Filter]:
    """
    The filters of *query*; their values go into *parameters*, beside `project`, `as_of` and a
    `Moment`'s.
    """
    if query.ids:
        condition = f"s.id IN ({_bound('id', query.ids, parameters)})"
        yield Filter(condition, f"{_KEYS} {condition}")
    if query.states:
        states = _bound("state", query.states, parameters)
        condition = f"{STATE} IN ({states})"
        wanted = [f"{_KEYS} s.end_state IN ({states})"]
        if {"Running", "Indeterminate"} & set(query.states):
            wanted.append(f"{_KEYS} s.end_state IS NULL AND {condition}")
        yield Filter(condition, " UNION ALL ".join(wanted))
    labels = [("tag", tag) for tag in query.tags]
    labels += [
        (kind, text)
        for kind, text in (
            ("agent", query.agent),
            ("model", query.model),
            ("fingerprint", query.fingerprint),
        )
        if text is not None
    ]
    for number, (kind, text) in enumerate(labels):
        parameters[f"label{number}"] = text
        label = (
            "(SELECT l.key FROM labels l WHERE l.project = :project"
            f" AND l.kind = '{kind}' AND l.text = :label{number})"
        )
        sessions = f"SELECT sl.session FROM session_labels sl WHERE sl.label = {label}"
        yield Filter(f"EXISTS ({sessions} AND sl.session = s.key)", sessions)
    period = []
    for name, value, condition in (
        ("since", query.since, "s.started_at >= :since"),
        ("until", query.until, "s.started_at < :until"),
    ):
        if value is not None:
            parameters[name] = value
            period.append(condition)
    if period:
        condition = " AND ".join(period)
        yield Filter(condition, f"{_KEYS} {condition}")
    for name, said, kinds in (
        ("name", query.name, ("session",)),
        ("error", query.error, ("reason", "error")),
    ):
        if said is not None:
            yield _said_in(name, said, kinds, parameters)
    if query.missing:
        condition = "s.missing <> '{}'"
        yield Filter(condition, f"{_KEYS} {condition}")
    if query.starred:
        yield Filter("s.starred", f"{_KEYS} s.starred")
    # -1 stands for an unknown cost
    least_cost = 0 if query.min_cost is None and query.max_cost is not None else query.min_cost
    ranges: tuple[tuple[str, float | None, float | None], ...] = (
        ("duration", query.min_duration, query.max_duration),
        ("cost", least_cost, query.max_cost),
        ("tokens", query.min_tokens, query.max_tokens),
        ("events", query.min_events, query.max_events),
        ("errors", query.min_errors, query.max_errors),
        ("score", query.min_score, query.max_score),
    )
    for order, least, most in ranges:
        bounds = []
        for name, limit, comparison in (("least", least, ">="), ("most", most, "<=")):
            if limit is not None:
                parameters[f"{name}_{order}"] = limit
                bounds.append(f"{{}} {comparison} :{name}_{order}")
        if bounds:
            yield _between(order, " AND ".join(bounds))
    if query.q:
        yield _search(connection, query.q, parameters)


def _between(order: str, bounds: str) -> Filter:
    """
    The sessions whose value of that name is within *bounds*, where `{}` stands for it.
    """
    condition = bounds.replace("{}", _VALUES[order])
    if order != "duration":
        return Filter(condition, f"{_KEYS} {condition}")
    ended = f"{_KEYS} s.end_state IS NOT NULL AND {bounds.replace('{}', ENDED_DURATION)}"
    return Filter(condition, f"{ended} UNION ALL {_KEYS} s.end_state IS NULL AND {condition}")


def _said_in(name: str, text: str, kinds: Sequence[str], parameters: dict[str, Any]) -> Filter:
    """
    The sessions with a label of one of *kinds* that *text* occurs in; *name* is what it is bound
    by.
    """
    if "\0" in text:
        return _NONE  # LIKE would read only up to there
    parameters[name] = f"%{_escaped(text)}%"
    named = ", ".join(f"'{kind}'" for kind in kinds)
    labels = (
        "SELECT l.key FROM labels l WHERE l.project = :project"
        f" AND l.kind IN ({named})"
        f" AND l.text LIKE :{name} ESCAPE '\\'"
    )
    return Filter(
        # +: a session has few labels, but many may hold the text
        "EXISTS (SELECT 1 FROM session_labels sl"
        f" WHERE sl.session = s.key AND +sl.label IN ({labels}))",
        f"SELECT sl.session FROM session_labels sl WHERE sl.label IN ({labels})",
    )


def _search(connection: sqlite3.Connection, text: str, parameters: dict[str, Any]) -> Filter:
    """
    The sessions that *text* occurs in: in the id, in what was said of them, or, word by word, in
    one of their events.
    """
    found = [_said_in("q", text, ("tag", "session", "reason", "name", "error"), parameters)]
    if found == [_NONE]:
        return _NONE
    like = "LIKE :q ESCAPE '\\'"
    if _ID.fullmatch(text):
        condition = f"(s.id {like} OR replace(s.id, '-', '') {like})"
        found.append(Filter(condition, f"{_KEYS} {condition}"))
    if text.lower() in DIED:
        condition = f"(s.end_state IS NULL AND {_HEARD} < :silent_since)"
        found.append(Filter(condition, f"{_KEYS} {condition}"))
    if (words := match(text)) is not None:
        found.append(_said(connection, words, parameters))
    known = [filter.keys for filter in found if filter.keys is not None]
    return Filter(
        f"({' OR '.join(filter.condition for filter in found)})",
        " UNION ".join(known) if len(known) == len(found) else None,
    )


def _said(connection: sqlite3.Connection, words: str, parameters: dict[str, Any]) -> Filter:
    sessions = sessions_with(connection, words)
    if sessions is not None:
        parameters["said"] = msgspec.json.encode(sessions).decode()
        keys = "SELECT value FROM json_each(:said)"
        return Filter(f"s.key IN ({keys})", keys)
    parameters["words"] = words
    return Filter(
        # where indexing is behind, the newest are not there yet, and they are looked at first
        "(s.searched_seq AND EXISTS (SELECT 1 FROM texts WHERE texts MATCH :words AND rowid"
        f" BETWEEN s.key << {SEQ_BITS} AND (s.key + 1) << {SEQ_BITS}))",
        None,
    )


def few(
    connection: sqlite3.Connection, filters: Sequence[Filter], parameters: dict[str, Any]
) -> list[int] | None:
    """
    The keys of the sessions that pass the filter which the fewest pass; None where all filters let
    more than a few pass.
    """
    fewest: list[int] | None = None
    for filter in filters:
        if filter.keys is None:
            continue
        limit = FEW + 1 if fewest is None else len(fewest)
        keys = {
            key
            for (key,) in connection.execute(
                f"SELECT * FROM ({filter.keys}) LIMIT {limit}", parameters
            )
        }
        if len(keys) < limit:
            fewest = list(keys)
    return fewest


def _bound(name: str, values: Iterable[object], parameters: dict[str, Any]) -> str:
    names = []
    for number, value in enumerate(values):
        parameters[f"{name}{number}"] = value
        names.append(f":{name}{number}")
    return ", ".join(names)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
