"""
Chat completions: what is asked, answered and streamed, by OpenAI and by those that speak alike.

Bodies are made after https://platform.openai.com/docs/api-reference/chat and
https://platform.openai.com/docs/api-reference/chat-streaming, and after the pages named below.
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
from asyncops.capture.openai_chat import OpenAIChat, OpenAICompletions

CHAT = OpenAIChat()
PATH = "/v1/chat/completions"

REQUEST = {
    "model": "gpt-4o",
    "messages": [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "How warm is it in Lisbon and in Oslo?"},
    ],
    "temperature": 0.2,
    "tools": [{"type": "function", "function": {"name": "weather", "parameters": {}}}],
}

USAGE = {
    "prompt_tokens": 1117,
    "completion_tokens": 46,
    "total_tokens": 1163,
    "prompt_tokens_details": {"cached_tokens": 1024, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 20, "audio_tokens": 0},
}

PLAIN = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1741570283,
    "model": "gpt-4o-2024-08-06",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "I look.",
                "refusal": None,
                "tool_calls": [
                    {
                        "id": "call_1",
                        "type": "function",
                        "function": {"name": "weather", "arguments": '{"city": "Lisbon"}'},
                    },
                    {
                        "id": "call_2",
                        "type": "function",
                        "function": {"name": "weather", "arguments": '{"city": "Oslo"}'},
                    },
                ],
            },
            "logprobs": None,
            "finish_reason": "tool_calls",
        }
    ],
    "usage": USAGE,
    "service_tier": "default",
}


def chunk(delta: Any = None, finish: str | None = None, index: int = 0, **more: Any) -> Any:
    choices = (
        []
        if delta is None
        else [{"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}]
    )
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1741570283,
        "model": "gpt-4o-2024-08-06",
        "choices": choices,
        "usage": None,
        **more,
    }


def call(index: int, arguments: str, **more: Any) -> Any:
    function = {"arguments": arguments, **({"name": "weather"} if more else {})}
    return {"tool_calls": [{"index": index, **more, "function": function}]}


STREAM = [
    chunk({"role": "assistant", "content": "", "refusal": None}),
    chunk({"content": "I "}),
    chunk({"content": "look."}),
    chunk(call(0, "", id="call_1", type="function")),
    chunk(call(0, '{"city": ')),
    chunk(call(1, "", id="call_2", type="function")),
    chunk(call(1, '{"city": "Os')),
    chunk(call(0, '"Lisbon"}')),
    chunk(call(1, 'lo"}')),
    chunk({}, "tool_calls"),
    chunk(usage=USAGE),
]


@pytest.mark.parametrize(
    "path",
    [
        PATH,
        "/openai/v1/chat/completions",
        "/api/v1/chat/completions",
        "/openai/deployments/mine/chat/completions",
        "/v1beta/openai/chat/completions",
    ],
)
def test_known_by_its_path(path: str) -> None:
    """
    Nothing else is called so; the body need not be readable, nor be any good.
    """
    assert _registry.may_match(path)
    for body in (REQUEST, {"model": "gpt-4o"}, None):
        found = _registry.find(path, body)
        assert found is not None
        assert "openai.chat" == found.name


def test_asked() -> None:
    """
    Model, messages, and the rest of the body.
    """
    asked = CHAT.asked(PATH, REQUEST)

    assert "gpt-4o" == asked.model
    assert REQUEST["messages"] == asked.prompt
    assert {"temperature": 0.2, "tools": REQUEST["tools"]} == asked.params


def test_the_deployment_is_the_model_of_azure() -> None:
    """
    Where the body names none: https://learn.microsoft.com/azure/ai-foundry/openai/reference
    """
    body = {"messages": REQUEST["messages"]}

    asked = CHAT.asked("/openai/deployments/my%20gpt/chat/completions", body)

    assert "my gpt" == asked.model


def test_answered() -> None:
    """
    The message, why it ended, the calls it asks for, and the tokens by our names.
    """
    assert Answered(
        model="gpt-4o-2024-08-06",
        response_id="chatcmpl-1",
        completion=PLAIN["choices"][0]["message"],  # type: ignore[index]
        finish_reasons=("tool_calls",),
        tool_call_ids=("call_1", "call_2"),
        prompt_tokens=1117,
        completion_tokens=46,
        cached_tokens=1024,
        reasoning_tokens=20,
        usage=USAGE,
    ) == CHAT.answered(PLAIN)


def test_a_stream_answers_the_same() -> None:
    """
    Fragments of text and of the arguments of two calls make the message a plain call gets.
    """
    assert CHAT.answered(PLAIN) == streamed(CHAT, STREAM)


def test_a_stream_tells_how_far_it_is() -> None:
    """
    The first token is the first text; it is over with the last choice.
    """
    assembly = CHAT.assembly()
    told = []
    for event in STREAM:
        assembly.add("", event)
        told.append((assembly.has_token, assembly.complete))

    assert [(False, False)] + 8 * [(True, False)] + 2 * [(True, True)] == told


def test_a_stream_cut_off() -> None:
    """
    What came is kept; of tokens nothing is known.
    """
    answered = streamed(CHAT, STREAM[:5])

    assert "I look." == answered.completion["content"]
    assert '{"city": ' == answered.completion["tool_calls"][0]["function"]["arguments"]
    assert () == answered.finish_reasons
    assert None is answered.prompt_tokens is answered.completion_tokens


def test_nothing_came() -> None:
    """
    A stream that ended before it began answers nothing.
    """
    assert Answered() == streamed(CHAT, [])


def test_several_choices() -> None:
    """
    Each is a message of its own, however their fragments mix.
    """
    events = [
        chunk({"role": "assistant", "content": "He"}, index=1),
        chunk({"role": "assistant", "content": "Goo"}, index=0),
        chunk({"content": "llo"}, index=1),
        chunk({"content": "d day"}, index=0),
        chunk({}, "stop", index=1),
    ]
    assert not assembly_of(CHAT, events).complete

    answered = streamed(CHAT, [*events, chunk({}, "length", index=0)])

    assert [
        {"role": "assistant", "content": "Good day"},
        {"role": "assistant", "content": "Hello"},
    ] == answered.completion
    assert ("length", "stop") == answered.finish_reasons


def test_a_refusal() -> None:
    """
    A refusal is text, too.
    """
    events = [
        chunk({"role": "assistant", "content": None, "refusal": ""}),
        chunk({"refusal": "I'm sorry, "}),
        chunk({"refusal": "no."}),
        chunk({}, "stop"),
    ]
    assert {
        "role": "assistant",
        "content": None,
        "refusal": "I'm sorry, no.",
    } == streamed(CHAT, events).completion


def test_audio() -> None:
    """
    Transcript and sound grow side by side.
    """
    events = [
        chunk({"role": "assistant", "audio": {"id": "audio_1", "transcript": "Yes"}}),
        chunk({"audio": {"data": "UklG"}}),
        chunk({"audio": {"data": "Rg=="}}),
        chunk({"audio": {"transcript": ", please."}}),
        chunk({"audio": {"expires_at": 1741573000}}),
        chunk({}, "stop"),
    ]
    assert {
        "role": "assistant",
        "audio": {
            "id": "audio_1",
            "transcript": "Yes, please.",
            "data": "UklGRg==",
            "expires_at": 1741573000,
        },
    } == streamed(CHAT, events).completion


def test_one_number_for_all_calls() -> None:
    """
    Calls that a server numbers alike are told apart by their ids.
    """
    events = [
        chunk(call(0, '{"city": "Lisbon"}', id="a", type="function")),
        chunk(call(0, '{"city": "Oslo"}', id="b", type="function")),
        chunk({}, "tool_calls"),
    ]
    assert ("a", "b") == streamed(CHAT, events).tool_call_ids


def test_an_error_in_the_midst() -> None:
    """
    https://openrouter.ai/docs/api-reference/errors: the status was 200 already.
    """
    error = {"code": 502, "message": "Provider disconnected"}
    events = [chunk({"content": "I "}), chunk({"content": ""}, "error", error=error)]

    assert error == assembly_of(CHAT, events).error
    assert "I " == streamed(CHAT, events).completion["content"]


def test_an_error_with_status_200() -> None:
    """
    OpenRouter tells of it beside the choices, or in one of them.
    """
    error = {"code": 502, "message": "Provider disconnected"}
    assert error == CHAT.answered({"error": error}).error
    choice = {**PLAIN["choices"][0], "finish_reason": "error", "error": error}  # type: ignore[index]
    answered = CHAT.answered({**PLAIN, "choices": [choice]})
    assert (error, ("error",)) == (answered.error, answered.finish_reasons)


def test_groq() -> None:
    """
    Usage under a name of its own, and reasoning beside the content:
    https://console.groq.com/docs/api-reference#chat-create
    """
    usage = {"prompt_tokens": 18, "completion_tokens": 9, "total_tokens": 27, "total_time": 0.04}
    events = [
        chunk({"role": "assistant", "content": ""}, x_groq={"id": "req_1"}),
        chunk({"reasoning": "Hm", "channel": "analysis"}),
        chunk({"reasoning": ".", "channel": "analysis"}),
        chunk({"content": "Yes"}),
        chunk({}, "stop", x_groq={"id": "req_1", "usage": usage}),
    ]
    answered = streamed(CHAT, events)

    assert (18, 9, usage) == (
        answered.prompt_tokens,
        answered.completion_tokens,
        answered.usage,
    )
    assert ("Hm.", "Yes") == (answered.completion["reasoning"], answered.completion["content"])


def test_deepseek() -> None:
    """
    https://api-docs.deepseek.com/api/create-chat-completion
    """
    usage = {
        "prompt_tokens": 100,
        "prompt_cache_hit_tokens": 64,
        "prompt_cache_miss_tokens": 36,
        "completion_tokens": 30,
        "completion_tokens_details": {"reasoning_tokens": 25},
        "total_tokens": 130,
    }
    events = [
        chunk({"role": "assistant", "content": None, "reasoning_content": "9.8 "}),
        chunk({"content": None, "reasoning_content": "is more"}),
        chunk({"content": "9.8", "reasoning_content": None}),
        chunk({"content": ""}, "stop", usage=usage),
    ]
    answered = streamed(CHAT, events)

    assert {
        "role": "assistant",
        "content": "9.8",
        "reasoning_content": "9.8 is more",
    } == answered.completion
    assert (100, 64, 30, 25) == (
        answered.prompt_tokens,
        answered.cached_tokens,
        answered.completion_tokens,
        answered.reasoning_tokens,
    )


def test_xai_counts_reasoning_beside_the_completion() -> None:
    """
    It does so if only that adds up: https://docs.x.ai/docs/guides/reasoning
    """
    usage = {
        "prompt_tokens": 32,
        "completion_tokens": 9,
        "total_tokens": 135,
        "prompt_tokens_details": {"text_tokens": 32, "cached_tokens": 6},
        "completion_tokens_details": {"reasoning_tokens": 94},
        "cost_in_usd_ticks": 37_756_000,
    }
    answered = CHAT.answered({**PLAIN, "usage": usage})

    assert (32, 103, 94) == (
        answered.prompt_tokens,
        answered.completion_tokens,
        answered.reasoning_tokens,
    )
    assert Cost(Decimal("0.0037756")) == answered.cost


def test_gemini_counts_reasoning_in_the_total_alone() -> None:
    """
    https://ai.google.dev/gemini-api/docs/openai: what the total has more is what was thought.
    """
    usage = {"prompt_tokens": 35, "completion_tokens": 12, "total_tokens": 109}
    answered = CHAT.answered({**PLAIN, "usage": usage})
    assert (35, 74, 62) == (
        answered.prompt_tokens,
        answered.completion_tokens,
        answered.reasoning_tokens,
    )

    # of who tells more the total is not taken apart
    answered = CHAT.answered({**PLAIN, "usage": {**usage, "queue_time": 0.1}})
    assert (12, None) == (answered.completion_tokens, answered.reasoning_tokens)


@pytest.mark.parametrize("cost", [-1, 1e300, "free", True, {}, {"total_cost": None}])
def test_a_cost_that_is_none(cost: Any) -> None:
    """
    It takes nothing else with it.
    """
    answered = CHAT.answered({**PLAIN, "usage": {**USAGE, "cost": cost}})

    assert (None, 1117) == (answered.cost, answered.prompt_tokens)


def test_openrouter_says_the_cost() -> None:
    """
    https://openrouter.ai/docs/use-cases/usage-accounting: with one's own key there are two bills.
    """
    usage = {**USAGE, "cost": 0.00042, "cost_details": {"upstream_inference_cost": 0.001}}

    assert Cost(Decimal("0.00042")) == CHAT.answered({**PLAIN, "usage": usage}).cost
    usage["is_byok"] = True
    assert Cost(Decimal("0.00142")) == CHAT.answered({**PLAIN, "usage": usage}).cost


def test_openrouter_tells_reasoning_in_detail() -> None:
    """
    https://openrouter.ai/docs/use-cases/reasoning-tokens
    """
    detail = {"type": "reasoning.text", "format": "anthropic-claude-v1", "index": 0}
    events = [
        chunk({"role": "assistant", "reasoning_details": [{**detail, "text": "Let "}]}),
        chunk({"role": "assistant", "reasoning_details": [{**detail, "text": "me see"}]}),
        chunk({"role": "assistant", "reasoning_details": [{**detail, "signature": "Er="}]}),
        chunk({"role": "assistant", "content": "Yes"}, "stop"),
    ]
    assert {
        "role": "assistant",
        "reasoning_details": [
            {
                "type": "reasoning.text",
                "format": "anthropic-claude-v1",
                "text": "Let me see",
                "signature": "Er=",
            }
        ],
        "content": "Yes",
    } == streamed(CHAT, events).completion


def test_perplexity_says_the_cost() -> None:
    """
    As an object: https://docs.perplexity.ai/api-reference/chat-completions-post
    """
    usage = {
        "prompt_tokens": 14,
        "completion_tokens": 70,
        "total_tokens": 84,
        "cost": {"input_tokens_cost": 0.0, "request_cost": 0.005, "total_cost": 0.00507},
    }
    assert Cost(Decimal("0.00507")) == CHAT.answered({**PLAIN, "usage": usage}).cost


def test_moonshot_tells_usage_within_the_choice() -> None:
    """
    https://platform.moonshot.ai/docs/api/chat
    """
    usage = {
        "prompt_tokens": 19,
        "completion_tokens": 13,
        "total_tokens": 32,
        "cached_tokens": 8,
    }
    last = chunk({}, "stop")
    last["choices"][0]["usage"] = usage
    answered = streamed(CHAT, [chunk({"content": "Yes"}), last])

    assert (19, 13, 8) == (
        answered.prompt_tokens,
        answered.completion_tokens,
        answered.cached_tokens,
    )


def test_mistral_thinks_in_parts() -> None:
    """
    Content is a list while it thinks and may be a text afterwards:
    https://docs.mistral.ai/capabilities/reasoning
    """

    def thought(text: str) -> Any:
        return [{"type": "thinking", "thinking": [{"type": "text", "text": text}]}]

    events = [
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": thought("Let me ")}),
        chunk({"content": thought("see.")}),
        chunk({"content": [{"type": "text", "text": "It is "}]}),
        chunk({"content": "four."}, "stop"),
    ]
    assert {
        "role": "assistant",
        "content": [*thought("Let me see."), {"type": "text", "text": "It is four."}],
    } == streamed(CHAT, events).completion


def test_together_says_it_twice() -> None:
    """
    A text beside the delta is the same text: https://docs.together.ai/reference/chat-completions
    """
    first = chunk({"content": "Yes"})
    first["choices"][0]["text"] = "Yes"

    assert {"role": "assistant", "content": "Yes"} == streamed(CHAT, [first]).completion


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": None, "completion_tokens": -1}, 3])
def test_unknown_tokens_are_not_zero(usage: Any) -> None:
    """
    What nobody said is not known.
    """
    answered = CHAT.answered({**PLAIN, "usage": usage})

    assert None is answered.prompt_tokens is answered.completion_tokens is answered.cost


def test_completions() -> None:
    """
    A prompt, and how it goes on: https://platform.openai.com/docs/api-reference/completions
    """
    body = {"model": "gpt-3.5-turbo-instruct", "prompt": "Once upon", "max_tokens": 7}
    found = _registry.find("/v1/completions", body)
    assert isinstance(found, OpenAICompletions)

    asked = found.asked("/v1/completions", body)
    assert ("gpt-3.5-turbo-instruct", "Once upon", {"max_tokens": 7}) == (
        asked.model,
        asked.prompt,
        asked.params,
    )
    assert {"prompt": "a", "suffix": "c"} == found.asked(
        "/v1/completions", {**body, "prompt": "a", "suffix": "c"}
    ).prompt

    about = {"id": "cmpl-1", "object": "text_completion", "model": "gpt-3.5-turbo-instruct"}
    usage = {"prompt_tokens": 2, "completion_tokens": 7, "total_tokens": 9}
    choice = {"index": 0, "logprobs": None}
    plain = {
        **about,
        "choices": [{**choice, "text": " a time", "finish_reason": "length"}],
        "usage": usage,
    }
    events = [
        {**about, "choices": [{**choice, "text": " a", "finish_reason": None}]},
        {**about, "choices": [{**choice, "text": " time", "finish_reason": "length"}]},
        {**about, "choices": [], "usage": usage},
    ]
    answered = found.answered(plain)
    assert (" a time", ("length",), 2, 7) == (
        answered.completion,
        answered.finish_reasons,
        answered.prompt_tokens,
        answered.completion_tokens,
    )
    assert answered == streamed(found, events)


@pytest.mark.parametrize("body", [None, {"model": "x"}, ["prompt"], {"tasks": []}])
def test_other_completions(body: Any) -> None:
    """
    A path that could be anybody's needs a body that is not.
    """
    assert _registry.find("/v1/completions", body) is None


@given(st.data())
def test_odd_bodies(data: st.DataObject) -> None:
    """
    Nothing but sound fields or an ordinary exception comes of any body.
    """
    try_hard(CHAT, PATH, data, asked=REQUEST, answered=PLAIN, events=STREAM)
