"""
Dialects: the ways in which vendors write a call of a model down.

A dialect reads JSON; it never sees a socket, a stream or a session. It need not be careful: what it
raises means only that it does not know this body, and the call is recorded without what it would
have read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import attrs

from .._events import Cost

__all__ = ["Answered", "Asked", "Assembly", "Dialect"]


@attrs.frozen(kw_only=True)
class Asked:
    """
    What a request asks for.

    Attributes:
        model: The model.
        prompt: The messages, as the vendor writes them; with what belongs to them beside them
            (system instructions, say) the part of the body that holds both.
        params: Everything else in the body: temperature, tools ...
    """

    model: str | None = None
    prompt: Any = None
    params: Mapping[str, Any] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class Answered:
    """
    What an answer says.

    Attributes:
        model: The model that answered.
        response_id: The vendor's id of the answer.
        completion: The message, as the vendor writes it; a list where there are several.
        finish_reasons: Why it stopped, in the vendor's words, one for each message.
        tool_call_ids: The ids of the tool calls it asks for.
        prompt_tokens: Tokens in, those read from and written to a cache included.
        completion_tokens: Tokens out, reasoning included.
        cached_tokens: The part of `prompt_tokens` read from a cache.
        cache_write_tokens: The part of `prompt_tokens` written to a cache.
        reasoning_tokens: The part of `completion_tokens` that was reasoning.
        usage: The vendor's own usage object, unchanged.
        cost: What the answer says it cost.
        error: What it says went wrong, for all its status of 200: the vendor's error object.
    """

    model: str | None = None
    response_id: str | None = None
    completion: Any = None
    finish_reasons: tuple[str, ...] = ()
    tool_call_ids: tuple[str, ...] = ()
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    usage: Any = None
    cost: Cost | None = None
    error: Any = None


class Assembly(Protocol):
    """
    A streamed answer, put together piece by piece into the body that the same call would have got
    without streaming. It holds no more than that body.

    Attributes:
        has_token: Whether a first piece of content (text, reasoning, a tool call) has come.
        complete: Whether the stream has said that it is over (`[DONE]` is seen elsewhere).
        over: Whether nothing can follow: the call is over then, also for whoever reads no further.
        error: What the stream says went wrong: the vendor's error object.
    """

    has_token: bool
    complete: bool
    error: Any

    @property
    def over(self) -> bool: ...

    def add(self, event: str, data: Any) -> None:
        """
        The next piece.

        Args:
            event: The name of the server-sent event; "" where it has none, and in NDJSON.
            data: Its JSON, decoded.
        """
        ...

    def body(self) -> Any:
        """
        What `Dialect.answered` reads; also in the midst of a stream that was cut off.
        """
        ...


class Dialect(Protocol):
    """
    One way of writing a call down.
    """

    @property
    def name(self) -> str:
        """
        What it is called, such as "openai.chat".
        """
        ...

    @property
    def provider(self) -> str:
        """
        Who is taken to serve it where the address does not tell.
        """
        ...

    @property
    def ends(self) -> tuple[str, ...]:
        """
        How the paths of its requests end, such as "/chat/completions". Requests to any other path
        are let through without a look at their bodies.
        """
        ...

    def matches(self, path: str, body: Any) -> bool:
        """
        Whether a request speaks this dialect, whatever the host.

        Args:
            path: The path of its address, such as "/v1/chat/completions", without the query; it
                ends in one of `ends`.
            body: Its JSON, decoded; None where it could not be read: then the path must be one
                that nothing else would have.
        """
        ...

    def asked(self, path: str, body: Any) -> Asked:
        """
        What the request asks for. *body* as in `matches`, but never None.
        """
        ...

    def answered(self, body: Any) -> Answered:
        """
        What the answer says: a body of status 200, or what an assembly made of a stream.
        """
        ...

    def assembly(self) -> Assembly:
        """
        For one streamed answer.
        """
        ...
