"""
OpenAI's responses: items go in, items come out.
"""

from __future__ import annotations

from typing import Any

from ._bodies import but, labels, mapping, names_model, text
from ._dialects import Answered, Asked
from ._fragments import joined, merge
from ._openai_usage import cost_of, counted

__all__ = ["OpenAIResponses"]

_SAID = ("instructions", "prompt", "input")
"""What a request says to the model; `prompt` names a template that is kept at OpenAI."""


class OpenAIResponses:
    """
    `/responses`, and `/responses/compact`, which has a model sum them up.
    """

    name = "openai.responses"
    provider = "openai"
    ends = ("/responses", "/responses/compact")

    def matches(self, path: str, body: Any) -> bool:
        if names_model(body) and ("input" in body or "previous_response_id" in body):
            return True
        return isinstance(mapping(mapping(body).get("prompt")).get("id"), str)

    def asked(self, path: str, body: Any) -> Asked:
        said = {name: body[name] for name in _SAID if body.get(name)}
        return Asked(
            model=text(body.get("model")),
            prompt=body.get("input") if said.keys() <= {"input"} else said,
            params=but(body, "model", *_SAID),
        )

    def answered(self, body: Any) -> Answered:
        output = body.get("output")
        items = [mapping(item) for item in output or ()]
        usage = body.get("usage")
        why = text(mapping(body.get("incomplete_details")).get("reason"))
        return Answered(
            model=text(body.get("model")),
            response_id=text(body.get("id")),
            completion=output,
            finish_reasons=labels([why or body.get("status")]),
            # what OpenAI runs itself has no `call_id`
            tool_call_ids=labels(
                item.get("call_id") for item in items if str(item.get("type")).endswith("_call")
            ),
            usage=usage,
            cost=cost_of(usage),
            error=body.get("error"),
            **counted(usage),
        )

    def assembly(self) -> ResponseAssembly:
        return ResponseAssembly()


_GROWS = {
    "response.output_text.delta": ("content", "content_index", "output_text", "text"),
    "response.refusal.delta": ("content", "content_index", "refusal", "refusal"),
    "response.reasoning_text.delta": ("content", "content_index", "reasoning_text", "text"),
    "response.reasoning_summary_text.delta": ("summary", "summary_index", "summary_text", "text"),
}
"""Events that go on with a part of an item: the list it is in, where, its type, and its text."""

_GOES_ON = {
    "response.function_call_arguments.delta": "arguments",
    "response.mcp_call_arguments.delta": "arguments",
    "response.custom_tool_call_input.delta": "input",
    "response.code_interpreter_call_code.delta": "code",
}
"""Events that go on with a text of an item."""

_ENDS = frozenset(
    ("response.completed", "response.incomplete", "response.failed", "response.cancelled")
)


class ResponseAssembly:
    """
    Events into the response they tell of. The last one says all of it once more; the fragments
    before it matter where it never comes.
    """

    def __init__(self) -> None:
        self.has_token = False
        self.complete = False
        self.error: Any = None
        self._response: dict[str, Any] = {}
        self._items: dict[int, dict[str, Any]] = {}

    @property
    def over(self) -> bool:
        return self.complete

    def add(self, event: str, data: Any) -> None:
        kind = data.get("type") or event
        if kind == "error" or (data.get("error") and not kind):
            self.error = data.get("error") or but(data, "type", "sequence_number")
        elif isinstance(data.get("response"), dict):
            self._hear(kind, data["response"])
        elif kind == "response.output_item.added":
            self._items[data["output_index"]] = dict(data["item"])
            self._heard_token(data["item"]["type"].endswith("_call"))
        elif kind == "response.output_item.done":
            self._items[data["output_index"]] = dict(data["item"])
            self._heard_token(True)
        elif kind in _GROWS:
            parts, index, part, name = _GROWS[kind]
            fragment = {"index": data[index], "type": part, name: data["delta"]}
            merge(self._item(data), {parts: [fragment]})
            self._heard_token(True)
        elif kind in _GOES_ON:
            merge(self._item(data), {_GOES_ON[kind]: data["delta"]})
            self._heard_token(True)

    def _hear(self, kind: str, response: dict[str, Any]) -> None:
        if not self.complete:
            self._response = response
            self.complete = kind in _ENDS
            self.error = response.get("error") or self.error
        if self.complete and response.get("output"):
            self._items.clear()

    def _heard_token(self, heard: bool) -> None:
        self.has_token = self.has_token or heard

    def _item(self, data: Any) -> dict[str, Any]:
        return self._items.setdefault(data["output_index"], {})

    def body(self) -> Any:
        if not self._items:
            return self._response
        return {
            **self._response,
            "output": [joined(self._items[index]) for index in sorted(self._items)],
        }
