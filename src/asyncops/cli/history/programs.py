"""
The programs: what their agents do, when they run, and on which machines.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Literal

import attrs

from .models import Model
from .work import Conversation, Recorder, Tool, Work

__all__ = ["LARGE", "PROGRAMS", "Program"]


@attrs.frozen(kw_only=True)
class Program:
    """
    A program that is run again and again.

    Attributes:
        work: What one session of it does. It goes on until its events are spent; the recorders are
            those of the processes that help it.
        share: How many of all sessions are its.
        size: How many events its sessions usually have, in proportion to those of the others.
        spread: How different they are in that.
        rhythm: When it runs.
        models: Which it is run with.
        flaws: What goes wrong with models, and with anything else.
        team: Whose it is: one of the tags.
        hosts: The machines it runs on.
        helpers: How many other processes a session of it has.
        service: Whether one process has many sessions, one after the other or at the same time.
    """

    name: str
    work: Callable[[Work, Model, Sequence[Recorder]], None]
    share: float
    size: float
    spread: float = 0.6
    rhythm: Literal["office", "evening", "night", "hourly"]
    models: tuple[str, ...]
    flaws: tuple[tuple[str, ...], tuple[str, ...]]
    team: str
    hosts: tuple[str, ...]
    helpers: int = 0
    service: bool = False


# -- support: somebody asks, somebody looks it up, somebody answers -------------------------------

GET_ORDER = Tool(
    name="get_order",
    params={"order": "{number}"},
    returns={"order": "{number}", "product": "{colour} {product}", "paid": True, "city": "{city}"},
    seconds=0.08,
)
SEARCH_HELP = Tool(
    name="search_help",
    params={"query": "{product} {trouble}"},
    returns=["Returns: a {product} that {trouble} is replaced within {number} days.", "Warranty"],
    seconds=0.25,
)
REFUND = Tool(
    name="refund",
    params={"order": "{number}", "reason": "the {product} {trouble}"},
    returns={"refund": "rf_{code}", "state": "pending"},
    seconds=0.6,
)


def support(work: Work, model: Model, helpers: Sequence[Recorder]) -> None:
    texts, chooser = work.texts, work.chooser
    with work.agent("triage"):
        triage = Conversation(work, model, "Sort the customer's message: order, refund or other.")
        triage.hear(
            texts.fill("Hello, my {colour} {product} {trouble}. Order {number}. {customer}")
        )
        triage.answer(texts.fill('{"topic": "order", "urgent": false, "language": "en"}'))
    with work.agent("resolver"):
        resolver = Conversation(work, model, "Help the customer. Look things up before you answer.")
        while True:
            resolver.hear(texts.fill("My {product} from {city} {trouble}, what now? {customer}"))
            for _ in range(chooser.randint(1, 3)):
                resolver.use(
                    chooser.sample((GET_ORDER, SEARCH_HELP, REFUND), chooser.randint(1, 2))
                )
            resolver.answer(
                texts.some(
                    (
                        "I am sorry that your {product} {trouble}.",
                        "Your refund rf_{code} is on its way.",
                        "A new {colour} {product} leaves {city} within {number} hours.",
                        "Please send the old one back with the label in your mail.",
                    ),
                    3,
                )
            )
            work.pause(8.0)  # while the customer writes


# -- research: one plans, several read at the same time, one writes -------------------------------

SEARCH_WEB = Tool(
    name="search_web",
    params={"query": "{topic} {segment} {number}"},
    returns=[{"url": "https://papers.example/{code}", "title": "{topic}: what {number} runs show"}],
    seconds=0.9,
)
FETCH_PAGE = Tool(
    name="fetch_page",
    params={"url": "https://papers.example/{code}"},
    returns="On {topic}. We report {number} measurements of {topic} from {city}, {number} of which"
    " were repeated. The effect is larger than the noise in all but {number} of them.",
    seconds=1.4,
)

FINDINGS = (
    "{number} sources agree on {topic}, {number} do not.",
    "The group in {city} measured {number} runs and saw no difference.",
    "What is said of {topic} rests on one study with {number} samples.",
    "Nobody has repeated it since, so it should be cited with care.",
)


def research(work: Work, model: Model, helpers: Sequence[Recorder]) -> None:
    texts = work.texts
    with work.agent("planner"):
        planner = Conversation(work, model, "Split the question into parts that can be looked up.")
        planner.hear(texts.fill("What is known of {topic}, and what would change that?"))
        planner.answer(
            texts.fill("1. {topic} today\n2. who measured it\n3. what speaks against it")
        )
    readers = [
        functools.partial(_read, model=model, number=number)
        for number in range(1, work.chooser.randint(3, 6))
    ]
    with work.action("read", readers=len(readers)):
        work.together(readers, spending=int(work.left * 0.8))
    with work.agent("writer"):
        writer = Conversation(
            work, model, "Write a page with sources, from the notes you are given."
        )
        while True:
            writer.hear(texts.some(FINDINGS, 4))
            writer.answer(texts.fill("# {topic}\n\n") + texts.some(FINDINGS, 4))


def _read(work: Work, *, model: Model, number: int) -> None:
    texts = work.texts
    with work.agent(f"reader {number}"):
        reader = Conversation(work, model, "Find sources, read them, and note what they say.")
        reader.hear(texts.fill("Find out about {topic}."))
        while True:
            reader.use([SEARCH_WEB])
            reader.use([FETCH_PAGE] * work.chooser.randint(1, 3))
            reader.answer(texts.some(FINDINGS, 3))


# -- review: reads a change, runs the tests, says what it thinks ----------------------------------

READ_FILE = Tool(
    name="read_file",
    params={"path": "{file}", "first": "{number}"},
    returns="async def {function}(order: Order) -> Receipt:\n    async with lock:\n"
    "        row = await db.fetch({number})\n        return Receipt(row, {number})\n",
    seconds=0.02,
)
GREP = Tool(
    name="grep",
    params={"pattern": "{function}\\(", "path": "src"},
    returns=["{file}:{number}: await {function}(order)", "{file}:{number}: {function}(row)"],
    seconds=0.12,
)
RUN_TESTS = Tool(
    name="run_tests",
    params={"select": "{file}"},
    returns={"passed": "{number}", "failed": 0, "seconds": "{number}"},
    seconds=14.0,
)


def review(work: Work, model: Model, helpers: Sequence[Recorder]) -> None:
    texts, chooser = work.texts, work.chooser
    work.step("checkout", 1.8, {"commit": "{code}"}, {"files": "{number}"})
    with work.agent("reviewer"):
        reviewer = Conversation(work, model, "Review the change. Point at lines. Be brief.")
        reviewer.hear(texts.fill("diff --git a/{file}\n+    await {function}(order)\n-    return"))
        while True:
            with work.action("look into", file=texts.fill("{file}")):
                for _ in range(chooser.randint(1, 4)):
                    reviewer.use([chooser.choice((READ_FILE, READ_FILE, GREP))])
                with work.agent("tester"):
                    reviewer.use([RUN_TESTS])
                reviewer.answer(texts.fill("{file}:{number}: {defect} in {function}."))


# -- analyst: questions of people, turned into queries --------------------------------------------

DESCRIBE = Tool(
    name="describe_table",
    params={"table": "{table}"},
    returns={"table": "{table}", "rows": "{number}", "columns": ["id", "{column}", "{column}"]},
    seconds=0.03,
)
RUN_QUERY = Tool(
    name="run_query",
    params={"sql": "select {column}, count(*) from {table} where week = {week} group by 1"},
    returns=[{"{column}": "{segment}", "count": "{number}"}, {"{column}": "new", "count": 7}],
    seconds=0.7,
)


def analyst(work: Work, model: Model, helpers: Sequence[Recorder]) -> None:
    texts = work.texts
    with work.agent("analyst"):
        talk = Conversation(work, model, "Answer with numbers from the warehouse. Show the query.")
        while True:
            talk.hear(texts.fill("How did {column} of {segment} customers do in week {week}?"))
            talk.use([DESCRIBE])
            talk.use([RUN_QUERY] * work.chooser.randint(1, 2))
            talk.answer(texts.fill("{number} {segment} customers, {number} more than in {week}."))
            work.pause(20.0)  # while somebody reads it


# -- invoices: page after page, mostly steps, with a model that reads them ------------------------

EXTRACT = Tool(
    name="extract",
    params={"page": "{number}", "vendor": "{vendor}"},
    returns={"vendor": "{vendor}", "invoice": "I-{number}", "total": "{number}.00"},
    seconds=0.05,
)


def invoices(work: Work, model: Model, helpers: Sequence[Recorder]) -> None:
    texts = work.texts
    while True:
        with work.action("invoice", file=texts.fill("{vendor}-{number}.pdf")):
            work.step("render", 0.5, {"dpi": 150}, {"pages": "{number}"})
            with work.agent("reader"):
                reader = Conversation(work, model, "Give vendor, number, date and total as JSON.")
                reader.hear(texts.fill("{vendor}, {city}. Invoice I-{number}, total {number},00"))
                reader.use([EXTRACT])
                reader.answer(texts.fill('{"vendor": "{vendor}", "total": "{number}.00"}'))
            work.step("book", 0.09, {"account": "{number}"}, "bk_{code}")


# -- evaluation: many cases, at the same time, in several processes -------------------------------

JUDGE = Tool(
    name="judge",
    params={"case": "{number}", "rubric": "faithful, complete, brief"},
    returns={"score": "{number}", "why": "says what the source says of {topic}"},
    seconds=0.01,
)


def evaluation(work: Work, model: Model, helpers: Sequence[Recorder]) -> None:
    work.step("load cases", 2.5, {"file": "cases.jsonl"}, {"cases": "{number}"})
    lanes = [functools.partial(_cases, model=model) for _ in range(2 * max(len(helpers), 1))]
    if work.left > 3 * len(lanes):
        with work.action("run cases", lanes=len(lanes)):
            work.together(lanes, spending=work.left - len(lanes), recorders=helpers)
    while True:
        work.step("score", 0.4, {"metric": "{topic}"}, {"mean": "{number}"})


def _cases(work: Work, *, model: Model) -> None:
    texts = work.texts
    while True:
        with work.action("case", case=texts.fill("{topic}/{number}")):
            with work.agent("candidate"):
                candidate = Conversation(work, model, "Answer from the source alone.")
                candidate.hear(texts.fill("Source: {topic}, {number} samples. What does it show?"))
                candidate.use([SEARCH_WEB])
                candidate.answer(texts.some(FINDINGS, 2))
            work.tool(JUDGE, texts.filled(JUDGE.params))


# -- upkeep: hardly an agent, every hour ----------------------------------------------------------


def upkeep(work: Work, model: Model, helpers: Sequence[Recorder]) -> None:
    texts = work.texts
    while True:
        with work.action("source", name=texts.fill("{vendor} {table}")):
            work.step("fetch", 0.8, {"since": "{number}"}, {"rows": "{number}"})
            work.step("load", 0.3, {"table": "{table}"}, {"written": "{number}"})
            if work.chooser.random() < 0.15:
                with work.agent("mapper"):
                    mapper = Conversation(work, model, "Map the columns that are new.")
                    mapper.hear(texts.fill("{vendor} has a new column {column}."))
                    mapper.answer(texts.fill('{"{column}": "{column}"}'))


_OPENAI = ("timeout", "rate")
_ANTHROPIC = ("timeout", "overloaded")

PROGRAMS = (
    Program(
        name="support",
        work=support,
        share=0.46,
        size=40,
        rhythm="office",
        models=("claude-haiku-4-5", "claude-haiku-4-5", "gpt-5-mini"),
        flaws=(_ANTHROPIC, ("no_order", "arguments")),
        team="customer-care",
        hosts=("care-1.example", "care-2.example"),
        service=True,
    ),
    Program(
        name="research",
        work=research,
        share=0.13,
        size=160,
        rhythm="office",
        models=("gpt-5", "claude-sonnet-4-5", "claude-sonnet-4-5"),
        flaws=(_ANTHROPIC, ("page", "group", "arguments")),
        team="insight",
        hosts=("lab-1.example", "lab-2.example"),
    ),
    Program(
        name="code-review",
        work=review,
        share=0.14,
        size=110,
        rhythm="office",
        models=("claude-sonnet-4-5", "gpt-5"),
        flaws=(_ANTHROPIC, ("tests", "arguments")),
        team="platform",
        hosts=("ci-1.example", "ci-2.example", "ci-3.example"),
    ),
    Program(
        name="sql-analyst",
        work=analyst,
        share=0.12,
        size=45,
        rhythm="evening",
        models=("gpt-5-mini", "llama3.3-house"),
        flaws=(_OPENAI, ("column", "locked", "arguments")),
        team="insight",
        hosts=("care-2.example",),
        service=True,
    ),
    Program(
        name="invoices",
        work=invoices,
        share=0.07,
        size=260,
        rhythm="night",
        models=("gemini-2.5-flash", "mistral-small-latest"),
        flaws=(("timeout",), ("invoice",)),
        team="finance",
        hosts=("batch-1.example",),
    ),
    Program(
        name="nightly-eval",
        work=evaluation,
        share=0.03,
        size=700,
        spread=0.9,
        rhythm="night",
        models=("gpt-5-mini", "gemini-2.5-flash", "claude-haiku-4-5"),
        flaws=(_OPENAI, ("arguments", "page")),
        team="platform",
        hosts=("batch-1.example", "batch-2.example"),
        helpers=4,
    ),
    Program(
        name="upkeep",
        work=upkeep,
        share=0.05,
        size=30,
        rhythm="hourly",
        models=("mistral-small-latest",),
        flaws=(("timeout",), ("locked",)),
        team="platform",
        hosts=("batch-2.example",),
    ),
)
"""All of them."""

LARGE = next(program for program in PROGRAMS if program.name == "nightly-eval")
"""The one of which some sessions are very large."""
