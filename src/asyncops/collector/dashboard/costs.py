"""
Who says what something cost, in words.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..store.base import CostSource, EventSummary
from .format import cost_of, plural

__all__ = ["NO_COST", "event_cost", "said_by", "sources_words"]

NO_COST = "none"
"""What a call cost that was refused."""

MAX_SOURCES = 4
"""How many sources of costs one session's words name."""


def event_cost(event: EventSummary) -> str:
    """
    What an event cost; `NO_COST` for a call that was refused, `unknown` where nobody knows.
    """
    if event.cost_source is None and event.state != "Running":
        return NO_COST
    return cost_of(event.cost)


def said_by(source: str | None, table: str | None) -> str:
    """
    Who says what one event cost; "" for what has no cost to know.

    Args:
        source: "provider", "computed", "unknown" or None.
        table: The price table's name and version, where computed.
    """
    if source == "provider":
        return "said by the provider"
    if source == "computed":
        if table is None:
            return "computed from a price table"
        # as a file of one's own is called, see `PriceTable.versions`
        return f"computed from {'your ' if ' sha256:' in table else ''}{table}"
    return "nobody knows what this call cost" if source == "unknown" else ""


def sources_words(sources: Iterable[CostSource], *, unknown: int) -> str:
    """
    Who says what a session's events cost, and for how many it is *unknown*.
    """
    told = sorted(sources, key=lambda source: -source.events)
    words = [
        f"{said_by(source.source, source.table)}"
        + (f", in {source.currency}, which is not added up" if source.currency != "USD" else "")
        + (f": {plural(source.events, 'call')}" if len(told) > 1 or unknown else "")
        for source in told[:MAX_SOURCES]
    ]
    if len(told) > MAX_SOURCES:
        more = sum(source.events for source in told[MAX_SOURCES:])
        words.append(f"from elsewhere: {plural(more, 'call')}")
    if unknown:
        words.append(f"unknown: {plural(unknown, 'call')}")
    return "; ".join(words)
