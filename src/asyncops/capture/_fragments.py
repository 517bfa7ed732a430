"""
Fragments of a message, merged into the message they are fragments of.

What a piece of a text costs, in time or in memory, does not depend on how many came before it. What
was given is never changed.
"""

from __future__ import annotations

from typing import Any

__all__ = ["Text", "Whole", "joined", "merge"]

_GROWING = frozenset(
    "content refusal reasoning reasoning_content text thinking arguments input partial_json code"
    " data transcript summary signature tool_plan response".split()
)
"""
Where texts come in pieces. Under any other name (`role`, `id`, `type` ...) a later text stands in
place of an earlier one: some servers say those again with each piece.
"""

_IN_PARTS = frozenset("content thinking summary tool_calls reasoning_details".split())
"""Lists whose items come in pieces. To any other list a later one is added."""

_FLOWING = frozenset(("text", "thinking"))
"""Kinds of items that go on in the next piece, where items have no numbers."""


class Text:
    """
    A text that still grows. It takes a tenth of the memory that a list of short pieces does.

    No `io.StringIO`: of an answer that nobody holds any more the interpreter closes that before we
    can read it.
    """

    def __init__(self, *pieces: str) -> None:
        self._written = bytearray()
        for piece in pieces:
            self.write(piece)

    def write(self, piece: str) -> None:
        self._written += piece.encode(errors="surrogatepass")

    def getvalue(self) -> str:
        return self._written.decode(errors="surrogatepass")


class Whole(dict[str, Any]):
    """
    An object that still grows, and is ours to change.
    """


class _Items:
    """
    A list whose items still grow: those with an `index` wherever it is said again.
    """

    def __init__(self, begun: list[Any]) -> None:
        self.items = [Whole(item) if isinstance(item, dict) else item for item in begun]
        self.numbered: dict[int, Whole] = {
            item.get("index", number): item
            for number, item in enumerate(self.items)
            if isinstance(item, Whole)
        }

    def add(self, fragment: Any) -> None:
        if not isinstance(fragment, dict):
            self.items.append(fragment)
            return
        index = fragment.get("index")
        item = self._continued(fragment, index)
        if item is not None:
            merge(item, fragment)
            return
        item = Whole(fragment)
        self.items.append(item)
        if isinstance(index, int):
            self.numbered[index] = item

    def _continued(self, fragment: dict[str, Any], index: Any) -> Whole | None:
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
        if isinstance(last, Whole) and last.get("type") == fragment.get("type"):
            return last if fragment.get("type") in _FLOWING else None
        return None


class _List(list[Any]):
    """
    A list that still grows, and is ours to change.
    """


def merge(whole: dict[str, Any], fragment: dict[str, Any]) -> None:
    """
    Put *fragment* into *whole*, which is the caller's own; what lies deeper in it need not be.
    """
    for name, value in fragment.items():
        held = whole.get(name)
        if value is None:
            whole.setdefault(name, None)
        elif isinstance(value, str):
            _merge_text(whole, name, held, value)
        elif isinstance(value, dict) and isinstance(held, dict):
            if not isinstance(held, Whole):
                whole[name] = held = Whole(held)
            merge(held, value)
        elif isinstance(value, list):
            _merge_list(whole, name, held, value)
        else:
            whole[name] = value


def _merge_text(whole: dict[str, Any], name: str, held: Any, value: str) -> None:
    if isinstance(held, _Items):
        if value:  # Mistral: parts while it thinks, then plain text
            held.add({"type": "text", "text": value})
    elif name not in _GROWING:
        whole[name] = value
    elif isinstance(held, Text):
        held.write(value)
    else:
        whole[name] = Text(held, value) if isinstance(held, str) else Text(value)


def _merge_list(whole: dict[str, Any], name: str, held: Any, value: list[Any]) -> None:
    if name not in _IN_PARTS:
        if not isinstance(held, _List):
            held = whole[name] = _List(held if isinstance(held, list) else [])
        held += value
        return
    if not isinstance(held, _Items):
        said = _joined(held)
        begun = [{"type": "text", "text": said}] if said and isinstance(said, str) else said
        held = whole[name] = _Items(begun if isinstance(begun, list) else [])
    for item in value:
        held.add(item)


def joined(whole: dict[str, Any]) -> dict[str, Any]:
    """
    *whole* with all that grows in it put together; the numbers of items, which only a stream has,
    are left out.
    """
    return {name: _joined(value) for name, value in whole.items()}


def _joined(value: Any) -> Any:
    if isinstance(value, Text):
        return value.getvalue()
    if isinstance(value, Whole):
        return joined(value)
    if isinstance(value, _List):
        return list(value)
    if isinstance(value, _Items):
        return [
            joined({name: inner for name, inner in item.items() if name != "index"})
            if isinstance(item, Whole)
            else item
            for item in value.items
        ]
    return value
