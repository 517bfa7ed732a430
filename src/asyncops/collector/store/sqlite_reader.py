"""
Answers questions from the rows of the SQLite store; every function reads, none writes.

Whether an open session still runs depends on when one asks: `Moment` carries that into the SQL, so
that filters, sums and single sessions agree.
"""

# ruff: noqa: S608 - SQL is put together from texts of ours alone; whatever others say is bound

from __future__ import annotations

import base64
import binascii
import datetime
import hmac
import itertools
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import attrs
import msgspec

from ..._events import Cost, EndState, Failure
from ..._exceptions import SessionNotFoundError
from ..._wire import MAX_DEPTH
from .base import (
    ApiKey,
    CostSource,
    Day,
    EventDetail,
    EventMatches,
    EventPage,
    EventSummary,
    Overview,
    Participants,
    SessionDetail,
    SessionPage,
    SessionQuery,
    SessionSummary,
    SourceSummary,
)
from .fold import fold
from .sqlite_filters import DIED, DURATION, ENDED_DURATION, SORTS, STATE, Moment, few, filters
from .sqlite_schema import DAY, SEQ_BITS, event_id, event_number
from .sqlite_texts import match
from .sqlite_writer import read_statements

__all__ = [
    "keys_after",
    "project_key",
    "read_event",
    "read_events",
    "read_key",
    "read_key_project",
    "read_keys",
    "read_matches",
    "read_overview",
    "read_participants",
    "read_projects",
    "read_session",
    "read_sessions",
    "read_timeline",
    "session_key",
]

_EPOCH = datetime.date(1970, 1, 1)

_SUMMARY = (
    f"s.key, s.id, s.name, {STATE} AS state, s.end_state, s.reason, s.started_at, s.ended_at,"
    " s.last_record_at, s.tags, s.video, s.cost, s.costs_known, s.costs_unknown, s.prompt_tokens,"
    " s.completion_tokens, s.cached_tokens, s.reasoning_tokens, s.events, s.actions, s.llms,"
    " s.tools, s.agents, s.errors, s.missing, s.costs_from, s.starred, s.score"
)
MAX_PARTICIPANTS = 20
"""How many agents, models and hosts of one session are named."""

_EVENT = (
    "e.key, e.id, e.parent, e.kind, e.name, e.agent, so.id, e.state, e.started_at, e.ended_at,"
    " e.model, e.provider, e.prompt_tokens, e.completion_tokens, e.cached_tokens,"
    " e.reasoning_tokens, e.time_to_first_token, e.cost, e.error"
)
_FROM_EVENTS = "FROM events e JOIN sources so ON so.key = e.source"
_KEY = "SELECT id, project, hint, created_at, revoked_at FROM keys"


# -- sessions -------------------------------------------------------------------------------------


def read_sessions(
    connection: sqlite3.Connection, project: str, query: SessionQuery, moment: Moment
) -> SessionPage:
    parameters: dict[str, Any] = {
        **moment.parameters(),
        "project": project_key(connection, project),
        "limit": query.limit + 1,
        "as_of": moment.now,
    }
    asked = list(filters(connection, query, parameters))
    conditions = ["s.project = :project", *(filter.condition for filter in asked)]
    sort = SORTS[query.sort]
    if query.cursor is not None:
        as_of, value, key = _read_cursor(query.cursor, query.sort)
        parameters |= {"as_of": as_of, "after_value": value, "after_key": key}
    keys = few(connection, asked, parameters)
    if keys is not None:
        parameters["keys"] = msgspec.json.encode(keys).decode()
        found = "json_each(:keys) few CROSS JOIN sessions s ON s.key = few.value"
        question = _sorted(found, sort, conditions, query)
    elif query.sort == "duration":
        ended = _sorted(
            "sessions s INDEXED BY sessions_duration",
            ENDED_DURATION,
            [*conditions, "s.end_state IS NOT NULL"],
            query,
        )
        others = _sorted("sessions s", sort, [*conditions, "s.end_state IS NULL"], query)
        question = (
            f"SELECT * FROM ({ended}) UNION ALL SELECT * FROM ({others})"
            " ORDER BY sorted DESC, key DESC LIMIT :limit"
        )
    else:
        found = f"sessions s INDEXED BY sessions_{query.sort}"
        question = _sorted(found, sort, conditions, query)
    rows = connection.execute(question, parameters).fetchall()
    shown = rows[: query.limit]
    return SessionPage(
        sessions=tuple(_summary(project, row) for row in shown),
        next=_cursor(query.sort, parameters["as_of"], shown[-1][-1], shown[-1][0])
        if len(rows) > query.limit
        else None,
    )


def _sorted(found: str, sort: str, conditions: Iterable[str], query: SessionQuery) -> str:
    """
    SQL for a page of the sessions `s` that are *found* and meet *conditions*, most of *sort* first.
    """
    if query.cursor is not None:
        # the first of them is where to begin in an index, the second where in those that are equal
        conditions = [
            *conditions,
            f"{sort} <= :after_value",
            f"({sort}, s.key) < (:after_value, :after_key)",
        ]
    return (
        f"SELECT {_SUMMARY}, {sort} AS sorted FROM {found} WHERE {' AND '.join(conditions)}"
        f" ORDER BY {sort} DESC, s.key DESC LIMIT :limit"
    )


def read_session(
    connection: sqlite3.Connection, project: str, session_id: str, moment: Moment
) -> SessionDetail:
    row = connection.execute(
        f"SELECT {_SUMMARY} FROM sessions s WHERE s.project = :project AND s.id = :id",
        {
            **moment.parameters(),
            "project": project_key(connection, project),
            "id": session_id,
        },
    ).fetchone()
    if row is None:
        raise SessionNotFoundError(session_id)
    key = row[0]
    facts = fold(read_statements(connection, key))
    sources = connection.execute(
        "SELECT so.id, so.pid, so.sdk, so.started_at, so.last_seen_at, so.ended OR ss.left_at,"
        " so.host FROM session_sources ss JOIN sources so ON so.key = ss.source"
        " WHERE ss.session = ? ORDER BY so.key",
        (key,),
    )
    return SessionDetail(
        summary=_summary(project, row),
        failure=None if facts.end is None else facts.end.failure,
        starred_events=tuple(event for event in facts.stars if event is not None),
        notes=facts.notes,
        scores=facts.scores,
        sources=tuple(
            SourceSummary(
                id=source,
                pid=pid,
                sdk=sdk,
                started_at=started_at,
                last_seen_at=last_seen_at,
                ended=bool(ended),
                host=None if host is None else _value(host.encode()),
            )
            for source, pid, sdk, started_at, last_seen_at, ended, host in sources
        ),
    )


def read_participants(
    connection: sqlite3.Connection, project: str, session_ids: Sequence[str]
) -> dict[str, Participants]:
    found = {}
    for key, session_id in connection.execute(
        "SELECT key, id FROM sessions WHERE project = ? AND id IN (SELECT value FROM json_each(?))",
        (project_key(connection, project), msgspec.json.encode(session_ids).decode()),
    ).fetchall():
        agents = connection.execute(
            # the names of thousands of events are labels, too
            "SELECT l.text FROM (SELECT label FROM session_labels WHERE session = ? LIMIT 500) sl"
            " JOIN labels l ON l.key = sl.label WHERE l.kind = 'agent' ORDER BY l.text LIMIT ?",
            (key, MAX_PARTICIPANTS),
        )
        models = connection.execute(
            "SELECT l.text FROM session_models m JOIN labels l ON l.key = m.model"
            " WHERE m.session = ? ORDER BY m.calls DESC, l.key LIMIT ?",
            (key, MAX_PARTICIPANTS),
        )
        hosts = connection.execute(
            "SELECT DISTINCT so.host FROM session_sources ss JOIN sources so ON so.key = ss.source"
            " WHERE ss.session = ? AND so.host IS NOT NULL LIMIT ?",
            (key, MAX_PARTICIPANTS),
        )
        found[session_id] = Participants(
            agents=tuple(text for (text,) in agents),
            models=tuple(text for (text,) in models),
            hosts=tuple(_value(host.encode()) for (host,) in hosts),
        )
    return found


def project_key(connection: sqlite3.Connection, project: str) -> int | None:
    """
    The key of *project*, looked up on its own: what else is asked then depends on nothing that
    changes from row to row, and SQLite works it out once.
    """
    row = connection.execute("SELECT key FROM projects WHERE name = ?", (project,)).fetchone()
    return None if row is None else int(row[0])


def _summary(project: str, row: tuple[Any, ...]) -> SessionSummary:
    state, end_state, reason, started_at, ended_at, last_record_at, tags, video = row[3:11]
    cost, costs_known, costs_unknown = row[11:14]
    if end_state is None and state == EndState.INDETERMINATE:
        reason, ended_at = DIED, last_record_at
    return SessionSummary(
        id=row[1],
        project=project,
        name=row[2],
        state=state,
        reason=reason,
        started_at=started_at,
        ended_at=ended_at,
        last_record_at=last_record_at,
        tags=tuple(msgspec.json.decode(tags)),
        video=video,
        cost=cost if costs_known else None,
        costs_unknown=costs_unknown,
        costs_from=tuple(
            CostSource(source=source, currency=currency, table=table, events=events)
            for source, currency, table, events in msgspec.json.decode(row[25])
        ),
        prompt_tokens=row[14],
        completion_tokens=row[15],
        cached_tokens=row[16],
        reasoning_tokens=row[17],
        events=row[18],
        actions=row[19],
        llms=row[20],
        tools=row[21],
        agents=row[22],
        errors=row[23],
        missing_by_reason=msgspec.json.decode(row[24]),
        starred=bool(row[26]),
        score=row[27],
    )


def _cursor(sort: str, as_of: int, value: int, key: int) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode([sort, as_of, value, key])).decode()


def _read_cursor(text: str, sort: str) -> tuple[int, int, int]:
    try:
        wrote, as_of, value, key = msgspec.json.decode(
            base64.urlsafe_b64decode(text.encode()), type=tuple[str, int, int, int]
        )
        if wrote == sort and all(abs(number) < 2**63 for number in (as_of, value, key)):
            return as_of, value, key
    except (binascii.Error, ValueError):  # msgspec's errors are ValueErrors
        pass
    raise ValueError(f"no cursor of a list sorted by {sort!r}: {text[:100]!r}")


# -- events ---------------------------------------------------------------------------------------


def read_events(
    connection: sqlite3.Connection,
    project: str,
    session_id: str,
    *,
    q: str | None,
    cursor: str | None,
    limit: int,
) -> EventPage:
    after = 0
    if cursor is not None:
        if not (cursor.isascii() and cursor.isdecimal() and len(cursor) <= 10):
            raise ValueError(f"no cursor of a list of events: {cursor[:100]!r}")
        after = int(cursor)
    session = session_key(connection, project, session_id)
    first, last = keys_after(session, after)
    parameters: list[str | int]
    if q is None:
        order = "e.key"
        found, parameters = f"{_FROM_EVENTS} WHERE {order}", [first, last]
    elif (words := match(q)) is None:
        return EventPage(events=(), next=None)
    else:
        order = "texts.rowid"
        found = (
            f"FROM texts CROSS JOIN events e ON e.key = {order}"
            f" JOIN sources so ON so.key = e.source WHERE texts MATCH ? AND {order}"
        )
        parameters = [words, first, last]
    rows = connection.execute(
        f"SELECT {_EVENT}, e.payload {found} BETWEEN ? AND ? ORDER BY {order} LIMIT ?",
        (*parameters, limit + 1),
    ).fetchall()
    events = _event_details(connection, session, rows[:limit])
    return EventPage(events=events, next=str(events[-1].summary.seq) if len(rows) > limit else None)


def read_matches(
    connection: sqlite3.Connection, project: str, session_id: str, q: str
) -> EventMatches:
    session = session_key(connection, project, session_id)
    (whole,) = connection.execute(
        "SELECT searched_seq >= last_seq FROM sessions WHERE key = ?", (session,)
    ).fetchone()
    words = match(q)
    keys = (
        []
        if words is None
        else connection.execute(
            "SELECT rowid FROM texts WHERE texts MATCH ? AND rowid BETWEEN ? AND ? ORDER BY rowid",
            (words, *keys_after(session, 0)),
        )
    )
    return EventMatches(
        seqs=tuple(key & ((1 << SEQ_BITS) - 1) for (key,) in keys), whole=bool(whole)
    )


def read_event(
    connection: sqlite3.Connection, project: str, session_id: str, wanted: str
) -> EventDetail | None:
    try:
        number = event_number(wanted)
    except ValueError:
        return None
    if event_id(number) != wanted:
        return None
    session = session_key(connection, project, session_id)
    rows = connection.execute(
        f"SELECT {_EVENT}, e.payload {_FROM_EVENTS} WHERE e.session = ? AND e.id = ?",
        (session, number),
    ).fetchall()
    return next(iter(_event_details(connection, session, rows)), None)


def read_timeline(
    connection: sqlite3.Connection,
    project: str,
    session_id: str,
    *,
    after: int,
    limit: int | None,
    only_open: bool,
    only: Sequence[str] | None,
) -> tuple[EventSummary, ...]:
    session = session_key(connection, project, session_id)
    condition = "e.key BETWEEN :first AND :last"
    if only_open:
        condition += " AND e.state IS NULL"
    if only is not None:
        condition += " AND e.session = :session AND e.id IN (SELECT value FROM json_each(:only))"
    first, last = keys_after(session, after)
    rows = connection.execute(
        f"SELECT {_EVENT} {_FROM_EVENTS} WHERE {condition} ORDER BY e.key LIMIT :limit",
        {
            "session": session,
            "first": first,
            "last": last,
            "only": msgspec.json.encode([*map(event_number, only or ())]).decode(),
            "limit": -1 if limit is None else limit,
        },
    )
    return tuple(_event_summary(row) for row in rows)


def session_key(connection: sqlite3.Connection, project: str, session_id: str) -> int:
    row = connection.execute(
        "SELECT key FROM sessions WHERE project = ? AND id = ?",
        (project_key(connection, project), session_id),
    ).fetchone()
    if row is None:
        raise SessionNotFoundError(session_id)
    return int(row[0])


def keys_after(session: int, seq: int) -> tuple[int, int]:
    """
    The first and the last key that an event of that session may have which arrived after *seq*.
    """
    highest = (1 << SEQ_BITS) - 1
    base = session << SEQ_BITS
    return (base | min(seq, highest)) + 1, base | highest


def _event_summary(row: tuple[Any, ...]) -> EventSummary:
    parent, cost = row[2], row[17]
    return EventSummary(
        seq=row[0] & ((1 << SEQ_BITS) - 1),
        id=event_id(row[1]),
        parent_id=None if parent is None else event_id(parent),
        kind=row[3],
        name=row[4],
        agent=row[5],
        source_id=row[6],
        state=row[7] or "Running",
        started_at=row[8],
        ended_at=row[9],
        model=row[10],
        provider=row[11],
        prompt_tokens=row[12],
        completion_tokens=row[13],
        cached_tokens=row[14],
        reasoning_tokens=row[15],
        time_to_first_token=row[16],
        cost=None if cost is None else _cost_decoder.decode(cost),
        error=row[18],
    )


_cost_decoder = msgspec.json.Decoder(Cost)


class _Payload(msgspec.Struct):
    """
    What `sqlite_writer.Payload` wrote, undecoded.
    """

    params: msgspec.Raw = msgspec.Raw(b"null")
    returns: msgspec.Raw = msgspec.Raw(b"null")
    prompt: msgspec.Raw = msgspec.Raw(b"null")
    completion: msgspec.Raw = msgspec.Raw(b"null")
    usage: msgspec.Raw = msgspec.Raw(b"null")
    attributes: msgspec.Raw = msgspec.Raw(b"null")
    failure: Failure | None = None
    trigger_event_id: str | None = None
    tool_call_id: str | None = None
    tool_call_ids: tuple[str, ...] = ()
    cache_write_tokens: int | None = None


_payload_decoder = msgspec.json.Decoder(_Payload)


def _event_details(
    connection: sqlite3.Connection, session: int, rows: Sequence[tuple[Any, ...]]
) -> tuple[EventDetail, ...]:
    payloads = [_payload_decoder.decode(row[19] or b"{}") for row in rows]
    calls = _tool_calls(connection, session, payloads)
    return tuple(
        _event_detail(row, payload, calls) for row, payload in zip(rows, payloads, strict=True)
    )


@attrs.frozen
class _ToolCalls:
    """
    Events by the ids of tool calls: the first that asked for one, the last that carried it out.
    """

    asked: dict[str, str] = attrs.field(factory=dict)
    carried_out: dict[str, str] = attrs.field(factory=dict)
    names: dict[str, str] = attrs.field(factory=dict)


def _tool_calls(
    connection: sqlite3.Connection, session: int, payloads: Iterable[_Payload]
) -> _ToolCalls:
    """
    What is known of the tool calls that *payloads* name.
    """
    named = {id for payload in payloads for id in payload.tool_call_ids}
    named.update(payload.tool_call_id for payload in payloads if payload.tool_call_id is not None)
    found = _ToolCalls()
    if named:
        for id, asked, number, name in connection.execute(
            "SELECT t.id, t.asked, e.id, e.name FROM tool_calls t JOIN events e ON e.key = t.event"
            " WHERE t.session = ? AND t.id IN (SELECT value FROM json_each(?))"
            " ORDER BY e.started_at, e.id",  # which does not depend on what arrived first
            (session, msgspec.json.encode(list(named)).decode()),
        ):
            event = event_id(number)
            found.names[event] = name
            if asked:
                found.asked.setdefault(id, event)
            else:
                found.carried_out[id] = event
    return found


def _event_detail(row: tuple[Any, ...], payload: _Payload, calls: _ToolCalls) -> EventDetail:
    requested_by = None if payload.tool_call_id is None else calls.asked.get(payload.tool_call_id)
    tool_calls = tuple((id, calls.carried_out.get(id)) for id in payload.tool_call_ids)
    linked = {requested_by, *(event for _, event in tool_calls)}
    return EventDetail(
        summary=_event_summary(row),
        params=_value(payload.params),
        returns=_value(payload.returns),
        prompt=_value(payload.prompt),
        completion=_value(payload.completion),
        usage=_value(payload.usage),
        attributes=_value(payload.attributes),
        failure=payload.failure,
        trigger_event_id=payload.trigger_event_id,
        tool_call_id=payload.tool_call_id,
        requested_by=requested_by,
        tool_calls=tool_calls,
        linked={event: calls.names[event] for event in linked if event is not None},
        cache_write_tokens=payload.cache_write_tokens,
    )


def _value(raw: msgspec.Raw | bytes) -> Any:
    """
    The JSON value that *raw* is, or a marker where nobody could read it or recurse into it.
    """
    data = bytes(raw)
    try:
        value = msgspec.json.decode(data)
        if data.count(b"[") + data.count(b"{") <= 2 * MAX_DEPTH or _is_shallow(value):
            return value
        return {"$truncated": "depth", "type": type(value).__name__}
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        # well-formed, or it would not be here, but not a value: half a surrogate pair, 1e999 ...
        return {"$type": "json", "error": str(error)}


def _is_shallow(value: object) -> bool:
    level = [value]
    for _ in range(2 * MAX_DEPTH):
        below: list[object] = []
        for item in level:
            if isinstance(item, dict):
                below += item.values()
            elif isinstance(item, list):
                below += item
        if not below:
            return True
        level = below
    return False


# -- sums -----------------------------------------------------------------------------------------


_SUMS = ("cost", "prompt_tokens", "completion_tokens", "events", "errors")


@attrs.frozen
class _Period:
    """
    A time as whole days, whose sums are kept, and what is left of it at either end.

    Attributes:
        days: The first of them and the one after the last.
        edges: From when until when, nanoseconds.
    """

    since: int
    until: int
    days: tuple[int, int]
    edges: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, start: int | None, end: int | None) -> _Period:
        since = 0 if start is None else start
        until = 2**63 - 1 if end is None else end
        first, last = -(-since // DAY), until // DAY
        if first >= last:
            return cls(since, until, (first, first), ((since, until),))
        edges = ((since, first * DAY), (last * DAY, until))
        return cls(since, until, (first, last), tuple(edge for edge in edges if edge[0] < edge[1]))


def read_overview(
    connection: sqlite3.Connection,
    project: str,
    moment: Moment,
    *,
    since: int | None,
    until: int | None,
) -> Overview:
    key = project_key(connection, project)
    period = _Period.of(since, until)
    days: dict[int, _Sums] = {}
    total = _Sums()
    for day, *sums in itertools.chain(
        _day_sums(connection, key, period),
        _counted_sums(connection, key, moment, (period.since, period.until), ended=False),
        *(_counted_sums(connection, key, moment, edge, ended=True) for edge in period.edges),
    ):
        for part in (days.setdefault(day, _Sums()), total):
            part.add(*sums)
    ended = total.sessions - total.states.get("Running", 0)
    return Overview(
        sessions=total.sessions,
        states=total.states,
        **total.named(),
        average_cost=total.named()["cost"] / total.priced if total.priced else None,
        average_tokens=(total.sums[1] + total.sums[2]) / total.sessions if total.sessions else None,
        average_duration=total.duration / ended if ended else None,
        days=tuple(
            Day(
                day=(_EPOCH + datetime.timedelta(days=day)).isoformat(),
                sessions=part.sessions,
                states=part.states,
                **part.named(),
            )
            for day, part in sorted(days.items())
        ),
        models=_models(connection, key, period),
    )


def _day_sums(
    connection: sqlite3.Connection, project: int | None, period: _Period
) -> Iterator[tuple[Any, ...]]:
    """
    Day, state and sums of the sessions that ended and started on the whole days of *period*.
    """
    for day, state, *sums in connection.execute(
        f"SELECT day, end_state, sessions, priced, duration, {', '.join(_SUMS)} FROM days"
        " WHERE project = ? AND day >= ? AND day < ? AND sessions",
        (project, *period.days),
    ):
        yield day, state, *map(int, sums)


def _counted_sums(
    connection: sqlite3.Connection,
    project: int | None,
    moment: Moment,
    between: tuple[int, int],
    *,
    ended: bool,
) -> Iterator[tuple[Any, ...]]:
    """
    The same of the sessions that started *between* those times, added up now.
    """
    duration = DURATION.format(state="s.state", now="s.started_at")
    columns = ", ".join(_sum(f"s.{name}") for name in _SUMS)
    for day, state, sessions, priced, *halves in connection.execute(
        f"SELECT s.started_at / {DAY}, s.state, COUNT(*), SUM(s.costs_known > 0),"
        f" {_sum(duration)}, {columns}"
        f" FROM (SELECT s.*, {STATE} AS state FROM sessions s WHERE s.project = :project"
        f" AND s.end_state IS {'NOT ' if ended else ''}NULL"
        " AND s.started_at >= :since AND s.started_at < :until) s GROUP BY 1, 2",
        {**moment.parameters(), "project": project, "since": between[0], "until": between[1]},
    ):
        yield day, state, sessions, priced, *_joined(halves)


def _sum(expression: str) -> str:
    """
    SQL for the halves of a sum that may be larger than what SQLite's own SUM() stands.
    """
    return f"SUM(({expression}) >> 32), SUM(({expression}) & 4294967295)"


def _joined(halves: Sequence[int | None]) -> list[int]:
    pairs = zip(halves[::2], halves[1::2], strict=True)
    return [((high or 0) << 32) + (low or 0) for high, low in pairs]


@attrs.define(eq=False)
class _Sums:
    """
    Sums over some sessions.
    """

    sessions: int = 0
    priced: int = 0
    duration: int = 0
    states: dict[str, int] = attrs.field(factory=dict)
    sums: list[int] = attrs.field(factory=lambda: [0] * len(_SUMS))

    def add(self, state: str, sessions: int, priced: int, duration: int, *sums: int) -> None:
        self.sessions += sessions
        self.priced += priced
        self.duration += duration
        self.states[state] = self.states.get(state, 0) + sessions
        self.sums = [a + b for a, b in zip(self.sums, sums, strict=True)]

    def named(self) -> dict[str, int]:
        return dict(zip(_SUMS, self.sums, strict=True))


def _models(
    connection: sqlite3.Connection, project: int | None, period: _Period
) -> tuple[Mapping[str, Any], ...]:
    found: dict[int, list[int]] = {}

    def add(model: int, sums: Iterable[int]) -> None:
        before = found.get(model, (0,) * 6)
        found[model] = [a + b for a, b in zip(before, sums, strict=True)]

    for model, *sums in connection.execute(
        "SELECT model, calls, costs_known, costs_unknown, prompt_tokens, completion_tokens, cost"
        " FROM day_models WHERE project = ? AND day >= ? AND day < ? AND calls",
        (project, *period.days),
    ):
        add(model, map(int, sums))
    for since, until in period.edges:
        for model, calls, known, unknown, *halves in connection.execute(
            "SELECT m.model, SUM(m.calls), SUM(m.costs_known), SUM(m.costs_unknown),"
            f" {_sum('m.prompt_tokens')}, {_sum('m.completion_tokens')}, {_sum('m.cost')}"
            " FROM sessions s JOIN session_models m ON m.session = s.key"
            " WHERE s.project = ? AND s.started_at >= ? AND s.started_at < ? GROUP BY 1",
            (project, since, until),
        ):
            add(model, (calls, known, unknown, *_joined(halves)))
    names = dict(
        connection.execute(
            "SELECT key, text FROM labels WHERE key IN (SELECT value FROM json_each(?))",
            (msgspec.json.encode(list(found)).decode(),),
        )
    )
    models: list[dict[str, Any]] = [
        {
            "model": names.get(model),
            "calls": calls,
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "cost": cost if known else None,
            "costs_unknown": unknown,
        }
        for model, (
            calls,
            known,
            unknown,
            prompt_tokens,
            completion_tokens,
            cost,
        ) in found.items()
    ]
    models.sort(key=lambda sums: (-(sums["cost"] or 0), -sums["calls"], sums["model"] or ""))
    return tuple(models)


# -- the rest -------------------------------------------------------------------------------------


def read_projects(connection: sqlite3.Connection) -> tuple[str, ...]:
    rows = connection.execute("SELECT name FROM projects UNION SELECT project FROM keys ORDER BY 1")
    return tuple(row[0] for row in rows)


def read_keys(connection: sqlite3.Connection) -> tuple[ApiKey, ...]:
    rows = connection.execute(f"{_KEY} ORDER BY created_at, id")
    return tuple(read_key(row) for row in rows)


def read_key_project(connection: sqlite3.Connection, key_hash: bytes) -> str | None:
    rows = connection.execute(
        "SELECT hash, project FROM keys WHERE id = ? AND revoked_at IS NULL",
        (key_hash.hex()[:16],),
    ).fetchall()
    for known, project in rows:
        if hmac.compare_digest(known, key_hash):
            return str(project)
    return None


def read_key(row: tuple[Any, ...]) -> ApiKey:
    key_id, project, hint, created_at, revoked_at = row
    return ApiKey(
        id=key_id, project=project, hint=hint, created_at=created_at, revoked_at=revoked_at
    )
