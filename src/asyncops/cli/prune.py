"""
`asyncops prune`: old sessions deleted.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import anyio
from cyclopts import Parameter

from ..collector.api import timestamp
from ..collector.auth import DEFAULT_PROJECT
from ..collector.dashboard.format import plural
from ..collector.retention import age
from . import output
from .collector_api import collector_api

__all__ = ["prune"]


def prune(
    *,
    older_than: str,
    dry_run: Annotated[bool, Parameter(negative=())] = False,
    endpoint: str | None = None,
    db: Path | None = None,
    project: str = DEFAULT_PROJECT,
) -> None:
    """
    Delete sessions, with all their events, of which nothing was recorded for long; running ones
    stay. May be interrupted, and run again.

    Parameters
    ----------
    older_than
        For how long: 12h, 30d, 8w.
    dry_run
        Say how many, and delete none.
    endpoint
        The collector's address. Default: ASYNCOPS_ENDPOINT, else the one on this machine.
    db
        The database where no collector answers. Default: ASYNCOPS_DB, else the usual one.
    project
        Whose sessions are meant in the database. A collector goes by ASYNCOPS_API_KEY.
    """
    before = timestamp(max(time.time_ns() - age(older_than), 0))
    sessions = events = 0

    async def run() -> None:
        nonlocal sessions, events
        async with collector_api(endpoint, db=db, project=project) as api:
            async for part in api.prune(before=before, dry_run=dry_run):
                sessions += len(part["sessions"])
                events += part["events"]

    def tell() -> None:
        done = "would be deleted" if dry_run else "deleted"
        print(f"{plural(sessions, 'session')} with {plural(events, 'event')} {done}", flush=True)

    try:
        anyio.run(run)
    except KeyboardInterrupt:
        tell()
        output.notice("interrupted: run it again for the rest")
        raise SystemExit(130) from None  # as a shell says of SIGINT
    tell()
