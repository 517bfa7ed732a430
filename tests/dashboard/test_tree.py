"""
Events in the order of their tree.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from asyncops.collector.dashboard.timeline import in_tree_order
from asyncops.collector.store.base import EventSummary


def summary(seq: int, id: str, parent: str | None, start: int = 0) -> EventSummary:
    rest: dict[str, Any] = dict.fromkeys(
        (
            "agent", "ended_at", "model", "provider", "prompt_tokens", "completion_tokens",
            "cached_tokens", "reasoning_tokens", "time_to_first_token", "cost", "error",
        )
    )  # fmt: skip
    return EventSummary(
        seq=seq, id=id, parent_id=parent, kind="tool", name=id, source_id="s", state="Running",
        started_at=start, **rest,
    )  # fmt: skip


def shape(*events: EventSummary) -> list[tuple[str, int]]:
    return [(row.event.id, row.depth) for row in in_tree_order(events)]


def test_children_stand_below_their_parent_by_start() -> None:
    """
    The order of arrival, which is that of closing, is not the order of reading.
    """
    assert shape(
        summary(1, "late", "top", start=9),
        summary(2, "early", "top", start=1),
        summary(3, "inner", "early", start=2),
        summary(4, "top", None, start=0),
    ) == [("top", 0), ("early", 1), ("inner", 2), ("late", 1)]


def test_circles_and_orphans_are_kept() -> None:
    """
    Missing parents leave a child at the top, circles are opened at the first that arrived.
    """
    assert shape(
        summary(1, "a", "b"), summary(2, "b", "a"), summary(3, "o", "gone"), summary(4, "s", "s")
    ) == [("o", 0), ("a", 0), ("b", 1), ("s", 0)]


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 5)), max_size=12))
def test_every_event_shows_exactly_once(links: list[tuple[int, int]]) -> None:
    """
    Whatever programs say about parents, nothing is lost or doubled.
    """
    events = [
        summary(seq, str(seq), str(parent), start) for seq, (parent, start) in enumerate(links)
    ]
    assert sorted(row.event.seq for row in in_tree_order(events)) == list(range(len(events)))
