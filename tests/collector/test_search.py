"""
Full-text search: what was said is found a moment after it was stored, and nothing else is.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from processes import until
from sources import START, Source, lines, uuid
from stores import searchable

from asyncops._events import EndState, Failure
from asyncops._exceptions import SessionNotFoundError
from asyncops.collector.server import EmbeddedCollector
from asyncops.collector.store import sqlite_texts
from asyncops.collector.store.base import EventMatches, EventPage, SessionQuery, Store
from asyncops.collector.store.sqlite import SQLiteStore

pytestmark = pytest.mark.anyio

SESSION = uuid(1)
OTHER = uuid(2)


def raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


async def found(store: Store, text: str, **query: Any) -> list[str]:
    page = await store.sessions("default", SessionQuery(q=text, **query))
    return [session.id for session in page.sessions]


def said(page: EventPage) -> list[str]:
    return [event.summary.name for event in page.events]


async def tell(store: Store, *events: dict[str, Any]) -> None:
    """
    One session with *events*, and one with nothing of note.
    """
    one, other = Source(1), Source(2)
    await store.add(one.batch(*(one.does(SESSION, **event) for event in events)))
    await store.add(other.batch(other.does(OTHER, params=raw({"q": "nothing of note"}))))
    await searchable(store)


FOUND = (
    "moon",
    "MOON",
    "the moon",
    "moon the",  # in any order
    '"over the moon"',
    "moo* ove*",
    "uber",
    "Über",
    "naïve",
    "naive",
    "café",
    "日本語",
    "line",
    "second",
    "quoted",
    "C",
    "windows",
    "gpt-4o",
    "3.14",
    "42",
    "paris",
    "tagged",
    "late",
    "broke",
    "moon 'paris'",
    "moon, paris!",
    "😀moon😀",
)


async def test_what_was_said_is_found(store: Store) -> None:
    """
    Words of whatever went in or came out of an event lead to its session, whatever their case,
    accents and order, also where JSON has to escape them.
    """
    await tell(
        store,
        {
            "kind": "llm",
            "prompt": raw([{"role": "user", "content": "Über the naïve\nline\tsecond 😀moon😀"}]),
            "completion": raw(
                {"content": 'over the moon: "quoted" C:\\windows 3.14 日本語。 Paris'}
            ),
            "params": msgspec.Raw(rb'{"model": "gpt-4o", "foreign": "caf\u00e9 \ud83d\ude00"}'),
            "returns": raw([42]),
            "attributes": raw({"tagged": None}),
            "failure": Failure(type="LateError", message="too late, it broke"),
        },
    )
    for text in FOUND:
        assert await found(store, text) == [SESSION], text
        assert said(await store.events("default", SESSION, q=text)) == ["step"], text


NOT_FOUND = (
    "sun",
    "moo",
    "oon",
    "mo*",  # too short to begin a word
    '"moon the"',
    "moon sun",
    "moon together",  # of another event
    "AND",
    "moon OR sun",
    "moon AND NOT sun",
    "NEAR(over moon)",
    "text:moon",
    "text : sun",
    "^sun",
    "-sun",
    "{sun}",
    "*",
    "**",
    '"',
    '""',
    '"*"',
    "'",
    "(",
    ")",
    "+",
    "\\",
    "moon\x00",
    "😀",
    "sun " * 250,
    '" OR "sun',
    "x'; DROP TABLE texts; --",
)


async def test_what_was_not_said_is_not_found(store: Store) -> None:
    """
    What means something to a search engine is only text, and none of it an error.
    """
    await tell(
        store,
        {"completion": raw("over the moon"), "kind": "llm"},
        {"returns": raw("together"), "kind": "tool"},
    )
    for text in NOT_FOUND:
        assert await found(store, text) == [], text
        assert said(await store.events("default", SESSION, q=text)) == [], text


async def test_long_texts_are_searched_at_both_ends(store: Store) -> None:
    """
    Of a text that is long the beginning and the end are found, and the texts beside it whole.
    """
    long = f"first {'filler ' * 20_000} middle {'filler ' * 20_000} last"
    await tell(store, {"prompt": raw(long), "completion": raw("answer"), "kind": "llm"})
    for text in ("first", "last", "answer", "first last answer"):
        assert await found(store, text) == [SESSION]
    assert await found(store, "middle") == []


async def test_events_of_a_session_are_searched_page_by_page(store: Store) -> None:
    """
    A search within a session finds its events in order, following `next` misses and repeats none.
    """
    source, other = Source(1), Source(2)
    await store.add(
        source.batch(
            *(
                source.does(
                    SESSION, name=f"n{number}", returns=raw("even" if number % 2 == 0 else "odd")
                )
                for number in range(20)
            )
        )
    )
    await store.add(other.batch(other.does(OTHER, name="other", returns=raw("even"))))
    await searchable(store)
    cursor = None
    names: list[str] = []
    while True:
        page = await store.events("default", SESSION, q="even", cursor=cursor, limit=3)
        names += said(page)
        cursor = page.next
        if cursor is None:
            break
    assert [f"n{number}" for number in range(0, 20, 2)] == names
    assert said(await store.events("default", SESSION, q="n7")) == ["n7"]


async def test_an_event_is_found_once_it_is_closed(store: Store) -> None:
    """
    An event that is open is found when it closes, once.
    """
    source = Source()
    opened = source.opens(SESSION, id="00000000000000aa", params=raw("early"))
    await store.add(source.batch(opened, source.does(SESSION, returns=raw("beside"))))
    await searchable(store)
    assert await found(store, "early") == []
    assert await found(store, "beside") == [SESSION]
    await store.add(source.batch(source.does(SESSION, id="00000000000000aa", params=raw("early"))))
    await searchable(store)
    assert await found(store, "early") == [SESSION]
    page = await store.events("default", SESSION, q="early")
    assert [event.summary.id for event in page.events] == ["00000000000000aa"]


async def test_projects_and_filters_narrow_a_search(store: Store) -> None:
    """
    A search finds nothing of other projects, and goes with every filter and order.
    """
    one, two, foreign = Source(1), Source(2), Source(3, project="secret")
    for source, session, cost in ((one, SESSION, EndState.FAIL), (two, OTHER, EndState.SUCCESS)):
        await store.add(
            source.batch(
                source.starts(session, tags=("t",), started_at=START),
                source.does(session, returns=raw("moon")),
                source.ends(session, cost),
            )
        )
    await store.add(foreign.batch(foreign.does(uuid(3), returns=raw("moon"))))
    await searchable(store)
    assert await found(store, "moon") == [OTHER, SESSION]
    assert await found(store, "moon", states=("Fail",), tags=("t",), sort="duration") == [SESSION]
    assert await found(store, "moon", until=START) == []


async def test_where_a_session_says_it(store: Store) -> None:
    """
    The places of the events that a search within a session finds, among those of its timeline, and
    whether that is all: not before the words of the latest are known.
    """
    source, other = Source(1), Source(2)
    await store.add(source.batch(*(source.does(SESSION, returns=raw("moon")) for _ in range(3))))
    await store.add(other.batch(other.does(OTHER, returns=raw("moon"))))
    await searchable(store)
    one, two, three = (event.seq for event in await store.timeline("default", SESSION))
    expected = EventMatches(seqs=(one, two, three), whole=True)
    assert await store.matches("default", SESSION, "MOO*") == expected
    await store.add(source.batch(source.does(SESSION, returns=raw("moon and sun"))))
    early = await store.matches("default", SESSION, "sun")
    await searchable(store)
    four = (await store.timeline("default", SESSION))[-1].seq
    late = await store.matches("default", SESSION, "sun")
    assert late == EventMatches(seqs=(four,), whole=True)
    assert early in (EventMatches(seqs=(), whole=False), late)
    for text in ("*", '"', "NEAR(over moon)", "moon\x00"):
        assert await store.matches("default", SESSION, text) == EventMatches(seqs=(), whole=True)
    with pytest.raises(SessionNotFoundError):
        await store.matches("other", SESSION, "moon")


async def test_what_was_left_is_searchable_later(open_store: Callable[[], Store]) -> None:
    """
    A store that closes before its events are searchable leaves them to whoever opens it next.
    """
    store = open_store()
    source = Source()
    await store.add(
        source.batch(*(source.does(SESSION, returns=raw("moon")) for _ in range(2_000)))
    )
    await store.aclose()
    store = open_store()
    try:
        await searchable(store)
        assert await found(store, "moon") == [SESSION]
        page = await store.events("default", SESSION, q="moon", limit=1_000)
        assert len(page.events) == 1_000
    finally:
        await store.aclose()


async def test_words_that_are_everywhere_are_found_in_order(tmp_path: Path) -> None:
    """
    A word of more events than are looked at one by one, in many sessions or in few, is found like
    any other.
    """
    store = SQLiteStore(tmp_path / "collector.db")
    sessions = [uuid(number) for number in range(1, sqlite_texts.MAX_SESSIONS + 200)]
    few = sessions[::100]
    try:
        source = Source()
        each = sqlite_texts.SCANNED_EVENTS // len(sessions) + 1
        for number, session in enumerate(sessions):
            some = [source.does(session, returns=raw("everywhere")) for _ in range(each)]
            if session in few:
                some += [source.does(session, returns=raw("heavy")) for _ in range(4_500)]
            await store.add(source.batch(source.starts(session, started_at=START + number), *some))
        await searchable(store)
        newest = sessions[::-1]
        page = await store.sessions("default", SessionQuery(q="everywhere", limit=100))
        assert newest[:100] == [session.id for session in page.sessions]
        query = SessionQuery(q="everywhere", limit=100, cursor=page.next)
        page = await store.sessions("default", query)
        assert newest[100:200] == [session.id for session in page.sessions]
        assert await found(store, "heavy") == few[::-1]
        assert await found(store, "heavy everywhere") == []
    finally:
        await store.aclose()


async def test_many_events_become_searchable_while_others_arrive(tmp_path: Path) -> None:
    """
    What is stored while words are indexed is stored, and what is indexed twice at a time, by two
    collectors over one file, is indexed once.
    """
    one, two = SQLiteStore(tmp_path / "collector.db"), SQLiteStore(tmp_path / "collector.db")
    try:
        for step in range(20):
            for store, number in ((one, 1), (two, 2)):
                source = Source(100 * step + number)
                await store.add(
                    source.batch(
                        *(source.does(uuid(number), returns=raw("moon")) for _ in range(200))
                    )
                )
        await searchable(one)
        for number in (1, 2):
            count = 0
            cursor = None
            while True:
                page = await two.events("default", uuid(number), q="moon", cursor=cursor, limit=999)
                count += len(page.events)
                cursor = page.next
                if cursor is None:
                    break
            assert count == 4_000
    finally:
        await one.aclose()
        await two.aclose()
    connection = sqlite3.connect(tmp_path / "collector.db")
    connection.execute("INSERT INTO texts (texts) VALUES ('integrity-check')")
    connection.close()


def test_the_api_searches(collector: EmbeddedCollector, http: httpx.Client) -> None:
    """
    `q` of both lists is the search; one that is too long is refused.
    """
    source = Source()
    event = source.does(SESSION, kind="llm", completion=raw("over the moon"))
    body = lines(event, source.does(SESSION, returns=raw("sun")))
    http.post("/v1/records", content=body, headers={"Asyncops-Source": source.id})
    until(lambda: http.get("/api/sessions", params={"q": "moon"}).json()["sessions"])
    answer = http.get(f"/api/sessions/{SESSION}/events", params={"q": '"the moon"'}).json()
    assert [found["completion"] for found in answer["events"]] == ["over the moon"]
    assert answer["next"] is None
    assert http.get("/api/sessions", params={"q": '"moon the"'}).json()["sessions"] == []
    for path in ("/api/sessions", f"/api/sessions/{SESSION}/events"):
        assert http.get(path, params={"q": "x" * 1_001}).status_code == 400
    assert "asyncops_collector_unsearched_sessions 0" in http.get("/metrics").text
