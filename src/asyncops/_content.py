"""
What is kept of prompts and completions: all of it, its hashes, or nothing; and what stands in place
of images and sound.

Media come as base64 inside of JSON. Kept is what they are, how large, and their hash: a screenshot
in each turn of a conversation would fill the journal with the same bytes over and over.

    {"$media": "image/png", "size": 48211, "sha256": "..."}
    {"role": "user", "$hashed": "sha256:...", "size": 1234}         (size: characters of JSON)
"""

from __future__ import annotations

import binascii
import hashlib
import re
from typing import Any

import msgspec

__all__ = ["hashed", "without_media"]

MIN_MEDIA_CHARS = 1_024
"""A text shorter than this is kept, whatever it looks like."""

MAX_DEPTH = 32
"""What lies deeper is left as it is: the encoder cuts it off."""

_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+)?(?:;[\w.+=-]+)*;base64,")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{256}")
_DISTINCT = 32
"""Of the 64 characters of base64 so many occur among the first 256 of what is no word."""

_FROM_URL_SAFE = str.maketrans("-_", "+/")
_MIME_KEYS = ("media_type", "mime_type", "mimeType", "format")
_UNKNOWN = "application/octet-stream"


def without_media(value: Any) -> Any:
    """
    *value* with a marker in place of each text in it that is the bytes of something: a `data:` URL,
    or nothing but base64. What holds none is returned as it is, not copied.
    """
    return _without_media(value, _UNKNOWN, 0)


def _without_media(value: Any, mime: str, depth: int) -> Any:
    if type(value) is str:
        return value if len(value) < MIN_MEDIA_CHARS else _text(value, mime)
    if depth < MAX_DEPTH:
        if type(value) is dict:
            return _changed(value, value.items(), _mime(value, mime), depth)
        if type(value) is list:
            return _changed(value, enumerate(value), mime, depth)
    return value


def _changed(value: Any, items: Any, mime: str, depth: int) -> Any:
    copy = None
    for key, item in items:
        kept = _without_media(item, mime, depth + 1)
        if kept is not item:
            if copy is None:
                copy = value.copy()
            copy[key] = kept
    return value if copy is None else copy


def _mime(value: dict[Any, Any], above: str) -> str:
    """
    What the entries of *value* say that its media are.
    """
    for key in _MIME_KEYS:
        said = value.get(key)
        if type(said) is str and len(said) < 100:
            return said
    return above


def _text(text: str, mime: str) -> Any:
    url = _DATA_URL.match(text)
    begin = 0 if url is None else url.end()
    head = _BASE64.match(text, begin)
    if head is None:
        return text
    if url is None and mime == _UNKNOWN and len(set(head[0])) < _DISTINCT:
        return text  # a path, or somebody leant on a key
    encoded = text[begin:]
    if "-" in encoded or "_" in encoded:
        encoded = encoded.translate(_FROM_URL_SAFE)
    try:
        data = binascii.a2b_base64(encoded + "=" * (-len(encoded) % 4), strict_mode=True)
    except ValueError:
        return text
    found = mime if url is None else url[1] or _UNKNOWN
    return {"$media": found, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def hashed(value: Any) -> Any:
    """
    *value*, a prompt or a completion, with the hash of each message in place of what it says.

    Whoever has a message can tell that it is this one; of a short one it can be found out by
    trying.
    """
    if isinstance(value, list | tuple):
        return [hashed(item) for item in value]
    if isinstance(value, dict):
        if isinstance(value.get("role"), str):
            return {"role": value["role"], **_hash(value)}
        if any(isinstance(item, list) for item in value.values()):
            return {str(key): hashed(item) for key, item in value.items()}
    return _hash(value)


def _hash(value: Any) -> dict[str, Any]:
    data = msgspec.json.encode(value, enc_hook=repr)
    return {"$hashed": f"sha256:{hashlib.sha256(data).hexdigest()}", "size": len(data)}
