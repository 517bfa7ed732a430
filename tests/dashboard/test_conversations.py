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
    if part.kind in ("text", "thinking", "media", "note"):
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


def test_calls_within_openai_responses() -> None:
    """
    What OpenAI runs itself stands among the items, each with what it was called with.
    """
    items = [
        {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]},
        {
            "type": "web_search_call",
            "id": "ws_1",
            "status": "completed",
            "action": {"query": "x"},
        },
        {"type": "custom_tool_call", "call_id": "c", "name": "sql", "input": "SELECT 1"},
        {"type": "custom_tool_call_output", "call_id": "c", "output": "1"},
        {"type": "code_interpreter_call", "id": "ci", "code": "1 + 1", "container_id": "cn"},
        {"type": "message", "content": [{"type": "output_text", "text": "Two."}]},
    ]
    assert told(items, role="assistant") == [
        ("assistant", [("thinking", "hm")]),
        ("assistant", [("call", ("web_search_call", {"query": "x"}))]),
        ("assistant", [("call", ("sql", "SELECT 1"))]),
        ("tool", [("result", "1")]),
        (
            "assistant",
            [
                ("call", ("code_interpreter_call", "1 + 1")),
                ("json", {"container_id": "cn"}),
            ],
        ),
        ("assistant", [("text", "Two.")]),
    ]


def test_tools_that_anthropic_runs() -> None:
    """
    They call and answer as others do.
    """
    blocks = [
        {
            "type": "server_tool_use",
            "id": "s",
            "name": "web_search",
            "input": {"query": "x"},
        },
        {"type": "web_search_tool_result", "tool_use_id": "s", "content": [{"url": "u"}]},
        {"type": "mcp_tool_use", "id": "m", "name": "echo", "input": {}},
    ]
    assert told({"role": "assistant", "content": blocks}) == [
        (
            "assistant",
            [
                ("call", ("web_search", {"query": "x"})),
                ("result", [{"url": "u"}]),
                ("call", ("echo", {})),
            ],
        )
    ]


def test_reasoning_beside_the_content() -> None:
    """
    Servers that speak as OpenAI does call it by several names.
    """
    said = [("assistant", [("thinking", "hm"), ("text", "yes")])]
    for name in ("reasoning", "reasoning_content"):
        assert told({"role": "assistant", "content": "yes", name: "hm"}) == said
    details = [{"type": "reasoning.text", "text": "hm"}]
    message = {"role": "assistant", "content": "yes", "reasoning_details": details}
    assert told({**message, "reasoning": "hm"}) == said
    assert told(message) == [
        ("assistant", [("text", "yes"), ("json", {"reasoning_details": details})])
    ]


def test_sound() -> None:
    """
    What was said is read, how it sounded is named.
    """
    marker = {"$media": "application/octet-stream", "size": 2048, "sha256": "ab"}
    answer = {
        "role": "assistant",
        "content": None,
        "audio": {"id": "a", "transcript": "Yes.", "data": marker},
    }
    assert told(answer) == [
        ("assistant", [("text", "Yes."), ("media", "application/octet-stream, 2.0 KiB")])
    ]


def test_gemini() -> None:
    """
    Contents with parts, a system instruction beside them.
    """
    request = {
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "contents": [
            {
                "role": "user",
                "parts": [
                    {"text": "What is this?"},
                    {"inlineData": {"mimeType": "image/png", "data": "aGk="}},
                    {"fileData": {"fileUri": "gs://x"}},
                ],
            },
            {
                "role": "model",
                "parts": [
                    {"text": "hm", "thought": True},
                    {
                        "functionCall": {"name": "look", "args": {"at": 1}},
                        "thoughtSignature": "s",
                    },
                ],
            },
            {
                "role": "user",
                "parts": [{"functionResponse": {"name": "look", "response": {"seen": "cat"}}}],
            },
        ],
    }
    assert told(request) == [
        ("system", [("text", "Be brief.")]),
        (
            "user",
            [("text", "What is this?"), ("media", "image/png"), ("media", "fileData")],
        ),
        ("assistant", [("thinking", "hm"), ("call", ("look", {"at": 1}))]),
        ("user", [("result", ("look", {"seen": "cat"}))]),
    ]
    answer = {
        "role": "model",
        "parts": [
            {"text": "A cat.", "thoughtSignature": "s"},
            {"executableCode": {"language": "PYTHON", "code": "1"}},
            {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}},
            {"toolCall": {"toolType": "GOOGLE_SEARCH", "args": {"queries": ["x"]}}},
            {"toolResponse": {"toolType": "GOOGLE_SEARCH", "response": {"found": 1}}},
            {"text": ""},
            {"hologram": {"z": 1}},
        ],
    }
    assert told(answer) == [
        (
            "assistant",
            [
                ("text", "A cat."),
                ("call", ("PYTHON", "1")),
                ("result", ("OUTCOME_OK", "1")),
                ("call", ("GOOGLE_SEARCH", {"queries": ["x"]})),
                ("result", ("GOOGLE_SEARCH", {"found": 1})),
                ("json", {"hologram": {"z": 1}}),
            ],
        )
    ]
    assert told({"parts": [{"text": "to be embedded"}]}) == [("user", [("text", "to be embedded")])]


def test_gemini_in_the_other_spelling() -> None:
    """
    Google takes names with underscores, too; what is said about a part beside it is not lost.
    """
    parts = [
        {"function_call": {"name": "look", "args": {"at": 1}}, "thought_signature": "s"},
        {"inline_data": {"mime_type": "image/png", "data": "aGk="}},
        {"file_data": {"file_uri": "gs://x"}, "video_metadata": {"fps": 1}},
    ]
    assert told({"role": "model", "parts": parts}) == [
        (
            "assistant",
            [
                ("call", ("look", {"at": 1})),
                ("media", "image/png"),
                ("media", "fileData"),
                ("json", {"videoMetadata": {"fps": 1}}),
            ],
        )
    ]


def test_thinking_that_is_not_shown() -> None:
    """
    That there was some is shown all the same.
    """
    hidden = ("thinking", "(not shown by the provider)")
    blocks = [
        {"type": "redacted_thinking", "data": "EmwKAhgBEgy3va3"},
        {"type": "reasoning", "summary": []},
    ]
    assert told(blocks[:1], role="assistant") == [("assistant", [hidden])]
    assert told(blocks[1:], role="assistant") == [("assistant", [hidden])]


def test_mistral() -> None:
    """
    Thinking is a list of texts; a prompt may have a suffix.
    """
    content = [
        {
            "type": "thinking",
            "thinking": [{"type": "text", "text": "h"}, {"type": "text", "text": "m"}],
        },
        {"type": "text", "text": "yes"},
        {"type": "document_url", "document_url": "https://example.org/x.pdf"},
    ]
    assert told({"role": "assistant", "content": content}) == [
        ("assistant", [("thinking", "hm"), ("text", "yes"), ("media", "document_url")])
    ]
    assert told({"prompt": "def f(", "suffix": "return 1"}) == [
        ("user", [("text", "def f(")]),
        ("other fields", [("json", {"suffix": "return 1"})]),
    ]


def test_cohere() -> None:
    """
    A plan is thought before the calls it leads to.
    """
    message = {
        "role": "assistant",
        "tool_plan": "I will look.",
        "tool_calls": [
            {
                "id": "c1",
                "type": "function",
                "function": {"name": "look", "arguments": "{}"},
            }
        ],
        "citations": [{"start": 0, "end": 3, "text": "cat"}],
    }
    assert told(message) == [
        (
            "assistant",
            [
                ("thinking", "I will look."),
                ("call", ("look", {})),
                ("json", {"citations": [{"start": 0, "end": 3, "text": "cat"}]}),
            ],
        )
    ]


def test_ollama() -> None:
    """
    Images beside the content, results by the name of the tool, text without a message.
    """
    prompt = [
        {"role": "user", "content": "What is this?", "images": ["aGk="]},
        {"role": "tool", "tool_name": "look", "content": "a cat"},
    ]
    assert told(prompt) == [
        ("user", [("text", "What is this?"), ("media", "image")]),
        ("tool", [("result", ("look", "a cat"))]),
    ]
    assert told({"role": "assistant", "content": "yes", "thinking": "hm"}) == [
        ("assistant", [("thinking", "hm"), ("text", "yes")])
    ]
    assert told({"thinking": "hm", "response": "yes"}, role="assistant") == [
        ("assistant", [("thinking", "hm"), ("text", "yes")])
    ]
    assert told({"system": "Be brief.", "prompt": "Why?"}) == [
        ("system", [("text", "Be brief.")]),
        ("user", [("text", "Why?")]),
    ]


def test_media_that_were_not_kept() -> None:
    """
    What they were and how large they were, wherever a vendor would have had their bytes.
    """
    marker = {"$media": "image/png", "size": 48_211, "sha256": "ab"}
    words = ("media", "image/png, 47.1 KiB")
    content = [
        {"type": "image_url", "image_url": {"url": marker}},
        {
            "type": "image",
            "source": {"type": "base64", "media_type": "image/png", "data": marker},
        },
        {"type": "input_image", "image_url": marker},
        {"$media": "image/png"},
    ]
    assert told([{"role": "user", "content": content}]) == [
        ("user", [words, words, words, ("media", "image/png")])
    ]
    assert told([{"role": "user", "content": "?", "images": [marker]}]) == [
        ("user", [("text", "?"), words])
    ]
    inline = {"inlineData": {"mimeType": "image/png", "data": marker}}
    assert told([{"role": "user", "parts": [inline]}]) == [("user", [words])]
    assert told({"response": "", "image": marker}) == [("user", [words])]
    assert told([{"role": "user", "content": marker}]) == [("user", [words])]


def test_texts_that_were_not_kept() -> None:
    """
    Who spoke, how much, and the hash by which it can be known again.
    """
    left = {"$hashed": "sha256:ab", "size": 1_234}
    words = ("note", "1,234 characters, not kept: sha256:ab")

    assert told([{"role": "user", **left}]) == [("user", [words])]
    assert told({"system": left, "messages": [{"role": "user", **left}]}) == [
        ("system", [words]),
        ("user", [words]),
    ]
    assert told({"instructions": left, "input": left}) == [("system", [words]), ("user", [words])]
    assert told(left, role="assistant") == [("assistant", [words])]
    assert told([left, left]) == [("user", [words, words])]
    assert told({"$hashed": "sha256:ab"}) == [
        ("user", [("note", "What was said, not kept: sha256:ab")])
    ]


def test_embeddings() -> None:
    """
    Vectors are told of in words.
    """
    assert told({"embeddings": 2, "dimensions": 1_536}, role="assistant") == [
        ("assistant", [("note", "2 vectors of 1,536 numbers, not kept")])
    ]
    assert told({"embeddings": 1, "dimensions": None}, role="assistant") == [
        ("assistant", [("note", "1 vector, not kept")])
    ]


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
                " system choices message summary $truncated $type repr head size $media $hashed"
                " parts contents functionCall inlineData images audio thinking response embeddings"
                " dimensions prompt tool_plan systemInstruction".split()
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
