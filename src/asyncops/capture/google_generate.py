"""
Google's Gemini, by its own API and by Vertex: generated content and embedded content.
"""

from __future__ import annotations

from typing import Any

from ._bodies import added, but, count, labels, mapping, model_in, one_or_all, text
from ._dialects import Answered, Asked
from ._fragments import Text, joined
from ._whole import WholeAssembly
from .embeddings import vectors

__all__ = ["GoogleEmbed", "GoogleGenerate"]

_SYSTEM = ("systemInstruction", "system_instruction")


class GoogleGenerate:
    """
    `:generateContent` and `:streamGenerateContent`.
    """

    name = "google.generate"
    provider = "google"
    ends = (":generateContent", ":streamGenerateContent")

    def matches(self, path: str, body: Any) -> bool:
        return True  # the path is one that nothing else has

    def asked(self, path: str, body: Any) -> Asked:
        prompt = body.get("contents")
        system = next((body[name] for name in _SYSTEM if body.get(name)), None)
        if system is not None:
            prompt = {"systemInstruction": system, "contents": prompt}
        return Asked(
            model=model_in(path),
            prompt=prompt,
            params=but(body, "model", "contents", *_SYSTEM),
        )

    def answered(self, body: Any) -> Answered:
        if isinstance(body, list):  # a stream without `alt=sse` is one list of all its pieces
            assembly = self.assembly()
            for piece in body:
                assembly.add("", piece)
            body = assembly.body()
        candidates = [mapping(candidate) for candidate in body.get("candidates") or ()]
        messages = [candidate["content"] for candidate in candidates if candidate.get("content")]
        parts = [
            mapping(part) for message in messages for part in mapping(message).get("parts") or ()
        ]
        ends = [candidate.get("finishReason") for candidate in candidates]
        usage = body.get("usageMetadata")
        return Answered(
            model=text(body.get("modelVersion")),
            response_id=text(body.get("responseId")),
            completion=one_or_all(messages),
            finish_reasons=labels(ends or [mapping(body.get("promptFeedback")).get("blockReason")]),
            tool_call_ids=labels(mapping(part.get("functionCall")).get("id") for part in parts),
            usage=usage,
            **_counted(mapping(usage)),
        )

    def assembly(self) -> GenerateAssembly:
        return GenerateAssembly()


def _counted(usage: Any) -> dict[str, Any]:
    """
    Google counts thoughts beside the candidates, and what tools gave to the model beside the
    prompt.
    """
    thoughts = count(usage.get("thoughtsTokenCount"))
    return {
        "prompt_tokens": added(
            count(usage.get("promptTokenCount")), count(usage.get("toolUsePromptTokenCount"))
        ),
        "completion_tokens": added(count(usage.get("candidatesTokenCount")), thoughts),
        "cached_tokens": count(usage.get("cachedContentTokenCount")),
        "reasoning_tokens": thoughts,
    }


class GenerateAssembly:
    """
    Pieces, each an answer with some parts of it, into the answer they make.
    """

    def __init__(self) -> None:
        self.has_token = False
        self.complete = False
        self.over = False  # more may follow the reason why it finished
        self.error: Any = None
        self._about: dict[str, Any] = {}
        self._candidates: dict[int, dict[str, Any]] = {}
        self._parts: dict[int, list[Any]] = {}
        self._unfinished: set[int] = set()

    def add(self, event: str, data: Any) -> None:
        if data.get("error"):
            self.error = data["error"]
        self._about.update(but(data, "candidates", "error"))
        if mapping(data.get("promptFeedback")).get("blockReason"):
            self.complete = True
        for candidate in data.get("candidates") or ():
            self._add(candidate)

    def _add(self, fragment: dict[str, Any]) -> None:
        index = count(fragment.get("index")) or 0
        candidate = self._candidates.get(index)
        if candidate is None:
            candidate = self._candidates[index] = {}
            self._parts[index] = []
            self._unfinished.add(index)
        content = mapping(fragment.get("content"))
        if content.get("role"):
            candidate["role"] = content["role"]
        for part in content.get("parts") or ():
            _append(self._parts[index], part)
            self.has_token = self.has_token or bool(part.get("text", True))
        if fragment.get("finishReason"):
            candidate["finishReason"] = fragment["finishReason"]
            self._unfinished.discard(index)
            self.complete = not self._unfinished

    def body(self) -> Any:
        return {**self._about, "candidates": [self._whole(at) for at in sorted(self._candidates)]}

    def _whole(self, index: int) -> dict[str, Any]:
        candidate = self._candidates[index]
        content = but(candidate, "finishReason")
        if self._parts[index]:
            content["parts"] = [joined(part) for part in self._parts[index]]
        return {"content": content, "finishReason": candidate.get("finishReason"), "index": index}


def _append(parts: list[Any], part: dict[str, Any]) -> None:
    """
    Add *part* to *parts*: text goes on with a text of the same kind before it, up to a signature,
    which is that of the whole.
    """
    if not isinstance(part.get("text"), str):
        parts.append(part)
        return
    last = parts[-1] if parts else {}
    if (
        isinstance(last.get("text"), Text)
        and "thoughtSignature" not in last
        and bool(last.get("thought")) == bool(part.get("thought"))
    ):
        last["text"].write(part["text"])
        last.update(but(part, "text"))
    else:
        parts.append({**part, "text": Text(part["text"])})


class GoogleEmbed:
    """
    `:embedContent` and `:batchEmbedContents`. The vectors are not kept.
    """

    name = "google.embed"
    provider = "google"
    ends = (":embedContent", ":batchEmbedContents")

    def matches(self, path: str, body: Any) -> bool:
        return True  # the path is one that nothing else has

    def asked(self, path: str, body: Any) -> Asked:
        if "requests" not in body:
            return Asked(
                model=model_in(path),
                prompt=body.get("content"),
                params=but(body, "model", "content"),
            )
        requests = [mapping(request) for request in body["requests"]]
        return Asked(
            model=model_in(path),
            prompt=[request.get("content") for request in requests],
            params={"requests": [but(request, "model", "content") for request in requests]},
        )

    def answered(self, body: Any) -> Answered:
        found = body["embeddings"] if "embeddings" in body else [body["embedding"]]
        usage = body.get("usageMetadata")
        return Answered(
            completion=vectors([mapping(one).get("values") for one in found]),
            prompt_tokens=count(mapping(usage).get("promptTokenCount")),
            usage=usage,
        )

    def assembly(self) -> WholeAssembly:
        return WholeAssembly()
