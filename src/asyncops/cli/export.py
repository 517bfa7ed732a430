"""
`asyncops export`: one session as a file.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, BinaryIO, Literal

import anyio
from cyclopts import Parameter

from ..collector.auth import DEFAULT_PROJECT
from . import output
from .collector_api import collector_api

__all__ = ["export"]


def export(
    session_id: Annotated[str, Parameter(name="ID")],
    /,
    *,
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None,
    form: Annotated[Literal["json", "ndjson", "html"], Parameter(name="--format")] = "ndjson",
    redacted: Annotated[bool, Parameter(negative=())] = False,
    endpoint: str | None = None,
    db: Path | None = None,
    project: str = DEFAULT_PROJECT,
) -> None:
    """
    Write one session with all its events to a file, or to standard output.

    Parameters
    ----------
    session_id
        Its id, or the beginning of it.
    out
        The file.
    form
        ndjson: records, for `asyncops import`. html: a page that opens
        without a collector. json: one document, as the API shows it.
    redacted
        Leave out what was said: prompts, parameters, results, messages, hosts.
    endpoint
        The collector's address. Default: ASYNCOPS_ENDPOINT, else the one on this machine.
    db
        The database to read where no collector answers. Default: ASYNCOPS_DB, else the usual one.
    project
        Whose sessions to read from the database. A collector goes by ASYNCOPS_API_KEY.
    """

    async def fetch() -> None:
        async with collector_api(endpoint, db=db, project=project) as api:
            session = await api.find(session_id)
            with _opened(out) as file:
                async for part in api.export(session["id"], form, redacted=redacted):
                    file.write(part)

    anyio.run(fetch)


@contextlib.contextmanager
def _opened(path: Path | None) -> Iterator[BinaryIO]:
    """
    What is written becomes the file at *path* once it is whole; until then nothing is there.
    """
    if path is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            yield file
        partial.replace(path)
    except OSError as error:
        raise output.CommandError(f"cannot write {path}: {error.strerror}") from None
    finally:
        partial.unlink(missing_ok=True)
