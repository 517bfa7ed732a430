"""
Turns batches of records into rows, one transaction for many batches.

A pass reads the rows of the sources and sessions that its batches speak of, works on them in
memory, and writes them back: what is done per record is a few dictionary operations, what is done
per row is left to SQLite's `executemany`.
"""

# ruff: noqa: S608 - SQL is put together from names of ours alone; whatever others say is bound

from __future__ import annotations

import contextlib
import json
import math
import sqlite3
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any

import attrs
import msgspec

from ..._events import (
    MAX_FAILURES,
    MAX_LABEL_CHARS,
    NOTHING,
    AnnotationRecord,
    Cost,
    EventOpenedRecord,
    EventRecord,
    Failure,
    LostRecord,
    SessionEndedRecord,
    SessionRecord,
    SourceEndedRecord,
    SourceRecord,
)
from ..._exceptions import SessionNotFoundError
from ..._prices import PriceTable
from ..._wire import decode, encode, label
from .base import (
    LEASE_SECONDS,
    MISSING_REASONS,
    Batch,
    Outcome,
    RejectedLine,
    is_refused,
    nano_dollars,
)
from .fingerprints import fingerprint
from .fold import MAX_TEXT_CHARS, Statement, StatementRecord, fold
from .sqlite_schema import DAY, MAX_SUM, SEQ_BITS, event_number

__all__ = ["CostChange", "Payload", "SQLiteWriter", "read_statements"]

MAX_KNOWN_LABELS = 100_000
"""How many labels are remembered to spare looking them up."""

MAX_COSTS_FROM = 20
"""How many sources of costs are told apart in one session."""

NOTHING_MISSING = "{}"

_LEASE = int(LEASE_SECONDS * 1e9)

_seq = attrgetter("seq")


class Payload(msgspec.Struct, frozen=True, omit_defaults=True):
    """
    The part of an event that a timeline does not show.
    """

    params: msgspec.Raw = NOTHING
    returns: msgspec.Raw = NOTHING
    prompt: msgspec.Raw = NOTHING
    completion: msgspec.Raw = NOTHING
    usage: msgspec.Raw = NOTHING
    attributes: msgspec.Raw = NOTHING
    failure: Failure | None = None
    trigger_event_id: str | None = None
    tool_call_id: str | None = None
    tool_call_ids: tuple[str, ...] = ()
    cache_write_tokens: int | None = None


_encoder = msgspec.json.Encoder()
_NO_PAYLOAD = _encoder.encode(Payload())
_payload_fields = attrgetter(*Payload.__struct_fields__)

NULL = math.nan
"""
What SQLite keeps as NULL, as quick to bind as a number: a None, and bytes too, take the way through
Python's registry of adapters, several times as long as everything else about a value.
"""


def _payload_json(payload: Payload) -> bytearray | float:
    data = _encoder.encode(payload)
    return NULL if data == _NO_PAYLOAD else bytearray(data)


_COUNTERS = {
    "action": "actions",
    "llm": "llms",
    "tool": "tools",
    "agent": "agents",
    "error": "errors",
}
"""Which count of a session an event of a kind raises; every one raises `events` too."""


@attrs.define(eq=False)
class _Source:
    """
    A row of `sources`.
    """

    key: int
    id: str
    mark: int
    last_session: int | None
    last_seen_at: int
    ended: int
    pid: int | None
    boot_id: str | None
    sdk: str | None
    started_at: int | None
    host: Any
    missing: str

    def describe(self, record: SourceRecord) -> None:
        """
        Fill in what earlier records left out.
        """
        self.pid = record.pid if self.pid is None else self.pid
        self.boot_id = record.boot_id if self.boot_id is None else self.boot_id
        self.sdk = record.sdk if self.sdk is None else self.sdk
        self.started_at = record.started_at if self.started_at is None else self.started_at
        if record.host is not None:
            self.host = {**record.host, **(self.host or {})}

    def row(self) -> tuple[Any, ...]:
        """
        What `_UPDATE_SOURCE` asks for.
        """
        key, _, *values = attrs.astuple(self, recurse=False)
        *values, host, missing = values
        return (*values, None if host is None else json.dumps(host), missing, key)


_SOURCE_FIELDS = [field.name for field in attrs.fields(_Source)]
_SOURCE_COLUMNS = ", ".join(_SOURCE_FIELDS)
_UPDATE_SOURCE = (
    f"UPDATE sources SET {', '.join(f'{name} = ?' for name in _SOURCE_FIELDS[2:])} WHERE key = ?"
)


@attrs.define
class _Spent:
    """
    What one model, or one agent, used in one session: a row of `session_models` or
    `session_agents`.
    """

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: int = 0
    costs_known: int = 0
    costs_unknown: int = 0

    def row(self, *, least: int = 0) -> tuple[int, ...]:
        """
        The values as they are stored.

        Args:
            least: What the cost is at least: below 0 where it is added to one.
        """
        return (
            self.calls,
            min(self.prompt_tokens, MAX_SUM),
            min(self.completion_tokens, MAX_SUM),
            max(min(self.cost, MAX_SUM), least),
            self.costs_known,
            self.costs_unknown,
        )

    def added(self, more: _Spent) -> _Spent:
        return _Spent(
            self.calls + more.calls,
            self.prompt_tokens + more.prompt_tokens,
            self.completion_tokens + more.completion_tokens,
            self.cost + more.cost,
            self.costs_known + more.costs_known,
            self.costs_unknown + more.costs_unknown,
        )


_Sums = Sequence[int]
"""A row of `days` or of `day_models` without its key, or what is to be added to one."""


@attrs.define(eq=False)
class _Session:
    """
    A row of `sessions`, and what this pass adds beside it.
    """

    key: int
    id: str
    name: str | None
    owner_started_at: int | None
    first_at: int
    last_record_at: int
    started_at: int
    end_state: str | None
    reason: str | None
    ended_at: int | None
    video: str | None
    tags: str
    last_seq: int
    cost: int
    costs_known: int
    costs_unknown: int
    costs_from: str
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    reasoning_tokens: int
    events: int
    actions: int
    llms: int
    tools: int
    agents: int
    errors: int
    missing: str
    starred: int
    score: float | None

    project_key: int = attrs.field(kw_only=True, metadata={"column": False})
    is_new: bool = attrs.field(kw_only=True, metadata={"column": False})
    arriving: dict[str, tuple[int, EventOpenedRecord]] = attrs.field(
        factory=dict, init=False, metadata={"column": False}
    )
    statements: list[tuple[_Source, StatementRecord]] = attrs.field(
        factory=list, init=False, metadata={"column": False}
    )
    labels: set[tuple[str, str]] = attrs.field(factory=set, init=False, metadata={"column": False})
    models: dict[str | None, _Spent] = attrs.field(
        factory=dict, init=False, metadata={"column": False}
    )
    spent_by: dict[str | None, _Spent] = attrs.field(
        factory=dict, init=False, metadata={"column": False}
    )
    priced: Counter[tuple[str, str, str | None]] = attrs.field(
        factory=Counter, init=False, metadata={"column": False}
    )
    sources: dict[int, int | None] = attrs.field(
        factory=dict, init=False, metadata={"column": False}
    )
    day_before: int | None = attrs.field(default=None, init=False, metadata={"column": False})
    counted: tuple[str, _Sums] | None = attrs.field(
        default=None, init=False, metadata={"column": False}
    )

    def __attrs_post_init__(self) -> None:
        if not self.is_new:
            self.day_before = self.day
            self.counted = self.counts()

    @property
    def day(self) -> int:
        return self.started_at // DAY

    def counts(self) -> tuple[str, _Sums] | None:
        """
        What it adds to its day's sums of those that ended like it; None while it has not ended.
        """
        if self.end_state is None or self.ended_at is None:
            return None
        return self.end_state, (
            1,
            self.costs_known > 0,
            max(self.ended_at - self.started_at, 0),
            self.cost,
            self.prompt_tokens,
            self.completion_tokens,
            self.events,
            self.errors,
        )

    def count(self, kind: str, step: int) -> None:
        """
        Count *step* events of *kind*.
        """
        counter = _COUNTERS[kind]
        setattr(self, counter, getattr(self, counter) + step)
        self.events += step

    def count_spending(self, record: EventRecord, cost: Cost | None, error: str | None) -> None:
        """
        Count what an event used and cost; None where nobody knows.
        """
        prompt = record.prompt_tokens or 0
        completion = record.completion_tokens or 0
        self.prompt_tokens += prompt
        self.completion_tokens += completion
        self.cached_tokens += record.cached_tokens or 0
        self.reasoning_tokens += record.reasoning_tokens or 0
        is_call = record.kind == "llm"
        several = [_spent_of(record.agent, self.spent_by)]
        if is_call:
            several.append(_spent_of(record.model, self.models))
        for sums in several:
            sums.calls += is_call
            sums.prompt_tokens += prompt
            sums.completion_tokens += completion
        if cost is not None or (
            is_call
            and not is_refused(record.state, error, record.prompt_tokens, record.completion_tokens)
        ):
            self._count_cost(several, cost, 1)

    def count_again(self, change: CostChange) -> None:
        """
        Count that a call cost something else than was counted.
        """
        several = (
            _spent_of(change.agent, self.spent_by),
            _spent_of(change.model, self.models),
        )
        self._count_cost(several, change.before, -1)
        self._count_cost(several, change.after, 1)

    def _count_cost(self, several: Iterable[_Spent], cost: Cost | None, step: int) -> None:
        amount = None if cost is None else nano_dollars(cost)
        everybody: list[_Session | _Spent] = [self, *several]
        for sums in everybody:
            if amount is None:
                sums.costs_unknown += step
            else:
                sums.cost += step * amount
                sums.costs_known += step
        if cost is not None:
            self.priced[cost.source, cost.currency, cost.table] += step

    def settle(self) -> None:
        """
        Bring what follows from the rest up to date.
        """
        start = self.owner_started_at
        self.started_at = self.first_at if start is None else start
        for name in _SUMS:
            # one that stopped at its bound goes below 0 when what it has not counted is taken back
            setattr(self, name, max(min(getattr(self, name), MAX_SUM), 0))
        if self.priced:
            self.costs_from = _with_priced(self.costs_from, self.priced)

    def row(self) -> tuple[Any, ...]:
        """
        What `_UPDATE_SESSION` asks for.
        """
        values: tuple[Any, ...] = _session_values(self)
        return (*values, self.key)


def _spent_of(whose: str | None, spent: dict[str | None, _Spent]) -> _Spent:
    sums = spent.get(whose)
    if sums is None:
        sums = spent[whose] = _Spent()
    return sums


_SUMS = (
    "cost",
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens",
    "reasoning_tokens",
)
"""The sums of a session that what is recorded could make too large."""

_SESSION_FIELDS = [
    field.name for field in attrs.fields(_Session) if field.metadata.get("column", True)
]
_SESSION_COLUMNS = ", ".join(_SESSION_FIELDS)
_UPDATED = [name for name in _SESSION_FIELDS if name not in ("key", "id")]
_session_values = attrgetter(*_UPDATED)
_UPDATE_SESSION = (
    f"UPDATE sessions SET {', '.join(f'{name} = ?' for name in _UPDATED)} WHERE key = ?"
)
_EVENT_COLUMNS = 21
_STORE_EVENT = f"INSERT INTO events VALUES ({', '.join('?' * _EVENT_COLUMNS)})"
_SPENDING = (
    "model",
    "provider",
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens",
    "reasoning_tokens",
    "time_to_first_token",
    "cost",
)
"""The columns that only calls of models fill, as a rule."""
_spending = attrgetter(*_SPENDING)
_NOTHING_SPENT = (None,) * len(_SPENDING)
_UNSAID = (NULL,) * len(_SPENDING)


_OF_SESSIONS = (
    "session_agents",
    "session_labels",
    "session_models",
    "session_sources",
    "statements",
    "tool_calls",
)
"""The tables, but for that of events, with rows of sessions."""

_DAY_SUMS = (
    "sessions",
    "priced",
    "duration",
    "cost",
    "prompt_tokens",
    "completion_tokens",
    "events",
    "errors",
)
_SPENT = tuple(field.name for field in attrs.fields(_Spent))
_COUNT_SPENT_BY = (
    f"INSERT INTO session_agents VALUES (?, ?, {', '.join('?' * len(_SPENT))})"
    " ON CONFLICT DO UPDATE SET "
    # one that stopped at its bound goes below 0 when what it has not counted is taken back
    + ", ".join(f"{name} = MAX(0, MIN({name} + excluded.{name}, {MAX_SUM}))" for name in _SPENT)
)


def _spending_row(spent: tuple[Any, ...]) -> tuple[Any, ...]:
    """
    The values of `_SPENDING` as they are stored.
    """
    *values, cost = [NULL if value is None else value for value in spent]
    return (*values, bytearray(_encoder.encode(cost)) if isinstance(cost, Cost) else cost)


@attrs.frozen(kw_only=True)
class CostChange:
    """
    Another cost for an event.

    Attributes:
        event: Its key.
        session: Its session's id.
        agent: The agent that asked, None where nobody says.
        stored: Its cost as it is stored, None where that is unknown; *before* is what that means.
    """

    event: int
    session: str
    agent: str | None
    model: str | None
    stored: bytes | None
    before: Cost | None
    after: Cost


class SQLiteWriter:
    """
    Writes batches over a connection of its own.

    Attributes:
        records: How many records it stored.
        duplicates: How many it had already.
        rejected: How many lines it was told of that were no records.
        missing: How many numbers have no record here, by reason.
    """

    def __init__(self, connection: sqlite3.Connection, prices: PriceTable) -> None:
        self.connection = connection
        self.prices = prices
        self.records = 0
        self.duplicates = 0
        self.rejected = 0
        self.missing = Counter(dict.fromkeys(MISSING_REASONS, 0))
        self.labels: dict[tuple[int, str, str], int] = {}
        self.session_labels: set[tuple[int, int]] = set()

    def write(self, batches: Sequence[Batch]) -> list[Outcome]:
        """
        Store *batches* in one transaction: all of them, or none if this raises.
        """
        with self._pass() as this:
            outcomes = [this.take(batch) for batch in batches]
        self.records += this.records
        self.duplicates += this.duplicates
        self.rejected += this.rejected
        self.missing.update(this.missing)
        return outcomes

    def reprice(self, changes: Sequence[CostChange]) -> list[CostChange]:
        """
        Store what *changes* say, in one transaction; returns those for which it was not too late:
        whose event still had the cost that was found.
        """
        with self._pass() as this:
            return [change for change in changes if this.reprice(change)]

    def annotate(self, project: str, annotation: AnnotationRecord) -> Outcome:
        """
        Store a person's word as the next record of the project's source for such.

        Raises:
            SessionNotFoundError: There is no such session.
        """
        with self._pass() as this:
            outcome = this.annotate(project, annotation)
        self.records += this.records
        return outcome

    def delete(
        self, project: str, session_ids: Iterable[str], *, before: int | None = None
    ) -> tuple[str, ...]:
        """
        Forget sessions in one transaction, but for their events, which nobody finds any more and
        sqlite_deletion.py takes out; returns those that were there.

        Args:
            before: Leave those of which something was recorded then or later.
        """
        with self._pass() as this:
            key = this.project(project)
            found = tuple(id for id in session_ids if this.delete(key, id, before))
        # labels went that are remembered
        self.labels.clear()
        self.session_labels.clear()
        return found

    @contextlib.contextmanager
    def _pass(self) -> Iterator[_Pass]:
        this = _Pass(self)
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield this
            this.store()
            self.connection.execute("COMMIT")
        except BaseException:
            # what was remembered of this transaction never happened
            self.labels.clear()
            self.session_labels.clear()
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            raise
        if len(self.labels) + len(self.session_labels) > MAX_KNOWN_LABELS:
            self.labels.clear()
            self.session_labels.clear()


class _Pass:
    """
    One transaction's worth of batches.
    """

    def __init__(self, writer: SQLiteWriter) -> None:
        self.records = 0
        self.duplicates = 0
        self.rejected = 0
        self.missing: Counter[str] = Counter()
        self._writer = writer
        self._execute = writer.connection.execute
        self._executemany = writer.connection.executemany
        self._projects: dict[str, int] = {}
        self._sources: dict[tuple[int, str], _Source] = {}
        self._sessions: dict[tuple[int, str], _Session] = {}
        self._sessions_by_key: dict[int, _Session] = {}
        self._deleted: dict[tuple[int, str], int] = {}
        self._days: dict[tuple[Any, ...], _Sums] = {}
        self._day_models: dict[tuple[Any, ...], _Sums] = {}
        # statement by statement, in the order in which they are first spoken of
        self._rows: defaultdict[str, list[tuple[Any, ...]]] = defaultdict(list)
        self._rows["DELETE FROM events WHERE key = ?"] = []

    # -- records in -------------------------------------------------------------------------------

    def take(self, batch: Batch) -> Outcome:
        project = self.project(batch.project)
        source = self._source(project, batch.source)
        changed: dict[str, None] = {}
        if batch.received_at - source.last_seen_at > _LEASE:
            # its open sessions were thought dead until now
            changed |= dict.fromkeys(self._open_sessions(project, source))
        source.last_seen_at = max(source.last_seen_at, batch.received_at)
        numbered = [line for line in batch.rejected if line.seq is not None]
        stored = duplicates = 0
        speaking: _Session | None = None  # the one of the record before
        for item in sorted([*batch.records, *numbered], key=_seq):
            seq: int = item.seq  # type: ignore[assignment]
            if seq <= source.mark:
                duplicates += not isinstance(item, RejectedLine)
                continue
            unexplained = seq - source.mark - 1
            source.mark = seq
            if isinstance(item, RejectedLine):
                if unexplained:
                    self._miss(source, "unreadable", unexplained, None, changed)
                self._miss(source, "rejected", 1, None, changed)
                continue
            stored += 1
            source.ended = 0
            session = None
            if isinstance(item, EventOpenedRecord):
                at = item.at
                if speaking is None or speaking.id != item.session:
                    speaking = self._speaks(source, project, item.session, at, changed)
                    if speaking is None:
                        stored -= 1  # it is settled, and nothing of it is kept
                        continue
                elif at > speaking.last_record_at:
                    speaking.last_record_at = at
                elif at < speaking.first_at:
                    speaking.first_at = at
                session = speaking
                known = session.arriving.setdefault(item.id, (source.key, item))
                # closed events never change, open ones only by being closed
                if (
                    known[1] is not item
                    and isinstance(item, EventRecord)
                    and not isinstance(known[1], EventRecord)
                ):
                    del session.arriving[item.id]  # so that it is the latest
                    session.arriving[item.id] = (source.key, item)
            elif isinstance(item, SourceRecord):
                source.describe(item)
            elif isinstance(item, SourceEndedRecord):
                source.ended = 1
            elif isinstance(item, LostRecord):
                # some of what was dropped may have arrived before, and is not missing
                lost = min(max(item.count, 1), unexplained + 1)
                unexplained += 1 - lost
                self._miss(source, item.reason, lost, None, changed)
            elif isinstance(item, AnnotationRecord):
                # no word of a process: the session is neither longer nor alive because of it
                session = self._session(project, item.session, item.at, heard=False)
                if session is None:
                    stored -= 1
                    continue
                changed[session.id] = None
                session.statements.append((source, item))
            else:
                session = speaking = self._speaks(source, project, item.session, item.at, changed)
                if session is None:
                    stored -= 1
                    continue
                session.statements.append((source, item))
                if isinstance(item, SessionEndedRecord):
                    session.sources[source.key] = batch.received_at
                elif isinstance(item, SessionRecord):
                    session.sources[source.key] = 0
            if unexplained:
                self._miss(source, "unreadable", unexplained, session, changed)
        self.records += stored
        self.duplicates += duplicates
        self.rejected += len(batch.rejected)
        return Outcome(acknowledged=source.mark, stored=stored, changed=tuple(changed))

    def _speaks(
        self, source: _Source, project: int, session_id: str, at: int, changed: dict[str, None]
    ) -> _Session | None:
        """
        The session that *source* said something of at that time; None where it was deleted.
        """
        session = self._session(project, session_id, at)
        if session is None:
            source.last_session = self._deleted[project, session_id]
            return None
        changed[session_id] = None
        source.last_session = session.key
        if at < session.first_at:
            session.first_at = at
        if at > session.last_record_at:
            session.last_record_at = at
        session.sources.setdefault(source.key, None)
        if source.missing != NOTHING_MISSING:
            session.missing = _with_missing(session.missing, msgspec.json.decode(source.missing))
            source.missing = NOTHING_MISSING
        return session

    def _miss(
        self,
        source: _Source,
        reason: str,
        records: int,
        session: _Session | None,
        changed: dict[str, None],
    ) -> None:
        """
        Note that *records* before one of *session* are missing, or of the last session that the
        source spoke of if None.
        """
        missing = {reason if reason in MISSING_REASONS else "unknown": records}
        self.missing.update(missing)
        if session is None and source.last_session is not None:
            session = self._session_by_key(source.last_session)
            if session is None:  # it was deleted, and nobody misses anything of it
                return
        if session is None:
            source.missing = _with_missing(source.missing, missing)
        else:
            session.missing = _with_missing(session.missing, missing)
            changed[session.id] = None

    def reprice(self, change: CostChange) -> bool:
        """
        Give an event another cost, unless it has another than was found.
        """
        row = self._execute("SELECT cost FROM events WHERE key = ?", (change.event,)).fetchone()
        if row is None or row[0] != change.stored:
            return False
        session = self._session_by_key(change.event >> SEQ_BITS)
        if session is None:
            return False
        session.count_again(change)
        self._rows["UPDATE events SET cost = ? WHERE key = ?"].append(
            (_encoder.encode(change.after), change.event)
        )
        return True

    def annotate(self, project: str, annotation: AnnotationRecord) -> Outcome:
        key = self.project(project)
        known = self._execute(
            "SELECT 1 FROM sessions WHERE project = ? AND id = ?", (key, annotation.session)
        ).fetchone()
        if known is None:
            raise SessionNotFoundError(annotation.session)
        where = "SELECT annotator FROM projects WHERE key = ?"
        (source_id,) = self._execute(where, (key,)).fetchone()
        if source_id is None:
            source_id = str(uuid.uuid4())
            self._execute("UPDATE projects SET annotator = ? WHERE key = ?", (source_id, key))
        seq = self._source(key, source_id).mark + 1
        record = msgspec.structs.replace(annotation, seq=seq)
        return self.take(
            Batch(project=project, source=source_id, records=[record], received_at=record.at)
        )

    def delete(self, project: int, session_id: str, before: int | None) -> bool:
        """
        Forget a session, unless there is none or something was recorded of it since *before*.
        """
        row = self._execute(
            f"SELECT {_SESSION_COLUMNS}, searched_seq FROM sessions WHERE project = ? AND id = ?",
            (project, session_id),
        ).fetchone()
        if row is None:
            return False
        *values, searched_seq = row
        session = _Session(*values, project_key=project, is_new=False)
        if before is not None and session.last_record_at >= before:
            return False
        key = session.key
        counted = session.counted
        if counted is not None:
            self._add(self._days, (project, session.day, counted[0]), counted[1], -1)
        for model, used in self._known_models(session).items():
            self._add(self._day_models, (project, session.day, model), used.row(), -1)
        labels = self._of("label", "session_labels", key)
        sources = self._of("source", "session_sources", key)
        for table in _OF_SESSIONS:
            self._execute(f"DELETE FROM {table} WHERE session = ?", (key,))
        self._execute("DELETE FROM sessions WHERE key = ?", (key,))
        self._execute(
            "INSERT INTO deleted VALUES (?, ?, ?, ?, ?)",
            (key, project, session_id, searched_seq, session.last_seq > 0),
        )
        self._executemany(
            "DELETE FROM labels WHERE key = ?"
            " AND NOT EXISTS (SELECT 1 FROM session_labels WHERE label = labels.key)",
            labels,
        )
        # their numbers stay, or what they send again would be new
        self._executemany(
            "UPDATE sources SET pid = NULL, boot_id = NULL, sdk = NULL, started_at = NULL,"
            " host = NULL WHERE key = ? AND ended"
            " AND NOT EXISTS (SELECT 1 FROM session_sources WHERE source = sources.key)",
            sources,
        )
        return True

    def _of(self, column: str, table: str, session: int) -> list[tuple[int]]:
        return self._execute(
            f"SELECT {column} FROM {table} WHERE session = ?", (session,)
        ).fetchall()

    # -- rows out ---------------------------------------------------------------------------------

    def store(self) -> None:
        sessions = self._sessions_by_key.values()
        for session in sessions:
            if session.arriving:
                self._store_events(session)
            if session.statements:
                self._store_statements(session)
            session.settle()
            self._store_sources(session)
            self._store_labels(session)
            self._count_day(session)
            self._store_models(session)
            self._store_spent_by(session)
        self._store_sums("days", ("project", "day", "end_state"), _DAY_SUMS, self._days)
        self._store_sums("day_models", ("project", "day", "model"), _SPENT, self._day_models)
        self._rows[_UPDATE_SESSION] = [session.row() for session in sessions]
        self._rows[_UPDATE_SOURCE] = [source.row() for source in self._sources.values()]
        for statement, rows in self._rows.items():
            self._executemany(statement, rows)

    def _store_events(self, session: _Session) -> None:
        known: dict[int, tuple[int, str, str | None]] = {}
        if not session.is_new:
            numbers = _encoder.encode([event_number(id) for id in session.arriving]).decode()
            for key, number, kind, state in self._execute(
                "SELECT key, id, kind, state FROM events"
                " WHERE session = ? AND id IN (SELECT value FROM json_each(?))",
                (session.key, numbers),
            ):
                known[number] = (key, kind, state)
        rows = self._rows[_STORE_EVENT]
        counts: Counter[str] = Counter()
        names, agents, errors = set(), set(), set()
        base = session.key << SEQ_BITS
        seq = session.last_seq
        failed = 0
        for source, record in session.arriving.values():
            number = event_number(record.id)
            before = known.get(number)
            kind = record.kind
            if before is not None:
                key, kind_before, state = before
                if state is not None or not isinstance(record, EventRecord):
                    continue
                counts[kind_before] -= 1
                self._rows["DELETE FROM events WHERE key = ?"].append((key,))
            seq += 1
            counts[kind] += 1
            names.add(record.name)
            agent: str | float = NULL
            if record.agent is not None:
                agents.add(record.agent)
                agent = record.agent
            state_now: str | float = NULL
            ended_at: float = NULL
            error: str | float = NULL
            spending: tuple[Any, ...] = _UNSAID
            if isinstance(record, EventRecord):
                state_now = record.state
                ended_at = record.ended_at
                failure = record.failure
                if failure is None:
                    payload = Payload(*_payload_fields(record))
                else:
                    failure = _pruned(failure)
                    error = label(failure.summary())
                    errors.add(error)
                    record = msgspec.structs.replace(record, failure=failure)
                    payload = Payload(*_payload_fields(record))
                if state_now == "Fail" and kind != "error":
                    # one that carries another's failure did not fail itself
                    failed += failure is None or failure.event_id is None
                spent = _spending(record)
                if kind == "llm" or spent != _NOTHING_SPENT:
                    cost = record.cost
                    if cost is None and kind == "llm":
                        cost = self._price(record)
                        spent = (*spent[:-1], cost)
                    session.count_spending(record, cost, error if isinstance(error, str) else None)
                    if record.model is not None:  # an open one names the model that was asked for
                        session.labels.add(("model", record.model))
                    spending = _spending_row(spent)
                if record.tool_call_id is not None or record.tool_call_ids:
                    self._store_tool_calls(session.key, base | seq, record)
            else:
                payload = Payload(
                    params=record.params, prompt=record.prompt, attributes=record.attributes
                )
                if record.model is not None or record.provider is not None:
                    unsaid = (None,) * (len(_SPENDING) - 2)
                    spending = _spending_row((record.model, record.provider, *unsaid))
            rows.append(
                (
                    base | seq,
                    session.key,
                    number,
                    source,
                    NULL if record.parent_id is None else event_number(record.parent_id),
                    kind,
                    record.name,
                    agent,
                    state_now,
                    record.started_at,
                    ended_at,
                    *spending,
                    error,
                    _payload_json(payload),
                )
            )
        session.last_seq = seq
        for kind, count in counts.items():
            session.count(kind, count)
        session.errors += failed
        for agent_name in agents:
            _spent_of(agent_name, session.spent_by)  # who spent nothing took part, too
        fingerprints = {fingerprint(text) for text in errors}
        for what, texts in (
            ("name", names),
            ("agent", agents),
            ("error", errors),
            ("fingerprint", fingerprints),
        ):
            session.labels.update((what, text) for text in texts)

    def _price(self, record: EventRecord) -> Cost | None:
        return self._writer.prices.price(
            provider=record.provider,
            model=record.model,
            prompt_tokens=record.prompt_tokens,
            completion_tokens=record.completion_tokens,
            cached_tokens=record.cached_tokens,
            cache_write_tokens=record.cache_write_tokens,
            reasoning_tokens=record.reasoning_tokens,
            at_ns=record.started_at,
        )

    def _store_tool_calls(self, session: int, event: int, record: EventRecord) -> None:
        rows = self._rows["INSERT OR IGNORE INTO tool_calls VALUES (?, ?, ?, ?)"]
        rows += [(session, id, 1, event) for id in record.tool_call_ids]
        if record.tool_call_id is not None:
            rows.append((session, record.tool_call_id, 0, event))

    def _store_statements(self, session: _Session) -> None:
        statements = []
        rows = self._rows["INSERT INTO statements VALUES (?, ?, ?, ?)"]
        for source, record in session.statements:
            if isinstance(record, SessionEndedRecord) and record.failure is not None:
                failure = _pruned(record.failure)
                record = msgspec.structs.replace(record, failure=failure)
                session.labels.add(("fingerprint", fingerprint(label(failure.summary()))))
            statements.append(Statement(source.id, record))
            rows.append((session.key, source.key, record.seq, encode(record)))
        if not session.is_new:
            statements += read_statements(self._writer.connection, session.key)
        facts = fold(statements)
        before = self._said_of(session)
        session.name = facts.name
        session.owner_started_at = facts.started_at
        session.video = facts.video
        session.tags = _encoder.encode(facts.tags).decode()
        session.starred = None in facts.stars
        session.score = facts.score
        if facts.end is not None:
            reason = facts.end.reason
            session.end_state = facts.end.state
            session.reason = None if reason is None else reason[:MAX_TEXT_CHARS]
            session.ended_at = facts.end.ended_at
        now = self._said_of(session)
        for kind, text in before - now:
            key = self._label(session.project_key, kind, text)
            self._writer.session_labels.discard((key, session.key))
            self._execute(
                "DELETE FROM session_labels WHERE label = ? AND session = ?", (key, session.key)
            )
        session.labels |= now

    @staticmethod
    def _said_of(session: _Session) -> set[tuple[str, str]]:
        """
        The labels of *session* that its statements are about.
        """
        said = {("tag", tag) for tag in msgspec.json.decode(session.tags)}
        if session.name is not None:
            said.add(("session", session.name))
        if session.reason is not None:
            said.add(("reason", session.reason[:MAX_LABEL_CHARS]))
        return said

    def _store_sources(self, session: _Session) -> None:
        for source, left_at in session.sources.items():
            how = "IGNORE" if left_at is None else "REPLACE"
            self._rows[f"INSERT OR {how} INTO session_sources VALUES (?, ?, ?)"].append(
                (session.key, source, left_at or 0)
            )

    def _store_labels(self, session: _Session) -> None:
        known = self._writer.session_labels
        rows = self._rows["INSERT OR IGNORE INTO session_labels VALUES (?, ?)"]
        for kind, text in session.labels:
            pair = (self._label(session.project_key, kind, text), session.key)
            if pair not in known:
                known.add(pair)
                rows.append(pair)

    def _count_day(self, session: _Session) -> None:
        """
        Take back what the sums of days have of *session*, and add what it counts for now.
        """
        counts = session.counts()
        if counts == session.counted and session.day == session.day_before:
            return
        if session.counted is not None:
            end_state, sums = session.counted
            self._add(self._days, (session.project_key, session.day_before, end_state), sums, -1)
        if counts is not None:
            end_state, sums = counts
            self._add(self._days, (session.project_key, session.day, end_state), sums)

    def _store_models(self, session: _Session) -> None:
        moved = session.day_before is not None and session.day != session.day_before
        if not (session.models or moved):
            return
        known = {} if session.is_new else self._known_models(session)
        project, day = session.project_key, session.day
        if moved:
            for model, before in known.items():
                self._add(self._day_models, (project, session.day_before, model), before.row(), -1)
                self._add(self._day_models, (project, day, model), before.row())
        rows = self._rows["INSERT OR REPLACE INTO session_models VALUES (?, ?, ?, ?, ?, ?, ?, ?)"]
        for name, more in session.models.items():
            model = 0 if name is None else self._label(project, "model", name)
            sums = more.row()
            if model in known:
                self._add(self._day_models, (project, day, model), known[model].row(), -1)
                sums = known[model].added(more).row()
            self._add(self._day_models, (project, day, model), sums)
            rows.append((session.key, model, *sums))

    def _store_spent_by(self, session: _Session) -> None:
        rows = self._rows[_COUNT_SPENT_BY]
        for name, more in session.spent_by.items():
            agent = 0 if name is None else self._label(session.project_key, "agent", name)
            rows.append((session.key, agent, *more.row(least=-MAX_SUM)))

    def _known_models(self, session: _Session) -> dict[int, _Spent]:
        rows = self._execute(
            f"SELECT model, {', '.join(_SPENT)} FROM session_models WHERE session = ?",
            (session.key,),
        )
        return {model: _Spent(*sums) for model, *sums in rows}

    @staticmethod
    def _add(
        where: dict[tuple[Any, ...], _Sums], key: tuple[Any, ...], sums: _Sums, sign: int = 1
    ) -> None:
        before = where.get(key)
        where[key] = (
            [sign * b for b in sums]
            if before is None
            else [a + sign * b for a, b in zip(before, sums, strict=True)]
        )

    def _store_sums(
        self,
        table: str,
        keys: Sequence[str],
        names: Sequence[str],
        changes: Mapping[tuple[Any, ...], _Sums],
    ) -> None:
        """
        Add *changes* to the rows of *table*. The sums of many sessions know no bounds.
        """
        where = " AND ".join(f"{name} = ?" for name in keys)
        rows = self._rows[
            f"INSERT OR REPLACE INTO {table} VALUES ({', '.join('?' * len((*keys, *names)))})"
        ]
        for key, change in changes.items():
            row = self._execute(
                f"SELECT {', '.join(names)} FROM {table} WHERE {where}", key
            ).fetchone()
            sums = change if row is None else [int(a) + b for a, b in zip(row, change, strict=True)]
            rows.append((*key, *(value if value < 2**63 else str(value) for value in sums)))

    # -- rows in ----------------------------------------------------------------------------------

    def project(self, name: str) -> int:
        key = self._projects.get(name)
        if key is None:
            self._execute("INSERT OR IGNORE INTO projects (name) VALUES (?)", (name,))
            row = self._execute("SELECT key FROM projects WHERE name = ?", (name,)).fetchone()
            key = self._projects[name] = int(row[0])
        return key

    def _source(self, project: int, source_id: str) -> _Source:
        source = self._sources.get((project, source_id))
        if source is None:
            where = f"SELECT {_SOURCE_COLUMNS} FROM sources WHERE project = ? AND id = ?"
            row = self._execute(where, (project, source_id)).fetchone()
            if row is None:
                self._execute(
                    "INSERT INTO sources (project, id) VALUES (?, ?)", (project, source_id)
                )
                row = self._execute(where, (project, source_id)).fetchone()
            source = _Source(*row)
            if source.host is not None:
                source.host = json.loads(source.host)
            self._sources[project, source_id] = source
        return source

    def _session(
        self, project: int, session_id: str, at: int, *, heard: bool = True
    ) -> _Session | None:
        """
        A session, made where there is none; None where there was one that was deleted.

        Args:
            heard: Whether a process was heard of it at that time.
        """
        session = self._sessions.get((project, session_id))
        if session is None:
            if (project, session_id) in self._deleted:
                return None
            select = f"SELECT {_SESSION_COLUMNS} FROM sessions WHERE project = ? AND id = ?"
            row = self._execute(select, (project, session_id)).fetchone()
            is_new = row is None
            if is_new:
                deleted = self._execute(
                    "SELECT key FROM deleted WHERE project = ? AND id = ?", (project, session_id)
                ).fetchone()
                if deleted is not None:
                    self._deleted[project, session_id] = deleted[0]
                    return None
                self._execute(
                    "INSERT INTO sessions (key, project, id, first_at, last_record_at, started_at)"
                    " VALUES (1 + (SELECT MAX(key) FROM (SELECT MAX(key) AS key FROM sessions"
                    " UNION ALL SELECT MAX(key) FROM deleted)), ?, ?, ?, ?, ?)",
                    (project, session_id, at, at if heard else 0, at),
                )
                row = self._execute(select, (project, session_id)).fetchone()
            session = self._add_session(project, row, is_new=is_new)
        return session

    def _session_by_key(self, key: int) -> _Session | None:
        """
        The session that has that key; None where it was deleted.
        """
        session = self._sessions_by_key.get(key)
        if session is None:
            found = self._execute(
                f"SELECT {_SESSION_COLUMNS}, project FROM sessions WHERE key = ?",
                (key,),
            ).fetchone()
            if found is None:
                return None
            *row, project = found
            session = self._add_session(project, row, is_new=False)
        return session

    def _add_session(self, project: int, row: Sequence[Any], *, is_new: bool) -> _Session:
        session = _Session(*row, project_key=project, is_new=is_new)
        self._sessions[project, session.id] = session
        self._sessions_by_key[session.key] = session
        return session

    def _open_sessions(self, project: int, source: _Source) -> list[str]:
        # by way of the open ones of all sources: they are fewer than all that a server ever had
        rows = self._execute(
            "SELECT s.id FROM sessions s CROSS JOIN session_sources ss"
            " ON ss.session = s.key AND ss.source = ?"
            " WHERE s.project = ? AND s.end_state IS NULL",
            (source.key, project),
        )
        return [row[0] for row in rows]

    def _label(self, project: int, kind: str, text: str) -> int:
        known = self._writer.labels
        key = known.get((project, kind, text))
        if key is None:
            where = (project, kind, text)
            self._execute(
                "INSERT OR IGNORE INTO labels (project, kind, text) VALUES (?, ?, ?)", where
            )
            row = self._execute(
                "SELECT key FROM labels WHERE project = ? AND kind = ? AND text = ?", where
            ).fetchone()
            key = known[where] = int(row[0])
        return key


def _with_missing(known: str, more: Mapping[str, int]) -> str:
    """
    The records by reason that *known* tells as JSON, and *more*.
    """
    total = Counter(msgspec.json.decode(known))
    total.update(more)
    return _encoder.encode({name: min(n, MAX_SUM) for name, n in total.items()}).decode()


def _with_priced(known: str, more: Mapping[tuple[str, str, str | None], int]) -> str:
    """
    The events by who said what they cost that *known* tells as JSON, and *more*.
    """
    total: Counter[tuple[Any, ...]] = Counter()
    for *said, events in msgspec.json.decode(known):
        total[tuple(said)] = events
    for (source, currency, table), events in more.items():
        said_by = (source, label(currency), None if table is None else label(table))
        if said_by not in total and len(total) >= MAX_COSTS_FROM:
            said_by = (source, "", None)
        total[said_by] += events
    told = sorted(total.items(), key=lambda item: [part or "" for part in item[0]])
    return _encoder.encode([(*said, n) for said, n in told if n > 0]).decode()


def read_statements(connection: sqlite3.Connection, session: int) -> list[Statement]:
    """
    What was said about the session with that key.
    """
    rows = connection.execute(
        "SELECT so.id, st.line FROM statements st JOIN sources so ON so.key = st.source"
        " WHERE st.session = ?",
        (session,),
    )
    return [Statement(source, decode(line)) for source, line in rows]  # type: ignore[arg-type]


def _pruned(failure: Failure, depth: int = MAX_FAILURES) -> Failure:
    """
    *failure* no deeper than one that was recorded can be, so that everybody may recurse into it.
    """
    if not failure.causes:
        return failure
    causes = tuple(_pruned(cause, depth - 1) for cause in failure.causes) if depth > 1 else ()
    return attrs.evolve(failure, causes=causes)
