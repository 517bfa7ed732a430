"""
A session's events as a tree.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import attrs

from ..store.base import EventSummary

__all__ = ["Place", "TimelineRow", "in_tree_order", "tree_order"]


@attrs.frozen
class Place:
    """
    Where an event stands in its tree.

    Attributes:
        index: Which event it is.
        depth: How deep it lies; 0 at the top.
        position: The how manieth of its siblings it is, from 1.
        siblings: How many they are, itself included.
        children: How many are right below it.
    """

    index: int
    depth: int
    position: int
    siblings: int
    children: int


@attrs.frozen(kw_only=True)
class TimelineRow:
    """
    An event in its place: how deep it lies.
    """

    event: EventSummary
    depth: int


def tree_order(
    ids: Sequence[Hashable], parents: Sequence[Hashable | None], order: Callable[[int], Any]
) -> Iterator[Place]:
    """
    Parents before children, siblings by the *order* of their indexes, then by these; one after the
    other as they are asked for.

    Parents are what a program says they are: one that is missing, or that would make a circle,
    leaves its child at the top. Nothing is left out.
    """
    below: defaultdict[Hashable | None, list[int]] = defaultdict(list)
    for index, parent in enumerate(parents):
        below[parent].append(index)
    unknown = set(below).difference(ids)
    tops = sorted(itertools.chain.from_iterable(below[parent] for parent in unknown))
    tops.sort(key=order)
    seen: set[int] = set()
    # whoever is in a circle hangs below nobody who is at the top: taken last, in order of arrival
    for roots in (tops, range(len(ids))):
        for position, root in enumerate(roots, 1):
            stack = [(root, 0, position, len(tops))]
            while stack:
                index, depth, position, siblings = stack.pop()
                if index in seen:
                    continue
                seen.add(index)
                children = sorted(below.get(ids[index], ()), key=order)
                yield Place(index, depth, position, siblings, len(children))
                stack += [
                    (child, depth + 1, place, len(children))
                    for place, child in reversed([*enumerate(children, 1)])
                ]


def in_tree_order(events: Sequence[EventSummary]) -> list[TimelineRow]:
    """
    *events* parent before child, siblings by when they started.
    """
    places = tree_order(
        [event.id for event in events],
        [event.parent_id for event in events],
        lambda index: (events[index].started_at, events[index].seq),
    )
    return [TimelineRow(event=events[place.index], depth=place.depth) for place in places]
