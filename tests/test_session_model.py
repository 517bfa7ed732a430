"""
Whatever is done with sessions in whatever order, a small model says what comes of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import attrs
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
)

import asyncops
from asyncops import (
    Configuration,
    NoSessionError,
    SessionActiveError,
    SessionStateError,
    _active,
    _client,
)
from asyncops._session import Session
from asyncops.testing import Recording, recorded

T = TypeVar("T")

CONTEXTS = st.sampled_from(["here", "another task", "a thread"])

LEAVING: list[tuple[BaseException | None, str, str | None]] = [
    (None, "Success", None),
    (SystemExit(0), "Success", None),
    (SystemExit(2), "Fail", "SystemExit: 2"),
    (ValueError("boom"), "Fail", "ValueError: boom"),
    (TimeoutError(), "Fail", "TimeoutError"),
    (asyncio.CancelledError("enough"), "Cancelled", "enough"),
    (asyncio.CancelledError(), "Cancelled", "cancelled"),
    (GeneratorExit(), "Cancelled", "generator closed"),
    (KeyboardInterrupt(), "Cancelled", "SIGINT"),
    (BaseExceptionGroup("all", [asyncio.CancelledError("enough")]), "Cancelled", "enough"),
    (ExceptionGroup("both", [ValueError()]), "Fail", "ExceptionGroup: both (1 sub-exception)"),
]
"""What leaves a block, and what that means."""


@attrs.define(eq=False)
class Model:
    """
    What is known of a session.
    """

    session: Session
    process: bool
    owner: bool
    started: bool = False
    ended: bool = False


def finished(coroutine: Coroutine[Any, Any, T]) -> T:
    """
    The result of a coroutine that waits for nothing.
    """
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    finally:
        coroutine.close()
    raise AssertionError("it waits")


class Sessions(RuleBasedStateMachine):
    """
    Sessions of either scope, one's own and inherited, in three contexts of a process that forks.
    """

    sessions = Bundle("sessions")

    def __init__(self) -> None:
        super().__init__()
        self.stack = contextlib.ExitStack()
        self.recording: Recording = self.stack.enter_context(recorded())
        self.contexts = {
            name: contextvars.Context() for name in ("here", "another task", "a thread")
        }
        self.holding: dict[str, Model | None] = dict.fromkeys(self.contexts)
        self.slot: Model | None = None
        self.begins: list[tuple[str, bool]] = []
        self.events: list[tuple[str, str]] = []
        self.endings: list[tuple[str, str, str | None, str | None]] = []
        self.open: list[Model] = []

    def teardown(self) -> None:
        _active._after_fork()
        self.stack.close()

    def within(self, context: str, function: Callable[..., T], *arguments: object) -> T:
        return self.contexts[context].run(function, *arguments)

    def current(self, context: str) -> Model | None:
        held = self.holding[context]
        return self.slot if held is None else held

    # -- what can be done ---------------------------------------------------------------------

    @rule(target=sessions, process=st.booleans(), inherited=st.booleans())
    def make(self, process: bool, inherited: bool) -> Model:
        config = Configuration(scope="process" if process else "context")
        reference = "01890a5d-ac96-774b-bcce-b302099a8057" if inherited else None
        session = asyncops.session("one", config=config, inherited_session_id=reference)
        return Model(session, process, owner=not inherited)

    @rule(model=sessions, context=CONTEXTS)
    def start(self, model: Model, context: str) -> None:
        barring = self.slot if model.process else self.holding[context]
        if model.started:
            expected: type[Exception] | None = SessionStateError
        elif barring is not None and not barring.ended:
            expected = SessionActiveError
        else:
            expected = None
        assert expected is self.raised(context, model.session.start)
        if expected is None:
            self.begun(model, context)

    @rule(target=sessions, context=CONTEXTS)
    def init(self, context: str) -> Any:
        current = self.current(context)
        if current is not None and not current.ended:
            assert current.session.id == self.within(context, asyncops.init)
            return multiple()
        if self.slot is not None:  # this context's is over, the process's is not
            assert SessionActiveError is self.raised(context, asyncops.init)
            return multiple()
        assert self.within(context, asyncops.init) is not None
        session = self.within(context, asyncops.current_session)
        model = Model(session, process=True, owner=True)
        self.begun(model, context)
        return model

    def begun(self, model: Model, context: str) -> None:
        model.started = True
        self.begins.append((model.session.id, not model.owner))
        self.holding[context] = model
        self.open.append(model)
        if model.process:
            self.slot = model

    @rule(
        model=sessions,
        context=CONTEXTS,
        state=st.sampled_from(["Success", "Fail", "Cancelled", "Indeterminate", "Maybe", ""]),
    )
    def end_by_hand(self, model: Model, context: str, state: str) -> None:
        wrong = state in ("Maybe", "") or not model.started or model.ended
        expected = SessionStateError if wrong else None
        assert expected is self.raised(
            context, lambda: finished(model.session.end(state, "as I say"))
        )
        if expected is None:
            self.over(model, context, state, "as I say", "user")

    @rule(model=sessions, context=CONTEXTS, leaving=st.sampled_from(LEAVING))
    def leave(
        self, model: Model, context: str, leaving: tuple[BaseException | None, str, str | None]
    ) -> None:
        exception, state, reason = leaving
        self.within(context, model.session.__exit__, type(exception), exception, None)
        if model.started and not model.ended:
            self.over(model, context, state, reason, "process")

    def over(
        self, model: Model, context: str, state: str, reason: str | None, said_by: str
    ) -> None:
        model.ended = True
        self.open.remove(model)
        self.endings.append((model.session.id, said_by, state if model.owner else None, reason))
        if self.slot is model:
            self.slot = None
        if self.holding[context] is model:
            self.holding[context] = None

    @rule(context=CONTEXTS)
    def record(self, context: str) -> None:
        current = self.current(context)
        event = self.within(context, asyncops.record, asyncops.ActionEvent(name="event"))
        assert (current is None) == (event is None)
        if current is not None and event is not None:
            self.events.append((current.session.id, event))

    @rule(model=sessions, context=CONTEXTS)
    def record_into(self, model: Model, context: str) -> None:
        if not model.started:
            assert SessionStateError is self.raised(
                context, model.session.record, asyncops.ActionEvent()
            )
        else:  # late events, too
            event = self.within(context, model.session.record, asyncops.ActionEvent())
            self.events.append((model.session.id, event))

    @rule(model=sessions, context=CONTEXTS)
    def tag(self, model: Model, context: str) -> None:
        running = model.started and not model.ended
        expected = None if running else SessionStateError
        assert expected is self.raised(context, model.session.add_tags, ["tag"])

    @rule(context=CONTEXTS)
    def task(self, context: str) -> None:
        """
        A task that is started in *context* sees what that sees, and *context* nothing of it.
        """
        self.contexts["another task"] = self.contexts[context].copy()
        self.holding["another task"] = self.holding[context]

    @rule()
    def fork(self) -> None:
        """
        The child goes on: a participant of what was open, with an empty slot.
        """
        client = _client._override
        assert client is not None
        _active._after_fork()
        client.after_fork()
        client._journal = self.recording
        self.slot = None
        for model in self.open:
            model.owner = False

    @rule(model=consumes(sessions))
    def forget(self, model: Model) -> None:
        """
        Nobody holds it any more; what it was in stays as it was.
        """

    # -- what must be true --------------------------------------------------------------------

    @invariant()
    def the_current_session_is_the_models(self) -> None:
        for context in self.contexts:
            current = self.current(context)
            if current is None or current.ended:
                assert NoSessionError is self.raised(context, asyncops.current_session)
            else:
                assert current.session is self.within(context, asyncops.current_session)

    @invariant()
    def the_records_are_the_models(self) -> None:
        assert self.endings == [
            (each.session, each.said_by, each.state, each.reason) for each in self.recording.endings
        ]
        assert self.events == [(each.session, each.id) for each in self.recording.events]
        assert self.begins == [(each.session, each.inherited) for each in self.recording.sessions]

    # -- helpers ------------------------------------------------------------------------------

    def raised(
        self, context: str, function: Callable[..., object], *arguments: object
    ) -> type[Exception] | None:
        try:
            self.within(context, function, *arguments)
        except asyncops.AsyncopsError as error:
            return type(error)
        return None


TestSessions = Sessions.TestCase
TestSessions.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
