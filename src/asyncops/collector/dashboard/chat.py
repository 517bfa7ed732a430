"""
The conversation of a session as it went, agent by agent: of each call only what is new.

Programs send a model everything that was said before, again and again. What a call repeats of the
earlier calls of its agent is counted, not shown; tools stand where they were called, with what came
back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import attrs
import msgspec

from ..store.base import EventDetail, EventSummary
from .conversations import Message, Part, messages

__all__ = ["Exchange", "Speaker", "chat", "in_chat_order", "repeated"]

MAX_THREADS = 8
"""How many conversations of one agent are told apart; the first ones are forgotten beyond that."""

_Key = tuple[str, str]


@attrs.frozen(kw_only=True)
class Exchange:
    """
    One call of a model, or of a tool that no model here asked for.

    Attributes:
        said: What was said to the model that had not been said before.
        repeated: How many messages before that had been.
        answered: What it answered.
        prompt: What was said, where it is no conversation in any way we know; None else.
        completion: The same of the answer.
        results: What tools gave for the calls in `answered`, by the calls' ids.
    """

    event: EventDetail
    said: tuple[Message, ...] = ()
    repeated: int = 0
    answered: tuple[Message, ...] = ()
    prompt: Any = None
    completion: Any = None
    results: Mapping[str, Result] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class Result:
    """
    What a tool gave: the event that carried the call out, or what a later call tells of it.
    """

    event: EventDetail | None
    value: Any


@attrs.define(kw_only=True)
class Speaker:
    """
    An agent and its exchanges, in order of time.
    """

    name: str | None
    exchanges: list[Exchange] = attrs.field(factory=list)


def in_chat_order(events: Iterable[EventSummary]) -> list[EventSummary]:
    """
    The calls of models and tools among *events*: agents by when they first speak, calls by time.
    """
    calls = sorted(
        (event for event in events if event.kind in ("llm", "tool")),
        key=lambda event: (event.started_at, event.seq),
    )
    places: dict[str | None, int] = {}
    for call in calls:
        places.setdefault(call.agent, len(places))
    return sorted(calls, key=lambda call: places[call.agent])


def chat(
    calls: Sequence[EventDetail], *, before: Iterable[EventDetail] = ()
) -> tuple[Speaker, ...]:
    """
    *calls*, which are in chat order, as conversations.

    Args:
        before: Earlier calls of the same agents, whose history counts as said.
    """
    threads: dict[str | None, list[list[_Key]]] = {}
    for call in before:
        _read(call, threads)
    carried_out = {call.summary.id: call for call in calls if call.summary.kind == "tool"}
    read = {call.summary.id: _read(call, threads) for call in calls if call.summary.kind == "llm"}
    told = _told(exchange.said for exchange in read.values())
    results: dict[str, dict[str, Result]] = {}
    for event_id, exchange in read.items():
        results[event_id] = dict(_results(exchange, carried_out, told))
    inline = {
        result.event.summary.id
        for found in results.values()
        for result in found.values()
        if result.event is not None
    }
    speakers: dict[str | None, Speaker] = {}
    for call in calls:
        if call.summary.id in inline:
            continue
        exchange = read.get(call.summary.id) or Exchange(event=call)
        exchange = attrs.evolve(exchange, results=results.get(call.summary.id, {}))
        speaker = speakers.setdefault(call.summary.agent, Speaker(name=call.summary.agent))
        speaker.exchanges.append(exchange)
    shown = {call_id for it in speakers.values() for one in it.exchanges for call_id in one.results}
    for speaker in speakers.values():
        speaker.exchanges[:] = [_without(shown, exchange) for exchange in speaker.exchanges]
    return tuple(speakers.values())


def repeated(said: Sequence[Message], before: EventDetail) -> int:
    """
    How many messages *said* begins with that the call *before* was told, or answered; 0 where
    nothing is new.
    """
    earlier = (_spoken(before.prompt, "user"), _spoken(before.completion, "assistant"))
    thread = [key for several in earlier for message in several or () for key in _keys(message)]
    known = _known(said, thread)
    return 0 if all(known) else known.index(False)


def _read(call: EventDetail, threads: dict[str | None, list[list[_Key]]]) -> Exchange:
    """
    What is new in *call*; its agent's *threads* know it from now on.
    """
    said = _spoken(call.prompt, "user")
    answered = _spoken(call.completion, "assistant")
    own = threads.setdefault(call.summary.agent, [])
    best: tuple[int, int, list[bool]] = (0, -1, [False] * len(said or ()))
    for place, thread in enumerate(own):
        known = _known(said or (), thread)
        # what tells a conversation from others is what was said in it, not how it was instructed
        weight = sum(
            10_000 if message.role not in _INSTRUCTIONS else 1
            for message, is_known in zip(said or (), known, strict=True)
            if is_known
        )
        if weight > best[0]:
            best = (weight, place, known)
    weight, place, known = best
    thread = [key for message in (*(said or ()), *(answered or ())) for key in _keys(message)]
    if weight >= 10_000:
        own[place] = thread
    else:
        own.append(thread)
        del own[:-MAX_THREADS]
    return Exchange(
        event=call,
        said=tuple(it for it, is_known in zip(said or (), known, strict=True) if not is_known),
        repeated=sum(known),
        answered=answered or (),
        prompt=call.prompt if said is None else None,
        completion=call.completion if answered is None else None,
    )


_INSTRUCTIONS = ("system", "developer")
_BESIDES = ("other fields", "left out")


def _spoken(value: Any, role: str) -> tuple[Message, ...] | None:
    """
    The messages in *value*, without what a request has beside them: that is in the event's detail.
    """
    if value is None:
        return ()
    found = messages(value, role=role)
    return found and tuple(message for message in found if message.role not in _BESIDES)


def _known(said: Sequence[Message], thread: Sequence[_Key]) -> list[bool]:
    """
    Which messages *thread* has in the same order. Programs cut the middle out of long histories and
    put summaries in, so they need not follow each other.
    """
    known: list[bool] = []
    place = 0
    for message in said:
        keys = _keys(message)
        at = place
        for key in keys:
            try:
                at = thread.index(key, at) + 1
            except ValueError:
                keys = []
                break
        known.append(bool(keys))
        if keys:
            place = at
    return known


def _keys(message: Message) -> list[_Key]:
    """
    What makes a message the same when it is sent again: not how its vendor wraps it.
    """
    keys: list[_Key] = []
    for part in message.parts:
        if part.kind == "text":
            keys.append((message.role, part.text.strip()))
        elif part.kind in ("call", "result", "media"):
            keys.append((part.kind, f"{part.name}{_plain(part.value)}"))
    return keys


def _plain(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _asked(answered: Iterable[Message]) -> dict[str, str | None]:
    """
    The ids of the calls of tools in *answered*, each with the tool's name.
    """
    return {
        part.id: part.name
        for message in answered
        for part in message.parts
        if part.kind == "call" and part.id
    }


def _told(said: Iterable[tuple[Message, ...]]) -> dict[str, Part]:
    """
    The results that calls tell of, by the id of the call of the tool.
    """
    return {
        part.id: part
        for several in said
        for message in several
        for part in message.parts
        if part.kind == "result" and part.id
    }


def _results(
    exchange: Exchange, carried_out: dict[str, EventDetail], told: Mapping[str, Part]
) -> Iterator[tuple[str, Result]]:
    """
    What came back for each call of a tool. An event of *carried_out* that was found is taken out.
    """
    events = dict(exchange.event.tool_calls)
    for call_id, name in _asked(exchange.answered).items():
        event_id = events.get(call_id) or _next_of(name, exchange.event, carried_out.values())
        event = carried_out.pop(event_id or "", None)
        if call_id in told:
            yield call_id, Result(event=event, value=told[call_id].value)
        elif event is not None:
            yield call_id, Result(event=event, value=event.returns)


def _next_of(name: str | None, asking: EventDetail, tools: Iterable[EventDetail]) -> str | None:
    """
    The next call of the tool *name* by the same agent, where it does not say which call of the
    model it carries out.
    """
    for tool in tools:
        if (
            tool.tool_call_id is None
            and tool.summary.name == name
            and tool.summary.agent == asking.summary.agent
            and tool.summary.started_at >= asking.summary.started_at
        ):
            return tool.summary.id
    return None


def _without(shown: set[str], exchange: Exchange) -> Exchange:
    """
    *exchange* without results that stand where the tool was called.
    """
    said = tuple(
        message
        for message in exchange.said
        if not message.parts
        or not all(part.kind == "result" and part.id in shown for part in message.parts)
    )
    return attrs.evolve(exchange, said=said)
