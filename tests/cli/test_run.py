"""
`asyncops run`: the program is the same, and how it ended is told truly.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from typing import Any

import attrs
import pytest
from commands import Commands
from processes import SECONDS

from asyncops import EndState
from asyncops.cli.run import ending, program_apart

LINE = re.compile(
    r"asyncops: session (?P<name>.+?) (?P<state>\w+)  (?P<url>http://127\.0\.0\.1:\d+/sessions/"
    r"(?P<id>[0-9a-f-]{36}))(?P<hint>  \(see it with: asyncops serve\))?\n\Z"
)


def both(
    asyncops: Commands, *program: str, **options: Any
) -> tuple[subprocess.CompletedProcess[str], re.Match[str]]:
    """
    Run *program* with Python and with `asyncops run`; check that they do the same.

    Returns:
        What Python made of it, and what `asyncops run` said in the end.
    """
    plain = asyncops.python(*program, **options)
    recorded = asyncops("run", *program, **options)
    said = LINE.search(recorded.stderr)
    assert said is not None, recorded.stderr
    assert recorded.stdout == plain.stdout
    assert recorded.stderr[: said.start()] == plain.stderr
    assert recorded.returncode == plain.returncode
    return plain, said


def told(asyncops: Commands, said: re.Match[str]) -> dict[str, Any]:
    """
    What the collector knows of the session that `asyncops run` named.
    """
    (session,) = (found for found in asyncops.sessions() if found["id"] == said["id"])
    assert session["state"] == said["state"]
    return session


def test_a_program_that_succeeds(asyncops: Commands) -> None:
    """
    Arguments, input, path, environment and `__main__` are those of Python; the session succeeds.
    """
    program = asyncops.script(
        "import os, sys\n"
        "print(__name__, __file__, sys.argv, sys.path, sys.stdin.read())\n"
        "print(sorted(name for name in os.environ if name.startswith(('ASYNCOPS', 'PYTHON'))))\n"
        "print(os.environ['PYTHONPATH'], os.getcwd(), 'sitecustomize' in sys.argv)\n"
        "sys.stderr.write('to stderr\\n')\n"
    )
    plain, said = both(asyncops, program, "--name", "x", "--help", "-m", "--", input="something")
    assert plain.returncode == 0
    session = told(asyncops, said)
    assert (session["state"], session["reason"], session["name"]) == ("Success", None, program)


def test_a_program_that_exits_with_a_status(asyncops: Commands) -> None:
    """
    An exit status other than 0 is passed on, and is the reason why the session failed.
    """
    program = asyncops.script("print('before')\nraise SystemExit(3)\n")
    plain, said = both(asyncops, program)
    assert plain.returncode == 3
    session = told(asyncops, said)
    assert (session["state"], session["reason"]) == ("Fail", "exit status 3")


def test_a_program_that_raises(asyncops: Commands) -> None:
    """
    The traceback on standard error is untouched, and the session has it, with its cause.
    """
    program = asyncops.script(
        "def inner():\n"
        "    return {}['missing']\n"
        "try:\n"
        "    inner()\n"
        "except KeyError as error:\n"
        "    raise ValueError('no such thing') from error\n"
    )
    plain, said = both(asyncops, program)
    assert plain.returncode == 1
    session = told(asyncops, said)
    assert (session["state"], session["reason"]) == ("Fail", "ValueError: no such thing")
    shown = asyncops.here("show", said["id"])
    assert "caused by KeyError: 'missing'" in shown.stdout
    assert "in inner" in shown.stdout


def test_a_module(asyncops: Commands) -> None:
    """
    `-m module` is run as Python runs it.
    """
    package = asyncops.directory / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text("import sys\nprint(__name__, sys.argv, sys.path[0])\n")
    plain, said = both(asyncops, "-m", "package", "--tag", "mine")
    assert plain.returncode == 0
    session = told(asyncops, said)
    assert (session["name"], session["tags"], session["state"]) == ("package", [], "Success")


@pytest.mark.parametrize("program", [("missing.py",), ("-m", "missing_module")])
def test_a_program_that_is_not_there(asyncops: Commands, program: tuple[str, ...]) -> None:
    """
    A missing script or module gives Python's own error and status.
    """
    plain, said = both(asyncops, *program)
    assert plain.returncode != 0
    assert said["state"] == "Fail"


# One line, and no columns in tracebacks: it is the same wherever in it the signal arrives.
WAITS = "import time; print('ready', flush=True); time.sleep(60)\n"
NO_COLUMNS = {"PYTHONNODEBUGRANGES": "1"}


def interrupted(process: subprocess.Popen[str], send: Any) -> tuple[str, str]:
    """
    Wait until the program is ready, *send* it something, and collect what it says.
    """
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n", process.communicate()
    send(process.pid)
    return process.communicate(timeout=SECONDS)


@pytest.mark.parametrize(
    ("number", "to_group", "state", "reason"),
    [
        (signal.SIGINT, True, "Cancelled", "SIGINT"),
        (signal.SIGTERM, False, "Cancelled", "SIGTERM"),
    ],
)
def test_a_program_that_is_called_off(
    asyncops: Commands, number: int, to_group: bool, state: str, reason: str
) -> None:
    """
    Ctrl-C and what asks a process to end do to the program, and to us, what they do to Python.
    """
    program = asyncops.script(WAITS)
    environment = {**asyncops.environment, **NO_COLUMNS}
    send = (lambda pid: os.killpg(pid, number)) if to_group else (lambda pid: os.kill(pid, number))
    with subprocess.Popen(
        [sys.executable, program],
        cwd=asyncops.directory,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as plain:
        plain_output, plain_errors = interrupted(plain, send)
    with asyncops.started("run", program, env=environment, start_new_session=True) as recorded:
        output, errors = interrupted(recorded, send)
    said = LINE.search(errors)
    assert said is not None, errors
    assert output == plain_output
    assert errors[: said.start()] == plain_errors
    assert recorded.returncode == plain.returncode == -number
    session = told(asyncops, said)
    assert (session["state"], session["reason"]) == (state, reason)


def test_nothing_recorded_is_lost_when_the_program_is_killed(asyncops: Commands) -> None:
    """
    Everything recorded before `kill -9` is with the collector when we say how it ended.
    """
    program = asyncops.script(
        "import asyncops, os, signal\n"
        "for number in range(700):\n"
        "    with asyncops.action('step', params=number): pass\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    _, said = both(asyncops, program)
    session = told(asyncops, said)
    assert (session["state"], session["actions"]) == ("Indeterminate", 700)
    assert session["missing_records"] == 0


def test_a_collector_that_cannot_be_reached(asyncops: Commands) -> None:
    """
    Where the address is not for us to serve, the program runs, and its session waits.
    """
    program = asyncops.script("print('hello')\nraise SystemExit(4)\n")
    done = asyncops("run", "--endpoint", f"{asyncops.url}/elsewhere", program)
    assert (done.stdout, done.returncode) == ("hello\n", 4)
    assert "waits in the journal" in done.stderr.splitlines()[0]
    assert "Fail" in done.stderr.splitlines()[1]
    assert not (asyncops.directory / "collector.db").exists()
    assert list((asyncops.directory / "journal").glob("*/*/*.seg"))


@pytest.mark.parametrize(
    ("number", "state", "reason"),
    [
        (signal.SIGKILL, "Indeterminate", "process died (SIGKILL)"),
        (signal.SIGSEGV, "Fail", "SIGSEGV"),
    ],
)
def test_a_program_that_dies(asyncops: Commands, number: int, state: str, reason: str) -> None:
    """
    Killed or crashed, we die of the same signal, after we told how the program ended.
    """
    program = asyncops.script(
        f"import os\nprint('on', flush=True)\nos.kill(os.getpid(), {number})\n"
    )
    plain, said = both(asyncops, program)
    assert plain.returncode == -number
    session = told(asyncops, said)
    assert (session["state"], session["reason"]) == (state, reason)


def test_what_the_program_ignores_it_goes_on_ignoring(asyncops: Commands) -> None:
    """
    Under `nohup` and the like, the program starts with the same signals ignored.
    """
    program = asyncops.script("import signal\nprint(repr(signal.getsignal(signal.SIGHUP)))\n")

    def ignore() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    plain, _ = both(asyncops, program, preexec_fn=ignore)
    assert "SIG_IGN" in plain.stdout


def test_the_programs_own_children_are_left_alone(asyncops: Commands) -> None:
    """
    A process that the program starts records nothing and sees none of our environment.
    """
    program = asyncops.script(
        "import subprocess, sys\n"
        "code = 'import os, sys; print(sys.path, \"attrs\" in sys.modules, sorted(os.environ))'\n"
        "subprocess.run([sys.executable, '-c', code], check=True)\n"
    )
    plain, _ = both(asyncops, program)
    assert "False" in plain.stdout
    assert len(asyncops.sessions()) == 1


def test_another_sitecustomize_is_still_imported(asyncops: Commands) -> None:
    """
    The `sitecustomize` that Python would have found runs, also when it raises.
    """
    (asyncops.directory / "site").mkdir()
    site = asyncops.directory / "site" / "sitecustomize.py"
    path = os.pathsep.join([str(site.parent), asyncops.environment["PYTHONPATH"]])
    environment = {**asyncops.environment, "PYTHONPATH": path}
    site.write_text("import sys\nsys.customized = True\n")
    program = asyncops.script(
        "import sys\nprint(sys.customized, sys.modules['sitecustomize'].__file__)\n"
    )
    plain, said = both(asyncops, program, env=environment)
    assert plain.stdout.startswith("True")
    assert told(asyncops, said)["state"] == "Success"

    site.write_text("import sys\nsys.customized = False\nraise RuntimeError('bad site')\n")
    program = asyncops.script("import sys\nprint(sys.customized)\n")
    plain = asyncops.python(program, env=environment)
    recorded = asyncops("run", "--quiet", program, env=environment)
    assert (recorded.stdout, recorded.returncode) == (plain.stdout, plain.returncode)
    # once from the program's Python, and once from the one that `asyncops` itself runs on
    assert recorded.stderr == 2 * plain.stderr
    assert "bad site" in plain.stderr
    assert asyncops.sessions()[0]["state"] == "Success"


def test_a_program_with_a_session_of_its_own(asyncops: Commands) -> None:
    """
    A session that the program opens is not refused; it stands beside the one around the program.
    """
    program = asyncops.script(
        "import asyncio, asyncops\n"
        "@asyncops.tool\n"
        "async def look(): ...\n"
        "async def main():\n"
        "    async with asyncops.session('inner'):\n"
        "        await look()\n"
        "asyncio.run(main())\n"
    )
    _, said = both(asyncops, program)
    sessions = {session["name"]: session for session in asyncops.sessions()}
    assert set(sessions) == {"inner", program}
    assert sessions["inner"]["tools"] == 1
    assert sessions[program]["id"] == said["id"]
    assert {session["state"] for session in sessions.values()} == {"Success"}


def test_decorated_calls_are_recorded_without_a_session_in_the_program(asyncops: Commands) -> None:
    """
    What the program decorates is recorded into the session around it, and its tags are ours.
    """
    program = asyncops.script(
        "import asyncops\n"
        "@asyncops.action\n"
        "def step(number): return number + 1\n"
        "print([step(number) for number in range(5)])\n"
    )
    done = asyncops("run", "--name", "five steps", "--tag", "a", "--tag=b", program)
    assert done.stdout == "[1, 2, 3, 4, 5]\n"
    said = LINE.search(done.stderr)
    assert said is not None
    session = told(asyncops, said)
    assert (session["name"], session["tags"], session["actions"]) == ("five steps", ["a", "b"], 5)


def test_a_running_collector_is_used(asyncops: Commands) -> None:
    """
    Where a collector answers, the session goes there, and its address works.
    """
    program = asyncops.script("print('hello')\n")
    with asyncops.collector():
        done = asyncops("run", program)
        said = LINE.fullmatch(done.stderr)
        assert said is not None, done.stderr
        assert said["hint"] is None
        assert asyncops.get(f"/sessions/{said['id']}").status_code == 200
        assert told(asyncops, said)["state"] == "Success"


def test_quiet_says_nothing(asyncops: Commands) -> None:
    """
    With `--quiet` the output is the program's alone, and the session is recorded all the same.
    """
    program = asyncops.script("print('hello')\n")
    done = asyncops("run", "--quiet", program)
    assert (done.stdout, done.stderr) == ("hello\n", "")
    (session,) = asyncops.sessions()
    assert session["state"] == "Success"


def test_somebody_elses_port_does_not_keep_a_program_from_running(asyncops: Commands) -> None:
    """
    Where something else has the port, the collector takes another, and the session is kept.
    """
    program = asyncops.script("print('hello')\n")
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        asyncops = attrs.evolve(asyncops, port=holder.getsockname()[1])
        done = asyncops("run", program)
    assert done.stdout == "hello\n"
    said = LINE.search(done.stderr)
    assert said is not None, done.stderr
    assert told(asyncops, said)["state"] == "Success"


def test_a_broken_recorder_does_not_keep_a_program_from_running(asyncops: Commands) -> None:
    """
    Where the recording cannot even start, the program runs, and one line says so.
    """
    program = asyncops.script("print('hello')\n")
    site, broken = asyncops.directory / "site", asyncops.directory / "broken"
    site.mkdir()
    (broken / "msgspec").mkdir(parents=True)
    (broken / "msgspec" / "__init__.py").write_text("raise RuntimeError('broken on purpose')\n")
    # in the program alone; our own process needs what is broken there
    (site / "sitecustomize.py").write_text(
        f"import os, sys\nif 'ASYNCOPS_RUN' in os.environ: sys.path.insert(0, {str(broken)!r})\n"
    )
    path = os.pathsep.join([str(site), asyncops.environment["PYTHONPATH"]])
    environment = {**asyncops.environment, "PYTHONPATH": path}
    done = asyncops("run", program, env=environment)
    assert done.stdout == "hello\n"
    assert done.returncode == 0
    assert "broken on purpose" in done.stderr.splitlines()[0]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["run", "a.py", "--name", "x"], ["run", "--", "a.py", "--name", "x"]),
        (["run", "--name", "n", "a.py"], ["run", "--name", "n", "--", "a.py"]),
        (["run", "--quiet", "-m", "m"], ["run", "--quiet", "--", "-m", "m"]),
        (["run", "--tag=t", "-", "--"], ["run", "--tag=t", "--", "-", "--"]),
        (["run", "--", "a.py"], ["run", "--", "a.py"]),
        (["run", "--help"], ["run", "--help"]),
        (["show", "a.py"], ["show", "a.py"]),
        ([], []),
    ],
)
def test_where_the_program_begins(arguments: list[str], expected: list[str]) -> None:
    """
    Options before the program are ours, everything after it is the program's.
    """
    assert program_apart(arguments) == expected


@pytest.mark.parametrize(
    ("returncode", "expected"),
    [
        (0, (EndState.SUCCESS, None)),
        (3, (EndState.FAIL, "exit status 3")),
        (130, (EndState.CANCELLED, "SIGINT")),
        (143, (EndState.CANCELLED, "SIGTERM")),
        (139, (EndState.FAIL, "exit status 139")),
        (-2, (EndState.CANCELLED, "SIGINT")),
        (-11, (EndState.FAIL, "SIGSEGV")),
        (-9, (EndState.INDETERMINATE, "process died (SIGKILL)")),
        (-40, (EndState.INDETERMINATE, "process died (signal 40)")),
    ],
)
def test_how_an_exit_status_is_read(returncode: int, expected: tuple[EndState, str | None]) -> None:
    """
    Every way a process can end has its end state and reason.
    """
    assert ending(returncode) == expected
