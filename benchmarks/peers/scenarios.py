"""
The same work done by all recorders, in turns: one function per scenario, one table each.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import psutil

from ..harness import Effort, Figure, Report, figure
from .environments import Pace, Peer, PeerError, environment_variables, interpreter
from .receivers import INSIDE, receiver

__all__ = ["SCENARIOS"]

SILENT = frozenset({"bare", "floor"})
"""What delivers nothing."""

Run = Mapping[str, Any]
"""What one run of `inside/program.py` found, and what came to the receiver."""


@attrs.frozen
class Amount:
    """
    How often, and with which options, a peer runs.
    """

    runs: int
    options: Mapping[str, Any]
    seconds: float = 300.0
    """How long a run may take."""


@attrs.define
class Outcome:
    """
    What a scenario found.

    Attributes:
        runs: By the name of the peer and the number of the round.
        failed: What went wrong in those runs of a peer that are not among them.
    """

    runs: dict[str, dict[int, Run]] = attrs.field(factory=dict)
    failed: dict[str, list[str]] = attrs.field(factory=dict)

    def measured(self) -> Iterator[str]:
        """
        Those that have figures. Ours have none where anything went wrong: nobody may overlook it.
        """
        for name, runs in self.runs.items():
            if runs and not (name.startswith("asyncops") and name in self.failed):
                yield name

    def notes(self) -> list[str]:
        """
        Whose runs went wrong.
        """
        return [
            f"{name}: {len(reasons)} more went wrong: {reasons[-1]}"
            for name, reasons in self.failed.items()
            if name in self.measured()
        ]

    def over(self, name: str, key: str, of: str = "bare") -> list[float]:
        """
        By how much *name* took more than *of*, in each round that both were in.
        """
        there = self.runs.get(of, {})
        return [
            run[key] - there[number][key]
            for number, run in self.runs.get(name, {}).items()
            if number in there
        ]

    def times(self, name: str, key: str, of: str) -> float | None:
        """
        How many times as much over bare *name* took as *of*: the median of the rounds.
        """
        ours, theirs = self.over(name, key), self.over(of, key)
        ratios = [mine / its for mine, its in zip(ours, theirs, strict=False) if its > 0]
        return statistics.median(ratios) if ratios else None

    def median(self, name: str, key: str) -> float:
        return statistics.median(run[key] for run in self.runs[name].values())

    def lost(self, name: str) -> list[float]:
        """
        Percent, of each run.
        """
        return [
            100 * max(0, run["made"] - run["delivered"]) / run["made"]
            for run in self.runs[name].values()
        ]


def in_turns(peers: Sequence[Peer], directory: str, amounts: Callable[[Peer], Amount],
             one: Callable[[Peer, Amount, Path], Run]) -> Outcome:  # fmt: skip
    """
    Let each peer do *one* run per round, in another order each round. Who has not done any when it
    fails is not asked again.
    """
    outcome = Outcome()
    rounds = max(amounts(peer).runs for peer in peers)
    for number in range(rounds):
        at = number % len(peers)
        for peer in [*peers[at:], *peers[:at]]:
            amount = amounts(peer)
            hopeless = peer.name in outcome.failed and peer.name not in outcome.runs
            if number >= amount.runs or hopeless:
                continue
            with tempfile.TemporaryDirectory(dir=directory, ignore_cleanup_errors=True) as place:
                try:
                    done = one(peer, amount, Path(place))
                    outcome.runs.setdefault(peer.name, {})[number] = done
                except Exception as error:  # whatever it is, the others are measured
                    reason = str(error) or type(error).__name__
                    outcome.failed.setdefault(peer.name, []).append(reason.replace("|", "/"))
                    print(f"{peer.name}: {error!r}", file=sys.stderr)
    return outcome


def program(peer: Peer, python: str, url: str, scenario: str, options: Mapping[str, Any],
            place: Path) -> subprocess.Popen[str]:  # fmt: skip
    """
    The program of *scenario*, started. Its result will be the file `result` in *place*.
    """
    with open(place / "out", "w") as out, open(place / "err", "w") as err:
        return subprocess.Popen(
            [python, str(INSIDE / "program.py"), peer.name, url, scenario,
             str(place / "result"), json.dumps(options)],
            cwd=place, env=environment_variables(peer, place), stdin=subprocess.DEVNULL,
            stdout=out, stderr=err, text=True,
        )  # fmt: skip


def run(scenario: str, **receiving: Any) -> Callable[[Peer, Amount, Path], Run]:
    """
    What runs *scenario* once: the program, against its receiver.
    """

    def one(peer: Peer, amount: Amount, place: Path) -> Run:
        python = interpreter(peer)
        with receiver(peer, python, place, **receiving) as there:
            process = program(peer, python, there.url, scenario, amount.options, place)
            try:
                process.wait(amount.seconds)
            except subprocess.TimeoutExpired:
                raise PeerError(f"not done after {amount.seconds:.0f} s") from None
            finally:
                process.kill()
                process.wait()
            if process.returncode:
                said = (place / "err").read_text().strip().splitlines() or ["it said nothing"]
                raise PeerError(f"exit status {process.returncode}: {said[-1][:160]}")
            found: dict[str, Any] = json.loads((place / "result").read_text())
            return found | attrs.asdict(there.told(found["made"]))

    return one


# -- cells ------------------------------------------------------------------------------------


def cell(value: float | None, digits: int = 0) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def table(peers: Sequence[Peer], outcome: Outcome, columns: Sequence[str],
          cells: Callable[[str], Iterable[str]]) -> tuple[list[str], list[list[str]]]:  # fmt: skip
    """
    A row for each peer; of those that failed, the reason.
    """
    rows = []
    measured = set(outcome.measured())
    for peer in peers:
        start = [peer.name, peer.version]
        if peer.name in measured:
            rows.append([*start, str(len(outcome.runs[peer.name])), *cells(peer.name)])
        else:
            reason = f"failed: {outcome.failed[peer.name][-1]}"
            rows.append([*start, reason, *[""] * (len(columns) - 1)])
    return ["recorder", "version", "runs", *columns[1:]], rows


def figures(outcome: Outcome, scenario: str, unit: str,
            values: Callable[[str], list[float]]) -> dict[str, Figure]:  # fmt: skip
    """
    `peers.<scenario>.<name>`, for each peer that was measured.
    """
    return {
        f"peers.{scenario}.{name}": figure(values(name), unit)
        for name in outcome.measured()
        if values(name)
    }


def lost(outcome: Outcome, name: str, digits: int = 1) -> str:
    """
    The median of the runs, and the worst of them.
    """
    if name in SILENT:
        return "-"
    found = outcome.lost(name)
    return f"{cell(statistics.median(found), digits)} ({cell(max(found), digits)})"


# -- scenarios --------------------------------------------------------------------------------


def burst(peers: Sequence[Peer], effort: Effort, directory: str) -> Report:
    amounts = {
        Effort.FULL: {
            Pace.FAST: Amount(5, {"calls": 200_000}),
            Pace.MEDIUM: Amount(3, {"calls": 100_000}),
            Pace.SLOW: Amount(3, {"calls": 10_000}),
        },
        Effort.QUICK: {
            Pace.FAST: Amount(5, {"calls": 20_000}),
            Pace.MEDIUM: Amount(1, {"calls": 10_000}),
            Pace.SLOW: Amount(1, {"calls": 1_000}),
        },
    }[effort]
    outcome = in_turns(peers, directory, lambda peer: amounts[peer.pace], run("burst"))
    # our requests are counted by a proxy that costs; so in a run of its own
    ours = [each for each in peers if each.name.startswith("asyncops")]
    counted = in_turns(
        ours,
        directory,
        lambda peer: attrs.evolve(amounts[peer.pace], runs=1),
        run("burst", counting=True),
    )

    def cells(name: str) -> Iterable[str]:
        wire = counted if name in counted.runs else outcome
        first = next(iter(wire.runs[name].values()))
        delivers = name not in SILENT and first["delivered"] and first["bytes"] is not None
        return (
            cell(outcome.median(name, "made")),
            cell(statistics.median(outcome.over(name, "ns"))),
            cell(outcome.times(name, "ns", "floor"), 1),
            cell(outcome.times(name, "ns", "asyncops"), 1),
            cell(outcome.median(name, "cpu_ns")),
            "-" if name in SILENT else cell(outcome.median(name, "delivered")),
            lost(outcome, name),
            cell(outcome.median(name, "flush_s"), 2),
            "-" if name in SILENT else cell(first["requests"]),
            cell(first["bytes"] / first["delivered"]) if delivers else "-",
        )

    columns, rows = table(
        peers, outcome,
        ("runs", "calls", "ns/call over bare", "x floor", "x asyncops", "loop thread CPU ns/call",
         "delivered", "lost % (worst)", "end and flush s", "requests", "wire B/event"),
        cells,
    )  # fmt: skip
    lost_figures = {
        f"peers.burst.lost.{name}": figure(outcome.lost(name), "%")
        for name in outcome.measured()
        if name not in SILENT
    }
    return Report(
        "Burst: awaited calls of a decorated coroutine that returns at once, in one session,"
        " never yielding to the loop",
        columns,
        rows,
        figures(outcome, "burst", "ns", lambda name: outcome.over(name, "ns"))
        | figures(outcome, "burst.cpu", "ns", lambda name: outcome.over(name, "cpu_ns"))
        | lost_figures,
        (
            (
                "Lost: made, and not delivered after flush and shutdown. Requests and wire bytes"
                " of asyncops are of one more run, through a proxy that counts. Its receiver is the"
                " real collector, on the same cores; that of the others is a sink."
            ),
            *outcome.notes(),
        ),
    )


def paced(peers: Sequence[Peer], effort: Effort, directory: str) -> Report:
    seconds = {Effort.FULL: 10, Effort.QUICK: 4}[effort]
    runs = {Effort.FULL: {Pace.FAST: 5}, Effort.QUICK: {Pace.FAST: 3}}[effort]
    outcome = in_turns(
        peers,
        directory,
        lambda peer: Amount(runs.get(peer.pace, 1), {"rate": 2_000, "seconds": seconds}),
        run("paced"),
    )
    calls = 2_000 * seconds

    def cpu(name: str) -> list[float]:
        return [1e6 * over / calls for over in outcome.over(name, "cpu_s")]

    def cells(name: str) -> Iterable[str]:
        return (
            cell(outcome.median(name, "took_s"), 1),
            cell(statistics.median(cpu(name)), 2),
            cell(outcome.times(name, "cpu_s", "asyncops"), 1),
            lost(outcome, name, 2),
            cell(outcome.median(name, "flush_s"), 2),
        )

    columns, rows = table(
        peers, outcome,
        ("runs", "took s", "CPU ms per 1,000 events over bare", "x asyncops", "lost % (worst)",
         "end and flush s"),
        cells,
    )  # fmt: skip
    return Report(
        f"Paced: 2,000 calls/s for {seconds} s, ten at a time, until all are acknowledged",
        columns,
        rows,
        figures(outcome, "paced", "ms/1,000", cpu),
        (
            "CPU is that of the whole program, all its threads; the receiver is another process.",
            *outcome.notes(),
        ),
    )


def fan_out(peers: Sequence[Peer], effort: Effort, directory: str) -> Report:
    runs = {Effort.FULL: {Pace.FAST: 5, Pace.MEDIUM: 3, Pace.SLOW: 3}, Effort.QUICK: {}}[effort]
    tasks = {Effort.FULL: 1_000, Effort.QUICK: 100}[effort]

    def amount(peer: Peer) -> Amount:
        fewer = 10 if peer.pace is Pace.SLOW else 1
        return Amount(runs.get(peer.pace, 1), {"tasks": tasks // fewer, "calls": 50})

    outcome = in_turns(peers, directory, amount, run("fan_out"))

    def cells(name: str) -> Iterable[str]:
        return (
            cell(outcome.median(name, "made")),
            cell(statistics.median(outcome.over(name, "ns"))),
            cell(outcome.times(name, "ns", "asyncops"), 1),
            cell(outcome.median(name, "loop_s"), 2),
            cell(outcome.median(name, "flush_s"), 2),
            lost(outcome, name),
        )

    columns, rows = table(
        peers, outcome,
        ("runs", "calls", "ns/call over bare", "x asyncops", "all calls s", "end and flush s",
         "lost % (worst)"),
        cells,
    )  # fmt: skip
    return Report(
        f"Fan-out: {tasks:,} tasks of 50 calls, which take turns after every call",
        columns,
        rows,
        figures(outcome, "fan_out", "ns", lambda name: outcome.over(name, "ns")),
        (f"The slow ones: {tasks // 10:,} tasks.", *outcome.notes()),
    )


def sessions(peers: Sequence[Peer], effort: Effort, directory: str) -> Report:
    runs = {Effort.FULL: 3, Effort.QUICK: 1}[effort]
    outcome = in_turns(
        peers, directory, lambda peer: Amount(runs, {"sessions": 10}), run("sessions", delay=0.05)
    )

    def steps(name: str, step: str, which: int) -> list[float]:
        return [each[which] for run in outcome.runs[name].values() for each in run[step]]

    def cells(name: str) -> Iterable[str]:
        first = [run["start"][0][0] for run in outcome.runs[name].values()]
        yield cell(statistics.median(first), 1)
        for which in (0, 1):
            for step in ("start", "end", "flush"):
                yield cell(statistics.median(steps(name, step, which)), 2)
        for step in ("start", "end"):
            yield cell(max(steps(name, step, 1)), 1)

    columns, rows = table(
        peers, outcome,
        ("runs", "first start ms", "start ms", "end ms", "flush ms", "loop stopped: start ms",
         "end", "flush", "at most: start", "end"),
        cells,
    )  # fmt: skip
    return Report(
        "Session: start, one call, end, flush, ten times, the receiver 50 ms away",
        columns,
        rows,
        figures(outcome, "session_start", "ms", lambda name: steps(name, "start", 1))
        | figures(outcome, "session_end", "ms", lambda name: steps(name, "end", 1)),
        (
            (
                "Loop stopped: the longest pause of a callback that is always due, in the step and"
                " the 20 ms after it."
            ),
            *outcome.notes(),
        ),
    )


def imports(peers: Sequence[Peer], effort: Effort, directory: str) -> Report:
    runs = {Effort.FULL: 7, Effort.QUICK: 3}[effort]
    outcome = in_turns(peers, directory, lambda peer: Amount(runs, {}), _import)

    def cells(name: str) -> Iterable[str]:
        return (
            cell(outcome.median(name, "ms")),
            cell(outcome.times(name, "ms", "asyncops"), 1),
            cell(outcome.median(name, "modules")),
            cell(outcome.median(name, "rss") / 1_048_576, 1),
            cell(outcome.median(name, "threads")),
        )

    columns, rows = table(
        peers, outcome, ("runs", "CPU ms", "x asyncops", "modules", "RSS MiB", "threads"), cells
    )
    return Report(
        "Import: what a program's import of the recorder takes over Python itself",
        columns,
        rows,
        figures(outcome, "import", "ms", lambda name: outcome.over(name, "ms")),
        outcome.notes(),
    )


IMPORT = """
import sys, time
sys.path.insert(0, sys.argv[2])
import importlib
input()
before, began = len(sys.modules), time.process_time()
importlib.import_module("drivers." + sys.argv[1])
print(1e3 * (time.process_time() - began), len(sys.modules) - before, flush=True)
input()
"""


def _import(peer: Peer, amount: Amount, place: Path) -> Run:
    command = [interpreter(peer), "-c", IMPORT, peer.name, str(INSIDE)]
    with subprocess.Popen(
        command, cwd=place, env=environment_variables(peer, place), text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        limit = threading.Timer(amount.seconds, process.kill)
        limit.start()
        seen = psutil.Process(process.pid)
        time.sleep(0.2)  # Python itself has started
        before = seen.memory_info().rss
        process.stdin.write("\n")
        process.stdin.flush()
        told = process.stdout.readline().split()
        limit.cancel()
        if len(told) != 2:
            raise PeerError(process.stderr.read().strip().splitlines()[-1][:160])
        found = {
            "ms": float(told[0]),
            "modules": int(told[1]),
            "rss": seen.memory_info().rss - before,
            "threads": seen.num_threads(),
        }
        process.kill()
        return found


def killed(peers: Sequence[Peer], effort: Effort, directory: str) -> Report:
    seconds = {Effort.FULL: 5.0, Effort.QUICK: 2.0}[effort]
    runs = {Effort.FULL: 3, Effort.QUICK: 1}[effort]
    there = [peer for peer in peers if peer.name not in SILENT]
    outcome = in_turns(there, directory, lambda peer: Amount(runs, {}, seconds), _kill)

    def cells(name: str) -> Iterable[str]:
        missing = [run["made"] - run["delivered"] for run in outcome.runs[name].values()]
        return (
            cell(outcome.median(name, "made")),
            cell(outcome.median(name, "delivered")),
            cell(max(0, statistics.median(missing))),
            lost(outcome, name),
        )

    columns, rows = table(
        there, outcome, ("runs", "calls returned", "delivered", "lost", "lost % (worst)"), cells
    )
    return Report(
        f"kill -9 after {seconds:.0f} s of 1,000 calls/s",
        columns,
        rows,
        figures(outcome, "killed", "%", outcome.lost),
        (
            (
                "What asyncops had not sent when it was killed, the collector fetches from the"
                " journal on the same machine within seconds; that is counted, and waited for."
            ),
            *outcome.notes(),
        ),
    )


def _kill(peer: Peer, amount: Amount, place: Path) -> Run:
    python = interpreter(peer)
    counter = place / "counter"
    counter.write_bytes(bytes(8))
    options = {"rate": 1_000, "counter": str(counter)}
    with receiver(peer, python, place) as there:
        process = program(peer, python, there.url, "killed", options, place)
        try:
            deadline = time.monotonic() + 60
            while not any(counter.read_bytes()):
                if process.poll() is not None or time.monotonic() > deadline:
                    said = (place / "err").read_text().strip().splitlines() or ["it said nothing"]
                    raise PeerError(said[-1][:160])
                time.sleep(0.01)
            time.sleep(amount.seconds)
        finally:
            process.kill()
            process.wait()
        made = int.from_bytes(counter.read_bytes(), "little")
        time.sleep(0.5)  # what the sink has in its sockets
        return {"made": made} | attrs.asdict(there.told(made))


SCENARIOS = {each.__name__: each for each in (burst, paced, fan_out, sessions, imports, killed)}
"""By name; `collectors` is in `serving`."""
