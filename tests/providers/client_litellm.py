"""
litellm: others' forms, over httpx or over its bridge from httpx to aiohttp.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import attrs
import litellm
from client_openai import MESSAGES, joined, told_by_chat
from clients import QUESTION, TOOLS, Call, Driver, Told, blocks_of, calls_of
from vendor_server import Behaviour

__all__ = ["LitellmAnthropic", "LitellmOpenAI"]


class LitellmDriver(Driver):
    distribution = "litellm"
    warnings = ("ignore",)
    in_step = False
    path: ClassVar[str]

    def open(self, url: str, *, retries: int, timeout: float) -> Any:
        return {
            "api_base": f"{url}{self.path}",
            "api_key": "sk-x",
            "timeout": timeout,
            "max_retries": retries,
        }

    def close(self, client: Any) -> Any:
        return None

    @property
    def broken_off(self) -> str:
        # without a loop it is httpx itself, with one aiohttp
        return "ReadError" if self.is_async else "RemoteProtocolError"

    def asked_model(self) -> str:
        return self.model.partition("/")[2]

    def arguments(self, client: Any, tools: bool) -> dict[str, Any]:
        return {
            "model": self.model,
            "messages": MESSAGES,
            "max_tokens": 100,
            **({"tools": TOOLS} if tools else {}),
            **client,
        }

    def ask(self, client: Any, *, tools: bool) -> Any:
        call = litellm.acompletion if self.is_async else litellm.completion
        return call(**self.arguments(client, tools))

    def stream(self, client: Any, *, tools: bool) -> Any:
        call = litellm.acompletion if self.is_async else litellm.completion
        more = {"stream": True, "stream_options": {"include_usage": True}}
        return call(**more, **self.arguments(client, tools))

    def dumped(self, value: Any) -> Any:
        # it makes up an id and a time of its own
        told = super().dumped(value)
        return {name: told[name] for name in told if name not in ("id", "created")}

    def told(self, result: Any) -> Told:
        # what no vendor said it tells as 0
        told = told_by_chat(result)
        return attrs.evolve(told, reasoning_tokens=told.reasoning_tokens or None)

    def told_by_stream(self, items: Sequence[Any]) -> Told:
        # it repeats the model that was asked for
        return attrs.evolve(self.told(joined(items)), model=None)


class LitellmOpenAI(LitellmDriver):
    name = "litellm openai"
    dialect = "openai.chat"
    provider = "openai"
    model = "openai/gpt-4o-mini"
    path = "/v1"

    def said(self, completion: Any) -> tuple[str, tuple[Call, ...]]:
        return completion.get("content") or "", calls_of(completion)


class LitellmAnthropic(LitellmDriver):
    name = "litellm anthropic"
    dialect = "anthropic.messages"
    provider = "anthropic"
    model = "anthropic/claude-haiku-4-5"
    path = ""
    retries = False

    def does(self, scenario: Any) -> bool:
        if not super().does(scenario):
            return False
        if scenario.stream and scenario.behaviour is Behaviour.MALFORMED:
            return False  # it counts the tokens itself: the vendor did not come to say how many
        # without a loop it keeps what it reads no further: where the last event is not there as a
        # whole, or is an error, the call is open for as long as litellm holds the answer
        kept = scenario.behaviour in (Behaviour.SPLIT, Behaviour.ERROR_IN_STREAM)
        return self.is_async or not kept

    def told(self, result: Any) -> Told:
        # in OpenAI's words
        written = (result.get("usage") or {}).get("cache_creation_input_tokens")
        return attrs.evolve(super().told(result), finish_reasons=None, cache_write_tokens=written)

    def said(self, completion: Any) -> tuple[str, tuple[Call, ...]]:
        return blocks_of(completion["content"] if isinstance(completion, dict) else completion)

    def prompt(self) -> Any:
        return [{"role": "user", "content": [{"type": "text", "text": QUESTION}]}]
