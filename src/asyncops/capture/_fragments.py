"""
Fragments of a message, merged into the message they are fragments of.

A text that comes in a thousand pieces is kept as a thousand pieces and joined once: what a piece
costs does not depend on how many came before it.
"""

from __future__ import annotations

from typing import Any

__all__ = ["Text", "joined", "merge"]

_GROWING = frozenset(
    "content refusal reasoning reasoning_content text thinking arguments input partial_json code"
    " data transcript summary signature".split()
)
"""
Where texts come in pieces. Under any other name (`role`, `id`, `type` ...) a later text stands in
place of an earlier one: some servers say those again with each piece.
"""

_FLOWING = ("text", "thinking")
"""Kinds of parts of a message that go on in the next piece, where parts have no numbers."""


class Text:
    """
    A text that still grows.
    """

    __slots__ = ("pieces",)

    def __init__(self, *pieces: str) -> None:
        self.pieces = list(pieces)


class _Items:
    """
    A list whose items still grow: those with an `index` wherever it is said again, others at the
    end of the list.
    """

    __slots__ = ("items", "numbered")

    def __init__(self, begun: list[Any]) -> None:
        self.items = [dict(item) if isinstance(item, dict) else item for item in begun]
        self.numbered = {
            number: item for number, item in enumerate(self.items) if isinstance(item, dict)
        }

    def add(self, fragment: Any) -> None:
        if not isinstance(fragment, dict):
            self.items.append(fragment)
            return
        index = fragment.get("index")
        item = self._continued(fragment, index)
        if item is None:
            item = {}
            self.items.append(item)
            if isinstance(index, int):
                self.numbered[index] = item
        merge(item, fragment)

    def _continued(self, fragment: dict[str, Any], index: Any) -> dict[str, Any] | None:
        """
        The item that *fragment* goes on with.
        """
        if isinstance(index, int):
            item = self.numbered.get(index)
            # some servers give every call of a turn the same number, and an id of its own
            if item is not None and item.get("id") and fragment.get("id"):
                return item if item["id"] == fragment["id"] else None
            return item
        last = self.items[-1] if self.items else None
        if isinstance(last, dict) and last.get("type") == fragment.get("type"):
            return last if fragment.get("type") in _FLOWING else None
        return None


def merge(whole: dict[str, Any], fragment: dict[str, Any]) -> None:
    """
    Put *fragment* into *whole*: what earlier calls put there, or a copy of what a message began
    with.
    """
    for name, value in fragment.items():
        held = whole.get(name)
        if value is None:
            whole.setdefault(name, None)
        elif isinstance(value, str):
            if isinstance(held, _Items):  # Mistral: parts while it thinks, then plain text
                if value:
                    held.add({"type": "text", "text": value})
            elif name not in _GROWING:
                whole[name] = value
            elif isinstance(held, Text):
                held.pieces.append(value)
            else:
                whole[name] = Text(held, value) if isinstance(held, str) else Text(value)
        elif isinstance(value, dict):
            if not isinstance(held, dict):
                held = whole[name] = {}
            merge(held, value)
        elif isinstance(value, list):
            if not isinstance(held, _Items):
                whole[name] = items = _Items(held if isinstance(held, list) else [])
                if isinstance(held, Text) and any(held.pieces):
                    items.add({"type": "text", "text": "".join(held.pieces)})
                held = items
            for item in value:
                held.add(item)
        else:
            whole[name] = value


def joined(value: Any) -> Any:
    """
    *value*, all that grows in it put together; the numbers of items, which only a stream has, left
    out.
    """
    if isinstance(value, Text):
        return "".join(value.pieces)
    if isinstance(value, _Items):
        return [
            joined({name: inner for name, inner in item.items() if name != "index"})
            if isinstance(item, dict)
            else item
            for item in value.items
        ]
    if isinstance(value, dict):
        return {name: joined(inner) for name, inner in value.items()}
    return value
