"""
`asyncops sessions`: the sessions a collector knows, newest first.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import anyio
from cyclopts import Parameter
from cyclopts.validators import Number
from rich.table import Table
from rich.text import Text

from ..collector.auth import DEFAULT_PROJECT
from . import output
from .collector_api import collector_api

__all__ = ["sessions"]


def sessions(
    *,
    state: str | None = None,
    tag: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    limit: Annotated[int, Parameter(validator=Number(gte=1))] = 20,
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
    endpoint: str | None = None,
    db: Path | None = None,
    project: str = DEFAULT_PROJECT,
) -> None:
    """
    List sessions, newest first.

    Parameters
    ----------
    state
        Only those that are Running, or ended in Success, Fail, Cancelled or Indeterminate.
    tag
        Only those with this tag; with several, those that have them all.
    limit
        How many at most.
    as_json
        Print what the collector says, as JSON.
    endpoint
        The collector's address. Default: ASYNCOPS_ENDPOINT, else the one on this machine.
    db
        The database to read where no collector answers. Default: ASYNCOPS_DB, else the usual one.
    project
        Whose sessions to read from the database. A collector goes by ASYNCOPS_API_KEY.
    """

    async def fetch() -> list[dict[str, Any]]:
        async with collector_api(endpoint, db=db, project=project) as api:
            return await api.sessions(limit=limit, state=state, tag=tag)

    found = anyio.run(fetch)
    if as_json:
        print(json.dumps({"sessions": found}, indent=2))
    elif found:
        output.console().print(_table(found))
    else:
        print("no sessions")


def _table(found: Iterable[Mapping[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("id", "state", "started (UTC)", "name"):
        table.add_column(column, no_wrap=column != "name", overflow="fold")
    for column in ("duration", "cost", "tokens", "events", "errors"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("tags", overflow="fold")
    for session in found:
        table.add_row(
            Text(output.short_id(session)),
            output.state(session["state"]),
            Text(output.one_line(session["started_at"])[:19].replace("T", " ")),
            Text(output.cell(session["name"] or "")),
            output.how_long(session["duration_ms"]),
            output.cost(session),
            output.tokens(session),
            str(session["events"]),
            str(session["errors"] or ""),
            Text(output.cell(", ".join(session["tags"]))),
        )
    return table
