"""
What the exporter says over HTTP, and what it makes of the answers, against real sockets.
"""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import gzip
import shutil
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import attrs
import pytest
from processes import program

from asyncops import (
    Answer,
    BatchRejectedError,
    CollectorUnavailableError,
    Configuration,
    HTTPExporter,
    RejectedRecord,
)

pytestmark = pytest.mark.anyio

SOURCE = "0198a0b0-0000-7000-8000-00000000000a"
KEY = "canary-1234567890"
OK = b'{"acknowledged":7,"rejected":[{"seq":5,"error":"odd"}]}'

Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@attrs.define
class Server:
    """
    A server that answers each request with the same bytes, and keeps what it was sent.
    """

    url: str
    requests: list[tuple[dict[str, str], bytes]] = attrs.field(factory=list)


@contextlib.asynccontextmanager
async def serving(answer: bytes | Behaviour) -> AsyncIterator[Server]:
    kept = Server("")

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(
            ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError
        ):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                pairs = (line.partition(": ") for line in head[1:] if line)
                headers = {name.lower(): value for name, _, value in pairs} | {"": head[0]}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                kept.requests.append((headers, body))
                if callable(answer):
                    await answer(reader, writer)
                else:
                    writer.write(answer)
                    await writer.drain()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    kept.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield kept
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            if "handle" in repr(task.get_coro()):
                task.cancel()


def http(status: str, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


@contextlib.asynccontextmanager
async def exporting(
    answer: bytes | Behaviour, **options: float
) -> AsyncIterator[tuple[HTTPExporter, Server]]:
    async with serving(answer) as server:
        configuration = Configuration(
            endpoint=server.url, api_key=KEY, request_timeout=options.get("timeout", 5)
        )
        exporter = HTTPExporter(configuration)
        try:
            yield exporter, server
        finally:
            await exporter.aclose()


async def test_request() -> None:
    """
    A batch is one POST with the source's id, the key, and the lines as they are in the journal.
    """
    async with exporting(http("200 OK", OK)) as (exporter, server):
        answer = await exporter.export(SOURCE, [b'{"seq":1}\n', b'{"seq":2}\n'])
        await exporter.export(SOURCE, [])

    (headers, body), (_, heartbeat) = server.requests
    assert Answer(7, [RejectedRecord(5, "odd")]) == answer
    assert b'{"seq":1}\n{"seq":2}\n' == body
    assert b"" == heartbeat
    assert ("POST /v1/records HTTP/1.1", SOURCE, f"Bearer {KEY}", "application/x-ndjson") == (
        headers[""], headers["asyncops-source"], headers["authorization"], headers["content-type"],
    )  # fmt: skip


async def test_large_batches_are_compressed() -> None:
    """
    A large batch travels compressed, a small one does not.
    """
    large = [b'{"x":"%b"}\n' % (b"abc" * 100)] * 200
    async with exporting(http("200 OK", OK)) as (exporter, server):
        await exporter.export(SOURCE, large)

    ((headers, body),) = server.requests
    assert "gzip" == headers["content-encoding"]
    assert b"".join(large) == gzip.decompress(body)
    assert len(body) < 5_000


@pytest.mark.parametrize(
    ("status", "retry_after", "seconds"),
    [
        ("429 Too Many Requests", "7", 7.0),
        ("503 Service Unavailable", "0.5", 0.5),
        ("500 Internal Server Error", "", None),
        ("408 Request Timeout", "soon", None),
        ("503 Service Unavailable", "99999999", 300.0),
        ("503 Service Unavailable", "-5", 0.0),
        ("503 Service Unavailable", "nan", None),
        ("502 Bad Gateway", "in 100 seconds", 100.0),
    ],
)
async def test_try_again_later(status: str, retry_after: str, seconds: float | None) -> None:
    """
    An answer that asks for patience says for how long, in seconds or as a date.
    """
    if retry_after == "in 100 seconds":
        retry_after = email.utils.formatdate(time.time() + 100, usegmt=True)
    headers = [f"Retry-After: {retry_after}"] if retry_after else []
    async with exporting(http(status, b'{"error":"busy"}', *headers)) as (exporter, _):
        with pytest.raises(CollectorUnavailableError, match=f"{status[:3]} busy") as raised:
            await exporter.export(SOURCE, [b"{}\n"])

    assert int(status[:3]) == raised.value.status_code
    if seconds is None:
        assert raised.value.retry_after is None
    else:
        assert raised.value.retry_after == pytest.approx(seconds, abs=5)


@pytest.mark.parametrize(
    "status", ["400 Bad Request", "401 No", "403 No", "404 No", "413 Big", "422 x"]
)
async def test_refused(status: str) -> None:
    """
    An answer that refuses says what it was.
    """
    async with exporting(http(status, b'{"error":"because"}')) as (exporter, _):
        with pytest.raises(BatchRejectedError, match="because") as raised:
            await exporter.export(SOURCE, [b"{}\n"])

    assert int(status[:3]) == raised.value.status_code


async def test_redirects_are_not_followed() -> None:
    """
    The key is never sent to where a redirect leads.
    """
    async with serving(http("200 OK", OK)) as elsewhere:
        moved = http("307 Temporary Redirect", b"", f"Location: {elsewhere.url}/v1/records")
        async with exporting(moved) as (exporter, _):
            with pytest.raises(BatchRejectedError, match="307"):
                await exporter.export(SOURCE, [b"{}\n"])

    assert [] == elsewhere.requests


@pytest.mark.parametrize(
    "answer",
    [
        http("200 OK", b"<html>welcome</html>"),
        http("200 OK", b'{"acknowledged":"all"}'),
        http("200 OK", b"[]"),
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{",
        b"HTTP/9.9 what\r\n\r\n",
        b"\x00\x01\x02\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
    ],
)
async def test_not_a_collector(answer: bytes) -> None:
    """
    Whatever else answers there, nothing is taken for acknowledged.
    """

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()
        raise ConnectionError

    async with exporting(once) as (exporter, _):
        with pytest.raises(CollectorUnavailableError):
            await exporter.export(SOURCE, [b"{}\n"])


async def test_endless_answer() -> None:
    """
    An answer without an end is given up, not read into memory.
    """

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"x" * 65_536)
            await writer.drain()

    async with exporting(flood) as (exporter, _):
        with pytest.raises(CollectorUnavailableError, match="far too long"):
            await exporter.export(SOURCE, [b"{}\n"])


async def test_inflating_answer() -> None:
    """
    A compressed answer is not inflated.
    """
    bomb = gzip.compress(b"x" * 10_000_000)
    async with exporting(http("200 OK", bomb, "Content-Encoding: gzip")) as (exporter, _):
        with pytest.raises(CollectorUnavailableError, match="not a collector"):
            await exporter.export(SOURCE, [b"{}\n"])


async def test_dripping_answer() -> None:
    """
    The whole request has a deadline, however busily its answer drips in.
    """

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for byte in b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1_000:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.02)

    async with exporting(drip, timeout=0.2) as (exporter, _):
        took = []
        while not took or (took[-1] >= 1 and len(took) < 5):  # a machine may stand still meanwhile
            began = time.monotonic()
            with pytest.raises(CollectorUnavailableError, match=r"within 0\.2 s"):
                await exporter.export(SOURCE, [b"{}\n"])
            took.append(time.monotonic() - began)

    assert min(took) < 1


async def test_nobody_there() -> None:
    """
    A refused connection is an unavailable collector.
    """
    exporter = HTTPExporter(Configuration(endpoint="http://127.0.0.1:9"))
    with pytest.raises(CollectorUnavailableError):
        await exporter.export(SOURCE, [b"{}\n"])
    await exporter.aclose()


async def test_key_is_never_shown() -> None:
    """
    The key is in no error and in no repr.
    """
    shown = []
    async with exporting(http("401 No", b'{"error":"who are you?"}')) as (exporter, _):
        with pytest.raises(BatchRejectedError) as raised:
            await exporter.export(SOURCE, [b"{}\n"])
        shown += [repr(raised.value), repr(exporter), str(vars(raised.value))]

    assert KEY not in "".join(shown)


async def test_what_a_collector_says_of_a_record_is_fit_for_a_log() -> None:
    """
    Whoever answers can put neither the key, nor a line of its own, nor pages into the host's log.
    """
    hostile = f"no\\r\\n\\u001b[31mERROR {KEY} " + "x" * 9_000
    answer = b'{"acknowledged":7,"rejected":[{"seq":5,"error":"%b"}]}' % hostile.encode()
    async with exporting(http("200 OK", answer)) as (exporter, _):
        (rejected,) = (await exporter.export(SOURCE, [b"{}\n"])).rejected

    assert rejected.error.startswith("no   [31mERROR [api_key] x")
    assert 500 == len(rejected.error)


async def test_a_key_in_the_clear_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """
    A key that leaves the machine without encryption is worth a warning, which does not show it.
    """
    for key in (None, KEY):
        configuration = Configuration(
            endpoint="http://192.0.2.1",  # nobody's address (RFC 5737)
            api_key=key,
            request_timeout=0.01,
        )
        exporter = HTTPExporter(configuration)
        with pytest.raises(CollectorUnavailableError):
            await exporter.export(SOURCE, [])
        await exporter.aclose()

    (warning,) = caplog.messages
    assert "without encryption" in warning
    assert "http://192.0.2.1" in warning
    assert KEY not in warning


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """
    A certificate for localhost that signed itself, its key beside it.
    """
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl, to make a certificate")
    path = tmp_path / "certificate.pem"
    subprocess.run(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1"
        " -subj /CN=localhost -addext subjectAltName=DNS:localhost"
        f" -keyout {path}.key -out {path}".split(),
        check=True,
        capture_output=True,
    )
    return path


async def test_a_certificate_nobody_vouches_for_is_refused(certificate: Path) -> None:
    """
    Nothing is sent, the key least of all, to whoever merely claims to be the collector.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, f"{certificate}.key")
    heard: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(65_536))
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0, ssl=context)
    async with server:
        endpoint = f"https://localhost:{server.sockets[0].getsockname()[1]}"
        exporter = HTTPExporter(Configuration(endpoint=endpoint, api_key=KEY, request_timeout=5))
        with pytest.raises(CollectorUnavailableError, match="CERTIFICATE_VERIFY_FAILED"):
            await exporter.export(SOURCE, [b"{}\n"])
        await exporter.aclose()
    assert heard == []


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A proxy variable does not send what was recorded, and the key, elsewhere.
    """
    async with (
        serving(http("200 OK", OK)) as proxy,
        exporting(http("200 OK", OK)) as (exporter, server),
    ):
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("ALL_PROXY", proxy.url)
        await exporter.export(SOURCE, [b"{}\n"])

    assert (1, 0) == (len(server.requests), len(proxy.requests))


def test_the_command_line_of_httpx_is_not_brought_along(tmp_path: Path) -> None:
    """
    With httpx its command line is not imported, and who wants it has it all the same.
    """
    source = """
    import asyncio, sys, asyncops

    sys.modules["httpx2"] = None  # which has none, and goes before httpx where it is installed

    async def main():
        exporter = asyncops.HTTPExporter(asyncops.Configuration(endpoint="http://127.0.0.1:9"))
        try:
            await exporter.export("source", [b"{}"])
        except asyncops.CollectorUnavailableError:
            await exporter.aclose()

    asyncio.run(main())
    import httpx
    print([name for name in ("httpx._main", "click", "pygments", "rich") if name in sys.modules])
    import httpx._main
    sys.argv = ["httpx", "--help"]
    httpx.main()
    """
    with program(source, tmp_path) as running:
        status, out, err = running.wait()

    assert (0, "", "[]") == (status, err, out.splitlines()[0])
    assert "--proxy" in out
