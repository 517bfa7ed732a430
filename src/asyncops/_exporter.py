"""
Delivery: one asyncio task that carries records from a journal to the collector.

One batch is in flight at a time, in order; what is acknowledged is deleted. Everything it cannot
deliver stays where it is, and it tries again for as long as the process lives.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import msgspec

from ._background import background
from ._configuration import Configuration
from ._exceptions import BatchRejectedError, CollectorUnavailableError
from ._frames import Chunk
from ._giving_way import give_way
from ._journal import Journal, Readable
from ._log import logger, trouble
from ._wire import tombstone

__all__ = ["Answer", "Delivery", "Exporter", "Orphan", "RejectedRecord"]

HEARTBEAT_SECONDS = 10.0
"""With a session open, the collector hears from us at least this often."""

ADOPT_SECONDS = 30.0
"""How often journals of dead processes are looked for."""

SLOW_RETRY_SECONDS = 60.0
"""How long to wait after an answer that will hardly change soon: a bad key, a wrong address."""

OUTAGE_SECONDS = 5.0
"""How long nobody takes anything before that is told: most restarts are over by then."""

MAX_BACKOFF_SECONDS = 60.0

FIRST_BACKOFF_SECONDS = 0.5

LEAST_BACKOFF_SECONDS = 0.05
"""However we are hurried, a collector that failed is left alone for this long."""

ANSWER_SECONDS = 0.5
"""A collector that has not answered the first thing sent to it within this is taken for silent."""

UNDECIDED_SECONDS = 0.12
"""How long an exit waits for a collector that has not had that time yet."""

_BAD_CONTENT = (400, 413, 422)
"""What a collector answers to the content of a batch, rather than to who sends it or where."""


class RejectedRecord(msgspec.Struct, frozen=True):
    """
    A record the collector will not store.
    """

    seq: int | None
    error: str


class Answer(msgspec.Struct, frozen=True):
    """
    What the collector says to a batch.

    Attributes:
        acknowledged: The highest number of this source that is settled.
        rejected: What of it was refused for good, and why.
    """

    acknowledged: int
    rejected: list[RejectedRecord] = []


class Exporter(Protocol):
    """
    What carries records away.
    """

    async def export(self, source: str, lines: Sequence[bytes]) -> Answer:
        """
        Deliver *lines*, numbered records of *source* in order; none of them is a heartbeat.

        Raises:
            CollectorUnavailableError: Try again later.
            BatchRejectedError: Never again like this.
        """
        ...

    async def aclose(self) -> None: ...


class Orphan(Readable, Protocol):
    """
    A dead source's journal, ours to deliver.
    """

    def close(self, *, delivered: bool) -> None: ...


class Delivery:
    """
    The task that delivers one journal, and what dead processes left for the same collector.

    Args:
        journal: What to deliver.
        exporter: Where to.
        configuration: How often, how much, how long.
        tick: Called on the background loop every `max_wait_time` while `busy`; may record.
        busy: Whether a session is open, so that the collector must hear from us.
        orphans: Finds the journals to adopt.
    """

    def __init__(
        self,
        journal: Journal,
        exporter: Exporter,
        configuration: Configuration,
        *,
        tick: Callable[[], None] = lambda: None,
        busy: Callable[[], bool] = lambda: False,
        orphans: Callable[[], Iterable[Orphan]] = lambda: (),
    ) -> None:
        self._journal = journal
        self._exporter = exporter
        self._wait = configuration.max_wait_time
        self._records = configuration.max_queue_size
        self._bytes = configuration.max_batch_bytes
        self._tick = tick
        self._busy = busy
        self._orphans = orphans
        self._event = asyncio.Event()
        self._hurried = True  # the first batch goes at once: it tells whether anybody is there
        self._closing = False
        self._task: asyncio.Task[None] | None = None
        self._failures = 0
        self._failing_since = 0.0
        self._outage_told = False
        self._retry_at = 0.0
        self._not_before = 0.0
        self._heard_at = -HEARTBEAT_SECONDS
        self._adopted_at = -ADOPT_SECONDS
        self._held: Chunk | None = None
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self._asked_at: float | None = None
        self.answered = False
        """Whether the collector answered the last thing sent to it."""
        self.tried = False
        """Whether anything has been sent and answered or failed."""

    # -- from other threads -------------------------------------------------------------------

    def wake(self) -> None:
        """
        There is as much to read as was waited for; from any thread, and in next to no time.
        """
        background.call_soon(self._event.set)

    def hurry(self) -> None:
        """
        Send what there is without waiting for more, nor for our own backoff; from any thread.
        """
        background.call_soon(self._hurry)

    def _hurry(self) -> None:
        self._hurried = True
        self._retry_at = self._not_before
        self._event.set()

    def drain_at_exit(self, began: float, seconds: float) -> None:
        """
        Wait until all is delivered: up to *seconds* after *began* if the collector has been
        answering, next to nothing if it has not. From the main thread while the interpreter exits,
        after `hurry`.
        """
        undecided = began + UNDECIDED_SECONDS
        if self._asked_at is not None:
            undecided = min(undecided, self._asked_at + ANSWER_SECONDS)
        if self._journal.is_volatile:  # what is only in memory is worth a longer wait
            undecided = began + seconds
        while self._journal.backlog and (now := time.monotonic()) < began + seconds:
            if not self.answered and (self.tried or now >= undecided):
                return
            time.sleep(0.001)

    # -- on the background loop ---------------------------------------------------------------

    async def run(self) -> None:
        """
        Deliver until `close`; once, however often it is begun.
        """
        if self._task is not None:
            return
        self._task = asyncio.current_task()
        try:
            while not self._closing:
                await self._pause()
                try:
                    await self._work()
                except Exception as error:  # a disk that fails under us, a host that lies
                    trouble("delivery", "asyncops could not deliver: %r; it will try again", error)
                    self._failed(error)
        except asyncio.CancelledError:
            if not self._closing:
                raise
        finally:
            for _, waiter in self._waiters:
                waiter.cancel()
            with contextlib.suppress(Exception):
                await self._exporter.aclose()

    async def _work(self) -> None:
        self._journal.maintain()
        give_way()
        await self._deliver()
        give_way()
        if self._busy():
            self._tick()
        await self._heartbeat()
        await self._adopt()

    async def close(self, *, timeout: float) -> bool:
        """
        Deliver what there is within *timeout* seconds and stop; says whether all was delivered.
        """
        delivered = await self.flush(timeout=timeout)
        self._closing = True
        if self._task is not None:  # it may be waiting for an answer that will not come
            self._task.cancel()
        return delivered

    async def flush(self, *, timeout: float | None) -> bool:
        """
        Wait until what is recorded by now is delivered; says whether it was in time.
        """
        wanted = self._journal.last_seq
        if not self._journal.backlog:
            return True
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((wanted, waiter))
        self._hurry()
        try:
            async with asyncio.timeout(timeout):
                await waiter
        except TimeoutError:
            return False
        except asyncio.CancelledError:
            if self._closing:
                return False
            raise
        finally:
            self._waiters = [entry for entry in self._waiters if entry[1] is not waiter]
        return True

    async def _pause(self) -> None:
        """
        Wait for something to do: a full batch, the time for a part of one, a duty.
        """
        if self._hurried:
            self._hurried = False
            return
        now = time.monotonic()
        if self._failures and now < self._retry_at:
            until = self._retry_at
            if self._busy():  # open spans are announced also while nobody listens
                until = min(until, now + self._wait)
        elif self._unread() or self._busy():
            until = now + self._wait
        else:
            until = min(self._adopted_at + ADOPT_SECONDS, now + ADOPT_SECONDS)
            self._event.clear()
            self._journal.wake_when(1)
            if not self._unread():  # looked at after both: a record in between sets it again
                await self._wait_event(until)
            until = time.monotonic() + self._wait
        while not (self._closing or self._hurried) and time.monotonic() < until:
            self._event.clear()
            if not self._failures:  # else nothing is sent before its time, however much there is
                self._journal.wake_when(self._records)
                if self._unread() >= self._records:
                    break
            await self._wait_event(until)
        self._hurried = False

    async def _wait_event(self, until: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(until - time.monotonic(), 0)):
                await self._event.wait()

    def _unread(self) -> int:
        return self._journal.unread + (self._held is not None)

    async def _deliver(self) -> None:
        """
        Send what there is: batch after batch while they are full, then the next after a pause.
        """
        while time.monotonic() >= self._retry_at:
            chunk = self._held or self._journal.read(self._records, self._bytes)
            if chunk is None:
                break
            self._held = None
            give_way()
            rest = await self._send(self._journal, chunk)
            self._held = rest
            self._tell_waiters()
            if rest is None and not self._waiters and self._unread() < self._records:
                break

    def _tell_waiters(self) -> None:
        reached = self._journal.last_seq - self._journal.backlog
        for wanted, waiter in self._waiters:
            if wanted <= reached and not waiter.done():
                waiter.set_result(None)

    async def _send(self, journal: Readable, chunk: Chunk) -> Chunk | None:
        """
        Send *chunk* of *journal*; returns what of it has to be sent again.
        """
        if not chunk.lines:
            return None
        self._asked_at = self._asked_at or time.monotonic()
        try:
            answer = await self._exporter.export(journal.source, chunk.lines)
        except CollectorUnavailableError as error:
            self._failed(error, asked=error.retry_after)
            self._tell_outage(error)
            return chunk
        except BatchRejectedError as error:
            if error.status_code in _BAD_CONTENT:
                return await self._divide(journal, chunk, error)
            self._refused(error)
            return chunk
        except Exception as error:
            trouble("export", "asyncops could not send a batch: %r; it stays in the journal", error)
            self._failed(error)
            return chunk
        done = sum(number <= answer.acknowledged for number in chunk.numbers)
        if journal is self._journal and answer.acknowledged > self._journal.last_seq:
            trouble("answer", "what answers asyncops acknowledges records that there never were: it"
                    " is no collector; all stays in the journal, check endpoint")  # fmt: skip
            self._failed(CollectorUnavailableError("it acknowledged too much"))
            return chunk
        if not done:
            self._failed(CollectorUnavailableError("it acknowledged nothing"))
            return chunk
        self._succeeded()
        settled = Chunk(chunk.lines[:done], chunk.numbers[:done])
        for rejected in answer.rejected:
            self._set_aside(journal, settled, rejected)
        journal.acknowledge(settled.last)
        if done == len(chunk.numbers):
            return None
        return Chunk(chunk.lines[done:], chunk.numbers[done:])

    async def _divide(
        self, journal: Readable, chunk: Chunk, error: BatchRejectedError
    ) -> Chunk | None:
        """
        The content of a batch was refused: find out which record it is, and spare the others.
        """
        if len(chunk.lines) > 1:
            first, second = chunk.halves()
            rest = await self._send(journal, first)
            if rest is not None:
                return Chunk(rest.lines + second.lines, rest.numbers + second.numbers)
            return await self._send(journal, second)
        smaller = tombstone(chunk.lines[0])
        if error.status_code == 413 and len(smaller) < len(chunk.lines[0]):
            return await self._send(journal, Chunk([smaller], chunk.numbers))
        # Before a record is given up: does it take anything at all? Not if it answers 400 to all.
        if not await self._alive(journal.source):
            self._refused(error)
            return chunk
        self._set_aside(journal, chunk, RejectedRecord(chunk.last, str(error)))
        journal.acknowledge(chunk.last)
        return None

    def _refused(self, error: BatchRejectedError) -> None:
        """
        Whatever we send is refused, by a collector or a stranger: that will hardly change soon.
        """
        trouble("rejected", "the collector does not take what asyncops sends (%s); it stays in the"
                " journal, check api_key and endpoint", error)  # fmt: skip
        self._failed(error, pause=SLOW_RETRY_SECONDS)

    def _tell_outage(self, error: CollectorUnavailableError) -> None:
        """
        Say once per outage that nobody takes what is recorded; a short one is nobody's business.
        """
        if time.monotonic() - self._failing_since >= OUTAGE_SECONDS and not self._outage_told:
            self._outage_told = True
            trouble("outage", "no collector takes what asyncops records (%r: %s); it waits, and is"
                    " sent once one does", self._exporter, error)  # fmt: skip

    async def _alive(self, source: str) -> bool:
        try:
            await self._exporter.export(source, ())
        except Exception:
            return False
        return True

    def _set_aside(self, journal: Readable, chunk: Chunk, rejected: RejectedRecord) -> None:
        trouble("set aside", "the collector refused a record of asyncops (%s): it is set aside in"
                " the journal's directory", rejected.error)  # fmt: skip
        if rejected.seq in chunk.numbers:
            line = chunk.lines[chunk.numbers.index(rejected.seq)]
            journal.set_aside(line, rejected.error)

    def _succeeded(self) -> None:
        if self._failures:
            logger.debug("the collector answers again")
        self._failures = 0
        self._outage_told = False
        self._retry_at = 0.0
        self._not_before = 0.0
        self._heard_at = time.monotonic()
        self.answered = self.tried = True

    def _failed(self, error: Exception, *, asked: float | None = None, pause: float = 0.0) -> None:
        """
        Wait as long as the collector *asked* for or *pause* says, and then between nothing and an
        ever longer time: what many clients lost at the same moment they must not all send again at
        the same moment. Who hurries us can shorten all of that but what was asked for.
        """
        self.answered, self.tried = False, True
        if not self._failures:
            self._failing_since = time.monotonic()
        self._failures += 1
        longest = min(MAX_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2 ** min(self._failures, 10))
        # not from `random`: that would change what a seeded host program draws from it
        jitter = max(LEAST_BACKOFF_SECONDS, longest * int.from_bytes(os.urandom(4)) / 2**32)
        wait = max(asked or 0.0, pause) + jitter
        now = time.monotonic()
        self._not_before = now + max(asked or 0.0, LEAST_BACKOFF_SECONDS)
        self._retry_at = now + wait
        logger.debug("a batch could not be delivered: %s; next try in %.1f s", error, wait)

    async def _heartbeat(self) -> None:
        now = time.monotonic()
        if self._busy() and now - self._heard_at >= HEARTBEAT_SECONDS and now >= self._retry_at:
            try:
                await self._exporter.export(self._journal.source, ())
            except CollectorUnavailableError as error:
                self._failed(error, asked=error.retry_after)
            except Exception as error:
                self._failed(error, pause=SLOW_RETRY_SECONDS)
            else:
                self._succeeded()

    async def _adopt(self) -> None:
        """
        Deliver what dead processes left behind, once the collector is known to answer.
        """
        now = time.monotonic()
        if self._closing or now - self._adopted_at < ADOPT_SECONDS or now < self._retry_at:
            return
        self._adopted_at = now
        for orphan in self._orphans():
            delivered = False
            try:
                delivered = await self.deliver_orphan(orphan)
            except Exception as error:
                trouble("adoption", "asyncops could not send a dead process's journal: %r", error)
            finally:
                orphan.close(delivered=delivered)
            if not delivered:
                break

    async def deliver_orphan(self, orphan: Orphan) -> bool:
        """
        Send all of *orphan*, a batch at a time and our own records between; says whether all went.
        """
        while not self._closing and (chunk := orphan.read(self._records, self._bytes)) is not None:
            rest: Chunk | None = chunk
            while rest is not None:
                rest = await self._send(orphan, rest)
                if self._failures or self._closing:
                    return False
            await self._deliver()
            if self._failures:
                return False
        return not self._closing
