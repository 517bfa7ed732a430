"""
The headers of every answer: what a page may fetch, who may embed it, what others are told of it.
"""

from __future__ import annotations

import base64
import hashlib

__all__ = ["SECURITY_HEADERS", "content_policy"]


def content_policy(*, media: str | None = None, style: str | None = None) -> str:
    """
    What a page may fetch: nothing foreign and nothing inline, so that what a program records can
    become text and no more.

    Args:
        media: The one other origin that videos and sound may come from, and then not from here.
        style: The one style sheet that may stand in the page itself, exactly as it stands there.
    """
    policy = (
        "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none';"
        " form-action 'self'; frame-ancestors 'none'"
    )
    if media is not None:
        policy += f"; media-src {media}"
    if style is not None:
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        policy += f"; style-src 'self' 'sha256-{digest}'"
    return policy


SECURITY_HEADERS = {
    "Content-Security-Policy": content_policy(),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # not "no-referrer": with that, browsers hide from ourselves, too, where a form comes from
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Those that an answer has unless it says otherwise."""
