"""
The API: the JSON twins of the pages, and what can be asked to be done.

`session_json` and `event_json` are how sessions and events look in JSON everywhere: in lists, in
exports, in live streams.
"""

from __future__ import annotations

import datetime
import json
import secrets
import time
from collections.abc import Awaitable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, TypeVar, get_args

import msgspec
from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from .._events import MAX_COST, MAX_SCORE, AnnotationRecord, Failure
from .._prices import NO_PRICES
from .._wire import decode
from .store.base import (
    Breakdown,
    EventDetail,
    EventSummary,
    Group,
    Overview,
    Pruned,
    Repricing,
    SessionDetail,
    SessionQuery,
    SessionSort,
    SessionState,
    SessionSummary,
    Store,
)

__all__ = [
    "JSON",
    "event_json",
    "json_bytes",
    "overview_json",
    "routes",
    "session_json",
    "session_query",
    "timestamp",
]

MAX_SESSIONS = 500
"""How many sessions one page of a list may have."""

MAX_EVENTS = 1_000
"""How many events one page may have."""

MAX_TIMELINE = 10_000
"""How many of them without their payloads."""

MAX_REPRICED = 5_000
"""How many calls of models one request may have priced anew."""

MAX_PRUNED = 1_000
"""How many sessions one request may have deleted."""

MAX_REQUEST_BYTES = 16_384
"""How long the body of a request may be that is no batch of records."""

MAX_FILTER_CHARS = 1_000
"""How long the value of a filter may be."""

MAX_SECONDS = 1_000_000_000
"""How many seconds a filter may speak of: some thirty years."""

MAX_TAGS = 50
"""How many tags one list may ask for."""

T = TypeVar("T")

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def routes() -> list[BaseRoute]:
    """
    What the collector serves from here.
    """
    return [
        Route("/api/sessions", sessions),
        Route("/api/sessions/{id}", session),
        Route("/api/sessions/{id}", delete, methods=["DELETE"]),
        Route("/api/sessions/{id}/events", events),
        Route("/api/sessions/{id}/events/{event}", event),
        Route("/api/sessions/{id}/timeline", timeline),
        Route("/api/overview", overview),
        Route("/api/breakdown", breakdown),
        Route("/api/sessions/{id}/annotations", annotate, methods=["POST"]),
        Route("/api/reprice", reprice, methods=["POST"]),
        Route("/api/prune", prune, methods=["POST"]),
        Route("/healthz", healthz),
        Route("/metrics", metrics),
    ]


class JSON(Response):
    """
    An answer in JSON, whatever a program has recorded.
    """

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return json_bytes(content)


def _store(request: Request) -> Store:
    store: Store = request.app.state.store
    return store


# -- answers ----------------------------------------------------------------------------------


async def sessions(request: Request) -> Response:
    page = await _page(
        _store(request).sessions(request.state.project, session_query(request.query_params))
    )
    return JSON(
        {"sessions": [session_json(summary) for summary in page.sessions], "next": page.next}
    )


async def session(request: Request) -> Response:
    detail = await _store(request).session(request.state.project, request.path_params["id"])
    return JSON(session_json(detail))


async def events(request: Request) -> Response:
    page = await _page(
        _store(request).events(
            request.state.project,
            request.path_params["id"],
            q=_text("q", request.query_params.get("q", "")) or None,
            cursor=request.query_params.get("cursor") or None,
            limit=_whole("limit", request.query_params.get("limit"), default=200, most=MAX_EVENTS),
        )
    )
    return JSON({"events": [event_json(event) for event in page.events], "next": page.next})


async def event(request: Request) -> Response:
    store, session_id = _store(request), request.path_params["id"]
    found = await store.event(request.state.project, session_id, request.path_params["event"])
    if found is None:
        raise HTTPException(404, "the session has no such event")
    return JSON(event_json(found))


async def timeline(request: Request) -> Response:
    """
    Events without what went in and came out: all that a tree or a waterfall needs.
    """
    after = request.query_params.get("cursor") or "0"
    if not (after.isascii() and after.isdecimal() and len(after) <= 10):
        raise _bad("cursor", "what `next` of the page before said")
    limit = _whole("limit", request.query_params.get("limit"), default=1_000, most=MAX_TIMELINE)
    found = await _store(request).timeline(
        request.state.project, request.path_params["id"], after=int(after), limit=limit
    )
    return JSON(
        {
            "events": [event_json(each) for each in found],
            "next": str(found[-1].seq) if len(found) == limit else None,
        }
    )


async def overview(request: Request) -> Response:
    since, until = _period(request.query_params)
    sums = await _store(request).overview(request.state.project, since=since, until=until)
    return JSON(overview_json(sums))


async def breakdown(request: Request) -> Response:
    since, until = _period(request.query_params)
    found = await _store(request).breakdown(request.state.project, since=since, until=until)
    return JSON(breakdown_json(found))


class RepriceRequest(msgspec.Struct, forbid_unknown_fields=True):
    """
    What is to be priced anew: sessions by when they started, or one; all where nothing is said.
    """

    since: str | None = None
    until: str | None = None
    session: str | None = None
    dry_run: bool = False
    cursor: str | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_REPRICED)] = 1_000


async def _asked(request: Request, wanted: type[T]) -> T:
    """
    What the body of a request asks for.
    """
    # a page from elsewhere can send any text here, but not as JSON, without asking first
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise HTTPException(415, "Content-Type must be application/json")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_REQUEST_BYTES:
            raise HTTPException(413, "that is more than can be asked", {"Connection": "close"})
    try:
        return msgspec.json.decode(body, type=wanted)
    except ValueError as error:  # no JSON, no UTF-8, nothing that can be asked
        raise HTTPException(400, f"this cannot be asked: {error}") from None


async def reprice(request: Request) -> Response:
    asked = await _asked(request, RepriceRequest)
    done = await _page(
        _store(request).reprice(
            request.state.project,
            since=_time("since", asked.since),
            until=_time("until", asked.until),
            session_id=asked.session,
            cursor=asked.cursor,
            limit=asked.limit,
            dry_run=asked.dry_run,
        )
    )
    if not done.tables:
        raise HTTPException(409, NO_PRICES)
    return JSON(repricing_json(done))


class PruneRequest(msgspec.Struct, forbid_unknown_fields=True):
    """
    What is to be deleted: sessions of which nothing was recorded since that time.
    """

    before: str
    dry_run: bool = False
    cursor: str | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_PRUNED)] = 100


async def prune(request: Request) -> Response:
    asked = await _asked(request, PruneRequest)
    before = _time("before", asked.before)
    if before is None:
        raise _bad("before", "a time")
    done = await _page(
        _store(request).prune(
            request.state.project,
            before=before,
            cursor=asked.cursor,
            limit=asked.limit,
            dry_run=asked.dry_run,
        )
    )
    return JSON(pruned_json(done))


class AnnotationRequest(msgspec.Struct, forbid_unknown_fields=True):
    """
    What a person says of a session, or of one of its events.
    """

    event: str | None = None
    by: str | None = None
    star: bool | None = None
    note: str | None = None
    note_id: str | None = None
    score: float | None = None
    score_name: str | None = None
    tags: tuple[str, ...] | None = None


async def annotate(request: Request) -> Response:
    asked = await _asked(request, AnnotationRequest)
    store, session_id = _store(request), request.path_params["id"]
    try:
        annotation = annotation_of(session_id, msgspec.to_builtins(asked))
    except ValueError as error:
        raise HTTPException(400, f"this cannot be said: {error}") from None
    await store.annotate(request.state.project, annotation)
    return JSON(session_json(await store.session(request.state.project, session_id)))


def annotation_of(session_id: str, said: Mapping[str, Any]) -> AnnotationRecord:
    """
    What a person says now, as a record; a new note gets an id.

    Raises:
        ValueError: It says nothing, or more than a record may.
    """
    told = {name: value for name, value in said.items() if value is not None}
    if not {"star", "note", "score", "tags"} & told.keys():
        raise ValueError("it says nothing")
    if "note" in told:
        told.setdefault("note_id", secrets.token_hex(8))
    line = {"type": "annotation", "seq": 1, "at": time.time_ns(), "session": session_id, **told}
    record = decode(msgspec.json.encode(line))
    assert isinstance(record, AnnotationRecord)
    if "score" in told and record.score is None:
        raise ValueError("the score is no number")
    return record


async def delete(request: Request) -> Response:
    session_id = request.path_params["id"]
    await _store(request).delete(request.state.project, session_id)
    return JSON({"deleted": session_id})


async def healthz(request: Request) -> Response:
    return JSON({"status": "ok", "service": "asyncops"})


_GAUGES = frozenset({"queued_records", "sessions", "unsearched_sessions", "database_bytes"})


async def metrics(request: Request) -> Response:
    values = {**await _store(request).statistics()}
    values["in_flight_bytes"] = request.app.state.intake.in_flight_bytes
    values["streams"] = request.app.state.streams.open
    lines = []
    for name, value in values.items():
        gauge = name in _GAUGES or name in ("in_flight_bytes", "streams")
        full = f"asyncops_collector_{name}" + ("" if gauge else "_total")
        lines.append(f"# TYPE {full} {'gauge' if gauge else 'counter'}")
        if isinstance(value, Mapping):
            lines += [f'{full}{{reason="{reason}"}} {n}' for reason, n in value.items()]
        else:
            lines.append(f"{full} {value}")
    return PlainTextResponse("\n".join(lines) + "\n", media_type="text/plain; version=0.0.4")


# -- what things look like --------------------------------------------------------------------


def session_json(session: SessionSummary | SessionDetail) -> dict[str, Any]:
    """
    A session as the API shows it; a `SessionDetail` with its failure and its sources.
    """
    summary = session.summary if isinstance(session, SessionDetail) else session
    result: dict[str, Any] = {
        "id": summary.id,
        "project": summary.project,
        "name": summary.name,
        "state": summary.state,
        "reason": summary.reason,
        "started_at": timestamp(summary.started_at),
        "ended_at": _timestamp(summary.ended_at),
        "duration_ms": _duration(summary.started_at, summary.ended_at),
        "last_record_at": timestamp(summary.last_record_at),
        "tags": summary.tags,
        "video": summary.video,
        "cost_usd": _dollars(summary.cost),
        "costs_unknown": summary.costs_unknown,
        "costs_from": [
            {
                "source": source.source,
                "currency": source.currency,
                "table": source.table,
                "events": source.events,
            }
            for source in summary.costs_from
        ],
        "prompt_tokens": summary.prompt_tokens,
        "completion_tokens": summary.completion_tokens,
        "cached_tokens": summary.cached_tokens,
        "reasoning_tokens": summary.reasoning_tokens,
        "events": summary.events,
        "actions": summary.actions,
        "llms": summary.llms,
        "tools": summary.tools,
        "agents": summary.agents,
        "errors": summary.errors,
        "missing_records": summary.missing_records,
        "missing_by_reason": summary.missing_by_reason,
        "starred": summary.starred,
        "score": summary.score,
    }
    if isinstance(session, SessionDetail):
        result["failure"] = _failure_json(session.failure)
        result["starred_events"] = session.starred_events
        result["notes"] = [
            {
                "id": note.id,
                "event": note.event,
                "by": note.by,
                "at": timestamp(note.at),
                "text": note.text,
            }
            for note in session.notes
        ]
        result["scores"] = [
            {
                "name": score.name,
                "event": score.event,
                "by": score.by,
                "at": timestamp(score.at),
                "value": score.value,
            }
            for score in session.scores
        ]
        result["sources"] = [
            {
                "id": source.id,
                "pid": source.pid,
                "sdk": source.sdk,
                "started_at": _timestamp(source.started_at),
                "last_seen_at": timestamp(source.last_seen_at),
                "ended": source.ended,
                "host": source.host,
            }
            for source in session.sources
        ]
    return result


def event_json(event: EventSummary | EventDetail) -> dict[str, Any]:
    """
    An event as the API shows it; an `EventDetail` with its payloads.
    """
    summary = event.summary if isinstance(event, EventDetail) else event
    cost = summary.cost
    result: dict[str, Any] = {
        "id": summary.id,
        "seq": summary.seq,
        "parent_id": summary.parent_id,
        "kind": summary.kind,
        "name": summary.name,
        "agent": summary.agent,
        "source_id": summary.source_id,
        "state": summary.state,
        "started_at": timestamp(summary.started_at),
        "ended_at": _timestamp(summary.ended_at),
        "duration_ms": _duration(summary.started_at, summary.ended_at),
        "model": summary.model,
        "provider": summary.provider,
        "prompt_tokens": summary.prompt_tokens,
        "completion_tokens": summary.completion_tokens,
        "cached_tokens": summary.cached_tokens,
        "reasoning_tokens": summary.reasoning_tokens,
        "time_to_first_token_ms": _milliseconds(summary.time_to_first_token),
        "cost_usd": float(cost.amount) if cost is not None and cost.currency == "USD" else None,
        "cost_source": summary.cost_source,
        "cost_table": None if cost is None else cost.table,
        "error": summary.error,
    }
    if isinstance(event, EventDetail):
        result |= {
            "params": event.params,
            "returns": event.returns,
            "failure": _failure_json(event.failure),
            "prompt": event.prompt,
            "completion": event.completion,
            "cache_write_tokens": event.cache_write_tokens,
            "usage": event.usage,
            "cost": None
            if cost is None
            else {
                "amount": str(cost.amount),
                "currency": cost.currency,
                "source": cost.source,
                "table": cost.table,
            },
            "tool_call_id": event.tool_call_id,
            "requested_by": event.requested_by,
            "tool_calls": [
                {"id": call_id, "event_id": event_id} for call_id, event_id in event.tool_calls
            ],
            "trigger_event_id": event.trigger_event_id,
            "attributes": event.attributes,
        }
    return result


def overview_json(sums: Overview) -> dict[str, Any]:
    """
    A project's sums as the API shows them.
    """
    return {
        "sessions": sums.sessions,
        "states": sums.states,
        "cost_usd": None if sums.average_cost is None else _dollars(sums.cost),
        "prompt_tokens": sums.prompt_tokens,
        "completion_tokens": sums.completion_tokens,
        "events": sums.events,
        "errors": sums.errors,
        "average_cost_usd": _dollars(sums.average_cost),
        "average_tokens": sums.average_tokens,
        "average_duration_ms": _milliseconds(sums.average_duration),
        "days": [
            {
                "day": day.day,
                "sessions": day.sessions,
                "states": day.states,
                "cost_usd": _dollars(day.cost),
                "prompt_tokens": day.prompt_tokens,
                "completion_tokens": day.completion_tokens,
                "events": day.events,
                "errors": day.errors,
            }
            for day in sums.days
        ],
        "models": [_model_json(model) for model in sums.models],
    }


def breakdown_json(found: Breakdown) -> dict[str, Any]:
    """
    What sessions have in common as the API shows it.
    """
    return {
        "sessions": found.sessions,
        "whole": found.whole,
        "duration_ms": {
            f"p{percent}": _milliseconds(value) for percent, value in found.durations.items()
        },
        "tags": [_group_json(group) for group in found.tags],
        "agents": [_group_json(group) for group in found.agents],
        "errors": [_group_json(group) for group in found.errors],
    }


def _group_json(group: Group) -> dict[str, Any]:
    return {
        "text": group.text,
        "sessions": group.sessions,
        "failed": group.failed,
        "calls": group.calls,
        "cost_usd": _dollars(group.cost),
        "costs_unknown": group.costs_unknown,
        "tokens": group.tokens,
    }


def repricing_json(done: Repricing) -> dict[str, Any]:
    """
    What became of a part of a repricing as the API shows it.
    """
    return {
        "examined": done.examined,
        "sessions": [
            {
                "id": session.session,
                "events": session.events,
                "cost_usd_before": _dollars(session.before),
                "cost_usd_after": _dollars(session.after),
            }
            for session in done.sessions
        ],
        "tables": done.tables,
        "next": done.next,
    }


def pruned_json(done: Pruned) -> dict[str, Any]:
    """
    What became of a part of a pruning as the API shows it.
    """
    return {"sessions": done.sessions, "events": done.events, "next": done.next}


def _model_json(model: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "model": model["model"],
        "calls": model["calls"],
        "prompt_tokens": model["prompt_tokens"],
        "completion_tokens": model["completion_tokens"],
        "cost_usd": _dollars(model["cost"]),
        "costs_unknown": model["costs_unknown"],
    }


def _failure_json(failure: Failure | None) -> dict[str, Any] | None:
    if failure is None:
        return None
    return {
        "type": failure.type,
        "message": failure.message,
        "traceback": failure.traceback,
        "relation": failure.relation,
        "event_id": failure.event_id,
        "causes": [_failure_json(cause) for cause in failure.causes],
    }


def timestamp(nanoseconds: int) -> str:
    """
    RFC 3339 with microseconds, UTC.
    """
    moment = _EPOCH + datetime.timedelta(microseconds=nanoseconds // 1_000)
    return moment.isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def _timestamp(nanoseconds: int | None) -> str | None:
    return None if nanoseconds is None else timestamp(nanoseconds)


def _milliseconds(nanoseconds: float | None) -> float | None:
    return None if nanoseconds is None else nanoseconds / 1e6


def _duration(started_at: int, ended_at: int | None) -> float | None:
    return None if ended_at is None else max(ended_at - started_at, 0) / 1e6


def _dollars(nano_dollars: float | None) -> float | None:
    return None if nano_dollars is None else nano_dollars / 1e9


def json_bytes(value: Any) -> bytes:
    """
    *value* as JSON.
    """
    try:
        return msgspec.json.encode(value)
    except OverflowError:  # recorded integers know no bounds, msgspec's do
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


# -- what is asked for ------------------------------------------------------------------------


def session_query(parameters: QueryParams) -> SessionQuery:
    """
    The query that a list's *parameters* mean. One that is there without a value says nothing.

    Raises:
        HTTPException: One has a value that makes no sense; the message names it.
    """
    since, until = _period(parameters)
    states: list[SessionState] = []
    for state in filter(None, parameters.getlist("state")):
        if state not in get_args(SessionState):
            raise _bad("state", f"one of {', '.join(get_args(SessionState))}")
        states.append(state)  # type: ignore[arg-type]
    sort = parameters.get("sort") or "started"
    if sort not in get_args(SessionSort):
        raise _bad("sort", f"one of {', '.join(get_args(SessionSort))}")
    tags = tuple(_text("tag", tag) for tag in parameters.getlist("tag") if tag)
    if len(tags) > MAX_TAGS:
        raise _bad("tag", f"given at most {MAX_TAGS} times")
    ask = parameters.get
    return SessionQuery(
        q=_text("q", ask("q", "")) or None,
        states=tuple(states),
        tags=tags,
        agent=_text("agent", ask("agent", "")) or None,
        model=_text("model", ask("model", "")) or None,
        name=_text("name", ask("name", "")) or None,
        error=_text("error", ask("error", "")) or None,
        fingerprint=_text("fingerprint", ask("fingerprint", "")) or None,
        missing=_flag("missing", ask("missing")),
        starred=_flag("starred", ask("starred")),
        since=since,
        until=until,
        min_duration=_nanoseconds("min_duration", ask("min_duration")),
        max_duration=_nanoseconds("max_duration", ask("max_duration")),
        min_cost=_nano_dollars("min_cost", ask("min_cost")),
        max_cost=_nano_dollars("max_cost", ask("max_cost")),
        min_tokens=_count("min_tokens", ask("min_tokens")),
        max_tokens=_count("max_tokens", ask("max_tokens")),
        min_events=_count("min_events", ask("min_events")),
        max_events=_count("max_events", ask("max_events")),
        min_errors=_count("min_errors", ask("min_errors")),
        max_errors=_count("max_errors", ask("max_errors")),
        min_score=_score("min_score", ask("min_score")),
        max_score=_score("max_score", ask("max_score")),
        sort=sort,  # type: ignore[arg-type]
        limit=_whole("limit", ask("limit"), default=50, most=MAX_SESSIONS),
        cursor=ask("cursor") or None,
    )


def _period(parameters: QueryParams) -> tuple[int | None, int | None]:
    return _time("since", parameters.get("since")), _time("until", parameters.get("until"))


def _time(name: str, text: str | None) -> int | None:
    if not text:
        return None
    try:
        # "+" in a query means a space; nobody writes a time with one before its zone
        moment = datetime.datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=datetime.UTC)
        nanoseconds = (moment - _EPOCH) // datetime.timedelta(microseconds=1) * 1_000
    except (ValueError, OverflowError):
        raise _bad(name, "a time like 2025-01-31T12:00:00Z or a day like 2025-01-31") from None
    return min(max(nanoseconds, 0), 2**63 - 1)


def _nano_dollars(name: str, text: str | None) -> int | None:
    return _billionths(name, text, f"a number of dollars from 0 to {MAX_COST:,}", most=MAX_COST)


def _nanoseconds(name: str, text: str | None) -> int | None:
    return _billionths(name, text, f"a number of seconds from 0 to {MAX_SECONDS:,}", MAX_SECONDS)


def _score(name: str, text: str | None) -> float | None:
    wanted = f"a number from {-MAX_SCORE:,} to {MAX_SCORE:,}"
    number = _number(name, text, wanted, least=-MAX_SCORE, most=MAX_SCORE)
    return None if number is None else float(number)


def _billionths(name: str, text: str | None, wanted: str, most: int) -> int | None:
    number = _number(name, text, wanted, least=0, most=most)
    return None if number is None else int(number * 1_000_000_000)


def _number(name: str, text: str | None, wanted: str, *, least: int, most: int) -> Decimal | None:
    if not text:
        return None
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal("NaN")
    if not (number.is_finite() and least <= number <= most):
        raise _bad(name, wanted)
    return number


def _count(name: str, text: str | None) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 15):
        raise _bad(name, "a whole number from 0")
    return int(text)


def _flag(name: str, text: str | None) -> bool:
    if text not in (None, "", "1"):
        raise _bad(name, "1 or nothing")
    return bool(text)


def _whole(name: str, text: str | None, *, default: int, most: int) -> int:
    if not text:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) <= 9 and 1 <= int(text) <= most):
        raise _bad(name, f"a whole number from 1 to {most:,}")
    return int(text)


def _text(name: str, text: str) -> str:
    if len(text) > MAX_FILTER_CHARS:
        raise _bad(name, f"at most {MAX_FILTER_CHARS:,} characters")
    return text


def _bad(name: str, wanted: str) -> HTTPException:
    return HTTPException(400, f"{name} must be {wanted}")


async def _page(question: Awaitable[T]) -> T:
    try:
        return await question
    except ValueError as error:
        raise _bad("cursor", f"what `next` of the page before said ({error})") from None
