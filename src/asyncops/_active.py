"""
Which session is active: the only global state there is about sessions.

The context says *whose* work this is; the process slot says *whether* a session may begin. The lock
is held for a few instructions and never across an await.
"""

from __future__ import annotations

import asyncio
import enum
import os
import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING

import attrs

from ._exceptions import SessionActiveError

if TYPE_CHECKING:
    from ._budgets import Account
    from ._client import Client
    from ._session import Session

__all__ = ["ActiveSession", "current", "enter", "leave", "stay_outside"]


@attrs.define(eq=False, kw_only=True)
class ActiveSession:
    """
    What recording has to know of a session that has begun.

    Attributes:
        id: Its id.
        name: Its name.
        client: What records it.
        handle: What users hold of it.
        owner: Whether this process may end it; one that joined may not.
        parent_id: The event, in another process, that everything here happens within.
        ambient: Whether it gives way to any other: the session that `asyncops run` wraps around a
            program is not one that the program started.
        loop: The event loop it was started in, if any.
        budget: What it has spent of its budget, where it has one.
        ended: Whether it has ended, or this process has left it.
        beneath: The ambient session it took the place of.
    """

    id: str
    name: str | None
    client: Client
    handle: Session
    owner: bool = True
    parent_id: str | None = None
    ambient: bool = False
    loop: asyncio.AbstractEventLoop | None = None
    budget: Account | None = None
    ended: bool = False
    beneath: ActiveSession | None = None


class _Outside(enum.Enum):
    """
    The context of our own background work, which belongs to no session.
    """

    TOKEN = enum.auto()


_context: ContextVar[ActiveSession | _Outside | None] = ContextVar("asyncops_session", default=None)
_lock = threading.Lock()
_slot: ActiveSession | None = None


def current() -> ActiveSession | None:
    """
    The session this work belongs to: the context's, *ended or not*, so that a task left over from
    one session never writes into the next; else the process's, because a session that was started
    in another task or thread is invisible to this context.
    """
    active = _context.get()
    if active is None:
        return _slot
    return None if active is _Outside.TOKEN else active


def enter(active: ActiveSession, *, process: bool) -> ActiveSession | None:
    """
    Make *active* the session of this context and, if *process*, the only one of the process.

    Returns:
        The session whose place it took because that one's event loop is closed; it cannot go on,
        and the caller ends it.

    Raises:
        SessionActiveError: There is one already.
    """
    global _slot
    abandoned = None
    with _lock:
        if process:
            holder = _slot
            if holder is not None and not holder.ended:
                if holder.ambient:
                    active.beneath = holder
                elif holder.loop is not None and holder.loop.is_closed():
                    abandoned = holder
                else:
                    raise SessionActiveError(holder.id, holder.name)
            _slot = active
        else:
            holding = _context.get()
            if isinstance(holding, ActiveSession) and not holding.ended and not holding.ambient:
                raise SessionActiveError(holding.id, holding.name)
    _context.set(active)
    return abandoned


def leave(active: ActiveSession) -> None:
    """
    *active* is over: free the slot, and this context if it is in it. Does no harm when repeated.
    """
    global _slot
    active.ended = True
    with _lock:
        if _slot is active:
            beneath = active.beneath
            _slot = beneath if beneath is not None and not beneath.ended else None
    if _context.get() is active:
        _context.set(None)


def stay_outside() -> None:
    """
    Nothing in this context belongs to any session from now on.
    """
    _context.set(_Outside.TOKEN)


def _after_fork() -> None:
    """
    A child process starts with an empty slot; what it inherited in its context it may record into.
    """
    global _lock, _slot
    _lock = threading.Lock()
    _slot = None


os.register_at_fork(after_in_child=_after_fork)
