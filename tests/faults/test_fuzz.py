"""
Nonsense, for a bounded time, to a real collector: whatever arrives, it answers, it goes on, it does
not grow. ASYNCOPS_FUZZ_SECONDS makes it longer, ASYNCOPS_FUZZ_SEED repeats one run.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import random
import re
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import attrs
import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from processes import SECONDS
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from asyncops.collector.openapi import DOCUMENT

FUZZ_SECONDS = float(os.environ.get("ASYNCOPS_FUZZ_SECONDS", "5"))
AT_ONCE = 16
"""How many requests that may not be whole are on their way before one is given up."""

MAX_GROWTH_BYTES = 64 * 2**20

pytestmark = pytest.mark.timeout(300 + 10 * FUZZ_SECONDS)

PROTOCOL = Path(__file__).parents[2] / "docs" / "protocol.md"
EXAMPLES = [
    json.loads(line)
    for block in re.findall(r"```json\n(.*?)```", PROTOCOL.read_text(), re.DOTALL)
    for line in block.splitlines()
    if '"type"' in line
]
"""One record of every type, from the specification."""


@attrs.define
class Target:
    """
    A collector to throw things at.
    """

    url: str
    process: subprocess.Popen[str]
    http: httpx.Client
    log: Path

    def memory_bytes(self) -> int:
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def send(self, data: bytes) -> socket.socket:
        """
        A connection of its own over which *data* was sent, as far as it was wanted.
        """
        where = urlsplit(self.url)
        connection = socket.create_connection((where.hostname, where.port), timeout=SECONDS)
        with contextlib.suppress(ConnectionError):
            connection.sendall(data)
        return connection


def answered(connection: socket.socket, *, wait: bool) -> bytes:
    """
    What came back over *connection* until now, or once it did; all of an answer that began.
    """
    answer = b""
    connection.settimeout(SECONDS if wait else 0)
    with contextlib.suppress(ConnectionError, BlockingIOError), connection:
        while not is_whole(answer):
            part = connection.recv(65_536)
            if not part:
                break
            answer += part
            connection.settimeout(SECONDS)
    return answer


def is_whole(answer: bytes) -> bool:
    head, blank, content = answer.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    return bool(blank) and len(content) >= (int(length[1]) if length else 0)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    directory = tmp_path_factory.mktemp("fuzz")
    log = directory / "log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "asyncops", "serve", "--port", "0"],
            env={
                **os.environ,
                "ASYNCOPS_DB": str(directory / "collector.db"),
                "ASYNCOPS_JOURNAL_DIR": str(directory / "journal"),
            },
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        with httpx.Client(base_url=url, trust_env=False, timeout=SECONDS) as http:
            yield Target(url, process, http, log)
    finally:
        process.terminate()
        process.communicate(timeout=SECONDS)


# -- nonsense -----------------------------------------------------------------------------------

Chance = random.Random

TOKENS = [
    b"null", b"true", b"{}", b"[]", b'""', b"-1", b"0", b"1e999", b"NaN", b"1.5",
    str(2**63).encode(), str(2**63 - 1).encode(), b"9" * 400, b'"\\ud800"', b'"\\u0000"',
    b'"\xff"', b"[" * 3_000, b'{"a":' * 3_000, b'"' + b"x" * 9_000 + b'"', b"\n", b"\r\n", b"\0",
]  # fmt: skip
"""What takes the place of a value."""


def uuid(number: int) -> str:
    return f"00000000-0000-7000-8000-{number:012x}"


def body(chance: Chance, sent: int) -> bytes:
    """
    Good records of a source that is replaced now and then, because nonsense uses its numbers up.
    """
    lines = []
    for _ in range(chance.randint(1, 6)):
        record = dict(chance.choice(EXAMPLES))
        record["seq"] = sent * 10 + len(lines) + 1
        if "session" in record:
            record["session"] = uuid(sent // 100 + chance.randint(0, 2))
        if "id" in record and chance.random() < 0.7:
            record["id"] = f"{chance.randint(0, 50):016x}"
        if "source" in record:
            record["source"] = source(sent)
        lines.append(json.dumps(record).encode())
    return b"\n".join(lines) + b"\n"


def source(sent: int) -> str:
    return uuid(0xA0000 + sent // 30)


def with_value(data: bytes, chance: Chance) -> bytes:
    """
    *data* with one of its values, or a key, replaced.
    """
    values = list(re.finditer(rb'"[^"]*"|-?\d+|\btrue\b|\[\]', data))
    if not values:
        return data
    place = chance.choice(values)
    return data[: place.start()] + chance.choice(TOKENS) + data[place.end() :]


def flipped(data: bytes, chance: Chance) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.randint(1, 8)):
        if changed:
            changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def cut(data: bytes, chance: Chance) -> bytes:
    return data[: chance.randint(0, len(data))]


def repeated(data: bytes, chance: Chance) -> bytes:
    first, last = sorted(chance.randint(0, len(data)) for _ in range(2))
    return data[:last] + data[first:last] * chance.randint(1, 20) + data[last:]


def stuffed(data: bytes, chance: Chance) -> bytes:
    place = chance.randint(0, len(data))
    return data[:place] + chance.randbytes(chance.randint(1, 64)) + data[place:]


MUTATIONS: list[Callable[[bytes, Chance], bytes]] = [
    with_value, with_value, with_value, flipped, cut, repeated, stuffed,
]  # fmt: skip


def mutated(data: bytes, chance: Chance) -> bytes:
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        data = chance.choice(MUTATIONS)(data, chance)
    return data


WRONG = [*["body"] * 8, "gzip", "gzip", "head", "head", "length", "chunks", "bytes"]
"""What is wrong with a request, as often as here."""


def request(chance: Chance, sent: int) -> tuple[bytes, bool]:
    """
    A request to take records in, wrong in one way or another; whether it is whole.
    """
    content = body(chance, sent)
    wrong = chance.choice(WRONG)
    if wrong in ("body", "gzip", "chunks"):
        content = mutated(content, chance)
    head = [
        b"POST /v1/records HTTP/1.1",
        b"Host: 127.0.0.1",
        b"Asyncops-Source: " + source(sent).encode(),
        b"Content-Type: application/x-ndjson",
        b"Connection: close",
    ]
    if wrong == "gzip" or chance.random() < 0.2:
        content = gzip.compress(content, 1)
        head.append(b"Content-Encoding: gzip")
        if wrong == "gzip" and chance.random() < 0.8:
            content = mutated(content, chance)
    if wrong == "chunks":
        head.append(b"Transfer-Encoding: chunked")
        size = chance.randint(1, len(content) + 1)
        content = b"".join(
            b"%x\r\n%b\r\n" % (len(part), part)
            for part in (content[n : n + size] for n in range(0, len(content), size))
        )
        content += chance.choice((b"0\r\n\r\n", b"0\r\n\r\n", b"", b"-1\r\n\r\n", b"zz\r\n"))
    elif wrong == "length":
        head.append(b"Content-Length: " + chance.choice([*TOKENS, b"1", b"+5", b"4 4"]))
    else:
        head.append(b"Content-Length: %d" % len(content))
    if wrong == "head":
        place = chance.randrange(len(head))
        head[place] = mutated(head[place], chance)
        if chance.random() < 0.3:
            head.insert(place, chance.choice(head))
    data = b"\r\n".join(head) + b"\r\n\r\n" + content
    return mutated(data, chance) if wrong == "bytes" else data, wrong in ("body", "gzip")


def is_good(about: str, connection: socket.socket, *, wait: bool = False) -> bool:
    """
    Whether what was sent was taken in; else it was refused, or was no whole request.
    """
    answer = answered(connection, wait=wait)
    if not answer:
        assert not wait, about
        return False
    about = f"{about} was answered {answer[:2_000]!r}"
    status, content = int(answer[9:12]), answer.partition(b"\r\n\r\n")[2]
    assert status < 500, about
    if status != 200:
        assert b'{"error":"' in content, about
    return status == 200


def works(target: Target, number: int) -> None:
    """
    A good request is stored as always.
    """
    session = uuid(0xF0000 + number)
    record = {"type": "session", "seq": 1, "at": 1, "session": session, "name": "good"}
    answer = target.http.post(
        "/v1/records",
        content=json.dumps(record) + "\n",
        headers={"Asyncops-Source": uuid(0xB0000 + number)},
    )
    assert (answer.status_code, answer.json()) == (200, {"acknowledged": 1, "rejected": []})
    assert target.http.get(f"/api/sessions/{session}").json()["name"] == "good"


def test_nonsense_in_records_is_answered_and_forgotten(target: Target) -> None:
    """
    Whatever bytes are sent as records, no answer is the collector's own fault, every error says
    what is wrong in JSON, the next good request is stored, memory does not grow, and what was taken
    in can be shown.
    """
    seed = int(os.environ.get("ASYNCOPS_FUZZ_SEED", random.SystemRandom().randrange(2**32)))
    chance = Chance(seed)
    began = time.monotonic()
    settled_bytes = 0
    sent = good = 0
    waiting: deque[tuple[str, socket.socket]] = deque()
    try:
        # not over before that was seen once, whatever a machine was doing meanwhile
        while (elapsed := time.monotonic() - began) < FUZZ_SECONDS or not settled_bytes:
            if not settled_bytes and elapsed > min(FUZZ_SECONDS / 3, 10):
                settled_bytes = target.memory_bytes()
            data, whole = request(chance, sent)
            about = f"seed {seed}, request {sent}: {data[:2_000]!r}"
            sent += 1
            if whole:
                good += is_good(about, target.send(data), wait=True)
            else:
                waiting.append((about, target.send(data)))
            if len(waiting) > AT_ONCE:
                good += is_good(*waiting.popleft())
            if sent % 200 == 0:
                works(target, sent)
        while waiting:
            good += is_good(*waiting.popleft())
    finally:
        for _, connection in waiting:
            connection.close()
    works(target, sent)
    assert target.process.poll() is None
    assert target.memory_bytes() - settled_bytes < MAX_GROWTH_BYTES, f"seed {seed}"
    assert 0.1 < good / sent < 0.9, "either nothing was wrong or everything was"
    shown = target.http.get("/api/sessions", params={"limit": 500}).json()["sessions"]
    assert len(shown) > min(sent // 100, 499)
    for session in chance.sample(shown, min(len(shown), 40)):
        for path in ("/api/sessions/{}", "/api/sessions/{}/events", "/api/sessions/{}/export"):
            told = target.http.get(path.format(session["id"]))
            assert (told.status_code, bool(told.json())) == (200, True), f"seed {seed}"
        page = target.http.get(f"/sessions/{session['id']}", headers={"Accept": "text/html"})
        assert page.status_code == 200, f"seed {seed}"
    assert "Traceback" not in target.log.read_text(), f"seed {seed}"


# -- questions ----------------------------------------------------------------------------------

schema = schemathesis.openapi.from_dict(DOCUMENT).exclude(path_regex="stream")
cases = st.one_of(
    schema.as_strategy(generation_mode=GenerationMode.POSITIVE),
    schema.as_strategy(generation_mode=GenerationMode.NEGATIVE),
)


@pytest.fixture(scope="module")
def sessions(target: Target) -> list[str]:
    """
    Those there are.
    """
    works(target, 0)
    shown = target.http.get("/api/sessions", params={"limit": 500}).json()["sessions"]
    return [session["id"] for session in shown]


@settings(
    max_examples=int(30 * FUZZ_SECONDS), deadline=None, suppress_health_check=list(HealthCheck)
)
@given(case=cases, known=st.none() | st.integers(0, 499))
def test_whatever_is_asked_the_answer_is_as_documented(
    target: Target, sessions: list[str], case: schemathesis.Case, known: int | None
) -> None:
    """
    Whatever is asked of the read API, the answer has a status, a type and a form that its OpenAPI
    document has, and none is the collector's own fault.
    """
    if known is not None and "id" in case.path_parameters:
        case.path_parameters["id"] = sessions[known % len(sessions)]
    response = case.call(base_url=target.url)
    case.validate_response(
        response,
        checks=[
            schemathesis.checks.not_a_server_error,
            status_code_conformance,
            content_type_conformance,
            response_schema_conformance,
        ],
    )


def test_the_document_is_served_and_names_every_path_of_the_api(target: Target) -> None:
    """
    `/api/openapi.json` has every path that answers programs.
    """
    from asyncops.collector import api, exports, openapi, streams

    assert target.http.get("/api/openapi.json").json() == DOCUMENT
    routes = [*api.routes(), *exports.routes(), *streams.routes()]
    paths = {route.path for route in routes}  # type: ignore[attr-defined]
    assert {*DOCUMENT["paths"]} == paths
    assert [route.path for route in openapi.routes()] == ["/api/openapi.json"]  # type: ignore[attr-defined]
