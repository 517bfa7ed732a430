"""
Under uvicorn and gunicorn, which have signals and processes of their own.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import httpx
import pytest
from hosts import without_asyncops
from processes import SECONDS, Collector, collector, own_port, until

APPS = {
    "lifespan": """
        import asyncops, contextlib
        from starlette.applications import Starlette
        from starlette.responses import PlainTextResponse
        from starlette.routing import Route

        async def work(request):
            asyncops.record(asyncops.ActionEvent(name="request"))
            return PlainTextResponse("done")

        @contextlib.asynccontextmanager
        async def lifespan(app):
            async with asyncops.session("lifespan"):
                yield

        app = Starlette(routes=[Route("/", work)], lifespan=lifespan)
    """,
    "request": """
        import asyncio, asyncops
        from starlette.applications import Starlette
        from starlette.responses import PlainTextResponse
        from starlette.routing import Route

        async def work(request):
            config = asyncops.Configuration(scope="context")
            async with asyncops.session("request", config=config):
                asyncops.record(asyncops.ActionEvent(name="request"))
                await asyncio.sleep(0.05)
            return PlainTextResponse("done")

        app = Starlette(routes=[Route("/", work)])
    """,
    "module": """
        import asyncops

        asyncops.init(name="module")

        async def app(scope, receive, send):
            if scope["type"] == "http":
                asyncops.record(asyncops.ActionEvent(name="request"))
                await send({"type": "http.response.start", "status": 200, "headers": []})
                await send({"type": "http.response.body", "body": b"done"})
    """,
    "wsgi": """
        import asyncops

        asyncops.init(name="module")

        def app(environ, start_response):
            asyncops.record(asyncops.ActionEvent(name="request"))
            start_response("200 OK", [])
            return [b"done"]
    """,
}

REQUESTS = 4

BOOTED = """
def post_worker_init(worker):
    open(f"worker-{worker.pid}", "w").close()
"""
"""Configuration of gunicorn, which finds it where it runs: tells which workers have begun."""


@attrs.frozen
class Served:
    """
    How a server ended that had answered `REQUESTS` requests and was then sent a signal.
    """

    status: int
    answers: set[str]
    tracebacks: int


def serve(
    command: list[str],
    app: str,
    directory: Path,
    number: int,
    *,
    begun: Callable[[], bool] = lambda: True,
    **environment: str,
) -> Served:
    """
    Run *command*, in which PORT stands for a free one, for *app*; ask it; send it signal *number*
    once all of it has *begun*.
    """
    (directory / "served.py").write_text(textwrap.dedent(APPS[app]))
    with own_port() as port:
        return serve_on(port, command, directory, number, begun=begun, **environment)


def serve_on(
    port: int,
    command: list[str],
    directory: Path,
    number: int,
    *,
    begun: Callable[[], bool],
    **environment: str,
) -> Served:
    for made in directory.glob("worker-*"):
        made.unlink()
    (directory / "gunicorn.conf.py").write_text(BOOTED)
    workers = 2 if "gunicorn" in command else 0
    log = directory / "log"
    with log.open("w") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", *(each.replace("PORT", str(port)) for each in command)],
            cwd=directory,
            env={**os.environ, "ASYNCOPS_MAX_WAIT_TIME": "0.05", **environment},
            stdout=said,
            stderr=said,
        )
    try:
        url = f"http://127.0.0.1:{port}/"
        with httpx.Client(trust_env=False, verify=False, timeout=SECONDS) as client:
            until(lambda: process.poll() is not None or answers(port))
            told = {client.get(url).text for _ in range(REQUESTS)}
        # one that gunicorn has just forked still has its parent's handlers, and would miss it
        until(lambda: len(list(directory.glob("worker-*"))) >= workers)
        until(begun)
        process.send_signal(number)
        status = process.wait(SECONDS)
    finally:
        process.kill()
        process.wait()
    return Served(status, told, log.read_text().count("Traceback"))


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Collector, dict[str, str]]]:
    """
    A collector for all, and the environment by which programs find it.
    """
    directory = tmp_path_factory.mktemp("servers")
    environment = {
        "ASYNCOPS_JOURNAL_DIR": str(directory / "journal"),
        "ASYNCOPS_DB": str(directory / "collector.db"),
        "XDG_STATE_HOME": str(directory / "state"),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        with collector() as found:
            yield found, {**environment, "ASYNCOPS_ENDPOINT": found.url}


UVICORN = ["uvicorn", "served:app", "--port", "PORT"]
GUNICORN = ["gunicorn", "served:app", "--bind", "127.0.0.1:PORT", "--workers", "2"]

# Who sets a handler of its own tells nobody what it dies of in the end: uvicorn restores the
# default, sends itself the signal again, and what is left open is told as what is known.
SERVERS = [
    ("uvicorn, lifespan", UVICORN, "lifespan", signal.SIGTERM, [("Success", None, 4)]),
    ("uvicorn, request", UVICORN, "request", signal.SIGINT, [("Success", None, 1)] * 4),
    ("uvicorn, init()", UVICORN, "module", signal.SIGTERM, [("Indeterminate", "process died", 4)]),
    ("gunicorn", GUNICORN, "wsgi", signal.SIGTERM, None),
    ("gunicorn --preload", [*GUNICORN, "--preload"], "wsgi", signal.SIGTERM, [
        ("Indeterminate", "process exited without end_session()", 4)
    ]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("command", "app", "number", "endings"),
    [each[1:] for each in SERVERS],
    ids=[each[0] for each in SERVERS],
)
def test_servers(
    command: list[str],
    app: str,
    number: signal.Signals,
    endings: list[tuple[str, str | None, int]] | None,
    tmp_path: Path,
    serving: tuple[Collector, dict[str, str]],
) -> None:
    """
    A server answers, shuts down and exits as it does without us, and each of its sessions has all
    its events and an ending that is not guessed.
    """
    found, environment = serving
    before = {each["id"] for each in found.sessions()}

    def new() -> list[dict[str, Any]]:
        return [each for each in found.sessions() if each["id"] not in before]

    # the second worker may still be starting while the first one answers
    workers = 2 if endings is None else 0
    recorded = serve(
        command, app, tmp_path, number, begun=lambda: len(new()) >= workers, **environment
    )
    bare = serve(command, app, tmp_path, number, **without_asyncops(tmp_path))

    def told() -> list[tuple[str, str | None, int]] | None:
        ended = [(each["state"], each["reason"], each["events"]) for each in new()]
        all_there = sum(each[2] for each in ended) == REQUESTS
        return ended if all_there and not any(each[0] == "Running" for each in ended) else None

    sessions = until(told)
    assert bare == recorded
    assert {"done"} == recorded.answers
    if endings is None:  # each worker has a session, and which of them answers is chance
        exited = ("Indeterminate", "process exited without end_session()")
        assert {exited} == {each[:2] for each in sessions}
        assert workers == len(sessions)
    else:
        assert endings == sessions
