"""
`asyncops demo --history`: a past that looks as if agents had worked for weeks.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import Commands, wait_for
from processes import SECONDS, own_port

from asyncops._wire import decode
from asyncops.cli.history.plan import DAY, Past, newcomer, processes
from asyncops.cli.history.processes import lines

PAST = Past(seed=7, sessions=120, events=6_000, days=9, until=1_790_000_000_000_000_000)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    """
    A database with a small past in it.
    """
    with own_port() as port:
        asyncops = Commands(tmp_path_factory.mktemp("history"), port)
        done = asyncops(
            *("demo", "--history", "--exit", "--port", "0", "--db", "collector.db"),
            *("--sessions", "400", "--events", "20000", "--days", "9"),
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        assert "events in 400 sessions over 9 days" in done.stdout
        yield asyncops


def test_the_past_is_what_was_asked_for(filled: Commands) -> None:
    """
    So many sessions with so many events, over so many days, ended in every way there is, and some
    of them with records missing, with several processes, with costs that nobody knows.
    """
    with filled.collector():
        found = []
        cursor = ""
        while cursor is not None:
            page = filled.get("/api/sessions", limit="500", cursor=cursor).json()
            found += page["sessions"]
            cursor = page["next"]
        assert len(found) == 400
        events = sum(session["events"] for session in found)
        # what a process that was killed did not come to, and what was lost, is not there
        assert 0.95 * 20_000 < events <= 20_000
        states = Counter(session["state"] for session in found)
        assert {"Success", "Fail", "Cancelled"} < set(states)
        assert states["Success"] > 0.75 * 400
        # nobody is left to say how those ended that were running when it was filled
        assert states["Running"] + states["Indeterminate"] >= 3
        assert len({session["started_at"][:10] for session in found}) >= 8
        assert max(session["last_record_at"] for session in found) > max(
            session["started_at"] for session in found
        )
        assert {"support", "research", "upkeep"} < {session["name"] for session in found}
        assert any(session["missing_records"] for session in found)
        models = filled.get("/api/overview").json()["models"]
        assert len(models) >= 6
        assert any(model["cost_usd"] is None for model in models)
        # of one that was killed not every process may have come to an event
        done = [s for s in found if s["name"] == "nightly-eval" and s["state"] == "Success"]
        evaluation = next(s for s in done if s["events"] > 100)
        detail, events_of_it = filled.session(evaluation["id"])
        assert len(detail["sources"]) == 5
        assert len({event["source_id"] for event in events_of_it}) == 5
        ids = {event["id"] for event in events_of_it}
        inside = [event for event in events_of_it if event["parent_id"] in ids]
        assert len(inside) > len(events_of_it) / 2


def test_failures_are_told_once_and_referred_to(filled: Commands) -> None:
    """
    A session that failed has its failure in full where it happened, and its reason in a line.
    """
    failed = next(session for session in filled.sessions() if session["state"] == "Fail")
    detail, events = filled.session(failed["id"])
    origin = next(event for event in events if event["id"] == detail["failure"]["event_id"])
    assert origin["failure"]["traceback"] == detail["failure"]["traceback"] != ""
    above = next(event for event in events if event["id"] == origin["parent_id"])
    assert above["failure"]["event_id"] == origin["id"]
    assert above["failure"]["traceback"] == ""


def test_the_same_seed_gives_the_same_past() -> None:
    """
    Line for line; another seed gives another.
    """
    first, again = ([list(lines(process)) for process in processes(PAST)] for _ in range(2))
    assert first == again
    other = Past(seed=8, sessions=120, events=6_000, days=9, until=PAST.until)
    assert [list(lines(process)) for process in processes(other)] != first


def test_every_line_is_a_record_of_its_source() -> None:
    """
    Numbered from 1 without a gap but for what was lost, in the order of time, none before its
    process and none beyond the past but of those that still run.
    """
    ahead = gaps = 0
    for process in processes(PAST):
        for written in lines(process):
            records = [decode(line) for _, line in written.lines]
            assert [record.at for record in records] == [at for at, _ in written.lines]
            assert sorted(at for at, _ in written.lines) == [at for at, _ in written.lines]
            assert records[0].seq == 1
            gaps += records[-1].seq != len(records)
            assert records[0].at > PAST.until - (PAST.days + 1) * DAY
            ahead += records[-1].at > PAST.until
    assert gaps <= 5
    assert 3 <= ahead <= 12


@pytest.mark.parametrize(("sessions", "events"), [(1, 1), (1, 100), (3, 5), (50, 60)])
def test_small_pasts_can_be_made(sessions: int, events: int) -> None:
    """
    Whatever is asked for, each session has something in it.
    """
    past = Past(seed=1, sessions=sessions, events=events, days=1, until=PAST.until)
    made = processes(past)
    assert sum(len(process.sessions) for process in made) == sessions
    assert all(list(lines(process)) for process in made)


def test_there_are_sessions_of_all_sizes() -> None:
    """
    Of a million events 100,000 are in one session, and four others have 10,000.
    """
    past = Past(seed=1, sessions=10_000, events=1_000_000, days=30, until=PAST.until)
    sessions = [session for process in processes(past) for session in process.sessions]
    sizes = sorted(session.size for session in sessions)
    assert sizes[-1] == 100_000
    assert sizes.count(10_000) == 4
    assert sum(sizes) == 1_000_000
    assert len(sizes) == 10_000
    assert all(past.until - 30 * DAY <= session.start < past.until for session in sessions)


def test_newcomers_begin_now() -> None:
    """
    What goes on when the past is over begins then.
    """
    now = PAST.until
    for number in range(20):
        for written in lines(newcomer(PAST, number, now)):
            assert written.lines[0][0] >= now


def test_it_goes_on_until_ctrl_c(asyncops: Commands) -> None:
    """
    Sessions that run go on as they are watched; Ctrl-C ends it, which is a success.
    """
    with asyncops.started(
        *("demo", "--history", "--port", str(asyncops.port), "--db", "collector.db"),
        *("--sessions", "20", "--events", "800", "--days", "2"),
        start_new_session=True,
    ) as demo:
        assert demo.stdout is not None
        said = ""
        while "Ctrl-C ends it" not in said:
            line = demo.stdout.readline()
            assert line, (said, demo.communicate())
            said += line
        running = asyncops.get("/api/sessions", state="Running").json()["sessions"]
        assert len(running) >= 3
        before = {session["id"]: session["events"] for session in running}

        def goes_on() -> bool:
            now = asyncops.get("/api/sessions").json()["sessions"]
            return any(session["events"] > before.get(session["id"], 10**9) for session in now)

        wait_for(goes_on)
        demo.send_signal(signal.SIGINT)
        assert demo.wait(timeout=SECONDS) == 0
        assert demo.communicate()[1] == ""


def test_ctrl_c_while_it_fills_ends_it_and_who_writes_it(asyncops: Commands) -> None:
    """
    Nothing is left behind but what was stored.
    """
    database = asyncops.directory / "collector.db"
    with asyncops.started(
        *("demo", "--history", "--port", str(asyncops.port), "--db", str(database))
    ) as demo:
        wait_for(lambda: asyncops.answers() and asyncops.get("/api/sessions").json()["sessions"])
        writers = _children(demo)
        assert writers
        demo.send_signal(signal.SIGINT)
        _, errors = demo.communicate(timeout=SECONDS)
        assert demo.returncode in (130, -signal.SIGINT)
        assert "Traceback" not in errors
        wait_for(lambda: not any(map(_lives, writers)))


def test_whoever_writes_it_ends_when_nobody_reads() -> None:
    """
    Were the demo killed, the process that makes the past would not go on without it.
    """
    arguments = ["1", "10000", "1000000", "30", str(time.time_ns())]
    with subprocess.Popen(
        [sys.executable, "-m", "asyncops.cli.history", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as writer:
        assert writer.stdout is not None
        assert writer.stderr is not None
        assert writer.stdout.readline()
        writer.stdout.close()
        assert writer.wait(timeout=SECONDS) in (0, 120)
        assert b"Traceback" not in writer.stderr.read()


def _children(process: subprocess.Popen[str]) -> list[int]:
    path = Path(f"/proc/{process.pid}/task")
    return [int(pid) for task in path.iterdir() for pid in (task / "children").read_text().split()]


def _lives(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
