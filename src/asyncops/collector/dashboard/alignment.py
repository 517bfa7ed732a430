"""
Events of several sessions side by side: those that stand in the same place of their trees.

The place of an event is its kind, name and agent, how many siblings like it came before, and the
place of its parent. What only some sessions have stands between what they all have, in the order of
whoever has it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

import attrs

from ..store.base import EventSummary
from .timeline import in_tree_order

__all__ = ["AlignedRow", "align"]


@attrs.frozen(kw_only=True)
class AlignedRow:
    """
    One place, and what each session has there: None for nothing.
    """

    depth: int
    events: tuple[EventSummary | None, ...]

    @property
    def one(self) -> EventSummary:
        """
        The first of its events: what they have in common is read off this one.
        """
        return next(event for event in self.events if event is not None)

    @property
    def everywhere(self) -> bool:
        return None not in self.events


@attrs.define(eq=False)
class _Node:
    event: EventSummary | None
    children: list[_Node] = attrs.field(factory=list)


def align(sessions: Sequence[Sequence[EventSummary]]) -> list[AlignedRow]:
    """
    The events of *sessions* as rows, parent before child.
    """
    rows = []
    stack: list[tuple[int, tuple[_Node | None, ...]]] = [(-1, tuple(map(_tree, sessions)))]
    while stack:
        depth, nodes = stack.pop()
        if depth >= 0:
            events = tuple(None if node is None else node.event for node in nodes)
            rows.append(AlignedRow(depth=depth, events=events))
        children = [_by_place(node) for node in nodes]
        order = _merged([list(places) for places in children])
        stack += [
            (depth + 1, tuple(places.get(place) for places in children))
            for place in reversed(order)
        ]
    return rows


def _tree(events: Sequence[EventSummary]) -> _Node:
    root = _Node(None)
    path = [root]
    for row in in_tree_order(events):
        node = _Node(row.event)
        del path[row.depth + 1 :]
        path[-1].children.append(node)
        path.append(node)
    return root


def _by_place(parent: _Node | None) -> dict[Hashable, _Node]:
    found: dict[Hashable, _Node] = {}
    before: Counter[Hashable] = Counter()
    for node in parent.children if parent is not None else ():
        if node.event is not None:
            alike = (node.event.kind, node.event.name, node.event.agent)
            found[alike, before[alike]] = node
            before[alike] += 1
    return found


def _merged(orders: Sequence[Sequence[Hashable]]) -> list[Hashable]:
    """
    All that is in *orders*, once: as in the first, and what others have besides after what comes
    before it there.
    """
    following: dict[Hashable | None, list[Hashable]] = {None: []}
    for order in orders:
        last: Hashable | None = None
        fresh: dict[Hashable | None, list[Hashable]] = {}
        for place in order:
            if place not in following:
                following[place] = []
                fresh.setdefault(last, []).append(place)
            last = place
        for before, places in fresh.items():
            following[before] = places + following[before]
    merged: list[Hashable] = []
    stack = list(reversed(following[None]))
    while stack:
        place = stack.pop()
        merged.append(place)
        stack += reversed(following[place])
    return merged
