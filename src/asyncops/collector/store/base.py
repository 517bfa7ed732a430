"""
What a store is: it takes records in, once each, and answers what the pages and the API ask.

Records are facts that never change, and a session is a fold over them: whatever the order in which
they arrive and however often, the same records make the same session. `Store` is all that the rest
of the collector knows of a database.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import ROUND_HALF_EVEN
from typing import Any, Literal, Protocol

import attrs
import msgspec

from ..._events import AnnotationRecord, Cost, EventKind, EventState, Failure, Record
from .changes import Changes

__all__ = [
    "MISSING_REASONS",
    "ApiKey",
    "Around",
    "Batch",
    "Breakdown",
    "CostSource",
    "Day",
    "EventColumns",
    "EventDetail",
    "EventMatches",
    "EventPage",
    "EventStructure",
    "EventSummary",
    "Group",
    "Note",
    "Outcome",
    "Overview",
    "Participants",
    "Pruned",
    "RecordPage",
    "RejectedLine",
    "Repriced",
    "Repricing",
    "Score",
    "SessionDetail",
    "SessionPage",
    "SessionQuery",
    "SessionSort",
    "SessionState",
    "SessionSummary",
    "SourceSummary",
    "Store",
    "is_refused",
    "nano_dollars",
]

SessionState = Literal["Running", "Success", "Fail", "Cancelled", "Indeterminate"]
"""What a session looks like from outside: an `EndState`, or still running."""

SessionSort = Literal["started", "duration", "cost", "tokens", "events", "errors"]
"""What a list of sessions can be ordered by, always the newest, longest, dearest ... first."""

MISSING_REASONS = (
    "journal_max_bytes",
    "disk_full",
    "quota",
    "read_only",
    "permission",
    "journal_removed",
    "io_error",
    "memory_full",
    "process_died",
    "rejected",
    "unreadable",
    "unknown",
)
"""
Why a record may be missing. What a sender calls otherwise is kept as `unknown`, so that nobody can
fill a session with reasons; and so is what was missing before reasons were kept.
"""

LEASE_SECONDS = 30.0
"""An open session is Indeterminate once all its sources have been silent for this long."""


def is_refused(
    state: str | None, error: str | None, prompt_tokens: int | None, completion_tokens: int | None
) -> bool:
    """
    Whether a call of a model was refused by its vendor: it used nothing, so it has no cost that
    anybody could know.

    Args:
        error: Its failure in one line.
    """
    return (
        state == "Fail"
        and prompt_tokens is None
        and completion_tokens is None
        and error is not None
        and error.partition(":")[0] == "HTTPStatusError"
    )


def nano_dollars(cost: Cost) -> int | None:
    """
    *cost* as it is added up; None where it cannot be, because it is not in dollars.
    """
    if cost.currency != "USD":
        return None
    return int((cost.amount * 1_000_000_000).to_integral_value(ROUND_HALF_EVEN))


@attrs.frozen(kw_only=True)
class RejectedLine:
    """
    A line that could not be read. `seq` is None where not even that could be.
    """

    seq: int | None
    error: str


@attrs.frozen(kw_only=True)
class Batch:
    """
    What one request brought, decoded.

    Attributes:
        project: Whose it is.
        source: The source that sent it.
        records: The records, as they were sent.
        rejected: The lines between them that are no records.
        received_at: When it arrived, nanoseconds since the epoch; an empty batch is a heartbeat.
    """

    project: str
    source: str
    records: Sequence[Record]
    rejected: Sequence[RejectedLine] = ()
    received_at: int


@attrs.frozen(kw_only=True)
class Outcome:
    """
    What became of a batch, told after it was committed.

    Attributes:
        acknowledged: The highest `seq` of this source that is settled: stored, or rejected.
        stored: How many of the batch's records were new.
        changed: The sessions it changed, for those who watch.
    """

    acknowledged: int
    stored: int
    changed: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class SourceSummary:
    """
    One process's part in a session.
    """

    id: str
    pid: int | None
    sdk: str | None
    started_at: int | None
    last_seen_at: int
    ended: bool
    host: Mapping[str, Any] | None


@attrs.frozen(kw_only=True)
class CostSource:
    """
    Who said what some events of a session cost.

    Attributes:
        source: "provider" or "computed".
        table: The price table's name and version, where computed.
        events: How many.
    """

    source: str
    currency: str
    table: str | None
    events: int


@attrs.frozen(kw_only=True)
class Note:
    """
    What somebody noted about a session, or about one of its events.
    """

    id: str | None
    event: str | None
    by: str | None
    at: int
    text: str


@attrs.frozen(kw_only=True)
class Score:
    """
    How good somebody found a session, or one of its events; what was judged has a name.
    """

    name: str | None
    event: str | None
    by: str | None
    at: int
    value: float


@attrs.frozen(kw_only=True)
class SessionSummary:
    """
    A session as lists show it. Times are nanoseconds since the epoch, costs nano-dollars.

    Attributes:
        ended_at: When it ended; for a session that is Indeterminate because nobody was heard from,
            the time of its last record; None while it runs.
        cost: Nano-dollars, or None where no event said what it cost.
        costs_unknown: LLM events whose cost nobody knows.
        costs_from: Who said what the others cost.
        missing_by_reason: How many records its sources numbered that are not here, by reason, one
            of `MISSING_REASONS`.
        last_record_at: The latest `at` of its records.
        score: The last that somebody gave it as a whole.
    """

    id: str
    project: str
    name: str | None
    state: SessionState
    reason: str | None
    started_at: int
    ended_at: int | None
    last_record_at: int
    tags: tuple[str, ...]
    video: str | None
    cost: int | None
    costs_unknown: int
    costs_from: tuple[CostSource, ...]
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
    missing_by_reason: Mapping[str, int]
    starred: bool
    score: float | None

    def taken(self, now: int) -> int:
        """
        How long it took, or has taken until *now*, nanoseconds.
        """
        return max((now if self.ended_at is None else self.ended_at) - self.started_at, 0)

    @property
    def missing_records(self) -> int:
        """
        How many records are missing in all.
        """
        return sum(self.missing_by_reason.values())


@attrs.frozen(kw_only=True)
class Participants:
    """
    Who took part in a session: some, where there were many.

    Attributes:
        models: The one that was called most often first.
        hosts: What its processes said of their machines.
    """

    agents: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    hosts: tuple[Mapping[str, Any], ...] = ()


@attrs.frozen(kw_only=True)
class SessionDetail:
    """
    A session as its own page shows it.

    Attributes:
        starred_events: The events that somebody starred.
    """

    summary: SessionSummary
    failure: Failure | None
    sources: tuple[SourceSummary, ...]
    starred_events: tuple[str, ...]
    notes: tuple[Note, ...]
    scores: tuple[Score, ...]


class EventSummary(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """
    An event as a timeline shows it: everything but its payloads. Timelines are long, and these are
    made in half the time that others take.

    Attributes:
        seq: Its order of arrival within the session; a cursor for paging. An open event that is
            closed arrives anew: what lies beyond a `seq` is everything that is new or changed.
        state: How it ended, or "Running".
        error: The failure in one line.
    """

    seq: int
    id: str
    parent_id: str | None
    kind: EventKind
    name: str
    agent: str | None
    source_id: str
    state: EventState | Literal["Running"]
    started_at: int
    ended_at: int | None
    model: str | None
    provider: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    cached_tokens: int | None
    reasoning_tokens: int | None
    time_to_first_token: int | None
    cost: Cost | None
    error: str | None

    @property
    def cost_source(self) -> Literal["provider", "computed", "unknown"] | None:
        """
        Who says what it cost; None for what has no cost to know.
        """
        if self.cost is not None:
            return self.cost.source
        if (
            self.kind != "llm"
            or self.state == "Running"
            or is_refused(self.state, self.error, self.prompt_tokens, self.completion_tokens)
        ):
            return None
        return "unknown"


@attrs.frozen(kw_only=True)
class EventColumns:
    """
    Some of what `EventSummary` says of each event of a timeline, column by column: what a picture
    of all of them takes, in a third of the time.

    Attributes:
        ids: As signed numbers of 64 bits, and so are *parents*.
        costs: What each cost: the amount, exact, and its currency.
    """

    seqs: Sequence[int]
    ids: Sequence[int]
    parents: Sequence[int | None]
    kinds: Sequence[EventKind]
    names: Sequence[str]
    agents: Sequence[str | None]
    states: Sequence[EventState | Literal["Running"]]
    started_at: Sequence[int]
    ended_at: Sequence[int | None]
    models: Sequence[str | None]
    prompt_tokens: Sequence[int | None]
    completion_tokens: Sequence[int | None]
    costs: Sequence[tuple[str, str] | None]
    errors: Sequence[str | None]


@attrs.frozen(kw_only=True)
class EventStructure:
    """
    How the events of a session hang together and when they ran: what it takes to find out which of
    them come first, in a fraction of the time of all columns.

    Attributes:
        ids: In order of arrival; as signed numbers of 64 bits, and so are *parents*.
        first_at: When the first of them began; None where there are none.
        last_at: When the last of them ended, or began where it is open.
    """

    ids: Sequence[int]
    parents: Sequence[int | None]
    started_at: Sequence[int]
    first_at: int | None
    last_at: int | None


@attrs.frozen(kw_only=True)
class EventDetail:
    """
    An event with its payloads, which are plain JSON values (None where nothing was recorded).

    Attributes:
        tool_call_id: The id by which a model asked for this call of a tool.
        requested_by: The event that asked for it.
        tool_calls: The ids of the tool calls that it asked for, each with the event that carried
            it out; the last one where there are several, None where there is none.
        linked: The names of these events, by their ids.
    """

    summary: EventSummary
    params: Any
    returns: Any
    prompt: Any
    completion: Any
    usage: Any
    attributes: Any
    failure: Failure | None
    trigger_event_id: str | None
    tool_call_id: str | None
    requested_by: str | None
    tool_calls: tuple[tuple[str, str | None], ...]
    linked: Mapping[str, str]
    cache_write_tokens: int | None


@attrs.frozen(kw_only=True)
class Around:
    """
    What an event has to do with others of its session.

    Attributes:
        below: From when until when those ran whose parent it is; until None where one has not
            ended.
        alike: If it is a call of a model: the ids and states of it and of the calls that are
            nearest to it, in order of their starts, of those that have the same parent, agent, name
            and model.
    """

    below: tuple[tuple[int, int | None], ...] = ()
    alike: tuple[tuple[str, EventState | Literal["Running"]], ...] = ()


@attrs.frozen(kw_only=True)
class SessionQuery:
    """
    Which sessions, in which order. Filters combine with "and"; times are nanoseconds.

    Attributes:
        ids: Only these; all where none are named.
        q: Text that occurs in the id, the name, a tag, the reason, or an event's name or error; or
            words that all occur in what one event was given or returned: see `Store.events`.
        name: Text that occurs in the name.
        error: Text that occurs in the reason or in an event's error.
        fingerprint: Of an error: what `fingerprints.py` makes of one.
        missing: Only those with missing records.
        starred: Only those that somebody starred.
        min_duration: Nanoseconds, and so is *max_duration*; a running session lasts until now.
        min_cost: Nano-dollars, and so is *max_cost*; an unknown cost is neither more nor less.
        min_score: Only those with a score, and so is *max_score*.
        cursor: Where the page before ended (`SessionPage.next`).
    """

    ids: tuple[str, ...] = ()
    q: str | None = None
    states: tuple[SessionState, ...] = ()
    tags: tuple[str, ...] = ()
    agent: str | None = None
    model: str | None = None
    name: str | None = None
    error: str | None = None
    fingerprint: str | None = None
    missing: bool = False
    starred: bool = False
    since: int | None = None
    until: int | None = None
    min_duration: int | None = None
    max_duration: int | None = None
    min_cost: int | None = None
    max_cost: int | None = None
    min_tokens: int | None = None
    max_tokens: int | None = None
    min_events: int | None = None
    max_events: int | None = None
    min_errors: int | None = None
    max_errors: int | None = None
    min_score: float | None = None
    max_score: float | None = None
    sort: SessionSort = "started"
    limit: int = 50
    cursor: str | None = None


@attrs.frozen(kw_only=True)
class SessionPage:
    """
    Some sessions, and where the next ones begin.
    """

    sessions: tuple[SessionSummary, ...]
    next: str | None


@attrs.frozen(kw_only=True)
class EventPage:
    """
    Some events of one session in order of arrival, and where the next ones begin.
    """

    events: tuple[EventDetail, ...]
    next: str | None


@attrs.frozen(kw_only=True)
class EventMatches:
    """
    Which events of one session a search finds.

    Attributes:
        seqs: Theirs, in order.
        whole: Whether all of its closed events could be searched; else there may be others.
    """

    seqs: tuple[int, ...]
    whole: bool


@attrs.frozen(kw_only=True)
class RecordPage:
    """
    Some of the records that one session can be made of again, each with the source that says it,
    and where the next ones begin. Their numbers are for whoever sends them to give.
    """

    records: tuple[tuple[str, Record], ...]
    next: str | None


@attrs.frozen(kw_only=True)
class Day:
    """
    One UTC day's sums. `day` is `YYYY-MM-DD`; a session counts for the day it started.
    """

    day: str
    sessions: int
    states: Mapping[str, int]
    cost: int
    prompt_tokens: int
    completion_tokens: int
    events: int
    errors: int


@attrs.frozen(kw_only=True)
class Overview:
    """
    A project in sums. Costs are nano-dollars.

    Attributes:
        average_duration: Nanoseconds, over sessions that ended; None where none did.
        models: For each model, most expensive first: `model` (None where the call named none),
            `calls`, `prompt_tokens`, `completion_tokens`, `cost` (nano-dollars, None where no call
            told it), `costs_unknown`.
        days: Those on which a session started.
    """

    sessions: int
    states: Mapping[str, int]
    cost: int
    prompt_tokens: int
    completion_tokens: int
    events: int
    errors: int
    average_cost: float | None
    average_tokens: float | None
    average_duration: float | None
    days: tuple[Day, ...]
    models: tuple[Mapping[str, Any], ...]


@attrs.frozen(kw_only=True)
class Group:
    """
    The sessions that have something in common, in sums.

    Attributes:
        text: What they have in common: a tag, an error's fingerprint, or the agent that worked in
            them; None for what no agent did.
        failed: How many of them ended as `Fail`.
        calls: How many calls of models were made: in these sessions, or by this agent alone, as
            all that follows.
        cost: Nano-dollars, None where nobody knows of any call what it cost.
        costs_unknown: How many calls nobody knows the cost of.
    """

    text: str | None
    sessions: int
    failed: int
    calls: int
    cost: int | None
    costs_unknown: int
    tokens: int


@attrs.frozen(kw_only=True)
class Breakdown:
    """
    What the latest sessions of a period have in common.

    Attributes:
        sessions: How many were looked at.
        whole: Whether these are all that started in the period.
        durations: Percentiles (50, 90, 99) of those that ended, nanoseconds; none where none did.
        tags: Those whose sessions cost most, first; a session counts as a whole for each.
        agents: Those that spent most, first, each with what it spent itself.
        errors: Fingerprints of errors, those of most sessions first.
    """

    sessions: int
    whole: bool
    durations: Mapping[int, int]
    tags: tuple[Group, ...]
    agents: tuple[Group, ...]
    errors: tuple[Group, ...]


@attrs.frozen(kw_only=True)
class Repriced:
    """
    What changed in one session. Amounts are nano-dollars.

    Attributes:
        events: How many of its events cost something else now.
        before: What these cost before, as far as that was known.
        after: What they cost now.
    """

    session: str
    events: int
    before: int
    after: int


@attrs.frozen(kw_only=True)
class Repricing:
    """
    What became of some events whose cost was worked out anew.

    Attributes:
        examined: How many calls of models were looked at.
        sessions: Those in which something changed.
        tables: The prices that were taken; none where none are known, and then nothing was done.
        next: Where to go on; None at the end.
    """

    examined: int
    sessions: tuple[Repriced, ...]
    tables: tuple[str, ...]
    next: str | None


@attrs.frozen(kw_only=True)
class Pruned:
    """
    Some old sessions that were deleted, or would be.

    Attributes:
        events: How many events they had.
        next: Where to go on; None at the end.
    """

    sessions: tuple[str, ...]
    events: int
    next: str | None


@attrs.frozen(kw_only=True)
class ApiKey:
    """
    A key to a project. The key itself is shown once and never kept.

    Attributes:
        id: What to call it by: the first 16 hex digits of its hash.
        hint: Its first characters, to recognise it by.
    """

    id: str
    project: str
    hint: str
    created_at: int
    revoked_at: int | None


class Store(Protocol):
    """
    Where records are kept. Every method may be called from any task of the collector's loop.

    Session states in answers are as of *now*: an open session whose sources are all silent for
    longer than `LEASE_SECONDS` reads as Indeterminate (reason `process died`), without a write.

    Attributes:
        changes: Tells which sessions change, as soon as that is committed.
    """

    changes: Changes

    async def add(self, batch: Batch) -> Outcome:
        """
        Store what is new in *batch*, all of it or nothing, and return once it is committed.

        A record whose `seq` is not above its source's high-water mark changes nothing.

        Raises:
            StoreError: The store cannot take it now; nothing of it was stored.
        """
        ...

    async def sessions(self, project: str, query: SessionQuery) -> SessionPage:
        """
        Raises:
            ValueError: The cursor is not one of a list with that order.
        """
        ...

    async def participants(
        self, project: str, session_ids: Sequence[str]
    ) -> Mapping[str, Participants]:
        """
        Who took part in these sessions, for each that there is.
        """
        ...

    async def session(self, project: str, session_id: str) -> SessionDetail:
        """
        Raises:
            SessionNotFoundError: There is none.
        """
        ...

    async def events(
        self,
        project: str,
        session_id: str,
        *,
        q: str | None = None,
        cursor: str | None = None,
        limit: int = 200,
    ) -> EventPage:
        """
        A page of a session's events.

        Args:
            q: Only closed events in whose name, params, returns, prompt, completion, attributes or
                failure all these words occur, whatever their case and accents; "words in quotes"
                next to each other; `be*` for words that begin so. A store may take a moment until
                it finds what it has acknowledged.

        Raises:
            SessionNotFoundError: There is no such session.
            ValueError: The cursor is not one of such a list.
        """
        ...

    async def matches(self, project: str, session_id: str, q: str) -> EventMatches:
        """
        Which events of a session *q* finds, as `events` does.

        Raises:
            SessionNotFoundError: There is no such session.
        """
        ...

    async def event(self, project: str, session_id: str, event_id: str) -> EventDetail | None: ...

    async def around(self, project: str, session_id: str, event_id: str, *, near: int) -> Around:
        """
        Args:
            event_id: 16 hex digits; nothing is around what is not there.
            near: How many calls before it, and as many after it, are *alike*.

        Raises:
            SessionNotFoundError: There is no such session.
        """
        ...

    async def timeline(
        self,
        project: str,
        session_id: str,
        *,
        after: int = 0,
        limit: int | None = None,
        only_open: bool = False,
        only: Sequence[str] | None = None,
    ) -> tuple[EventSummary, ...]:
        """
        The events of a session whose `seq` is beyond *after*, without their payloads, in order;
        all of them, or the first *limit*; all or those that are open; all or *only* those with
        these ids.

        Raises:
            SessionNotFoundError: There is no such session.
        """
        ...

    async def columns(self, project: str, session_id: str, *, after: int = 0) -> EventColumns:
        """
        The same events, all of them, column by column.

        Raises:
            SessionNotFoundError: There is no such session.
        """
        ...

    async def structure(self, project: str, session_id: str) -> EventStructure:
        """
        How all events of a session hang together.

        Raises:
            SessionNotFoundError: There is no such session.
        """
        ...

    async def records(
        self, project: str, session_id: str, *, cursor: str | None = None, limit: int = 200
    ) -> RecordPage:
        """
        Records that make the same session in a store which has nothing of it: what its sources are
        first, then what was said of it, its events in order of arrival, how it ended, and what is
        missing.

        Args:
            cursor: Where the page before ended (`RecordPage.next`).

        Raises:
            SessionNotFoundError: There is no such session.
        """
        ...

    async def overview(
        self, project: str, *, since: int | None = None, until: int | None = None
    ) -> Overview: ...

    async def breakdown(
        self, project: str, *, since: int | None = None, until: int | None = None
    ) -> Breakdown:
        """
        What the sessions that started in that time have in common. A store may look at the latest
        of them only.
        """
        ...

    async def reprice(
        self,
        project: str,
        *,
        since: int | None = None,
        until: int | None = None,
        session_id: str | None = None,
        cursor: str | None = None,
        limit: int = 1_000,
        dry_run: bool = False,
    ) -> Repricing:
        """
        Work out anew what at most *limit* calls of models cost, at the price of their time, and
        keep it where that is another amount of dollars. What the provider said stays, and so does
        what was computed where no price is known now.

        Args:
            since: Only sessions that started then or later.
            until: Only sessions that started before.
            session_id: Only that one.
            cursor: Where the last call ended (`Repricing.next`).
            dry_run: Tell what would change, and change nothing.

        Raises:
            SessionNotFoundError: There is no such session.
            ValueError: The cursor is not one of a repricing.
            StoreError: The store cannot be written to now.
        """
        ...

    async def annotate(self, project: str, annotation: AnnotationRecord) -> None:
        """
        Store a person's word on a session, as the next record of a source that is this project's
        for such words.

        Raises:
            SessionNotFoundError: There is no such session.
            StoreError: The store cannot be written to now.
        """
        ...

    async def delete(self, project: str, session_id: str) -> None:
        """
        Delete a session with all that was recorded of it, for good: what is said of it later is
        settled, and nothing of it is kept. Sums of days and models are less by what it counted for.
        From the return of this on nobody finds it; its events leave the store in a while.

        Raises:
            SessionNotFoundError: There is none.
            StoreError: The store cannot be written to now.
        """
        ...

    async def prune(
        self,
        project: str,
        *,
        before: int,
        cursor: str | None = None,
        limit: int = 100,
        dry_run: bool = False,
    ) -> Pruned:
        """
        Delete, oldest first, at most *limit* sessions that do not run and of which nothing was
        recorded since *before*.

        Args:
            cursor: Where the last call ended (`Pruned.next`).
            dry_run: Tell which, and delete none.

        Raises:
            ValueError: The cursor is not one of a pruning.
            StoreError: The store cannot be written to now.
        """
        ...

    async def projects(self) -> tuple[str, ...]: ...

    async def create_key(self, project: str) -> tuple[ApiKey, str]:
        """
        A new key for *project* and its text, which is not kept.
        """
        ...

    async def keys(self) -> tuple[ApiKey, ...]: ...

    async def revoke_key(self, key_id: str) -> ApiKey:
        """
        Raises:
            StoreError: There is no such key.
        """
        ...

    async def project_of_key(self, key_hash: bytes) -> str | None:
        """
        The project that the key with this SHA-256 opens, or None for an unknown or revoked one.
        """
        ...

    async def statistics(self) -> Mapping[str, float | Mapping[str, float]]:
        """
        Counters for `/metrics`: records, duplicates, rejected lines, batches, sessions, bytes ...
        What is counted by reason is a mapping.
        """
        ...

    async def aclose(self) -> None: ...
