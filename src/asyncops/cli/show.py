"""
`asyncops show`: one session, and what happened in it as a tree.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import anyio
import attrs
from cyclopts import Parameter
from cyclopts.validators import Number
from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.text import Text

from ..collector.auth import DEFAULT_PROJECT
from ..collector.dashboard.format import plural
from . import output
from .collector_api import CollectorAPI, collector_api
from .event_text import event_text
from .session_head import agents, failure, head
from .session_tree import KIND_COLOURS, MAX_ROWS, Scale, Tree

__all__ = ["show"]

MAX_FAILED = 100
"""How many events that failed are shown where not all are asked for."""

MAX_FAILURES = 10
"""How many different failures are told in full."""

_PARTICULAR = re.compile(r"\w*\d\w*")
"""What is different in failures that are alike: numbers, ids."""


def show(
    session_id: Annotated[str, Parameter(name="ID")],
    /,
    *,
    events: Annotated[bool, Parameter(negative=())] = False,
    depth: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    errors: Annotated[bool, Parameter(negative=())] = False,
    event: str | None = None,
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
    events
        Show every event, however many there are.
    depth
        Show the tree only so deep.
    errors
        Show only what failed, and where; then each failure in full.
    event
        Show only this event, with all that went in and came out: its id, or the beginning or end
        of it.
    as_json
        Print what the collector says, as JSON.
    endpoint
        The collector's address. Default: ASYNCOPS_ENDPOINT, else the one on this machine.
    db
        The database to read where no collector answers. Default: ASYNCOPS_DB, else the usual one.
    project
        Whose sessions to read from the database. A collector goes by ASYNCOPS_API_KEY.
    """

    async def fetch() -> Any:
        async with collector_api(endpoint, db=db, project=project) as api:
            session = await api.find(session_id)
            if as_json and event is None:
                return {"session": session, "events": await api.events(session["id"])}
            known = await api.timeline(session["id"])
            if event is not None:
                found = await api.event(session["id"], _found(known, event)["id"])
                return found if as_json else list(event_text(found, _path(_by_id(known), found)))
            if errors:
                return await _errors(api, session, known, most=None if events else MAX_FAILED)
            tree = Tree(known, most=None if events else MAX_ROWS, depth=depth)
            return _session(session, known, tree)

    told = anyio.run(fetch)
    if as_json:
        print(json.dumps(told, indent=2))
    else:
        output.console().print(Group(*told))


def _session(
    session: Mapping[str, Any], events: Sequence[Mapping[str, Any]], tree: Tree
) -> Iterator[RenderableType]:
    yield head(session, events)
    yield from failure(session["failure"])
    shares = agents(session, events)
    if shares is not None:
        yield Text()
        yield shares
    yield Text()
    yield from _rows(session, events, tree)
    if tree.left_out:
        yield Text()
        yield Text(
            f"{tree.left_out:,} of {plural(len(events), 'event')} are left out:"
            " --events shows all, --errors what failed, --json everything",
            style="dim",
        )


async def _errors(
    api: CollectorAPI,
    session: Mapping[str, Any],
    events: Sequence[Mapping[str, Any]],
    *,
    most: int | None,
) -> list[RenderableType]:
    """
    What failed, in its place, the first *most*; then each different failure in full.
    """
    failed = [event for event in events if event["state"] == "Fail"]
    shown = failed[:most]
    by_id = _by_id(events)
    above = {each["id"] for event in shown for each in _path(by_id, event)}
    told: list[RenderableType] = [head(session, events), Text()]
    if not failed:
        return [*told, Text("nothing failed")]
    only = frozenset(above | {event["id"] for event in shown})
    told += _rows(session, events, Tree(events, only=only))
    if len(shown) < len(failed):
        more = plural(len(failed) - len(shown), "more event")
        told.append(Text(f"\n{more} failed: --events shows all", style="dim"))
    alike: dict[str, list[Mapping[str, Any]]] = {}
    passed_on = {event["parent_id"] for event in failed}
    for event in failed:
        if event["id"] not in passed_on:
            alike.setdefault(_PARTICULAR.sub("#", event["error"] or ""), []).append(event)
    ordered = sorted(alike.values(), key=lambda group: -len(group))
    for group in ordered[:MAX_FAILURES]:
        full = await api.event(session["id"], group[0]["id"])
        told.append(Text())
        times = f"{len(group):,} times, first" if len(group) > 1 else "once,"
        where = f"{times} in {full['kind']} {full['name']} (--event {full['id']})"
        told.append(Text(output.one_line(where), style="bold"))
        told += failure(full["failure"])
    if len(ordered) > MAX_FAILURES:
        told.append(Text(f"\n{len(ordered) - MAX_FAILURES:,} more kinds of failures", style="dim"))
    return told


def _found(events: Sequence[Mapping[str, Any]], part: str) -> Mapping[str, Any]:
    part = part.lower()
    exact = [event for event in events if event["id"] == part]
    hits = exact or [event for event in events if event["id"].startswith(part)]
    hits = hits or [event for event in events if event["id"].endswith(part)]
    if len(hits) != 1:
        many = "no event begins or ends" if not hits else f"{len(hits):,} events begin or end"
        raise output.CommandError(f"{many} with {part!r}")
    return hits[0]


def _by_id(events: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    return {event["id"]: event for event in events}


def _path(
    by_id: Mapping[str, Mapping[str, Any]], event: Mapping[str, Any]
) -> list[Mapping[str, Any]]:
    """
    The events that *event* happened in, the outermost first.
    """
    path: dict[str, Mapping[str, Any]] = {}
    while (above := by_id.get(event["parent_id"])) is not None and above["id"] not in path:
        path[above["id"]] = event = above
    return list(reversed(path.values()))


# -- lines of the tree ----------------------------------------------------------------------------


@attrs.frozen
class _Columns:
    """
    How wide what stands beside the tree is, in a terminal of some width; 0 where it has no room.
    """

    name: int
    duration: int
    tokens: int
    cost: int
    id: int
    bar: int

    @classmethod
    def of(cls, width: int) -> _Columns:
        duration = 11 if width >= 50 else 0
        tokens = 15 if width >= 110 else 0
        cost = 20 if width >= 130 else 9 if width >= 76 else 0
        event_id = 16 if width >= 150 else 0
        bar = min(max(width // 5, 12), 60) if width >= 64 else 0
        beside = [each + 2 for each in (duration, tokens, cost, event_id, bar) if each]
        return cls(width - sum(beside), duration, tokens, cost, event_id, bar)


def _rows(
    session: Mapping[str, Any], events: Sequence[Mapping[str, Any]], tree: Tree
) -> Iterator[Text]:
    width = output.console().width
    columns = _Columns.of(width)
    scale = Scale.of(session, events, columns.bar)
    errors = {(event["parent_id"], event["error"]) for event in events if event["error"]}
    for guide, row in tree.rows():
        if isinstance(row, Text):
            line = Text.assemble((guide, "dim"))
            line.append_text(row)
            line.truncate(width, overflow="ellipsis")
            yield line
            continue
        yield _line(guide, row, columns, scale)
        remark = _remark(row, session)
        # of those that an exception went through, where it came from tells it
        if remark is not None and (row["id"], row["error"]) not in errors:
            beside = guide.replace("├── ", "│   ").replace("└── ", "    ")
            line = Text.assemble((f"{beside}       ", "dim"))
            line.append_text(remark)
            line.truncate(width, overflow="ellipsis")
            yield line


def _line(guide: str, event: Mapping[str, Any], columns: _Columns, scale: Scale) -> Text:
    kind = event["kind"]
    line = Text.assemble((guide, "dim"))
    line.append(f"{output.one_line(kind):<6} ", style=KIND_COLOURS.get(kind, ""))
    if event["state"] not in ("Success", "Running"):
        sign = output.state(event["state"])
        line.append_text(sign[:2])
    line.append(output.one_line(event["name"]), style="bold" if kind == "agent" else "")
    if event["model"] and event["model"] != event["name"]:
        line.append(f" {output.one_line(event['model'])}", style="dim")
    line.truncate(columns.name, overflow="ellipsis", pad=True)
    cost = output.event_cost(event)
    if columns.cost < 20:
        cost = cost.partition(" ")[0]
    for text, width in (
        (output.how_long(event["duration_ms"]), columns.duration),
        (output.tokens(event), columns.tokens),
        (cost, columns.cost),
    ):
        if width:
            line.append(f"  {' ' * (width - cell_len(text))}{text}", style="cyan")
    if columns.id:
        line.append(f"  {output.one_line(event['id'])}", style="dim")
    if columns.bar:
        colour = "red" if event["state"] == "Fail" else KIND_COLOURS.get(kind, "")
        line.append("  ")
        line.append(scale.bar(event["started_at"], event["ended_at"]), style=colour)
    line.rstrip()
    return line


def _remark(event: Mapping[str, Any], session: Mapping[str, Any]) -> Text | None:
    if event["state"] == "Running":
        if session["state"] == "Running":
            return Text("still open", style="blue")
        return Text("still open when the session ended", style="magenta")
    if event["error"]:
        return Text(output.one_line(event["error"].split("\n", 1)[0]), style="red")
    return None
