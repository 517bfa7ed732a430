"""
Embeddings: what goes in is kept, of what comes out only how much it is.

Bodies are made after https://platform.openai.com/docs/api-reference/embeddings.
"""

from __future__ import annotations

import base64
import struct
from typing import Any

import pytest
from answers import streamed, try_hard
from hypothesis import given
from hypothesis import strategies as st

from asyncops.capture import _registry
from asyncops.capture._dialects import Answered
from asyncops.capture.embeddings import OpenAIEmbeddings

EMBEDDINGS = OpenAIEmbeddings()
PATH = "/v1/embeddings"
REQUEST = {"model": "text-embedding-3-small", "input": ["a", "b"], "encoding_format": "float"}
USAGE = {"prompt_tokens": 8, "total_tokens": 8}
PLAIN: dict[str, Any] = {
    "object": "list",
    "data": [
        {"object": "embedding", "index": 0, "embedding": [0.1, 0.2, 0.3, 0.4, 0.5]},
        {"object": "embedding", "index": 1, "embedding": [0.1, 0.2, 0.3, 0.4, 0.5]},
    ],
    "model": "text-embedding-3-small",
    "usage": USAGE,
}


def test_asked() -> None:
    """
    The texts are the prompt.
    """
    found = _registry.find(PATH, REQUEST)
    assert isinstance(found, OpenAIEmbeddings)

    asked = found.asked(PATH, REQUEST)
    assert ("text-embedding-3-small", ["a", "b"], {"encoding_format": "float"}) == (
        asked.model,
        asked.prompt,
        asked.params,
    )


def test_azure() -> None:
    """
    The deployment is the model.
    """
    path = "/openai/deployments/mine/embeddings"
    found = _registry.find(path, {"input": "a"})
    assert isinstance(found, OpenAIEmbeddings)
    assert "mine" == found.asked(path, {"input": "a"}).model


@pytest.mark.parametrize("body", [None, [], {"input": "a"}, {"model": "m", "text": "a"}])
def test_other_embeddings(body: Any) -> None:
    """
    A path that could be anybody's needs a body that is not.
    """
    assert _registry.find("/embeddings", body) is None


def test_answered() -> None:
    """
    Vectors are counted, not kept. Nothing is said of tokens that came out.
    """
    expected = Answered(
        model="text-embedding-3-small",
        completion={"embeddings": 2, "dimensions": 5},
        prompt_tokens=8,
        usage=USAGE,
    )
    assert expected == EMBEDDINGS.answered(PLAIN)
    assert expected == streamed(EMBEDDINGS, [PLAIN])


@pytest.mark.parametrize("dimensions", range(1, 8))
def test_base64(dimensions: int) -> None:
    """
    OpenAI's client has vectors sent as base64 of 32-bit floats.
    """
    vector = base64.b64encode(struct.pack(f"{dimensions}f", *range(dimensions))).decode()
    answered = EMBEDDINGS.answered({"data": [{"embedding": vector}]})

    assert {"embeddings": 1, "dimensions": dimensions} == answered.completion


def test_voyage_tells_the_total() -> None:
    """
    https://docs.voyageai.com/reference/embeddings-api
    """
    assert 10 == EMBEDDINGS.answered({**PLAIN, "usage": {"total_tokens": 10}}).prompt_tokens


def test_nothing_came() -> None:
    """
    No vectors have no dimensions.
    """
    assert {"embeddings": 0, "dimensions": None} == EMBEDDINGS.answered({"data": []}).completion


@given(st.data())
def test_odd_bodies(data: st.DataObject) -> None:
    """
    Nothing but sound fields or an ordinary exception comes of any body.
    """
    try_hard(EMBEDDINGS, PATH, data, asked=REQUEST, answered=PLAIN, events=[PLAIN])
