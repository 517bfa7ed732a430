"""
Live views: what is committed is seen at once, by as many as there is room for, until the end.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import msgspec
import pytest
from processes import SECONDS
from sources import START, Clock, Source, lines, uuid
from starlette.types import Message

from asyncops.collector import server
from asyncops.collector.app import CollectorSettings, create_app
from asyncops.collector.server import EmbeddedCollector
from asyncops.collector.store.sqlite import SQLiteStore
from asyncops.collector.streams import Streams

pytestmark = pytest.mark.anyio

SESSION = uuid(1)
OTHER = uuid(2)


Event = tuple[str, str | None, Any]
"""The kind, the id and the data of a server-sent event."""


class Told:
    """
    The events of one stream, as they come.
    """

    def __init__(self) -> None:
        self.watching = anyio.Event()
        self._into, self._events = anyio.create_memory_object_stream[Event](10_000)

    async def read(self, response: httpx.Response) -> None:
        fields: dict[str, str] = {}
        with self._into:
            async for line in response.aiter_lines():
                if line and not line.startswith(":"):
                    name, _, value = line.partition(": ")
                    fields[name] = value
                    continue
                if "retry" in fields:  # the first word, said once the stream watches
                    self.watching.set()
                elif fields:
                    data = msgspec.json.decode(fields["data"])
                    self._into.send_nowait((fields["event"], fields.get("id"), data))
                fields = {}

    async def next(self) -> Event:
        """
        The next event, or `anyio.EndOfStream`.
        """
        with anyio.fail_after(SECONDS):
            return await self._events.receive()

    async def all_for(self, seconds: float) -> list[Event]:
        events = []
        with anyio.move_on_after(seconds):
            while True:
                events.append(await self._events.receive())
        return events

    def close(self) -> None:
        self._events.close()


@asynccontextmanager
async def listening(collector: EmbeddedCollector, path: str, **headers: str) -> AsyncIterator[Told]:
    """
    A stream that watches when the block begins.
    """
    told = Told()
    async with (
        httpx.AsyncClient(
            base_url=collector.url, timeout=SECONDS, trust_env=False, verify=False
        ) as http,
        http.stream("GET", path, headers=headers) as response,
        anyio.create_task_group() as tasks,
    ):
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        tasks.start_soon(told.read, response)
        with anyio.fail_after(SECONDS):
            await told.watching.wait()
        yield told
        tasks.cancel_scope.cancel()
    told.close()


class Posting:
    """
    Posts what sources say, as they say it.
    """

    def __init__(self, collector: EmbeddedCollector) -> None:
        self._http = httpx.AsyncClient(
            base_url=collector.url, timeout=SECONDS, trust_env=False, verify=False
        )

    async def __call__(self, source: Source, *records: Any) -> None:
        answer = await self._http.post(
            "/v1/records", content=lines(*records), headers={"Asyncops-Source": source.id}
        )
        assert answer.json()["rejected"] == []

    async def aclose(self) -> None:
        await self._http.aclose()


@pytest.fixture
async def post(collector: EmbeddedCollector) -> AsyncIterator[Posting]:
    post = Posting(collector)
    yield post
    await post.aclose()


async def test_tells_of_sessions_as_they_change(
    collector: EmbeddedCollector, post: Posting
) -> None:
    """
    Whoever watches all sessions sees each change of one, as the list shows it.
    """
    source = Source()
    async with listening(collector, "/api/stream") as told:
        await post(source, source.starts(SESSION, name="live"))
        kind, _, session = await told.next()
        assert (kind, session["id"], session["state"]) == ("session", SESSION, "Running")
        await post(source, source.does(SESSION), source.ends(SESSION))
        kind, _, session = await told.next()
        assert (session["state"], session["events"]) == ("Success", 1)
        async with httpx.AsyncClient(
            base_url=collector.url, timeout=SECONDS, trust_env=False, verify=False
        ) as http:
            listed = (await http.get("/api/sessions")).json()["sessions"]
        assert session in listed


async def test_tells_of_one_session_what_is_new_and_changed(
    collector: EmbeddedCollector, post: Posting
) -> None:
    """
    Whoever watches a session gets its events, then each that is new or closed, and how it stands.
    """
    source = Source()
    await post(source, source.starts(SESSION), source.opens(SESSION, id="00000000000000a1"))
    async with listening(collector, f"/api/sessions/{SESSION}/stream") as told:
        kind, event_id, events = await told.next()
        assert (kind, event_id) == ("events", "1")
        assert [(event["id"], event["state"]) for event in events] == [
            ("00000000000000a1", "Running")
        ]
        assert "params" not in events[0]
        kind, _, session = await told.next()
        assert (kind, session["state"], session["sources"][0]["id"]) == (
            "session",
            "Running",
            source.id,
        )
        await post(source, source.does(SESSION, id="00000000000000a1"), source.ends(SESSION))
        kind, event_id, events = await told.next()
        assert (kind, event_id) == ("events", "2")
        assert [(event["id"], event["state"]) for event in events] == [
            ("00000000000000a1", "Success")
        ]
        kind, _, session = await told.next()
        assert (kind, session["state"]) == ("session", "Success")


async def test_tells_no_more_than_that_something_changed(
    collector: EmbeddedCollector, post: Posting
) -> None:
    """
    A brief stream tells when it told of a change, of some sessions alone if it is asked to; what
    changed after its reader looked is told at once.
    """
    source = Source()
    looked = time.time_ns() // 1_000
    await post(source, source.starts(SESSION))
    async with (
        listening(collector, f"/api/stream?brief=1&seen={looked}") as late,
        listening(collector, f"/api/stream?brief=1&seen={time.time_ns() // 1_000}") as everything,
        listening(collector, f"/api/stream?brief=1&ids={OTHER}") as other,
    ):
        assert (await late.next())[0] == "changed"
        await post(source, source.does(SESSION))
        kind, _, data = await everything.next()
        assert kind == "changed"
        assert looked < data["at"] <= time.time_ns() // 1_000
        await post(source, source.starts(OTHER))
        assert (await other.next())[2]["at"] > data["at"]
        assert await other.all_for(0.1) == []
    async with httpx.AsyncClient(
        base_url=collector.url, timeout=SECONDS, trust_env=False, verify=False
    ) as http:
        for wrong in ("brief=1&seen=soon", "ids=" + ",".join(map(str, range(101)))):
            assert (await http.get(f"/api/stream?{wrong}")).status_code == 400


@pytest.mark.parametrize("how", ["after", "last-event-id"])
async def test_goes_on_where_a_reader_was(
    collector: EmbeddedCollector, post: Posting, how: str
) -> None:
    """
    A reader that says what it has seen is told only the rest.
    """
    source = Source()
    await post(source, source.starts(SESSION), *(source.does(SESSION) for _ in range(5)))
    path = f"/api/sessions/{SESSION}/stream" + ("?after=3" if how == "after" else "")
    headers = {"Last-Event-ID": "3"} if how == "last-event-id" else {}
    async with listening(collector, path, **headers) as told:
        kind, event_id, events = await told.next()
        assert (kind, event_id, [event["seq"] for event in events]) == ("events", "5", [4, 5])


async def test_tells_everything_of_a_large_session(
    collector: EmbeddedCollector, post: Posting
) -> None:
    """
    Many events come in portions, none of them missing.
    """
    source = Source()
    await post(source, source.starts(SESSION), *(source.does(SESSION) for _ in range(1_200)))
    seen: list[int] = []
    async with listening(collector, f"/api/sessions/{SESSION}/stream") as told:
        while len(seen) < 1_200:
            kind, event_id, events = await told.next()
            assert kind == "events"
            assert event_id == str(events[-1]["seq"])
            seen += [event["seq"] for event in events]
    assert seen == list(range(1, 1_201))


async def test_tells_no_more_often_than_eyes_can_follow(
    collector: EmbeddedCollector, post: Posting
) -> None:
    """
    A session that changes all the time is told of about four times a second, up to date at last.
    """
    source = Source()
    async with listening(collector, "/api/stream") as told:
        begun = time.monotonic()
        changes: list[int] = []
        async with anyio.create_task_group() as tasks:

            async def read() -> None:
                while changes[-1:] != [40]:
                    changes.append((await told.next())[2]["events"])

            tasks.start_soon(read)
            for _ in range(40):
                await post(source, source.does(SESSION))
        lasted = time.monotonic() - begun
    assert len(changes) <= 4 * lasted + 2


async def test_has_room_for_so_many(tmp_path: Path) -> None:
    """
    Beyond the number of streams there is room for, the next is put off until one is closed.
    """
    settings = CollectorSettings(port=0, db=tmp_path / "collector.db", max_streams=1)
    with EmbeddedCollector(settings) as collector:
        async with httpx.AsyncClient(
            base_url=collector.url, timeout=SECONDS, trust_env=False, verify=False
        ) as http:
            async with listening(collector, "/api/stream"):
                refused = await http.get("/api/stream")
                assert (refused.status_code, list(refused.json())) == (503, ["error"])
                assert "retry-after" in refused.headers
                assert (await http.get("/api/sessions")).status_code == 200
            status = 503
            with anyio.fail_after(SECONDS):
                while status == 503:
                    async with http.stream("GET", "/api/stream") as response:
                        status = response.status_code
            assert status == 200


async def test_ends_with_the_collector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Going down ends every stream in order and does not wait for its reader.
    """
    # who waited would do so for longer than the test has time
    monkeypatch.setattr(server, "SHUTDOWN_SECONDS", 1_000)
    collector = EmbeddedCollector(CollectorSettings(port=0, db=tmp_path / "collector.db"))
    post = Posting(collector)
    source = Source()
    await post(source, source.starts(SESSION))
    async with (
        listening(collector, "/api/stream") as everything,
        listening(collector, f"/api/sessions/{SESSION}/stream") as one,
    ):
        assert (await one.next())[0] == "session"
        await anyio.to_thread.run_sync(collector.close)
        for told in (everything, one):
            with pytest.raises(anyio.EndOfStream):
                while True:
                    await told.next()
    await post.aclose()


async def test_ends_with_its_session(collector: EmbeddedCollector, post: Posting) -> None:
    """
    When its session is deleted, a stream ends in order; who asks for it again is told that there is
    none.
    """
    source = Source()
    await post(source, source.starts(SESSION))
    path = f"/api/sessions/{SESSION}"
    async with httpx.AsyncClient(
        base_url=collector.url, timeout=SECONDS, trust_env=False, verify=False
    ) as http:
        async with listening(collector, f"{path}/stream") as told:
            assert (await told.next())[0] == "session"
            assert (await http.delete(path)).status_code == 200
            with pytest.raises(anyio.EndOfStream):
                while True:
                    await told.next()
        assert (await http.get(f"{path}/stream")).status_code == 404


async def test_a_head_request_ends_at_once(collector: EmbeddedCollector) -> None:
    """
    Asking for the headers of a stream alone is answered and over.
    """
    async with httpx.AsyncClient(
        base_url=collector.url, timeout=SECONDS, trust_env=False, verify=False
    ) as http:
        assert (await http.head("/api/stream")).status_code == 200


# -- what takes time, with the time in our hands ----------------------------------------------


@asynccontextmanager
async def called(app: Any, path: str) -> AsyncIterator[Iterator[bytes]]:
    """
    The parts of the body that *app* sends for *path*, without a server in between.
    """
    path, _, query = path.partition("?")
    told, tell = anyio.create_memory_object_stream[bytes](100)
    gone = anyio.Event()

    async def receive() -> Message:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body" and message["body"]:
            await told.send(message["body"])

    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "query_string": query.encode(),
        "headers": [(b"host", b"localhost")],
        "client": ("127.0.0.1", 1),
        "scheme": "http",
        "http_version": "1.1",
        "root_path": "",
    }
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(app, scope, receive, send)
        yield tell  # type: ignore[misc]
        gone.set()
    told.close()
    tell.close()


async def parts(told: Any, word: bytes) -> bytes:
    with anyio.fail_after(SECONDS):
        while True:
            part: bytes = await told.receive()
            if word in part:
                return part


async def test_tells_of_a_session_that_fell_silent(tmp_path: Path, clock: Clock) -> None:
    """
    A session whose process died is told of as Indeterminate, though nobody says a word.
    """
    app = create_app(CollectorSettings())
    app.state.streams = Streams(10, recheck=0.02)
    app.state.store = store = SQLiteStore(tmp_path / "collector.db", clock=clock)
    source = Source()
    await store.add(source.batch(source.starts(SESSION), received_at=START))
    try:
        for path in ("/api/stream", f"/api/sessions/{SESSION}/stream"):
            clock.now = START
            async with called(app, path) as told:
                await parts(told, b"retry: ")
                clock.passes(31)
                part = await parts(told, b'"Indeterminate"')
                assert part.startswith(b"event: session\n")
                assert b'"process died"' in part
        clock.now = START
        async with called(app, "/api/stream?brief=1") as told:
            await parts(told, b"retry: ")
            clock.passes(31)
            await parts(told, b"event: changed\n")
        assert app.state.streams.open == 0
    finally:
        await store.aclose()


async def test_a_stream_is_never_silent_for_long(tmp_path: Path) -> None:
    """
    Where nothing happens it says that it is alive, in a way that pages hear.
    """
    app = create_app(CollectorSettings())
    app.state.streams = Streams(10, recheck=0.02, heartbeat=0.05)
    app.state.store = store = SQLiteStore(tmp_path / "collector.db")
    try:
        async with called(app, "/api/stream") as told:
            assert await parts(told, b": ") == b"retry: 2000\n\n"
            assert await parts(told, b": ") == b"event: alive\ndata: {}\n\n"
            assert await parts(told, b": ") == b"event: alive\ndata: {}\n\n"
    finally:
        await store.aclose()
