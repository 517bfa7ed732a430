"""
Commands with state of their own: as real processes and, where a process is not what is tried, in
this one, which saves the time that a Python takes to start.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import pty
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import anyio
import attrs
import httpx
from processes import SECONDS

from asyncops.cli import main
from asyncops.cli.collector_api import collector_api

SRC = Path(__file__).parents[2] / "src"


@attrs.frozen
class Commands:
    """
    Runs `asyncops` as a user would, away from the user's own state.
    """

    directory: Path
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("ASYNCOPS_", "PYTHON", "COVERAGE_"))
            and name not in ("TRACEPARENT", "FORCE_COLOR", "COLUMNS")
        }
        return {
            **kept,
            "PYTHONPATH": str(SRC),
            "HOME": str(self.directory),
            "XDG_STATE_HOME": str(self.directory / "state"),
            "ASYNCOPS_JOURNAL_DIR": str(self.directory / "journal"),
            "ASYNCOPS_DB": str(self.directory / "collector.db"),
            "ASYNCOPS_ENDPOINT": self.url,
        }

    def arguments(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "asyncops", *arguments]

    def __call__(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """
        Run a command to its end.
        """
        return self.python("-m", "asyncops", *arguments, **options)

    def python(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """
        Run Python itself, in the same environment.
        """
        options = {"env": self.environment, "cwd": self.directory, **options}
        return subprocess.run(
            [sys.executable, *arguments],
            check=False,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            **options,
        )

    def here(
        self, *arguments: str, env: Mapping[str, str] | None = None, input: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """
        Run a command to its end in this process.
        """
        entered = io.TextIOWrapper(io.BufferedReader(io.BytesIO(input.encode())))
        said, complained = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
        status = self._main(arguments, env or self.environment, entered, said, complained)
        for stream in (said, complained):
            stream.seek(0)
        return subprocess.CompletedProcess(arguments, status, said.read(), complained.read())

    def on_a_terminal(
        self,
        columns: int,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        typed: str = "",
    ) -> tuple[int, str]:
        """
        Run a command to its end in this process, its input and output a terminal so wide, in which
        somebody typed that.

        Returns:
            The exit status and what the terminal was told.
        """
        leader, follower = pty.openpty()
        fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        environment = {**self.environment, "TERM": "xterm-256color"}
        environment.pop("NO_COLOR", None)
        said = bytearray()

        def read() -> None:
            with contextlib.suppress(OSError):  # Linux says so when the other end is closed
                while part := os.read(leader, 65_536):
                    said.extend(part)

        reader = threading.Thread(target=read)
        reader.start()
        os.write(leader, typed.encode())
        # whoever asks how wide it is looks at the descriptors, too
        before = [os.dup(number) for number in range(3)]
        for number in range(3):
            os.dup2(follower, number)
        try:
            with open(follower, "r+b", buffering=0) as raw:
                streams = [io.TextIOWrapper(raw, encoding="utf-8", write_through=True)] * 3
                status = self._main(arguments, environment | dict(env or {}), *streams)
        finally:
            for number, earlier in enumerate(before):
                os.dup2(earlier, number)
                os.close(earlier)
            reader.join()
            os.close(leader)
        return status, said.decode()

    def _main(
        self,
        arguments: tuple[str, ...],
        environment: Mapping[str, str],
        entered: io.TextIOWrapper,
        said: io.TextIOWrapper,
        complained: io.TextIOWrapper,
    ) -> int:
        with (
            mock.patch.dict(os.environ, environment, clear=True),
            mock.patch.object(sys, "argv", ["asyncops", *arguments]),
            mock.patch.object(sys, "stdin", entered),
            contextlib.chdir(self.directory),
            contextlib.redirect_stdout(said),
            contextlib.redirect_stderr(complained),
        ):
            try:
                main()
            except SystemExit as exit:
                return int(exit.code or 0)

    @contextlib.contextmanager
    def started(self, *arguments: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
        """
        A command at work; killed at the end of the block if it has not ended by then.
        """
        options = {"env": self.environment, "cwd": self.directory, **options}
        process = subprocess.Popen(
            self.arguments(*arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.communicate()

    @contextlib.contextmanager
    def collector(self) -> Iterator[subprocess.Popen[str]]:
        """
        `asyncops serve`, answering.
        """
        with self.started("serve", "--port", str(self.port)) as process:
            wait_for(lambda: self.answers() or process.poll() is not None)
            assert process.poll() is None, process.communicate()
            yield process

    def answers(self) -> bool:
        try:
            return self.get("/healthz").status_code == 200
        except httpx.TransportError:
            return False

    def get(self, path: str, **query: str) -> httpx.Response:
        # without TLS there are no certificates to load, which takes longer than the request
        return httpx.get(
            f"{self.url}{path}", params=query, timeout=SECONDS, trust_env=False, verify=False
        )

    def sessions(self) -> list[dict[str, Any]]:
        """
        All sessions, newest first, as the collector or else the database tells them.
        """

        async def read() -> list[dict[str, Any]]:
            async with collector_api(self.url, db=self.directory / "collector.db") as api:
                return await api.sessions(limit=100)

        return anyio.run(read)

    def session(self, session_id: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """
        One session with its sources, and its events.
        """

        async def read() -> tuple[dict[str, Any], list[dict[str, Any]]]:
            async with collector_api(self.url, db=self.directory / "collector.db") as api:
                return await api.find(session_id), await api.events(session_id)

        return anyio.run(read)

    def script(self, source: str, name: str = "program.py") -> str:
        """
        A program of the user's in the working directory; gives its name.
        """
        (self.directory / name).write_text(source)
        return name


def wait_for(condition: Callable[[], object], *, seconds: float = SECONDS) -> None:
    """
    Return once *condition* holds; fail the test if it does not in time.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
