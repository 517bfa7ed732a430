"""
google-genai: generateContent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clients import QUESTION, Call, Driver, Told
from google import genai
from google.genai import types

__all__ = ["GoogleGenerate"]


class GoogleGenerate(Driver):
    name = "google-genai"
    distribution = "google-genai"
    dialect = "google.generate"
    provider = "google"
    model = "gemini-2.5-flash"

    def open(self, url: str, *, retries: int, timeout: float) -> Any:
        again = types.HttpRetryOptions(attempts=retries + 1, initial_delay=0.01, max_delay=0.02)
        options = types.HttpOptions(
            base_url=url, timeout=int(1000 * timeout), retry_options=again if retries else None
        )
        client = genai.Client(api_key="AIza-x", http_options=options)
        return client.aio if self.is_async else client

    def close(self, client: Any) -> Any:
        return client.aclose() if self.is_async else client.close()

    def close_stream(self, stream: Any) -> Any:
        return stream.aclose() if self.is_async else stream.close()

    def arguments(self, tools: bool) -> dict[str, Any]:
        function = types.FunctionDeclaration(
            name="get_weather",
            parameters=types.Schema(
                type=types.Type.OBJECT,
                properties={
                    "city": types.Schema(type=types.Type.STRING),
                    "days": types.Schema(type=types.Type.INTEGER),
                },
            ),
        )
        config = types.GenerateContentConfig(
            temperature=0.5,
            system_instruction="You are terse.",
            tools=[types.Tool(function_declarations=[function])] if tools else None,
            automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
        )
        return {"model": self.model, "contents": QUESTION, "config": config}

    def ask(self, client: Any, *, tools: bool) -> Any:
        return client.models.generate_content(**self.arguments(tools))

    def stream(self, client: Any, *, tools: bool) -> Any:
        return client.models.generate_content_stream(**self.arguments(tools))

    def dumped(self, value: Any) -> Any:
        return value.model_dump(mode="json", by_alias=True, exclude_none=True)

    def told(self, result: Any) -> Told:
        return self.told_by_stream([result])

    def told_by_stream(self, items: Sequence[Any]) -> Told:
        parts = [
            part for item in items for part in item["candidates"][0]["content"].get("parts", ())
        ]
        text, calls = self.said({"parts": parts})
        usage = items[-1]["usageMetadata"]
        reasons = (item["candidates"][0].get("finishReason") for item in items)
        completion = usage.get("candidatesTokenCount")
        if completion is not None:
            completion += usage.get("thoughtsTokenCount", 0)
        return Told(
            model=items[0]["modelVersion"],
            text=text,
            calls=calls,
            finish_reasons=tuple(reason for reason in reasons if reason),
            prompt_tokens=usage.get("promptTokenCount"),
            completion_tokens=completion,
            cached_tokens=usage.get("cachedContentTokenCount"),
            reasoning_tokens=usage.get("thoughtsTokenCount"),
            response_id=items[0]["responseId"],
        )

    def said(self, completion: Any) -> tuple[str, tuple[Call, ...]]:
        parts = completion["parts"]
        functions = (part["functionCall"] for part in parts if "functionCall" in part)
        calls = tuple((each.get("id"), each["name"], each["args"]) for each in functions)
        return "".join(part.get("text", "") for part in parts), calls

    def prompt(self) -> Any:
        return [{"parts": [{"text": QUESTION}], "role": "user"}]
