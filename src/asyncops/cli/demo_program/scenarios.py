"""
Five runs of the team, each a process of its own, that end in five different ways.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import attrs
import httpx

import asyncops

from .agents import Team
from .chat import Chat
from .library import Library

__all__ = ["SCENARIOS", "Setting", "research"]

BUDGET = Decimal("0.0006")
"""What the cancelled run may cost in USD; it would cost a few times as much."""


@attrs.frozen(kw_only=True)
class Setting:
    """
    What a run needs to know.

    Attributes:
        model_url: Where the model is served.
        model: Which one.
        index: The file with the library's index.
        tags: Tags of its session.
    """

    model_url: str
    model: str
    index: Path
    tags: tuple[str, ...]

    def options(self) -> list[str]:
        """
        The same setting, as options of `python -m asyncops.cli.demo_program`.
        """
        named = [f"--model-url={self.model_url}", f"--model={self.model}", f"--index={self.index}"]
        return [*named, *(f"--tag={tag}" for tag in self.tags)]

    @contextlib.asynccontextmanager
    async def team(self, on_cost: Callable[[Decimal], None] | None = None) -> AsyncIterator[Team]:
        """
        A team at work with the model.
        """
        library = await asyncio.to_thread(Library.load, self.index)
        # a proxy in the environment has no business between two processes of this machine
        http = httpx.AsyncClient(base_url=self.model_url, timeout=30, trust_env=False)
        async with http:
            yield Team(library, Chat(http=http, model=self.model, on_cost=on_cost))


async def success(setting: Setting) -> None:
    """
    A question, an answer.
    """
    question = "How do I wait for several asyncio tasks and cancel the rest when one fails?"
    async with setting.team() as team, asyncops.session("answer a question", tags=setting.tags):
        _say(await team.answer(question))


async def failure(setting: Setting) -> None:
    """
    A question about a module that does not exist: the writer's tool says so.
    """
    question = "How does `asyncpool` differ from a semaphore that limits concurrent tasks?"
    async with (
        setting.team() as team,
        asyncops.session("explain a missing module", tags=setting.tags),
    ):
        _say(await team.answer(question))


async def cancelled(setting: Setting) -> None:
    """
    A run that spends more than it may, and is called off with its researchers at work.
    """
    question = "How do I run functions in a pool of processes and collect their results?"
    run = asyncio.current_task()
    spent = Decimal(0)

    def charge(cost: Decimal) -> None:
        nonlocal spent
        before, spent = spent, spent + cost
        if before <= BUDGET < spent and run is not None:
            run.cancel(f"the budget of ${BUDGET} is used up")

    async with (
        setting.team(on_cost=charge) as team,
        asyncops.session("answer within a budget", tags=setting.tags),
    ):
        _say(await team.answer(question))


async def inherited(setting: Setting) -> None:
    """
    A question whose research is shared with a second process, which joins the session.
    """
    question = "How do I run a subprocess with a timeout and capture its output?"
    async with (
        setting.team() as team,
        asyncops.session("share the work with another process", tags=setting.tags),
    ):
        modules = await team.plan(question)
        async with asyncio.TaskGroup() as both:
            here = both.create_task(team.research(question, modules[:1]))
            there = both.create_task(_research_elsewhere(setting, question, modules[1:]))
        _say(await team.write(question, [*here.result(), *there.result()]))


@asyncops.action("research in another process")
async def _research_elsewhere(setting: Setting, question: str, modules: Sequence[str]) -> list[str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "asyncops.cli.demo_program", "research", *setting.options()),
        f"--question={question}",
        *(f"--module={module}" for module in modules),
        env={**os.environ, **asyncops.current_session().to_env()},
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:  # cancelled
            process.kill()
            await process.wait()
    if process.returncode:
        raise RuntimeError(f"the other process ended with status {process.returncode}")
    notes: list[str] = json.loads(output)
    return notes


async def research(setting: Setting, question: str, modules: Sequence[str]) -> None:
    """
    The second process's part of `inherited`: its notes go to standard output, as JSON.
    """
    async with setting.team() as team, asyncops.session():
        _say(json.dumps(await team.research(question, modules)))


async def killed(setting: Setting) -> None:
    """
    One question after the other, forever: whoever started this process kills it.
    """
    questions = (
        "How do I pass work between threads in priority order?",
        "How do I write a temporary file and then replace another with it?",
        "How do I parse the command line of a program with subcommands?",
    )
    async with (
        setting.team() as team,
        asyncops.session("work through many questions", tags=setting.tags),
    ):
        with asyncops.action("questions", params={"questions": questions}):
            for question in itertools.cycle(questions):
                _say(await team.answer(question))


def _say(text: str) -> None:
    # written through at once: who reads this decides by it when to kill us
    print(text, flush=True)


SCENARIOS: Mapping[str, Callable[[Setting], Coroutine[Any, Any, None]]] = {
    scenario.__name__: scenario for scenario in (success, failure, cancelled, inherited, killed)
}
"""Every way a run can end, by its name."""
