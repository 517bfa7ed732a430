"""
`asyncops reprice`: what stored calls of models cost, worked out anew.
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import anyio
from cyclopts import Parameter

from ..collector.auth import DEFAULT_PROJECT
from ..collector.dashboard.format import amount_of, plural
from . import output
from .collector_api import collector_api

__all__ = ["reprice"]


def reprice(
    *,
    since: str | None = None,
    until: str | None = None,
    session: Annotated[str | None, Parameter(name="--session")] = None,
    everything: Annotated[bool, Parameter(name="--all", negative=())] = False,
    dry_run: Annotated[bool, Parameter(negative=())] = False,
    endpoint: str | None = None,
    db: Path | None = None,
    project: str = DEFAULT_PROJECT,
) -> None:
    """
    Work out anew what stored LLM calls cost, at the price of their time.

    What the provider said stays. May be interrupted, and run again.

    Parameters
    ----------
    since
        Only sessions that started then or later: 2026-01-31, or a time like 2026-01-31T12:00:00Z.
    until
        Only sessions that started before.
    session
        Only the session whose id is this, or begins so.
    everything
        All sessions.
    dry_run
        Say what would change, and change nothing.
    endpoint
        The collector's address. Default: ASYNCOPS_ENDPOINT, else the one on this machine.
    db
        The database where no collector answers. Default: ASYNCOPS_DB, else the usual one.
    project
        Whose sessions are meant in the database. A collector goes by ASYNCOPS_API_KEY.
    """
    said = {"since": since, "until": until, "session": session}
    asked: dict[str, Any] = {name: value for name, value in said.items() if value}
    if bool(asked) is everything:
        raise output.CommandError("say which: --since, --until, --session or, for all, --all")
    total = _Total()

    async def run() -> None:
        async with collector_api(endpoint, db=db, project=project) as api:
            if session:
                asked["session"] = (await api.find(session))["id"]
            async for part in api.reprice(**asked, dry_run=dry_run):
                total.add(part)

    try:
        anyio.run(run)
    except KeyboardInterrupt:
        output.notice("interrupted: run it again for the rest")
        raise SystemExit(130) from None  # as a shell says of SIGINT
    finally:
        if total.tables:
            print(total.words(dry_run=dry_run), flush=True)


class _Total:
    """
    What the parts of a repricing come to.
    """

    def __init__(self) -> None:
        self.tables: list[str] = []
        self.sessions: set[str] = set()
        self.examined = self.events = 0
        self.before = self.after = Decimal(0)

    def add(self, part: dict[str, Any]) -> None:
        self.tables = part["tables"]
        self.examined += part["examined"]
        for session in part["sessions"]:
            self.sessions.add(session["id"])
            self.events += session["events"]
            self.before += Decimal(str(session["cost_usd_before"]))
            self.after += Decimal(str(session["cost_usd_after"]))

    def words(self, *, dry_run: bool) -> str:
        prices = output.one_line(" and ".join(self.tables))
        looked = f"{plural(self.examined, 'LLM call')} examined with the prices of {prices}"
        if not self.events:
            return f"{looked}: nothing {'would change' if dry_run else 'changed'}"
        change = self.after - self.before
        sign = "-" if change < 0 else "+"
        return (
            f"{looked}: {plural(self.events, 'call')} in {plural(len(self.sessions), 'session')}"
            f" {'would change' if dry_run else 'changed'}, from {amount_of(self.before, '$')}"
            f" to {amount_of(self.after, '$')} ({sign}{amount_of(abs(change), '$')})"
        )
