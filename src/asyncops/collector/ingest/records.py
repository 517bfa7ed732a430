"""
Takes records in over HTTP: `POST /v1/records`, lines of JSON, compressed or not.

A body is bounded while it arrives and again while it is inflated. Each line stands for itself: one
that is no record is told to the sender by its number and takes none of the others with it. The
answer is sent after the store has committed.
"""

from __future__ import annotations

import re
import time
import zlib
from collections.abc import Iterable, Sequence

import anyio
import anyio.to_thread
import attrs
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from ..._events import Record, SourceRecord
from ..._exceptions import DecodeError, StoreError
from ..._wire import MAX_RECORD_BYTES, decode, decode_lines
from ..store.base import Batch, RejectedLine, Store

__all__ = ["IngestLimits", "Intake", "ingest_lines", "routes"]

MAX_ERROR_CHARS = 500
"""How much is said about one bad line."""

MAX_LINE_BYTES = MAX_RECORD_BYTES + 64
"""A record and its number."""

MAX_INLINE_BYTES = 65_536
"""Bodies above this are read in a thread, so that the others need not wait."""

DRAINED_BODIES = 8
"""How many times too large a body may be and still be read to its end before it is refused."""

RETRY_AFTER = "1"
"""Seconds after which a sender that was put off should come again."""

_SOURCE = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SEQ = re.compile(
    rb'\s*\{(?:\s*"type"\s*:\s*"\w{0,40}"\s*,)?\s*"seq"\s*:\s*([1-9][0-9]{0,18})(?![0-9])'
)


@attrs.frozen(kw_only=True)
class IngestLimits:
    """
    How much one request may bring.

    Attributes:
        max_body_bytes: As it arrives.
        max_inflated_bytes: After decompression.
        max_lines: In one body.
        body_timeout: Seconds it may take to arrive.
        max_in_flight_bytes: Of all requests together; beyond it they are put off.
    """

    max_body_bytes: int = 4 * 1024 * 1024
    max_inflated_bytes: int = 32 * 1024 * 1024
    max_lines: int = 100_000
    body_timeout: float = 30.0
    max_in_flight_bytes: int = 256 * 1024 * 1024


@attrs.define(eq=False)
class Intake:
    """
    What one collector is taking in right now.

    Attributes:
        in_flight_bytes: Held in memory for requests that have not been answered.
    """

    limits: IngestLimits
    in_flight_bytes: int = 0

    def hold(self, size_bytes: int) -> None:
        if self.in_flight_bytes + size_bytes > self.limits.max_in_flight_bytes:
            raise _put_off("the collector is busy with other requests")
        self.in_flight_bytes += size_bytes

    def release(self, size_bytes: int) -> None:
        self.in_flight_bytes -= size_bytes


def routes() -> list[BaseRoute]:
    """
    What the collector serves from here.
    """
    return [Route("/v1/records", post_records, methods=["POST"])]


async def ingest_lines(
    store: Store, *, project: str, source: str, body: bytes
) -> tuple[int, Sequence[RejectedLine]]:
    """
    Store the lines of *body*, which *source* wrote, and say what became of them.

    Args:
        body: Records, one per line, uncompressed. Empty it only says that the source lives.

    Returns:
        The highest number of that source that is settled, and the lines that are no records.

    Raises:
        StoreError: The store cannot take them now; nothing was stored.
    """
    if len(body) > MAX_INLINE_BYTES:
        records, rejected = await anyio.to_thread.run_sync(_read_lines, body, source)
    else:
        records, rejected = _read_lines(body, source)
    return await _stored(store, project, source, records, rejected), rejected


async def _stored(
    store: Store,
    project: str,
    source: str,
    records: Sequence[Record],
    rejected: Sequence[RejectedLine],
) -> int:
    outcome = await store.add(
        Batch(
            project=project,
            source=source,
            records=records,
            rejected=rejected,
            received_at=time.time_ns(),
        )
    )
    return outcome.acknowledged


async def post_records(request: Request) -> Response:
    source = request.headers.get("asyncops-source", "")
    if not _SOURCE.fullmatch(source):
        raise HTTPException(400, "the header Asyncops-Source must hold the source's id, a UUID")
    intake: Intake = request.app.state.intake
    limits = intake.limits
    body = await _body(request, intake)
    held = len(body)
    try:
        encoding = request.headers.get("content-encoding", "identity").strip().lower()
        compressed = bool(body) and encoding != "identity"
        if len(body) > MAX_INLINE_BYTES // (4 if compressed else 1):
            read = await anyio.to_thread.run_sync(_read, body, compressed, source, limits)
        else:
            read = _read(body, compressed, source, limits)
        size_bytes, records, rejected = read
        if compressed:
            intake.hold(size_bytes)
            held += size_bytes
        acknowledged = await _stored(
            request.app.state.store, request.state.project, source, records, rejected
        )
    except StoreError as error:
        raise _put_off(str(error)) from error
    finally:
        intake.release(held)
    return JSONResponse(
        {
            "acknowledged": acknowledged,
            "rejected": [{"seq": line.seq, "error": line.error} for line in rejected],
        }
    )


# -- bodies -----------------------------------------------------------------------------------


async def _body(request: Request, intake: Intake) -> bytes:
    """
    The body as it arrived; its size is held in *intake* when this returns.
    """
    limits = intake.limits
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("gzip", "identity"):
        raise HTTPException(
            415, "Content-Encoding must be gzip or identity", {"Accept-Encoding": "gzip, identity"}
        )
    length = request.headers.get("content-length", "")
    announced = int(length) if length.isdecimal() else 0
    if announced > limits.max_body_bytes and "expect" in request.headers:
        raise _too_large(limits.max_body_bytes)  # the sender asked first, and waits
    body = bytearray()
    size = 0
    try:
        with anyio.fail_after(limits.body_timeout):
            async for chunk in request.stream():
                size += len(chunk)
                if size > limits.max_body_bytes:
                    # Answering at once and closing would make the sender see a broken connection
                    # instead of the answer, so the rest is read and thrown away, within reason.
                    intake.release(len(body))
                    body.clear()
                    if size > limits.max_body_bytes * DRAINED_BODIES:
                        break
                else:
                    intake.hold(len(chunk))
                    body += chunk
        if size > limits.max_body_bytes:
            raise _too_large(limits.max_body_bytes)
    except TimeoutError:
        intake.release(len(body))
        raise HTTPException(
            408, f"the body took more than {limits.body_timeout:g} s", {"Connection": "close"}
        ) from None
    except ClientDisconnect:
        intake.release(len(body))
        raise HTTPException(400, "the body ended early") from None
    except BaseException:
        intake.release(len(body))
        raise
    return bytes(body)


def _inflated(data: bytes, limit: int) -> bytes:
    """
    What *data*, one gzip member, holds.
    """
    member = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        inflated = member.decompress(data, limit + 1)
    except zlib.error:
        raise HTTPException(400, "the body is not gzip") from None
    if len(inflated) > limit:
        raise _too_large(limit)
    if not member.eof:
        raise HTTPException(400, "the gzip body ends early")
    if member.unused_data:
        raise HTTPException(400, "something follows the gzip body")
    return inflated


def _too_large(limit: int) -> HTTPException:
    return HTTPException(413, f"a body has at most {limit:,} bytes", {"Connection": "close"})


def _put_off(why: str) -> HTTPException:
    return HTTPException(503, why, {"Retry-After": RETRY_AFTER})


# -- lines ------------------------------------------------------------------------------------


def _read(
    body: bytes, compressed: bool, source: str, limits: IngestLimits
) -> tuple[int, Sequence[Record], Sequence[RejectedLine]]:
    """
    How many bytes *body* holds, and what its lines are.
    """
    if compressed:
        body = _inflated(body, limits.max_inflated_bytes)
    elif len(body) > limits.max_inflated_bytes:
        raise _too_large(limits.max_inflated_bytes)
    if body.count(b"\n") > limits.max_lines:
        raise HTTPException(413, f"a body holds at most {limits.max_lines:,} lines")
    return len(body), *_read_lines(body, source)


def _read_lines(body: bytes, source: str) -> tuple[list[Record], list[RejectedLine]]:
    try:
        if len(body) <= MAX_LINE_BYTES or max(map(len, body.split(b"\n"))) <= MAX_LINE_BYTES:
            records = decode_lines(body)
            _check_sender(records, source)
            return records, []
    except DecodeError:
        pass  # one of them is none: line by line it shows which
    records = []
    rejected: list[RejectedLine] = []
    for line in body.split(b"\n"):
        if not line or line.isspace():
            continue
        try:
            if len(line) > MAX_LINE_BYTES:
                raise DecodeError(f"a line has at most {MAX_LINE_BYTES:,} bytes")
            record = decode(line)
            _check_sender((record,), source)
            records.append(record)
        except DecodeError as error:
            rejected.append(RejectedLine(seq=_seq(line), error=str(error)[:MAX_ERROR_CHARS]))
    return records, rejected


def _check_sender(records: Iterable[Record], source: str) -> None:
    for record in records:
        if isinstance(record, SourceRecord) and record.source != source:
            raise DecodeError("this record is of another source than its sender")


def _seq(line: bytes) -> int | None:
    """
    The number of a line that is no record, as far as it can be told.
    """
    match = _SEQ.match(line)
    if match is None:
        return None
    seq = int(match[1])
    return seq if seq < 2**63 else None
