"""
A receiver that takes anything, keeps it, and is never what a peer waits for: `sink.py`.

It prints its address. `POST /-/delay` with seconds as its body delays all answers from then on;
`GET /-/told` says what has come, and forgets it. Reading what came is done only then.
"""

from __future__ import annotations

import asyncio
import json

import spans

ANSWERS = {
    b"/v2/create_session": {"status": "success", "jwt": "0", "session_url": "http://127.0.0.1/"},
    b"/v2/reauthorize_jwt": {"status": "success", "jwt": "0"},
    b"/v2/update_session": {"session": {"session_url": "", "token_cost": 0}},
    b"/v3/auth/token": {"token": "0", "project_id": "0", "project_prem_status": "free"},
    b"/v1/info": {"project_name": "peers", "project_url": "http://127.0.0.1/"},
    b"/info": {
        "version": "0",
        "batch_ingest_config": {
            "use_multipart_endpoint": True,
            "scale_up_qsize_trigger": 1000,
            "scale_up_nthreads_limit": 16,
            "scale_down_nempty_trigger": 4,
            "size_limit": 100,
            "size_limit_bytes": 20_971_520,
        },
        "instance_flags": {"zstd_compression_enabled": True},
    },
    b"/version": 3.17,  # MLflow's, not in quotes
    b"/api/2.0/mlflow/experiments/get-by-name": {
        "experiment": {"experiment_id": "1", "name": "peers", "lifecycle_stage": "active"}
    },
}
"""What peers want to hear before they send anything; everything else is answered `{}`."""

HEADS = {
    kind: b"HTTP/1.1 200 OK\r\nContent-Type: " + kind + b"\r\nContent-Length: %d\r\n\r\n"
    for kind in (b"application/json", b"application/x-protobuf")
}


class Kept:
    """
    What has come since somebody asked.
    """

    def __init__(self) -> None:
        self.delay = 0.0
        self.bytes = 0
        self.requests: list[tuple[bytes, dict[bytes, bytes], bytes]] = []

    def told(self) -> dict:
        requests, self.requests = self.requests, []
        size, self.bytes = self.bytes, 0
        paths: dict[str, int] = {}
        for path, _, _ in requests:
            paths[path.decode()] = paths.get(path.decode(), 0) + 1
        return {
            "requests": len(requests),
            "bytes": size,
            "paths": paths,
            "delivered": spans.delivered(requests),
        }


class Connection(asyncio.Protocol):
    """
    One connection: requests are read as they come, and answered in their order.
    """

    def __init__(self, kept: Kept) -> None:
        self.kept = kept
        self.buffer = bytearray()

    def connection_made(self, transport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while self.take():
            pass

    def take(self) -> bool:
        """
        Answer the first request of the buffer, if all of it is here.
        """
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        first, *lines = bytes(self.buffer[:end]).split(b"\r\n")
        headers = {}
        for line in lines:
            name, _, value = line.partition(b":")
            headers[name.lower()] = value.strip()
        method, target, _ = first.split(b" ")
        at = end + 4
        if headers.get(b"transfer-encoding", b"").lower() == b"chunked":
            parts = []
            while True:
                mark = self.buffer.find(b"\r\n", at)
                if mark < 0:
                    return False
                size = int(self.buffer[at:mark].partition(b";")[0], 16)
                if len(self.buffer) < mark + 4 + size:
                    return False
                parts.append(self.buffer[mark + 2 : mark + 2 + size])
                at = mark + 4 + size
                if not size:
                    break
            body = b"".join(parts)
        else:
            size = int(headers.get(b"content-length", 0))
            if len(self.buffer) < at + size:
                if headers.get(b"expect") == b"100-continue":
                    self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                return False
            body = bytes(self.buffer[at : at + size])
            at += size
        del self.buffer[:at]
        self.answer(method, target.partition(b"?")[0], headers, body, at)
        return True

    def answer(self, method: bytes, path: bytes, headers: dict, body: bytes, size: int) -> None:
        if path == b"/-/delay":
            self.kept.delay = float(body)
            self.say({})
        elif path == b"/-/told":
            self.say(self.kept.told())
        else:
            self.kept.bytes += size
            self.kept.requests.append((path, headers, body))
            protobuf = headers.get(b"content-type", b"").endswith(b"protobuf")
            answer = None if protobuf else respond(path, body)
            if self.kept.delay:
                loop = asyncio.get_running_loop()
                loop.call_later(self.kept.delay, self.say, answer)
            else:
                self.say(answer)

    def say(self, answer: object) -> None:
        if answer is None:
            self.transport.write(HEADS[b"application/x-protobuf"] % 0)
        else:
            content = json.dumps(answer).encode()
            self.transport.write(HEADS[b"application/json"] % len(content) + content)


def respond(path: bytes, body: bytes) -> object:
    if path == b"/api/3.0/mlflow/traces":
        told = json.loads(body)
        # as a server with a database says it: the spans need not be uploaded once more
        told["trace"]["trace_info"]["tags"]["mlflow.trace.spansLocation"] = "TRACKING_STORE"
        return told
    return ANSWERS.get(path, {})


async def main() -> None:
    kept = Kept()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(kept), "127.0.0.1", 0, backlog=1_000)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
