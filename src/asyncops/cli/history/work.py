"""
What a task of a program does, one thing after the other, in simulated time.

A session is given a number of events, and its tasks work until they have spent it: then `Over` goes
up through whatever is still open, which ends as the session does.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

import attrs

from ..._events import EventKind, EventOpenedRecord, EventRecord, EventState, Failure, Record
from ..._wire import Encoder
from .failures import failure
from .models import Model, Usage
from .texts import Texts

__all__ = ["Conversation", "Over", "Recorder", "Tool", "Work"]

SECOND = 1_000_000_000

ANNOUNCED_AFTER = SECOND // 2
"""How long an event is open before it is announced."""

FLAKINESS = 0.012
"""How often a call goes wrong that is then made again."""

MAX_REMEMBERED = 8
"""How many messages a conversation goes on with, beside the first."""

_encoder = Encoder()


class Over(Exception):  # noqa: N818 - nothing went wrong with us
    """
    The session's events are spent.
    """

    def __init__(self, state: EventState, failed: Failure | None = None) -> None:
        super().__init__(state)
        self.state = state
        self.failure = failed


@attrs.frozen(kw_only=True)
class Tool:
    """
    A tool: what it is given and what it returns, with slots in the texts.

    Attributes:
        seconds: How long it usually takes.
    """

    name: str
    params: dict[str, Any]
    returns: Any
    seconds: float


@attrs.define(eq=False, kw_only=True)
class Recorder:
    """
    What one process records of one session.

    Attributes:
        flaws: What may go wrong with a model, and with anything else, by the names in `FAILURES`.
        announces: Whether events are told of when they have been open for a while.
        prefix: What the ids of its events begin with, 8 hex digits.
        records: What was recorded, in the order in which it was told here.
    """

    session: str
    chooser: Random
    flaws: tuple[tuple[str, ...], tuple[str, ...]]
    announces: bool
    prefix: str
    texts: Texts = attrs.field(
        init=False, default=attrs.Factory(lambda self: Texts(self.chooser), takes_self=True)
    )
    records: list[Record] = attrs.field(factory=list)
    _ids: int = 0

    def new_id(self) -> str:
        self._ids += 1
        return f"{self.prefix}{self._ids:08x}"

    def seconds(self, usual: float) -> int:
        """
        About *usual* seconds, in nanoseconds: mostly less, now and then much more.
        """
        return int(self.chooser.lognormvariate(0.0, 0.55) * usual * SECOND)


class Work:
    """
    A task of a session, at some moment.

    Attributes:
        now: The moment, nanoseconds since the epoch.
        left: How many events it may still record.
    """

    def __init__(
        self,
        recorder: Recorder,
        *,
        now: int,
        left: int,
        ending: EventState = "Success",
        parent: str | None = None,
        agent: str | None = None,
    ) -> None:
        self.recorder = recorder
        self.texts = recorder.texts
        self.chooser = recorder.chooser
        self.now = now
        self.left = left
        self._ending = ending
        self._parent = parent
        self._agent = agent

    # -- things that take their time --------------------------------------------------------------

    def pause(self, seconds: float) -> None:
        """
        Let about *seconds* pass.
        """
        self.now += self.recorder.seconds(seconds)

    def tool(self, tool: Tool, params: Any, call_id: str | None = None) -> Any:
        """
        Call *tool*, and say what it returned or what went wrong.
        """
        returns = self.texts.filled(tool.returns)
        failed = self._leaf(
            "tool", tool.name, tool.seconds, params=params, returns=returns, tool_call_id=call_id
        )
        return returns if failed is None else f"{failed.type}: {failed.message}"

    def llm(
        self,
        model: Model,
        prompt: Any,
        completion: Any,
        usage: Usage,
        tool_call_ids: tuple[str, ...] = (),
    ) -> bool:
        """
        Call *model*; says whether it answered.
        """
        first = self.recorder.seconds(model.first)
        failed = self._leaf(
            "llm",
            model.name,
            first / SECOND + usage.completion / model.speed,
            prompt=prompt,
            answered={
                "completion": completion,
                "prompt_tokens": usage.prompt,
                "completion_tokens": usage.completion,
                "cached_tokens": usage.cached if model.caches else None,
                "reasoning_tokens": usage.reasoning if model.reasoning else None,
                "time_to_first_token": first,
                "cost": model.cost(usage),
                "tool_call_ids": tool_call_ids,
            },
            model=model.name,
            provider=model.provider,
        )
        return failed is None

    def step(self, name: str, seconds: float, params: Any = None, returns: Any = None) -> None:
        """
        Take a step in which nothing else happens.
        """
        said = self.texts.filled
        self._leaf("action", name, seconds, params=said(params), returns=said(returns))

    @contextlib.contextmanager
    def action(self, name: str, /, **params: Any) -> Iterator[None]:
        with self._open("action", name, self._agent, params):
            yield

    @contextlib.contextmanager
    def agent(self, name: str) -> Iterator[None]:
        above = self._agent
        self._agent = name
        try:
            with self._open("agent", name, name, {}):
                yield
        finally:
            self._agent = above

    def together(
        self, jobs: Sequence[Callable[[Work], None]], *, spending: int, recorders: Any = ()
    ) -> None:
        """
        Do *jobs* at the same time, each with its part of the *spending*, and wait for all of them.

        Args:
            recorders: The processes in which they run, in turn; this one if there are none.
        """
        share = spending // len(jobs)
        ends = [self.now]
        for number, job in enumerate(jobs):
            recorder = recorders[number % len(recorders)] if recorders else self.recorder
            task = Work(
                recorder,
                now=self.now + self.recorder.seconds(0.005),
                left=share,
                parent=self._parent,
                agent=self._agent,
            )
            with contextlib.suppress(Over):
                job(task)
            ends.append(task.now)
            self.left -= share - task.left
        self.now = max(ends)

    # -- how it is recorded -----------------------------------------------------------------------

    def _leaf(
        self,
        kind: EventKind,
        name: str,
        seconds: float,
        *,
        answered: dict[str, Any] | None = None,
        returns: Any = None,
        **said: Any,
    ) -> Failure | None:
        """
        Record something in which nothing else happens.

        Args:
            answered: What is known of it only if it succeeded.

        Raises:
            Over: It was the last.
        """
        recorder = self.recorder
        self.left -= 1
        last = self.left <= 0
        started, event_id = self.now, recorder.new_id()
        duration = recorder.seconds(seconds)
        state: EventState = self._ending if last else "Success"
        failed = None
        if not last and self.chooser.random() < FLAKINESS:
            state = "Fail"
        if state == "Fail":
            failed = failure(self.chooser.choice(recorder.flaws[kind != "llm"]), self.texts)
        if state != "Success":  # it was not let finish
            duration = int(duration * self.chooser.uniform(0.1, 0.9))
        self.now = started + duration
        opened = {
            "params": _payload(said.pop("params", None)),
            "prompt": _payload(said.pop("prompt", None)),
            "model": said.pop("model", None),
            "provider": said.pop("provider", None),
        }
        if state == "Success":
            said |= answered or {}
            said["returns"] = _payload(returns)
            said["completion"] = _payload(said.get("completion"))
        self._record(
            kind, name, self._agent, started, event_id, self._parent, state, failed, opened, said
        )
        if last:
            origin = None if failed is None else attrs.evolve(failed, event_id=event_id)
            raise Over(state, origin)
        return failed

    @contextlib.contextmanager
    def _open(
        self, kind: EventKind, name: str, agent: str | None, params: dict[str, Any]
    ) -> Iterator[None]:
        self.left -= 1
        started, event_id = self.now, self.recorder.new_id()
        above, self._parent = self._parent, event_id
        state: EventState = "Success"
        failed = None
        try:
            yield
        except Over as over:
            state, failed = over.state, over.failure
            raise
        finally:
            self._parent = above
            if failed is not None:  # told in full where it happened
                failed = attrs.evolve(failed, traceback="", causes=())
            opened = {"params": _payload(params or None)}
            self._record(kind, name, agent, started, event_id, above, state, failed, opened, {})

    def _record(
        self,
        kind: EventKind,
        name: str,
        agent: str | None,
        started: int,
        event_id: str,
        parent: str | None,
        state: EventState,
        failed: Failure | None,
        opened: dict[str, Any],
        said: dict[str, Any],
    ) -> None:
        recorder = self.recorder
        opened = {key: value for key, value in opened.items() if value is not None}
        if recorder.announces and self.now - started > ANNOUNCED_AFTER:
            recorder.records.append(
                EventOpenedRecord(
                    at=started + ANNOUNCED_AFTER,
                    session=recorder.session,
                    id=event_id,
                    kind=kind,
                    name=name,
                    started_at=started,
                    parent_id=parent,
                    agent=agent,
                    **opened,
                )
            )
        recorder.records.append(
            EventRecord(
                at=self.now,
                session=recorder.session,
                id=event_id,
                kind=kind,
                name=name,
                started_at=started,
                parent_id=parent,
                agent=agent,
                state=state,
                ended_at=self.now,
                failure=failed,
                **opened,
                **{key: value for key, value in said.items() if value is not None},
            )
        )


def _payload(value: Any) -> Any:
    return None if value is None else _encoder.payload(value)


class Conversation:
    """
    What an agent and a model say to each other, in the way of chat completions.
    """

    def __init__(self, work: Work, model: Model, system: str) -> None:
        self._work = work
        self._model = model
        self._said: list[dict[str, Any]] = [{"role": "system", "content": system}]
        self._prompt_tokens = 400 + len(system)
        self._cached = 0

    def hear(self, text: str) -> None:
        """
        Let the user say *text*.
        """
        self._add({"role": "user", "content": text})

    def answer(self, text: str) -> None:
        """
        Let the model answer with *text*; again if that goes wrong.
        """
        self._ask({"role": "assistant", "content": text})

    def use(self, tools: Sequence[Tool]) -> None:
        """
        Let the model ask for *tools*, and tell it what they returned.
        """
        work = self._work
        calls = [
            (f"call_{work.chooser.getrandbits(40):010x}", tool, work.texts.filled(tool.params))
            for tool in tools
        ]
        self._ask(
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": call_id,
                        "type": "function",
                        "function": {"name": tool.name, "arguments": _json(params)},
                    }
                    for call_id, tool, params in calls
                ],
            }
        )
        for call_id, tool, params in calls:
            result = work.tool(tool, params, call_id)
            self._add({"role": "tool", "tool_call_id": call_id, "content": _json(result)})

    def _ask(self, message: dict[str, Any]) -> None:
        model, chooser = self._model, self._work.chooser
        spoken = len(message["content"] or "") // 4 + 30 * len(message.get("tool_calls", ()))
        reasoning = int(spoken * model.reasoning * chooser.uniform(0.5, 2.0))
        usage = Usage(
            prompt=self._prompt_tokens,
            cached=self._cached if model.caches else 0,
            completion=spoken + reasoning,
            reasoning=reasoning,
        )
        call_ids = tuple(call["id"] for call in message.get("tool_calls", ()))
        while not self._work.llm(model, self._said, message, usage, call_ids):
            self._work.pause(1.0)
        self._cached = self._prompt_tokens // 128 * 128
        self._add(message)

    def _add(self, message: dict[str, Any]) -> None:
        # what is further back is left out, as programs do that must not send too much
        self._said = [self._said[0], *self._said[1:][-MAX_REMEMBERED + 1 :], message]
        self._prompt_tokens = min(self._prompt_tokens + len(str(message)) // 3, 60_000)


def _json(value: Any) -> str:
    return value if isinstance(value, str) else _encoder.json(value).decode()
