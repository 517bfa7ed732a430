"""
Who may ask: nobody but this machine without keys, nobody without a key once there is one.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import anyio
import httpx
import pytest
from processes import SECONDS, until
from sources import Source, lines, uuid

from asyncops._exceptions import ConfigurationError
from asyncops.collector.app import CollectorSettings, create_app
from asyncops.collector.auth import HostMiddleware, Visitors
from asyncops.collector.server import EmbeddedCollector
from asyncops.collector.store.base import ApiKey
from asyncops.collector.store.sqlite import SQLiteStore

SESSION = uuid(1)
BROWSER = {"Accept": "text/html"}


def in_store(path: Path, question: Callable[[SQLiteStore], object]) -> object:
    """
    What another process that has the database open gets for an answer.
    """

    async def ask() -> object:
        store = SQLiteStore(path)
        try:
            return await question(store)  # type: ignore[misc]
        finally:
            await store.aclose()

    return anyio.run(ask)


def make_key(path: Path, project: str) -> tuple[ApiKey, str]:
    return in_store(path, lambda store: store.create_key(project))  # type: ignore[return-value]


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "collector.db"


@pytest.fixture
def key(database: Path) -> str:
    """
    A key to project `mine`; those who also take `http` ask a collector that knows it.
    """
    return make_key(database, "mine")[1]


@pytest.fixture
def http(database: Path) -> Iterator[httpx.Client]:
    with (
        EmbeddedCollector(CollectorSettings(port=0, db=database)) as collector,
        httpx.Client(
            base_url=collector.url, timeout=SECONDS, trust_env=False, verify=False
        ) as http,
    ):
        yield http


# -- keys -------------------------------------------------------------------------------------


def test_every_request_needs_a_key_once_there_is_one(key: str, http: httpx.Client) -> None:
    """
    With keys nothing but the health check answers without one, whatever is wrong with it.
    """
    source = Source()
    wrong = [
        {},
        bearer("aops_" + "x" * 43),
        bearer(key[:-1]),
        bearer("x"),
        {"Authorization": "Bearer"},
        {"Authorization": f"Basic {key}"},
        {"Authorization": key},
        {"X-Api-Key": key},
    ]
    paths = ["/api/sessions", "/api/overview", "/metrics", f"/api/sessions/{SESSION}", "/nothing"]
    answers = {http.get(path, headers=headers).text for path in paths for headers in wrong}
    assert len(answers) == 1
    assert "API key" in answers.pop()
    for headers in wrong:
        answer = http.post(
            "/v1/records",
            content=lines(source.starts(SESSION)),
            headers={"Asyncops-Source": source.id, **headers},
        )
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
    assert http.get("/healthz").status_code == 200
    assert http.get("/api/sessions", headers=bearer(key)).json()["sessions"] == []


def test_a_key_opens_its_project_alone(database: Path, http: httpx.Client) -> None:
    """
    What came in with the key of one project is not there for the key of another.
    """
    mine, yours = make_key(database, "mine")[1], make_key(database, "yours")[1]
    until(lambda: http.get("/api/sessions").status_code == 401)
    source = Source()
    http.post(
        "/v1/records",
        content=lines(source.starts(SESSION)),
        headers={"Asyncops-Source": source.id, **bearer(mine)},
    )
    (session,) = http.get("/api/sessions", headers=bearer(mine)).json()["sessions"]
    assert (session["id"], session["project"]) == (SESSION, "mine")
    assert http.get("/api/sessions", headers=bearer(yours)).json()["sessions"] == []
    assert http.get(f"/api/sessions/{SESSION}", headers=bearer(yours)).status_code == 404


def test_keys_change_under_a_running_collector(database: Path, http: httpx.Client) -> None:
    """
    A key that another process makes or revokes counts within moments, and revoking the last one
    opens nothing.
    """
    assert http.get("/api/sessions").status_code == 200
    made, key = make_key(database, "mine")
    until(lambda: http.get("/api/sessions").status_code == 401)
    assert http.get("/api/sessions", headers=bearer(key)).status_code == 200
    in_store(database, lambda store: store.revoke_key(made.id))
    until(lambda: http.get("/api/sessions", headers=bearer(key)).status_code == 401)
    assert http.get("/api/sessions").status_code == 401


def test_no_key_is_kept(database: Path, key: str, http: httpx.Client) -> None:
    """
    The text of a key is nowhere in the database's files, in use or not.
    """
    http.get("/api/sessions", headers=bearer(key))
    with sqlite3.connect(database) as connection:
        assert connection.execute("SELECT COUNT(*) FROM keys").fetchone() == (1,)
    connection.close()
    for file in database.parent.iterdir():
        assert key.encode() not in file.read_bytes()


@pytest.mark.anyio
async def test_a_hash_that_only_begins_alike_opens_nothing(database: Path) -> None:
    """
    A key is looked up by the beginning of its hash and compared as a whole.
    """
    store = SQLiteStore(database)
    try:
        _, key = await store.create_key("mine")
        digest = hashlib.sha256(key.encode()).digest()
        assert await store.project_of_key(digest) == "mine"
        assert await store.project_of_key(digest[:-1] + bytes([digest[-1] ^ 1])) is None
        assert await store.project_of_key(digest[:8]) is None
    finally:
        await store.aclose()


# -- browsers ---------------------------------------------------------------------------------


def test_a_browser_signs_in(key: str, http: httpx.Client) -> None:
    """
    A browser is led to a form, gives the key once, and is let back in by a cookie without it.
    """
    led = http.get("/sessions/x?event=1", headers=BROWSER)
    assert led.status_code == 303
    where = urlsplit(led.headers["location"])
    wanted = parse_qs(where.query)["next"][0]
    assert (where.path, wanted) == ("/sign-in", "/sessions/x?event=1")
    form = http.get(led.headers["location"], headers=BROWSER)
    assert form.status_code == 200
    assert "/sessions/x?event=1" in form.text
    refused = http.post("/sign-in", data={"key": key[:-1], "next": wanted}, headers=BROWSER)
    assert (refused.status_code, "set-cookie" in refused.headers) == (401, False)
    let_in = http.post("/sign-in", data={"key": f" {key} ", "next": wanted}, headers=BROWSER)
    assert (let_in.status_code, let_in.headers["location"]) == (303, wanted)
    cookie = let_in.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert key.lower() not in cookie
    assert http.get("/api/sessions").status_code == 200
    assert http.get("/", headers=BROWSER).status_code == 200


def test_a_cookie_reads_and_does_not_write(key: str, http: httpx.Client) -> None:
    """
    Records are taken with a key alone: a cookie goes along with requests nobody meant to send.
    """
    http.post("/sign-in", data={"key": key})
    assert http.get("/api/sessions").status_code == 200
    source = Source()
    answer = http.post("/v1/records", content=b"", headers={"Asyncops-Source": source.id})
    assert answer.status_code == 401


def test_a_browser_signs_out(key: str, http: httpx.Client) -> None:
    """
    After signing out the cookie is gone, and worthless to whoever kept it.
    """
    http.post("/sign-in", data={"key": key})
    kept = http.cookies["asyncops_session"]
    assert http.post("/sign-out").status_code == 303
    assert "asyncops_session" not in http.cookies
    again = http.get("/api/sessions", headers={"Cookie": f"asyncops_session={kept}"})
    assert again.status_code == 401


def test_a_cookie_ends_with_its_key(database: Path, http: httpx.Client) -> None:
    """
    Whoever signed in with a key is out once it is revoked.
    """
    made, key = make_key(database, "mine")
    until(lambda: http.get("/api/sessions").status_code == 401)
    http.post("/sign-in", data={"key": key})
    assert http.get("/api/sessions").status_code == 200
    in_store(database, lambda store: store.revoke_key(made.id))
    until(lambda: http.get("/api/sessions").status_code == 401)


def test_the_form_is_for_our_own_pages(key: str, http: httpx.Client) -> None:
    """
    A form sent from another site, or with more than a key in it, is refused.
    """
    for foreign in (
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://evil.example"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "null"},
    ):
        refused = http.post("/sign-in", data={"key": key}, headers=foreign)
        assert (refused.status_code, "set-cookie" in refused.headers) == (403, False)
        assert http.post("/sign-out", headers=foreign).status_code == 403
    own = {"Origin": str(http.base_url).rstrip("/")}
    assert http.post("/sign-in", data={"key": key}, headers=own).status_code == 303
    assert http.post("/sign-in", data={"key": "x" * 20_000}).status_code == 413
    many = "&".join(f"k{number}=1" for number in range(50))
    assert http.post("/sign-in", content=many).status_code == 400
    assert http.post("/sign-in", content=b"\xff\xfe=\x00").status_code == 401


@pytest.mark.anyio
async def test_nothing_that_changes_something_is_taken_from_elsewhere(database: Path) -> None:
    """
    Whatever address takes more than questions refuses them from pages of other sites, where there
    is no key and one is not needed, too.
    """
    app = create_app(CollectorSettings())
    app.state.store = store = SQLiteStore(database)
    try:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            tried = 0
            for route in app.routes:
                for method in sorted(route.methods - {"GET", "HEAD"}):  # type: ignore[attr-defined]
                    path = re.sub(r"{\w+}", "x", route.path)  # type: ignore[attr-defined]
                    for foreign in (
                        {"Sec-Fetch-Site": "cross-site"},
                        {"Sec-Fetch-Site": "same-site"},
                        {"Origin": "https://evil.example"},
                        {"Origin": "null"},
                    ):
                        answer = await http.request(method, path, headers=foreign)
                        assert answer.status_code == 403, (method, path, foreign)
                        tried += 1
            assert tried >= 4 * 8
        assert await store.keys() == ()
    finally:
        await store.aclose()


@pytest.mark.parametrize(
    "wanted",
    [
        "",
        "https://evil.example",
        "//evil.example",
        "/\\evil.example",
        "\\\\evil",
        "/\t/evil",
        "x",
        "/\r\nX: y",
    ],
)
def test_leads_nowhere_else(key: str, http: httpx.Client, wanted: str) -> None:
    """
    After signing in a browser stays on this collector, whatever the address asked for.
    """
    answer = http.post("/sign-in", data={"key": key, "next": wanted})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


@pytest.mark.anyio
async def test_without_keys_every_project_can_be_looked_at(database: Path) -> None:
    """
    On its own machine a cookie chooses among the projects there are, for reading; what programs
    send goes to their own.
    """
    app = create_app(CollectorSettings())
    app.state.store = store = SQLiteStore(database)
    try:
        source = Source(project="mine")
        await store.add(source.batch(source.starts(SESSION)))
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            for cookie, seen in (("mine", [SESSION]), ("yours", []), ("default", []), ("", [])):
                headers = {"Cookie": f"asyncops_project={cookie}"}
                found = (await http.get("/api/sessions", headers=headers)).json()["sessions"]
                assert [session["id"] for session in found] == seen
            other = Source()
            await http.post(
                "/v1/records",
                content=lines(other.starts(uuid(2))),
                headers={"Asyncops-Source": other.id, "Cookie": "asyncops_project=mine"},
            )
            (session,) = (await http.get("/api/sessions")).json()["sessions"]
            assert (session["id"], session["project"]) == (uuid(2), "default")
    finally:
        await store.aclose()


def test_a_visitor_has_several_keys() -> None:
    """
    Who comes again with another key has both, under a new token; the old one is worthless.
    """
    visitors = Visitors()
    first = visitors.enter(b"one")
    second = visitors.enter(b"two", before=first)
    assert visitors.keys(second) == (b"one", b"two")
    assert visitors.keys(first) == ()
    token = second
    for number in range(30):
        token = visitors.enter(str(number).encode(), before=token)
    assert len(visitors.keys(token)) == 20
    visitors.leave(token)
    assert visitors.keys(token) == ()


def test_visitors_are_forgotten_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A token opens for its hours and no longer, and an unknown one never.
    """
    visitors = Visitors()
    token = visitors.enter(b"hash")
    assert visitors.keys(token) == (b"hash",)
    assert visitors.keys(token + "x") == ()
    late = time.monotonic() + 12 * 3600 + 1
    monkeypatch.setattr(time, "monotonic", lambda: late)
    assert visitors.keys(token) == ()


# -- hosts ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("127.0.0.1:99", 200),
        ("localhost:1234", 200),
        ("LOCALHOST", 200),
        ("[::1]:4319", 200),
        ("evil.example", 400),
        ("localhost.evil.example", 400),
        ("127.0.0.1.evil.example", 400),
        ("evil.example:4319", 400),
        ("10.0.0.1", 400),
        ("0.0.0.0", 400),
        ("", 400),
        ("[", 400),
        ("localhost.", 400),
        ("localhost:", 400),
        ("localhost:port", 400),
        ("127.0.0.1:80@evil.example", 400),
        ("evil.example@127.0.0.1", 400),
        ("127.0.0.1#.evil.example", 400),
        ("127.0.0.1, evil.example", 400),
        ('127.0.0.1:"><script>', 400),
        ("[::1%lo]", 400),
        ("[::1]evil.example", 400),
        ("0x7f.1", 400),
        ("2130706433", 400),
    ],
)
def test_answers_to_its_own_names(shared: httpx.Client, host: str, status: int) -> None:
    """
    A request that was meant for another host is refused, in JSON.
    """
    answer = shared.get("/api/sessions", headers={"Host": host})
    assert answer.status_code == status
    if status == 400:
        assert list(answer.json()) == ["error"]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """
    A client of a collector for tests that only ask.
    """
    settings = CollectorSettings(port=0, db=tmp_path_factory.mktemp("shared") / "collector.db")
    with (
        EmbeddedCollector(settings) as collector,
        httpx.Client(
            base_url=collector.url, timeout=SECONDS, trust_env=False, verify=False
        ) as http,
    ):
        yield http


@pytest.mark.anyio
async def test_a_collector_for_others_answers_to_addresses_and_names_it_was_given() -> None:
    """
    Open to all addresses, it answers to any of them and to the names it was told, to no other.
    """

    async def answered(*hosts: str, **options: object) -> bool:
        reached = False

        async def app(scope: object, receive: object, send: object) -> None:
            nonlocal reached
            reached = True

        async def send(message: object) -> None: ...

        middleware = HostMiddleware(app, **options)  # type: ignore[arg-type]
        scope = {"type": "http", "headers": [(b"host", host.encode()) for host in hosts]}
        await middleware(scope, None, send)  # type: ignore[arg-type]
        return reached

    anywhere = {"hosts": ["asyncops.internal"], "any_address": True}
    assert await answered("10.1.2.3:4319", **anywhere)
    assert await answered("[fe80::1]", **anywhere)
    assert await answered("Asyncops.Internal:80", **anywhere)
    assert not await answered("evil.example", **anywhere)
    assert not await answered("10.1.2.3", "evil.example", **anywhere)
    assert not await answered(**anywhere)
    here = {"hosts": ["192.168.0.2"], "any_address": False}
    assert await answered("192.168.0.2:1", **here)
    assert not await answered("192.168.0.3:1", **here)


# -- addresses --------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["0.0.0.0", "", "::"])
def test_listens_to_others_with_a_key_alone(database: Path, host: str) -> None:
    """
    Without keys an address that others can reach is refused, and the message says what to do.
    """
    settings = CollectorSettings(host=host, port=0, db=database)
    with pytest.raises(ConfigurationError, match="asyncops keys create --project NAME"):
        EmbeddedCollector(settings)
    key = make_key(database, "mine")[1]
    try:
        collector = EmbeddedCollector(settings)
    except ConfigurationError as error:  # a machine without IPv6
        pytest.skip(str(error))
    with collector:
        port = urlsplit(collector.url).port
        answer = httpx.get(f"http://127.0.0.1:{port}/api/sessions", headers=bearer(key))
        assert answer.status_code == 200


@pytest.mark.anyio
async def test_without_keys_it_serves_its_own_machine(database: Path) -> None:
    """
    A request from elsewhere is refused where there are no keys, however it got in.
    """
    app = create_app(CollectorSettings())
    app.state.store = store = SQLiteStore(database)
    try:
        for client, status in (("127.0.0.1", 200), ("::1", 200), ("192.168.0.9", 403)):
            transport = httpx.ASGITransport(app, client=(client, 1))
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
                assert (await http.get("/api/sessions")).status_code == status
    finally:
        await store.aclose()


@pytest.mark.anyio
async def test_an_application_may_trust_its_only_caller(database: Path) -> None:
    """
    An application nobody else reaches answers for the project it was given, without a key.
    """
    app = create_app(CollectorSettings(), trusted_project="mine")
    app.state.store = store = SQLiteStore(database)
    try:
        await store.create_key("yours")
        source = Source(project="mine")
        await store.add(source.batch(source.starts(SESSION)))
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            (session,) = (await http.get("/api/sessions")).json()["sessions"]
        assert session["project"] == "mine"
    finally:
        await store.aclose()
