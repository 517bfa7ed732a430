"""
Databases that older versions left.
"""

from __future__ import annotations

import json
import sqlite3
import stat
from pathlib import Path

import pytest
from sources import SECOND, START, Clock, Source, uuid

from asyncops._exceptions import StoreError
from asyncops.collector.store.base import SessionQuery
from asyncops.collector.store.sqlite import SQLiteStore
from asyncops.collector.store.sqlite_schema import VERSION

pytestmark = pytest.mark.anyio

SESSION = uuid(1)
VERSION_1 = Path(__file__).with_name("version_1.sql").read_text()
VERSION_2 = Path(__file__).with_name("version_2.sql").read_text()
VERSION_4 = Path(__file__).with_name("version_4.sql").read_text()


def left(path: Path, script: str) -> Path:
    """
    The database that *script* makes.
    """
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.executescript(script)
    connection.close()
    path.chmod(0o600)
    return path


def schema(path: Path) -> tuple[object, ...]:
    """
    What a database says of itself: its version, its tables with their columns, its indexes.
    """
    connection = sqlite3.connect(path)
    try:
        version = connection.execute("PRAGMA user_version").fetchone()
        columns = connection.execute(
            "SELECT t.name, c.name, c.type, c.[notnull], c.dflt_value, c.pk"
            " FROM sqlite_schema t, pragma_table_info(t.name) c"
            " WHERE t.name NOT LIKE 'sqlite%' ORDER BY 1, 2"
        ).fetchall()
        indexes = connection.execute(
            "SELECT name, sql FROM sqlite_schema WHERE type = 'index' ORDER BY 1"
        ).fetchall()
        return version, columns, indexes
    finally:
        connection.close()


async def test_a_database_of_version_1_opens_and_keeps_everything(tmp_path: Path) -> None:
    """
    What an older collector stored is all there, what it missed is missing for an unknown reason,
    and its sources go on where they were.
    """
    path = left(tmp_path / "collector.db", VERSION_1)
    store = SQLiteStore(path, clock=Clock())
    try:
        detail = await store.session("default", SESSION)
        summary = detail.summary
        assert (summary.name, summary.state, summary.reason) == ("nightly", "Fail", "no")
        assert (summary.events, summary.prompt_tokens, summary.cost) == (1, 3, 500_000_000)
        assert summary.tags == ("eval",)
        assert summary.missing_by_reason == {"unknown": 3}
        (process,) = detail.sources
        assert (process.pid, process.host) == (7, {"os": {"name": "Linux"}})
        (event,) = (await store.events("default", SESSION)).events
        assert (event.summary.model, event.params) == ("m", {"q": 1})
        for query in (
            SessionQuery(tags=("eval",)),
            SessionQuery(model="m"),
            SessionQuery(q="step"),
        ):
            assert (await store.sessions("default", query)).sessions == (summary,)

        one, other = Source(1), Source(2)
        one.seq, other.seq = 6, 5
        assert (await store.add(one.batch(one.does(SESSION)))).stored == 0  # it had that one
        other.loses(1)
        assert (await store.add(other.batch(other.joins(SESSION)))).stored == 1
        summary = (await store.session("default", SESSION)).summary
        assert summary.missing_by_reason == {"unknown": 7, "unreadable": 1}
    finally:
        await store.aclose()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_sums_and_searches_reach_what_a_database_of_version_2_has(tmp_path: Path) -> None:
    """
    What version 2 did not keep apart is made when it is upgraded: sums by day, what is searched.
    """
    path = left(tmp_path / "collector.db", VERSION_2)
    store = SQLiteStore(path, clock=Clock())
    try:
        overview = await store.overview("default")
        assert overview.states == {"Fail": 1, "Success": 2, "Running": 1}
        assert [(day.day, day.sessions, day.cost) for day in overview.days] == [
            ("2027-01-14", 1, 500_000_000),
            ("2027-01-15", 3, 1_500_000_000),
        ]
        assert overview.average_duration == 2 * SECOND
        assert [(m["model"], m["calls"], m["prompt_tokens"]) for m in overview.models] == [
            ("m", 3, 8),
            (None, 1, 2),
        ]
        for text, sessions in (("run 2", [2]), ("too slow", [1]), ("KeyError", [2, 4, 1, 3])):
            page = await store.sessions("default", SessionQuery(q=text))
            assert [session.id for session in page.sessions] == [uuid(n) for n in sessions]
        alike = await store.sessions("default", SessionQuery(fingerprint="KeyError: 'x'"))
        assert [session.id for session in alike.sessions] == [uuid(n) for n in (2, 4, 1, 3)]
        source = Source(4)
        source.seq = 3
        await store.add(source.batch(source.ends(uuid(4), ended_at=START + 6 * SECOND)))
        overview = await store.overview("default")
        assert overview.states == {"Fail": 1, "Success": 3}
        assert overview.average_duration == 3 * SECOND
    finally:
        await store.aclose()


@pytest.mark.parametrize("script", [VERSION_1, VERSION_2, VERSION_4])
async def test_an_upgraded_database_is_like_a_new_one(tmp_path: Path, script: str) -> None:
    """
    The tables of a database that was upgraded are those of one that was just made.
    """
    upgraded = left(tmp_path / "old.db", script)
    await SQLiteStore(upgraded).aclose()
    await SQLiteStore(tmp_path / "new.db").aclose()
    assert schema(upgraded) == schema(tmp_path / "new.db")
    assert schema(upgraded)[0] == (VERSION,)


async def test_who_said_costs_reaches_what_a_database_of_version_4_has(tmp_path: Path) -> None:
    """
    Version 4 did not keep with a session who said its costs, and computed none.
    """
    path = left(tmp_path / "collector.db", VERSION_4)
    store = SQLiteStore(path, clock=Clock())
    try:
        summary = (await store.session("default", SESSION)).summary
        assert (summary.cost, summary.costs_unknown) == (751_000_000, 2)
        assert sorted((s.source, s.currency, s.table, s.events) for s in summary.costs_from) == [
            ("computed", "USD", "prices 1", 1),
            ("provider", "EUR", None, 1),
            ("provider", "USD", None, 2),
        ]
        assert (await store.session("default", uuid(2))).summary.costs_from == ()
        event = (await store.events("default", SESSION)).events[-1]
        assert (event.tool_call_id, event.requested_by, event.tool_calls) == ("call_1", None, ())

        source = Source(2)
        source.seq = 2
        await store.add(
            source.batch(
                source.does(uuid(2), id="00000000000000a1", kind="llm", tool_call_ids=("call_2",)),
                source.does(uuid(2), id="00000000000000a2", kind="tool", tool_call_id="call_2"),
            )
        )
        asked, tool = (await store.events("default", uuid(2))).events[1:]
        assert asked.tool_calls == (("call_2", tool.summary.id),)
        assert tool.requested_by == asked.summary.id

        changed = await store.reprice("default")
        assert [(each.session, each.events) for each in changed.sessions] == [
            (SESSION, 2),
            (uuid(2), 1),
        ]
        overview = await store.overview("default")
        assert overview.cost == 750_000_000 + 2 * 3_500_000 + 35_000
    finally:
        await store.aclose()


async def test_what_agents_spent_reaches_what_a_database_of_version_4_has(tmp_path: Path) -> None:
    """
    Before version 9 nobody kept which agent spent what; sums that are too large stop at a bound.
    Before version 10 a session did not have the last score of those it was given.
    """
    words = [
        {"at": 3, "score": 0.25, "score_name": "speed"},
        {"at": 4, "score": 0.75},
        {"at": 5, "star": True},
        {"at": 6, "score": 1, "event": "0000000100000001"},
        {"at": 2, "score": 0.5},
    ]
    lines = [
        json.dumps({"type": "annotation", "seq": seq, "session": SESSION, **word})
        for seq, word in enumerate(words, 90)
    ]
    path = left(
        tmp_path / "collector.db",
        f"""{VERSION_4}
        UPDATE events SET agent = 'planner' WHERE key IN (4294967297, 4294967301);
        UPDATE events SET agent = 'writer', prompt_tokens = {2**62} WHERE id IN
            (4294967298, 4294967299, 4294967300);
        UPDATE events SET agent = 'idle' WHERE kind = 'tool';
        UPDATE events SET agent = 'refused', prompt_tokens = NULL, completion_tokens = NULL,
            state = 'Fail', error = 'HTTPStatusError: 429' WHERE session = 2;
        INSERT INTO labels VALUES (6, 1, 'agent', 'planner'), (7, 1, 'agent', 'writer'),
            (8, 1, 'agent', 'idle'), (9, 1, 'agent', 'refused');
        INSERT INTO session_labels VALUES (6, 1), (7, 1), (8, 1), (9, 2);
        INSERT INTO statements
            SELECT 1, 1, key + 90, CAST(value AS BLOB) FROM json_each('{json.dumps(lines)}');
        """,
    )
    store = SQLiteStore(path, clock=Clock())
    try:
        agents = (await store.breakdown("default")).agents
        assert [(it.text, it.calls, it.cost, it.costs_unknown) for it in agents] == [
            ("planner", 2, 500_000_000, 1),
            ("writer", 3, 251_000_000, 1),
            ("idle", 0, None, 0),
            ("refused", 1, None, 0),
        ]
        scored = await store.sessions("default", SessionQuery(min_score=0.75))
        assert [(it.id, it.score) for it in scored.sessions] == [(SESSION, 0.75)]
        assert len((await store.session("default", SESSION)).scores) == 3
        assert [it.tokens for it in agents] == [2_200, 2**62, 0, 0]
    finally:
        await store.aclose()


async def test_an_upgrade_that_fails_changes_nothing(tmp_path: Path) -> None:
    """
    A database that cannot be upgraded is left as it was, with an error that names it.
    """
    path = left(
        tmp_path / "collector.db", f"{VERSION_1}\nALTER TABLE sessions ADD missing INTEGER;"
    )
    before = schema(path)
    with pytest.raises(StoreError, match=r"collector\.db"):
        SQLiteStore(path)
    assert schema(path) == before
