"""
Running the collector: as a process of its own, killed and restarted; in a thread of another.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import httpx
import pytest
from msgspec import Raw
from processes import SECONDS, until
from sources import Source, lines, uuid
from starlette.applications import Starlette

from asyncops._exceptions import ConfigurationError, StoreError
from asyncops.collector.app import CollectorSettings, default_database
from asyncops.collector.server import EmbeddedCollector

SESSION = uuid(1)

PROGRAM = """
import sys
from pathlib import Path
from urllib.parse import urlsplit
from asyncops.collector.app import CollectorSettings
from asyncops.collector.server import serve

async def beside(app):
    import anyio
    try:
        await anyio.sleep_forever()
    finally:
        print("beside ended", flush=True)

serve(
    CollectorSettings(port=0, db=Path(sys.argv[1])),
    ready=lambda url: print(url, flush=True),
    background=beside,
)
print("served", flush=True)
"""


@contextmanager
def process(database: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """
    A collector in a process of its own, and its address.
    """
    collector = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(database)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert collector.stdout is not None
        url = collector.stdout.readline().strip()
        assert url.startswith("http://127.0.0.1:"), url
        yield collector, url
    finally:
        collector.kill()
        collector.communicate()


def test_what_is_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    """
    After `kill -9` in the middle of taking records in, everything acknowledged is there, and what
    is sent again is stored once.
    """
    database = tmp_path / "collector.db"
    sources = [Source(number) for number in range(4)]
    bodies = {
        source.id: [
            lines(*(source.does(uuid(number), name=f"{number}") for _ in range(20)))
            for _ in range(400)
        ]
        for number, source in enumerate(sources)
    }
    acknowledged = dict.fromkeys(bodies, 0)
    together = threading.Barrier(len(sources), timeout=SECONDS)

    def deliver(url: str, source: Source) -> None:
        with httpx.Client(base_url=url, timeout=SECONDS, trust_env=False, verify=False) as http:
            for number, body in enumerate(bodies[source.id]):
                try:
                    if number % 10 == 0:
                        together.wait()  # nobody is done before somebody else has begun
                    answer = http.post(
                        "/v1/records", content=body, headers={"Asyncops-Source": source.id}
                    )
                except (httpx.HTTPError, threading.BrokenBarrierError):
                    together.abort()
                    return  # it is dead
                acknowledged[source.id] = answer.json()["acknowledged"]
                if min(acknowledged.values()) >= 800:
                    collector.kill()

    with process(database) as (collector, url):
        senders = [threading.Thread(target=deliver, args=(url, source)) for source in sources]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
    assert min(acknowledged.values()) >= 800
    assert max(acknowledged.values()) < 2_400, "it was killed too late to tell anything"
    with (
        EmbeddedCollector(CollectorSettings(port=0, db=database)) as again,
        httpx.Client(base_url=again.url, timeout=SECONDS, trust_env=False, verify=False) as http,
    ):
        for number, source in enumerate(sources):
            session = http.get(f"/api/sessions/{uuid(number)}").json()
            assert session["events"] >= acknowledged[source.id]
            assert session["events"] % 20 == 0, "a batch was torn"
            for body in bodies[source.id]:
                http.post("/v1/records", content=body, headers={"Asyncops-Source": source.id})
            session = http.get(f"/api/sessions/{uuid(number)}").json()
            assert (session["events"], session["actions"], session["missing_records"]) == (
                8_000,
                8_000,
                0,
            )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_goes_down_in_order(tmp_path: Path, number: signal.Signals) -> None:
    """
    Told to stop, the process ends what goes on beside it, stores what it took in, says nothing.
    """
    source = Source()
    with process(tmp_path / "collector.db") as (collector, url):
        httpx.post(
            f"{url}/v1/records",
            content=lines(source.starts(SESSION)),
            headers={"Asyncops-Source": source.id},
        )
        collector.send_signal(number)
        out, err = collector.communicate(timeout=SECONDS)
    assert err == ""
    if number == signal.SIGINT:
        assert (collector.returncode, out) == (0, "beside ended\nserved\n")
    else:  # ends of the signal, as whoever sent it expects
        assert (collector.returncode, out) == (-signal.SIGTERM, "beside ended\n")
    # the write-ahead log was folded in: the database is one file again
    assert [file.name for file in tmp_path.glob("collector.db*")] == ["collector.db"]


def test_restarts_where_it_was(tmp_path: Path) -> None:
    """
    A collector that is started again knows what it was told before.
    """
    settings = CollectorSettings(port=0, db=tmp_path / "collector.db")
    source = Source()
    body = lines(source.starts(SESSION), source.does(SESSION))
    for _ in range(2):
        with EmbeddedCollector(settings) as collector:
            answer = httpx.post(
                f"{collector.url}/v1/records",
                content=body,
                headers={"Asyncops-Source": source.id},
            )
            assert answer.json()["acknowledged"] == 2
            session = httpx.get(f"{collector.url}/api/sessions/{SESSION}").json()
            assert session["events"] == 1


def test_says_that_a_port_is_taken(tmp_path: Path) -> None:
    """
    A port somebody else listens on is refused at once, by name.
    """
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        settings = CollectorSettings(port=port, db=tmp_path / "collector.db")
        with pytest.raises(ConfigurationError, match=f"127.0.0.1:{port} is taken"):
            EmbeddedCollector(settings)
    assert not (tmp_path / "collector.db").exists()
    with EmbeddedCollector(settings) as collector:
        assert collector.url == f"http://127.0.0.1:{port}"


@pytest.mark.parametrize("host", ["nowhere.invalid", "192.0.2.1"])
def test_says_that_an_address_is_not_there(tmp_path: Path, host: str) -> None:
    """
    An address this machine does not have is refused by name.
    """
    settings = CollectorSettings(host=host, port=0, db=tmp_path / "collector.db")
    with pytest.raises(ConfigurationError, match=f"cannot listen on {host}:0"):
        EmbeddedCollector(settings)


def test_says_that_a_database_is_none(tmp_path: Path) -> None:
    """
    A file that is no database is an error that names it, and nothing is left listening.
    """
    path = tmp_path / "notes.txt"
    path.write_text("dear diary\n" * 1_000)
    ours = ("asyncops-collector", "asyncops-store")
    others = threading.enumerate()  # of collectors that tests share
    with pytest.raises(StoreError, match=r"notes\.txt"):
        EmbeddedCollector(CollectorSettings(port=0, db=path))
    assert path.read_text() == "dear diary\n" * 1_000
    left = [thread for thread in threading.enumerate() if thread not in others]
    assert not [thread for thread in left if thread.name in ours]


def test_whatever_keeps_it_from_starting_is_told() -> None:
    """
    Not only what was to be expected; a database may be named by a string.
    """
    with pytest.raises(ValueError, match="null"):
        EmbeddedCollector(CollectorSettings(port=0, db="no\0path"))


def test_a_port_is_a_port() -> None:
    """
    What cannot be a port is refused when it is said.
    """
    with pytest.raises(ConfigurationError, match="port must be from 0 to 65535, not 70000"):
        CollectorSettings(port=70_000)


def test_finds_its_database_where_the_user_keeps_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The database is where ASYNCOPS_DB says, else in the state directory, else below the home.
    """
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("ASYNCOPS_DB", raising=False)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    assert default_database() == tmp_path / ".local/state/asyncops/collector.db"
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert default_database() == tmp_path / "state/asyncops/collector.db"
    monkeypatch.setenv("ASYNCOPS_DB", str(tmp_path / "here.db"))
    assert default_database() == tmp_path / "here.db"
    assert CollectorSettings().db == tmp_path / "here.db"
    assert CollectorSettings(db=tmp_path / "there.db").db == tmp_path / "there.db"


def test_something_may_go_on_beside_it(tmp_path: Path) -> None:
    """
    What runs beside the collector has its application and store, and ends before it does.
    """
    seen: list[str] = []

    async def beside(app: Starlette) -> None:
        seen.append(type(app.state.store).__name__)
        try:
            await anyio.sleep_forever()
        finally:
            seen.append("ended")

    settings = CollectorSettings(port=0, db=tmp_path / "collector.db")
    with EmbeddedCollector(settings, background=beside):
        until(lambda: seen)
    assert seen == ["SQLiteStore", "ended"]


def test_what_fails_beside_it_does_not_take_it_down(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """
    A failure of what runs beside the collector is logged, and the collector goes on.
    """

    async def beside(app: Starlette) -> None:
        raise ValueError("beside itself")

    settings = CollectorSettings(port=0, db=tmp_path / "collector.db")
    with EmbeddedCollector(settings, background=beside) as collector:
        until(lambda: "beside itself" in caplog.text)
        assert httpx.get(f"{collector.url}/healthz").status_code == 200


def test_prices_are_loaded_by_who_needs_one(tmp_path: Path) -> None:
    """
    A collector that stores no call without a cost never loads the table; the first such call does.
    """
    program = """
import asyncio, sys
from pathlib import Path
import asyncops
from asyncops.collector.app import CollectorSettings
from asyncops.collector.server import EmbeddedCollector

with EmbeddedCollector(CollectorSettings(port=0, db=Path(sys.argv[1]))) as collector:
    for cost in (0.5, None):
        with asyncops.session(config=asyncops.Configuration(endpoint=collector.url)) as session:
            with asyncops.llm(model="gpt-4o", provider="openai") as call:
                call.prompt_tokens, call.completion_tokens, call.cost = 1_000, 100, cost
        assert asyncio.run(session.flush(timeout=30))
        print("genai_prices" in sys.modules)
"""
    command = [sys.executable, "-c", program, str(tmp_path / "collector.db")]
    said = subprocess.run(command, check=True, timeout=SECONDS, capture_output=True, text=True)

    assert said.stdout.split() == ["False", "True"]


def test_two_can_run_in_one_program(tmp_path: Path) -> None:
    """
    Embedded collectors share nothing.
    """
    with (
        EmbeddedCollector(CollectorSettings(port=0, db=tmp_path / "a.db")) as one,
        EmbeddedCollector(CollectorSettings(port=0, db=tmp_path / "b.db")) as two,
    ):
        source = Source()
        httpx.post(
            f"{one.url}/v1/records",
            content=lines(source.starts(SESSION)),
            headers={"Asyncops-Source": source.id},
        )
        assert httpx.get(f"{one.url}/api/sessions/{SESSION}").status_code == 200
        assert httpx.get(f"{two.url}/api/sessions/{SESSION}").status_code == 404


def test_the_sdk_does_not_need_it() -> None:
    """
    `import asyncops` brings in nothing of the collector, nor what it is made of.
    """
    program = (
        "import asyncops, sys;"
        "ours = ('asyncops.collector', 'starlette', 'uvicorn', 'jinja2', 'sqlite3');"
        "print([name for name in sys.modules if name.startswith(ours)])"
    )
    told = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=os.environ
    )
    assert told.stdout == "[]\n"


def test_waits_for_a_request_so_long(tmp_path: Path) -> None:
    """
    Whoever connects and says nothing, or a header bit by bit, is given up; who asks in time is not.
    """
    # who asks in time does so at once: we are not stopped for so long in between
    limit = 1.0
    settings = CollectorSettings(port=0, db=tmp_path / "collector.db", header_timeout=limit)
    with EmbeddedCollector(settings) as collector:
        where = urlsplit(collector.url)
        with (
            httpx.Client(
                base_url=collector.url, timeout=SECONDS, trust_env=False, verify=False
            ) as good,
            socket.create_connection((where.hostname, where.port), timeout=SECONDS) as again,
        ):
            again.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            answer = b""
            while not answer.endswith(b"}"):
                part = again.recv(65_536)
                assert part, answer
                answer += part
            again.sendall(b"GET /healthz HTTP/1.1\r\n")
            with (
                socket.create_connection((where.hostname, where.port), timeout=SECONDS) as silent,
                socket.create_connection((where.hostname, where.port), timeout=SECONDS) as slow,
            ):

                def is_given_up() -> bool:
                    good.get("/healthz").raise_for_status()
                    try:
                        slow.sendall(b"G")
                    except OSError:
                        return True
                    return False

                until(is_given_up)
                assert silent.recv(1) == again.recv(1) == b""
            connection = good.get("/healthz").extensions["network_stream"]
            time.sleep(1.5 * limit)  # between requests another, longer one holds
            assert good.get("/healthz").extensions["network_stream"] is connection


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="Linux only")
def test_gives_up_who_takes_no_answer(tmp_path: Path) -> None:
    """
    Whoever asks for much and reads nothing of it holds neither the answer nor the connection for
    long.
    """
    settings = CollectorSettings(port=0, db=tmp_path / "collector.db", send_timeout=0.5)
    source = Source()
    with EmbeddedCollector(settings) as collector:
        body = lines(
            *(source.does(SESSION, params=Raw(b'"%0*d"' % (60_000, 1))) for _ in range(60))
        )
        headers = {"Asyncops-Source": source.id}
        httpx.post(f"{collector.url}/v1/records", content=body, headers=headers).raise_for_status()
        where = urlsplit(collector.url)
        open_connections = collector._server.server_state.connections
        for path in ("events", "export"):
            with socket.socket() as deaf:
                deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
                deaf.connect((where.hostname, where.port))
                request = f"GET /api/sessions/{SESSION}/{path} HTTP/1.1\r\nHost: localhost\r\n\r\n"
                deaf.sendall(request.encode())
                assert deaf.recv(1)  # and no more
                until(lambda: not open_connections)
