"""
LangSmith: `@traceable`.
"""

from __future__ import annotations

import os

import langsmith
from langsmith.run_trees import get_cached_client


def setup(endpoint: str) -> None:
    os.environ["LANGSMITH_TRACING"] = "true"
    os.environ["LANGSMITH_ENDPOINT"] = endpoint
    os.environ["LANGSMITH_API_KEY"] = "lsv2_pt_0"


def recorded(work):
    return langsmith.traceable(work)


async def start():
    run = langsmith.trace("session")
    run.__enter__()
    return run


async def end(session) -> None:
    session.__exit__(None, None, None)


async def flush() -> None:
    get_cached_client().flush()


def shutdown() -> None: ...
