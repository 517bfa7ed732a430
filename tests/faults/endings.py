"""
The endings table: each row of the design's "How a session ends", in each way of running a session,
run for real. Every program also runs with asyncops uninstalled, to see that nothing else differs.

`test_endings.py` checks a part of it; `python -m benchmarks.endings` prints all.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import attrs
from hosts import without_asyncops
from processes import SECONDS, Collector, program, until

from asyncops._directory import journals, owner_of

__all__ = ["CASES", "KINDS", "LOOPS", "ROWS", "Case", "Ending", "Outcome", "Row", "run_cases"]

KINDS = ("async with", "with", "init()", "inherited", "asyncops run")
LOOPS = ("asyncio", "uvloop")

EXITED = "process exited without end_session()"
DIED = "process died"


@attrs.frozen
class Ending:
    """
    A state and its reason.
    """

    state: str
    reason: str | None = None


OWNER = Ending("Success")
"""How a session ends whose participant ended in whatever way."""


@attrs.frozen(kw_only=True)
class Row:
    """
    One way to end.

    Attributes:
        name: What happens.
        body: The program's last statements. "ready" on its output asks for the next signal.
        block: What that means for a session whose block it leaves.
        unended: For one that `init()` started and nobody ends.
        around: For the one that `asyncops run` wraps around the program.
        signals: What is sent to the program.
        synchronous: Whether the body needs no event loop.
        shape: Another way to hold the body, see `SHAPES`.
    """

    name: str
    body: str
    block: Ending | None = None
    unended: Ending | None = None
    around: Ending | None = None
    signals: tuple[signal.Signals, ...] = ()
    synchronous: bool = False
    shape: str | None = None

    def expected(self, kind: str) -> Ending | None:
        """
        How a session of *kind* ends here; None where there can be none.
        """
        if kind == "async with" and self.synchronous:
            return None
        if kind == "inherited":
            return OWNER if self.block is not None and self.shape is None else None
        endings = {"init()": self.unended, "asyncops run": self.around}
        return endings.get(kind, self.block)


def _same(
    name: str,
    body: str,
    ending: Ending,
    *signals: signal.Signals,
    around: Ending | None = None,
    synchronous: bool = False,
) -> Row:
    return Row(
        name=name,
        body=body,
        block=ending,
        unended=ending,
        around=around or ending,
        signals=signals,
        synchronous=synchronous,
    )


WAIT = "print('ready', flush=True); await asyncio.sleep(60)"
SYNCHRONOUS_WAIT = "print('ready', flush=True); time.sleep(60)"
CTRL_C = Ending("Cancelled", "SIGINT")
LOST = Ending("Indeterminate", DIED)
OPEN = Ending("Indeterminate", EXITED)
STATUS_0 = Ending("Success")
BOOM = Ending("Fail", "ValueError: boom")

ROWS = (
    Row(
        name="left normally", body="pass", block=Ending("Success"), unended=OPEN, around=STATUS_0
    ),
    Row(
        name="SystemExit(0)", body="sys.exit(0)",
        block=Ending("Success"), unended=OPEN, around=STATUS_0,
    ),
    Row(
        name="SystemExit(3)", body="sys.exit(3)",
        block=Ending("Fail", "SystemExit: 3"), unended=OPEN, around=Ending("Fail", "exit status 3"),
    ),
    _same("exception", "raise ValueError('boom') from KeyError('cause')", BOOM),
    _same(
        "group with a real error",
        "raise BaseExceptionGroup('both', [asyncio.CancelledError(), ValueError('boom')])",
        Ending("Fail", "BaseExceptionGroup: both (2 sub-exceptions)"),
    ),
    _same(
        "TaskGroup of a failing task",
        """
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(asyncio.sleep(60))
            tasks.create_task(fail())
        """,
        Ending("Fail", "ExceptionGroup: unhandled errors in a TaskGroup (1 sub-exception)"),
    ),
    _same(
        "group of only cancellations",
        "raise BaseExceptionGroup('all', [asyncio.CancelledError('enough'), GeneratorExit()])",
        Ending("Cancelled", "enough"),
    ),
    _same(
        "TimeoutError of asyncio.timeout",
        """
        async with asyncio.timeout(0.01):
            await asyncio.sleep(60)
        """,
        Ending("Fail", "TimeoutError"),
    ),
    _same(
        "task.cancel('enough')",
        """
        asyncio.current_task().cancel('enough')
        await asyncio.sleep(60)
        """,
        Ending("Cancelled", "enough"),
    ),
    Row(
        name="generator closed", body="", shape="generator",
        block=Ending("Cancelled", "generator closed"),
    ),
    _same("Ctrl-C under asyncio.run", WAIT, CTRL_C, signal.SIGINT),
    _same(
        "second Ctrl-C",
        f"""
        try:
            {WAIT}
        finally:
            signal.raise_signal(signal.SIGINT)  # at a place where the traceback is the same
        """,
        CTRL_C,
        signal.SIGINT,
    ),
    _same(
        "Ctrl-C without an event loop", SYNCHRONOUS_WAIT, CTRL_C, signal.SIGINT, synchronous=True
    ),
    _same(
        "raise KeyboardInterrupt", "raise KeyboardInterrupt", CTRL_C, synchronous=True
    ),
    _same("SIGTERM", WAIT, Ending("Cancelled", "SIGTERM"), signal.SIGTERM),
    _same("SIGHUP", WAIT, Ending("Cancelled", "SIGHUP"), signal.SIGHUP),
    _same("SIGSEGV", "ctypes.string_at(0)", Ending("Fail", "SIGSEGV")),
    _same("SIGABRT", "os.abort()", Ending("Fail", "SIGABRT")),
    _same("SIGBUS", "os.kill(os.getpid(), signal.SIGBUS)", Ending("Fail", "SIGBUS")),
    _same("SIGFPE", "os.kill(os.getpid(), signal.SIGFPE)", Ending("Fail", "SIGFPE")),
    _same(
        "kill -9", "os.kill(os.getpid(), signal.SIGKILL)", LOST,
        around=Ending("Indeterminate", f"{DIED} (SIGKILL)"),
    ),
    _same("os._exit(0)", "os._exit(0)", LOST, around=STATUS_0),
    _same("os._exit(4)", "os._exit(4)", LOST, around=Ending("Fail", "exit status 4")),
    _same(
        "exec", "os.execv(sys.executable, [sys.executable, '-c', 'pass'])", LOST, around=STATUS_0
    ),
    Row(
        name="end_session('Fail', 'as I say')",
        body="await asyncops.end_session('Fail', 'as I say')",
        block=Ending("Fail", "as I say"), unended=Ending("Fail", "as I say"),
    ),
    Row(
        name="end_session, then an exception",
        body="await asyncops.end_session('Success', 'as I say'); raise ValueError('boom')",
        block=Ending("Success", "as I say"), unended=Ending("Success", "as I say"),
    ),
    Row(
        name="end_session('Maybe')",
        body="""
        with contextlib.suppress(asyncops.SessionStateError):
            await asyncops.end_session('Maybe')
        """,
        block=Ending("Success"), unended=OPEN,
    ),
    Row(name="event loop closed, nothing after", body="", shape="closed loop", unended=OPEN),
    Row(
        name="event loop closed, another session", body="", shape="closed loop, another",
        unended=Ending("Indeterminate", "event loop closed without end_session()"),
    ),
)  # fmt: skip


@attrs.frozen
class Case:
    """
    A row in one way of running a session, on one event loop.
    """

    row: Row
    kind: str
    loop: str

    def __str__(self) -> str:
        return f"{self.row.name} - {self.kind} - {self.loop}"

    @property
    def expected(self) -> Ending:
        found = self.row.expected(self.kind)
        assert found is not None
        return found

    @property
    def file_name(self) -> str:
        return re.sub(r"\W+", "_", str(self)) + ".py"


CASES = [
    Case(row, kind, loop)
    for row in ROWS
    for kind in KINDS
    for loop in LOOPS
    if row.expected(kind) is not None and (loop == "asyncio" or not row.synchronous)
]


@attrs.frozen(kw_only=True)
class Outcome:
    """
    What came of a case.

    Attributes:
        ending: What the collector shows in the end.
        meanwhile: The state of an inherited session after its participant had ended.
        status: The exit status, and `stderr`, with asyncops.
        bare_status: The exit status, and `bare_stderr`, without.
    """

    ending: Ending
    meanwhile: str | None
    status: int
    stderr: str
    bare_status: int
    bare_stderr: str


def run_cases(
    cases: Iterable[Case], directory: Path, serving: Collector, **environment: str
) -> dict[Case, Outcome]:
    """
    Run *cases*, two at a time, recording to *serving*, which must look for journals in the
    `ASYNCOPS_JOURNAL_DIR` of *environment*.
    """
    environment = {**os.environ, **environment, "ASYNCOPS_ENDPOINT": serving.url}
    bench = _Bench(directory, serving, environment, without_asyncops(directory))
    cases = list(cases)
    with _as_at_a_terminal(), ThreadPoolExecutor(2) as pool:
        # first all programs, then what comes of them: who is dead is told by the collector's leave
        runs = list(pool.map(bench.run, cases))
        outcomes = list(pool.map(bench.outcome, cases, runs))
    return dict(zip(cases, outcomes, strict=True))


@attrs.frozen
class _Run:
    """
    How the programs of a case ended.
    """

    status: int
    stderr: str
    bare_status: int
    bare_stderr: str
    meanwhile: str | None = None


@attrs.frozen
class _Bench:
    directory: Path
    serving: Collector
    environment: dict[str, str]
    without: dict[str, str]

    def run(self, case: Case) -> _Run:
        path = self.directory / case.file_name
        path.write_text(source_of(case))
        python = [sys.executable, "-W", "error"]
        without = {**self.environment, **self.without}
        bare_status, bare_stderr, _ = self._run([*python, str(path)], case, without)
        if case.kind == "inherited":
            with self._owner(case) as (owner, told):
                environment = {**self.environment, **told}
                status, stderr, pid = self._run([*python, str(path)], case, environment)
                until(lambda: not self._journals_of(pid))
                # of its owner the collector may not have heard yet
                (session,) = until(lambda: self._sessions(case))
                owner.communicate("end\n", timeout=SECONDS)
            return _Run(status, stderr, bare_status, bare_stderr, session["state"])
        command = [*python, str(path)]
        if case.kind == "asyncops run":
            command[1:1] = ["-m", "asyncops", "run", "--quiet", "--name", str(case)]
            # options of Python are not options of `asyncops run`
            command[-3:] = [str(path)]
        status, stderr, _ = self._run(command, case, self.environment)
        return _Run(status, stderr, bare_status, bare_stderr)

    def _run(
        self, command: list[str], case: Case, environment: dict[str, str]
    ) -> tuple[int, str, int]:
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            for number in case.row.signals:
                assert process.stdout is not None
                line = process.stdout.readline()
                assert line == "ready\n", (str(case), process.communicate())
                # a terminal sends to all in the foreground
                send = os.killpg if number == signal.SIGINT else os.kill
                send(process.pid, number)
            _, stderr = process.communicate(timeout=SECONDS)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
        # where in the line of `WAIT` a signal came is chance
        return process.returncode, re.sub(r"(?m)^ *[~^]+\n", "", stderr), process.pid

    @contextlib.contextmanager
    def _owner(self, case: Case) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
        """
        A program whose session the case joins, and by what environment.
        """
        directory = self.directory / f"{case.file_name}.owner"
        directory.mkdir()
        with program(OWNING.format(name=repr(str(case))), directory, **self.environment) as owner:
            yield owner.process, dict(line.split("=", 1) for line in owner.line().split())

    def _journals_of(self, pid: int) -> list[Path]:
        root = Path(self.environment["ASYNCOPS_JOURNAL_DIR"])
        found = [journal for place in root.iterdir() for journal in journals(place)]
        return [journal for journal in found if owner_of(journal).get("pid") == pid]

    def _sessions(self, case: Case) -> list[dict[str, str]]:
        found: list[dict[str, str]] = self.serving.get("/api/sessions", q=str(case))["sessions"]
        return [session for session in found if session["name"] == str(case)]

    def outcome(self, case: Case, run: _Run) -> Outcome:
        def told() -> dict[str, str] | None:
            (session,) = self._sessions(case) or [{"state": "Running"}]
            return session if session["state"] != "Running" else None

        session = until(told)
        return Outcome(
            ending=Ending(session["state"], session["reason"]),
            **attrs.asdict(run),
        )


@contextlib.contextmanager
def _as_at_a_terminal() -> Iterator[None]:
    """
    What is started in the background ignores Ctrl-C, and so would the programs it starts.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGHUP)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


OWNING = """
import asyncops, sys
with asyncops.session({name}) as session:
    print(*(f"{{name}}={{value}}" for name, value in session.to_env().items()), flush=True)
    sys.stdin.readline()
"""

PREAMBLE = """
import asyncio, contextlib, ctypes, os, signal, sys, time
{imports}

NAME = {name!r}
run = {run}

async def fail():
    raise ValueError("boom")
"""

ENDING = """
{define} ending():
{body}
"""

SHAPES = {
    "async with": """
async def main():
    async with asyncops.session(NAME):
        await ending()

run(main())
""",
    "with": """
with asyncops.session(NAME):
    run(ending())
""",
    "init()": """
asyncops.init(name=NAME)
run(ending())
""",
    "asyncops run": """
run(ending())
""",
    "generator async with": """
async def stream():
    async with asyncops.session(NAME):
        yield

async def main():
    generator = stream()
    await anext(generator)
    await generator.aclose()

run(main())
""",
    "generator with": """
def stream():
    with asyncops.session(NAME):
        yield

generator = stream()
next(generator)
generator.close()
""",
    "closed loop": """
run(asyncops.start_session(NAME))
""",
    "closed loop, another": """
run(asyncops.start_session(NAME))
with asyncops.session("another"):
    pass
""",
}
SHAPES["inherited"] = SHAPES["with"]


def source_of(case: Case) -> str:
    """
    The program of *case*.
    """
    row, kind = case.row, case.kind
    imports = "" if kind == "asyncops run" else "import asyncops"
    run = "asyncio.run"
    if case.loop == "uvloop":
        imports += "\nimport uvloop"
        run = "uvloop.run"
    if row.synchronous:
        run = "lambda nothing: nothing"
    if row.shape is None:
        shape = SHAPES[kind]
    elif row.shape == "generator":
        shape = SHAPES[f"generator {kind}"]
    else:
        shape = SHAPES[row.shape]
    define = "def" if row.synchronous else "async def"
    if row.synchronous:
        shape = shape.replace("await ending()", "ending()")
    body = textwrap.indent(textwrap.dedent(row.body).strip() or "pass", "    ")
    return (
        PREAMBLE.format(imports=imports, name=str(case), run=run)
        + ENDING.format(define=define, body=body)
        + shape
    )
