"""
Conversations with a model behind OpenAI's chat completions. Nothing here says that its calls are to
be recorded: they are, because they go over httpx.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import attrs
import httpx

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
        response = await self.http.post("chat/completions", json=request)
        response.raise_for_status()
        answer = response.json()
        message: dict[str, Any] = answer["choices"][0]["message"]
        if self.on_cost is not None:
            self.on_cost(Decimal(str(answer["usage"]["cost"])))
        return message
