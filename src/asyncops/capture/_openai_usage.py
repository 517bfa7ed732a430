"""
What OpenAI, and those who speak alike, say of the tokens of a call and of its cost.

DeepSeek and Moonshot name cached tokens in ways of their own; xAI counts reasoning beside the
completion, and Gemini only in the total; OpenRouter, xAI and Perplexity say what the call cost.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from .._events import Cost
from ._bodies import count, first, mapping

__all__ = ["cost_of", "counted"]


def counted(usage: Any) -> dict[str, Any]:
    """
    The tokens that *usage* tells of, by their names in `Answered`.
    """
    if not isinstance(usage, dict):
        return {}
    into = mapping(usage.get("prompt_tokens_details") or usage.get("input_tokens_details"))
    out = mapping(usage.get("completion_tokens_details") or usage.get("output_tokens_details"))
    prompt = first(count(usage.get("prompt_tokens")), count(usage.get("input_tokens")))
    completion = first(count(usage.get("completion_tokens")), count(usage.get("output_tokens")))
    reasoning = first(count(out.get("reasoning_tokens")), count(usage.get("reasoning_tokens")))
    total = count(usage.get("total_tokens"))
    if prompt is not None and completion is not None and total is not None:
        # with OpenAI, and nearly all others, there is nothing beside the two
        beside = total - prompt - completion
        if reasoning is None and beside > 0 and usage.keys() == _ALONE:
            reasoning = beside  # Gemini, as it speaks OpenAI's way
        if reasoning is not None and beside == reasoning:
            completion += reasoning  # and xAI
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "cached_tokens": first(
            count(into.get("cached_tokens")),
            count(usage.get("prompt_cache_hit_tokens")),  # DeepSeek
            count(usage.get("cached_tokens")),  # Moonshot
        ),
        "cache_write_tokens": count(into.get("cache_write_tokens")),
        "reasoning_tokens": reasoning,
    }


_ALONE = frozenset(("prompt_tokens", "completion_tokens", "total_tokens"))
"""What there is in the usage of a server that has no more to tell."""

_TICKS = Decimal(10) ** 10
"""How many of xAI's ticks are a dollar: https://docs.x.ai/developers/cost-tracking"""


def cost_of(usage: Any) -> Cost | None:
    """
    What *usage* says the call cost, in US dollars: OpenRouter's credits are those.
    """
    if not isinstance(usage, dict):
        return None
    cost = usage.get("cost")
    amount = _amount(mapping(cost).get("total_cost", cost))  # Perplexity: an object
    if amount is not None:
        if usage.get("is_byok") is True:
            # with a key of one's own the vendor behind OpenRouter sends a bill, too
            upstream = mapping(usage.get("cost_details")).get("upstream_inference_cost")
            amount += _amount(upstream) or 0
    else:
        ticks = count(usage.get("cost_in_usd_ticks"))  # xAI
        amount = None if ticks is None else ticks / _TICKS
    try:
        return None if amount is None else Cost(amount)
    except ValueError:  # no amount that a call could cost
        return None


def _amount(value: object) -> Decimal | None:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return Decimal(str(value))
    return None
