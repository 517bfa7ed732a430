"""
Looking at it: the same traces on the pages of each server, in one browser, in turns.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import attrs
from playwright.sync_api import Browser

from asyncops import _ids
from asyncops._events import EndState, EventRecord, SessionEndedRecord, SessionRecord
from asyncops._wire import Encoder, encode, number_line

from ..harness import Effort, Report, figure
from ..visits import chromium, spread, visit
from . import otlp
from .environments import Peer, PeerError
from .scenarios import Outcome, cell, table
from .servers import SERVING, Body, Server
from .serving import ANSWER, QUERY

__all__ = ["pages"]

LENGTHS = {Effort.QUICK: (200, 1_000), Effort.FULL: (200, 10_000)}
"""Spans of the traces that are opened."""

OTHERS = {Effort.QUICK: 40, Effort.FULL: 200}
"""How many more traces are in the list."""

SPANS = 4
"""Of each of those."""

VISITS = {Effort.QUICK: 2, Effort.FULL: 5}

PATIENCE = 30.0
"""Seconds on one page of one server, after which it is not visited again."""

VISIT_SECONDS = 240.0
"""When a visit is given up."""

FILL_SECONDS = 900.0
"""When a server is given up that has not taken everything in."""

BATCH = 250
"""Spans in a request."""

PROJECT = base64.b64encode(b"Project:1").decode()
"""Phoenix's name for its first project."""

HOW = (
    "Least, p50 and p95 of the visits, each with an empty cache, in turns; before them, each list"
    f" was opened once. A page that took {PATIENCE:.0f} s altogether was not visited again."
    " Painted: until the frame that has the first row of the list, or the first span, from the"
    " beginning of the navigation. Everything else is of that moment. First byte: of the document;"
    " that of MLflow and Phoenix has no data, only the scripts that ask for them. Slowest answer:"
    " until the first byte of what the server took longest for. Other hosts: those that the page"
    " asked for something; none could be reached."
)
SHOWN = (
    "Shown: rows, or spans, that one can scroll to without asking for more. asyncops has only those"
    " in the document that are in view."
)


@attrs.frozen
class Place:
    """
    A page of a server.

    Attributes:
        path: Where it is.
        content: Finds the rows or spans that it is about.
        shown: An expression for how many of them can be scrolled to.
    """

    path: str
    content: str
    shown: str = attrs.field()

    @shown.default
    def _in_the_document(self) -> str:
        return f"document.querySelectorAll({self.content!r}).length"


@attrs.frozen
class Site:
    """
    The pages of a server: that of the list, and that of a trace.
    """

    list: Place
    trace: Callable[[uuid.UUID], Place]


SITES = {
    "asyncops": Site(
        Place("/", ".sessions tbody tr"),
        lambda trace: Place(
            f"/sessions/{trace}",
            "#canvas .row",
            # its script counts the rows that it will draw, and the head, when it has come
            "document.querySelector('#grid[aria-rowcount]')?.ariaRowCount - 1",
        ),
    ),
    "mlflow": Site(
        Place("/#/experiments/0/traces", "[role=row]:has(a[href*='traceId='])"),
        lambda trace: Place(
            f"/#/experiments/0/traces?traceId=tr-{trace.hex}",
            "[data-testid^='timeline-tree-node-']",
        ),
    ),
    "phoenix_server": Site(
        Place(f"/projects/{PROJECT}/traces", "tr:has(a[href*='/traces/'])"),
        lambda trace: Place(
            f"/projects/{PROJECT}/traces/{trace.hex}",
            "[data-testid='trace-tree'] [data-testid='span-controls']",
        ),
    ),
}


@attrs.frozen
class Span:
    """
    What a span is made of, or the event that stands for it.
    """

    id: bytes
    parent: bytes
    name: str
    kind: Literal["agent", "llm", "tool"]
    began: int
    ended: int
    failed: bool


@attrs.frozen
class Trace:
    """
    A trace, or the session that stands for it; its first span lasts as long as it does.
    """

    id: uuid.UUID
    spans: Sequence[Span]


def pages(peers: Sequence[Peer], effort: Effort, directory: str) -> Report:
    opened = {length: _trace(length) for length in LENGTHS[effort]}
    traces = [*(_trace(SPANS) for _ in range(OTHERS[effort])), *opened.values()]
    places = {
        f"list of {len(traces):,}": {name: site.list for name, site in SITES.items()},
        **{
            f"{length:,} spans": {name: site.trace(trace.id) for name, site in SITES.items()}
            for length, trace in opened.items()
        },
    }
    outcomes = {title: Outcome() for title in places}

    with contextlib.ExitStack() as stack:
        browser = stack.enter_context(chromium())
        urls = _filled(peers, traces, directory, stack, outcomes.values())
        for name, url in urls.items():  # what comes first finds a server that is still importing
            with _failing(outcomes.values(), name):
                _visit(browser, url, SITES[name].list)
        for number in range(VISITS[effort]):
            for title, outcome in outcomes.items():
                at = number % max(len(urls), 1)
                for name in [*urls][at:] + [*urls][:at]:
                    runs = outcome.runs.get(name, {})
                    spent = sum(run["painted"] for run in runs.values()) / 1e3
                    if name in outcome.failed or spent > PATIENCE:
                        continue
                    with _failing([outcome], name):
                        seen = _visit(browser, urls[name], places[title][name])
                        outcome.runs.setdefault(name, {})[number] = seen
    return _report(peers, outcomes)


def _visit(browser: Browser, url: str, place: Place) -> Mapping[str, Any]:
    seen = visit(browser, url + place.path, place.content, shown=place.shown, seconds=VISIT_SECONDS)
    return attrs.asdict(seen)


@contextlib.contextmanager
def _failing(outcomes: Iterable[Outcome], name: str) -> Iterator[None]:
    """
    Whatever goes wrong in here is why *name* has no figures; the others are measured.
    """
    try:
        yield
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        for outcome in outcomes:
            outcome.failed.setdefault(name, []).append(reason.replace("|", "/"))
        print(f"{name}: {error!r}", file=sys.stderr)


def _report(peers: Sequence[Peer], outcomes: Mapping[str, Outcome]) -> Report:
    rows, figures, notes = [], {}, []
    for title, outcome in outcomes.items():

        def cells(name: str, outcome: Outcome = outcome) -> Iterator[str]:
            runs = outcome.runs[name].values()
            painted = outcome.median(name, "painted")
            ours = outcome.median("asyncops", "painted") if "asyncops" in outcome.runs else None
            yield spread([run["painted"] for run in runs])
            yield cell(painted / ours if ours else None, 1)
            yield spread([run["server"] for run in runs])
            yield cell(outcome.median(name, "slowest"))
            yield cell(outcome.median(name, "bytes") / 1e3)
            yield cell(outcome.median(name, "requests"))
            yield cell(max(len(run["elsewhere"]) for run in runs))
            yield cell(outcome.median(name, "nodes"))
            yield cell(outcome.median(name, "shown"))

        columns, found = table(
            peers, outcome,
            ("visits", "painted ms", "x asyncops", "first byte ms", "slowest answer ms", "KB",
             "requests", "other hosts", "nodes", "shown"),
            cells,
        )  # fmt: skip
        rows += [[title, *row] for row in found]
        notes += [f"{title}: {note}" for note in outcome.notes()]
        for name in outcome.measured():
            waits = [run["painted"] for run in outcome.runs[name].values()]
            figures[f"peers.pages.{title.replace(' ', '_')}.{name}"] = figure(waits, "ms")
    return Report(
        "Pages in Chromium: the same traces on each server",
        ("page", *columns),
        rows,
        figures,
        (HOW, SHOWN, *notes),
    )


# -- what there is to see ---------------------------------------------------------------------


def _filled(
    peers: Sequence[Peer], traces: Sequence[Trace], directory: str,
    stack: contextlib.ExitStack, outcomes: Collection[Outcome],
) -> dict[str, str]:  # fmt: skip
    """
    The addresses of the servers, by name, once each has taken in all of *traces*.
    """
    spans = sum(len(trace.spans) for trace in traces)
    serving: dict[str, Server] = {}
    for peer in peers:
        with _failing(outcomes, peer.name):
            place = stack.enter_context(
                tempfile.TemporaryDirectory(dir=directory, ignore_cleanup_errors=True)
            )
            server = stack.enter_context(SERVING[peer.name](peer, Path(place)))
            serving[peer.name] = server
    posted = {}
    for name, server in reversed(serving.items()):  # Phoenix is at it for longest: beside others
        with _failing(outcomes, name):
            bodies = _records(traces) if name == "asyncops" else _otlp(traces)
            server.post(bodies, seconds=FILL_SECONDS)
            posted[name] = server
    filled = {}
    for name, server in reversed(posted.items()):
        with _failing(outcomes, name):
            deadline = time.monotonic() + FILL_SECONDS
            while (there := server.count()) < spans:
                if time.monotonic() > deadline:
                    raise PeerError(f"{there:,} of {spans:,} after {FILL_SECONDS:.0f} s")
                time.sleep(0.2)
            filled[name] = server.url
    return filled


def _trace(count: int) -> Trace:
    """
    Agents with ten calls each, one after the other, below one that asked for them all; it ended a
    moment ago.
    """
    trace = uuid.UUID(_ids.new_uuid())
    step = 60 * 10**9 // count
    ended = time.time_ns() - 10**9
    began = ended - count * step
    spans: list[Span] = []
    for number in range(count):
        agent = number - (number - 1) % 11
        if number == 0:
            parent, steps = b"", count
        elif number == agent:
            parent, steps = spans[0].id, 11
        else:
            parent, steps = spans[agent].id, 1
        at = began + number * step
        spans.append(
            Span(
                trace.bytes[-6:] + number.to_bytes(2),
                parent,
                f"step {number}",
                "agent" if steps > 1 else ("llm", "tool")[number % 2],
                at,
                min(at + steps * step, ended),
                number % 97 == 96,
            )
        )
    return Trace(trace, spans)


def _records(traces: Iterable[Trace]) -> Iterator[Body]:
    """
    A session for each of *traces*, all from one source.
    """
    lines = (line for trace in traces for line in _session(trace))
    numbered = (number_line(line, seq) + b"\n" for seq, line in enumerate(lines, 1))
    headers = {"Asyncops-Source": _ids.new_uuid()}
    while batch := b"".join(itertools.islice(numbered, BATCH)):
        yield headers, batch


def _session(trace: Trace) -> Iterator[bytes]:
    session, first = str(trace.id), trace.spans[0]
    payload = Encoder().payload
    yield encode(
        SessionRecord(at=first.began, session=session, name=first.name, started_at=first.began)
    )
    for span in trace.spans:
        yield encode(
            EventRecord(
                at=span.ended, session=session, id=span.id.hex(), kind=span.kind, name=span.name,
                parent_id=span.parent.hex() or None, started_at=span.began, ended_at=span.ended,
                state="Fail" if span.failed else "Success",
                params=payload({"query": QUERY}), returns=payload(ANSWER),
            )
        )  # fmt: skip
    yield encode(
        SessionEndedRecord(
            at=first.ended, session=session, said_by="process", ended_at=first.ended,
            state=EndState.SUCCESS,
        )
    )  # fmt: skip


def _otlp(traces: Iterable[Trace]) -> Iterator[Body]:
    spans = (
        otlp.span(
            trace.id.bytes, span.id, span.parent, span.name, (span.began, span.ended),
            {
                "openinference.span.kind": span.kind.upper(),
                "input.value": QUERY,
                "output.value": ANSWER,
            },
            failed=span.failed,
        )
        for trace in traces
        for span in trace.spans
    )  # fmt: skip
    while batch := list(itertools.islice(spans, BATCH)):
        yield {}, otlp.request(batch)
