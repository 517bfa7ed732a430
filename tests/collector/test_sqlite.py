"""
What is true of the SQLite store alone: its file.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from pathlib import Path
from typing import get_args

import anyio
import attrs
import pytest
from sources import Source, uuid

from asyncops._exceptions import StoreError
from asyncops.collector.store.base import SessionQuery, SessionSort
from asyncops.collector.store.sqlite import SQLiteStore

pytestmark = pytest.mark.anyio

SESSION = uuid(1)


async def test_its_files_are_the_owners_alone(tmp_path: Path) -> None:
    """
    Whatever the umask, nobody else can read the database, its log or its directory.
    """
    before = os.umask(0)
    try:
        store = SQLiteStore(tmp_path / "state" / "collector.db")
        source = Source()
        await store.add(source.batch(source.starts(SESSION)))
        modes = {
            path.name: stat.S_IMODE(path.stat().st_mode)
            for path in [tmp_path / "state", *(tmp_path / "state").iterdir()]
        }
        await store.aclose()
    finally:
        os.umask(before)
    assert modes == {
        "state": 0o700,
        "collector.db": 0o600,
        "collector.db-wal": 0o600,
        "collector.db-shm": 0o600,
    }


async def test_is_written_through_to_the_disk(tmp_path: Path) -> None:
    """
    Commits are synchronous and go to a write-ahead log: an acknowledgement is true.
    """
    store = SQLiteStore(tmp_path / "collector.db")
    try:
        connection = store._writer.connection
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    finally:
        await store.aclose()


async def test_refuses_a_file_of_a_newer_version(tmp_path: Path) -> None:
    """
    A database that a newer version made is left alone, with a message that says what to do.
    """
    path = tmp_path / "collector.db"
    await SQLiteStore(path).aclose()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreError, match=r"newer asyncops.*upgrade"):
        SQLiteStore(path)


async def test_refuses_a_database_of_something_else(tmp_path: Path) -> None:
    """
    A database with other tables in it is left alone.
    """
    path = tmp_path / "photos.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE photos (id INTEGER)")
    connection.close()
    with pytest.raises(StoreError, match="something else"):
        SQLiteStore(path)
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT name FROM sqlite_schema").fetchall() == [("photos",)]
    connection.close()


async def test_says_where_it_cannot_be(tmp_path: Path) -> None:
    """
    A path that cannot hold a database is named in the error.
    """
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"file/collector\.db"):
        SQLiteStore(tmp_path / "file" / "collector.db")


async def test_another_process_may_write_meanwhile(tmp_path: Path) -> None:
    """
    Two stores over one file see what each other wrote, and neither breaks the other.
    """
    one, two = SQLiteStore(tmp_path / "collector.db"), SQLiteStore(tmp_path / "collector.db")
    try:
        async with anyio.create_task_group() as tasks:
            for number in range(10):
                for store, offset in ((one, 0), (two, 100)):
                    source = Source(number + offset)
                    batch = source.batch(source.starts(uuid(number)), source.does(uuid(number)))
                    tasks.start_soon(store.add, batch)
        for store in (one, two):
            page = await store.sessions("default", SessionQuery())
            assert [session.events for session in page.sessions] == [2] * 10
    finally:
        await one.aclose()
        await two.aclose()


async def test_readers_cannot_write(tmp_path: Path) -> None:
    """
    The connections that answer questions refuse to change anything.
    """
    store = SQLiteStore(tmp_path / "collector.db")

    def write(connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM sessions")

    try:
        with pytest.raises(StoreError, match="readonly"):
            await store._read(write)
    finally:
        await store.aclose()


async def test_a_file_that_is_gone_is_an_error(tmp_path: Path) -> None:
    """
    Where somebody took the file away, no empty one is put in its place.
    """
    path = tmp_path / "collector.db"
    store = SQLiteStore(path)
    path.unlink()
    try:
        with pytest.raises(StoreError, match="cannot be used"):
            await store.keys()
        assert not path.exists()
    finally:
        await store.aclose()


async def plan(store: SQLiteStore, question: str) -> str:
    """
    How SQLite goes about answering *question*.
    """

    def explain(connection: sqlite3.Connection) -> str:
        return " | ".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {question}"))

    return await store._submit(explain)


async def test_lists_never_look_at_events(tmp_path: Path) -> None:
    """
    No filter, order or sum reads the table of events or all sessions; every order has its index.
    """
    store = SQLiteStore(tmp_path / "collector.db")
    source = Source()
    await store.add(source.batch(source.starts(SESSION), source.does(SESSION)))
    asked: list[str] = []
    try:
        with store._reader() as connection:
            connection.set_trace_callback(asked.append)
        query = SessionQuery(
            q="x",
            states=("Running",),
            tags=("a",),
            agent="b",
            model="m",
            since=1,
            until=2**62,
            name="n",
            error="e",
            fingerprint="f",
            missing=True,
            min_duration=1,
            max_duration=2,
            min_cost=1,
            max_cost=2,
            min_tokens=1,
            max_tokens=2,
            min_events=1,
            max_events=2,
            min_errors=1,
            max_errors=2,
            sort="duration",
        )
        plans = {}
        for sort in get_args(SessionSort):
            await store.sessions("default", attrs.evolve(query, sort=sort))
            await store.sessions("default", SessionQuery(sort=sort))
            plans[sort] = await plan(store, asked[-2])
            assert f"USING INDEX sessions_{sort}" in plans[sort]
        # but for the duration of those that have not ended, which are few
        assert [sort for sort in plans if "TEMP B-TREE" in plans[sort]] == ["duration"]
        await store.overview("default", since=1)
        await store.breakdown("default", since=1)
        for text in asked:
            if text.startswith("SELECT"):
                it = await plan(store, text)
                assert "SCAN e" not in it
                assert " events" not in it.replace("AND events", "")  # a column of sessions
                assert "SCAN s" not in it
                assert "CORRELATED LIST" not in it  # what is the same for all is worked out once
    finally:
        await store.aclose()
