"""
The same work done by asyncops and by its peers, side by side, in one run.

General layout:

    environments   which peers, which versions; the virtual environment each lives in
    inside/        what runs in those: a driver per peer, the program that is measured, the sink
    receivers      where recorded calls go
    otlp           requests for servers
    servers        starts them
    scenarios      what recording costs; a table each
    serving        what taking in costs; one table
    browsing       what looking at it costs; one table
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from ..harness import Effort, Report
from .environments import PEERS, SERVERS, chosen
from .scenarios import SCENARIOS
from .serving import collectors

__all__ = ["BLOCKS", "NAMES", "reports", "run"]

BLOCKS = {"peers": (*SCENARIOS, collectors.__name__), "peers-pages": ("pages",)}
"""The scenarios, in the order they run, by where docs/performance.md keeps their tables."""

NAMES = tuple(itertools.chain(*BLOCKS.values()))


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
        elif name == collectors.__name__:
            yield collectors(chosen(SERVERS, only), effort, directory)
        else:
            from .browsing import pages  # needs playwright, which nothing else here does

            yield pages(chosen(SERVERS, only), effort, directory)
