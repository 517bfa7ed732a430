"""
The overview's bars, laid out: who draws them only copies numbers into attributes.

Places along the page are in percent and heights in pixels, so that a chart fits any width without a
script and without its letters being stretched.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta

import attrs

from ..store.base import Day

__all__ = [
    "ENDED",
    "STATES",
    "Bar",
    "Bucket",
    "Chart",
    "Segment",
    "buckets",
    "chart",
    "failed_percent",
]

STATES = ("Success", "Running", "Cancelled", "Indeterminate", "Fail")
"""In the order in which they are stacked."""

ENDED = ("Success", "Cancelled", "Indeterminate", "Fail")

MAX_BARS = 92
"""More days than this are drawn as bars of several days each."""

PLOT_PIXELS = 120


@attrs.frozen(kw_only=True)
class Bucket:
    """
    One bar's days: the first one, the one after the last, and their sums.
    """

    first: date
    after: date
    states: Mapping[str, int]
    cost: int
    prompt_tokens: int
    completion_tokens: int

    @property
    def name(self) -> str:
        """
        The day, or the first and last day.
        """
        last = self.after - timedelta(days=1)
        return str(self.first) if last == self.first else f"{self.first} to {last}"


@attrs.frozen(kw_only=True)
class Segment:
    """
    One part of a bar, in pixels from the top.
    """

    series: str
    y: float
    height: float


@attrs.frozen(kw_only=True)
class Bar:
    """
    One bar: its place in percent, its parts, and the bucket it stands for.
    """

    x: float
    width: float
    segments: tuple[Segment, ...]
    bucket: Bucket
    said: str


@attrs.frozen(kw_only=True)
class Chart:
    """
    Bars over time with lines to read them by: `(pixels from the top, label)`.
    """

    bars: tuple[Bar, ...]
    lines: tuple[tuple[float, str], ...]
    height: int
    labels: tuple[tuple[float, str], ...]


def buckets(days: Sequence[Day], *, first: date, last: date) -> list[Bucket]:
    """
    *days* without gaps from *first* to *last*, several in one where there are many.
    """
    by_day = {day.day: day for day in days}
    length = (last - first).days + 1
    step = math.ceil(length / MAX_BARS)
    found = []
    for offset in range(0, length, step):
        start = first + timedelta(days=offset)
        after = min(start + timedelta(days=step), last + timedelta(days=1))
        inside = [
            by_day[key]
            for number in range((after - start).days)
            if (key := str(start + timedelta(days=number))) in by_day
        ]
        found.append(
            Bucket(
                first=start,
                after=after,
                states={state: sum(day.states.get(state, 0) for day in inside) for state in STATES},
                cost=sum(day.cost for day in inside),
                prompt_tokens=sum(day.prompt_tokens for day in inside),
                completion_tokens=sum(day.completion_tokens for day in inside),
            )
        )
    return found


def failed_percent(bucket: Bucket) -> float:
    """
    How many of a hundred sessions that ended failed.
    """
    ended = sum(bucket.states.get(state, 0) for state in ENDED)
    return 100 * bucket.states.get("Fail", 0) / ended if ended else 0


def chart(
    over: Sequence[Bucket],
    *,
    series: Mapping[str, Callable[[Bucket], float]],
    say: Callable[[float], str],
) -> Chart:
    """
    Lay out one stacked bar per bucket.

    Args:
        over: The buckets, oldest first.
        series: What is stacked, from the bottom up: name and value.
        say: How a value is said.
    """
    top = _round_up(max((sum(of(bucket) for of in series.values()) for bucket in over), default=0))
    slot = 100 / max(len(over), 1)
    bars = []
    for position, bucket in enumerate(over):
        segments, y = [], float(PLOT_PIXELS)
        for name, of in series.items():
            value = of(bucket)
            if value > 0:
                height = max(value / top * PLOT_PIXELS, 1.5)
                y -= height
                segments.append(Segment(series=name, y=round(y, 2), height=round(height, 2)))
        parts = ", ".join(
            f"{name} {say(of(bucket))}" for name, of in series.items() if of(bucket) > 0
        )
        bars.append(
            Bar(
                x=round(position * slot + slot * 0.14, 3),
                width=round(slot * 0.72, 3),
                segments=tuple(segments),
                bucket=bucket,
                said=f"{bucket.name}: {parts or 'nothing'}",
            )
        )
    lines = [(PLOT_PIXELS * (1 - share), say(top * share)) for share in (0, 0.5, 1)] if top else []
    every = max(math.ceil(len(over) / 7), 1)
    labels = [
        (round((position + 0.5) * slot, 3), over[position].first.strftime("%d %b"))
        for position in range(every // 2, len(over), every)
    ]
    return Chart(bars=tuple(bars), lines=tuple(lines), height=PLOT_PIXELS, labels=tuple(labels))


def _round_up(value: float) -> float:
    """
    The next round number, so that the lines across say something one can read.
    """
    if value <= 0:
        return 0
    if value == 1:
        return 2  # the line in the middle of a single session would say a half
    magnitude = 10.0 ** math.floor(math.log10(value))
    steps = (1, 2, 4, 6, 8, 10) if magnitude == 1 else (1, 2, 3, 4, 5, 6, 8, 10)
    return next(step * magnitude for step in steps if step * magnitude >= value)
