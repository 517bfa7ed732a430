"""
What Mistral has beside the chat: filling in the middle, agents, and its models on Vertex.

The answers, and the chat itself, are written as OpenAI writes them.
"""

from __future__ import annotations

from typing import Any

from ._bodies import but, model_in, text
from ._dialects import Asked
from .openai_chat import OpenAIChat, prompt_and_suffix

__all__ = ["MistralAgents", "MistralFIM", "MistralVertex"]


class MistralFIM(OpenAIChat):
    """
    `/fim/completions`: what stands between a prompt and a suffix.
    """

    name = "mistral.fim"
    provider = "mistral"
    ends = ("/fim/completions",)

    def asked(self, path: str, body: Any) -> Asked:
        return Asked(
            model=text(body.get("model")),
            prompt=prompt_and_suffix(body),
            params=but(body, "model", "prompt", "suffix"),
        )


class MistralAgents(OpenAIChat):
    """
    `/agents/completions`: the agent, not the request, says which model; it is among the params.
    """

    name = "mistral.agents"
    provider = "mistral"
    ends = ("/agents/completions",)

    def matches(self, path: str, body: Any) -> bool:
        return isinstance(body, dict) and isinstance(body.get("agent_id"), str)


class MistralVertex(OpenAIChat):
    """
    `:rawPredict` and `:streamRawPredict` of Mistral's models on Vertex.
    """

    name = "mistral.vertex"
    provider = "google-vertex"
    ends = (":rawPredict", ":streamRawPredict")

    def matches(self, path: str, body: Any) -> bool:
        return "/publishers/mistralai/models/" in path

    def asked(self, path: str, body: Any) -> Asked:
        return Asked(
            model=text(body.get("model")) or model_in(path),
            prompt=body["messages"] if "messages" in body else prompt_and_suffix(body),
            params=but(body, "model", "messages", "prompt", "suffix"),
        )
