"""
`asyncops run`: somebody's own, unmodified program as a session.

The program runs as a child, exactly as Python would run it, and records itself (`_activate`). This
process starts a collector if none is there, waits, says how the program ended, and ends likewise.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, NoReturn
from urllib.parse import urlsplit

import anyio
import attrs
from cyclopts import Parameter

from .._configuration import Configuration
from .._events import EndState
from .._exceptions import AsyncopsError, ConfigurationError
from .._ids import new_uuid
from .._run import conclude
from ..collector.app import CollectorSettings
from ..collector.server import EmbeddedCollector
from .collector_api import answers, collector_api
from .journals import THIS_MACHINE, deliver_journals
from .output import CommandError, notice

__all__ = ["ending", "program_apart", "run"]

_CANCELLING = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
_CRASHING = {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL}

_FORWARDED = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)

TELLING_SECONDS = 3.0
"""How long the end of a run waits for the collector to say how the session ended."""

_TAKE_A_VALUE = frozenset({"--name", "--tag", "--endpoint", "--port"})


def program_apart(arguments: Sequence[str]) -> list[str]:
    """
    *arguments* of `asyncops`, with `--` before the program that `run` is to run.

    What follows the program is the program's, whatever it looks like.
    """
    if not arguments or arguments[0] != "run":
        return list(arguments)
    position = 1
    while position < len(arguments):
        argument = arguments[position]
        if argument == "--":
            break
        if argument in ("-", "-m") or not argument.startswith("-"):
            return [*arguments[:position], "--", *arguments[position:]]
        position += 2 if argument in _TAKE_A_VALUE else 1
    return list(arguments)


def ending(returncode: int) -> tuple[EndState, str | None]:
    """
    How a program ended, as far as its exit status (or, if negative, the signal) tells.
    """
    if returncode == 0:
        return EndState.SUCCESS, None
    # a shell says 128 + n where a program died of signal n, and programs say so themselves
    number = -returncode if returncode < 0 else returncode - 128
    if number in _CANCELLING:
        return EndState.CANCELLED, signal.Signals(number).name
    if returncode > 0:
        return EndState.FAIL, f"exit status {returncode}"
    name = _signal_name(number)
    if number in _CRASHING:
        return EndState.FAIL, name
    return EndState.INDETERMINATE, f"process died ({name})"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


def run(
    *program: Annotated[str, Parameter(allow_leading_hyphen=True)],
    name: str | None = None,
    tag: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    endpoint: str | None = None,
    port: int | None = None,
    quiet: Annotated[bool, Parameter(negative=())] = False,
) -> NoReturn:
    """
    Run a Python program, unchanged, as a session: `asyncops run [options] script.py [arguments]` or
    `asyncops run [options] -m module [arguments]`.

    Its output and exit status are what they would be under `python`.

    Parameters
    ----------
    program
        What `python` would be given.
    name
        The session's name. Default: the program's.
    tag
        A tag of the session; may be repeated.
    endpoint
        The collector's address. Default: ASYNCOPS_ENDPOINT, else this machine's. If none answers on
        this machine, one is started for as long as the program runs.
    port
        Short for `--endpoint http://127.0.0.1:PORT`.
    quiet
        Do not print the session's address at the end.
    """
    if program in ((), ("-m",)):
        raise CommandError("run which program? asyncops run script.py, or asyncops run -m module")
    if port is not None:
        if endpoint is not None:
            raise CommandError("give --endpoint or --port, not both")
        endpoint = f"http://127.0.0.1:{port}"
    said: dict[str, Any] = {"tags": tag} if tag else {}
    if endpoint is not None:
        said["endpoint"] = endpoint
    wanted = Configuration(**said)
    session_id = new_uuid()
    title = name or _title(program)
    returncode: int | None = None
    try:
        with _collector(wanted) as collector:
            task = {
                "session_id": session_id,
                "name": title,
                "tags": list(wanted.tags),
                "endpoint": collector.endpoint,
            }
            returncode = _run_child([sys.executable, *program], _environment(task))
            state = _tell(session_id, returncode, collector, name=title)
        if not quiet:
            address = f"{collector.endpoint}/sessions/{session_id}"
            hint = "  (see it with: asyncops serve)" if collector.embedded else ""
            notice(f"session {title} {state}  {address}{hint}")
    except KeyboardInterrupt:
        # after the program has ended, Ctrl-C is for us: whoever is in a hurry does without the rest
        if returncode is None:
            raise
    _end_like(returncode)


def _title(program: Sequence[str]) -> str:
    return program[1] if program[0] == "-m" else Path(program[0]).name


# -- the collector ----------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class _Collector:
    """
    Where the session goes.

    Attributes:
        endpoint: The address.
        embedded: Whether it runs in this process.
        answers: Whether it did when the program was started.
    """

    endpoint: str
    embedded: bool = False
    answers: bool = True


@contextlib.contextmanager
def _collector(wanted: Configuration) -> Iterator[_Collector]:
    """
    The collector that answers at the address wanted, else our own for as long as the block lasts.

    Whatever goes wrong here, the program is run: its journal keeps what it records.
    """
    parts = urlsplit(wanted.endpoint)
    if anyio.run(answers, wanted.endpoint):
        yield _Collector(endpoint=wanted.endpoint)
    elif parts.scheme != "http" or parts.path or parts.hostname not in THIS_MACHINE:
        notice(f"no collector answers at {wanted.endpoint}; what is recorded waits in the journal")
        yield _Collector(endpoint=wanted.endpoint, answers=False)
    else:
        with contextlib.ExitStack() as stack:
            try:
                embedded = stack.enter_context(_embedded(parts.port or 80))
            except AsyncopsError as error:
                notice(f"cannot start a collector ({error}); what is recorded waits in the journal")
                collector = _Collector(endpoint=wanted.endpoint, answers=False)
            else:
                collector = _Collector(endpoint=embedded.url, embedded=True)
            yield collector


def _embedded(port: int) -> EmbeddedCollector:
    try:
        return EmbeddedCollector(CollectorSettings(port=port))
    except ConfigurationError:  # somebody else's port
        return EmbeddedCollector(CollectorSettings(port=0))


def _tell(session_id: str, returncode: int, collector: _Collector, *, name: str) -> str:
    """
    Say how the program ended; gives the state that the collector, who knows more, then tells.
    """
    state, reason = ending(returncode)
    try:
        if not collector.answers:
            configuration = Configuration(endpoint=collector.endpoint, shutdown_timeout=0)
            conclude(session_id, state, reason, configuration, name=name)
            return state
        configuration = Configuration(endpoint=collector.endpoint)
        anyio.run(_deliver, configuration, session_id)
        conclude(session_id, state, reason, configuration, name=name)
        return anyio.run(_told_state, configuration, session_id) or state
    except Exception as error:  # whatever it is, we end as the program did
        notice(f"how the program ended is not recorded: {error!r}")
        return state


async def _deliver(configuration: Configuration, session_id: str) -> None:
    """
    Send what the program had no time to send.
    """
    with anyio.move_on_after(TELLING_SECONDS):
        await deliver_journals(configuration, since=session_id)


async def _told_state(configuration: Configuration, session_id: str) -> str | None:
    """
    How the session ended according to the collector, once it knows; None if it takes too long.
    """
    with anyio.move_on_after(TELLING_SECONDS):
        async with collector_api(configuration.endpoint) as api:
            while True:
                session = await api.session(session_id)
                if session is not None and session["state"] != "Running":
                    return str(session["state"])
                await anyio.sleep(0.05)
    return None


# -- the program ------------------------------------------------------------------------------


def _environment(task: Mapping[str, Any]) -> dict[str, str]:
    """
    Our environment, and what makes a Python started in it record itself.
    """
    environment = dict(os.environ)
    activate = str(Path(__file__).with_name("_activate"))
    before = environment.get("PYTHONPATH")
    if before is not None:
        environment["ASYNCOPS_RUN_PYTHONPATH"] = before
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (activate, before)))
    environment["ASYNCOPS_RUN"] = json.dumps(task)
    return environment


def _run_child(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """
    Run *command* and give its exit status, or minus the signal it died of.

    What is asked of this process is asked of the child. What a terminal's keys ask (Ctrl-C, say)
    reaches the child by itself, and who is asked twice may think it is to hurry.
    """
    child: subprocess.Popen[bytes] | None = None
    early: list[int] = []

    def forward(number: int, frame: FrameType | None) -> None:
        if child is None:
            early.append(number)
        else:
            child.send_signal(number)

    def leave_alone(number: int, frame: FrameType | None) -> None:
        if child is None:
            early.append(number)

    before = {}
    for number, handler in (
        *((number, leave_alone) for number in (signal.SIGINT, signal.SIGQUIT)),
        *((number, forward) for number in _FORWARDED),
    ):
        # What is ignored (nohup, a shell's background job) stays so, for us and for the child. A
        # handler, on the other hand, is not inherited: the child starts with the default.
        if signal.getsignal(number) != signal.SIG_IGN:
            before[number] = signal.signal(number, handler)
    try:
        child = subprocess.Popen(command, env=environment)  # noqa: S603 - that is the purpose
        for missed in early:
            child.send_signal(missed)
        return child.wait()
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


def _end_like(returncode: int) -> NoReturn:
    """
    End as the program did, with its exit status or of the same signal.
    """
    if returncode < 0:
        sys.stdout.flush()
        # one core dump, the program's, is enough
        _, hard = resource.getrlimit(resource.RLIMIT_CORE)
        resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
        if -returncode not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(-returncode, signal.SIG_DFL)
        os.kill(os.getpid(), -returncode)
    raise SystemExit(returncode)
