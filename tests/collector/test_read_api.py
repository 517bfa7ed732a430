"""
The read API: what sessions, events and sums look like in JSON, and what may be asked.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import msgspec
import pytest
from processes import SECONDS
from sources import START, Source, lines, uuid

from asyncops._events import Cost, EndState, Failure, TagsRecord, VideoRecord
from asyncops.collector.api import json_bytes, timestamp
from asyncops.collector.app import CollectorSettings, create_app
from asyncops.collector.server import EmbeddedCollector
from asyncops.collector.store.base import EventPage, Store

SESSION = uuid(1)
OTHER = uuid(2)


def give(http: httpx.Client, source: Source, *records: Any) -> None:
    answer = http.post(
        "/v1/records", content=lines(*records), headers={"Asyncops-Source": source.id}
    )
    assert answer.json()["rejected"] == []


def get(http: httpx.Client, path: str, **parameters: Any) -> Any:
    answer = http.get(path, params=parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()


FAILURE = Failure(
    type="ValueError",
    message="no",
    traceback="  File ...",
    causes=(Failure(type="KeyError", relation="cause", event_id="00000000000000aa"),),
)
FAILURE_JSON = {
    "type": "ValueError",
    "message": "no",
    "traceback": "  File ...",
    "relation": "",
    "event_id": None,
    "causes": [
        {
            "type": "KeyError",
            "message": "",
            "traceback": "",
            "relation": "cause",
            "event_id": "00000000000000aa",
            "causes": [],
        }
    ],
}


def tell_story(http: httpx.Client) -> Source:
    """
    One session with everything in it.
    """
    source = Source()
    give(
        http,
        source,
        source.begins(pid=7, sdk="0.1.0", host={"os": "Linux"}),
        source.starts(SESSION, name="nightly", started_at=START, tags=("a",)),
        source.says(TagsRecord, session=SESSION, tags=("b",)),
        source.says(VideoRecord, session=SESSION, video="https://example.org/v"),
        source.does(
            SESSION,
            id="00000000000000a1",
            parent_id="00000000000000a0",
            kind="llm",
            name="ask",
            agent="planner",
            model="m",
            provider="p",
            started_at=START + 1_000,
            ended_at=START + 2_501_000,
            params=msgspec.Raw(b'{"q":[1,"\xc3\xa9"]}'),
            returns=msgspec.Raw(b"[true]"),
            prompt=msgspec.Raw(b'[{"role":"user"}]'),
            completion=msgspec.Raw(b'"hi"'),
            usage=msgspec.Raw(b'{"n":123456789012345678901234567890}'),
            attributes=msgspec.Raw(b'{"k":null}'),
            prompt_tokens=10,
            completion_tokens=5,
            cached_tokens=2,
            cache_write_tokens=1,
            reasoning_tokens=3,
            time_to_first_token=1_500_000,
            cost=Cost("0.0125", source="computed", table="prices 7"),
            tool_call_id="call",
            tool_call_ids=("c1", "c2"),
            trigger_event_id="00000000000000bb",
        ),
        source.opens(SESSION, id="00000000000000a2", kind="tool", name="wait"),
        source.does(
            SESSION, id="00000000000000a3", state="Fail", failure=FAILURE, tool_call_id="c1"
        ),
        source.ends(
            SESSION,
            EndState.FAIL,
            reason="ValueError: no",
            failure=FAILURE,
            ended_at=START + 3_000_000,
        ),
    )
    return source


STORY = {
    "id": SESSION,
    "project": "default",
    "name": "nightly",
    "state": "Fail",
    "reason": "ValueError: no",
    "started_at": "2027-01-15T08:00:00.000000Z",
    "ended_at": "2027-01-15T08:00:00.003000Z",
    "duration_ms": 3.0,
    "last_record_at": "2027-01-15T08:00:00.008000Z",
    "tags": ["a", "b"],
    "video": "https://example.org/v",
    "cost_usd": 0.0125,
    "costs_unknown": 0,
    "costs_from": [{"source": "computed", "currency": "USD", "table": "prices 7", "events": 1}],
    "prompt_tokens": 10,
    "completion_tokens": 5,
    "cached_tokens": 2,
    "reasoning_tokens": 3,
    "events": 3,
    "actions": 1,
    "llms": 1,
    "tools": 1,
    "agents": 0,
    "errors": 1,
    "missing_records": 0,
    "missing_by_reason": {},
    "starred": False,
    "score": None,
}


def test_a_session_in_json(http: httpx.Client) -> None:
    """
    A session shows every field by its name, its own page also the failure and the sources.
    """
    source = tell_story(http)
    assert get(http, "/api/sessions") == {"sessions": [STORY], "next": None}
    detail = get(http, f"/api/sessions/{SESSION}")
    (told,) = detail.pop("sources")
    assert detail.pop("failure") == FAILURE_JSON
    assert [detail.pop(name) for name in ("starred_events", "notes", "scores")] == [[], [], []]
    assert detail == STORY
    assert told.pop("last_seen_at").endswith("Z")
    assert told == {
        "id": source.id,
        "pid": 7,
        "sdk": "0.1.0",
        "started_at": None,
        "ended": True,
        "host": {"os": "Linux"},
    }


def test_an_event_in_json(http: httpx.Client) -> None:
    """
    An event shows every field by its name, payloads as the values they were.
    """
    source = tell_story(http)
    answer = get(http, f"/api/sessions/{SESSION}/events")
    assert answer["next"] is None
    asked, waiting, failed = answer["events"]
    assert asked == {
        "id": "00000000000000a1",
        "seq": 1,
        "parent_id": "00000000000000a0",
        "kind": "llm",
        "name": "ask",
        "agent": "planner",
        "source_id": source.id,
        "state": "Success",
        "started_at": "2027-01-15T08:00:00.000001Z",
        "ended_at": "2027-01-15T08:00:00.002501Z",
        "duration_ms": 2.5,
        "params": {"q": [1, "é"]},
        "returns": [True],
        "failure": None,
        "error": None,
        "model": "m",
        "provider": "p",
        "prompt": [{"role": "user"}],
        "completion": "hi",
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "cached_tokens": 2,
        "cache_write_tokens": 1,
        "reasoning_tokens": 3,
        "time_to_first_token_ms": 1.5,
        "usage": {"n": 123456789012345678901234567890},
        "cost_usd": 0.0125,
        "cost_source": "computed",
        "cost_table": "prices 7",
        "cost": {"amount": "0.0125", "currency": "USD", "source": "computed", "table": "prices 7"},
        "tool_call_id": "call",
        "requested_by": None,
        "tool_calls": [
            {"id": "c1", "event_id": "00000000000000a3"},
            {"id": "c2", "event_id": None},
        ],
        "trigger_event_id": "00000000000000bb",
        "attributes": {"k": None},
    }
    assert (waiting["state"], waiting["ended_at"], waiting["duration_ms"]) == (
        "Running",
        None,
        None,
    )
    assert (failed["failure"], failed["error"]) == (FAILURE_JSON, "ValueError: no")
    assert (failed["requested_by"], failed["tool_calls"]) == (asked["id"], [])


def test_says_whose_word_a_cost_is(http: httpx.Client) -> None:
    """
    A cost comes with its source: unknown for a call that told none, and no dollars for other money.
    """
    source = Source()
    give(
        http,
        source,
        source.does(SESSION, kind="llm"),
        source.does(SESSION, kind="llm", cost=Cost("2", currency="EUR")),
        source.does(SESSION),
        source.opens(SESSION, id="00000000000000ff", kind="llm"),
    )
    events = get(http, f"/api/sessions/{SESSION}/events")["events"]
    told = [(event["cost_usd"], event["cost_source"]) for event in events]
    assert told == [(None, "unknown"), (None, "provider"), (None, None), (None, None)]
    assert get(http, f"/api/sessions/{SESSION}")["cost_usd"] is None
    assert get(http, "/api/overview")["cost_usd"] is None


def test_pages_through_sessions_and_events(http: httpx.Client) -> None:
    """
    `next` leads through all sessions and all events, and is null at the end.
    """
    source = Source()
    for number in range(5):
        give(
            http,
            source,
            source.starts(uuid(number), started_at=START + number),
            *(source.does(uuid(9)) for _ in range(3)),
        )
    seen: list[str] = []
    parameters: dict[str, Any] = {"limit": 2}
    while True:
        page = get(http, "/api/sessions", **parameters)
        seen += [session["id"] for session in page["sessions"]]
        if page["next"] is None:
            break
        parameters["cursor"] = page["next"]
    assert len(seen) == len(set(seen)) == 6
    events: list[int] = []
    parameters = {"limit": 4}
    while True:
        page = get(http, f"/api/sessions/{uuid(9)}/events", **parameters)
        events += [event["seq"] for event in page["events"]]
        if page["next"] is None:
            break
        parameters["cursor"] = page["next"]
    assert events == list(range(1, 16))


def test_filters_as_the_address_says(http: httpx.Client) -> None:
    """
    Every filter of the address narrows the list; blank ones say nothing; several tags all count.
    """
    tell_story(http)
    other = Source(2)
    give(http, other, other.starts(OTHER, started_at=START + 5_000_000_000, tags=("a",)))
    for query, expected in {
        "": [OTHER, SESSION],
        "q=nightly": [SESSION],
        "q=&state=&tag=&agent=&model=&since=&until=&min_cost=&sort=&limit=&cursor=": [
            OTHER,
            SESSION,
        ],
        "state=Fail": [SESSION],
        "state=Fail&state=Running": [OTHER, SESSION],
        "tag=a": [OTHER, SESSION],
        "tag=a&tag=b": [SESSION],
        "agent=planner": [SESSION],
        "model=m": [SESSION],
        "model=m&state=Running": [],
        "since=2027-01-15T08:00:05Z": [OTHER],
        "since=2027-01-15T09:00:05%2B01:00": [OTHER],
        "since=2027-01-15T09:00:05+01:00": [OTHER],
        "until=2027-01-15T08:00:05": [SESSION],
        "since=2027-01-15": [OTHER, SESSION],
        "until=2027-01-15": [],
        "since=0001-01-01": [OTHER, SESSION],
        "until=9999-12-31": [OTHER, SESSION],
        "min_cost=0.0125": [SESSION],
        "min_cost=0.0126": [],
        "max_cost=0.0125": [SESSION],
        "max_cost=0.0124": [],
        "name=NIGHT": [SESSION],
        "name=absent": [],
        "error=absent": [],
        "missing=1": [],
        "min_tokens=1&max_tokens=1000000&min_events=1&max_events=99": [SESSION],
        "max_tokens=0": [OTHER],
        "max_errors=0&min_errors=0&max_events=0": [OTHER],
        "min_duration=0.001&max_duration=5&name=&error=&missing=": [SESSION],
        "sort=events": [SESSION, OTHER],
        "limit=1": [OTHER],
    }.items():
        answer = http.get(f"/api/sessions?{query}")
        assert answer.status_code == 200, (query, answer.text)
        assert [session["id"] for session in answer.json()["sessions"]] == expected, query


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/api/sessions?state=Done", "state"),
        ("/api/sessions?state=Fail&state=fail", "state"),
        ("/api/sessions?sort=name", "sort"),
        ("/api/sessions?limit=0", "limit"),
        ("/api/sessions?limit=501", "limit"),
        ("/api/sessions?limit=x", "limit"),
        ("/api/sessions?limit=-1", "limit"),
        ("/api/sessions?limit=%C2%B2", "limit"),
        ("/api/sessions?since=yesterday", "since"),
        ("/api/sessions?until=2027-13-01", "until"),
        ("/api/sessions?min_cost=NaN", "min_cost"),
        ("/api/sessions?min_cost=-1", "min_cost"),
        ("/api/sessions?min_cost=1e99", "min_cost"),
        ("/api/sessions?min_cost=x", "min_cost"),
        ("/api/sessions?min_score=x", "min_score"),
        ("/api/sessions?max_score=-1e10", "max_score"),
        ("/api/sessions?max_cost=x", "max_cost"),
        ("/api/sessions?min_duration=1s", "min_duration"),
        ("/api/sessions?max_duration=1e10", "max_duration"),
        ("/api/sessions?min_tokens=1.5", "min_tokens"),
        ("/api/sessions?max_errors=-1", "max_errors"),
        ("/api/sessions?max_events=" + "9" * 16, "max_events"),
        ("/api/sessions?missing=yes", "missing"),
        ("/api/sessions?fingerprint=" + "x" * 1_001, "fingerprint"),
        ("/api/sessions?cursor=x", "cursor"),
        ("/api/sessions?q=" + "x" * 1_001, "q"),
        ("/api/sessions?tag=" + "x" * 1_001, "tag"),
        ("/api/sessions?" + "tag=x&" * 51, "tag"),
        (f"/api/sessions/{SESSION}/events?cursor=x", "cursor"),
        (f"/api/sessions/{SESSION}/events?limit=1001", "limit"),
        (f"/api/sessions/{SESSION}/timeline?cursor=x", "cursor"),
        (f"/api/sessions/{SESSION}/timeline?limit=10001", "limit"),
        (f"/api/sessions/{SESSION}/stream?after=x", "after"),
        ("/api/overview?since=x", "since"),
        ("/api/breakdown?until=x", "until"),
    ],
)
def test_names_the_parameter_that_makes_no_sense(story: httpx.Client, path: str, name: str) -> None:
    """
    A value that cannot be is refused with a message that begins with its parameter's name.
    """
    answer = story.get(path)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(f"{name} must be ")


def test_events_without_their_payloads_and_one_by_one(http: httpx.Client) -> None:
    """
    The timeline has of each event all but what went in and came out; one alone has everything.
    """
    tell_story(http)
    events = get(http, f"/api/sessions/{SESSION}/events")["events"]
    timeline = get(http, f"/api/sessions/{SESSION}/timeline")
    assert timeline["next"] is None
    assert [event["id"] for event in timeline["events"]] == [event["id"] for event in events]
    for full, short in zip(events, timeline["events"], strict=True):
        assert short == {key: full[key] for key in short}
        assert short.keys() < full.keys()
        assert get(http, f"/api/sessions/{SESSION}/events/{full['id']}") == full
    page = get(http, f"/api/sessions/{SESSION}/timeline", limit=2)
    assert page["events"] == timeline["events"][:2]
    rest = get(http, f"/api/sessions/{SESSION}/timeline", limit=2, cursor=page["next"])
    assert rest == {"events": timeline["events"][2:], "next": None}
    missing = http.get(f"/api/sessions/{SESSION}/events/ffffffffffffffff")
    assert missing.status_code == 404
    assert missing.json() == {"error": "the session has no such event"}


@pytest.mark.parametrize("part", ["", "/events", "/events/a", "/timeline", "/export", "/stream"])
def test_says_that_a_session_is_not_there(story: httpx.Client, part: str) -> None:
    """
    What belongs to no session is not found, in JSON.
    """
    for unknown in (OTHER, "x", "%00", "%2e%2e"):
        answer = story.get(f"/api/sessions/{unknown}{part}")
        assert (answer.status_code, list(answer.json())) == (404, ["error"])


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """
    A client of a collector that holds one story, for tests that only ask.
    """
    settings = CollectorSettings(port=0, db=tmp_path_factory.mktemp("story") / "collector.db")
    with (
        EmbeddedCollector(settings) as collector,
        httpx.Client(
            base_url=collector.url, timeout=SECONDS, trust_env=False, verify=False
        ) as http,
    ):
        tell_story(http)
        yield http


def test_exports_a_session_whole(http: httpx.Client) -> None:
    """
    An export is one JSON document with the session and each of its events once.
    """
    source = tell_story(http)
    more = [source.does(SESSION, name=f"step {number}") for number in range(450)]
    give(http, source, *more)
    answer = http.get(f"/api/sessions/{SESSION}/export")
    assert answer.headers["content-type"] == "application/json"
    assert f'filename="session-{SESSION}.json"' in answer.headers["content-disposition"]
    document = answer.json()
    assert document["session"] == get(http, f"/api/sessions/{SESSION}")
    listed = get(http, f"/api/sessions/{SESSION}/events", limit=1_000)["events"]
    assert len(document["events"]) == 453
    assert sorted(document["events"], key=lambda event: event["seq"]) == listed


class Interrupted:
    """
    A store in which something happens right after the first page of events was read.
    """

    def __init__(self, store: Store, then: Callable[[], Awaitable[Any]]) -> None:
        self._store = store
        self._then: Callable[[], Awaitable[Any]] | None = then

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def events(self, *args: Any, **kwargs: Any) -> EventPage:
        page = await self._store.events(*args, **kwargs)
        if self._then is not None:
            then, self._then = self._then, None
            await then()
        return page


@pytest.mark.anyio
async def test_exports_an_event_once_though_it_is_closed_meanwhile(store: Store) -> None:
    """
    An event that was open when the export began and is closed before it ends is in it once, closed;
    one that stays open is in it as it is.
    """
    source = Source()
    closing, staying = "00000000000000a1", "00000000000000a2"
    await store.add(
        source.batch(
            source.opens(SESSION, id=closing),
            source.opens(SESSION, id=staying),
            *(source.does(SESSION) for _ in range(300)),
        )
    )

    async def close() -> None:
        await store.add(source.batch(source.does(SESSION, id=closing)))

    app = create_app(CollectorSettings())
    app.state.store = Interrupted(store, close)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        document = (await http.get(f"/api/sessions/{SESSION}/export")).json()
    states = {event["id"]: event["state"] for event in document["events"]}
    assert len(document["events"]) == len(states) == 302
    assert (states[closing], states[staying]) == ("Success", "Running")


def test_sums_a_project_up(http: httpx.Client) -> None:
    """
    The overview tells sums, averages, days and models in dollars and milliseconds.
    """
    tell_story(http)
    assert get(http, "/api/overview") == {
        "sessions": 1,
        "states": {"Fail": 1},
        "cost_usd": 0.0125,
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "events": 3,
        "errors": 1,
        "average_cost_usd": 0.0125,
        "average_tokens": 15.0,
        "average_duration_ms": 3.0,
        "days": [
            {
                "day": "2027-01-15",
                "sessions": 1,
                "states": {"Fail": 1},
                "cost_usd": 0.0125,
                "prompt_tokens": 10,
                "completion_tokens": 5,
                "events": 3,
                "errors": 1,
            }
        ],
        "models": [
            {
                "model": "m",
                "calls": 1,
                "prompt_tokens": 10,
                "completion_tokens": 5,
                "cost_usd": 0.0125,
                "costs_unknown": 0,
            }
        ],
    }
    assert get(http, "/api/overview", since="2027-01-16")["sessions"] == 0


def test_says_how_it_is(http: httpx.Client) -> None:
    """
    `/healthz` says ok, `/metrics` counts in Prometheus' text format.
    """
    tell_story(http)
    assert get(http, "/healthz") == {"status": "ok", "service": "asyncops"}
    answer = http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "# TYPE asyncops_collector_records_total counter\n" in answer.text
    assert "\nasyncops_collector_records_total 8\n" in answer.text
    assert "\nasyncops_collector_sessions 1\n" in answer.text
    assert '\nasyncops_collector_missing_records_total{reason="disk_full"} 0\n' in answer.text


def test_every_answer_carries_the_security_headers(story: httpx.Client) -> None:
    """
    Whatever is asked, the answer forbids foreign content, framing and guessing of types.
    """
    for path in ("/api/sessions", "/nothing", "/api/sessions?limit=x", "/healthz", "/", "/sign-in"):
        headers = story.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert "server" not in headers


def test_people_get_pages_and_programs_json(story: httpx.Client) -> None:
    """
    What goes wrong is told to a browser as a page, and under /api always in JSON.
    """
    browser = {"Accept": "text/html,application/xhtml+xml"}
    page = story.get("/nothing", headers=browser)
    assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert "content-security-policy" in page.headers
    for path in ("/api/nothing", "/v1/nothing"):
        assert list(story.get(path, headers=browser).json()) == ["error"]


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "1970-01-01T00:00:00.000000Z"),
        (1_999, "1970-01-01T00:00:00.000001Z"),
        (START + 123_456_789, "2027-01-15T08:00:00.123456Z"),
        (2**63 - 1, "2262-04-11T23:47:16.854775Z"),
    ],
)
def test_times_are_exact_to_the_microsecond(nanoseconds: int, text: str) -> None:
    """
    Times are cut, never rounded, to microseconds.
    """
    assert timestamp(nanoseconds) == text


def test_writes_whole_numbers_of_any_size() -> None:
    """
    JSON holds integers that a program recorded, however large.
    """
    assert json_bytes({"é": [10**30, 1.5, None]}) == b'{"\xc3\xa9":[%d,1.5,null]}' % 10**30
