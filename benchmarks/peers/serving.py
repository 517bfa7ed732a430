"""
Taking in: the same number of events to each server, over its own HTTP, until its own API counts
them.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import statistics
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import attrs

from asyncops import _ids
from asyncops._events import EventRecord, SessionRecord
from asyncops._wire import Encoder, encode, number_line

from ..harness import Effort, Report, figure
from . import otlp
from .environments import Peer, PeerError, environment_variables, interpreter
from .receivers import collector, until
from .scenarios import Amount, cell, in_turns, table

__all__ = ["collectors"]

CLIENTS = 4
"""Connections at the same time: MLflow's server has as many workers."""

BATCH = 500
"""Events in a request."""

TRACE = 10
"""Spans of a trace, where there are traces."""

QUERY, ANSWER = "what the agent asks its tool " * 7, "what the tool says to that " * 7

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@attrs.frozen
class Server:
    """
    A server that answers.

    Attributes:
        url: Its address.
        path: Where events are posted.
        bodies: What is to be posted, for each client: pairs of headers and a body.
        count: How many events its API tells.
    """

    url: str
    path: str
    bodies: Sequence[Sequence[tuple[dict[str, str], bytes]]]
    count: Callable[[], int]


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
    with SERVERS[peer.name](peer, place, events) as server:
        target = server.url.rpartition("/")[2]
        trouble: list[str] = []

        def post(bodies: Sequence[tuple[dict[str, str], bytes]]) -> None:
            connection = HTTPConnection(target, timeout=amount.seconds)
            with contextlib.closing(connection):
                for headers, body in bodies:
                    try:
                        connection.request("POST", server.path, body, headers)
                        answer = connection.getresponse()
                        said = answer.read()
                    except (OSError, HTTPException) as error:
                        trouble.append(repr(error))
                        return
                    if answer.status != 200:
                        trouble.append(f"{answer.status}: {said[:120]!r}")
                        return

        def all_queryable(at: slice, expected: int) -> tuple[float, float]:
            """
            The seconds until the bodies *at* those places are accepted, and until they count.
            """
            began = time.perf_counter()
            clients = [threading.Thread(target=post, args=(some[at],)) for some in server.bodies]
            for client in clients:
                client.start()
            for client in clients:
                client.join()
            accepted = time.perf_counter() - began
            if trouble:
                raise PeerError(f"it answered {trouble[0]}")
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
        "bytes": statistics.mean(len(body) / BATCH for some in server.bodies for _, body in some),
    }


def _ask(url: str, body: object = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with _OPENER.open(request, timeout=60) as answer:
        return json.load(answer)


# -- asyncops ---------------------------------------------------------------------------------


@contextlib.contextmanager
def _asyncops(peer: Peer, place: Path, events: int) -> Iterator[Server]:
    os.environ["ASYNCOPS_DB"] = str(place / "collector.db")
    os.environ["ASYNCOPS_JOURNAL_DIR"] = str(place / "journal")
    with collector() as serving:
        yield Server(
            serving.url,
            "/v1/records",
            [_source(BATCH + events // CLIENTS) for _ in range(CLIENTS)],
            lambda: sum(session["events"] for session in serving.sessions()),
        )


def _source(events: int) -> list[tuple[dict[str, str], bytes]]:
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
    headers = {"Asyncops-Source": source, "Content-Type": "application/x-ndjson"}
    batches = [b"".join(numbered[at : at + BATCH]) for at in range(0, len(numbered), BATCH)]
    batches[0] = told + batches[0]
    return [(headers, batch) for batch in batches]


# -- OTLP -------------------------------------------------------------------------------------


@contextlib.contextmanager
def _mlflow(peer: Peer, place: Path, events: int) -> Iterator[Server]:
    port = _free_port()
    command = (
        "mlflow", "server", "--host", "127.0.0.1", "--port", str(port),
        "--backend-store-uri", f"sqlite:///{place / 'mlflow.db'}",
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"

    def count() -> int:
        asked = {
            "experiment_ids": ["0"],
            "view_type": "SPANS",
            "metric_name": "span_count",
            "aggregations": [{"aggregation_type": "COUNT"}],
        }
        points = _ask(f"{url}/api/3.0/mlflow/traces/metrics", asked)["data_points"]
        return int(sum(point["values"]["COUNT"] for point in points))

    with _serving(peer, command, place, f"{url}/health"):
        yield Server(url, "/v1/traces", _otlp(events, {"x-mlflow-experiment-id": "0"}), count)


@contextlib.contextmanager
def _phoenix(peer: Peer, place: Path, events: int) -> Iterator[Server]:
    port, grpc = _free_port(), _free_port()
    url = f"http://127.0.0.1:{port}"
    variables = {
        "PHOENIX_WORKING_DIR": str(place),
        "PHOENIX_HOST": "127.0.0.1",
        "PHOENIX_PORT": str(port),
        "PHOENIX_GRPC_PORT": str(grpc),
    }

    def count() -> int:
        query = "{ projects { edges { node { recordCount } } } }"
        edges = _ask(f"{url}/graphql", {"query": query})["data"]["projects"]["edges"]
        return sum(edge["node"]["recordCount"] for edge in edges)

    command = ("phoenix.server.main", "serve")
    with _serving(peer, command, place, f"{url}/healthz", **variables):
        yield Server(url, "/v1/traces", _otlp(events, {}), count)


def _otlp(events: int, headers: dict[str, str]) -> list[list[Any]]:
    """
    Requests of `BATCH` spans, shared among the clients; one more for each, which comes first.
    """
    headers = {"Content-Type": "application/x-protobuf", **headers}
    made = [
        (headers, otlp.request(otlp.trace(TRACE, QUERY, ANSWER) for _ in range(BATCH // TRACE)))
        for _ in range(0, CLIENTS * BATCH + events, BATCH)
    ]
    return [made[number::CLIENTS] for number in range(CLIENTS)]


# -- processes --------------------------------------------------------------------------------


@contextlib.contextmanager
def _serving(
    peer: Peer, command: Sequence[str], place: Path, health: str, **variables: str
) -> Iterator[None]:
    """
    The server of *peer*, from when it answers; all its processes end with it.
    """
    with open(place / "log", "w") as log:
        process = subprocess.Popen(
            [interpreter(peer), "-m", *command], cwd=place, stdout=log, stderr=log,
            env=environment_variables(peer, place) | variables, start_new_session=True,
        )  # fmt: skip

    def answers() -> bool:
        if process.poll() is not None:
            raise PeerError((place / "log").read_text().strip().splitlines()[-1][:160])
        with contextlib.suppress(OSError):
            _OPENER.open(health, timeout=5).close()
            return True
        return False

    try:
        try:
            until(answers, seconds=90)
        except AssertionError:
            raise PeerError("it did not answer within 90 s") from None
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


SERVERS = {"asyncops": _asyncops, "mlflow": _mlflow, "phoenix_server": _phoenix}
