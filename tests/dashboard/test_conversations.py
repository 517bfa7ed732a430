"""
Prompts and completions of several vendors as messages.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncops.collector.dashboard.conversations import Part, messages
from asyncops.collector.dashboard.payloads import json_html


def told(value: Any, role: str = "user") -> list[tuple[str, list[tuple[str, Any]]]]:
    """
    Roles and parts of *value*, each part as its kind and what it holds.
    """
    found = messages(value, role=role)
    assert found is not None
    return [
        (message.role, [(part.kind, _content(part)) for part in message.parts]) for message in found
    ]


def _content(part: Part) -> Any:
    if part.kind in ("text", "thinking", "media"):
        return part.text
    return part.value if part.name is None else (part.name, part.value)


def test_a_plain_text_is_one_message() -> None:
    """
    A string speaks as the user in a prompt and as the assistant in a completion.
    """
    assert told("hello") == [("user", [("text", "hello")])]
    assert told("hi", role="assistant") == [("assistant", [("text", "hi")])]


def test_openai_chat() -> None:
    """
    Roles, content parts, tool calls with arguments as JSON in a string, and their results.
    """
    prompt = [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": "https://example.org/x.png"}},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "c1",
                    "type": "function",
                    "function": {"name": "look", "arguments": '{"at": [1, 2]}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": '{"seen": "a cat"}'},
    ]
    assert told(prompt) == [
        ("system", [("text", "Be brief.")]),
        ("user", [("text", "What is this?"), ("media", "image_url")]),
        ("assistant", [("call", ("look", {"at": [1, 2]}))]),
        ("tool", [("result", {"seen": "a cat"})]),
    ]


def test_a_whole_answer_of_openai() -> None:
    """
    The messages of its choices, and beside them what else it said.
    """
    answer = {
        "id": "x",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "yes"}}],
    }
    assert told(answer, role="assistant") == [
        ("assistant", [("text", "yes")]),
        ("other fields", [("json", {"id": "x"})]),
    ]


def test_openai_responses() -> None:
    """
    Items that are messages, calls, results and reasoning.
    """
    items = [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
        {"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "a cat"},
    ]
    assert told({"input": items, "instructions": "Be brief."}) == [
        ("system", [("text", "Be brief.")]),
        ("user", [("text", "hi")]),
        ("assistant", [("thinking", "hm")]),
        ("assistant", [("call", ("look", {}))]),
        ("tool", [("result", "a cat")]),
    ]


def test_anthropic_messages() -> None:
    """
    A system text beside the messages, and blocks of text, thinking, tool use and result.
    """
    request = {
        "system": [{"type": "text", "text": "Be brief."}],
        "messages": [
            {"role": "user", "content": "hi"},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "s"},
                    {"type": "text", "text": "I look."},
                    {"type": "tool_use", "id": "t1", "name": "look", "input": {"at": 1}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "t1",
                        "content": [{"type": "text", "text": "a cat"}],
                    }
                ],
            },
        ],
    }
    assert told(request) == [
        ("system", [("text", "Be brief.")]),
        ("user", [("text", "hi")]),
        ("assistant", [("thinking", "hm"), ("text", "I look."), ("call", ("look", {"at": 1}))]),
        ("user", [("result", "a cat")]),
    ]
    blocks = [{"type": "text", "text": "yes"}]
    assert told(blocks, role="assistant") == [("assistant", [("text", "yes")])]


@pytest.mark.parametrize("value", [None, 3, True, [1, 2], {"a": 1}, {"system": "only"}, [[]]])
def test_what_is_no_conversation_is_not_made_one(value: Any) -> None:
    """
    Anything else is left to be shown as JSON.
    """
    assert messages(value, role="user") is None


def test_a_message_keeps_what_we_do_not_know() -> None:
    """
    Fields and blocks of another kind become JSON parts; nothing is left out.
    """
    message = {"role": "user", "content": [{"type": "hologram", "z": 1}], "mood": "good"}
    assert told(message) == [
        ("user", [("json", {"type": "hologram", "z": 1}), ("json", {"mood": "good"})])
    ]


def test_a_cut_text_is_shown_as_cut() -> None:
    """
    A prompt that was too long keeps its marker.
    """
    cut = {"$truncated": "string", "size": 300_000, "head": "Once upon"}
    assert told(cut) == [("user", [("json", cut)])]
    assert told([{"role": "user", "content": cut}]) == [("user", [("json", cut)])]


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(max_size=8)
            | st.sampled_from(
                "role content type text messages tool_calls function name arguments input output"
                " system choices message summary $truncated $type repr head size".split()
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(values)
def test_any_json_can_be_read(value: Any) -> None:
    """
    Whatever was recorded, reading it as a conversation and drawing it as JSON never fails.
    """
    for message in messages(value, role="user") or ():
        for part in message.parts:
            json_html(part.value)
    assert isinstance(json_html(json.loads(json.dumps(value))), str)
