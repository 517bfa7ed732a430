"""
Answers of dialects in tests: streams put together, bodies tampered with.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable
from typing import Any

import attrs
from hypothesis import strategies as st

from asyncops._events import Cost
from asyncops.capture._dialects import Answered, Asked, Assembly, Dialect

odd = st.sampled_from(
    [None, True, False, 0, -1, 2**63, 10**400, 1.5, "", "x", "\ud83d", [], [None], [[]], {}]
) | st.sampled_from(
    [{"": None}, {"index": "x"}, {"index": 2**70}, [{"index": 0}, {"index": 0}], ["x", 1, {}]]
)
"""What no vendor would say there."""


@st.composite
def tampered(draw: st.DrawFn, body: Any) -> Any:
    """
    *body* with up to three of its values gone or replaced.
    """
    body = copy.deepcopy(body)
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(body))
        if not places:
            break
        holder, key = draw(st.sampled_from(places))
        if draw(st.booleans()):
            holder[key] = copy.deepcopy(draw(odd))
        else:
            del holder[key]
    return body


def _places(value: Any) -> Iterable[tuple[Any, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        yield value, key
        if isinstance(inner, (dict, list)):
            yield from _places(inner)


def assembly_of(dialect: Dialect, events: Iterable[Any]) -> Assembly:
    """
    An assembly of *dialect* that was given *events*: JSON, or pairs of an event's name and JSON.
    """
    assembly = dialect.assembly()
    for event in events:
        name, data = event if isinstance(event, tuple) else ("", event)
        assembly.add(name, data)
    return assembly


def streamed(dialect: Dialect, events: Iterable[Any]) -> Answered:
    """
    What a stream of *events* answers. None of them is changed by reading it.
    """
    events = list(events)
    before = copy.deepcopy(events)
    answered = dialect.answered(assembly_of(dialect, events).body())

    assert before == events

    return answered


def is_sound(said: Asked | Answered) -> None:
    """
    Every field of *said* holds what it may hold, so that a record can be made of it.
    """
    for field in attrs.fields(type(said)):
        value = getattr(said, field.name)
        if field.name.endswith("_tokens"):
            assert value is None or (type(value) is int and 0 <= value < 2**63), field.name
        elif field.name in ("model", "response_id"):
            assert value is None or (isinstance(value, str) and value), field.name
        elif field.name in ("finish_reasons", "tool_call_ids"):
            assert isinstance(value, tuple)
            assert all(isinstance(item, str) for item in value), field.name
        elif field.name == "cost":
            assert value is None or isinstance(value, Cost)
        else:
            json.dumps(value)  # JSON that came in is JSON that goes out


def try_hard(
    dialect: Dialect, path: str, data: st.DataObject, *, asked: Any, answered: Any, events: Any
) -> None:
    """
    Whatever a request, an answer and a stream are changed into, reading them gives what is sound or
    raises an ordinary exception.
    """
    body = data.draw(tampered(asked))
    _sound_or_raises(lambda: dialect.matches(path, body) and is_sound(dialect.asked(path, body)))
    body = data.draw(tampered(answered))
    _sound_or_raises(lambda: is_sound(dialect.answered(body)))
    assembly = dialect.assembly()
    named = [list(event) if isinstance(event, tuple) else ["", event] for event in events]
    for event in data.draw(tampered(named)):
        name, piece = event if isinstance(event, list) and len(event) == 2 else ("", event)
        _sound_or_raises(lambda: assembly.add(name, piece))  # noqa: B023 (called at once)
    assert type(assembly.has_token) is type(assembly.complete) is bool
    _sound_or_raises(lambda: is_sound(dialect.answered(assembly.body())))


def _sound_or_raises(read: Callable[[], object]) -> None:
    try:
        read()
    except AssertionError:
        raise
    except Exception:
        return
