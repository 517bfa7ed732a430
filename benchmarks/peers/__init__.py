"""
The same work done by asyncops and by its peers, side by side, in one run.

General layout:

    environments   which peers, which versions; the virtual environment each lives in
    inside/        what runs in those: a driver per peer, the program that is measured, the sink
    receivers      where recorded calls go
    otlp           requests for servers
    scenarios      what recording costs; a table each
    serving        what taking in costs; one table
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..harness import Effort, Report
from .environments import PEERS, SERVERS, chosen
from .scenarios import SCENARIOS
from .serving import collectors

__all__ = ["NAMES", "reports", "run"]

NAMES = (*SCENARIOS, collectors.__name__)
"""The scenarios, in the order they run."""


def run(
    effort: Effort, directory: str, *, only: Sequence[str] = (), scenarios: Sequence[str] = NAMES
) -> list[Report]:
    """
    Every one of *scenarios*, with the peers that *only* names; by default with all.

    bare, floor and asyncops are always there: what the others are compared with.
    """
    return list(reports(effort, directory, only=only, scenarios=scenarios))


def reports(
    effort: Effort, directory: str, *, only: Sequence[str], scenarios: Sequence[str]
) -> Iterator[Report]:
    """
    As `run()`, each as soon as it is there: all of them take half an hour.
    """
    for name in NAMES:
        if name not in scenarios:
            continue
        if name in SCENARIOS:
            yield SCENARIOS[name](chosen(PEERS, only), effort, directory)
        else:
            yield collectors(chosen(SERVERS, only), effort, directory)
