"""
Clients of httpx and httpx2, sync and async, on a wire that does what a test says.
"""

from __future__ import annotations

import asyncio
import importlib
import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

import attrs
import msgspec

import asyncops.testing
from asyncops._wire import encode

__all__ = [
    "CHAT",
    "WIRES",
    "Body",
    "Wire",
    "answer",
    "asked",
    "events",
    "sse",
    "stream",
]

CHAT = "https://api.openai.com/v1/chat/completions"


def asked(**more: Any) -> dict[str, Any]:
    """
    A request as OpenAI's chat completions have it.
    """
    return {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}], **more}


def answer(text: str = "hi there", **more: Any) -> dict[str, Any]:
    """
    An answer to it.
    """
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-4o-2024-08-06",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12},
        **more,
    }


def stream(*words: str, done: bool = True) -> list[dict[str, Any] | str]:
    """
    The same as a stream: its events.
    """
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "gpt-4o-2024-08-06"}
    events: list[dict[str, Any] | str] = [
        {**head, "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}
    ]
    events += [{**head, "choices": [{"index": 0, "delta": {"content": word}}]} for word in words]
    if done:
        events.append({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        events.append("[DONE]")
    return events


def sse(events: Sequence[dict[str, Any] | str]) -> list[bytes]:
    """
    *events* as server-sent ones, each a piece.
    """
    return [
        b"data: " + (event.encode() if isinstance(event, str) else json.dumps(event).encode())
        + b"\n\n"
        for event in events
    ]  # fmt: skip


@attrs.define
class Body:
    """
    What a transport gives to be read: pieces, one by one, and perhaps an error.

    Attributes:
        closed: How often it was closed.
        read: How many pieces were taken.
    """

    pieces: Sequence[bytes]
    error: BaseException | None = None
    closed: int = 0
    read: int = 0
    reached: asyncio.Event | None = None

    def __iter__(self) -> Iterator[bytes]:
        for piece in self.pieces:
            self.read += 1
            yield piece
        if self.error is not None:
            raise self.error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self:
            yield piece
        if self.reached is not None:
            self.reached.set()
            await asyncio.sleep(60)

    def close(self) -> None:
        self.closed += 1

    async def aclose(self) -> None:
        self.closed += 1


@attrs.frozen
class Wire:
    """
    One of the four kinds of clients.
    """

    package: str
    is_async: bool

    @property
    def httpx(self) -> Any:
        return importlib.import_module(self.package)

    def transport(self, serve: Callable[[Any], Any]) -> Any:
        """
        A transport that answers with what *serve* makes of a request: a status, headers and a
        `Body`; or a ready-made response; or an exception.
        """
        httpx, is_async = self.httpx, self.is_async
        base = httpx.AsyncBaseTransport if is_async else httpx.BaseTransport
        stream_base = httpx.AsyncByteStream if is_async else httpx.SyncByteStream

        def respond(request: Any) -> Any:
            said = serve(request)
            if isinstance(said, BaseException):
                raise said
            if not isinstance(said, tuple):
                return said
            status, headers, body = said
            made = type("Stream", (Streamed, stream_base), {})()
            made.body = body
            return httpx.Response(status, headers=headers, stream=made)

        class Streamed:
            body: Body

            def __iter__(self) -> Iterator[bytes]:
                return iter(self.body)

            def __aiter__(self) -> AsyncIterator[bytes]:
                return self.body.__aiter__()

            def close(self) -> None:
                self.body.close()

            async def aclose(self) -> None:
                self.body.close()

        class Transport(base):  # type: ignore[misc,valid-type]
            def handle_request(self, request: Any) -> Any:
                return respond(request)

            async def handle_async_request(self, request: Any) -> Any:
                await asyncio.sleep(0)
                return respond(request)

        return Transport()

    def client(self, serve: Callable[[Any], Any]) -> Any:
        kind = self.httpx.AsyncClient if self.is_async else self.httpx.Client
        return kind(transport=self.transport(serve))

    def post(self, client: Any, body: Any = None, *, url: str = CHAT, **options: Any) -> Any:
        """
        Post *body* and read the answer as a whole.
        """
        said = {"json": asked() if body is None else body} if "content" not in options else {}

        async def post() -> Any:
            async with client:
                return await client.post(url, **said, **options)

        if self.is_async:
            return asyncio.run(post())
        with client:
            return client.post(url, **said, **options)

    def pieces(
        self, client: Any, body: Any = None, *, most: int | None = None, url: str = CHAT
    ) -> list[bytes]:
        """
        Post *body* and read *most* raw pieces of the answer, or all.
        """
        said = asked(stream=True) if body is None else body

        async def read() -> list[bytes]:
            found: list[bytes] = []
            async with client, client.stream("POST", url, json=said) as response:
                async for piece in response.aiter_raw():
                    found.append(piece)
                    if len(found) == most:
                        break
            return found

        if self.is_async:
            return asyncio.run(read())
        found: list[bytes] = []
        with client, client.stream("POST", url, json=said) as response:
            for piece in response.iter_raw():
                found.append(piece)
                if len(found) == most:
                    break
        return found


WIRES = [Wire(package, is_async) for package in ("httpx", "httpx2") for is_async in (False, True)]


def events(recording: asyncops.testing.Recording) -> list[dict[str, Any]]:
    """
    The events of *recording*, as the wire has them.
    """
    return [msgspec.json.decode(encode(event)) for event in recording.events]
