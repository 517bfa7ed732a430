"""
`asyncops import`: sessions out of files that `asyncops export` wrote.
"""

from __future__ import annotations

import contextlib
import gzip
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, BinaryIO, cast

import anyio
import msgspec
from cyclopts import Parameter

from ..collector.auth import DEFAULT_PROJECT
from ..collector.dashboard.format import plural
from . import output
from .collector_api import CollectorAPI, collector_api

__all__ = ["import_"]

MAX_LINES = 1_000
"""How many lines one request brings."""

MAX_BYTES = 1_000_000
"""How many bytes one request brings, give or take a line."""

MAX_SHOWN = 5
"""How many of the lines that were refused are named."""

STDIN = Path("standard input")
"""What stands for it where a file has its path."""

GZIP = b"\x1f\x8b"
"""How a gzip file begins."""


class _Line(msgspec.Struct):
    """
    What of a line the import needs to know.
    """

    type: str
    source: str | None = None
    session: str | None = None


_decoder = msgspec.json.Decoder(_Line)


def import_(
    *files: Annotated[Path, Parameter(name="FILE")],
    endpoint: str | None = None,
    db: Path | None = None,
    project: str = DEFAULT_PROJECT,
) -> None:
    """
    Take in sessions that `asyncops export` wrote as ndjson. The same file again changes nothing,
    and sessions that were deleted here stay deleted.

    Parameters
    ----------
    files
        The files, compressed with gzip or not; standard input where none is named.
    endpoint
        The collector's address. Default: ASYNCOPS_ENDPOINT, else the one on this machine.
    db
        The database where no collector answers. Default: ASYNCOPS_DB, else the usual one.
    project
        Whose sessions they become in the database. A collector goes by ASYNCOPS_API_KEY.
    """

    async def send() -> bool:
        fine = True
        async with collector_api(endpoint, db=db, project=project, create=True) as api:
            for path in files or (STDIN,):
                with _opened(path) as file:
                    fine &= await _import(api, path, file)
        return fine

    if not anyio.run(send):
        raise SystemExit(1)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        with contextlib.ExitStack() as stack:
            raw = sys.stdin.buffer if path is STDIN else stack.enter_context(path.open("rb"))
            compressed = raw.peek(len(GZIP)).startswith(GZIP)  # type: ignore[union-attr]
            yield cast("BinaryIO", stack.enter_context(gzip.open(raw)) if compressed else raw)
    except (OSError, EOFError, zlib.error) as error:
        why = getattr(error, "strerror", None) or error
        raise output.CommandError(f"cannot read {path}: {why}") from None


async def _import(api: CollectorAPI, path: Path, file: BinaryIO) -> bool:
    """
    Send what is in *file*, and tell of it; returns whether all of it is there now.
    """
    sessions: set[str] = set()
    records = 0
    refused: list[str] = []
    for source, lines, named in _batches(path, file):
        sessions |= named
        records += len(lines)
        refused += await api.send(source, b"".join(lines))
    print(f"{path}: {plural(records, 'record')} of {plural(len(sessions), 'session')}", flush=True)
    # what is dropped of a deleted session is acknowledged: its program need not send it again
    gone = [] if refused else [id for id in sorted(sessions) if await api.session(id) is None]
    for session in gone[:MAX_SHOWN]:
        output.notice(f"not taken: session {session} was deleted here, and stays deleted")
    if len(gone) > MAX_SHOWN:
        output.notice(f"{len(gone)} sessions of {path} were deleted here in all")
    for why in refused[:MAX_SHOWN]:
        output.notice(f"refused: {why}")
    if len(refused) > MAX_SHOWN:
        output.notice(f"{len(refused)} lines of {path} were refused in all")
    return not (refused or gone)


def _batches(path: Path, file: BinaryIO) -> Iterator[tuple[str, list[bytes], set[str]]]:
    """
    The lines of *file*, some at a time: whose they are, and which sessions they speak of.

    Raises:
        CommandError: They are no records, or do not say whose they are.
    """
    source: str | None = None
    lines: list[bytes] = []
    sessions: set[str] = set()
    size = 0
    for number, line in enumerate(file, 1):
        if line.isspace():
            continue
        try:
            said = _decoder.decode(line)
        except ValueError:  # no JSON, no record
            raise output.CommandError(
                f"line {number} of {path} is no record: is it what `asyncops export` wrote?"
            ) from None
        changes = said.type == "source" and said.source != source
        if source is not None and (changes or len(lines) >= MAX_LINES or size >= MAX_BYTES):
            yield source, lines, sessions
            lines, sessions, size = [], set(), 0
        if changes:
            source = said.source
        if source is None:
            raise output.CommandError(f"{path} does not begin with whose records it holds")
        lines.append(line if line.endswith(b"\n") else line + b"\n")
        size += len(line)
        if said.session is not None:
            sessions.add(said.session)
    if source is not None:
        yield source, lines, sessions
