"""
What people say of sessions: records of a source of the collector's own.
"""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from sources import START, Clock, Source, lines, uuid

from asyncops._events import AnnotationRecord
from asyncops._exceptions import SessionNotFoundError
from asyncops.collector.store.base import SessionQuery, Store

SESSION, OTHER = uuid(1), uuid(2)
EVENT = "00000000000000a1"
NOTE = "00000000000000b1"


def word(at: int, **said: Any) -> AnnotationRecord:
    return AnnotationRecord(at=START + at, session=SESSION, **said)


@pytest.mark.anyio
async def test_the_latest_word_on_a_thing_counts(store: Store, clock: Clock) -> None:
    """
    Stars, scores by name, notes by id and tags each have the latest word of all, whatever came
    first; what was said makes the session neither longer nor alive, and no process of it.
    """
    source = Source()
    await store.add(
        source.batch(source.starts(SESSION, tags=("old",)), source.does(SESSION, id=EVENT))
    )
    clock.passes(60)
    before = await store.session("default", SESSION)
    assert before.summary.state == "Indeterminate"
    for annotation in (
        word(30_000_000_000_000, star=True),
        word(10_000_000_000_000, star=False),
        word(20_000_000_000_000, event=EVENT, star=True, by="Ada"),
        word(20_000_000_000_000, note="second thoughts", note_id=NOTE, by="Ada"),
        word(10_000_000_000_000, note="first thoughts", note_id=NOTE),
        word(10_000_000_000_000, note="gone", note_id="00000000000000b2"),
        word(11_000_000_000_000, note="", note_id="00000000000000b2"),
        word(12_000_000_000_000, score=1.5, score_name="quality"),
        word(13_000_000_000_000, score=-2, score_name="quality"),
        word(15_000_000_000_000, score=7, event=EVENT),
        word(11_000_000_000_000, score=3, score_name="speed"),
        word(14_000_000_000_000, tags=("reviewed", "new")),
    ):
        await store.annotate("default", annotation)
    detail = await store.session("default", SESSION)
    assert detail.summary.starred
    assert detail.starred_events == (EVENT,)
    assert [(note.id, note.text, note.by) for note in detail.notes] == [
        (NOTE, "second thoughts", "Ada")
    ]
    assert {(score.event, score.name, score.value) for score in detail.scores} == {
        (None, "quality", -2.0),
        (None, "speed", 3.0),
        (EVENT, None, 7.0),
    }
    assert detail.summary.score == -2.0
    assert detail.summary.tags == ("reviewed", "new")
    assert detail.sources == before.sources
    for name in ("state", "reason", "started_at", "ended_at", "last_record_at"):
        assert getattr(detail.summary, name) == getattr(before.summary, name)

    await store.add(source.batch(source.starts(OTHER)))
    page = await store.sessions("default", SessionQuery(starred=True))
    assert [session.id for session in page.sessions] == [SESSION]
    for query, found in (
        (SessionQuery(min_score=-2), [SESSION]),
        (SessionQuery(max_score=0), [SESSION]),
        (SessionQuery(min_score=-1), []),
        (SessionQuery(max_score=-2.5), []),
    ):
        page = await store.sessions("default", query)
        assert [session.id for session in page.sessions] == found
    tagged = await store.sessions("default", SessionQuery(tags=("reviewed",)))
    assert [session.id for session in tagged.sessions] == [SESSION]
    with pytest.raises(SessionNotFoundError):
        await store.annotate("default", AnnotationRecord(at=START, session=uuid(9), star=True))


@pytest.mark.anyio
async def test_a_word_may_come_before_its_session(store: Store) -> None:
    """
    As in an import of several files: the session is the same as in the other order.
    """
    people, source = Source(9), Source(1)
    said = people.says(AnnotationRecord, session=SESSION, star=True, at=START + 10**15)
    await store.add(people.batch(said))
    assert (await store.records("default", SESSION)).next is None
    await store.add(source.batch(source.starts(SESSION), source.ends(SESSION)))
    detail = await store.session("default", SESSION)
    assert detail.summary.starred
    assert detail.summary.last_record_at < START + 10**15
    assert [each.id for each in detail.sources] == [source.id]


def test_annotations_are_asked_for_and_taken_along(http: httpx.Client) -> None:
    """
    The API takes a person's word, says what it makes of it, and gives it away with the session;
    what is no word, or too much of one, is refused.
    """
    source = Source()
    body = lines(source.starts(SESSION), source.does(SESSION), source.ends(SESSION))
    http.post("/v1/records", content=body, headers={"Asyncops-Source": source.id})
    path = f"/api/sessions/{SESSION}/annotations"
    session = http.post(path, json={"note": "look here", "by": "Ada", "star": True}).json()
    (note,) = session["notes"]
    assert (note["text"], note["by"], session["starred"]) == ("look here", "Ada", True)
    assert [found["id"] for found in http.get("/api/sessions?starred=1").json()["sessions"]] == [
        SESSION
    ]
    records = http.get(f"/api/sessions/{SESSION}/export?format=ndjson").text.splitlines()
    (said,) = (json.loads(line) for line in records if '"annotation"' in line)
    assert (said["note"], said["note_id"], said["star"]) == ("look here", note["id"], True)
    masked = http.get(f"/api/sessions/{SESSION}/export?format=ndjson&redacted=1").text
    assert "look here" not in masked
    session = http.post(path, json={"note": "", "note_id": note["id"]}).json()
    assert session["notes"] == []
    for asked in (
        {},
        {"by": "Ada"},
        {"note": "x" * 8_193},
        {"event": "no id", "star": True},
        {"score": 1e10},
        {"score": "much"},
        {"stars": 3},
    ):
        assert http.post(path, json=asked).status_code == 400, asked
    assert http.post(path, content=b"note=x").status_code == 415
    assert http.post(path.replace(SESSION, OTHER), json={"star": True}).status_code == 404
