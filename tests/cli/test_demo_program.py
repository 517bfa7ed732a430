"""
The demo's program does real work: its answers follow from the question and from the sources.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from asyncops.cli.demo_program import model_server
from asyncops.cli.demo_program.agents import AnswerError, Team
from asyncops.cli.demo_program.chat import Chat
from asyncops.cli.demo_program.library import Library, LibraryError
from asyncops.cli.demo_program.model import Model
from asyncops.cli.demo_program.text import Ranking, central_sentences, count_tokens, words

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def library() -> Library:
    return Library.read()


@pytest.fixture(scope="module")
def model_url(library: Library) -> Iterator[str]:
    with model_server.served(Model(library.rarity)) as url:
        yield url


def test_words_of_names_and_of_prose_are_alike() -> None:
    """
    A search for words finds names written in any fashion, with any ending.
    """
    assert words("ThreadPoolExecutor") == words("thread_pool executors")
    assert words("cancelled") == words("cancels") == words("cancelling")
    assert words("What is the use of it?") == []


def test_ranking_prefers_the_rarer_word() -> None:
    """
    Of two documents that share one word each with the query, the rarer word decides.
    """
    ranking = Ranking.of([["queue", "thread"], ["queue", "lock"], ["queue", "barrier"]])
    query = {word: ranking.rarity(word) for word in ("queue", "barrier")}
    scores = ranking.scores(query)
    assert max(scores) == scores[2]
    assert scores[0] == scores[1] > 0


def test_a_summary_says_nothing_twice() -> None:
    """
    A sentence that repeats another in other words is left out of a summary.
    """
    said = [
        "A queue hands items from one thread to another thread.",
        "A queue hands an item from one thread to another.",
        "A barrier lets threads wait for each other.",
    ]
    chosen = central_sentences(said, {"thread": 1.0, "queue": 1.0, "barrier": 1.0}, limit=3)
    assert sorted(chosen) in ([0, 2], [1, 2])


def test_the_library_is_read_without_importing_it(library: Library) -> None:
    """
    Indexing and reading a module leaves it unimported.
    """
    assert "turtle" not in sys.modules
    outline = library.outline("turtle")
    assert "turtle graphics" in outline.doc.lower()
    assert any(definition.name == "Vec2D" for definition in outline.definitions)
    assert "turtle" not in sys.modules


def test_the_source_shown_is_the_source(library: Library) -> None:
    """
    The source of a definition is what stands in its file at the line given.
    """
    shown = library.source("queue", "PriorityQueue")
    import queue

    lines = Path(str(queue.__file__)).read_text().splitlines()
    assert lines[shown.line - 1] == "class PriorityQueue(Queue):" == shown.source.split("\n")[0]


def test_a_missing_module_is_an_error_with_its_cause(library: Library) -> None:
    """
    Reading a module that does not exist fails, and says what was looked up in vain.
    """
    with pytest.raises(LibraryError, match="no module 'asyncpool'") as caught:
        library.outline("asyncpool")
    assert isinstance(caught.value.__cause__, KeyError)
    with pytest.raises(LibraryError, match="defines no 'Nope'"):
        library.source("queue", "Nope")


def test_an_index_survives_saving(library: Library, tmp_path: Path) -> None:
    """
    A library loaded from a saved index finds the same.
    """
    library.save(tmp_path / "index.json")
    loaded = Library.load(tmp_path / "index.json")
    query = "write rows of a CSV file"
    assert loaded.search(query, limit=5) == library.search(query, limit=5)
    assert loaded.search(query, limit=1)[0][0].module == "csv"


def _ask(url: str, messages: list[dict[str, Any]], **more: Any) -> httpx.Response:
    body = {"model": model_server.MODEL_NAME, "messages": messages, **more}
    return httpx.post(f"{url}/chat/completions", json=body, trust_env=False, verify=False)


SEARCH = {"type": "function", "function": {"name": "search_library"}}


def test_the_model_calls_a_tool_for_what_the_question_is_about(model_url: str) -> None:
    """
    Offered a search, the model asks for the question's own words, rarest first.
    """
    question = {
        "role": "user",
        "content": "Question: How do I parse the quoted rows of a CSV file?",
    }
    answer = _ask(model_url, [question], tools=[SEARCH]).json()
    (call,) = answer["choices"][0]["message"]["tool_calls"]
    assert answer["choices"][0]["finish_reason"] == "tool_calls"
    assert call["function"]["name"] == "search_library"
    query = json.loads(call["function"]["arguments"])["query"].split()
    assert set(query) == {"CSV", "quoted", "rows", "parse", "file"}
    assert query.index("CSV") < query.index("file")


def test_usage_is_counted_and_costs_follow_from_it(model_url: str) -> None:
    """
    Tokens are those of the texts, a conversation's beginning is cached, and the cost adds up.
    """
    messages = [{"role": "user", "content": "Question: What is a deque, and when is it useful?"}]
    first = _ask(model_url, messages).json()
    reply = first["choices"][0]["message"]
    expected = count_tokens("[]") + count_tokens(json.dumps(messages[0]))
    assert first["usage"]["prompt_tokens"] == expected
    assert first["usage"]["completion_tokens"] == count_tokens(reply["content"])

    messages += [reply, {"role": "user", "content": "Question: And a heap?"}]
    second = _ask(model_url, messages).json()["usage"]
    cached = second["prompt_tokens_details"]["cached_tokens"]
    assert cached == expected
    cost = (
        (second["prompt_tokens"] - cached) * model_server.PROMPT_PRICE
        + cached * model_server.CACHED_PRICE
        + second["completion_tokens"] * model_server.COMPLETION_PRICE
    )
    assert Decimal(str(second["cost"])) == pytest.approx(cost)


def test_the_model_refuses_what_it_cannot_read(model_url: str) -> None:
    """
    A malformed request and an unknown model get an error in the vendor's format, and no more.
    """
    bad = httpx.post(f"{model_url}/chat/completions", content=b"{", trust_env=False, verify=False)
    assert bad.status_code == 400
    assert "error" in bad.json()
    unknown = _ask(model_url, [], model="gpt-9")
    assert unknown.status_code == 404
    models = httpx.get(f"{model_url}/models", trust_env=False, verify=False).json()
    assert [entry["id"] for entry in models["data"]] == [model_server.MODEL_NAME]


@pytest.mark.parametrize(
    ("question", "module"),
    [
        ("How do I pass work between threads in priority order?", "queue"),
        ("How do I read and write rows of a CSV file?", "csv"),
        ("How does a task get cancelled, and how do I put a timeout around it?", "asyncio"),
    ],
)
async def test_answers_come_from_the_modules_that_know(
    library: Library, model_url: str, question: str, module: str
) -> None:
    """
    Different questions lead the team to different modules, and answers quote their docstrings.
    """
    async with httpx.AsyncClient(base_url=model_url, trust_env=False, verify=False) as http:
        team = Team(library, Chat(http=http, model=model_server.MODEL_NAME))
        answer = await team.answer(question)
    first = answer.splitlines()[0]
    said, _, where = first.rpartition(" (`")
    assert re.search(rf"\(`{module}[.`]", answer)
    assert _says(library, where.rstrip("`)"), said)


def _says(library: Library, where: str, sentence: str) -> bool:
    """
    Whether *sentence* stands in the docstring or the source of what *where* names.
    """
    parts = where.split(".")
    for length in range(len(parts), 0, -1):
        try:
            outline = library.outline(".".join(parts[:length]))
        except LibraryError:
            continue
        name = ".".join(parts[length:])
        source = library.source(outline.module, name).source if name else outline.doc
        return sentence in " ".join(source.replace("#", " ").split())
    return False


async def test_a_question_about_a_missing_module_fails(library: Library, model_url: str) -> None:
    """
    The writer wants to read what the question names; that it cannot is not papered over.
    """
    async with httpx.AsyncClient(base_url=model_url, trust_env=False, verify=False) as http:
        team = Team(library, Chat(http=http, model=model_server.MODEL_NAME))
        with pytest.raises(AnswerError) as caught:
            await team.answer("How does `asyncpool` differ from a semaphore for tasks?")
    assert isinstance(caught.value.__cause__, LibraryError)
