"""
Embeddings, as OpenAI, Mistral, Together, Voyage and many others make them.
"""

from __future__ import annotations

from typing import Any

from ._bodies import but, count, first, mapping, model_in, names_model, text
from ._dialects import Answered, Asked
from ._openai_usage import cost_of, counted
from ._whole import WholeAssembly

__all__ = ["OpenAIEmbeddings", "vectors"]


class OpenAIEmbeddings:
    """
    `/embeddings`. The vectors are not kept, only how many there are, and of how many numbers.
    """

    name = "openai.embeddings"
    provider = "openai"
    ends = ("/embeddings",)

    def matches(self, path: str, body: Any) -> bool:
        return (
            isinstance(body, dict)
            and "input" in body
            and (names_model(body) or "/deployments/" in path)
        )

    def asked(self, path: str, body: Any) -> Asked:
        return Asked(
            model=text(body.get("model")) or model_in(path),
            prompt=body.get("input"),
            params=but(body, "model", "input"),
        )

    def answered(self, body: Any) -> Answered:
        usage = body.get("usage")
        counts = counted(usage)
        # Voyage tells only the total; all of it went in
        total = count(mapping(usage).get("total_tokens"))
        counts["prompt_tokens"] = first(counts.get("prompt_tokens"), total)
        return Answered(
            model=text(body.get("model")),
            response_id=text(body.get("id")),
            completion=vectors([mapping(item).get("embedding") for item in body.get("data") or ()]),
            usage=usage,
            cost=cost_of(usage),
            **counts,
        )

    def assembly(self) -> WholeAssembly:
        return WholeAssembly()


def vectors(found: list[Any]) -> Any:
    """
    What is kept of vectors: their number, and the number of their dimensions.
    """
    return {"embeddings": len(found), "dimensions": _dimensions(found[0]) if found else None}


def _dimensions(vector: Any) -> int | None:
    if isinstance(vector, str):  # OpenAI's client asks for base64 of 32-bit floats
        return (len(vector) * 3 // 4 - vector[-2:].count("=")) // 4
    return len(vector) if isinstance(vector, list) else None
