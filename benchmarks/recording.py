"""
One awaited call of a decorated coroutine, against the call alone and against a floor.

The floor is what any recorder must do: set and reset a context variable, look at two clocks, append
a tuple to a list. Medians of seven runs, in turns, so that a slow moment hits all alike.
"""

from __future__ import annotations

import asyncio
import functools
import statistics
import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

import asyncops

RUNS = 7
CALLS = 10_000

_variable: ContextVar[int] = ContextVar("floor")
_kept: list[tuple[str, int, int]] = []


async def bare(n: int) -> int:
    return n


def floor(function: Callable[[int], Awaitable[int]]) -> Callable[[int], Awaitable[int]]:
    @functools.wraps(function)
    async def wrapper(n: int) -> int:
        token = _variable.set(n)
        began = time.time_ns()
        try:
            return await function(n)
        finally:
            _kept.append(("bare", began, time.time_ns()))
            _variable.reset(token)

    return wrapper


def thin(function: Callable[[int], Awaitable[int]]) -> Callable[[int], Awaitable[int]]:
    @functools.wraps(function)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        return await function(*args, **kwargs)

    return wrapper


async def time_calls(function: Callable[[int], Awaitable[int]], calls: int) -> float:
    """
    Nanoseconds per call.
    """
    _kept.clear()
    began = time.perf_counter_ns()
    for n in range(calls):
        await function(n)
    return (time.perf_counter_ns() - began) / calls


def run(scale: float, directory: str) -> None:
    calls = max(int(CALLS * scale), 100)
    payload = "x" * 2_000

    @asyncops.tool
    async def with_payload(n: int, text: str = payload) -> str:
        return text

    recorded = asyncops.tool(bare)
    unrecorded = asyncops.tool(capture_params=False, capture_returns=False)(bare)
    cases: list[tuple[str, Callable[[int], Awaitable[Any]], bool]] = [
        ("bare", bare, False),
        ("a wrapper that does nothing", thin(bare), False),
        ("decorated, no session", recorded, False),
        ("floor", floor(bare), False),
        ("recorded, without params and returns", unrecorded, True),
        ("recorded", recorded, True),
        ("recorded, 2 KB in and out", with_payload, True),
    ]

    async def measure(function: Callable[[int], Awaitable[Any]], *, session: bool) -> float:
        if not session:
            return await time_calls(function, calls)
        async with asyncops.session():
            return await time_calls(function, calls)

    times: dict[str, list[float]] = {name: [] for name, _, _ in cases}
    for _ in range(RUNS):
        for name, function, session in cases:
            times[name].append(asyncio.run(measure(function, session=session)))
    medians = {name: statistics.median(found) for name, found in times.items()}
    over = medians["floor"] - medians["bare"]
    print("| call | ns | ns over bare | x floor |\n|---|---|---|---|")
    for name, median in medians.items():
        extra = median - medians["bare"]
        print(f"| {name} | {median:,.0f} | {extra:,.0f} | {extra / over:.1f} |")
