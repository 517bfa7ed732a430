"""
The store of one machine: a SQLite file, one thread that writes, a few connections that read.

The writer takes everything that waits for it into one transaction, so that many small requests
share one commit and a batch grows by itself under load. Whoever waits is told after the commit.
While nobody waits it makes what it stored searchable, and takes out what was deleted.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import math
import queue
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

import anyio
import anyio.to_thread
import attrs

from ..._events import AnnotationRecord
from ..._exceptions import SessionNotFoundError, StoreError
from ..._prices import PriceTable
from .base import (
    ApiKey,
    Around,
    Batch,
    Breakdown,
    EventColumns,
    EventDetail,
    EventMatches,
    EventPage,
    EventStructure,
    EventSummary,
    Outcome,
    Overview,
    Participants,
    Pruned,
    RecordPage,
    Repricing,
    SessionDetail,
    SessionPage,
    SessionQuery,
)
from .changes import Changes
from .sqlite_around import read_around
from .sqlite_breakdown import read_breakdown
from .sqlite_columns import read_columns, read_structure
from .sqlite_deletion import find_old, take_out
from .sqlite_errors import unavailable
from .sqlite_export import read_records
from .sqlite_filters import Moment
from .sqlite_reader import (
    project_key,
    read_event,
    read_events,
    read_key,
    read_key_project,
    read_keys,
    read_matches,
    read_overview,
    read_participants,
    read_projects,
    read_session,
    read_sessions,
    read_timeline,
)
from .sqlite_repricing import find_changes, sums_of
from .sqlite_schema import open_reader, open_writer
from .sqlite_texts import index_texts
from .sqlite_writer import CostChange, SQLiteWriter

__all__ = ["SQLiteStore"]

MAX_GROUP_RECORDS = 5_000
"""How many records go into one transaction, give or take a batch."""

SEARCHABLE_SECONDS = 0.5
"""How long events wait for others before their words are indexed, in as few transactions."""

BUSY = 0.4
"""
The part of the time, beside indexing, that storing takes from which on it is busy: then only one
transaction in `SEARCHABLE_SECONDS` indexes, some 1,000 events a second at a few percent.
"""

BUSY_SECONDS = 0.25
"""How much time that part is an average of, later moments counting more."""

SEARCH_RETRY_SECONDS = 5.0
"""How long indexing pauses after it failed."""

DELETED_AT_ONCE = 5
"""How many sessions one transaction deletes."""

READERS = 4
"""How many questions are answered at once."""

CANNOT = "the database cannot be used now"

_logger = logging.getLogger("asyncops")

T = TypeVar("T")
P = ParamSpec("P")


@attrs.frozen(eq=False)
class _Job(Generic[T]):
    """
    Something the writer is asked for, and who waits for it.
    """

    what: Batch | Callable[[sqlite3.Connection], T]
    future: asyncio.Future[T]
    loop: asyncio.AbstractEventLoop

    @property
    def records(self) -> int:
        return len(self.what.records) + 1 if isinstance(self.what, Batch) else 1


class SQLiteStore:
    """
    A `Store` in the file *path*, made where there is none.

    Args:
        path: The database.
        prices: What calls of models cost where nobody said; what genai-prices says, if None.
        clock: Nanoseconds since the epoch, as `time.time_ns`.
        busy_timeout: Seconds to wait while another process writes.
        max_queued_records: How many may wait for the writer before no more are taken.

    Raises:
        StoreError: *path* cannot be opened, or a newer version made it.
    """

    def __init__(
        self,
        path: Path,
        *,
        prices: PriceTable | None = None,
        clock: Callable[[], int] = time.time_ns,
        busy_timeout: float = 5.0,
        max_queued_records: int = 100_000,
    ) -> None:
        self.path = path.absolute()
        self.changes = Changes()
        self._busy_timeout = busy_timeout
        self._max_queued_records = max_queued_records
        self._clock = clock
        self._opened_at = clock()
        self._prices = PriceTable() if prices is None else prices
        self._writer = SQLiteWriter(open_writer(path, busy_timeout=busy_timeout), self._prices)
        self._files = _files(self.path)
        self._trouble = ""
        self._search_trouble = ""
        self._indexed_at = time.monotonic()  # when the last such transaction ended
        self._storing = 0.0  # seconds since then
        self._busy = 0.0
        self._index_at: float | None = time.monotonic()  # what a store before this one left
        self._jobs: queue.SimpleQueue[_Job[Any] | None] = queue.SimpleQueue()
        self._queued_records = 0
        self._batches = 0
        self._put_off = 0
        self._transactions = 0
        self._closed = False
        self._idle_readers: list[sqlite3.Connection] = []
        self._reading = anyio.CapacityLimiter(READERS)
        self._thread = threading.Thread(target=self._write, name="asyncops-store", daemon=True)
        self._thread.start()

    async def aclose(self) -> None:
        """
        Write what was taken in, then close the file. Every later call raises `StoreError`.
        """
        self.changes.close()
        if not self._closed:
            self._closed = True
            self._jobs.put(None)
        with anyio.CancelScope(shield=True):  # the thread ends by itself; leaving it would leak it
            await anyio.to_thread.run_sync(self._thread.join)
        while self._idle_readers:
            self._idle_readers.pop().close()

    # -- writing --------------------------------------------------------------------------------

    async def add(self, batch: Batch) -> Outcome:
        if self._queued_records >= self._max_queued_records:
            raise StoreError(f"the collector is busy: {self._queued_records:,} records wait for it")
        return await self._submit(batch)

    async def create_key(self, project: str) -> tuple[ApiKey, str]:
        text = f"aops_{secrets.token_urlsafe(32)}"
        digest = hashlib.sha256(text.encode()).digest()
        row = (digest.hex()[:16], project, digest, text[:9], self._clock())

        def insert(connection: sqlite3.Connection) -> ApiKey:
            connection.execute("INSERT INTO keys VALUES (?, ?, ?, ?, ?, NULL)", row)
            key_id, project, _, hint, created_at = row
            return read_key((key_id, project, hint, created_at, None))

        return await self._submit(insert), text

    async def revoke_key(self, key_id: str) -> ApiKey:
        now = self._clock()

        def revoke(connection: sqlite3.Connection) -> ApiKey:
            rows = connection.execute(
                "UPDATE keys SET revoked_at = COALESCE(revoked_at, ?) WHERE id = ?"
                " RETURNING id, project, hint, created_at, revoked_at",
                (now, key_id),
            ).fetchall()
            if not rows:
                raise StoreError(
                    f"no API key {key_id!r}: `asyncops keys list` shows those there are"
                )
            return read_key(rows[0])

        return await self._submit(revoke)

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
        tables = await anyio.to_thread.run_sync(lambda: self._prices.versions)
        if not tables:
            return Repricing(examined=0, sessions=(), tables=(), next=None)
        found = await self._read(
            find_changes,
            project,
            self._prices,
            since=since,
            until=until,
            session_id=session_id,
            cursor=cursor,
            limit=limit,
        )
        changes: Sequence[CostChange] = found.changes
        if changes and not dry_run:
            changes = await self._submit(lambda _: self._writer.reprice(found.changes))
        sessions = sums_of(changes)
        if sessions and not dry_run:
            self.changes.publish(project, [session.session for session in sessions])
        return Repricing(
            examined=found.examined,
            sessions=sessions,
            tables=tables,
            next=None if found.last is None else str(found.last),
        )

    async def annotate(self, project: str, annotation: AnnotationRecord) -> None:
        outcome = await self._submit(lambda _: self._writer.annotate(project, annotation))
        self.changes.publish(project, outcome.changed)

    async def delete(self, project: str, session_id: str) -> None:
        if not await self._delete(project, [session_id]):
            raise SessionNotFoundError(session_id)

    async def prune(
        self,
        project: str,
        *,
        before: int,
        cursor: str | None = None,
        limit: int = 100,
        dry_run: bool = False,
    ) -> Pruned:
        old = await self._read(
            find_old, project, self._moment(), before=before, cursor=cursor, limit=limit
        )
        events = dict(old.sessions)
        gone = tuple(events)
        if not dry_run:
            gone = ()
            for start in range(0, len(events), DELETED_AT_ONCE):
                some = list(events)[start : start + DELETED_AT_ONCE]
                gone += await self._delete(project, some, before=before)
        return Pruned(sessions=gone, events=sum(map(events.__getitem__, gone)), next=old.next)

    async def _delete(
        self, project: str, session_ids: Sequence[str], *, before: int | None = None
    ) -> tuple[str, ...]:
        def delete(_: sqlite3.Connection) -> tuple[str, ...]:
            gone = self._writer.delete(project, session_ids, before=before)
            if gone and self._index_at is None:
                self._index_at = time.monotonic()
            return gone

        gone = await self._submit(delete)
        self.changes.publish(project, gone)
        return gone

    async def _submit(self, what: Batch | Callable[[sqlite3.Connection], T]) -> T:
        if self._closed:
            raise StoreError("the store is closed")
        loop = asyncio.get_running_loop()
        job = _Job[Any](what, loop.create_future(), loop)
        self._queued_records += job.records
        self._jobs.put(job)
        result: T = await job.future
        return result

    def _write(self) -> None:
        """
        The writer's thread.
        """
        ended = False
        while not ended:
            jobs = self._waiting()
            if not jobs:
                self._index()
                continue
            ended = jobs[-1] is None
            batches = [job for job in jobs if job and isinstance(job.what, Batch)]
            if batches:
                began = time.monotonic()
                self._settle(batches, self._add_group(batches))
                self._storing += time.monotonic() - began
                if self._index_at is None:
                    self._index_at = time.monotonic() + SEARCHABLE_SECONDS
            for job in jobs:
                if job and not isinstance(job.what, Batch):
                    self._settle([job], [self._perform(job.what)])
        connection = self._writer.connection
        with contextlib.suppress(sqlite3.Error):
            connection.execute("PRAGMA optimize")
        connection.close()

    def _waiting(self) -> list[_Job[Any] | None]:
        """
        The jobs that wait now, about a transaction's worth; None comes last. There is none where
        it is time to index, and nobody waits.
        """
        patience = None if self._index_at is None else max(self._index_at - time.monotonic(), 0.0)
        try:
            jobs = [self._jobs.get(timeout=patience)]
        except queue.Empty:
            return []
        records = 0
        while jobs[-1] is not None and records < MAX_GROUP_RECORDS:
            records += jobs[-1].records
            try:
                jobs.append(self._jobs.get_nowait())
            except queue.Empty:
                break
        return jobs

    def _index(self) -> None:
        """
        Make some of what was stored searchable, or else take out some of what was deleted, in
        little time: somebody may come meanwhile. That nobody waits for the writer does not mean
        that there is nothing to do: bodies are read before they come to it, and senders wait for
        each other's answers. So what counts is how much of the time, but for this, it stores.
        """
        began = time.monotonic()
        passed = began - self._indexed_at
        if passed > 0:
            weight = 1 - math.exp(-passed / BUSY_SECONDS)
            self._busy += weight * (self._storing / passed - self._busy)
        self._storing = 0.0
        try:
            connection = self._writer.connection
            more = index_texts(connection) or take_out(connection)
        except sqlite3.Error as error:
            if not self._trouble and str(error) != self._search_trouble:
                self._search_trouble = str(error)
                _logger.warning("What is stored in %s cannot be searched: %s", self.path, error)
            self._index_at = time.monotonic() + SEARCH_RETRY_SECONDS
            return
        self._search_trouble = ""
        self._indexed_at = time.monotonic()
        if not more:
            self._index_at = None
        elif self._busy > BUSY:
            self._index_at = self._indexed_at + SEARCHABLE_SECONDS
        else:
            self._index_at = self._indexed_at

    def _add_group(self, group: Sequence[_Job[Outcome]]) -> list[Outcome | Exception]:
        batches = [job.what for job in group if isinstance(job.what, Batch)]
        try:
            outcomes = self._writer.write(batches)
            self._check_files()  # or what was committed is in a file that nobody will find
        except (sqlite3.OperationalError, StoreError) as error:
            # locked, full, read-only, gone: true of every batch, and may pass
            self._put_off += len(group)
            return [self._troubled(error)] * len(group)
        except Exception as error:
            if len(batches) == 1:
                _logger.exception("A batch from source %s cannot be stored", batches[0].source)
                self._put_off += 1
                return [unavailable(CANNOT, error)]
            # one of them is at fault: it must not take the others with it
            return [result for job in group for result in self._add_group([job])]
        if self._trouble:
            self._trouble = ""
            _logger.warning("Records are stored again in %s", self.path)
        self._transactions += 1
        self._batches += len(batches)
        return list(outcomes)

    def _perform(self, what: Callable[[sqlite3.Connection], Any]) -> Any:
        try:
            result = what(self._writer.connection)
            self._check_files()
            return result
        except StoreError as error:
            return error
        except sqlite3.Error as error:
            return unavailable(CANNOT, error)
        except Exception as error:  # whoever asked is told, and the thread goes on
            _logger.exception("The store failed at what it was asked for")
            return unavailable(CANNOT, error)

    def _troubled(self, error: Exception) -> StoreError:
        """
        What to tell a sender that *error* kept waiting; the log is told once.
        """
        told = error if isinstance(error, StoreError) else unavailable(CANNOT, error)
        if str(told) != self._trouble:
            self._trouble = str(told)
            _logger.warning(
                "No records are stored in %s, programs keep theirs until that is over: %s",
                self.path,
                told,
            )
        return told

    def _check_files(self) -> None:
        """
        Raises:
            StoreError: The database is another file than was opened, or none.
        """
        if _files(self.path) != self._files:
            raise StoreError(
                f"{CANNOT}: somebody removed or replaced its file (put it back, or restart the"
                " collector)"
            )

    def _settle(self, group: Sequence[_Job[Any]], results: Sequence[Any]) -> None:
        """
        Tell those who wait, in one call per loop.
        """
        loops = {job.loop for job in group}
        for loop in loops:
            pairs = [
                (job, result)
                for job, result in zip(group, results, strict=True)
                if job.loop is loop
            ]
            with contextlib.suppress(RuntimeError):  # a loop that is closed waits for nothing
                loop.call_soon_threadsafe(self._tell, pairs)

    def _tell(self, pairs: Sequence[tuple[_Job[Any], Any]]) -> None:
        for job, result in pairs:
            self._queued_records -= job.records
            if isinstance(job.what, Batch) and isinstance(result, Outcome) and result.changed:
                self.changes.publish(job.what.project, result.changed)
            if job.future.done():  # whoever asked was cancelled
                continue
            if isinstance(result, Exception):
                job.future.set_exception(result)
            else:
                job.future.set_result(result)

    # -- reading --------------------------------------------------------------------------------

    async def sessions(self, project: str, query: SessionQuery) -> SessionPage:
        return await self._read(read_sessions, project, query, self._moment())

    async def participants(
        self, project: str, session_ids: Sequence[str]
    ) -> Mapping[str, Participants]:
        return await self._read(read_participants, project, session_ids)

    async def session(self, project: str, session_id: str) -> SessionDetail:
        return await self._read(read_session, project, session_id, self._moment())

    async def events(
        self,
        project: str,
        session_id: str,
        *,
        q: str | None = None,
        cursor: str | None = None,
        limit: int = 200,
    ) -> EventPage:
        return await self._read(read_events, project, session_id, q=q, cursor=cursor, limit=limit)

    async def matches(self, project: str, session_id: str, q: str) -> EventMatches:
        return await self._read(read_matches, project, session_id, q)

    async def event(self, project: str, session_id: str, event_id: str) -> EventDetail | None:
        return await self._read(read_event, project, session_id, event_id)

    async def around(self, project: str, session_id: str, event_id: str, *, near: int) -> Around:
        return await self._read(read_around, project, session_id, event_id, near=near)

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
        return await self._read(
            read_timeline, project, session_id, after=after, limit=limit, only_open=only_open,
            only=only,
        )  # fmt: skip

    async def columns(self, project: str, session_id: str, *, after: int = 0) -> EventColumns:
        return await self._read(read_columns, project, session_id, after=after)

    async def structure(self, project: str, session_id: str) -> EventStructure:
        return await self._read(read_structure, project, session_id)

    async def records(
        self, project: str, session_id: str, *, cursor: str | None = None, limit: int = 200
    ) -> RecordPage:
        return await self._read(
            read_records, project, session_id, self._moment(), cursor=cursor, limit=limit
        )

    async def overview(
        self, project: str, *, since: int | None = None, until: int | None = None
    ) -> Overview:
        return await self._read(read_overview, project, self._moment(), since=since, until=until)

    async def breakdown(
        self, project: str, *, since: int | None = None, until: int | None = None
    ) -> Breakdown:
        def read(connection: sqlite3.Connection) -> Breakdown:
            key = project_key(connection, project)
            return read_breakdown(connection, key, since=since, until=until)

        return await self._read(read)

    async def projects(self) -> tuple[str, ...]:
        return await self._read(read_projects)

    async def keys(self) -> tuple[ApiKey, ...]:
        return await self._read(read_keys)

    async def project_of_key(self, key_hash: bytes) -> str | None:
        return await self._read(read_key_project, key_hash)

    async def statistics(self) -> Mapping[str, float | Mapping[str, float]]:
        sessions, unsearched, database_bytes = await self._read(_size)
        return {
            "records": self._writer.records,
            "duplicates": self._writer.duplicates,
            "rejected_lines": self._writer.rejected,
            "missing_records": dict(self._writer.missing),
            "batches": self._batches,
            "batches_put_off": self._put_off,
            "transactions": self._transactions,
            "queued_records": self._queued_records,
            "sessions": sessions,
            "unsearched_sessions": unsearched,
            "database_bytes": database_bytes,
        }

    def _moment(self) -> Moment:
        return Moment(now=self._clock(), opened_at=self._opened_at)

    async def _read(
        self,
        question: Callable[Concatenate[sqlite3.Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """
        What *question* answers, asked in a thread of one unchanging view of the database.
        """

        def ask() -> T:
            self._check_files()
            try:
                with self._reader() as connection:
                    return question(connection, *args, **kwargs)
            except sqlite3.Error as error:
                raise unavailable(CANNOT, error) from error

        if self._closed:
            raise StoreError("the store is closed")
        return await anyio.to_thread.run_sync(ask, limiter=self._reading)

    @contextlib.contextmanager
    def _reader(self) -> Iterator[sqlite3.Connection]:
        """
        A connection in a transaction, for one thread at a time.
        """
        try:
            connection = self._idle_readers.pop()
        except IndexError:
            connection = open_reader(self.path, busy_timeout=self._busy_timeout)
        try:
            connection.execute("BEGIN")
            yield connection
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            if self._closed:
                connection.close()
            else:
                self._idle_readers.append(connection)


def _files(path: Path) -> tuple[tuple[int, int], ...]:
    """
    Which files the database at *path* is: the file itself and its write-ahead log.
    """
    files = []
    for file in (path, path.with_name(f"{path.name}-wal")):
        with contextlib.suppress(OSError):
            status = file.stat()
            files.append((status.st_dev, status.st_ino))
    return tuple(files)


def _size(connection: sqlite3.Connection) -> tuple[int, int, int]:
    """
    How many sessions there are, how many of them have events that are not searchable yet, and how
    many bytes the file takes.
    """
    (sessions,) = connection.execute("SELECT COUNT(*) FROM sessions").fetchone()
    (unsearched,) = connection.execute(
        "SELECT COUNT(*) FROM sessions INDEXED BY sessions_unsearched WHERE searched_seq < last_seq"
    ).fetchone()
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
    return sessions, unsearched, pages * page_bytes
