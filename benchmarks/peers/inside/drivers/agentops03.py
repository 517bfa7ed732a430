"""
AgentOps 0.3: events of its own, as JSON.
"""

from __future__ import annotations

import agentops


def setup(endpoint: str) -> None:
    agentops.init(
        api_key="00000000-0000-0000-0000-000000000000",
        endpoint=endpoint,
        auto_start_session=False,
        instrument_llm_calls=False,
    )


def recorded(work):
    return agentops.record_action("work")(work)


async def start():
    session = agentops.start_session()
    if session is None:
        raise RuntimeError("AgentOps did not start a session")
    return session


async def end(session) -> None:
    agentops.end_session("Success")


async def flush() -> None: ...  # its end of a session waits


def shutdown() -> None: ...
