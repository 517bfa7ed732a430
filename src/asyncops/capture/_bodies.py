"""
What all dialects read bodies with: counts, labels, the rest of a request.

A body is what a stranger sent: each of these takes anything and gives None for what does not fit.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote

__all__ = [
    "added",
    "but",
    "count",
    "first",
    "labels",
    "mapping",
    "model_in",
    "names_model",
    "one_or_all",
    "text",
]

MAX_COUNT = 2**63 - 1
"""What a count in a record may be at most."""


def count(value: object) -> int | None:
    """
    *value* if it is a number of tokens.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_COUNT:
        return value
    return None


def added(*counts: int | None) -> int | None:
    """
    The sum of those that are known; None if none is.
    """
    known = [one for one in counts if one is not None]
    return count(sum(known)) if known else None


def first(*counts: int | None) -> int | None:
    """
    The first that is known.
    """
    return next((one for one in counts if one is not None), None)


def text(value: object) -> str | None:
    """
    *value* if it is a text that says something.
    """
    return value if isinstance(value, str) and value else None


def labels(values: Iterable[object]) -> tuple[str, ...]:
    """
    The texts among *values*.
    """
    return tuple(value for value in values if isinstance(value, str) and value)


def mapping(value: Any) -> Mapping[str, Any]:
    """
    *value* if it is an object; else an empty one.
    """
    return value if isinstance(value, dict) else {}


def but(body: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """
    *body* without what stands under *names*.
    """
    return {name: value for name, value in body.items() if name not in names}


def one_or_all(values: list[Any]) -> Any:
    """
    The only one of *values*; all of them where there are several, None where there is none.
    """
    if len(values) > 1:
        return values
    return values[0] if values else None


def names_model(body: Any) -> bool:
    """
    Whether *body* is an object that says which model it is for.
    """
    return isinstance(body, dict) and isinstance(body.get("model"), str)


_MODEL = re.compile(r"/(?:deployments|models|model|tunedModels|endpoints)/([^/]+)")
_VERB = re.compile(r":[A-Za-z]+\Z")


def model_in(path: str) -> str | None:
    """
    The model that an address names: `/deployments/NAME/chat/completions`,
    `/models/NAME:generateContent`, `/model/NAME/invoke`.
    """
    found = _MODEL.search(path)
    return _VERB.sub("", unquote(found[1])) if found else None
