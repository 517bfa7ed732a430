"""
Which signal it was: an observer in C that leaves the host's signal handling alone.

Where a signal's action is the default, `faulthandler.register(..., chain=True)` writes a few bytes
to a file of ours when it comes, from C, and passes it on: the process dies of it as it would have.
`signal.getsignal` goes on saying what it said, the exit status stays what it was, and handlers the
host sets afterwards take our observer's place. After a death the file tells what it died of;
nothing else can, because a signal's default action runs no Python.

A signal that anybody handles is none of our business. Besides, an observer that passes on to a
handler can be called again within itself, and a burst of signals would overflow its stack.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import functools
import os
import signal
import time
import weakref
from pathlib import Path

import attrs

from ._directory import open_new

__all__ = ["interrupts", "observe", "observed", "outlive"]

OUTLIVED_SECONDS = 1.0
"""A process that is alive so long after a signal does not die of it."""

_FATAL = "signal-fatal"
_FATAL_SIGNALS = {
    "Segmentation": signal.SIGSEGV,
    "Aborted": signal.SIGABRT,
    "Bus": signal.SIGBUS,
    "Floating": signal.SIGFPE,
    "Illegal": signal.SIGILL,
}
"""By the word that faulthandler calls them by: "Fatal Python error: Segmentation fault"."""

_SIGNALS = {f"signal-{each.name}": each for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}


@attrs.define(eq=False)
class _File:
    """
    A file that the observer writes to, for as long as its descriptor is ours: a host may close all
    there are and open files of its own.
    """

    fd: int
    identity: tuple[int, int] = attrs.field(init=False)
    size: int = 0
    since: float = 0.0
    """The size it was last seen to have, and since when."""

    def __attrs_post_init__(self) -> None:
        self.identity = self._identity()

    def _identity(self) -> tuple[int, int]:
        status = os.fstat(self.fd)
        return status.st_dev, status.st_ino

    @property
    def ours(self) -> bool:
        with contextlib.suppress(OSError):
            return self._identity() == self.identity
        return False

    def replace(self, fd: int) -> None:
        """
        Write to the file that *fd* is open for, which is closed here, without a word to
        `faulthandler`: the host may have registered something of its own there meanwhile.
        """
        if self.ours:
            os.dup2(fd, self.fd, inheritable=False)
            self.identity = self._identity()
        os.close(fd)


_files: dict[str, _File] = {}
"""By their names in a journal's directory."""

_pid = 0
_directory: Path | None = None
_runner: weakref.ref[asyncio.Runner] | None = None


def observe(directory: Path) -> None:
    """
    Let the signals of this process be known in *directory*. Registered once per process; further
    directories get links to the same files. Never raises `Exception`.
    """
    global _pid, _directory
    with contextlib.suppress(Exception):
        if not _files:
            _register(directory)
        elif _pid != os.getpid() or not _link(directory):
            for name, file in _files.items():
                file.replace(_open(directory, name))
        else:
            return
        _pid, _directory = os.getpid(), directory


def _register(directory: Path) -> None:
    caught = _caught()
    for name, number in _SIGNALS.items():
        # To the first process of a container the default is to ignore it.
        deadly = signal.getsignal(number) == signal.SIG_DFL and os.getpid() != 1
        if deadly and number not in caught:
            file = _File(_open(directory, name))
            faulthandler.register(number, file=file.fd, all_threads=False, chain=True)
            _files[name] = file
    if not faulthandler.is_enabled() and caught.isdisjoint(_FATAL_SIGNALS.values()):
        file = _File(_open(directory, _FATAL))
        faulthandler.enable(file=file.fd, all_threads=False)
        _files[_FATAL] = file


def _caught() -> set[int]:
    """
    The signals that have a handler, also where that was set by C code, and `signal` knows nothing
    of it: the host's own `faulthandler`, or another language's runtime. Linux tells (`proc(5)`).
    """
    with contextlib.suppress(OSError), open("/proc/self/status") as status:
        mask = next(int(line.split()[1], 16) for line in status if line.startswith("SigCgt:"))
        return {number for number in range(1, 65) if mask >> (number - 1) & 1}
    return set()


def _link(directory: Path) -> bool:
    """
    Let the files be found in *directory*, too; says whether they are still where they were.
    """
    assert _directory is not None
    try:
        for name in _files:
            os.link(_directory / name, directory / name)
    except OSError:
        for name in _files:
            (directory / name).unlink(missing_ok=True)
        return False
    return True


def _open(directory: Path, name: str) -> int:
    return open_new(directory / name, os.O_APPEND)


def outlive() -> None:
    """
    Forget the signals that came a while ago: whatever this process will die of, it is not those.

    To be called now and then. Never raises `Exception`.
    """
    now = time.monotonic()  # not the files' times: clocks are set
    for file in _files.values():
        with contextlib.suppress(OSError):
            size = os.fstat(file.fd).st_size
            if size != file.size:
                file.size, file.since = size, now
            elif size and now - file.since >= OUTLIVED_SECONDS and file.ours:
                os.ftruncate(file.fd, 0)


def interrupts() -> int:
    """
    A number that grows with each Ctrl-C that `asyncio.run` makes a cancellation of.
    """
    global _runner
    handler = signal.getsignal(signal.SIGINT)
    if isinstance(handler, functools.partial):
        runner = getattr(handler.func, "__self__", None)
        if isinstance(runner, asyncio.Runner):
            _runner = weakref.ref(runner)
    # It takes its handler away before it cancels what is left, which wants to know all the same.
    last = None if _runner is None else _runner()
    return getattr(last, "_interrupt_count", 0)


def observed(directory: Path) -> str | None:
    """
    The last signal that the process behind *directory* was seen to get and not seen to outlive.
    """
    found: list[tuple[int, str]] = []
    for name in (*_SIGNALS, _FATAL):
        path = directory / name
        with contextlib.suppress(OSError):
            status = path.stat()
            said = _fatal_name(path) if name == _FATAL else _SIGNALS[name].name
            if status.st_size and said is not None:
                found.append((status.st_mtime_ns, said))
    return max(found)[1] if found else None


def _fatal_name(path: Path) -> str | None:
    said = path.read_text(errors="replace").partition("\n")[0]
    return next((each.name for word, each in _FATAL_SIGNALS.items() if word in said), None)


def _after_fork() -> None:
    """
    A child's signals are not its parent's: until it has files of its own, they go nowhere.
    """
    with contextlib.suppress(OSError):
        for file in _files.values():
            file.replace(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC))


os.register_at_fork(after_in_child=_after_fork)
