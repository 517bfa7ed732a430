"""
The stores there are, as the tests open them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import anyio
from processes import SECONDS
from sources import Clock

from asyncops.collector.store.base import Store
from asyncops.collector.store.sqlite import SQLiteStore

STORES: dict[str, Callable[[Path, Clock], Store]] = {
    "sqlite": lambda folder, clock: SQLiteStore(folder / "collector.db", clock=clock),
}
"""
The stores that must do what test_store.py and test_store_fold.py say, each opened in a folder of
its own; opened there again it finds what was in it.
"""


async def searchable(store: Store) -> None:
    """
    Wait until everything that is stored can be searched.
    """
    with anyio.fail_after(SECONDS):
        while (await store.statistics())["unsearched_sessions"]:  # noqa: ASYNC110 - nobody says so
            await anyio.sleep(0.01)
