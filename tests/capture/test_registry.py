"""
Which dialect a request speaks, and who serves it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from asyncops.capture import _providers, _registry
from asyncops.capture._providers import provider_of
from asyncops.capture.openai_chat import OpenAIChat


class Mine(OpenAIChat):
    """
    A user's dialect.
    """

    name = "mine"
    ends = ("/talk", "/chat/completions")

    def matches(self, path: str, body: Any) -> bool:
        return "mine" in body


@pytest.fixture
def mine() -> Iterator[Mine]:
    dialect = Mine()
    _registry.register(dialect)
    yield dialect
    _registry.unregister("mine")


@pytest.mark.parametrize("path", ["", "/", "/v1/users", "/v1/chat/completions/abc", "/completion"])
def test_other_paths(path: str) -> None:
    """
    Other requests are let through unseen.
    """
    assert not _registry.may_match(path)
    assert _registry.find(path, {"model": "m", "messages": [], "prompt": ""}) is None


def test_a_users_dialect_is_asked_first(mine: Mine) -> None:
    """
    It adds paths, takes what is its own, and leaves the rest to those there were.
    """
    assert _registry.may_match("/talk")
    assert mine is _registry.find("/talk", {"mine": 1})
    assert mine is _registry.find("/v1/chat/completions", {"mine": 1})
    assert "openai.chat" == getattr(_registry.find("/v1/chat/completions", {}), "name", None)


def test_a_dialect_that_raises_does_not_match(mine: Mine) -> None:
    """
    `"mine" in None` is a TypeError: ours are asked as if nothing had been.
    """
    assert _registry.find("/talk", None) is None
    assert "openai.chat" == getattr(_registry.find("/v1/chat/completions", None), "name", None)


def test_a_dialect_replaces_its_namesake(mine: Mine) -> None:
    """
    A module that is loaded anew does not add a second one.
    """
    again = Mine()
    _registry.register(again)
    assert again is _registry.find("/talk", {"mine": 1})

    _registry.unregister("mine")
    assert not _registry.may_match("/talk")
    assert "openai.chat" == getattr(_registry.find("/v1/chat/completions", {}), "name", None)


@pytest.mark.parametrize(
    ("host", "provider"),
    [
        ("api.openai.com", "openai"),
        ("eu.api.openai.com", "openai"),
        ("MINE.openai.azure.com", "azure"),
        ("mine.cognitiveservices.azure.com", "azure"),
        ("api.anthropic.com", "anthropic"),
        ("generativelanguage.googleapis.com", "google"),
        ("us-central1-aiplatform.googleapis.com", "google-vertex"),
        ("aiplatform.googleapis.com", "google-vertex"),
        ("bedrock-runtime.eu-west-1.amazonaws.com", "aws"),
        ("openrouter.ai", "openrouter"),
        ("api.x.ai.", "x-ai"),
        ("localhost", "openai"),
        ("127.0.0.1", "openai"),
        ("notapi.openai.com.example.org", "openai"),
        ("", "openai"),
    ],
)
def test_provider_by_host(host: str, provider: str) -> None:
    """
    A known address tells who serves it; anything else is taken for whose dialect it speaks.
    """
    assert provider == provider_of(host, OpenAIChat())


def test_the_docs_name_all_of_them() -> None:
    """
    docs/capture.md has each dialect with its paths, and each provider.
    """
    page = (Path(__file__).parents[2] / "docs" / "capture.md").read_text()
    ours = _registry._OURS
    providers = {*_providers._HOSTS.values(), *_providers._ENDINGS.values()}
    said = {dialect.name for dialect in ours} | providers | {each.provider for each in ours}
    said |= {end for dialect in ours for end in dialect.ends}

    assert set() == {word for word in said if f"`{word}`" not in page}
