"""
What every store does, whatever it is made of. See test_store_fold.py for orders of arrival.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
from processes import SECONDS
from sources import SECOND, START, Clock, Source, uuid

from asyncops._events import (
    Cost,
    EndState,
    EventRecord,
    Failure,
    LostRecord,
    Record,
    SourceRecord,
    TagsRecord,
    VideoRecord,
)
from asyncops._exceptions import SessionNotFoundError, StoreError
from asyncops._prices import PriceTable
from asyncops._wire import decode, encode
from asyncops.collector.dashboard.missing import REASONS
from asyncops.collector.store.base import (
    MISSING_REASONS,
    Around,
    CostSource,
    EventColumns,
    EventDetail,
    EventStructure,
    Group,
    RejectedLine,
    SessionQuery,
    SessionSummary,
    Store,
)
from asyncops.collector.store.sqlite_schema import event_number

pytestmark = pytest.mark.anyio

SESSION = uuid(1)
OTHER = uuid(2)


async def summary(store: Store, session: str = SESSION, project: str = "default") -> SessionSummary:
    return (await store.session(project, session)).summary


async def found(store: Store, **query: object) -> list[str]:
    page = await store.sessions("default", SessionQuery(**query))  # type: ignore[arg-type]
    return [session.id for session in page.sessions]


# -- exactly once -----------------------------------------------------------------------------


async def test_stores_a_record_once(store: Store) -> None:
    """
    A batch that is sent again is acknowledged again and changes nothing.
    """
    source = Source()
    batch = source.batch(source.starts(SESSION), source.does(SESSION), source.does(SESSION))
    first = await store.add(batch)
    before = await store.session("default", SESSION)
    again = await store.add(batch)
    assert (first.acknowledged, first.stored, first.changed) == (3, 3, (SESSION,))
    assert (again.acknowledged, again.stored, again.changed) == (3, 0, ())
    assert await store.session("default", SESSION) == before


async def test_takes_only_what_is_new_of_an_overlapping_batch(store: Store) -> None:
    """
    Of a batch whose beginning is known only the rest is stored.
    """
    source = Source()
    records = [source.starts(SESSION), source.does(SESSION), source.does(SESSION)]
    await store.add(source.batch(*records[:2]))
    outcome = await store.add(source.batch(*records))
    assert outcome.stored == 1
    assert (await summary(store)).events == 2


async def test_remembers_what_it_has_when_opened_again(open_store: Callable[[], Store]) -> None:
    """
    What was acknowledged is there, and known, after the store was closed and opened.
    """
    source = Source()
    batch = source.batch(source.begins(), source.starts(SESSION), source.does(SESSION))
    store = open_store()
    await store.add(batch)
    before = (await store.session("default", SESSION), await store.timeline("default", SESSION))
    await store.aclose()
    store = open_store()
    try:
        outcome = await store.add(batch)
        after = (await store.session("default", SESSION), await store.timeline("default", SESSION))
    finally:
        await store.aclose()
    assert (outcome.acknowledged, outcome.stored) == (3, 0)
    assert after == before


async def test_keeps_projects_apart(store: Store) -> None:
    """
    The same source, session and numbers in two projects are two of everything.
    """
    ours, theirs = Source(project="ours"), Source(project="theirs")
    await store.add(ours.batch(ours.starts(SESSION, name="ours"), ours.does(SESSION)))
    outcome = await store.add(theirs.batch(theirs.starts(SESSION, name="theirs")))
    assert outcome.stored == 1
    assert (await summary(store, project="ours")).name == "ours"
    assert (await summary(store, project="theirs")).name == "theirs"
    assert (await summary(store, project="theirs")).events == 0
    assert await store.projects() == ("ours", "theirs")
    with pytest.raises(SessionNotFoundError, match=SESSION):
        await store.session("default", SESSION)


async def test_an_empty_batch_is_a_heartbeat(store: Store) -> None:
    """
    A batch of nothing is acknowledged with what the source has settled, and notes that it lives.
    """
    source = Source()
    await store.add(source.batch(source.starts(SESSION)))
    outcome = await store.add(source.batch(received_at=START + 5 * SECOND))
    assert (outcome.acknowledged, outcome.stored) == (1, 0)
    (told,) = (await store.session("default", SESSION)).sources
    assert told.last_seen_at == START + 5 * SECOND


async def test_a_bad_batch_spares_its_neighbours(store: Store) -> None:
    """
    Of batches that are written together, one that cannot be stored fails alone.
    """
    outcomes: dict[int, object] = {}

    async def add(number: int, project: str) -> None:
        source = Source(number, project=project)
        try:
            batch = source.batch(source.starts(uuid(number), tags=("t",)))
            outcomes[number] = await store.add(batch)
        except StoreError as error:
            outcomes[number] = error

    async with anyio.create_task_group() as tasks:
        for number in range(10):
            # no database can keep half of a surrogate pair
            tasks.start_soon(add, number, "\ud800" if number == 5 else "default")
    failed = [number for number, outcome in outcomes.items() if isinstance(outcome, StoreError)]
    assert failed == [5]
    assert len(await found(store)) == 9
    assert len(await found(store, tags=("t",))) == 9


# -- holes ------------------------------------------------------------------------------------


async def test_counts_a_hole_for_the_session_that_follows(store: Store) -> None:
    """
    Records that a source numbered but that never came are missing from the session after them.
    """
    source = Source()
    first = source.batch(source.starts(SESSION), source.starts(OTHER))
    source.loses(3)
    await store.add(first)
    await store.add(source.batch(source.does(SESSION)))
    assert (await summary(store)).missing_records == 3
    assert (await summary(store, OTHER)).missing_records == 0


async def test_counts_a_hole_for_the_last_session_where_none_follows(store: Store) -> None:
    """
    Where what follows the hole is of no session, the session before it misses the records.
    """
    source = Source()
    await store.add(source.batch(source.starts(OTHER), source.starts(SESSION)))
    source.loses(2)
    await store.add(source.batch(source.stops()))
    assert (await summary(store)).missing_records == 2
    assert (await summary(store, OTHER)).missing_records == 0


async def test_a_hole_before_any_session_waits_for_the_first(store: Store) -> None:
    """
    Records missing before a source named any session are missing from the first one it names.
    """
    source = Source()
    source.loses(4)
    await store.add(source.batch(source.begins()))
    await store.add(source.batch(source.starts(SESSION)))
    assert (await summary(store)).missing_records == 4


async def test_a_rejected_line_is_settled_and_missing(store: Store) -> None:
    """
    The number of a line that was no record is acknowledged, and its session misses it.
    """
    source = Source()
    records = [source.starts(SESSION)]
    source.loses(1)
    records.append(source.does(SESSION))
    source.loses(1)
    bad = [RejectedLine(seq=seq, error="no") for seq in (2, 4, None)]
    outcome = await store.add(source.batch(*records, rejected=bad))
    assert (outcome.acknowledged, outcome.stored) == (4, 2)
    assert (await summary(store)).missing_records == 2
    again = await store.add(source.batch(*records, rejected=bad))
    assert (again.acknowledged, again.stored) == (4, 0)
    assert (await summary(store)).missing_by_reason == {"rejected": 2}


def lost(source: Source, count: int, reason: str = "disk_full") -> LostRecord:
    """
    What a journal puts in the place of the last of *count* records.
    """
    source.loses(count - 1)
    return source.says(LostRecord, count=count, reason=reason)


async def test_what_was_dropped_is_told_by_reason(store: Store) -> None:
    """
    A `lost` record tells how many are missing from the session before it and why; what it does not
    tell of a gap is unreadable.
    """
    source = Source()
    records = [source.starts(OTHER), source.starts(SESSION)]
    records += [lost(source, 10), lost(source, 1, "quota")]
    source.loses(2)
    records += [lost(source, 5), source.does(OTHER)]
    await store.add(source.batch(*records))
    session = await summary(store)
    assert session.missing_by_reason == {"disk_full": 15, "quota": 1, "unreadable": 2}
    assert session.missing_records == 18
    assert (await summary(store, OTHER)).missing_records == 0


async def test_what_was_dropped_before_any_session_waits_for_the_first(store: Store) -> None:
    """
    What was dropped before a source named any session is missing from the first one it names, with
    its reasons.
    """
    source = Source()
    await store.add(source.batch(source.begins(), lost(source, 3)))
    source.loses(1)
    await store.add(source.batch(lost(source, 2, "quota")))
    await store.add(source.batch(source.starts(SESSION)))
    await store.add(source.batch(source.starts(OTHER)))
    by_reason = {"disk_full": 3, "quota": 2, "unreadable": 1}
    assert (await summary(store)).missing_by_reason == by_reason
    assert (await summary(store, OTHER)).missing_records == 0


async def test_what_was_dropped_after_it_arrived_is_not_missing(store: Store) -> None:
    """
    Records the store has, whose acknowledgement was lost before the journal dropped them, are not
    counted as missing.
    """
    source = Source()
    await store.add(
        source.batch(source.starts(SESSION), source.does(SESSION), source.does(SESSION))
    )
    record = source.says(LostRecord, count=3, reason="journal_max_bytes")
    await store.add(source.batch(record))
    await store.add(source.batch(record))
    assert (await summary(store)).missing_by_reason == {"journal_max_bytes": 1}


async def test_reasons_are_few(store: Store) -> None:
    """
    However many reasons a sender makes up, and however much it claims, a session holds one number
    for those nobody knows.
    """
    source = Source()
    records: list[Record] = [source.starts(SESSION)]
    records += [lost(source, 1, f"reason {n}") for n in range(100)]
    records += [source.says(LostRecord, count=count, reason="x") for count in (0, 2**63 - 1)]
    await store.add(source.batch(*records))
    assert (await summary(store)).missing_by_reason == {"unknown": 102}


def test_every_reason_is_in_the_protocol_and_on_the_page() -> None:
    """
    The reasons a store keeps are those that the protocol names, and the page has words for each.
    """
    protocol = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()
    section = protocol.split("### `lost`")[1].split("###")[0].split("```")[2]
    assert {*re.findall(r"`([a-z_]+)`", section), "unknown"} - {"reason"} == {*MISSING_REASONS}
    assert {*REASONS} == {*MISSING_REASONS}


# -- sessions ---------------------------------------------------------------------------------


async def test_the_owner_tells_name_and_start(store: Store) -> None:
    """
    Name and start come from who started the session, though who joined it was heard first.
    """
    owner, guest = Source(1), Source(2)
    await store.add(guest.batch(guest.joins(SESSION, name="guest", started_at=5)))
    assert (await summary(store)).name == "guest"
    assert (await summary(store)).started_at == START + 1_000_000
    await store.add(owner.batch(owner.starts(SESSION, name="owner", started_at=START - SECOND)))
    assert (await summary(store)).name == "owner"
    assert (await summary(store)).started_at == START - SECOND


async def test_events_may_come_before_their_session(store: Store) -> None:
    """
    A session of which only events are known is there, and begins with the earliest of them.
    """
    source = Source()
    late, early = source.does(SESSION, at=START + 9), source.does(SESSION, at=START + 3)
    await store.add(source.batch(late, early))
    session = await summary(store)
    assert (session.name, session.state, session.events) == (None, "Running", 2)
    assert (session.started_at, session.last_record_at) == (START + 3, START + 9)


async def test_tags_are_added_and_replaced(store: Store) -> None:
    """
    Tags keep the order in which they first appeared, once each, from the last replacement on.
    """
    source = Source()
    await store.add(source.batch(source.starts(SESSION, tags=("a", "b"))))
    await store.add(source.batch(source.says(TagsRecord, session=SESSION, tags=("c", "a"))))
    assert (await summary(store)).tags == ("a", "b", "c")
    assert await found(store, tags=("a", "c")) == [SESSION]
    replaced = source.says(TagsRecord, session=SESSION, tags=("d", "b"), replace=True)
    await store.add(source.batch(replaced))
    assert (await summary(store)).tags == ("d", "b")
    assert await found(store, tags=("a",)) == []
    assert await found(store, tags=("b", "d")) == [SESSION]
    await store.add(source.batch(source.says(TagsRecord, session=SESSION, tags=("a",))))
    assert await found(store, tags=("a", "b", "d")) == [SESSION]


async def test_tags_that_arrive_late_stand_where_they_were_said(store: Store) -> None:
    """
    A replacement takes away only what was said before it, whenever it arrives.
    """
    one, two = Source(1), Source(2)
    await store.add(one.batch(one.starts(SESSION, at=10, tags=("old",))))
    await store.add(one.batch(one.says(TagsRecord, at=30, session=SESSION, tags=("new",))))
    late = two.says(TagsRecord, at=20, session=SESSION, tags=("middle",), replace=True)
    await store.add(two.batch(late))
    assert (await summary(store)).tags == ("middle", "new")


async def test_the_latest_video_wins(store: Store) -> None:
    """
    Of several videos the one that was said last stays.
    """
    one, two = Source(1), Source(2)
    await store.add(one.batch(one.says(VideoRecord, at=20, session=SESSION, video="https://b")))
    await store.add(two.batch(two.says(VideoRecord, at=10, session=SESSION, video="https://a")))
    assert (await summary(store)).video == "https://b"


async def test_the_user_outranks_the_process_and_the_process_its_adopter(store: Store) -> None:
    """
    How a session ended is told by the user, else by the process, else by who adopted its journal.
    """
    adopter, process, user = Source(1), Source(2), Source(3)
    await store.add(
        adopter.batch(
            adopter.ends(SESSION, EndState.INDETERMINATE, said_by="adopter", at=1, reason="died")
        )
    )
    assert (await summary(store)).state == "Indeterminate"
    failure = Failure(type="ValueError", message="no", traceback="at home")
    await store.add(
        process.batch(
            process.ends(SESSION, EndState.FAIL, said_by="process", at=2, failure=failure)
        )
    )
    assert (await summary(store)).state == "Fail"
    assert (await store.session("default", SESSION)).failure == failure
    await store.add(user.batch(user.ends(SESSION, at=3, ended_at=START + 7, reason="done")))
    session = await summary(store)
    assert (session.state, session.reason, session.ended_at) == ("Success", "done", START + 7)
    assert (await store.session("default", SESSION)).failure is None


async def test_the_first_end_of_a_rank_stays(store: Store) -> None:
    """
    Of two ends said by the same, the earlier one counts, though it arrives later.
    """
    one, two = Source(1), Source(2)
    await store.add(one.batch(one.ends(SESSION, EndState.FAIL, at=20)))
    await store.add(two.batch(two.ends(SESSION, EndState.CANCELLED, at=10)))
    assert (await summary(store)).state == "Cancelled"


async def test_late_events_never_change_a_state(store: Store) -> None:
    """
    A session that ended stays as it ended, however many events of it still arrive.
    """
    source = Source()
    await store.add(source.batch(source.starts(SESSION), source.ends(SESSION)))
    await store.add(source.batch(source.does(SESSION, state="Fail"), source.joins(SESSION)))
    session = await summary(store)
    assert (session.state, session.events, session.errors) == ("Success", 1, 1)


async def test_two_processes_are_one_session(store: Store) -> None:
    """
    What an owner and a guest record of one session adds up, and the guest's leaving ends nothing.
    """
    owner, guest = Source(1), Source(2)
    await store.add(owner.batch(owner.begins(pid=1), owner.starts(SESSION), owner.does(SESSION)))
    await store.add(
        guest.batch(
            guest.begins(pid=2),
            guest.joins(SESSION),
            guest.does(SESSION),
            guest.ends(SESSION, None),
            guest.stops(),
        )
    )
    detail = await store.session("default", SESSION)
    assert (detail.summary.state, detail.summary.events) == ("Running", 2)
    assert [(told.pid, told.ended) for told in detail.sources] == [(1, False), (2, True)]


async def test_sources_tell_of_themselves_bit_by_bit(store: Store) -> None:
    """
    Later records of a source fill in what earlier ones left out, and change nothing they said.
    """
    source = Source()
    await store.add(
        source.batch(source.begins(pid=7, host={"os": {"name": "Linux"}}), source.starts(SESSION))
    )
    more = {"os": "other", "cpu": 10**30}
    await store.add(
        source.batch(source.says(SourceRecord, source=source.id, pid=8, sdk="1.0", host=more))
    )
    (told,) = (await store.session("default", SESSION)).sources
    assert (told.pid, told.sdk) == (7, "1.0")
    assert told.host == {"os": {"name": "Linux"}, "cpu": 10**30}


# -- the lease --------------------------------------------------------------------------------


async def test_a_silent_session_is_indeterminate(store: Store, clock: Clock) -> None:
    """
    An open session reads as dead once nobody was heard for longer than the lease, and as running
    again as soon as somebody is.
    """
    source = Source()
    await store.add(source.batch(source.starts(SESSION), source.does(SESSION, at=START + 77)))
    clock.passes(30)
    assert (await summary(store)).state == "Running"
    clock.passes(0.1)
    session = await summary(store)
    assert (session.state, session.reason) == ("Indeterminate", "process died")
    assert session.ended_at == session.last_record_at == START + 1_000_000
    outcome = await store.add(source.batch(received_at=clock.now))
    assert outcome.changed == (SESSION,)
    session = await summary(store)
    assert (session.state, session.reason, session.ended_at) == ("Running", None, None)


async def test_filters_and_sums_agree_about_silence(store: Store, clock: Clock) -> None:
    """
    A session that reads as dead is found as dead, by state and by reason, and summed up as dead.
    """
    source = Source()
    await store.add(source.batch(source.starts(SESSION)))
    assert await found(store, states=("Running",)) == [SESSION]
    assert await found(store, q="process died") == []
    clock.passes(31)
    assert await found(store, states=("Running",)) == []
    assert await found(store, states=("Indeterminate", "Fail")) == [SESSION]
    assert await found(store, q="process died") == [SESSION]
    assert (await store.overview("default")).states == {"Indeterminate": 1}


async def test_one_living_source_keeps_a_session_running(store: Store, clock: Clock) -> None:
    """
    A session runs for as long as any of its sources is heard that has not left.
    """
    owner, guest = Source(1), Source(2)
    await store.add(owner.batch(owner.starts(SESSION)))
    await store.add(guest.batch(guest.joins(SESSION)))
    clock.passes(31)
    await store.add(guest.batch(received_at=clock.now))
    assert (await summary(store)).state == "Running"
    await store.add(guest.batch(guest.ends(SESSION, None), received_at=clock.now))
    assert (await summary(store)).state == "Indeterminate"


async def test_a_source_that_joins_again_counts_again(store: Store, clock: Clock) -> None:
    """
    A source that left and joined once more keeps the session running.
    """
    owner, guest = Source(1), Source(2)
    await store.add(owner.batch(owner.starts(SESSION)))
    await store.add(guest.batch(guest.joins(SESSION), guest.ends(SESSION, None)))
    clock.passes(31)
    await store.add(guest.batch(guest.joins(SESSION), received_at=clock.now))
    assert (await summary(store)).state == "Running"


async def test_a_source_that_ended_and_speaks_lives(store: Store, clock: Clock) -> None:
    """
    A source that said its last word and then another is not done.
    """
    owner, guest = Source(1), Source(2)
    await store.add(owner.batch(owner.starts(SESSION), owner.stops()))
    await store.add(guest.batch(guest.joins(SESSION), guest.ends(SESSION, None)))
    clock.passes(31)
    await store.add(guest.batch(received_at=clock.now))
    assert (await summary(store)).state == "Indeterminate"
    await store.add(owner.batch(owner.does(SESSION), received_at=clock.now))
    assert (await summary(store)).state == "Running"


async def test_the_lease_runs_anew_when_the_store_is_opened(
    open_store: Callable[[], Store], clock: Clock
) -> None:
    """
    A collector that was away condemns nobody for having been silent meanwhile.
    """
    source = Source()
    store = open_store()
    await store.add(source.batch(source.starts(SESSION)))
    await store.aclose()
    clock.passes(3_600)
    store = open_store()
    try:
        assert (await summary(store)).state == "Running"
        clock.passes(30.1)
        assert (await summary(store)).state == "Indeterminate"
    finally:
        await store.aclose()


# -- events -----------------------------------------------------------------------------------


def llm(source: Source, **fields: object) -> EventRecord:
    return source.does(SESSION, **{"kind": "llm", "name": "ask", **fields})


async def event(store: Store, event_id: str) -> EventDetail:
    detail = await store.event("default", SESSION, event_id)
    assert detail is not None
    return detail


async def test_an_event_is_kept_whole(store: Store) -> None:
    """
    Everything an event's record says is told of the event.
    """
    source = Source()
    failure = Failure(
        type="GroupError",
        message="two",
        traceback="tb",
        causes=(Failure(type="A", relation="member", event_id="00000000000000aa"),),
    )
    record = source.does(
        SESSION,
        id="ffffffffffffff01",
        kind="llm",
        name="ask",
        parent_id="8000000000000000",
        agent="planner",
        state="Fail",
        started_at=START,
        ended_at=START + 5,
        model="m-1",
        provider="p",
        params=msgspec.Raw(b'{"a":[1,2.5,null]}'),
        returns=msgspec.Raw(b"null"),
        prompt=msgspec.Raw('[{"role":"user","content":"hé"}]'.encode()),
        completion=msgspec.Raw(b'"done"'),
        usage=msgspec.Raw(b'{"total":12345678901234567890123}'),
        attributes=msgspec.Raw(b'{"x":true}'),
        failure=failure,
        prompt_tokens=1,
        completion_tokens=2,
        cached_tokens=3,
        cache_write_tokens=4,
        reasoning_tokens=5,
        time_to_first_token=6,
        cost=Cost("0.000000000123", source="computed", table="prices 1"),
        trigger_event_id="00000000000000bb",
        tool_call_id="call_1",
    )
    await store.add(source.batch(record))
    detail = await event(store, "ffffffffffffff01")
    told = detail.summary
    assert (told.id, told.parent_id, told.kind, told.name, told.agent) == (
        "ffffffffffffff01", "8000000000000000", "llm", "ask", "planner",
    )  # fmt: skip
    assert (told.state, told.started_at, told.ended_at) == ("Fail", START, START + 5)
    assert (told.model, told.provider, told.source_id) == ("m-1", "p", source.id)
    assert (told.prompt_tokens, told.completion_tokens) == (1, 2)
    assert (told.cached_tokens, told.reasoning_tokens, told.time_to_first_token) == (3, 5, 6)
    assert told.cost == record.cost
    assert told.error == "GroupError: two"
    assert detail.params == {"a": [1, 2.5, None]}
    assert detail.returns is None
    assert detail.prompt == [{"role": "user", "content": "hé"}]
    assert detail.completion == "done"
    assert detail.usage == {"total": 12345678901234567890123}
    assert detail.attributes == {"x": True}
    assert detail.failure == failure
    assert detail.trigger_event_id == "00000000000000bb"
    assert (detail.tool_call_id, detail.cache_write_tokens) == ("call_1", 4)
    assert (await store.timeline("default", SESSION)) == (told,)
    assert (await store.events("default", SESSION)).events == (detail,)


async def test_an_open_event_is_running_until_it_is_closed(store: Store) -> None:
    """
    An announced event runs; its closing fills it in and makes it arrive anew.
    """
    source = Source()
    params = msgspec.Raw(b'{"q":1}')
    await store.add(
        source.batch(
            source.opens(SESSION, id="00000000000000a1", kind="tool", name="t", params=params),
            source.does(SESSION, id="00000000000000a2"),
        )
    )
    opened = await event(store, "00000000000000a1")
    assert (opened.summary.state, opened.summary.ended_at) == ("Running", None)
    assert opened.params == {"q": 1}
    session = await summary(store)
    assert (session.events, session.tools, session.actions, session.errors) == (2, 1, 1, 0)
    await store.add(
        source.batch(
            source.does(SESSION, id="00000000000000a1", kind="tool", name="t", state="Fail")
        )
    )
    closed = await event(store, "00000000000000a1")
    assert (closed.summary.state, closed.params) == ("Fail", None)
    session = await summary(store)
    assert (session.events, session.tools, session.actions, session.errors) == (2, 1, 1, 1)
    order = [told.id for told in await store.timeline("default", SESSION)]
    assert order == ["00000000000000a2", "00000000000000a1"]


async def test_a_closed_event_never_changes(store: Store) -> None:
    """
    Neither an announcement nor a second closing changes an event that is closed.
    """
    source, other = Source(1), Source(2)
    await store.add(source.batch(llm(source, id="00000000000000a1", prompt_tokens=5)))
    before = (await event(store, "00000000000000a1"), await summary(store))
    announced = other.opens(SESSION, id="00000000000000a1")
    again = other.does(SESSION, id="00000000000000a1", kind="llm", prompt_tokens=7, state="Fail")
    for record in (announced, again):
        assert (await store.add(other.batch(record))).stored == 1
    assert await event(store, "00000000000000a1") == before[0]
    after = await summary(store)
    assert (after.events, after.llms, after.prompt_tokens, after.errors) == (
        before[1].events, before[1].llms, before[1].prompt_tokens, before[1].errors,
    )  # fmt: skip


async def test_pages_of_events_miss_and_repeat_nothing(store: Store) -> None:
    """
    Following `next` shows every event once, in order, while others arrive.
    """
    source = Source()
    await store.add(source.batch(*(source.does(SESSION) for _ in range(5))))
    first = await store.events("default", SESSION, limit=3)
    await store.add(source.batch(*(source.does(SESSION) for _ in range(2))))
    second = await store.events("default", SESSION, limit=3, cursor=first.next)
    third = await store.events("default", SESSION, limit=3, cursor=second.next)
    seen = [page.summary.id for part in (first, second, third) for page in part.events]
    assert seen == [told.id for told in await store.timeline("default", SESSION)]
    assert len(seen) == 7
    assert third.next is None


@pytest.mark.parametrize("cursor", ["", "x", "-1", "1.5", "9" * 30, "²"])
async def test_refuses_a_cursor_of_events_that_is_none(store: Store, cursor: str) -> None:
    """
    What `next` never said is no cursor.
    """
    source = Source()
    await store.add(source.batch(source.does(SESSION)))
    with pytest.raises(ValueError, match="no cursor"):
        await store.events("default", SESSION, cursor=cursor)


async def test_what_lies_around_an_event(store: Store) -> None:
    """
    When those below an event ran, whatever their kind and however late they came; and the calls
    that are nearest to one in the same place, in order of their starts, not of their arrival.
    """
    source = Source()
    parent, itself = "00000000000000aa", "00000000000000bb"

    def call(number: int, **fields: Any) -> EventRecord:
        start = START + number * SECOND
        place = {"kind": "llm", "parent_id": parent, "name": "ask", "agent": None, "model": "m"}
        return source.does(
            SESSION, id=f"{number:016x}", started_at=start, ended_at=start + SECOND,
            **place | {"state": "Fail"} | fields,
        )  # fmt: skip

    others = [{"name": "b"}, {"parent_id": None}, {"agent": "a"}, {"model": None}, {"kind": "tool"}]
    await store.add(
        source.batch(
            *(call(number) for number in (5, 3, 1, 4, 2)),
            *(call(number, **fields) for number, fields in enumerate(others, 11)),
            source.does(SESSION, id=itself, parent_id=itself),  # is not below itself
            source.opens(SESSION, id="00000000000000cc", parent_id=parent, started_at=START),
            source.does(SESSION, id=parent),
            source.does(OTHER, parent_id=parent),
        )
    )
    around = await store.around("default", SESSION, parent, near=2)
    started = [START + number * SECOND for number in (1, 2, 3, 4, 5, 11, 13, 14, 15)]
    spans = [(START, None), *((start, start + SECOND) for start in started)]
    assert sorted(around.below) == spans
    assert around.alike == ()
    around = await store.around("default", SESSION, f"{2:016x}", near=2)
    expected = tuple((f"{number:016x}", "Fail") for number in (1, 2, 3, 4))
    assert around == Around(alike=expected)
    assert await store.around("default", SESSION, itself, near=2) == Around()
    assert await store.around("default", OTHER, itself, near=2) == Around()
    open_ones = await store.timeline("default", SESSION, only_open=True)
    assert [event.id for event in open_ones] == ["00000000000000cc"]


async def test_a_timeline_goes_on_where_one_was(store: Store) -> None:
    """
    What lies beyond a `seq` is what is new or changed since, as many as wanted.
    """
    source = Source()
    running = source.opens(SESSION, id="00000000000000a1")
    await store.add(source.batch(running, *(source.does(SESSION) for _ in range(3))))
    seq = (await store.timeline("default", SESSION))[-1].seq
    assert await store.timeline("default", SESSION, after=seq) == ()
    await store.add(source.batch(source.does(SESSION), source.does(SESSION, id="00000000000000a1")))
    news = await store.timeline("default", SESSION, after=seq)
    assert [told.state for told in news] == ["Success", "Success"]
    assert news[1].id == "00000000000000a1"
    assert await store.timeline("default", SESSION, after=seq, limit=1) == news[:1]
    assert await store.timeline("default", SESSION, after=2**63 - 1) == ()


async def test_columns_say_what_the_timeline_says(store: Store) -> None:
    """
    Column by column the same events, whatever is in their texts, ids and costs.
    """
    source = Source()
    await store.add(
        source.batch(
            source.opens(SESSION, id="ffffffff00000001", name='open "quoted" \0 \u2028 </script>'),
            source.does(SESSION, kind="llm", cost=Cost("0.00000123"), prompt_tokens=2**60),
            source.does(SESSION, kind="llm", cost=Cost("7", currency="EUR"), completion_tokens=0),
            source.does(SESSION, parent_id="ffffffff00000001", agent="\N{SNOWMAN}\n", model="m"),
            source.does(SESSION, kind="tool", failure=Failure(type="E", message="x"), state="Fail"),
        )
    )
    for after in (0, 2, 5):
        told = await store.timeline("default", SESSION, after=after)
        columns = await store.columns("default", SESSION, after=after)
        assert columns == EventColumns(
            seqs=[event.seq for event in told],
            ids=[event_number(event.id) for event in told],
            parents=[event.parent_id and event_number(event.parent_id) for event in told],
            kinds=[event.kind for event in told],
            names=[event.name for event in told],
            agents=[event.agent for event in told],
            states=[event.state for event in told],
            started_at=[event.started_at for event in told],
            ended_at=[event.ended_at for event in told],
            models=[event.model for event in told],
            prompt_tokens=[event.prompt_tokens for event in told],
            completion_tokens=[event.completion_tokens for event in told],
            costs=[event.cost and (str(event.cost.amount), event.cost.currency) for event in told],
            errors=[event.error for event in told],
        )
    assert len(told) == 0


async def test_what_hangs_together_and_when_it_ran(store: Store) -> None:
    """
    The structure of a session's events is that of its timeline; some of them can be asked for.
    """
    source = Source()
    empty = source.starts(OTHER, started_at=START)
    top = "ffffffff00000001"
    await store.add(
        source.batch(
            empty,
            source.opens(SESSION, id=top, started_at=START + 5 * SECOND),
            source.does(SESSION, parent_id=top, started_at=START, ended_at=START + SECOND),
            source.does(SESSION, parent_id="00000000000000ff", started_at=START + SECOND),
        )
    )
    told = await store.timeline("default", SESSION)
    structure = await store.structure("default", SESSION)
    assert structure == EventStructure(
        ids=[event_number(event.id) for event in told],
        parents=[event.parent_id and event_number(event.parent_id) for event in told],
        started_at=[event.started_at for event in told],
        first_at=START,
        last_at=START + 5 * SECOND,
    )
    none = await store.structure("default", OTHER)
    assert (none.ids, none.first_at, none.last_at) == ([], None, None)
    wanted = [top, told[-1].id, "0000000000000000"]
    found = await store.timeline("default", SESSION, only=wanted)
    assert {event.id for event in found} == {top, told[-1].id}
    assert await store.timeline("default", OTHER, only=wanted) == ()
    assert await store.timeline("default", SESSION, only=[]) == ()


async def test_there_is_no_event_where_there_is_none(store: Store) -> None:
    """
    Asking for an unknown event answers None, for an unknown session raises.
    """
    source = Source()
    await store.add(source.batch(source.does(SESSION)))
    for unknown in ("00000000000000ff", "", "zz", "A" * 16, "f" * 40):
        assert await store.event("default", SESSION, unknown) is None
    for question in (
        store.session("default", OTHER),
        store.events("default", OTHER),
        store.timeline("default", OTHER),
        store.event("default", OTHER, "00000000000000ff"),
        store.timeline("nobody", SESSION),
        store.columns("default", OTHER),
        store.structure("default", OTHER),
    ):
        with pytest.raises(SessionNotFoundError):
            await question


async def test_survives_payloads_nobody_can_read(store: Store) -> None:
    """
    JSON that is well-formed but means nothing, or nests without end, is shown as a marker.
    """
    source = Source()
    payloads = {"params": b"1e999", "returns": b"1" * 5_000, "attributes": b"[" * 300 + b"]" * 300}
    record = source.does(
        SESSION,
        id="00000000000000a1",
        **{name: msgspec.Raw(value) for name, value in payloads.items()},
    )
    await store.add(source.batch(decode(encode(record))))
    detail = await event(store, "00000000000000a1")
    assert detail.params["$type"] == "json"
    assert detail.returns["$type"] == "json"
    assert detail.attributes == {"$truncated": "depth", "type": "list"}


async def test_cuts_failures_that_nest_without_end(store: Store) -> None:
    """
    A failure that is deeper than any real one is kept as deep as one can be.
    """
    source = Source()
    failure = Failure(type="Deep")
    for _ in range(200):
        failure = Failure(type="Deep", causes=(failure,))
    await store.add(
        source.batch(
            source.does(SESSION, id="00000000000000a1", failure=failure),
            source.ends(SESSION, EndState.FAIL, failure=failure),
        )
    )

    def depth(failure: Failure | None) -> int:
        return 0 if failure is None else 1 + max([depth(c) for c in failure.causes], default=0)

    assert depth((await event(store, "00000000000000a1")).failure) == 16
    assert depth((await store.session("default", SESSION)).failure) == 16


# -- sums -------------------------------------------------------------------------------------


async def test_errors_count_where_they_were_raised(store: Store) -> None:
    """
    A failure counts once, in the event where it was raised, and so does every error told.
    """
    source = Source()
    inner = source.event_id()
    await store.add(
        source.batch(
            source.does(SESSION, id=inner, state="Fail", failure=Failure(type="E")),
            source.does(SESSION, state="Fail", failure=Failure(type="E", event_id=inner)),
            source.does(SESSION, kind="error", state="Fail", failure=Failure(type="E")),
            source.does(SESSION, kind="error", state="Success"),
            source.does(SESSION, state="Cancelled"),
            source.does(SESSION, state="Fail"),
        )
    )
    assert (await summary(store)).errors == 4


async def test_costs_say_what_they_know(store: Store) -> None:
    """
    Dollars add up exactly; calls that told no cost, or one in another currency, are counted.
    """
    source = Source()
    await store.add(source.batch(llm(source)))
    session = await summary(store)
    assert (session.cost, session.costs_unknown) == (None, 1)
    costs = [Cost("0.1"), Cost("0.2"), Cost("0.0000000015"), Cost("7", currency="EUR"), Cost("0")]
    await store.add(source.batch(*(llm(source, cost=cost) for cost in costs)))
    await store.add(source.batch(source.does(SESSION, kind="tool", cost=Cost("1"))))
    session = await summary(store)
    assert (session.cost, session.costs_unknown) == (1_300_000_002, 2)


def priced(source: Source, **fields: Any) -> EventRecord:
    """
    A call at known prices: half a cent, unless *fields* say something else.
    """
    call = {"model": "gpt-4o", "provider": "openai", "prompt_tokens": 1_000}
    return llm(source, **{**call, "completion_tokens": 250, **fields})


async def test_a_cost_that_nobody_said_is_computed(store: Store) -> None:
    """
    A call that says its tokens and no cost is given the price of its time, by which table it says;
    sums and days have it, too.
    """
    source = Source()
    await store.add(
        source.batch(
            source.starts(SESSION, started_at=START),
            priced(source),
            priced(source, prompt_tokens=None, completion_tokens=None),
            priced(source, model="nobody-has-this"),
            priced(source, cost=Cost("0.25")),
            priced(source, cost=Cost("0.5", source="computed", table="ours 1")),
            source.does(SESSION, kind="tool", model="gpt-4o", prompt_tokens=5),
            source.ends(SESSION),
        )
    )
    events = (await store.events("default", SESSION)).events
    table = PriceTable().versions[0]
    assert events[0].summary.cost == Cost("0.005", source="computed", table=table)
    assert [event.summary.cost_source for event in events] == [
        "computed",
        "unknown",
        "unknown",
        "provider",
        "computed",
        None,
    ]
    session = await summary(store)
    assert (session.cost, session.costs_unknown) == (755_000_000, 2)
    assert session.costs_from == (
        CostSource(source="computed", currency="USD", table=table, events=1),
        CostSource(source="computed", currency="USD", table="ours 1", events=1),
        CostSource(source="provider", currency="USD", table=None, events=1),
    )
    overview = await store.overview("default")
    assert overview.cost == 755_000_000
    assert [(m["model"], m["cost"], m["costs_unknown"]) for m in overview.models] == [
        ("gpt-4o", 755_000_000, 1),
        ("nobody-has-this", None, 1),
    ]


async def test_a_call_that_was_refused_has_no_cost_to_know(store: Store) -> None:
    """
    Where the vendor answered with an error and used nothing, no cost is missing; elsewhere it is.
    """
    source = Source()
    refused = {
        "state": "Fail",
        "prompt_tokens": None,
        "completion_tokens": None,
        "failure": Failure(type="HTTPStatusError", message="429 Too Many Requests"),
    }
    await store.add(
        source.batch(
            priced(source, **refused),
            priced(source, **{**refused, "failure": Failure(type="httpx.HTTPStatusError")}),
            priced(source, **{**refused, "failure": Failure(type="ReadError")}),
            priced(source, **{**refused, "state": "Cancelled"}),
        )
    )
    events = (await store.events("default", SESSION)).events
    assert [event.summary.cost_source for event in events] == [None, None, "unknown", "unknown"]
    assert (await summary(store)).costs_unknown == 2
    (model,) = (await store.overview("default")).models
    assert (model["calls"], model["costs_unknown"]) == (4, 2)


async def test_sources_of_costs_are_bounded(store: Store) -> None:
    """
    A session cannot be filled with names of price tables.
    """
    source = Source()
    for number in range(30):
        cost = Cost("1", source="computed", table=f"{number}" * 2_000)
        await store.add(source.batch(llm(source, cost=cost)))
    told = (await summary(store)).costs_from
    assert len(told) == 21
    assert sum(each.events for each in told) == 30
    assert max(len(each.table or "") for each in told) == 1_000


async def test_tool_calls_are_linked_both_ways(store: Store) -> None:
    """
    The event that asked for a tool call and the one that carried it out know of each other, in
    whichever order they arrive and within their session alone.
    """
    source = Source()
    asks = llm(source, tool_call_ids=("a", "b", "c"))
    does_a = source.does(SESSION, kind="tool", name="search", tool_call_id="a")
    again = llm(source, tool_call_ids=("a",))
    retries_a = source.does(SESSION, kind="tool", name="search again", tool_call_id="a")
    stray = source.does(SESSION, kind="tool", tool_call_id="z")
    elsewhere = source.does(OTHER, kind="tool", tool_call_id="b")
    await store.add(source.batch(asks, does_a, again, retries_a, stray, elsewhere))
    other = Source(2)
    early = other.does(OTHER, kind="tool", tool_call_id="late")
    late = other.does(OTHER, kind="llm", name="asked", tool_call_ids=("late",))
    await store.add(other.batch(early))
    await store.add(other.batch(late))

    events = {event.summary.id: event for event in (await store.events("default", SESSION)).events}
    assert events[asks.id].tool_calls == (("a", retries_a.id), ("b", None), ("c", None))
    assert events[asks.id].linked == {retries_a.id: "search again"}
    assert events[again.id].tool_calls == (("a", retries_a.id),)
    assert [events[tool.id].requested_by for tool in (does_a, retries_a, stray)] == [
        asks.id,
        asks.id,
        None,
    ]
    told = await store.event("default", OTHER, early.id)
    assert told is not None
    assert (told.requested_by, told.linked) == (late.id, {late.id: "asked"})
    told = await store.event("default", OTHER, late.id)
    assert told is not None
    assert told.tool_calls == (("late", early.id),)


async def test_a_cost_of_nothing_is_a_cost(store: Store) -> None:
    """
    A call that says it was free makes the cost 0, not unknown.
    """
    source = Source()
    await store.add(source.batch(llm(source, cost=Cost("0"))))
    session = await summary(store)
    assert (session.cost, session.costs_unknown) == (0, 0)


async def test_hostile_counts_do_not_break_sums(store: Store) -> None:
    """
    Counts at the edge of what the wire allows leave whole numbers, and everything still adds up.
    """
    source = Source()
    most = 2**63 - 1
    for _ in range(3):
        await store.add(
            source.batch(
                *(
                    llm(
                        source,
                        model="m",
                        prompt_tokens=most,
                        completion_tokens=most,
                        cached_tokens=most,
                        reasoning_tokens=most,
                        time_to_first_token=most,
                        started_at=0,
                        ended_at=most,
                        cost=Cost(Decimal(1_000_000_000)),
                    )
                    for _ in range(4)
                )
            )
        )
    source.seq = most - 1
    await store.add(source.batch(source.ends(SESSION, at=START, ended_at=most)))
    session = await summary(store)
    sums = [session.prompt_tokens, session.completion_tokens, session.cost, session.missing_records]
    assert all(isinstance(number, int) and number >= 2**62 - 1 for number in sums)
    other = Source(2)
    await store.add(
        other.batch(other.does(OTHER, kind="llm", prompt_tokens=most, cost=Cost(1_000_000_000)))
    )
    overview = await store.overview("default")
    assert overview.prompt_tokens == 2 * (2**62 - 1)
    assert await found(store, sort="tokens") == [SESSION, OTHER]
    assert await found(store, sort="duration") == [SESSION, OTHER]


async def test_tells_who_took_part(store: Store) -> None:
    """
    Agents, models and hosts of the sessions that are asked for; some, where there are many.
    """
    source = Source(1)
    await store.add(
        source.batch(
            source.begins(host={"os": {"name": "x"}}),
            source.does(SESSION, kind="llm", agent="planner", model="small"),
            *(source.does(SESSION, kind="llm", agent="writer", model="big") for _ in range(2)),
            *(source.does(SESSION, name=f"step {n}", agent=f"a{n}") for n in range(30)),
            source.does(OTHER),
        )
    )
    found = await store.participants("default", [SESSION, OTHER, uuid(77)])
    assert set(found) == {SESSION, OTHER}
    assert found[SESSION].models == ("big", "small")
    assert len(found[SESSION].agents) == 20
    assert found[SESSION].hosts == ({"os": {"name": "x"}},)
    assert found[OTHER].agents == found[OTHER].models == ()
    assert await store.participants("nobody", [SESSION]) == {}


async def test_an_overview_adds_up_sessions_days_and_models(store: Store, clock: Clock) -> None:
    """
    Sums, averages, days and models are those of the sessions that started in the period.
    """
    day = 86_400 * SECOND
    for number, (start, cost, end) in enumerate(
        [
            (START, "1", EndState.SUCCESS),
            (START + 60 * SECOND, None, EndState.FAIL),
            (START - day, "3", None),
        ]
    ):
        source, session = Source(number), uuid(100 + number)
        priced = None if cost is None else Cost(cost)
        records = [
            source.starts(session, started_at=start),
            source.does(
                session,
                kind="llm",
                model=f"m{number % 2}",
                prompt_tokens=10,
                completion_tokens=5,
                cost=priced,
            ),
        ]
        if end is not None:
            records.append(source.ends(session, end, ended_at=start + 10 * SECOND))
        await store.add(source.batch(*records))
    overview = await store.overview("default")
    assert (overview.sessions, overview.cost, overview.events) == (3, 4_000_000_000, 3)
    assert overview.states == {"Success": 1, "Fail": 1, "Running": 1}
    assert (overview.prompt_tokens, overview.completion_tokens) == (30, 15)
    assert overview.average_cost == 2_000_000_000
    assert overview.average_tokens == 15
    assert overview.average_duration == 10 * SECOND
    assert [(part.day, part.sessions, part.cost) for part in overview.days] == [
        ("2027-01-14", 1, 3_000_000_000),
        ("2027-01-15", 2, 1_000_000_000),
    ]
    assert overview.days[1].states == {"Success": 1, "Fail": 1}
    assert [(m["model"], m["calls"], m["cost"], m["costs_unknown"]) for m in overview.models] == [
        ("m0", 2, 4_000_000_000, 0),
        ("m1", 1, None, 1),
    ]
    later = await store.overview("default", since=START, until=START + 60 * SECOND)
    assert (later.sessions, later.cost) == (1, 1_000_000_000)
    assert [m["model"] for m in later.models] == ["m0"]
    assert (await store.overview("nobody")).sessions == 0


async def test_a_breakdown_tells_what_sessions_have_in_common(store: Store) -> None:
    """
    Percentiles of what ended; tags, agents and errors with the sums of their sessions.
    """
    for number in range(100):
        source, session = Source(number), uuid(number)
        failed = number % 10 == 0
        await store.add(
            source.batch(
                source.starts(
                    session,
                    started_at=START + number,
                    tags=("all", *(["tenth"] if failed else [])),
                ),
                source.does(
                    session,
                    kind="llm",
                    agent="planner" if number < 60 else "writer",
                    prompt_tokens=2,
                    completion_tokens=1,
                    cost=Cost("0.5") if number < 50 else None,
                    **(
                        {
                            "state": "Fail",
                            "failure": Failure(type="OSError", message=f"port {number} is taken"),
                        }
                        if failed
                        else {}
                    ),
                ),
                *(
                    [
                        source.ends(
                            session,
                            EndState.FAIL if failed else EndState.SUCCESS,
                            ended_at=START + number + (number + 1) * SECOND,
                        )
                    ]
                    if number < 90
                    else []
                ),
            )
        )
    found = await store.breakdown("default")
    assert (found.sessions, found.whole) == (100, True)
    assert found.durations == {50: 45 * SECOND, 90: 81 * SECOND, 99: 90 * SECOND}
    assert found.tags == (
        Group(
            text="all",
            sessions=100,
            failed=9,
            calls=100,
            cost=25_000_000_000,
            costs_unknown=50,
            tokens=300,
        ),
        Group(
            text="tenth",
            sessions=10,
            failed=9,
            calls=10,
            cost=2_500_000_000,
            costs_unknown=5,
            tokens=30,
        ),
    )
    assert found.agents == (
        Group(
            text="planner",
            sessions=60,
            failed=6,
            calls=60,
            cost=25_000_000_000,
            costs_unknown=10,
            tokens=180,
        ),
        Group(
            text="writer",
            sessions=40,
            failed=3,
            calls=40,
            cost=None,
            costs_unknown=40,
            tokens=120,
        ),
    )
    assert found.errors == (
        Group(
            text="OSError: port # is taken",
            sessions=10,
            failed=9,
            calls=10,
            cost=2_500_000_000,
            costs_unknown=5,
            tokens=30,
        ),
    )
    part = await store.breakdown("default", since=START + 40, until=START + 42)
    assert (part.sessions, part.durations[50]) == (2, 41 * SECOND)
    assert [(group.text, group.sessions) for group in part.errors] == [
        ("OSError: port # is taken", 1)
    ]
    nothing = await store.breakdown("nobody")
    assert (nothing.sessions, nothing.durations, nothing.tags) == (0, {}, ())


async def test_each_agent_is_told_what_it_spent_itself(store: Store) -> None:
    """
    Agents of one session share its spending, whatever batches it came in; what no agent did stands
    by itself, and so do agents that spent nothing.
    """
    source = Source()

    def asks(agent: str | None, dollars: str | None, session: str = SESSION) -> EventRecord:
        cost = None if dollars is None else Cost(dollars)
        fields = {"cost": cost, "prompt_tokens": 10, "completion_tokens": 1}
        return source.does(session, kind="llm", agent=agent, **fields)

    sent = source.batch(
        source.starts(SESSION),
        asks("planner", "1"),
        asks("writer", "0.5"),
        asks(None, "0.25"),
        source.does(SESSION, kind="tool", agent="writer", cost=Cost("0.125")),
        source.opens(SESSION, id="00000000000000aa", kind="tool", agent="fetcher"),
    )
    await store.add(sent)
    await store.add(sent)
    await store.add(source.batch(asks("planner", "2"), asks("planner", None)))
    other = source.batch(asks("writer", "0.0625", uuid(2)), source.ends(uuid(2), EndState.FAIL))
    await store.add(other)
    found = {group.text: group for group in (await store.breakdown("default")).agents}
    assert {
        name: (group.sessions, group.failed, group.calls, group.cost, group.costs_unknown)
        for name, group in found.items()
    } == {
        "planner": (1, 0, 3, 3_000_000_000, 1),
        "writer": (2, 1, 2, 687_500_000, 0),
        None: (1, 0, 1, 250_000_000, 0),
        "fetcher": (1, 0, 0, None, 0),
    }
    assert {name: group.tokens for name, group in found.items()} == {
        "planner": 33,
        "writer": 22,
        None: 11,
        "fetcher": 0,
    }
    overview = await store.overview("default")
    assert overview.cost == sum(group.cost or 0 for group in found.values())


async def test_sums_follow_what_is_learned_late(store: Store, clock: Clock) -> None:
    """
    Whatever becomes known of a session after it was counted, an overview is what its sessions add
    up to, over whole days, parts of days, and all.
    """
    day = 86_400 * SECOND
    owner, other, third = Source(1), Source(2), Source(3)
    steps = [
        # of a session that was joined before its owner is heard of: it began the day before
        other.batch(other.joins(SESSION), llm(other, model="m", prompt_tokens=5, cost=Cost("1"))),
        third.batch(third.joins(SESSION), llm(third, prompt_tokens=7)),
        third.batch(third.ends(SESSION, EndState.FAIL, said_by="adopter", ended_at=START)),
        owner.batch(owner.starts(SESSION, started_at=START - day)),
        other.batch(llm(other, model="m", completion_tokens=3, cost=Cost("2"))),
        owner.batch(owner.ends(SESSION, EndState.SUCCESS, ended_at=START + 5 * SECOND)),
        owner.batch(llm(owner, model="late"), owner.starts(OTHER, started_at=START)),
        owner.batch(owner.does(OTHER), owner.ends(OTHER, EndState.CANCELLED, ended_at=0)),
    ]
    periods = [(None, None), (START - day, START), (START - day, START + 1), (START, None)]
    periods += [((START // day - 1) * day, START // day * day), (None, START - day)]
    for step in steps:
        await store.add(step)
        for since, until in periods:
            query = SessionQuery(since=since, until=until)
            sessions = (await store.sessions("default", query)).sessions
            overview = await store.overview("default", since=since, until=until)
            assert overview.sessions == len(sessions)
            assert overview.states == Counter(session.state for session in sessions)
            assert overview.cost == sum(session.cost or 0 for session in sessions)
            assert overview.events == sum(session.events for session in sessions)
            assert overview.errors == sum(session.errors for session in sessions)
            assert overview.prompt_tokens == sum(session.prompt_tokens for session in sessions)
            assert sum(m["calls"] for m in overview.models) == sum(s.llms for s in sessions)
            assert sum(m["cost"] or 0 for m in overview.models) == overview.cost
            assert sum(part.sessions for part in overview.days) == len(sessions)
            durations = [
                max(session.ended_at - session.started_at, 0)
                for session in sessions
                if session.ended_at is not None
            ]
            average = sum(durations) / len(durations) if durations else None
            assert overview.average_duration == average


# -- lists ------------------------------------------------------------------------------------


async def fill(store: Store, count: int) -> list[str]:
    """
    Sessions that started one second apart, newest first.
    """
    source = Source(9)
    ids = [uuid(1_000 + number) for number in range(count)]
    await store.add(
        source.batch(
            *(
                source.starts(session, started_at=START + number * SECOND)
                for number, session in enumerate(ids)
            )
        )
    )
    return ids[::-1]


async def test_pages_of_sessions_miss_and_repeat_nothing(store: Store) -> None:
    """
    Following `next` shows every session once while new ones come in on top.
    """
    ids = await fill(store, 7)
    seen: list[str] = []
    cursor: str | None = None
    for page_number in range(10):
        page = await store.sessions("default", SessionQuery(limit=2, cursor=cursor))
        seen += [session.id for session in page.sessions]
        newcomer = Source(50 + page_number)
        await store.add(
            newcomer.batch(newcomer.starts(uuid(page_number), started_at=START + 90 * SECOND))
        )
        cursor = page.next
        if cursor is None:
            break
    assert seen == ids


@pytest.mark.parametrize("cursor", ["", "x", "!!!", "W10=", "bnVsbA==", "é", "W" * 1_000])
async def test_refuses_a_cursor_of_sessions_that_is_none(store: Store, cursor: str) -> None:
    """
    What `next` never said is no cursor.
    """
    with pytest.raises(ValueError, match="no cursor"):
        await store.sessions("default", SessionQuery(cursor=cursor))


async def test_refuses_a_cursor_of_another_order(store: Store) -> None:
    """
    A cursor goes on only with the list it came from.
    """
    await fill(store, 3)
    page = await store.sessions("default", SessionQuery(limit=1))
    with pytest.raises(ValueError, match="no cursor"):
        await store.sessions("default", SessionQuery(limit=1, sort="cost", cursor=page.next))


async def test_sorts_by_each_field(store: Store, clock: Clock) -> None:
    """
    Each order puts the most of its field first, what has none last, and pages through.
    """
    facts = {
        # duration, cost, tokens, events, errors
        uuid(1): (50, None, 10, 2, 0),
        uuid(2): (40, "0.5", 50, 1, 1),
        uuid(3): (60, "0.1", 20, 3, 2),
    }
    for number, (session, (duration, cost, tokens, events, errors)) in enumerate(facts.items()):
        source = Source(number)
        filler = [
            source.does(session, state="Fail" if error < errors else "Success")
            for error in range(events - 1)
        ]
        last = source.does(
            session,
            state="Fail" if errors == events else "Success",
            kind="llm",
            prompt_tokens=tokens,
            cost=None if cost is None else Cost(cost),
        )
        start = START + number
        await store.add(
            source.batch(
                source.starts(session, started_at=start),
                *filler,
                last,
                source.ends(session, ended_at=start + duration * SECOND),
            )
        )
    for sort, column in {"duration": 0, "tokens": 2, "events": 3, "errors": 4}.items():
        expected = sorted(facts, key=lambda session: facts[session][column], reverse=True)
        assert await found(store, sort=sort) == expected, sort
        first = await store.sessions("default", SessionQuery(sort=sort, limit=2))  # type: ignore[arg-type]
        rest = SessionQuery(sort=sort, limit=2, cursor=first.next)  # type: ignore[arg-type]
        (last_one,) = (await store.sessions("default", rest)).sessions
        assert last_one.id == expected[2], sort
    assert await found(store, sort="cost") == [uuid(2), uuid(3), uuid(1)]
    assert await found(store, sort="started") == [uuid(3), uuid(2), uuid(1)]


async def test_a_running_session_lasts_until_now(store: Store, clock: Clock) -> None:
    """
    By duration, a session that still runs has lasted until the question is asked.
    """
    one, two = Source(1), Source(2)
    await store.add(
        one.batch(
            one.starts(SESSION, started_at=START),
            one.ends(SESSION, ended_at=START + 5 * SECOND),
        )
    )
    await store.add(two.batch(two.starts(OTHER, started_at=START)))
    clock.passes(4)
    assert await found(store, sort="duration") == [SESSION, OTHER]
    clock.passes(4)
    assert await found(store, sort="duration") == [OTHER, SESSION]


async def test_filters_combine(store: Store) -> None:
    """
    Every filter narrows the list, and several together leave what passes all of them.
    """
    one, two = Source(1), Source(2)
    await store.add(
        one.batch(
            one.starts(SESSION, name="nightly run", tags=("eval", "v1"), started_at=START),
            one.does(
                SESSION, kind="llm", name="ask", agent="planner", model="big", cost=Cost("0.5")
            ),
            one.ends(SESSION, EndState.FAIL, reason="TimeoutError: too slow"),
        )
    )
    await store.add(
        two.batch(
            two.starts(OTHER, name="daily", tags=("eval",), started_at=START + SECOND),
            two.does(
                OTHER,
                name="fetch_100%",
                state="Fail",
                failure=Failure(type="KeyError", message="'x'"),
            ),
        )
    )
    both, first, second = [OTHER, SESSION], [SESSION], [OTHER]
    assert await found(store) == both
    assert await found(store, tags=("eval",)) == both
    assert await found(store, tags=("eval", "v1")) == first
    assert await found(store, tags=("planner",)) == []
    assert await found(store, agent="planner") == first
    assert await found(store, model="big") == first
    assert await found(store, model="BIG") == []
    assert await found(store, states=("Fail",)) == first
    assert await found(store, states=("Fail", "Running")) == both
    assert await found(store, since=START + 1) == second
    assert await found(store, until=START + 1) == first
    assert await found(store, since=START, until=START + SECOND) == first
    assert await found(store, min_cost=500_000_000) == first
    assert await found(store, min_cost=500_000_001) == []
    assert await found(store, min_cost=0) == first
    assert await found(store, max_cost=500_000_000) == first
    assert await found(store, max_cost=499_999_999) == []
    assert await found(store, name="LY R") == first
    assert await found(store, name="slow") == []
    assert await found(store, error="too slow") == first
    assert await found(store, error="keyerror") == second
    assert await found(store, error="nightly") == []
    assert await found(store, error="\0") == []
    assert await found(store, fingerprint="KeyError: 'x'") == second
    assert await found(store, fingerprint="KeyError") == []
    assert await found(store, missing=True) == []
    two.loses(2)
    await store.add(two.batch(two.does(OTHER)))
    assert await found(store, missing=True) == second
    assert await found(store, min_events=2) == second
    assert await found(store, max_events=1) == first
    assert await found(store, min_errors=1, max_errors=1) == second
    assert await found(store, max_errors=0) == first
    assert await found(store, ids=(OTHER, uuid(77))) == second
    assert await found(store, states=("Fail",), agent="planner", q="slow", tags=("v1",)) == first
    assert await found(store, states=("Running",), agent="planner") == []


async def test_errors_that_differ_in_numbers_are_found_together(store: Store) -> None:
    """
    A fingerprint is of an event's error or of how a session ended, whoever said so and whenever.
    """
    failures = [Failure(type="TimeoutError", message=f"no answer in {n}.5 s") for n in range(3)]
    one, two, three = Source(1), Source(2), Source(3)
    await store.add(one.batch(one.does(SESSION, state="Fail", failure=failures[0])))
    await store.add(
        two.batch(
            two.ends(OTHER, EndState.FAIL, failure=failures[1]),
            two.ends(OTHER, EndState.FAIL, failure=failures[2], said_by="user"),
        )
    )
    await store.add(three.batch(three.does(uuid(3), state="Fail")))
    assert await found(store, fingerprint="TimeoutError: no answer in # s") == [OTHER, SESSION]


async def test_filters_find_the_same_whether_few_pass_or_many(store: Store, clock: Clock) -> None:
    """
    Every order of every filter, page by page, is what sorting all sessions by hand comes to.
    """
    source = Source()
    records: list[Record] = []
    for number in range(5_000):
        session = uuid(number)
        tags = ("all", *(["some"] if number % 100 == 0 else []))
        records.append(
            source.starts(session, tags=tags, started_at=START + number % 777, name=f"n{number}")
        )
        if number % 3:
            records.append(
                source.does(
                    session,
                    kind="llm",
                    model="m",
                    prompt_tokens=number % 50,
                    cost=Cost(number % 7) if number % 2 else None,
                    state="Fail" if number % 5 else "Success",
                )
            )
        if number % 10:
            state = EndState.FAIL if number % 4 == 1 else EndState.SUCCESS
            records.append(source.ends(session, state, ended_at=START + number * 1_000))
    await store.add(source.batch(*records))
    everything = [
        session
        for number in range(10)
        for session in (
            await store.sessions(
                "default",
                SessionQuery(
                    ids=tuple(uuid(n) for n in range(number * 500, number * 500 + 500)), limit=500
                ),
            )
        ).sessions
    ]
    ordered = {uuid(number): number for number in range(5_000)}  # in which they were stored
    sorts: dict[str, Callable[[SessionSummary], int]] = {
        "started": lambda s: s.started_at,
        "cost": lambda s: -1 if s.cost is None else s.cost,
        "tokens": lambda s: s.prompt_tokens,
        "events": lambda s: s.events,
        "errors": lambda s: s.errors,
    }
    filters: list[tuple[dict[str, Any], Callable[[SessionSummary], bool]]] = [
        ({}, lambda s: True),
        ({"tags": ("all",)}, lambda s: True),
        ({"tags": ("all", "some")}, lambda s: "some" in s.tags),
        ({"states": ("Fail",)}, lambda s: s.state == "Fail"),
        ({"states": ("Success", "Running")}, lambda s: s.state != "Fail"),
        ({"since": START + 700}, lambda s: s.started_at >= START + 700),
        ({"until": START + 770}, lambda s: s.started_at < START + 770),
        ({"min_cost": 5 * 10**9}, lambda s: s.cost is not None and s.cost >= 5 * 10**9),
        ({"max_cost": 10**9}, lambda s: s.cost is not None and s.cost <= 10**9),
        ({"min_duration": 4_900_000}, lambda s: s.taken(clock()) >= 4_900_000),
        ({"max_duration": 40_000}, lambda s: s.taken(clock()) <= 40_000),
        ({"min_tokens": 7, "max_tokens": 8}, lambda s: 7 <= s.prompt_tokens <= 8),
        ({"max_events": 0}, lambda s: s.events == 0),
        ({"min_errors": 1}, lambda s: s.errors > 0),
        ({"name": "n499"}, lambda s: (s.name or "").startswith("n499")),
        ({"model": "m", "q": "n"}, lambda s: s.llms > 0),
        ({"q": "n49"}, lambda s: (s.name or "").startswith("n49")),
    ]
    for sort, key in sorts.items():
        for query, passes in filters:
            expected = sorted(
                filter(passes, everything), key=lambda s: (key(s), ordered[s.id]), reverse=True
            )
            cursor = None
            for start in (0, 100):
                page = await store.sessions(
                    "default", SessionQuery(sort=sort, limit=100, cursor=cursor, **query)
                )
                assert expected[start : start + 100] == list(page.sessions), (sort, query)
                cursor = page.next
                if cursor is None:
                    break


@pytest.mark.parametrize(
    "text",
    [
        "nightly",
        "NIGHT",
        "v1",
        "too slow",
        "fetch_100%",
        "KeyError: 'x'",
        uuid(1)[-8:],
        uuid(1).replace("-", ""),
    ],
)
async def test_searches_what_people_look_for(store: Store, text: str) -> None:
    """
    A text is found in the id, the name, a tag, the reason, an event's name and its error.
    """
    one, two = Source(1), Source(2)
    await store.add(
        one.batch(
            one.starts(SESSION, name="nightly run", tags=("v1",)),
            one.does(
                SESSION,
                name="fetch_100%",
                state="Fail",
                failure=Failure(type="KeyError", message="'x'"),
            ),
            one.ends(SESSION, EndState.FAIL, reason="TimeoutError: too slow"),
        )
    )
    await store.add(two.batch(two.starts(OTHER, name="other"), two.does(OTHER, name="fetchX100x")))
    assert await found(store, q=text) == [SESSION]


@pytest.mark.parametrize(
    "text", ["%", "_", "\\", "'", '"', "\\%", "nightly%run", "planner", "\x00"]
)
async def test_searches_for_nothing_but_the_text(store: Store, text: str) -> None:
    """
    What means something to a database is only text in a search, and agents are not searched.
    """
    source = Source()
    await store.add(
        source.batch(
            source.starts(SESSION, name="nightly run"), source.does(SESSION, agent="planner")
        )
    )
    assert await found(store, q=text) == []


# -- keys, changes, figures -------------------------------------------------------------------


async def test_a_key_opens_its_project_until_it_is_revoked(store: Store, clock: Clock) -> None:
    """
    A key is shown once, kept as a hash, and worthless once revoked.
    """
    key, text = await store.create_key("mine")
    assert text.startswith("aops_")
    assert len(text) >= 37
    assert text.startswith(key.hint)
    digest = hashlib.sha256(text.encode()).digest()
    assert key.id == digest.hex()[:16]
    assert await store.project_of_key(digest) == "mine"
    assert await store.project_of_key(digest[:-1] + bytes([digest[-1] ^ 1])) is None
    assert await store.project_of_key(b"") is None
    assert await store.keys() == (key,)
    assert await store.projects() == ("mine",)
    clock.passes(5)
    revoked = await store.revoke_key(key.id)
    assert revoked.revoked_at == clock.now
    assert await store.project_of_key(digest) is None
    assert await store.keys() == (revoked,)
    assert (await store.revoke_key(key.id)).revoked_at == clock.now
    with pytest.raises(StoreError, match="no API key 'nope'"):
        await store.revoke_key("nope")


async def test_tells_those_who_watch(store: Store) -> None:
    """
    Whoever watches a project or a session learns what changed there, after it is stored.
    """
    source, stranger = Source(1), Source(2, project="elsewhere")
    with (
        store.changes.watch("default") as everything,
        store.changes.watch("default", sessions=(OTHER,)) as one,
    ):
        await store.add(stranger.batch(stranger.starts(SESSION)))
        await store.add(source.batch(source.starts(SESSION)))
        assert await everything.changed(timeout=SECONDS) == (SESSION,)
        await store.add(source.batch(source.starts(OTHER), source.does(SESSION)))
        assert set(await everything.changed(timeout=SECONDS)) == {SESSION, OTHER}
        assert await one.changed(timeout=SECONDS) == (OTHER,)
        assert await one.changed(timeout=0.01) == ()


async def test_those_who_watch_wait_no_longer_than_the_store_is_open(
    open_store: Callable[[], Store],
) -> None:
    """
    Closing the store wakes whoever waits for changes.
    """
    store = open_store()
    with store.changes.watch("default") as watcher, anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(store.aclose)
            assert await watcher.changed(timeout=2 * SECONDS) == ()
    assert watcher.closed


async def test_counts_what_it_does(store: Store) -> None:
    """
    Its figures tell records, duplicates, rejected lines and missing records.
    """
    source = Source()
    records = [source.starts(SESSION), source.does(SESSION)]
    source.loses(3)
    await store.add(source.batch(*records, rejected=[RejectedLine(seq=None, error="no")]))
    await store.add(source.batch(*records, source.does(SESSION)))
    figures = await store.statistics()
    assert figures["records"] == 3
    assert figures["duplicates"] == 2
    assert figures["rejected_lines"] == 1
    assert figures["missing_records"] == dict.fromkeys(MISSING_REASONS, 0) | {"unreadable": 3}
    assert figures["batches"] == 2
    assert figures["sessions"] == 1


async def test_refuses_everything_once_closed(open_store: Callable[[], Store]) -> None:
    """
    A closed store says so.
    """
    store = open_store()
    await store.aclose()
    await store.aclose()
    source = Source()
    for question in (store.add(source.batch()), store.session("default", SESSION), store.keys()):
        with pytest.raises(StoreError, match="closed"):
            await question
