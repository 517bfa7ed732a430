"""
The list's filters as they stand in an address, and the addresses that differ by one of them.

What they mean is the API's business (`session_query`): a page and its twin take the same query.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable
from urllib.parse import urlencode

import attrs
from starlette.datastructures import QueryParams

from .format import NANOS_PER_DAY, day_of

__all__ = ["Filters", "Range", "address_of", "has_blanks"]

RANGES = {
    "duration": "Duration (s)",
    "cost": "Cost ($)",
    "tokens": "Tokens",
    "events": "Events",
    "errors": "Errors",
    "score": "Score",
}
"""What has a least and a most: `min_duration`, `max_duration` and so on."""

SAID = {
    "q": "contains {}",
    "state": "{}",
    "tag": "tag {}",
    "agent": "agent {}",
    "model": "model {}",
    "name": "name contains {}",
    "error": "error contains {}",
    "fingerprint": "error like {}",
    "missing": "records missing",
    "starred": "starred",
    "since": "from {}",
    "until": "before {}",
    "min_duration": "at least {} s",
    "max_duration": "at most {} s",
    "min_cost": "cost at least ${}",
    "max_cost": "cost at most ${}",
    **{
        f"{bound}_{name}": f"{{}} or {said} {name}"
        for name in ("tokens", "events", "errors")
        for bound, said in (("min", "more"), ("max", "fewer"))
    },
    "min_score": "score at least {}",
    "max_score": "score at most {}",
}
"""Each filter in words, `{}` for its value."""

NAMES = (*SAID, "column", "sort", "cursor")

_DAY = re.compile(r"\d{4}-\d\d-\d\d")


def address_of(pairs: Iterable[tuple[str, str]]) -> str:
    """
    *pairs* as the query part of an address, `?` included; "" for none.
    """
    query = urlencode([(name, value) for name, value in pairs if value])
    return f"?{query}" if query else ""


def has_blanks(params: QueryParams) -> bool:
    """
    Whether *params* hold fields of a form that nobody filled in: the address does without.
    """
    return any(not value for _, value in params.multi_items())


def input_type(value: str) -> str:
    """
    What sort of input can show *value*: days are picked, exact times typed.
    """
    return "date" if not value or _DAY.fullmatch(value) else "text"


@attrs.frozen
class Filters:
    """
    What is asked of the list, as text: shown in the form whether or not it makes sense.
    """

    pairs: tuple[tuple[str, str], ...]

    @classmethod
    def from_query(cls, params: QueryParams) -> Filters:
        """
        The filters among *params*; whatever else is there has no meaning here.
        """
        return cls(tuple((name, value) for name, value in params.multi_items() if name in NAMES))

    def one(self, name: str) -> str:
        """
        What *name* is, "" if it is not set.
        """
        return next((value for key, value in self.pairs if key == name), "")

    def all(self, name: str) -> list[str]:
        """
        Every value of *name*.
        """
        return [value for key, value in self.pairs if key == name]

    @property
    def sort(self) -> str:
        return self.one("sort") or "started"

    @staticmethod
    def input_type(value: str) -> str:
        return input_type(value)

    @property
    def address(self) -> str:
        """
        These filters in an address.
        """
        return address_of(self.pairs)

    @property
    def first_page(self) -> str:
        return address_of(self.kept())

    @property
    def query(self) -> str:
        """
        What is asked, in an address, without how it is shown.
        """
        return address_of(pair for pair in self.pairs if pair[0] != "column")

    @property
    def view(self) -> str:
        """
        What is asked, from the first page on: what a view with a name stands for.
        """
        return address_of(self.kept("column"))

    @property
    def has_more(self) -> bool:
        """
        Whether one of those is set that the form folds away.
        """
        return any(name in SAID and name not in ("q", "state") for name, _ in self.pairs)

    def kept(self, *names: str) -> list[tuple[str, str]]:
        """
        What a form has to carry on that sets *names* itself.
        """
        return [pair for pair in self.pairs if pair[0] not in ("cursor", *names)]

    @property
    def chips(self) -> list[tuple[str, str]]:
        """
        Each filter that is set, in words, with the address that does without it.
        """
        found = []
        for position, (name, value) in enumerate(self.pairs):
            if name in SAID:
                rest = [pair for place, pair in enumerate(self.pairs) if place != position]
                found.append(
                    (
                        SAID[name].format(value),
                        address_of(pair for pair in rest if pair[0] != "cursor"),
                    )
                )
        return found

    def with_tag(self, tag: str) -> str:
        """
        The address that asks for *tag* too.
        """
        if ("tag", tag) in self.pairs:
            return self.first_page
        return address_of([*self.kept(), ("tag", tag)])

    def with_one(self, name: str, value: str) -> str:
        """
        The address that asks for *value* as the *name*.
        """
        return address_of([*self.kept(name), (name, value)])

    def sorted_by(self, sort: str) -> str:
        return address_of([*self.kept("sort"), ("sort", "" if sort == "started" else sort)])

    def page_at(self, cursor: str) -> str:
        return address_of([*self.kept(), ("cursor", cursor)])


@attrs.frozen(kw_only=True)
class Range:
    """
    The overview's time, as text.
    """

    since: str
    until: str
    presets: tuple[tuple[str, str, bool], ...] = ()

    @classmethod
    def from_query(cls, params: QueryParams, *, now: int) -> Range:
        """
        The range among *params*; the last thirty days if there is none.
        """
        days = {
            said: day_of(now - length * NANOS_PER_DAY)
            for said, length in (("Today", 0), ("7 days", 6), ("30 days", 29))
        }
        since, until = params.get("since") or "", params.get("until") or ""
        if not since and not until:
            since = days["30 days"]
        presets = [
            (said, address_of([("since", day)]), since == day and not until)
            for said, day in {**days, "All": str(datetime.date(1970, 1, 1))}.items()
        ]
        return cls(since=since, until=until, presets=tuple(presets))

    @staticmethod
    def input_type(value: str) -> str:
        return input_type(value)

    @property
    def query(self) -> QueryParams:
        return QueryParams([("since", self.since), ("until", self.until)])

    @property
    def address(self) -> str:
        return address_of([("since", self.since), ("until", self.until)])

    def also(self, name: str, value: str) -> str:
        """
        The list's address for this time and one filter more.
        """
        return address_of([("since", self.since), ("until", self.until), (name, value)])
