"""
What Mistral has beside the chat.

Bodies are made after https://docs.mistral.ai/api/endpoint/fim,
https://docs.mistral.ai/api/endpoint/agents and https://docs.mistral.ai/deployment/cloud/vertex.
"""

from __future__ import annotations

from typing import Any

import pytest
from answers import streamed

from asyncops.capture import _registry
from asyncops.capture.mistral import MistralAgents, MistralFIM, MistralVertex

USAGE = {"prompt_tokens": 8, "completion_tokens": 9, "total_tokens": 17}
ABOUT = {"id": "447e3e0d", "model": "codestral-2405"}
PLAIN = {
    **ABOUT,
    "object": "chat.completion",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "    return odd"},
            "finish_reason": "stop",
        }
    ],
    "usage": USAGE,
}
STREAM: list[Any] = [
    {**ABOUT, "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]},
    {**ABOUT, "choices": [{"index": 0, "delta": {"content": "    return"}}]},
    {
        **ABOUT,
        "choices": [{"index": 0, "delta": {"content": " odd"}, "finish_reason": "stop"}],
        "usage": USAGE,
    },
]
VERTEX = "/v1/projects/p/locations/l/publishers/mistralai/models/codestral-2501:rawPredict"


@pytest.mark.parametrize(
    ("path", "body", "kind", "model", "prompt", "params"),
    [
        (
            "/v1/fim/completions",
            {"model": "codestral", "prompt": "def f(", "suffix": "return odd", "top_p": 1},
            MistralFIM,
            "codestral",
            {"prompt": "def f(", "suffix": "return odd"},
            {"top_p": 1},
        ),
        (
            "/v1/agents/completions",
            {"agent_id": "ag_1", "messages": [{"role": "user", "content": "hi"}]},
            MistralAgents,
            None,
            [{"role": "user", "content": "hi"}],
            {"agent_id": "ag_1"},
        ),
        (
            VERTEX,
            {"messages": [{"role": "user", "content": "hi"}], "stream": False},
            MistralVertex,
            "codestral-2501",
            [{"role": "user", "content": "hi"}],
            {"stream": False},
        ),
        (
            VERTEX,
            {"model": "codestral", "prompt": "def f("},
            MistralVertex,
            "codestral",
            "def f(",
            {},
        ),
    ],
)
def test_asked(
    path: str, body: Any, kind: type[Any], model: str | None, prompt: Any, params: Any
) -> None:
    """
    What stands around the middle is the prompt; an agent is no model.
    """
    found = _registry.find(path, body)
    assert isinstance(found, kind)

    asked = found.asked(path, body)
    assert (model, prompt, params) == (asked.model, asked.prompt, asked.params)


def test_other_agents() -> None:
    """
    Without an agent's id it is nobody's dialect; a text to be completed is OpenAI's.
    """
    assert _registry.find("/v1/agents/completions", {"messages": []}) is None
    assert _registry.find("/v1/agents/completions", None) is None


def test_answered() -> None:
    """
    As the chat is, plain and streamed.
    """
    fim = MistralFIM()
    answered = fim.answered(PLAIN)

    assert ({"role": "assistant", "content": "    return odd"}, 8, 9) == (
        answered.completion,
        answered.prompt_tokens,
        answered.completion_tokens,
    )
    assert answered == streamed(fim, STREAM)
