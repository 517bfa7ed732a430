"""
`asyncops serve`: the collector in the foreground.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import anyio
from cyclopts import Parameter
from starlette.applications import Starlette

from .._prices import own_prices
from ..collector import server
from ..collector.app import DEFAULT_PORT, CollectorSettings
from ..collector.retention import Retention, keep_for, own_retention
from . import output
from .journals import adopt_journals, waiting_elsewhere

__all__ = ["serve"]


def serve(
    *,
    host: str = "127.0.0.1",
    port: int = DEFAULT_PORT,
    db: Path | None = None,
    prices: Path | None = None,
    keep: Annotated[tuple[str, ...], Parameter(negative=())] = (),
) -> None:
    """
    Take records in and serve the dashboard, until Ctrl-C.

    Parameters
    ----------
    host
        Where to listen. Anything but this machine itself needs API keys: `asyncops keys create`.
    port
        The port; 0 takes a free one.
    db
        The database. Default: ASYNCOPS_DB, else the usual one.
    prices
        A file of your own prices, docs/costs.md says how it looks. Default: ASYNCOPS_PRICES.
    keep
        Delete sessions this long after the last that was recorded of them: 30d, or NAME=90d for one
        project; may be given several times. Default: ASYNCOPS_KEEP, else they are kept for ever.
    """
    kept = Retention.read(keep or own_retention())
    settings = CollectorSettings(host=host, port=port, db=db, prices=prices or own_prices())
    bound = port

    def ready(url: str) -> None:
        nonlocal bound
        bound = urlsplit(url).port or port
        print(f"dashboard: {url}\ndatabase:  {settings.db}\nCtrl-C ends it", flush=True)
        for endpoint in waiting_elsewhere(bound):
            output.notice(f"there are journals on this machine for a collector at {endpoint}")

    async def background(app: Starlette) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(keep_for, app.state.store, kept)
            await adopt_journals(app, port=bound)

    server.serve(settings, ready=ready, background=background)
