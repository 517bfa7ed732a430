"""
A client records, delivers, stops, and survives what the machine does to it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest

import asyncops
from asyncops import Client, Configuration, Session
from asyncops._client import client_for, destination
from asyncops.testing import MemoryExporter

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A thread that is slow this once is waited for, unless a test says for how long.
    """
    monkeypatch.setenv("ASYNCOPS_SHUTDOWN_TIMEOUT", "60")


def told(exporter: MemoryExporter) -> list[dict[str, Any]]:
    """
    Everything delivered, source after source.
    """
    return [
        json.loads(line) for lines in exporter.lines.values() for _, line in sorted(lines.items())
    ]


def types(exporter: MemoryExporter) -> list[str]:
    return [record["type"] for record in told(exporter)]


async def test_records_and_delivers() -> None:
    """
    A session recorded by a client arrives whole at its exporter: who, what, how it ended.
    """
    exporter = MemoryExporter()
    client = Client(Configuration(max_wait_time=0.01), exporter=exporter)
    async with Session("mine", configuration=client.configuration, client=client) as session:
        with asyncops.action("step"):
            pass
        assert await session.flush(timeout=60)
    assert await client.aclose()

    kinds = types(exporter)
    assert ["source", "session"] == kinds[:2]
    assert {"event", "session_ended", "source_ended"} <= set(kinds)
    assert "source_ended" == kinds[-1]
    assert any(record.get("host") for record in told(exporter))
    assert list(range(1, len(kinds) + 1)) == [record["seq"] for record in told(exporter)]
    assert exporter.closed


async def test_aclose_ends_what_is_open(tmp_path: Path) -> None:
    """
    Closing a client ends its sessions, delivers, and leaves nothing on disk.
    """
    exporter = MemoryExporter()
    client = Client(Configuration(), exporter=exporter)
    Session(configuration=client.configuration, client=client).start()
    assert await client.aclose()

    (ended,) = [record for record in told(exporter) if record["type"] == "session_ended"]
    assert ("Indeterminate", "client closed without end_session()") == (
        ended["state"], ended["reason"],
    )  # fmt: skip
    assert not list((tmp_path / "journal").glob("*/*"))
    with pytest.raises(asyncops.NoSessionError):
        asyncops.current_session()


async def test_aclose_of_a_silent_collector(tmp_path: Path) -> None:
    """
    Closing waits no longer than shutdown_timeout; what is not delivered stays in the journal.
    """

    class Silent(MemoryExporter):
        async def export(self, source: str, lines: Any) -> Any:
            await asyncio.sleep(60)

    client = Client(Configuration(shutdown_timeout=0.2), exporter=Silent())
    async with Session(configuration=client.configuration, client=client):
        pass
    loop = asyncio.get_running_loop()
    began = loop.time()

    assert not await client.aclose()
    assert loop.time() - began < 1.5
    assert list((tmp_path / "journal").glob("*/*/*.seg"))


async def test_used_again_after_aclose() -> None:
    """
    A closed client opens anew, as another source.
    """
    exporter = MemoryExporter()
    client = Client(Configuration(), exporter=exporter)
    for _ in range(2):
        async with Session(configuration=client.configuration, client=client):
            pass
        assert await client.aclose()

    assert 2 == len(exporter.lines)


async def test_one_client_per_configuration() -> None:
    """
    Sessions with the same options share a client, a journal and a connection.
    """
    assert client_for(Configuration()) is client_for(Configuration(tags=["other"]))
    assert client_for(Configuration()) is not client_for(Configuration(max_wait_time=3))


def test_destinations_do_not_mix() -> None:
    """
    What is bound for another collector or project lies in another directory, and tells no key.
    """
    names = {
        destination(endpoint, key)
        for endpoint in ("http://a", "http://b")
        for key in (None, "k1", "k2")
    }

    assert 6 == len(names)
    assert not any("k1" in name for name in names)


async def test_key_is_not_in_the_journal(tmp_path: Path) -> None:
    """
    The key is in no file.
    """
    key = "canary-0123456789abcdef"
    async with asyncops.session(config=Configuration(api_key=key)):
        asyncops.record(asyncops.ActionEvent(name="x", params={"api_key": key}))

    files = [path for path in (tmp_path / "journal").rglob("*") if path.is_file()]
    assert files
    for path in files:
        assert key.encode() not in path.read_bytes(), path


@pytest.mark.skipif(os.getuid() == 0 and not Path("/proc").exists(), reason="needs /proc")
async def test_no_place_for_a_journal(caplog: pytest.LogCaptureFixture) -> None:
    """
    Where no journal can be kept, one warning says so and what to do, and recording goes on.
    """
    exporter = MemoryExporter()
    configuration = Configuration(journal_dir=Path("/proc/nowhere"), max_wait_time=0.01)
    client = Client(configuration, exporter=exporter)
    with caplog.at_level(logging.WARNING, "asyncops"):
        for _ in range(3):
            async with Session(configuration=configuration, client=client):
                asyncops.record(asyncops.ActionEvent(name="x"))
        assert await client.aclose()

    assert 3 == types(exporter).count("event")
    (warning,) = caplog.messages
    assert "ASYNCOPS_JOURNAL_DIR" in warning


async def test_memory(tmp_path: Path) -> None:
    """
    With durability="memory" nothing touches the disk.
    """
    exporter = MemoryExporter()
    client = Client(Configuration(durability="memory"), exporter=exporter)
    async with Session(configuration=client.configuration, client=client):
        pass
    assert await client.aclose()

    assert "session_ended" in types(exporter)
    assert not (tmp_path / "journal").exists()


async def test_fsync() -> None:
    """
    With durability="fsync" everything works as it does without.
    """
    exporter = MemoryExporter()
    client = Client(Configuration(durability="fsync"), exporter=exporter)
    async with Session(configuration=client.configuration, client=client):
        asyncops.record(asyncops.ActionEvent(name="x"))
    assert await client.aclose()

    assert "event" in types(exporter)


async def test_recording_never_raises(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """
    Whatever goes wrong inside, the program notices nothing but a line in its log.
    """

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("inside")

    async with asyncops.session() as session:
        client = session._active.client if session._active else None
        assert client is not None
        monkeypatch.setattr(client, "_journal", None)
        monkeypatch.setattr(client, "_open", broken)
        with asyncops.action("a"):
            asyncops.record(asyncops.ActionEvent(name="b"))

    assert ["asyncops could not record something: RuntimeError('inside')"] == caplog.messages


async def test_starting_never_raises(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """
    A journal that cannot be opened for whatever reason is no reason to stop a program.
    """

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("inside")

    monkeypatch.setattr(Client, "_open", broken)
    async with asyncops.session() as session:
        assert session is asyncops.current_session()

    assert asyncops.EndState.SUCCESS is session.state
    assert "asyncops could not open its journal: RuntimeError('inside')" == caplog.messages[0]


async def test_any_callable_is_a_hook() -> None:
    """
    A redact hook need not be hashable.
    """

    class Hook(dict[str, str]):
        def __call__(self, key: str, value: Any) -> Any:
            return value

    config = Configuration(redact=Hook())
    async with asyncops.session(config=config):
        pass
    assert client_for(config) is client_for(config)


async def test_flush_without_anything() -> None:
    """
    Where nothing was recorded there is nothing to wait for.
    """
    assert await asyncops.flush(timeout=1)
