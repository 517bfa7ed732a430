"""
cohere: v2 chat.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cohere
from clients import QUESTION, TOOLS, Call, Driver, Told, calls_of

__all__ = ["CohereChat"]


class CohereChat(Driver):
    name = "cohere"
    distribution = "cohere"
    dialect = "cohere.chat"
    provider = "cohere"
    model = "command-a-03-2025"
    retries_streams = False

    def open(self, url: str, *, retries: int, timeout: float) -> Any:
        kind = cohere.AsyncClientV2 if self.is_async else cohere.ClientV2
        return kind(api_key="x", base_url=url, timeout=timeout, max_retries=retries)

    def close(self, client: Any) -> Any:
        if self.is_async:
            return client.__aexit__(None, None, None)
        return client.__exit__(None, None, None)

    def arguments(self, tools: bool) -> dict[str, Any]:
        asked = {
            "model": self.model,
            "messages": [{"role": "user", "content": QUESTION}],
            "temperature": 0.5,
        }
        return {**asked, "tools": TOOLS} if tools else asked

    def ask(self, client: Any, *, tools: bool) -> Any:
        return client.chat(**self.arguments(tools))

    def stream(self, client: Any, *, tools: bool) -> Any:
        return client.chat_stream(**self.arguments(tools))

    def told(self, result: Any) -> Told:
        text, calls = self.said(result["message"])
        usage = (result.get("usage") or {}).get("billed_units") or {}
        return Told(
            text=text,
            calls=calls,
            finish_reasons=(result["finish_reason"],) if result.get("finish_reason") else (),
            prompt_tokens=usage.get("input_tokens"),
            completion_tokens=usage.get("output_tokens"),
            response_id=result.get("id"),
        )

    def told_by_stream(self, items: Sequence[Any]) -> Told:
        text = ""
        calls: list[Any] = []
        end: dict[str, Any] = {}
        for item in items:
            message = ((item.get("delta") or {}).get("message") or {}) if "delta" in item else {}
            if item["type"] == "content-delta":
                text += message["content"]["text"]
            elif item["type"] == "tool-call-start":
                call = message["tool_calls"]
                function = {"name": call["function"]["name"], "arguments": ""}
                calls.append({"id": call["id"], "function": function})
            elif item["type"] == "tool-call-delta":
                more = message["tool_calls"]["function"]["arguments"]
                calls[item["index"]]["function"]["arguments"] += more
            elif item["type"] == "message-end":
                end = item["delta"]
        content = [{"type": "text", "text": text}]
        message = {"content": content, "tool_calls": calls}
        return self.told({"id": items[0].get("id"), "message": message, **end})

    def said(self, completion: Any) -> tuple[str, tuple[Call, ...]]:
        parts = completion.get("content") or ()
        return "".join(part.get("text", "") for part in parts), calls_of(completion)
