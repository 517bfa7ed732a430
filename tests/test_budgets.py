"""
A budget that is used up stops the session's block, and nothing but that block.
"""

from __future__ import annotations

import asyncio
import contextlib
import decimal
import functools
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

import asyncops
from asyncops import (
    Budget,
    BudgetExceeded,
    Configuration,
    ConfigurationError,
    LLMEvent,
    LLMSpan,
    SessionStateError,
    Spending,
    _active,
)
from asyncops._budgets import Account
from asyncops._events import EventRecord, SessionEndedRecord
from asyncops._exceptions import BudgetStop
from asyncops.testing import Recording

pytestmark = pytest.mark.anyio

FOREVER = 50


def ending(recording: Recording) -> SessionEndedRecord:
    (record,) = recording.endings
    return record


def llms(recording: Recording) -> list[EventRecord]:
    return [event for event in recording.events if event.kind == "llm"]


def account() -> Account:
    active = _active.current()
    assert active is not None
    assert active.budget is not None
    return active.budget


class Vendor:
    """
    Stands for a vendor's client below which calls are seen: it asks before it sends, as capture
    does, tries again whatever `Exception` it meets, and counts what it has sent.
    """

    def __init__(self, *, tokens: int = 0, cost: float | None = None, failures: int = 0) -> None:
        self.sent = 0
        self.answered = 0
        self._tokens = tokens
        self._cost = cost
        self._failures = failures

    async def call(self) -> str:
        while True:
            try:
                await account().admit_async()
                with self._attempt() as span:
                    await asyncio.sleep(0)
                    return self._answer(span)
            except Exception:
                continue

    def call_sync(self) -> str:
        while True:
            try:
                account().admit()
                with self._attempt() as span:
                    return self._answer(span)
            except Exception:
                continue

    def _attempt(self) -> LLMSpan:
        self.sent += 1
        span = asyncops.llm(model="m", provider="p")
        span.captured = span.admitted = True
        return span

    def _answer(self, span: LLMSpan) -> str:
        if self._failures:
            self._failures -= 1
            raise OSError("429 Too Many Requests")
        self.answered += 1
        span.prompt_tokens = self._tokens
        span.cost = self._cost
        return "more"


async def by_hand(sent: list[str], **said: Any) -> None:
    """
    A call in a block that a program wrote itself.
    """
    with asyncops.llm(model="m") as span:
        await asyncio.sleep(0)  # as a client does before it sends
        sent.append("request")
        for name, value in said.items():
            setattr(span, name, value)


# -- what a budget is --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "must limit something: usd, tokens, llm_calls or seconds"),
        ({"warn_at": 0.5}, "must limit something"),
        ({"usd": 0}, "usd of a budget must be a number of dollars above 0, not 0"),
        ({"usd": "1"}, "usd .* not '1'"),
        ({"usd": float("nan")}, "usd .* not nan"),
        ({"usd": Decimal("Infinity")}, "usd"),
        ({"usd": True}, "usd"),
        ({"tokens": 1e6}, r"tokens of a budget must be a whole number .*100_000, not 1000000\.0"),
        ({"tokens": -1}, "tokens"),
        ({"llm_calls": 0}, "llm_calls"),
        ({"llm_calls": True}, "llm_calls"),
        ({"seconds": -1}, "seconds of a budget must be a number of seconds above 0"),
        ({"seconds": float("inf")}, "seconds"),
        ({"seconds": "1"}, "seconds"),
        ({"llm_calls": 1, "warn_at": 80}, "warn_at of a budget must be a fraction"),
        ({"llm_calls": 1, "warn_at": 0}, "warn_at"),
        (
            {"llm_calls": 1, "on_warning": "print"},
            "on_warning of a budget must be a plain function",
        ),
    ],
    ids=repr,
)
def test_misuse(options: dict[str, Any], message: str) -> None:
    """
    What cannot work is refused at once, with what would.
    """
    with pytest.raises(ConfigurationError, match=message):
        Budget(**options)


class Waits:
    async def __call__(self, spending: Spending) -> None: ...


def test_a_callable_that_would_have_to_be_awaited() -> None:
    """
    on_warning is called, not awaited: an object whose call is a coroutine is refused, too.
    """
    for waits in (Waits(), asyncio.sleep):
        with pytest.raises(ConfigurationError, match="on_warning"):
            Budget(llm_calls=1, on_warning=waits)
    assert Budget(llm_calls=1, on_warning=[].append).on_warning is not None


async def test_only_a_block_has_one() -> None:
    """
    A session that is started by hand has no block to stop.
    """
    session = asyncops.session(budget=Budget(llm_calls=1))
    with pytest.raises(SessionStateError, match="a budget stops a block"):
        session.start()
    with pytest.raises(TypeError):
        await asyncops.start_session(budget=Budget(llm_calls=1))  # type: ignore[call-arg]

    assert _active.current() is None


@pytest.mark.parametrize(
    ("spending", "text"),
    [
        (Spending(usd=Decimal("0.0123"), tokens=1234, llm_calls=3, seconds=4.2, unpriced_calls=0),
         "3 LLM calls, 1,234 tokens, $0.0123, 4.20 s"),
        (Spending(usd=Decimal(0), tokens=1, llm_calls=1, seconds=0.0, unpriced_calls=1),
         "1 LLM call, 1 token, cost unknown, 0.00 s"),
        (Spending(usd=Decimal("1234.5"), tokens=0, llm_calls=3, seconds=1e4, unpriced_calls=1),
         "3 LLM calls, 0 tokens, $1,234.50 and 1 call of unknown cost, 10,000.00 s"),
        (Spending(usd=Decimal("1E-9"), tokens=0, llm_calls=2, seconds=1, unpriced_calls=0),
         "2 LLM calls, 0 tokens, less than $0.000001, 1.00 s"),
        (Spending(usd=Decimal(0), tokens=0, llm_calls=0, seconds=1, unpriced_calls=0),
         "0 LLM calls, 0 tokens, $0.00, 1.00 s"),
    ],
    ids=str,
)  # fmt: skip
def test_spending_in_words(spending: Spending, text: str) -> None:
    """
    All numbers are told, and an unknown cost is not told as nothing.
    """
    assert text == str(spending)


@pytest.mark.parametrize(
    ("budget", "limit", "said"),
    [
        (Budget(llm_calls=3), "llm_calls", "llm_calls=3"),
        (Budget(tokens=1_000), "tokens", "tokens=1000"),
        (Budget(seconds=1.5), "seconds", "seconds=1.5"),
        (Budget(usd=Decimal("0.50")), "usd", "usd=0.50"),
        (Budget(usd=1000), "usd", "usd=1000"),
    ],
    ids=str,
)
def test_the_error(budget: Budget, limit: str, said: str) -> None:
    """
    The error names the limit and all numbers, and gets to another process.
    """
    spending = Spending(usd=Decimal("0.02"), tokens=5, llm_calls=3, seconds=1.0, unpriced_calls=0)
    error = BudgetExceeded(limit, budget, spending)
    copied = pickle.loads(pickle.dumps(error))

    assert f"{said} is used up: 3 LLM calls, 5 tokens, $0.02, 1.00 s" == str(error)
    assert (limit, budget, spending) == (copied.limit, copied.budget, copied.spending)
    assert isinstance(error, asyncops.SessionError)
    assert not isinstance(error, ValueError | TimeoutError)


# -- an agent that loops, in an async block ------------------------------------------------------


async def test_the_call_beyond_is_never_sent(recording: Recording) -> None:
    """
    Of an agent that loops the fourth call is not sent; its finally blocks run, and may wait.
    """
    vendor = Vendor(tokens=100, cost=0.01)
    cleaned: list[str] = []
    with pytest.raises(BudgetExceeded) as raised:
        async with asyncops.session(budget=Budget(llm_calls=3)):
            try:
                while True:
                    await vendor.call()
            finally:
                cleaned.append("begun")
                await asyncio.sleep(0.01)
                cleaned.append("done")

    error = raised.value
    assert (3, 3, "llm_calls") == (vendor.sent, len(llms(recording)), error.limit)
    assert ["begun", "done"] == cleaned
    assert (3, 300, Decimal("0.03"), 0) == (
        error.spending.llm_calls, error.spending.tokens, error.spending.usd,
        error.spending.unpriced_calls,
    )  # fmt: skip
    assert "Fail" == ending(recording).state
    reason = ending(recording).reason or ""
    assert reason.startswith(
        "BudgetExceeded: llm_calls=3 is used up: 3 LLM calls, 300 tokens, $0.03, "
    )
    failure = ending(recording).failure
    assert failure is not None
    assert ("asyncops._exceptions.BudgetExceeded", ["cause"]) == (
        failure.type, [cause.relation for cause in failure.causes],
    )  # fmt: skip
    assert "await vendor.call()" in failure.causes[0].traceback
    await not_cancelled()


async def not_cancelled() -> None:
    """
    No cancellation of ours is left behind.
    """
    task = asyncio.current_task()
    assert task is not None
    assert 0 == task.cancelling()
    await asyncio.sleep(0)
    await asyncio.sleep(0)


async def test_blocks_written_by_hand(recording: Recording) -> None:
    """
    Entering a block beyond the limit does not raise; what is awaited first within it is stopped.
    """
    sent: list[str] = []
    with pytest.raises(BudgetExceeded):
        async with asyncops.session(budget=Budget(llm_calls=3)):
            while True:
                await by_hand(sent)

    assert 3 == len(sent)
    assert ["Success", "Success", "Success", "Cancelled"] == [
        event.state for event in llms(recording)
    ]
    await not_cancelled()


async def test_tokens(recording: Recording) -> None:
    """
    The call that ends beyond the limit is the last; prompt and completion count.
    """
    sent: list[str] = []
    with pytest.raises(BudgetExceeded, match="tokens=100 is used up: 3 LLM calls, 120 tokens"):
        async with asyncops.session(budget=Budget(tokens=100)):
            try:
                while True:
                    await by_hand(sent, prompt_tokens=30, completion_tokens=10, cached_tokens=20)
            finally:
                await asyncio.sleep(0)

    assert 3 == len(sent)
    await not_cancelled()


async def test_exactly_used_up(recording: Recording) -> None:
    """
    Who uses exactly what there is and asks for nothing more is not stopped.
    """
    sent: list[str] = []
    async with asyncops.session(budget=Budget(tokens=100, llm_calls=2, usd=0.5)):
        for _ in range(2):
            await by_hand(sent, prompt_tokens=50, cost=0.25)

    assert "Success" == ending(recording).state


async def test_one_that_ends_normally_beyond_the_limit(recording: Recording) -> None:
    """
    The last call went beyond the limit and nothing was awaited since: it is told all the same.
    """
    with pytest.raises(BudgetExceeded, match="tokens=100 is used up: 1 LLM call, 200 tokens"):
        async with asyncops.session(budget=Budget(tokens=100)):
            await by_hand([], prompt_tokens=200)

    assert "Fail" == ending(recording).state
    await not_cancelled()


async def test_ready_made_events_count(recording: Recording) -> None:
    """
    What is recorded when it is over is spent, too; a failure that used nothing is not.
    """
    with pytest.raises(BudgetExceeded, match="llm_calls=2 is used up: 3 LLM calls, 3 tokens"):
        async with asyncops.session(budget=Budget(llm_calls=2)):
            asyncops.record(LLMEvent(model="m", state="Fail"))
            asyncops.record(LLMEvent(model="m", state="Cancelled"))
            asyncops.record(asyncops.ToolEvent(name="no call of a model"))
            for _ in range(FOREVER):
                asyncops.record(LLMEvent(model="m", prompt_tokens=1, completion_tokens=-5))
                await asyncio.sleep(0)


async def test_decorated_functions_count(recording: Recording) -> None:
    """
    A decorated function beyond the limit is stopped at what it awaits first.
    """
    calls = []

    @asyncops.llm
    async def ask() -> None:
        await asyncio.sleep(0)
        calls.append("sent")

    with pytest.raises(BudgetExceeded, match="llm_calls=2"):
        async with asyncops.session(budget=Budget(llm_calls=2)):
            while True:
                await ask()

    assert 2 == len(calls)


async def test_failed_attempts_do_not_count(recording: Recording) -> None:
    """
    A call that succeeds when it is tried again is one call.
    """
    vendor = Vendor(failures=4)
    with pytest.raises(BudgetExceeded, match="llm_calls=2 is used up: 2 LLM calls"):
        async with asyncops.session(budget=Budget(llm_calls=2)):
            while True:
                await vendor.call()

    assert (6, 2) == (vendor.sent, vendor.answered)


async def test_failed_with_usage_counts(recording: Recording) -> None:
    """
    What was used before it failed is spent; so is a call that was called off on the way.
    """
    async with asyncops.session(budget=Budget(llm_calls=5)):
        with contextlib.suppress(OSError):
            with asyncops.llm() as span:
                span.prompt_tokens = 7
                raise OSError
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0):
                with asyncops.llm():
                    await asyncio.sleep(60)
        with contextlib.suppress(OSError):
            with asyncops.llm():
                raise OSError
        spending = account().spending()

    assert (2, 7, 2) == (spending.llm_calls, spending.tokens, spending.unpriced_calls)


async def test_a_block_used_twice(recording: Recording) -> None:
    """
    Each time a span is entered is a call.
    """
    async with asyncops.session(budget=Budget(llm_calls=5)):
        span = asyncops.llm(model="m")
        for _ in range(2):
            with span:
                pass
        assert 2 == account().spending().llm_calls


async def test_ended_by_hand(recording: Recording) -> None:
    """
    A budget guards the block until it is left; how the session ended stays as it was said.
    """
    with pytest.raises(BudgetExceeded, match="seconds"):
        async with asyncops.session(budget=Budget(seconds=0.02)) as session:
            await session.end("Success", "good enough")
            await asyncio.sleep(60)

    assert ("Success", "good enough") == (ending(recording).state, ending(recording).reason)
    await not_cancelled()


# -- programs that resist ------------------------------------------------------------------------


@pytest.mark.parametrize("swallowed", [Exception, BaseException])
async def test_one_that_swallows(recording: Recording, swallowed: type[BaseException]) -> None:
    """
    Whatever a program catches, nothing is sent any more.
    """
    vendor = Vendor()
    with pytest.raises(BudgetExceeded, match="3 LLM calls"):
        async with asyncops.session(budget=Budget(llm_calls=3)):
            for _ in range(FOREVER):
                try:
                    await vendor.call()
                except swallowed:
                    continue

    assert 3 == vendor.sent
    await not_cancelled()


async def test_one_that_swallows_by_hand(recording: Recording) -> None:
    """
    Who goes on after having been cancelled is not let into another block.
    """
    sent: list[str] = []
    stops = []
    with pytest.raises(BudgetExceeded, match="3 LLM calls"):
        async with asyncops.session(budget=Budget(llm_calls=3)):
            for _ in range(FOREVER):
                try:
                    await by_hand(sent)
                except BaseException as error:
                    stops.append(type(error))

    assert (3, FOREVER - 3) == (len(sent), len(stops))
    assert [asyncio.CancelledError, BudgetStop, BudgetStop] == stops[:3]
    assert {BudgetStop} == set(stops[1:])
    await not_cancelled()


async def test_one_that_never_waits(recording: Recording) -> None:
    """
    Calls that block the loop are refused, too: there is no await at which to stop them.
    """
    vendor = Vendor()
    cleaned = []
    with pytest.raises(BudgetExceeded, match="llm_calls=3"):
        async with asyncops.session(budget=Budget(llm_calls=3)):
            try:
                while True:
                    vendor.call_sync()
            finally:
                await asyncio.sleep(0)
                cleaned.append("waited")

    assert (3, ["waited"]) == (vendor.sent, cleaned)
    await not_cancelled()


async def test_one_that_never_waits_by_hand(recording: Recording) -> None:
    """
    The second block beyond the limit raises, where the first could not be stopped at an await.
    """
    made = 0
    with pytest.raises(BudgetExceeded, match="llm_calls=3 is used up: 4 LLM calls"):
        async with asyncops.session(budget=Budget(llm_calls=3)):
            while True:
                with asyncops.llm():
                    made += 1

    assert 4 == made
    await not_cancelled()


async def test_calls_while_cleaning_up(recording: Recording) -> None:
    """
    A program that asks a model for a summary in its finally block is refused that, too.
    """
    vendor = Vendor()
    with pytest.raises(BudgetExceeded):
        async with asyncops.session(budget=Budget(llm_calls=1)):
            try:
                while True:
                    await vendor.call()
            finally:
                await vendor.call()

    assert 1 == vendor.sent
    await not_cancelled()


@pytest.mark.parametrize("how", ["from", "during", "group"])
async def test_an_error_made_of_it(recording: Recording, how: str) -> None:
    """
    An error that a program makes of being stopped is told as what led to it.
    """
    vendor = Vendor()
    with pytest.raises(BudgetExceeded) as raised:
        async with asyncops.session(budget=Budget(llm_calls=1)):
            try:
                while True:
                    await vendor.call()
            except BaseException as error:
                if how == "from":
                    raise RuntimeError("connection lost") from error
                if how == "group":
                    raise BaseExceptionGroup("all", [ValueError("other"), error]) from None
                raise RuntimeError("connection lost")  # noqa: B904

    assert isinstance(
        raised.value.__cause__, BaseExceptionGroup if how == "group" else RuntimeError
    )
    await not_cancelled()


@pytest.mark.parametrize("waits", [True, False])
async def test_another_error_leaves_as_itself(recording: Recording, waits: bool) -> None:
    """
    An error that has nothing to do with it is not covered up.
    """
    with pytest.raises(ValueError, match="boom"):
        async with asyncops.session(budget=Budget(tokens=10)):
            await by_hand([], prompt_tokens=11)
            if waits:
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(0)
            raise ValueError("boom")

    assert ("Fail", "ValueError: boom") == (ending(recording).state, ending(recording).reason)
    await not_cancelled()


@pytest.mark.parametrize(
    "exception", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()], ids=repr
)
async def test_a_program_that_exits(recording: Recording, exception: BaseException) -> None:
    """
    A program that ends itself when it is stopped ends.
    """
    with pytest.raises(type(exception)):
        async with asyncops.session(budget=Budget(tokens=10)):
            try:
                await by_hand([], prompt_tokens=11)
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                raise exception from None


# -- among other cancellations -------------------------------------------------------------------


async def spend(vendor: Vendor) -> None:
    while True:
        await vendor.call()


async def test_timeout_inside(recording: Recording) -> None:
    """
    A timeout within the block takes nothing away from it, and is not set off by it.
    """
    vendor = Vendor()
    with pytest.raises(BudgetExceeded):
        async with asyncops.session(budget=Budget(llm_calls=3)):
            async with asyncio.timeout(60):
                await asyncio.wait_for(spend(vendor), 60)

    assert 3 == vendor.sent
    await not_cancelled()


async def test_timeout_inside_expires_at_the_same_time(recording: Recording) -> None:
    """
    Even where the timeout takes the one cancellation for its own, the budget is told.
    """
    with pytest.raises(BudgetExceeded):
        async with asyncops.session(budget=Budget(tokens=10)):
            async with asyncio.timeout(60) as timeout:
                await by_hand([], prompt_tokens=11)
                timeout.reschedule(0)
                await asyncio.sleep(60)

    await not_cancelled()


async def test_timeout_outside(recording: Recording) -> None:
    """
    A timeout around the block sees BudgetExceeded, and expires as ever if it is first.
    """
    with pytest.raises(BudgetExceeded):
        async with asyncio.timeout(60):
            async with asyncops.session(budget=Budget(llm_calls=3)):
                await spend(Vendor())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            async with asyncops.session(budget=Budget(llm_calls=3)):
                await asyncio.sleep(60)

    assert ["Fail", "Cancelled"] == [record.state for record in recording.endings]
    await not_cancelled()


@pytest.mark.parametrize("first", ["budget", "outer"])
async def test_cancelled_from_outside_at_the_same_time(recording: Recording, first: str) -> None:
    """
    Whoever cancels the task meanwhile gets what they asked for.
    """
    entered = asyncio.Event()

    async def work() -> None:
        async with asyncops.session(budget=Budget(tokens=10)):
            active.append(account())
            entered.set()
            await asyncio.sleep(60)

    active: list[Account] = []
    task = asyncio.create_task(work())
    await entered.wait()
    exceed = functools.partial(
        active[0].settle, admitted=False, state="Success", at_ns=0, prompt_tokens=11
    )
    cancel = functools.partial(task.cancel, "shutdown")
    for act in (exceed, cancel) if first == "budget" else (cancel, exceed):
        act()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert task.cancelled()
    assert "Cancelled" == ending(recording).state


async def test_cancelled_from_outside_before_anything_is_awaited(recording: Recording) -> None:
    """
    A cancellation from outside that arrives together with ours, and was not delivered yet when the
    block is left, is delivered.
    """

    async def work() -> str:
        try:
            async with asyncops.session(budget=Budget(tokens=10)):
                with asyncops.llm() as span:
                    span.prompt_tokens = 11
                task.cancel("shutdown")
        except BudgetExceeded:
            return "swallowed"
        return "went on"

    task = asyncio.create_task(work())
    with pytest.raises(asyncio.CancelledError):
        await task

    assert ("Cancelled", "shutdown") == (ending(recording).state, ending(recording).reason)


async def test_cancelled_from_outside_while_an_error_leaves(recording: Recording) -> None:
    """
    An error that leaves the block goes first, and the cancellation comes with the next await, as
    it would without a budget.
    """
    seen: list[str] = []

    async def work() -> None:
        try:
            async with asyncops.session(budget=Budget(tokens=10)):
                with asyncops.llm() as span:
                    span.prompt_tokens = 11
                task.cancel("shutdown")
                raise ValueError("boom")
        except ValueError:
            seen.append("ValueError")
            await asyncio.sleep(1)

    task = asyncio.create_task(work())
    with pytest.raises(asyncio.CancelledError):
        await task

    assert (["ValueError"], 1) == (seen, task.cancelling())
    assert "ValueError: boom" == ending(recording).reason


@pytest.mark.parametrize("waits", [True, False])
async def test_calls_while_a_cancellation_from_outside_is_handled(
    recording: Recording, waits: bool
) -> None:
    """
    A task that is being cancelled, and goes beyond its budget on the way out, is cancelled.
    """
    begun = asyncio.Event()

    async def work() -> None:
        async with asyncops.session(budget=Budget(tokens=10)):
            begun.set()
            try:
                if waits:
                    await asyncio.sleep(60)
                else:
                    task.cancel("shutdown")
            finally:
                with asyncops.llm() as span:
                    span.prompt_tokens = 11

    task = asyncio.create_task(work())
    await begun.wait()
    if waits:
        task.cancel("shutdown")
    with pytest.raises(asyncio.CancelledError):
        await task

    assert "Cancelled" == ending(recording).state


async def test_what_the_program_got_over(recording: Recording) -> None:
    """
    A group of tasks that failed, and a cancellation that the program took for nothing, do not count
    as somebody else's when the budget is used up later.
    """
    vendor = Vendor()

    async def fail() -> None:
        raise OSError

    with pytest.raises(BudgetExceeded):
        async with asyncops.session(budget=Budget(llm_calls=3)):
            with contextlib.suppress(ExceptionGroup):
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(fail())
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0)
            await spend(vendor)

    assert 3 == vendor.sent


async def test_outer_timeout_wins(recording: Recording) -> None:
    """
    A timeout around the block that expires at the same moment is a timeout.
    """
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(60) as timeout:
            async with asyncops.session(budget=Budget(tokens=10)):
                with asyncops.llm() as span:
                    span.prompt_tokens = 11
                timeout.reschedule(0)
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                await asyncio.sleep(60)

    await not_cancelled()


# -- many tasks ----------------------------------------------------------------------------------


async def test_task_group(recording: Recording) -> None:
    """
    All tasks of a group see the cancellation, and their finally blocks run.
    """
    vendor = Vendor()
    cleaned = []

    async def worker(number: int) -> None:
        try:
            await spend(vendor)
        finally:
            await asyncio.sleep(0)
            cleaned.append(number)

    with pytest.raises(BudgetExceeded):
        async with asyncops.session(budget=Budget(llm_calls=10)):
            async with asyncio.TaskGroup() as tasks:
                for number in range(4):
                    tasks.create_task(worker(number))

    assert (10, [0, 1, 2, 3]) == (vendor.sent, sorted(cleaned))
    assert 10 == len(llms(recording))
    await not_cancelled()


@pytest.mark.parametrize("sync", [True, False])
async def test_task_group_by_hand(recording: Recording, sync: bool) -> None:
    """
    Likewise with blocks written by hand, and with calls that block the loop.
    """
    vendor = Vendor()
    sent: list[str] = []

    async def worker() -> None:
        while True:
            await asyncio.sleep(0)
            if sync:
                vendor.call_sync()
            else:
                await by_hand(sent)

    with pytest.raises(BudgetExceeded):
        async with asyncops.session(budget=Budget(llm_calls=10)):
            async with asyncio.TaskGroup() as tasks:
                for _ in range(4):
                    tasks.create_task(worker())

    assert 10 == vendor.sent + len(sent)
    await not_cancelled()


async def test_gather(recording: Recording) -> None:
    """
    gather and the tasks in it are cancelled.
    """
    vendor = Vendor()
    with pytest.raises(BudgetExceeded):
        async with asyncops.session(budget=Budget(llm_calls=10)):
            await asyncio.gather(*(spend(vendor) for _ in range(4)), return_exceptions=True)

    assert 10 == vendor.sent
    await not_cancelled()


async def test_calls_under_way_are_cancelled(recording: Recording) -> None:
    """
    What is under way in other tasks when the budget is used up is called off.
    """
    with pytest.raises(BudgetExceeded):
        async with asyncops.session(budget=Budget(tokens=10)):
            async with asyncio.TaskGroup() as tasks:

                async def slow() -> None:
                    with asyncops.llm("slow"):
                        await asyncio.sleep(60)

                tasks.create_task(slow())
                await by_hand([], prompt_tokens=11)

    assert {"m": "Success", "slow": "Cancelled"} == {
        event.name: event.state for event in llms(recording)
    }


@pytest.mark.parametrize("hand", [False, True])
async def test_a_task_left_behind(recording: Recording, hand: bool) -> None:
    """
    A task that nobody waits for is cancelled when it makes another call, also after the block was
    left.
    """
    vendor = Vendor()
    sent: list[str] = []
    gate = asyncio.Event()
    cancelling = []

    async def background() -> None:
        await gate.wait()
        try:
            await (by_hand(sent) if hand else spend(vendor))
        except asyncio.CancelledError:
            task = asyncio.current_task()
            assert task is not None
            cancelling.append(task.cancelling())
            raise

    with pytest.raises(BudgetExceeded):
        async with asyncops.session(budget=Budget(llm_calls=2)):
            left = asyncio.create_task(background())
            await spend(vendor)
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await left

    assert (2, [], [1]) == (vendor.sent, sent, cancelling)
    await not_cancelled()


async def test_calls_after_the_block(recording: Recording) -> None:
    """
    The task that has left the block is not cancelled any more, but what still goes by the block's
    budget is refused.
    """
    with pytest.raises(BudgetExceeded):
        async with asyncops.session(budget=Budget(llm_calls=1)):
            over = account()
            await spend(Vendor())
    with pytest.raises(asyncio.CancelledError):
        await over.admit_async()

    await not_cancelled()


async def test_closed_by_hand(recording: Recording) -> None:
    """
    A coroutine that is thrown away in the midst of its block does not wait for anything.
    """

    async def work() -> None:
        async with asyncops.session(budget=Budget(tokens=10)):
            with asyncops.llm() as span:
                span.prompt_tokens = 11
            await Suspend()

    coroutine = work()
    coroutine.send(None)
    coroutine.close()

    assert ("Cancelled", "generator closed") == (
        ending(recording).state, ending(recording).reason,
    )  # fmt: skip
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(0)  # before Python 3.13 nobody could take that back here
    await not_cancelled()


class Suspend:
    def __await__(self) -> Generator[None, None, None]:
        yield


async def test_anyio(recording: Recording) -> None:
    """
    Task groups, cancel scopes and timeouts of anyio, within and around.
    """
    vendor = Vendor()
    cleaned = []

    async def worker() -> None:
        try:
            await spend(vendor)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.001)
                cleaned.append("done")

    with anyio.fail_after(60):
        with pytest.raises(BudgetExceeded):
            async with asyncops.session(budget=Budget(llm_calls=10)):
                with anyio.fail_after(60):
                    async with anyio.create_task_group() as tasks:
                        for _ in range(4):
                            tasks.start_soon(worker)
    assert (10, 4) == (vendor.sent, len(cleaned))
    await anyio.lowlevel.checkpoint()

    with anyio.move_on_after(0.01) as scope:
        async with asyncops.session(budget=Budget(llm_calls=10)):
            await anyio.sleep(60)
    assert scope.cancelled_caught
    assert ["Fail", "Cancelled"] == [record.state for record in recording.endings]
    await not_cancelled()


async def test_anyio_scope_cancelled_at_the_same_time(recording: Recording) -> None:
    """
    A cancel scope around the block that is cancelled meanwhile gets its cancellation.
    """
    with anyio.CancelScope() as scope:
        async with asyncops.session(budget=Budget(tokens=10)):
            await by_hand([], prompt_tokens=11)
            scope.cancel()
            await anyio.sleep(60)

    assert scope.cancelled_caught
    assert "Cancelled" == ending(recording).state
    await not_cancelled()


async def test_sessions_of_their_own(recording: Recording) -> None:
    """
    With one session in each context, each has a budget of its own.
    """
    config = Configuration(scope="context")
    vendor = Vendor()

    async def handle(calls: int) -> str:
        try:
            async with asyncops.session(config=config, budget=Budget(llm_calls=calls)):
                for _ in range(3):
                    await vendor.call()
        except BudgetExceeded as error:
            return str(error).partition(":")[0]
        return "done"

    answers = await asyncio.gather(*(handle(calls) for calls in (1, 2, 3, 4)))

    assert ["llm_calls=1 is used up", "llm_calls=2 is used up", "done", "done"] == answers
    assert 1 + 2 + 3 + 3 == vendor.sent


# -- threads and blocks without a loop -----------------------------------------------------------


def test_sync_block(recording: Recording) -> None:
    """
    Without an event loop the call beyond the limit is refused, whatever the client tries.
    """
    vendor = Vendor(tokens=5)
    cleaned = []
    with pytest.raises(
        BudgetExceeded, match="llm_calls=3 is used up: 3 LLM calls, 15 tokens"
    ) as raised:
        with asyncops.session(budget=Budget(llm_calls=3)):
            try:
                with asyncops.agent("looper"):
                    while True:
                        vendor.call_sync()
            finally:
                cleaned.append("done")

    assert (3, ["done"]) == (vendor.sent, cleaned)
    assert isinstance(raised.value.__cause__, BudgetStop)
    assert "Fail" == ending(recording).state
    (agent,) = [event for event in recording.events if event.kind == "agent"]
    assert agent.failure is not None
    assert "Cancelled" == agent.state
    assert agent.failure.message.startswith("BudgetExceeded: llm_calls=3 is used up")


def test_sync_block_by_hand(recording: Recording) -> None:
    """
    Where there is nothing to cancel, a block beyond the limit is not entered.
    """
    made = 0
    with pytest.raises(BudgetExceeded):
        with asyncops.session(budget=Budget(llm_calls=3)):
            while True:
                with contextlib.suppress(Exception), asyncops.llm():
                    made += 1

    assert (3, 3) == (made, len(llms(recording)))


def test_sync_block_that_ends_normally(recording: Recording) -> None:
    """
    Nothing is raised in the midst of a block, but where it is left.
    """
    reached = []
    with pytest.raises(BudgetExceeded, match="tokens=10"):
        with asyncops.session(budget=Budget(tokens=10)):
            with asyncops.llm() as span:
                span.completion_tokens = 11
            reached.append("the end")

    assert ["the end"] == reached


def test_sync_block_another_error(recording: Recording) -> None:
    """
    An error that has nothing to do with it leaves as itself, as does a cancellation.
    """
    for error in (ValueError("boom"), asyncio.CancelledError("theirs")):
        with pytest.raises(type(error)):
            with asyncops.session(budget=Budget(tokens=10)):
                with asyncops.llm() as span:
                    span.completion_tokens = 11
                raise error

    assert ["Fail", "Cancelled"] == [record.state for record in recording.endings]


def test_threads_in_a_sync_block(recording: Recording) -> None:
    """
    Threads share the budget to the call, and are refused like the one that entered the block.
    """
    vendor = Vendor()
    with pytest.raises(BudgetExceeded):
        with asyncops.session(budget=Budget(llm_calls=100)):
            with ThreadPoolExecutor(8) as threads:
                loops = [
                    threads.submit(lambda: [vendor.call_sync() for _ in range(FOREVER)])
                    for _ in range(8)
                ]
            for loop in loops:
                loop.result()

    assert 100 == len(llms(recording))


async def test_sync_block_in_a_task(recording: Recording) -> None:
    """
    A `with` block in async code cannot be cancelled: calls are refused by raising.
    """
    vendor = Vendor()
    cleaned = []
    with pytest.raises(BudgetExceeded):
        with asyncops.session(budget=Budget(llm_calls=3)):
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(spend(vendor))
            finally:
                await asyncio.sleep(0)
                cleaned.append("waited")

    assert (3, ["waited"]) == (vendor.sent, cleaned)


@pytest.mark.parametrize("run", [asyncio.to_thread, anyio.to_thread.run_sync])
async def test_worker_threads(
    recording: Recording, run: Callable[[Callable[[], Any]], Awaitable[Any]]
) -> None:
    """
    A thread that works for an async block stops, and so does the block.
    """
    vendor = Vendor()
    stopped = threading.Event()

    def work() -> None:
        try:
            while True:
                vendor.call_sync()
        finally:
            stopped.set()

    with pytest.raises(BudgetExceeded):
        async with asyncops.session(budget=Budget(llm_calls=3)):
            await run(work)

    assert stopped.wait(10)
    assert 3 == vendor.sent
    await not_cancelled()


async def test_a_thread_nobody_waits_for(recording: Recording) -> None:
    """
    What a thread spends stops the block, also if nobody ever looks at what becomes of the thread.
    """

    def work() -> None:
        with asyncops.llm() as span:
            span.prompt_tokens = 11

    with pytest.raises(BudgetExceeded, match="11 tokens"):
        async with asyncops.session(budget=Budget(tokens=10)):
            threading.Thread(target=work).start()
            await asyncio.sleep(60)

    await not_cancelled()


async def test_a_thread_with_a_loop_of_its_own(recording: Recording) -> None:
    """
    Tasks of another loop are cancelled in theirs, and the block in its own.
    """
    vendor = Vendor()
    ended: list[BaseException] = []

    def work() -> None:
        try:
            asyncio.run(spend(vendor))
        except BaseException as error:
            ended.append(error)

    with pytest.raises(BudgetExceeded):
        async with asyncops.session(budget=Budget(llm_calls=3)):
            thread = asyncio.get_running_loop().run_in_executor(None, work)
            await asyncio.sleep(60)
    await asyncio.wait([thread])

    assert (3, asyncio.CancelledError) == (vendor.sent, type(ended[0]))
    await not_cancelled()


# -- the clock -----------------------------------------------------------------------------------


async def test_seconds(recording: Recording) -> None:
    """
    The block is stopped when its time is up, whatever it waits for.
    """
    cleaned = []
    with pytest.raises(BudgetExceeded, match=r"seconds=0\.05 is used up: 0 LLM calls") as raised:
        async with asyncops.session(budget=Budget(seconds=0.05)):
            try:
                await asyncio.sleep(60)
            finally:
                await asyncio.sleep(0)
                cleaned.append("done")

    assert 0.04 < raised.value.spending.seconds < 30
    assert ["done"] == cleaned
    assert ["budget warning"] == [event.name for event in recording.events]
    await not_cancelled()


async def test_no_timer_is_left(recording: Recording) -> None:
    """
    A block that is left in time is not stopped afterwards.
    """
    async with asyncops.session(budget=Budget(seconds=0.02)):
        pass
    await asyncio.sleep(0.05)

    assert "Success" == ending(recording).state
    assert [] == recording.events
    await not_cancelled()


def test_seconds_without_a_loop(recording: Recording) -> None:
    """
    Without a loop time is looked at when a call begins.
    """
    vendor = Vendor()
    with pytest.raises(BudgetExceeded, match=r"seconds=0\.02"):
        with asyncops.session(budget=Budget(seconds=0.02)):
            while True:
                vendor.call_sync()


async def test_uvloop(recording: Recording) -> None:
    """
    uvloop's tasks and timers are as good.
    """
    code = """
import asyncio, asyncops, uvloop

async def main():
    try:
        async with asyncops.session(budget=asyncops.Budget(seconds=0.02)):
            await asyncio.sleep(60)
    except asyncops.BudgetExceeded as error:
        print(error.limit, asyncio.current_task().cancelling())

uvloop.run(main())
"""
    done = await anyio.run_process([sys.executable, "-W", "error", "-c", code])

    assert (b"seconds 0\n", b"") == (done.stdout, done.stderr)


# -- the warning ---------------------------------------------------------------------------------


async def test_warning(recording: Recording) -> None:
    """
    At a fraction of a limit the session is warned, once, and there is an event of it.
    """
    warnings: list[Spending] = []
    sent: list[str] = []
    budget = Budget(tokens=100, llm_calls=50, warn_at=0.5, on_warning=warnings.append)
    with pytest.raises(BudgetExceeded):
        async with asyncops.session(budget=budget):
            while True:
                await by_hand(sent, prompt_tokens=20)

    assert [60] == [spending.tokens for spending in warnings]
    (event,) = [event for event in recording.events if event.kind == "action"]
    assert "budget warning" == event.name
    assert b'"limit":"tokens"' in bytes(event.params)
    assert b'"tokens":60' in bytes(event.params)
    assert [3] == [index for index, each in enumerate(recording.events) if each is event]


def test_warning_of_calls(recording: Recording) -> None:
    """
    Calls warn as they begin, and a limit that is jumped over warns before it stops.
    """
    order: list[str] = []
    budget = Budget(llm_calls=5, on_warning=lambda spending: order.append("warned"))
    with pytest.raises(BudgetExceeded):
        with asyncops.session(budget=budget):
            for number in range(FOREVER):
                with asyncops.llm():
                    order.append(str(number))
    assert ["0", "1", "2", "warned", "3", "4"] == order

    order.clear()
    budget = Budget(tokens=5, on_warning=lambda spending: order.append("warned"))
    with pytest.raises(BudgetExceeded):
        with asyncops.session(budget=budget):
            asyncops.record(LLMEvent(prompt_tokens=6))
    assert ["warned"] == order


async def test_a_warning_that_fails(recording: Recording, caplog: pytest.LogCaptureFixture) -> None:
    """
    What on_warning raises disturbs nothing; it is logged.
    """

    def fail(spending: Spending) -> None:
        raise RuntimeError("my mistake")

    async with asyncops.session(budget=Budget(llm_calls=1, on_warning=fail)):
        await by_hand([])

    assert "Success" == ending(recording).state
    assert "on_warning of a budget raised RuntimeError('my mistake')" in caplog.text


# -- dollars -------------------------------------------------------------------------------------

PRICES = """
[[price]]
model = "m*"
input = 10
output = 100
"""


@pytest.fixture
def _prices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "prices.toml"
    path.write_text(PRICES)
    monkeypatch.setenv("ASYNCOPS_PRICES", str(path))


@pytest.mark.usefixtures("_prices")
async def test_usd(recording: Recording) -> None:
    """
    What a call cost is what it says, and what the price table says where it says nothing.
    """
    with pytest.raises(
        BudgetExceeded, match=r"usd=0\.5 is used up: 3 LLM calls, .*, \$0\.70,"
    ) as raised:
        async with asyncops.session(budget=Budget(usd=0.5)):
            await by_hand([], cost=0.1)
            await by_hand([], prompt_tokens=10_000, completion_tokens=1_000)  # 0.1 and 0.1
            await by_hand([], prompt_tokens=1, cost=Decimal("0.4"))
            await by_hand([])

    assert Decimal("0.7") == raised.value.spending.usd
    assert 0 == raised.value.spending.unpriced_calls


@pytest.mark.usefixtures("_prices")
async def test_usd_of_what_nobody_knows(
    recording: Recording, caplog: pytest.LogCaptureFixture
) -> None:
    """
    A call of unknown cost spends nothing, and that is told: in the log once, and in the reason.
    """
    costs = [asyncops.Cost(Decimal(1), currency="EUR"), None, 0.6]
    with pytest.raises(BudgetExceeded, match=r"\$0\.60 and 2 calls of unknown cost"):
        async with asyncops.session(budget=Budget(usd=0.5)):
            for cost in costs:
                with asyncops.llm(model="another") as span:
                    span.prompt_tokens = 1_000_000
                    span.cost = cost

    assert 1 == caplog.text.count("asyncops does not know what a call of 'another'")


def test_usd_without_prices(tmp_path: Path) -> None:
    """
    Dollars cannot be counted without prices, and that is said when the budget is made.
    """
    code = """
import sys
sys.modules["genai_prices"] = None
import asyncops
assert "asyncops._prices" not in sys.modules
asyncops.Budget(llm_calls=1)
assert "asyncops._prices" not in sys.modules
try:
    asyncops.Budget(usd=1)
except asyncops.ConfigurationError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )

    assert "a budget in dollars needs prices; " in done.stdout
    assert 'pip install "asyncops[prices]"' in done.stdout


@pytest.mark.usefixtures("_prices")
def test_a_program_that_is_strict_about_decimals(recording: Recording) -> None:
    """
    What a program has set for its own arithmetic does not disturb ours.
    """
    cost = Decimal("0.123456789012345678901234567890123")
    with decimal.localcontext(
        decimal.Context(prec=3, traps=[decimal.Inexact, decimal.FloatOperation])
    ):
        with pytest.raises(BudgetExceeded, match=r"usd=0\.1 is used up") as raised:
            with asyncops.session(budget=Budget(usd=0.1, seconds=60.5, tokens=7, warn_at=0.3)):
                with asyncops.llm() as span:
                    span.cost = cost

    assert cost == raised.value.spending.usd
    assert ["llm", "action"] == [event.kind for event in recording.events]


# -- processes -----------------------------------------------------------------------------------


def test_a_process_that_joins(recording: Recording) -> None:
    """
    A process that joins a session limits its own part, and ends that only.
    """
    session_id = "0198c0de-0000-7000-8000-000000000001"
    with pytest.raises(BudgetExceeded):
        with asyncops.session(inherited_session_id=session_id, budget=Budget(llm_calls=1)):
            for _ in range(2):
                with asyncops.llm():
                    pass

    assert (session_id, None) == (ending(recording).session, ending(recording).state)


def test_a_forked_child(tmp_path: Path) -> None:
    """
    A forked child is not counted and not stopped: the budget is its parent's, like the block.
    """
    code = """
import os, sys, threading, asyncops

with asyncops.session(budget=asyncops.Budget(llm_calls=1)) as session:
    child = os.fork()
    if not child:
        for _ in range(3):
            with asyncops.llm():
                pass
        os._exit(7)
    assert 7 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with asyncops.llm():
        pass
print(session.state)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=False
    )

    assert ("Success\n", 0) == (done.stdout, done.returncode), done.stderr


# -- whatever comes together ---------------------------------------------------------------------


async def ticks() -> None:
    for _ in range(4):
        await asyncio.sleep(0)


async def in_a_group() -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(ticks())
        tasks.create_task(ticks())
        await asyncio.sleep(0)


async def in_a_timeout() -> None:
    async with asyncio.timeout(60):
        await ticks()


async def waited_for() -> None:
    await asyncio.wait_for(ticks(), 60)


async def gathered() -> None:
    await asyncio.gather(ticks(), ticks())


async def in_a_group_of_anyio() -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ticks)
        await ticks()


async def cleaning_up() -> None:
    try:
        await ticks()
    finally:
        await ticks()


SHAPES = [ticks, in_a_group, in_a_timeout, gathered, in_a_group_of_anyio, cleaning_up]
if sys.version_info >= (3, 12):  # before, wait_for may swallow a cancellation by itself
    SHAPES.append(waited_for)

Outer = Callable[[], contextlib.AbstractAsyncContextManager[Callable[[], object]]]


@contextlib.asynccontextmanager
async def by_cancel() -> AsyncIterator[Callable[[], object]]:
    task = asyncio.current_task()
    assert task is not None
    try:
        yield functools.partial(task.cancel, "theirs")
        await ticks()  # where one is delivered that came too late for the block
    except asyncio.CancelledError:
        task.uncancel()
        raise TimeoutError from None


@contextlib.asynccontextmanager
async def by_timeout() -> AsyncIterator[Callable[[], object]]:
    async with asyncio.timeout(60) as timeout:
        yield functools.partial(timeout.reschedule, 0)
        await ticks()


@contextlib.asynccontextmanager
async def by_scope() -> AsyncIterator[Callable[[], object]]:
    with anyio.CancelScope() as scope:
        yield scope.cancel
        await ticks()
    if scope.cancelled_caught:
        raise TimeoutError


@contextlib.asynccontextmanager
async def by_nobody() -> AsyncIterator[Callable[[], object]]:
    yield int


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
@pytest.mark.parametrize("outer", [by_nobody, by_cancel, by_timeout, by_scope])
async def test_whatever_comes_together(
    recording: Recording, shape: Callable[[], Awaitable[None]], outer: Outer
) -> None:
    """
    At whatever moment the budget is used up and somebody else cancels: theirs is never lost, ours
    never outlives the block.
    """
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()

    async def once(ours: int, theirs: int) -> None:
        came = []

        def tick(number: int) -> None:
            if number == ours and is_open:
                came.append("ours")
                active.settle(admitted=False, state="Success", at_ns=0, prompt_tokens=11)
            if number == theirs and is_open and outer is not by_nobody:
                came.append("theirs")
                cancel()
            if number < 12:
                loop.call_soon(tick, number + 1)

        left: BaseException | None = None
        try:
            async with outer() as cancel:
                is_open = True
                try:
                    async with asyncops.session(budget=Budget(tokens=10)):
                        active = account()
                        tick(0)
                        await shape()
                finally:
                    is_open = False
                    is_cancelled = task.cancelling() > 0
        except (BudgetExceeded, TimeoutError) as error:
            left = error
        expected = TimeoutError if is_cancelled else BudgetExceeded if "ours" in came else None
        if is_cancelled or "theirs" not in came:  # else it came when the block was just being left
            assert (expected or type(None)) is type(left), (ours, theirs, came)
        assert 0 == task.cancelling(), (ours, theirs, came)
        await ticks()

    for ours in range(10):
        for theirs in range(10):
            await once(ours, theirs)
