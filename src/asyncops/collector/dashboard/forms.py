"""
What forms of our pages bring.
"""

from __future__ import annotations

from urllib.parse import parse_qs

from starlette.exceptions import HTTPException
from starlette.requests import Request

__all__ = ["read_form"]

MAX_FORM_BYTES = 16_384


async def read_form(request: Request) -> dict[str, str]:
    """
    The fields that were filled in, by name; of several with one name the first.

    Raises:
        HTTPException: It is more than any form of ours has.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_FORM_BYTES:
            raise HTTPException(413, "that is more than the form has", {"Connection": "close"})
    try:
        fields = parse_qs(body.decode("latin-1"), max_num_fields=20)
    except ValueError:
        raise HTTPException(400, "that is more than the form has") from None
    return {name: values[0] for name, values in fields.items()}
