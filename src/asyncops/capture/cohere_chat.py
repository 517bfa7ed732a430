"""
Cohere's second API: chat and embeddings.
"""

from __future__ import annotations

from typing import Any

from ._bodies import but, count, first, labels, mapping, names_model, text
from ._dialects import Answered, Asked
from ._fragments import joined, merge
from ._whole import WholeAssembly
from .embeddings import vectors

__all__ = ["CohereChat", "CohereEmbed"]


class CohereChat:
    """
    `/v2/chat`. An answer does not say which model gave it.
    """

    name = "cohere.chat"
    provider = "cohere"
    ends = ("/v2/chat",)

    def matches(self, path: str, body: Any) -> bool:
        return names_model(body) and isinstance(body.get("messages"), list)

    def asked(self, path: str, body: Any) -> Asked:
        return Asked(
            model=text(body.get("model")),
            prompt=body.get("messages"),
            params=but(body, "model", "messages"),
        )

    def answered(self, body: Any) -> Answered:
        message = body.get("message")
        usage = body.get("usage")
        return Answered(
            response_id=text(body.get("id")),
            completion=message,
            finish_reasons=labels([body.get("finish_reason")]),
            tool_call_ids=labels(
                mapping(call).get("id") for call in mapping(message).get("tool_calls") or ()
            ),
            usage=usage,
            **_counted(mapping(usage)),
        )

    def assembly(self) -> ChatAssembly:
        return ChatAssembly()


def _counted(usage: Any) -> dict[str, Any]:
    """
    Cohere tells the tokens that are billed and those that the model read, which are more: its own
    preamble is among them. Those that are billed count, as OpenTelemetry has it.
    """
    billed, read = mapping(usage.get("billed_units")), mapping(usage.get("tokens"))
    prompt = first(count(billed.get("input_tokens")), count(read.get("input_tokens")))
    cached = count(usage.get("cached_tokens"))
    return {
        "prompt_tokens": prompt,
        "completion_tokens": first(
            count(billed.get("output_tokens")), count(read.get("output_tokens"))
        ),
        # of what the model read; of what is billed it cannot be more than there is
        "cached_tokens": cached if cached is None or prompt is None else min(cached, prompt),
    }


_GROWS = {
    "content-start": "content",
    "content-delta": "content",
    "tool-call-start": "tool_calls",
    "tool-call-delta": "tool_calls",
}
"""Events that begin an item of a list of the message, or go on with one."""


class ChatAssembly:
    """
    Events into the message they tell of.
    """

    def __init__(self) -> None:
        self.has_token = False
        self.complete = False
        self.error: Any = None
        self._about: dict[str, Any] = {}
        self._message: dict[str, Any] = {}

    @property
    def over(self) -> bool:
        return self.complete

    def add(self, event: str, data: Any) -> None:
        kind = data.get("type") or event
        delta = mapping(data.get("delta"))
        said = mapping(delta.get("message"))
        if kind == "message-start":
            self._about["id"] = data.get("id")
            self._message["role"] = said.get("role")
        elif kind == "message-end":
            self._about.update(but(delta, "error"))
            self.error = delta.get("error")
            self.complete = True
        elif kind == "tool-plan-delta":
            merge(self._message, {"tool_plan": said["tool_plan"]})
            self.has_token = True
        elif kind == "citation-start":
            merge(self._message, {"citations": [said["citations"]]})
        elif kind in _GROWS:
            name = _GROWS[kind]
            merge(self._message, {name: [{**said[name], "index": data["index"]}]})
            self.has_token = self.has_token or kind != "content-start"

    def body(self) -> Any:
        return {**self._about, "message": joined(self._message) or None}


class CohereEmbed:
    """
    `/v2/embed`. The vectors are not kept.
    """

    name = "cohere.embed"
    provider = "cohere"
    ends = ("/v2/embed",)

    def matches(self, path: str, body: Any) -> bool:
        return names_model(body) and "input_type" in body

    def asked(self, path: str, body: Any) -> Asked:
        said = {name: body[name] for name in ("texts", "images", "inputs") if body.get(name)}
        return Asked(
            model=text(body.get("model")),
            prompt=said["texts"] if said.keys() == {"texts"} else said,
            params=but(body, "model", "texts", "images", "inputs"),
        )

    def answered(self, body: Any) -> Answered:
        # the same vectors once for each type of number that was asked for
        found: list[Any] = next(filter(None, mapping(body.get("embeddings")).values()), [])
        meta = body.get("meta")
        billed = mapping(mapping(meta).get("billed_units"))
        return Answered(
            response_id=text(body.get("id")),
            completion=vectors(found),
            prompt_tokens=count(billed.get("input_tokens")),
            usage=meta,
        )

    def assembly(self) -> WholeAssembly:
        return WholeAssembly()
