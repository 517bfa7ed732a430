"""
What differs between two texts, word by word.
"""

from __future__ import annotations

import difflib
import re
from typing import Literal

import attrs

__all__ = ["Piece", "word_diff"]

MAX_WORDS = 4_000
"""How many words of a text are compared; of longer ones the beginning."""

MAX_WORD_CHARS = 200

_WORD = re.compile(rf"\s*(?:\w{{1,{MAX_WORD_CHARS}}}|[^\w\s]{{1,3}})|\s+")


@attrs.frozen(kw_only=True)
class Piece:
    """
    Some words that both texts have, or only the first ("gone"), or only the second ("come").
    """

    change: Literal["same", "gone", "come"]
    text: str


def word_diff(before: str, after: str) -> tuple[list[Piece], bool]:
    """
    What makes *after* of *before*, and whether that is all of it: of long texts only the beginning
    is compared.
    """
    one, one_whole = _words(before)
    other, other_whole = _words(after)
    pieces: list[Piece] = []
    # what is frequent in long texts is no anchor, or texts could be made that take minutes
    matcher = difflib.SequenceMatcher(None, one, other, autojunk=True)
    for change, start, end, other_start, other_end in matcher.get_opcodes():
        if change == "equal":
            pieces.append(Piece(change="same", text="".join(one[start:end])))
            continue
        if end > start:
            pieces.append(Piece(change="gone", text="".join(one[start:end])))
        if other_end > other_start:
            pieces.append(Piece(change="come", text="".join(other[other_start:other_end])))
    return pieces, one_whole and other_whole


def _words(text: str) -> tuple[list[str], bool]:
    cut = text[: MAX_WORDS * 20]
    words = _WORD.findall(cut)
    return words[:MAX_WORDS], len(words) <= MAX_WORDS and cut == text
