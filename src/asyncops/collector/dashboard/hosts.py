"""
The host environment of a source in words.

The recorder says it in sections of plain values (`os`, `cpu`, `ram`, `packages` ...), but nobody
can be trusted to: whatever has another shape is shown as JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from .format import plural, size_bytes
from .payloads import json_html, text_html

__all__ = ["host_entry", "host_line"]

IN_BYTES = frozenset({"ram", "disk"})
"""Sections whose numbers are sizes."""

MAX_INLINE = 12
"""A section with more entries than this is folded."""

MAX_ENTRIES = 2_000


def host_line(host: Mapping[str, Any] | None) -> str:
    """
    What sets a machine apart, in one line: its name, system and Python.
    """
    found = []
    for section, names in (
        ("os", ("hostname",)),
        ("os", ("name", "release")),
        ("sdk", ("python",)),
    ):
        entries = (host or {}).get(section)
        if isinstance(entries, Mapping):
            said = " ".join(entries[name] for name in names if isinstance(entries.get(name), str))
            found.append(f"Python {said}" if said and section == "sdk" else said)
    return ", ".join(filter(None, found))[:160]


def host_entry(section: str, value: Any) -> Markup:
    """
    One section of a host environment.
    """
    if isinstance(value, str):
        return text_html(value)
    if not isinstance(value, Mapping) or not all(map(_is_plain, value.values())):
        return Markup('<div class="json">{}</div>').format(json_html(value))
    entries = Markup("").join(
        Markup('<li><span class="note">{}</span> {}</li>').format(name, _said(section, item))
        for name, item in list(value.items())[:MAX_ENTRIES]
    )
    if len(value) <= MAX_INLINE:
        return Markup('<ul class="entries">{}</ul>').format(entries)
    return Markup(
        '<details><summary>{}</summary><ul class="entries many">{}</ul></details>'
    ).format(plural(len(value), "entry", "entries"), entries)


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return len(value) <= 8 and all(isinstance(item, (int, float)) for item in value)
    return value is None or isinstance(value, (str, int, float))


def _said(section: str, value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_said(section, item) for item in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and section in IN_BYTES:
        return size_bytes(value)
    if isinstance(value, float):
        return f"{value:.2f}"
    return "none" if value is None else str(value)
