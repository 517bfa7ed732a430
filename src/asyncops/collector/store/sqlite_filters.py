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

__all__ = ["DIED", "STATE", "Filter", "Moment", "few", "filters"]

FEW = 4_000
"""How many sessions are looked up and sorted rather than found by a walk in order."""

DIED = "process died"
"""The reason of an open session nobody was heard from."""

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


def filters(
    connection: sqlite3.Connection, query: SessionQuery, parameters: dict[str, Any]
) -> Iterator[Filter]:
    """
    The filters of *query*; their values go into *parameters*, beside `project` and a `Moment`'s.
    """
    keys = "SELECT s.key FROM sessions s WHERE s.project = :project AND"
    if query.ids:
        condition = f"s.id IN ({_bound('id', query.ids, parameters)})"
        yield Filter(condition, f"{keys} {condition}")
    if query.states:
        states = _bound("state", query.states, parameters)
        condition = f"{STATE} IN ({states})"
        wanted = [f"{keys} s.end_state IN ({states})"]
        if {"Running", "Indeterminate"} & set(query.states):
            wanted.append(f"{keys} s.end_state IS NULL AND {condition}")
        yield Filter(condition, " UNION ALL ".join(wanted))
    labels = [("tag", tag) for tag in query.tags]
    labels += [("agent", query.agent)] if query.agent is not None else []
    labels += [("model", query.model)] if query.model is not None else []
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
        yield Filter(condition, f"{keys} {condition}")
    if query.min_cost is not None:
        parameters["min_cost"] = query.min_cost
        condition = "CASE WHEN s.costs_known THEN s.cost ELSE -1 END >= :min_cost"
        yield Filter(condition, f"{keys} {condition}")
    if query.q:
        yield _search(connection, query.q, parameters)


def _search(connection: sqlite3.Connection, text: str, parameters: dict[str, Any]) -> Filter:
    """
    The sessions that *text* occurs in: in the id, in what was said of them, or, word by word, in
    one of their events.
    """
    if "\0" in text:
        return Filter("FALSE", "SELECT NULL WHERE FALSE")  # LIKE would read only up to there
    parameters["q"] = f"%{_escaped(text)}%"
    like = "LIKE :q ESCAPE '\\'"
    labels = (
        "SELECT l.key FROM labels l WHERE l.project = :project"
        f" AND l.kind IN ('tag', 'session', 'reason', 'name', 'error') AND l.text {like}"
    )
    keys = "SELECT s.key FROM sessions s WHERE s.project = :project AND"
    found = [
        Filter(
            # +: a session has few labels, but many may hold the text
            "EXISTS (SELECT 1 FROM session_labels sl"
            f" WHERE sl.session = s.key AND +sl.label IN ({labels}))",
            f"SELECT sl.session FROM session_labels sl WHERE sl.label IN ({labels})",
        )
    ]
    if _ID.fullmatch(text):
        condition = f"(s.id {like} OR replace(s.id, '-', '') {like})"
        found.append(Filter(condition, f"{keys} {condition}"))
    if text.lower() in DIED:
        condition = f"(s.end_state IS NULL AND {_HEARD} < :silent_since)"
        found.append(Filter(condition, f"{keys} {condition}"))
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
