"""
What SQLite's errors mean to whoever keeps the collector, and what to do about them.
"""

from __future__ import annotations

import sqlite3

from ..._exceptions import StoreError

__all__ = ["unavailable"]

_DAMAGED = (
    "it is damaged or no database. Keep a copy of it with its -wal file, then put a backup in its"
    " place, or what `sqlite3 OLD .recover | sqlite3 NEW` can rescue"
)
_NOT_ALLOWED = "let this user read and write it and its directory"
_ADVICE = {
    sqlite3.SQLITE_BUSY: "another process is writing to it",
    sqlite3.SQLITE_CANTOPEN: _NOT_ALLOWED,
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_FULL: "make room on its disk",
    sqlite3.SQLITE_IOERR: "look at its disk: full, failing or gone",
    sqlite3.SQLITE_NOTADB: _DAMAGED,
    sqlite3.SQLITE_PERM: _NOT_ALLOWED,
    sqlite3.SQLITE_READONLY: _NOT_ALLOWED,
}


def unavailable(what: str, error: Exception) -> StoreError:
    """
    An error that says *what* cannot be done because of *error*, and what to do about it.
    """
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    advice = _ADVICE.get(code)
    told = StoreError(f"{what}: {error}" + (f" ({advice})" if advice else ""))
    told.__cause__ = error
    return told
