"""
A small language model: given a conversation and the tools on offer, it computes what to say next.

It was "trained" on the standard library's docstrings: what it knows is how rare each word is in
them. It reads the question, calls tools until it has read enough, and then says what it found by
ranking the sentences it was given. It understands three labels in the last user message:
`Question:`, `Modules:` (what to read) and `Notes:` (what others found).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import attrs

from . import text

__all__ = ["Model"]

MODULES_IN_A_PLAN = 3
SEARCHES = 3
SOURCES_PER_MODULE = 2
SENTENCES_IN_NOTES = 6
SENTENCES_IN_AN_ANSWER = 5

_NAMED = re.compile(r"`([A-Za-z_][\w.]*)`")
_NOTE = re.compile(r"^- `(?P<where>[\w.]+)`: (?P<text>.+)$", re.MULTILINE)
_COMMENTS = re.compile(r"(?:^[ \t]*#.*\n)+", re.MULTILINE)
_LABEL = re.compile(r"^(Question|Modules|Notes): ?", re.MULTILINE)

Rarity = Callable[[str], float]
"""How much a word says: the rarer it is in what the model was trained on, the more."""


@attrs.frozen
class _Result:
    """
    What a tool was asked and answered earlier in the conversation.
    """

    tool: str
    arguments: Mapping[str, Any]
    content: Any


@attrs.frozen
class _Conversation:
    """
    What the model takes in of a request.
    """

    question: str
    modules: tuple[str, ...]
    notes: str
    tools: frozenset[str]
    results: tuple[_Result, ...]

    @classmethod
    def of(
        cls, messages: Sequence[Mapping[str, Any]], tools: Iterable[Mapping[str, Any]]
    ) -> _Conversation:
        asked = next((m["content"] for m in reversed(messages) if m["role"] == "user"), "")
        parts = _LABEL.split(asked)
        labels = dict(zip(parts[1::2], parts[2::2], strict=True))
        return cls(
            question=labels.get("Question", asked).strip(),
            modules=tuple(_NAMED.findall(labels.get("Modules", ""))),
            notes=labels.get("Notes", ""),
            tools=frozenset(tool["function"]["name"] for tool in tools),
            results=tuple(_results(messages)),
        )

    def of_tool(self, name: str) -> list[_Result]:
        return [result for result in self.results if result.tool == name]


def _results(messages: Iterable[Mapping[str, Any]]) -> Iterable[_Result]:
    asked: dict[str, Mapping[str, Any]] = {}
    for message in messages:
        for call in message.get("tool_calls") or ():
            asked[call["id"]] = call["function"]
        if message["role"] == "tool" and (call := asked.get(message["tool_call_id"])):
            arguments, content = json.loads(call["arguments"]), json.loads(message["content"])
            yield _Result(call["name"], arguments, content)


@attrs.frozen
class Model:
    """
    The model, as far as it is not HTTP.

    Attributes:
        rarity: What it learned.
    """

    rarity: Rarity

    def reply(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]
    ) -> str | list[tuple[str, dict[str, Any]]]:
        """
        What comes next in the conversation: a text, or tools to call with their arguments.
        """
        conversation = _Conversation.of(messages, tools)
        return self._next_calls(conversation) or self._conclusion(conversation)

    def _next_calls(self, conversation: _Conversation) -> list[tuple[str, dict[str, Any]]]:
        if "search_library" in conversation.tools and (query := self._next_query(conversation)):
            return [("search_library", {"query": query})]
        if "read_module" in conversation.tools and (unread := self._unread(conversation)):
            return [("read_module", {"module": module}) for module in unread]
        if "read_source" in conversation.tools and not conversation.of_tool("read_source"):
            return [
                ("read_source", {"module": outline["module"], "name": name})
                for outline in (result.content for result in conversation.of_tool("read_module"))
                for name in self._telling_definitions(conversation.question, outline)
            ]
        return []

    def _next_query(self, conversation: _Conversation) -> str | None:
        """
        The question's rarest words; after a search, those that none of the hits has.
        """
        searches = conversation.of_tool("search_library")
        if len(searches) == SEARCHES:
            return None
        terms = self._terms(conversation.question)
        if not searches:
            return " ".join(word for _, word in terms[:6])
        hits = " ".join(_hit_text(hit) for search in searches for hit in search.content)
        asked = {word for search in searches for word in text.words(search.arguments["query"])}
        seen = asked | set(text.words(hits))
        missing = [word for stem, word in terms if stem not in seen]
        return " ".join(missing[:3]) or None

    def _terms(self, question: str) -> list[tuple[str, str]]:
        return sorted(text.keywords(question).items(), key=lambda term: -self.rarity(term[0]))

    def _weights(self, question: str) -> dict[str, float]:
        return {word: self.rarity(word) for word in text.words(question)}

    def _unread(self, conversation: _Conversation) -> list[str]:
        """
        The modules it was given, else those the question names; not what is read or noted already.
        """
        read = {result.arguments["module"] for result in conversation.of_tool("read_module")}
        noted = [match["where"] for match in _NOTE.finditer(conversation.notes)]
        named = dict.fromkeys(conversation.modules or _NAMED.findall(conversation.question))
        return [
            name
            for name in named
            if name not in read and not any(f"{where}.".startswith(f"{name}.") for where in noted)
        ]

    def _telling_definitions(self, question: str, outline: Mapping[str, Any]) -> list[str]:
        definitions = outline["definitions"]
        ranking = text.Ranking.of(
            text.words(f"{definition['name']} {definition['doc']}") for definition in definitions
        )
        scores = ranking.scores(self._weights(question))
        best = sorted(range(len(scores)), key=lambda index: -scores[index])[:SOURCES_PER_MODULE]
        return [definitions[index]["name"] for index in best if scores[index] > 0]

    def _conclusion(self, conversation: _Conversation) -> str:
        if searches := conversation.of_tool("search_library"):
            return self._plan(conversation.question, searches)
        if notes := _NOTE.findall(conversation.notes):
            return self._answer(conversation.question, notes)
        return self._notes(conversation)

    def _plan(self, question: str, searches: Sequence[_Result]) -> str:
        """
        The modules whose entries fit the question best, counting at most three entries of each.
        """
        scores: dict[str, list[float]] = {}
        for hit in (hit for search in searches for hit in search.content):
            scores.setdefault(hit["module"], []).append(hit["score"])
        total = {module: sum(sorted(found)[-3:]) for module, found in scores.items()}
        best = sorted(total, key=lambda module: -total[module])[:MODULES_IN_A_PLAN]
        return json.dumps({"question": question, "modules": best})

    def _notes(self, conversation: _Conversation) -> str:
        """
        What was read that bears on the question, sentence by sentence, each with where it stands.
        """
        found = [
            (where, sentence)
            for where, doc in _documents(conversation.results)
            for sentence in text.sentences(doc)
        ]
        best = text.central_sentences(
            [sentence for _, sentence in found],
            self._weights(conversation.question),
            limit=SENTENCES_IN_NOTES,
        )
        lines = [f"- `{found[index][0]}`: {found[index][1]}" for index in best]
        return "\n".join(lines) or "Nothing here bears on the question."

    def _answer(self, question: str, notes: Sequence[tuple[str, str]]) -> str:
        best = text.central_sentences(
            [sentence for _, sentence in notes],
            self._weights(question),
            limit=SENTENCES_IN_AN_ANSWER,
        )
        return "\n".join(f"{notes[index][1]} (`{notes[index][0]}`)" for index in best)


def _hit_text(hit: Mapping[str, Any]) -> str:
    return f"{hit['module']} {hit['name']} {hit['summary']}"


def _documents(results: Iterable[_Result]) -> Iterable[tuple[str, str]]:
    """
    Each docstring a tool showed, with the name of what it documents.
    """
    for result in results:
        content = result.content
        if result.tool == "read_module":
            yield content["module"], content["doc"]
            for definition in content["definitions"]:
                yield f"{content['module']}.{definition['name']}", definition["doc"]
        elif result.tool == "read_source":
            for block in _COMMENTS.findall(content["source"]):
                comment = " ".join(line.strip(" #") for line in block.splitlines())
                yield f"{content['module']}.{content['name']}", comment
