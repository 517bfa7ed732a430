"""
Ollama's own API: chat, generate and embeddings. It streams unless told not to.
"""

from __future__ import annotations

from typing import Any

from ._bodies import but, count, labels, mapping, names_model, text
from ._dialects import Answered, Asked
from ._fragments import joined, merge
from ._whole import WholeAssembly
from .embeddings import vectors

__all__ = ["OllamaChat", "OllamaEmbed", "OllamaGenerate"]

_USAGE = (
    "prompt_eval_count",
    "eval_count",
    "total_duration",
    "load_duration",
    "prompt_eval_duration",
    "eval_duration",
)


def _usage(body: Any) -> Any:
    return {name: body[name] for name in _USAGE if name in body} or None


class OllamaChat:
    """
    `/api/chat`.
    """

    name = "ollama.chat"
    provider = "ollama"
    ends: tuple[str, ...] = ("/api/chat",)

    def matches(self, path: str, body: Any) -> bool:
        # without messages it only loads a model
        return (
            names_model(body) and isinstance(body.get("messages"), list) and body["messages"] != []
        )

    def asked(self, path: str, body: Any) -> Asked:
        return Asked(
            model=text(body.get("model")),
            prompt=body.get("messages"),
            params=but(body, "model", "messages"),
        )

    def answered(self, body: Any) -> Answered:
        message = self._said(body)
        return Answered(
            model=text(body.get("model")),
            completion=message,
            finish_reasons=labels([body.get("done_reason")]),
            tool_call_ids=labels(
                mapping(call).get("id") for call in mapping(message).get("tool_calls") or ()
            ),
            prompt_tokens=count(body.get("prompt_eval_count")),
            completion_tokens=count(body.get("eval_count")),
            usage=_usage(body),
        )

    def _said(self, body: Any) -> Any:
        return body.get("message")

    def assembly(self) -> OllamaAssembly:
        return OllamaAssembly()


class OllamaGenerate(OllamaChat):
    """
    `/api/generate`.
    """

    name = "ollama.generate"
    ends = ("/api/generate",)

    def matches(self, path: str, body: Any) -> bool:
        said = mapping(body).get("prompt")
        return names_model(body) and isinstance(said, str) and said != ""  # else it loads a model

    def asked(self, path: str, body: Any) -> Asked:
        names = ("system", "prompt", "suffix", "images")
        said = {name: body[name] for name in names if body.get(name)}
        return Asked(
            model=text(body.get("model")),
            prompt=said["prompt"] if said.keys() == {"prompt"} else said,
            params=but(body, "model", *names),
        )

    def _said(self, body: Any) -> Any:
        said = {name: body[name] for name in ("thinking", "response", "image") if body.get(name)}
        return said.get("response") if said.keys() <= {"response"} else said


class OllamaAssembly:
    """
    Lines, each an answer with a piece of the text, into the answer they make. Log probabilities,
    which nobody reads, are let go.
    """

    def __init__(self) -> None:
        self.has_token = False
        self.complete = False
        self.error: Any = None
        self._whole: dict[str, Any] = {}

    @property
    def over(self) -> bool:
        return self.complete

    def add(self, event: str, data: Any) -> None:
        if data.get("error"):
            self.error = data["error"]
            return
        merge(self._whole, but(data, "logprobs"))
        if not self.has_token:
            said = data.get("message", but(data, "model", "created_at", "done"))
            self.has_token = any(
                said.get(name) for name in ("content", "thinking", "tool_calls", "response")
            )
        if data.get("done") is True:
            self.complete = True

    def body(self) -> Any:
        return joined(self._whole)


class OllamaEmbed:
    """
    `/api/embed`, and `/api/embeddings` before it. The vectors are not kept.
    """

    name = "ollama.embed"
    provider = "ollama"
    ends = ("/api/embed", "/api/embeddings")

    def matches(self, path: str, body: Any) -> bool:
        return names_model(body) and ("prompt" if path.endswith("ings") else "input") in body

    def asked(self, path: str, body: Any) -> Asked:
        return Asked(
            model=text(body.get("model")),
            prompt=body.get("input", body.get("prompt")),
            params=but(body, "model", "input", "prompt"),
        )

    def answered(self, body: Any) -> Answered:
        return Answered(
            model=text(body.get("model")),
            completion=vectors(body.get("embeddings") or [body.get("embedding")]),
            prompt_tokens=count(body.get("prompt_eval_count")),
            usage=_usage(body),
        )

    def assembly(self) -> WholeAssembly:
        return WholeAssembly()
