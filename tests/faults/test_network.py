"""
The delivery contract against a bad network: a real collector behind a proxy of ours.

Under each fault the program is not disturbed, and once it is over everything is there, once.
"""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import gzip
import json
import logging
import socket
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest
from processes import Collector, collector
from proxy import (
    Exchange,
    Fault,
    Proxy,
    answering,
    cut_answer,
    cut_request,
    deaf,
    delivering_twice,
    dripping,
    endless,
    going,
    http,
    late,
    losing_the_answer,
    passing,
    proxy,
    refusing,
    silent,
    swallowing_the_answer,
    throttling,
)

import asyncops
from asyncops import (
    ActionEvent,
    Client,
    CollectorUnavailableError,
    Configuration,
    HTTPExporter,
    Session,
)

pytestmark = pytest.mark.anyio

KEY = "canary-1234567890"
REQUEST_TIMEOUT = 0.3

PATIENCE = 30.0
"""How long a collector may take that is well, on a machine that is busy."""

EVENTS = 30


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    """
    The collector behind all the proxies; it looks for no journals of ours.
    """
    directory = tmp_path_factory.mktemp("collector")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ASYNCOPS_JOURNAL_DIR", str(directory / "journal"))
        environment.setenv("ASYNCOPS_DB", str(directory / "collector.db"))
        with collector() as real:
            yield real


@pytest.fixture
def bad(real: Collector) -> Iterator[Proxy]:
    with proxy(real.url) as bad:
        yield bad


def configured(bad: Proxy, *, request_timeout: float = PATIENCE) -> Configuration:
    return Configuration(
        endpoint=bad.url,
        api_key=KEY,
        max_wait_time=0.02,
        request_timeout=request_timeout,
        shutdown_timeout=PATIENCE,
        host_env="off",
    )


async def until(condition: Callable[[], bool]) -> float:
    """
    How long it took until *condition* held, but for moments in which nothing in this process went
    on: each look counts for 50 ms at most.
    """
    took = 0.0
    looked_at = time.monotonic()
    async with asyncio.timeout(2 * PATIENCE):
        while not condition():
            await asyncio.sleep(0.005)
            now = time.monotonic()
            took += min(now - looked_at, 0.05)
            looked_at = now
    return took


def record(names: range) -> list[float]:
    """
    Records an event of each name; how long each call took.
    """
    took = []
    for n in names:
        began = time.perf_counter()
        asyncops.record(ActionEvent(name=str(n)))
        took.append(time.perf_counter() - began)
    return took


def stored(real: Collector, session: Session) -> list[int]:
    """
    The names of the session's events in the store, after a look at what it says of losses.
    """
    told = real.session(session.id)
    assert ("Success", 0) == (told["state"], told["missing_records"])
    names = sorted(int(event["name"]) for event in real.events(session.id))
    assert len(names) == told["events"]
    return names


@attrs.frozen
class Case:
    """
    A fault, and what holds while it lasts.

    Attributes:
        does: What the network does.
        promise: What holds nevertheless.
        delivers: Whether everything gets through although the fault lasts.
        warns: The one warning that the program's log shows; none where empty.
        times_out: Whether nothing but request_timeout ends a request.
        requests: How often it is tried at most within the moment that the fault lasts.
    """

    does: Fault
    promise: str
    delivers: bool = False
    warns: str = ""
    times_out: bool = False
    requests: int = 9


def says(status: str, *headers: str) -> Fault:
    return answering(http(status, b'{"error":"because"}', *headers))


def acknowledges(told: object) -> Fault:
    return answering(http("200 OK", json.dumps({"acknowledged": told}).encode()))


AGAIN = "it is tried again"
TIMEOUT = "a request ends within request_timeout"
STRANGER = "what is not a collector's answer acknowledges nothing"
ONCE = "what was stored and not acknowledged is sent again and stored once"
KEPT = "everything is kept, and one warning says what to look at"
REFUSED = "does not take what asyncops sends"
LIE = "what cannot be true acknowledges nothing"

CASES = {
    "no fault": Case(passing, "everything arrives", delivers=True, requests=99),
    "latency": Case(late(0.1), "it only takes longer", delivers=True),
    "latency beyond the timeout": Case(late(REQUEST_TIMEOUT * 1.5), ONCE, times_out=True),
    "slow line": Case(throttling(2_000), TIMEOUT, times_out=True),
    "deaf": Case(deaf, TIMEOUT, times_out=True),
    "silent": Case(silent, TIMEOUT, times_out=True),
    "refusing": Case(refusing, AGAIN),
    "reset at once": Case(cut_request(0), AGAIN),
    "reset in the head": Case(cut_request(100), AGAIN),
    "reset in the body": Case(cut_request(300), AGAIN),
    "reset before the answer": Case(losing_the_answer, ONCE),
    "reset in the answer's head": Case(cut_answer(20, reset=True), ONCE),
    "reset in the answer's body": Case(cut_answer(-5, reset=True), ONCE),
    "end before the answer": Case(cut_answer(0, reset=False), ONCE),
    "end in the answer's body": Case(cut_answer(-5, reset=False), ONCE),
    "answer swallowed": Case(swallowing_the_answer, ONCE, times_out=True),
    "delivered twice": Case(delivering_twice, "stored once", delivers=True, requests=99),
    "answer drips": Case(
        dripping(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 999, seconds=0.02), TIMEOUT,
        times_out=True,
    ),
    "endless preliminaries": Case(
        endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n", max_bytes=10**6), TIMEOUT,
        times_out=True,
    ),
    "408": Case(says("408 Request Timeout"), AGAIN),
    "429": Case(says("429 Too Many Requests"), AGAIN),
    "500": Case(says("500 Internal Server Error"), AGAIN),
    "502 of a gateway": Case(answering(http("502 Bad Gateway", b"<html>sorry</html>")), AGAIN),
    "503": Case(says("503 Service Unavailable"), AGAIN),
    "retry after 0": Case(says("503 x", "Retry-After: 0"), "no more often than without"),
    "retry after nonsense": Case(says("429 x", "Retry-After: soon"), "as if it were not there"),
    "retry after a past date": Case(
        says("503 x", "Retry-After: " + email.utils.formatdate(0, usegmt=True)),
        "no more often than without",
    ),
    "401": Case(says("401 Unauthorized"), KEPT, warns=REFUSED, requests=1),
    "403": Case(says("403 Forbidden"), KEPT, warns=REFUSED, requests=1),
    "404": Case(says("404 Not Found"), KEPT, warns=REFUSED, requests=1),
    "204": Case(answering(b"HTTP/1.1 204 x\r\n\r\n"), KEPT, warns=REFUSED, requests=1),
    "400 to everything": Case(says("400 Bad Request"), KEPT, warns=REFUSED, requests=12),
    "413 to everything": Case(says("413 Too Large"), KEPT, warns=REFUSED, requests=12),
    "413 to batches": Case(
        answering(http("413 Too Large"), to=lambda body: body.count(b"\n") > 8),
        "the batch is halved until it fits",
        delivers=True,
        requests=99,
    ),
    "echo of the key": Case(
        answering(
            http("401 x", b'{"error":"not you,\\n\\u001b[31m Bearer %b"}' % KEY.encode())
        ),
        "the key is not in the log, whoever repeats it",
        warns="not you,  [31m Bearer [api_key]",
        requests=1,
    ),
    "truncated JSON": Case(answering(http("200 OK", b'{"acknowledged": 12')), STRANGER),
    "nested JSON": Case(answering(http("200 OK", b'{"x":' + b"[" * 100_000)), STRANGER),
    "a page": Case(answering(http("200 OK", b"<html>Sign in to WiFi</html>")), STRANGER),
    "another protocol": Case(going(b"SSH-2.0-OpenSSH_9.2\r\n"), STRANGER),
    "binary": Case(going(bytes(range(256)) * 9), STRANGER),
    "100 MB": Case(
        endless(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n", b" " * 65_536,
                max_bytes=100_000_000),
        STRANGER,
    ),
    "inflating": Case(
        answering(http("200 OK", gzip.compress(b" " * 10**8, 1), "Content-Encoding: gzip")),
        STRANGER,
    ),
    "acknowledged nothing": Case(acknowledges(0), LIE),
    "acknowledged less than nothing": Case(acknowledges(-5), LIE),
    "acknowledged too much": Case(acknowledges(10**9), LIE, warns="it is no collector"),
    "acknowledged far too much": Case(acknowledges(10**30), LIE, warns="it is no collector"),
    "acknowledged a word": Case(acknowledges("all"), LIE),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
async def test_fault(
    real: Collector, bad: Proxy, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    """
    Under each fault of the table its promise holds, no call waits, and once it is over all is in
    the store, once.
    """
    case = CASES[name]
    timeout = REQUEST_TIMEOUT if case.times_out else PATIENCE
    configuration = configured(bad, request_timeout=timeout)
    client = Client(configuration)
    bad.become(case.does)
    with caplog.at_level(logging.DEBUG, "asyncops"):
        async with Session(configuration=configuration, client=client) as session:
            took = record(range(EVENTS))
            delivery, journal = client._delivery, client._journal
            assert delivery is not None
            assert journal is not None
            if case.delivers:
                await until(lambda: journal.backlog == 0)
            else:
                ended_after = await until(lambda: delivery.tried)
                assert ended_after < (REQUEST_TIMEOUT if case.times_out else 5) + 0.5
                await asyncio.sleep(0.1)
                assert journal.backlog >= EVENTS
                assert not delivery.answered
            requests = bad.requests
            took += record(range(EVENTS, EVENTS + 3))
            bad.become(passing)
            assert await client.flush(timeout=PATIENCE)
        assert await client.aclose()

    assert list(range(EVENTS + 3)) == stored(real, session)
    assert {} == journal.dropped
    assert requests <= case.requests, case.promise
    assert statistics.median(took) < 0.002
    assert max(took) < 0.2
    assert bad.said_bytes < 20_000_000
    warnings = [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]
    assert len(warnings) == bool(case.warns), (case.promise, warnings)
    assert case.warns in "".join(warnings), case.promise
    assert KEY not in caplog.text


async def test_one_at_a_time_in_order(real: Collector, bad: Proxy) -> None:
    """
    One request of a source is under way at a time, and they follow the order of the journal.
    """
    configuration = Configuration(max_queue_size=20).over(configured(bad))
    client = Client(configuration)
    numbers: list[int] = []
    at_once = [0, 0]

    async def watched(exchange: Exchange) -> None:
        at_once[0] += 1
        at_once[1] = max(at_once)
        request = await exchange.request()
        lines = request.partition(b"\r\n\r\n")[2].splitlines()
        numbers.extend(json.loads(line)["seq"] for line in lines)
        await asyncio.sleep(0.005)
        answer = await exchange.forward(request)
        at_once[0] -= 1
        await exchange.say(answer)

    bad.become(watched)
    async with Session(configuration=configuration, client=client) as session:
        record(range(300))
        assert await client.flush(timeout=PATIENCE)
    assert await client.aclose()

    assert list(range(300)) == stored(real, session)
    assert 1 == at_once[1]
    assert list(range(1, len(numbers) + 1)) == numbers


async def test_connection_that_is_never_made() -> None:
    """
    An address that takes no connection is given up within request_timeout.
    """
    with contextlib.ExitStack() as sockets:
        full = sockets.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):  # what the kernel queues; from then on it answers to none
            waiting = sockets.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        url = f"http://127.0.0.1:{full.getsockname()[1]}"
        exporter = HTTPExporter(Configuration(endpoint=url, request_timeout=0.2))
        took = []
        while not took or (took[-1] >= 0.8 and len(took) < 5):  # a machine may stand still
            began = time.monotonic()
            with pytest.raises(CollectorUnavailableError):
                await exporter.export("0198a0b0-0000-7000-8000-00000000000a", [b"{}\n"])
            took.append(time.monotonic() - began)
        await exporter.aclose()

    assert min(took) < 0.8


async def test_redirects_lead_nowhere(
    real: Collector, bad: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    """
    Neither a record nor the key goes where a redirect leads, and nothing is lost over it.
    """
    configuration = configured(bad)
    client = Client(configuration)
    with proxy(real.url) as elsewhere:
        bad.become(says("301 Moved", f"Location: {elsewhere.url}/v1/records"))
        async with Session(configuration=configuration, client=client) as session:
            record(range(EVENTS))
            await until(lambda: bool(caplog.messages))
            bad.become(passing)
        assert await client.aclose()
        assert 0 == elsewhere.connections

    assert list(range(EVENTS)) == stored(real, session)
    (warning,) = caplog.messages
    assert "301" in warning


async def test_backing_off(real: Collector, bad: Proxy) -> None:
    """
    The longer it fails the less often it is tried, however often the program asks to hurry.
    """
    configuration = configured(bad)
    client = Client(configuration)
    bad.become(says("503 Service Unavailable"))
    async with Session(configuration=configuration, client=client) as session:
        for n in range(300):
            record(range(n, n + 1))
            await asyncio.sleep(0.005)
        quiet = bad.requests
        began = time.monotonic()
        for _ in range(250):
            assert not await client.flush(timeout=0.002)
        hurried = bad.requests - quiet
        elapsed = time.monotonic() - began
        bad.become(passing)
    assert await client.aclose()

    assert list(range(300)) == stored(real, session)
    # between nothing and 1, 2, 4 ... seconds, each
    assert 1 <= quiet <= 14
    # at most every LEAST_BACKOFF_SECONDS
    assert 1 <= hurried <= 1 + elapsed / 0.05


@pytest.mark.parametrize("how", ["seconds", "date"])
async def test_pause_that_was_asked_for(real: Collector, bad: Proxy, how: str) -> None:
    """
    A pause that the collector asks for is kept, also by who is in a hurry.
    """
    configuration = configured(bad)
    client = Client(configuration)
    async with Session(configuration=configuration, client=client) as session:
        record(range(EVENTS))
        assert await client.flush(timeout=PATIENCE)

        asked_at: list[float] = []
        came_at: list[float] = []

        async def asking(exchange: Exchange) -> None:
            await exchange.request()
            asked_at.append(time.monotonic())
            # a date has no parts of a second, so this is one between 0.6 and 1.6 seconds from now
            date = email.utils.formatdate(time.time() + 1.6, usegmt=True)
            asked = "0.6" if how == "seconds" else date
            await exchange.say(http("503 Service Unavailable", b"", f"Retry-After: {asked}"))

        async def noting(exchange: Exchange) -> None:
            came_at.append(time.monotonic())
            await passing(exchange)

        bad.become(asking)
        record(range(EVENTS, 2 * EVENTS))
        await until(lambda: bool(asked_at))
        await until(lambda: not client._delivery.answered)  # type: ignore[union-attr]
        bad.become(noting)
        async with asyncio.timeout(PATIENCE):
            while not came_at:
                await client.flush(timeout=0.01)
        assert came_at[0] - asked_at[-1] > 0.55
    assert await client.aclose()

    assert list(range(2 * EVENTS)) == stored(real, session)


async def test_pause_without_an_end(bad: Proxy, tmp_path: Path) -> None:
    """
    A collector that asks for a pause of years holds up no flush and no end, and costs no record.
    """
    configuration = configured(bad)
    client = Client(configuration)
    bad.become(says("429 Too Many Requests", "Retry-After: 99999999"))
    async with Session(configuration=configuration, client=client):
        record(range(EVENTS))
        await until(lambda: client._delivery.tried)  # type: ignore[union-attr]
        assert not await client.flush(timeout=0.2)
        began = time.monotonic()
    assert time.monotonic() - began < 0.1
    assert client._journal is not None
    assert EVENTS <= client._journal.backlog
    assert 1 == bad.requests
    assert list((tmp_path / "journal").glob("*/*/*.seg"))


async def test_one_record_that_is_refused(
    real: Collector, bad: Proxy, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """
    A record that the collector takes for nonsense is set aside with the reason, counted here and
    there, and spares all others.
    """
    configuration = configured(bad)
    client = Client(configuration)
    bad.become(answering(http("400 x", b'{"error":"odd"}'), to=lambda body: b"poison" in body))
    async with Session(configuration=configuration, client=client) as session:
        record(range(EVENTS))
        asyncops.record(ActionEvent(name="poison"))
        record(range(EVENTS, 2 * EVENTS))
        assert client._journal is not None
        journal = client._journal
    assert await client.aclose()

    told = real.session(session.id)
    assert list(map(str, range(2 * EVENTS))) == [e["name"] for e in real.events(session.id)]
    assert ("Success", 1, 1) == (
        told["state"],
        told["missing_records"],
        journal.dropped["rejected"],
    )
    (path,) = (tmp_path / "journal").rglob("set-aside.ndjson")
    (aside,) = map(json.loads, path.read_text().splitlines())
    assert ("poison", "400 odd") == (json.loads(aside["line"])["name"], aside["reason"])
    (warning,) = caplog.messages
    assert "refused a record" in warning


async def test_one_record_that_is_too_large(real: Collector, bad: Proxy) -> None:
    """
    A record that is too large for what lies between arrives without its payload; others with it.
    """
    configuration = configured(bad)
    client = Client(configuration)
    bad.become(answering(http("413 Too Large"), to=lambda body: len(body) > 4_000))
    async with Session(configuration=configuration, client=client) as session:
        asyncops.record(ActionEvent(name="large", params={"text": "x" * 9_000}))
        asyncops.record(ActionEvent(name="small", params={"text": "y" * 90}))
    assert await client.aclose()

    assert 0 == real.session(session.id)["missing_records"]
    params = {event["name"]: event["params"] for event in real.events(session.id)}
    assert {"$truncated": "record", "size": 9_011} == params["large"]
    assert {"text": "y" * 90} == params["small"]


async def test_line_that_comes_and_goes(real: Collector, bad: Proxy) -> None:
    """
    Faults that follow each other in a stream of events leave no gap and no repetition.
    """
    configuration = configured(bad)
    client = Client(configuration)
    faults = [losing_the_answer, refusing, cut_request(300), delivering_twice, late(0.05)]
    async with Session(configuration=configuration, client=client) as session:
        for turn in range(10):
            bad.become(faults[turn // 2] if turn % 2 else passing)
            for n in range(200):
                record(range(turn * 200 + n, turn * 200 + n + 1))
                if n % 10 == 0:
                    await asyncio.sleep(0.005)
        bad.become(passing)
        assert await client.flush(timeout=PATIENCE)
    assert await client.aclose()

    assert list(range(2_000)) == stored(real, session)
