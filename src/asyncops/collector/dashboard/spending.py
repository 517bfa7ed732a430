"""
Who spent what in one session: sums over its events, by agent, by model, by tool.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal

import attrs

from ..store.base import EventSummary

__all__ = ["Spending", "by_agent", "by_model", "by_tool", "dearest"]

MAX_DEAREST = 5
"""How many events are named as the dearest."""


@attrs.define(kw_only=True)
class Spending:
    """
    What some events used. Times are nanoseconds.

    Attributes:
        name: Whose they are; None where the events do not say.
        events: How many.
        llms: Calls of models among them.
        tools: Calls of tools among them.
        errors: Those that failed, and errors told of.
        cost: Dollars, or None where no event said what it cost.
        costs_unknown: Calls whose cost nobody knows.
        other_currencies: Calls whose cost is in another currency, which is not added up.
        llm_time: How long calls of models took, one after the other.
        tool_time: The same of tools.
        longest: The event that took longest.
        share: Of the dearest of them, by cost; by time where nothing has a cost.
    """

    name: str | None
    events: int = 0
    llms: int = 0
    tools: int = 0
    errors: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    cost: Decimal | None = None
    costs_unknown: int = 0
    other_currencies: int = 0
    llm_time: int = 0
    tool_time: int = 0
    longest: EventSummary | None = None
    first: int = 0
    last: int = 0
    share: float = 0.0

    def add(self, event: EventSummary, *, now: int) -> None:
        """
        Count *event*, which lasts until *now* where it has not ended.
        """
        took = took_of(event, now)
        if not self.events:
            self.first = event.started_at
        self.first = min(self.first, event.started_at)
        self.last = max(self.last, event.started_at + took)
        self.events += 1
        self.errors += event.state == "Fail" or event.kind == "error"
        self.prompt_tokens += event.prompt_tokens or 0
        self.completion_tokens += event.completion_tokens or 0
        self.cached_tokens += event.cached_tokens or 0
        self.reasoning_tokens += event.reasoning_tokens or 0
        if event.cost is not None and event.cost.currency != "USD":
            self.other_currencies += 1
        elif event.cost is not None:
            self.cost = (self.cost or Decimal(0)) + event.cost.amount
        self.costs_unknown += event.cost_source == "unknown"
        if event.kind == "llm":
            self.llms += 1
            self.llm_time += took
        elif event.kind == "tool":
            self.tools += 1
            self.tool_time += took
        if self.longest is None or took > took_of(self.longest, now):
            self.longest = event

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


def took_of(event: EventSummary, now: int) -> int:
    return max((now if event.ended_at is None else event.ended_at) - event.started_at, 0)


def by_agent(events: Iterable[EventSummary], *, now: int) -> list[Spending]:
    """
    What each agent used, dearest first. What an agent's own event lasted counts for nothing: its
    calls are what took time.
    """
    return _by(events, lambda event: event.agent, now)


def by_model(events: Iterable[EventSummary], *, now: int) -> list[Spending]:
    """
    What calls of each model used.
    """
    return _by((event for event in events if event.kind == "llm"), lambda event: event.model, now)


def by_tool(events: Iterable[EventSummary], *, now: int) -> list[Spending]:
    """
    How long each tool took.
    """
    return _by((event for event in events if event.kind == "tool"), lambda event: event.name, now)


def dearest(events: Iterable[EventSummary]) -> list[EventSummary]:
    """
    The events that cost most dollars, dearest first.
    """
    costs = (
        (event.cost.amount, -event.seq, event)
        for event in events
        if event.cost is not None and event.cost.currency == "USD" and event.cost.amount > 0
    )
    return [event for *_, event in heapq.nlargest(MAX_DEAREST, costs)]


def _by(
    events: Iterable[EventSummary], whose: Callable[[EventSummary], str | None], now: int
) -> list[Spending]:
    found: dict[str | None, Spending] = {}
    for event in events:
        name = whose(event)
        spending = found.get(name)
        if spending is None:
            spending = found[name] = Spending(name=name)
        spending.add(event, now=now)
    return _with_shares(list(found.values()))


def _with_shares(spendings: Sequence[Spending]) -> list[Spending]:
    has_costs = any(spending.cost for spending in spendings)

    def weight(spending: Spending) -> float:
        if has_costs:
            return float(spending.cost or 0)
        return spending.llm_time + spending.tool_time

    most = max(map(weight, spendings), default=0)
    for spending in spendings:
        spending.share = 100 * weight(spending) / most if most else 0
    return sorted(spendings, key=lambda it: (weight(it), it.tokens, it.events), reverse=True)
