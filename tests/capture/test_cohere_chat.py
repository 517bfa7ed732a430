"""
Cohere's second API, plain and as events.

Bodies are made after https://docs.cohere.com/reference/chat,
https://docs.cohere.com/v2/docs/streaming and https://docs.cohere.com/reference/embed.
"""

from __future__ import annotations

from typing import Any

import pytest
from answers import assembly_of, streamed, try_hard
from hypothesis import given
from hypothesis import strategies as st

from asyncops.capture import _registry
from asyncops.capture._dialects import Answered
from asyncops.capture.cohere_chat import CohereChat, CohereEmbed

CHAT = CohereChat()
PATH = "/v2/chat"

REQUEST: dict[str, Any] = {
    "model": "command-a-03-2025",
    "messages": [{"role": "user", "content": "How warm is it in Lisbon?"}],
    "stream": True,
}
USAGE = {
    "billed_units": {"input_tokens": 37, "output_tokens": 38},
    "tokens": {"input_tokens": 962, "output_tokens": 94},
}
CITATIONS = [
    {
        "start": 0,
        "end": 6,
        "text": "I look",
        "sources": [{"type": "tool", "id": "s:0", "tool_output": {"text": "x", "index": 3}}],
        "type": "TEXT_CONTENT",
    },
    {"start": 2, "end": 6, "text": "look", "sources": [], "type": "TEXT_CONTENT"},
]
PLAIN: dict[str, Any] = {
    "id": "c14c80c3",
    "message": {
        "role": "assistant",
        "tool_plan": "I will search for it.",
        "content": [
            {"type": "thinking", "thinking": "The weather, then."},
            {"type": "text", "text": "I look."},
        ],
        "tool_calls": [
            {
                "id": "weather_1",
                "type": "function",
                "function": {"name": "weather", "arguments": '{"city":"Lisbon"}'},
            },
            {
                "id": "weather_2",
                "type": "function",
                "function": {"name": "weather", "arguments": '{"city":"Oslo"}'},
            },
        ],
        "citations": CITATIONS,
    },
    "finish_reason": "TOOL_CALL",
    "usage": USAGE,
}


def said(kind: str, index: int | None = None, **message: Any) -> Any:
    where = {} if index is None else {"index": index}
    return kind, {"type": kind, **where, "delta": {"message": message}}


STREAM = [
    (
        "message-start",
        {
            "id": "c14c80c3",
            "type": "message-start",
            "delta": {"message": {"role": "assistant", "content": [], "tool_calls": []}},
        },
    ),
    said("tool-plan-delta", tool_plan="I will "),
    said("tool-plan-delta", tool_plan="search for it."),
    said("content-start", 0, content={"type": "thinking", "thinking": ""}),
    said("content-delta", 0, content={"thinking": "The weather"}),
    said("content-delta", 0, content={"thinking": ", then."}),
    ("content-end", {"type": "content-end", "index": 0}),
    said("content-start", 1, content={"type": "text", "text": ""}),
    said("content-delta", 1, content={"text": "I "}),
    said("content-delta", 1, content={"text": "look."}),
    ("content-end", {"type": "content-end", "index": 1}),
    said("citation-start", 0, citations=CITATIONS[0]),
    ("citation-end", {"type": "citation-end", "index": 0}),
    said("citation-start", 1, citations=CITATIONS[1]),
    said(
        "tool-call-start",
        0,
        tool_calls={
            "id": "weather_1",
            "type": "function",
            "function": {"name": "weather", "arguments": ""},
        },
    ),
    said("tool-call-delta", 0, tool_calls={"function": {"arguments": '{"city":'}}),
    said("tool-call-delta", 0, tool_calls={"function": {"arguments": '"Lisbon"}'}}),
    ("tool-call-end", {"type": "tool-call-end", "index": 0}),
    said(
        "tool-call-start",
        1,
        tool_calls={
            "id": "weather_2",
            "type": "function",
            "function": {"name": "weather", "arguments": ""},
        },
    ),
    said("tool-call-delta", 1, tool_calls={"function": {"arguments": '{"city":"Oslo"}'}}),
    (
        "message-end",
        {"type": "message-end", "delta": {"finish_reason": "TOOL_CALL", "usage": USAGE}},
    ),
]


def test_asked() -> None:
    """
    Model, messages, and the rest of the body.
    """
    found = _registry.find(PATH, REQUEST)
    assert isinstance(found, CohereChat)

    asked = found.asked(PATH, REQUEST)
    assert ("command-a-03-2025", REQUEST["messages"], {"stream": True}) == (
        asked.model,
        asked.prompt,
        asked.params,
    )


@pytest.mark.parametrize("body", [None, {"message": "hi"}, {"model": "m", "messages": "hi"}])
def test_other_chats(body: Any) -> None:
    """
    A path that could be anybody's needs a body that is not.
    """
    assert _registry.find(PATH, body) is None


def test_answered() -> None:
    """
    Those tokens count that are billed.
    """
    assert Answered(
        response_id="c14c80c3",
        completion=PLAIN["message"],
        finish_reasons=("TOOL_CALL",),
        tool_call_ids=("weather_1", "weather_2"),
        prompt_tokens=37,
        completion_tokens=38,
        usage=USAGE,
    ) == CHAT.answered(PLAIN)


def test_tokens_that_nobody_bills() -> None:
    """
    A server of one's own may tell only those that were read; and of those that are billed no more
    can come from a cache than there are.
    """
    read = CHAT.answered({**PLAIN, "usage": {"tokens": USAGE["tokens"], "cached_tokens": 900}})
    assert (962, 94, 900) == (
        read.prompt_tokens,
        read.completion_tokens,
        read.cached_tokens,
    )
    billed = CHAT.answered({**PLAIN, "usage": {**USAGE, "cached_tokens": 900.0}})
    assert (37, 37) == (billed.prompt_tokens, billed.cached_tokens)


def test_a_stream_answers_the_same() -> None:
    """
    Plan, thinking, text, citations and calls grow side by side.
    """
    assert CHAT.answered(PLAIN) == streamed(CHAT, STREAM)


def test_a_stream_tells_how_far_it_is() -> None:
    """
    The first token is the first of the plan.
    """
    assembly = CHAT.assembly()
    told = []
    for name, data in STREAM:
        assembly.add(name, data)
        told.append((assembly.has_token, assembly.complete))

    assert [(False, False)] + 19 * [(True, False)] + [(True, True)] == told


def test_a_stream_cut_off() -> None:
    """
    What came is kept; of tokens nothing is known.
    """
    answered = streamed(CHAT, STREAM[:9])

    assert {
        "role": "assistant",
        "tool_plan": "I will search for it.",
        "content": [
            {"type": "thinking", "thinking": "The weather, then."},
            {"type": "text", "text": "I "},
        ],
    } == answered.completion
    assert (None, None, ()) == (
        answered.prompt_tokens,
        answered.completion_tokens,
        answered.finish_reasons,
    )


def test_a_stream_that_fails() -> None:
    """
    The last event says why.
    """
    end = {
        "type": "message-end",
        "delta": {"finish_reason": "ERROR", "error": "out of luck"},
    }
    assembly = assembly_of(CHAT, [*STREAM[:9], ("message-end", end)])

    assert (True, "out of luck") == (assembly.complete, assembly.error)
    assert ("ERROR",) == CHAT.answered(assembly.body()).finish_reasons


def test_nothing_came() -> None:
    """
    A stream that ended before it began answers nothing.
    """
    assert Answered() == streamed(CHAT, [])


def test_embeddings() -> None:
    """
    The texts are the prompt; the vectors are counted once, whatever types they come in.
    """
    path = "/v2/embed"
    body = {
        "model": "embed-v4.0",
        "texts": ["a", "b"],
        "input_type": "search_query",
        "embedding_types": ["int8", "float"],
    }
    found = _registry.find(path, body)
    assert isinstance(found, CohereEmbed)
    assert None is _registry.find(path, {"texts": ["a"]})

    asked = found.asked(path, body)
    assert ("embed-v4.0", ["a", "b"]) == (asked.model, asked.prompt)
    assert {"input_type": "search_query", "embedding_types": ["int8", "float"]} == asked.params
    image = {"content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}
    assert {"inputs": [image]} == found.asked(path, {"model": "m", "inputs": [image]}).prompt

    meta = {"api_version": {"version": "2"}, "billed_units": {"input_tokens": 2}}
    vector = [1, 2, 3]
    assert Answered(
        response_id="e1",
        completion={"embeddings": 2, "dimensions": 3},
        prompt_tokens=2,
        usage=meta,
    ) == found.answered(
        {
            "id": "e1",
            "embeddings": {
                "float": [],
                "int8": [vector, vector],
                "uint8": [vector, vector],
            },
            "texts": ["a", "b"],
            "meta": meta,
        }
    )


@given(st.data())
def test_odd_bodies(data: st.DataObject) -> None:
    """
    Nothing but sound fields or an ordinary exception comes of any body.
    """
    try_hard(CHAT, PATH, data, asked=REQUEST, answered=PLAIN, events=STREAM)


@given(st.data())
def test_odd_embeddings(data: st.DataObject) -> None:
    """
    Nor of any embedding.
    """
    asked = {"model": "m", "texts": ["a"], "input_type": "classification"}
    answered = {
        "id": "e",
        "embeddings": {"float": [[0.1]]},
        "meta": {"billed_units": {"input_tokens": 1}},
    }
    try_hard(CohereEmbed(), "/v2/embed", data, asked=asked, answered=answered, events=[answered])
