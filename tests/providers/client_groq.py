"""
groq: OpenAI's form, and usage in a place of its own.
"""

from __future__ import annotations

from typing import Any

import groq
from client_openai import MESSAGES, OpenAIChat
from clients import TOOLS

__all__ = ["GroqChat"]


class GroqChat(OpenAIChat):
    name = "groq"
    distribution = "groq"
    model = "llama-3.3-70b-versatile"

    def open(self, url: str, *, retries: int, timeout: float) -> Any:
        kind = groq.AsyncGroq if self.is_async else groq.Groq
        return kind(base_url=url, api_key="gsk-x", max_retries=retries, timeout=timeout)

    def stream(self, client: Any, *, tools: bool) -> Any:
        more = {"tools": TOOLS} if tools else {}
        return client.chat.completions.create(
            model=self.model, messages=MESSAGES, stream=True, **more
        )
