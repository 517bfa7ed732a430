"""
Phoenix: its `register()` and the decorator of its tracer.
"""

from __future__ import annotations

from phoenix.otel import register

_providers = []


def setup(endpoint: str) -> None:
    _providers.append(
        register(
            project_name="peers",
            endpoint=f"{endpoint}/v1/traces",
            protocol="http/protobuf",
            batch=True,
            verbose=False,
        )
    )


def recorded(work):
    return _providers[0].get_tracer("peers").chain(work)


async def start():
    span = _providers[0].get_tracer("peers").start_as_current_span("session")
    span.__enter__()
    return span


async def end(session) -> None:
    session.__exit__(None, None, None)


async def flush() -> None:
    _providers[0].force_flush()


def shutdown() -> None:
    _providers[0].shutdown()
