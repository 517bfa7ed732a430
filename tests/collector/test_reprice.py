"""
Stored costs, worked out anew: by the store, and as it is asked for over HTTP.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from processes import SECONDS
from sources import SECOND, START, Clock, Source, lines, uuid

from asyncops._events import Cost, EventRecord
from asyncops._exceptions import SessionNotFoundError
from asyncops._prices import NO_PRICES, PriceTable
from asyncops.collector.app import CollectorSettings
from asyncops.collector.server import EmbeddedCollector
from asyncops.collector.store.base import Repricing, SessionSummary, Store
from asyncops.collector.store.sqlite import SQLiteStore
from asyncops.collector.store.sqlite_schema import DAY

SESSION, OTHER = uuid(1), uuid(2)


def prices(directory: Path, dollars: float, *more: str) -> Path:
    """
    A file in which a million tokens of "mine-*" cost so much.
    """
    path = directory / "prices.toml"
    entry = f'[[price]]\nmodel = "mine-*"\ninput = {dollars}\noutput = {dollars}\n'
    path.write_text("\n".join([entry, *more]))
    return path


def call(source: Source, session: str = SESSION, **fields: Any) -> EventRecord:
    """
    A call of a million tokens.
    """
    said = {"kind": "llm", "name": "ask", "model": "mine-1", "provider": "me"}
    return source.does(session, **{**said, "prompt_tokens": 1_000_000, **fields})


@pytest.fixture
async def reopen(tmp_path: Path, clock: Clock) -> AsyncIterator[Callable[[PriceTable], Any]]:
    """
    The store of this test, opened (again) with other prices.
    """
    stores: list[SQLiteStore] = []

    async def opened(table: PriceTable) -> Store:
        if stores:
            await stores[-1].aclose()
        stores.append(SQLiteStore(tmp_path / "collector.db", prices=table, clock=clock))
        return stores[-1]

    yield opened
    await stores[-1].aclose()


async def summary(store: Store, session: str = SESSION) -> SessionSummary:
    return (await store.session("default", session)).summary


async def amounts(store: Store, session: str = SESSION) -> list[Decimal | None]:
    events = (await store.events("default", session)).events
    return [None if e.summary.cost is None else e.summary.cost.amount for e in events]


@pytest.mark.anyio
async def test_new_prices_reach_what_is_stored(reopen: Any, tmp_path: Path) -> None:
    """
    Costs that were computed or unknown are worked out anew, and every sum with them; what the
    provider said, what costs other money and what has no price now stay as they are.
    """
    store = await reopen(PriceTable(prices(tmp_path, 1)))
    source = Source()
    await store.add(
        source.batch(
            source.starts(SESSION, started_at=START),
            call(source, agent="planner"),
            call(source, model="other"),
            call(source, cost=Cost("0.25")),
            call(source, agent="writer", cost=Cost("0.5", source="computed", table="ours 1")),
            call(source, cost=Cost("9", "EUR", "computed")),
            call(source, model="other", cost=Cost("0.125", source="computed")),
            call(source, prompt_tokens=None),
            source.ends(SESSION, ended_at=START + SECOND),
            call(source, OTHER),
            source.opens(OTHER, id="00000000000000ff", kind="llm", model="mine-1"),
        )
    )
    assert (await summary(store)).cost == 1_875_000_000

    table = PriceTable(prices(tmp_path, 3))
    store = await reopen(table)
    tried = await store.reprice("default", dry_run=True)
    assert (await summary(store)).cost == 1_875_000_000
    done = await store.reprice("default")
    assert done == tried
    assert (done.examined, done.next, done.tables) == (8, None, table.versions)
    assert [(s.session, s.events, s.before, s.after) for s in done.sessions] == [
        (SESSION, 2, 1_500_000_000, 6_000_000_000),
        (OTHER, 1, 1_000_000_000, 3_000_000_000),
    ]
    kept = [Decimal(text) for text in ("0.25", "9", "0.125")]
    assert await amounts(store) == [3, None, kept[0], 3, kept[1], kept[2], None]
    session = await summary(store)
    assert (session.cost, session.costs_unknown) == (6_375_000_000, 3)
    assert {(s.source, s.table, s.currency): s.events for s in session.costs_from} == {
        ("computed", None, "EUR"): 1,
        ("computed", None, "USD"): 1,
        ("provider", None, "USD"): 1,
        ("computed", table.versions[0], "USD"): 2,
    }
    overview = await store.overview("default")
    assert overview.cost == 9_375_000_000
    assert [(day.day, day.cost) for day in overview.days] == [("2027-01-15", 9_375_000_000)]
    assert {m["model"]: (m["cost"], m["costs_unknown"]) for m in overview.models} == {
        "mine-1": (9_250_000_000, 2),
        "other": (125_000_000, 1),
    }
    agents = (await store.breakdown("default")).agents
    assert {it.text: (it.cost, it.costs_unknown) for it in agents} == {
        "planner": (3_000_000_000, 0),
        "writer": (3_000_000_000, 0),
        None: (3_375_000_000, 3),
    }


@pytest.mark.anyio
async def test_a_second_time_changes_nothing(reopen: Any, tmp_path: Path) -> None:
    """
    What has the price of its time already is left alone, also where another file says the same.
    """
    store = await reopen(PriceTable(prices(tmp_path, 1)))
    source = Source()
    await store.add(source.batch(*(call(source) for _ in range(3))))
    store = await reopen(PriceTable(prices(tmp_path, 2)))
    assert [s.events for s in (await store.reprice("default")).sessions] == [3]
    before = (await store.session("default", SESSION), await store.overview("default"))
    assert (await store.reprice("default")).sessions == ()
    store = await reopen(PriceTable(prices(tmp_path, 2, "# the same, said otherwise")))
    assert (await store.reprice("default")).sessions == ()
    assert (await store.session("default", SESSION), await store.overview("default")) == before


@pytest.mark.anyio
async def test_it_goes_on_where_it_was_interrupted(reopen: Any, tmp_path: Path) -> None:
    """
    Part by part, across sessions; what was done stays done, and the sums are right in between.
    """
    store = await reopen(PriceTable())
    source = Source()
    for session in (SESSION, OTHER):
        for _ in range(5):
            await store.add(source.batch(call(source, session), source.does(session)))
    store = await reopen(PriceTable(prices(tmp_path, 1)))
    cursor, parts = None, []
    while True:
        part = await store.reprice("default", cursor=cursor, limit=3)
        known = [sum(amount is not None for amount in await amounts(store, session))
                 for session in (SESSION, OTHER)]  # fmt: skip
        parts.append((part.examined, *known))
        for session, number in zip((SESSION, OTHER), known, strict=True):
            told = await summary(store, session)
            assert (told.cost or 0, told.costs_unknown) == (number * 10**9, 5 - number)
        cursor = part.next
        if cursor is None:
            break
        store = await reopen(PriceTable(prices(tmp_path, 1)))
    assert parts == [(3, 3, 0), (3, 5, 1), (3, 5, 4), (1, 5, 5)]


@pytest.mark.anyio
async def test_only_what_was_asked_for(reopen: Any, tmp_path: Path) -> None:
    """
    One session, those that started in a time, those of a project.
    """
    store = await reopen(PriceTable())
    source, foreign = Source(), Source(2, project="elsewhere")
    days = {uuid(day): START + day * DAY for day in range(4)}
    for session, start in days.items():
        await store.add(
            source.batch(source.starts(session, started_at=start), call(source, session))
        )
    await store.add(foreign.batch(call(foreign)))
    store = await reopen(PriceTable(prices(tmp_path, 1)))

    async def changed(**asked: Any) -> list[str]:
        done = await store.reprice("default", dry_run=True, **asked)
        return [session.session for session in done.sessions]

    assert await changed() == list(days)
    assert await changed(since=START + DAY) == [uuid(1), uuid(2), uuid(3)]
    assert await changed(since=START + DAY, until=START + 2 * DAY) == [uuid(1)]
    assert await changed(session_id=uuid(2)) == [uuid(2)]
    assert await changed(session_id=uuid(2), until=START) == []
    with pytest.raises(SessionNotFoundError):
        await changed(session_id=uuid(99))
    for cursor in ("x", "-1", "9" * 30):
        with pytest.raises(ValueError, match="no cursor"):
            await changed(cursor=cursor)
    assert await changed(cursor="9" * 19) == []
    await store.reprice("default")
    assert (await store.overview("elsewhere")).cost == 0


@pytest.mark.anyio
async def test_a_price_is_that_of_the_time_of_the_call(reopen: Any, tmp_path: Path) -> None:
    """
    A price that holds from a day on changes no call before it, and tokens written to a cache count.
    """
    store = await reopen(PriceTable(prices(tmp_path, 1)))
    source = Source()
    moments = [START, START + DAY]
    await store.add(
        source.batch(
            *(
                call(source, started_at=at, ended_at=at, cache_write_tokens=500_000)
                for at in moments
            )
        )
    )
    later = (
        '[[price]]\nmodel = "mine-*"\ninput = 2\noutput = 2\ncache_write = 4\nsince = 2027-01-16\n'
    )
    store = await reopen(PriceTable(prices(tmp_path, 1, later)))
    assert len((await store.reprice("default")).sessions) == 1
    assert await amounts(store) == [1, 3]


@pytest.mark.anyio
async def test_those_who_watch_are_told(reopen: Any, tmp_path: Path) -> None:
    """
    A page that shows the session learns of its new cost.
    """
    store = await reopen(PriceTable())
    source = Source()
    await store.add(source.batch(call(source)))
    store = await reopen(PriceTable(prices(tmp_path, 1)))
    with store.changes.watch("default") as watcher:
        await store.reprice("default", dry_run=True)
        assert await watcher.changed(timeout=0.01) == ()
        await store.reprice("default")
        assert await watcher.changed(timeout=SECONDS) == (SESSION,)


@pytest.mark.anyio
async def test_sums_that_stopped_at_their_bound_stay_numbers(reopen: Any, tmp_path: Path) -> None:
    """
    Hostile costs took the sums to where they stop; taking them back brings them to 0, no further.
    """
    store = await reopen(PriceTable())
    source = Source()
    most = Cost(1_000_000_000, source="computed", table="lies")
    await store.add(source.batch(*(call(source, cost=most) for _ in range(20))))
    store = await reopen(PriceTable(prices(tmp_path, 0)))
    await store.reprice("default")
    assert ((await summary(store)).cost, (await store.overview("default")).cost) == (0, 0)
    await store.add(source.batch(call(source, cost=Cost("2"))))
    assert (await summary(store)).cost == 2_000_000_000


@pytest.mark.anyio
async def test_at_once_is_as_good_as_once(reopen: Any, tmp_path: Path) -> None:
    """
    However many ask for it at the same time, while more arrives, each change is made once.
    """
    store = await reopen(PriceTable())
    source = Source()
    await store.add(source.batch(*(call(source) for _ in range(300))))
    store = await reopen(PriceTable(prices(tmp_path, 1)))
    done: list[Repricing] = []

    async def reprice() -> None:
        cursor = None
        while True:
            done.append(await store.reprice("default", cursor=cursor, limit=20))
            cursor = done[-1].next
            if cursor is None:
                break

    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(reprice)
        for _ in range(100):
            await store.add(source.batch(call(source)))
    assert sum(session.events for part in done for session in part.sessions) == 300
    session = await summary(store)
    assert (session.cost, session.costs_unknown) == (400 * 10**9, 0)
    assert [each.events for each in session.costs_from] == [400]
    assert (await store.overview("default")).cost == 400 * 10**9


# -- over HTTP --------------------------------------------------------------------------------


@pytest.fixture
def priced(tmp_path: Path) -> Iterator[httpx.Client]:
    """
    A collector that found a call unknown and knows its price now.
    """
    db = tmp_path / "collector.db"
    source = Source()
    with EmbeddedCollector(CollectorSettings(port=0, db=db, prices=None)) as collector:
        with httpx.Client(
            base_url=collector.url, timeout=SECONDS, trust_env=False, verify=False
        ) as http:
            answer = http.post(
                "/v1/records",
                content=lines(source.starts(SESSION, started_at=START), call(source)),
                headers={"Asyncops-Source": source.id},
            )
            assert answer.json()["rejected"] == []
    settings = CollectorSettings(port=0, db=db, prices=prices(tmp_path, 1.5))
    with EmbeddedCollector(settings) as collector:
        with httpx.Client(
            base_url=collector.url, timeout=SECONDS, trust_env=False, verify=False
        ) as http:
            yield http


def test_it_can_be_asked_for(priced: httpx.Client) -> None:
    """
    What was examined, what changed from what to what, by which prices, and where to go on.
    """
    for asked, number in (
        ({"dry_run": True}, 1),
        ({"since": "2027-01-16"}, 0),
        ({"session": SESSION, "until": "2027-01-16", "limit": 1}, 1),
        ({}, 0),
    ):
        answer = priced.post("/api/reprice", json=asked)
        assert answer.status_code == 200, answer.text
        told = answer.json()
        assert told["tables"][0].startswith("prices.toml sha256:")
        assert told["next"] is None
        changed = {"id": SESSION, "events": 1, "cost_usd_before": 0, "cost_usd_after": 1.5}
        assert told["sessions"] == [changed][:number]
    assert priced.get(f"/api/sessions/{SESSION}").json()["cost_usd"] == 1.5


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"", 400, "this cannot be asked"),
        (b"[]", 400, "this cannot be asked"),
        (b'{"dryrun":true}', 400, "dryrun"),
        (b'{"limit":0}', 400, "limit"),
        (b'{"limit":5001}', 400, "limit"),
        (b'{"since":"soon"}', 400, "since must be a time"),
        (b'{"cursor":"x"}', 400, "cursor must be"),
        (b'{"session":"%b"}' % uuid(9).encode(), 404, "no session"),
        (b'"' + b"x" * 20_000 + b'"', 413, "more than can be asked"),
        (b'{"since":"\xff"}', 400, "this cannot be asked"),
    ],
)
def test_what_cannot_be_asked_is_refused(
    priced: httpx.Client, body: bytes, status: int, said: str
) -> None:
    """
    With a status and words that fit; nothing is changed.
    """
    answer = priced.post("/api/reprice", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status
    assert said in answer.json()["error"]
    assert priced.get(f"/api/sessions/{SESSION}").json()["cost_usd"] is None


def test_a_page_from_elsewhere_cannot_ask(priced: httpx.Client) -> None:
    """
    Forms and scripts of other sites may send texts without asking, but no JSON.
    """
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        answer = priced.post("/api/reprice", content=b"{}", headers={"Content-Type": kind})
        assert answer.status_code == 415
    assert priced.get("/api/reprice").status_code == 405
    assert priced.get(f"/api/sessions/{SESSION}").json()["cost_usd"] is None


def test_where_no_prices_are_known_it_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A collector without genai-prices and without a file stores records, and cannot reprice them.
    """
    for name in ("genai_prices", "genai_prices.data_snapshot"):
        monkeypatch.setitem(sys.modules, name, None)
    source = Source()
    settings = CollectorSettings(port=0, db=tmp_path / "collector.db", prices=None)
    with EmbeddedCollector(settings) as collector:
        with httpx.Client(
            base_url=collector.url, timeout=SECONDS, trust_env=False, verify=False
        ) as http:
            answer = http.post(
                "/v1/records",
                content=lines(call(source, model="gpt-4o", provider="openai")),
                headers={"Asyncops-Source": source.id},
            )
            assert answer.json() == {"acknowledged": 1, "rejected": []}
            assert http.get(f"/api/sessions/{SESSION}").json()["costs_unknown"] == 1
            answer = http.post("/api/reprice", json={})
            assert (answer.status_code, answer.json()) == (409, {"error": NO_PRICES})
