"""
The model behind HTTP, in the format of OpenAI's chat completions.

It counts the tokens that it really read and wrote, keeps the conversations it has seen so that
their beginnings cost less the next time, and says what each call cost, as OpenRouter does.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import socket
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .model import Model
from .text import count_tokens

__all__ = ["MODEL_NAME", "PROMPT_PRICE", "create_app", "served"]

MODEL_NAME = "stdlib-reader-1"

PROMPT_PRICE = Decimal("0.00000010")
"""USD per token in."""

CACHED_PRICE = Decimal("0.00000002")
"""USD per token in that was the beginning of an earlier conversation."""

COMPLETION_PRICE = Decimal("0.00000040")
"""USD per token out."""

MAX_CACHED_CONVERSATIONS = 1_000


def create_app(model: Model) -> Starlette:
    """
    The server of *model*: `POST /v1/chat/completions` and `GET /v1/models`.
    """
    cache = _PromptCache()

    async def complete(request: Request) -> Response:
        try:
            asked = json.loads(await request.body())
            messages, tools = asked["messages"], asked.get("tools", [])
            if asked["model"] != MODEL_NAME:
                return _error(404, f"there is no model {asked['model']!r} here")
            # ranking takes a while and would keep other conversations waiting
            reply = await asyncio.to_thread(model.reply, messages, tools)
        except ClientDisconnect:  # it was cancelled or killed while it asked
            return Response(status_code=400)
        except (KeyError, TypeError, ValueError) as error:
            return _error(400, f"not a chat completion request: {error!r}")
        message = _message(reply)
        usage = _usage(messages, tools, message, cache)
        return JSONResponse(
            {
                "id": f"chatcmpl-{uuid.uuid4().hex}",
                "object": "chat.completion",
                "created": int(time.time()),
                "model": MODEL_NAME,
                "choices": [
                    {
                        "index": 0,
                        "message": message,
                        "finish_reason": "tool_calls" if "tool_calls" in message else "stop",
                    }
                ],
                "usage": usage,
            }
        )

    async def models(request: Request) -> Response:
        pricing = {
            "prompt": f"{PROMPT_PRICE:f}",
            "input_cache_read": f"{CACHED_PRICE:f}",
            "completion": f"{COMPLETION_PRICE:f}",
        }
        entry = {"id": MODEL_NAME, "object": "model", "owned_by": "asyncops", "pricing": pricing}
        return JSONResponse({"object": "list", "data": [entry]})

    return Starlette(
        routes=[
            Route("/v1/chat/completions", complete, methods=["POST"]),
            Route("/v1/models", models),
        ]
    )


def _error(status_code: int, message: str) -> Response:
    body = {"error": {"message": message, "type": "invalid_request_error"}}
    return JSONResponse(body, status_code=status_code)


def _message(reply: str | Sequence[tuple[str, Mapping[str, Any]]]) -> dict[str, Any]:
    if isinstance(reply, str):
        return {"role": "assistant", "content": reply}
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "id": f"call_{uuid.uuid4().hex[:24]}",
                "type": "function",
                "function": {"name": name, "arguments": json.dumps(arguments)},
            }
            for name, arguments in reply
        ],
    }


class _PromptCache:
    """
    The beginnings of the conversations seen, up to each of their messages.
    """

    def __init__(self) -> None:
        self._seen: OrderedDict[bytes, None] = OrderedDict()

    def cached_tokens(self, parts: Sequence[str]) -> int:
        """
        How many tokens of *parts* began an earlier conversation; this one is remembered, too.
        """
        digest = hashlib.sha256()
        cached = length = 0
        for part in parts:
            digest.update(part.encode())
            length += count_tokens(part)
            key = digest.digest()
            if key in self._seen:
                cached = length
                self._seen.move_to_end(key)
            else:
                self._seen[key] = None
        while len(self._seen) > MAX_CACHED_CONVERSATIONS:
            self._seen.popitem(last=False)
        return cached


def _usage(
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]],
    message: Mapping[str, Any],
    cache: _PromptCache,
) -> dict[str, Any]:
    parts = [json.dumps(tools), *map(json.dumps, messages)]
    prompt = sum(map(count_tokens, parts))
    cached = cache.cached_tokens(parts)
    completion = count_tokens(message["content"] or json.dumps(message["tool_calls"]))
    cost = (prompt - cached) * PROMPT_PRICE + cached * CACHED_PRICE + completion * COMPLETION_PRICE
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached},
        "cost": float(cost),
    }


@contextlib.contextmanager
def served(model: Model) -> Iterator[str]:
    """
    Serve *model* from a thread on a free port of this machine; gives the address.
    """
    config = uvicorn.Config(
        create_app(model),
        log_level="error",
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(
        target=server.run, args=([listener],), name="demo-model-server", daemon=True
    )
    thread.start()
    try:
        # The socket listens already: whoever connects before the thread has started just waits.
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    finally:
        server.should_exit = True
        thread.join(timeout=5)
        listener.close()
