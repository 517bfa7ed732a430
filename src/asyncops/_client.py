"""
A client: the configuration, journal and delivery of one project in this process.

Its journal is opened with the first record, and opened anew in a forked child, where it is another
source. Everything here is safe from any thread.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import hashlib
import os
import socket
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from . import _clock, _ids
from ._active import ActiveSession, leave, stay_outside
from ._background import background
from ._configuration import Configuration
from ._endings import ending_of
from ._events import (
    EndState,
    Failure,
    Record,
    SessionEndedRecord,
    SessionRecord,
    SourceEndedRecord,
    SourceRecord,
    SucceededEvent,
)
from ._exporter import Delivery, Exporter
from ._file_journal import FileJournal
from ._host import boot_id, environment
from ._http import HTTPExporter
from ._journal import Journal, MemoryJournal
from ._locks import ImpatientLock
from ._log import trouble
from ._recovery import recover
from ._signals import observe, outlive
from ._version import __version__
from ._wire import Encoder, encode

if TYPE_CHECKING:
    from ._spans import Span

__all__ = ["Client", "client_for", "destination", "override"]


def destination(endpoint: str, api_key: str | None) -> str:
    """
    The name of the directory that holds what is bound for one project of one collector.
    """
    return hashlib.sha256(f"{endpoint}\n{api_key or ''}".encode()).hexdigest()[:16]


class Client:
    """
    Records into one journal and delivers it.

    Args:
        configuration: The options.
        exporter: What carries the records away; an `HTTPExporter` where None.
        journal: Where the records go, and stay; one of its own, that is delivered, where None.
    """

    def __init__(
        self,
        configuration: Configuration,
        *,
        exporter: Exporter | None = None,
        journal: Journal | None = None,
    ) -> None:
        self.configuration = configuration
        self.encoder = Encoder(
            max_value_bytes=configuration.max_value_bytes,
            redact=configuration.redact,
            keep_content=configuration.capture_content,
            keep_media=configuration.capture_media,
        )
        self.open_spans: set[Span] = set()
        """The spans that are open, for whoever announces the long ones."""
        self._exporter = exporter
        self._lock: contextlib.AbstractContextManager[object] = threading.RLock()
        self._journal = journal
        self._delivery: Delivery | None = None
        self._running: Future[None] | None = None
        self._sessions: dict[str, ActiveSession] = {}
        self._host_told = False
        self._late: deque[tuple[Record | SucceededEvent, bool, bool]] = deque()
        self._catching_up = False

    # -- recording ----------------------------------------------------------------------------

    def record(
        self, record: Record | SucceededEvent, *, expendable: bool = False, final: bool = False
    ) -> None:
        """
        Write *record* to the journal; done when this returns. Never raises `Exception`.
        """
        try:
            journal = self._journal or self._open()
            journal.append(encode(record), expendable=expendable, final=final)
        except RecursionError:  # it is for whoever records next, from less deep
            self._late.append((record, expendable, final))
        except Exception as error:
            trouble("record", "asyncops could not record something: %r", error)
        else:
            if self._late and not self._catching_up:
                self._catch_up()

    def _catch_up(self) -> None:
        """
        Record what there was no room for on the stack when it happened.
        """
        self._catching_up = True
        try:
            for _ in range(len(self._late)):
                with contextlib.suppress(IndexError, ValueError):  # another thread took it
                    # taken out once it is recorded: an exception that a signal handler raises into
                    # us costs no record
                    late = self._late[0]
                    record, expendable, final = late
                    self.record(record, expendable=expendable, final=final)
                    self._late.remove(late)
        finally:
            self._catching_up = False

    def session_started(
        self, active: ActiveSession, tags: tuple[str, ...], started_at: int
    ) -> None:
        """
        Record that *active* began, or that this process joined it.
        """
        try:
            with self._lock:
                journal = self._journal or self._open()
                if active.owner:
                    journal.opened(active.id)
                if self._running is None and self._delivery is not None:
                    # there was no thread to be had before; perhaps there is now
                    self._running = background.run(self._delivery.run(), first=stay_outside)
        except Exception as error:
            trouble("record", "asyncops could not open its journal: %r", error)
        self._sessions[active.id] = active
        self.record(
            SessionRecord(
                at=_clock.wall_ns(),
                session=active.id,
                name=active.name,
                started_at=started_at if active.owner else None,
                tags=tags,
                inherited=not active.owner,
            )
        )

    def session_ended(
        self,
        active: ActiveSession,
        state: EndState | None,
        reason: str | None,
        failure: Failure | None,
        *,
        by_user: bool,
    ) -> None:
        """
        Record that *active* ended, or (`state` None) that this process left it.
        """
        # a forked child that has recorded nothing of it has nothing to leave
        if state is not None or self._journal is not None:
            now = _clock.wall_ns()
            self.record(
                SessionEndedRecord(
                    at=now,
                    session=active.id,
                    said_by="user" if by_user else "process",
                    ended_at=now,
                    state=state,
                    reason=None if reason is None else self.encoder.text(reason),
                    failure=None if failure is None else self.encoder.failure(failure),
                )
            )
        self._sessions.pop(active.id, None)
        journal = self._journal
        if active.owner and state is not None and journal is not None:
            with contextlib.suppress(Exception):
                journal.closed(active.id)
        leave(active)

    # -- the journal and its delivery ---------------------------------------------------------

    def _open(self) -> Journal:
        with self._lock:
            if self._journal is None:
                _clients.add(self)
                _look_after_exit()
                self._journal = self._new_journal(_ids.new_uuid())
                self._announce(self._journal)
                if not _exiting:
                    self._deliver(self._journal)
            return self._journal

    def _new_journal(self, source: str) -> Journal:
        configuration = self.configuration
        root = configuration.journal_dir / destination(
            configuration.endpoint, configuration.api_key
        )
        lock = ImpatientLock() if _exiting else None
        if configuration.durability == "memory":
            return MemoryJournal(source, wake=self._wake, lock=lock)
        return FileJournal(
            root,
            source,
            owner=_owner(configuration),
            max_bytes=configuration.journal_max_bytes,
            fsync=configuration.durability == "fsync",
            wake=self._wake,
            made=observe,
            lock=lock,
        )

    def _announce(self, journal: Journal) -> None:
        """
        Say who records, and which sessions this process found open when it was forked.
        """
        now = _clock.wall_ns()
        records: list[Record] = [
            SourceRecord(
                at=now,
                source=journal.source,
                pid=os.getpid(),
                boot_id=boot_id(),
                started_at=now,
                sdk=__version__,
            )
        ]
        records += [
            SessionRecord(at=now, session=active.id, name=active.name, inherited=True)
            for active in self._sessions.values()
        ]
        for record in records:
            journal.append(encode(record))

    def _deliver(self, journal: Journal) -> None:
        self._delivery = Delivery(
            journal,
            self._exporter or HTTPExporter(self.configuration),
            self.configuration,
            tick=self._tick,
            busy=self._is_busy,
            orphans=self._orphans,
        )
        self._running = background.run(self._delivery.run(), first=stay_outside)

    def _wake(self) -> None:
        delivery = self._delivery
        if delivery is not None:
            delivery.wake()

    def _is_busy(self) -> bool:
        return bool(self._sessions) or not self._host_told

    def _tick(self) -> None:
        """
        On the background loop: announce spans open for longer than a tick; tell of the host once.
        """
        outlive()
        self._catch_up()
        if not self._host_told:
            self._host_told = True
            self._tell_host()
        before = _clock.monotonic_ns() - int(self.configuration.max_wait_time * 1e9)
        for span in list(self.open_spans):
            if not span.announced and span.opened_at < before:
                span.announce()

    def _tell_host(self) -> None:
        host = environment(everything=self.configuration.host_env == "on")
        with self._lock:
            journal = self._journal
        if journal is not None:
            self.record(SourceRecord(at=_clock.wall_ns(), source=journal.source, host=host))

    def _orphans(self) -> Iterable[Any]:
        configuration = self.configuration
        if configuration.durability == "memory":
            return ()
        return recover(
            configuration.journal_dir / destination(configuration.endpoint, configuration.api_key)
        )

    # -- the end ------------------------------------------------------------------------------

    async def flush(self, *, timeout: float | None = None) -> bool:
        """
        Wait until everything recorded so far is delivered.

        Args:
            timeout: Seconds; None waits as long as it takes.

        Returns:
            Whether it was delivered in time. What was not is still in the journal.
        """
        delivery, journal = self._delivery, self._journal
        if delivery is None or journal is None or not journal.backlog:
            return True
        if self._running is None or self._running.done():
            return False
        future = background.run(delivery.flush(timeout=timeout), first=stay_outside)
        return False if future is None else await asyncio.wrap_future(future)

    async def aclose(self) -> bool:
        """
        End what is open, deliver what can be delivered within `shutdown_timeout`, and stop.

        Returns:
            Whether everything was delivered. What was not stays in the journal.
        """
        self._end_sessions(None, "client closed without end_session()")
        delivered = True
        delivery, journal = self._delivery, self._journal
        if delivery is not None and journal is not None:
            self._finish(journal)
            timeout = self.configuration.shutdown_timeout
            future = background.run(delivery.close(timeout=timeout), first=stay_outside)
            if future is not None and self._running is not None:
                delivered = await asyncio.wrap_future(future)
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wrap_future(self._running)
            journal.close()
        self._journal = self._delivery = self._running = None
        _forget(self)
        return delivered

    def finish(self) -> None:
        """
        The interpreter exits: say how, and send what there is.
        """
        self._end_sessions(_uncaught(), "process exited without end_session()")
        if self._journal is not None:
            self._finish(self._journal)
            if self._delivery is not None:
                self._delivery.hurry()

    def drain(self, began: float) -> None:
        """
        After `finish`: wait for the collector if it has been answering, up to `shutdown_timeout`
        after *began*.
        """
        journal, delivery, running = self._journal, self._delivery, self._running
        # What other exit handlers and finalizers record from now on is another source's, which the
        # next process finishes and sends. Our thread, which will be stopped anywhere, is kept off.
        self._lock = ImpatientLock()
        self._journal = self._delivery = self._running = None
        if journal is not None:
            if delivery is not None and running is not None and not running.done():
                delivery.drain_at_exit(began, self.configuration.shutdown_timeout)
            journal.seal()

    def _finish(self, journal: Journal) -> None:
        if not self._host_told:  # a program too short for the first tick
            self._host_told = True
            self._tell_host()
        self._catch_up()
        self.record(SourceEndedRecord(at=_clock.wall_ns()), final=True)

    def _end_sessions(self, uncaught: BaseException | None, reason: str) -> None:
        """
        End every session that is still open, as far as anybody can say how.
        """
        for active in list(self._sessions.values()):
            if not active.owner:
                self.session_ended(active, None, None, None, by_user=False)
            elif uncaught is not None:
                ending = ending_of(uncaught)
                self.session_ended(
                    active, ending.state, ending.reason, ending.failure, by_user=False
                )
            elif not active.ambient:  # how that one ended, `asyncops run` says
                self.session_ended(active, EndState.INDETERMINATE, reason, None, by_user=False)

    def after_fork(self) -> None:
        """
        In a forked child: another source, and a participant of what the parent has open.
        """
        self._lock = threading.RLock()
        journal, self._journal = self._journal, None
        if journal is not None:
            journal.abandon()
        self._delivery = None
        self._running = None
        self._host_told = False
        self._late = deque()
        self._catching_up = False
        self.open_spans = set()
        for active in self._sessions.values():
            active.owner = False
            active.budget = None  # the parent's, as the block is


def _uncaught() -> BaseException | None:
    """
    The exception that ends the program, if one does. `sys.excepthook` is left alone.
    """
    if hasattr(sys, "ps1"):  # at a prompt an uncaught exception ends nothing
        return None
    return getattr(sys, "last_value", None)


def _owner(configuration: Configuration) -> dict[str, Any]:
    key = configuration.api_key
    return {
        "pid": os.getpid(),
        "boot_id": boot_id(),
        "host": socket.gethostname(),
        "program": sys.argv[0] if sys.argv else "",
        "started_at": _clock.wall_ns(),
        "sdk": __version__,
        "endpoint": configuration.endpoint,
        # which project it is bound for, without the key: for `asyncops serve` to look up
        "key_sha256": None if key is None else hashlib.sha256(key.encode()).hexdigest(),
    }


# -- the clients of this process --------------------------------------------------------------

_clients: weakref.WeakSet[Client] = weakref.WeakSet()
_shared: dict[tuple[Any, ...], Client] = {}
_override: Client | None = None
_shared_lock = threading.Lock()
_exiting = False


def client_for(configuration: Configuration) -> Client:
    """
    The client with these options: one per set of options for as long as the process lives.
    """
    key = tuple(
        getattr(configuration, name)
        for name in (
            "api_key endpoint scope max_wait_time max_queue_size max_batch_bytes request_timeout"
            " shutdown_timeout capture_params capture_returns max_value_bytes instrument_llm_calls"
            " capture_content capture_media host_env durability journal_dir journal_max_bytes"
        ).split()
    )
    key += (id(configuration.redact),)  # which need not be hashable; the client keeps it alive
    with _shared_lock:
        client = _override or _shared.get(key)
        if client is None:
            client = _shared[key] = Client(configuration)
        return client


def override(client: Client | None) -> Client | None:
    """
    Let *client* record whatever the options say (`asyncops.testing`); returns what did before.
    """
    global _override
    with _shared_lock:
        before, _override = _override, client
    return before


def _forget(client: Client) -> None:
    with _shared_lock:
        for key, shared in list(_shared.items()):
            if shared is client:
                del _shared[key]
    _clients.discard(client)


def _look_after_exit() -> None:
    """
    A child of `multiprocessing` leaves by `os._exit`, which knows nothing of `atexit`.
    """
    process, util = (
        sys.modules.get("multiprocessing.process"),
        sys.modules.get("multiprocessing.util"),
    )
    if process is not None and util is not None and process.parent_process() is not None:
        util.Finalize(None, _at_exit, exitpriority=-100)


def _at_exit() -> None:
    """
    Runs in a child of a bare `os.fork`, too; there `after_fork` has already made it another source.
    """
    global _exiting
    clients = list(_clients)
    began = time.monotonic()
    with contextlib.suppress(KeyboardInterrupt):  # somebody will not wait: then nor do we
        try:
            for client in clients:
                with contextlib.suppress(Exception):
                    client.finish()
        finally:
            _exiting = True
        for client in clients:
            with contextlib.suppress(Exception):
                client.drain(began)
    if isinstance(_uncaught(), KeyboardInterrupt):
        # CPython remembers an uncaught Ctrl-C to die of SIGINT in the end, as a shell expects, but
        # forgets it whenever source text is executed, as importing a module may do meanwhile (in
        # our thread, say). Executing a text that raises it lets CPython remember.
        # (Python/pythonrun.c, `run_eval_code_obj`; seen on 3.11 to 3.13)
        with contextlib.suppress(KeyboardInterrupt):
            exec("raise KeyboardInterrupt")  # noqa: S102


def _after_fork() -> None:
    global _shared_lock, _exiting
    _shared_lock = threading.Lock()
    _exiting = False
    background.forget()
    for client in list(_clients):
        client.after_fork()


atexit.register(_at_exit)
os.register_at_fork(after_in_child=_after_fork)
