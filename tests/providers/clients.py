"""
Vendors' clients, seen alike: how each is made, asked, read and closed.

A `Driver` says that of one client. It is the client's own public interface that is used; what it
hands out is turned into plain values, so that it can be compared.
"""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Sequence
from typing import Any, ClassVar

import attrs

__all__ = ["PARAMETERS", "QUESTION", "TOOLS", "Driver", "Told", "blocks_of", "calls_of"]

QUESTION = "How high is the 東京タワー? Be brief, s'il vous plaît."

PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city"],
}

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather of the coming days.",
            "parameters": PARAMETERS,
        },
    }
]

Call = tuple[str | None, str, Any]
"""A tool call: its id, the tool, the arguments."""


@attrs.frozen(kw_only=True)
class Told:
    """
    What a client itself reports of a call; None where it says nothing.
    """

    model: str | None = None
    text: str = ""
    calls: tuple[Call, ...] = ()
    finish_reasons: tuple[str, ...] | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    response_id: str | None = None


def calls_of(message: Any) -> tuple[Call, ...]:
    """
    The tool calls of a message as OpenAI writes it, whole.
    """
    return tuple(
        (call.get("id"), call["function"]["name"], _decoded(call["function"]["arguments"]))
        for call in message.get("tool_calls") or ()
    )


def blocks_of(blocks: Sequence[Any]) -> tuple[str, tuple[Call, ...]]:
    """
    Text and tool calls of a message as Anthropic writes it.
    """
    text = "".join(block["text"] for block in blocks if block["type"] == "text")
    calls = tuple(
        (block["id"], block["name"], _decoded(block["input"]))
        for block in blocks
        if block["type"] == "tool_use"
    )
    return text, calls


def _decoded(arguments: Any) -> Any:
    if not isinstance(arguments, str):
        return arguments
    try:
        return json.loads(arguments)
    except ValueError:  # cut off
        return arguments


class Driver:
    """
    One client, with or without a loop.

    Attributes:
        name: What it is called in the matrix.
        distribution: The package whose version is told.
        dialect: What asyncops calls what it speaks.
        provider: Who is taken to serve it.
        model: What is asked for.
        retries: Whether it tries again by itself.
        retries_streams: Likewise, where a stream is asked for.
        streams: Whether it can stream.
        has_tools: Whether tools can be called.
        in_step: Whether each chunk of a stream is handed out before the next has to be there, and
            nothing keeps a stream that its reader has left.
        warnings: Its own, which are no error; as pytest writes filters.
        is_async: Whether it needs a loop.
    """

    name: ClassVar[str]
    distribution: ClassVar[str]
    dialect: ClassVar[str]
    provider: ClassVar[str]
    model: ClassVar[str]
    retries: ClassVar[bool] = True
    retries_streams: ClassVar[bool] = True
    streams: ClassVar[bool] = True
    has_tools: ClassVar[bool] = True
    in_step: ClassVar[bool] = True
    warnings: ClassVar[tuple[str, ...]] = ()

    def __init__(self, *, is_async: bool) -> None:
        self.is_async = is_async

    def __repr__(self) -> str:
        return f"{self.name}-{'async' if self.is_async else 'sync'}"

    @property
    def broken_off(self) -> str:
        """
        What httpx raises where the vendor closes the connection in the midst of an answer.
        """
        return "RemoteProtocolError"

    @property
    def version(self) -> str:
        return importlib.metadata.version(self.distribution)

    def does(self, scenario: Any) -> bool:
        """
        Whether it has what *scenario* is about.
        """
        return (
            (self.streams or not scenario.stream)
            and (self.has_tools or not scenario.tools)
            and (self.retries or not scenario.retries)
            and (self.retries_streams or not (scenario.retries and scenario.stream))
            and (self.in_step or not scenario.in_step)
        )

    # -- what it does -------------------------------------------------------------------------

    def open(self, url: str, *, retries: int, timeout: float) -> Any:
        """
        A new client.
        """
        raise NotImplementedError

    def close(self, client: Any) -> Any:
        """
        Close it; to be awaited if it can be.
        """
        return client.close()

    def ask(self, client: Any, *, tools: bool) -> Any:
        """
        Call the model; to be awaited if it can be.
        """
        raise NotImplementedError

    def stream(self, client: Any, *, tools: bool) -> Any:
        """
        Call it for a stream; to be awaited if it can be, then iterated over.
        """
        raise NotImplementedError

    def close_stream(self, stream: Any) -> Any:
        """
        Close a stream that is not over.
        """
        return stream.aclose() if hasattr(stream, "aclose") else stream.close()

    # -- what it says -------------------------------------------------------------------------

    def dumped(self, value: Any) -> Any:
        """
        What it handed out, as JSON would have it.
        """
        return value.model_dump(mode="json", by_alias=True, exclude_unset=True)

    def told(self, result: Any) -> Told:
        """
        What a result says, dumped.
        """
        raise NotImplementedError

    def told_by_stream(self, items: Sequence[Any]) -> Told:
        """
        What the pieces of a stream say together, dumped.
        """
        raise NotImplementedError

    # -- what was recorded of it --------------------------------------------------------------

    def said(self, completion: Any) -> tuple[str, tuple[Call, ...]]:
        """
        Text and tool calls of a recorded completion.
        """
        raise NotImplementedError

    def asked_model(self) -> str:
        """
        The model as it is named to the vendor.
        """
        return self.model

    def prompt(self) -> Any:
        """
        What must be in the recorded prompt.
        """
        return [{"role": "user", "content": QUESTION}]
