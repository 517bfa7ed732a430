"""
Logfire: `@logfire.instrument`, without its printing to the console.
"""

from __future__ import annotations

import logfire


def setup(endpoint: str) -> None:
    logfire.configure(
        token="pylf_v1_local_0",
        advanced=logfire.AdvancedOptions(base_url=endpoint),
        console=False,
    )


def recorded(work):
    return logfire.instrument("work")(work)


async def start():
    span = logfire.span("session")
    span.__enter__()
    return span


async def end(session) -> None:
    session.__exit__(None, None, None)


async def flush() -> None:
    logfire.force_flush()


def shutdown() -> None:
    logfire.shutdown()
