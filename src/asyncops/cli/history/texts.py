"""
What is asked, answered, looked up and found, out of a few sentences and many words.
"""

from __future__ import annotations

import re
from random import Random
from typing import Any

__all__ = ["Texts"]

WORDS = {
    "city": "Lyon Porto Graz Turku Leeds Ghent Bilbao Aarhus Brno Utrecht Malmö Tartu".split(),
    "colour": "black white red green blue grey".split(),
    "column": "amount country channel plan churned_at refunded revenue".split(),
    "customer": "Amara Bo Chiara Dmitri Eun-ji Farid Greta Hugo Ines Jun Kofi Lena".split(),
    "defect": [
        "a missing await",
        "an off-by-one at the page's end",
        "a lock held across an await",
        "a default that is shared",
        "an exception that is swallowed",
        "a timeout without a bound",
    ],
    "file": [
        "src/billing/invoices.py",
        "src/billing/refunds.py",
        "src/web/session.py",
        "src/web/routes.py",
        "src/jobs/retry.py",
        "src/jobs/queue.py",
        "src/search/index.py",
        "tests/test_refunds.py",
    ],
    "function": "charge refund settle enqueue retry reindex render authorize paginate".split(),
    "product": "lamp kettle backpack headphones keyboard bicycle light tent jacket".split(),
    "segment": "new returning enterprise trial dormant".split(),
    "table": "orders refunds customers sessions invoices events_daily".split(),
    "topic": [
        "structured concurrency",
        "write-ahead logging",
        "vector search",
        "prompt caching",
        "browser sandboxing",
        "supply-chain attacks",
        "solar storage",
        "battery recycling",
    ],
    "trouble": [
        "arrived broken",
        "has not arrived",
        "is the wrong colour",
        "was charged twice",
        "does not switch on",
        "lacks a part",
    ],
    "vendor": "Nordwind Halley Ostrava Papier Quint Rialto Solberg Tamar".split(),
    "week": [str(number) for number in range(1, 53)],
}
"""What stands in for `{name}` in a sentence; `{number}` is any number, `{code}` any code."""

_SLOT = re.compile(r"\{(\w+)\}")


class Texts:
    """
    Fills sentences in, from one chooser.
    """

    def __init__(self, chooser: Random) -> None:
        self._chooser = chooser

    def fill(self, sentence: str) -> str:
        """
        *sentence* with words in its slots.
        """
        return _SLOT.sub(self._word, sentence)

    def filled(self, value: Any) -> Any:
        """
        *value*, plain data, with words in the slots of all its texts. A text that is nothing but
        `{number}` becomes one.
        """
        if isinstance(value, str):
            return self._number() if value == "{number}" else self.fill(value)
        if isinstance(value, dict):
            return {key: self.filled(item) for key, item in value.items()}
        return [self.filled(item) for item in value] if isinstance(value, list) else value

    def some(self, sentences: tuple[str, ...], most: int) -> str:
        """
        Up to *most* of *sentences*, filled in.
        """
        count = self._chooser.randint(1, min(most, len(sentences)))
        return " ".join(map(self.fill, self._chooser.sample(sentences, count)))

    def _word(self, slot: re.Match[str]) -> str:
        name = slot[1]
        if name == "number":
            return str(self._number())
        if name == "code":
            return f"{self._chooser.getrandbits(20):05x}"
        return self._chooser.choice(WORDS[name])

    def _number(self) -> int:
        return int(self._chooser.lognormvariate(4.5, 1.5)) + 1
