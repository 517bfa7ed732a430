"""
What recording costs a program: calls, blocks and events, against the same without and a floor.

The floor is what any recorder must do: set and reset a context variable, look at two clocks, append
a tuple to a list. What is measured is the processor time of the thread that calls, so that what
else the machine does at the moment counts for little; all are measured in turns, run after run, so
that a slow moment hits all alike.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import statistics
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextvars import ContextVar
from types import FrameType
from typing import Any

import attrs

import asyncops

from .harness import Effort, Figure, Report, figure

__all__ = ["PROSE", "bare", "floor", "opcodes", "run"]

CALLS = 5_000
RUNS = {Effort.QUICK: 5, Effort.FULL: 9}
TASKS = 1_000
THREADS = 4

PROSE = (
    "The caravan reached the river before noon, and while the animals drank, two of the elders"
    " walked down the bank to see whether the ford could still be crossed. It could: the water came"
    " to a man's belt, no higher, and the bed was firm. They sent the boys back with the news, sat"
    " down on a flat stone, and spoke of the price of salt; which had doubled, one of them said,"
    " since the rains (he had it from a trader in the hills, who had no reason to lie). "
)
"""What people and models write, more or less: a text of one letter only is searched far faster."""

COUNTED = ("no_session_opcodes", "opcodes", "unkept_opcodes")
INSTRUCTIONS = (
    "Instructions of bytecode: {:.0f} for a decorated call without a session, {:.0f} for one that"
    " is recorded, {:.0f} without params and returns."
)

_variable: ContextVar[int] = ContextVar("floor")
_kept: list[tuple[str, int, int]] = []

Call = Callable[..., Awaitable[Any]]


# -- what is called ---------------------------------------------------------------------------


async def bare(n: int) -> int:
    return n


def floor(function: Call) -> Call:
    @functools.wraps(function)
    async def wrapper(n: int) -> Any:
        token = _variable.set(n)
        began = time.time_ns()
        try:
            return await function(n)
        finally:
            _kept.append(("bare", began, time.time_ns()))
            _variable.reset(token)

    return wrapper


def wrapper(function: Call) -> Call:
    """
    What a decorator costs that does nothing.
    """

    @functools.wraps(function)
    async def call(*args: Any, **kwargs: Any) -> Any:
        return await function(*args, **kwargs)

    return call


async def none() -> None:
    pass


async def ten(a: int, b: int, c: int, d: int, e: str, f: str, g: str, h: float, i: bool, j: None)\
        -> int:  # fmt: skip
    return a


async def echo(text: str) -> str:
    return text


def function(n: int) -> int:
    return n


def generator() -> Iterator[int]:
    yield from range(10)


async def async_generator() -> AsyncIterator[int]:
    for n in range(10):
        yield n


# -- what is measured -------------------------------------------------------------------------


@attrs.frozen
class Case:
    """
    Attributes:
        what: What a call is, for people.
        name: The name of its figure, after `recording.`.
        call: What is called so many times.
        over: The case that does the same unrecorded.
        session: Whether a session is open.
        part: The share of the usual number of calls that is made.
    """

    what: str
    name: str
    call: Callable[[int], Awaitable[None]]
    over: str = "bare"
    session: bool = True
    part: float = 1.0


def awaited(called: Call, *args: Any) -> Callable[[int], Awaitable[None]]:
    """
    Awaits a call with *args*, or with the number of the call where there are none.
    """

    async def with_number(calls: int) -> None:
        for n in range(calls):
            await called(n)

    async def with_args(calls: int) -> None:
        for _ in range(calls):
            await called(*args)

    return with_args if args or called.__name__ == "none" else with_number


def called(function: Callable[[int], Any]) -> Callable[[int], Awaitable[None]]:
    async def call(calls: int) -> None:
        for n in range(calls):
            function(n)

    return call


def iterated(generator: Callable[[], Iterator[int]]) -> Callable[[int], Awaitable[None]]:
    async def call(calls: int) -> None:
        for _ in range(calls):
            for _ in generator():
                pass

    return call


def async_iterated(generator: Callable[[], AsyncIterator[int]]) -> Callable[[int], Awaitable[None]]:
    async def call(calls: int) -> None:
        for _ in range(calls):
            async for _ in generator():
                pass

    return call


async def blocks(calls: int) -> None:
    for _ in range(calls):
        with asyncops.tool("look"):
            pass


async def events(calls: int) -> None:
    for _ in range(calls):
        asyncops.record(asyncops.ToolEvent(name="look"))


async def no_blocks(calls: int) -> None:
    for _ in range(calls):
        with contextlib.nullcontext():
            pass


def tasks(called: Call) -> Callable[[int], Awaitable[None]]:
    """
    A thousand tasks that take turns with each call.
    """

    async def some(count: int) -> None:
        for n in range(count):
            await called(n)
            await asyncio.sleep(0)

    async def call(calls: int) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(TASKS):
                group.create_task(some(calls // TASKS))

    return call


def cases() -> list[Case]:
    """
    All of them; what is decorated is decorated here.
    """
    tool = asyncops.tool
    unkept = asyncops.tool(capture_params=False, capture_returns=False)
    page, book = (PROSE * 5)[:2_000], (PROSE * 500)[:200_000]
    values = (1, 2, 3, 4, "one", "two", "three", 0.5, True, None)
    return [
        Case("a coroutine", "bare", awaited(bare), session=False),
        Case("... in a wrapper that does nothing", "wrapper", awaited(wrapper(bare)),
             session=False),
        Case("... decorated, no session", "no_session", awaited(tool(bare)), session=False),
        Case("... in the floor", "floor", awaited(floor(bare)), session=False),
        Case("... recorded", "recorded", awaited(tool(bare))),
        Case("... recorded without params and returns", "unkept", awaited(unkept(bare))),
        Case("a coroutine without arguments", "none", awaited(none), session=False),
        Case("... recorded", "none.recorded", awaited(tool(none)), over="none"),
        Case("a coroutine with ten arguments", "ten", awaited(ten, *values), session=False),
        Case("... recorded", "ten.recorded", awaited(tool(ten), *values), over="ten"),
        Case("a coroutine, 2 KB in and out", "page", awaited(echo, page), session=False),
        Case("... recorded", "page.recorded", awaited(tool(echo), page), over="page", part=0.4),
        Case("a coroutine, 200 KB in and out", "book", awaited(echo, book), session=False),
        Case("... recorded", "book.recorded", awaited(tool(echo), book), over="book", part=0.005),
        Case("a function", "function", called(function), session=False),
        Case("... recorded", "function.recorded", called(tool(function)), over="function"),
        Case("a generator of ten items", "generator", iterated(generator), session=False,
             part=0.4),
        Case("... recorded", "generator.recorded", iterated(tool(generator)), over="generator",
             part=0.4),
        Case("an async generator of ten items", "async_generator", async_iterated(async_generator),
             session=False, part=0.4),
        Case("... recorded", "async_generator.recorded", async_iterated(tool(async_generator)),
             over="async_generator", part=0.4),
        Case("a block (`contextlib.nullcontext`)", "block", no_blocks, session=False),
        Case("... recorded (`with asyncops.tool(...)`)", "block.recorded", blocks, over="block"),
        Case("`asyncops.record(ToolEvent(...))`", "event.recorded", events, over="block"),
        Case("1,000 tasks, each call in turn", "tasks", tasks(bare), session=False),
        Case("... in the floor", "tasks.floor", tasks(floor(bare)), over="tasks", session=False),
        Case("... recorded", "tasks.recorded", tasks(tool(bare)), over="tasks"),
    ]  # fmt: skip


async def time_case(case: Case, calls: int) -> float:
    """
    Nanoseconds of this thread's processor time per call.
    """
    count = max(int(calls * case.part), 10)
    async with contextlib.AsyncExitStack() as stack:
        if case.session:
            await stack.enter_async_context(asyncops.session())
        await case.call(min(count, 100))
        _kept.clear()
        began = time.thread_time_ns()
        await case.call(count)
        return (time.thread_time_ns() - began) / count


def time_threads(function: Callable[[int], Any], calls: int) -> float:
    """
    Nanoseconds of processor time per call, of four threads that call at the same time.
    """
    spent: list[int] = []
    together = threading.Barrier(THREADS)

    def call() -> None:
        together.wait()
        began = time.thread_time_ns()
        for n in range(calls // THREADS):
            function(n)
        spent.append(time.thread_time_ns() - began)

    threads = [threading.Thread(target=call) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(spent) / (calls // THREADS * THREADS)


# -- how many instructions that is ------------------------------------------------------------


def opcodes(call: Call) -> int:
    """
    How many instructions of bytecode one call takes: the same on every machine, so that a change
    can be bounded where nothing can be timed.
    """
    count = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        count += event == "opcode"
        return trace

    coroutine: Any = call(1)
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        coroutine.send(None)
    except StopIteration:
        pass
    finally:
        sys.settrace(before)
    return count


async def count_opcodes(effort: Effort) -> dict[str, Figure]:
    recorded = asyncops.tool(bare)
    unkept = asyncops.tool(capture_params=False, capture_returns=False)(bare)
    found = [[opcodes(recorded) for _ in range(RUNS[effort])]]
    async with asyncops.session():
        for call in (recorded, unkept):
            await call(1)
            found.append([opcodes(call) for _ in range(RUNS[effort])])
    return {
        f"recording.{name}": figure(counts, "instructions")
        for name, counts in zip(COUNTED, found, strict=True)
    }


# -- the report -------------------------------------------------------------------------------


def run(effort: Effort, directory: str) -> Report:
    runs, calls = RUNS[effort], {Effort.QUICK: 1_000, Effort.FULL: CALLS}[effort]
    every = cases()
    times: dict[str, list[float]] = {case.name: [] for case in every}
    times |= {"threads": [], "threads.recorded": []}
    recorded = asyncops.tool(function)
    for _ in range(runs):
        for case in every:
            times[case.name].append(asyncio.run(time_case(case, calls)))
        times["threads"].append(time_threads(function, calls))
        with asyncops.session():
            times["threads.recorded"].append(time_threads(recorded, calls))
    rows = []
    floors = [found - bare for found, bare in zip(times["floor"], times["bare"], strict=True)]
    every += [
        Case("a function, in four threads at once", "threads", called(function), session=False),
        Case("... recorded", "threads.recorded", called(recorded), over="threads"),
    ]
    figures = {f"recording.{name}": figure(found, "ns") for name, found in times.items()}
    for case in every:
        found = figures[f"recording.{case.name}"]
        cells = [case.what, f"{found.value:,.0f}", f"{found.least:,.0f}-{found.most:,.0f}"]
        if "." not in case.name and not case.session and case.name not in ("wrapper", "no_session"):
            rows.append((*cells, "", ""))
            continue
        over = [
            found - other for found, other in zip(times[case.name], times[case.over], strict=True)
        ]
        ratio = figure((a / b for a, b in zip(over, floors, strict=True)), "x")
        figures[f"recording.{case.name}.x_floor"] = ratio
        rows.append((*cells, f"{statistics.median(over):,.0f}", f"{ratio.value:.1f}"))
    figures["recording.x_floor"] = figures["recording.recorded.x_floor"]
    pairs = zip(times["no_session"], times["wrapper"], strict=True)
    figures["recording.no_session_x_wrapper"] = figure((a / b for a, b in pairs), "x")
    figures |= asyncio.run(count_opcodes(effort))
    return Report(
        f"Recording: processor time of the calling thread; medians of {runs} runs",
        ("call", "ns", "least-most", "ns over the same unrecorded", "x floor"),
        rows,
        figures,
        (INSTRUCTIONS.format(*(figures[f"recording.{name}"].value for name in COUNTED)),),
    )
