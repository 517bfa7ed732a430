"""
Sessions: begun, ended, and what can be said of them in between.
"""

from __future__ import annotations

import asyncio
import os
import re
import uuid
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

from . import _clock, _ids
from ._active import ActiveSession, enter
from ._budgets import Account, Budget, current_task
from ._client import Client, client_for
from ._configuration import Configuration
from ._endings import Ending, ending_of
from ._events import (
    NOTHING,
    EndState,
    ErrorEvent,
    Event,
    EventRecord,
    EventState,
    Failure,
    LLMEvent,
    TagsRecord,
    ToolEvent,
    VideoRecord,
)
from ._exceptions import ConfigurationError, SessionStateError
from ._log import trouble
from ._signals import interrupts
from ._spans import call_ids_of, cost_of, count_of, current_span
from ._wire import label

__all__ = ["Session", "record_event"]

MAX_TAGS = 200
"""How many tags are kept that are said at once."""

ENVIRONMENT_ID = "ASYNCOPS_SESSION_ID"
ENVIRONMENT_PARENT = "TRACEPARENT"


class Session:
    """
    One run of an agent program. Made by `asyncops.session` and `asyncops.start_session`.

    ```python
    async with asyncops.session("nightly", tags=["eval"]) as session:
        ...
    ```

    Leaving the block ends it: `Success` where nothing leaves it, `Fail` where an exception does,
    `Cancelled` where a cancellation does. That is one write; it waits for nothing. `with` does the
    same in programs without an event loop. With a budget the block is stopped when that is used up,
    and `BudgetExceeded` leaves it. All methods may be called from any thread or task.

    Attributes:
        id: A UUIDv7 as text.
        name: What it was called.
        state: How it ended, or None while it has not.
    """

    def __init__(
        self,
        name: str | None = None,
        *,
        tags: Iterable[str] | None = None,
        configuration: Configuration,
        inherited_session_id: str | uuid.UUID | Session | None = None,
        budget: Budget | None = None,
        client: Client | None = None,
        id: str | None = None,
        ambient: bool = False,
    ) -> None:
        inherited, parent_id = _inherited(inherited_session_id)
        self.id = inherited or id or _ids.new_uuid()
        self.name = None if name is None else label(name)
        self.state: EndState | None = None
        self._configuration = configuration
        self._client = client
        self._tags = _tags(configuration.tags) + (() if tags is None else _tags(tags))
        self._owner = inherited is None
        self._parent_id = parent_id
        self._ambient = ambient
        self._budget = budget
        self._active: ActiveSession | None = None
        self._interrupts = 0

    def __repr__(self) -> str:
        name = "" if self.name is None else f" {self.name!r}"
        state = self.state or ("running" if self._active is not None else "not started")
        return f"<Session {self.id}{name} {state}>"

    # -- its life -----------------------------------------------------------------------------

    def start(self) -> None:
        """
        Begin. One write; no network.

        Raises:
            SessionActiveError: Another session is active; it is named.
            SessionStateError: This one was started before; or it has a budget, and no block.
        """
        if self._budget is not None:
            raise SessionStateError(
                "a budget stops a block: write `async with asyncops.session(budget=...):`"
            )
        self._start(None)

    def _start(self, task: asyncio.Task[Any] | None) -> None:
        if self._active is not None:
            raise SessionStateError(f"session {self.id} was started before; make another one")
        budget = self._budget
        active = ActiveSession(
            id=self.id,
            name=self.name,
            client=self._client or client_for(self._configuration),
            handle=self,
            owner=self._owner,
            parent_id=self._parent_id,
            ambient=self._ambient,
            loop=_running_loop(),
            budget=None if budget is None else Account(budget, record=self.record, task=task),
        )
        abandoned = enter(active, process=self._configuration.scope == "process")
        if abandoned is not None:
            abandoned.client.session_ended(
                abandoned,
                EndState.INDETERMINATE if abandoned.owner else None,
                "event loop closed without end_session()",
                None,
                by_user=False,
            )
        self._active = active
        self._interrupts = interrupts()
        active.client.session_started(active, self._tags, _clock.wall_ns())
        if active.budget is not None:
            active.budget.entered()

    async def end(
        self,
        end_state: EndState | str = EndState.SUCCESS,
        end_state_reason: str | None = None,
        video: str | None = None,
    ) -> None:
        """
        End it, as you say. Waits for nothing; `flush` does.

        In a process that joined, only this process's part ends: the owner ends the session.

        Args:
            end_state: "Success", "Fail", "Cancelled" or "Indeterminate".
            end_state_reason: Why.
            video: The address of a recording.

        Raises:
            SessionStateError: There is no such end state (then the session stays open), or it has
                not started, or it has ended.
        """
        state = _end_state(end_state)
        active = self._running()
        if video is not None:
            self.set_video(video)
        self._end(active, Ending(state, end_state_reason), by_user=True)

    def _end(self, active: ActiveSession, ending: Ending, *, by_user: bool) -> None:
        self.state = ending.state
        active.client.session_ended(
            active,
            ending.state if active.owner else None,
            ending.reason,
            ending.failure,
            by_user=by_user,
        )

    def _leave(self, exception: BaseException | None) -> None:
        active = self._active
        if active is not None and not active.ended:
            interrupted = exception is not None and interrupts() > self._interrupts
            self._end(active, ending_of(exception, interrupted=interrupted), by_user=False)

    def _running(self) -> ActiveSession:
        if self._active is None:
            raise SessionStateError(f"session {self.id} has not started")
        if self._active.ended:
            raise SessionStateError(f"session {self.id} has already ended ({self.state})")
        return self._active

    async def __aenter__(self) -> Self:
        self._start(current_task())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        budget = None if self._active is None else self._active.budget
        instead = None if budget is None else await budget.aleave(exception)
        self._leave(instead or exception)
        if instead is not None:
            raise instead

    def __enter__(self) -> Self:
        self._start(None)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        budget = None if self._active is None else self._active.budget
        instead = None if budget is None else budget.leave(exception)
        self._leave(instead or exception)
        if instead is not None:
            raise instead

    # -- what can be said of it ---------------------------------------------------------------

    def add_tags(self, tags: Iterable[str]) -> None:
        """
        Add *tags* to those it has.

        Raises:
            SessionStateError: It is not running.
        """
        self._record_tags(tags, replace=False)

    def set_tags(self, tags: Iterable[str]) -> None:
        """
        Put *tags* in place of those it has.

        Raises:
            SessionStateError: It is not running.
        """
        self._record_tags(tags, replace=True)

    def _record_tags(self, tags: Iterable[str], *, replace: bool) -> None:
        self._running().client.record(
            TagsRecord(at=_clock.wall_ns(), session=self.id, tags=_tags(tags), replace=replace)
        )

    def set_video(self, video: str) -> None:
        """
        Say where a recording of it is.

        Raises:
            SessionStateError: It is not running.
        """
        client = self._running().client
        client.record(
            VideoRecord(at=_clock.wall_ns(), session=self.id, video=client.encoder.text(video))
        )

    def record(self, event: Event) -> str:
        """
        Record a ready-made *event*: within the current span unless it names its parent.

        Returns:
            The event's id.

        Raises:
            SessionStateError: It has not started.
        """
        if self._active is None:
            raise SessionStateError(f"session {self.id} has not started")
        return record_event(self._active, event)

    async def flush(self, *, timeout: float | None = None) -> bool:
        """
        Wait until the collector has stored what was recorded so far.

        Args:
            timeout: Seconds; None waits as long as it takes.

        Returns:
            Whether it was stored in time. What was not is still in the journal, and goes later.
        """
        active = self._active
        return True if active is None else await active.client.flush(timeout=timeout)

    def to_env(self) -> dict[str, str]:
        """
        Environment variables by which another process joins: `ASYNCOPS_SESSION_ID`, and the W3C
        `TRACEPARENT` that names the current span. No key is among them.
        """
        span = current_span()
        parent = span.id if span is not None and span.session is self._active else ""
        trace_id = self.id.replace("-", "")
        return {
            ENVIRONMENT_ID: self.id,
            ENVIRONMENT_PARENT: f"00-{trace_id}-{parent or trace_id[-16:]}-01",
        }

    @property
    def url(self) -> str:
        """
        The address of its page.
        """
        return f"{self._configuration.endpoint}/sessions/{self.id}"


def record_event(active: ActiveSession, event: Event) -> str:
    """
    Record *event* in *active*; returns its id. What it leaves out is filled in.
    """
    now = _clock.wall_ns()
    encoder = active.client.encoder
    event_id = event.id
    if event_id is None or not _is_event_id(event_id):
        event_id = _ids.new_event_id()
    span = current_span()
    parent_id, agent = event.parent_id, event.agent
    if span is not None and span.session is active:
        parent_id, agent = parent_id or span.id, agent or span.agent
    elif parent_id is None:
        parent_id = active.parent_id
    failure = event.failure
    fields: dict[str, Any] = {}
    attributes = dict(event.attributes or {})
    if isinstance(event, ErrorEvent):
        if event.exception is not None:
            failure = Failure.from_exception(event.exception)
        if isinstance(event.trigger_event, Event):
            fields["trigger_event_id"] = record_event(active, event.trigger_event)
        elif _is_event_id(event.trigger_event):
            fields["trigger_event_id"] = event.trigger_event
    elif isinstance(event, ToolEvent) and event.tool_call_id is not None:
        fields["tool_call_id"] = label(event.tool_call_id)
    elif isinstance(event, LLMEvent):
        fields, left_over = _llm_fields(event)
        attributes |= left_over
        if event.tool_call_ids:
            fields["tool_call_ids"] = call_ids_of(event.tool_call_ids)
        for name in ("prompt", "completion"):
            if getattr(event, name) is not None:
                fields[name] = encoder.content(getattr(event, name))
        if event.usage is not None:
            fields["usage"] = encoder.payload(event.usage)
    started_at = _time(event.started_at, now)
    state = _event_state(event, failure)
    active.client.record(
        EventRecord(
            at=now,
            session=active.id,
            id=event_id,
            kind=event.kind,
            name=label(event.name or _default_name(event, failure)),
            started_at=started_at,
            ended_at=max(_time(event.ended_at, started_at), started_at),
            parent_id=parent_id if _is_event_id(parent_id) else None,
            agent=None if agent is None else label(agent),
            state=state,
            params=NOTHING if event.params is None else encoder.payload(event.params),
            returns=NOTHING if event.returns is None else encoder.payload(event.returns),
            attributes=encoder.payload(attributes) if attributes else NOTHING,
            failure=None if failure is None else encoder.failure(failure),
            **fields,
        ),
        expendable=True,
    )
    if active.budget is not None and isinstance(event, LLMEvent):
        active.budget.settle(
            admitted=False,
            state=state,
            at_ns=started_at,
            **{name: fields.get(name) for name in _SPENT},
        )
    return event_id


def _llm_fields(event: LLMEvent) -> tuple[dict[str, Any], dict[str, Any]]:
    """
    The numbers and labels of an LLM event, and what of them cannot be such.
    """
    fields: dict[str, Any] = {}
    left_over: dict[str, Any] = {}
    for name, convert in _LLM_FIELDS.items():
        value = getattr(event, name)
        if value is not None:
            fields[name] = convert(value)
            if fields[name] is None:
                left_over[name] = value
    return fields, left_over


_LLM_FIELDS: dict[str, Any] = {
    "model": label,
    "provider": label,
    "prompt_tokens": count_of,
    "completion_tokens": count_of,
    "cached_tokens": count_of,
    "cache_write_tokens": count_of,
    "reasoning_tokens": count_of,
    "time_to_first_token": count_of,
    "cost": cost_of,
}

_SPENT = tuple(name for name in _LLM_FIELDS if name != "time_to_first_token")
"""What a budget has to know of them."""


def _event_state(event: Event, failure: Failure | None) -> EventState:
    if event.state in ("Success", "Fail", "Cancelled"):
        return event.state
    return "Fail" if failure is not None or isinstance(event, ErrorEvent) else "Success"


def _default_name(event: Event, failure: Failure | None) -> str:
    if isinstance(event, ErrorEvent) and failure is not None:
        return failure.type
    if isinstance(event, LLMEvent) and event.model is not None:
        return event.model
    return event.kind


def _time(value: Any, default: int) -> int:
    return default if count_of(value) is None else int(value)


def _is_event_id(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{16}", value) is not None


def _end_state(value: EndState | str) -> EndState:
    try:
        return EndState(value)
    except ValueError:
        words = ", ".join(repr(state.value) for state in EndState)
        raise SessionStateError(
            f"{value!r:.100} is no end state: say one of {words}; the session is still open"
        ) from None


def _tags(tags: Iterable[str]) -> tuple[str, ...]:
    if isinstance(tags, str):  # what was meant is clear
        tags = [tags]
    kept = tuple(dict.fromkeys(label(tag) for tag in tags))
    if len(kept) > MAX_TAGS:
        trouble("tags", "asyncops keeps %d tags at a time, not %d", MAX_TAGS, len(kept))
    return kept[:MAX_TAGS]


def _inherited(reference: str | uuid.UUID | Session | None) -> tuple[str | None, str | None]:
    """
    The id of the session to join, and the event there that we are within; from the environment
    where *reference* is None.

    Raises:
        ConfigurationError: That is no session id.
    """
    if isinstance(reference, Session):
        return reference.id, None
    named = os.environ.get(ENVIRONMENT_ID) if reference is None else str(reference)
    if not named:
        return None, None
    try:
        session_id = str(uuid.UUID(named))
    except ValueError:
        where = (
            f"environment variable {ENVIRONMENT_ID}"
            if reference is None
            else "inherited_session_id"
        )
        raise ConfigurationError(
            f"{where} must be the id of a session (a UUID), not {named!r:.100}"
        ) from None
    trace_id = session_id.replace("-", "")
    traceparent = os.environ.get(ENVIRONMENT_PARENT, "")
    found = re.fullmatch("[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-.*", traceparent)
    if found is not None and found[1] == trace_id and found[2] != trace_id[-16:]:
        return session_id, found[2]
    return session_id, None


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
