"""
Which signal it was: an observer in C that leaves the host's signal handling alone.

`faulthandler.register(..., chain=True)` writes a few bytes to a file of ours when the signal comes,
from C, and passes it on. `signal.getsignal` goes on saying what it said, the exit status stays what
it was, and handlers the host sets before or after keep working. After a death the file tells what
it died of; nothing else can, because a signal's default action runs no Python.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import functools
import os
import signal
from pathlib import Path

import attrs

from ._directory import open_new

__all__ = ["Observation", "interrupts", "observe", "observed"]

_FATAL = "signal-fatal"
_SIGNALS = {name: getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP")}

_files: dict[str, int] = {}
"""The descriptors the observer writes to, by file name."""

_pid = 0
_directory: Path | None = None


@attrs.frozen
class Observation:
    """
    A signal that came. `name` is None for a fatal one whose trace does not say which.
    """

    name: str
    at: float
    """Seconds since the epoch."""


def observe(directory: Path) -> None:
    """
    Let the signals of this process be known in *directory*. Registered once per process; further
    directories get links to the same files. Never raises `Exception`.
    """
    global _pid, _directory
    with contextlib.suppress(Exception):
        if _pid == os.getpid() and _directory is not None:
            for name in _files:
                os.link(_directory / name, directory / name)
            return
        for name, number in _SIGNALS.items():
            if signal.getsignal(number) == signal.SIG_IGN and f"signal-{name}" not in _files:
                continue  # what is ignored (nohup) must stay so also in programs the host starts
            fd = open_new(directory / f"signal-{name}")
            # In a forked child this moves an existing registration to a file of the child's own.
            faulthandler.register(number, file=fd, all_threads=False, chain=True)
            _files[f"signal-{name}"] = fd
        if not faulthandler.is_enabled() or _FATAL in _files:  # else the host's, or pytest's
            fd = open_new(directory / _FATAL)
            faulthandler.enable(file=fd, all_threads=False)
            _files[_FATAL] = fd
        _pid, _directory = os.getpid(), directory


def interrupts() -> int:
    """
    A number that grows with each Ctrl-C, as far as anybody can tell.
    """
    size = 0
    with contextlib.suppress(OSError, KeyError):
        size = os.fstat(_files["signal-SIGINT"]).st_size
    # asyncio.run installs its own handler over our observer if it starts after us; it counts, too.
    handler = signal.getsignal(signal.SIGINT)
    if isinstance(handler, functools.partial):
        runner = getattr(handler.func, "__self__", None)
        if isinstance(runner, asyncio.Runner):
            size += getattr(runner, "_interrupt_count", 0)
    return size


def observed(directory: Path) -> Observation | None:
    """
    The last signal that the process behind *directory* was seen to get.
    """
    found: list[Observation] = []
    for name in (*_SIGNALS, _FATAL):
        path = directory / (name if name == _FATAL else f"signal-{name}")
        with contextlib.suppress(OSError):
            status = path.stat()
            if status.st_size > 0:
                said = _fatal_name(path) if name == _FATAL else name
                found.append(Observation(said, status.st_mtime))
    return max(found, key=lambda observation: observation.at, default=None)


def _fatal_name(path: Path) -> str:
    """
    faulthandler's first line is "Fatal Python error: Segmentation fault" and the like.
    """
    said = path.read_text(errors="replace").partition("\n")[0]
    words = {
        "Segmentation": "SIGSEGV",
        "Aborted": "SIGABRT",
        "Bus": "SIGBUS",
        "Floating": "SIGFPE",
        "Illegal": "SIGILL",
    }
    return next((name for word, name in words.items() if word in said), "SIGABRT")


def _after_fork() -> None:
    """
    A child's signals are not its parent's: until it has files of its own, they go nowhere.
    """
    with contextlib.suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        for fd in _files.values():
            os.dup2(nowhere, fd, inheritable=False)
        os.close(nowhere)


os.register_at_fork(after_in_child=_after_fork)
