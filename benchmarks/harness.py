"""
What all benchmarks share: a figure with its spread, and a table that can be read and kept.

A benchmark is a module here with `run(effort, directory) -> Report`. Absolute times belong to the
machine and the hour; a budget (`budgets`) is therefore always a ratio of two figures of one run.
"""

from __future__ import annotations

import enum
import statistics
from collections.abc import Iterable, Mapping, Sequence

import attrs

__all__ = ["Effort", "Figure", "Report", "figure", "markdown"]


class Effort(enum.Enum):
    """
    How much work a benchmark does.
    """

    QUICK = "quick"
    """Seconds, for every change: enough to notice that something is several times slower."""

    FULL = "full"
    """What docs/performance.md shows: minutes, on a quiet machine."""


@attrs.frozen
class Figure:
    """
    A measured quantity: the median of several runs, with the least and the most.

    Attributes:
        value: The median.
        unit: `ns`, `ms`, `s`, `bytes`, `events/s` ...
        least: The smallest.
        most: The largest.
        runs: How many there were.
    """

    value: float
    unit: str
    least: float
    most: float
    runs: int


def figure(values: Iterable[float], unit: str) -> Figure:
    """
    The figure that *values*, one of each run, make.
    """
    found = list(values)
    return Figure(statistics.median(found), unit, min(found), max(found), len(found))


@attrs.frozen
class Report:
    """
    What a benchmark found.

    Attributes:
        title: What was measured, in a line.
        columns: The heads of the table for people.
        rows: Its cells, as they are printed.
        figures: What budgets are made of, each under a name that is unique among all benchmarks:
            `recording.floor`, `delivery.lost`.
        notes: What has to be known to read it.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    figures: Mapping[str, Figure] = attrs.field(factory=dict)
    notes: Sequence[str] = ()

    def markdown(self) -> str:
        """
        Heading, table and notes.
        """
        return "\n".join(
            (
                f"### {self.title}",
                "",
                markdown(self.columns, self.rows),
                *(f"\n{note}" for note in self.notes),
                "",
            )
        )


def markdown(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """
    A table.
    """
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
