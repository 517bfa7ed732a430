"""
A session as one HTML file that needs nobody: style inside, no script, no request to any host.

Its events stand in the order of the tree, each with a bar to scale and, folded below, all that was
recorded of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from ..store.base import SessionSummary
from .conversations import messages
from .rendering import assets, environment
from .timeline import TimelineRow

__all__ = ["document_ends", "document_event", "document_row"]

MAX_DEPTH = 12
"""How far events are indented."""

STYLES = ("base.css", "session.css", "document.css")

_ROWS = "<!--rows-->"
"""Where the rows go. What was recorded is escaped, and never looks so."""

_COMMENT = re.compile(r"/\*.*?\*/\s*", re.DOTALL)


def document_ends(
    summary: SessionSummary, session: Mapping[str, Any], *, rows: int, now: int
) -> tuple[bytes, bytes]:
    """
    What stands before the rows, and what after them.

    Args:
        session: The session as it is shown.
    """
    style = "\n".join(_COMMENT.sub("", assets.files[name].decode()) for name in STYLES)
    html = environment.get_template("document.html").render(
        summary=summary,
        session=session,
        rows=rows,
        now=now,
        taken=summary.taken(now),
        style=Markup(style),  # noqa: S704 - files of ours
        before_rows=Markup(_ROWS),  # noqa: S704 - a text of ours
    )
    before, _, after = html.partition(_ROWS)
    return before.encode(errors="replace"), after.encode(errors="replace")


def document_event(event: Mapping[str, Any]) -> bytes:
    """
    All that was recorded of *event*, which is as it is shown.
    """
    prompt, completion = event["prompt"], event["completion"]
    said = messages(prompt, role="user") if prompt is not None else ()
    answered = messages(completion, role="assistant") if completion is not None else ()
    html = environment.get_template("_document_event.html").render(
        event=event,
        conversation=[*(said or ()), *(answered or ())],
        values={
            "Prompt": prompt if said is None else None,
            "Completion": completion if answered is None else None,
            **{name.capitalize(): event[name] for name in ("params", "returns", "attributes")},
            "Usage as the provider told it": event["usage"],
        },
    )
    return html.encode(errors="replace")


def document_row(summary: SessionSummary, row: TimelineRow, inside: bytes, *, now: int) -> bytes:
    """
    One event of the session *summary*, with what `document_event` made of it.
    """
    event = row.event
    ended_at = summary.ended_at or now if event.ended_at is None else event.ended_at
    taken = max(summary.taken(now), 1)
    start = min(max((event.started_at - summary.started_at) / taken, 0), 1) * 100
    html = environment.get_template("_document_row.html").render(
        it=event,
        open=event.state == "Running" and summary.state != "Running",
        started=max(event.started_at - summary.started_at, 0),
        depth=min(row.depth, MAX_DEPTH),
        start=f"{start:.2f}",
        width=f"{min(max((ended_at - event.started_at) / taken * 100, 0.3), 100 - start):.2f}",
        inside=Markup(inside.decode()),  # noqa: S704 - of `document_event`
    )
    return html.encode(errors="replace")
