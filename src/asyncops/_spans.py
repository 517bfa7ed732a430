"""
Spans: events while they are open, as blocks and as decorators.

A span knows its parent and its agent through the context, so both follow `gather`, task groups,
`asyncio.to_thread` and executors with a copied context. Without a session a span does nothing.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import itertools
from collections.abc import AsyncGenerator, Callable, Collection, Generator, Iterable, Mapping
from contextvars import ContextVar, Token
from decimal import Decimal
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar, cast, overload

import attrs
import msgspec

from . import _clock, _ids
from ._active import ActiveSession, current
from ._endings import ending_of
from ._events import (
    MAX_TOOL_CALLS,
    NOTHING,
    Cost,
    EndState,
    EventKind,
    EventOpenedRecord,
    EventRecord,
    Failure,
    SucceededEvent,
)
from ._exceptions import SessionStateError
from ._log import trouble
from ._redaction import is_secret_name
from ._wire import Encoder, label

__all__ = [
    "LLMSpan",
    "Span",
    "action",
    "agent",
    "call_ids_of",
    "cost_of",
    "count_of",
    "current_span",
    "llm",
    "tool",
]

F = TypeVar("F")

MAX_YIELDED = 100
"""How many of a generator's items are kept as what it returned."""

_ORIGIN = "__asyncops_event__"
"""Set on an exception: the id of the event it was first seen to leave."""

_new_span = object.__new__

_span: ContextVar[Span | None] = ContextVar("asyncops_span", default=None)


def current_span() -> Span | None:
    """
    The innermost span open in this context, or None.
    """
    return _span.get()


@attrs.frozen
class _Capture:
    """
    What a decorator keeps; None leaves it to the session's configuration.
    """

    params: bool | Collection[str] | None = None
    returns: bool | None = None


class Span:
    """
    An event that is still open.

    Made by `action`, `tool`, `agent` and `llm`. As a block (`with` or `async with`) it is open from
    entering to leaving; as a decorator it opens a new one for each call. Without a session it does
    nothing. The exception that leaves it is recorded and passes through untouched.

    Attributes:
        id: The event's id while open and after; "" before, and without a session.
        name: What happens.
        params: What goes in; recorded as it is on entering.
        returns: What comes out; set it before leaving.
        attributes: Whatever else belongs to it, by name.
    """

    __slots__ = (
        "__dict__", "_params", "_token", "agent", "attributes", "id", "kind", "name", "opened_at",
        "params", "parent_id", "returns", "session", "started_at",
    )  # fmt: skip

    # few spans have these, so few spans pay for them
    announced = False
    _capture: _Capture | None = None

    def __init__(
        self,
        kind: EventKind,
        name: str | None,
        *,
        params: Any = None,
        attributes: Mapping[str, Any] | None = None,
        capture: _Capture | None = None,
    ) -> None:
        self.kind = kind
        self.name = label(name) if name is not None else ""
        self.params = params
        self.returns: Any = None
        self.attributes: dict[str, Any] = dict(attributes) if attributes else {}
        self.id = ""
        self.parent_id: str | None = None
        self.agent: str | None = None
        self.session: ActiveSession | None = None
        self.started_at = 0
        self.opened_at = 0
        if capture is not None:
            self._capture = capture
        self._params: msgspec.Raw | None = None
        self._token: Token[Span | None] | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.kind} {self.name!r} {self.id}>"

    def set(self, **attributes: Any) -> Self:
        """
        Add *attributes* to what is recorded; from any thread while it is open.
        """
        self.attributes.update(attributes)
        return self

    # -- as a block ---------------------------------------------------------------------------

    def __enter__(self) -> Self:
        """
        Open it.

        Raises:
            SessionStateError: It is open already.
        """
        if self._token is not None:
            raise SessionStateError(f"{self!r} is open already: make a new one for each block")
        active = current()
        if active is not None:
            self.name = self.name or self.kind
            self.announced = False
            self.open(active)
            self._token = _span.set(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._token is not None:
            token, self._token = self._token, None
            _reset(token)
            self.close(exception)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.__exit__(kind, exception, traceback)

    # -- as a decorator -----------------------------------------------------------------------

    def __call__(self, function: F) -> F:
        """
        Record each call of *function*: a function, coroutine function, generator function or async
        generator function, a method, or a classmethod or staticmethod. What comes back is of the
        same kind, with the same signature.

        Raises:
            TypeError: It is none of these.
        """
        return cast("F", _decorated(self, function))

    def again(self, name: str) -> Span:
        """
        A fresh span like this one, for one more call; `open` is next.
        """
        span = _new_span(Span)  # on every call's path: `__init__`, but for what `open` sets
        span.kind = self.kind
        span.name = name
        span.params = span.returns = span._token = None
        span.attributes = {}
        return span

    # -- its life -----------------------------------------------------------------------------

    def open(self, active: ActiveSession, params: msgspec.Raw | None = None) -> None:
        """
        Begin, in *active*, within what is open in this context. Never raises `Exception`.

        Args:
            active: The session.
            params: The payload of `params`, where it is made already.
        """
        parent = _span.get()
        if parent is not None and parent.session is active:
            self.parent_id = parent.id
            self.agent = parent.agent
        else:
            self.parent_id = active.parent_id
            self.agent = None
        if self.kind == "agent":
            self.agent = self.name
        client = active.client
        if params is None and self.params is not None:
            params = client.encoder.payload(self.params)
        self._params = params
        self.session = active
        self.id = _ids.new_event_id()
        self.started_at = _clock.wall_ns()
        self.opened_at = _clock.monotonic_ns()
        client.open_spans.add(self)

    def close(
        self, exception: BaseException | None = None, *, failure: Failure | None = None
    ) -> None:
        """
        End, as *exception* says, and record the event. Never raises `Exception`.

        Args:
            exception: What ended it; None where it succeeded.
            failure: What went wrong, where no exception says so.
        """
        active = self.session
        if active is None:
            return
        ended_at = self.started_at + _clock.monotonic_ns() - self.opened_at
        client = active.client
        client.open_spans.discard(self)
        encoder = client.encoder
        try:
            record: EventRecord | SucceededEvent
            if exception is None and failure is None and type(self) is Span:
                record = SucceededEvent(
                    ended_at, active.id, self.id, self.kind, self.name, self.started_at,
                    self.parent_id, self.agent, self._params,
                    encoder.payload(self.attributes) if self.attributes else None,
                    "Success", ended_at,
                    None if self.returns is None else encoder.member(self.returns),
                )  # fmt: skip
            else:
                record = event = self._record(active, ended_at)
                if exception is not None:
                    record = self._ended_by(event, exception, encoder)
                elif failure is not None:
                    record = _with(event, state="Fail", failure=encoder.failure(failure))
        except Exception as error:
            trouble("event", "asyncops could not record %r: %r", self, error)
            return
        client.record(record, expendable=True)

    def _record(self, active: ActiveSession, ended_at: int) -> EventRecord:
        encoder = active.client.encoder
        fields = self._fields(encoder)  # first: it may move odd values to the attributes
        return EventRecord(
            at=ended_at,
            session=active.id,
            id=self.id,
            kind=self.kind,
            name=self.name,
            started_at=self.started_at,
            ended_at=ended_at,
            parent_id=self.parent_id,
            agent=self.agent,
            state="Success",
            params=NOTHING if self._params is None else self._params,
            returns=NOTHING if self.returns is None else encoder.payload(self.returns),
            attributes=encoder.payload(self.attributes) if self.attributes else NOTHING,
            **fields,
        )

    def _fields(self, encoder: Encoder) -> dict[str, Any]:
        """
        What this kind of span has to add to its event.
        """
        return {}

    def _ended_by(
        self, record: EventRecord, exception: BaseException, encoder: Encoder
    ) -> EventRecord:
        ending = ending_of(exception)
        if ending.state is EndState.SUCCESS:
            return record
        if ending.state is EndState.CANCELLED:
            kind = type(exception).__name__
            failure = Failure(type=kind, message=encoder.text(ending.reason))
            return _with(record, state="Cancelled", failure=failure)
        failure = ending.failure or Failure.from_exception(exception)
        origin = _origin(exception)
        if origin is None:
            _mark(exception, self.id)
        elif not isinstance(exception, BaseExceptionGroup):
            # it was told in full where it arose; here it only passes through
            failure = attrs.evolve(failure, traceback="", causes=(), event_id=origin)
        else:
            failure = attrs.evolve(failure, event_id=origin)
        return _with(record, state="Fail", failure=encoder.failure(failure))

    def announce(self) -> None:
        """
        Say that it is open, for those who watch; on the background loop.
        """
        active = self.session
        if active is None:
            return
        self.announced = True
        active.client.record(
            EventOpenedRecord(
                at=_clock.wall_ns(),
                session=active.id,
                id=self.id,
                kind=self.kind,
                name=self.name,
                started_at=self.started_at,
                parent_id=self.parent_id,
                agent=self.agent,
                params=NOTHING if self._params is None else self._params,
                **self._opened_fields(active.client.encoder),
            ),
            expendable=True,
        )

    def _opened_fields(self, encoder: Encoder) -> dict[str, Any]:
        return {}


class _ToolSpan(Span):
    """
    A tool that a model asked for: `tool` with a `tool_call_id`. Others do without it.
    """

    __slots__ = ("tool_call_id",)

    def __init__(self, name: str | None, *, tool_call_id: str | None, **options: Any) -> None:
        super().__init__("tool", name, **options)
        self.tool_call_id = tool_call_id

    def again(self, name: str) -> Span:
        return _ToolSpan(name, tool_call_id=self.tool_call_id)

    def _fields(self, encoder: Encoder) -> dict[str, Any]:
        return {} if self.tool_call_id is None else {"tool_call_id": label(self.tool_call_id)}


class LLMSpan(Span):
    """
    A call of a language model that is under way.

    Set what becomes known before leaving the block. What cannot be a number of tokens or a cost is
    kept among the attributes.

    Attributes:
        model: The model.
        provider: Who serves it.
        prompt: The messages that go in.
        completion: The message that comes out.
        prompt_tokens: Tokens in, cached ones included.
        completion_tokens: Tokens out, reasoning included.
        cached_tokens: Those of `prompt_tokens` that came from a cache.
        cache_write_tokens: Those of `prompt_tokens` that were written to a cache.
        reasoning_tokens: Those of `completion_tokens` that were reasoning.
        usage: The vendor's own usage object.
        cost: A `Cost`, or dollars that the vendor said.
        tool_call_ids: The ids of the tool calls that the model asks for, such as a tool's
            `tool_call_id` names.
    """

    tool_call_ids: Iterable[str] | None = None  # most calls ask for none

    __slots__ = (
        "_first_token_at", "_prompt", "cache_write_tokens", "cached_tokens", "completion",
        "completion_tokens", "cost", "model", "prompt", "prompt_tokens", "provider",
        "reasoning_tokens", "usage",
    )  # fmt: skip

    captured = False
    """Whether it was seen on its way, not written by hand; or has been told by one that was."""
    admitted = False
    """Whether it was counted towards the session's budget when it began."""

    def __init__(
        self,
        name: str | None,
        *,
        model: str | None = None,
        provider: str | None = None,
        prompt: Any = None,
        params: Any = None,
        attributes: Mapping[str, Any] | None = None,
        capture: _Capture | None = None,
    ) -> None:
        super().__init__(
            "llm", name or model, params=params, attributes=attributes, capture=capture
        )
        self.model = model
        self.provider = provider
        self.prompt = prompt
        self._prompt: msgspec.Raw | None = None
        self.completion: Any = None
        self.prompt_tokens: int | None = None
        self.completion_tokens: int | None = None
        self.cached_tokens: int | None = None
        self.cache_write_tokens: int | None = None
        self.reasoning_tokens: int | None = None
        self.usage: Any = None
        self.cost: Cost | Decimal | float | None = None
        self._first_token_at: int | None = None

    def first_token(self) -> None:
        """
        The first token has come; the time until now is kept.
        """
        if self._first_token_at is None:
            self._first_token_at = _clock.monotonic_ns()

    def open(self, active: ActiveSession, params: msgspec.Raw | None = None) -> None:
        """
        Begin, and count towards the session's budget; one that was captured has been counted.

        Raises:
            BudgetStop: The budget is used up, and this is no task that could be cancelled.
        """
        if active.budget is not None and not self.captured:
            self.admitted = active.budget.began()
        super().open(active, params)

    def close(
        self, exception: BaseException | None = None, *, failure: Failure | None = None
    ) -> None:
        super().close(exception, failure=failure)
        active = self.session
        if active is not None and active.budget is not None:
            failed = failure is not None or isinstance(exception, Exception)
            active.budget.settle(
                admitted=self.admitted,
                state="Fail" if failed else "Success" if exception is None else "Cancelled",
                at_ns=self.started_at,
                model=self.model,
                provider=self.provider,
                cost=None if self.cost is None else cost_of(self.cost),
                **{name: count_of(getattr(self, name)) for name in _TOKEN_FIELDS},
            )
            self.admitted = False
        if self.captured:
            self.captured = False  # a block may be entered again

    def keep_prompt(self, active: ActiveSession) -> None:
        """
        Keep the prompt as it is now, and let go of it.
        """
        if self.prompt is not None:
            self._prompt = active.client.encoder.content(self.prompt)
            self.prompt = None

    def is_open(self) -> bool:
        """
        Whether it has begun, as a block or a decorated call, and is not over.
        """
        return self.session is not None and self in self.session.client.open_spans

    def told_by(self, call: LLMSpan) -> None:
        """
        *call* is this one as it went over the wire: what nobody has said here, it says.
        """
        if self.prompt is None:
            self._prompt = call._prompt
        if self._params is None:
            self._params = call._params
        for name in _TOLD_BY_A_CALL:
            if getattr(self, name) is None:
                setattr(self, name, getattr(call, name))
        self.attributes = {**call.attributes, **self.attributes}

    def again(self, name: str) -> Span:
        return LLMSpan(name, model=self.model, provider=self.provider, prompt=self.prompt)

    def _fields(self, encoder: Encoder) -> dict[str, Any]:
        fields = self._opened_fields(encoder)
        for name in _TOKEN_FIELDS:
            value = getattr(self, name)
            if value is not None:
                fields[name] = count_of(value)
                if fields[name] is None:
                    self.attributes[name] = value
        if self.cost is not None:
            fields["cost"] = cost_of(self.cost)
            if fields["cost"] is None:
                self.attributes["cost"] = self.cost
        if self.tool_call_ids:
            fields["tool_call_ids"] = call_ids_of(self.tool_call_ids)
        if self.completion is not None:
            fields["completion"] = encoder.content(self.completion)
        if self.usage is not None:
            fields["usage"] = encoder.payload(self.usage)
        if self._first_token_at is not None:
            fields["time_to_first_token"] = self._first_token_at - self.opened_at
        return fields

    def _opened_fields(self, encoder: Encoder) -> dict[str, Any]:
        prompt = NOTHING if self._prompt is None else self._prompt
        return {
            "model": None if self.model is None else label(self.model),
            "provider": None if self.provider is None else label(self.provider),
            "prompt": prompt if self.prompt is None else encoder.content(self.prompt),
        }


_TOKEN_FIELDS = (
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
)


_TOLD_BY_A_CALL = (
    *_TOKEN_FIELDS, "_first_token_at", "completion", "cost", "model", "provider", "tool_call_ids",
    "usage",
)  # fmt: skip


def count_of(value: Any) -> int | None:
    """
    *value* as a number of tokens; None where it cannot be one.
    """
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63:
        return int(value)
    return None


def cost_of(value: Any) -> Cost | None:
    """
    *value* as a cost; None where it cannot be one.
    """
    if isinstance(value, Cost):
        return value
    try:
        return Cost(value)
    except (ValueError, TypeError):
        return None


def call_ids_of(value: Any) -> tuple[str, ...]:
    """
    *value* as the ids of tool calls, at most `MAX_TOOL_CALLS`; one text is one id.
    """
    if isinstance(value, str):
        value = (value,)
    try:
        return tuple(label(each) for each in itertools.islice(value, MAX_TOOL_CALLS))
    except Exception:  # nothing that can be gone through
        return ()


def _with(record: EventRecord, **changes: Any) -> EventRecord:
    changed: EventRecord = msgspec.structs.replace(record, **changes)
    return changed


def _origin(exception: BaseException) -> str | None:
    origin = getattr(exception, _ORIGIN, None)
    if origin is None and isinstance(exception, BaseExceptionGroup):
        return next((found for each in exception.exceptions if (found := _origin(each))), None)
    return origin if isinstance(origin, str) else None


def _mark(exception: BaseException, event_id: str) -> None:
    with contextlib.suppress(Exception):  # one that takes no attributes is told in full again
        setattr(exception, _ORIGIN, event_id)


def _reset(token: Token[Span | None]) -> None:
    try:  # noqa: SIM105 - this is on every call's path, and suppress() costs as much as the reset
        _span.reset(token)
    except ValueError:  # an async generator that was closed in another context
        pass


# -- decorators -------------------------------------------------------------------------------


def _decorated(span: Span, function: Any) -> Any:
    if isinstance(function, (classmethod, staticmethod)):
        return type(function)(_decorated(span, function.__func__))
    if not callable(function) or inspect.isclass(function):
        raise TypeError(
            f"asyncops.{span.kind} decorates functions and methods, not {function!r:.100}"
        )
    if span.kind == "tool" and _takes_call_id(function):
        named = _ToolSpan(
            span.name, tool_call_id=None, attributes=span.attributes, capture=span._capture
        )
        call: _Call = _ToolCall(named, function)
    else:
        call = _Call(span, function)
    if inspect.isasyncgenfunction(function):
        return _async_generator(call, function)
    if inspect.iscoroutinefunction(function):
        return _coroutine(call, function)
    if inspect.isgeneratorfunction(function):
        return _generator(call, function)
    return _function(call, function)


class _Call:
    """
    What a decorator knows of the function it wraps: how to open a span for one call of it.
    """

    def __init__(self, span: Span, function: Callable[..., Any]) -> None:
        self._span = span
        self._name = span.name or label(getattr(function, "__qualname__", type(function).__name__))
        capture = span._capture or _Capture()
        self._params = capture.params
        self._returns = capture.returns
        self._attributes = span.attributes
        self._positional: list[str] = []
        self._rest: str | None = None
        self._defaults: dict[str, Any] = {}
        self._bound: str | None = None
        self._names: set[str] = set()
        self._count = -1
        self._skipped = 0
        try:
            parameters = inspect.signature(function).parameters.values()
        except (ValueError, TypeError):  # a builtin that does not say
            self._rest = "args"
            return
        for parameter in parameters:
            if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
                self._positional.append(parameter.name)
            elif parameter.kind is parameter.VAR_POSITIONAL:
                self._rest = parameter.name
            if parameter.default is not parameter.empty:
                self._defaults[parameter.name] = parameter.default
        if self._positional[:1] in (["self"], ["cls"]):
            self._bound = self._positional[0]
            self._skipped = 1
        names = {parameter.name for parameter in parameters}
        if not any(map(is_secret_name, names)):
            self._names = names
            if len(names) == len(self._positional):
                self._count = len(names)

    def open(self, active: ActiveSession, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Span:
        span = self._span.again(self._name)
        client = active.client
        wanted = self._params
        if wanted is None:
            wanted = client.configuration.capture_params
        params = None
        if wanted is True and len(args) == self._count and not kwargs:
            names = self._positional
            if self._skipped:
                names, args = names[1:], args[1:]
            span.params = values = dict(zip(names, args))  # noqa: B905 - as many as there are
            params = client.encoder.arguments(values)
        elif wanted is not False:
            span.params = values = self._arguments(args, kwargs, wanted)
            if values.keys() <= self._names:
                params = client.encoder.arguments(values)
        if self._attributes:
            span.attributes.update(self._attributes)
        span.open(active, params)
        return span

    def _arguments(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], wanted: bool | Collection[str]
    ) -> dict[str, Any]:
        params = {
            **self._defaults, **dict(zip(self._positional, args, strict=False)), **kwargs,
        }  # fmt: skip
        if self._rest is not None and len(args) > len(self._positional):
            params[self._rest] = args[len(self._positional) :]
        if self._bound is not None:
            params.pop(self._bound, None)
        if wanted is not True:
            params = {name: params[name] for name in wanted if name in params}  # type: ignore[union-attr]
        return params

    def close(
        self, span: Span, active: ActiveSession, token: Token[Span | None], result: Any
    ) -> None:
        """
        The call of *span* gave *result*.
        """
        try:  # noqa: SIM105 - `_reset` without the call: this is on every call's path
            _span.reset(token)
        except ValueError:
            pass
        wanted = self._returns
        if active.client.configuration.capture_returns if wanted is None else wanted:
            span.returns = result
        span.close()

    def keeps_returns(self, active: ActiveSession) -> bool:
        wanted = self._returns
        return active.client.configuration.capture_returns if wanted is None else wanted


def _takes_call_id(function: Callable[..., Any]) -> bool:
    try:
        return "tool_call_id" in inspect.signature(function).parameters
    except (ValueError, TypeError):  # a builtin that does not say
        return False


class _ToolCall(_Call):
    """
    Of a tool that is told, as its parameter `tool_call_id`, by which id a model asked for it.
    """

    def open(self, active: ActiveSession, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Span:
        span = super().open(active, args, kwargs)
        told = self._arguments(args, kwargs, ("tool_call_id",)).get("tool_call_id")
        if isinstance(span, _ToolSpan) and isinstance(told, str):
            span.tool_call_id = told
        return span


def _coroutine(call: _Call, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    async def record_coroutine(*args: Any, **kwargs: Any) -> Any:
        active = current()
        if active is None:
            return await function(*args, **kwargs)
        span = call.open(active, args, kwargs)
        token = _span.set(span)
        try:
            result = await function(*args, **kwargs)
        except BaseException as error:
            _reset(token)
            span.close(error)
            raise
        call.close(span, active, token, result)
        return result

    return record_coroutine


def _function(call: _Call, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def record_call(*args: Any, **kwargs: Any) -> Any:
        active = current()
        if active is None:
            return function(*args, **kwargs)
        span = call.open(active, args, kwargs)
        token = _span.set(span)
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            _reset(token)
            span.close(error)
            raise
        call.close(span, active, token, result)
        return result

    return record_call


class _Yielded:
    """
    The first items a generator gave, as what it returned.
    """

    def __init__(self, span: Span, keep: bool) -> None:
        self._span = span
        self._items: list[Any] = []
        self._count = 0
        self._keep = keep

    def add(self, item: Any) -> None:
        self._count += 1
        if self._keep and self._count <= MAX_YIELDED:
            self._items.append(item)

    def close(self, exception: BaseException | None = None) -> None:
        if self._keep:
            self._span.returns = self._items
        self._span.attributes["yielded"] = self._count
        self._span.close(exception)


# The context is set around each step of a generator and put back before the item goes out: what
# the consumer does between two steps does not happen within the generator. No step runs in a task
# of its own, so timeouts and cancel scopes inside the generator keep working.


def _generator(
    call: _Call, function: Callable[..., Generator[Any, Any, Any]]
) -> Callable[..., Generator[Any, Any, Any]]:
    @functools.wraps(function)
    def record_generator(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        active = current()
        generator = function(*args, **kwargs)
        if active is None:
            return (yield from generator)
        span = call.open(active, args, kwargs)
        yielded = _Yielded(span, call.keeps_returns(active))
        advance = generator.__next__
        step: Callable[[], Any] = advance
        try:
            while True:
                token = _span.set(span)
                try:
                    item = step()
                except StopIteration as stop:
                    result = stop.value
                    break
                finally:
                    _reset(token)
                yielded.add(item)
                try:
                    sent = yield item
                except GeneratorExit:
                    token = _span.set(span)
                    try:
                        generator.close()
                    finally:
                        _reset(token)
                    raise
                except BaseException as error:
                    step = functools.partial(generator.throw, error)
                else:
                    step = advance if sent is None else functools.partial(generator.send, sent)
        except BaseException as error:
            yielded.close(error)
            raise
        yielded.close()
        return result

    return record_generator


def _async_generator(
    call: _Call, function: Callable[..., AsyncGenerator[Any, Any]]
) -> Callable[..., AsyncGenerator[Any, Any]]:
    @functools.wraps(function)
    async def record_async_generator(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        active = current()
        generator = function(*args, **kwargs)
        span = None if active is None else call.open(active, args, kwargs)
        keep = active is not None and call.keeps_returns(active)
        yielded = None if span is None else _Yielded(span, keep)
        advance = generator.__anext__
        step: Callable[[], Any] = advance
        try:
            while True:
                token = None if span is None else _span.set(span)
                try:
                    item = await step()
                except StopAsyncIteration:
                    break
                finally:
                    if token is not None:
                        _reset(token)
                if yielded is not None:
                    yielded.add(item)
                try:
                    sent = yield item
                except GeneratorExit:
                    token = None if span is None else _span.set(span)
                    try:
                        await generator.aclose()
                    finally:
                        if token is not None:
                            _reset(token)
                    raise
                except BaseException as error:
                    step = functools.partial(generator.athrow, error)
                else:
                    step = advance if sent is None else functools.partial(generator.asend, sent)
        except BaseException as error:
            if yielded is not None:
                yielded.close(error)
            raise
        if yielded is not None:
            yielded.close()

    return record_async_generator


# -- the public makers ------------------------------------------------------------------------


class Maker(Protocol):
    """
    Makes blocks and decorators of one kind: `action` and `agent`.
    """

    @overload
    def __call__(
        self,
        name: str | None = None,
        /,
        *,
        params: Any = None,
        attributes: Mapping[str, Any] | None = None,
        capture_params: bool | Collection[str] | None = None,
        capture_returns: bool | None = None,
    ) -> Span: ...

    @overload
    def __call__(self, function: F, /) -> F: ...

    def __call__(self, subject: Any = None, /, **options: Any) -> Any:
        """
        Something that happens, as a block or a decorator.

        ```python
        @asyncops.action
        async def triage(inbox): ...

        with asyncops.action("triage", params={"inbox": 3}) as span:
            span.returns = "urgent"
        ```

        Args:
            name: What happens; a decorated function's qualified name if left out.
            params: What goes in, for a block; any value.
            attributes: Whatever else belongs to it, by name.
            capture_params: For a decorator: whether arguments are kept, or the names of those that
                are. The configuration's `capture_params` if left out.
            capture_returns: For a decorator: whether return values are kept. For generators these
                are the first items. The configuration's `capture_returns` if left out.

        Without a session it does nothing. It may be used from any thread and in any task;
        cancelling what it wraps records a cancelled event.
        """


def _maker(kind: EventKind, doc: str) -> Maker:
    def make(subject: Any = None, /, **options: Any) -> Any:
        return _make(kind, subject, **options)

    make.__name__ = make.__qualname__ = kind
    make.__doc__ = f"{doc}\n{Maker.__call__.__doc__}"
    return cast("Maker", make)


action = _maker("action", "A step the program takes.")
agent = _maker("agent", "An agent at work: what happens within carries its name.")


@overload
def tool(
    name: str | None = None,
    /,
    *,
    tool_call_id: str | None = None,
    params: Any = None,
    attributes: Mapping[str, Any] | None = None,
    capture_params: bool | Collection[str] | None = None,
    capture_returns: bool | None = None,
) -> Span: ...


@overload
def tool(function: F, /) -> F: ...


def tool(subject: Any = None, /, **options: Any) -> Any:
    """
    A tool that is called, as a block or a decorator.

    ```python
    @asyncops.tool
    async def search(query: str): ...

    with asyncops.tool("search", tool_call_id=call.id, params=call.arguments) as span:
        span.returns = await search(call.arguments)
    ```

    Args:
        name: Which tool; a decorated function's qualified name if left out.
        tool_call_id: For a block: the id by which a model asked for it; its page then links both. A
            decorated function with a parameter of this name has it from there.

    Everything else is as for `action`.
    """
    return _make("tool", subject, **options)


@overload
def llm(
    name: str | None = None,
    /,
    *,
    model: str | None = None,
    provider: str | None = None,
    prompt: Any = None,
    params: Any = None,
    attributes: Mapping[str, Any] | None = None,
    capture_params: bool | Collection[str] | None = None,
    capture_returns: bool | None = None,
) -> LLMSpan: ...


@overload
def llm(function: F, /) -> F: ...


def llm(subject: Any = None, /, **options: Any) -> Any:
    """
    A call of a language model, as a block or a decorator.

    ```python
    with asyncops.llm(model="gpt-5", provider="openai", prompt=messages) as call:
        answer = await client.chat.completions.create(model="gpt-5", messages=messages)
        call.completion = answer.choices[0].message
        call.prompt_tokens = answer.usage.prompt_tokens
        call.completion_tokens = answer.usage.completion_tokens
    ```

    Args:
        name: What it is called; the model if left out.
        model: The model.
        provider: Who serves it.
        prompt: The messages that go in.

    Everything else is as for `action`; what comes out is set on the `LLMSpan`.
    """
    return _make("llm", subject, **options)


def _make(
    kind: EventKind,
    subject: Any,
    *,
    capture_params: bool | Collection[str] | None = None,
    capture_returns: bool | None = None,
    **options: Any,
) -> Any:
    name = subject if isinstance(subject, str) else None
    if isinstance(capture_params, str):  # what was meant is clear
        capture_params = [capture_params]
    elif capture_params is not None and not isinstance(capture_params, bool):
        capture_params = tuple(capture_params)  # what is no collection is refused here, not later
    capture = _Capture(capture_params, capture_returns)
    call_id = options.pop("tool_call_id", None) if kind == "tool" else None
    span: Span
    if kind == "llm":
        span = LLMSpan(name, capture=capture, **options)
    elif call_id is not None:
        span = _ToolSpan(name, tool_call_id=call_id, capture=capture, **options)
    else:
        span = Span(kind, name, capture=capture, **options)
    return span if subject is name else span(subject)
