"""
Taking in: the same number of events to each server, over its own HTTP, until its own API counts
them.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from asyncops import _ids
from asyncops._events import EventRecord, SessionRecord
from asyncops._wire import Encoder, encode, number_line

from ..harness import Effort, Report, figure
from . import otlp
from .environments import Peer, PeerError
from .scenarios import Amount, cell, in_turns, table
from .servers import SERVING, Body

__all__ = ["ANSWER", "QUERY", "collectors"]

CLIENTS = 4
"""Connections at the same time: MLflow's server has as many workers."""

BATCH = 500
"""Events in a request."""

TRACE = 10
"""Spans of a trace, where there are traces."""

QUERY, ANSWER = "what the agent asks its tool " * 7, "what the tool says to that " * 7


def collectors(peers: Sequence[Peer], effort: Effort, directory: str) -> Report:
    count = {Effort.FULL: 20_000, Effort.QUICK: 4_000}[effort]
    fewer = {"phoenix_server": count // 5}
    runs = {Effort.FULL: {"asyncops": 5, "mlflow": 5}, Effort.QUICK: {"asyncops": 3}}[effort]

    def amount(peer: Peer) -> Amount:
        events = {"events": fewer.get(peer.name, count)}
        return Amount(runs.get(peer.name, 1), events, seconds=240.0)

    outcome = in_turns(peers, directory, amount, _measure)
    rates = {
        name: [run["rate"] for run in outcome.runs[name].values()] for name in outcome.measured()
    }

    def cells(name: str) -> Iterator[str]:
        ours = statistics.median(rates["asyncops"]) if "asyncops" in rates else None
        mine = statistics.median(rates[name])
        yield cell(outcome.median(name, "events"))
        yield cell(outcome.median(name, "accepted_s"), 2)
        yield cell(outcome.median(name, "queryable_s"), 2)
        yield cell(mine)
        yield cell(ours / mine if ours else None, 1)
        yield cell(outcome.median(name, "bytes"))

    columns, rows = table(
        peers, outcome,
        ("runs", "events", "accepted after s", "all queryable after s", "queryable events/s",
         "asyncops x", "sent B/event"),
        cells,
    )  # fmt: skip
    return Report(
        f"Servers: events until queryable, {CLIENTS} clients, {BATCH} in a request",
        columns,
        rows,
        {f"peers.collector.{name}": figure(found, "events/s") for name, found in rates.items()},
        ("Queryable: when the server's own API counts all of them.", *outcome.notes()),
    )


def _measure(peer: Peer, amount: Amount, place: Path) -> dict[str, Any]:
    events = amount.options["events"]
    clients = _source_bodies(events) if peer.name == "asyncops" else _otlp_bodies(events)
    with SERVING[peer.name](peer, place) as server, ThreadPoolExecutor(CLIENTS) as threads:

        def all_queryable(at: slice, expected: int) -> tuple[float, float]:
            """
            The seconds until the bodies *at* those places are accepted, and until they count.
            """
            began = time.perf_counter()
            posting = [
                threads.submit(server.post, some[at], seconds=amount.seconds) for some in clients
            ]
            for client in posting:
                client.result()
            accepted = time.perf_counter() - began
            while (there := server.count()) < expected:
                if time.perf_counter() - began > amount.seconds:
                    raise PeerError(f"{there:,} of {expected:,} after {amount.seconds:.0f} s")
                time.sleep(0.01)
            return accepted, time.perf_counter() - began

        # the first request of each client finds a server that is still importing
        first = CLIENTS * BATCH
        all_queryable(slice(1), first)
        accepted, queryable = all_queryable(slice(1, None), first + events)
    return {
        "events": events,
        "accepted_s": accepted,
        "queryable_s": queryable,
        "rate": events / queryable,
        "bytes": statistics.mean(len(body) / BATCH for some in clients for _, body in some),
    }


def _source_bodies(events: int) -> list[list[Body]]:
    """
    A session for each client.
    """
    return [_source(BATCH + events // CLIENTS) for _ in range(CLIENTS)]


def _source(events: int) -> list[Body]:
    """
    A session of *events* events, in batches. A source's batches come one after the other.
    """
    source, session, now = _ids.new_uuid(), _ids.new_uuid(), time.time_ns()
    payload = Encoder().payload
    begin = encode(SessionRecord(at=now, session=session, started_at=now))
    lines = [
        encode(
            EventRecord(
                at=now + n, session=session, id=f"{n:016x}", kind="tool", name="search",
                started_at=now, ended_at=now + n, state="Success",
                params=payload({"query": QUERY}), returns=payload(ANSWER),
            )
        )
        for n in range(1, events + 1)
    ]  # fmt: skip
    told, *numbered = (
        number_line(line, seq) + b"\n" for seq, line in enumerate([begin, *lines], 1)
    )
    batches = [b"".join(numbered[at : at + BATCH]) for at in range(0, len(numbered), BATCH)]
    batches[0] = told + batches[0]
    return [({"Asyncops-Source": source}, batch) for batch in batches]


def _otlp_bodies(events: int) -> list[list[Body]]:
    """
    Requests of `BATCH` spans, shared among the clients; one more for each, which comes first.
    """
    made: list[Body] = [
        ({}, otlp.request(otlp.trace(TRACE, QUERY, ANSWER) for _ in range(BATCH // TRACE)))
        for _ in range(0, CLIENTS * BATCH + events, BATCH)
    ]
    return [made[number::CLIENTS] for number in range(CLIENTS)]
