"""
Ollama's own API, plain and line by line.

Bodies are made after https://docs.ollama.com/api/chat, https://docs.ollama.com/api/generate and
https://docs.ollama.com/api/embed.
"""

from __future__ import annotations

from typing import Any

import pytest
from answers import assembly_of, streamed, try_hard
from hypothesis import given
from hypothesis import strategies as st

from asyncops.capture import _registry
from asyncops.capture._dialects import Answered
from asyncops.capture.ollama import OllamaChat, OllamaEmbed, OllamaGenerate

CHAT = OllamaChat()
GENERATE = OllamaGenerate()

REQUEST: dict[str, Any] = {
    "model": "qwen3",
    "messages": [{"role": "user", "content": "How warm is it in Lisbon?", "images": ["aGk="]}],
    "options": {"temperature": 0},
}
ABOUT = {"model": "qwen3", "created_at": "2025-07-07T20:22:19.184789Z"}
USAGE = {
    "total_duration": 174560334,
    "load_duration": 101397084,
    "prompt_eval_count": 11,
    "prompt_eval_duration": 13074791,
    "eval_count": 18,
    "eval_duration": 52479709,
}
CALLS = [
    {"function": {"name": "weather", "arguments": {"text": "Lisbon", "at": [{"index": 1}]}}},
    {"id": "call_2", "function": {"name": "weather", "arguments": {"text": "Oslo"}}},
]
PLAIN: dict[str, Any] = {
    **ABOUT,
    "message": {
        "role": "assistant",
        "content": "I look.",
        "thinking": "The weather, then.",
        "tool_calls": CALLS,
    },
    "done": True,
    "done_reason": "stop",
    **USAGE,
}


def line(**message: Any) -> Any:
    return {**ABOUT, "message": {"role": "assistant", "content": "", **message}, "done": False}


STREAM = [
    line(),
    line(thinking="The weather"),
    line(thinking=", then."),
    line(content="I "),
    line(content="look."),
    line(tool_calls=[CALLS[0]]),
    line(tool_calls=[CALLS[1]]),
    {**line(), "done": True, "done_reason": "stop", **USAGE},
]


def test_asked() -> None:
    """
    Model, messages with their images, and the rest of the body.
    """
    found = _registry.find("/api/chat", REQUEST)
    assert isinstance(found, OllamaChat)

    asked = found.asked("/api/chat", REQUEST)
    assert ("qwen3", REQUEST["messages"], {"options": {"temperature": 0}}) == (
        asked.model,
        asked.prompt,
        asked.params,
    )


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/chat", None),
        ("/api/chat", {"message": "hi"}),
        ("/api/chat", {"messages": [{"role": "user", "content": "hi"}]}),
        ("/api/chat", {"model": "qwen3"}),
        ("/api/chat", {"model": "qwen3", "messages": []}),
        ("/api/generate", {"prompt": "a report"}),
        ("/api/generate", {"model": "qwen3"}),
        ("/api/generate", {"model": "qwen3", "prompt": ""}),
        ("/api/embed", {"input": "a"}),
    ],
)
def test_what_calls_no_model(path: str, body: Any) -> None:
    """
    Other people's chats, and requests that only load a model.
    """
    assert _registry.find(path, body) is None


def test_answered() -> None:
    """
    The message as it is; counts and durations are the usage.
    """
    assert Answered(
        model="qwen3",
        completion=PLAIN["message"],
        finish_reasons=("stop",),
        tool_call_ids=("call_2",),
        prompt_tokens=11,
        completion_tokens=18,
        usage=USAGE,
    ) == CHAT.answered(PLAIN)


def test_a_stream_answers_the_same() -> None:
    """
    Text grows, calls come whole: what is in their arguments is nobody's fragment.
    """
    assert CHAT.answered(PLAIN) == streamed(CHAT, STREAM)


def test_a_stream_tells_how_far_it_is() -> None:
    """
    The first token is the first of the thinking.
    """
    assembly = CHAT.assembly()
    told = []
    for data in STREAM:
        assembly.add("", data)
        told.append((assembly.has_token, assembly.complete))

    assert [(False, False)] + 6 * [(True, False)] + [(True, True)] == told


def test_a_stream_cut_off() -> None:
    """
    What came is kept; of tokens nothing is known.
    """
    answered = streamed(CHAT, STREAM[:4])

    assert {
        "role": "assistant",
        "content": "I ",
        "thinking": "The weather, then.",
    } == answered.completion
    assert (None, None, None) == (
        answered.prompt_tokens,
        answered.completion_tokens,
        answered.usage,
    )


def test_an_error_in_the_midst() -> None:
    """
    https://docs.ollama.com/api/errors: a line of its own.
    """
    said = [*STREAM[:4], {"error": "an error was encountered while running the model"}]
    assembly = assembly_of(CHAT, said)

    assert ("an error was encountered while running the model", False) == (
        assembly.error,
        assembly.complete,
    )
    assert "I " == CHAT.answered(assembly.body()).completion["content"]


@pytest.mark.parametrize("dialect", [CHAT, GENERATE])
def test_nothing_came(dialect: OllamaChat) -> None:
    """
    A stream that ended before it began answers nothing.
    """
    assert Answered() == streamed(dialect, [])


def test_generate() -> None:
    """
    A prompt and a text, plain where there is nothing beside them.
    """
    body = {"model": "qwen3", "prompt": "Why is the sky blue?", "stream": False}
    found = _registry.find("/api/generate", body)
    assert isinstance(found, OllamaGenerate)

    asked = found.asked("/api/generate", body)
    assert ("qwen3", "Why is the sky blue?", {"stream": False}) == (
        asked.model,
        asked.prompt,
        asked.params,
    )
    more = {"system": "Be brief.", "prompt": "Why?", "images": ["aGk="]}
    assert more == found.asked("/api/generate", {**more, "model": "qwen3", "suffix": ""}).prompt

    end = {"done": True, "done_reason": "stop", "context": [1, 2, 3], **USAGE}
    plain = {**ABOUT, "response": "Rayleigh.", **end}
    lines = [
        {**ABOUT, "response": "Ray", "done": False},
        {**ABOUT, "response": "leigh.", "done": False},
        {**ABOUT, "response": "", **end},
    ]
    answered = found.answered(plain)
    assert ("Rayleigh.", ("stop",), 11, 18) == (
        answered.completion,
        answered.finish_reasons,
        answered.prompt_tokens,
        answered.completion_tokens,
    )
    assert answered == streamed(found, lines)
    assert assembly_of(found, lines[:1]).has_token

    thought = found.answered({**plain, "thinking": "Hm."})
    assert {"thinking": "Hm.", "response": "Rayleigh."} == thought.completion
    assert thought == streamed(found, [{**ABOUT, "thinking": "Hm.", "response": ""}, *lines])


def test_embeddings() -> None:
    """
    The texts are the prompt; the vectors are counted.
    """
    body = {"model": "embeddinggemma", "input": ["a", "b"], "truncate": True}
    found = _registry.find("/api/embed", body)
    assert isinstance(found, OllamaEmbed)

    asked = found.asked("/api/embed", body)
    assert ("embeddinggemma", ["a", "b"], {"truncate": True}) == (
        asked.model,
        asked.prompt,
        asked.params,
    )
    usage = {"total_duration": 14143917, "load_duration": 1019500, "prompt_eval_count": 8}
    plain = {"model": "embeddinggemma", "embeddings": [[0.1, 0.2], [0.3, 0.4]], **usage}
    assert Answered(
        model="embeddinggemma",
        completion={"embeddings": 2, "dimensions": 2},
        prompt_tokens=8,
        usage={
            "prompt_eval_count": 8,
            "total_duration": 14143917,
            "load_duration": 1019500,
        },
    ) == found.answered(plain)

    older = {"model": "embeddinggemma", "prompt": "a"}
    assert found is _registry.find("/api/embeddings", older)
    assert "a" == found.asked("/api/embeddings", older).prompt
    assert {"embeddings": 1, "dimensions": 3} == found.answered(
        {"embedding": [0.1, 0.2, 0.3]}
    ).completion


@given(st.data())
def test_odd_bodies(data: st.DataObject) -> None:
    """
    Nothing but sound fields or an ordinary exception comes of any body.
    """
    try_hard(CHAT, "/api/chat", data, asked=REQUEST, answered=PLAIN, events=STREAM)


@given(st.data())
def test_odd_texts_and_embeddings(data: st.DataObject) -> None:
    """
    Nor of any text or embedding.
    """
    asked = {"model": "m", "prompt": "a", "images": ["aGk="]}
    answered = {**ABOUT, "response": "x", "thinking": "y", "done": True, **USAGE}
    try_hard(GENERATE, "/api/generate", data, asked=asked, answered=answered, events=[answered])
    asked = {"model": "m", "input": ["a"]}
    answered = {"model": "m", "embeddings": [[0.1]], "prompt_eval_count": 8}
    try_hard(OllamaEmbed(), "/api/embed", data, asked=asked, answered=answered, events=[answered])
