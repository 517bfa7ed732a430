"""
What asyncops may cost: the one table of budgets, and whether they are kept here.

`python -m benchmarks.budgets` measures for many minutes and wants a quiet machine;
`python -m benchmarks.budgets --quick` takes a minute, for every change. There the limits are wide,
and hold on a machine that does other things at the same time: what they catch is a mistake, not a
few percent. A budget is never an absolute time of a machine, but where a person waits.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import attrs

from . import document, peers, registry
from .harness import Effort, Figure, Report

__all__ = ["BUDGETS", "Budget", "Verdict", "judge", "main"]

COMPARED = {"otel": ("burst", "paced"), "mlflow": ("collectors",)}
"""The peers that a budget compares with, and in which scenarios."""


@attrs.frozen
class Budget:
    """
    A limit that a figure must keep.

    Attributes:
        what: What it is about.
        figure: The name of the figure; its first part is the benchmark that finds it.
        over: The name of the figure of the same run that it is divided by, if any.
        limit: What it may be.
        quick: What it may be with `--quick`; None where that tells nothing.
        at_least: Whether the figure must be no less, instead of no more.
    """

    what: str
    figure: str
    limit: float
    quick: float | None = None
    at_least: bool = False
    over: str | None = None

    def found(self, figures: Mapping[str, Figure]) -> Figure | None:
        """
        What it is about, out of *figures*; None where that was not measured.
        """
        measured = figures.get(self.figure)
        if measured is None or self.over is None:
            return measured
        other = figures.get(self.over)
        if other is None or other.least <= 0:
            return None
        return Figure(
            measured.value / other.value, "x", measured.least / other.most,
            measured.most / other.least, min(measured.runs, other.runs),
        )  # fmt: skip

    def allowed(self, effort: Effort) -> float | None:
        return self.limit if effort is Effort.FULL else self.quick


BUDGETS = (
    Budget("one recorded call, durable in the journal, over bare: x the floor",
           "recording.x_floor", 4.0, quick=30.0),
    Budget("the same: x OpenTelemetry's SDK with its batch processor",
           "peers.burst.asyncops", 0.1, over="peers.burst.otel"),
    Budget("one decorated call without a session: x a bare wrapper",
           "recording.no_session_x_wrapper", 1.3, quick=2.0),
    Budget("bytecode instructions of one recorded call", "recording.opcodes", 620, quick=620),
    Budget("... and without a session", "recording.no_session_opcodes", 40, quick=40),
    Budget("events lost in a burst of 200,000 that never yields to the loop",
           "delivery.lost", 0, quick=0),
    Budget("CPU per 1,000 events recorded, exported and acknowledged at 2,000/s: x OpenTelemetry's",
           "peers.paced.asyncops", 0.2, over="peers.paced.otel"),
    Budget("loop lag p99 under load, worst collector and payload, over bare (ms)",
           "loop.p99_over_bare", 1.0),
    Budget("the same, max (ms)", "loop.max_over_bare", 5.0),
    Budget("session start, collector 50 ms away: returns within (ms)", "starting.start", 1.0),
    Budget("session end, likewise: loop blocked for (ms)", "starting.end", 1.0),
    Budget("import: x `import asyncio, attrs, msgspec`", "footprint.import_x", 1.5, quick=2.0),
    Budget("RSS growth over 500,000 events with the collector down (MB)",
           "bounded.rss_growth", 10.0),
    Budget("ingest, one collector on one core, commit before acknowledge (events/s)",
           "ingest.events_per_second", 50_000, at_least=True),
    Budget("the same: x MLflow", "peers.collector.asyncops", 30.0, over="peers.collector.mlflow",
           at_least=True),
    Budget("its processor time: x SQLite's, storing the same lines in a bare table",
           "ingest.4x500.cpu", 5.0, quick=8.0, over="ingest.floor.cpu"),
    Budget("from call to queryable, p95 at 5,000 events/s: x max_wait_time",
           "latency.queryable_x_wait", 1.5),
    Budget("list page API at 10 million events, p95 (ms)", "collector.list_p95", 20.0),
    Budget("one session's first 200 events, likewise (ms)", "collector.events_p95", 20.0),
    Budget("overview, likewise (ms)", "collector.overview_p95", 50.0),
    Budget("requests/s of httpx with capture installed and no session: x without it",
           "capture.httpx.no_session", 0.98, at_least=True),
    Budget("the same of httpx2", "capture.httpx2.no_session", 0.98, at_least=True),
    Budget("pages over a million events, first byte: of list, search, overview and sessions of 200,"
           " 10,000 and 100,000 events the slowest, p50 (ms)", "pages.server", 100.0),
    Budget("... fetched, nothing kept: of list, search, overview and session of 200 events the"
           " largest (bytes)", "pages.first_bytes", 100_000),
    Budget("... requests of any page", "pages.requests", 10),
    Budget("... layout shift, the worst visit to any page", "pages.shift", 0),
    Budget("session of 10,000 events: painted after, p50 (ms)", "pages.10000.painted", 300.0),
    Budget("... of 100,000 events", "pages.100000.painted", 1_000.0),
    Budget("from a call's return to its bar on an open page, p95 (ms)", "pages.live_p95", 1_000.0),
    Budget("ingest at 10^7 events: times slower than at 10^5", "collector.rate_growth", 1.5),
)  # fmt: skip
"""All of them. `noxfile.py`, `.ci/run` and docs/performance.md have theirs from here."""


@attrs.frozen
class Verdict:
    """
    A budget, what it allows, and what was found: None where nobody measured it, which keeps none.
    """

    budget: Budget
    allowed: float
    found: Figure | None

    @property
    def kept(self) -> bool:
        if self.found is None:
            return False
        value = self.found.value
        return value >= self.allowed if self.budget.at_least else value <= self.allowed

    def cells(self) -> list[str]:
        side = "at least" if self.budget.at_least else "at most"
        found, spread = "not measured", ""
        if self.found is not None:
            found = f"{self.found.value:,.4g}"
            spread = f"{self.found.least:,.4g} - {self.found.most:,.4g}"
        verdict = "kept" if self.kept else "BROKEN"
        return [self.budget.what, f"{side} {self.allowed:,g}", found, spread, verdict]


def judge(figures: Mapping[str, Figure], effort: Effort) -> list[Verdict]:
    """
    What became of each budget that holds for *effort*.
    """
    return [
        Verdict(budget, allowed, budget.found(figures))
        for budget in BUDGETS
        if (allowed := budget.allowed(effort)) is not None
    ]


def report(verdicts: Iterable[Verdict]) -> Report:
    return Report(
        "Budgets",
        ("what", "budget", "found", "least - most", ""),
        [verdict.cells() for verdict in verdicts],
    )


def measure(effort: Effort) -> dict[str, Figure]:
    """
    All figures that the budgets of *effort* need, from one run.
    """
    needed = {
        budget.figure.partition(".")[0] for budget in BUDGETS if budget.allowed(effort) is not None
    }
    figures: dict[str, Figure] = {}
    for name in registry.NAMES:
        if name in needed:
            print(f"measuring {name} ...", flush=True)
            figures |= registry.run(name, effort).figures
    if "peers" in needed:
        with registry.scratch() as directory:
            for name, scenarios in COMPARED.items():
                for found in peers.run(effort, directory, only=[name], scenarios=scenarios):
                    figures |= found.figures
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.budgets", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a minute, with wide limits")
    parser.add_argument("--write", type=Path, metavar="FILE", help="keep the table in there")
    options = parser.parse_args()
    effort = Effort.QUICK if options.quick else Effort.FULL
    verdicts = judge(measure(effort), effort)
    found = report(verdicts)
    print(f"{document.machine()}\n\n{found.markdown()}")
    if options.write is not None:
        document.write(options.write, "budgets", [found])
    broken = [verdict.budget.what for verdict in verdicts if not verdict.kept]
    sys.exit(f"broken: {'; '.join(broken)}" if broken else 0)


if __name__ == "__main__":
    main()
