"""
Anthropic's messages, plain and as events, also by way of Vertex and Bedrock.

Bodies are made after https://docs.anthropic.com/en/api/messages and
https://docs.anthropic.com/en/docs/build-with-claude/streaming.
"""

from __future__ import annotations

from typing import Any

import pytest
from answers import assembly_of, streamed, try_hard
from hypothesis import given
from hypothesis import strategies as st

from asyncops.capture import _registry
from asyncops.capture._dialects import Answered
from asyncops.capture.anthropic_messages import AnthropicMessages

MESSAGES = AnthropicMessages()
PATH = "/v1/messages"

REQUEST: dict[str, Any] = {
    "model": "claude-sonnet-4-5",
    "max_tokens": 16000,
    "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
    "messages": [{"role": "user", "content": "How warm is it in Lisbon?"}],
    "thinking": {"type": "enabled", "budget_tokens": 10000},
}

BLOCKS: list[Any] = [
    {"type": "thinking", "thinking": "The weather, then.", "signature": "EqQBCgIYAhIM"},
    {"type": "text", "text": "I look.", "citations": [{"type": "char_location", "end": 3}]},
    {
        "type": "server_tool_use",
        "id": "srvtoolu_1",
        "name": "web_search",
        "input": {"query": "Lisbon weather"},
    },
    {
        "type": "web_search_tool_result",
        "tool_use_id": "srvtoolu_1",
        "content": [
            {"type": "text", "text": "one"},
            {"type": "text", "text": "two"},
        ],
    },
    {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Lisbon"}},
    {"type": "tool_use", "id": "toolu_2", "name": "now", "input": {}},
]

USAGE = {
    "input_tokens": 21,
    "cache_creation_input_tokens": 188086,
    "cache_read_input_tokens": 1000,
    "output_tokens": 393,
    "output_tokens_details": {"thinking_tokens": 120},
    "service_tier": "standard",
    "server_tool_use": {"web_search_requests": 1},
}

PLAIN: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5-20250929",
    "content": BLOCKS,
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": USAGE,
}


def events(*said: dict[str, Any]) -> list[Any]:
    return [(data["type"], data) for data in said]


def start(index: int, **block: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def delta(index: int, kind: str, **more: Any) -> dict[str, Any]:
    return {
        "type": "content_block_delta",
        "index": index,
        "delta": {"type": kind, **more},
    }


def stop(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


STREAM = events(
    {
        "type": "message_start",
        "message": {
            **PLAIN,
            "content": [],
            "stop_reason": None,
            "usage": {
                "input_tokens": 20,
                "cache_creation_input_tokens": 188086,
                "cache_read_input_tokens": 1000,
                "output_tokens": 1,
                "service_tier": "standard",
            },
        },
    },
    start(0, type="thinking", thinking="", signature=""),
    {"type": "ping"},
    delta(0, "thinking_delta", thinking="The weather"),
    delta(0, "thinking_delta", thinking=", then."),
    delta(0, "signature_delta", signature="EqQBCgIYAhIM"),
    stop(0),
    start(1, type="text", text=""),
    delta(1, "text_delta", text="I "),
    delta(1, "citations_delta", citation={"type": "char_location", "end": 3}),
    delta(1, "text_delta", text="look."),
    stop(1),
    start(2, type="server_tool_use", id="srvtoolu_1", name="web_search", input={}),
    delta(2, "input_json_delta", partial_json=""),
    delta(2, "input_json_delta", partial_json='{"query": "Lisbon '),
    delta(2, "input_json_delta", partial_json='weather"}'),
    stop(2),
    start(3, **BLOCKS[3]),
    stop(3),
    start(4, type="tool_use", id="toolu_1", name="weather", input={}),
    delta(4, "input_json_delta", partial_json='{"city": '),
    delta(4, "input_json_delta", partial_json='"Lisbon"}'),
    stop(4),
    start(5, **BLOCKS[5]),
    delta(5, "input_json_delta", partial_json=""),
    stop(5),
    {
        "type": "message_delta",
        "delta": {"stop_reason": "tool_use", "stop_sequence": None},
        "usage": {
            "input_tokens": 21,
            "cache_creation_input_tokens": None,
            "output_tokens": 393,
            "output_tokens_details": {"thinking_tokens": 120},
            "server_tool_use": {"web_search_requests": 1},
        },
    },
    {"type": "message_stop"},
)

VERTEX = "/v1/projects/p/locations/us-east5/publishers/anthropic/models"


def test_asked() -> None:
    """
    The system text belongs to the messages.
    """
    found = _registry.find(PATH, REQUEST)
    assert isinstance(found, AnthropicMessages)

    asked = found.asked(PATH, REQUEST)
    assert "claude-sonnet-4-5" == asked.model
    assert {"system": REQUEST["system"], "messages": REQUEST["messages"]} == asked.prompt
    assert {"max_tokens": 16000, "thinking": REQUEST["thinking"]} == asked.params

    bare = {"model": "claude", "messages": REQUEST["messages"]}
    assert REQUEST["messages"] == found.asked(PATH, bare).prompt


@pytest.mark.parametrize(
    ("path", "model"),
    [
        (f"{VERTEX}/claude-sonnet-4-5@20250929:rawPredict", "claude-sonnet-4-5@20250929"),
        (f"{VERTEX}/claude-sonnet-4-5:streamRawPredict", "claude-sonnet-4-5"),
        ("/model/eu.anthropic.claude-v1:0/invoke", "eu.anthropic.claude-v1:0"),
        (
            "/model/anthropic.claude-v1%3A0/invoke-with-response-stream",
            "anthropic.claude-v1:0",
        ),
    ],
)
def test_by_way_of_vertex_and_bedrock(path: str, model: str) -> None:
    """
    Their address names the model, the body the version of Anthropic's API.
    """
    body = {"anthropic_version": "x-2023-10-16", "messages": REQUEST["messages"]}
    found = _registry.find(path, body)
    assert isinstance(found, AnthropicMessages)
    assert model == found.asked(path, body).model


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/messages", None),
        ("/v1/messages", {"role": "user", "content": "hi"}),
        ("/v1/messages", {"messages": []}),
        ("/v1/messages", {"model": "m", "messages": "none"}),
        ("/v1/messages/count_tokens", REQUEST),
        ("/v1/messages/batches", REQUEST),
        (f"{VERTEX}/count-tokens:rawPredict", {"model": "m", "messages": []}),
        ("/publishers/meta/models/llama:rawPredict", {"messages": []}),
        ("/chain/invoke", {"input": {}, "messages": []}),
        ("/chain/invoke", None),
    ],
)
def test_other_messages(path: str, body: Any) -> None:
    """
    Other people's messages, and requests that ask nothing of a model.
    """
    assert _registry.find(path, body) is None


def test_answered() -> None:
    """
    What is read from a cache and written to it is part of what went in.
    """
    assert Answered(
        model="claude-sonnet-4-5-20250929",
        response_id="msg_1",
        completion={"role": "assistant", "content": BLOCKS},
        finish_reasons=("tool_use",),
        tool_call_ids=("toolu_1", "toolu_2"),
        prompt_tokens=21 + 188086 + 1000,
        completion_tokens=393,
        cached_tokens=1000,
        cache_write_tokens=188086,
        reasoning_tokens=120,
        usage=USAGE,
    ) == MESSAGES.answered(PLAIN)


def test_a_stream_answers_the_same() -> None:
    """
    Blocks grow by deltas of their kinds; counts at the end are those of the whole.
    """
    assert MESSAGES.answered(PLAIN) == streamed(MESSAGES, STREAM)


def test_a_stream_tells_how_far_it_is() -> None:
    """
    The first token is the first of the thinking.
    """
    assembly = MESSAGES.assembly()
    told = []
    for name, data in STREAM:
        assembly.add(name, data)
        told.append((assembly.has_token, assembly.complete))

    rest = len(STREAM) - 4
    assert 3 * [(False, False)] + rest * [(True, False)] + [(True, True)] == told


def test_a_stream_without_names_of_events() -> None:
    """
    The data alone tell what they are.
    """
    assert MESSAGES.answered(PLAIN) == streamed(MESSAGES, [data for _, data in STREAM])


def test_a_stream_cut_off() -> None:
    """
    Input that is no JSON yet is shown as it came. What went in is known, what came out is not: the
    one token that the beginning speaks of is no count of it.
    """
    answered = streamed(MESSAGES, STREAM[:15])

    assert BLOCKS[:2] == answered.completion["content"][:2]
    assert '{"query": "Lisbon ' == answered.completion["content"][2]["input"]
    assert (20 + 188086 + 1000, None) == (
        answered.prompt_tokens,
        answered.completion_tokens,
    )
    assert () == answered.finish_reasons


def test_an_error_in_the_midst() -> None:
    """
    https://docs.anthropic.com/en/docs/build-with-claude/streaming#error-events
    """
    error = {"type": "overloaded_error", "message": "Overloaded"}
    said = [*STREAM[:9], *events({"type": "error", "error": error})]
    assembly = assembly_of(MESSAGES, said)

    assert (error, False) == (assembly.error, assembly.complete)


def test_nothing_came() -> None:
    """
    A stream that ended before it began answers nothing.
    """
    assert Answered() == streamed(MESSAGES, [])


@pytest.mark.parametrize("usage", [None, {}, {"cache_read_input_tokens": 4}, "x"])
def test_unknown_tokens_are_not_zero(usage: Any) -> None:
    """
    What nobody said is not known.
    """
    answered = MESSAGES.answered({**PLAIN, "usage": usage})

    assert None is answered.prompt_tokens is answered.completion_tokens


@given(st.data())
def test_odd_bodies(data: st.DataObject) -> None:
    """
    Nothing but sound fields or an ordinary exception comes of any body.
    """
    try_hard(MESSAGES, PATH, data, asked=REQUEST, answered=PLAIN, events=STREAM)
