"""
Images whose bytes were recorded, as base64 or as a `data:` URL: what a page can show without asking
anybody for anything.

What a text is, its first bytes tell, not what a program says of it. Shown are the formats of pixels
that browsers know; SVG is text and stays one.
"""

from __future__ import annotations

import binascii
import hashlib
import re
from typing import Any

import attrs

from .format import size_bytes

__all__ = ["Image", "image_of", "without_images"]

MIN_CHARS = 32
"""No image is shorter: a GIF of one point takes 35 bytes, 48 characters."""

_DATA_URL = re.compile(r"data:[\w.+/;=-]{0,200}?;base64,", re.IGNORECASE)
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")
_FROM_URL_SAFE = str.maketrans("-_", "+/")
_HEAD_CHARS = 24

_SIGNATURES = {
    "image/png": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "image/jpeg": re.compile(rb"\xff\xd8\xff"),
    "image/gif": re.compile(rb"GIF8[79]a"),
    "image/webp": re.compile(rb"RIFF....WEBP", re.DOTALL),
    "image/avif": re.compile(rb"....ftypavi[fs]", re.DOTALL),
}
"""How files of each kind begin: PNG (RFC 2083), JPEG (ITU T.81), GIF89a, WebP (RFC 9649), AVIF."""


@attrs.frozen(kw_only=True)
class Image:
    """
    An image that can be shown.

    Attributes:
        mime: What it is: "image/png".
        size: How many bytes it has.
        address: A `data:` URL of it, harmless in an attribute.
    """

    mime: str
    size: int
    address: str

    @property
    def words(self) -> str:
        return f"{self.mime}, {size_bytes(self.size)}"

    @property
    def digest(self) -> str:
        """
        The SHA-256 of its bytes, in hexadecimal digits: what a recorder that does not keep them
        leaves of them, too.
        """
        encoded = self.address.partition(",")[2]
        return hashlib.sha256(binascii.a2b_base64(f"{encoded}==")).hexdigest()


def image_of(text: str) -> Image | None:
    """
    The image that *text* is, all of it; None if it is none.
    """
    if len(text) < MIN_CHARS:
        return None
    url = _DATA_URL.match(text)
    begin = 0 if url is None else url.end()
    try:
        head = binascii.a2b_base64(text[begin : begin + _HEAD_CHARS].translate(_FROM_URL_SAFE))
    except ValueError:
        return None
    mime = next((mime for mime, begins in _SIGNATURES.items() if begins.match(head)), None)
    if mime is None:
        return None
    encoded = text[begin:].translate(_FROM_URL_SAFE)
    if not _BASE64.fullmatch(encoded):
        return None
    size = len(encoded.rstrip("=")) * 3 // 4
    return Image(mime=mime, size=size, address=f"data:{mime};base64,{encoded}")


def without_images(value: Any) -> Any:
    """
    *value*, plain JSON, with words and a hash in place of each image in it, to be compared.
    """
    if isinstance(value, str):
        image = image_of(value)
        if image is None:
            return value
        return f"[{image.words}, SHA-256 {image.digest[:8]}]"
    if isinstance(value, list):
        return [without_images(item) for item in value]
    if isinstance(value, dict):
        return {key: without_images(item) for key, item in value.items()}
    return value
