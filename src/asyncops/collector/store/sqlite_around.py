"""
Reads what an event has to do with others of its session.

There is no index by parent, which every event that is stored would pay for. Those of a session lie
together, so all of them are looked at, once, without their payloads: 100,000 in some 25 ms where
these are small, in 150 where each fills half a page.
"""

from __future__ import annotations

import sqlite3

from .base import Around
from .sqlite_reader import keys_after, session_key
from .sqlite_schema import event_id, event_number

__all__ = ["read_around"]

_BELOW = "e.parent = :id AND e.id <> :id"
_ALIKE = (
    "e.kind = 'llm' AND :kind = 'llm' AND e.name = :name AND e.parent IS :parent"
    " AND e.agent IS :agent AND e.model IS :model"
)
_QUESTION = (
    f"SELECT {_BELOW}, {_ALIKE}, e.started_at, e.ended_at, e.key, e.id, e.state"  # noqa: S608
    f" FROM events e WHERE e.key BETWEEN :first AND :last AND ({_BELOW} OR {_ALIKE})"
)


def read_around(
    connection: sqlite3.Connection, project: str, session_id: str, wanted: str, *, near: int
) -> Around:
    session = session_key(connection, project, session_id)
    number = event_number(wanted)
    event = connection.execute(
        "SELECT kind, name, parent, agent, model FROM events WHERE session = ? AND id = ?",
        (session, number),
    ).fetchone()
    if event is None:
        return Around()
    first, last = keys_after(session, 0)
    parameters = {"id": number, "first": first, "last": last}
    parameters |= zip(("kind", "name", "parent", "agent", "model"), event, strict=True)
    below = []
    alike = []
    for is_below, is_alike, started_at, ended_at, key, id, state in connection.execute(
        _QUESTION, parameters
    ):
        if is_below:
            below.append((started_at, ended_at))
        if is_alike:
            alike.append((started_at, key, id, state))
    alike.sort()
    place = next((place for place, call in enumerate(alike) if call[2] == number), 0)
    return Around(
        below=tuple(below),
        alike=tuple(
            (event_id(id), state or "Running")
            for _, _, id, state in alike[max(place - near, 0) : place + near + 1]
        ),
    )
