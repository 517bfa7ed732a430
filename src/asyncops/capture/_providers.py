"""
Who serves a model, by the address that a request goes to.
"""

from __future__ import annotations

import functools

from ._dialects import Dialect

__all__ = ["provider_of"]

_HOSTS = {
    "api.openai.com": "openai",
    "api.anthropic.com": "anthropic",
    "generativelanguage.googleapis.com": "google",
    "aiplatform.googleapis.com": "google-vertex",
    "api.mistral.ai": "mistral",
    "codestral.mistral.ai": "mistral",
    "api.cohere.com": "cohere",
    "api.cohere.ai": "cohere",
    "api.groq.com": "groq",
    "api.together.xyz": "together",
    "api.together.ai": "together",
    "openrouter.ai": "openrouter",
    "api.deepseek.com": "deepseek",
    "api.x.ai": "x-ai",
    "api.fireworks.ai": "fireworks",
    "api.perplexity.ai": "perplexity",
    "api.cerebras.ai": "cerebras",
    "ollama.com": "ollama",
}

_ENDINGS = {
    ".api.openai.com": "openai",  # a region before it
    ".openai.azure.com": "azure",
    ".cognitiveservices.azure.com": "azure",
    ".services.ai.azure.com": "azure",
    ".models.ai.azure.com": "azure",
    "-aiplatform.googleapis.com": "google-vertex",
    ".aiplatform.googleapis.com": "google-vertex",
    ".api.x.ai": "x-ai",
    ".amazonaws.com": "aws",
}


def provider_of(host: str, dialect: Dialect) -> str:
    """
    Who serves *host*; where the address does not tell, whose dialect it is.

    Args:
        host: Without the port.
        dialect: What the request speaks.
    """
    return _known(host) or dialect.provider


@functools.lru_cache(maxsize=256)
def _known(host: str) -> str | None:
    host = host.lower().rstrip(".")
    if host in _HOSTS:
        return _HOSTS[host]
    return next((who for ending, who in _ENDINGS.items() if host.endswith(ending)), None)
