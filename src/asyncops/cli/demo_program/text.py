"""
Text as numbers: words, tokens, sentences, and the two rankings the demo's search and model use.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import attrs

__all__ = ["Ranking", "central_sentences", "count_tokens", "keywords", "sentences", "words"]

_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
_TOKEN = re.compile(r"\w{1,4}|[^\w\s]")
_SENTENCE_END = re.compile(r"(?<=[.!?:])\s+(?=[A-Z`\"(])|\n\s*\n")

_STOP_WORDS = frozenset(
    "a all also an and any are as at be been but by can could did do does each for from get"
    " has have how i if in into is it its let many may more most my no not of on one only or"
    " other our out own python same should so some than that the their them then there these"
    " they this to two use used uses using was we what when where which while who why will"
    " with without would you your self none true false return returns".split()
)


def words(text: str) -> list[str]:
    """
    The words of *text* that mean something, lower case and without endings, in order.

    `ThreadPoolExecutor` and `thread_pool_executor` are three words each.
    """
    return [stem for stem, _ in _stems(text)]


def keywords(text: str) -> dict[str, str]:
    """
    What `words` finds in *text*, each once, with how it is written there.
    """
    found: dict[str, str] = {}
    for stem, word in _stems(text):
        found.setdefault(stem, word)
    return found


def _stems(text: str) -> Iterator[tuple[str, str]]:
    for word in _WORD.findall(text):
        stem = _stem(word.lower())
        if len(stem) > 1 and word.lower() not in _STOP_WORDS:
            yield stem, word


def _stem(word: str) -> str:
    for ending in ("ingly", "ation", "ing", "ies", "ied", "ers", "ed", "er", "es", "s"):
        if word.endswith(ending) and not word.endswith("ss") and len(word) - len(ending) >= 4:
            stem = word[: -len(ending)]
            # cancelled, controlling: the doubled letter belongs to the ending
            return stem[:-1] if len(stem) > 5 and stem[-1] == stem[-2] != "s" else stem
    return word


def count_tokens(text: str) -> int:
    """
    How many tokens *text* is: up to four letters or digits, or one other character, each.
    """
    return sum(1 for _ in _TOKEN.finditer(text))


def sentences(text: str) -> list[str]:
    """
    The sentences of *text*, each on one line. Code, tables and doctests are left out.
    """
    found = []
    for part in _SENTENCE_END.split(text):
        line = " ".join(part.split())
        if ">>>" in line or " = " in line or "://" in line:
            continue
        letters = sum(char.isalpha() or char == " " for char in line)
        enough = len(line) >= 30 and line.count(" ") >= 4
        if enough and len(line) <= 320 and letters > 0.8 * len(line):
            found.append(line)
    return found


@attrs.frozen
class Ranking:
    """
    Documents ready to be ranked against a query by BM25 (Robertson and Zaragoza, 2009).

    Attributes:
        counts: How often each word occurs, per document.
        lengths: How many words each document has.
        frequencies: In how many documents each word occurs.
    """

    counts: Sequence[Mapping[str, int]]
    lengths: Sequence[int]
    frequencies: Mapping[str, int]

    @classmethod
    def of(cls, documents: Iterable[Sequence[str]]) -> Ranking:
        """
        A ranking of *documents*, each given as its words.
        """
        counts = [Counter(document) for document in documents]
        frequencies: Counter[str] = Counter()
        for count in counts:
            frequencies.update(count.keys())
        return cls(counts, [count.total() for count in counts], frequencies)

    def rarity(self, word: str) -> float:
        """
        How much it says that a document has *word*: the rarer, the more.
        """
        having = self.frequencies.get(word, 0)
        return math.log(1 + (len(self.counts) - having + 0.5) / (having + 0.5))

    def scores(self, query: Mapping[str, float]) -> list[float]:
        """
        How well each document fits *query*, words with their weights; 0 where they share none.
        """
        average = sum(self.lengths) / max(len(self.lengths), 1) or 1.0
        scores = []
        for count, length in zip(self.counts, self.lengths, strict=True):
            saturation = 1.2 * (0.25 + 0.75 * length / average)
            scores.append(
                sum(
                    weight * count[word] * 2.2 / (count[word] + saturation)
                    for word, weight in query.items()
                    if word in count
                )
            )
        return scores


def central_sentences(
    found: Sequence[str], query: Mapping[str, float], *, limit: int, damping: float = 0.25
) -> list[int]:
    """
    Which sentences say most about *query*, best first, none twice in other words.

    The biased LexRank of Otterbacher, Erkan and Radev (2005): a walk from sentence to similar
    sentence that returns, with probability 1 - *damping*, to one that matches the query.
    """
    ranking = Ranking.of([words(sentence) for sentence in found])
    relevance = ranking.scores(query)
    total = sum(relevance)
    if total == 0:
        return []
    bias = [score / total for score in relevance]
    similarity = _similarities(ranking)
    walk = bias
    for _ in range(20):
        step = [0.0] * len(found)
        for index, row in enumerate(similarity):
            share = walk[index] / (sum(row.values()) or 1.0)
            for other, weight in row.items():
                step[other] += share * weight
        walk = [
            damping * moved + (1 - damping) * back for moved, back in zip(step, bias, strict=True)
        ]
    chosen: list[int] = []
    for index in sorted(range(len(found)), key=lambda index: (-walk[index], index)):
        if relevance[index] > 0 and all(similarity[index].get(other, 0) < 0.5 for other in chosen):
            chosen.append(index)
            if len(chosen) == limit:
                break
    return chosen


def _similarities(ranking: Ranking) -> list[dict[int, float]]:
    """
    The cosine between each two documents, by what their words weigh; zeros are left out.
    """
    vectors = []
    holders: dict[str, list[int]] = {}
    for index, count in enumerate(ranking.counts):
        vector = {word: number * ranking.rarity(word) for word, number in count.items()}
        length = math.sqrt(sum(weight * weight for weight in vector.values())) or 1.0
        vectors.append({word: weight / length for word, weight in vector.items()})
        for word in vector:
            holders.setdefault(word, []).append(index)
    similarity: list[dict[int, float]] = [{} for _ in vectors]
    for word, indices in holders.items():
        for index in indices:
            row = similarity[index]
            for other in indices:
                if other != index:
                    row[other] = row.get(other, 0.0) + vectors[index][word] * vectors[other][word]
    return similarity
