"""
Real programs, a real collector: what was recorded arrives, and every ending is told truthfully.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path

import pytest
from processes import collector, program, until


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def run(source: str, directory: Path, endpoint: str) -> tuple[int, str, str]:
    with program(source, directory, ASYNCOPS_ENDPOINT=endpoint) as running:
        return running.wait()


THIRTY_LINES = """
    import asyncio, asyncops

    @asyncops.tool
    async def look_up(n):
        await asyncio.sleep(0.001)
        if n == 77:
            raise LookupError(f"no entry {n}")
        return n * n

    async def main():
        async with asyncops.session("thirty lines", tags=["test"]) as session:
            print(session.id, flush=True)
            with asyncops.agent("planner"):
                with asyncops.agent("worker"):
                    found = await asyncio.gather(
                        *(look_up(n) for n in range(200)), return_exceptions=True
                    )
                    raise next(each for each in found if isinstance(each, Exception))

    asyncio.run(main())
"""


@pytest.mark.parametrize("first", ["collector", "program"])
def test_every_event_once_under_its_parent(tmp_path: Path, first: str) -> None:
    """
    Two hundred concurrent calls under nested agents, one failing, are all there, once and in place;
    also where the collector was not up while the program ran.
    """
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    if first == "program":
        status, out, err = run(THIRTY_LINES, tmp_path, url)
    with collector(port) as serving:
        if first == "collector":
            status, out, err = run(THIRTY_LINES, tmp_path, url)
        session = serving.ended(out.strip())
        events = serving.events(out.strip())

    assert (1, True) == (status, "LookupError: no entry 77" in err)
    assert ("Fail", "LookupError: no entry 77", ["test"]) == (
        session["state"], session["reason"], session["tags"],
    )  # fmt: skip
    assert (202, 200, 2, 1, 0) == tuple(
        session[key] for key in ("events", "tools", "agents", "errors", "missing_records")
    )
    by_name = {event["name"]: event for event in events}
    tools = [event for event in events if event["kind"] == "tool"]
    assert sorted(range(200)) == sorted(event["params"]["n"] for event in tools)
    assert {(by_name["worker"]["id"], "worker")} == {(e["parent_id"], e["agent"]) for e in tools}
    assert by_name["planner"]["id"] == by_name["worker"]["parent_id"]
    (failed,) = [event for event in tools if event["state"] == "Fail"]
    assert 'raise LookupError(f"no entry {n}")' in failed["failure"]["traceback"]


KILLED = """
    import asyncio, asyncops

    @asyncops.action
    async def step(n):
        return n

    async def main():
        async with asyncops.session("to be killed") as session:
            print(session.id, flush=True)
            with asyncops.agent("worker"):
                n = 0
                while True:
                    n += 1
                    await step(n)
                    print(n, flush=True)
                    await asyncio.sleep(0.001)

    asyncio.run(main())
"""


@pytest.mark.parametrize("when", ["no collector", "collector up"])
def test_kill_9(tmp_path: Path, when: str) -> None:
    """
    A program that is killed loses nothing whose call had returned, and its session says so.
    """
    port = free_port()

    def record() -> tuple[str, int]:
        url = f"http://127.0.0.1:{port}"
        with program(KILLED, tmp_path, ASYNCOPS_ENDPOINT=url) as running:
            session_id = running.line()
            time.sleep(0.7)
            running.process.kill()
            _, out, _ = running.wait()
        return session_id, int(out.rpartition("\n")[0].rpartition("\n")[2])

    if when == "no collector":
        session_id, returned = record()
    with collector(port) as serving:
        if when != "no collector":
            session_id, returned = record()
        session = serving.ended(session_id)
        until(lambda: serving.session(session_id)["reason"])
        numbers = [e["params"]["n"] for e in serving.events(session_id) if e["kind"] == "action"]

    assert returned > 100
    assert numbers[:returned] == list(range(1, returned + 1))
    assert len(numbers) <= returned + 1
    assert ("Indeterminate", "process died") == (session["state"], session["reason"])
    assert session["ended_at"] == session["last_record_at"]
    assert 0 == session["missing_records"]


def test_what_the_host_says_of_signals_stays(tmp_path: Path) -> None:
    """
    Handlers, defaults and ignored signals are what they were, for the program and its children.
    """
    source = """
    import signal, subprocess, sys
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    child = "from signal import *; print(getsignal(SIGHUP), getsignal(SIGTERM))"
    def told():
        names = [signal.getsignal(n) for n in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)]
        return names, subprocess.check_output([sys.executable, "-c", child])
    before = told()
    import asyncops
    with asyncops.session():
        assert told() == before, (told(), before)
        seen = []
        signal.signal(signal.SIGTERM, lambda *_: seen.append("mine"))
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGHUP)
        assert seen == ["mine"]
    """
    status, _, err = run(source, tmp_path, "http://127.0.0.1:9")

    assert (0, "") == (status, err)


ENDINGS = {
    "SIGTERM": ("Cancelled", "SIGTERM", -signal.SIGTERM),
    "SIGHUP": ("Cancelled", "SIGHUP", -signal.SIGHUP),
    "SIGINT": ("Cancelled", "SIGINT", -signal.SIGINT),
    "SIGSEGV": ("Fail", "SIGSEGV", -signal.SIGSEGV),
    "SIGABRT": ("Fail", "SIGABRT", -signal.SIGABRT),
}


@pytest.mark.parametrize("name", ENDINGS)
def test_signals(tmp_path: Path, name: str) -> None:
    """
    A program that dies of a signal does so as it would without us; its session names the signal.
    """
    state, reason, status = ENDINGS[name]
    with collector() as serving:
        with program(KILLED, tmp_path, ASYNCOPS_ENDPOINT=serving.url) as running:
            session_id = running.line()
            assert running.line()
            running.process.send_signal(getattr(signal, name))
            returncode, _, err = running.wait()
        session = serving.ended(session_id)
        until(lambda: serving.session(session_id)["reason"] == reason)

    assert state == serving_state(session)
    assert status == returncode
    assert (name == "SIGINT") == ("KeyboardInterrupt" in err)


def serving_state(session: dict[str, object]) -> object:
    return session["state"]


@pytest.mark.parametrize(
    ("end", "state", "reason"),
    [
        ("pass", "Indeterminate", "process exited without end_session()"),
        ("sys.exit(0)", "Indeterminate", "process exited without end_session()"),
        ("raise ValueError('uncaught')", "Fail", "ValueError: uncaught"),
        ("raise KeyboardInterrupt", "Cancelled", "SIGINT"),
        ("os._exit(0)", "Indeterminate", "process died"),
        ("asyncio.run(asyncops.end_session('Fail', 'said'))", "Fail", "said"),
    ],
)
def test_exit_with_a_session_open(tmp_path: Path, end: str, state: str, reason: str) -> None:
    """
    A session that init() started and nobody ended is told by how the program exited.
    """
    source = f"""
    import asyncio, asyncops, os, sys
    print(asyncops.init(), flush=True)
    asyncops.record(asyncops.ActionEvent(name="once"))
    {end}
    """
    with collector() as serving:
        _, out, _ = run(source, tmp_path, serving.url)
        session = until(lambda: serving.ended(out.strip()))

    assert (state, reason, 1) == (session["state"], session["reason"], session["events"])


def test_two_processes_one_session(tmp_path: Path) -> None:
    """
    A child process joins through its environment: both contribute, each with its own host,
    within the span that started it, and the owner ends the session.
    """
    source = '''
    import asyncops, os, subprocess, sys, textwrap
    child = """
        import asyncops
        with asyncops.session("ignored") as session:
            asyncops.record(asyncops.ActionEvent(name="by the child"))
            print(session.id)
    """
    with asyncops.session("shared") as session:
        print(session.id, flush=True)
        with asyncops.agent("boss"):
            environment = {**os.environ, **session.to_env()}
            command = [sys.executable, "-c", textwrap.dedent(child)]
            subprocess.run(command, env=environment, check=True)
        asyncops.record(asyncops.ActionEvent(name="by the parent"))
    '''
    with collector() as serving:
        status, out, err = run(source, tmp_path, serving.url)
        first, second = out.split()
        session = serving.ended(first)
        until(lambda: len(serving.session(first)["sources"]) == 2)
        until(lambda: all(source["host"] for source in serving.session(first)["sources"]))
        sources = serving.session(first)["sources"]
        events = {event["name"]: event for event in serving.events(first)}

    assert (0, "", first) == (status, err, second)
    assert ("Success", "shared") == (session["state"], session["name"])
    assert {"boss", "by the child", "by the parent"} == set(events)
    assert events["boss"]["id"] == events["by the child"]["parent_id"]
    assert 2 == len({source["pid"] for source in sources})
    assert 2 == len({event["source_id"] for event in events.values()})
    for source in sources:
        assert {"sdk", "os", "cpu", "ram", "disk", "packages", "cwd"} <= set(source["host"])


def test_forked_child_joins(tmp_path: Path) -> None:
    """
    A forked child is another source of the same session; it neither ends it nor disturbs it.
    """
    source = """
    import asyncops, os
    with asyncops.session("forked") as session:
        print(session.id, flush=True)
        asyncops.record(asyncops.ActionEvent(name="before"))
        pid = os.fork()
        if pid == 0:
            asyncops.record(asyncops.ActionEvent(name="child"))
            os._exit(0)
        os.waitpid(pid, 0)
        asyncops.record(asyncops.ActionEvent(name="after"))
    """
    with collector() as serving:
        status, out, _ = run(source, tmp_path, serving.url)
        session_id = out.strip()
        session = serving.ended(session_id)
        until(lambda: len(serving.events(session_id)) == 3)
        events = serving.events(session_id)

    assert (0, "Success") == (status, session["state"])
    assert {"before", "child", "after"} == {event["name"] for event in events}
    assert 2 == len({event["source_id"] for event in events})


def test_forked_child_begins_a_session_of_its_own(tmp_path: Path) -> None:
    """
    The session that is active in a parent does not keep a forked child from beginning another.
    """
    source = """
    import asyncops, os
    with asyncops.session("the parent's"):
        pid = os.fork()
        if pid == 0:
            with asyncops.session("the child's") as own:
                print(own.name, flush=True)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        assert status == 0
    """
    status, out, err = run(source, tmp_path, "http://127.0.0.1:9")

    assert (0, "the child's", "") == (status, out.strip(), err)


def test_host_environment_can_be_kept_private(tmp_path: Path) -> None:
    """
    With the host environment off, nothing but versions leaves the process.
    """
    source = """
    import asyncops
    with asyncops.session() as session:
        print(session.id)
    """
    with collector() as serving:
        with program(
            source, tmp_path, ASYNCOPS_ENDPOINT=serving.url, ASYNCOPS_HOST_ENV="off"
        ) as running:
            _, out, _ = running.wait()
        serving.ended(out.strip())
        until(lambda: serving.session(out.strip())["sources"][0]["host"])
        (source_told,) = serving.session(out.strip())["sources"]

    assert {"sdk"} == set(source_told["host"])


@pytest.mark.parametrize("listening", [True, False])
def test_exit_is_not_held_up(tmp_path: Path, *, listening: bool) -> None:
    """
    Neither a collector that refuses nor one that never answers holds up a program's exit.
    """
    source = """
    import asyncops, time
    with asyncops.session():
        asyncops.record(asyncops.ActionEvent(name="x"))
    time.sleep(0.5)
    asyncops.record(asyncops.ActionEvent(name="y"))
    import atexit
    began = time.monotonic()
    import asyncops._client
    asyncops._client._at_exit()
    print(time.monotonic() - began)
    """
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1] if listening else 9
        status, out, err = run(source, tmp_path, f"http://127.0.0.1:{port}")

    assert (0, "") == (status, err)
    assert float(out) < 0.4
    assert list((tmp_path / "journal").glob("*/*/*.seg"))


def test_long_spans_are_seen_while_they_are_open(tmp_path: Path) -> None:
    """
    An event that takes long is there while it is still running, and closes in the same place.
    """
    source = """
    import asyncops, sys
    with asyncops.session("slow") as session:
        print(session.id, flush=True)
        with asyncops.tool("slow tool", params={"n": 1}):
            sys.stdin.readline()
    """
    with collector() as serving:
        with program(source, tmp_path, ASYNCOPS_ENDPOINT=serving.url) as running:
            session_id = running.line()
            until(lambda: serving.sessions() and serving.events(session_id))
            (opened,) = serving.events(session_id)
            state = serving.session(session_id)["state"]
            running.process.kill()
        (left_open,) = serving.events(session_id)
        session = serving.ended(session_id)

    assert ("Running", "slow tool", {"n": 1}, None) == (
        opened["state"], opened["name"], opened["params"], opened["ended_at"],
    )  # fmt: skip
    assert "Running" == state
    assert ("Running", "Indeterminate") == (left_open["state"], session["state"])


def test_next_run_delivers_what_the_last_one_could_not(tmp_path: Path) -> None:
    """
    Without `asyncops serve` on the machine, the next program of the project adopts the journal.
    """
    source = """
    import asyncio, asyncops
    async def main():
        async with asyncops.session() as session:
            pass
        print(session.id, flush=True)
        await session.flush(timeout=10)
        await asyncio.sleep(float({wait}))
    asyncio.run(main())
    """
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with program(source.format(wait=60), tmp_path, ASYNCOPS_ENDPOINT=url) as running:
        first = running.line()
        running.process.kill()
        running.wait()
    # a collector that looks for journals elsewhere cannot be the one to find it
    before = os.environ["ASYNCOPS_JOURNAL_DIR"]
    os.environ["ASYNCOPS_JOURNAL_DIR"] = str(tmp_path / "elsewhere")
    try:
        with collector(port) as serving:
            with program(
                source.format(wait=60), tmp_path, ASYNCOPS_ENDPOINT=url, ASYNCOPS_JOURNAL_DIR=before
            ) as running:
                second = running.line()
                session = serving.ended(first)
                until(lambda: len(serving.sessions()) == 2)
    finally:
        os.environ["ASYNCOPS_JOURNAL_DIR"] = before

    assert first != second
    assert "Success" == session["state"]
