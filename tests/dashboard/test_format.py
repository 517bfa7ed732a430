"""
Times, money and counts in words, in Python and in the browser alike.
"""

from __future__ import annotations

from decimal import Decimal

import pytest
from programs import Get
from windows import Window

from asyncops._events import Cost
from asyncops.collector.dashboard import format

DURATIONS = {
    0: "0 s", 1_000: "1 µs", 412_000: "412 µs", 1_000_000: "1.0 ms", 9_940_000: "9.9 ms",
    12_000_000: "12 ms", 999_000_000: "999 ms", 999_900_000: "1.00 s", 1_234_000_000: "1.23 s",
    12_340_000_000: "12.3 s", 59_940_000_000: "59.9 s", 59_990_000_000: "1 min 00 s",
    185_000_000_000: "3 min 05 s", 3_599_600_000_000: "1 h 00 min", 7_500_000_000_000: "2 h 05 min",
    200_000_000_000_000: "2 d 8 h",
}  # fmt: skip

DOLLARS = {
    0: "$0", 100: "<$0.000001", 1_000: "$0.000001", 340_000: "$0.00034", 12_300_000: "$0.0123",
    500_000_000: "$0.50", 994_000_000: "$0.994", 996_000_000: "$1.00", 12_340_000_000: "$12.34",
    1_234_560_000_000: "$1,234.56",
}  # fmt: skip

COUNTS = {
    0: "0", 950: "950", 9_999: "9,999", 12_345: "12.3k", 99_960: "100k", 893_200: "893k",
    999_600: "1.00M", 4_560_000: "4.56M", 7_000_000_000: "7.00G",
}  # fmt: skip


@pytest.mark.parametrize(("nanos", "said"), DURATIONS.items())
def test_durations_are_said_in_the_units_that_matter(nanos: int, said: str) -> None:
    """
    From microseconds to days, never more digits than help.
    """
    assert format.duration(nanos) == said


@pytest.mark.parametrize(("nano", "said"), DOLLARS.items())
def test_dollars_are_said_with_the_digits_that_matter(nano: int, said: str) -> None:
    """
    Cents above a dollar, three digits below, and nothing is rounded to zero.
    """
    assert format.dollars(nano) == said


@pytest.mark.parametrize(("number", "said"), COUNTS.items())
def test_large_counts_are_short(number: int, said: str) -> None:
    """
    Four digits stay, more become thousands and millions.
    """
    assert format.compact(number) == said


def test_what_nobody_told_is_said(get: Get) -> None:
    """
    No duration, no cost, another currency, an endless time ago.
    """
    assert format.duration(None) == "\N{EN DASH}"
    assert format.cost_of(None) == "unknown"
    assert format.cost_of(Cost(Decimal("0.25"), currency="EUR")) == "EUR 0.25"
    assert format.cost_of(Cost(Decimal(0))) == "$0"
    assert format.percent(1, 1_000) == "<1 %"
    assert format.percent(999, 1_000) == ">99 %"


def test_relative_times_become_dates_when_they_are_long_past() -> None:
    """
    Seconds, minutes, hours, days, then the day itself; the future is told exactly.
    """
    second = format.NANOS_PER_SECOND
    now = 1_800_000_000 * second
    said = [
        format.relative_time(now - ago * second, now=now)
        for ago in (2, 30, 90, 7_300, 100_000, 900_000, -3_600)
    ]
    assert said == [
        "just now", "30 s ago", "1 min ago", "2 h ago", "1 d ago", "2027-01-04",
        "2027-01-15 09:00:00",
    ]  # fmt: skip


def test_the_browser_says_everything_alike(window: Window, get: Get) -> None:
    """
    What a script writes reads as what the server wrote.
    """
    module = get("/").text.split('rel="modulepreload" href="')[2].split('"')[0]
    page = window.open("/")
    said = page.evaluate(
        """async ([module, durations, dollars, counts, times]) => {
            const format = await import(module);
            return [
                durations.map((nanos) => format.duration(nanos / 1000)),
                dollars.map((nano) => format.dollars(nano / 1e9)),
                counts.map(format.compact),
                times.map((seconds) => format.relativeTime(1.8e12 - seconds * 1000, 1.8e12)),
            ];
        }""",
        [module, list(DURATIONS), list(DOLLARS), list(COUNTS), [2, 30, 90, 7_300, 900_000, -3_600]],
    )
    second = format.NANOS_PER_SECOND
    now = 1_800_000_000 * second
    times = [
        format.relative_time(now - ago * second, now=now)
        for ago in (2, 30, 90, 7_300, 900_000, -3_600)
    ]
    assert said == [list(DURATIONS.values()), list(DOLLARS.values()), list(COUNTS.values()), times]
