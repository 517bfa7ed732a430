"""
The end of a program is held up by nothing but a collector that answers, and costs no event.
"""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
from processes import SECONDS, Collector, Program, collector, least, own_port, program, until
from proxy import Fault, Proxy, late, passing, proxy, silent

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
    Every row of `EXITS` measured, each time beside a program without asyncops, up to a dozen times
    where the machine is too busy to tell; and then a collector comes to where the proxy was.
    """
    directory = tmp_path_factory.mktemp("figures")
    told: dict[object, list[tuple[exits.Exit, exits.Exit]]] = {}
    with pytest.MonkeyPatch.context() as environment, own_port() as port:
        environment.setenv("ASYNCOPS_JOURNAL_DIR", str(directory / "journal"))
        environment.setenv("ASYNCOPS_DB", str(directory / "collector.db"))
        environment.setenv("ASYNCOPS_SHUTDOWN_TIMEOUT", str(SHUTDOWN_TIMEOUT))
        with collector() as real, proxy(real.url, port) as bad:
            for row in EXITS:
                state, turning, life, wait = row
                some = told[row] = []
                while len(some) < 12 and (
                    not some or exit_of(some) > wait + SLACK or left_of(some) > 0.005
                ):
                    bare = exits.leave(bad, "well", directory, recording=False, life=0.0)
                    one = exits.leave(bad, state, directory, turning=turning, life=life)
                    some.append((bare, one))
        with collector(port) as real:
            recorded = {row: [one for _, one in some] for row, some in told.items()}
            until(lambda: exits.lost(real, itertools.chain(*recorded.values())) == 0)
            return {
                row: Figures(exit_of(some), left_of(some), exits.lost(real, recorded[row]))
                for row, some in told.items()
            }


def exit_of(pairs: list[tuple[exits.Exit, exits.Exit]]) -> float:
    return min(one.seconds for _, one in pairs) - min(bare.seconds for bare, _ in pairs)


def left_of(pairs: list[tuple[exits.Exit, exits.Exit]]) -> float:
    return min(min(one.left) for _, one in pairs) - min(min(bare.left) for bare, _ in pairs)


@pytest.mark.timeout(900)
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
    running.process.wait(timeout=SECONDS)
    return time.monotonic() - ended_at


def undelivered(directory: Path) -> list[Path]:
    return list((directory / "journal").glob("*/*/*.seg"))


def apart(directory: Path) -> Path:
    """
    A place of its own for one of several tries, each of which leaves a journal.
    """
    return Path(tempfile.mkdtemp(dir=directory))


STALLS = """
    import asyncio, asyncops, sys, time
    async def main():
        async with asyncops.session("stalls") as session:
            print(session.id, flush=True)
            asyncops.record(asyncops.ActionEvent(name="before"))
            assert await asyncops.flush(timeout=60)
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
    environment = {
        "ASYNCOPS_ENDPOINT": place.bad.url,
        "ASYNCOPS_SHUTDOWN_TIMEOUT": "0.4",
        "ASYNCOPS_MAX_WAIT_TIME": "0.01",
    }

    def exit_stalls() -> float:
        place.bad.become(passing)
        here = apart(tmp_path)
        environment["ASYNCOPS_JOURNAL_DIR"] = str(here / "journal")
        with program(STALLS, here, **environment) as running:
            running.line()
            assert "delivered" == running.line()
            before = place.bad.requests  # one of those to come tells of the host, perhaps now
            place.bad.become(silent)
            tell(running, "")
            until(lambda: place.bad.requests > before)
            tell(running, 0.0)
            took = ends(running)
        assert 0 == running.process.returncode
        assert undelivered(here)
        return took

    most = 0.4 + 4 * SLACK
    assert 0.35 < least(exit_stalls, within=most) < most


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_during_the_wait(place: Place, tmp_path: Path, number: signal.Signals) -> None:
    """
    Who wants a program gone that waits for the collector at its end gets it at once: SIGTERM ends
    it as ever, Ctrl-C ends the wait.
    """
    environment = {
        "ASYNCOPS_ENDPOINT": place.bad.url,
        "ASYNCOPS_SHUTDOWN_TIMEOUT": "300",
        "ASYNCOPS_MAX_WAIT_TIME": "0.01",
    }

    def signalled() -> float:
        place.bad.become(passing)
        here = apart(tmp_path)
        environment["ASYNCOPS_JOURNAL_DIR"] = str(here / "journal")
        with program(STALLS, here, **environment) as running:
            running.line()
            assert "delivered" == running.line()
            place.bad.become(silent)
            tell(running, "")
            tell(running, 0.0)
            running.line()
            until(lambda: is_waiting(running, here))
            with pytest.raises(subprocess.TimeoutExpired):
                running.process.wait(timeout=0.3)
            running.process.send_signal(number)
            began = time.monotonic()
            status, _, err = running.wait()
            took = time.monotonic() - began

        assert (0 if number == signal.SIGINT else -number) == status
        assert "" == err
        assert undelivered(here)
        return took

    assert least(signalled, within=1) < 1


def is_waiting(running: Program, directory: Path) -> bool:
    """
    Whether a program that ends has recorded its last, and rests again and again since.
    """
    (written,) = undelivered(directory)
    if b'"type":"source_ended"' not in written.read_bytes():
        return False
    before = rests(running.process.pid)
    until(lambda: rests(running.process.pid) > before + 20)
    return True


def rests(pid: int) -> int:
    """
    How often the main thread of a process has let go of the processor by itself.
    """
    status = Path(f"/proc/{pid}/task/{pid}/status").read_text()
    return int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])


def test_ctrl_c_before_the_wait(tmp_path: Path) -> None:
    """
    Who presses Ctrl-C once more while a program that ends of it records how sees nothing of ours,
    and the program ends as it would have.
    """
    source = """
    import asyncops, atexit, os, signal, time
    from asyncops import _clock

    def interrupted():
        _clock.wall_ns = time.time_ns
        signal.raise_signal(signal.SIGINT)
        return time.time_ns()

    # called before what asyncops does then
    atexit.register(lambda: setattr(_clock, "wall_ns", interrupted))
    asyncops.init()
    os.kill(os.getpid(), signal.SIGINT)
    """
    with program(source, tmp_path) as running:
        status, _, err = running.wait()

    assert -signal.SIGINT == status
    assert 1 == err.count("Traceback"), err
    assert err.endswith("KeyboardInterrupt\n")


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
                assert await session.flush(timeout=60)
        print("delivered", flush=True)
        sys.stdin.readline()
    asyncio.run(main())
    print(time.monotonic(), flush=True)
    """

    def exit_takes(fault: Fault, shutdown_timeout: float) -> float:
        place.bad.become(passing)
        here = apart(tmp_path)
        environment = {
            "ASYNCOPS_ENDPOINT": place.bad.url,
            "ASYNCOPS_SHUTDOWN_TIMEOUT": str(shutdown_timeout),
            "ASYNCOPS_JOURNAL_DIR": str(here / "journal"),
        }
        with program(source, here, **environment) as running:
            assert "delivered" == running.line()
            place.bad.become(fault)
            tell(running, "")
            took = ends(running)
            assert 0 == running.process.returncode
        assert (fault is silent) == bool(undelivered(here))
        place.bad.become(passing)
        return took

    assert least(lambda: exit_takes(silent, 0.6), within=0.6 * 2) < 0.6 * 2
    assert least(lambda: exit_takes(late(0.4), 10.0), within=0.4 * 4) < 0.4 * 4


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

    def exit_takes() -> float:
        with program(source, tmp_path, **environment) as running:
            session_id = running.line()
            took = ends(running)
        place.real.ended(session_id)
        until(lambda: place.real.session(session_id)["events"] == 10_000)
        session = place.real.session(session_id)
        assert ("Success", 0) == (session["state"], session["missing_records"])
        until(lambda: not undelivered(place.directory))
        names = {int(event["name"]) for event in place.real.events(session_id)}
        assert set(range(10_000)) == names
        return took

    most = 0.1 + 4 * SLACK
    assert least(exit_takes, within=most) < most


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

    ended = threading.Event()

    async def leave(status):
        sys.exit(status)

    def late():
        ended.wait()  # or the session would still be that of the block
        with asyncops.session("late") as session:
            print(session.id, flush=True)

    async def main(*last):
        async with asyncops.session("left") as session:
            print(session.id, flush=True)
            asyncops.record(asyncops.ActionEvent(name="early"))
            if threading.stack_size() == 0:
                assert await asyncops.flush(timeout=60)
            asyncops.record(asyncops.ActionEvent(name="last"))
            if last:
                last[0](*last[1:])
                await asyncio.sleep(0.05)
        ended.set()

    {last}
    """
    # a collector that is slow this once is no reason to find nothing delivered
    environment = {"ASYNCOPS_ENDPOINT": place.real.url, "ASYNCOPS_SHUTDOWN_TIMEOUT": "60"}
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
