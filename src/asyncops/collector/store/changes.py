"""
Which sessions changed, told to whoever watches them.

Everything here happens on the collector's loop. A watcher keeps a bounded set of the sessions that
changed since it last asked, so one that is slow misses repetitions, not sessions, and holds up
nobody.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from types import TracebackType
from typing import Self

import anyio

__all__ = ["Changes", "Watcher"]

MAX_PENDING = 1_000
"""How many changed sessions wait for one watcher; the oldest are forgotten beyond that."""


class Changes:
    """
    Where a store tells what it changed.
    """

    def __init__(self) -> None:
        self._watchers: set[Watcher] = set()
        self._last: dict[str, int] = {}
        self._closed = False

    def publish(self, project: str, sessions: Iterable[str]) -> None:
        """
        Tell everybody who watches *project* that *sessions* changed.
        """
        sessions = tuple(sessions)
        if sessions:
            self._last[project] = time.time_ns()
        for watcher in self._watchers:
            watcher.notice(project, sessions)

    def last_at(self, project: str) -> int:
        """
        When something of *project* changed last, nanoseconds since the epoch; 0 for not yet.
        """
        return self._last.get(project, 0)

    def watch(self, project: str, *, sessions: Collection[str] | None = None) -> Watcher:
        """
        Watch *project*, or some of its sessions, for as long as the block lasts.
        """
        return Watcher(self._watchers, project, sessions, closed=self._closed)

    def close(self) -> None:
        """
        End all watching: the collector is going down.
        """
        self._closed = True
        for watcher in self._watchers:
            watcher.end()


class Watcher:
    """
    One who watches. `closed` once there is nothing more to wait for.
    """

    def __init__(
        self,
        among: set[Watcher],
        project: str,
        sessions: Collection[str] | None,
        *,
        closed: bool,
    ) -> None:
        self.closed = closed
        self._among = among
        self._project = project
        self._sessions = sessions
        self._pending: dict[str, None] = {}
        self._woken = anyio.Event()
        if closed:
            self._woken.set()

    def __enter__(self) -> Self:
        self._among.add(self)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._among.discard(self)

    def notice(self, project: str, sessions: tuple[str, ...]) -> None:
        if project != self._project:
            return
        for session in sessions:
            if self._sessions is None or session in self._sessions:
                self._pending[session] = None
                self._woken.set()
        while len(self._pending) > MAX_PENDING:
            del self._pending[next(iter(self._pending))]

    def end(self) -> None:
        self.closed = True
        self._woken.set()

    async def changed(self, *, timeout: float) -> tuple[str, ...]:
        """
        The sessions that changed since the last call; none after *timeout* seconds without any.
        """
        with anyio.move_on_after(timeout):
            await self._woken.wait()
        sessions = tuple(self._pending)
        self._pending.clear()
        if not self.closed:
            self._woken = anyio.Event()
        return sessions
