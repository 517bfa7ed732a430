"""
The collector as an ASGI application, and its settings.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import anyio.to_thread
import attrs
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .._exceptions import ConfigurationError, SessionNotFoundError, StoreError
from .._prices import PriceTable, own_prices
from . import api, auth, exports, openapi, streams
from .dashboard.rendering import error_page
from .dashboard.routes import routes as pages
from .dashboard.shared import Shared
from .headers import SECURITY_HEADERS
from .ingest import records
from .ingest.records import IngestLimits, Intake
from .store.sqlite import SQLiteStore

__all__ = ["DEFAULT_PORT", "CollectorSettings", "create_app", "default_database"]

DEFAULT_PORT = 4319

_ANY_ADDRESS = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - compared with, not bound to
RETRY_SOON = {"Retry-After": "1"}

_logger = logging.getLogger("asyncops")


def default_database() -> Path:
    """
    `$ASYNCOPS_DB`, else `collector.db` in the user's state directory.
    """
    named = os.environ.get("ASYNCOPS_DB")
    if named:
        return Path(named)
    state = os.environ.get("XDG_STATE_HOME")
    return (
        (Path(state) if state else Path.home() / ".local" / "state") / "asyncops" / "collector.db"
    )


def _database(path: str | os.PathLike[str] | None) -> Path:
    return default_database() if path is None else Path(path)


@attrs.frozen(kw_only=True)
class CollectorSettings:
    """
    How a collector runs.

    Attributes:
        host: The name or address it listens on; one that others can reach needs API keys.
        port: 0 takes a free one.
        db: The database; `default_database()` if None.
        prices: A file of prices that go before those of genai-prices; `$ASYNCOPS_PRICES` if None.
        hosts: Names it is asked for by besides `host`: behind a proxy, in a network.
        limits: How much one request may bring.
        max_streams: How many live views may be open.
        max_connections: How many connections may be open, as far as the limit on open files lets
            them. At the limit those that wait for a request make room; nine in ten may be busy with
            one, further requests are put off.
        header_timeout: Seconds that whoever connects has to say what it wants.
        send_timeout: Seconds that whoever asked may take nothing of the answer; then the kernel
            breaks the connection, where it can.
    """

    host: str = "127.0.0.1"
    port: int = attrs.field(default=DEFAULT_PORT)
    db: Path = attrs.field(default=None, converter=_database)
    prices: Path | None = attrs.field(factory=own_prices)
    hosts: tuple[str, ...] = ()
    limits: IngestLimits = attrs.field(factory=IngestLimits)
    max_streams: int = 100
    max_connections: int = 1_000
    header_timeout: float = 10.0
    send_timeout: float = 30.0

    @port.validator
    def _check_port(self, attribute: object, port: int) -> None:
        if not 0 <= port <= 65_535:
            raise ConfigurationError(f"port must be from 0 to 65535, not {port}")


def create_app(settings: CollectorSettings, *, trusted_project: str | None = None) -> Starlette:
    """
    The collector: what takes records in, the API, the live views and the pages.

    Args:
        trusted_project: Answer every request for this project without asking for a key: for an
            application that nobody but the caller can reach.

    Raises:
        ConfigurationError: The file of prices makes no sense.
    """
    any_address = settings.host in _ANY_ADDRESS
    hosts = {*settings.hosts, settings.host}
    if any_address:
        hosts.add(socket.gethostname())
    app = Starlette(
        routes=[
            *records.routes(),
            *api.routes(),
            *exports.routes(),
            *openapi.routes(),
            *streams.routes(),
            *pages(),
        ],
        middleware=[
            Middleware(GuardMiddleware, max_requests=settings.max_connections * 9 // 10),
            Middleware(auth.HostMiddleware, hosts=hosts, any_address=any_address),
            Middleware(auth.AuthMiddleware, trusted_project=trusted_project),
        ],
        exception_handlers={
            HTTPException: _http_error,
            SessionNotFoundError: _not_found,
            StoreError: _store_error,
        },
        lifespan=_lifespan,
    )
    # a redirect to the path with the slash would be no answer to a program, and behind a proxy name
    # the wrong address
    app.router.redirect_slashes = False
    app.state.settings = settings
    app.state.prices = PriceTable(settings.prices)
    app.state.intake = Intake(settings.limits)
    app.state.streams = streams.Streams(settings.max_streams)
    app.state.keys = auth.Keys()
    app.state.visitors = auth.Visitors()
    app.state.shared = Shared()
    return app


@contextlib.asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    settings: CollectorSettings = app.state.settings
    try:
        store = await anyio.to_thread.run_sync(
            functools.partial(SQLiteStore, settings.db, prices=app.state.prices)
        )
    except Exception as error:
        app.state.startup_error = error
        raise
    try:
        if not auth.is_loopback(settings.host) and not await store.keys():
            app.state.startup_error = ConfigurationError(
                f"others can reach {settings.host or 'every address'}, so API keys are needed: make"
                " one with `asyncops keys create --project NAME`, or listen on 127.0.0.1"
            )
            raise app.state.startup_error
        app.state.store = store
        yield
    finally:
        await store.aclose()


class GuardMiddleware:
    """
    Puts the security headers on every answer, and answers what nobody else could.

    Args:
        max_requests: How many may go on at once; further ones are put off.
    """

    def __init__(self, app: ASGIApp, *, max_requests: int) -> None:
        self.app = app
        self.max_requests = max_requests
        self.requests = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def guarded(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        if self.requests >= self.max_requests:
            busy = _error(
                Request(scope), 503, "the collector is busy with other requests", RETRY_SOON
            )
            await busy(scope, receive, guarded)
            return
        self.requests += 1
        try:
            await self.app(scope, receive, guarded)
        except Exception:
            _logger.exception("%s %r failed", scope["method"], scope["path"])
            if started:
                raise
            await _error(Request(scope), 500, "the collector failed; its log says why")(
                scope, receive, guarded
            )
        finally:
            self.requests -= 1


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _error(request, error.status_code, error.detail, dict(error.headers or {}))


async def _not_found(request: Request, error: Exception) -> Response:
    return _error(request, 404, str(error))


async def _store_error(request: Request, error: Exception) -> Response:
    return _error(request, 503, str(error), RETRY_SOON)


def _error(
    request: Request, status: int, message: str, headers: dict[str, str] | None = None
) -> Response:
    if not auth.wants_page(request.scope):
        return api.JSON({"error": message}, status, headers)
    page = error_page(request, status, message)
    page.headers.update(headers or {})
    return page
