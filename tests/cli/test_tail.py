"""
`asyncops tail`: what happens is told as it happens, once, whatever happens to the collector.
"""

from __future__ import annotations

import contextlib
import json
import queue
import re
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from commands import Commands, wait_for
from processes import SECONDS, own_port
from rich.cells import cell_len

PROGRAM = r"""
import sys
import asyncops

with asyncops.session("worker \x1b[2J", tags=["a", "b"]) as session:
    print(session.id, flush=True)
    sys.stdin.readline()
    with asyncops.agent("planner"):
        with asyncops.llm("chat", model="m-1", provider="here", prompt="hi") as call:
            call.prompt_tokens, call.completion_tokens = 1200, 34
            call.cost = asyncops.Cost("0.0125")
        with asyncops.tool("wait"):
            sys.stdin.readline()
        try:
            with asyncops.tool("break\nlines"):
                raise ValueError("no \x1b[2J")
        except ValueError:
            pass
    for number in range(int(sys.argv[1])):
        with asyncops.action(f"step {number}"):
            pass
    sys.stdin.readline()
    if sys.argv[2:]:
        raise LookupError("nothing left")
"""


class Program:
    """
    A program at work that goes on when it is told to.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        assert process.stdout is not None
        self.session_id = process.stdout.readline().strip()

    def go_on(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def wait(self) -> int:
        return self._process.wait(timeout=SECONDS)


@contextlib.contextmanager
def program(asyncops: Commands, *arguments: str, wait: str = "0.1") -> Iterator[Program]:
    environment = {**asyncops.environment, "ASYNCOPS_MAX_WAIT_TIME": wait}
    with subprocess.Popen(
        [asyncops.arguments()[0], asyncops.script(PROGRAM), *arguments],
        env=environment,
        cwd=asyncops.directory,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            yield Program(process)
        finally:
            process.kill()


class Tail:
    """
    `asyncops tail` at work, and what it says.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._queue: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._queue.put(line.rstrip("\n"))

    def until(self, text: str) -> str:
        """
        The next line with *text* in it.
        """
        while True:
            line = self._queue.get(timeout=SECONDS)
            self.lines.append(line)
            if text in line:
                return line

    def end(self, *, interrupt: bool) -> tuple[int, str]:
        """
        Its exit status and what it said on standard error.
        """
        if interrupt:
            self.process.send_signal(signal.SIGINT)
        status = self.process.wait(timeout=SECONDS)
        self._reader.join()
        while not self._queue.empty():
            self.lines.append(self._queue.get())
        assert self.process.stderr is not None
        return status, self.process.stderr.read()

    def heard(self) -> list[dict[str, Any]]:
        """
        What it said so far, where that is JSON.
        """
        while not self._queue.empty():
            self.lines.append(self._queue.get())
        return [json.loads(line) for line in self.lines]


@contextlib.contextmanager
def tail(asyncops: Commands, *arguments: str) -> Iterator[Tail]:
    process = subprocess.Popen(
        asyncops.arguments("tail", *arguments),
        env=asyncops.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    followed = Tail(process)
    try:
        yield followed
    finally:
        process.kill()
        process.wait()
        followed._reader.join()
        for stream in (process.stdout, process.stderr):
            assert stream is not None
            stream.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    """
    The command line beside a collector that lives as long as these tests.
    """
    with own_port() as port:
        asyncops = Commands(tmp_path_factory.mktemp("served"), port)
        with asyncops.collector():
            yield asyncops


def session_of(asyncops: Commands, work: Program, state: str = "Running") -> str:
    """
    The session of a program, once the collector knows it in that state.
    """
    path = f"/api/sessions/{work.session_id}"
    wait_for(lambda: asyncops.get(path).json().get("state") == state)
    return work.session_id


def watching(asyncops: Commands, streams: int = 1) -> None:
    """
    Return once so many streams are open.
    """
    wait_for(lambda: f"asyncops_collector_streams {streams}\n" in asyncops.get("/metrics").text)


def test_a_project_is_told_as_it_happens(served: Commands) -> None:
    """
    A session starts, events end, one is open for long, it ends; Ctrl-C ends it, quietly.
    """
    with tail(served) as log:
        watching(served)
        with program(served, "1") as work:
            assert "▶ starts  worker \\x1b[2J  a, b" in log.until("starts")
            work.go_on()
            assert re.search(r"planner / llm chat m-1  [\d.]+ [µm]?s  1,200 → 34  \$0\.0125$",
                             log.until("1,200"))  # fmt: skip
            assert log.until("tool wait").endswith("planner / tool wait  is open ...")
            work.go_on()
            assert re.search(r"tool wait  [\d.]+ s$", log.until("tool wait"))
            assert "✗ break\\nlines" in log.until("break")
            assert log.lines[-1].endswith("ValueError: no \\x1b[2J")
            log.until("action step 0")
            work.go_on()
            assert work.wait() == 0
        ended = log.until("Success")
        assert "✓ Success  worker" in ended
        assert "$0.0125" in ended
        assert "5 events  1 error" in ended
        assert log.end(interrupt=True) == (0, "")
        assert not any("\x1b" in line for line in log.lines)


@pytest.mark.parametrize(("fails", "status"), [((), 0), (("fail",), 1)])
def test_one_session_until_it_ends(served: Commands, fails: tuple[str, ...], status: int) -> None:
    """
    From its beginning, indented; the exit status says whether it was a success. The same again
    when it is over.
    """
    with program(served, "2", *fails) as work:
        session_id = session_of(served, work)
        with tail(served, session_id) as log:
            log.until("starts")
            work.go_on()
            assert re.search(r"^\S+  agent planner  is open", log.until("agent planner"))
            work.go_on()
            assert re.search(r"^\S+    tool ✗ break", log.until("break"))
            work.go_on()
            assert log.end(interrupt=False) == (status, "")
            if fails:
                assert "✗ Fail" in log.lines[-1]
                assert log.lines[-1].endswith("LookupError: nothing left")
        work.wait()
    again = served.here("tail", session_id)
    assert again.returncode == status
    lines = again.stdout.splitlines()
    assert [line.split()[1] for line in lines[1:-1]] == [
        *("agent", "llm", "tool", "tool"),
        *("action", "action"),
    ]
    assert "starts" in lines[0]
    assert lines[-1] == log.lines[-1]


@pytest.mark.parametrize("one", [True, False])
def test_a_collector_that_is_killed_leaves_no_gap(asyncops: Commands, one: bool) -> None:
    """
    Said once; when it is back, what happened meanwhile is told, and nothing a second time.
    """
    with contextlib.ExitStack() as stack:
        with asyncops.collector() as collector:
            work = stack.enter_context(program(asyncops, "300"))
            session_id = session_of(asyncops, work)
            which = [session_id[:13]] if one else []
            log = stack.enter_context(tail(asyncops, "--json", *which))
            watching(asyncops)
            work.go_on()
            log.until('"name": "chat"')
            collector.kill()
            collector.wait()
        work.go_on()  # 300 steps that nobody takes yet
        assert log.process.stderr is not None
        assert log.process.stderr.readline() == (
            "asyncops: the collector does not answer; waiting for it\n"
        )
        stack.enter_context(asyncops.collector())
        log.until('"name": "step 299"')
        work.go_on()
        assert work.wait() == 0
        log.until('"what": "ends"')
        assert log.end(interrupt=not one) == (0, "asyncops: the collector answers again\n")
    told = log.heard()
    closed = Counter(
        each["event"]["name"]
        for each in told
        if each["type"] == "event" and each["event"]["state"] != "Running"
    )
    assert closed == Counter(
        ["planner", "chat", "wait", "break\nlines", *(f"step {n}" for n in range(300))]
    )
    assert [each["what"] for each in told if each["type"] == "session"] == [
        "starts" if one else "runs",
        "ends",
    ]


FILTERS: dict[tuple[str, ...], set[str]] = {
    ("--kind", "tool"): {"starts", "wait", "break\nlines", "ends"},
    ("--kind", "llm", "--kind", "action"): {"starts", "chat", "step 0", "ends"},
    ("--errors",): {"break\nlines", "ends"},
    ("--state", "Fail"): {"ends"},
    ("--state", "Success"): set(),
    ("--state", "Running", "--errors"): {"break\nlines"},
    ("--tag", "b", "--tag", "a", "--kind", "agent"): {"starts", "planner", "ends"},
    ("--tag", "c"): set(),
}


def test_filters_choose(served: Commands) -> None:
    """
    Tags and states choose sessions, kinds and errors what is told of them.
    """
    with contextlib.ExitStack() as stack:
        all_of_it = stack.enter_context(tail(served, "--json"))
        logs = {
            options: stack.enter_context(tail(served, "--json", *options)) for options in FILTERS
        }
        watching(served, 1 + len(FILTERS))
        with program(served, "1", "fail") as work:
            for _ in range(3):
                work.go_on()
            work.wait()
        all_of_it.until('"what": "ends"')
        for options, log in logs.items():
            wait_for(lambda log=log, all_=FILTERS[options]: all_ <= set(map(_what, log.heard())))
        # had the others been about to say more, they would have by the time of the next session
        with program(served, "0"):
            all_of_it.until('"what": "starts"')
        assert all_of_it.end(interrupt=True)[0] == 0
        assert {options: log.end(interrupt=True) for options, log in logs.items()} == (
            dict.fromkeys(FILTERS, (0, ""))
        )
        assert {options: set(map(_what, log.heard())) for options, log in logs.items()} == FILTERS


def _what(told: dict[str, Any]) -> str:
    return str(told.get("what") or told["event"]["name"])


def test_many_events_at_once_are_one_line(served: Commands) -> None:
    """
    A session that brings hundreds of them at once does not drown the others; what failed is named.
    """
    with tail(served) as log:
        watching(served)
        with program(served, "500", wait="60") as work:
            log.until("starts")  # that is sent at once, and what there is by then with it
            for _ in range(3):
                work.go_on()
            assert work.wait() == 0
        line = log.until(" events: ")
        assert re.search(r"  50\d events: 500 action, ", line)
        assert "break" in log.until("break")
        log.until("Success")
        assert log.end(interrupt=True) == (0, "")
    assert len(log.lines) < 10


def test_a_reader_that_goes_ends_it(served: Commands) -> None:
    """
    As in `asyncops tail | head -1`: no traceback.
    """
    with program(served, "1") as work:
        session_id = session_of(served, work)
        for arguments in ([], [session_id]):
            process = subprocess.Popen(
                served.arguments("tail", *arguments),
                env=served.environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.readline()
            process.stdout.close()
            work.go_on()
            assert process.wait(timeout=SECONDS) == 1
            assert process.stderr.read() == ""
            process.stderr.close()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "no collector answers at"),
        (("0198a0b0-0000-7000-8000-000000000001",), "no collector answers at"),
        (("--state", "Broken"), "state"),
        (("--endpoint", "nonsense"), "endpoint must be an address"),
    ],
)
def test_expected_trouble_is_one_line(
    asyncops: Commands, arguments: tuple[str, ...], said: str
) -> None:
    """
    There is nothing to tell without a collector, and that is said, with status 2.
    """
    done = asyncops.here("tail", *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert said in done.stderr.lower()
    assert len(done.stderr.splitlines()) == 1


def test_a_session_that_nobody_knows(served: Commands) -> None:
    """
    Is one line, too.
    """
    done = served("tail", "ffff")
    assert (done.returncode, done.stderr) == (2, "asyncops: no session begins with 'ffff'\n")


def test_lines_fit_a_terminal(served: Commands) -> None:
    """
    In colour, and none longer than it is wide; NO_COLOR leaves it plain.
    """
    with program(served, "3", "fail") as work:
        for _ in range(3):
            work.go_on()
        work.wait()
    session_id = session_of(served, work, "Fail")
    status, plain = served.on_a_terminal(60, "tail", session_id, env={"NO_COLOR": "1"})
    assert (status, "\x1b[3" in plain) == (1, False)
    for columns in (30, 60, 120):
        status, said = served.on_a_terminal(columns, "tail", session_id)
        assert status == 1
        assert "\x1b[31m" in said
        assert "\x1b[2J" not in said
        lines = re.sub(r"\x1b\[[\d;]*m", "", said).replace("\r", "").splitlines()
        assert len(lines) == 9
        assert max(map(cell_len, lines)) <= columns
