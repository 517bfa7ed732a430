"""
Conversations with a model behind OpenAI's chat completions, each call recorded as an LLM event.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import attrs
import httpx

import asyncops

__all__ = ["Chat"]


@attrs.frozen(kw_only=True)
class Chat:
    """
    A client of one model.

    Attributes:
        http: How to get there; its base address ends in `/v1`.
        model: Which model.
        on_cost: Told of what each call cost, in USD.
    """

    http: httpx.AsyncClient
    model: str
    on_cost: Callable[[Decimal], None] | None = None

    async def complete(
        self, messages: Sequence[Mapping[str, Any]], *, tools: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        """
        The model's next message.

        Raises:
            httpx.HTTPError: The server could not be reached or did not like the request.
        """
        request: dict[str, Any] = {"model": self.model, "messages": messages}
        if tools:
            request["tools"] = tools
        with asyncops.llm(
            "chat", model=self.model, provider="local", prompt=list(messages)
        ) as span:
            response = await self.http.post("chat/completions", json=request)
            response.raise_for_status()
            answer = response.json()
            usage = answer["usage"]
            cost = asyncops.Cost(str(usage["cost"]))
            message: dict[str, Any] = answer["choices"][0]["message"]
            span.completion = message
            span.usage = usage
            span.prompt_tokens = usage["prompt_tokens"]
            span.completion_tokens = usage["completion_tokens"]
            span.cached_tokens = usage["prompt_tokens_details"]["cached_tokens"]
            span.cost = cost
        if self.on_cost is not None:
            self.on_cost(cost.amount)
        return message
