"""
What is kept of prompts and completions.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import asyncops
import asyncops.testing
from asyncops._content import hashed, without_media
from asyncops._wire import encode

PIXELS = bytes(range(256)) * 16
ENCODED = base64.b64encode(PIXELS).decode()
MARKER = {
    "$media": "image/png",
    "size": len(PIXELS),
    "sha256": hashlib.sha256(PIXELS).hexdigest(),
}

WAYS = {
    "data URL": {
        "type": "image_url",
        "image_url": {"url": f"data:image/png;base64,{ENCODED}"},
    },
    "type beside it": {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": ENCODED},
    },
    "inline data": {"inlineData": {"mimeType": "image/png", "data": ENCODED}},
    "URL-safe": {
        "inlineData": {
            "mimeType": "image/png",
            "data": base64.urlsafe_b64encode(PIXELS).decode().rstrip("="),
        }
    },
}


@pytest.mark.parametrize("part", WAYS.values(), ids=WAYS)
def test_media_become_size_and_hash(part: dict[str, Any]) -> None:
    """
    In whichever way a vendor wants an image written down, its bytes are not kept.
    """
    kept = without_media([{"role": "user", "content": [{"type": "text", "text": "look"}, part]}])

    assert kept[0]["content"][0] == {"type": "text", "text": "look"}
    assert MARKER in list(_dicts(kept))
    assert ENCODED not in str(kept)


def _dicts(value: Any) -> Any:
    if isinstance(value, dict):
        yield value
        for item in value.values():
            yield from _dicts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _dicts(item)


PROSE = {
    "prose": "It was a bright cold day in April, and the clocks were striking thirteen. " * 40,
    "no spaces": "これは長い文です。" * 400,
    "a path": "/usr/lib/python3/dist-packages/" * 60,
    "one key": "x" * 5000,
    "nearly base64": ENCODED[:2000] + "!" + ENCODED[:2000],
    "short": ENCODED[:1000],
}


@pytest.mark.parametrize("text", PROSE.values(), ids=PROSE)
def test_texts_are_left_alone(text: str) -> None:
    """
    What is no base64, or too short to matter, is the same object as before.
    """
    messages = [{"role": "user", "content": text}]

    assert without_media(messages) is messages


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=40),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=10), inner),
    max_leaves=20,
)


@given(JSON)
def test_what_holds_no_media_is_not_touched(value: Any) -> None:
    """
    Any JSON without media comes back as it is; its hashes are JSON.
    """
    assert without_media(value) is value
    msgspec.json.encode(hashed(value))


def test_hashes_tell_who_spoke_and_no_more() -> None:
    """
    Messages are hashed one by one, so that one can see which came again.
    """
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "The plan is secret."},
        {"role": "system", "content": "Be brief."},
    ]

    kept = hashed(messages)

    assert ["system", "user", "system"] == [message["role"] for message in kept]
    assert kept[0] == kept[2] != kept[1]
    assert "secret" not in str(kept)
    assert hashed({"system": "Be brief.", "messages": messages})["messages"] == kept


def told(recording: asyncops.testing.Recording) -> dict[str, Any]:
    """
    The one event of *recording*, as the wire has it.
    """
    (event,) = recording.events
    line: dict[str, Any] = msgspec.json.decode(encode(event))
    return line


@pytest.mark.parametrize("content", ["full", "hash", "metadata"])
@pytest.mark.parametrize("way", ["block", "event"])
def test_what_is_kept_of_an_llm_event(content: Any, way: str) -> None:
    """
    Prompt and completion, their hashes, or nothing of them; what it used is kept in any case.
    """
    prompt, completion = [{"role": "user", "content": "a b c"}], "d e f"
    configuration = asyncops.Configuration(capture_content=content)

    with asyncops.testing.recorded(configuration) as recording, asyncops.session():
        if way == "block":
            with asyncops.llm(model="m", prompt=prompt) as call:
                call.completion, call.prompt_tokens = completion, 7
        else:
            asyncops.record(
                asyncops.LLMEvent(model="m", prompt=prompt, completion=completion, prompt_tokens=7)
            )

    event = told(recording)
    assert 7 == event["prompt_tokens"]
    if content == "full":
        assert (prompt, completion) == (event["prompt"], event["completion"])
    elif content == "hash":
        assert "user" == event["prompt"][0]["role"]
        assert event["prompt"][0]["$hashed"].startswith("sha256:")
        assert "d e f" not in str(event)
    else:
        assert {"prompt", "completion"}.isdisjoint(event)


@pytest.mark.parametrize("keep", [True, False])
def test_bytes_of_media_on_request(keep: bool) -> None:
    """
    `capture_media` keeps them.
    """
    configuration = asyncops.Configuration(capture_media=keep)

    with asyncops.testing.recorded(configuration) as recording, asyncops.session():
        with asyncops.llm(model="m", prompt=[{"role": "user", "content": [WAYS["data URL"]]}]):
            pass

    assert keep is (ENCODED in str(told(recording)["prompt"]))
