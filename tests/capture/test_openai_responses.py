"""
OpenAI's responses, plain and as events.

Bodies are made after https://platform.openai.com/docs/api-reference/responses and
https://platform.openai.com/docs/api-reference/responses-streaming.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from answers import assembly_of, streamed, try_hard
from hypothesis import given
from hypothesis import strategies as st

from asyncops import Cost
from asyncops.capture import _registry
from asyncops.capture._dialects import Answered
from asyncops.capture.openai_responses import OpenAIResponses

RESPONSES = OpenAIResponses()
PATH = "/v1/responses"

REQUEST = {
    "model": "o4-mini",
    "instructions": "Be brief.",
    "input": [{"role": "user", "content": "How warm is it in Lisbon?"}],
    "reasoning": {"summary": "auto"},
    "stream": True,
}

USAGE = {
    "input_tokens": 328,
    "input_tokens_details": {"cached_tokens": 256},
    "output_tokens": 52,
    "output_tokens_details": {"reasoning_tokens": 30},
    "total_tokens": 380,
}

REASONING = {
    "id": "rs_1",
    "type": "reasoning",
    "summary": [{"type": "summary_text", "text": "I need the weather."}],
}
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "status": "completed",
    "role": "assistant",
    "content": [{"type": "output_text", "text": "I look.", "annotations": []}],
}
CALL = {
    "id": "fc_1",
    "type": "function_call",
    "status": "completed",
    "call_id": "call_1",
    "name": "weather",
    "arguments": '{"city": "Lisbon"}',
}
SEARCH = {"id": "ws_1", "type": "web_search_call", "status": "completed"}

PLAIN: dict[str, Any] = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1741476542,
    "status": "completed",
    "error": None,
    "incomplete_details": None,
    "instructions": "Be brief.",
    "model": "o4-mini-2025-04-16",
    "output": [REASONING, MESSAGE, CALL, SEARCH],
    "usage": USAGE,
}
BEGUN = {**PLAIN, "status": "in_progress", "output": [], "usage": None}


def events(*said: tuple[str, dict[str, Any]]) -> list[Any]:
    return [
        (kind, {"type": kind, "sequence_number": number, **data})
        for number, (kind, data) in enumerate(said)
    ]


PIECES = events(
    ("response.created", {"response": BEGUN}),
    ("response.in_progress", {"response": BEGUN}),
    (
        "response.output_item.added",
        {"output_index": 0, "item": {"id": "rs_1", "type": "reasoning", "summary": []}},
    ),
    (
        "response.reasoning_summary_text.delta",
        {"item_id": "rs_1", "output_index": 0, "summary_index": 0, "delta": "I need "},
    ),
    (
        "response.reasoning_summary_text.delta",
        {"item_id": "rs_1", "output_index": 0, "summary_index": 0, "delta": "the weather."},
    ),
    ("response.output_item.done", {"output_index": 0, "item": REASONING}),
    (
        "response.output_item.added",
        {"output_index": 1, "item": {**MESSAGE, "status": "in_progress", "content": []}},
    ),
    (
        "response.output_item.added",
        {"output_index": 2, "item": {**CALL, "status": "in_progress", "arguments": ""}},
    ),
    (
        "response.output_text.delta",
        {"item_id": "msg_1", "output_index": 1, "content_index": 0, "delta": "I "},
    ),
    (
        "response.function_call_arguments.delta",
        {"item_id": "fc_1", "output_index": 2, "delta": '{"city": '},
    ),
    (
        "response.output_text.delta",
        {"item_id": "msg_1", "output_index": 1, "content_index": 0, "delta": "look."},
    ),
    (
        "response.function_call_arguments.delta",
        {"item_id": "fc_1", "output_index": 2, "delta": '"Lisbon"}'},
    ),
)
STREAM = [*PIECES, *events(("response.completed", {"response": PLAIN}))]


def test_asked() -> None:
    """
    Instructions belong to what is said; without any the input stands alone.
    """
    found = _registry.find(PATH, REQUEST)
    assert isinstance(found, OpenAIResponses)

    asked = found.asked(PATH, REQUEST)
    assert "o4-mini" == asked.model
    assert {"instructions": "Be brief.", "input": REQUEST["input"]} == asked.prompt
    assert {"reasoning": {"summary": "auto"}, "stream": True} == asked.params

    assert "hi" == found.asked(PATH, {"model": "gpt-4o", "input": "hi"}).prompt


def test_a_template_is_a_prompt() -> None:
    """
    A request may name a prompt kept elsewhere, and no model.
    """
    body = {"prompt": {"id": "pmpt_1", "variables": {"city": "Oslo"}}}
    found = _registry.find(PATH, body)
    assert isinstance(found, OpenAIResponses)
    assert body == found.asked(PATH, body).prompt


def test_summed_up() -> None:
    """
    A model that sums a conversation up is a model that is called:
    https://platform.openai.com/docs/api-reference/responses/compact
    """
    body = {"model": "gpt-5", "previous_response_id": "resp_1"}
    found = _registry.find("/v1/responses/compact", body)
    assert isinstance(found, OpenAIResponses)
    assert {"previous_response_id": "resp_1"} == found.asked("/v1/responses/compact", body).params
    assert None is _registry.find("/v1/responses/input_tokens", REQUEST)


@pytest.mark.parametrize("body", [None, [], {"input": "yes"}, {"model": "m"}, {"prompt": "p"}])
def test_other_responses(body: Any) -> None:
    """
    A survey has responses, too.
    """
    assert _registry.find("/survey/responses", body) is None


def test_answered() -> None:
    """
    All items, how it ended, the calls that the program has to make.
    """
    assert Answered(
        model="o4-mini-2025-04-16",
        response_id="resp_1",
        completion=PLAIN["output"],
        finish_reasons=("completed",),
        tool_call_ids=("call_1",),
        prompt_tokens=328,
        completion_tokens=52,
        cached_tokens=256,
        reasoning_tokens=30,
        usage=USAGE,
    ) == RESPONSES.answered(PLAIN)


def test_why_it_is_incomplete() -> None:
    """
    The reason tells more than the status.
    """
    body = {
        **PLAIN,
        "status": "incomplete",
        "incomplete_details": {"reason": "max_output_tokens"},
    }
    assert ("max_output_tokens",) == RESPONSES.answered(body).finish_reasons


def test_a_stream_answers_the_same() -> None:
    """
    The last event has all of it.
    """
    assert RESPONSES.answered(PLAIN) == streamed(RESPONSES, STREAM)


def test_the_last_event_may_leave_out_the_items() -> None:
    """
    Then they are those that the events before it told of.
    """
    last = events(("response.completed", {"response": {**PLAIN, "output": []}}))
    answered = streamed(RESPONSES, [*PIECES, *last])

    assert [REASONING, {**MESSAGE, "status": "in_progress"}] == [
        answered.completion[0],
        {
            **answered.completion[1],
            "content": [{**answered.completion[1]["content"][0], "annotations": []}],
        },
    ]
    assert 328 == answered.prompt_tokens


def test_a_stream_tells_how_far_it_is() -> None:
    """
    The first token is the first of the reasoning; a response that failed is over, too.
    """
    assembly = RESPONSES.assembly()
    told = []
    for name, data in STREAM:
        assembly.add(name, data)
        told.append((assembly.has_token, assembly.complete))

    assert 3 * [(False, False)] + 9 * [(True, False)] + [(True, True)] == told


def test_a_stream_cut_off() -> None:
    """
    Text and arguments as far as they came.
    """
    answered = streamed(RESPONSES, PIECES[:-2])

    reasoning, message, call = answered.completion
    assert REASONING == reasoning
    assert [{"type": "output_text", "text": "I "}] == message["content"]
    assert ("weather", '{"city": ') == (call["name"], call["arguments"])
    assert ("o4-mini-2025-04-16", None) == (answered.model, answered.prompt_tokens)


def test_refusal_and_raw_reasoning_and_other_calls() -> None:
    """
    Each kind of delta goes where its item has it.
    """
    pieces = events(
        ("response.output_item.added", {"output_index": 0, "item": {"type": "message"}}),
        ("response.refusal.delta", {"output_index": 0, "content_index": 0, "delta": "I'm "}),
        ("response.refusal.delta", {"output_index": 0, "content_index": 0, "delta": "sorry"}),
        ("response.output_item.added", {"output_index": 1, "item": {"type": "reasoning"}}),
        ("response.reasoning_text.delta", {"output_index": 1, "content_index": 0, "delta": "h"}),
        ("response.reasoning_text.delta", {"output_index": 1, "content_index": 0, "delta": "m"}),
        (
            "response.output_item.added",
            {"output_index": 2, "item": {"type": "custom_tool_call", "input": ""}},
        ),
        ("response.custom_tool_call_input.delta", {"output_index": 2, "delta": "SELECT "}),
        ("response.custom_tool_call_input.delta", {"output_index": 2, "delta": "1"}),
        (
            "response.output_item.added",
            {"output_index": 3, "item": {"type": "code_interpreter_call", "code": "1"}},
        ),
        ("response.code_interpreter_call_code.delta", {"output_index": 3, "delta": " + 1"}),
    )
    assert [
        {"type": "message", "content": [{"type": "refusal", "refusal": "I'm sorry"}]},
        {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "hm"}]},
        {"type": "custom_tool_call", "input": "SELECT 1"},
        {"type": "code_interpreter_call", "code": "1 + 1"},
    ] == streamed(RESPONSES, pieces).completion


def test_a_stream_that_fails() -> None:
    """
    The error is said by the response, or by an event of its own.
    """
    error = {"code": "server_error", "message": "The model failed."}
    failed = {**BEGUN, "status": "failed", "error": error}
    assembly = assembly_of(
        RESPONSES, [*PIECES[:2], *events(("response.failed", {"response": failed}))]
    )
    assert (True, error) == (assembly.complete, assembly.error)
    answered = RESPONSES.answered(assembly.body())
    assert (("failed",), error) == (answered.finish_reasons, answered.error)

    said = {**error, "param": None}
    assert said == assembly_of(RESPONSES, events(("error", said))).error


def test_xai_says_the_cost() -> None:
    """
    https://docs.x.ai/developers/cost-tracking
    """
    body = {**PLAIN, "usage": {**USAGE, "cost_in_usd_ticks": 200_000_000}}

    assert Cost(Decimal("0.02")) == RESPONSES.answered(body).cost


@given(st.data())
def test_odd_bodies(data: st.DataObject) -> None:
    """
    Nothing but sound fields or an ordinary exception comes of any body.
    """
    try_hard(RESPONSES, PATH, data, asked=REQUEST, answered=PLAIN, events=STREAM)
