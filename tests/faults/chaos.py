"""
The chaos run: recorders, collector and network fail at random for a while, and nothing is lost.

Programs (`chaos_program.py`) record numbered events and say in shared memory which calls had
returned. Their parent, which nobody kills, ends them in every way there is, kills and suspends the
collector, cuts the network, and kills programs while they adopt the journals of others. Then it
lets everything settle and looks: every event whose call had returned is stored, once, as it was;
every session ended as it truly did. Every choice follows from the seed.

    python tests/faults/chaos.py --seconds 300 --seed 7
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import attrs
import httpx

sys.path += [str(Path(__file__).parents[1])]

from chaos_program import (
    ADOPTING,
    ENDED,
    ENDING,
    FINALS,
    PID,
    RETURNED,
    STARTED,
    STARTING,
    STATUSES,
    STOP,
    Ledger,
    Spec,
    planned,
    text_of,
)
from processes import hear_signals, own_port
from proxy import (
    Fault,
    Proxy,
    answering,
    cut_answer,
    cut_request,
    deaf,
    delivering_twice,
    http,
    late,
    losing_the_answer,
    passing,
    proxy,
    refusing,
    silent,
    swallowing_the_answer,
)

__all__ = ["Chaos", "Summary"]

PROGRAMS = 4
"""How many record at a time."""

SLOTS = 4_096

SETTLE_SECONDS = 120.0
"""How long it may take until everything recorded is stored, once nothing fails any more."""

ENDING_SECONDS = 20.0
"""How long a program or a collector may take to end that was told to."""

CONSTANTS = {"SEGMENT_BYTES": 65_536, "ADOPT_SECONDS": 2.0, "MAX_BACKOFF_SECONDS": 1.0}
"""Limits of the SDK, made so small that what they are for happens often."""

KILLED = ["kill -9", "SIGTERM", "SIGHUP", "SIGINT", "SIGSEGV", "SIGABRT"]
ENDING_BY_THEMSELVES = {
    "async": ["returns", "exception", "sys.exit(0)", "sys.exit(3)", "os._exit"],
    "with": ["returns", "exception", "sys.exit(0)", "sys.exit(3)", "os._exit"],
    "init": ["returns", "exception", "left open", "os._exit"],
}


WRONG = (
    "lost",
    "duplicated",
    "invented",
    "wrong payload",
    "wrong end states",
    "missing records told",
    "wrong exit status",
    "journals left over",
    "database damaged",
    "did not go as planned",
)
"""What must not be."""


@attrs.define
class Summary:
    """
    What was done, and what became of it.

    Attributes:
        faults: How often each thing was done to somebody.
        wrong: What should not have been, by kind, with an example or two.
    """

    seed: int
    seconds: float = 0.0
    settling: float = 0.0
    programs: int = 0
    sessions: int = 0
    recorded: int = 0
    stored: int = 0
    interrupted: int = 0
    faults: Counter[str] = attrs.field(factory=Counter)
    wrong: dict[str, list[str]] = attrs.field(factory=lambda: {kind: [] for kind in WRONG})

    def blame(self, kind: str, what: str) -> None:
        self.wrong[kind].append(what)

    @property
    def good(self) -> bool:
        return not any(self.wrong.values())

    def __str__(self) -> str:
        faults = [f"  {what:<42}{count:>9,}" for what, count in sorted(self.faults.items())]
        wrong = [f"  {kind:<42}{len(found):>9,}" for kind, found in self.wrong.items()]
        examples = [f"{kind}: {each}" for kind, found in self.wrong.items() for each in found[:5]]
        return "\n".join(
            [
                f"chaos: seed {self.seed}, {self.seconds:g} s, settled in {self.settling:.1f} s",
                f"  {'programs':<42}{self.programs:>9,}",
                f"  {'sessions':<42}{self.sessions:>9,}",
                f"  {'events whose call had returned':<42}{self.recorded:>9,}",
                f"  {'events stored':<42}{self.stored:>9,}",
                f"  {'of those: the call was interrupted':<42}{self.interrupted:>9,}",
                "done to them",
                *faults,
                "wrong",
                *wrong,
                *examples,
            ]
        )


@attrs.define(eq=False)
class Program:
    """
    A recorder at work.
    """

    spec: Spec
    process: subprocess.Popen[bytes]
    slot: memoryview
    killed_after: float
    """How long after its first session began; of no meaning for one that ends by itself."""
    suspended: tuple[float, float]
    """From when to when, likewise, it is stopped."""
    begun_at: float = 0.0
    told_at: float = 0.0
    told: bool = False
    stopped: bool = False
    ended: bool = False

    def __str__(self) -> str:
        return f"program {self.number} ({self.spec.style}, {self.spec.final})"

    @property
    def number(self) -> int:
        return self.spec.program

    @property
    def killed(self) -> bool:
        return self.spec.final in KILLED

    def send(self) -> None:
        self.process.send_signal(signal_of(self.spec.final))


def signal_of(final: str) -> signal.Signals:
    return signal.SIGKILL if final == "kill -9" else signal.Signals[final]


class Chaos:
    """
    One run.

    Args:
        directory: Where everything is kept; empty.
        seed: What every choice follows from.
        seconds: How long things fail.
        events: How many are recorded meanwhile; on a slow machine it takes as long as it takes.
    """

    def __init__(self, directory: Path, *, seed: int, seconds: float, events: int = 0) -> None:
        self.summary = Summary(seed, seconds)
        self._least = events
        self._directory = directory
        self._ledger = Ledger.create(directory / "ledger", SLOTS)
        self._held = contextlib.ExitStack()
        self._collector = CollectorActor(self, self._held.enter_context(own_port()))
        self._network: NetworkActor
        self._choose = random.Random(f"{seed}/programs")
        self._programs: list[Program] = []
        self._running: list[Program] = []
        self._next_slot = 1

    @property
    def seed(self) -> int:
        return self.summary.seed

    @property
    def environment(self) -> dict[str, str]:
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith("ASYNCOPS")
        }
        return {
            **kept,
            "ASYNCOPS_JOURNAL_DIR": str(self._directory / "journal"),
            "ASYNCOPS_DB": str(self._directory / "collector.db"),
            "ASYNCOPS_REQUEST_TIMEOUT": "2",
            "ASYNCOPS_MAX_WAIT_TIME": "0.1",
            "ASYNCOPS_SHUTDOWN_TIMEOUT": "1",
        }

    def done(self, what: str) -> None:
        self.summary.faults[what] += 1

    def start(self, command: list[str], **environment: str) -> subprocess.Popen[bytes]:
        """
        A process whose words go to a file, at the head of a group of its own.
        """
        with (self._directory / "said.txt").open("ab") as said:
            return subprocess.Popen(
                [sys.executable, *command],
                env=self.environment | environment,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )

    def run(self) -> Summary:
        try:
            with proxy(self._collector.url) as bad:
                self._network = NetworkActor(self, bad)
                end = time.monotonic() + self.summary.seconds
                while time.monotonic() < end or self._recorded() < self._least:
                    while len(self._running) < PROGRAMS:
                        self._running.append(self._new_program())
                    self._turn()
                self._settle()
        finally:
            for program in self._programs:
                kill_group(program.process)
            kill_group(self._collector.process)
            self._held.close()
        return self.summary

    def _recorded(self) -> int:
        return sum(program.slot[RETURNED] for program in self._programs)

    def _turn(self) -> None:
        self._collector.turn()
        self._network.turn()
        for program in self._running:
            self._look_after(program)
        self._running = [program for program in self._running if not program.ended]
        time.sleep(0.005)

    # -- programs -----------------------------------------------------------------------------

    def _new_program(self) -> Program:
        choose = self._choose
        style = choose.choice(["async", "async", "with", "init"])
        final = choose.choice(KILLED if choose.random() < 0.6 else ENDING_BY_THEMSELVES[style])
        if choose.random() < 0.2:
            final = "kill -9"
        forks = choose.random() < 0.2
        return self._start_program(
            final=final,
            style=style,
            sessions=0 if final in KILLED else choose.randint(1, 4),
            pace=choose.choice([0.0003, *[choose.uniform(0.001, 0.006)] * 3]),
            forks=forks,
            child_events=choose.choice([0, choose.randint(1, 200)]),
            batch=choose.choice([5, 50, 500]),
            killed_after=choose.choice([choose.uniform(0, 0.3), choose.uniform(0.3, 4)]),
            suspended=(choose.uniform(0, 2), choose.uniform(2, 4))
            if choose.random() < 0.1
            else None,
            proxied=choose.random() < 0.5,
        )

    def _start_program(
        self,
        *,
        final: str,
        style: str,
        sessions: int,
        pace: float,
        proxied: bool,
        forks: bool = False,
        child_events: int = 0,
        batch: int = 500,
        killed_after: float = 0.0,
        suspended: tuple[float, float] | None = None,
    ) -> Program:
        spec = Spec(
            program=self._new_slot(),
            seed=self.seed,
            final=final,
            style=style,
            sessions=sessions,
            pace=pace,
            child=self._new_slot() if forks else 0,
            child_events=child_events,
            ledger=str(self._directory / "ledger"),
            constants=CONSTANTS,
        )
        process = self.start(
            [str(Path(__file__).with_name("chaos_program.py")), json.dumps(attrs.asdict(spec))],
            ASYNCOPS_ENDPOINT=self._network.url if proxied else self._collector.url,
            ASYNCOPS_MAX_QUEUE_SIZE=str(batch),
        )
        if suspended is not None:
            killed_after += suspended[1]
        program = Program(
            spec, process, self._ledger[spec.program], killed_after, suspended or (0.0, 0.0)
        )
        self._programs.append(program)
        return program

    def _new_slot(self) -> int:
        self._next_slot += 1
        return self._next_slot - 1

    def _look_after(self, program: Program) -> None:
        now = time.monotonic()
        if program.process.poll() is not None:
            self._over(program)
            return
        if not program.begun_at:
            if program.slot[STARTED]:
                program.begun_at = now
            return
        if not program.killed:
            return
        self._suspend(program, now)
        adopting = program.slot[ADOPTING] % 2 and program.spec.final == "kill -9"
        if not program.told and (adopting or now - program.begun_at > program.killed_after):
            if adopting:
                self.done("adopter: kill -9 half-way")
            program.told, program.told_at = True, now
            program.send()
        elif program.told and now - program.told_at > ENDING_SECONDS:
            self.summary.blame(
                "did not go as planned",
                f"{program} did not end",
            )
            program.process.kill()
            program.process.wait()
        elif program.told and program.spec.final == "SIGINT" and now - program.told_at > 3:
            program.send()  # Python loses one that comes while it runs a finalizer

    def _suspend(self, program: Program, now: float) -> None:
        """
        What is stopped is not dead: nobody may take its journal.
        """
        begin, end = program.suspended
        stop = begin < now - program.begun_at < end
        if stop != program.stopped:
            program.stopped = stop
            program.process.send_signal(signal.SIGSTOP if stop else signal.SIGCONT)
            self.summary.faults["recorder: SIGSTOP, SIGCONT"] += stop

    def _over(self, program: Program) -> None:
        program.ended = True
        final = program.spec.final
        expected = -signal_of(final) if program.killed else STATUSES.get(final, 0)
        if program.process.returncode != expected:
            self.summary.blame(
                "wrong exit status",
                f"{program}: {program.process.returncode} instead of {expected}",
            )
        self.done(f"recorder: {final}")
        if program.spec.child and self._ledger[program.spec.child][PID]:
            self.done("recorder: forks a child that records")
            if not program.spec.child_events:
                self.done("forked child: kill -9")
                kill_group(program.process)

    # -- at the end ---------------------------------------------------------------------------

    def _settle(self) -> None:
        """
        Nothing fails any more: wait until all is delivered, then look.
        """
        began = time.monotonic()
        self._collector.heal()
        self._network.heal()
        while self._running and time.monotonic() - began < SETTLE_SECONDS:
            for program in self._running:
                self._look_after(program)
            self._running = [program for program in self._running if not program.ended]
            self._collector.look()
            time.sleep(0.005)
        for program in self._running:
            self.summary.blame("did not go as planned", f"{program} never ended")
        for program in self._programs:
            self._wait_for_child(program)
            kill_group(program.process)
        # what was bound for the other side of the network, the next program there must adopt;
        # `asyncops serve` adopts the rest. What these two record is the event that gets through.
        last = [
            self._start_program(
                final="returns", style="async", sessions=0, pace=0.05, proxied=proxied
            )
            for proxied in (False, True)
        ]
        own = [program.slot for program in last]
        wait_for(lambda: all(slot[STARTED] for slot in own), SETTLE_SECONDS)
        wait_for(lambda: len(self._journals()) <= len(last), SETTLE_SECONDS)
        for program in last:
            program.slot[STOP] = 1
        for program in last:
            program.process.wait(ENDING_SECONDS)
            self._over(program)
        wait_for(lambda: not self._journals(), ENDING_SECONDS)
        self.summary.settling = time.monotonic() - began
        for journal in self._journals():
            self.summary.blame("journals left over", journal.name)
        for path in (self._directory / "journal").rglob("set-aside.ndjson"):
            self.summary.blame("did not go as planned", f"set aside: {path.read_text()[:300]}")
        Oracle(self.summary, self._programs, self._ledger).check(self._collector.url)
        self._collector.end_for_good()
        self._check_database()

    def _wait_for_child(self, program: Program) -> None:
        child = self._ledger[program.spec.child]
        if program.spec.child and program.spec.child_events and child[PID]:
            wait_for(lambda: child[RETURNED] >= program.spec.child_events, ENDING_SECONDS)

    def _journals(self) -> list[Path]:
        """
        The journals there are. A hidden one was never finished: nothing is in it.
        """
        found = (self._directory / "journal").glob("*/*/lock")
        return [lock.parent for lock in found if lock.parent.name[0] != "."]

    def _check_database(self) -> None:
        with contextlib.closing(sqlite3.connect(self._directory / "collector.db")) as database:
            ((said,),) = database.execute("PRAGMA integrity_check").fetchall()
        if said != "ok":
            self.summary.blame("database damaged", said)


class CollectorActor:
    """
    The collector: killed, told to end and suspended, and started again.
    """

    def __init__(self, chaos: Chaos, port: int) -> None:
        self._chaos = chaos
        self._choose = random.Random(f"{chaos.seed}/collector")
        self.port = port
        self.url = f"http://127.0.0.1:{self.port}"
        self._start()

    def _start(self) -> None:
        command = ["-m", "asyncops", "serve", "--port", str(self.port)]
        self.process = self._chaos.start(command)
        self._next: Callable[[], None] = self._harm
        self._at = time.monotonic() + self._choose.uniform(1, 6)

    def turn(self) -> None:
        if time.monotonic() >= self._at:
            self._next()

    def look(self) -> None:
        """
        It must not end by itself.
        """
        if self.process.poll() is not None:
            self._chaos.summary.blame(
                "did not go as planned", f"the collector ended: {self.process.returncode}"
            )
            self._start()

    def _harm(self) -> None:
        self.look()
        how = self._choose.choice(["kill -9", "kill -9", "SIGTERM", "SIGSTOP"])
        self._chaos.done(f"collector: {how}")
        self.process.send_signal(signal_of(how))
        if how == "SIGSTOP":
            self._then(self._go_on, self._choose.uniform(0.2, 3))
        else:
            self._then(self._start_again, self._choose.uniform(0, 1.5))

    def _go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self._then(self._harm, self._choose.uniform(1, 6))

    def _start_again(self) -> None:
        if self.process.poll() is not None:
            self._start()
        elif time.monotonic() > self._at + ENDING_SECONDS:
            self._chaos.summary.blame("did not go as planned", "the collector does not end")
            self.process.kill()

    def _then(self, what: Callable[[], None], seconds: float) -> None:
        self._next, self._at = what, time.monotonic() + seconds

    def heal(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGCONT)
        if self._next == self._start_again:
            self.process.wait(ENDING_SECONDS)
            self._start()

    def end_for_good(self) -> None:
        self.process.terminate()
        self.process.wait(ENDING_SECONDS)


class NetworkActor:
    """
    The network between half of the programs and the collector: whole for a while, then broken.
    """

    FAULTS: ClassVar[dict[str, Fault]] = {
        "refuses": refusing,
        "never answers": silent,
        "stops reading": deaf,
        "resets requests": cut_request(700),
        "loses answers": losing_the_answer,
        "swallows answers": swallowing_the_answer,
        "cuts answers": cut_answer(40, reset=False),
        "is slow": late(0.5),
        "delivers twice": delivering_twice,
        "says 500": answering(http("500 Internal Server Error")),
        "says 429": answering(http("429 Too Many Requests", b"", "Retry-After: 1")),
        "says 400": answering(http("400 Bad Request", b"what?")),
    }

    def __init__(self, chaos: Chaos, proxy: Proxy) -> None:
        self._chaos = chaos
        self._proxy = proxy
        self._choose = random.Random(f"{chaos.seed}/network")
        self.url = proxy.url
        self._broken = False
        self._at = time.monotonic() + self._choose.uniform(0.5, 3)

    def turn(self) -> None:
        if time.monotonic() < self._at:
            return
        if self._broken:
            self.heal()
        else:
            how = self._choose.choice(sorted(self.FAULTS))
            self._chaos.done(f"network: {how}")
            self._proxy.become(self.FAULTS[how])
            self._broken = True
        self._at = time.monotonic() + self._choose.uniform(0.5, 3)

    def heal(self) -> None:
        self._proxy.become(passing)
        self._broken = False


class Oracle:
    """
    Compares what is stored with what must be.
    """

    def __init__(self, summary: Summary, programs: list[Program], ledger: Ledger) -> None:
        self._summary = summary
        self._programs = {program.number: program for program in programs}
        self._ledger = ledger
        self._found: dict[int, list[int]] = collections.defaultdict(list)

    def check(self, url: str) -> None:
        nameless = 0
        seen: Counter[str] = Counter()
        with httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
            for session in pages(client, "/api/sessions", "sessions"):
                self._summary.sessions += 1
                if session["name"] is None:
                    nameless += 1  # its start was interrupted
                else:
                    seen[session["name"]] += 1
                    self._check_session(client, session)
        for name, count in seen.items():
            if count > 1:
                self._summary.blame("wrong end states", f"session {name} is there {count} times")
        self._check_sessions_are_there(seen)
        interrupted = sum(p.slot[STARTING] > p.slot[STARTED] for p in self._programs.values())
        if nameless > interrupted:
            self._summary.blame("wrong end states", f"{nameless} sessions without a name")
        self._summary.programs = len(self._programs)
        for program in self._programs.values():
            self._check_numbers(program.number)
            if program.spec.child:
                self._check_numbers(program.spec.child)

    def _check_session(self, client: httpx.Client, session: dict[str, Any]) -> None:
        number, index = map(int, session["name"].split("/"))
        program = self._programs[number]
        told = (session["state"], session["reason"])
        allowed = self._endings(program, index)
        if told not in allowed:
            self._summary.blame(
                "wrong end states",
                f"session {index} of {program}: {told}, not {' or '.join(map(str, allowed))}",
            )
        if session["missing_records"] and not self._may_miss(program, session):
            self._summary.blame(
                "missing records told",
                f"session {index} of {program}: {session['missing_records']}",
            )
        for event in pages(client, f"/api/sessions/{session['id']}/events", "events", limit=500):
            if event["name"] == "step":
                self._check_event(program, index, event)
            elif (event["kind"], event["name"]) != ("agent", "worker"):
                self._summary.blame("invented", f"in session {session['name']}: {event}")

    def _may_miss(self, program: Program, session: dict[str, Any]) -> bool:
        # Ctrl-C raised out of the middle of recording, whose call did not return: a number is spent
        return (
            program.spec.final == "SIGINT"
            and program.spec.style != "async"
            and session["missing_records"] == 1
        )

    def _endings(self, program: Program, index: int) -> list[tuple[str, str | None]]:
        """
        How the session of that number may have ended: in one way, unless it was killed right then.
        """
        plan = planned(program.spec.seed, program.number, index)
        as_planned = (plan.state, plan.reason)
        final = FINALS[program.spec.final]
        if index <= program.slot[ENDED] or final is None:
            return [as_planned]
        if index <= program.slot[ENDING]:
            return [as_planned, final]
        return [final]

    def _check_event(self, program: Program, index: int, event: dict[str, Any]) -> None:
        params = event["params"]
        number = params["number"]
        self._summary.stored += 1
        self._found[params["program"]].append(number)
        if (
            params["program"] not in (program.number, program.spec.child)
            or params["session"] != index
            or params["text"] != text_of(params["program"], number)
            or event["state"] != "Success"
        ):
            self._summary.blame("wrong payload", f"program {params['program']}, event {number}")

    def _check_numbers(self, program: int) -> None:
        returned = self._ledger[program][RETURNED]
        self._summary.recorded += returned
        found = Counter(self._found[program])
        for number in range(1, returned + 1):
            if not found[number]:
                self._summary.blame("lost", f"program {program}, event {number} of {returned}")
        for number, count in found.items():
            if count > 1:
                self._summary.blame("duplicated", f"program {program}, event {number}: {count}")
            if number == returned + 1:
                self._summary.interrupted += 1
            elif number > returned:
                self._summary.blame("invented", f"program {program}, event {number}")

    def _check_sessions_are_there(self, seen: Counter[str]) -> None:
        for program in self._programs.values():
            for index in range(1, program.slot[STARTED] + 1):
                if not seen[f"{program.number}/{index}"]:
                    self._summary.blame("lost", f"session {program.number}/{index}")


def pages(client: httpx.Client, path: str, what: str, limit: int = 200) -> Iterator[dict[str, Any]]:
    """
    Everything that is listed under *path*.
    """
    query: dict[str, Any] = {"limit": limit}
    while True:
        page = client.get(path, params=query).raise_for_status().json()
        yield from page[what]
        if page["next"] is None:
            return
        query["cursor"] = page["next"]


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """
    Kill *process*, and what it forked, which may have outlived it.
    """
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def wait_for(condition: Callable[[], Any], seconds: float) -> None:
    """
    Wait until *condition* is true, so long at most; what it is about is looked at afterwards.
    """
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)


def main() -> None:
    parser = argparse.ArgumentParser(description="Let everything fail at random; lose nothing.")
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4)))
    options = parser.parse_args()
    hear_signals()
    print(f"chaos: seed {options.seed}, {options.seconds:g} s", flush=True)
    with tempfile.TemporaryDirectory(prefix="asyncops-chaos-") as directory:
        chaos = Chaos(Path(directory), seed=options.seed, seconds=options.seconds)
        summary = chaos.run()
        print(summary)
        if not summary.good:
            print((Path(directory) / "said.txt").read_text(errors="replace")[-4_000:])
    sys.exit(not summary.good)


if __name__ == "__main__":
    main()
