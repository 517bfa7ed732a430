"""
The API as an OpenAPI document, for whoever wants a client made from it.
"""

from __future__ import annotations

from typing import Any, get_args

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from .._events import MAX_COST, MAX_SCORE, EventKind, EventState
from .._version import __version__
from .api import JSON, MAX_PRUNED, MAX_REPRICED, MAX_SECONDS
from .exports import FORMATS
from .store.base import MISSING_REASONS, SessionSort, SessionState

__all__ = ["DOCUMENT", "routes"]

Schema = dict[str, Any]


def routes() -> list[BaseRoute]:
    """
    What the collector serves from here.
    """
    return [Route("/api/openapi.json", openapi)]


async def openapi(request: Request) -> Response:
    return JSON(DOCUMENT)


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _map(values: Schema) -> Schema:
    return {"type": "object", "additionalProperties": values}


def _object(properties: Schema) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _one_of(alias: object, *more: str) -> Schema:
    return {"type": "string", "enum": [*more, *get_args(alias)]}


def _schema(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


ANY: Schema = {}
COUNT: Schema = {"type": "integer", "minimum": 0}
NUMBER: Schema = {"type": "number"}
TEXT: Schema = {"type": "string"}
TIME: Schema = {"type": "string", "format": "date-time"}
FLAG: Schema = {"type": "boolean"}
COUNTS = _map(COUNT)
"""How many, by name."""

SESSION = {
    "id": TEXT,
    "project": TEXT,
    "name": _or_null(TEXT),
    "state": _one_of(SessionState),
    "reason": _or_null(TEXT),
    "started_at": TIME,
    "ended_at": _or_null(TIME),
    "duration_ms": _or_null(NUMBER),
    "last_record_at": TIME,
    "tags": _list(TEXT),
    "video": _or_null(TEXT),
    "cost_usd": _or_null(NUMBER),
    "costs_unknown": COUNT,
    "costs_from": _list(_schema("CostSource")),
    "prompt_tokens": COUNT,
    "completion_tokens": COUNT,
    "cached_tokens": COUNT,
    "reasoning_tokens": COUNT,
    "events": COUNT,
    "actions": COUNT,
    "llms": COUNT,
    "tools": COUNT,
    "agents": COUNT,
    "errors": COUNT,
    "missing_records": COUNT,
    "missing_by_reason": {**COUNTS, "propertyNames": {"enum": list(MISSING_REASONS)}},
    "starred": FLAG,
    "score": _or_null(NUMBER),
}
COST_SOURCE = {
    "source": {"type": "string", "enum": ["provider", "computed"]},
    "currency": TEXT,
    "table": _or_null(TEXT),
    "events": COUNT,
}
ANNOTATION = {
    "event": _or_null(TEXT),
    "by": _or_null(TEXT),
    "star": _or_null(FLAG),
    "note": _or_null(TEXT),
    "note_id": _or_null(TEXT),
    "score": _or_null(NUMBER),
    "score_name": _or_null(TEXT),
    "tags": _or_null(_list(TEXT)),
}
SAID = {"event": _or_null(TEXT), "by": _or_null(TEXT), "at": TIME}
NOTE = {"id": _or_null(TEXT), **SAID, "text": TEXT}
SCORE = {"name": _or_null(TEXT), **SAID, "value": NUMBER}
SOURCE = {
    "id": TEXT,
    "pid": _or_null(COUNT),
    "sdk": _or_null(TEXT),
    "started_at": _or_null(TIME),
    "last_seen_at": TIME,
    "ended": FLAG,
    "host": _or_null(_map(ANY)),
}
FAILURE = {
    "type": TEXT,
    "message": TEXT,
    "traceback": _or_null(TEXT),
    "relation": TEXT,
    "event_id": _or_null(TEXT),
    "causes": _list(_schema("Failure")),
}
COST = {
    "amount": TEXT,
    "currency": TEXT,
    "source": TEXT,
    "table": _or_null(TEXT),
}
TOOL_CALL = {"id": TEXT, "event_id": _or_null(TEXT)}
EVENT_SUMMARY = {
    "id": TEXT,
    "seq": COUNT,
    "parent_id": _or_null(TEXT),
    "kind": _one_of(EventKind),
    "name": TEXT,
    "agent": _or_null(TEXT),
    "source_id": TEXT,
    "state": _one_of(EventState, "Running"),
    "started_at": TIME,
    "ended_at": _or_null(TIME),
    "duration_ms": _or_null(NUMBER),
    "model": _or_null(TEXT),
    "provider": _or_null(TEXT),
    "prompt_tokens": _or_null(COUNT),
    "completion_tokens": _or_null(COUNT),
    "cached_tokens": _or_null(COUNT),
    "reasoning_tokens": _or_null(COUNT),
    "time_to_first_token_ms": _or_null(NUMBER),
    "cost_usd": _or_null(NUMBER),
    "cost_source": _or_null({"type": "string", "enum": ["provider", "computed", "unknown"]}),
    "cost_table": _or_null(TEXT),
    "error": _or_null(TEXT),
}
EVENT = {
    **EVENT_SUMMARY,
    "params": ANY,
    "returns": ANY,
    "failure": _or_null(_schema("Failure")),
    "prompt": ANY,
    "completion": ANY,
    "cache_write_tokens": _or_null(COUNT),
    "usage": ANY,
    "cost": _or_null(_object(COST)),
    "tool_call_id": _or_null(TEXT),
    "requested_by": _or_null(TEXT),
    "tool_calls": _list(_object(TOOL_CALL)),
    "trigger_event_id": _or_null(TEXT),
    "attributes": ANY,
}
DAY = {
    "day": {"type": "string", "format": "date"},
    "sessions": COUNT,
    "states": COUNTS,
    "cost_usd": NUMBER,
    "prompt_tokens": COUNT,
    "completion_tokens": COUNT,
    "events": COUNT,
    "errors": COUNT,
}
MODEL = {
    "model": _or_null(TEXT),
    "calls": COUNT,
    "prompt_tokens": COUNT,
    "completion_tokens": COUNT,
    "cost_usd": _or_null(NUMBER),
    "costs_unknown": COUNT,
}
OVERVIEW = {
    **{name: schema for name, schema in DAY.items() if name != "day"},
    "cost_usd": _or_null(NUMBER),
    "average_cost_usd": _or_null(NUMBER),
    "average_tokens": _or_null(NUMBER),
    "average_duration_ms": _or_null(NUMBER),
    "days": _list(_object(DAY)),
    "models": _list(_object(MODEL)),
}


GROUP = {
    "text": _or_null(TEXT),
    "sessions": COUNT,
    "failed": COUNT,
    "calls": COUNT,
    "cost_usd": _or_null(NUMBER),
    "costs_unknown": COUNT,
    "tokens": COUNT,
}
BREAKDOWN = {
    "sessions": COUNT,
    "whole": FLAG,
    "duration_ms": _map(NUMBER),
    "tags": _list(_schema("Group")),
    "agents": _list(_schema("Group")),
    "errors": _list(_schema("Group")),
}

REPRICE = {
    "since": _or_null(TIME),
    "until": _or_null(TIME),
    "session": _or_null(TEXT),
    "dry_run": FLAG,
    "cursor": _or_null(TEXT),
    "limit": {"type": "integer", "minimum": 1, "maximum": MAX_REPRICED},
}
REPRICED = {
    "id": TEXT,
    "events": COUNT,
    "cost_usd_before": NUMBER,
    "cost_usd_after": NUMBER,
}
REPRICING = {
    "examined": COUNT,
    "sessions": _list(_object(REPRICED)),
    "tables": _list(TEXT),
    "next": _or_null(TEXT),
}
PRUNE = {
    "before": TIME,
    "dry_run": FLAG,
    "cursor": _or_null(TEXT),
    "limit": {"type": "integer", "minimum": 1, "maximum": MAX_PRUNED},
}
PRUNED = {"sessions": _list(TEXT), "events": COUNT, "next": _or_null(TEXT)}


def _asked(name: str, schema: Schema) -> Schema:
    return {"name": name, "in": "query", "schema": schema}


def _at_most(most: int) -> Schema:
    return {"type": "integer", "minimum": 1, "maximum": most}


_SINCE, _UNTIL = _asked("since", TIME), _asked("until", TIME)
_ID = {"name": "id", "in": "path", "required": True, "schema": TEXT}
_EVENT_ID = {"name": "event", "in": "path", "required": True, "schema": TEXT}
_CURSOR = _asked("cursor", TEXT)


def _get(
    summary: str, answer: Schema, *parameters: Schema, media_type: str = "application/json"
) -> Schema:
    """
    What one path answers.
    """
    responses = {
        "200": {"description": "OK", "content": {media_type: {"schema": answer}}},
        "400": {"$ref": "#/components/responses/Error"},
        "401": {"$ref": "#/components/responses/Error"},
        "404": {"$ref": "#/components/responses/Error"},
        "503": {"$ref": "#/components/responses/Error"},
    }
    return {"get": {"summary": summary, "parameters": list(parameters), "responses": responses}}


def _post(summary: str, asked: Schema, answer: Schema, *errors: str) -> Schema:
    """
    What one path does with a JSON document.

    Args:
        errors: The statuses it answers besides those that all paths may.
    """
    what = _get(summary, answer)["get"]
    what["responses"] |= {
        status: {"$ref": "#/components/responses/Error"} for status in ("413", "415", *errors)
    }
    what["requestBody"] = {"required": True, "content": {"application/json": {"schema": asked}}}
    return {"post": what}


def _annotate() -> Schema:
    what = _post(
        "Star, note, score or tag a session, or star, note or score one of its events",
        {"type": "object", "properties": ANNOTATION, "additionalProperties": False},
        _schema("SessionDetail"),
    )
    what["post"]["parameters"] = [_ID]
    return what


def _export() -> Schema:
    what = _get(
        "All of it: one document, or records to import elsewhere",
        _object({"session": _schema("SessionDetail"), "events": _list(_schema("Event"))}),
        _ID,
        _asked("format", {"type": "string", "enum": list(FORMATS)}),
        _asked("redacted", {"type": "string", "enum": ["1"]}),
    )
    content = what["get"]["responses"]["200"]["content"]
    for media_type, _ in FORMATS.values():
        content.setdefault(media_type, {"schema": TEXT})
    return what


DOCUMENT: Schema = {
    "openapi": "3.1.0",
    "info": {"title": "asyncops collector", "version": __version__},
    "security": [{}, {"key": []}],
    "paths": {
        "/api/sessions": _get(
            "Sessions, a page at a time",
            _object({"sessions": _list(_schema("Session")), "next": _or_null(TEXT)}),
            _asked("q", {"type": "string", "maxLength": 1_000}),
            _asked("state", _list(_one_of(SessionState))),
            _asked("tag", _list({"type": "string", "maxLength": 1_000})),
            *(
                _asked(name, {"type": "string", "maxLength": 1_000})
                for name in ("agent", "model", "name", "error", "fingerprint")
            ),
            _asked("missing", {"type": "string", "enum": ["1"]}),
            _asked("starred", {"type": "string", "enum": ["1"]}),
            _SINCE,
            _UNTIL,
            *(
                _asked(f"{bound}_{name}", {"type": kind, "minimum": least, "maximum": most})
                for name, kind, least, most in (
                    ("duration", "number", 0, MAX_SECONDS),
                    ("cost", "number", 0, MAX_COST),
                    ("tokens", "integer", 0, 999_999_999_999_999),
                    ("events", "integer", 0, 999_999_999_999_999),
                    ("errors", "integer", 0, 999_999_999_999_999),
                    ("score", "number", -MAX_SCORE, MAX_SCORE),
                )
                for bound in ("min", "max")
            ),
            _asked("sort", _one_of(SessionSort)),
            _asked("limit", _at_most(500)),
            _CURSOR,
        ),
        "/api/sessions/{id}": {
            **_get("One session", _schema("SessionDetail"), _ID),
            "delete": _get("Delete it, for good", _object({"deleted": TEXT}), _ID)["get"],
        },
        "/api/sessions/{id}/events": _get(
            "Its events, a page at a time, in order of arrival",
            _object({"events": _list(_schema("Event")), "next": _or_null(TEXT)}),
            _ID,
            _asked("q", {"type": "string", "maxLength": 1_000}),
            _asked("limit", _at_most(1_000)),
            _CURSOR,
        ),
        "/api/sessions/{id}/events/{event}": _get(
            "One of its events", _schema("Event"), _ID, _EVENT_ID
        ),
        "/api/sessions/{id}/timeline": _get(
            "Its events without what went in and came out, in order of arrival",
            _object({"events": _list(_schema("EventSummary")), "next": _or_null(TEXT)}),
            _ID,
            _asked("limit", _at_most(10_000)),
            _CURSOR,
        ),
        "/api/sessions/{id}/export": _export(),
        "/api/sessions/{id}/annotations": _annotate(),
        "/api/sessions/{id}/stream": _get(
            "Server-sent events as it changes",
            TEXT,
            _ID,
            _asked("after", COUNT),
            media_type="text/event-stream",
        ),
        "/api/overview": _get("Sums, averages, days, models", _object(OVERVIEW), _SINCE, _UNTIL),
        "/api/breakdown": _get(
            "What the latest sessions have in common: durations, tags, agents, errors",
            _object(BREAKDOWN),
            _SINCE,
            _UNTIL,
        ),
        "/api/reprice": _post(
            "Work out anew what some calls of models cost",
            {"type": "object", "properties": REPRICE, "additionalProperties": False},
            _object(REPRICING),
            "409",
        ),
        "/api/prune": _post(
            "Delete old sessions",
            {
                "type": "object",
                "properties": PRUNE,
                "required": ["before"],
                "additionalProperties": False,
            },
            _object(PRUNED),
        ),
        "/api/stream": _get(
            "Server-sent events as sessions change",
            TEXT,
            _asked("ids", TEXT),
            _asked("brief", {"type": "string", "enum": ["1"]}),
            _asked("seen", {"type": "string", "pattern": "^[0-9]{1,16}$"}),
            media_type="text/event-stream",
        ),
        "/healthz": _get("Whether it is well", _object({"status": TEXT, "service": TEXT})),
        "/metrics": _get("Counters for Prometheus", TEXT, media_type="text/plain"),
    },
    "components": {
        "schemas": {
            "Session": _object(SESSION),
            "SessionDetail": _object(
                {
                    **SESSION,
                    "failure": _or_null(_schema("Failure")),
                    "sources": _list(_object(SOURCE)),
                    "starred_events": _list(TEXT),
                    "notes": _list(_object(NOTE)),
                    "scores": _list(_object(SCORE)),
                }
            ),
            "CostSource": _object(COST_SOURCE),
            "Event": _object(EVENT),
            "EventSummary": _object(EVENT_SUMMARY),
            "Failure": _object(FAILURE),
            "Group": _object(GROUP),
        },
        "responses": {
            "Error": {
                "description": "What is wrong",
                "content": {"application/json": {"schema": _object({"error": TEXT})}},
            }
        },
        "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
    },
}
