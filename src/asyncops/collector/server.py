"""
Runs the collector: in the foreground of a process, or in a thread of another program.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import logging
import resource
import socket
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self, cast

import attrs
import h11
import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from .._exceptions import ConfigurationError
from .app import CollectorSettings, create_app
from .headers import SECURITY_HEADERS

__all__ = ["EmbeddedCollector", "serve"]

KEEP_ALIVE_SECONDS = 30
"""Programs that record are heard from every 10 seconds; their connections stay open meanwhile."""

SHUTDOWN_SECONDS = 5
"""How long requests may take to end when the collector goes down."""

MAX_HEADER_BYTES = 65_536

BACKLOG = 2_048
"""How many connections may wait to be accepted."""

ACCEPTED_AT_ONCE = 20
"""
How many connections one turn of the loop takes. It is some turns until those that make room for
them are closed, and all of them are open meanwhile.
"""

OTHER_FILES = 200
"""How many files may be open besides connections: the database's, and those accepted at once."""

Background = Callable[[Starlette], Awaitable[None]]
"""Something that goes on beside the server, from its start until it goes down."""

_logger = logging.getLogger("asyncops")


def serve(
    settings: CollectorSettings,
    *,
    ready: Callable[[str], None] | None = None,
    background: Background | None = None,
) -> None:
    """
    Run a collector until this process is told to stop (SIGINT, SIGTERM).

    Args:
        ready: Called with the collector's address once it answers.
        background: Run beside it, cancelled when it goes down.

    Raises:
        ConfigurationError: It cannot listen there, or the file of prices makes no sense.
        StoreError: Its database cannot be opened.
    """
    listener = _bound(settings)
    try:
        asyncio.run(_run(_Server(settings, listener, ready, background)))
    except KeyboardInterrupt:  # told so once more by uvicorn, after it went down in order
        pass
    finally:
        listener.close()


class EmbeddedCollector:
    """
    A collector in a thread of this process, from when this is made until `close()`.

    Works as a context manager. `settings.port` may be 0.

    Attributes:
        url: Its address.

    Raises:
        ConfigurationError: It cannot listen there.
        StoreError: Its database cannot be opened.
    """

    def __init__(
        self, settings: CollectorSettings, *, background: Background | None = None
    ) -> None:
        listener = _bound(settings)
        started: Future[str] = Future()
        self._server = _Server(settings, listener, started.set_result, background)
        self._thread = threading.Thread(
            target=self._run, args=(started,), name="asyncops-collector", daemon=True
        )
        self._thread.start()
        try:
            self.url = started.result()
        except BaseException:
            self.close()
            listener.close()
            raise

    def close(self) -> None:
        """
        Go down in order: requests are answered, what was taken in is written.
        """
        self._server.should_exit = True
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _run(self, started: Future[str]) -> None:
        try:
            asyncio.run(_run(self._server))
        except BaseException as error:
            if started.done():
                _logger.exception("The embedded collector failed")
            else:
                started.set_exception(error)


class _Server(uvicorn.Server):
    """
    uvicorn's server, which also says when it answers and ends live views before it waits for them.
    """

    def __init__(
        self,
        settings: CollectorSettings,
        listener: socket.socket,
        ready: Callable[[str], None] | None,
        background: Background | None,
    ) -> None:
        settings = attrs.evolve(settings, max_connections=_max_connections(settings))
        self.app = create_app(settings)
        self.listener = listener
        self._ready = ready
        self._background = background
        self._beside: asyncio.Task[None] | None = None
        super().__init__(
            uvicorn.Config(
                self.app,
                http=cast(
                    "type[_Protocol]",
                    functools.partial(_Protocol, settings=settings),
                ),
                ws="none",
                loop="asyncio",
                lifespan="on",
                log_config=None,
                log_level=logging.CRITICAL,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=SHUTDOWN_SECONDS,
                backlog=ACCEPTED_AT_ONCE,
                h11_max_incomplete_event_size=MAX_HEADER_BYTES,
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listener.listen(BACKLOG)  # asyncio takes the number for both, the kernel can hold more
        if self._background is not None:
            self._beside = asyncio.create_task(self._run_background(self._background))
        if self._ready is not None:
            self._ready(_url(self.listener))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.app.state.store.changes.close()
        if self._beside is not None:
            self._beside.cancel()
            await asyncio.gather(self._beside, return_exceptions=True)
        await super().shutdown(sockets)

    async def _run_background(self, background: Background) -> None:
        try:
            await background(self.app)
        except Exception:  # what goes on beside the collector must not take it down
            _logger.exception("%r failed", background)


class _Protocol(H11Protocol):
    """
    uvicorn's HTTP, with an end to waiting for a request to begin, with JSON for what is none, and
    with no more connections than there may be.
    """

    def __init__(self, *args: Any, settings: CollectorSettings, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._max_connections = settings.max_connections
        self._header_timeout = settings.header_timeout
        self._given_up: asyncio.TimerHandle | None = None
        self._made_at = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._made_at = self.loop.time()
        self._wait_for_request()
        if len(self.connections) > self._max_connections:
            self._make_room()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._wait_for_request()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._given_up is not None:
            self._given_up.cancel()
        super().connection_lost(exc)

    def _wait_for_request(self) -> None:
        """
        Give the sender so long to say what it wants, however slowly it goes about it.
        """
        begun = self._is_busy()
        if begun and self._given_up is not None:
            self._given_up.cancel()
            self._given_up = None
        elif not begun and self._given_up is None:
            self._given_up = self.loop.call_later(self._header_timeout, self.transport.close)

    def _is_busy(self) -> bool:
        """
        Whether there is a request that was not answered yet.
        """
        return self.cycle is not None and not self.cycle.response_complete

    def _make_room(self) -> None:
        """
        Close the connection that has waited longest for a request; rather one that never brought
        any than one that is kept alive between two.
        """
        waiting = [
            other
            for other in self.connections
            if isinstance(other, _Protocol) and not other._is_busy()
        ]
        oldest = min(waiting, key=lambda other: (other.cycle is not None, other._made_at))
        self.connections.discard(oldest)
        oldest.transport.abort()  # `close` would wait until its last answer is taken

    def send_400_response(self, msg: str) -> None:
        body = b'{"error":"this is no HTTP request"}'
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
            *((name.encode(), value.encode()) for name, value in SECURITY_HEADERS.items()),
        ]
        for event in (
            h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
            h11.Data(data=body),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event))
        self.transport.close()


async def _run(server: _Server) -> None:
    try:
        await server.serve(sockets=[server.listener])
    except SystemExit:
        # how uvicorn says that the application could not start
        error = server.app.state.startup_error
        raise error from None


def _max_connections(settings: CollectorSettings) -> int:
    """
    How many connections *settings* want, or as many as this process may have files open for.
    """
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return settings.max_connections
    return min(settings.max_connections, max(files - OTHER_FILES, ACCEPTED_AT_ONCE))


def _bound(settings: CollectorSettings) -> socket.socket:
    """
    A socket that listens where *settings* say.
    """
    where = f"{settings.host or '*'}:{settings.port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host or None,
            settings.port,
            type=socket.SOCK_STREAM,
            flags=socket.AI_PASSIVE,
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigurationError(f"cannot listen on {where}: {error.strerror}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # what is accepted has it too
            milliseconds = int(1_000 * settings.send_timeout)
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise ConfigurationError(
                f"{where} is taken, perhaps by another collector: choose another port"
            ) from error
        raise ConfigurationError(f"cannot listen on {where}: {error.strerror}") from error
    return listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
