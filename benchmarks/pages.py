"""
The pages as a browser sees them: how long until they are painted, what they fetch, and how long
what was recorded takes to reach an open one.

A real Chromium before a real collector that holds a past made by `asyncops demo --history`; every
visit is the first one of a new profile, with nothing kept.
"""

from __future__ import annotations

import itertools
import os
import shutil
import statistics
import subprocess
import sys
import textwrap
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs
from playwright.sync_api import Browser, Page, sync_playwright

from asyncops import _ids
from asyncops._events import EndState, EventRecord, SessionEndedRecord, SessionRecord
from asyncops._wire import Encoder, encode, number_line

from .harness import Effort, Figure, Report, figure
from .load import Serving, serving

__all__ = ["run"]

HISTORY = {Effort.QUICK: (500, 50_000), Effort.FULL: (10_000, 1_000_000)}
"""Sessions and events of the past."""

LENGTHS = {Effort.QUICK: (200, 10_000), Effort.FULL: (200, 10_000, 100_000)}
"""How many events the sessions have whose pages are opened."""

VISITS = {Effort.QUICK: 5, Effort.FULL: 20}

CALLS = {Effort.QUICK: 10, Effort.FULL: 40}
"""How many calls are watched live."""

WORD = "refund"
"""What is searched for."""

WATCH = """
addEventListener("DOMContentLoaded", () => {
  window.shift = 0;
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) window.shift += entry.value;
  }).observe({type: "layout-shift", buffered: true});
  const look = () => {
    if (document.querySelector(SELECTOR)) {
      setTimeout(() => window.painted = performance.now());  // after this frame
    } else requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
});
"""

SEEN = """
() => {
  const [page] = performance.getEntriesByType("navigation");
  const fetched = performance.getEntriesByType("resource");
  return {
    server: page.responseStart - page.requestStart,
    painted: window.painted,
    bytes: [page, ...fetched].reduce((sum, it) => sum + it.transferSize, 0),
    requests: 1 + fetched.length,
    shift: window.shift,
  };
}
"""

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
    " beginning of the navigation. Bytes and requests: all that was fetched by then."
)
LIVE = (
    "Live: a program with default settings calls a tool four times a second; the time from the"
    " call's return until its bar is painted on an open page."
)


@attrs.frozen
class Seen:
    """
    What one visit was like: milliseconds, bytes, and the sum of what moved.
    """

    server: float
    painted: float
    bytes: int
    requests: int
    shift: float


def run(effort: Effort, directory: str) -> Report:
    database = Path(directory, "collector.db")
    _fill(database, *HISTORY[effort])
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise RuntimeError("no Chromium is installed")
    figures: dict[str, Figure] = {}
    rows: list[Sequence[str]] = []
    with serving(database) as collector, sync_playwright() as playwright:
        pages = {
            "sessions": ("/", ".sessions tbody tr"),
            f"search for `{WORD}`": (f"/?q={WORD}", ".sessions tbody tr"),
            "overview": ("/overview", ".chart .series"),
        }
        for length in LENGTHS[effort]:
            path = f"/sessions/{_session(collector, length)}"
            pages[f"session of {length:,} events"] = (path, "#canvas .row")
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        for name, (path, selector) in pages.items():
            seen = [_visit(browser, collector.url + path, selector) for _ in range(VISITS[effort])]
            rows.append((name, *_cells(seen)))
            short = name.replace("session of ", "").replace(" events", "").replace(",", "")
            figures |= _figures(short.partition(" ")[0], seen)
        waits = _live(browser, collector, CALLS[effort])
        browser.close()
    figures["pages.live"] = figure(waits, "ms")
    rows.append(
        (
            "a call, live",
            "-",
            f"{min(waits):,.0f} / {_p50(waits):,.0f} / {_p95(waits):,.0f}",
            "-",
            "-",
            "-",
        )
    )
    sessions, events = HISTORY[effort]
    return Report(
        f"Pages in Chromium, {sessions:,} sessions and {events:,} events stored",
        ("", "server ms", "painted ms", "KB", "requests", "layout shift"),
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
    A session that has so many events: agents with ten calls each, one after the other.
    """
    session, source = _ids.new_uuid(), _ids.new_uuid()
    payload = Encoder().payload
    began = time.time_ns() - 3_600 * 10**9
    step = 3_000 * 10**9 // length
    lines = [encode(SessionRecord(at=began, session=session, name="long", started_at=began))]
    for number in range(1, length + 1):
        at, is_agent = began + number * step, number % 11 == 1
        lines.append(
            encode(
                EventRecord(
                    at=at,
                    session=session,
                    id=f"{number:016x}",
                    kind="agent" if is_agent else ("llm", "tool")[number % 2],
                    name=f"step {number}",
                    started_at=at,
                    ended_at=at + step * (10 if is_agent else 1),
                    state="Fail" if number % 97 == 0 else "Success",
                    parent_id=None if is_agent else f"{number - (number - 1) % 11:016x}",
                    params=payload({"query": "what the agent asks its tool"}),
                )
            )
        )
    at += step * 10
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


def _visit(browser: Browser, url: str, selector: str) -> Seen:
    page = _page(browser, WATCH.replace("SELECTOR", repr(selector)))
    page.goto(url)
    page.wait_for_function("() => window.painted")
    fetched = page.evaluate(SEEN)
    page.wait_for_timeout(300)  # whatever moves does so now
    seen = Seen(**{**fetched, "shift": page.evaluate("window.shift")})
    page.context.close()
    return seen


def _page(browser: Browser, script: str, *, height: int = 900) -> Page:
    context = browser.new_context(viewport={"width": 1440, "height": height})
    context.add_init_script(script)
    return context.new_page()


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
        page = _page(browser, WATCH_LIVE, height=2_400)  # every row has its place
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


def _cells(seen: Sequence[Seen]) -> Sequence[str]:
    server, painted = ([getattr(one, name) for one in seen] for name in ("server", "painted"))
    return (
        f"{min(server):,.1f} / {_p50(server):,.1f} / {_p95(server):,.1f}",
        f"{min(painted):,.0f} / {_p50(painted):,.0f} / {_p95(painted):,.0f}",
        f"{statistics.median(one.bytes for one in seen) / 1e3:,.0f}",
        str(max(one.requests for one in seen)),
        f"{max(one.shift for one in seen):.3f}",
    )


def _figures(name: str, seen: Sequence[Seen]) -> Mapping[str, Figure]:
    return {
        f"pages.{name}.server": figure((one.server for one in seen), "ms"),
        f"pages.{name}.painted": figure((one.painted for one in seen), "ms"),
        f"pages.{name}.bytes": figure((one.bytes for one in seen), "bytes"),
        f"pages.{name}.requests": figure((one.requests for one in seen), ""),
        f"pages.{name}.shift": figure((one.shift for one in seen), ""),
    }


def _p50(values: Sequence[float]) -> float:
    return statistics.median(values)


def _p95(values: Sequence[float]) -> float:
    return statistics.quantiles(values, n=20, method="inclusive")[-1]
