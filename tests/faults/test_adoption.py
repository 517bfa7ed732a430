"""
The journals of the dead are delivered, once; those of the living are left alone.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from processes import SECONDS, Collector, Program, collector, program, until
from proxy import late, passing, proxy

RECORDS = """
import asyncops, sys
with asyncops.session() as session:
    print(session.id, flush=True)
    for line in sys.stdin:
        for number in range(int(line)):
            asyncops.record(asyncops.ActionEvent(name=f"{session.id}:{number}"))
        print("done", flush=True)
"""


def tell(running: Program, events: int) -> None:
    assert running.process.stdin is not None
    running.process.stdin.write(f"{events}\n")
    running.process.stdin.flush()
    assert "done" == running.line()


def root() -> Path:
    return Path(os.environ["ASYNCOPS_JOURNAL_DIR"])


def journals() -> list[Path]:
    return [path.parent for path in root().glob("*/*/lock")]


def orphan(directory: Path, endpoint: str, events: int) -> str:
    """
    What a program leaves that is killed after so many events; the id of its session.
    """
    with program(
        RECORDS, directory, ASYNCOPS_ENDPOINT=endpoint, ASYNCOPS_MAX_WAIT_TIME="60"
    ) as running:
        session_id = running.line()
        tell(running, events)
        running.process.kill()
    return session_id


def all_once(serving: Collector, sessions: dict[str, int]) -> None:
    """
    Every event of these sessions is stored once, and nothing is missing.
    """
    for session_id, events in sessions.items():
        session = serving.session(session_id)
        names = Counter(event["name"] for event in serving.events(session_id))
        assert {f"{session_id}:{number}": 1 for number in range(events)} == dict(names)
        assert {} == session["missing_by_reason"]


def test_a_living_process_in_another_pid_namespace(tmp_path: Path) -> None:
    """
    Where pids say nothing (containers that share a volume) the lock still tells the living from
    the dead.
    """
    unshare = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs a user who may make a pid namespace")
    path = tmp_path / "program.py"
    path.write_text(RECORDS)
    with collector() as serving:
        process = subprocess.Popen(
            [*unshare, sys.executable, str(path)],
            env={**os.environ, "ASYNCOPS_ENDPOINT": serving.url},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            contained = Program(process)
            session_id = contained.line()
            tell(contained, 100)
            (journal,) = journals()
            owner = json.loads((journal / "lock").read_text())
            assert owner["pid"] < 10  # a pid that is somebody else's here
            until(lambda: [each for each in serving.sessions() if each["events"] == 100])
            nothing_adopted_for(serving, seconds=1.6)
            assert "Running" == serving.session(session_id)["state"]
            tell(contained, 100)
        finally:
            process.kill()
            process.wait(SECONDS)  # with it the program is dead, and does not see its input end
            process.communicate(timeout=SECONDS)
        session = serving.ended(session_id)
        until(lambda: not journals())

    assert ("Indeterminate", "process died") == (session["state"], session["reason"])


def nothing_adopted_for(serving: Collector, *, seconds: float) -> None:
    """
    The collector looks for journals of the dead every second, and must not take these.
    """
    before = sorted(journals())
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert before == sorted(journals())
        time.sleep(0.1)
    assert serving.process.poll() is None


def test_a_stopped_process(tmp_path: Path) -> None:
    """
    A process that was stopped is not dead: its journal stays its own, and it goes on.
    """
    with collector() as serving:
        with program(RECORDS, tmp_path, ASYNCOPS_ENDPOINT=serving.url) as running:
            session_id = running.line()
            tell(running, 100)
            until(lambda: [each for each in serving.sessions() if each["events"] == 100])
            running.process.send_signal(signal.SIGSTOP)
            nothing_adopted_for(serving, seconds=1.6)
            running.process.send_signal(signal.SIGCONT)
            tell(running, 100)
            assert (0, "", "") == running.wait()
        session = serving.ended(session_id)

    assert ("Success", 200) == (session["state"], session["events"])
    assert {} == session["missing_by_reason"]


def test_a_pid_used_again(tmp_path: Path) -> None:
    """
    A dead process's journal is delivered though another process now has its pid, and a live one's
    is not though its pid is said to be a dead one's.
    """
    with (
        collector() as serving,
        program(
            RECORDS, tmp_path, ASYNCOPS_ENDPOINT=serving.url, ASYNCOPS_MAX_WAIT_TIME="60"
        ) as running,
    ):
        running.line()
        tell(running, 3)
        (live,) = journals()
        owner = json.loads((live / "lock").read_text())
        with (live / "lock").open("r+") as file:  # the same file: the lock stays
            file.write(json.dumps({**owner, "pid": 2**22 - 1}))
        serving.process.send_signal(signal.SIGSTOP)  # so that it does not come before us
        session_id = orphan(tmp_path, serving.url, 5)
        (dead,) = set(journals()) - {live}
        owner = json.loads((dead / "lock").read_text())
        (dead / "lock").write_text(json.dumps({**owner, "pid": os.getpid()}))
        serving.process.send_signal(signal.SIGCONT)
        session = serving.ended(session_id)
        until(lambda: not dead.exists())

        assert ("Indeterminate", 5) == (session["state"], session["events"])
        assert live.exists()


@pytest.mark.parametrize("hours", [-1, 24])
def test_a_clock_that_is_set(tmp_path: Path, hours: int) -> None:
    """
    A clock that is set, forward or back, costs no event, makes no duration negative, and makes no
    living journal look old.
    """
    source = f"""
    import asyncops, asyncops._clock, asyncops._signals, sys, time
    with asyncops.session() as session:
        print(session.id, flush=True)
        with asyncops.action("before"):
            asyncops._clock.wall_ns = lambda: time.time_ns() + {hours} * 3_600_000_000_000
        asyncops.record(asyncops.ActionEvent(name="after"))
        print("done", flush=True)
        sys.stdin.readline()
    """
    with collector() as serving:
        with program(source, tmp_path, ASYNCOPS_ENDPOINT=serving.url) as running:
            session_id = running.line()
            assert "done" == running.line()
            (journal,) = journals()
            for path in journal.iterdir():
                os.utime(path, (0, 0))
            os.utime(journal, (0, 0))
            nothing_adopted_for(serving, seconds=1.5)
            assert (0, "", "") == running.wait()
        session = serving.ended(session_id)
        events = serving.events(session_id)

    assert ("Success", 0) == (session["state"], session["missing_records"])
    assert session["duration_ms"] >= 0
    assert {"before", "after"} == {event["name"] for event in events}
    assert all(event["duration_ms"] >= 0 for event in events)


def test_an_adopter_that_is_killed(tmp_path: Path) -> None:
    """
    Who adopts a journal may be killed at any moment: the next goes on, nothing is stored twice and
    each session gets one ending.
    """
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    adopter = """
    import asyncops, sys
    with asyncops.session("adopter"):
        print("up", flush=True)
        sys.stdin.readline()
    """
    with collector() as serving, proxy(serving.url) as bad:
        sessions = {orphan(tmp_path, bad.url, 4_000): 4_000 for _ in range(3)}
        bad.fault = late(0.03)
        for _ in range(6):
            with program(
                adopter, tmp_path, ASYNCOPS_ENDPOINT=bad.url, ASYNCOPS_MAX_QUEUE_SIZE="100"
            ) as running:
                assert "up" == running.line()
                time.sleep(chance.uniform(0.2, 0.8))  # the moment is what is tried
                running.process.kill()
        bad.fault = passing
        with program(adopter, tmp_path, ASYNCOPS_ENDPOINT=bad.url) as running:
            until(lambda: all(gone(serving, each) for each in sessions))
            until(lambda: len(journals()) == 1)  # the adopter's own
            running.wait()
        all_once(serving, sessions)
        told = [serving.session(session_id) for session_id in sessions]

    assert {("Indeterminate", "process died")} == {(s["state"], s["reason"]) for s in told}, seed


def gone(serving: Collector, session_id: str) -> bool:
    return any(
        each["id"] == session_id and each["state"] != "Running" for each in serving.sessions()
    )


def test_many_adopters_at_once(tmp_path: Path) -> None:
    """
    Processes that all look for journals at the same moment take each one once.
    """
    adopter = """
    import asyncops, sys
    with asyncops.session("adopter") as session:
        sys.stdin.readline()
    """
    with collector() as serving, proxy(serving.url) as bad:
        sessions = {orphan(tmp_path, bad.url, 300): 300 for _ in range(5)}
        path = tmp_path / "adopter.py"
        path.write_text(textwrap.dedent(adopter))
        adopters = [
            subprocess.Popen(
                [sys.executable, str(path)], stdin=subprocess.PIPE, stderr=subprocess.PIPE,
                env={**os.environ, "ASYNCOPS_ENDPOINT": bad.url},
            )
            for _ in range(4)
        ]  # fmt: skip
        try:
            until(lambda: all(gone(serving, each) for each in sessions))
        finally:
            ended: list[Any] = [each.communicate(b"\n", timeout=SECONDS) for each in adopters]
        all_once(serving, sessions)

    assert [(None, b"")] * 4 == ended
    assert [0] * 4 == [each.returncode for each in adopters]


def test_what_is_no_journal(tmp_path: Path) -> None:
    """
    Files, links and directories of others among the journals are neither adopted nor removed, nor
    do they keep journals from being adopted.
    """
    with collector() as serving:
        serving.process.send_signal(signal.SIGSTOP)  # so that it does not come before us
        session_id = orphan(tmp_path, serving.url, 5)
        (dead,) = journals()
        mine = tmp_path / "mine"
        shutil.copytree(dead, mine)
        here = dead.parent
        (here / "notes").mkdir()
        (here / "notes" / "lock").touch()
        (here / "notes" / "reserve").touch()
        (here / "01234567-89ab-7def-8123-456789abcdef").symlink_to(mine, target_is_directory=True)
        (here / "file").write_text("x")
        serving.process.send_signal(signal.SIGCONT)
        session = serving.ended(session_id)
        until(lambda: not dead.exists())
        nothing_adopted_for(serving, seconds=1.2)

        assert 5 == session["events"]
        assert {"lock", "reserve"} == set(os.listdir(here / "notes"))
        assert (mine / "lock").exists()
        assert "x" == (here / "file").read_text()
