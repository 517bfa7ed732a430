"""
Makes records of what is stored again: what a sender could have sent for the same session to be.

They are not the lines that came: an event's row does not say when its record was written, nor what
number it had.
"""

# ruff: noqa: S608 - SQL is put together from texts of ours alone; whatever others say is bound

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any

import msgspec

from ..._events import (
    Cost,
    EndState,
    EventOpenedRecord,
    EventRecord,
    LostRecord,
    Record,
    SessionEndedRecord,
    SourceEndedRecord,
    SourceRecord,
)
from ..._exceptions import SessionNotFoundError
from .base import RecordPage
from .sqlite_filters import DIED, STATE, Moment
from .sqlite_reader import keys_after, project_key
from .sqlite_schema import SEQ_BITS, event_id
from .sqlite_writer import Payload, read_statements

__all__ = ["read_records"]

_payload_decoder = msgspec.json.Decoder(Payload)
_cost_decoder = msgspec.json.Decoder(Cost)


def read_records(
    connection: sqlite3.Connection,
    project: str,
    session_id: str,
    moment: Moment,
    *,
    cursor: str | None,
    limit: int,
) -> RecordPage:
    row = connection.execute(
        "SELECT s.key, s.first_at, s.last_record_at, s.last_seq, s.missing, s.end_state,"
        f" {STATE} FROM sessions s WHERE s.project = :project AND s.id = :id",
        {**moment.parameters(), "project": project_key(connection, project), "id": session_id},
    ).fetchone()
    if row is None:
        raise SessionNotFoundError(session_id)
    key, first_at, last_record_at, last_seq, missing, end_state, state = row
    statements = sorted(read_statements(connection, key), key=lambda said: said.position)
    said = [(each.source, each.record) for each in statements]
    records: list[tuple[str, Record]] = []
    if cursor is None:
        records += _sources(connection, key, first_at)
        records += [pair for pair in said if not isinstance(pair[1], SessionEndedRecord)]
    first, last = keys_after(key, int(cursor or "0"))
    rows = connection.execute(
        "SELECT e.key, so.id, e.id, e.parent, e.kind, e.name, e.agent, e.state, e.started_at,"
        " e.ended_at, e.model, e.provider, e.prompt_tokens, e.completion_tokens, e.cached_tokens,"
        " e.reasoning_tokens, e.time_to_first_token, e.cost, e.payload"
        " FROM events e JOIN sources so ON so.key = e.source"
        " WHERE e.key BETWEEN ? AND ? ORDER BY e.key LIMIT ?",
        (first, last, limit + 1),
    ).fetchall()
    for event in rows[:limit]:
        at = min(max(event[9] or event[8], first_at), last_record_at)
        if event[0] == key << SEQ_BITS | last_seq:
            at = last_record_at  # the session was heard of until then
        elif event is rows[0] and cursor is None:
            at = first_at
        records.append((event[1], _event(session_id, at, event)))
    if len(rows) > limit:
        return RecordPage(records=tuple(records), next=str(rows[limit - 1][0] - first + 1))
    records += [pair for pair in said if isinstance(pair[1], SessionEndedRecord)]
    last_source = _last_source(connection, key)
    if end_state is None and state == EndState.INDETERMINATE and last_source is not None:
        died = SessionEndedRecord(
            at=last_record_at,
            session=session_id,
            said_by="adopter",
            ended_at=last_record_at,
            state=EndState.INDETERMINATE,
            reason=DIED,
        )
        records.append((last_source, died))
    lost = msgspec.json.decode(missing)
    if last_source is not None:
        records += [
            (last_source, LostRecord(at=last_record_at, count=count, reason=reason))
            for reason, count in sorted(lost.items())
        ]
    records += [
        (source, SourceEndedRecord(at=last_record_at))
        for (source,) in connection.execute(
            "SELECT so.id FROM session_sources ss JOIN sources so ON so.key = ss.source"
            " WHERE ss.session = ? AND so.ended ORDER BY so.key",
            (key,),
        )
    ]
    return RecordPage(records=tuple(records), next=None)


def _sources(
    connection: sqlite3.Connection, session: int, first_at: int
) -> Iterator[tuple[str, Record]]:
    for source, pid, boot_id, sdk, started_at, host in connection.execute(
        "SELECT so.id, so.pid, so.boot_id, so.sdk, so.started_at, so.host"
        " FROM session_sources ss JOIN sources so ON so.key = ss.source"
        " WHERE ss.session = ? ORDER BY so.key",
        (session,),
    ):
        yield (
            source,
            SourceRecord(
                at=first_at if started_at is None else started_at,
                source=source,
                pid=pid,
                boot_id=boot_id,
                started_at=started_at,
                sdk=sdk,
                host=None if host is None else msgspec.json.decode(host),
            ),
        )


def _last_source(connection: sqlite3.Connection, session: int) -> str | None:
    """
    The source that was heard from last: what nobody said of the session itself is said by it. None
    where people are all that said something.
    """
    row = connection.execute(
        "SELECT so.id FROM session_sources ss JOIN sources so ON so.key = ss.source"
        " WHERE ss.session = ? ORDER BY so.last_seen_at DESC, so.key DESC LIMIT 1",
        (session,),
    ).fetchone()
    return None if row is None else str(row[0])


def _event(session_id: str, at: int, row: tuple[Any, ...]) -> Record:
    number, parent, kind, name, agent, state, started_at, ended_at, model, provider = row[2:12]
    payload = _payload_decoder.decode(row[18] or b"{}")
    common: dict[str, Any] = {
        "at": at,
        "session": session_id,
        "id": event_id(number),
        "kind": kind,
        "name": name,
        "started_at": started_at,
        "parent_id": None if parent is None else event_id(parent),
        "agent": agent,
        "params": payload.params,
        "model": model,
        "provider": provider,
        "prompt": payload.prompt,
        "attributes": payload.attributes,
    }
    if state is None:
        return EventOpenedRecord(**common)
    return EventRecord(
        **common,
        state=state,
        ended_at=ended_at,
        returns=payload.returns,
        failure=payload.failure,
        completion=payload.completion,
        prompt_tokens=row[12],
        completion_tokens=row[13],
        cached_tokens=row[14],
        cache_write_tokens=payload.cache_write_tokens,
        reasoning_tokens=row[15],
        time_to_first_token=row[16],
        usage=payload.usage,
        cost=None if row[17] is None else _cost_decoder.decode(row[17]),
        trigger_event_id=payload.trigger_event_id,
        tool_call_id=payload.tool_call_id,
        tool_call_ids=payload.tool_call_ids,
    )
