"""
litellm: others' forms, over httpx or over its bridge from httpx to aiohttp.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import attrs
import litellm
from client_openai import MESSAGES, joined, told_by_chat
from clients import TOOLS, Call, Driver, Told, calls_of

__all__ = ["LitellmAnthropic", "LitellmOpenAI"]


class LitellmDriver(Driver):
    distribution = "litellm"
    warnings = ("ignore",)
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

    def asked_model(self) -> str:
        return self.model.partition("/")[2]

    def arguments(self, client: Any, tools: bool) -> dict[str, Any]:
        return {
            "model": self.model,
            "messages": MESSAGES,
            "temperature": 0.5,
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

    def told(self, result: Any) -> Told:
        return attrs.evolve(told_by_chat(result), response_id=None)

    def told_by_stream(self, items: Sequence[Any]) -> Told:
        return attrs.evolve(told_by_chat(joined(items)), response_id=None)

    def said(self, completion: Any) -> tuple[str, tuple[Call, ...]]:
        return completion.get("content") or "", calls_of(completion)


class LitellmOpenAI(LitellmDriver):
    name = "litellm openai"
    dialect = "openai.chat"
    provider = "openai"
    model = "openai/gpt-4o-mini"
    path = "/v1"


class LitellmAnthropic(LitellmDriver):
    name = "litellm anthropic"
    dialect = "anthropic.messages"
    provider = "anthropic"
    model = "anthropic/claude-sonnet-5"
    path = ""
