"""
The models that are called: how fast they answer, and for how much.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

import attrs

from ..._events import Cost

__all__ = ["MODELS", "Model", "Usage"]


@attrs.frozen(kw_only=True)
class Usage:
    """
    The tokens of one call; cached ones are part of the prompt, reasoning is part of the completion.
    """

    prompt: int
    cached: int
    completion: int
    reasoning: int


@attrs.frozen(kw_only=True)
class Model:
    """
    A model as somebody serves it. Prices are nano-dollars for a token.

    Attributes:
        said: Who says what a call costs: the provider, a price table of the program's, or nobody.
        first: Seconds until the first token.
        speed: Tokens per second after that.
        reasoning: Tokens of thought for each token of the answer.
        caches: Whether what was sent before is read from a cache.
    """

    name: str
    provider: str
    prompt_price: int
    cached_price: int
    completion_price: int
    said: Literal["provider", "computed"] | None
    first: float
    speed: float
    reasoning: float = 0.0
    caches: bool = True

    def cost(self, usage: Usage) -> Cost | None:
        """
        What a call with that *usage* cost, if anybody says.
        """
        if self.said is None:
            return None
        nano = (
            (usage.prompt - usage.cached) * self.prompt_price
            + usage.cached * self.cached_price
            + usage.completion * self.completion_price
        )
        table = "demo-prices 1" if self.said == "computed" else None
        return Cost(Decimal(nano).scaleb(-9), source=self.said, table=table)


MODELS = {
    model.name: model
    for model in (
        Model(
            name="gpt-5",
            provider="openai",
            prompt_price=1_250,
            cached_price=125,
            completion_price=10_000,
            said="computed",
            first=1.1,
            speed=85.0,
            reasoning=1.4,
        ),
        Model(
            name="gpt-5-mini",
            provider="openai",
            prompt_price=250,
            cached_price=25,
            completion_price=2_000,
            said="computed",
            first=0.5,
            speed=140.0,
            reasoning=0.6,
        ),
        Model(
            name="claude-sonnet-4-5",
            provider="anthropic",
            prompt_price=3_000,
            cached_price=300,
            completion_price=15_000,
            said="provider",
            first=0.9,
            speed=75.0,
        ),
        Model(
            name="claude-haiku-4-5",
            provider="anthropic",
            prompt_price=1_000,
            cached_price=100,
            completion_price=5_000,
            said="provider",
            first=0.4,
            speed=160.0,
        ),
        Model(
            name="gemini-2.5-flash",
            provider="google",
            prompt_price=300,
            cached_price=75,
            completion_price=2_500,
            said="provider",
            first=0.35,
            speed=210.0,
            reasoning=0.3,
        ),
        Model(
            name="mistral-small-latest",
            provider="mistral",
            prompt_price=100,
            cached_price=100,
            completion_price=300,
            said="provider",
            first=0.3,
            speed=150.0,
            caches=False,
        ),
        Model(  # on a machine of one's own: nobody says what it costs
            name="llama3.3-house",
            provider="ollama",
            prompt_price=0,
            cached_price=0,
            completion_price=0,
            said=None,
            first=0.7,
            speed=38.0,
            caches=False,
        ),
    )
}
"""All of them, by name."""
