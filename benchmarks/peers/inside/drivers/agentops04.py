"""
AgentOps 0.4: OpenTelemetry underneath.
"""

from __future__ import annotations

import agentops
from agentops.sdk.decorators import operation
from opentelemetry import trace


def setup(endpoint: str) -> None:
    agentops.init(
        api_key="00000000-0000-0000-0000-000000000000",
        endpoint=endpoint,
        exporter_endpoint=f"{endpoint}/v1/traces",
        auto_start_session=False,
        instrument_llm_calls=False,
    )


def recorded(work):
    return operation(work)


async def start():
    session = agentops.start_trace("session")
    if session is None:
        raise RuntimeError("AgentOps did not start a trace")
    return session


async def end(session) -> None:
    agentops.end_trace(session, "Success")


async def flush() -> None:
    trace.get_tracer_provider().force_flush()


def shutdown() -> None:
    trace.get_tracer_provider().shutdown()
