"""
Exports: a session as records that make the same one elsewhere, and without what was said in it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from processes import SECONDS
from sources import SECOND, START, Clock, Source, lines, uuid

from asyncops._events import Cost, EndState, Failure, LostRecord, TagsRecord, VideoRecord
from asyncops.collector.app import CollectorSettings, create_app
from asyncops.collector.server import EmbeddedCollector
from asyncops.collector.store.base import Store

SESSION = uuid(1)
SECRET = "the prompt that nobody else may read"


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[httpx.Client]:
    """
    Another collector, with nothing in it.
    """
    settings = CollectorSettings(port=0, db=tmp_path / "elsewhere.db")
    with (
        EmbeddedCollector(settings) as collector,
        httpx.Client(
            base_url=collector.url, timeout=SECONDS, trust_env=False, verify=False
        ) as http,
    ):
        yield http


def give(http: httpx.Client, source: str, body: bytes) -> Any:
    answer = http.post("/v1/records", content=body, headers={"Asyncops-Source": source})
    assert answer.status_code == 200, answer.text
    assert answer.json()["rejected"] == []
    return answer.json()


def tell(http: httpx.Client) -> None:
    """
    A session of two processes, with all that one can have; the first loses three records.
    """
    one, two = Source(1), Source(2)
    host = {"os": {"name": "Linux", "hostname": "secret-host"}}
    failure = Failure(
        type="LookupError",
        message=SECRET,
        traceback=f"File {SECRET}",
        causes=(Failure(type="KeyError", message=SECRET, relation="cause"),),
    )
    first = [
        one.begins(pid=7, host=host, sdk="asyncops 1", started_at=START),
        one.starts(SESSION, name="nightly", tags=("eval",), started_at=START),
        one.says(TagsRecord, session=SESSION, tags=("v2",), replace=True),
        one.does(
            SESSION,
            id="00000000000000a1",
            kind="llm",
            name="chat",
            model="m-1",
            provider="here",
            prompt=msgspec.Raw(json.dumps(SECRET).encode()),
            completion=msgspec.Raw(b'{"role":"assistant","content":"yes"}'),
            prompt_tokens=10,
            completion_tokens=3,
            cost=Cost("0.0125"),
            tool_call_ids=("call-1",),
        ),
        one.opens(SESSION, id="00000000000000a2", kind="agent", name="planner", agent="planner"),
    ]
    one.loses(2)
    first.append(one.says(LostRecord, count=3, reason="disk_full"))
    second = [
        two.begins(pid=8),
        two.joins(SESSION),
        *(two.does(SESSION, name=f"step {n}", at=START + n * SECOND) for n in range(300)),
        two.does(SESSION, kind="tool", name="search", tool_call_id="call-1", state="Fail",
                 failure=failure, parent_id="00000000000000a2"),
        two.says(VideoRecord, session=SESSION, video="https://videos.example/1"),
        two.ends(SESSION, None),
        two.stops(),
    ]  # fmt: skip
    last = [one.does(SESSION, id="00000000000000a2", kind="agent", name="planner", agent="planner"),
            one.ends(SESSION, EndState.FAIL, reason=SECRET, failure=failure)]  # fmt: skip
    for source, records in ((one, first), (two, second), (one, last)):
        give(http, source.id, lines(*records))


def exported(http: httpx.Client, **query: str) -> httpx.Response:
    answer = http.get(f"/api/sessions/{SESSION}/export", params=query)
    assert answer.status_code == 200, answer.text
    return answer


def take(http: httpx.Client, body: bytes) -> None:
    """
    Send what an export holds, as `asyncops import` does.
    """
    source, part = "", b""
    for line in [*body.splitlines(keepends=True), b'{"type":"source","source":""}\n']:
        said = json.loads(line)
        if said["type"] == "source" and said["source"] != source:
            if part:
                give(http, source, part)
            source, part = said["source"], b""
        part += line


def told(http: httpx.Client) -> tuple[Any, Any]:
    """
    The session and its events, but for what an import cannot keep: what sources are called, when
    they were heard from, and numbers left behind by events that were open.
    """
    session = http.get(f"/api/sessions/{SESSION}").json()
    for source in session["sources"]:
        del source["id"], source["last_seen_at"]
    events = http.get(f"/api/sessions/{SESSION}/events", params={"limit": 1_000}).json()["events"]
    for event in events:
        del event["source_id"], event["seq"]
    return session, events


def test_an_export_makes_the_same_session_elsewhere_once(
    http: httpx.Client, elsewhere: httpx.Client
) -> None:
    """
    Session and events read the same where the records of an export are sent, holes and all; the
    second time nothing changes, and neither does a copy of the copy.
    """
    tell(http)
    answer = exported(http, format="ndjson")
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert f'filename="session-{SESSION}.ndjson"' in answer.headers["content-disposition"]
    before = told(http)
    assert before[0]["missing_by_reason"] == {"disk_full": 3}
    take(elsewhere, answer.content)
    assert told(elsewhere) == before
    stored = elsewhere.get("/api/sessions").json()
    take(elsewhere, answer.content)
    assert elsewhere.get("/api/sessions").json() == stored
    take(elsewhere, exported(elsewhere, format="ndjson").content)
    copied = told(elsewhere)
    assert copied[1] == before[1]
    assert copied[0]["events"] == before[0]["events"]
    # where it came from, too
    take(http, answer.content)
    assert told(http)[1] == before[1]


def test_a_later_export_adds_what_is_new(http: httpx.Client, elsewhere: httpx.Client) -> None:
    """
    A session that ran when it was exported is complete after a second export; what its program
    sends there itself is none too many.
    """
    source = Source()
    records = [source.begins(), source.starts(SESSION, name="long"),
               source.opens(SESSION, id="00000000000000b1")]  # fmt: skip
    give(http, source.id, lines(*records))
    take(elsewhere, exported(http, format="ndjson").content)
    records += [source.does(SESSION, id="00000000000000b1"), source.ends(SESSION), source.stops()]
    give(http, source.id, lines(*records))
    take(elsewhere, exported(http, format="ndjson").content)
    give(elsewhere, source.id, lines(*records))
    session, events = told(elsewhere)
    assert (session["state"], session["events"], len(events)) == ("Success", 1, 1)
    assert events == told(http)[1]


@pytest.mark.anyio
async def test_a_session_whose_process_died_is_dead_elsewhere(
    store: Store, clock: Clock, elsewhere: httpx.Client
) -> None:
    """
    Nobody has to wait for the lease of a process that died long before the export.
    """
    source = Source()
    await store.add(source.batch(source.begins(), source.starts(SESSION), source.does(SESSION)))
    clock.passes(60)
    app = create_app(CollectorSettings())
    app.state.store = store
    path = f"/api/sessions/{SESSION}/export"
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://localhost"
    ) as http:
        document = (await http.get(path)).json()
        take(elsewhere, (await http.get(path, params={"format": "ndjson"})).content)
    session, events = told(elsewhere)
    assert (session["state"], session["reason"]) == ("Indeterminate", "process died")
    for name in ("state", "reason", "started_at", "ended_at", "last_record_at"):
        assert session[name] == document["session"][name]
    assert len(events) == 1


@pytest.mark.parametrize("form", ["json", "ndjson", "html"])
def test_a_redacted_export_holds_nothing_that_was_said(
    http: httpx.Client, elsewhere: httpx.Client, form: str
) -> None:
    """
    Texts become their type and size; names, states, times, tokens and costs stay. Redacted records
    can be imported like others.
    """
    tell(http)
    answer = exported(http, format=form, redacted="1")
    assert f"session-{SESSION}-redacted.{form}" in answer.headers["content-disposition"]
    assert SECRET not in answer.text
    assert "secret-host" not in answer.text
    assert "videos.example" not in answer.text
    if form == "html":
        assert f"[text, {len(SECRET)} characters]" in answer.text
        assert SECRET in exported(http, format="html").text
        return
    if form == "json":
        document = answer.json()
    else:
        take(elsewhere, answer.content)
        document = exported(elsewhere).json()
    session, events = document["session"], {event["id"]: event for event in document["events"]}
    assert (session["name"], session["state"], session["tags"]) == ("nightly", "Fail", ["v2"])
    assert session["cost_usd"] == 0.0125
    assert session["reason"] == f"[text, {len(SECRET)} characters]"
    assert session["failure"]["causes"][0]["type"] == "KeyError"
    call = events["00000000000000a1"]
    assert call["prompt"] == f"[text, {len(SECRET)} characters]"
    assert call["completion"].startswith("[object, ")
    assert (call["model"], call["prompt_tokens"], call["cost_usd"]) == ("m-1", 10, 0.0125)
    assert {event["error"] for event in events.values()} == {
        None,
        f"LookupError: [text, {len(SECRET)} characters]",
    }


@pytest.mark.parametrize(("name", "value"), [("format", "pdf"), ("redacted", "no")])
def test_says_what_an_export_can_be(http: httpx.Client, name: str, value: str) -> None:
    """
    A format that there is not is told with those that there are.
    """
    tell(http)
    answer = http.get(f"/api/sessions/{SESSION}/export", params={name: value})
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(f"{name} must be ")
