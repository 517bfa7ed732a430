"""
`asyncops doctor`: what lies on this machine that no collector has yet, and whether all is well.

Looks and touches nothing: no journal is adopted, delivered or mended by it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import anyio
import attrs
import psutil
from cyclopts import Parameter
from rich.table import Table
from rich.text import Text

from .._configuration import Configuration
from .._directory import SET_ASIDE, journals
from .._recovery import ending_of_source
from .._survey import Survey, survey
from ..collector.dashboard.format import duration, plural, size_bytes
from . import output
from .collector_api import answers
from .journals import destinations

__all__ = ["doctor"]


_NO_LOCK = (
    "it has no file named lock, so nobody can tell whether its process lives, and nobody delivers"
    " it; if that is dead, make the file"
)


@attrs.frozen(kw_only=True)
class _Found:
    """
    One journal, and what there is to say of it.

    Attributes:
        ledger: Its figures.
        endpoint: Where it is bound for.
        state: live, adopted (another process delivers it now) or orphan.
        ending: How the sessions that were open would be said to have ended, if it is an orphan.
        problems: What is wrong with it.
    """

    ledger: Survey
    endpoint: str | None
    state: str
    ending: str | None
    problems: list[str]


def doctor(*, as_json: Annotated[bool, Parameter(name="--json", negative=())] = False) -> None:
    """
    Tell what recorded on this machine waits to be delivered, whose it is, and what is wrong.

    Nothing is changed by it. The exit status is 1 where something needs a look.

    Parameters
    ----------
    as_json
        Print all figures, as JSON.
    """
    configuration = Configuration()
    found = list(_journals(configuration.journal_dir))
    collectors = anyio.run(_answering, {each.endpoint for each in found} | {configuration.endpoint})
    machine = _machine(configuration, found, collectors)
    problems = [*machine, *(problem for each in found for problem in _named_problems(each))]
    if as_json:
        print(json.dumps(_as_json(configuration, found, collectors, problems), indent=2))
    else:
        _print(configuration, found, collectors, problems)
    raise SystemExit(1 if problems else 0)


# -- looking ----------------------------------------------------------------------------------


def _journals(root: Path) -> Iterator[_Found]:
    for directory, endpoint in destinations(root):
        for journal in journals(directory):
            with contextlib.suppress(FileNotFoundError):  # delivered while we look
                try:
                    ledger = survey(journal)
                except FileNotFoundError:
                    if not (journal / "lock").exists() and journal.exists():
                        yield _unreadable(journal, endpoint, _NO_LOCK)
                    raise
                except OSError as error:
                    yield _unreadable(journal, endpoint, f"it cannot be read: {error}")
                else:
                    yield _examined(ledger, endpoint)


def _examined(ledger: Survey, endpoint: str | None) -> _Found:
    state = "orphan"
    ending = None
    if ledger.held:
        state = "live" if _is_running(ledger.owner) else "adopted"
    elif ledger.open and not ledger.finished:
        _, end_state, reason = ending_of_source(ledger.directory, ledger.last_line)
        ending = f"{end_state}: {reason}"
    problems = []
    if ledger.unreadable or ledger.damaged_bytes:
        problems.append(
            f"its files are damaged: {plural(ledger.unreadable, 'record')} cannot be read"
            f" ({size_bytes(ledger.damaged_bytes)} of its files); the rest is delivered"
        )
    if not ledger.owner:
        problems.append("it does not say who it was")
    problems += [
        f"{plural(count, 'record')} dropped ({reason})" for reason, count in ledger.lost.items()
    ]
    if ledger.in_memory:
        where = "only in the memory of its process" if ledger.held else "died with its process"
        problems.append(f"{plural(ledger.in_memory, 'record')} {where}: the disk took nothing")
    return _Found(ledger=ledger, endpoint=endpoint, state=state, ending=ending, problems=problems)


def _unreadable(journal: Path, endpoint: str | None, problem: str) -> _Found:
    nothing = Survey(
        directory=journal, owner={}, held=False, recorded=0, acknowledged=0, waiting=0, lost={},
        unreadable=0, in_memory=0, damaged_bytes=0, total_bytes=0, oldest_at=None, last_line=None,
        open=[], finished=False,
    )  # fmt: skip
    return _Found(
        ledger=nothing, endpoint=endpoint, state="unreadable", ending=None, problems=[problem]
    )


def _is_running(owner: dict[str, Any]) -> bool:
    """
    Whether the process that says it owns a journal is there; only for people, pids are used again.
    """
    pid = owner.get("pid")
    return isinstance(pid, int) and 0 < pid < 2**31 and psutil.pid_exists(pid)


async def _answering(endpoints: set[str | None]) -> dict[str, bool]:
    return {each: await answers(each) for each in sorted(filter(None, endpoints))}


def _machine(
    configuration: Configuration, found: list[_Found], collectors: dict[str, bool]
) -> list[str]:
    """
    What is wrong beside the journals.
    """
    problems = []
    root = configuration.journal_dir
    there = next(path for path in (root, *root.parents) if path.exists())
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        problems.append(
            f"journals cannot be written under {root}: what is recorded is kept in memory only;"
            " mend that, or name another directory with ASYNCOPS_JOURNAL_DIR"
        )
    elif (free := shutil.disk_usage(there).free) < configuration.journal_max_bytes:
        problems.append(
            f"only {size_bytes(free)} of the disk under {root} are free, less than journals may"
            f" take ({size_bytes(configuration.journal_max_bytes)})"
        )
    elif root.exists() and root.stat().st_mode & 0o077:
        problems.append(f"others may look into {root}: chmod 700 it")
    problems += [
        f"{plural(aside.read_bytes().count(10), 'record')} refused by the collector: {aside}"
        for aside in sorted(root.glob(f"*/{SET_ASIDE}"))
    ]
    problems += [
        f"no collector answers at {endpoint}: what waits for it stays here"
        for endpoint, answering in collectors.items()
        if not answering
        and any(each.endpoint == endpoint and each.ledger.waiting for each in found)
    ]
    return problems


def _named_problems(found: _Found) -> list[str]:
    return [f"{found.ledger.directory.name}: {problem}" for problem in found.problems]


# -- telling ----------------------------------------------------------------------------------


def _print(
    configuration: Configuration,
    found: list[_Found],
    collectors: dict[str, bool],
    problems: list[str],
) -> None:
    console = output.console()
    console.print(f"journals:  {output.one_line(configuration.journal_dir)}")
    for endpoint, answering in collectors.items():
        console.print(
            f"collector: {output.one_line(endpoint)}"
            f" {'answers' if answering else 'does not answer'}"
        )
    if found:
        console.print()
        console.print(_table(found))
        console.print(
            "\nrecorded = acknowledged + waiting + lost + unreadable + in memory\n"
            "Orphans are delivered by the next process that records there, or by asyncops serve"
            " within seconds."
        )
    else:
        console.print("\nnothing waits: all that was recorded here is delivered")
    for problem in problems:
        console.print(Text(f"! {output.one_line(problem)}", style="yellow"), soft_wrap=True)


def _table(found: list[_Found]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("journal", "state", "process"):
        table.add_column(column, no_wrap=True)
    for column in ("recorded", "acknowledged", "waiting", "lost", "unreadable", "in memory"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("oldest", justify="right", no_wrap=True)
    table.add_column("on disk", justify="right", no_wrap=True)
    table.add_column("open sessions", overflow="fold")
    for each in found:
        ledger = each.ledger
        table.add_row(
            ledger.directory.name[:13],
            Text(each.state + (", damaged" if ledger.unreadable or ledger.damaged_bytes else "")),
            Text(output.cell(_process(ledger.owner))),
            str(ledger.recorded),
            str(ledger.acknowledged),
            str(ledger.waiting),
            str(sum(ledger.lost.values()) or ""),
            str(ledger.unreadable or ""),
            str(ledger.in_memory or ""),
            "" if ledger.oldest_at is None else _age(ledger.oldest_at),
            size_bytes(ledger.total_bytes),
            Text(output.cell(_open(each))),
        )
    return table


def _process(owner: dict[str, Any]) -> str:
    program = os.path.basename(str(owner.get("program") or ""))
    return f"{owner.get('pid', '?')} {program}".strip()


def _age(at: int) -> str:
    return duration(max(time.time_ns() - at, 0))


def _open(found: _Found) -> str:
    count = len(found.ledger.open)
    if not count or found.ledger.finished:
        return ""
    return str(count) if found.ending is None else f"{count} to become {found.ending}"


def _as_json(
    configuration: Configuration,
    found: list[_Found],
    collectors: dict[str, bool],
    problems: list[str],
) -> dict[str, Any]:
    return {
        "journal_dir": str(configuration.journal_dir),
        "collectors": collectors,
        "journals": [
            {
                "source": each.ledger.directory.name,
                "directory": str(each.ledger.directory),
                "endpoint": each.endpoint,
                "state": each.state,
                "owner": each.ledger.owner,
                "recorded": each.ledger.recorded,
                "acknowledged": each.ledger.acknowledged,
                "waiting": each.ledger.waiting,
                "lost": each.ledger.lost,
                "unreadable": each.ledger.unreadable,
                "in_memory": each.ledger.in_memory,
                "damaged_bytes": each.ledger.damaged_bytes,
                "total_bytes": each.ledger.total_bytes,
                "oldest_at": each.ledger.oldest_at,
                "open_sessions": each.ledger.open,
                "ending": each.ending,
                "problems": each.problems,
            }
            for each in found
        ],
        "problems": problems,
    }
