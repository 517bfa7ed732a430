"""
Finds what stored calls of models cost at the prices that are known now.

It only reads; what changed is for the writer to store, in as little of its time as that takes.
"""

# ruff: noqa: S608 - SQL is put together from texts of ours alone; whatever others say is bound

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Any

import attrs
import msgspec

from ..._events import Cost
from ..._prices import PriceTable
from .base import Repriced, nano_dollars
from .sqlite_reader import project_key, session_key
from .sqlite_schema import SEQ_BITS
from .sqlite_writer import CostChange

__all__ = ["Found", "find_changes", "sums_of"]


@attrs.frozen(kw_only=True)
class Found:
    """
    Some calls of models that were looked at.

    Attributes:
        examined: How many.
        last: The key of the last one; None where there are no more.
    """

    examined: int
    changes: tuple[CostChange, ...]
    last: int | None


class _Payload(msgspec.Struct):
    """
    What of an event's payload its cost depends on.
    """

    cache_write_tokens: int | None = None


_payload_decoder = msgspec.json.Decoder(_Payload)
_cost_decoder = msgspec.json.Decoder(Cost)


def find_changes(
    connection: sqlite3.Connection,
    project: str,
    prices: PriceTable,
    *,
    since: int | None,
    until: int | None,
    session_id: str | None,
    cursor: str | None,
    limit: int,
) -> Found:
    """
    The first *limit* calls after *cursor*, and which of them cost something else now.

    Raises:
        SessionNotFoundError: There is no such session.
        ValueError: The cursor is not one of a repricing.
    """
    after = 0
    if cursor is not None:
        if not (cursor.isascii() and cursor.isdecimal() and len(cursor) <= 19):
            raise ValueError(f"no cursor of a repricing: {cursor[:100]!r}")
        after = min(int(cursor), 2**63 - 2)
    parameters: dict[str, Any] = {
        "project": project_key(connection, project),
        "after": after,
        "first": after >> SEQ_BITS,
        "limit": limit + 1,
    }
    conditions = ["s.project = :project", "s.key >= :first", "s.llms"]
    if session_id is not None:
        parameters["session"] = session_key(connection, project, session_id)
        conditions.append("s.key = :session")
    if since is not None:
        parameters["since"] = since
        conditions.append("s.started_at >= :since")
    if until is not None:
        parameters["until"] = until
        conditions.append("s.started_at < :until")
    rows = connection.execute(
        "SELECT e.key, s.id, e.cost, e.agent, e.provider, e.model, e.prompt_tokens,"
        " e.completion_tokens, e.cached_tokens, e.reasoning_tokens, e.started_at"
        " FROM sessions s CROSS JOIN events e"
        f" ON e.key > MAX(:after, s.key << {SEQ_BITS}) AND e.key < (s.key + 1) << {SEQ_BITS}"
        f" WHERE {' AND '.join(conditions)} AND e.kind = 'llm' AND e.state IS NOT NULL"
        " ORDER BY s.key, e.key LIMIT :limit",
        parameters,
    ).fetchall()
    changes = [_change(connection, prices, row) for row in rows[:limit]]
    return Found(
        examined=len(changes),
        changes=tuple(change for change in changes if change is not None),
        last=rows[limit - 1][0] if len(rows) > limit else None,
    )


def _change(
    connection: sqlite3.Connection, prices: PriceTable, row: tuple[Any, ...]
) -> CostChange | None:
    key, session, stored, agent, provider, model, prompt, completion, cached, reasoning, at = row
    before = None if stored is None else _cost_decoder.decode(stored)
    if before is not None and (before.source != "computed" or before.currency != "USD"):
        return None
    if prompt is None:
        return None
    # of all that was said, only this number lies where reading it takes time
    (payload,) = connection.execute("SELECT payload FROM events WHERE key = ?", (key,)).fetchone()
    after = prices.price(
        provider=provider,
        model=model,
        prompt_tokens=prompt,
        completion_tokens=completion,
        cached_tokens=cached,
        cache_write_tokens=_payload_decoder.decode(payload or b"{}").cache_write_tokens,
        reasoning_tokens=reasoning,
        at_ns=at,
    )
    if after is None or (before is not None and before.amount == after.amount):
        return None
    return CostChange(
        event=key,
        session=session,
        agent=agent,
        model=model,
        stored=stored,
        before=before,
        after=after,
    )


def sums_of(changes: Iterable[CostChange]) -> tuple[Repriced, ...]:
    """
    What *changes* come to, session by session.
    """
    sums: dict[str, list[int]] = {}
    for change in changes:
        found = sums.setdefault(change.session, [0, 0, 0])
        found[0] += 1
        for place, cost in ((1, change.before), (2, change.after)):
            found[place] += 0 if cost is None else nano_dollars(cost) or 0
    return tuple(
        Repriced(session=session, events=events, before=before, after=after)
        for session, (events, before, after) in sums.items()
    )
