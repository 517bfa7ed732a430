"""
`asyncops show`: one session, and what happened in it as a tree.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import anyio
from cyclopts import Parameter
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from ..collector.auth import DEFAULT_PROJECT
from ..collector.dashboard.missing import missing_words
from . import output
from .collector_api import collector_api

__all__ = ["show"]

MAX_DEPTH = 50
"""How deep the tree is drawn; what lies deeper stands beside its parent."""


def show(
    session_id: Annotated[str, Parameter(name="ID")],
    /,
    *,
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
    endpoint: str | None = None,
    db: Path | None = None,
    project: str = DEFAULT_PROJECT,
) -> None:
    """
    Show one session and the tree of its events.

    Parameters
    ----------
    session_id
        Its id, or the beginning of it.
    as_json
        Print what the collector says, as JSON.
    endpoint
        The collector's address. Default: ASYNCOPS_ENDPOINT, else the one on this machine.
    db
        The database to read where no collector answers. Default: ASYNCOPS_DB, else the usual one.
    project
        Whose sessions to read from the database. A collector goes by ASYNCOPS_API_KEY.
    """

    async def fetch() -> tuple[dict[str, Any], list[dict[str, Any]]]:
        async with collector_api(endpoint, db=db, project=project) as api:
            session = await api.find(session_id)
            return session, await api.events(session["id"])

    session, events = anyio.run(fetch)
    if as_json:
        print(json.dumps({"session": session, "events": events}, indent=2))
    else:
        output.console().print(
            Group(_head(session), *_failures(session["failure"]), _tree(events, session))
        )


def _head(session: Mapping[str, Any]) -> Table:
    head = Table(box=None, show_header=False, pad_edge=False)
    head.add_column(style="dim", no_wrap=True)
    head.add_column(overflow="fold")
    state = output.state(session["state"])
    if session["reason"]:
        state.append(f"  {output.one_line(session['reason'])}", style="default")
    rows: dict[str, str | Text | None] = {
        "session": session["id"],
        "name": session["name"],
        "project": session["project"],
        "state": state,
        "started": session["started_at"],
        "ended": session["ended_at"],
        "duration": output.how_long(session["duration_ms"]),
        "tags": ", ".join(session["tags"]),
        "video": session["video"],
        "cost": "  ".join(filter(None, (output.cost(session), output.cost_sources(session)))),
        "tokens": output.tokens(session),
        "events": (
            f"{session['events']}: {session['agents']} agents, {session['llms']} LLM calls,"
            f" {session['tools']} tools, {session['actions']} actions, {session['errors']} errors"
        ),
        "missing": session["missing_records"] and missing_words(session["missing_by_reason"]),
    }
    for name, value in rows.items():
        if value:
            head.add_row(name, value if isinstance(value, Text) else output.one_line(value))
    for source in session["sources"]:
        head.add_row("process", output.one_line(_process(source)))
    return head


def _process(source: Mapping[str, Any]) -> str:
    host = source["host"] or {}
    said = [f"pid {source['pid']}"]
    for group, name in (("os", "hostname"), ("os", "name"), ("sdk", "python")):
        value = host.get(group, {}).get(name) if isinstance(host.get(group), dict) else None
        if value:
            said.append(f"Python {value}" if name == "python" else str(value))
    return ", ".join(said)


def _failures(failure: Mapping[str, Any] | None) -> Iterator[RenderableType]:
    """
    A failure and all that led to it, with tracebacks, the first cause last.
    """
    if failure is None:
        return
    title = f"{failure['type']}: {failure['message']}".removesuffix(": ")
    how = {"cause": "caused by ", "context": "while handling ", "member": "including "}
    yield Text()
    yield Text(output.multiline(how.get(failure["relation"], "") + title), style="red")
    if failure["traceback"]:
        yield Text(output.multiline(failure["traceback"]), style="dim")
    for cause in failure["causes"]:
        yield from _failures(cause)


def _tree(events: Sequence[Mapping[str, Any]], session: Mapping[str, Any]) -> RenderableType:
    """
    The events under their parents; those whose parent is missing stand at the top.
    """
    ids = {event["id"] for event in events}
    children: dict[str | None, list[Mapping[str, Any]]] = {}
    for event in sorted(events, key=lambda event: event["started_at"]):
        parent = event["parent_id"] if event["parent_id"] in ids else None
        children.setdefault(parent, []).append(event)
    root = Tree(Text(), hide_root=True, guide_style="dim")
    # A list instead of recursion: a program may nest its events as deep as it likes.
    open_nodes = [(root, event, 1) for event in reversed(children.pop(None, []))]
    while open_nodes:
        node, event, depth = open_nodes.pop()
        below = node.add(_line(event, session)) if depth <= MAX_DEPTH else node
        if below is node:
            node.add(_line(event, session))
        inside = children.pop(event["id"], [])
        open_nodes += [(below, child, depth + 1) for child in reversed(inside)]
    # What is left hangs together in a circle, which no program does but a hostile one.
    for event in (event for group in children.values() for event in group):
        root.add(_line(event, session))
    return root


def _line(event: Mapping[str, Any], session: Mapping[str, Any]) -> Text:
    line = Text()
    line.append(f"{output.one_line(event['kind']):<6} ", style="dim")
    line.append(output.one_line(event["name"]), style="bold" if event["kind"] == "agent" else "")
    if event["model"] and event["model"] != event["name"]:
        line.append(f" {output.one_line(event['model'])}", style="dim")
    duration = output.how_long(event["duration_ms"])
    for said in (duration, output.tokens(event), output.event_cost(event)):
        if said:
            line.append(f"  {said}", style="cyan")
    if event["state"] == "Running" and session["state"] != "Running":
        line.append("  still open when the session ended", style="magenta")
    elif event["state"] != "Success":
        line.append("  ")
        line.append_text(output.state(event["state"]))
    if event["failure"] is not None:
        failure = event["failure"]
        said = f"{failure['type']}: {failure['message']}".split("\n", 1)[0]
        line.append(f"  {output.one_line(said)}", style="red")
    return line
