"""
asyncops as it comes: arguments and results are kept.
"""

from __future__ import annotations

import asyncops


def setup(endpoint: str) -> None:
    asyncops.init(
        auto_start_session=False,
        config=asyncops.Configuration(endpoint=endpoint),
    )


def recorded(work):
    return asyncops.action(work)


async def start():
    session = asyncops.session("peers")
    await session.__aenter__()
    return session


async def end(session) -> None:
    await session.__aexit__(None, None, None)


async def flush() -> None:
    if not await asyncops.flush(timeout=60):
        raise RuntimeError("the collector has not got everything")


def shutdown() -> None: ...
