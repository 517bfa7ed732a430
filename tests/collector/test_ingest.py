"""
Records over HTTP, on a real socket: what is taken in, what is refused, and that the next good
request always works.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import socket
import sqlite3
import time
import tracemalloc
import zlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import httpx
import pytest
from processes import SECONDS, until
from sources import Source, hostile_line, lines, uuid

from asyncops.collector.app import CollectorSettings, create_app
from asyncops.collector.ingest.records import IngestLimits, ingest_lines
from asyncops.collector.server import EmbeddedCollector
from asyncops.collector.store.base import RejectedLine, Store
from asyncops.collector.store.sqlite import SQLiteStore

SESSION = uuid(1)


@pytest.fixture(scope="module")
def anybody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """
    A client of a collector that the tests of this file share, because they leave nothing in it.
    """
    settings = CollectorSettings(port=0, db=tmp_path_factory.mktemp("shared") / "collector.db")
    with (
        EmbeddedCollector(settings) as collector,
        httpx.Client(
            base_url=collector.url, timeout=SECONDS, trust_env=False, verify=False
        ) as http,
    ):
        yield http


def post(http: httpx.Client, source: Source, body: bytes, **headers: str) -> httpx.Response:
    return http.post(
        "/v1/records",
        content=body,
        headers={"Asyncops-Source": source.id, "Content-Type": "application/x-ndjson", **headers},
    )


def works(http: httpx.Client) -> None:
    """
    A good request is answered as always.
    """
    source = Source(0xFF)
    session = uuid(time.time_ns() % 10**12)
    answer = post(http, source, lines(source.starts(session)))
    if answer.status_code == 200 and answer.json()["acknowledged"] != 1:
        raise AssertionError(answer.text)
    assert answer.status_code == 200
    assert http.get("/api/sessions").status_code == 200


def talk(http: httpx.Client, data: bytes, *, wait: float = 5) -> bytes:
    """
    Send *data* as it is, over a connection of its own, and read what comes back.
    """
    where = urlsplit(str(http.base_url))
    with socket.create_connection((where.hostname, where.port), timeout=wait) as connection:
        with contextlib.suppress(ConnectionError):  # it may be refused before all of it is sent
            connection.sendall(data)
        parts = []
        with contextlib.suppress(TimeoutError, ConnectionError):
            while part := connection.recv(65_536):
                parts.append(part)
    return b"".join(parts)


def head(source: Source, *fields: str) -> bytes:
    return "\r\n".join(
        [
            "POST /v1/records HTTP/1.1",
            "Host: localhost",
            f"Asyncops-Source: {source.id}",
            *fields,
            "",
            "",
        ]
    ).encode()


def holds(http: httpx.Client, size_bytes: int) -> None:
    """
    Wait until the collector holds so much of requests.
    """
    until(lambda: f"asyncops_collector_in_flight_bytes {size_bytes}\n" in http.get("/metrics").text)


# -- what is taken in -------------------------------------------------------------------------


def test_stores_lines_and_says_so(http: httpx.Client) -> None:
    """
    Lines of JSON are stored, acknowledged by number, and there for whoever asks.
    """
    source = Source()
    body = lines(source.begins(pid=5), source.starts(SESSION, name="run"), source.does(SESSION))
    answer = post(http, source, body)
    assert (answer.status_code, answer.json()) == (200, {"acknowledged": 3, "rejected": []})
    session = http.get(f"/api/sessions/{SESSION}").json()
    assert (session["name"], session["events"], session["sources"][0]["pid"]) == ("run", 1, 5)


def test_stores_a_compressed_body(http: httpx.Client) -> None:
    """
    A gzip body is the same as its content.
    """
    source = Source()
    body = gzip.compress(lines(source.starts(SESSION)))
    answer = post(http, source, body, **{"Content-Encoding": "GZIP"})
    assert answer.json() == {"acknowledged": 1, "rejected": []}


def test_a_body_in_pieces_is_one_body(http: httpx.Client) -> None:
    """
    A body of unknown length, sent in pieces that cut lines, is read whole.
    """
    source = Source()
    body = lines(source.starts(SESSION), source.does(SESSION))

    def pieces() -> Iterator[bytes]:
        for start in range(0, len(body), 7):
            yield body[start : start + 7]

    answer = http.post("/v1/records", content=pieces(), headers={"Asyncops-Source": source.id})
    assert answer.json() == {"acknowledged": 2, "rejected": []}


def test_the_same_body_twice_is_stored_once(http: httpx.Client) -> None:
    """
    What is sent again is acknowledged again and counted once.
    """
    source = Source()
    body = lines(source.starts(SESSION), source.does(SESSION))
    assert post(http, source, body).json() == post(http, source, body).json()
    assert http.get(f"/api/sessions/{SESSION}").json()["events"] == 1


def test_an_empty_body_is_a_heartbeat(http: httpx.Client) -> None:
    """
    Nothing is acknowledged with what is settled, compressed or not.
    """
    source = Source()
    assert post(http, source, b"").json() == {"acknowledged": 0, "rejected": []}
    post(http, source, lines(source.starts(SESSION)))
    for body, headers in (
        (b"", {}),
        (b"\n \n", {}),
        (gzip.compress(b"", mtime=0), {"Content-Encoding": "gzip"}),
    ):
        assert post(http, source, body, **headers).json() == {"acknowledged": 1, "rejected": []}


def test_two_sources_make_one_session(http: httpx.Client) -> None:
    """
    Two processes that record one session are one session with two sources.
    """
    owner, guest = Source(1), Source(2)
    post(http, guest, lines(guest.begins(pid=2), guest.joins(SESSION), guest.does(SESSION)))
    post(
        http,
        owner,
        lines(owner.begins(pid=1), owner.starts(SESSION, name="both"), owner.does(SESSION)),
    )
    post(http, guest, lines(guest.ends(SESSION, None), guest.stops()))
    post(http, owner, lines(owner.ends(SESSION)))
    session = http.get(f"/api/sessions/{SESSION}").json()
    assert (session["name"], session["state"], session["events"]) == ("both", "Success", 2)
    assert sorted(source["pid"] for source in session["sources"]) == [1, 2]


def test_bad_lines_are_told_and_spare_the_others(http: httpx.Client) -> None:
    """
    Of a body with lines that are no records the rest is stored, and each bad one is named.
    """
    source = Source()
    good = [lines(source.starts(SESSION))]
    bad = [
        b'{"type":"event","seq":2,"at":1,"session":"x"}\n',
        b'{"seq":3,"type":"nonsense","at":1}\n',
        b'{"type":"tags","seq":4,"at":-1,"session":"%s","tags":[]}\n' % SESSION.encode(),
        b"not json at all\n",
        b'{"type":"event","seq":99999999999999999999}\n',
        b'{"type":"event","seq":9999999999999999999}\n',
        b"\xff\xfe\n",
        b'{"type":"source","seq":5,"at":1,"source":"%s"}\n' % uuid(0xBAD).encode(),
        b'[{"seq":6}]\n',
        b"{}\n",
        b'{"type":"event","seq":6,' + b'"x":[' * 5_000 + b"\n",
    ]
    source.seq = 6
    good.append(lines(source.does(SESSION)))
    answer = post(http, source, b"".join([good[0], *bad, good[1]]))
    assert answer.status_code == 200
    told = answer.json()
    assert told["acknowledged"] == 7
    assert [line["seq"] for line in told["rejected"]] == [
        2,
        3,
        4,
        None,
        None,
        None,
        None,
        5,
        None,
        None,
        6,
    ]
    assert all(0 < len(line["error"]) <= 500 for line in told["rejected"])
    session = http.get(f"/api/sessions/{SESSION}").json()
    assert (session["events"], session["missing_records"]) == (1, 5)


def test_a_line_that_is_too_long_is_refused_alone(http: httpx.Client) -> None:
    """
    A line longer than any record is rejected by its number.
    """
    source = Source()
    first = lines(source.starts(SESSION))
    source.loses(1)
    long = hostile_line(type="video", seq=2, at=1, session=SESSION, video="x" * 1_100_000)
    answer = post(http, source, first + long + lines(source.does(SESSION)))
    assert answer.json()["acknowledged"] == 3
    assert [line["seq"] for line in answer.json()["rejected"]] == [2]


def test_holes_are_told(http: httpx.Client) -> None:
    """
    A session says how many of its records never came.
    """
    source = Source()
    post(http, source, lines(source.starts(SESSION)))
    source.loses(4)
    assert post(http, source, lines(source.does(SESSION))).json()["acknowledged"] == 6
    assert http.get(f"/api/sessions/{SESSION}").json()["missing_records"] == 4


# -- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "source_id", [None, "", "x", uuid(1).upper() + "F", "../" * 12, uuid(1) + "x"]
)
def test_wants_to_know_who_sends(anybody: httpx.Client, source_id: str | None) -> None:
    """
    Without the id of a source nothing is taken in.
    """
    headers = {} if source_id is None else {"Asyncops-Source": source_id}
    answer = anybody.post("/v1/records", content=b"", headers=headers)
    assert answer.status_code == 400
    assert "Asyncops-Source" in answer.json()["error"]
    works(anybody)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"this is no gzip", "not gzip"),
        (gzip.compress(b"x" * 1_000, mtime=0)[:-9], "ends early"),
        (gzip.compress(b"x" * 1_000, mtime=0)[:5], "ends early"),
        (gzip.compress(b"x" * 1_000, mtime=0)[:-5] + b"12345", "not gzip"),
        (gzip.compress(b"x", mtime=0) + gzip.compress(b"y", mtime=0), "something follows"),
        (zlib.compress(b"x"), "not gzip"),
    ],
)
def test_refuses_what_is_not_whole_gzip(anybody: httpx.Client, body: bytes, why: str) -> None:
    """
    A compressed body that is torn, corrupt or something else is refused, and nothing of it stored.
    """
    answer = post(anybody, Source(), body, **{"Content-Encoding": "gzip"})
    assert answer.status_code == 400
    assert why in answer.json()["error"]
    works(anybody)


@pytest.mark.parametrize("encoding", ["zstd", "br", "gzip, gzip", "x"])
def test_refuses_encodings_it_does_not_know(anybody: httpx.Client, encoding: str) -> None:
    """
    A body in an unknown encoding is refused, with the ones that are known.
    """
    answer = post(anybody, Source(), b"x", **{"Content-Encoding": encoding})
    assert answer.status_code == 415
    assert "gzip" in answer.headers["accept-encoding"]
    assert "gzip" in answer.json()["error"]
    works(anybody)


def test_refuses_a_body_that_is_too_large(http: httpx.Client) -> None:
    """
    A body above the limit is refused with an answer that the sender gets to read.
    """
    answer = post(http, Source(), b"x" * (4 * 1024 * 1024 + 1))
    assert answer.status_code == 413
    assert "4,194,304" in answer.json()["error"]
    works(http)


def test_refuses_a_body_that_claims_to_be_too_large(http: httpx.Client) -> None:
    """
    A sender that asks before it sends too much is told so before it does.
    """
    answer = talk(http, head(Source(), "Content-Length: 999999999", "Expect: 100-continue"))
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'{"error":' in answer
    works(http)


def test_refuses_a_bomb(http: httpx.Client) -> None:
    """
    A small body that inflates beyond the limit is refused without inflating it all.
    """
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb") as file:
        for _ in range(200):
            file.write(bytes(1024 * 1024))
    assert len(packed.getvalue()) < 300_000
    tracemalloc.start()
    try:
        answer = post(http, Source(), packed.getvalue(), **{"Content-Encoding": "gzip"})
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 100_000_000
    assert answer.status_code == 413
    assert "33,554,432" in answer.json()["error"]
    works(http)


def test_refuses_lines_beyond_number(http: httpx.Client) -> None:
    """
    A body of more lines than any batch has is refused before they are looked at.
    """
    body = gzip.compress(b"\n" * 5_000_000)
    answer = post(http, Source(), body, **{"Content-Encoding": "gzip"})
    assert answer.status_code == 413
    assert "lines" in answer.json()["error"]
    works(http)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/records", 405),
        ("DELETE", "/api/sessions", 405),
        ("POST", "/api/sessions/x/events", 405),
        ("POST", "/v1/nothing", 404),
        ("GET", "/api/nothing", 404),
        ("GET", "/v1/records/../../etc/passwd", 404),
        ("TRACE", "/api/sessions", 405),
        ("GET", "/nothing", 404),
        ("POST", "/v1/records/", 404),
    ],
)
def test_says_in_json_what_there_is_not(
    anybody: httpx.Client, method: str, path: str, status: int
) -> None:
    """
    Unknown paths and methods are answered in JSON.
    """
    answer = anybody.request(method, path)
    assert (answer.status_code, list(answer.json())) == (status, ["error"])
    works(anybody)


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/9.9\r\nConnection: close\r\n\r\n",
        b"POST /v1/records HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        b"POST /v1/records HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 1_000_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost localhost\r\n\r\n",
        b"hello\r\n\r\n",
        b"POST ?v1/records HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    ],
)
def test_survives_what_is_no_http(anybody: httpx.Client, data: bytes) -> None:
    """
    Bytes that are no request get an error in JSON or a closed connection.
    """
    answer = talk(anybody, data)
    assert answer == b"" or answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 404 "))
    assert answer == b"" or b'{"error":"' in answer
    works(anybody)


def test_survives_senders_that_vanish(http: httpx.Client) -> None:
    """
    A connection that ends in the middle of a body stores nothing of it.
    """
    source = Source()
    body = lines(source.starts(SESSION))
    where = urlsplit(str(http.base_url))
    for part in (b"", body[:10], body):
        with socket.create_connection((where.hostname, where.port)) as connection:
            connection.sendall(head(source, f"Content-Length: {len(body) + 1}") + part)
    works(http)
    assert http.get(f"/api/sessions/{SESSION}").status_code == 404


# -- limits that take a collector of their own ------------------------------------------------


def limited(tmp_path: Path, **limits: float) -> EmbeddedCollector:
    return EmbeddedCollector(
        CollectorSettings(
            port=0,
            db=tmp_path / "collector.db",
            limits=IngestLimits(**limits),  # type: ignore[arg-type]
        )
    )


def test_refuses_a_body_that_takes_too_long(tmp_path: Path) -> None:
    """
    A body that trickles in is given up after its deadline, and the connection is closed.
    """
    with (
        limited(tmp_path, body_timeout=0.2) as collector,
        httpx.Client(
            base_url=collector.url, timeout=SECONDS, trust_env=False, verify=False
        ) as http,
    ):
        answer = talk(http, head(Source(), "Content-Length: 100") + b"{")
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b'{"error":' in answer
        works(http)


def test_puts_off_what_is_more_than_it_can_hold(tmp_path: Path) -> None:
    """
    Requests that together hold too much memory are put off, and taken once there is room.
    """
    with (
        limited(tmp_path, max_in_flight_bytes=1_000) as collector,
        httpx.Client(
            base_url=collector.url, timeout=SECONDS, trust_env=False, verify=False
        ) as http,
    ):
        where = urlsplit(collector.url)
        with socket.create_connection((where.hostname, where.port)) as slow:
            slow.sendall(head(Source(5), "Content-Length: 950") + b" " * 900)
            holds(http, 900)
            source = Source()
            body = lines(source.starts(SESSION, name="n" * 100))
            answer = post(http, source, body)
            assert answer.status_code == 503
            assert int(answer.headers["retry-after"]) >= 1
            assert "busy" in answer.json()["error"]
            slow.sendall(b" " * 50)
            assert slow.recv(65_536).startswith(b"HTTP/1.1 200 ")
        assert post(http, source, body).status_code == 200


def app_over(store: Store) -> httpx.AsyncClient:
    """
    The application over *store*, without a socket.
    """
    app = create_app(CollectorSettings())
    app.state.store = store
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://localhost", timeout=SECONDS
    )


@pytest.mark.anyio
async def test_puts_off_what_a_locked_database_cannot_take(tmp_path: Path) -> None:
    """
    While another process holds the database records are put off; none is acknowledged, none lost.
    """
    path = tmp_path / "collector.db"
    store = SQLiteStore(path, busy_timeout=0.05)
    source = Source()
    body = lines(source.starts(SESSION))
    headers = {"Asyncops-Source": source.id}
    other = sqlite3.connect(path, isolation_level=None)
    try:
        async with app_over(store) as http:
            other.execute("BEGIN IMMEDIATE")
            answer = await http.post("/v1/records", content=body, headers=headers)
            assert answer.status_code == 503
            assert answer.headers["retry-after"] == "1"
            assert "locked" in answer.json()["error"]
            assert (await http.get(f"/api/sessions/{SESSION}")).status_code == 404
            other.execute("COMMIT")
            answer = await http.post("/v1/records", content=body, headers=headers)
            assert answer.json() == {"acknowledged": 1, "rejected": []}
    finally:
        other.close()
        await store.aclose()


@pytest.mark.anyio
async def test_puts_off_what_a_full_queue_cannot_take(tmp_path: Path) -> None:
    """
    When too many records wait for the writer the next ones are put off, and those that wait stay.
    """
    path = tmp_path / "collector.db"
    store = SQLiteStore(path, busy_timeout=SECONDS, max_queued_records=1)
    first, second = Source(1), Source(2)
    other = sqlite3.connect(path, isolation_level=None)
    answers: dict[str, httpx.Response] = {}
    try:
        async with app_over(store) as http, anyio.create_task_group() as tasks:

            async def send(source: Source) -> None:
                answers[source.id] = await http.post(
                    "/v1/records",
                    content=lines(source.starts(SESSION)),
                    headers={"Asyncops-Source": source.id},
                )

            other.execute("BEGIN IMMEDIATE")
            tasks.start_soon(send, first)
            with anyio.fail_after(SECONDS):
                while not (await store.statistics())["queued_records"]:  # noqa: ASYNC110 - no bell
                    await anyio.sleep(0.01)
            await send(second)
            other.execute("COMMIT")
        assert answers[second.id].status_code == 503
        assert "busy" in answers[second.id].json()["error"]
        assert answers[first.id].json()["acknowledged"] == 1
    finally:
        other.close()
        await store.aclose()


@pytest.mark.anyio
async def test_lines_can_be_taken_in_without_http(store: Store) -> None:
    """
    `ingest_lines` stores what a body holds and says what became of it, small or large.
    """
    source = Source()
    body = lines(source.begins(), source.starts(SESSION)) + b"nonsense\n"
    acknowledged, rejected = await ingest_lines(store, project="mine", source=source.id, body=body)
    assert acknowledged == 2
    assert [line.seq for line in rejected] == [None]
    assert isinstance(rejected[0], RejectedLine)
    many = lines(*(source.does(SESSION, name="x" * 900) for _ in range(200)))
    acknowledged, rejected = await ingest_lines(store, project="mine", source=source.id, body=many)
    assert (acknowledged, rejected) == (202, [])
    assert (await store.session("mine", SESSION)).summary.events == 200


def test_memory_is_given_back_whatever_happens(http: httpx.Client) -> None:
    """
    After good, bad and oversized requests nothing is held any more.
    """
    source = Source()
    post(http, source, lines(source.starts(SESSION)))
    post(http, source, b"x" * 5_000_000)
    post(http, source, gzip.compress(bytes(40_000_000)), **{"Content-Encoding": "gzip"})
    post(http, source, b"no gzip", **{"Content-Encoding": "gzip"})
    post(http, source, gzip.compress(b"\n" * 200_000), **{"Content-Encoding": "gzip"})
    talk(http, head(source, "Content-Length: 100") + b"{", wait=0.05)
    holds(http, 0)
