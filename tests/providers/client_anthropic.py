"""
anthropic: messages.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anthropic
from clients import PARAMETERS, QUESTION, Call, Driver, Told, blocks_of

__all__ = ["AnthropicMessages"]


class AnthropicMessages(Driver):
    name = "anthropic messages"
    distribution = "anthropic"
    dialect = "anthropic.messages"
    provider = "anthropic"
    model = "claude-sonnet-5"

    def open(self, url: str, *, retries: int, timeout: float) -> Any:
        kind = anthropic.AsyncAnthropic if self.is_async else anthropic.Anthropic
        return kind(base_url=url, api_key="sk-ant-x", max_retries=retries, timeout=timeout)

    def close_stream(self, stream: Any) -> Any:
        return stream.close()

    def arguments(self, tools: bool) -> dict[str, Any]:
        asked = {
            "model": self.model,
            "max_tokens": 1024,
            "system": "You are terse.",
            "messages": [{"role": "user", "content": QUESTION}],
        }
        tool = {"name": "get_weather", "description": "Weather.", "input_schema": PARAMETERS}
        return {**asked, "tools": [tool]} if tools else asked

    def ask(self, client: Any, *, tools: bool) -> Any:
        return client.messages.create(**self.arguments(tools))

    def stream(self, client: Any, *, tools: bool) -> Any:
        return client.messages.create(stream=True, **self.arguments(tools))

    def told(self, result: Any) -> Told:
        usage = result["usage"]
        text, calls = self.said(result)
        read, written = usage["cache_read_input_tokens"], usage["cache_creation_input_tokens"]
        return Told(
            model=result["model"],
            text=text,
            calls=calls,
            finish_reasons=(result["stop_reason"],) if result["stop_reason"] else (),
            prompt_tokens=usage["input_tokens"] + read + written,
            completion_tokens=usage["output_tokens"] if result["stop_reason"] else None,
            cached_tokens=read,
            cache_write_tokens=written,
            response_id=result["id"],
        )

    def told_by_stream(self, items: Sequence[Any]) -> Told:
        message: dict[str, Any] = {}
        pieces: list[list[str]] = []
        for item in items:
            if item["type"] == "message_start":
                message = {**item["message"], "content": []}
            elif item["type"] == "content_block_start":
                message["content"].append(dict(item["content_block"]))
                pieces.append([])
            elif item["type"] == "content_block_delta":
                delta = item["delta"]
                pieces[item["index"]].append(delta.get("text") or delta.get("partial_json") or "")
            elif item["type"] == "message_delta":
                message["stop_reason"] = item["delta"]["stop_reason"]
                usage = {name: value for name, value in item["usage"].items() if value is not None}
                message["usage"] = {**message["usage"], **usage}
        for block, parts in zip(message["content"], pieces, strict=True):
            block["text" if block["type"] == "text" else "input"] = "".join(parts)
        return self.told(message)

    def said(self, completion: Any) -> tuple[str, tuple[Call, ...]]:
        return blocks_of(completion["content"])
