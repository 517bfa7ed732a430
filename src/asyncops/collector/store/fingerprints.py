"""
What errors have in common that differ only in numbers and ids.
"""

from __future__ import annotations

import re

__all__ = ["fingerprint"]

MAX_FINGERPRINT_CHARS = 200

_CHANGING = re.compile(
    r"""
    (?P<kept>\b(?:HTTP|status|code|errno)\b\W{0,3}\d{1,3}(?!\w) # says what went wrong
        | (?:(?<=:\ )|(?<=['"]))[1-5]\d\d(?=\ [A-Z]))
    | (?<![\w.-])(?:
        [0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}       # a UUID
        | 0x[0-9a-f]+                                     # an address
        | (?=\w*\d\w*\d)(?=\w*[a-z])\w{8,}                # an id: letters and digits
        | \d[\d_]*(?:[.,:T-]\d+)*(?:[a-zµ]{1,3}|%)?         # a number, with its unit
    )(?![\w-])
    """,
    re.VERBOSE | re.IGNORECASE,
)


def fingerprint(error: str) -> str:
    """
    *error*, the line that says a failure's type and message, with `#` for what changes from time
    to time: `TimeoutError: no answer in 30.2 s` is `TimeoutError: no answer in # s`. Status codes
    stay.
    """
    line = error.partition("\n")[0][: 2 * MAX_FINGERPRINT_CHARS]
    same = _CHANGING.sub(lambda found: found["kept"] or "#", line)
    return same[:MAX_FINGERPRINT_CHARS]
