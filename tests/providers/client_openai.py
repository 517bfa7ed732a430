"""
openai: chat completions, responses and embeddings; also what others built on its form.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import openai
from clients import PARAMETERS, QUESTION, TOOLS, Call, Driver, Told, calls_of

__all__ = ["OpenAIChat", "OpenAIEmbeddings", "OpenAIResponses", "joined", "told_by_chat"]

MESSAGES: list[Any] = [{"role": "user", "content": QUESTION}]


def told_by_chat(result: Any) -> Told:
    """
    What a chat completion says.
    """
    usage = result.get("usage") or {}
    prompt = usage.get("prompt_tokens_details") or {}
    completion = usage.get("completion_tokens_details") or {}
    message = result["choices"][0]["message"] if result.get("choices") else {}
    return Told(
        model=result.get("model"),
        text=message.get("content") or "",
        calls=calls_of(message),
        finish_reasons=tuple(
            choice["finish_reason"] for choice in result["choices"] if choice.get("finish_reason")
        ),
        prompt_tokens=usage.get("prompt_tokens"),
        completion_tokens=usage.get("completion_tokens"),
        cached_tokens=prompt.get("cached_tokens"),
        reasoning_tokens=completion.get("reasoning_tokens"),
        response_id=result.get("id"),
    )


def joined(chunks: Sequence[Any]) -> Any:
    """
    The chat completion that chunks make, as the application would put them together.
    """
    message: dict[str, Any] = {"content": "", "tool_calls": []}
    reason = usage = None
    for chunk in chunks:
        usage = chunk.get("usage") or (chunk.get("x_groq") or {}).get("usage") or usage
        for choice in chunk.get("choices") or ():
            reason = choice.get("finish_reason") or reason
            message["content"] += choice["delta"].get("content") or ""
            for part in choice["delta"].get("tool_calls") or ():
                if part["index"] == len(message["tool_calls"]):
                    function = {"name": part["function"]["name"], "arguments": ""}
                    message["tool_calls"].append({"id": part["id"], "function": function})
                call = message["tool_calls"][part["index"]]
                call["function"]["arguments"] += part["function"].get("arguments") or ""
    first: Any = chunks[0] if chunks else {}
    choice = {"message": message, "finish_reason": reason}
    return {
        "id": first.get("id"), "model": first.get("model"), "choices": [choice], "usage": usage,
    }  # fmt: skip


class OpenAIDriver(Driver):
    distribution = "openai"
    provider = "openai"
    model = "gpt-4o-mini"

    def open(self, url: str, *, retries: int, timeout: float) -> Any:
        kind = openai.AsyncOpenAI if self.is_async else openai.OpenAI
        return kind(base_url=f"{url}/v1", api_key="sk-x", max_retries=retries, timeout=timeout)

    def close_stream(self, stream: Any) -> Any:
        return stream.close()


class OpenAIChat(OpenAIDriver):
    name = "openai chat"
    dialect = "openai.chat"

    def ask(self, client: Any, *, tools: bool) -> Any:
        more = {"tools": TOOLS} if tools else {}
        return client.chat.completions.create(
            model=self.model, messages=MESSAGES, temperature=0.5, **more
        )

    def stream(self, client: Any, *, tools: bool) -> Any:
        more = {"tools": TOOLS} if tools else {}
        return client.chat.completions.create(
            model=self.model,
            messages=MESSAGES,
            stream=True,
            stream_options={"include_usage": True},
            **more,
        )

    def told(self, result: Any) -> Told:
        return told_by_chat(result)

    def told_by_stream(self, items: Sequence[Any]) -> Told:
        return told_by_chat(joined(items))

    def said(self, completion: Any) -> tuple[str, tuple[Call, ...]]:
        return completion.get("content") or "", calls_of(completion)


class OpenAIResponses(OpenAIDriver):
    name = "openai responses"
    dialect = "openai.responses"

    def tools(self, tools: bool) -> dict[str, Any]:
        function = {"type": "function", "name": "get_weather", "parameters": PARAMETERS}
        return {"tools": [{**function, "strict": False}]} if tools else {}

    def ask(self, client: Any, *, tools: bool) -> Any:
        return client.responses.create(
            model=self.model, input=MESSAGES, temperature=0.5, **self.tools(tools)
        )

    def stream(self, client: Any, *, tools: bool) -> Any:
        return client.responses.create(
            model=self.model, input=MESSAGES, stream=True, **self.tools(tools)
        )

    def told(self, result: Any) -> Told:
        usage = result.get("usage") or {}
        text, calls = self.said(result["output"])
        return Told(
            model=result.get("model"),
            text=text,
            calls=calls,
            finish_reasons=(result["status"],),
            prompt_tokens=usage.get("input_tokens"),
            completion_tokens=usage.get("output_tokens"),
            cached_tokens=(usage.get("input_tokens_details") or {}).get("cached_tokens"),
            reasoning_tokens=(usage.get("output_tokens_details") or {}).get("reasoning_tokens"),
            response_id=result.get("id"),
        )

    def told_by_stream(self, items: Sequence[Any]) -> Told:
        if items and items[-1]["type"] == "response.completed":
            return self.told(items[-1]["response"])
        text = "".join(
            item["delta"] for item in items if item["type"] == "response.output_text.delta"
        )
        first = items[0]["response"]
        return Told(model=first["model"], text=text, response_id=first["id"])

    def said(self, completion: Any) -> tuple[str, tuple[Call, ...]]:
        items = completion if isinstance(completion, list) else [completion]
        text = "".join(
            part.get("text", "")
            for item in items
            if item["type"] == "message"
            for part in item["content"]
        )
        functions = (
            {"id": item["call_id"], "function": item}
            for item in items
            if item["type"] == "function_call"
        )
        return text, calls_of({"tool_calls": list(functions)})


class OpenAIEmbeddings(OpenAIDriver):
    name = "openai embeddings"
    dialect = "openai.embeddings"
    model = "text-embedding-3-small"
    streams = False
    has_tools = False

    def ask(self, client: Any, *, tools: bool) -> Any:
        return client.embeddings.create(model=self.model, input=QUESTION, encoding_format="float")

    def told(self, result: Any) -> Told:
        return Told(model=result["model"], prompt_tokens=result["usage"]["prompt_tokens"])

    def said(self, completion: Any) -> tuple[str, tuple[Call, ...]]:
        return "", ()

    def prompt(self) -> Any:
        return QUESTION
