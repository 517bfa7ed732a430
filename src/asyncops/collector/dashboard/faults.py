"""
What went wrong in one session: failures that say the same together, each where it was raised.

An exception that passes through several events fails all of them. That is one fault: it counts
where it was raised, and the events above are those that it passed through.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from ..store.base import EventSummary
from ..store.fingerprints import fingerprint

__all__ = ["Fault", "FaultGroup", "fault_groups"]

MAX_SHOWN = 20
"""How many faults of one group are listed."""

WITHOUT_WORDS = "failed without a word"
"""What stands where an event failed and does not say why."""


@attrs.frozen(kw_only=True)
class Fault:
    """
    One failure: the event that it was raised in, and those it passed through, from inside out.
    """

    event: EventSummary
    passed: tuple[EventSummary, ...]


@attrs.define(kw_only=True)
class FaultGroup:
    """
    Faults of one type whose messages differ in numbers and ids at most.

    Attributes:
        fingerprint: What they have in common.
        error: The type and message of the first of them.
        faults: The first `MAX_SHOWN` of them, in order of time.
        count: How many there are.
    """

    fingerprint: str
    error: str
    count: int = 0
    faults: list[Fault] = attrs.field(factory=list)
    first: int = 0
    last: int = 0

    @property
    def type(self) -> str:
        return self.error.partition(":")[0]

    @property
    def message(self) -> str:
        return self.error.partition(":")[2].strip()


def fault_groups(events: Sequence[EventSummary]) -> list[FaultGroup]:
    """
    The faults among *events*, most frequent first.
    """
    by_id = {event.id: event for event in events}
    failed = {event.id: event for event in events if event.state == "Fail" or event.kind == "error"}
    passed_on = {
        event.parent_id
        for event in failed.values()
        if event.parent_id in failed and failed[event.parent_id].error == event.error
    }
    groups: dict[str, FaultGroup] = {}
    for event in sorted(failed.values(), key=lambda event: (event.started_at, event.seq)):
        if event.id in passed_on:
            continue
        error = event.error or (event.name if event.kind == "error" else WITHOUT_WORDS)
        key = fingerprint(error)
        group = groups.get(key)
        if group is None:
            group = groups[key] = FaultGroup(fingerprint=key, error=error, first=event.started_at)
        group.count += 1
        group.last = event.started_at
        if len(group.faults) < MAX_SHOWN:
            group.faults.append(Fault(event=event, passed=_above(event, by_id)))
    return sorted(groups.values(), key=lambda group: (-group.count, group.first))


def _above(event: EventSummary, by_id: dict[str, EventSummary]) -> tuple[EventSummary, ...]:
    passed: list[EventSummary] = []
    seen = {event.id}
    above = by_id.get(event.parent_id or "")
    while above is not None and above.id not in seen and above.error == event.error:
        if above.state != "Fail":
            break
        seen.add(above.id)
        passed.append(above)
        above = by_id.get(above.parent_id or "")
    return tuple(passed)
