"""
`asyncops delete`: sessions deleted, one by one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import anyio
from cyclopts import Parameter

from ..collector.auth import DEFAULT_PROJECT
from ..collector.dashboard.format import plural
from . import output
from .collector_api import collector_api

__all__ = ["delete"]


def delete(
    *ids: Annotated[str, Parameter(name="ID")],
    yes: Annotated[bool, Parameter(negative=())] = False,
    endpoint: str | None = None,
    db: Path | None = None,
    project: str = DEFAULT_PROJECT,
) -> None:
    """
    Delete sessions with all their events, for good: what is recorded of them later is dropped.

    Parameters
    ----------
    ids
        Their ids, or the beginnings of these.
    yes
        Do not ask before.
    endpoint
        The collector's address. Default: ASYNCOPS_ENDPOINT, else the one on this machine.
    db
        The database where no collector answers. Default: ASYNCOPS_DB, else the usual one.
    project
        Whose sessions are meant in the database. A collector goes by ASYNCOPS_API_KEY.
    """
    if not ids:
        raise output.CommandError("which session? `asyncops sessions` tells their ids")

    async def find() -> list[dict[str, Any]]:
        async with collector_api(endpoint, db=db, project=project) as api:
            found = [await api.find(id) for id in ids]
            return list({session["id"]: session for session in found}.values())

    async def delete_all(sessions: Iterable[Mapping[str, Any]]) -> None:
        async with collector_api(endpoint, db=db, project=project) as api:
            for session in sessions:
                await api.delete(session["id"])
                print(f"deleted {_named(session)}", flush=True)

    sessions = anyio.run(find)
    # nobody is asked within a loop, which would keep Ctrl-C to itself
    if not yes and not _sure(sessions):
        raise output.CommandError("nothing was deleted")
    anyio.run(delete_all, sessions)


def _sure(sessions: Sequence[Mapping[str, Any]]) -> bool:
    """
    Whether the person at the terminal says so.

    Raises:
        CommandError: There is none.
    """
    if not sys.stdin.isatty():
        raise output.CommandError("nobody is there to be asked: say --yes to delete without asking")
    for session in sessions:
        print(_named(session))
    try:
        answer = input(f"Delete {plural(len(sessions), 'session')} for good? [y/N] ")
    except (EOFError, KeyboardInterrupt):
        print()
        return False
    return answer.strip().lower() in ("y", "yes")


def _named(session: Mapping[str, Any]) -> str:
    name = output.cell(session["name"] or "unnamed")
    running = ", which still runs" if session["state"] == "Running" else ""
    return f"{session['id']} {name}, {plural(session['events'], 'event')}{running}"
