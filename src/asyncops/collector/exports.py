"""
A session to take along: as one JSON document, as a page that needs nobody, or as the lines of
records that another collector imports.

Imported records are those of sources that nobody else speaks for: an export's content names them,
so the same file changes nothing the second time, and the program's own records, should they come
that way too, are not taken for those that came with the file.
"""

from __future__ import annotations

import functools
import hashlib
import json
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import anyio.to_thread
import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from .._events import LostRecord, Record, SourceRecord
from .._wire import encode, number_line
from .api import event_json, json_bytes, session_json
from .dashboard.document import document_ends, document_event, document_row
from .dashboard.timeline import in_tree_order
from .masking import masked
from .store.base import SessionDetail, Store

__all__ = ["FORMATS", "routes"]

PAGE = 200
"""How many events an export holds in memory."""

MAX_SPOOLED_BYTES = 8 * 1024 * 1024
"""How much of an export waits in memory, and not on disk, until its sources have their names."""

CHUNK_BYTES = 65_536

Mask = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""What becomes of a session, an event or a record on its way out."""


def routes() -> list[BaseRoute]:
    """
    What the collector serves from here.
    """
    return [Route("/api/sessions/{id}/export", export)]


async def export(request: Request) -> Response:
    wanted = request.query_params.get("format") or "json"
    if wanted not in FORMATS:
        raise HTTPException(400, f"format must be one of {', '.join(FORMATS)}")
    redacted = request.query_params.get("redacted") or ""
    if redacted not in ("", "1"):
        raise HTTPException(400, "redacted must be 1 or nothing")
    store: Store = request.app.state.store
    detail = await store.session(request.state.project, request.path_params["id"])
    media_type, exported = FORMATS[wanted]
    name = f"session-{detail.summary.id}{'-redacted' if redacted else ''}.{wanted}"
    return StreamingResponse(
        exported(store, detail, masked if redacted else _unchanged),
        media_type=media_type,
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def _unchanged(said: Mapping[str, Any]) -> Mapping[str, Any]:
    return said


# -- one document -----------------------------------------------------------------------------


async def exported_json(store: Store, detail: SessionDetail, mask: Mask) -> AsyncIterator[bytes]:
    """
    One JSON document, event by event: a session may hold more than fits into memory.
    """
    yield b'{"session":%b,"events":[' % json_bytes(mask(session_json(detail)))
    separator = b""
    async for event in _events(store, detail):
        yield separator + json_bytes(mask(event))
        separator = b","
    yield b"]}"


async def _events(store: Store, detail: SessionDetail) -> AsyncIterator[dict[str, Any]]:
    """
    Each event once, as it was when the export came to it.
    """
    project, session_id = detail.summary.project, detail.summary.id
    # An event that is closed meanwhile arrives anew, so open ones wait until all else is told:
    # each appears once.
    running: dict[str, None] = {}
    cursor: str | None = None
    while True:
        page = await store.events(project, session_id, cursor=cursor, limit=PAGE)
        for event in page.events:
            if event.summary.state == "Running":
                running[event.summary.id] = None
                continue
            running.pop(event.summary.id, None)
            yield event_json(event)
        cursor = page.next
        if cursor is None:
            break
    for event_id in running:
        left = await store.event(project, session_id, event_id)
        if left is not None:
            yield event_json(left)


async def exported_html(store: Store, detail: SessionDetail, mask: Mask) -> AsyncIterator[bytes]:
    """
    One page. Events come in the order of arrival and go in that of the tree, so what is made of
    them waits in a file.
    """
    summary = detail.summary
    places: dict[str, tuple[int, int]] = {}
    with tempfile.SpooledTemporaryFile(max_size=MAX_SPOOLED_BYTES) as spool:
        size = 0
        async for event in _events(store, detail):
            made = await anyio.to_thread.run_sync(document_event, mask(event))
            spool.write(made)
            places[event["id"]] = (size, len(made))
            size += len(made)
        events = await store.timeline(summary.project, summary.id)
        rows = in_tree_order([event for event in events if event.id in places])
        now = time.time_ns()
        shown = mask(session_json(detail))
        before, after = document_ends(summary, shown, rows=len(rows), now=now)
        yield before
        for row in rows:
            start, length = places[row.event.id]
            spool.seek(start)
            inside = spool.read(length)
            yield await anyio.to_thread.run_sync(
                functools.partial(document_row, summary, row, inside, now=now)
            )
        yield after


# -- records ----------------------------------------------------------------------------------


async def exported_records(store: Store, detail: SessionDetail, mask: Mask) -> AsyncIterator[bytes]:
    """
    Lines as the wire has them: a `source` record says whose the lines after it are.
    """
    content = hashlib.sha256()
    with tempfile.SpooledTemporaryFile(max_size=MAX_SPOOLED_BYTES) as spool:
        async for lines in _lines(store, detail, mask):
            content.update(lines)
            await anyio.to_thread.run_sync(spool.write, lines)
        spool.seek(0)
        while chunk := await anyio.to_thread.run_sync(_chunk, spool):
            yield b"".join(_renamed(line, content.digest()) for line in chunk)


def _chunk(spool: tempfile.SpooledTemporaryFile[bytes]) -> list[bytes]:
    return spool.readlines(CHUNK_BYTES)


async def _lines(store: Store, detail: SessionDetail, mask: Mask) -> AsyncIterator[bytes]:
    """
    The numbered lines, a page at a time, the sources still called what they are here.
    """
    numbers: dict[str, int] = {}
    speaking: str | None = None
    cursor: str | None = None
    while True:
        page = await store.records(
            detail.summary.project, detail.summary.id, cursor=cursor, limit=PAGE
        )
        lines = []
        for source, record in page.records:
            if source != speaking and not isinstance(record, SourceRecord):
                again = SourceRecord(at=record.at, source=source)
                lines.append(_line(numbers, source, again, mask))
            speaking = source
            lines.append(_line(numbers, source, record, mask))
        yield b"".join(lines)
        cursor = page.next
        if cursor is None:
            return


def _line(numbers: dict[str, int], source: str, record: Record, mask: Mask) -> bytes:
    # those that are lost have numbers, too
    step = record.count if isinstance(record, LostRecord) else 1
    numbers[source] = numbers.get(source, 0) + step
    line = encode(msgspec.structs.replace(record, seq=0))
    if mask is not _unchanged:
        line = json_bytes(mask(json.loads(line)))
    return number_line(line, numbers[source]) + b"\n"


def _renamed(line: bytes, content: bytes) -> bytes:
    """
    *line*; if it says whose the following ones are, with the name that this source has in an export
    of that *content*.
    """
    _, _, kind = line.partition(b'"type":"')
    if not kind.startswith(b'source"'):
        return line
    said = msgspec.json.decode(line)
    name = hashlib.sha256(content + said["source"].encode()).digest()[:16]
    return json_bytes({**said, "source": str(uuid.UUID(bytes=name, version=5))}) + b"\n"


Export = Callable[[Store, SessionDetail, Mask], AsyncIterator[bytes]]

FORMATS: dict[str, tuple[str, Export]] = {
    "json": ("application/json", exported_json),
    "html": ("text/html", exported_html),
    "ndjson": ("application/x-ndjson", exported_records),
}
"""By its name, what a format is called in HTTP, and what makes it."""
