"""
Journals that dead processes left on this machine, taken straight into the collector that serves it.

So that a program that died, or ended before the collector was up, need not run again to be seen.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
from starlette.applications import Starlette

from .._adoption import AdoptedJournal
from .._client import destination
from .._configuration import Configuration
from .._directory import journals, owner_of
from .._exceptions import StoreError
from .._exporter import Delivery
from .._http import HTTPExporter
from .._ids import new_uuid
from .._journal import MemoryJournal
from .._log import trouble
from .._recovery import recover
from ..collector.ingest.records import ingest_lines
from ..collector.store.base import Store

__all__ = [
    "THIS_MACHINE",
    "adopt_journals",
    "deliver_journals",
    "destinations",
    "waiting_elsewhere",
]

LOOK_SECONDS = 1.0
"""How often journals are looked for."""

RETRY_SECONDS = 15.0
"""How long journals that could not be taken in are left alone."""

BATCH_RECORDS = 2_000

BATCH_BYTES = 4 * 1_048_576

THIS_MACHINE = frozenset({"127.0.0.1", "::1", "localhost"})


async def adopt_journals(app: Starlette, *, port: int) -> None:
    """
    Beside the collector of *app*, which listens on *port*: take in what dead processes left for it,
    for as long as it runs.
    """
    root = Configuration().journal_dir
    not_before: dict[Path, float] = {}
    while True:
        for directory in await anyio.to_thread.run_sync(lambda: list(_bound_for(root, port))):
            if time.monotonic() < not_before.get(directory, 0.0):
                continue
            try:
                done = await _adopt_all(app.state.store, directory)
            except (OSError, StoreError) as error:
                trouble("adoption", "journals of dead processes cannot be taken in now: %s", error)
                done = False
            if not done:
                not_before[directory] = time.monotonic() + RETRY_SECONDS
        await anyio.sleep(LOOK_SECONDS)


def waiting_elsewhere(port: int) -> list[str]:
    """
    The addresses of this machine, other than *port*, for which journals wait.
    """
    root = Configuration().journal_dir
    endpoints = {endpoint for _, endpoint in destinations(root) if endpoint is not None}
    return sorted(each for each in endpoints if _port_here(each) not in (None, port))


async def deliver_journals(configuration: Configuration, *, since: str) -> None:
    """
    Send what dead processes left for the collector of *configuration*: those that began to record
    after the session (or source) *since*, the ids of which tell the time.
    """
    exporter = HTTPExporter(configuration)
    delivery = Delivery(MemoryJournal(new_uuid()), exporter, configuration)
    dead = recover(
        configuration.journal_dir / destination(configuration.endpoint, configuration.api_key)
    )
    try:
        while (journal := await anyio.to_thread.run_sync(next, dead, None)) is not None:
            delivered = False
            try:
                if journal.source > since:
                    delivered = await delivery.deliver_orphan(journal)
            finally:
                journal.close(delivered=delivered)
    finally:
        await exporter.aclose()


async def _adopt_all(store: Store, directory: Path) -> bool:
    """
    Take in the journals of dead processes in *directory*; says whether all went.
    """
    dead = recover(directory)
    all_delivered = True
    while (journal := await anyio.to_thread.run_sync(next, dead, None)) is not None:
        delivered = False
        try:
            delivered = await _adopt(store, journal)
        finally:
            # also when we are told to stop: the journal must not stay locked
            journal.close(delivered=delivered)
        all_delivered &= delivered
    return all_delivered


async def _adopt(store: Store, journal: AdoptedJournal) -> bool:
    """
    Take *journal* in; says whether all of it is stored.
    """
    project = await _project(store, journal)
    if project is None:
        trouble("adoption", "the journal %s was recorded with a key that this collector does not"
                " know; it is left where it is", journal.directory)  # fmt: skip
        return False
    while True:
        chunk = await anyio.to_thread.run_sync(journal.read, BATCH_RECORDS, BATCH_BYTES)
        if chunk is None:
            return True
        acknowledged, rejected = await ingest_lines(
            store, project=project, source=journal.source, body=b"".join(chunk.lines)
        )
        for line in rejected:
            if line.seq in chunk.numbers:
                journal.set_aside(chunk.lines[chunk.numbers.index(line.seq)], line.error)
        if acknowledged < chunk.last:
            return False
        journal.acknowledge(chunk.last)


async def _project(store: Store, journal: AdoptedJournal) -> str | None:
    key_hash = journal.owner.get("key_sha256")
    if key_hash is None:
        # Without keys there is one project. With keys whoever can write the journal of this user
        # can also read the database, so an old journal without one is let in.
        return "default"
    try:
        return await store.project_of_key(bytes.fromhex(key_hash)) or (
            None if await store.keys() else "default"
        )
    except (ValueError, TypeError):
        return None


def _bound_for(root: Path, port: int) -> Iterator[Path]:
    """
    The directories of journals bound for this machine's *port*.
    """
    for directory, endpoint in destinations(root):
        if _port_here(endpoint) == port:
            yield directory


def destinations(root: Path) -> Iterator[tuple[Path, str | None]]:
    """
    The directories of destinations under *root*, and the collector's address of each, as far as one
    of the journals there says it.
    """
    try:
        names = sorted(os.listdir(root))
    except OSError:
        return
    for name in names:
        found = journals(root / name)
        said = (owner_of(journal).get("endpoint") for journal in found)
        if found:
            yield root / name, next((each for each in said if isinstance(each, str)), None)


def _port_here(endpoint: str | None) -> int | None:
    """
    The port of this machine that *endpoint* names; None where it names another machine.
    """
    try:
        parts = urlsplit(endpoint or "")
        if parts.scheme != "http" or parts.hostname not in THIS_MACHINE:
            return None
        return parts.port or 80
    except ValueError:
        return None
