"""
docs/performance.md: prose by hand, and tables between markers, put there by who measured them.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import re
import sqlite3
import sys
from collections.abc import Iterable
from pathlib import Path

from .harness import Report

__all__ = ["machine", "write"]

_VERSIONS = ("asyncops", "msgspec", "httpx", "starlette", "uvicorn")


def machine() -> str:
    """
    Where and when: what a figure cannot be read without.
    """
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _VERSIONS)
    return (
        f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}, {_processor()}, {os.cpu_count()} cores,"
        f" {platform.system()} {platform.release().partition('-')[0]}, Python"
        f" {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {versions}"
    )


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.+)", path.read_text()) if path.exists() else None
    return found[1].strip() if found else platform.machine()


def write(path: Path, block: str, reports: Iterable[Report]) -> None:
    """
    Put *reports* into the document, in place of what stands between the markers of *block*, with
    where and when they were made and the command that was run.

    Raises:
        ValueError: The document has no such block.
    """
    command = f"python -m {_module()} {' '.join(sys.argv[1:])}".strip()
    text = "\n".join((f"`{command}`: {machine()}.\n", *(each.markdown() for each in reports)))
    begin, end = f"<!-- {block}: begin -->\n", f"<!-- {block}: end -->"
    before, found, rest = path.read_text().partition(begin)
    _, also_found, after = rest.partition(end)
    if not (found and also_found):
        raise ValueError(f"{path} has no lines {begin.strip()} and {end}: add them where it is due")
    path.write_text(f"{before}{begin}\n{text}\n{end}{after}")


def _module() -> str:
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec.name.removesuffix(".__main__") if spec is not None else "benchmarks"
