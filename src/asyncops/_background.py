"""
The SDK's own event loop: one daemon thread, started with the first session.

Nothing of ours runs in the host's loop: a task there would die with it, hold up its end, and share
its cancellations. The thread is never joined without a deadline.

A fork waits until the thread has nothing to do. In the middle of importing httpx, say, it would
leave a module in the child that is half there and for ever locked, and the host's own `import
httpx` would hang.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import selectors
import socket
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from ._giving_way import give_way
from ._log import trouble

__all__ = ["Background", "background"]

T = TypeVar("T")

FORK_SECONDS = 5.0
"""How long a fork waits at most, whatever the thread is stuck in."""


class _Selector(selectors.DefaultSelector):
    """
    Holds `awake` except while the loop waits in it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.awake = threading.RLock()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.awake.release()
        try:
            return super().select(timeout)
        finally:
            self.awake.acquire()


class _Loop(asyncio.SelectorEventLoop):
    """
    An event loop that needs no executor, and tells when it is at rest.

    While the interpreter exits no executor takes work any more, so the usual `getaddrinfo` would
    fail just when the last batch is to be sent. Here it blocks, and blocks nobody but us.
    """

    def __init__(self, selector: _Selector) -> None:
        self.awake = selector.awake
        super().__init__(selector)

    def run_forever(self) -> None:
        with self.awake:
            super().run_forever()

    async def getaddrinfo(
        self,
        host: Any,
        port: Any,
        *,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> Any:
        self.awake.release()  # it can take long
        try:
            return socket.getaddrinfo(host, port, family, type, proto, flags)
        finally:
            self.awake.acquire()


class Background:
    """
    A thread that runs an event loop for as long as the process lives.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._loop: _Loop | None = None
        self._promised: set[Future[Any]] = set()
        self._parents: list[object] = []

    def run(
        self, coroutine: Coroutine[Any, Any, T], *, first: Callable[[], None]
    ) -> Future[T] | None:
        """
        Run *coroutine* on the loop, starting the thread if need be; from any thread.

        Args:
            coroutine: What to run.
            first: Called once in the thread before anything else.

        Returns:
            Its result to come, or None where no thread can be had (a subinterpreter, a limit, the
            interpreter's exit): then the journal is all there is, and the next process sends it.
        """
        with self._lock:
            try:
                loop = self._loop or self._start(first)
            except (RuntimeError, OSError) as error:
                coroutine.close()
                if "shutdown" not in str(error):  # there it is as it should be
                    trouble(
                        "thread",
                        "asyncops cannot start its thread (%s): its records stay in the journal"
                        " until another session begins here, or another process sends them",
                        error,
                    )
                return None
            future = asyncio.run_coroutine_threadsafe(coroutine, loop)
            self._promised.add(future)
            future.add_done_callback(self._promised.discard)
            return future

    def _start(self, first: Callable[[], None]) -> _Loop:
        """
        Start the thread with its loop.

        Raises:
            RuntimeError: No thread can be had.
            OSError: No descriptor can be had.
        """
        selector = _Selector()
        try:
            for end in socket.socketpair():  # a loop that finds none for itself complains later
                end.close()
        except OSError:
            selector.close()
            raise
        # there before it runs: a signal handler or finalizer that records while the thread starts
        # must neither wait for that nor start another
        self._loop = loop = _Loop(selector)
        thread = threading.Thread(target=_serve, args=(loop, first), name="asyncops", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            self._loop = None
            loop.close()
            raise
        return loop

    def call_soon(self, callback: Callable[[], object]) -> None:
        """
        Call *callback* on the loop; does nothing where there is none. From any thread.
        """
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # closed
                loop.call_soon_threadsafe(callback)

    def rest(self) -> None:
        """
        Wait until the thread is at rest, and keep it so until `resume`.
        """
        if self._loop is not None:
            self._loop.awake.acquire(timeout=FORK_SECONDS)

    def resume(self) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # it never came to rest, or has just begun
                self._loop.awake.release()

    def lost(self, error: OSError) -> None:
        """
        The loop cannot go on: the host has closed every descriptor there was, ours among them. Each
        result to come is False, so that nobody waits for it.
        """
        self._parents.append(self._loop)
        self._loop = None
        for future in list(self._promised):
            future.set_result(False)
        trouble(
            "thread",
            "asyncops lost its thread (%s): its records stay in the journal until another process"
            " sends them",
            error,
        )

    def forget(self) -> None:
        """
        In a forked child, where the thread is gone: start a new one when next needed.
        """
        self._lock = threading.RLock()
        # Closing the parent's loop here would reach into the epoll it shares with the parent, so
        # it is only kept from being collected.
        self._parents.append(self._loop)
        self._loop = None
        self._promised = set()


def _serve(loop: _Loop, first: Callable[[], None]) -> None:
    give_way()  # who started us goes on first
    first()
    asyncio.set_event_loop(loop)
    loop.set_exception_handler(_went_wrong)
    try:
        loop.run_forever()
    except OSError as error:
        background.lost(error)


def _went_wrong(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """
    What went wrong on our loop is told as ours; asyncio would log it as an error of the program's.
    """
    trouble("loop", "asyncops: %s: %r", context.get("message"), context.get("exception"))


background = Background()
"""The one of this process."""

os.register_at_fork(before=background.rest, after_in_parent=background.resume)
