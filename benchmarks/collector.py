"""
How a collector's costs grow with what it has stored: taking in, memory, disk, and what pages ask.
"""

from __future__ import annotations

import itertools
import statistics
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from asyncops import _ids
from asyncops._events import EventRecord
from asyncops._wire import Encoder, encode, number_line

from .harness import Effort, Figure, Report, figure
from .load import Load, Serving, Source, send, serving

__all__ = ["run"]

SIZES = {Effort.QUICK: (100_000,), Effort.FULL: (100_000, 1_000_000, 10_000_000)}
"""How many events are stored when it is measured."""

BATCH = 500
SOURCES = 4

MEASURED_EVENTS = 20_000
"""How many one measurement of the rate sends."""

PACE = 5_000
"""Events per second that go on arriving while questions are asked."""

QUESTIONS = {Effort.QUICK: 20, Effort.FULL: 40}
"""How often each is asked in one round."""

ROUNDS = 5

LARGE = 1_000
"""Events of the session whose first events are asked for."""

MONTH = 30 * 86_400

WORD = "needlework"
PHRASE = '"assistant content" needlework'

WHAT = (
    "A hundred events of about 650 bytes to a session, over thirty days. Answers over HTTP, from"
    " request to answer: p95 and median of a round, of which the table has the median of five."
)


def run(effort: Effort, directory: str) -> Report:
    sizes = SIZES[effort]
    began = time.time_ns() // 10**9 - MONTH
    sessions = sizes[-1] // 100
    clock = (began + number * MONTH // sessions for number in itertools.count())
    figures: dict[str, Figure] = {}
    with serving(Path(directory, "collector.db")) as collector:
        large = _large_session(collector, began)
        sources = [Source(clock) for _ in range(SOURCES)]
        for size in sizes:
            missing = size - sum(source.events for source in sources) - ROUNDS * MEASURED_EVENTS
            if missing > 0:
                send(collector, sources, BATCH, events=missing)
            loads = [send(collector, sources, BATCH, events=MEASURED_EVENTS) for _ in range(ROUNDS)]
            for name, found in _measured(collector, loads, sources):
                figures[f"collector.{size}.{name}"] = found
            _wait_for_search(collector)
            stored = sum(source.events for source in sources) + LARGE
            figures[f"collector.{size}.bytes"] = figure(
                [collector.database_bytes() / stored], "bytes/event"
            )
            for name, found in _answers(collector, QUESTIONS[effort], large, began, clock):
                figures[f"collector.{size}.{name}"] = found
    figures |= _budgeted(figures, sizes)
    names = [name.split(".", 2)[2] for name in figures if name.startswith(f"collector.{sizes[0]}.")]
    rows = [
        (name, *(_cell(figures[f"collector.{size}.{name}"]) for size in sizes)) for name in names
    ]
    return Report(
        f"A collector on one core as its database grows, {PACE:,} events/s coming in while asked",
        ("", *(f"{size:,} events" for size in sizes)),
        rows,
        figures,
        (WHAT,),
    )


def _budgeted(figures: Mapping[str, Figure], sizes: Sequence[int]) -> dict[str, Figure]:
    """
    The worst of all lists, an overview and a session's events at the largest size, and how much
    slower taking in has become until then.
    """
    first, last = (f"collector.{size}." for size in (sizes[0], sizes[-1]))
    lists = [
        found
        for name, found in figures.items()
        if name.startswith(f"{last}list") and name.endswith(".p95")
    ]
    return {
        "collector.list_p95": max(lists, key=lambda found: found.value),
        "collector.events_p95": figures[f"{last}session.events.p95"],
        "collector.overview_p95": figures[f"{last}overview.p95"],
        "collector.rate_growth": figure(
            [figures[f"{first}rate"].value / figures[f"{last}rate"].value], "x"
        ),
        "collector.cpu_growth": figure(
            [figures[f"{last}cpu"].value / figures[f"{first}cpu"].value], "x"
        ),
    }


def _cell(found: Figure) -> str:
    digits = 0 if found.value >= 100 else 1
    return f"{found.value:,.{digits}f} {found.unit}"


def _measured(
    collector: Serving, loads: list[Load], sources: list[Source]
) -> Iterator[tuple[str, Figure]]:
    yield "rate", figure((load.rate for load in loads), "events/s")
    yield "cpu", figure((load.cpu_per_thousand for load in loads), "ms/1,000 events")
    latencies = (statistics.quantiles(load.latencies, n=20)[-1] * 1e3 for load in loads)
    yield "acknowledged.p95", figure(latencies, "ms")
    yield "rss", figure([collector.rss() / 2**20], "MB")


def _large_session(collector: Serving, second: int) -> str:
    """
    A session with more events than one page shows, in one of which stands `WORD`.
    """
    session, source = _ids.new_uuid(), _ids.new_uuid()
    encoder = Encoder()
    at = second * 10**9
    lines = [
        number_line(
            encode(
                EventRecord(
                    at=at,
                    session=session,
                    id=f"{number:016x}",
                    kind="tool",
                    name="fetch",
                    started_at=at,
                    ended_at=at + number,
                    state="Success",
                    params=encoder.payload({"query": f"{'hay ' * 50} {number}"}),
                    returns=encoder.payload(WORD if number == LARGE // 2 else "hay " * 50),
                )
            ),
            number,
        )
        for number in range(1, LARGE + 1)
    ]
    with collector.connection() as connection:
        connection.request("POST", "/v1/records", b"\n".join(lines), {"Asyncops-Source": source})
        answer = connection.getresponse()
        if answer.status != 200:
            raise RuntimeError(answer.read().decode())
    return session


def _wait_for_search(collector: Serving) -> None:
    """
    Wait until everything that is stored is searchable.
    """
    while True:
        with collector.connection() as connection:
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode()
        if "asyncops_collector_unsearched_sessions 0\n" in text:
            return
        time.sleep(0.5)


def _answers(
    collector: Serving, times: int, large: str, began: int, clock: Iterator[int]
) -> Iterator[tuple[str, Figure]]:
    """
    How long what pages ask takes while events come in.
    """
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(began + MONTH // 2))
    list_ = "/api/sessions?limit=50"
    questions = {
        "list": list_,
        **{
            f"list.{sort}": f"{list_}&sort={sort}"
            for sort in ("duration", "cost", "tokens", "events", "errors")
        },
        "list.tag": f"{list_}&tag=prod",
        "list.state": f"{list_}&state=Fail&sort=cost",
        "list.running": f"{list_}&state=Running",
        "list.filters": f"{list_}&state=Fail&model=large&tag=v1&min_cost=0.01&since={since}",
        "search.rare": f"{list_}&q={WORD}",
        "search.phrase": f"{list_}&q={quote(PHRASE)}",
        "search.common": f"{list_}&q=content",
        "search.events": f"/api/sessions/{large}/events?q={WORD}",
        "session": f"/api/sessions/{large}",
        "session.events": f"/api/sessions/{large}/events?limit=200",
        "overview": "/api/overview",
        "overview.since": f"/api/overview?since={since}",
    }
    rounds: dict[str, list[list[float]]] = {name: [] for name in questions}
    stop = threading.Event()
    arriving = [Source(clock) for _ in range(2)]
    sender = threading.Thread(
        target=send, args=(collector, arriving, BATCH), kwargs={"until": stop, "pace": PACE}
    )
    sender.start()
    try:
        with collector.connection() as connection:
            for _ in range(ROUNDS):
                for found in rounds.values():
                    found.append([])
                for _ in range(times):
                    for name, path in questions.items():
                        asked = time.perf_counter()
                        connection.request("GET", path)
                        answer = connection.getresponse()
                        body = answer.read()
                        rounds[name][-1].append(time.perf_counter() - asked)
                        if answer.status != 200:
                            raise RuntimeError(f"{path}: {body.decode()}")
    finally:
        stop.set()
        sender.join()
    for name, found in rounds.items():
        p95 = (statistics.quantiles(some, n=20)[-1] * 1e3 for some in found)
        yield f"{name}.p95", figure(p95, "ms")
        yield f"{name}.p50", figure((statistics.median(some) * 1e3 for some in found), "ms")
