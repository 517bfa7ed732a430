"""
The program that all drivers are measured in: `program.py DRIVER ENDPOINT SCENARIO RESULT OPTIONS`.

What it found is written to the file RESULT as JSON; what the peers print is theirs.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import mmap
import os
import sys
import threading
import time

WARM_UP = 20
"""Calls before the clock starts: the first ones import and start threads."""


async def burst(driver, *, calls: int) -> dict:
    """
    Calls that never yield to the loop, in one session, then a flush.
    """
    work = driver.recorded(returning)
    session = await driver.start()
    for n in range(WARM_UP):
        await work(n)
    cpu, began = time.thread_time_ns(), time.perf_counter_ns()
    for n in range(calls):
        await work(n)
    made, cpu_made = time.perf_counter_ns(), time.thread_time_ns()
    await driver.end(session)
    ended = time.perf_counter_ns()
    await driver.flush()
    flushed = time.perf_counter_ns()
    return {
        "made": calls + WARM_UP,
        "ns": (made - began) / calls,
        "cpu_ns": (cpu_made - cpu) / calls,
        "flush_s": (flushed - made) / 1e9,
        "end_s": (ended - made) / 1e9,
        "all_s": (flushed - began) / 1e9,
    }


async def paced(driver, *, rate: int, seconds: float) -> dict:
    """
    *rate* calls a second, ten at a time, until all are delivered.
    """
    work = driver.recorded(returning)
    session = await driver.start()
    for n in range(WARM_UP):
        await work(n)
    await driver.flush()
    calls = int(rate * seconds)
    cpu, began = time.process_time(), time.perf_counter()
    for n in range(0, calls, 10):
        for each in range(n, n + 10):
            await work(each)
        await asyncio.sleep(max(0.0, began + (n + 10) / rate - time.perf_counter()))
    took = time.perf_counter() - began
    await driver.end(session)
    await driver.flush()
    return {
        "made": calls + WARM_UP,
        "calls": calls,
        "took_s": took,
        "flush_s": time.perf_counter() - began - took,
        "cpu_s": time.process_time() - cpu,
    }


async def fan_out(driver, *, tasks: int, calls: int) -> dict:
    """
    Tasks at the same time, which take turns after every call.
    """
    work = driver.recorded(yielding)

    async def task() -> None:
        for n in range(calls):
            await work(n)

    session = await driver.start()
    for n in range(WARM_UP):
        await work(n)
    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(tasks):
            group.create_task(task())
    took = time.perf_counter() - began
    await driver.end(session)
    await driver.flush()
    return {
        "made": tasks * calls + WARM_UP,
        "ns": took / (tasks * calls) * 1e9,
        "loop_s": took,
        "flush_s": time.perf_counter() - began - took,
    }


async def sessions(driver, *, sessions: int) -> dict:
    """
    Start, one call, end, flush: how long each takes, and how long the loop stands still meanwhile.
    """
    work = driver.recorded(returning)
    loop = asyncio.get_running_loop()
    last = worst = time.perf_counter()

    def beat() -> None:
        nonlocal last, worst
        now = time.perf_counter()
        worst = max(worst, now - last)
        last = now
        loop.call_soon(beat)

    async def watched(step):
        nonlocal worst
        await asyncio.sleep(0.02)
        worst = 0.0
        began = time.perf_counter()
        result = await step
        took = time.perf_counter() - began
        await asyncio.sleep(0.02)
        return result, took * 1e3, worst * 1e3

    beat()
    found = {name: [] for name in ("start", "end", "flush")}
    for _ in range(sessions):
        # in a task of its own: the session's context ends with it
        async def one() -> None:
            session, *start = await watched(driver.start())
            await work(1)
            _, *end = await watched(driver.end(session))
            _, *flush = await watched(driver.flush())
            for name, step in (("start", start), ("end", end), ("flush", flush)):
                found[name].append(step)

        await loop.create_task(one())
    return {"made": sessions, **found}


async def killed(driver, *, rate: int, counter: str) -> dict:
    """
    *rate* calls a second until somebody kills it, for ten minutes at most; how many have returned
    stands in the file *counter*.
    """
    descriptor = os.open(counter, os.O_RDWR)
    with mmap.mmap(descriptor, 8) as shared:
        work = driver.recorded(returning)
        session = await driver.start()  # kept: some end with the last reference
        await work(0)
        made, began = 1, time.perf_counter()
        while time.perf_counter() < began + 600:
            await work(made)
            made += 1
            shared[:8] = made.to_bytes(8, "little")
            await asyncio.sleep(max(0.0, began + made / rate - time.perf_counter()))
    await driver.end(session)
    return {"made": made}


# -- what is recorded -------------------------------------------------------------------------


async def returning(n: int) -> int:
    return n


async def yielding(n: int) -> int:
    await asyncio.sleep(0)
    return n


for each in (returning, yielding):
    each.__name__ = each.__qualname__ = "work"  # the sink counts what is called that

SCENARIOS = {each.__name__: each for each in (burst, paced, fan_out, sessions, killed)}


def main() -> None:
    name, endpoint, scenario, result, options = sys.argv[1:]
    driver = importlib.import_module(f"drivers.{name}")
    driver.setup(endpoint)
    found = asyncio.run(SCENARIOS[scenario](driver, **json.loads(options)))
    driver.shutdown()
    found["threads"] = threading.active_count()
    with open(f"{result}.new", "w") as file:
        json.dump(found, file)
    os.replace(f"{result}.new", result)


if __name__ == "__main__":
    main()
