"""
Processes: forked, spawned, replaced, outliving each other.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import SECONDS, Collector, collector, program, until

from asyncops._directory import journals


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Collector, dict[str, str]]]:
    """
    A collector for all tests here, which adopts the journals of their programs.
    """
    directory = tmp_path_factory.mktemp("shared")
    environment = {
        "ASYNCOPS_JOURNAL_DIR": str(directory / "journal"),
        "ASYNCOPS_DB": str(directory / "collector.db"),
        "XDG_STATE_HOME": str(directory / "state"),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        with collector() as found:
            yield found, {**environment, "ASYNCOPS_ENDPOINT": found.url}


def numbers(serving: Collector, session_id: str, name: str) -> list[int]:
    if all(session["id"] != session_id for session in serving.sessions()):
        return []
    events = serving.events(session_id)
    return sorted(event["params"]["n"] for event in events if event["name"] == name)


POOLS = {
    "Process, fork": "by_process(multiprocessing.get_context('fork'))",
    "Process, forkserver": "by_process(multiprocessing.get_context('forkserver'))",
    "Process, spawn": "by_process(multiprocessing.get_context('spawn'))",
    "ProcessPoolExecutor, fork": "by_executor(multiprocessing.get_context('fork'))",
    "ProcessPoolExecutor, spawn": "by_executor(multiprocessing.get_context('spawn'))",
}


@pytest.mark.parametrize("pool", POOLS)
def test_multiprocessing(
    tmp_path: Path, shared: tuple[Collector, dict[str, str]], pool: str
) -> None:
    """
    Children of multiprocessing deliver the last they record before they leave, by `os._exit` as
    they do; nothing waits for somebody to adopt it.
    """
    serving, environment = shared
    source = f"""
    import asyncio, asyncops, concurrent.futures, multiprocessing, os

    def work(n):
        asyncops.init()  # what is spawned has nothing of its parent's but its environment
        asyncops.record(asyncops.ActionEvent(name="first", params={{"n": n}}))
        assert asyncio.run(asyncops.flush(timeout=60))
        asyncops.record(asyncops.ActionEvent(name="last", params={{"n": n}}))

    def by_process(context):
        children = [context.Process(target=work, args=(n,)) for n in range(3)]
        for child in children:
            child.start()
        for child in children:
            child.join()
        assert [0, 0, 0] == [child.exitcode for child in children]

    def by_executor(context):
        with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
            list(pool.map(work, range(3)))

    if __name__ == "__main__":
        with asyncops.session("children") as session:
            print(session.id, flush=True)
            os.environ.update(session.to_env())
            {POOLS[pool]}
            assert asyncio.run(session.flush(timeout=60))
    """
    # where no collector looks for journals; and one that is slow this once is waited for
    journal = tmp_path / "journal"
    more = {"ASYNCOPS_JOURNAL_DIR": str(journal), "ASYNCOPS_SHUTDOWN_TIMEOUT": "60"}
    with program(source, tmp_path, **{**environment, **more}) as running:
        status, out, err = running.wait()
    session_id = out.strip()

    assert (0, "") == (status, err)
    assert [0, 1, 2] == numbers(serving, session_id, "last")
    assert "Success" == serving.ended(session_id)["state"]
    assert [] == [each for root in journal.iterdir() for each in journals(root)]


CHILD_ENDS = {
    "os._exit": "os._exit(0)",
    "sys.exit": "sys.exit(0)",
    "exception": "raise ValueError('of the child')",
    "killed": "os.kill(os.getpid(), signal.SIGKILL)",
    "SIGTERM": "os.kill(os.getpid(), signal.SIGTERM)",
}


@pytest.mark.parametrize("recording", [True, False], ids=["recording", "idle"])
@pytest.mark.parametrize("end", CHILD_ENDS)
def test_a_forked_child_ends(
    tmp_path: Path, shared: tuple[Collector, dict[str, str]], end: str, *, recording: bool
) -> None:
    """
    However a forked child ends, also through the parent's `with` block and exit handlers, it ends
    its own part alone: the session goes on, and ends as its owner ends it. One that records
    nothing is no source.
    """
    serving, environment = shared
    record = 'asyncops.record(asyncops.ActionEvent(name="child", params={"n": 0}))'
    source = f"""
    import asyncops, os, signal, sys
    with asyncops.session() as session:
        print(session.id, flush=True)
        if os.fork() == 0:
            {record if recording else "pass"}
            {CHILD_ENDS[end]}
        os.wait()
        asyncops.record(asyncops.ActionEvent(name="parent", params={{"n": 1}}))
    """
    with program(source, tmp_path, **environment) as running:
        status, out, err = running.wait()
    session_id = out.split()[0]
    session = serving.ended(session_id)

    assert (0, end == "exception") == (status, "ValueError: of the child" in err)
    assert end == "exception" or not err
    assert ("Success", None) == (session["state"], session["reason"])
    assert [1] == until(lambda: numbers(serving, session_id, "parent"))
    assert until(lambda: len(serving.session(session_id)["sources"]) == (2 if recording else 1))


def test_a_forked_child_begins_a_session_of_its_own(
    tmp_path: Path, shared: tuple[Collector, dict[str, str]]
) -> None:
    """
    The session that is active in a parent does not keep a forked child from beginning another.
    """
    serving, environment = shared
    source = """
    import asyncops, os
    with asyncops.session("the parent's"):
        if os.fork() == 0:
            with asyncops.session("the child's") as own:
                print(own.id, flush=True)
            os._exit(0)
        assert os.wait()[1] == 0
    """
    with program(source, tmp_path, **environment) as running:
        status, out, err = running.wait()

    assert (0, "") == (status, err)
    assert ("the child's", "Success") == tuple(
        serving.ended(out.strip())[key] for key in ("name", "state")
    )


@pytest.mark.parametrize("first", ["parent", "child"])
def test_who_outlives_whom(
    tmp_path: Path, shared: tuple[Collector, dict[str, str]], first: str
) -> None:
    """
    A parent's journal is adopted as soon as it is dead, though a child it forked lives on and goes
    on recording; and a dead child's while its parent lives.
    """
    serving, environment = shared
    source = f"""
    import asyncops, os, signal, sys
    asyncops.init(name="of two")
    print(asyncops.current_session().id, flush=True)
    parent = os.getpid()
    asyncops.record(asyncops.ActionEvent(name="parent", params={{"n": 0}}))
    child = os.fork()
    name = "parent" if child else "child"
    asyncops.record(asyncops.ActionEvent(name=name, params={{"n": 1}}))
    if bool(child) == ({first!r} == "parent"):
        os.write(1, b"going\\n")
        os.kill(os.getpid(), signal.SIGKILL)
    n = 1
    while sys.stdin.readline():
        n += 1
        asyncops.record(asyncops.ActionEvent(name=name, params={{"n": n}}))
        os.write(1, b"recorded\\n")
    os._exit(0)
    """
    with program(source, tmp_path, **environment) as running:
        session_id = running.line()
        assert running.line() == "going"
        if first == "parent":
            # not by its lease, which would take half a minute: by its journal
            assert "process died" == serving.ended(session_id)["reason"]
        else:
            until(lambda: numbers(serving, session_id, "child"))
            assert "Running" == serving.session(session_id)["state"]
        assert running.process.stdin is not None
        running.process.stdin.write("\n")
        running.process.stdin.flush()
        assert running.line() == "recorded"
        survivor = "child" if first == "parent" else "parent"
        until(lambda: numbers(serving, session_id, survivor)[-1:] == [2])
        running.process.communicate()
    session = serving.ended(session_id)

    assert ("Indeterminate", "process died") == (session["state"], session["reason"])
    assert 0 == session["missing_records"]


def test_forks_while_threads_record(
    tmp_path: Path, shared: tuple[Collector, dict[str, str]]
) -> None:
    """
    Fifty children forked while threads are in the midst of recording inherit no lock that is held,
    and no module half imported: all record, import, and end; nothing of the parent's is lost.
    """
    serving, environment = shared
    source = """
    import asyncops, faulthandler, os, threading, time
    done = threading.Event()
    counts = [0, 0]
    def record(n):
        while not done.is_set():
            session.record(asyncops.ActionEvent(name=f"thread {n}", params={"n": counts[n]}))
            counts[n] += 1
            time.sleep(0.0002)
    with asyncops.session() as session:
        threads = [threading.Thread(target=record, args=(n,)) for n in (0, 1)]
        for thread in threads:
            thread.start()
        for n in range(50):
            child = os.fork()
            if child == 0:
                faulthandler.dump_traceback_later(30, exit=True)
                asyncops.record(asyncops.ActionEvent(name="child", params={"n": n}))
                import httpx
                httpx.Client
                os._exit(0)
            assert 0 == os.waitpid(child, 0)[1], n
        done.set()
        for thread in threads:
            thread.join()
    print(session.id, *counts)
    """
    # a fork beside threads is what newer Pythons warn of, and what is tried here
    with program(source, tmp_path, **environment, PYTHONWARNINGS="ignore") as running:
        running_status, out, err = running.wait()
    assert 0 == running_status, err
    session_id, *counts = out.split()
    assert "Success" == serving.ended(session_id)["state"]

    assert list(range(50)) == until(
        lambda: len(found := numbers(serving, session_id, "child")) == 50 and found
    )
    for n, count in enumerate(counts):
        assert list(range(int(count))) == numbers(serving, session_id, f"thread {n}")


def test_exec(tmp_path: Path, shared: tuple[Collector, dict[str, str]]) -> None:
    """
    A process that replaces its program is another source with the next one: the first one's session
    is adopted though the pid lives on, and the second one's is not disturbed.
    """
    serving, environment = shared
    second = textwrap.dedent("""
    import asyncops, os, sys, time
    with asyncops.session(name="second") as session:
        os.write(1, f"{session.id}\\n".encode())
        sys.stdin.readline()
    """)
    source = f"""
    import asyncops, os, sys
    print(asyncops.init(name="first"), flush=True)
    asyncops.record(asyncops.ActionEvent(name="step", params={{"n": 1}}))
    os.execv(sys.executable, [sys.executable, "-c", {second!r}])
    """
    with program(source, tmp_path, **environment) as running:
        first_id, second_id = running.line(), running.line()
        first = serving.ended(first_id)
        running.process.communicate("\n", timeout=SECONDS)

    assert ("Indeterminate", "process died", 1) == (
        first["state"], first["reason"], first["events"],
    )  # fmt: skip
    assert "Success" == serving.ended(second_id)["state"]
