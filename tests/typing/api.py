"""
What users write. Never run: it only has to type-check.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from typing import assert_type

import asyncops
from asyncops import testing


@asyncops.tool
async def search(query: str, *, limit: int = 3) -> list[str]:
    return [query] * limit


@asyncops.action("count")
def count(words: list[str]) -> int:
    return len(words)


@asyncops.tool(capture_params=["n"], capture_returns=False)
def numbers(n: int) -> Iterator[int]:
    yield from range(n)


@asyncops.agent
async def chat(prompt: str) -> AsyncIterator[str]:
    yield prompt


class Shelf:
    @asyncops.tool
    async def look(self, query: str) -> str:
        return query

    @classmethod
    @asyncops.tool("make")
    def make(cls) -> Shelf:
        return cls()


def warned(spending: asyncops.Spending) -> None:
    assert_type(spending.usd, Decimal)


async def main() -> None:
    assert_type(await search("x", limit=1), list[str])
    assert_type(count(["a"]), int)
    assert_type(list(numbers(3)), list[int])
    assert_type([word async for word in chat("x")], list[str])
    assert_type(await Shelf().look("x"), str)
    assert_type(Shelf.make(), Shelf)
    async with asyncops.session("nightly", tags=["a"]) as session:
        assert_type(session.id, str)
        assert_type(session.state, asyncops.EndState | None)
        assert_type(session.to_env(), dict[str, str])
        assert_type(await session.flush(timeout=1.0), bool)
        await session.end("Success", "done", video="https://v")
    with asyncops.session(inherited_session_id=uuid.uuid4()):
        with asyncops.llm(model="m", prompt="hi") as call:
            assert_type(call, asyncops.LLMSpan)
            call.prompt_tokens = 3
            call.cost = 0.1
            call.tool_call_ids = ["c-1"]
        with asyncops.tool("search", tool_call_id="c-1") as found:
            assert_type(found, asyncops.Span)
        with asyncops.action("a", params={"x": 1}) as span:
            assert_type(span, asyncops.Span)
            assert_type(span.set(k=1), asyncops.Span)
    budget = asyncops.Budget(usd=1, tokens=10, llm_calls=3, seconds=0.5, on_warning=warned)
    assert_type(budget.usd, Decimal | None)
    assert_type(asyncops.Budget(usd=Decimal("0.5"), warn_at=0.5).seconds, float | None)
    try:
        async with asyncops.session(budget=budget) as session:
            assert_type(session, asyncops.Session)
    except asyncops.BudgetExceeded as error:
        assert_type(error.budget, asyncops.Budget)
        assert_type(error.spending, asyncops.Spending)
        assert_type(error.limit, str)
    assert_type(asyncops.init(auto_start_session=False), str | None)
    assert_type(await asyncops.start_session(config=asyncops.Configuration(scope="context")), str)
    await asyncops.end_session(asyncops.EndState.FAIL, end_state_reason="bad")
    assert_type(asyncops.record(asyncops.ToolEvent(name="x", params=[1])), str | None)
    with testing.recorded() as recording, testing.fixed_ids(), testing.ticking_clock():
        assert_type(recording, testing.Recording)
    asyncops.Client(asyncops.Configuration(), exporter=testing.MemoryExporter())
    asyncops.Client(
        asyncops.Configuration(), exporter=asyncops.HTTPExporter(asyncops.Configuration())
    )
