"""
One event in full: what went in, what came out, what was said, what went wrong.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from ..collector.dashboard.conversations import Message, Part, messages
from ..collector.dashboard.costs import said_by
from ..collector.dashboard.format import amount_of
from . import output
from .session_head import failure, tokens

__all__ = ["event_text"]

MAX_CHARS = 100_000
"""How much is shown of one value; `--json` has all of it."""


def event_text(
    event: Mapping[str, Any], path: Sequence[Mapping[str, Any]]
) -> Iterator[RenderableType]:
    """
    Everything that is known of *event*.

    Args:
        path: The events it happened in, the outermost first.
    """
    yield _head(event, path)
    if event["failure"] is not None:
        yield from failure(event["failure"])
    for name in ("params", "returns"):
        if event[name] is not None:
            yield from _titled(name, _value(event[name]))
    for name, role in (("prompt", "user"), ("completion", "assistant")):
        if event[name] is not None:
            said = messages(event[name], role=role)
            if said is None:
                yield from _titled(name, _value(event[name]))
            else:
                yield from _titled(name, *(line for message in said for line in _message(message)))
    for name in ("usage", "attributes"):
        if event[name] is not None:
            yield from _titled(name, _value(event[name]))


def _head(event: Mapping[str, Any], path: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    costs = [said_by(event["cost_source"], event["cost_table"])]
    if event["cost_usd"] is not None:
        costs.insert(0, amount_of(output.dollars(event["cost_usd"]), "$"))
    rows: dict[str, Any] = {
        "event": event["id"],
        event["kind"]: event["name"],
        "state": output.state(event["state"]),
        "agent": event["agent"],
        "within": " / ".join(f"{above['kind']} {above['name']}" for above in path),
        "started": event["started_at"],
        "ended": event["ended_at"],
        "duration": output.how_long(event["duration_ms"]),
        "model": " of ".join(filter(None, (event["model"], event["provider"]))),
        "first token": output.how_long(event["time_to_first_token_ms"]),
        "tokens": tokens(event),
        "cost": ", ".join(filter(None, costs)),
        "source": event["source_id"],
        "tool call": event["tool_call_id"],
        "asked for by": event["requested_by"],
        "brought about by": event["trigger_event_id"],
    }
    for name, value in rows.items():
        if value:
            said = value if isinstance(value, Text) else output.one_line(value)
            table.add_row(output.one_line(name), said)
    for call in event["tool_calls"]:
        carried_out = call["event_id"] or "carried out by no event"
        table.add_row("asks for", output.one_line(f"{call['id']}  {carried_out}"))
    return table


def _titled(title: str, *lines: Text) -> Iterator[Text]:
    yield Text()
    yield Text(title, style="bold")
    yield from lines


def _value(value: Any) -> Text:
    text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
    return Text(_bounded(text))


def _bounded(text: str) -> str:
    shown = output.multiline(text[:MAX_CHARS])
    if len(text) > MAX_CHARS:
        shown += f"\n... {len(text) - MAX_CHARS:,} more characters: --json has all of it"
    return shown


def _message(message: Message) -> Iterator[Text]:
    speaker = message.role if message.name is None else f"{message.role} {message.name}"
    yield Text(f"[{output.one_line(speaker)}]", style="cyan")
    for part in message.parts:
        yield _part(part)


def _part(part: Part) -> Text:
    if part.kind in ("text", "thinking", "note"):
        return Text(_bounded(part.text), style="dim italic" if part.kind != "text" else "")
    named = " ".join(filter(None, (part.name, part.id and f"({part.id})")))
    title = {"call": "calls", "result": "result of", "media": "shows", "json": ""}[part.kind]
    if part.kind == "media":
        return Text(f"{title} {output.one_line(part.text)}", style="dim italic")
    said = Text.assemble((f"{title} {output.one_line(named)}\n".lstrip(" "), "dim"))
    said.append_text(_value(part.value))
    return said
