"""
Deleting: of a session nothing is found any more, nothing of it comes back, and the rest is as if it
had never been.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import anyio
import httpx
import msgspec
import pytest
from processes import SECONDS
from sources import SECOND, START, Clock, Source, lines, uuid

from asyncops._events import LostRecord, Record, TagsRecord
from asyncops._exceptions import ConfigurationError, SessionNotFoundError
from asyncops.collector.retention import Retention, age, keep_for
from asyncops.collector.store.base import SessionQuery, Store
from asyncops.collector.store.sqlite import SQLiteStore

SESSION, OTHER = uuid(1), uuid(2)
DAY = 86_400 * SECOND


def story(source: Source, session: str, *, word: str) -> Iterator[Record]:
    """
    All that leaves traces: labels, words, costs, calls of tools, failures, an end.
    """
    yield source.starts(session, name=f"session of {word}", tags=(word, "both"))
    yield source.does(
        session, kind="llm", name="chat", agent=f"agent {word}", model="m-1", prompt_tokens=7,
        tool_call_ids=(f"call {word}",), params=msgspec.Raw(msgspec.json.encode({"q": word})),
    )  # fmt: skip
    for _ in range(700):
        yield source.does(session, kind="tool", name=f"tool {word}", tool_call_id=f"call {word}")
    yield source.opens(session, id=source.event_id(), name=f"open {word}")
    yield source.ends(session)


async def found(store: Store, text: str) -> list[str]:
    page = await store.sessions("default", SessionQuery(q=text))
    return [session.id for session in page.sessions]


async def settled(path: Path) -> sqlite3.Connection:
    """
    The database, once nothing waits to be taken out or made searchable.
    """
    connection = sqlite3.connect(path)
    with anyio.fail_after(SECONDS):
        while connection.execute(  # noqa: ASYNC110 - of what the writer does nobody is told
            "SELECT EXISTS (SELECT 1 FROM deleted WHERE waiting)"
            " OR EXISTS (SELECT 1 FROM sessions WHERE searched_seq < last_seq)"
        ).fetchone() != (0,):
            await anyio.sleep(0.02)
    return connection


@pytest.mark.anyio
async def test_a_deleted_session_leaves_nothing_behind(tmp_path: Path, clock: Clock) -> None:
    """
    No row, word or sum of it is left, whether its words were indexed or not; another session of the
    same day, the same tags and the same process is as it was.
    """
    path = tmp_path / "collector.db"
    store = SQLiteStore(path, clock=clock)
    source = Source()
    await store.add(source.batch(source.begins(host={"os": {"hostname": "here"}})))
    await store.add(source.batch(*story(source, OTHER, word="pears")))
    (await settled(path)).close()
    before = (await store.session("default", OTHER)).summary, await store.overview("default")
    with closing(sqlite3.connect(path)) as connection:
        rows = counts(connection)
    await store.add(source.batch(*story(source, SESSION, word="apples")))
    assert await found(store, "apples") == [SESSION]

    await store.delete("default", SESSION)
    with pytest.raises(SessionNotFoundError):
        await store.session("default", SESSION)
    with pytest.raises(SessionNotFoundError):
        await store.delete("default", SESSION)
    assert await found(store, "apples") == []
    assert ((await store.session("default", OTHER)).summary, await store.overview("default")) == (
        before
    )
    with closing(await settled(path)) as connection:
        assert counts(connection) == rows
        connection.execute("INSERT INTO texts (texts) VALUES ('integrity-check')")
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert await found(store, "apples") == []
    assert await found(store, "pears") == [OTHER]
    await store.aclose()


def counts(connection: sqlite3.Connection) -> dict[str, int]:
    """
    How many rows there are, and how many words.
    """
    connection.execute(
        "CREATE VIRTUAL TABLE IF NOT EXISTS temp.words USING fts5vocab(main, texts, row)"
    )
    tables = (
        "sessions", "events", "statements", "labels", "session_agents", "session_labels",
        "session_models", "session_sources", "tool_calls", "words",
    )  # fmt: skip
    return {
        table: connection.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0] for table in tables
    }


@pytest.mark.anyio
async def test_what_comes_late_does_not_bring_it_back(open_store: Callable[[], Store]) -> None:
    """
    Records that a program sends of a deleted session are settled and dropped, also after the store
    was opened again; what it tells of other sessions is kept, and holes in what was dropped are
    nobody's.
    """
    store = open_store()
    one, two = Source(1), Source(2)
    await store.add(one.batch(one.begins(), one.starts(SESSION), one.does(SESSION)))
    await store.delete("default", SESSION)
    one.loses(2)
    late = one.batch(
        one.does(SESSION),
        one.says(TagsRecord, session=SESSION, tags=("late",)),
        one.ends(SESSION),
    )
    outcome = await store.add(late)
    assert (outcome.acknowledged, outcome.stored, outcome.changed) == (one.seq, 0, ())
    one.loses(4)
    await store.add(one.batch(one.says(LostRecord, count=5, reason="disk_full")))
    await store.aclose()
    store = open_store()
    try:
        await store.add(two.batch(two.begins(), two.joins(SESSION), two.does(SESSION)))
        await store.add(one.batch(one.starts(OTHER), one.does(OTHER), one.does(SESSION)))
        page = await store.sessions("default", SessionQuery())
        assert [session.id for session in page.sessions] == [OTHER]
        assert (page.sessions[0].events, page.sessions[0].missing_by_reason) == (1, {})
        # the same id in another project is another session
        foreign = Source(3, project="foreign")
        await store.add(foreign.batch(foreign.starts(SESSION)))
        assert (await store.session("foreign", SESSION)).summary.id == SESSION
    finally:
        await store.aclose()


@pytest.mark.anyio
async def test_taking_out_goes_on_where_a_collector_ended(tmp_path: Path, clock: Clock) -> None:
    """
    What is left of a deleted session when the collector ends goes when the next one is there.
    """
    path = tmp_path / "collector.db"
    store = SQLiteStore(path, clock=clock)
    source = Source()
    await store.add(source.batch(*story(source, SESSION, word="apples")))
    await store.delete("default", SESSION)
    await store.aclose()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT waiting FROM deleted").fetchone() == (1,)
    store = SQLiteStore(path, clock=clock)
    with closing(await settled(path)) as connection:
        assert connection.execute("SELECT COUNT(*) FROM events").fetchone() == (0,)
    await store.aclose()


@pytest.mark.anyio
async def test_pruning_takes_what_is_old_and_over(store: Store, clock: Clock) -> None:
    """
    The oldest go first, page by page; a session that runs stays however old, and so does one of
    which something was recorded since, and those of other projects.
    """
    clock.now = START + 40 * DAY
    ages = {1: 35, 2: 33, 3: 31, 4: 29}
    for number, days in ages.items():
        source = Source(number)
        at = clock.now - days * DAY
        await store.add(
            source.batch(
                source.starts(uuid(number), at=at),
                source.does(uuid(number), at=at),
                source.ends(uuid(number), at=at, ended_at=at),
            )
        )
    running, revived, foreign = Source(5), Source(6), Source(7, project="foreign")
    old = clock.now - 36 * DAY
    await store.add(running.batch(running.starts(uuid(5), at=old), received_at=clock.now))
    await store.add(
        revived.batch(revived.starts(uuid(6), at=old), revived.does(uuid(6), at=clock.now - DAY))
    )
    await store.add(foreign.batch(foreign.starts(uuid(7), at=old)))
    before = clock.now - 30 * DAY
    would = await store.prune("default", before=before, dry_run=True)
    assert (would.sessions, would.events, would.next) == ((uuid(1), uuid(2), uuid(3)), 3, None)
    first = await store.prune("default", before=before, limit=2)
    assert (first.sessions, first.events) == ((uuid(1), uuid(2)), 2)
    rest = await store.prune("default", before=before, limit=2, cursor=first.next)
    assert (rest.sessions, rest.next) == ((uuid(3),), None)
    page = await store.sessions("default", SessionQuery())
    assert {session.id for session in page.sessions} == {uuid(4), uuid(5), uuid(6)}
    assert (await store.session("foreign", uuid(7))).summary.id == uuid(7)
    with pytest.raises(ValueError, match="no cursor"):
        await store.prune("default", before=before, cursor="1")


@pytest.mark.anyio
async def test_each_project_is_kept_for_as_long_as_was_said(store: Store) -> None:
    """
    What is too old for its project goes by itself; the word for all is for those without their own.
    """
    # by the time of the day, which retention goes by: the stories are of the future
    for project in ("default", "short", "long"):
        source = Source(project=project)
        at = START - 1_000 * DAY
        await store.add(source.batch(source.starts(SESSION, at=at), source.ends(SESSION, at=at)))
    retention = Retention.read(["long=5000w", "1d", " short =2h"])
    assert retention == Retention(age("24h"), {"long": age("5000w"), "short": age("2h")})
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(keep_for, store, retention)
        with anyio.fail_after(SECONDS):
            for project in ("default", "short"):
                with store.changes.watch(project) as watcher:
                    while (await store.sessions(project, SessionQuery())).sessions:
                        await watcher.changed(timeout=1)
        tasks.cancel_scope.cancel()
    assert (await store.session("long", SESSION)).summary.id == SESSION


@pytest.mark.parametrize("text", ["30", "d", "0d", "-1d", "1.5d", "NAME=", "30d 1h", "999999d"])
def test_says_what_an_age_looks_like(text: str) -> None:
    """
    Nothing is deleted for a word that nobody is sure of.
    """
    with pytest.raises(ConfigurationError, match="as in 30d"):
        Retention.read([text])


def test_the_api_deletes_and_prunes(http: httpx.Client) -> None:
    """
    `DELETE` on a session and `POST /api/prune` say what they did; what is not there is 404.
    """
    source = Source()
    body = lines(source.starts(SESSION), source.does(SESSION), source.ends(SESSION),
                 source.starts(OTHER), source.ends(OTHER))  # fmt: skip
    http.post("/v1/records", content=body, headers={"Asyncops-Source": source.id})
    assert http.delete(f"/api/sessions/{SESSION}").json() == {"deleted": SESSION}
    assert http.delete(f"/api/sessions/{SESSION}").status_code == 404
    assert http.get(f"/api/sessions/{SESSION}").status_code == 404
    asked = {"before": "2027-02-01", "dry_run": True}
    for _ in range(2):
        answer = http.post("/api/prune", json=asked)
        assert answer.json() == {"sessions": [OTHER], "events": 0, "next": None}
        asked["dry_run"] = False
    assert http.get("/api/sessions").json()["sessions"] == []
    assert http.post("/api/prune", json={"before": "soon"}).status_code == 400
    assert http.post("/api/prune", json={}).status_code == 400
