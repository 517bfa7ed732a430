"""
What the commands print, and in which words. Recorded text is hostile: it never reaches a terminal
with a control character in it, nor is it read as rich's markup.
"""

from __future__ import annotations

import contextlib
import sys
import unicodedata
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from rich.console import Console
from rich.text import Text

from ..collector.dashboard.costs import sources_words
from ..collector.dashboard.format import amount_of, compact, duration
from ..collector.store.base import CostSource

__all__ = [
    "CommandError",
    "cell",
    "console",
    "cost",
    "cost_sources",
    "dollars",
    "event_cost",
    "how_long",
    "multiline",
    "notice",
    "one_line",
    "short_id",
    "state",
    "tokens",
]

WIDTH = 160
"""How wide a table is where there is no terminal to ask."""

MAX_CELL_CHARS = 80
"""How much of a recorded text a table shows."""

_STATES = {
    "Running": ("●", "blue"),
    "Success": ("✓", "green"),
    "Fail": ("✗", "red"),
    "Cancelled": ("⊘", "yellow"),
    "Indeterminate": ("?", "magenta"),
}


class CommandError(Exception):
    """
    A command cannot do what was asked; the message is one line that says what to do.
    """


def console() -> Console:
    """
    Standard output: in colour and as wide as the terminal, if it is one.
    """
    # `highlight` would colour parts of recorded text
    return Console(
        width=None if sys.stdout.isatty() else WIDTH, highlight=False, markup=False, emoji=False
    )


def notice(text: str) -> None:
    """
    Tell whoever watches something that is not what the command was asked for: on standard error.
    """
    with contextlib.suppress(OSError, ValueError):  # nobody listens any more
        sys.stderr.write(f"asyncops: {one_line(text)}\n")
        sys.stderr.flush()


def one_line(text: object) -> str:
    """
    *text* without anything that moves a cursor: control characters are shown as escapes.
    """
    return "".join(map(_shown, str(text)))


def cell(text: object) -> str:
    """
    Like `one_line`, but never so long that it spoils a table.
    """
    shown = one_line(text)
    return shown if len(shown) <= MAX_CELL_CHARS else f"{shown[: MAX_CELL_CHARS - 3]}..."


def multiline(text: object) -> str:
    """
    Like `one_line`, but line breaks remain.
    """
    return "\n".join(map(one_line, str(text).replace("\t", "    ").splitlines()))


def _shown(char: str) -> str:
    # Cc: control, Cf: format (bidirectional overrides), Cs: surrogates, Zl and Zp: line breaks
    if char.isprintable() or unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Zl", "Zp"):
        return char
    return char.encode("unicode_escape").decode("ascii")


def short_id(session: Mapping[str, Any]) -> str:
    """
    The beginning of a session's id: the millisecond it was made in, which nearly always tells.
    """
    return one_line(session["id"])[:13]


def state(name: str) -> Text:
    """
    How a session or an event stands, as a sign and a word.
    """
    sign, colour = _STATES.get(name, ("", ""))
    return Text(f"{sign} {one_line(name)}".strip(), style=colour)


def how_long(milliseconds: float | None) -> str:
    """
    A duration as the API gives it, or "" while it lasts.
    """
    return "" if milliseconds is None else duration(milliseconds * 1e6)


def dollars(amount: float) -> Decimal:
    """
    An amount as the API gives it, exact.
    """
    return Decimal(str(amount))


def cost(session: Mapping[str, Any]) -> str:
    """
    What a session cost; `unknown` where nobody knows what its LLM calls did.
    """
    if session["cost_usd"] is not None:
        return amount_of(dollars(session["cost_usd"]), "$")
    return "unknown" if session["costs_unknown"] else ""


def cost_sources(session: Mapping[str, Any]) -> str:
    """
    Who says what a session cost, or "" where there is nothing to say.
    """
    # a collector of an older version does not tell
    sources = [CostSource(**source) for source in session.get("costs_from", ())]
    return one_line(sources_words(sources, unknown=session["costs_unknown"]))


def event_cost(event: Mapping[str, Any]) -> str:
    """
    What an event cost and who says so, or "" where nobody did.
    """
    if event["cost_usd"] is None:
        return ""
    amount = amount_of(dollars(event["cost_usd"]), "$")
    return f"{amount} ({one_line(event['cost_source'])})"


def tokens(said: Mapping[str, Any]) -> str:
    """
    Tokens in and out, or "" where there were none; "?" where one is not known.
    """
    counts = said["prompt_tokens"], said["completion_tokens"]
    if not any(counts):
        return ""
    return " → ".join("?" if one is None else compact(one) for one in counts)
