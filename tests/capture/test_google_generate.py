"""
Gemini, by Google's own API and by Vertex, plain and in pieces.

Bodies are made after https://ai.google.dev/api/generate-content,
https://ai.google.dev/gemini-api/docs/function-calling and https://ai.google.dev/api/embeddings.
"""

from __future__ import annotations

from typing import Any

import pytest
from answers import assembly_of, streamed, try_hard
from hypothesis import given
from hypothesis import strategies as st

from asyncops.capture import _registry
from asyncops.capture._dialects import Answered
from asyncops.capture.google_generate import GoogleEmbed, GoogleGenerate

GENERATE = GoogleGenerate()
MODELS = "/v1beta/models"
PATH = f"{MODELS}/gemini-2.5-flash:generateContent"
VERTEX = "/v1/projects/p/locations/us-central1/publishers/google/models"

REQUEST: dict[str, Any] = {
    "systemInstruction": {"parts": [{"text": "Be brief."}]},
    "contents": [{"role": "user", "parts": [{"text": "How warm is it in Lisbon?"}]}],
    "generationConfig": {"temperature": 0.2},
    "tools": [{"functionDeclarations": [{"name": "weather"}]}],
}

CALL = {"functionCall": {"id": "fc_1", "name": "weather", "args": {"city": "Lisbon"}}}
USAGE = {
    "promptTokenCount": 100,
    "candidatesTokenCount": 14,
    "totalTokenCount": 150,
    "cachedContentTokenCount": 64,
    "thoughtsTokenCount": 30,
    "toolUsePromptTokenCount": 6,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 100}],
}
PLAIN: dict[str, Any] = {
    "candidates": [
        {
            "content": {
                "role": "model",
                "parts": [
                    {"text": "The weather, then.", "thought": True},
                    {"text": "I look.", "thoughtSignature": "Ep4H"},
                    CALL,
                ],
            },
            "finishReason": "STOP",
            "index": 0,
            "safetyRatings": [{"category": "HARM", "probability": "NEGLIGIBLE"}],
        }
    ],
    "usageMetadata": USAGE,
    "modelVersion": "gemini-2.5-flash",
    "responseId": "mAitaLmkHPPlz7IPvtfUqQ4",
}


def piece(*parts: Any, index: int = 0, usage: Any = None, **more: Any) -> Any:
    content = {"content": {"role": "model", "parts": list(parts)}} if parts else {}
    return {
        "candidates": [{**content, "index": index, **more}],
        "usageMetadata": usage or {"promptTokenCount": 100, "totalTokenCount": 100},
        "modelVersion": "gemini-2.5-flash",
        "responseId": "mAitaLmkHPPlz7IPvtfUqQ4",
    }


STREAM = [
    piece({"text": "The weather", "thought": True}),
    piece({"text": ", then.", "thought": True}),
    piece({"text": "I "}),
    piece({"text": "look."}),
    piece({"text": "", "thoughtSignature": "Ep4H"}),
    piece(CALL),
    piece(usage=USAGE, finishReason="STOP"),
]


@pytest.mark.parametrize(
    ("path", "model"),
    [
        (PATH, "gemini-2.5-flash"),
        (f"{MODELS}/gemini-2.5-flash:streamGenerateContent", "gemini-2.5-flash"),
        (f"{VERTEX}/gemini-2.5-pro:generateContent", "gemini-2.5-pro"),
        ("/v1beta/tunedModels/mine-1:generateContent", "mine-1"),
        ("/v1/projects/p/locations/l/endpoints/123:generateContent", "123"),
    ],
)
def test_the_address_names_the_model(path: str, model: str) -> None:
    """
    Nothing else is called so; the body need not be readable.
    """
    found = _registry.find(path, REQUEST)
    assert found is _registry.find(path, None)
    assert isinstance(found, GoogleGenerate)
    assert model == found.asked(path, REQUEST).model


def test_asked() -> None:
    """
    The system instruction belongs to the contents, whichever way it is spelled.
    """
    asked = GENERATE.asked(PATH, REQUEST)
    said = {"systemInstruction": REQUEST["systemInstruction"], "contents": REQUEST["contents"]}
    rest = {"generationConfig": REQUEST["generationConfig"], "tools": REQUEST["tools"]}
    assert (said, rest) == (asked.prompt, asked.params)

    other = dict(REQUEST)
    other["system_instruction"] = other.pop("systemInstruction")
    assert (said, rest) == (
        GENERATE.asked(PATH, other).prompt,
        GENERATE.asked(PATH, other).params,
    )
    assert REQUEST["contents"] == GENERATE.asked(PATH, {"contents": REQUEST["contents"]}).prompt


def test_answered() -> None:
    """
    Thoughts are part of what came out, and what tools said of what went in.
    """
    assert Answered(
        model="gemini-2.5-flash",
        response_id="mAitaLmkHPPlz7IPvtfUqQ4",
        completion=PLAIN["candidates"][0]["content"],
        finish_reasons=("STOP",),
        tool_call_ids=("fc_1",),
        prompt_tokens=106,
        completion_tokens=44,
        cached_tokens=64,
        reasoning_tokens=30,
        usage=USAGE,
    ) == GENERATE.answered(PLAIN)


def test_a_stream_answers_the_same() -> None:
    """
    Texts of one kind make one part; a signature is that of the text before it.
    """
    assert GENERATE.answered(PLAIN) == streamed(GENERATE, STREAM)


def test_a_stream_may_be_one_list() -> None:
    """
    Without `alt=sse` the pieces come as a JSON array.
    """
    assert GENERATE.answered(PLAIN) == GENERATE.answered(STREAM)


def test_a_stream_tells_how_far_it_is() -> None:
    """
    The first token is the first thought.
    """
    assembly = GENERATE.assembly()
    told = [(assembly.has_token, assembly.complete)]
    for data in STREAM:
        assembly.add("", data)
        told.append((assembly.has_token, assembly.complete))

    assert [(False, False)] + 6 * [(True, False)] + [(True, True)] == told


def test_a_text_after_a_signature_is_another_part() -> None:
    """
    What is signed is whole.
    """
    events = [
        piece({"text": "a"}),
        piece({"text": "b", "thoughtSignature": "s"}),
        piece({"text": "c"}),
    ]
    assert [{"text": "ab", "thoughtSignature": "s"}, {"text": "c"}] == streamed(
        GENERATE, events
    ).completion["parts"]


def test_a_stream_cut_off() -> None:
    """
    What came is kept, and what is known of tokens: that 100 went in.
    """
    answered = streamed(GENERATE, STREAM[:3])

    assert [{"text": "The weather, then.", "thought": True}, {"text": "I "}] == (
        answered.completion["parts"]
    )
    assert (100, None, ()) == (
        answered.prompt_tokens,
        answered.completion_tokens,
        answered.finish_reasons,
    )


def test_several_candidates() -> None:
    """
    Each is a message of its own.
    """
    events = [
        piece({"text": "He"}, index=0),
        piece({"text": "Good "}, index=1),
        piece({"text": "llo"}, index=0, finishReason="STOP"),
    ]
    assert not assembly_of(GENERATE, events).complete
    answered = streamed(GENERATE, [*events, piece({"text": "day"}, index=1, finishReason="STOP")])

    assert ["Hello", "Good day"] == [said["parts"][0]["text"] for said in answered.completion]
    assert ("STOP", "STOP") == answered.finish_reasons


def test_a_prompt_that_is_refused() -> None:
    """
    There is no candidate, but there is a reason.
    """
    body = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 4}}
    answered = GENERATE.answered(body)

    assert (None, ("SAFETY",), 4, None) == (
        answered.completion,
        answered.finish_reasons,
        answered.prompt_tokens,
        answered.completion_tokens,
    )
    assert answered == streamed(GENERATE, [body])
    assert assembly_of(GENERATE, [body]).complete


def test_a_candidate_without_content() -> None:
    """
    All went into thinking.
    """
    usage = {"promptTokenCount": 4, "thoughtsTokenCount": 50, "totalTokenCount": 54}
    answered = GENERATE.answered(
        {"candidates": [{"finishReason": "MAX_TOKENS"}], "usageMetadata": usage}
    )
    assert (None, ("MAX_TOKENS",), 50) == (
        answered.completion,
        answered.finish_reasons,
        answered.completion_tokens,
    )


def test_an_error_in_the_midst() -> None:
    """
    https://ai.google.dev/gemini-api/docs/troubleshooting
    """
    error = {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}

    assert error == assembly_of(GENERATE, [*STREAM[:2], {"error": error}]).error


def test_nothing_came() -> None:
    """
    A stream that ended before it began answers nothing.
    """
    assert Answered() == streamed(GENERATE, [])


def test_embeddings() -> None:
    """
    One, or many at once: the contents are the prompt, the vectors are counted.
    """
    content = {"parts": [{"text": "What is the meaning of life?"}]}
    path = f"{MODELS}/gemini-embedding-001:embedContent"
    found = _registry.find(path, None)
    assert isinstance(found, GoogleEmbed)

    asked = found.asked(path, {"model": "models/gemini-embedding-001", "content": content})
    assert ("gemini-embedding-001", content, {}) == (asked.model, asked.prompt, asked.params)
    one = found.answered({"embedding": {"values": [0.1, 0.2, 0.3]}})
    assert {"embeddings": 1, "dimensions": 3} == one.completion
    assert None is one.prompt_tokens

    path = f"{MODELS}/gemini-embedding-001:batchEmbedContents"
    assert found is _registry.find(path, None)
    requests = 2 * [{"model": "models/m", "content": content, "taskType": "RETRIEVAL_QUERY"}]
    asked = found.asked(path, {"requests": requests})
    assert [content, content] == asked.prompt
    assert {"requests": 2 * [{"taskType": "RETRIEVAL_QUERY"}]} == asked.params
    usage = {"promptTokenCount": 16}
    many = found.answered({"embeddings": 2 * [{"values": [0.1]}], "usageMetadata": usage})
    assert ({"embeddings": 2, "dimensions": 1}, 16) == (many.completion, many.prompt_tokens)


@given(st.data())
def test_odd_bodies(data: st.DataObject) -> None:
    """
    Nothing but sound fields or an ordinary exception comes of any body.
    """
    try_hard(GENERATE, PATH, data, asked=REQUEST, answered=PLAIN, events=STREAM)


@given(st.data())
def test_odd_embeddings(data: st.DataObject) -> None:
    """
    Nor of any embedding.
    """
    asked = {"requests": [{"model": "models/m", "content": {"parts": [{"text": "a"}]}}]}
    answered = {"embeddings": [{"values": [0.1]}], "usageMetadata": {"promptTokenCount": 16}}
    path = f"{MODELS}/m:batchEmbedContents"
    try_hard(GoogleEmbed(), path, data, asked=asked, answered=answered, events=[answered])
