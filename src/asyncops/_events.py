"""
What is recorded: end states, failures, events, and the records that carry them.

Events are what a program says happened; records are the numbered lines of a journal. Both are
values: frozen, compared by what they hold. Times are integer nanoseconds since the epoch.
Events are attrs classes; records are msgspec structs, because the collector makes one per line it
reads and attrs classes of that width take ten times as long.
"""

from __future__ import annotations

import enum
import traceback
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from types import TracebackType
from typing import Annotated, Any, ClassVar, Literal

import attrs
import msgspec

__all__ = [
    "ActionEvent",
    "AgentEvent",
    "AnnotationRecord",
    "Cost",
    "EndState",
    "ErrorEvent",
    "Event",
    "EventKind",
    "EventOpenedRecord",
    "EventRecord",
    "EventState",
    "Failure",
    "LLMEvent",
    "Record",
    "SaidBy",
    "SessionEndedRecord",
    "SessionRecord",
    "SourceEndedRecord",
    "SourceRecord",
    "SucceededEvent",
    "TagsRecord",
    "ToolEvent",
    "VideoRecord",
]

NOTHING = msgspec.Raw()
"""What a record holds where nothing was said (JSON `null` is something: `Raw(b"null")`)."""

MAX_LABEL_CHARS = 1_000
"""How long a name (of an event, agent, model, tag ...) may be."""

MAX_FAILURES = 16
"""How many failures of one cause chain or exception group are kept."""

MAX_COST = 1_000_000_000
"""The largest cost of one event, in units of its currency."""

MAX_NOTE_CHARS = 8_192
"""How long a note of a person may be."""

MAX_SCORE = 1_000_000_000
"""How far a score may be from 0."""

MAX_TOOL_CALLS = 1_000
"""How many tool calls one answer of a model may ask for."""

MAX_TRACEBACK_FRAMES = 60
"""How many frames of a traceback are kept, half from each end."""

MAX_TRACEBACK_CHARS = 65_536
"""How many characters of a formatted traceback are kept, from its end."""

MAX_MESSAGE_CHARS = 8_192
"""How many characters of an exception's message are kept."""


class EndState(enum.StrEnum):
    """
    How a session ended.
    """

    SUCCESS = "Success"
    """The work was done."""

    FAIL = "Fail"
    """An error ended it."""

    CANCELLED = "Cancelled"
    """Somebody or something called it off."""

    INDETERMINATE = "Indeterminate"
    """Nobody could say: the process died or exited without a word."""


EventKind = Literal["action", "tool", "llm", "agent", "error"]
"""What sort of thing happened."""

EventState = Literal["Success", "Fail", "Cancelled"]
"""How an event ended."""

SaidBy = Literal["user", "process", "adopter"]
"""Who says how a session ended; an earlier one in this list outranks a later one."""


@attrs.frozen(kw_only=True)
class Failure:
    """
    An exception as data, with everything that led to it.

    Attributes:
        type: The exception's qualified type name, without `builtins.`.
        message: Its text.
        traceback: The formatted traceback of this exception alone, frames of asyncops left out.
        relation: How it belongs to the failure above it: "cause" (`raise ... from`), "context"
            (raised while that one was handled), "member" (of an exception group); "" at the top.
        event_id: The event in which it was raised, where that is not the event that carries it.
        causes: What led to it, each with its own causes.
    """

    type: str
    message: str = ""
    traceback: str = ""
    relation: Literal["", "cause", "context", "member"] = ""
    event_id: str | None = None
    causes: tuple[Failure, ...] = ()

    @classmethod
    def from_exception(cls, exception: BaseException) -> Failure:
        """
        Describe *exception*: its cause chain and group members, at most `MAX_FAILURES` in all.

        Never raises `Exception`, whatever `str()` of the exception does.
        """
        return _failure(exception, "", seen=set())

    def summary(self) -> str:
        """
        `Type: message` in one line, the type without its module, as a session's reason shows it.
        """
        first = self.message.strip().split("\n", 1)[0]
        kind = self.type.rpartition(".")[2]
        return f"{kind}: {first}" if first else kind


def _failure(exception: BaseException, relation: Any, seen: set[int]) -> Failure:
    seen.add(id(exception))
    causes = tuple(
        _failure(other, how, seen)
        for other, how in _led_to(exception)
        if id(other) not in seen and len(seen) < MAX_FAILURES
    )
    return Failure(
        type=_type_name(type(exception)),
        message=_message(exception),
        traceback=_traceback(exception.__traceback__),
        relation=relation,
        causes=causes,
    )


def _led_to(exception: BaseException) -> Iterator[tuple[BaseException, str]]:
    if isinstance(exception, BaseExceptionGroup):
        for member in exception.exceptions:
            yield member, "member"
    if exception.__cause__ is not None:
        yield exception.__cause__, "cause"
    elif exception.__context__ is not None and not exception.__suppress_context__:
        yield exception.__context__, "context"


def _type_name(kind: type) -> str:
    module = kind.__module__
    return (
        kind.__qualname__ if module in ("builtins", "__main__") else f"{module}.{kind.__qualname__}"
    )


def _message(exception: BaseException) -> str:
    try:
        message = str(exception)
        notes = getattr(exception, "__notes__", None)
        if isinstance(notes, list):
            message = "\n".join([message, *(note for note in notes if isinstance(note, str))])
    except Exception as error:
        return f"<str() raised {_type_name(type(error))}>"
    if len(message) > MAX_MESSAGE_CHARS:
        return f"{message[:MAX_MESSAGE_CHARS]}... ({len(message)} characters)"
    return message


_OWN_PACKAGE = __file__.rpartition("_events")[0]


def _traceback(tb: TracebackType | None) -> str:
    try:
        frames = [
            frame
            for frame in traceback.extract_tb(tb)
            if not (frame.filename.startswith(_OWN_PACKAGE) and frame.name in _WRAPPERS)
        ]
        if len(frames) > MAX_TRACEBACK_FRAMES:
            half = MAX_TRACEBACK_FRAMES // 2
            left_out = f"  ... {len(frames) - 2 * half} frames left out ...\n"
            parts = [*traceback.format_list(frames[:half]), left_out]
            parts += traceback.format_list(frames[-half:])
        else:
            parts = traceback.format_list(frames)
        return "".join(parts)[-MAX_TRACEBACK_CHARS:]
    except Exception as error:  # source files that vanish or lie about their encoding
        return f"<traceback could not be formatted: {_type_name(type(error))}>"


_WRAPPERS = frozenset(
    "record_call record_coroutine record_generator record_async_generator"
    " handle_request handle_async_request __iter__ __aiter__".split()
)
"""
The functions of `_spans.py` that stand between a caller and a decorated function, and those of
`capture` between a client and its transport.
"""


def _decimal(value: Decimal | float | str) -> Decimal:
    try:
        return value if isinstance(value, Decimal) else Decimal(str(value))
    except ArithmeticError:
        return Decimal("NaN")


@attrs.frozen
class Cost:
    """
    What a call cost, and who says so.

    Attributes:
        amount: In units of `currency`, exact.
        currency: ISO 4217 code; "USD" is what the collector adds up.
        source: "provider" (the vendor's answer said it) or "computed" (from a price table).
        table: The price table's name and version, where computed.
    """

    amount: Decimal = attrs.field(converter=_decimal)
    currency: str = "USD"
    source: Literal["provider", "computed"] = "provider"
    table: str | None = None

    def __attrs_post_init__(self) -> None:
        # not a validator: those do not run when msgspec decodes
        if not (self.amount.is_finite() and 0 <= self.amount <= MAX_COST):
            raise ValueError(f"a cost is a number from 0 to {MAX_COST:,}, not {self.amount}")


@attrs.frozen(kw_only=True)
class Event:
    """
    Something that happened inside a session. Use one of the subclasses and `asyncops.record`.

    Attributes:
        name: What happened, in the program's own words.
        id: 16 hex digits, unique within the session; given when recorded if left out.
        parent_id: The event it happened within; the current one when recorded if left out.
        agent: The agent on whose behalf; the current one when recorded if left out.
        state: "Success", "Fail" or "Cancelled"; "Fail" if left out and there is a failure.
        started_at: Nanoseconds since the epoch; when recorded if left out.
        ended_at: Nanoseconds since the epoch; `started_at` if left out.
        params: What went in; any value, bounded and redacted when recorded.
        returns: What came out; likewise.
        failure: What went wrong.
        attributes: Whatever else belongs to it, by name.
    """

    kind: ClassVar[EventKind]

    name: str | None = None
    id: str | None = None
    parent_id: str | None = None
    agent: str | None = None
    state: EventState | None = None
    started_at: int | None = None
    ended_at: int | None = None
    params: Any = None
    returns: Any = None
    failure: Failure | None = None
    attributes: Mapping[str, Any] | None = None


# A subclass that adds no field is a plain class: making an attrs class takes half a millisecond.


class ActionEvent(Event):
    """
    A step the program took.
    """

    __slots__ = ()
    kind = "action"


@attrs.frozen(kw_only=True)
class ToolEvent(Event):
    """
    A tool that was called.

    Attributes:
        tool_call_id: The id by which a model asked for it.
    """

    kind = "tool"

    tool_call_id: str | None = None


class AgentEvent(Event):
    """
    An agent at work; events within it carry its name.
    """

    __slots__ = ()
    kind = "agent"


@attrs.frozen(kw_only=True)
class LLMEvent(Event):
    """
    A call of a language model.

    Attributes:
        model: The model that answered.
        provider: Who serves it.
        prompt: The messages that went in.
        completion: The message that came out.
        prompt_tokens: Tokens in, cached ones included.
        completion_tokens: Tokens out, reasoning included.
        cached_tokens: The part of `prompt_tokens` read from a cache.
        cache_write_tokens: The part of `prompt_tokens` written to a cache.
        reasoning_tokens: The part of `completion_tokens` that was reasoning.
        time_to_first_token: Nanoseconds from the request to the first token.
        usage: The vendor's own usage object, unchanged.
        cost: What it cost, if anybody said.
        tool_call_ids: The ids of the tool calls that the model asked for, at most
            `MAX_TOOL_CALLS`.
    """

    kind = "llm"

    model: str | None = None
    provider: str | None = None
    prompt: Any = None
    completion: Any = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    time_to_first_token: int | None = None
    usage: Any = None
    cost: Cost | None = None
    tool_call_ids: Iterable[str] = ()


@attrs.frozen(kw_only=True)
class ErrorEvent(Event):
    """
    Something went wrong, told on its own.

    Attributes:
        exception: The exception; becomes the event's `failure`.
        trigger_event: The event that brought it about, or its id. An event that has not been
            recorded yet is recorded with it.
    """

    kind = "error"

    exception: BaseException | None = None
    trigger_event: Event | str | None = None


Nanoseconds = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
"""A time since the epoch or a duration."""

Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
"""How many."""

Label = Annotated[str, msgspec.Meta(max_length=MAX_LABEL_CHARS)]
"""A name of something."""

ToolCallIds = Annotated[tuple[Label, ...], msgspec.Meta(max_length=MAX_TOOL_CALLS)]
"""The ids by which a model asks for tools."""

SessionId = Annotated[str, msgspec.Meta(min_length=36, max_length=36)]
"""
A UUID as text; without the dashes it is a W3C trace id. `_wire.decode` looks at its characters.
"""

SourceId = SessionId
"""A UUID as text."""

EventId = Annotated[str, msgspec.Meta(min_length=16, max_length=16)]
"""
16 hex digits; a W3C span id. `_wire.decode` looks at its characters: for many at once that takes a
tenth of the time that a pattern here does.
"""


class RecordBase(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", gc=False
):
    """
    One line of a journal.

    Attributes:
        seq: Its number: 1, 2, 3 ... per source; given by the journal, 0 until then.
        at: When it was recorded.
    """

    seq: Count = 0
    at: Nanoseconds


class SourceRecord(RecordBase, frozen=True, kw_only=True, omit_defaults=True, tag="source"):
    """
    A process began to record, or tells more of itself: later ones fill in what is missing.
    """

    source: SourceId
    pid: Count | None = None
    boot_id: Label | None = None
    started_at: Nanoseconds | None = None
    sdk: Label | None = None
    host: dict[str, Any] | None = None


class SessionRecord(RecordBase, frozen=True, kw_only=True, omit_defaults=True, tag="session"):
    """
    A session began, or (`inherited`) this source joined it.
    """

    session: SessionId
    name: Label | None = None
    started_at: Nanoseconds | None = None
    tags: tuple[Label, ...] = ()
    inherited: bool = False


class TagsRecord(RecordBase, frozen=True, kw_only=True, omit_defaults=True, tag="tags"):
    """
    Tags were added, or (`replace`) set anew.
    """

    session: SessionId
    tags: tuple[Label, ...]
    replace: bool = False


class VideoRecord(RecordBase, frozen=True, kw_only=True, omit_defaults=True, tag="video"):
    """
    The session has a video.
    """

    session: SessionId
    video: str


class EventOpenedRecord(
    RecordBase, frozen=True, kw_only=True, omit_defaults=True, tag="event_opened"
):
    """
    A span is open for longer than one exporter tick; says nothing that its event won't say again.
    """

    session: SessionId
    id: EventId
    kind: EventKind
    name: Label
    started_at: Nanoseconds
    parent_id: EventId | None = None
    agent: Label | None = None
    params: msgspec.Raw = NOTHING
    model: Label | None = None
    provider: Label | None = None
    prompt: msgspec.Raw = NOTHING
    attributes: msgspec.Raw = NOTHING


class EventRecord(EventOpenedRecord, frozen=True, kw_only=True, omit_defaults=True, tag="event"):
    """
    An event, closed: it never changes any more.
    """

    state: EventState
    ended_at: Nanoseconds
    returns: msgspec.Raw = NOTHING
    failure: Failure | None = None
    completion: msgspec.Raw = NOTHING
    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None
    cached_tokens: Count | None = None
    cache_write_tokens: Count | None = None
    reasoning_tokens: Count | None = None
    time_to_first_token: Nanoseconds | None = None
    usage: msgspec.Raw = NOTHING
    cost: Cost | None = None
    trigger_event_id: EventId | None = None
    tool_call_id: Label | None = None
    tool_call_ids: ToolCallIds = ()


class SucceededEvent(msgspec.Struct, omit_defaults=True, tag_field="type", tag="event", gc=False):
    """
    The `EventRecord` of a span that succeeded, on its way to the journal: it becomes the same line
    in two thirds of the time, because its fields are fewer and given by position.
    """

    at: int
    session: str
    id: str
    kind: EventKind
    name: str
    started_at: int
    parent_id: str | None = None
    agent: str | None = None
    params: Any = None
    attributes: Any = None
    state: EventState | None = None
    ended_at: int | None = None
    returns: Any = None


class SessionEndedRecord(
    RecordBase, frozen=True, kw_only=True, omit_defaults=True, tag="session_ended"
):
    """
    The session ended; without a state, only this source's part of an inherited one did.
    """

    session: SessionId
    said_by: SaidBy
    ended_at: Nanoseconds
    state: EndState | None = None
    reason: str | None = None
    failure: Failure | None = None


class AnnotationRecord(RecordBase, frozen=True, kw_only=True, omit_defaults=True, tag="annotation"):
    """
    A person's word on a session, or on one of its events. The latest word on a thing counts.

    Attributes:
        event: The event that it is about; the session as a whole if None.
        by: Who says so.
        star: Whether it is starred.
        note: A note; an empty one takes the note of that id back.
        note_id: What the note is known by.
        score: How good it was, in whatever unit.
        score_name: What was judged.
        tags: The tags of the session, all of them.
    """

    session: SessionId
    event: EventId | None = None
    by: Label | None = None
    star: bool | None = None
    note: Annotated[str, msgspec.Meta(max_length=MAX_NOTE_CHARS)] | None = None
    note_id: EventId | None = None
    score: Annotated[float, msgspec.Meta(ge=-MAX_SCORE, le=MAX_SCORE)] | None = None
    score_name: Label | None = None
    tags: tuple[Label, ...] | None = None


class LostRecord(RecordBase, frozen=True, kw_only=True, omit_defaults=True, tag="lost"):
    """
    This number and those right before it, `count` in all, were given to records that had to be
    dropped. It stands in their place.

    Attributes:
        reason: Why, in a word: `journal_max_bytes`, `disk_full` ...; docs/protocol.md has them all.
    """

    count: Count
    reason: Label


class SourceEndedRecord(
    RecordBase, frozen=True, kw_only=True, omit_defaults=True, tag="source_ended"
):
    """
    The last line of a source: nothing follows.
    """


Record = (
    SourceRecord
    | SessionRecord
    | TagsRecord
    | VideoRecord
    | EventOpenedRecord
    | EventRecord
    | SessionEndedRecord
    | AnnotationRecord
    | LostRecord
    | SourceEndedRecord
)
"""Any line of a journal; its `type` key says which."""
