"""
The end of a program is held up by nothing but a collector that answers, and costs no event.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
from processes import Collector, Program, collector, program, until
from proxy import Proxy, late, passing, proxy, silent

from benchmarks import exits

SHUTDOWN_TIMEOUT = 0.5

SLACK = 0.2
"""How much longer than without asyncops an exit may take besides waiting for the collector."""


@attrs.frozen
class Place:
    """
    A collector, a proxy before it, and the directory of journals that it looks through for those
    that are bound for itself.
    """

    real: Collector
    bad: Proxy
    directory: Path

    @property
    def journals(self) -> str:
        return str(self.directory / "journal")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    directory = tmp_path_factory.mktemp("exits")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ASYNCOPS_JOURNAL_DIR", str(directory / "journal"))
        environment.setenv("ASYNCOPS_DB", str(directory / "collector.db"))
        environment.setenv("ASYNCOPS_SHUTDOWN_TIMEOUT", str(SHUTDOWN_TIMEOUT))
        with collector() as real, proxy(real.url) as bad:
            yield Place(real, bad, directory)


# state of the collector, since when, how long the program lives on, how long its exit may wait
EXITS = [
    ("refused", "start", 0.2, 0.0),
    ("silent", "start", 0.0, 0.0),
    ("silent", "start", 0.6, 0.0),
    ("answering 500", "start", 0.2, SHUTDOWN_TIMEOUT),
    ("2 s slow", "start", 0.2, SHUTDOWN_TIMEOUT),
    ("refused", "midway", 0.0, SHUTDOWN_TIMEOUT),
    ("silent", "midway", 0.0, SHUTDOWN_TIMEOUT),
    ("answering 500", "midway", 0.0, SHUTDOWN_TIMEOUT),
    ("2 s slow", "midway", 0.0, SHUTDOWN_TIMEOUT),
]


@attrs.frozen
class Figures:
    """
    By how much longer than without asyncops, and how many events the collector lacks afterwards.
    """

    exit: float
    left: float
    lost: int


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> dict[object, Figures]:
    """
    Every row of `EXITS` measured, up to a dozen times where the machine is too busy to tell; and
    then a collector comes to where the proxy was.
    """
    directory = tmp_path_factory.mktemp("figures")
    told: dict[object, list[exits.Exit]] = {}
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ASYNCOPS_JOURNAL_DIR", str(directory / "journal"))
        environment.setenv("ASYNCOPS_DB", str(directory / "collector.db"))
        environment.setenv("ASYNCOPS_SHUTDOWN_TIMEOUT", str(SHUTDOWN_TIMEOUT))
        with collector() as real, proxy(real.url) as bad:
            bare = [
                exits.leave(bad, "well", directory, recording=False, life=0.0) for _ in range(2)
            ]
            exit_, left = min(e.seconds for e in bare), min(min(e.left) for e in bare)
            for row in EXITS:
                state, turning, life, wait = row
                some = told[row] = []
                while len(some) < 12 and (
                    not some
                    or min(e.seconds for e in some) - exit_ > wait + SLACK
                    or min(min(e.left) for e in some) - left > 0.005
                ):
                    some.append(exits.leave(bad, state, directory, turning=turning, life=life))
            port = int(bad.url.rpartition(":")[2])
        with collector(port) as real:
            everything = [each for some in told.values() for each in some]
            until(lambda: exits.lost(real, everything) == 0)
            return {
                row: Figures(
                    min(e.seconds for e in some) - exit_,
                    min(min(e.left) for e in some) - left,
                    exits.lost(real, some),
                )
                for row, some in told.items()
            }


@pytest.mark.parametrize("row", EXITS, ids=lambda row: f"{row[0]} since {row[1]}, lived {row[2]}")
def test_exits(figures: dict[object, Figures], row: tuple[str, str, float, float]) -> None:
    """
    A collector that refuses or is silent from the start does not hold up an exit, no other for
    longer than shutdown_timeout, none a cancelled block; and no event is lost.
    """
    told = figures[row]
    assert told.exit <= row[3] + SLACK
    assert told.left <= 0.005
    assert 0 == told.lost


def ends(running: Program) -> float:
    """
    How long a program took from when it printed the time to when it was gone.
    """
    ended_at = float(running.line())
    running.process.wait(timeout=20)
    return time.monotonic() - ended_at


def undelivered(directory: Path) -> list[Path]:
    return list((directory / "journal").glob("*/*/*.seg"))


STALLS = """
    import asyncio, asyncops, sys, time
    async def main():
        async with asyncops.session("stalls") as session:
            print(session.id, flush=True)
            asyncops.record(asyncops.ActionEvent(name="before"))
            assert await asyncops.flush(timeout=10)
            print("delivered", flush=True)
            sys.stdin.readline()
            asyncops.record(asyncops.ActionEvent(name="after"))
            await asyncio.sleep(float(sys.stdin.readline()))
    asyncio.run(main())
    print(time.monotonic(), flush=True)
"""


def tell(running: Program, line: object) -> None:
    assert running.process.stdin is not None
    running.process.stdin.write(f"{line}\n")
    running.process.stdin.flush()


def test_batch_in_flight(place: Place, tmp_path: Path) -> None:
    """
    A collector that stalls with a batch in flight is waited for no longer than shutdown_timeout.
    """
    place.bad.become(passing)
    environment = {
        "ASYNCOPS_ENDPOINT": place.bad.url,
        "ASYNCOPS_SHUTDOWN_TIMEOUT": "0.4",
        "ASYNCOPS_MAX_WAIT_TIME": "0.01",
    }
    with program(STALLS, tmp_path, **environment) as running:
        running.line()
        assert "delivered" == running.line()
        before = place.bad.requests  # one of those to come tells of the host, perhaps now
        place.bad.become(silent)
        tell(running, "")
        until(lambda: place.bad.requests > before)
        tell(running, 0.0)
        took = ends(running)

    assert 0.35 < took < 0.4 + 4 * SLACK
    assert 0 == running.process.returncode
    assert undelivered(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_during_the_wait(place: Place, tmp_path: Path, number: signal.Signals) -> None:
    """
    Who wants a program gone that waits for the collector at its end gets it at once: SIGTERM ends
    it as ever, Ctrl-C ends the wait.
    """
    place.bad.become(passing)
    environment = {
        "ASYNCOPS_ENDPOINT": place.bad.url,
        "ASYNCOPS_SHUTDOWN_TIMEOUT": "30",
        "ASYNCOPS_MAX_WAIT_TIME": "0.01",
    }
    with program(STALLS, tmp_path, **environment) as running:
        running.line()
        assert "delivered" == running.line()
        place.bad.become(silent)
        tell(running, "")
        tell(running, 0.0)
        running.line()
        with pytest.raises(subprocess.TimeoutExpired):
            running.process.wait(timeout=0.3)
        running.process.send_signal(number)
        began = time.monotonic()
        status, _, err = running.wait()

    assert time.monotonic() - began < 1
    assert (0 if number == signal.SIGINT else -number) == status
    assert "" == err
    assert undelivered(tmp_path)


def test_clients_share_one_deadline(place: Place, tmp_path: Path) -> None:
    """
    Several clients send at the same time at the end, and together wait no longer than one.
    """
    source = """
    import asyncio, asyncops, sys, time
    async def main():
        sessions = []
        for n in range(4):
            config = asyncops.Configuration(scope="context", max_wait_time=1 + n)
            async with asyncops.session(f"client {n}", config=config) as session:
                sessions.append(session)
                assert await session.flush(timeout=10)
        print("delivered", flush=True)
        sys.stdin.readline()
    asyncio.run(main())
    print(time.monotonic(), flush=True)
    """
    took = {}
    for fault, seconds in ((silent, 0.6), (late(0.4), 10.0)):
        place.bad.become(passing)
        environment = {
            "ASYNCOPS_ENDPOINT": place.bad.url,
            "ASYNCOPS_SHUTDOWN_TIMEOUT": str(seconds),
        }
        with program(source, tmp_path, **environment) as running:
            assert "delivered" == running.line()
            place.bad.become(fault)
            tell(running, "")
            took[fault] = ends(running)
            assert 0 == running.process.returncode
        assert (fault is silent) == bool(undelivered(tmp_path))
        place.bad.become(passing)

    assert took[silent] < 0.6 * 2
    assert max(took.values()) < 0.4 * 4


def test_backlog(place: Place, tmp_path: Path) -> None:
    """
    A backlog is sent for as long as shutdown_timeout allows; what is left of it is adopted, and
    nothing is there twice.
    """
    source = """
    import asyncops, time
    with asyncops.session("backlog") as session:
        print(session.id, flush=True)
        for n in range(10_000):
            asyncops.record(asyncops.ActionEvent(name=str(n)))
    print(time.monotonic(), flush=True)
    """
    environment = {
        "ASYNCOPS_ENDPOINT": place.real.url,
        "ASYNCOPS_JOURNAL_DIR": place.journals,
        "ASYNCOPS_SHUTDOWN_TIMEOUT": "0.1",
        "ASYNCOPS_MAX_QUEUE_SIZE": "50",
    }
    with program(source, tmp_path, **environment) as running:
        session_id = running.line()
        took = ends(running)
    place.real.ended(session_id)
    until(lambda: place.real.session(session_id)["events"] == 10_000)
    session = place.real.session(session_id)

    assert took < 0.1 + 4 * SLACK
    assert ("Success", 0) == (session["state"], session["missing_records"])
    until(lambda: not undelivered(place.directory))
    names = {int(event["name"]) for event in place.real.events(session_id)}
    assert set(range(10_000)) == names


WAYS = {
    "sys.exit in the loop": ("asyncio.run(main(sys.exit, 3))", 3, "Fail", True),
    "sys.exit in a task": (
        "asyncio.run(main(asyncio.create_task, leave(3)))", 3, "Cancelled", True,
    ),
    "a thread is the last to record": (
        "asyncio.run(main(threading.Thread(target=late).start))", 0, "Success", True,
    ),
    "sys.exit in a thread": (
        "asyncio.run(main(threading.Thread(target=sys.exit, args=(3,)).start))",
        0, "Success", True,
    ),
    "os._exit": ("asyncio.run(main(os._exit, 3))", 3, "Indeterminate", False),
    "no thread to be had": (
        "threading.stack_size(2**46); asyncio.run(main())", 0, "Success", False,
    ),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_ways_out(place: Place, tmp_path: Path, way: str) -> None:
    """
    However a program is left, its status is its own, what it recorded is there, and where it could
    be delivered at the end it was.
    """
    last, status, state, delivers = WAYS[way]
    source = f"""
    import asyncio, asyncops, os, sys, threading, time

    async def leave(status):
        sys.exit(status)

    def late():
        time.sleep(0.2)
        with asyncops.session("late") as session:
            print(session.id, flush=True)

    async def main(*last):
        async with asyncops.session("left") as session:
            print(session.id, flush=True)
            asyncops.record(asyncops.ActionEvent(name="early"))
            if threading.stack_size() == 0:
                assert await asyncops.flush(timeout=10)
            asyncops.record(asyncops.ActionEvent(name="last"))
            if last:
                last[0](*last[1:])
                await asyncio.sleep(0.05)

    {last}
    """
    environment = {"ASYNCOPS_ENDPOINT": place.real.url}
    if not delivers:
        environment["ASYNCOPS_JOURNAL_DIR"] = place.journals
    with program(source, tmp_path, **environment) as running:
        session_id = running.line()
        returncode, out, err = running.wait()
    if delivers:
        assert [] == undelivered(tmp_path)
    session = place.real.ended(session_id)
    for later in out.split():
        assert "Success" == place.real.ended(later)["state"]

    assert (status, state, 0) == (returncode, session["state"], session["missing_records"]), err
    until(lambda: len(place.real.events(session_id)) >= 2)
    assert ["early", "last"] == [event["name"] for event in place.real.events(session_id)]
    assert (way == "a thread is the last to record") == bool(out)
    assert ("cannot start its thread" in err) == (way == "no thread to be had")


@pytest.mark.parametrize("records", [True, False])
def test_no_thread_is_started_at_exit(tmp_path: Path, *, records: bool) -> None:
    """
    While the interpreter exits there is the thread that was there before, and none where nothing
    was recorded.
    """
    source = f"""
    import atexit, threading
    def names():
        return sorted(thread.name for thread in threading.enumerate())
    # registered before asyncops registers its own, and therefore called after that
    atexit.register(lambda: print(names() == before, len(before)))
    import asyncops
    if {records}:
        asyncops.init()
    before = names()
    """
    with program(source, tmp_path, ASYNCOPS_ENDPOINT="http://127.0.0.1:9") as running:
        status, out, err = running.wait()

    assert (0, f"True {1 + records}\n", "") == (status, out, err)


@pytest.mark.skipif(
    sys.version_info >= (3, 12), reason="msgspec cannot be loaded in subinterpreters of 3.12 on"
)
def test_subinterpreter(place: Place, tmp_path: Path) -> None:
    """
    In a subinterpreter, which may have no thread, recording works and what it leaves is adopted.
    """
    source = """
    import _xxsubinterpreters as interpreters
    inner = interpreters.create()
    interpreters.run_string(inner, '''if True:
        import asyncops
        with asyncops.session("within") as session:
            print(session.id, flush=True)
            asyncops.record(asyncops.ActionEvent(name="x"))
    ''')
    interpreters.destroy(inner)
    """
    environment = {
        "ASYNCOPS_ENDPOINT": place.real.url,
        "ASYNCOPS_JOURNAL_DIR": place.journals,
    }
    with program(source, tmp_path, **environment) as running:
        session_id = running.line()
        status, _, err = running.wait()
    session = place.real.ended(session_id)

    assert (0, "Success", 1) == (status, session["state"], session["events"])
    assert 1 == err.count("cannot start its thread")
