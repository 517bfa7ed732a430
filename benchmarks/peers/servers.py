"""
The servers at work, each as its first page says: over SQLite, with a process of its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import attrs

from .environments import Peer, PeerError, environment_variables, interpreter
from .receivers import collector, until

__all__ = ["SERVING", "Body", "Server"]

Body = tuple[Mapping[str, str], bytes]
"""Of a request: headers that are its own, and what is posted."""

START_SECONDS = 180.0

PROTOBUF = {"Content-Type": "application/x-protobuf"}

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@attrs.frozen
class Server:
    """
    A server that answers.

    Attributes:
        url: Its address.
        path: Where events are posted.
        headers: What every request says.
        count: How many events its API tells.
    """

    url: str
    path: str
    headers: Mapping[str, str]
    count: Callable[[], int]

    def post(self, bodies: Iterable[Body], *, seconds: float) -> None:
        """
        Send all of *bodies*, one after the other.

        Raises:
            PeerError: One of them is not taken in, or not within *seconds*.
        """
        connection = HTTPConnection(self.url.rpartition("/")[2], timeout=seconds)
        with contextlib.closing(connection):
            for headers, body in bodies:
                try:
                    connection.request("POST", self.path, body, {**self.headers, **headers})
                    answer = connection.getresponse()
                    said = answer.read()
                except (OSError, HTTPException) as error:
                    raise PeerError(f"it answered {error!r}") from error
                if answer.status != 200:
                    raise PeerError(f"it answered {answer.status}: {said[:120]!r}")


@contextlib.contextmanager
def _asyncops(peer: Peer, place: Path) -> Iterator[Server]:
    os.environ["ASYNCOPS_DB"] = str(place / "collector.db")
    os.environ["ASYNCOPS_JOURNAL_DIR"] = str(place / "journal")
    with collector() as serving:
        yield Server(
            serving.url,
            "/v1/records",
            {"Content-Type": "application/x-ndjson"},
            lambda: int(serving.get("/api/overview")["events"]),
        )


@contextlib.contextmanager
def _mlflow(peer: Peer, place: Path) -> Iterator[Server]:
    port = _free_port()
    command = (
        "mlflow", "server", "--host", "127.0.0.1", "--port", str(port),
        "--backend-store-uri", f"sqlite:///{place / 'mlflow.db'}",
        # or a worker that a busy machine lets import for 5 s is killed, and its request with it
        "--uvicorn-opts", "--timeout-worker-healthcheck=120",
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
        yield Server(url, "/v1/traces", {**PROTOBUF, "x-mlflow-experiment-id": "0"}, count)


@contextlib.contextmanager
def _phoenix(peer: Peer, place: Path) -> Iterator[Server]:
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
        yield Server(url, "/v1/traces", PROTOBUF, count)


def _ask(url: str, body: object = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with _OPENER.open(request, timeout=60) as answer:
        return json.load(answer)


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
            until(answers, seconds=START_SECONDS)
        except AssertionError:
            raise PeerError(f"it did not answer within {START_SECONDS:.0f} s") from None
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


SERVING = {"asyncops": _asyncops, "mlflow": _mlflow, "phoenix_server": _phoenix}
"""What makes a `Server` of a peer and a directory of its own, by the name of the peer."""
