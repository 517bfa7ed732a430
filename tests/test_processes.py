"""
Real programs, a real collector: what was recorded arrives, and every ending is told truthfully.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from processes import collector, least, own_port, program, until


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
    with own_port() as port:
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

    def record(port: int) -> tuple[str, int]:
        url = f"http://127.0.0.1:{port}"
        with program(KILLED, tmp_path, ASYNCOPS_ENDPOINT=url) as running:
            session_id = running.line()
            while (returned := int(running.line())) < 300:
                pass
            running.process.kill()
            assert running.process.stdout is not None
            # what it was just saying may lack its end
            for line in running.process.stdout.read().rpartition("\n")[0].split():
                returned = int(line)
        return session_id, returned

    with own_port() as port:
        if when == "no collector":
            session_id, returned = record(port)
        with collector(port) as serving:
            if when != "no collector":
                session_id, returned = record(port)
            session = serving.ended(session_id)
            until(lambda: serving.session(session_id)["reason"])
            events = serving.events(session_id)
    numbers = [each["params"]["n"] for each in events if each["kind"] == "action"]

    assert returned > 100
    assert numbers[:returned] == list(range(1, returned + 1))
    assert len(numbers) <= returned + 1
    assert ("Indeterminate", "process died") == (session["state"], session["reason"])
    assert session["ended_at"] == session["last_record_at"]
    assert 0 == session["missing_records"]


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

        def exit_takes() -> float:
            status, out, err = run(source, tmp_path, f"http://127.0.0.1:{port}")
            assert (0, "") == (status, err)
            return float(out)

        assert least(exit_takes, within=0.4) < 0.4
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


def test_next_run_delivers_what_the_last_one_could_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    before = os.environ["ASYNCOPS_JOURNAL_DIR"]
    with own_port() as port:
        url = f"http://127.0.0.1:{port}"
        with program(source.format(wait=60), tmp_path, ASYNCOPS_ENDPOINT=url) as running:
            first = running.line()
            running.process.kill()
            running.wait()
        # a collector that looks for journals elsewhere cannot be the one to find it
        monkeypatch.setenv("ASYNCOPS_JOURNAL_DIR", str(tmp_path / "elsewhere"))
        with collector(port) as serving:
            with program(
                source.format(wait=60), tmp_path, ASYNCOPS_ENDPOINT=url, ASYNCOPS_JOURNAL_DIR=before
            ) as running:
                second = running.line()
                session = serving.ended(first)
                until(lambda: len(serving.sessions()) == 2)

    assert first != second
    assert "Success" == session["state"]
