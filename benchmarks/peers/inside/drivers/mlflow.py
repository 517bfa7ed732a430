"""
MLflow: `@mlflow.trace` to a tracking server.
"""

from __future__ import annotations

import mlflow


def setup(endpoint: str) -> None:
    mlflow.set_tracking_uri(endpoint)
    mlflow.set_experiment("peers")


def recorded(work):
    return mlflow.trace(work)


async def start():
    span = mlflow.start_span("session")
    span.__enter__()
    return span


async def end(session) -> None:
    session.__exit__(None, None, None)


async def flush() -> None:
    mlflow.flush_trace_async_logging()


def shutdown() -> None: ...
