"""
Which benchmarks there are, and how one is run: in a scratch directory, with nobody at the endpoint.
"""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from unittest import mock

from .harness import Effort, Report

__all__ = ["NAMES", "run", "scratch"]

NAMES = (
    "recording", "stages", "loop", "starting", "cpu", "footprint", "latency", "delivery", "ingest",
    "collector", "pages", "exits", "bounded", "capture",
)  # fmt: skip
"""The modules here that measure something, in the order of docs/performance.md."""


@contextlib.contextmanager
def scratch() -> Iterator[str]:
    """
    A directory for journal and database, and an environment that names both.
    """
    with tempfile.TemporaryDirectory(prefix="asyncops-benchmark-") as directory:
        environment = {
            "ASYNCOPS_JOURNAL_DIR": f"{directory}/journal",
            "ASYNCOPS_DB": f"{directory}/collector.db",
            "ASYNCOPS_ENDPOINT": "http://127.0.0.1:9",  # nobody listens there
        }
        with mock.patch.dict(os.environ, environment):
            yield directory


def run(name: str, effort: Effort) -> Report:
    """
    What the benchmark of that name finds, in a process of its own: nothing that one leaves behind,
    such as a thread with a backlog, is in the figures of the next.
    """
    own = multiprocessing.get_context("spawn")
    with scratch() as directory, ProcessPoolExecutor(1, mp_context=own) as process:
        return process.submit(_run, name, effort, directory).result()


def _run(name: str, effort: Effort, directory: str) -> Report:
    report: Report = importlib.import_module(f".{name}", __package__).run(effort, directory)
    return report
