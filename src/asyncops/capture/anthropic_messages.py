"""
Anthropic's messages, also as Vertex and Bedrock pass them on.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ._bodies import added, but, count, labels, mapping, model_in, names_model, text
from ._dialects import Answered, Asked
from ._fragments import Text, joined, merge
from ._openai_usage import cost_of

__all__ = ["AnthropicMessages"]


class AnthropicMessages:
    """
    `/messages`; `:rawPredict` and `:streamRawPredict` of Vertex, `/invoke` of Bedrock. Counting
    tokens is no call of a model.
    """

    name = "anthropic.messages"
    provider = "anthropic"
    ends = (
        "/messages",
        ":rawPredict",
        ":streamRawPredict",
        "/invoke",
        "/invoke-with-response-stream",
    )

    def matches(self, path: str, body: Any) -> bool:
        if path.endswith("awPredict") and "/publishers/anthropic/models/" in path:
            return not path.endswith("/count-tokens:rawPredict")
        if not isinstance(body, dict) or not isinstance(body.get("messages"), list):
            return False
        if path.endswith("/messages"):
            return names_model(body)
        return isinstance(body.get("anthropic_version"), str)

    def asked(self, path: str, body: Any) -> Asked:
        prompt = body.get("messages")
        if body.get("system"):
            prompt = {"system": body["system"], "messages": prompt}
        return Asked(
            model=text(body.get("model")) or model_in(path),
            prompt=prompt,
            params=but(body, "model", "system", "messages"),
        )

    def answered(self, body: Any) -> Answered:
        content = body.get("content")
        usage = body.get("usage")
        counts = _counted(mapping(usage))
        if body.get("stop_reason") is None:
            # cut off: what a stream says of its output when it begins is not what came of it
            counts["completion_tokens"] = None
        blocks = content if isinstance(content, list) else ()
        return Answered(
            model=text(body.get("model")),
            response_id=text(body.get("id")),
            completion={"role": body.get("role"), "content": content} if content else None,
            finish_reasons=labels([body.get("stop_reason")]),
            # what Anthropic runs itself is a `server_tool_use`
            tool_call_ids=labels(
                block.get("id") for block in map(mapping, blocks) if block.get("type") == "tool_use"
            ),
            usage=usage,
            cost=cost_of(usage),
            **counts,
        )

    def assembly(self) -> MessageAssembly:
        return MessageAssembly()


def _counted(usage: Any) -> dict[str, Any]:
    """
    Anthropic counts what is read from and written to a cache beside the input, not within.
    """
    fresh = count(usage.get("input_tokens"))
    cached = count(usage.get("cache_read_input_tokens"))
    written = count(usage.get("cache_creation_input_tokens"))
    out = mapping(usage.get("output_tokens_details"))
    return {
        "prompt_tokens": None if fresh is None else added(fresh, cached, written),
        "completion_tokens": count(usage.get("output_tokens")),
        "cached_tokens": cached,
        "cache_write_tokens": written,
        "reasoning_tokens": count(out.get("thinking_tokens")),
    }


class MessageAssembly:
    """
    Events into the message they tell of.
    """

    def __init__(self) -> None:
        self.has_token = False
        self.complete = False
        self.error: Any = None
        self._message: dict[str, Any] = {}
        self._usage: dict[str, Any] = {}
        self._blocks: dict[int, dict[str, Any]] = {}

    @property
    def over(self) -> bool:
        return self.complete

    def add(self, event: str, data: Any) -> None:
        kind = data.get("type") or event
        if kind == "content_block_delta":
            self._go_on(self._blocks.setdefault(data["index"], {}), data["delta"])
            self.has_token = True
        elif kind == "content_block_start":
            block = self._blocks[data["index"]] = dict(data["content_block"])
            self.has_token = self.has_token or block.get("type") not in ("text", "thinking")
        elif kind == "message_start":
            self._message = dict(data["message"])
            self._hear(self._message.get("usage"))
        elif kind == "message_delta":
            self._message.update(_known(data.get("delta")))
            self._hear(data.get("usage"))
        elif kind == "message_stop":
            self.complete = True
        elif kind == "error":
            self.error = data.get("error") or data

    def _go_on(self, block: dict[str, Any], delta: dict[str, Any]) -> None:
        if delta.get("type") == "citations_delta":
            merge(block, {"citations": [delta["citation"]]})
        else:
            merge(block, but(delta, "type"))

    def _hear(self, usage: Any) -> None:
        # totals of the whole message each time; what is left out has not changed
        self._usage.update(_known(usage))

    def body(self) -> Any:
        content = [_finished(self._blocks[index]) for index in sorted(self._blocks)]
        return {**self._message, "content": content, "usage": self._usage or None}


def _known(values: Any) -> dict[str, Any]:
    return {name: value for name, value in mapping(values).items() if value is not None}


def _finished(block: dict[str, Any]) -> dict[str, Any]:
    """
    *block* put together; input that was cut off stays the text that came.
    """
    growing = block.get("partial_json")
    whole = joined(but(block, "partial_json"))
    if isinstance(growing, Text):
        said = growing.getvalue()
        try:
            whole["input"] = msgspec.json.decode(said) if said else whole.get("input")
        except (msgspec.MsgspecError, RecursionError):
            whole["input"] = said
    return whole
