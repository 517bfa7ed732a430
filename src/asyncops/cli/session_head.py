"""
What is to be said of a session before its events: how it stands, what it cost, who took part.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import attrs
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from ..collector.dashboard.format import amount_of, compact, plural
from ..collector.dashboard.missing import missing_words
from . import output
from .session_tree import microseconds

__all__ = ["agents", "failure", "head", "left_open"]

MAX_AGENTS = 20
"""How many agents the table shows, those that did most first."""

MAX_OPEN = 10
"""How many events are named that were open when nobody was heard of any more."""


def head(session: Mapping[str, Any], events: Sequence[Mapping[str, Any]]) -> Table:
    """
    Everything about the session as a whole.
    """
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    rows: dict[str, str | Text | None] = {
        "session": session["id"],
        "name": session["name"],
        "project": session["project"],
        "state": _state(session),
        "started": session["started_at"],
        "ended": session["ended_at"],
        "duration": output.how_long(session["duration_ms"]),
        "tags": ", ".join(session["tags"]),
        "video": session["video"],
        "cost": "  ".join(filter(None, (output.cost(session), output.cost_sources(session)))),
        "tokens": tokens(session),
        "events": _events(session),
        "missing": _missing(session),
    }
    for name, value in rows.items():
        if value:
            table.add_row(name, value if isinstance(value, Text) else output.one_line(value))
    for source in session["sources"]:
        table.add_row("process", output.one_line(_process(source)))
    if session["state"] == "Indeterminate":
        for line in left_open(events):
            table.add_row("was open", line)
    return table


def tokens(said: Mapping[str, Any]) -> str:
    """
    Tokens in and out, and how many of them were cached or thought.
    """
    counts = output.tokens(said)
    parts = [
        f"{compact(said[key])} {word}"
        for key, word in (("cached_tokens", "cached"), ("reasoning_tokens", "reasoning"))
        if said[key]
    ]
    return f"{counts}  ({', '.join(parts)})" if parts else counts


def _state(session: Mapping[str, Any]) -> Text:
    said = output.state(session["state"])
    words = session["reason"] or ""
    if session["state"] == "Running":
        words = f"last heard of at {session['last_record_at']}"
    elif session["state"] == "Indeterminate":
        words = f"{words or 'nobody said how it ended'}, last heard of at"
        words += f" {session['last_record_at']}"
    if words:
        said.append(f"  {output.one_line(words)}", style="default")
    return said


def _events(session: Mapping[str, Any]) -> str:
    kinds = {"agents": "agent", "llms": "LLM call", "tools": "tool", "actions": "action"}
    kinds["errors"] = "error"
    said = [plural(session[key], word) for key, word in kinds.items()]
    return f"{session['events']:,}: {', '.join(said)}"


def _missing(session: Mapping[str, Any]) -> Text | None:
    many = session["missing_records"]
    if not many:
        return None
    words = missing_words(session["missing_by_reason"])
    return Text(f"{plural(many, 'record')} missing: {output.one_line(words)}", style="yellow")


def _process(source: Mapping[str, Any]) -> str:
    host = source["host"] or {}
    said = [f"pid {source['pid']}"]
    for group, name in (("os", "hostname"), ("os", "name"), ("sdk", "python")):
        value = host.get(group, {}).get(name) if isinstance(host.get(group), dict) else None
        if value:
            said.append(f"Python {value}" if name == "python" else str(value))
    return ", ".join(said)


def left_open(events: Iterable[Mapping[str, Any]]) -> Iterator[Text]:
    """
    The events that were never closed and within which nothing else was open, each with those that
    it happened in.
    """
    is_open = {event["id"]: event for event in events if event["state"] == "Running"}
    above = {event["parent_id"] for event in is_open.values()}
    innermost = [event for event in is_open.values() if event["id"] not in above]
    for event in innermost[:MAX_OPEN]:
        path = [event]
        while (parent := is_open.get(path[-1]["parent_id"])) is not None and parent not in path:
            path.append(parent)
        names = " / ".join(f"{each['kind']} {each['name']}" for each in reversed(path))
        yield Text(
            f"{output.one_line(names)}, since {output.one_line(event['started_at'])}",
            style="magenta",
        )
    if len(innermost) > MAX_OPEN:
        yield Text(f"... and {len(innermost) - MAX_OPEN:,} more", style="magenta")


# -- agents -----------------------------------------------------------------------------------


@attrs.define
class _Share:
    """
    What one agent did.
    """

    events: int = 0
    llms: int = 0
    tools: int = 0
    failed: int = 0
    milliseconds: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: Any = None

    def add(self, event: Mapping[str, Any], until: str) -> None:
        self.events += 1
        self.llms += event["kind"] == "llm"
        self.tools += event["kind"] == "tool"
        self.failed += event["state"] == "Fail"
        if event["kind"] == "agent":
            ended_at = microseconds(event["ended_at"] or until)
            self.milliseconds += max(ended_at - microseconds(event["started_at"]), 0) / 1e3
        self.prompt_tokens += event["prompt_tokens"] or 0
        self.completion_tokens += event["completion_tokens"] or 0
        if event["cost_usd"] is not None:
            self.cost = (self.cost or 0) + output.dollars(event["cost_usd"])


def agents(session: Mapping[str, Any], events: Iterable[Mapping[str, Any]]) -> Table | None:
    """
    Which agent did how much and what that cost; None where there are none.
    """
    until = session["ended_at"] or session["last_record_at"]
    shares: dict[str, _Share] = {}
    for event in events:
        if event["agent"] is not None:
            shares.setdefault(event["agent"], _Share()).add(event, until)
    if not shares:
        return None
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("agent", overflow="ellipsis", no_wrap=True)
    for column in ("time", "LLM calls", "tools", "failed", "tokens", "cost"):
        table.add_column(column, justify="right", no_wrap=True)
    ordered = sorted(shares.items(), key=lambda item: (-(item[1].cost or 0), -item[1].events))
    for name, share in ordered[:MAX_AGENTS]:
        table.add_row(
            Text(output.cell(name), style="bold"),
            output.how_long(share.milliseconds),
            str(share.llms or ""),
            str(share.tools or ""),
            Text(str(share.failed or ""), style="red"),
            output.tokens(attrs.asdict(share)),
            "" if share.cost is None else amount_of(share.cost, "$"),
        )
    if len(ordered) > MAX_AGENTS:
        table.add_row(Text(f"... and {len(ordered) - MAX_AGENTS:,} more", style="dim"))
    return table


# -- failures ---------------------------------------------------------------------------------


def failure(told: Mapping[str, Any] | None) -> Iterator[RenderableType]:
    """
    A failure and all that led to it, with tracebacks, the first cause last.
    """
    if told is None:
        return
    title = f"{told['type']}: {told['message']}".removesuffix(": ")
    how = {"cause": "caused by ", "context": "while handling ", "member": "including "}
    yield Text()
    yield Text(output.multiline(how.get(told["relation"], "") + title), style="red")
    if told["traceback"]:
        yield Text(output.multiline(told["traceback"]), style="dim")
    for cause in told["causes"]:
        yield from failure(cause)
