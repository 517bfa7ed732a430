"""
mistralai: chat completions. Their form is OpenAI's, and at an address that is not Mistral's nothing
else shows who serves them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from client_openai import MESSAGES, joined, told_by_chat
from clients import TOOLS, Call, Driver, Told, calls_of
from mistralai.client import Mistral
from mistralai.client.utils import BackoffStrategy, RetryConfig

__all__ = ["MistralChat"]


class MistralChat(Driver):
    name = "mistralai"
    distribution = "mistralai"
    dialect = "openai.chat"
    provider = "openai"
    model = "mistral-small-latest"

    def open(self, url: str, *, retries: int, timeout: float) -> Any:
        backoff = BackoffStrategy(10, 20, 1.0, 5_000)
        again = RetryConfig("backoff" if retries else "none", backoff, False)
        return Mistral(
            api_key="x", server_url=url, timeout_ms=int(1000 * timeout), retry_config=again
        )

    def close(self, client: Any) -> Any:
        if self.is_async:
            return client.__aexit__(None, None, None)
        return client.__exit__(None, None, None)

    def close_stream(self, stream: Any) -> Any:
        if self.is_async:
            return stream.__aexit__(None, None, None)
        return stream.__exit__(None, None, None)

    def arguments(self, tools: bool) -> dict[str, Any]:
        asked = {"model": self.model, "messages": MESSAGES, "temperature": 0.5}
        return {**asked, "tools": TOOLS} if tools else asked

    def ask(self, client: Any, *, tools: bool) -> Any:
        call = client.chat.complete_async if self.is_async else client.chat.complete
        return call(**self.arguments(tools))

    def stream(self, client: Any, *, tools: bool) -> Any:
        call = client.chat.stream_async if self.is_async else client.chat.stream
        return call(**self.arguments(tools))

    def told(self, result: Any) -> Told:
        return told_by_chat(result)

    def told_by_stream(self, items: Sequence[Any]) -> Told:
        return told_by_chat(joined([item["data"] for item in items]))

    def said(self, completion: Any) -> tuple[str, tuple[Call, ...]]:
        return completion.get("content") or "", calls_of(completion)
