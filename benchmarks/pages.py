"""
The pages as a browser sees them: how long until they are painted, what they fetch, and how long
what was recorded takes to reach an open one.

A real Chromium before a real collector that holds a past made by `asyncops demo --history`; every
visit is the first one of a new profile, with nothing kept.
"""

from __future__ import annotations

import itertools
import os
import random
import statistics
import subprocess
import sys
import textwrap
import time
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser

from asyncops import _ids
from asyncops._events import (
    Cost,
    EndState,
    EventKind,
    EventRecord,
    SessionEndedRecord,
    SessionRecord,
)
from asyncops._wire import Encoder, encode, number_line

from .harness import Effort, Figure, Report, figure
from .load import Serving, serving
from .visits import Seen, chromium, new_page, p95, spread, visit

__all__ = ["run"]

HISTORY = {Effort.QUICK: (500, 50_000), Effort.FULL: (10_000, 1_000_000)}
"""Sessions and events of the past."""

LENGTHS = {Effort.QUICK: (200, 10_000), Effort.FULL: (200, 10_000, 100_000)}
"""How many events the sessions have whose pages are opened."""

VISITS = {Effort.QUICK: 5, Effort.FULL: 20}

CALLS = {Effort.QUICK: 10, Effort.FULL: 40}
"""How many calls are watched live."""

READY = "#timeline:not([inert]) .row"
"""A row of a session that can be used."""

FIRST = ("sessions", "search", "overview", "200")
"""The pages that one comes to first; what they fetch is not mostly a long session's events."""

WORD = "refund"
"""What is searched for."""

AGENTS = ("planner", "researcher", "writer", "reviewer")
TOOLS = ("search orders", "read file", "run query", "fetch page", "send mail", "write draft")
MODEL = "gpt-4.1-mini"
"""Who takes part in these sessions."""

WATCH_LIVE = """
window.appeared = {};
const look = () => {
  for (const row of document.querySelectorAll("#canvas .row")) {
    const found = /live (\\d+)\\./.exec(row.textContent);
    if (found && !(found[1] in window.appeared)) {
      window.appeared[found[1]] = 0;
      // after this frame
      setTimeout(() => window.appeared[found[1]] = performance.timeOrigin + performance.now());
    }
  }
  requestAnimationFrame(look);
};
requestAnimationFrame(look);
"""

PROGRAM = """
import sys, time, asyncops

with asyncops.session("live") as session:
    print(session.id, flush=True)
    sys.stdin.readline()
    for number in range(int(sys.argv[1])):
        with asyncops.tool(f"live {number}."):
            pass
        print(time.time_ns(), flush=True)
        time.sleep(0.23)
    sys.stdin.readline()
"""

HOW = (
    "Least, p50 and p95 of the visits, each with an empty cache. Server: until the first byte of"
    " the page. Painted: until the frame that shows the first rows, the chart or the bars, from the"
    " beginning of the navigation. Ready: until its script has taken a session's rows over. Bytes"
    " and requests: all that was fetched by then."
)
LIVE = (
    "Live: a program with default settings calls a tool four times a second; the time from the"
    " call's return until its bar is painted on an open page."
)


def run(effort: Effort, directory: str) -> Report:
    database = Path(directory, "collector.db")
    _fill(database, *HISTORY[effort])
    figures: dict[str, Figure] = {}
    rows: list[Sequence[str]] = []
    with serving(database) as collector, chromium() as browser:
        pages = {
            "sessions": ("/", ".sessions tbody tr", None),
            f"search for `{WORD}`": (f"/?q={WORD}", ".sessions tbody tr", None),
            "overview": ("/overview", ".chart .series", None),
        }
        for length in LENGTHS[effort]:
            path = f"/sessions/{_session(collector, length)}"
            pages[f"session of {length:,} events"] = (path, "#canvas .row", READY)
        names = []
        for name, (path, selector, ready) in pages.items():
            seen = [
                visit(browser, collector.url + path, selector, ready=ready)
                for _ in range(VISITS[effort])
            ]
            rows.append((name, *_cells(seen, has_script=ready is not None)))
            short = name.replace("session of ", "").replace(" events", "").replace(",", "")
            names.append(short.partition(" ")[0])
            figures |= _figures(names[-1], seen)
        waits = _live(browser, collector, CALLS[effort])
    figures |= _worst(figures, names)
    figures["pages.live"] = figure(waits, "ms")
    figures["pages.live_p95"] = figure([p95(waits)], "ms")
    rows.append(
        (
            "a call, live",
            "-",
            spread(waits),
            "-",
            "-",
            "-",
            "-",
        )
    )
    sessions, events = HISTORY[effort]
    return Report(
        f"Pages in Chromium, {sessions:,} sessions and {events:,} events stored",
        ("", "server ms", "painted ms", "ready ms", "KB", "requests", "layout shift"),
        rows,
        figures,
        (HOW, LIVE),
    )


def _fill(database: Path, sessions: int, events: int) -> None:
    subprocess.run(
        [
            sys.executable, "-m", "asyncops", "demo", "--history", "--exit", "--db", str(database),
            "--port", "0", "--sessions", str(sessions), "--events", str(events),
        ],
        check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip


def _session(collector: Serving, length: int) -> str:
    """
    A session that has so many events: agents with ten calls each, as long and as dear as chance has
    it, which is what a page cannot send in a few bytes.
    """
    session, source = _ids.new_uuid(), _ids.new_uuid()
    chance = random.Random(length)
    payload = Encoder().payload
    at = began = time.time_ns() - 3_600 * 10**9
    lines = [encode(SessionRecord(at=began, session=session, name="long", started_at=began))]

    def add(kind: EventKind, name: str, started_at: int, **fields: Any) -> None:
        event = EventRecord(
            at=at, session=session, kind=kind, name=name, started_at=started_at, ended_at=at,
            **fields,
        )  # fmt: skip
        lines.append(encode(event))

    for agent in itertools.cycle(AGENTS):
        if len(lines) > length:
            break
        parent, agent_began = _ids.new_event_id(), at
        for place in range(min(10, length - len(lines))):
            began_at = at
            at += int(chance.expovariate(length / 3e12))
            said: dict[str, Any] = {
                "id": _ids.new_event_id(),
                "parent_id": parent,
                "agent": agent,
                "state": "Fail" if chance.random() < 0.01 else "Success",
                "params": payload({"query": "what the agent asks its tool"}),
            }
            if place % 2:
                add("tool", chance.choice(TOOLS), began_at, **said)
                continue
            sent, got = int(chance.lognormvariate(7, 1)), int(chance.lognormvariate(5, 1))
            said |= {"prompt_tokens": sent, "completion_tokens": got, "model": MODEL}
            add("llm", MODEL, began_at, cost=Cost(Decimal(2 * sent + 8 * got) / 10**6), **said)
        add("agent", agent, agent_began, id=parent, agent=agent, state="Success")
    lines.append(
        encode(
            SessionEndedRecord(
                at=at, session=session, said_by="process", ended_at=at, state=EndState.SUCCESS
            )
        )
    )
    numbered = (number_line(line, seq) + b"\n" for seq, line in enumerate(lines, 1))
    with collector.connection() as connection:
        while batch := b"".join(itertools.islice(numbered, 1_000)):
            headers = {"Asyncops-Source": source, "Content-Type": "application/x-ndjson"}
            connection.request("POST", "/v1/records", batch, headers)
            answer = connection.getresponse()
            if (told := answer.read()) and answer.status != 200:
                raise RuntimeError(f"{answer.status}: {told!r}")
    return session


def _live(browser: Browser, collector: Serving, calls: int) -> list[float]:
    """
    Milliseconds from the return of each call to its bar.
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PROGRAM), str(calls)],
        env={**os.environ, "ASYNCOPS_ENDPOINT": collector.url},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        session = program.stdout.readline().strip()
        _wait_for(collector, session)
        page = new_page(browser, WATCH_LIVE, height=2_400)  # every row has its place
        page.goto(f"{collector.url}/sessions/{session}")
        page.wait_for_load_state("load")
        print(file=program.stdin, flush=True)
        returned = [int(program.stdout.readline()) / 1e6 for _ in range(calls)]
        page.wait_for_function(
            "(calls) => Object.values(window.appeared).filter(Boolean).length === calls", arg=calls
        )
        appeared: dict[str, float] = page.evaluate("window.appeared")
        page.context.close()
        print(file=program.stdin, flush=True)
    return [appeared[str(number)] - at for number, at in enumerate(returned)]


def _wait_for(collector: Serving, session: str) -> None:
    while "error" in collector.get(f"/api/sessions/{session}"):
        time.sleep(0.05)


def _cells(seen: Sequence[Seen], *, has_script: bool) -> Sequence[str]:
    return (
        spread([one.server for one in seen], 1),
        spread([one.painted for one in seen]),
        spread([one.ready for one in seen]) if has_script else "-",
        f"{statistics.median(one.bytes for one in seen) / 1e3:,.0f}",
        str(max(one.requests for one in seen)),
        f"{max(one.shift for one in seen):.3f}",
    )


def _figures(name: str, seen: Sequence[Seen]) -> Mapping[str, Figure]:
    return {
        f"pages.{name}.server": figure((one.server for one in seen), "ms"),
        f"pages.{name}.painted": figure((one.painted for one in seen), "ms"),
        f"pages.{name}.ready": figure((one.ready for one in seen), "ms"),
        f"pages.{name}.bytes": figure((one.bytes for one in seen), "bytes"),
        f"pages.{name}.requests": figure((one.requests for one in seen), ""),
        f"pages.{name}.shift": figure((one.shift for one in seen), ""),
    }


def _worst(figures: Mapping[str, Figure], names: Sequence[str]) -> Mapping[str, Figure]:
    """
    What holds for all pages: the medians of the worst one, and what moved at most.
    """

    def of(what: str, those: Sequence[str]) -> list[Figure]:
        found = [figures[f"pages.{name}.{what}"] for name in those]
        return sorted(found, key=lambda each: each.value)

    return {
        "pages.server": of("server", names)[-1],
        "pages.requests": of("requests", names)[-1],
        "pages.first_bytes": of("bytes", FIRST)[-1],
        "pages.shift": figure([max(each.most for each in of("shift", names))], ""),
    }
