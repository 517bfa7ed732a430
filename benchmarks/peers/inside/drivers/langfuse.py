"""
Langfuse: `@observe`, OpenTelemetry underneath.
"""

from __future__ import annotations

from langfuse import Langfuse, get_client, observe


def setup(endpoint: str) -> None:
    Langfuse(public_key="pk-lf-0", secret_key="sk-lf-0", base_url=endpoint)


def recorded(work):
    return observe()(work)


async def start():
    span = get_client().start_as_current_observation(name="session")
    span.__enter__()
    return span


async def end(session) -> None:
    session.__exit__(None, None, None)


async def flush() -> None:
    get_client().flush()


def shutdown() -> None:
    get_client().shutdown()
