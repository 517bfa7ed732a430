"""
The collector is killed again and again while programs record; what is missing in the end?

A program forgets what was acknowledged, so a record that is acknowledged and not stored shows as
missing; nothing else would bring it back.
"""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import attrs
import httpx

from .harness import Effort, Report, figure

sys.path += [str(Path(__file__).parent.parent / "tests")]

from processes import own_port

__all__ = ["Crashes", "crash", "run"]

PROGRAM = """
import asyncio
import sys

import asyncops


@asyncops.tool
async def step(n: int) -> None: ...


async def main() -> None:
    async with asyncops.session("crashes") as session:
        print(session.id, flush=True)
        n = 0
        for line in sys.stdin:  # how many more; the collector may be anywhere meanwhile
            for n in range(n, n + int(line)):
                await step(n)
            n += 1
            print(n, flush=True)
    await session.flush(timeout=60)


asyncio.run(main())
"""

SECONDS = 60.0
"""How long anything may take."""

HTTP = httpx.Client(trust_env=False, timeout=SECONDS)


@attrs.frozen(kw_only=True)
class Crashes:
    """
    What came of it.

    Attributes:
        kills: How often the collector was killed, by what it was doing.
        recorded: Events whose call had returned.
        stored: Different ones of them in the database afterwards.
        repeated: Events in the database beyond the first of each.
        invented: Events in the database that nobody recorded.
        told_missing: What the collector says is missing.
        states: The end states of the sessions.
        integrity: What `PRAGMA integrity_check` says.
        seconds: How long it took.
    """

    kills: dict[str, int]
    recorded: int
    stored: int
    repeated: int
    invented: int
    told_missing: int
    states: list[str]
    integrity: str
    seconds: float

    @property
    def missing(self) -> int:
        return self.recorded - self.stored


def crash(directory: Path, *, kills: int, events: int, programs: int, seed: int) -> Crashes:
    """
    Let *programs* record *events* in all, while their collector is killed *kills* times.
    """
    began = time.monotonic()
    chance = random.Random(seed)
    environment = {
        **os.environ,
        "ASYNCOPS_JOURNAL_DIR": str(directory / "journal"),
        "ASYNCOPS_DB": str(directory / "collector.db"),
        "ASYNCOPS_MAX_WAIT_TIME": "0.05",
    }
    killed: Counter[str] = Counter()
    share = events // programs
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(own_port())
        collector, url = _collector(environment, port)
        stack.callback(lambda: _end(collector))
        running = [
            stack.enter_context(_program({**environment, "ASYNCOPS_ENDPOINT": url}))
            for _ in range(programs)
        ]
        sessions = [_line(program) for program in running]
        for life in range(kills):
            portion = share * (life + 1) // kills - share * life // kills
            _tell(running, portion)
            if chance.random() < 0.8:
                _until(_figure, url, "records_total")
                time.sleep(chance.uniform(0, 0.15))
                killed["taking in"] += 1
                _end(collector)
            else:
                killed["starting"] += 1
                _end(collector)
                collector = _started(environment, port)
                time.sleep(chance.uniform(0, 0.6))
                _end(collector)
            for program in running:
                _line(program)
            collector, url = _collector(environment, port)
        for program in running:
            assert program.stdin is not None
            program.stdin.close()
        for program in running:
            if program.wait(SECONDS):
                raise RuntimeError("a program failed")
        told = [HTTP.get(f"{url}/api/sessions/{session}").json() for session in sessions]
        collector.terminate()
        collector.communicate(timeout=SECONDS)
    stored, invented, integrity = _stored(directory / "collector.db", share)
    return Crashes(
        kills=dict(killed),
        recorded=share * programs,
        stored=len(stored),
        repeated=stored.total() - len(stored),
        invented=invented,
        told_missing=sum(session["missing_records"] for session in told),
        states=sorted({session["state"] for session in told}),
        integrity=integrity,
        seconds=time.monotonic() - began,
    )


def _stored(database: Path, share: int) -> tuple[Counter[tuple[int, int]], int, str]:
    """
    How often each event is in *database*, how many nobody recorded, and whether it is sound.
    """
    connection = sqlite3.connect(database)
    try:
        rows = connection.execute(
            "SELECT session, json_extract(payload, '$.params.n') FROM events"
        ).fetchall()
        (integrity,) = connection.execute("PRAGMA integrity_check").fetchone()
    finally:
        connection.close()
    known = Counter(row for row in rows if row[1] in range(share))
    return known, len(rows) - known.total(), integrity


# -- processes --------------------------------------------------------------------------------


def _started(environment: dict[str, str], port: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "asyncops", "serve", "--port", str(port)],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )


def _collector(environment: dict[str, str], port: int) -> tuple[subprocess.Popen[str], str]:
    """
    A collector that answers, and its address.
    """
    process = _started(environment, port)
    assert process.stdout is not None
    line = process.stdout.readline()
    if "http" not in line:
        raise RuntimeError(f"the collector does not start: {line}")
    return process, line.split()[-1]


@contextlib.contextmanager
def _program(environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()


def _tell(programs: Sequence[subprocess.Popen[str]], portion: int) -> None:
    for program in programs:
        assert program.stdin is not None
        program.stdin.write(f"{portion}\n")
        program.stdin.flush()


def _line(program: subprocess.Popen[str]) -> str:
    assert program.stdout is not None
    return program.stdout.readline().strip()


def _figure(url: str, name: str) -> float:
    """
    One of the collector's figures; 0 while it does not answer.
    """
    with contextlib.suppress(httpx.TransportError):
        for line in HTTP.get(f"{url}/metrics").text.splitlines():
            if line.startswith(f"asyncops_collector_{name} "):
                return float(line.split()[-1])
    return 0


def _until(condition: Callable[..., object], *args: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition(*args):
        if time.monotonic() > deadline:
            raise RuntimeError("waited in vain")
        time.sleep(0.01)


def run(effort: Effort, directory: str, *, seed: int | None = None) -> Report:
    kills, events, programs = {Effort.QUICK: (5, 20_000, 2), Effort.FULL: (50, 200_000, 4)}[effort]
    if seed is None:
        seed = random.SystemRandom().randrange(2**32)
    came = crash(Path(directory), kills=kills, events=events, programs=programs, seed=seed)
    rows = {
        "`kill -9` of the collector": ", ".join(f"{n} {what}" for what, n in came.kills.items()),
        "events whose call had returned": f"{came.recorded:,}",
        "stored": f"{came.stored:,}",
        "missing": f"{came.missing:,}",
        "stored twice": f"{came.repeated:,}",
        "never recorded": f"{came.invented:,}",
        "missing, as the collector says": f"{came.told_missing:,}",
        "end states": ", ".join(came.states),
        "`PRAGMA integrity_check`": came.integrity,
    }
    return Report(
        f"The collector is killed while {programs} programs record",
        ("what", "how many"),
        list(rows.items()),
        {"crashes.missing": figure([came.missing], "events")},
        [f"{came.seconds:.0f} s; `python -m benchmarks.crashes {seed}` repeats it."],
    )


if __name__ == "__main__":
    from .registry import scratch

    with scratch() as place:
        chosen = int(sys.argv[1]) if len(sys.argv) > 1 else None
        print(run(Effort.FULL, place, seed=chosen).markdown())
