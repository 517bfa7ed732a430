"""
Host programs with asyncops, and the same without it.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import attrs
from processes import SECONDS

from asyncops._events import Record
from asyncops._recovery import recover
from asyncops._wire import decode

__all__ = ["Ended", "left_behind", "run_both", "without_asyncops"]

_WITHOUT = '''
"""
asyncops, uninstalled: whatever is asked of it, nothing happens.
"""

import contextlib


class SessionStateError(Exception):
    pass


def session(*arguments, **options):
    return contextlib.nullcontext()


def init(*arguments, **options):
    pass


async def start_session(*arguments, **options):
    pass


async def end_session(*arguments, **options):
    pass


def record(event):
    pass


def ActionEvent(*arguments, **options):
    pass


def Configuration(*arguments, **options):
    pass
'''


def without_asyncops(directory: Path) -> dict[str, str]:
    """
    Environment variables by which a program finds an asyncops that does nothing.
    """
    stub = directory / "without"
    stub.mkdir(exist_ok=True)
    (stub / "asyncops.py").write_text(_WITHOUT)
    path = os.pathsep.join(filter(None, (str(stub), os.environ.get("PYTHONPATH"))))
    return {"PYTHONPATH": path}


@attrs.frozen
class Ended:
    """
    How a program ended, and all it said.
    """

    status: int
    out: str
    err: str


def run_both(source: str, directory: Path, **environment: str) -> tuple[Ended, Ended]:
    """
    How *source* ends as a program with asyncops, and how without.
    """
    path = directory / "host.py"
    path.write_text(textwrap.dedent(source))
    ended = []
    with contextlib.ExitStack() as stack:
        processes = []
        for more in ({}, without_asyncops(directory)):
            process = subprocess.Popen(
                [sys.executable, "-W", "error", str(path)],
                env={**os.environ, **environment, **more},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            processes.append(process)
        for process in processes:
            out, err = process.communicate(timeout=SECONDS)
            ended.append(Ended(process.returncode, out, err))
    return ended[0], ended[1]


def left_behind(directory: Path) -> list[Record]:
    """
    What the dead programs of the test left in their journals under *directory*, with what whoever
    adopts them adds.
    """
    found: list[Record] = []
    for root in (directory / "journal").iterdir():
        for journal in recover(root):
            while (chunk := journal.read(10_000, 1 << 24)) is not None:
                found += map(decode, chunk.lines)
            journal.close(delivered=False)
    return found
