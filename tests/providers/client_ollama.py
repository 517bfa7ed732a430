"""
ollama: chat and generate.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ollama
from clients import QUESTION, TOOLS, Call, Driver, Told, calls_of

__all__ = ["OllamaChat", "OllamaGenerate"]


class OllamaChat(Driver):
    name = "ollama chat"
    distribution = "ollama"
    dialect = "ollama.chat"
    provider = "ollama"
    model = "llama3.2"
    retries = False

    def open(self, url: str, *, retries: int, timeout: float) -> Any:
        kind = ollama.AsyncClient if self.is_async else ollama.Client
        return kind(host=url, timeout=timeout)

    def arguments(self, tools: bool) -> dict[str, Any]:
        return {
            "model": self.model,
            "messages": [{"role": "user", "content": QUESTION}],
            "options": {"temperature": 0.5},
            "tools": TOOLS if tools else None,
        }

    def ask(self, client: Any, *, tools: bool) -> Any:
        return client.chat(**self.arguments(tools))

    def stream(self, client: Any, *, tools: bool) -> Any:
        return client.chat(stream=True, **self.arguments(tools))

    def told(self, result: Any) -> Told:
        return self.told_by_stream([result])

    def told_by_stream(self, items: Sequence[Any]) -> Told:
        last = items[-1]
        calls = tuple(call for item in items for call in self.said(self.message(item))[1])
        return Told(
            model=last["model"],
            text="".join(self.said(self.message(item))[0] for item in items),
            calls=calls,
            finish_reasons=(last["done_reason"],) if last.get("done_reason") else (),
            prompt_tokens=last.get("prompt_eval_count"),
            completion_tokens=last.get("eval_count"),
        )

    def message(self, item: Any) -> Any:
        return item["message"]

    def said(self, completion: Any) -> tuple[str, tuple[Call, ...]]:
        return completion.get("content") or "", calls_of(completion)


class OllamaGenerate(OllamaChat):
    name = "ollama generate"
    dialect = "ollama.generate"
    has_tools = False

    def ask(self, client: Any, *, tools: bool) -> Any:
        return client.generate(model=self.model, prompt=QUESTION)

    def stream(self, client: Any, *, tools: bool) -> Any:
        return client.generate(model=self.model, prompt=QUESTION, stream=True)

    def message(self, item: Any) -> Any:
        return {"content": item["response"]}

    def said(self, completion: Any) -> tuple[str, tuple[Call, ...]]:
        return (completion, ()) if isinstance(completion, str) else super().said(completion)

    def prompt(self) -> Any:
        return QUESTION
