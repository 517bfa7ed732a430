"""
Exports that may leave the house: what was said is replaced by its type and size.

Names, states, times, tokens and costs stay. `masked` knows a session, an event and a record in JSON
alike, since all of them call a thing by the same name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

__all__ = ["masked"]

_VALUES = frozenset(
    {"params", "returns", "prompt", "completion", "usage", "attributes", "reason", "video"}
)
"""Any JSON that a program, or a model, said."""


def masked(said: Mapping[str, Any]) -> dict[str, Any]:
    """
    *said*, a session, an event or a record, without what was said in it.
    """
    return {name: _masked(name, value) for name, value in said.items()}


def _masked(name: str, value: Any) -> Any:
    if value is None:
        return None
    if name in _VALUES:
        return _marker(value)
    if name == "error":  # a type and a message
        kind, colon, message = value.partition(": ")
        return f"{kind}{colon}{_marker(message)}" if colon else kind
    if name == "failure":
        return _failure(value)
    if name == "note":
        return _marker(value) if value else value  # an empty one takes a note back
    if name == "notes":
        return [{**note, "text": _marker(note["text"])} for note in value]
    if name == "host":
        return {"masked": _marker(value)}
    if name == "sources":
        return [masked(source) for source in value]
    return value


def _failure(failure: Mapping[str, Any]) -> dict[str, Any]:
    hidden = {name: _marker(failure[name]) for name in ("message", "traceback") if failure[name]}
    return {**failure, **hidden, "causes": [_failure(cause) for cause in failure["causes"]]}


def _marker(value: Any) -> str:
    """
    The type and the size of *value*, in words.
    """
    if isinstance(value, str):
        return f"[text, {len(value)} characters]"
    if isinstance(value, list):
        return f"[list of {len(value)}]"
    if isinstance(value, dict):
        return f"[object, {len(msgspec.json.encode(value))} bytes]"
    return f"[{'true or false' if isinstance(value, bool) else 'number'}]"
