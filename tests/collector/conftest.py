"""
Stores and collectors for the tests, real ones.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import httpx
import pytest
from processes import SECONDS
from sources import Clock
from stores import STORES

from asyncops.collector.app import CollectorSettings
from asyncops.collector.server import EmbeddedCollector
from asyncops.collector.store.base import Store


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=STORES)
def open_store(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Callable[[], Store]:
    """
    Opens the store of this test, once more if called once more.
    """
    return lambda: STORES[request.param](tmp_path, clock)


@pytest.fixture
async def store(open_store: Callable[[], Store]) -> AsyncIterator[Store]:
    store = open_store()
    yield store
    await store.aclose()


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[EmbeddedCollector]:
    """
    A collector on a socket of this machine.
    """
    settings = CollectorSettings(port=0, db=tmp_path / "collector.db")
    with EmbeddedCollector(settings) as collector:
        yield collector


@pytest.fixture
def http(collector: EmbeddedCollector) -> Iterator[httpx.Client]:
    with httpx.Client(
        base_url=collector.url, timeout=SECONDS, trust_env=False, verify=False
    ) as http:
        yield http
