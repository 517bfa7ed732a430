"""
Live views: server-sent events of what changes, as it is committed.

A stream sends what a session looks like now, not what happened to it, so a slow reader misses
intermediate looks and nothing else. Whatever it holds is bounded, and it ends with the collector.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Iterable

import anyio
import attrs
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from .._exceptions import SessionNotFoundError, StoreError
from .api import event_json, json_bytes, session_json
from .store.base import SessionQuery, SessionSummary, Store

__all__ = ["Streams", "routes"]

COALESCE_SECONDS = 0.25
"""How long a stream rests after it told of changes."""

MAX_WATCHED = 100
"""How many sessions one stream can be asked to tell of alone."""

SEND_SECONDS = 30.0
"""How long a reader may take nothing before its stream is ended."""

LIFE_SECONDS = 900.0
"""How long a stream lasts before its reader must ask for it again, with a key that still opens."""

RETRY_MILLISECONDS = 2_000
"""How soon a browser opens a stream again that broke."""

MAX_RUNNING = 500
"""How many running sessions one stream keeps an eye on."""

SESSIONS_AT_ONCE = 200
EVENTS_AT_ONCE = 500

_logger = logging.getLogger("asyncops")


@attrs.define(eq=False)
class Streams:
    """
    The streams that are open.

    Attributes:
        most: How many there may be.
        recheck: Seconds after which a stream looks whether a session that ran was given up, which
            is nothing that anybody tells.
        heartbeat: Seconds for which a stream is silent at most, give or take a recheck.
        open: How many there are.
    """

    most: int
    recheck: float = 5.0
    heartbeat: float = 15.0
    open: int = attrs.field(default=0, init=False)


def routes() -> list[BaseRoute]:
    """
    What the collector serves from here.
    """
    return [
        Route("/api/stream", watch_sessions),
        Route("/api/sessions/{id}/stream", watch_session),
    ]


class EventStream(Response):
    """
    A response that goes on for as long as *tell* does, the client listens, and takes what is sent.
    """

    def __init__(self, streams: Streams, tell: Callable[[Teller], Awaitable[None]]) -> None:
        super().__init__(
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )
        del self.headers["content-length"]
        self._streams = streams
        self._tell = tell

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._streams.open >= self._streams.most:
            raise HTTPException(503, "too many live views are open", {"Retry-After": "5"})
        self._streams.open += 1
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            if scope["method"] != "HEAD":
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(_until_disconnected, receive, tasks.cancel_scope)
                    with anyio.move_on_after(LIFE_SECONDS):
                        await self._tell(Teller(send, self._streams.heartbeat))
                    tasks.cancel_scope.cancel()
            with anyio.move_on_after(SEND_SECONDS):
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        except* (TimeoutError, StoreError) as group:
            # left unfinished, so the server breaks the connection; a browser comes again by itself
            _logger.debug("A live view ended: %r", group.exceptions)
        finally:
            self._streams.open -= 1


async def _until_disconnected(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


class Teller:
    """
    Writes server-sent events.
    """

    def __init__(self, send: Send, heartbeat: float) -> None:
        self._send = send
        self._heartbeat = heartbeat
        self._told_at = time.monotonic()

    async def event(self, kind: str, data: object, *, event_id: int | None = None) -> None:
        head = f"event: {kind}\n" + ("" if event_id is None else f"id: {event_id}\n")
        await self._write(b"%bdata: %b\n\n" % (head.encode(), json_bytes(data)))

    async def opening(self) -> None:
        await self._write(f"retry: {RETRY_MILLISECONDS}\n\n".encode())

    async def _write(self, data: bytes) -> None:
        with anyio.fail_after(SEND_SECONDS):
            await self._send({"type": "http.response.body", "body": data, "more_body": True})
        self._told_at = time.monotonic()

    async def keep_alive(self) -> None:
        """
        Say something if nothing was said for long. No comment: a page is told of these by nobody,
        and could not tell a quiet stream from one whose other end is gone.
        """
        if time.monotonic() - self._told_at >= self._heartbeat:
            await self.event("alive", {})


async def watch_sessions(request: Request) -> Response:
    store: Store = request.app.state.store
    streams: Streams = request.app.state.streams
    project: str = request.state.project
    only = _only(request)
    if request.query_params.get("brief") == "1":
        return EventStream(
            streams, functools.partial(_tell_briefly, store, streams, project, only, _seen(request))
        )

    async def tell(teller: Teller) -> None:
        with store.changes.watch(project, sessions=only) as watcher:
            await teller.opening()
            running = await _running(store, project, only)
            checked_at = time.monotonic()
            while not watcher.closed:
                changed = await watcher.changed(timeout=streams.recheck)
                for summary in await _summaries(store, project, changed):
                    await teller.event("session", session_json(summary))
                    _keep_eye(running, summary)
                if time.monotonic() - checked_at >= streams.recheck:
                    checked_at = time.monotonic()
                    for summary in await _summaries(store, project, running - set(changed)):
                        if summary.state != "Running":
                            await teller.event("session", session_json(summary))
                            _keep_eye(running, summary)
                await teller.keep_alive()
                if changed:
                    await anyio.sleep(COALESCE_SECONDS)

    return EventStream(streams, tell)


async def _tell_briefly(
    store: Store,
    streams: Streams,
    project: str,
    only: Collection[str] | None,
    seen: int | None,
    teller: Teller,
) -> None:
    """
    Tell that something changed, and when that was told: whoever reads later than that sees it.
    """
    with store.changes.watch(project, sessions=only) as watcher:
        await teller.opening()
        running = await _running(store, project, only)
        checked_at = time.monotonic()
        told: set[str] = set()
        late = seen is not None and store.changes.last_at(project) > seen
        while not watcher.closed:
            changed = await watcher.changed(timeout=0 if late else streams.recheck)
            told |= set(changed)
            given_up: set[str] = set()
            if time.monotonic() - checked_at >= streams.recheck:
                ran, running = running, await _running(store, project, only)
                given_up = ran - running - told
                told.clear()
                checked_at = time.monotonic()
            if changed or given_up or late:
                late = False
                await teller.event("changed", {"at": time.time_ns() // 1_000})
                await anyio.sleep(COALESCE_SECONDS)
            await teller.keep_alive()


async def _running(store: Store, project: str, only: Collection[str] | None) -> set[str]:
    query = SessionQuery(states=("Running",), ids=tuple(only or ()), limit=MAX_RUNNING)
    return {summary.id for summary in (await store.sessions(project, query)).sessions}


async def _summaries(store: Store, project: str, wanted: Iterable[str]) -> list[SessionSummary]:
    ids = tuple(wanted)
    summaries: list[SessionSummary] = []
    for start in range(0, len(ids), SESSIONS_AT_ONCE):
        part = ids[start : start + SESSIONS_AT_ONCE]
        summaries += (
            await store.sessions(project, SessionQuery(ids=part, limit=len(part)))
        ).sessions
    return summaries


def _keep_eye(running: set[str], summary: SessionSummary) -> None:
    if summary.state != "Running":
        running.discard(summary.id)
    elif len(running) < MAX_RUNNING:
        running.add(summary.id)


async def watch_session(request: Request) -> Response:
    store: Store = request.app.state.store
    streams: Streams = request.app.state.streams
    project: str = request.state.project
    session_id: str = request.path_params["id"]
    after = _after(request)
    await store.session(project, session_id)  # or there is nothing to watch

    async def tell(teller: Teller) -> None:
        seq = after
        shown = None
        with (
            contextlib.suppress(SessionNotFoundError),  # deleted: whoever asks again is told so
            store.changes.watch(project, sessions=(session_id,)) as watcher,
        ):
            await teller.opening()
            while not watcher.closed:
                while events := await store.timeline(
                    project, session_id, after=seq, limit=EVENTS_AT_ONCE
                ):
                    seq = events[-1].seq
                    await teller.event("events", [event_json(e) for e in events], event_id=seq)
                looks = session_json(await store.session(project, session_id))
                if looks != shown:
                    shown = looks
                    await teller.event("session", looks)
                await teller.keep_alive()
                if await watcher.changed(timeout=streams.recheck):
                    await anyio.sleep(COALESCE_SECONDS)

    return EventStream(streams, tell)


def _only(request: Request) -> Collection[str] | None:
    """
    The sessions that are to be told of; None for all.
    """
    ids = frozenset(filter(None, request.query_params.get("ids", "").split(",")))
    if len(ids) > MAX_WATCHED:
        raise HTTPException(400, f"ids can name {MAX_WATCHED} sessions at most")
    return ids or None


def _seen(request: Request) -> int | None:
    """
    When the reader has last looked, nanoseconds since the epoch; None if it does not say.
    """
    text = request.query_params.get("seen")
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 16):
        raise HTTPException(400, "seen must be microseconds since the epoch")
    return int(text) * 1_000


def _after(request: Request) -> int:
    """
    The `seq` that the reader has seen: of its last event where it comes again, else as it says.
    """
    text = request.headers.get("last-event-id") or request.query_params.get("after") or "0"
    if not (text.isascii() and text.isdecimal() and len(text) <= 10):
        raise HTTPException(400, "after must be the seq of an event")
    return int(text)
