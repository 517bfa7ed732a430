"""
The helpers for other people's tests.
"""

from __future__ import annotations

from pathlib import Path

import pytest

import asyncops
from asyncops import CollectorUnavailableError
from asyncops.testing import MemoryExporter, fixed_ids, recorded, ticking_clock

pytestmark = pytest.mark.anyio


@asyncops.tool
async def search(query: str) -> str:
    return query


async def record_something() -> str:
    with recorded() as recording, fixed_ids(), ticking_clock():
        async with asyncops.session("s"), asyncops.agent("a"):
            await search("x")
    return str([(type(r).__name__, r.seq, r.at, getattr(r, "id", None)) for r in recording.records])


async def test_recordings_can_be_compared() -> None:
    """
    With fixed ids and a ticking clock the same program makes the same recording.
    """
    assert await record_something() == await record_something()


async def test_recorded_is_undone() -> None:
    """
    After the block, and after a nested one, things are as they were.
    """
    with recorded() as outer:
        with recorded() as inner, asyncops.session("inner"):
            pass
        with asyncops.session("outer"):
            pass

    assert ["inner"] == [session.name for session in inner.sessions]
    assert ["outer"] == [session.name for session in outer.sessions]


async def test_nothing_is_written(tmp_path: Path) -> None:
    """
    What is recorded to memory touches neither disk nor network.
    """
    with recorded(), asyncops.session() as session:
        assert await session.flush(timeout=1)

    assert not list(tmp_path.iterdir())  # noqa: ASYNC240


async def test_memory_exporter() -> None:
    """
    It keeps lines once by source and number, fails as often as told, and counts requests.
    """
    exporter = MemoryExporter(failures=[CollectorUnavailableError("down")])
    with pytest.raises(CollectorUnavailableError):
        await exporter.export("s", [b'{"seq":1}'])
    for lines in ([b'{"seq":1}'], [b'{"seq":1}', b'{"seq":2}'], []):
        answer = await exporter.export("s", lines)
    await exporter.aclose()

    assert (2, [1, 2], [1, 2, 0], True) == (
        answer.acknowledged, list(exporter.lines["s"]), exporter.batches, exporter.closed,
    )  # fmt: skip
