"""
Times, money and counts in the words the pages use. `static/format.js` says them alike.

Times are integer nanoseconds since the epoch, durations integer nanoseconds, costs nano-dollars.
"""

from __future__ import annotations

import datetime
from decimal import Decimal
from urllib.parse import urlsplit

from ..._events import Cost

__all__ = [
    "NANOS_PER_DAY",
    "NANOS_PER_SECOND",
    "amount_of",
    "clock",
    "compact",
    "cost_of",
    "count",
    "day_of",
    "dollars",
    "duration",
    "exact_time",
    "percent",
    "plural",
    "relative_time",
    "size_bytes",
    "web_address",
]

NOTHING = "\N{EN DASH}"
"""What stands where there is nothing to say."""

NANOS_PER_SECOND = 1_000_000_000
NANOS_PER_DAY = 86_400 * NANOS_PER_SECOND
NANOS_PER_DOLLAR = 1_000_000_000

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def duration(nanos: float | None) -> str:
    """
    How long, in the two units that matter: `412 ms`, `12.3 s`, `3 min 05 s`, `2 h 05 min`.
    """
    if nanos is None:
        return NOTHING
    seconds = max(nanos, 0) / NANOS_PER_SECOND
    if seconds == 0:
        return "0 s"
    if seconds < 0.000_999_5:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 0.009_95:
        return f"{seconds * 1e3:.1f} ms"
    if seconds < 0.999_5:
        return f"{seconds * 1e3:.0f} ms"
    if seconds < 9.995:
        return f"{seconds:.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = int(seconds + 0.5)
    if whole < 3_600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = int(seconds / 60 + 0.5)
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    hours = int(seconds / 3_600 + 0.5)
    return f"{hours // 24} d {hours % 24} h"


def dollars(nano: float) -> str:
    """
    An amount of dollars with the digits that matter: `$0`, `$0.00042`, `$0.0123`, `$12.34`.
    """
    return amount_of(Decimal(nano) / NANOS_PER_DOLLAR, "$")


def amount_of(amount: Decimal, sign: str) -> str:
    """
    *amount* after *sign*: cents from 1 upwards, three significant digits below.
    """
    if amount == 0:
        return f"{sign}0"
    if amount >= Decimal("0.995"):
        return f"{sign}{amount:,.2f}"
    if amount < Decimal("0.000001"):
        return f"<{sign}0.000001"
    places = min(2 - amount.adjusted(), 7)
    text = f"{amount:.{places}f}"
    whole, _, fraction = text.partition(".")
    return f"{sign}{whole}.{fraction.rstrip('0').ljust(2, '0')}"


def cost_of(cost: Cost | None) -> str:
    """
    What one event cost, in its own currency; `unknown` where nobody said.
    """
    if cost is None:
        return "unknown"
    return amount_of(cost.amount, "$" if cost.currency == "USD" else f"{cost.currency} ")


def count(number: int) -> str:
    """
    A whole number with its thousands apart.
    """
    return f"{number:,}"


def compact(number: float) -> str:
    """
    A number in at most five characters: `950`, `12.3k`, `4.56M`.
    """
    if number < 10_000:
        return f"{number:,.0f}"
    divisor, unit = (
        (1e3, "k") if number < 999_500 else (1e6, "M") if number < 999_500_000 else (1e9, "G")
    )
    value = number / divisor
    if value < 9.995:
        return f"{value:.2f}{unit}"
    return f"{value:.1f}{unit}" if value < 99.95 else f"{value:,.0f}{unit}"


def percent(part: float, whole: float) -> str:
    """
    *part* of *whole*: never `0 %` for something, never `100 %` for not all of it.
    """
    if whole <= 0:
        return NOTHING
    share = 100 * part / whole
    if 0 < share < 1:
        return "<1 %"
    if 99 < share < 100:
        return ">99 %"
    return f"{share:.0f} %"


def plural(number: int, one: str, many: str | None = None) -> str:
    """
    `1 event`, `2 events`.
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def size_bytes(number: float) -> str:
    """
    A size in binary units, as systems show memory.
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1_024:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1_024
    return f"{number:.1f} TiB"


def _datetime(nanos: int) -> datetime.datetime:
    return _EPOCH + datetime.timedelta(microseconds=nanos // 1_000)


def exact_time(nanos: int) -> str:
    """
    The moment for people, to the millisecond: `2026-11-20 13:52:30.123 UTC`.
    """
    return _datetime(nanos).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + " UTC"


def clock(nanos: int) -> str:
    """
    Date and time to the second, UTC understood.
    """
    return _datetime(nanos).strftime("%Y-%m-%d %H:%M:%S")


def day_of(nanos: int) -> str:
    """
    The UTC day.
    """
    return _datetime(nanos).strftime("%Y-%m-%d")


def relative_time(nanos: int, *, now: int) -> str:
    """
    How long ago: `just now`, `3 min ago`, `5 h ago`, `2 d ago`; the day when that is long past.
    """
    seconds = (now - nanos) / NANOS_PER_SECOND
    if seconds < -60:
        return clock(nanos)
    if seconds < 5:
        return "just now"
    if seconds < 60:
        return f"{seconds:.0f} s ago"
    if seconds < 3_600:
        return f"{seconds // 60:.0f} min ago"
    if seconds < 86_400:
        return f"{seconds // 3_600:.0f} h ago"
    if seconds < 7 * 86_400:
        return f"{seconds // 86_400:.0f} d ago"
    return day_of(nanos)


def web_address(text: str | None) -> str | None:
    """
    *text* if it is an http or https address that may become a link, else None.

    Recorded programs choose it: `javascript:` and `data:` addresses run code when clicked.
    """
    if not text or any(character <= " " or character == "\x7f" for character in text):
        return None
    try:
        parts = urlsplit(text)
    except ValueError:
        return None
    return text if parts.scheme in ("http", "https") and parts.hostname else None
