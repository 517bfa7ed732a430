"""
`asyncops demo`: a collector, and a real program that leaves one session of each kind behind; or a
month that looks as if many had.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import anyio
import attrs
from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress
from rich.table import Table
from rich.text import Text
from starlette.applications import Starlette

from .._exceptions import ConfigurationError
from ..collector.app import DEFAULT_PORT, CollectorSettings, default_database
from ..collector.dashboard.format import plural
from ..collector.server import EmbeddedCollector
from . import output
from .collector_api import CollectorAPI, collector_api
from .demo_program.library import Library
from .demo_program.model import Model
from .demo_program.model_server import MODEL_NAME, served
from .demo_program.scenarios import SCENARIOS, Setting
from .journals import adopt_journals

__all__ = ["demo", "wrong"]

_NOT_FOR_THE_DEMO = frozenset({"ASYNCOPS_SESSION_ID", "ASYNCOPS_TAGS", "TRACEPARENT"})
"""What may be in the environment and is meant for the user's own programs."""

EXPECTED = {
    "success": "Success",
    "failure": "Fail",
    "cancelled": "Cancelled",
    "inherited": "Success",
    "killed": "Indeterminate",
}
"""How each scenario ends, if recorder and collector tell the truth."""

SCENARIO_SECONDS = 60.0
"""How long a scenario may take at most."""

TELLING_SECONDS = 15.0
"""How long the collector may take to know how all sessions ended."""


def demo(
    *,
    exit_: Annotated[bool, Parameter(name="--exit", negative=())] = False,
    port: int = DEFAULT_PORT,
    db: Path | None = None,
    history: Annotated[bool, Parameter(negative=())] = False,
    sessions: Annotated[int, Parameter(validator=Number(gte=1))] = 10_000,
    events: Annotated[int, Parameter(validator=Number(gte=1))] = 1_000_000,
    days: Annotated[int, Parameter(validator=Number(gte=1, lte=3_650))] = 30,
    seed: int = 1,
) -> None:
    """
    Run a program of several agents that end in five ways, and show what was recorded.

    With --history make up a past instead: many programs, for days, until now.

    Parameters
    ----------
    exit_
        End after the run instead of serving the dashboard until Ctrl-C.
    port
        Where to serve the dashboard.
    db
        The database. Default: ASYNCOPS_DB, else the usual one; with --history, history.db beside
        that.
    history
        Fill the database with a past, and go on with it while the dashboard is served.
    sessions
        How many sessions the past has.
    events
        How many events they have in all, about.
    days
        For how long it goes back.
    seed
        The same number gives the same past, but for its times.
    """
    if history and db is None:
        db = default_database().with_name("history.db")
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="asyncops-demo-")))
        # for us, who take in what the killed process leaves, and for the processes we start; what
        # the user's own programs have left stays where it is
        os.environ["ASYNCOPS_JOURNAL_DIR"] = str(directory / "journal")
        collector = stack.enter_context(_collector(port, db))
        # fails now, rather than after the work, if the database has keys and we were given none
        anyio.run(_check_key, collector.url)
        faults, go_on = False, anyio.sleep_forever
        if history:
            go_on = _past(collector.url, sessions=sessions, events=events, days=days, seed=seed)
        else:
            faults = _five_runs(stack, collector.url, directory)
        print(f"dashboard: {collector.url}")
        if not exit_:
            anyio.run(_until_told, go_on)
    if faults:
        raise SystemExit(1)


def _past(
    endpoint: str, *, sessions: int, events: int, days: int, seed: int
) -> Callable[[], Coroutine[Any, Any, None]]:
    """
    Make a past up; gives what goes on with it.
    """
    from .history import filling
    from .history.plan import Past

    past = Past(seed=seed, sessions=sessions, events=events, days=days, until=time.time_ns())
    began = time.monotonic()
    with Progress(
        *Progress.get_default_columns(),
        MofNCompleteColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
        transient=True,
    ) as progress:
        task = progress.add_task("events", total=events)

        async def fill() -> list[filling.Ahead]:
            return await filling.fill(
                endpoint, past, told=lambda many: progress.advance(task, many)
            )

        ahead = anyio.run(fill)
        sent = int(progress.tasks[0].completed)
    print(
        f"{sent:,} events in {plural(sessions, 'session')} over {plural(days, 'day')},"
        f" in {time.monotonic() - began:.0f} s",
        flush=True,
    )
    return lambda: filling.go_on(endpoint, past, ahead)


def _five_runs(stack: contextlib.ExitStack, endpoint: str, directory: Path) -> bool:
    """
    Run the program five times; says whether anything of it was told wrongly.
    """
    print("reading the standard library ...", flush=True)
    library = Library.read()
    library.save(directory / "index.json")
    setting = Setting(
        model_url=stack.enter_context(served(Model(library.rarity))),
        model=MODEL_NAME,
        index=directory / "index.json",
        tags=("demo", f"demo-{secrets.token_hex(4)}"),
    )
    print(f"{len(library.entries):,} docstrings; agents at work ...", flush=True)
    found = anyio.run(_record, setting, endpoint, directory)
    output.console().print(_table(found))
    faults = dict(wrong(found))
    for kind, what in faults.items():
        output.notice(f"{kind}: {what}; it said: {_last_words(directory, kind)}")
    return bool(faults)


def _collector(port: int, db: Path | None) -> EmbeddedCollector:
    """
    A collector that takes in what dead processes leave, at *port* or, where that is taken, another.
    """
    bound: Future[int] = Future()

    async def background(app: Starlette) -> None:
        await adopt_journals(app, port=await asyncio.wrap_future(bound))

    try:
        collector = EmbeddedCollector(CollectorSettings(db=db, port=port), background=background)
    except ConfigurationError as error:
        output.notice(f"{error}; taking a free port instead")
        collector = EmbeddedCollector(CollectorSettings(db=db, port=0), background=background)
    bound.set_result(urlsplit(collector.url).port or port)
    return collector


async def _check_key(endpoint: str) -> None:
    async with collector_api(endpoint) as api:
        await api.sessions(limit=1)


async def _record(setting: Setting, endpoint: str, directory: Path) -> dict[str, dict[str, Any]]:
    """
    Run the scenarios, all at the same time; what the collector says of them, by scenario.
    """
    environment = {
        **{name: value for name, value in os.environ.items() if name not in _NOT_FOR_THE_DEMO},
        "ASYNCOPS_ENDPOINT": endpoint,
        "ASYNCOPS_DURABILITY": "journal",  # or nothing would be left of the killed one
        "ASYNCOPS_MAX_WAIT_TIME": "0.1",  # for those who watch
    }
    async with collector_api(endpoint) as api:
        async with asyncio.TaskGroup() as scenarios:
            for name in SCENARIOS:
                scenarios.create_task(_run(name, setting, environment, directory))
        return await _told(api, setting)


async def _run(
    name: str, setting: Setting, environment: Mapping[str, str], directory: Path
) -> None:
    """
    Run one scenario in a process of its own; the one to be killed once it has begun to answer.
    """
    tagged = attrs.evolve(setting, tags=(*setting.tags, name))
    with (directory / f"{name}.stderr").open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "asyncops.cli.demo_program", name, *tagged.options()),
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            process_group=0,  # with the processes that it starts itself
        )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(SCENARIO_SECONDS):
            if name == "killed":
                await process.stdout.readline()
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
            await process.communicate()
    except TimeoutError:
        output.notice(f"{name}: not done after {SCENARIO_SECONDS:g} s")
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


async def _told(api: CollectorAPI, setting: Setting) -> dict[str, dict[str, Any]]:
    """
    The sessions with this run's tags, once they ended as they should or time is over.
    """
    deadline = anyio.current_time() + TELLING_SECONDS
    while True:
        found: dict[str, dict[str, Any]] = {}
        for summary in await api.sessions(limit=100, tag=setting.tags):
            kind = next((tag for tag in summary["tags"] if tag in EXPECTED), "")
            found[kind] = await api.find(summary["id"])
        if not dict(wrong(found)) or anyio.current_time() > deadline:
            return {kind: found[kind] for kind in EXPECTED if kind in found}
        await anyio.sleep(0.1)


def wrong(found: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """
    Which of the sessions *found* are not told as they truly were, and what is wrong with them.
    """
    for kind, state in EXPECTED.items():
        session = found.get(kind)
        processes = 2 if kind == "inherited" else 1
        if session is None:
            yield kind, "the collector has no such session"
        elif session["state"] != state:
            yield kind, f"should have ended in {state}, but the collector says {session['state']}"
        elif len(session["sources"]) != processes:
            yield kind, f"{processes} took part, but the collector knows {len(session['sources'])}"


def _last_words(directory: Path, kind: str) -> str:
    lines = (directory / f"{kind}.stderr").read_text(errors="replace").split("\n")
    return next((line for line in reversed(lines) if line.strip()), "nothing")


def _table(found: Mapping[str, Mapping[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("session", "kind", "state"):
        table.add_column(column, no_wrap=True)
    table.add_column("reason", overflow="fold")
    for column in ("events", "LLM calls", "tokens", "cost", "duration"):
        table.add_column(column, justify="right", no_wrap=True)
    for kind, session in found.items():
        table.add_row(
            output.short_id(session),
            kind,
            output.state(session["state"]),
            Text(output.one_line(session["reason"] or "")),
            str(session["events"]),
            str(session["llms"]),
            output.tokens(session),
            output.cost(session),
            output.how_long(session["duration_ms"]),
        )
    return table


async def _until_told(go_on: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """
    Do what *go_on* does until SIGINT or SIGTERM. Says how to end it once that is heard.
    """
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        print("Ctrl-C ends it", flush=True)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(go_on)
            async for _ in signals:
                tasks.cancel_scope.cancel()
                break
