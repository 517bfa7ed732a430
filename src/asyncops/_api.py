"""
What users call.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Any

from ._active import current
from ._budgets import Budget
from ._client import client_for
from ._configuration import Configuration
from ._events import EndState, Event
from ._exceptions import NoSessionError
from ._instrumentation import instrument_for_sessions
from ._session import Session, record_event

__all__ = [
    "add_tags",
    "current_session",
    "end_session",
    "flush",
    "init",
    "record",
    "session",
    "set_tags",
    "set_video",
    "start_session",
]

_configuration: Configuration | None = None
"""What `init()` was given."""


def init(
    api_key: str | None = None,
    *,
    endpoint: str | None = None,
    tags: Iterable[str] | None = None,
    name: str | None = None,
    auto_start_session: bool | None = None,
    instrument_llm_calls: bool | None = None,
    inherited_session_id: str | uuid.UUID | Session | None = None,
    config: Configuration | None = None,
) -> str | None:
    """
    Say how asyncops is set up and, unless told otherwise, start a session.

    Does no network I/O; works before and inside a running event loop. Called again while a session
    is active it changes nothing and returns that session's id. What this process starts here and
    does not end is ended when the interpreter exits.

    Args:
        api_key: The key of the project.
        endpoint: The collector's address.
        tags: Tags of every session.
        name: What the session is called.
        auto_start_session: Whether to start one.
        instrument_llm_calls: Whether calls of language models are recorded that go over httpx.
        inherited_session_id: Join this session of another process instead. Left out, the
            environment (`Session.to_env`) says whether there is one.
        config: All other options.

    Returns:
        The id of the session that is active, or None where there is none.

    Raises:
        ConfigurationError: An option has a value that cannot work.
    """
    active = current()
    if active is not None and not active.ended:
        return active.id
    said: dict[str, Any] = {
        "api_key": api_key,
        "endpoint": endpoint,
        "tags": tags,
        "auto_start_session": auto_start_session,
        "instrument_llm_calls": instrument_llm_calls,
    }
    given = Configuration(**{key: value for key, value in said.items() if value is not None})
    configure(given if config is None else given.over(config))
    configured = _configured(None)
    if configured.instrument_llm_calls:
        instrument_for_sessions()
    if not configured.auto_start_session:
        return None
    started = session(name, inherited_session_id=inherited_session_id)
    started.start()
    return started.id


def session(
    name: str | None = None,
    *,
    tags: Iterable[str] | None = None,
    inherited_session_id: str | uuid.UUID | Session | None = None,
    budget: Budget | None = None,
    config: Configuration | None = None,
) -> Session:
    """
    A session as a block: `async with asyncops.session("nightly"):`, or `with` where no loop runs.

    Args:
        name: What it is called.
        tags: Its tags, beside those of the configuration.
        inherited_session_id: Join this session of another process instead of starting one. Left
            out, the environment (`Session.to_env`) says whether there is one.
        budget: What it may spend, in this process; when that is used up the block is stopped.
        config: Options of this session, over those of `init()`.

    Raises:
        ConfigurationError: An option has a value that cannot work.
        SessionActiveError: (on entering) Another session is active.
        BudgetExceeded: (on leaving) The budget is used up.
    """
    configured = _configured(config)
    if configured.instrument_llm_calls:
        instrument_for_sessions()
    return Session(
        name,
        tags=tags,
        configuration=configured,
        inherited_session_id=inherited_session_id,
        budget=budget,
    )


async def start_session(
    name: str | None = None,
    *,
    tags: Iterable[str] | None = None,
    inherited_session_id: str | uuid.UUID | Session | None = None,
    config: Configuration | None = None,
) -> str:
    """
    Start a session by hand, from any task; `end_session` ends it. Arguments are those of `session`,
    but for the budget: there is no block that it could stop.

    Returns:
        Its id.

    Raises:
        ConfigurationError: An option has a value that cannot work.
        SessionActiveError: Another session is active; it is named.
    """
    started = session(name, tags=tags, inherited_session_id=inherited_session_id, config=config)
    started.start()
    return started.id


async def end_session(
    end_state: EndState | str = EndState.SUCCESS,
    end_state_reason: str | None = None,
    video: str | None = None,
) -> None:
    """
    End the current session, as you say. Arguments and errors are those of `Session.end`.

    Raises:
        NoSessionError: None is active.
        SessionStateError: There is no such end state; the session stays open.
    """
    await current_session().end(end_state, end_state_reason, video)


def current_session() -> Session:
    """
    The session this context belongs to, else that of the process.

    Raises:
        NoSessionError: None is active.
    """
    active = current()
    if active is None or active.ended:
        raise NoSessionError
    return active.handle


def record(event: Event) -> str | None:
    """
    Record a ready-made *event* in the current session, within the current span.

    ```python
    asyncops.record(asyncops.ActionEvent(name="login", params={"user": 7}))
    ```

    One write; never waits, never raises for what the event holds. From any thread.

    Returns:
        The event's id, or None where there is no session: then it does nothing.

    Raises:
        TypeError: It is no event.
    """
    if not isinstance(event, Event):
        raise TypeError(f"asyncops.record takes an event such as ActionEvent, not {event!r:.100}")
    active = current()
    return None if active is None else record_event(active, event)


def add_tags(tags: Iterable[str]) -> None:
    """
    Add *tags* to the current session's; without a session it does nothing.
    """
    running = _running()
    if running is not None:
        running.add_tags(tags)


def set_tags(tags: Iterable[str]) -> None:
    """
    Put *tags* in place of the current session's; without a session it does nothing.
    """
    running = _running()
    if running is not None:
        running.set_tags(tags)


def set_video(video: str) -> None:
    """
    Say where a recording of the current session is; without a session it does nothing.
    """
    running = _running()
    if running is not None:
        running.set_video(video)


async def flush(*, timeout: float | None = None) -> bool:
    """
    Wait until the collector has stored what was recorded so far in the current session, or, where
    that has ended, in the last one of this configuration.

    Args:
        timeout: Seconds; None waits as long as it takes.

    Returns:
        Whether it was stored in time. What was not is still in the journal, and goes later.
    """
    active = current()
    client = client_for(_configured(None)) if active is None else active.client
    return await client.flush(timeout=timeout)


def configure(configuration: Configuration) -> None:
    """
    Make *configuration* what `init()` would make it, without starting anything.
    """
    global _configuration
    _configuration = configuration


def _running() -> Session | None:
    active = current()
    return None if active is None or active.ended else active.handle


def _configured(config: Configuration | None) -> Configuration:
    base = Configuration() if _configuration is None else _configuration
    return base if config is None else config.over(base)
