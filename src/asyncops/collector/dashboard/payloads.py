"""
Any JSON as HTML: folded, bounded, escaped.

Values come from recorded programs, so they can be anything: a hundred thousand keys, one string of
megabytes, markup. What is shown is bounded; what is left out is said, and the JSON twin has it all.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup, escape

from .format import plural, size_bytes
from .images import Image, image_of

__all__ = ["folded", "image_html", "json_html", "text_html"]

MAX_NODES = 2_000
"""How many values of one payload are shown."""

MAX_CHARS = 200_000
"""How many characters of one payload are shown."""

MAX_IMAGE_CHARS = 2_000_000
"""How many characters the images of one payload may have beside these."""

INLINE_CHARS = 72
"""A container whose JSON is no longer than this stays on one line."""

FOLDED_CHARS = 700
"""A text longer than this shows its beginning until it is unfolded."""

FOLDED_LINES = 14

OPEN_DEPTH = 2
"""Containers this deep are folded at first."""

MAX_DEPTH = 40
"""What lies deeper is left out: more than the recorder keeps, so only hostile records get here."""

OPEN_ITEMS = 24
"""Containers with more items than this are folded at first."""


def json_html(value: Any) -> Markup:
    """
    *value*, which is plain JSON, as nested HTML.
    """
    return Markup("").join(_Renderer().value(value, 0))


def text_html(text: str) -> Markup:
    """
    A text as it is, folded where it is long.
    """
    shown = text[:MAX_CHARS]
    body: str = escape(shown)
    if len(text) > len(shown):
        rest = f"{len(text) - len(shown):,} more characters: see the JSON"
        body += Markup('<span class="left-out">… {}</span>').format(rest)
    return folded(shown, Markup('<div class="text">{}</div>').format(body), chars=len(text))


def image_html(image: Image) -> Markup:
    """
    An image, and in words what it is: of what it shows we know nothing.
    """
    return Markup(
        '<figure class="image"><img src="{}" alt="Recorded image" decoding="async">'
        '<figcaption class="note">{}</figcaption></figure>'
    ).format(image.address, image.words)


def folded(text: str, body: Markup, *, chars: int | None = None) -> Markup:
    """
    *body*, which shows *text*: behind its beginning where it is long.

    Args:
        chars: How long the text is where not all of it is there.
    """
    lines = text.count("\n") + 1
    if len(text) <= FOLDED_CHARS and lines <= FOLDED_LINES:
        return body
    head = "\n".join(text[:FOLDED_CHARS].split("\n")[: FOLDED_LINES - 4])
    size = f"{chars or len(text):,} characters" if lines == 1 else f"{lines:,} lines"
    return Markup(
        '<details class="long"><summary><span class="head text">{}…</span>'
        '<span class="more"><span class="when-closed">Show all {}</span>'
        '<span class="when-open">Show less</span></span></summary>'
        "{}</details>"
    ).format(head, size, body)


class _Renderer:
    """
    Renders one payload within its bounds.
    """

    def __init__(self) -> None:
        self._nodes = 0
        self._chars = 0
        self._image_chars = 0

    def value(self, value: Any, depth: int) -> Sequence[str]:
        self._nodes += 1
        if isinstance(value, dict):
            return self._marker(value) or self._container(value, depth)
        if isinstance(value, list):
            return self._container(value, depth)
        if isinstance(value, str):
            return [self._string(value)]
        return [_scalar(value)]

    def _string(self, text: str) -> str:
        image = image_of(text)
        if image is not None and self._image_chars + len(text) <= MAX_IMAGE_CHARS:
            self._image_chars += len(text)
            return image_html(image)
        room = max(MAX_CHARS - self._chars, 256)
        self._chars += len(text)
        if len(text) > room:
            return Markup('<span class="s">{}</span><span class="left-out">… {}</span>').format(
                text[:room], f"{len(text) - room:,} more characters: see the JSON"
            )
        if len(text) <= 120 and "\n" not in text:
            return Markup('<span class="s">{}</span>').format(text)
        return Markup('<div class="s block">{}</div>').format(text_html(text))

    def _marker(self, value: dict[str, Any]) -> Sequence[str] | None:
        """
        What the recorder put where JSON had no word or there was no room.
        """
        if "$truncated" in value and isinstance(value["$truncated"], str):
            what, size = value["$truncated"], value.get("size")
            said = f"{what} cut short when it was recorded"
            if isinstance(size, int):
                unit = value.get("unit") or ("characters" if what == "string" else "items")
                said += f": {size_bytes(size) if what == 'bytes' else f'{size:,} {unit}'}"
            head = value.get("head")
            parts: list[str] = [Markup('<span class="note">{}</span>').format(said)]
            if isinstance(head, str) and head:
                parts.append(self._string(head))
            return parts
        if "$type" in value and isinstance(value["$type"], str) and len(value) == 2:
            shown = value.get("repr", value.get("error", ""))
            if isinstance(shown, str):
                kind = Markup('<span class="note">{}</span> ').format(value["$type"])
                return [kind, self._string(shown)]
        return None

    def _container(self, value: dict[str, Any] | list[Any], depth: int) -> Sequence[str]:
        is_object = isinstance(value, dict)
        if not value:
            return [Markup('<span class="p">{}</span>').format("{}" if is_object else "[]")]
        inline = self._inline(value)
        if inline is not None:
            return [inline]
        if depth >= MAX_DEPTH:
            return [Markup('<span class="left-out">… deeper: see the JSON</span>')]
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        said = plural(len(value), "key") if is_object else plural(len(value), "item")
        is_open = " open" if depth < OPEN_DEPTH and len(value) <= OPEN_ITEMS else ""
        parts: list[str] = [
            Markup('<details class="fold"{}><summary>').format(is_open),
            Markup('<span class="p">{}</span> ').format("{}" if is_object else "[]"),
            Markup('<span class="note">{}</span></summary><ul>').format(said),
        ]
        for position, (key, item) in enumerate(pairs):
            if self._nodes >= MAX_NODES or self._chars >= MAX_CHARS:
                rest = f"… {len(value) - position:,} more: see the JSON"
                parts.append(Markup('<li class="left-out">{}</li>').format(rest))
                break
            parts.append(Markup('<li><span class="k">{}:</span> ').format(key))
            parts += self.value(item, depth + 1)
            parts.append(Markup("</li>"))
        parts.append(Markup("</ul></details>"))
        return parts

    def _inline(self, value: dict[str, Any] | list[Any]) -> str | None:
        items = value.values() if isinstance(value, dict) else value
        if len(value) > 8 or any(isinstance(item, (dict, list)) for item in items):
            return None
        if any(isinstance(item, str) and len(item) > INLINE_CHARS for item in items):
            return None
        text = json.dumps(value, ensure_ascii=False)
        if len(text) > INLINE_CHARS:
            return None
        self._nodes += len(value)
        self._chars += len(text)
        if isinstance(value, dict):
            inner = Markup('<span class="p">, </span>').join(
                Markup('<span class="k">{}:</span> {}').format(key, _inline_item(item))
                for key, item in value.items()
            )
            return Markup('<span class="p">{{</span> {} <span class="p">}}</span>').format(inner)
        inner = Markup('<span class="p">, </span>').join(_inline_item(item) for item in value)
        return Markup('<span class="p">[</span>{}<span class="p">]</span>').format(inner)


def _inline_item(value: Any) -> str:
    if isinstance(value, str):
        return Markup('<span class="s">"{}"</span>').format(value)
    return _scalar(value)


def _scalar(value: Any) -> str:
    text = "null" if value is None else json.dumps(value, ensure_ascii=False)
    return Markup('<span class="n">{}</span>').format(text)
