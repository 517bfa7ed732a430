"""
A session's video, as far as a page can play it.

A program chooses the address, and the page's policy names where it points: so it has to look like
nothing else.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import attrs

from .format import web_address

__all__ = ["Video", "playable"]

FILES = (".mp4", ".m4v", ".mov", ".webm", ".ogv", ".ogg")
"""What browsers can play, as far as a name tells."""

_HOST = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)*")
"""What may stand in a policy: `;` or a blank in it would begin another rule."""


@attrs.frozen
class Video:
    """
    A video that can be played.

    Attributes:
        origin: Scheme, host and port of the address, for a policy.
    """

    address: str
    origin: str


def playable(text: str | None) -> Video | None:
    """
    *text* as a video, if it is the web address of a file that browsers play; else it is a link at
    most. One with a name or password in it is not: browsers do not fetch it.
    """
    address = web_address(text)
    if address is None:
        return None
    parts = urlsplit(address)
    try:
        port = parts.port
    except ValueError:
        return None
    host = parts.hostname or ""
    if "@" in parts.netloc or not _HOST.fullmatch(host) or not parts.path.lower().endswith(FILES):
        return None
    return Video(address, f"{parts.scheme}://{host}" + ("" if port is None else f":{port}"))
