"""
How many different calls of `work` a peer has delivered, read from what it sent: OTLP as protobuf,
AgentOps' events, LangSmith's runs.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator

NAME = b"work"
"""What the recorded coroutine is called; sessions and the like do not count."""


def delivered(requests: list[tuple[bytes, dict[bytes, bytes], bytes]]) -> int:
    """
    How many different calls are told in *requests*, each a path, its headers and a body.
    """
    found: set[bytes | str] = set()
    for path, headers, body in requests:
        plain = inflated(body, headers.get(b"content-encoding", b""))
        if path.endswith(b"/traces") and headers.get(b"content-type", b"").endswith(b"protobuf"):
            found.update(otlp(plain))
        elif path == b"/v2/create_events":
            found.update(agentops(plain))
        elif path.startswith(b"/runs"):
            found.update(langsmith(plain, headers[b"content-type"]))
    return len(found)


def inflated(body: bytes, encoding: bytes) -> bytes:
    if encoding == b"gzip":
        return gzip.decompress(body)
    if encoding == b"deflate":
        return zlib.decompress(body)
    if encoding == b"zstd":
        import zstandard  # LangSmith brings it; the sink runs in the peer's environment

        return zstandard.ZstdDecompressor().decompressobj().decompress(body)
    return body


def otlp(message: bytes) -> Iterator[bytes]:
    """
    The ids of the spans called `work` in an ExportTraceServiceRequest.
    """
    for number, resource in fields(message):
        if number == 1:
            for number, scope in fields(resource):
                if number == 2:
                    for number, span in fields(scope):
                        if number == 2:
                            told = dict(fields(span))  # of repeated fields the last: not needed
                            # AgentOps adds what kind it is: `work.task`; Logfire announces open
                            # spans, under another id
                            name = told.get(5, b"").partition(b".")[0]
                            if name == NAME and b"pending_span" not in span:
                                yield told[1] + told[2]


def fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """
    The numbers and the contents of a protobuf message's fields; of numbers the content is empty.
    """
    at, end = 0, len(message)
    while at < end:
        tag, at = varint(message, at)
        kind = tag & 7
        if kind == 2:
            size, at = varint(message, at)
            yield tag >> 3, message[at : at + size]
            at += size
        elif kind == 0:
            _, at = varint(message, at)
        else:
            at += 8 if kind == 1 else 4


def varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def agentops(body: bytes) -> Iterator[str]:
    """
    The ids of AgentOps 0.3's actions.
    """
    for event in json.loads(body)["events"]:
        if event.get("action_type") == NAME.decode():
            yield event["id"]


def langsmith(body: bytes, content_type: bytes) -> Iterator[str]:
    """
    The ids of LangSmith's runs that have ended; a run may come as two parts, its begin and its end.
    """
    if b"multipart" not in content_type:
        batch = json.loads(body)
        for run in [*batch.get("post", ()), *batch.get("patch", ())]:
            if run.get("name") == NAME.decode() and run.get("end_time"):
                yield run["id"]
        return
    boundary = content_type.partition(b"boundary=")[2].strip(b'"')
    for part in body.split(b"--" + boundary):
        head, _, content = part.partition(b"\r\n\r\n")
        kind, _, rest = head.partition(b'name="')[2].partition(b'"')[0].partition(b".")
        if kind in (b"post", b"patch") and b"." not in rest:
            run = json.loads(content)
            if run.get("name") == NAME.decode() and run.get("end_time"):
                yield run["id"]
