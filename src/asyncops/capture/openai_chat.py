"""
OpenAI's chat completions, and the completions before them, as a great many servers speak them.

The servers differ in what they add: Groq tells usage as `x_groq`, DeepSeek and Moonshot name cached
tokens in ways of their own, xAI counts reasoning beside the completion, Mistral writes content as a
list of parts, OpenRouter, xAI and Perplexity say what the call cost.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from .._events import Cost
from ._bodies import but, count, first, labels, mapping, model_in, one_or_all, text
from ._dialects import Answered, Asked
from ._fragments import Text, joined, merge

__all__ = ["OpenAIChat", "OpenAICompletions", "counted"]


class OpenAIChat:
    """
    `/chat/completions`, also under `/openai/deployments/NAME` of Azure.
    """

    name = "openai.chat"
    provider = "openai"
    ends: tuple[str, ...] = ("/chat/completions",)

    def matches(self, path: str, body: Any) -> bool:
        return True  # the path is one that nothing else has

    def asked(self, path: str, body: Any) -> Asked:
        return Asked(
            model=text(body.get("model")) or model_in(path),
            prompt=body.get("messages"),
            params=but(body, "model", "messages"),
        )

    def answered(self, body: Any) -> Answered:
        choices = [choice for choice in body.get("choices") or () if isinstance(choice, dict)]
        said = [choice.get("message", choice.get("text")) for choice in choices]
        calls = [call for message in said for call in mapping(message).get("tool_calls") or ()]
        usage = body.get("usage")
        return Answered(
            model=text(body.get("model")),
            response_id=text(body.get("id")),
            completion=one_or_all(said),
            finish_reasons=labels(choice.get("finish_reason") for choice in choices),
            tool_call_ids=labels(mapping(call).get("id") for call in calls),
            usage=usage,
            cost=_cost(mapping(usage)),
            **counted(usage),
        )

    def assembly(self) -> ChatAssembly:
        return ChatAssembly()


class OpenAICompletions(OpenAIChat):
    """
    `/completions`: a text goes on, nobody speaks.
    """

    name = "openai.completions"
    ends = ("/completions",)

    def matches(self, path: str, body: Any) -> bool:
        return isinstance(body, dict) and "prompt" in body

    def asked(self, path: str, body: Any) -> Asked:
        return Asked(
            model=text(body.get("model")) or model_in(path),
            prompt=prompt_and_suffix(body),
            params=but(body, "model", "prompt", "suffix"),
        )


def prompt_and_suffix(body: dict[str, Any]) -> Any:
    """
    The prompt; with what shall follow the completion, if that is said.
    """
    if body.get("suffix"):
        return {"prompt": body.get("prompt"), "suffix": body["suffix"]}
    return body.get("prompt")


def counted(usage: Any) -> dict[str, int | None]:
    """
    The tokens that *usage* tells of, by their names in `Answered`.
    """
    if not isinstance(usage, dict):
        return {}
    into = mapping(usage.get("prompt_tokens_details"))
    out = mapping(usage.get("completion_tokens_details"))
    prompt = count(usage.get("prompt_tokens"))
    completion = count(usage.get("completion_tokens"))
    reasoning = first(count(out.get("reasoning_tokens")), count(usage.get("reasoning_tokens")))
    if (
        prompt is not None
        and completion is not None
        and reasoning is not None
        and usage.get("total_tokens") == prompt + completion + reasoning
    ):
        completion += reasoning  # xAI; for others the total is that of prompt and completion
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


_TICKS = Decimal(10) ** 10
"""How many of xAI's ticks are a dollar: https://docs.x.ai/developers/cost-tracking"""


def _cost(usage: Mapping[str, Any]) -> Cost | None:
    """
    What *usage* says the call cost, in US dollars: OpenRouter's credits are those.
    """
    cost = usage.get("cost")
    amount = _amount(mapping(cost).get("total_cost", cost))  # Perplexity: an object
    if amount is not None:
        if usage.get("is_byok") is True:
            # with a key of one's own the vendor behind OpenRouter sends a bill, too
            upstream = mapping(usage.get("cost_details")).get("upstream_inference_cost")
            amount += _amount(upstream) or 0
        return Cost(amount)
    ticks = count(usage.get("cost_in_usd_ticks"))  # xAI
    return None if ticks is None else Cost(ticks / _TICKS)


def _amount(value: object) -> Decimal | None:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return Decimal(str(value))
    return None


class ChatAssembly:
    """
    Chunks, each with fragments of some choices, into the completion they make. Log probabilities,
    which nobody reads, are let go.
    """

    def __init__(self) -> None:
        self.has_token = False
        self.complete = False
        self.error: Any = None
        self._about: dict[str, Any] = {}
        self._choices: dict[int, dict[str, Any]] = {}
        self._unfinished: set[int] = set()

    def add(self, event: str, data: Any) -> None:
        if data.get("error"):
            self.error = data["error"]
        for name in ("id", "model", "usage"):
            if data.get(name):
                self._about[name] = data[name]
        groq = data.get("x_groq")
        if groq and groq.get("usage"):
            self._about["usage"] = groq["usage"]
        for choice in data.get("choices") or ():
            self._add(choice)

    def _add(self, fragment: dict[str, Any]) -> None:
        index = count(fragment.get("index")) or 0
        choice = self._choices.get(index)
        if choice is None:
            choice = self._choices[index] = {"index": index, "finish_reason": None}
            self._unfinished.add(index)
        # some servers that stream the message say the text once more beside it
        delta = fragment.get("delta") or fragment.get("message")
        if isinstance(delta, dict):
            merge(choice.setdefault("message", {}), delta)
            if not self.has_token:
                self.has_token = any(value for name, value in delta.items() if name != "role")
        elif fragment.get("text"):
            choice.setdefault("text", Text()).pieces.append(fragment["text"])
            self.has_token = True
        if fragment.get("usage"):  # Moonshot
            self._about["usage"] = fragment["usage"]
        if fragment.get("finish_reason"):
            choice["finish_reason"] = fragment["finish_reason"]
            self._unfinished.discard(index)
            self.complete = not self._unfinished

    def body(self) -> Any:
        choices = [joined(self._choices[index]) for index in sorted(self._choices)]
        return {**self._about, "choices": choices}
