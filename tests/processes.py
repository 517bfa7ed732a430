"""
Real processes for tests: a collector, and programs that record to it.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import httpx

__all__ = [
    "Collector",
    "Program",
    "collector",
    "hear_signals",
    "least",
    "own_port",
    "program",
    "until",
]

SECONDS = 60.0
"""How long anything may take before a test gives up on it: on a busy machine, much is slow."""


def hear_signals() -> None:
    """
    Let the programs that are started from here be interrupted. Under nohup, or in the background of
    a shell, the signals for that are ignored, and so they would be in every program started there.
    """
    for number, handler in (
        (signal.SIGHUP, signal.SIG_DFL),
        (signal.SIGINT, signal.default_int_handler),
    ):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, handler)


def until(condition: Callable[[], Any], *, seconds: float = SECONDS) -> Any:
    """
    What *condition* returns once that is true.
    """
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
    return found


def least(measure: Callable[[], float], *, within: float) -> float:
    """
    The least that *measure* tells, asked up to a dozen times until it is *within* that: a machine
    that is busy makes anything take longer, and nothing shorter.
    """
    found = measure()
    for _ in range(11):
        if found <= within:
            break
        found = min(found, measure())
    return found


@contextlib.contextmanager
def own_port() -> Iterator[int]:
    """
    A port of 127.0.0.1 that no other program is given meanwhile. Who connects to it is refused, but
    while a collector listens there.
    """
    with socket.socket() as holder:
        # bound, and not listening: who names the port, and sets the same, may listen on it
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        port: int = holder.getsockname()[1]
        yield port


@attrs.define
class Collector:
    """
    `asyncops serve`, answering.
    """

    url: str
    process: subprocess.Popen[str]

    def get(self, path: str, **query: str) -> Any:
        # without TLS there are no certificates to load, which takes longer than the request
        answer = httpx.get(
            f"{self.url}{path}", params=query, trust_env=False, verify=False, timeout=SECONDS
        )
        return answer.raise_for_status().json()

    def sessions(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.get("/api/sessions")["sessions"]
        return found

    def session(self, session_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.get(f"/api/sessions/{session_id}")
        return found

    def ended(self, session_id: str) -> dict[str, Any]:
        """
        The session, once it is there and has ended.
        """

        def told() -> dict[str, Any] | None:
            here = [each for each in self.sessions() if each["id"] == session_id]
            return self.session(session_id) if here and here[0]["state"] != "Running" else None

        found: dict[str, Any] = until(told)
        return found

    def events(self, session_id: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        cursor: dict[str, str] = {}
        while True:
            page = self.get(f"/api/sessions/{session_id}/events", limit="500", **cursor)
            found += page["events"]
            if page["next"] is None:
                return found
            cursor = {"cursor": page["next"]}


@contextlib.contextmanager
def collector(port: int = 0) -> Iterator[Collector]:
    """
    A collector of the test's own database and journals.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "asyncops", "serve", "--port", str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://\S+", line)
        assert found is not None, (line, process.communicate())
        yield Collector(found[0], process)
    finally:
        process.send_signal(signal.SIGCONT)  # a test that failed may have left it stopped
        process.terminate()
        try:
            process.communicate(timeout=SECONDS)
        finally:
            process.kill()


@attrs.define
class Program:
    """
    A program at work.
    """

    process: subprocess.Popen[str]

    def line(self) -> str:
        """
        The next line it prints.
        """
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def wait(self) -> tuple[int, str, str]:
        """
        Its exit status and what else it printed.
        """
        out, err = self.process.communicate(timeout=SECONDS)
        return self.process.returncode, out, err


@contextlib.contextmanager
def program(source: str, directory: Path, **environment: str) -> Iterator[Program]:
    """
    *source* as a program of its own.
    """
    # in a place of its own: another that is just starting may still be to read its source
    path = Path(tempfile.mkdtemp(dir=directory)) / "program.py"
    path.write_text(textwrap.dedent(source))
    process = subprocess.Popen(
        [sys.executable, "-W", "error", str(path)],
        env={**os.environ, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield Program(process)
    finally:
        if process.poll() is None:
            process.kill()
        for stream in (process.stdin, process.stdout, process.stderr):
            # what it was told and did not live to read is no second failure
            with contextlib.suppress(BrokenPipeError):
                if stream is not None:
                    stream.close()
        process.wait()
