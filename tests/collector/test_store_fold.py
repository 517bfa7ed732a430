"""
A session is a fold: the order of arrival, repetition and packaging of records make no difference,
and every sum is what a look at all its events would find.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import anyio
import attrs
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sources import START, Clock, Source, uuid
from stores import STORES, searchable

from asyncops._events import Cost, EndState, Failure, LostRecord, Record, TagsRecord, VideoRecord
from asyncops.collector.store import sqlite
from asyncops.collector.store.base import (
    Batch,
    EventDetail,
    RejectedLine,
    SessionQuery,
    SessionSummary,
    Store,
)

SESSIONS = (uuid(1), uuid(2))

texts = st.sampled_from(["a", "b", "c"])
moments = st.integers(START, START + 20)
tokens = st.none() | st.integers(0, 9)
failures = st.none() | st.builds(
    Failure, type=texts, message=texts, event_id=st.none() | st.just("00000000000000ee")
)
costs = st.none() | st.builds(
    Cost, st.decimals(0, 9, places=9), currency=st.sampled_from(["USD", "USD", "EUR"])
)


call_ids = st.sampled_from(["call 1", "call 2"])


@st.composite
def scripts(draw: st.DrawFn, number: int) -> list[Record | RejectedLine]:
    """
    What one source writes: any statements and events, some of them lost or spoilt.
    """
    source = Source(number)
    written: list[Record | RejectedLine] = []
    opened: list[tuple[str, str]] = []
    for _ in range(draw(st.integers(1, 14))):
        session = draw(st.sampled_from(SESSIONS))
        at = draw(moments)
        what = draw(st.integers(0, 12))
        if what == 0:
            written.append(source.begins(pid=number, at=at))
        elif what == 1:
            fields = {
                "name": draw(st.none() | texts),
                "tags": draw(st.lists(texts, max_size=2)),
                "started_at": draw(st.none() | moments),
                "inherited": draw(st.booleans()),
            }
            written.append(source.starts(session, at=at, **fields))
        elif what == 2:
            tags, replace = draw(st.lists(texts, max_size=3)), draw(st.booleans())
            written.append(
                source.says(TagsRecord, at=at, session=session, tags=tuple(tags), replace=replace)
            )
        elif what == 3:
            written.append(source.says(VideoRecord, at=at, session=session, video=draw(texts)))
        elif what == 4:
            opened.append((session, source.event_id()))
            kind = draw(st.sampled_from(["tool", "llm", "error"]))
            written.append(source.opens(session, at=at, id=opened[-1][1], kind=kind))
        elif what in (5, 6, 7, 8):
            known = draw(st.sampled_from(opened)) if opened and draw(st.booleans()) else None
            fields = {
                "kind": draw(st.sampled_from(["action", "tool", "llm", "agent", "error"])),
                "name": draw(texts),
                "state": draw(st.sampled_from(["Success", "Fail", "Cancelled"])),
                "model": draw(st.none() | texts | st.just("gpt-4o")),
                "tool_call_id": draw(st.none() | call_ids),
                "tool_call_ids": draw(st.lists(call_ids, max_size=2).map(tuple)),
                "prompt_tokens": draw(tokens),
                "completion_tokens": draw(tokens),
                "cached_tokens": draw(tokens),
                "reasoning_tokens": draw(tokens),
                "failure": draw(failures),
                "cost": draw(costs),
            }
            if known is None:
                written.append(source.does(session, at=at, **fields))
            else:
                written.append(source.does(known[0], at=at, id=known[1], **fields))
        elif what == 9:
            fields = {"said_by": draw(st.sampled_from(["user", "process", "adopter"]))}
            state = draw(st.none() | st.sampled_from(EndState))
            reason, failure = draw(st.none() | texts), draw(failures)
            written.append(
                source.ends(session, state, at=at, reason=reason, failure=failure, **fields)
            )
        elif what == 10:
            source.loses(draw(st.integers(1, 3)))
        elif what == 11:
            source.loses(draw(st.integers(0, 3)))
            count, reason = draw(st.integers(1, 5)), draw(st.sampled_from(["disk_full", "quota"]))
            written.append(source.says(LostRecord, at=at, count=count, reason=reason))
        else:
            source.loses(1)
            written.append(RejectedLine(seq=source.seq, error="no"))
    return written


def deliveries(
    script: Sequence[Record | RejectedLine],
    number: int,
    cuts: Sequence[int] = (),
    again: Sequence[int] = (),
    late: Sequence[int] = (),
) -> list[Batch]:
    """
    *script* cut into requests, some of them sent again later, as far back as one likes; after some
    comes a copy of parts long settled, that was on its way all the while.
    """
    source = Source(number)
    edges = [0, *sorted({cut % (len(script) + 1) for cut in cuts}), len(script)]
    batches: list[Batch] = []
    for step, (first, last) in enumerate(itertools.pairwise(edges)):
        if step < len(again):
            first = min(first, again[step] % (len(script) + 1))
        batches.append(packed(source, script[first:last]))
        if step < len(late):
            first = late[step] % (last + 1)
            batches.append(packed(source, script[first : (first + last + 1) // 2]))
    return batches


def packed(source: Source, part: Sequence[Record | RejectedLine]) -> Batch:
    """
    *part* as one request.
    """
    return source.batch(
        *(item for item in part if not isinstance(item, RejectedLine)),
        rejected=[item for item in part if isinstance(item, RejectedLine)],
    )


@attrs.frozen
class Plan:
    """
    One way for records to arrive.
    """

    cuts: tuple[tuple[int, ...], ...]
    again: tuple[tuple[int, ...], ...]
    late: tuple[tuple[int, ...], ...]
    turns: tuple[int, ...]
    at_once: bool

    def batches(self, written: Sequence[Sequence[Record | RejectedLine]]) -> list[Batch]:
        queues = [
            deliveries(script, number, self.cuts[number], self.again[number], self.late[number])
            for number, script in enumerate(written)
        ]
        order: list[Batch] = []
        turns = iter(self.turns)
        while any(queues):
            waiting = [queue for queue in queues if queue]
            order.append(waiting[next(turns, 0) % len(waiting)].pop(0))
        return order


SOURCES = 3
numbers = st.lists(st.integers(0, 30), max_size=5).map(tuple)
plans = st.builds(
    Plan,
    cuts=st.tuples(*[numbers] * SOURCES),
    again=st.tuples(*[numbers] * SOURCES),
    late=st.tuples(*[numbers] * SOURCES),
    turns=st.lists(st.integers(0, 5), max_size=20).map(tuple),
    at_once=st.booleans(),
)


async def everything(store: Store) -> dict[str, Any]:
    """
    All that can be asked of the project, without what tells of arrival.
    """
    known: dict[str, Any] = {}
    for session in SESSIONS:
        page = await store.sessions("default", SessionQuery(ids=(session,)))
        if not page.sessions:
            continue
        detail = await store.session("default", session)
        assert detail.summary == page.sessions[0]
        known[session] = (
            detail.summary,
            detail.failure,
            sorted((source.id, source.pid, source.ended) for source in detail.sources),
            {event.summary.id: without_seq(event) for event in await events_of(store, session)},
        )
    known["overview"] = await store.overview("default")
    for text in "abc":
        page = await store.sessions("default", SessionQuery(q=f"{text}: {text}", sort="events"))
        known[f"error {text}"] = {summary.id for summary in page.sessions}
        page = await store.sessions("default", SessionQuery(tags=(text,), sort="events"))
        known[f"tag {text}"] = {summary.id for summary in page.sessions}
        page = await store.sessions("default", SessionQuery(model=text, sort="events"))
        known[f"model {text}"] = {summary.id for summary in page.sessions}
    return known


def without_seq(event: EventDetail) -> EventDetail:
    return attrs.evolve(event, summary=msgspec.structs.replace(event.summary, seq=0))


async def events_of(store: Store, session: str) -> list[EventDetail]:
    events: list[EventDetail] = []
    cursor: str | None = None
    while True:
        page = await store.events("default", session, cursor=cursor, limit=3)
        events += page.events
        cursor = page.next
        if cursor is None:
            return events


async def told(
    make: Callable[[Path, Clock], Store], batches: Sequence[Batch], at_once: bool
) -> Any:
    """
    What a new store knows after *batches*.
    """
    with TemporaryDirectory() as folder:
        store = make(Path(folder), Clock())
        try:
            if at_once:
                async with anyio.create_task_group() as tasks:
                    for batch in batches:
                        tasks.start_soon(store.add, batch)
            else:
                for batch in batches:
                    await store.add(batch)
            for session in SESSIONS:
                await check_sums(store, session)
            await searchable(store)
            return await everything(store)
        finally:
            await store.aclose()


async def check_sums(store: Store, session: str) -> None:
    """
    What a session says of its events is what its events say.
    """
    page = await store.sessions("default", SessionQuery(ids=(session,)))
    if page.sessions:
        events = await events_of(store, session)
        assert sums(page.sessions[0]) == recomputed(events)
        assert len({event.summary.id for event in events}) == len(events)


SUMS = (
    "events actions llms tools agents errors cost costs_unknown"
    " prompt_tokens completion_tokens cached_tokens reasoning_tokens"
).split()


def sums(session: SessionSummary) -> dict[str, Any]:
    from_ = {(s.source, s.currency, s.table): s.events for s in session.costs_from}
    return {**{name: getattr(session, name) for name in SUMS}, "costs_from": from_}


def recomputed(events: Sequence[EventDetail]) -> dict[str, Any]:
    """
    The sums of *events*, said once more in the plainest way.
    """
    result: dict[str, Any] = dict.fromkeys(SUMS, 0)
    kinds = [event.summary.kind for event in events]
    result["events"] = len(events)
    for kind in ("action", "llm", "tool", "agent"):
        result[f"{kind}s"] = kinds.count(kind)
    raised = [
        event
        for event in events
        if event.summary.state == "Fail" and (not event.failure or not event.failure.event_id)
    ]
    result["errors"] = kinds.count("error") + sum(e.summary.kind != "error" for e in raised)
    closed = [event.summary for event in events if event.summary.state != "Running"]
    for name in ("prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens"):
        result[name] = sum(getattr(event, name) or 0 for event in closed)
    dollars = [e.cost.amount for e in closed if e.cost is not None and e.cost.currency == "USD"]
    result["cost"] = int(sum(dollars) * 10**9) if dollars else None
    foreign = sum(e.cost is not None and e.cost.currency != "USD" for e in closed)
    result["costs_unknown"] = foreign + sum(e.kind == "llm" and e.cost is None for e in closed)
    result["costs_from"] = Counter(
        (e.cost.source, e.cost.currency, e.cost.table) for e in closed if e.cost is not None
    )
    return result


@pytest.mark.parametrize("make", STORES.values(), ids=STORES)
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(written=st.tuples(*[scripts(number) for number in range(SOURCES)]), plan=plans)
def test_the_same_records_make_the_same_sessions(
    make: Callable[[Path, Clock], Store],
    written: tuple[list[Record | RejectedLine], ...],
    plan: Plan,
) -> None:
    """
    However the records of several sources interleave, are packed, sent again or written together,
    the sessions, events and sums are those of sending each source's records once, in one piece.
    """
    plain = [deliveries(script, number)[0] for number, script in enumerate(written)]
    with mock.patch.object(sqlite, "SEARCHABLE_SECONDS", 0.0):  # there is nothing to wait for
        expected = anyio.run(told, make, plain, False)
        # of one source nothing is sent before what it sent earlier was acknowledged
        assert anyio.run(told, make, plan.batches(written), plan.at_once) == expected
