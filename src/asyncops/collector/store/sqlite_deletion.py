"""
Takes out what is left of deleted sessions, and finds those that are old enough to be.

A session goes in two steps. First its row goes, with all that is found by it, in one small
transaction: from then on there is no such session. Its events and their words, which may be many,
follow while the writer has nothing else to do, a few at a time; whatever ends the collector, the
next one goes on there.
"""

# ruff: noqa: S608 - SQL is put together from texts of ours alone; whatever others say is bound

from __future__ import annotations

import re
import sqlite3
from typing import Any

import attrs

from .sqlite_filters import STATE, Moment
from .sqlite_reader import project_key
from .sqlite_schema import SEQ_BITS
from .sqlite_texts import STEP_CHARS, STEP_EVENTS, event_text

__all__ = ["OldSessions", "find_old", "take_out"]

NUMBERS = (1 << SEQ_BITS) - 1

_CURSOR = re.compile(r"([0-9]{1,19})-([0-9]{1,19})", re.ASCII)


def take_out(connection: sqlite3.Connection) -> bool:
    """
    Take some events of deleted sessions out, in one transaction.

    Returns:
        Whether there may be others.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        events: list[tuple[int]] = []
        texts: list[tuple[int, str]] = []
        done: list[tuple[int]] = []
        room = STEP_CHARS
        waiting = connection.execute(
            "SELECT key, searched_seq FROM deleted INDEXED BY deleted_waiting WHERE waiting"
            " ORDER BY key LIMIT ?",
            (STEP_EVENTS,),
        ).fetchall()
        for session, searched in waiting:
            base = session << SEQ_BITS
            for key, name, payload, state in connection.execute(
                "SELECT key, name, payload, state FROM events WHERE key BETWEEN ? AND ?",
                (base, base | NUMBERS),
            ):
                if len(events) >= STEP_EVENTS or room <= 0:
                    break
                events.append((key,))
                if state is not None and key & NUMBERS <= searched:
                    # FTS5 keeps no texts: to take one out it must be told which it was
                    text = event_text(name, payload)
                    texts.append((key, text))
                    room -= len(text)
            else:
                done.append((session,))
                continue
            break
        connection.executemany(
            "INSERT INTO texts (texts, rowid, text) VALUES ('delete', ?, ?)", texts
        )
        connection.executemany("DELETE FROM events WHERE key = ?", events)
        connection.executemany("UPDATE deleted SET waiting = 0 WHERE key = ?", done)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return len(done) < len(waiting) or len(waiting) == STEP_EVENTS


@attrs.frozen(kw_only=True)
class OldSessions:
    """
    Some sessions that are old enough.

    Attributes:
        sessions: Their ids, each with how many events it has.
        next: Where to go on; None at the end.
    """

    sessions: tuple[tuple[str, int], ...]
    next: str | None


def find_old(
    connection: sqlite3.Connection,
    project: str,
    moment: Moment,
    *,
    before: int,
    cursor: str | None,
    limit: int,
) -> OldSessions:
    """
    The first *limit* sessions after *cursor*, oldest first, that do not run and of which nothing
    was recorded since *before*.

    Raises:
        ValueError: The cursor is not one of such a list.
    """
    parameters: dict[str, Any] = {
        **moment.parameters(),
        "project": project_key(connection, project),
        "before": before,
        "started_at": -1,
        "key": 0,
        "limit": limit + 1,
    }
    if cursor is not None:
        found = _CURSOR.fullmatch(cursor)
        if found is None or max(map(int, found.groups())) >= 2**63:
            raise ValueError(f"no cursor of old sessions: {cursor[:100]!r}")
        parameters["started_at"], parameters["key"] = map(int, found.groups())
    rows = connection.execute(
        "SELECT s.id, s.events, s.started_at, s.key"
        " FROM sessions s INDEXED BY sessions_started WHERE s.project = :project"
        " AND s.started_at BETWEEN :started_at AND :before"
        " AND (s.started_at, s.key) > (:started_at, :key)"
        f" AND s.last_record_at < :before AND {STATE} <> 'Running'"
        " ORDER BY s.started_at, s.key LIMIT :limit",
        parameters,
    ).fetchall()
    shown = rows[:limit]
    return OldSessions(
        sessions=tuple((id, events) for id, events, _, _ in shown),
        next=f"{shown[-1][2]}-{shown[-1][3]}" if len(rows) > limit else None,
    )
