"""
The security pass (see SECURITY.md): canaries are recorded under every kind of trouble and looked
for in every artefact, and whoever is not to be trusted is played for real.
"""

from __future__ import annotations

import ast
import contextlib
import json
import os
import re
import socket
import stat
import subprocess
import sys
import threading
import unicodedata
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import httpx
import pytest
from processes import SECONDS, Program, collector, program, until

import asyncops
from asyncops._client import destination
from asyncops._directory import journals, make_private, set_aside
from asyncops._recovery import recover
from asyncops.collector.app import CollectorSettings
from asyncops.collector.headers import SECURITY_HEADERS
from asyncops.collector.server import EmbeddedCollector

KEY = "canary-key-5b8e1f0a"
"""An API key that nothing but its use tells to be one."""

SECRET = "canary-secret-7f3a9c"
"""What is recorded where only its name, or the text around it, tells that it is secret."""

RECORDS = """
    import asyncio, dataclasses, json, logging, os, resource, signal, sys

    import asyncops

    logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
    how, secret, key = os.environ["HOW"], os.environ.pop("CANARY"), os.environ["ASYNCOPS_API_KEY"]
    shaped = f"sk-{secret}-0123456789abcdef"
    address = f"https://ada:{secret}@host/x?access_token={secret}"

    def was_tried():
        # where nobody takes anything, what there is has been sent once before it goes on
        (client,) = asyncops._client._clients
        return client._delivery.tried

    @dataclasses.dataclass
    class Login:
        user: str
        password: str

    class Odd:
        def __repr__(self):
            return f"<Odd password={secret} {address}>"

    @asyncops.tool
    async def login(user, password, *, headers, form, nested, login, odd, address, note):
        try:
            raise ValueError({"authorization": secret})
        except ValueError as error:
            error.add_note(f"api_key={secret}")
            raise PermissionError(f"login failed: password={secret} at {address}") from error

    @asyncops.action
    async def fail():
        errors = [OSError(f"Cookie: sid={secret}"), KeyError(shaped)]
        raise ExceptionGroup(f"token: {secret}", errors)

    async def main():
        configuration = asyncops.Configuration(max_wait_time=0.05, request_timeout=1)
        print(configuration, asyncops.init(config=configuration, auto_start_session=False))
        for options in (
            {"api_key": f"{key} {key}"},
            {"endpoint": f"http://ada:{key}@host"},
            {"endpoint": f"http://host?api_key={key}"},
            {"tags": key, "endpoint": f"ftp://host/?token={key}"},
        ):
            try:
                asyncops.Configuration(**options)
            except asyncops.ConfigurationError as error:
                print(error, repr(error), vars(error))
        session = asyncops.session(f"nightly {shaped}", tags=[shaped, f"token={secret}", "visible"])
        async with session:
            print(session, session.to_env(), session.url)
            with asyncops.agent(f"planner {shaped}", attributes={"cookie": secret}) as span:
                print(span)
                prompt = [{"role": "user", "content": json.dumps({"password": secret})}]
                with asyncops.llm(model=shaped, provider=shaped, prompt=prompt) as call:
                    arguments = json.dumps(json.dumps({"client_secret": secret}))
                    call.completion = {"tool_calls": [{"function": {"arguments": arguments}}]}
                for each in (
                    login(
                        "ada",
                        secret,
                        headers=[("Authorization", secret), ("X-Api-Key", secret)],
                        form=f"user=ada&password={secret}",
                        nested={"list": [{"api_key": secret}, {"cookie": {"a": [secret]}}]},
                        login=Login("ada", secret),
                        odd=Odd(),
                        address=address,
                        note=f"Authorization: Bearer {secret}",
                    ),
                    fail(),
                ):
                    try:
                        await each
                    except Exception:
                        pass
            asyncops.record(asyncops.ActionEvent(name=f"late {shaped}", params={"auth": secret}))
            session.set_video(address)
            if how == "full":
                resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, resource.RLIM_INFINITY))
                for _ in range(50):
                    asyncops.record(asyncops.ActionEvent(name="more", params={"password": secret}))
            while not (await session.flush(timeout=1) or was_tried()):
                pass
            print("recorded", flush=True)
            if how == "kill -9":
                os.kill(os.getpid(), signal.SIGKILL)
            if how == "crash":
                os.kill(os.getpid(), signal.SIGSEGV)
            await session.end("Fail", f"password={secret}")

    asyncio.run(main())
"""


class Stranger(BaseHTTPRequestHandler):
    """
    Whoever listens at the address of a collector, and repeats what it is sent: as `/401` and `/500`
    say, or as refusals of every record at `/refusing`.
    """

    seen: ClassVar[list[str]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        sent = self.headers["Authorization"]
        self.seen.append(sent)
        what = self.path.split("/")[1]
        if what == "refusing":
            numbers = [int(found) for found in re.findall(rb'^{"seq":(\d+)', body, re.MULTILINE)]
            error = f"{sent}\r\n\x1b[31mERROR root: all is lost"
            answer: dict[str, Any] = {
                "acknowledged": max(numbers, default=0),
                "rejected": [{"seq": number, "error": error} for number in numbers],
            }
        else:
            answer = {"error": f"who is {sent}?\r\n\x1b[31mERROR root: all is lost"}
        self.answer(200 if what == "refusing" else int(what), answer)

    def answer(self, status: int, answer: Any) -> None:
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        pass


@contextlib.contextmanager
def listening(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """
    The address at which *handler* answers.
    """
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def finds(directory: Path) -> dict[str, bytes]:
    """
    Every file under *directory*, but for the programs themselves.
    """
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and path.suffix != ".py"
    }


def canaries(texts: dict[str, bytes]) -> list[str]:
    """
    Where a canary turned up.
    """
    return [name for name, text in texts.items() if b"canary" in text]


TROUBLES = {
    "refused, kill -9": ("kill -9", "http://127.0.0.1:9"),
    "refused, crash": ("crash", "http://127.0.0.1:9"),
    "refused, full disk": ("full", "http://127.0.0.1:9"),
    "an answer 401 with the key in it": ("end", "{}/401"),
    "an answer 500 with the key in it": ("end", "{}/500"),
    "every record refused with the key": ("end", "{}/refusing"),
}


def test_no_secret_in_any_artefact(tmp_path: Path) -> None:
    """
    Whatever goes wrong, neither the API key nor what is redacted gets into a journal, a file beside
    it, a log, an exception, a repr or an environment.
    """

    class Handler(Stranger):
        seen: ClassVar[list[str]] = []

    told: dict[str, bytes] = {}
    with listening(Handler) as url, contextlib.ExitStack() as stack:
        running: dict[str, Program] = {}
        for trouble, (how, endpoint) in TROUBLES.items():
            directory = tmp_path / trouble
            directory.mkdir()
            running[trouble] = stack.enter_context(
                program(
                    RECORDS, directory, HOW=how, CANARY=SECRET, ASYNCOPS_API_KEY=KEY,
                    ASYNCOPS_ENDPOINT=endpoint.format(url),
                    ASYNCOPS_JOURNAL_DIR=str(directory / "journal"),
                )
            )  # fmt: skip
        for trouble, each in running.items():
            status, out, err = each.wait()
            assert status == {"kill -9": -9, "crash": -11}.get(TROUBLES[trouble][0], 0), err
            assert "recorded" in out, (trouble, err)
            told |= {f"{trouble}: stdout": out.encode(), f"{trouble}: stderr": err.encode()}
            assert "\x1b" not in err
            assert "\nERROR root" not in err

    artefacts = finds(tmp_path) | told
    assert canaries(artefacts) == []
    # none of that would mean a thing, had nothing been recorded, or had it been sent nowhere
    assert {f"Bearer {KEY}"} == set(Handler.seen)
    for trouble in TROUBLES:
        kept = b"".join(data for name, data in artefacts.items() if name.startswith(f"{trouble}/"))
        assert b"visible" in kept, trouble
        assert b"[redacted]" in kept, trouble
    names = {Path(name).name for name in artefacts}
    assert {"lock", "open", "marks", "set-aside.ndjson", "signal-SIGTERM"} <= names
    assert b"Segmentation" in b"".join(
        data for name, data in artefacts.items() if "crash/" in name and "signal" in name
    )


def asyncops_says(*arguments: str, **environment: str) -> str:
    """
    What a command prints, and on standard error.
    """
    done = subprocess.run(
        [sys.executable, "-m", "asyncops", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    return done.stdout + done.stderr


def new_key(project: str) -> str:
    found = re.search(r"aops_\S+", asyncops_says("keys", "create", "--project", project))
    assert found is not None
    return found[0]


def test_no_secret_in_the_collector(tmp_path: Path) -> None:
    """
    What a collector keeps, serves, prints and logs holds neither a key nor what was redacted.
    """
    key = new_key("mine")
    other = new_key("other")
    bearer = {"Authorization": f"Bearer {key}"}
    with collector() as serving:
        environment = {"ASYNCOPS_API_KEY": key, "ASYNCOPS_ENDPOINT": serving.url}
        with program(RECORDS, tmp_path, HOW="end", CANARY=SECRET, **environment) as recording:
            status, out, err = recording.wait()
            assert status == 0, err
        with httpx.Client(
            base_url=serving.url,
            headers=bearer,
            trust_env=False,
            verify=False,
            timeout=SECONDS,
        ) as http:

            def sessions() -> list[dict[str, Any]]:
                listed: list[dict[str, Any]] = http.get("/api/sessions").json()["sessions"]
                return [each for each in listed if each["state"] == "Fail"]

            (session,) = until(sessions)
            path = f"/api/sessions/{session['id']}"
            events = http.get(f"{path}/events").json()["events"]
            assert len(events) == 5
            page = f"/sessions/{session['id']}"
            paths = ["/", "/overview", "/metrics", "/healthz", "/api/sessions", "/api/overview"]
            paths += [path, f"{path}/events", f"{path}/export", page, f"{page}/timeline.json"]
            paths += [f"{page}/events/{event['id']}" for event in events]
            answers = [http.get(each) for each in paths]
            answers.append(http.get(path, headers={"Authorization": f"Bearer {other}"}))
            answers.append(http.get(path, headers={"Authorization": "Bearer canary"}))
            signed_in = http.post("/sign-in", data={"key": key, "next": "/"})
            answers.append(signed_in)
        assert {200, 303, 401, 404} == {answer.status_code for answer in answers}
        commands = {
            " ".join(command): asyncops_says(*command, **environment).encode()
            for command in (("sessions", "--json"), ("show", session["id"]), ("keys", "list"))
        }
        serving.process.terminate()
        logged = "".join(serving.process.communicate(timeout=SECONDS))
    texts = finds(tmp_path) | commands
    texts |= {f"{each.request.url}": f"{each.headers}{each.text}".encode() for each in answers}
    texts |= {"program": (out + err).encode(), "log": logged.encode()}
    assert canaries(texts) == []
    assert [name for name, text in texts.items() if key.encode() in text] == []
    assert b"visible" in texts["collector.db"] + texts.get("collector.db-wal", b"")
    assert b"visible" in commands["sessions --json"]


def test_a_run_passes_on_no_key(tmp_path: Path) -> None:
    """
    A program under `asyncops run`, and its children, find in their environment what the user put
    there and nothing of ours.
    """
    source = tmp_path / "shows.py"
    source.write_text(
        "import json, os, subprocess, sys\n"
        "print(json.dumps(dict(os.environ)), flush=True)\n"
        "if len(sys.argv) == 1:\n"
        "    subprocess.run([sys.executable, __file__, 'child'])\n"
    )
    environment = {**os.environ, "ASYNCOPS_API_KEY": KEY}
    plain, ours = (
        subprocess.run(
            [sys.executable, *arguments, str(source)],
            env=environment, capture_output=True, text=True, timeout=SECONDS, check=True,
        )
        for arguments in ([], ["-m", "asyncops", "run", "--endpoint", "http://10.255.255.1:9"])
    )  # fmt: skip
    assert [json.loads(line) for line in plain.stdout.splitlines()] == [
        json.loads(line) for line in ours.stdout.splitlines()
    ]
    assert len(ours.stdout.splitlines()) == 2
    assert KEY not in ours.stderr


# -- files ------------------------------------------------------------------------------------


def test_files_are_the_users_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Nobody else may read or write anything we make, whatever the umask: journals, signals, refused
    records, the database and its log.
    """
    state = tmp_path / "new" / "state"
    source = """
        import asyncio, os

        os.umask(0)
        import asyncops

        async def main():
            async with asyncops.session() as session:
                asyncops.record(asyncops.ActionEvent(name="x"))
                await session.flush(timeout=60)
                print("ready", flush=True)
                input()

        asyncio.run(main())
    """

    class Handler(Stranger):
        seen: ClassVar[list[str]] = []

    monkeypatch.setenv("ASYNCOPS_DB", str(state / "db" / "collector.db"))
    before = os.umask(0)
    try:
        serving = collector()
        with serving, listening(Handler) as url:
            environment = {
                "ASYNCOPS_JOURNAL_DIR": str(state / "journal"),
                "ASYNCOPS_ENDPOINT": f"{url}/refusing",
            }
            with program(source, tmp_path, **environment) as recording:
                assert recording.line() == "ready"
                made = list((tmp_path / "new").rglob("*"))
                modes = {path: stat.S_IMODE(path.stat().st_mode) for path in made}
                expected = {path: 0o700 if path.is_dir() else 0o600 for path in made}
    finally:
        os.umask(before)
    assert modes == expected
    names = {path.name for path in made}
    assert {"set-aside.ndjson", "lock", "collector.db", "collector.db-wal"} <= names


def as_somebody_else(path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to make what belongs to another user")
    os.chown(path, 12_345, 12_345)


@pytest.mark.parametrize("planted", ["somebody else's", "open to others", "a link", "a file"])
def test_what_was_planted_under_tmp_is_refused(tmp_path: Path, planted: str) -> None:
    """
    A directory in /tmp that another user made, may write to, or leads elsewhere is not used, what
    lies in it is not adopted, and the program goes on without a journal on disk.
    """
    shared = tmp_path / "tmp"
    shared.mkdir()
    shared.chmod(0o1777)
    name = shared / "asyncops-0"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    if planted == "a link":
        name.symlink_to(elsewhere)
    elif planted == "a file":
        name.touch()
    else:
        name.mkdir(mode=0o700)
        if planted == "open to others":
            name.chmod(0o770)
        else:
            as_somebody_else(name)

    source = """
        import asyncops

        with asyncops.session():
            asyncops.record(asyncops.ActionEvent(name="x"))
    """
    with program(source, tmp_path, ASYNCOPS_JOURNAL_DIR=str(name / "journal")) as recording:
        status, _, err = recording.wait()
    assert (status, "others may have made" in err or "Not a directory" in err) == (0, True), err
    assert [*elsewhere.iterdir(), *(name.iterdir() if name.is_dir() else ())] == []

    if name.is_dir():
        (name / str(uuid.uuid4())).mkdir()
        assert journals(name) == []


def test_a_directory_of_ones_own_under_tmp_is_used(tmp_path: Path) -> None:
    """
    What this user made in /tmp, for itself alone, is as good as any other place.
    """
    shared = tmp_path / "tmp"
    shared.mkdir()
    shared.chmod(0o1777)
    make_private(shared / "asyncops-0" / "journal")
    (shared / "asyncops-0" / "journal" / str(uuid.uuid4())).mkdir()
    assert len(journals(shared / "asyncops-0" / "journal")) == 1


def test_links_and_foreign_files_are_left_alone(tmp_path: Path) -> None:
    """
    A link planted where we would write is not followed, and what is not ours in the directory of
    journals is neither read, changed nor removed.
    """
    kept = tmp_path / "precious.txt"
    kept.write_text("precious")
    root = tmp_path / "journal" / destination("http://127.0.0.1:9", None)
    root.mkdir(parents=True)
    (root / "set-aside.ndjson").symlink_to(kept)
    for foreign in ("backup", "0198a0b0", ".hidden"):
        (root / foreign).mkdir()
        (root / foreign / "lock").write_text("{}")
        (root / foreign / "00000000000000000001.seg").write_text("mine")
    (root / str(uuid.uuid4())).symlink_to(root / "backup")
    before = finds(tmp_path)

    set_aside(root, str(uuid.uuid4()), b"{}", "refused")
    for journal in recover(root):
        journal.close(delivered=True)

    assert finds(tmp_path) == before


# -- the network ------------------------------------------------------------------------------


def test_the_sdk_goes_where_it_was_told_and_nowhere_else(tmp_path: Path) -> None:
    """
    Neither a redirect nor a proxy variable sends what was recorded, or the key, to another host.
    """

    class Elsewhere(Stranger):
        seen: ClassVar[list[str]] = []

        def do_GET(self) -> None:
            self.do_POST()

    with listening(Elsewhere) as elsewhere:

        class Redirecting(Stranger):
            seen: ClassVar[list[str]] = []

            def do_POST(self) -> None:
                self.seen.append(self.headers["Authorization"])
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(307)
                self.send_header("Location", f"{elsewhere}/401/v1/records")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def do_GET(self) -> None:
                self.headers["Content-Length"] = "0"
                self.do_POST()

        with listening(Redirecting) as endpoint:
            environment = {
                "ASYNCOPS_ENDPOINT": endpoint, "ASYNCOPS_API_KEY": KEY,
                "HTTP_PROXY": elsewhere, "http_proxy": elsewhere, "ALL_PROXY": elsewhere,
            }  # fmt: skip
            with program(RECORDS, tmp_path, HOW="end", CANARY=SECRET, **environment) as recording:
                assert recording.wait()[0] == 0
            asyncops_says("sessions", **environment)
    assert set(Redirecting.seen) >= {f"Bearer {KEY}"}
    assert Elsewhere.seen == []


def test_the_collector_fetches_nothing() -> None:
    """
    No module of the collector can ask another host for anything, whatever addresses are recorded.
    """
    package = Path(asyncops.__file__).parent / "collector"
    clients = {"httpx", "httpx2", "urllib", "http", "aiohttp", "requests", "ftplib", "smtplib"}
    harmless = {"urllib.parse", "http.cookies"}
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            for name in names:
                assert name in harmless or name.partition(".")[0] not in clients, (path, name)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    """
    Where a collector without keys listens.
    """
    settings = CollectorSettings(port=0, db=tmp_path_factory.mktemp("security") / "collector.db")
    with EmbeddedCollector(settings) as serving:
        parts = urlsplit(serving.url)
        yield str(parts.hostname), parts.port or 0


PAYLOADS = {
    "deep": "[" * 900 + "]" * 900,
    "deep keys": '{"a":' * 600 + "1" + "}" * 600,
    "huge": "9" * 5_000,
    "beyond": "1e400",
    "said twice": '{"a":1,"a":[2],"a":{"a":3}}',
    "controls": '"\\u0000\\u0007\\u001b[31m\\/\\u003cscript>"',
    "half a pair": '"\\ud800"',
    "false markers": '[{"$truncated":5},{"$type":5,"repr":[]},{"$truncated":"bytes","size":[]}]',
    "many": json.dumps({f"k{number}": number for number in range(5_000)}),
}


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS)
def test_any_payload_is_shown_or_refused(address: tuple[str, int], payload: str) -> None:
    """
    A payload that no SDK would write is refused line by line, or every page and answer about it is
    whole: never an error of the collector's.
    """
    session, source = str(uuid.uuid4()), str(uuid.uuid4())
    at = 1_700_000_000_000_000_000
    lines = [f'{{"type":"session","seq":1,"at":{at},"session":"{session}","started_at":{at}}}']
    for number, field in enumerate(("params", "prompt", "completion", "attributes"), 2):
        lines.append(
            f'{{"type":"event","seq":{number},"at":{at},"session":"{session}","id":"{number:016x}",'
            f'"kind":"llm","name":"n","started_at":{at},"ended_at":{at},"state":"Success",'
            f'"{field}":{payload}}}'
        )
    lines.append(f'{{"type":"source","seq":6,"at":1,"source":"{source}","host":{{"x":{payload}}}}}')
    url = "http://{}:{}".format(*address)
    with httpx.Client(base_url=url, trust_env=False, verify=False, timeout=SECONDS) as http:
        answer = http.post(
            "/v1/records", content="\n".join(lines), headers={"Asyncops-Source": source}
        )
        assert answer.status_code == 200
        rejected = {line["seq"] for line in answer.json()["rejected"]}
        assert answer.json()["acknowledged"] == 6
        api, page = f"/api/sessions/{session}", f"/sessions/{session}"
        paths = ["/", page, f"{page}/timeline.json", api, f"{api}/events", f"{api}/export"]
        for number in {2, 3, 4, 5} - rejected:
            paths += [f"{page}/events/{number:016x}", f"{page}/events/{number:016x}.json"]
        for path in paths:
            shown = http.get(path)
            assert shown.status_code == 200, path
            if "json" in shown.headers["content-type"]:
                json.loads(shown.text)


def raw_answer(address: tuple[str, int], *lines: str) -> tuple[int, dict[str, str], str]:
    """
    What comes back for a request that no HTTP library would send.
    """
    with socket.create_connection(address, timeout=SECONDS) as connection:
        connection.sendall("\r\n".join((*lines, "Connection: close", "", "")).encode("latin-1"))
        data = b"".join(iter(lambda: connection.recv(65_536), b"")).decode("latin-1")
    head, _, body = data.partition("\r\n\r\n")
    status, *headers = head.split("\r\n")
    pairs = (header.partition(": ") for header in headers)
    return int(status.split()[1]), {name.lower(): value for name, _, value in pairs}, body


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/", 200),
        ("/api/sessions", 200),
        ("http://evil.example/api/sessions", 404),
        ("//evil.example/", 404),
        ("//evil.example/%2f..", 404),
        ("/static/x/../../../../etc/passwd", 404),
        ("/static/x/%2e%2e%2f%2e%2e%2froutes.py", 404),
        ("/static/..%2f..%2froutes.py/x", 404),
        ("/sessions/..%2f..%2fetc%2fpasswd", 404),
        ("/sessions/%0d%0aX-Evil:%201", 404),
        ("/api/sessions/%0d%0aX-Evil:%201/export", 404),
        ("/api/sessions/%22%3b%20x=%22/export", 404),
        ("/api/sessions?limit=%0d%0aX-Evil:%201", 400),
        ("/sign-in?next=/%0d%0aX-Evil:%201", 200),
        ("/?q=" + "x" * 70_000, 400),
        ("/\x01", 400),
    ],
)  # fmt: skip
def test_odd_requests_get_guarded_answers(
    address: tuple[str, int], target: str, status: int
) -> None:
    """
    Whatever the request line, no file is read, no header injected, nobody led away, and the answer
    carries every security header and no leave for other origins.
    """
    host = "{}:{}".format(*address)
    got, headers, body = raw_answer(
        address, f"GET {target} HTTP/1.1", f"Host: {host}", "Origin: http://evil.example"
    )
    assert got == status
    assert (
        SECURITY_HEADERS.items()
        <= {name.title().replace("Xss", "XSS"): value for name, value in headers.items()}.items()
    )
    assert "x-evil" not in headers
    assert not [name for name in headers if name.startswith("access-control-")]
    assert "location" not in headers
    assert "root:" not in body


def test_a_host_said_twice_is_none(address: tuple[str, int]) -> None:
    """
    A request that names two hosts, or none, is refused: whoever stands between may read the other.
    """
    host = "Host: {}:{}".format(*address)
    for lines in ((host, "Host: evil.example"), ("Host: evil.example", host), (host, host), ()):
        status, headers, _ = raw_answer(address, "GET /api/sessions HTTP/1.1", *lines)
        assert status == 400
        assert "content-security-policy" in headers


def test_other_origins_are_let_in_nowhere(address: tuple[str, int]) -> None:
    """
    A page from elsewhere cannot send records: that takes a header, for which it gets no leave.
    """
    host = "Host: {}:{}".format(*address)
    for path in ("/v1/records", "/api/sessions", "/sign-in"):
        status, headers, _ = raw_answer(
            address, f"OPTIONS {path} HTTP/1.1", host, "Origin: http://evil.example",
            "Access-Control-Request-Method: POST",
            "Access-Control-Request-Headers: asyncops-source",
        )  # fmt: skip
        assert status == 405
        assert not [name for name in headers if name.startswith("access-control-")]
    status, _, body = raw_answer(
        address, "POST /v1/records HTTP/1.1", host, "Content-Type: text/plain", "Content-Length: 0"
    )
    assert (status, "Asyncops-Source" in body) == (400, True)


def test_a_key_counts_in_its_header_alone(tmp_path: Path) -> None:
    """
    A key in an address, where logs and histories keep it, in another header, in a cookie or a body
    opens nothing.
    """
    key = new_key("mine")
    settings = CollectorSettings(port=0, db=Path(os.environ["ASYNCOPS_DB"]))
    with (
        EmbeddedCollector(settings) as serving,
        httpx.Client(base_url=serving.url, trust_env=False, verify=False, timeout=SECONDS) as http,
    ):
        for name in ("key", "api_key", "token", "access_token", "authorization"):
            assert http.get("/api/sessions", params={name: key}).status_code == 401
            assert http.get("/", params={name: f"Bearer {key}"}).status_code == 401
        assert http.get(f"/api/{key}/sessions").status_code == 401
        user = serving.url.replace("://", f"://{key}:{key}@")
        assert httpx.get(f"{user}/api/sessions", trust_env=False).status_code == 401
        for name in ("X-Api-Key", "Cookie", "Api-Key", "Proxy-Authorization"):
            value = f"asyncops_session={key}" if name == "Cookie" else f"Bearer {key}"
            assert http.get("/api/sessions", headers={name: value}).status_code == 401
        answer = http.post(
            "/v1/records", content=key, headers={"Asyncops-Source": str(uuid.uuid4())}
        )
        assert answer.status_code == 401
        right = {"Authorization": f"Bearer {key}"}
        assert http.get("/api/sessions", headers=right).status_code == 200


# -- terminals --------------------------------------------------------------------------------

ESCAPES = "a\x1b]0;title\x07\x1b[31mred\x9b2J\r\nb\u202ec\x00\x08"
"""What moves a cursor, sets a title, breaks a line, turns the writing round."""


class Hostile(Stranger):
    """
    A collector that answers the command line with terminal escapes in every text.
    """

    seen: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        session = dict.fromkeys(SESSION_TEXTS, ESCAPES)
        session |= dict.fromkeys(SESSION_NUMBERS, 1)
        session |= {"tags": [ESCAPES], "failure": None, "missing_by_reason": {ESCAPES: 1}}
        session |= {"id": "0198a0b0-0000-7000-8000-00000000000" + ESCAPES}
        session["sources"] = [{"id": ESCAPES, "pid": ESCAPES, "host": {"os": {"name": ESCAPES}}}]
        failure = {"type": ESCAPES, "message": ESCAPES, "traceback": ESCAPES, "causes": []}
        session["failure"] = failure | {"relation": "", "event_id": ESCAPES}
        cost = {"source": "computed", "currency": ESCAPES, "table": ESCAPES, "events": 1}
        session["costs_from"] = [cost]
        event = dict.fromkeys(EVENT_TEXTS, ESCAPES) | dict.fromkeys(EVENT_NUMBERS, 1)
        event |= {"failure": session["failure"], "parent_id": None}
        path = urlsplit(self.path).path
        answers: dict[str, Any] = {
            "/healthz": {"service": "asyncops"},
            "/api/sessions": {"sessions": [session], "next": None},
            f"/api/sessions/{ID}/events": {"events": [event], "next": None},
            f"/api/sessions/{ID}": session | {"id": ID},
        }
        found = answers.get(path)
        if "q=0198a0b1" in self.path:
            found = None
        self.answer(200 if found else 500, found or {"error": ESCAPES})


ID = "0198a0b0-0000-7000-8000-000000000000"
SESSION_TEXTS = "id project name state reason started_at ended_at video last_record_at".split()
SESSION_NUMBERS = (
    "duration_ms cost_usd costs_unknown prompt_tokens completion_tokens cached_tokens"
    " reasoning_tokens events actions llms tools agents errors missing_records"
).split()
EVENT_TEXTS = "id parent_id kind name agent source_id state started_at model provider".split()
EVENT_TEXTS += ["cost_source", "ended_at"]
EVENT_NUMBERS = ["duration_ms", "prompt_tokens", "completion_tokens", "cost_usd"]


@pytest.mark.parametrize(
    "command",
    [("sessions",), ("show", ID), ("show", ID, "--json"), ("show", "0198a0b1")],
    ids=" ".join,
)
def test_no_collector_moves_the_cursor(command: tuple[str, ...]) -> None:
    """
    What a collector says reaches a terminal as text: no escape, no turned writing.
    """
    with listening(Hostile) as url:
        said = asyncops_says(*command, ASYNCOPS_ENDPOINT=url)
    assert "title" in said
    assert "Traceback" not in said
    bad = {char for char in said if unicodedata.category(char) in ("Cc", "Cf", "Cs")}
    assert bad <= {"\n"}
