"""
What is in the journal reaches the collector, once and in order, whatever the collector answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from asyncops import (
    Answer,
    BatchRejectedError,
    CollectorUnavailableError,
    Configuration,
    RejectedRecord,
    _exporter,
    _log,
)
from asyncops._adoption import adopt
from asyncops._exporter import Delivery
from asyncops._file_journal import FileJournal
from asyncops._journal import MemoryJournal
from asyncops.testing import MemoryExporter

pytestmark = pytest.mark.anyio

SOURCE = "0198a0b0-0000-7000-8000-00000000000a"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_exporter, "FIRST_BACKOFF_SECONDS", 0.001)
    monkeypatch.setattr(_exporter, "SLOW_RETRY_SECONDS", 0.01)
    monkeypatch.setattr(_exporter, "background", ThisLoop())


class ThisLoop:
    """
    The test's loop in the place of the background thread's.
    """

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None

    def call_soon(self, callback: Any) -> None:
        if self.loop is not None:
            self.loop.call_soon_threadsafe(callback)


def delivered(exporter: MemoryExporter, source: str = SOURCE) -> list[int]:
    return sorted(exporter.lines.get(source, {}))


@contextlib.asynccontextmanager
async def delivering(journal: Any, exporter: Any, **options: Any) -> AsyncIterator[Delivery]:
    """
    A delivery at work in this loop.
    """
    settings = {
        key: options.pop(key)
        for key in ("max_wait_time", "max_queue_size", "max_batch_bytes")
        if key in options
    }
    configuration = Configuration(**{"max_wait_time": 0.01, **settings})
    delivery = Delivery(journal, exporter, configuration, **options)
    journal._wake = delivery.wake
    _exporter.background.loop = asyncio.get_running_loop()  # type: ignore[attr-defined]
    task = asyncio.create_task(delivery.run())
    try:
        yield delivery
    finally:
        await delivery.close(timeout=0.2)
        await task


async def until(condition: Any) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - the conditions are other people's
            await asyncio.sleep(0.001)


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def filled(count: int) -> MemoryJournal:
    journal = MemoryJournal(SOURCE)
    for n in range(count):
        journal.append(b'{"n":%d}' % n)
    return journal


async def test_delivers() -> None:
    """
    Everything arrives, in batches no larger than configured, and is acknowledged.
    """
    journal, exporter = filled(25), MemoryExporter()
    async with delivering(journal, exporter, max_queue_size=10) as delivery:
        assert await delivery.flush(timeout=60)

    assert list(range(1, 26)) == delivered(exporter)
    assert [10, 10, 5] == exporter.batches
    assert 0 == journal.backlog
    assert exporter.closed


async def test_small_batches_wait() -> None:
    """
    A few records wait for more, a full batch does not.
    """
    journal, exporter = filled(1), MemoryExporter()
    async with delivering(journal, exporter, max_wait_time=30, max_queue_size=5):
        await until(lambda: exporter.batches == [1])  # the first goes at once
        journal.append(b'{"n":0}')
        await asyncio.sleep(0.05)
        assert [1] == exporter.batches
        for _ in range(4):
            journal.append(b'{"n":0}')
        await until(lambda: exporter.batches == [1, 5])


async def test_flush_waits_for_no_one() -> None:
    """
    flush sends at once what would have waited.
    """
    journal, exporter = filled(1), MemoryExporter()
    async with delivering(journal, exporter, max_wait_time=30) as delivery:
        await until(lambda: exporter.batches)
        journal.append(b'{"n":0}')
        assert await delivery.flush(timeout=60)

    assert [1, 2] == delivered(exporter)


@pytest.mark.parametrize(
    "failure",
    [
        CollectorUnavailableError("503", status_code=503),
        CollectorUnavailableError("busy", retry_after=0.01),
        BatchRejectedError("401", status_code=401),
        BatchRejectedError("404", status_code=404),
        BatchRejectedError("301", status_code=301),
        RuntimeError("a bug in an exporter"),
    ],
    ids=str,
)
async def test_tries_again(failure: Exception) -> None:
    """
    After any answer that is about the collector and not the records, all is sent again.
    """
    journal, exporter = filled(3), MemoryExporter(failures=[failure] * 3)
    async with delivering(journal, exporter):
        await until(lambda: journal.backlog == 0)

    assert [1, 2, 3] == delivered(exporter)
    assert {} == journal.dropped


async def test_retry_after() -> None:
    """
    A collector that asks for a pause gets it.
    """
    failures: list[Exception] = [CollectorUnavailableError("later", retry_after=0.2)]
    journal, exporter = filled(1), MemoryExporter(failures=failures)
    began = time.monotonic()
    async with delivering(journal, exporter):
        await until(lambda: journal.backlog == 0)

    assert time.monotonic() - began >= 0.2


async def test_backoff_grows_and_scatters(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Waits grow to a minute and no further, and are anywhere between nothing and that: clients that
    failed together do not come back together, and no number of failures is one too many.
    """
    monkeypatch.setattr(_exporter, "FIRST_BACKOFF_SECONDS", 0.5)
    delivery = Delivery(filled(0), MemoryExporter(), Configuration())

    def wait() -> float:
        delivery._failed(CollectorUnavailableError("down"))
        return delivery._retry_at - time.monotonic()

    first = [wait() for _ in range(3)]
    late = sorted(wait() for _ in range(2_000))[7:]

    assert all(0 < seconds <= most for seconds, most in zip(first, (1, 2, 4), strict=True))
    assert late[-1] <= _exporter.MAX_BACKOFF_SECONDS
    assert 12 < late[len(late) // 4] < 18
    assert 42 < late[len(late) * 3 // 4] < 48


async def test_flush_gives_up_in_time() -> None:
    """
    flush returns False when its time is over, and nothing is lost.
    """
    failures: list[Exception] = [CollectorUnavailableError("down", retry_after=60)]
    journal, exporter = filled(1), MemoryExporter(failures=failures * 9)
    async with delivering(journal, exporter) as delivery:
        assert not await delivery.flush(timeout=0.05)
        assert 1 == journal.backlog


class Picky(MemoryExporter):
    """
    Refuses a batch with a bad record in it, or one too long.
    """

    def __init__(self, *, status: int, bad: Sequence[int] = (), longest: int = 10**9) -> None:
        super().__init__()
        self.status, self.bad, self.longest = status, bad, longest

    async def export(self, source: str, lines: Sequence[bytes]) -> Answer:
        seqs = [json.loads(line)["seq"] for line in lines]
        if set(seqs) & set(self.bad) or sum(map(len, lines)) > self.longest:
            raise BatchRejectedError("refused", status_code=self.status)
        return await super().export(source, lines)


async def test_bad_record_is_found_and_set_aside(tmp_path: Path) -> None:
    """
    A record that no collector takes is kept apart with the reason; all others arrive.
    """
    journal = FileJournal(tmp_path, SOURCE, owner={}, max_bytes=2**30)
    for n in range(20):
        journal.append(b'{"n":%d}' % n)
    exporter = Picky(status=400, bad=[7, 13])
    async with delivering(journal, exporter):
        await until(lambda: journal.backlog == 0)

    assert [n for n in range(1, 21) if n not in (7, 13)] == delivered(exporter)
    told = _lines(tmp_path / "set-aside.ndjson")
    assert ['{"seq":7,"n":6}\n', '{"seq":13,"n":12}\n'] == [json.loads(t)["line"] for t in told]


async def test_collector_that_refuses_everything_costs_nothing() -> None:
    """
    An address that answers 400 to everything is not taken for a judge of records.
    """

    class Wall(MemoryExporter):
        async def export(self, source: str, lines: Sequence[bytes]) -> Answer:
            self.batches.append(len(lines))
            raise BatchRejectedError("what?", status_code=400)

    journal, exporter = filled(4), Wall()
    async with delivering(journal, exporter):
        await until(lambda: len(exporter.batches) > 12)
        assert 4 == journal.backlog
        assert {} == journal.dropped


async def test_too_large_batch_is_halved() -> None:
    """
    A batch that is too large goes in parts.
    """
    journal, exporter = filled(16), Picky(status=413, longest=50)
    async with delivering(journal, exporter):
        await until(lambda: journal.backlog == 0)

    assert list(range(1, 17)) == delivered(exporter)


async def test_too_large_record_leaves_its_facts() -> None:
    """
    A single record that is too large arrives without its payloads.
    """
    journal = MemoryJournal(SOURCE)
    journal.append(
        b'{"type":"event","at":1,"session":"%b","id":"00000000000000aa","kind":"tool",'
        b'"name":"big","started_at":1,"ended_at":1,"state":"Success","params":"%b"}'
        % (SOURCE.encode(), b"x" * 5_000)
    )
    exporter = Picky(status=413, longest=1_000)
    async with delivering(journal, exporter):
        await until(lambda: journal.backlog == 0)

    told = json.loads(exporter.lines[SOURCE][1])
    assert ("big", {"$truncated": "record", "size": 5_002}) == (told["name"], told["params"])


async def test_rejected_in_the_answer() -> None:
    """
    Records that the collector names as rejected are not sent again.
    """

    class Naming(MemoryExporter):
        async def export(self, source: str, lines: Sequence[bytes]) -> Answer:
            answer = await super().export(source, lines)
            return Answer(answer.acknowledged, [RejectedRecord(2, "odd")] if lines else [])

    journal, exporter = filled(3), Naming()
    async with delivering(journal, exporter):
        await until(lambda: journal.backlog == 0)

    assert {"rejected": 1} == journal.dropped


async def test_partial_acknowledgement() -> None:
    """
    What an answer does not acknowledge is sent again, and only that.
    """

    class Slow(MemoryExporter):
        async def export(self, source: str, lines: Sequence[bytes]) -> Answer:
            return await super().export(source, lines[:2])

    journal, exporter = filled(7), Slow()
    async with delivering(journal, exporter):
        await until(lambda: journal.backlog == 0)

    assert list(range(1, 8)) == delivered(exporter)
    assert [2, 2, 2, 1] == exporter.batches[:4]


async def test_answer_that_acknowledges_nothing() -> None:
    """
    A collector that says it stored nothing is believed.
    """

    class Forgetful(MemoryExporter):
        async def export(self, source: str, lines: Sequence[bytes]) -> Answer:
            await super().export(source, lines)
            return Answer(0 if len(self.batches) < 3 else 2)

    journal, exporter = filled(2), Forgetful()
    async with delivering(journal, exporter):
        await until(lambda: journal.backlog == 0)

    assert len(exporter.batches) >= 3


async def test_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    With a session open the collector hears from us; without one it does not.
    """
    monkeypatch.setattr(_exporter, "HEARTBEAT_SECONDS", 0.02)
    busy = True
    exporter = MemoryExporter()
    async with delivering(MemoryJournal(SOURCE), exporter, busy=lambda: busy):
        await until(lambda: exporter.batches.count(0) >= 3)
        busy = False
        await asyncio.sleep(0.05)
        before = len(exporter.batches)
        await asyncio.sleep(0.1)
        assert before == len(exporter.batches)


async def test_tick() -> None:
    """
    While a session is open there is a tick every max_wait_time, also while nobody answers.
    """
    ticks = []
    failures: list[Exception] = [CollectorUnavailableError("down", retry_after=60)] * 99
    async with delivering(
        filled(1),
        MemoryExporter(failures=failures),
        busy=lambda: True,
        tick=lambda: ticks.append(1),
    ):
        await until(lambda: len(ticks) >= 5)


async def test_adopts(tmp_path: Path) -> None:
    """
    What dead processes left is delivered under their own names, after our own.
    """
    others = [f"0198a0b0-0000-7000-8000-00000000000{n}" for n in "bc"]
    for other in others:
        dead = FileJournal(tmp_path, other, owner={}, max_bytes=2**30)
        for n in range(30):
            dead.append(b'{"n":%d}' % n)
        dead._close_files()
    exporter = MemoryExporter()
    async with delivering(filled(1), exporter, orphans=lambda: adopt(tmp_path), max_queue_size=10):
        await until(lambda: len(delivered(exporter, others[1])) == 30)

    assert [list(range(1, 31))] * 2 == [delivered(exporter, other) for other in others]
    assert not any(tmp_path.iterdir())  # noqa: ASYNC240


async def test_adoption_that_fails_leaves_the_journal(tmp_path: Path) -> None:
    """
    If the collector goes away in the middle, the rest waits for the next one.
    """
    dead = FileJournal(tmp_path, SOURCE, owner={}, max_bytes=2**30)
    for n in range(30):
        dead.append(b'{"n":%d}' % n)
    dead._close_files()

    class Failing(MemoryExporter):
        async def export(self, source: str, lines: Sequence[bytes]) -> Answer:
            if source == SOURCE and len(self.batches) >= 2:
                raise CollectorUnavailableError("gone", retry_after=60)
            return await super().export(source, lines)

    other = MemoryJournal("0198a0b0-0000-7000-8000-00000000000b")
    exporter = Failing()
    async with delivering(other, exporter, orphans=lambda: adopt(tmp_path), max_queue_size=10):
        await until(lambda: exporter.batches)
        await asyncio.sleep(0.05)

    (left,) = adopt(tmp_path)
    chunk = left.read(100, 10**6)
    assert chunk is not None
    assert delivered(exporter)[-1] + 1 == chunk.numbers[0]
    left.close(delivered=False)


async def test_exit_waits_for_a_collector_that_answers() -> None:
    """
    While the collector answers, an exit waits until everything is there.
    """

    class Slow(MemoryExporter):
        async def export(self, source: str, lines: Sequence[bytes]) -> Answer:
            await asyncio.sleep(0.2)
            return await super().export(source, lines)

    journal, exporter = filled(1), Slow()
    async with delivering(journal, exporter, max_wait_time=30) as delivery:
        await until(lambda: delivery.answered)
        journal.append(b'{"n":0}')
        began = time.monotonic()
        delivery.hurry()
        await asyncio.to_thread(delivery.drain_at_exit, began, 2.0)

        assert time.monotonic() - began < 1.0
        assert [1, 2] == delivered(exporter)


async def test_an_outage_is_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """
    That nobody takes anything is said once it has lasted for a while, once per outage, and not for
    a moment's trouble.
    """

    class Down(MemoryExporter):
        down = True

        async def export(self, source: str, lines: Sequence[bytes]) -> Answer:
            if self.down:
                raise CollectorUnavailableError("refused")
            return await super().export(source, lines)

    monkeypatch.setattr(_exporter, "FIRST_BACKOFF_SECONDS", 0.02)
    monkeypatch.setattr(_exporter, "OUTAGE_SECONDS", 3_600.0)
    journal, exporter = filled(1), Down()
    async with delivering(journal, exporter) as delivery:
        await until(lambda: delivery._failures > 2)
        assert [] == caplog.messages
        monkeypatch.setattr(_exporter, "OUTAGE_SECONDS", 0.0)
        await until(lambda: caplog.messages)
        failures = delivery._failures
        await until(lambda: delivery._failures > failures)
        (told,) = caplog.messages
        assert "no collector takes" in told
        assert "refused" in told
        exporter.down = False
        await until(lambda: journal.backlog == 0)
        exporter.down = True
        _log._told.clear()  # a minute later
        journal.append(b'{"n":2}')
        await until(lambda: len(caplog.messages) == 2)


@pytest.mark.parametrize("silent", [True, False])
async def test_exit_does_not_wait_for_one_that_does_not(tmp_path: Path, *, silent: bool) -> None:
    """
    Where the collector has not answered, or says that it cannot, an exit is not held up: what is
    recorded lies on the disk.
    """

    class Silent(MemoryExporter):
        async def export(self, source: str, lines: Sequence[bytes]) -> Answer:
            if silent:
                await asyncio.sleep(60)
            raise CollectorUnavailableError("down", retry_after=60)

    took = []
    while not took or (took[-1] >= 0.25 and len(took) < 12):  # a machine may stand still meanwhile
        journal = FileJournal(tmp_path / f"{len(took)}", SOURCE, owner={}, max_bytes=2**20)
        journal.append(b'{"n":0}')
        async with delivering(journal, Silent()) as delivery:
            await until(lambda delivery=delivery: silent or delivery.tried)
            began = time.monotonic()
            delivery.hurry()
            await asyncio.to_thread(delivery.drain_at_exit, began, 2.0)
            took.append(time.monotonic() - began)
            assert 1 == journal.backlog
    assert min(took) < 0.25


async def test_exit_waits_for_what_would_be_gone() -> None:
    """
    What is only in memory is worth waiting for a collector that has not answered yet.
    """

    class Slow(MemoryExporter):
        async def export(self, source: str, lines: Sequence[bytes]) -> Answer:
            await asyncio.sleep(0.4)
            return await super().export(source, lines)

    journal, exporter = filled(1), Slow()
    async with delivering(journal, exporter) as delivery:
        began = time.monotonic()
        delivery.hurry()
        await asyncio.to_thread(delivery.drain_at_exit, began, 2.0)

        assert 0 == journal.backlog
        assert [1] == delivered(exporter)
