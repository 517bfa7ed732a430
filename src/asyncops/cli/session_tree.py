"""
A session's events as a tree, each with a bar that shows when it happened, as wide as the terminal.

A terminal shows hundreds of lines, a session has a hundred thousand events: what does not fit is
left out where there is most of the same, and each place says how much.
"""

from __future__ import annotations

import datetime
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

import attrs
from rich.text import Text

from ..collector.dashboard.format import amount_of, plural
from . import output

__all__ = ["Scale", "Tree", "microseconds"]

MAX_ROWS = 400
"""How many events are shown where not all are asked for."""

MAX_SIBLINGS = 40
"""How many events within the same one are shown then."""

MAX_DEPTH = 50
"""How deep the tree is drawn; what lies deeper stands beside its parent."""

KIND_COLOURS = {
    "action": "green",
    "agent": "blue",
    "error": "red",
    "llm": "magenta",
    "tool": "cyan",
}

Event = Mapping[str, Any]


class Tree:
    """
    *events* in their places.

    Args:
        most: How many of them are shown; all if None.
        depth: How deep they are shown; as deep as they lie if None.
        only: The ids of those that are shown, if not all may be.
    """

    def __init__(
        self,
        events: Sequence[Event],
        *,
        most: int | None = MAX_ROWS,
        depth: int | None = None,
        only: frozenset[str] | None = None,
    ) -> None:
        ids = {event["id"] for event in events}
        self._children: dict[str | None, list[Event]] = {}
        for event in sorted(events, key=lambda event: (event["started_at"], event["seq"])):
            parent = event["parent_id"] if event["parent_id"] in ids else None
            self._children.setdefault(parent, []).append(event)
        self._hang_up_circles(ids, events)
        self._most = most if only is None and most is not None and len(events) > most else None
        self._depth = MAX_DEPTH if depth is None else depth
        self._cut = depth is not None
        self._only = only
        self._shown = self._chosen()
        self.left_out = len(events) - len(self._shown)

    def _hang_up_circles(self, ids: set[str], events: Iterable[Event]) -> None:
        """
        Let those stand at the top that hang together in a circle, which no program does but a
        hostile one: else they would be seen nowhere.
        """
        tops = self._children.setdefault(None, [])
        seen: set[str] = set()
        for event in [*tops, *events]:
            if event["id"] in seen:
                continue
            if event["parent_id"] in ids:  # and yet not below any of the tops
                self._children[event["parent_id"]].remove(event)
                tops.append(event)
            inside = [event]
            while inside:
                each = inside.pop()
                seen.add(each["id"])
                inside += self._children.get(each["id"], ())

    def _chosen(self) -> set[str]:
        """
        The ids of those that are shown: level by level, until there is no more room.
        """
        chosen: set[str] = set()
        level = deque([(child, 1) for child in self._some(self._children.get(None, ()))])
        while level and (self._most is None or len(chosen) < self._most):
            event, depth = level.popleft()
            chosen.add(event["id"])
            if depth < self._depth or not self._cut:
                inside = self._some(self._children.get(event["id"], ()))
                level += [(child, depth + 1) for child in inside]
        return chosen

    def _some(self, siblings: Sequence[Event]) -> Sequence[Event]:
        if self._only is not None:
            return [event for event in siblings if event["id"] in self._only]
        if self._most is None or len(siblings) <= MAX_SIBLINGS:
            return siblings
        special = [event["id"] for event in siblings if event["state"] != "Success"]
        others = [event["id"] for event in siblings if event["state"] == "Success"]
        kept = special[: MAX_SIBLINGS // 2]
        kept += others[: MAX_SIBLINGS - len(kept)]
        return [event for event in siblings if event["id"] in set(kept)]

    def rows(self) -> Iterator[tuple[str, Event | Text]]:
        """
        What stands on each line: what is drawn before it, and an event or a remark.
        """
        open_rows: list[tuple[str, str, Event | Text, int]] = []
        self._put(open_rows, None, "", 0)
        while open_rows:
            above, branch, row, depth = open_rows.pop()
            yield above + branch, row
            if not isinstance(row, Text):
                drawn = depth < MAX_DEPTH
                below = above + ({"├── ": "│   ", "└── ": "    "}[branch] if drawn else "")
                self._put(open_rows, row["id"], below, depth + drawn)

    def _put(
        self,
        open_rows: list[tuple[str, str, Event | Text, int]],
        parent: str | None,
        above: str,
        depth: int,
    ) -> None:
        inside = self._children.get(parent, ())
        rows: list[Event | Text] = [event for event in inside if event["id"] in self._shown]
        if self._only is None and len(rows) < len(inside):
            rows.append(self._remark([e for e in inside if e["id"] not in self._shown]))
        branches = ["├── "] * (len(rows) - 1) + ["└── "]
        open_rows += [
            (above, branch, row, depth)
            for branch, row in zip(reversed(branches), reversed(rows), strict=False)
        ]

    def _remark(self, tops: list[Event]) -> Text:
        """
        What was left out: *tops* and all that lies within them.
        """
        left_out = list(tops)
        for event in left_out:  # which grows meanwhile
            left_out += self._children.get(event["id"], ())
        kinds = Counter(event["kind"] for event in left_out)
        words = [", ".join(f"{many:,} {kind}" for kind, many in kinds.most_common())]
        failed = sum(event["state"] == "Fail" for event in left_out)
        if failed:
            words.append(f"{failed:,} failed")
        costs = [output.dollars(e["cost_usd"]) for e in left_out if e["cost_usd"] is not None]
        if costs:
            words.append(amount_of(sum(costs, Decimal(0)), "$"))
        return Text(
            f"... {plural(len(left_out), 'event')} left out: {output.one_line('; '.join(words))}",
            style="dim italic",
        )


@attrs.frozen
class Scale:
    """
    The time that a bar of *width* cells stands for.

    Attributes:
        start: Microseconds since the epoch.
        end: Likewise.
    """

    start: int
    end: int
    width: int

    @classmethod
    def of(cls, session: Mapping[str, Any], events: Sequence[Event], width: int) -> Scale:
        """
        One that has room for all of them.
        """
        moments = [session["started_at"], session["ended_at"], session["last_record_at"]]
        moments += [event["started_at"] for event in events]
        moments += [event["ended_at"] for event in events]
        said = [moment for moment in moments if moment]  # all are written alike
        return cls(microseconds(min(said)), microseconds(max(said)), width)

    def bar(self, started_at: str, ended_at: str | None) -> str:
        """
        From then to then, to half a cell; until the end with dashes where it is still open.
        """
        halves = 2 * self.width
        span = max(self.end - self.start, 1)
        first = (microseconds(started_at) - self.start) * halves // span
        last = halves
        if ended_at is not None:
            last = -((self.start - microseconds(ended_at)) * halves // span)
        first = min(max(first, 0), halves - 1)
        last = min(max(last, first + 1), halves)
        line = " " * (first // 2)
        if first % 2:
            line += "╺"
            first += 1
        line += ("━" if ended_at is not None else "╍") * ((last - first) // 2)
        if (last - first) % 2 and last > first:
            line += "╸"
        return line


def microseconds(moment: str) -> int:
    """
    A time as the API writes it, since the epoch.
    """
    found = datetime.datetime.fromisoformat(moment)
    return (found - _EPOCH) // datetime.timedelta(microseconds=1)


_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
