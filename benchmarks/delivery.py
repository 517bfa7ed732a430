"""
A burst of calls that never yields to the loop, until all of it can be read from the collector.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import asyncops
from asyncops.collector.app import CollectorSettings
from asyncops.collector.server import EmbeddedCollector

CALLS = 200_000


@asyncops.tool
async def work(n: int) -> int:
    return n


async def burst(endpoint: str, calls: int) -> tuple[str, float, float]:
    """
    The session, and the seconds until all was recorded and until all was stored.
    """
    config = asyncops.Configuration(endpoint=endpoint)
    began = time.perf_counter()
    async with asyncops.session("burst", config=config) as session:
        for n in range(calls):
            await work(n)
        recorded = time.perf_counter() - began
        await session.flush()
    return session.id, recorded, time.perf_counter() - began


def run(scale: float, directory: str) -> None:
    import httpx

    calls = max(int(CALLS * scale), 100)
    settings = CollectorSettings(port=0, db=Path(directory, "delivery.db"))
    with EmbeddedCollector(settings) as collector:
        session_id, recorded, stored = asyncio.run(burst(collector.url, calls))
        told = httpx.get(f"{collector.url}/api/sessions/{session_id}").json()
    print("| calls | recorded in s | all stored after s | events/s end to end | lost | missing |")
    print("|---|---|---|---|---|---|")
    lost = calls - told["events"]
    print(
        f"| {calls:,} | {recorded:.2f} | {stored:.2f} | {calls / stored:,.0f} | {lost}"
        f" | {told['missing_records']} |"
    )
