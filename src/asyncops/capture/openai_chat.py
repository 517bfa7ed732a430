"""
OpenAI's chat completions, and the completions before them, as a great many servers speak them.

The servers differ in what they add: Groq tells usage as `x_groq`, Moonshot within a choice, Mistral
writes content as a list of parts, some reason beside the content.
"""

from __future__ import annotations

from typing import Any

from ._bodies import but, count, labels, mapping, model_in, one_or_all, text
from ._dialects import Answered, Asked
from ._fragments import Text, Whole, joined, merge
from ._openai_usage import cost_of, counted

__all__ = ["OpenAIChat", "OpenAICompletions", "prompt_and_suffix"]


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
            cost=cost_of(usage),
            # OpenRouter, where it learns too late that the vendor behind it fails
            error=next(filter(None, (part.get("error") for part in (body, *choices))), None),
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


class ChatAssembly:
    """
    Chunks, each with fragments of some choices, into the completion they make. Log probabilities,
    which nobody reads, are let go.
    """

    def __init__(self) -> None:
        self.has_token = False
        self.complete = False
        self.over = False  # usage follows, and `[DONE]`
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
            merge(choice.setdefault("message", Whole(role="assistant")), delta)
            if not self.has_token:
                self.has_token = any(value for name, value in delta.items() if name != "role")
        elif fragment.get("text"):
            choice.setdefault("text", Text()).write(fragment["text"])
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
