"""
`asyncops keys`: API keys, kept in the collector's database.

Works on the database itself, so that the first key can be made before there is a collector; one
that runs takes notice by itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import anyio
from cyclopts import App
from rich.table import Table
from rich.text import Text

from ..collector.app import CollectorSettings
from ..collector.dashboard.format import clock
from ..collector.store.base import Store
from ..collector.store.sqlite import SQLiteStore
from . import output

__all__ = ["keys"]

T = TypeVar("T")

keys = App(name="keys", help="Create, list and revoke API keys.")


@keys.command
def create(*, project: str, db: Path | None = None) -> None:
    """
    Make a key for a project and print it, this once.

    Parameters
    ----------
    project
        The project that the key opens.
    db
        The collector's database. Default: ASYNCOPS_DB, else the usual one.
    """
    key, text = _in_store(db, lambda store: store.create_key(project))
    output.notice(f"key {key.id} of project {project}; keep it, it is not shown again:")
    print(text)


@keys.command(name="list")
def list_keys(*, db: Path | None = None) -> None:
    """
    List the keys there are and were.

    Parameters
    ----------
    db
        The collector's database. Default: ASYNCOPS_DB, else the usual one.
    """
    found = _in_store(db, lambda store: store.keys())
    if not found:
        print("no keys: the collector serves this machine only, without asking")
        return
    table = Table(
        "id", "project", "begins", "created (UTC)", "revoked (UTC)", box=None, pad_edge=False
    )
    for key in found:
        table.add_row(
            key.id,
            Text(output.one_line(key.project)),
            key.hint,
            clock(key.created_at),
            "" if key.revoked_at is None else clock(key.revoked_at),
        )
    output.console().print(table)


@keys.command
def revoke(key_id: str, /, *, db: Path | None = None) -> None:
    """
    Make a key worthless.

    Parameters
    ----------
    key_id
        Its id, as `asyncops keys list` shows it.
    db
        The collector's database. Default: ASYNCOPS_DB, else the usual one.
    """
    if key_id.startswith("aops_"):  # the key itself, which belongs in no message and in no log
        raise output.CommandError("revoke takes the id of a key: `asyncops keys list` shows it")
    key = _in_store(db, lambda store: store.revoke_key(key_id))
    output.notice(f"key {key.id} of project {key.project} opens nothing any more")


def _in_store(db: Path | None, question: Callable[[Store], Awaitable[T]]) -> T:
    async def ask() -> T:
        store = SQLiteStore(CollectorSettings(db=db).db)
        try:
            return await question(store)
        finally:
            await store.aclose()

    return anyio.run(ask)
