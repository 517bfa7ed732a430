"""
The agents: a planner, a researcher for each module worth reading, a writer; and their tools.
"""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import attrs

import asyncops

from .chat import Chat
from .library import Library, LibraryError

__all__ = ["AnswerError", "Team"]

SEARCH_HITS = 8

Tool = Callable[..., Awaitable[Any]]
"""Something a model may ask for: takes text by keyword, gives what JSON can say."""


class AnswerError(Exception):
    """
    The team could not answer a question.
    """


@attrs.frozen
class Tools:
    """
    What the agents can do besides talking.
    """

    library: Library

    async def search_library(self, query: str) -> list[dict[str, Any]]:
        """Find modules, classes and functions whose docstrings fit a query."""
        hits = await asyncio.to_thread(self.library.search, query, limit=SEARCH_HITS)
        return [{**attrs.asdict(entry), "score": round(score, 3)} for entry, score in hits]

    async def read_module(self, module: str) -> dict[str, Any]:
        """Read what a module and its public classes and functions say of themselves."""
        return attrs.asdict(await asyncio.to_thread(self.library.outline, module))

    async def read_source(self, module: str, name: str) -> dict[str, Any]:
        """Read the source of a class, function or method of a module."""
        return attrs.asdict(await asyncio.to_thread(self.library.source, module, name))


@attrs.frozen(kw_only=True)
class Agent:
    """
    Talks with a model, calling the tools that it asks for, until it has an answer.
    """

    name: str
    instructions: str
    tools: Sequence[Tool]
    chat: Chat

    async def run(self, task: str) -> str:
        """
        The model's answer to *task*. An error of a tool is not told to the model but raised.
        """
        tools = {tool.__name__: tool for tool in self.tools}
        described = [_described(tool) for tool in self.tools]
        messages: list[dict[str, Any]] = [
            {"role": "system", "content": self.instructions},
            {"role": "user", "content": task},
        ]
        with asyncops.agent(self.name):
            while True:
                message = await self.chat.complete(messages, tools=described)
                messages.append(message)
                if not message.get("tool_calls"):
                    return str(message["content"])
                for call in message["tool_calls"]:
                    name = call["function"]["name"]
                    arguments = json.loads(call["function"]["arguments"])
                    # the id links what the model asked for with what was done
                    with asyncops.tool(name, params=arguments, tool_call_id=call["id"]) as span:
                        span.returns = result = await tools[name](**arguments)
                    messages.append(
                        {
                            "role": "tool",
                            "tool_call_id": call["id"],
                            "content": json.dumps(result),
                        }
                    )


def _described(tool: Tool) -> dict[str, Any]:
    """
    *tool* as chat completions describe one to a model.
    """
    names = list(inspect.signature(tool).parameters)
    return {
        "type": "function",
        "function": {
            "name": tool.__name__,
            "description": inspect.getdoc(tool),
            "parameters": {
                "type": "object",
                "properties": {name: {"type": "string"} for name in names},
                "required": names,
            },
        },
    }


@attrs.frozen
class Team:
    """
    Everybody who answers a question together.
    """

    library: Library
    chat: Chat

    async def plan(self, question: str) -> list[str]:
        """
        The modules worth reading.
        """
        planner = Agent(
            name="planner",
            instructions=(
                "Search the library for what the question is about."
                ' Then name the modules to read, as JSON: {"question": ..., "modules": [...]}.'
            ),
            tools=[Tools(self.library).search_library],
            chat=self.chat,
        )
        modules: list[str] = json.loads(await planner.run(f"Question: {question}"))["modules"]
        if not modules:
            raise AnswerError(f"the library says nothing about {question!r}")
        return modules

    async def research(self, question: str, modules: Sequence[str]) -> list[str]:
        """
        What a researcher for each of *modules*, all at the same time, found out.
        """
        async with asyncio.TaskGroup() as researchers:
            notes = [
                researchers.create_task(self._research(question, module)) for module in modules
            ]
        return [note.result() for note in notes]

    async def _research(self, question: str, module: str) -> str:
        tools = Tools(self.library)
        researcher = Agent(
            name=f"researcher: {module}",
            instructions="Read the module. Note what bears on the question, and where it stands.",
            tools=[tools.read_module, tools.read_source],
            chat=self.chat,
        )
        return await researcher.run(f"Question: {question}\nModules: `{module}`")

    async def write(self, question: str, notes: Sequence[str]) -> str:
        """
        The answer to *question*, out of *notes*.

        Raises:
            AnswerError: The question is about a module that does not exist.
        """
        writer = Agent(
            name="writer",
            instructions=(
                "Answer the question from the notes and say where it stands."
                " Read the modules that the question names and the notes do not cover."
            ),
            tools=[Tools(self.library).read_module],
            chat=self.chat,
        )
        try:
            return await writer.run("\n".join([f"Question: {question}", "Notes:", *notes]))
        except LibraryError as error:
            raise AnswerError("the question is about something the library lacks") from error

    async def answer(self, question: str) -> str:
        """
        The answer to *question*: planned, researched and written.
        """
        modules = await self.plan(question)
        return await self.write(question, await self.research(question, modules))
