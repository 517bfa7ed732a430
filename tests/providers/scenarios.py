"""
What is done with a client, and what its application sees of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import functools
import gc
import inspect
import os
import re
import signal
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable
from typing import Any

import attrs
from clients import Driver
from processes import until
from vendor_server import Behaviour, Case, Received

__all__ = ["SCENARIOS", "Leave", "Outcome", "Scenario", "run"]

TAKEN = 4
"""How many pieces of a stream are taken before it is left."""

BLOCKED_SECONDS = 0.05
"""After that long who waits for a socket does so, and can be interrupted there."""


class Leave(enum.Enum):
    """
    How an application leaves a stream.
    """

    AT_THE_END = enum.auto()
    CLOSED = enum.auto()
    """It closes it."""

    DROPPED = enum.auto()
    """It stops to read, and forgets it."""

    CANCELLED = enum.auto()
    """The task is cancelled; without a loop: Ctrl-C."""


@attrs.frozen
class Scenario:
    """
    Something that happens.

    Attributes:
        name: What.
        behaviour: What the server does.
        stream: Whether a stream is asked for.
        retries: How often the client may try again.
        timeout: The client's, in seconds.
        leave: When and how the application leaves.
        twice: Whether the same client is asked once more.
        fast: Whether it is part of the normal suite.
    """

    name: str
    behaviour: Behaviour = Behaviour.GOOD
    stream: bool = False
    retries: int = 0
    timeout: float = 10.0
    leave: Leave = Leave.AT_THE_END
    twice: bool = False
    fast: bool = False

    @property
    def tools(self) -> bool:
        return self.behaviour is Behaviour.TOOLS

    @property
    def succeeds(self) -> bool:
        """
        Whether there is nothing that a client could fail at.
        """
        busy = self.behaviour is Behaviour.BUSY_ONCE and self.retries > 0
        good = self.behaviour in (Behaviour.GOOD, Behaviour.TOOLS, Behaviour.GZIP, Behaviour.SPLIT,
                                  Behaviour.JOINED, Behaviour.STEPS, Behaviour.SLOW)  # fmt: skip
        return (good or busy) and self.leave is not Leave.CANCELLED

    @property
    def in_step(self) -> bool:
        return self.behaviour is Behaviour.STEPS


SCENARIOS = (
    Scenario("plain", fast=True),
    Scenario("stream", stream=True, fast=True),
    Scenario("tools", Behaviour.TOOLS, fast=True),
    Scenario("tools in stream", Behaviour.TOOLS, stream=True, fast=True),
    Scenario("twice", stream=True, twice=True),
    Scenario("split", Behaviour.SPLIT, stream=True, fast=True),
    Scenario("joined", Behaviour.JOINED, stream=True),
    Scenario("steps", Behaviour.STEPS, stream=True, fast=True),
    Scenario("slow", Behaviour.SLOW, stream=True),
    Scenario("gzip", Behaviour.GZIP),
    Scenario("gzip stream", Behaviour.GZIP, stream=True),
    Scenario("refused", Behaviour.REFUSED, fast=True),
    Scenario("refused stream", Behaviour.REFUSED, stream=True),
    Scenario("unauthorized", Behaviour.UNAUTHORIZED),
    Scenario("busy", Behaviour.BUSY_ONCE, retries=2, fast=True),
    Scenario("busy stream", Behaviour.BUSY_ONCE, stream=True, retries=2),
    Scenario("busy, no retry", Behaviour.BUSY_ONCE),
    Scenario("broken", Behaviour.BROKEN),
    Scenario("cut", Behaviour.CUT),
    Scenario("cut stream", Behaviour.CUT, stream=True, fast=True),
    Scenario("error in stream", Behaviour.ERROR_IN_STREAM, stream=True, fast=True),
    Scenario("malformed", Behaviour.MALFORMED),
    Scenario("malformed stream", Behaviour.MALFORMED, stream=True),
    Scenario("timeout", Behaviour.SILENT, timeout=1.0),
    Scenario("timeout of stream", Behaviour.SILENT, stream=True, timeout=1.0),
    Scenario("closed", Behaviour.STEPS, stream=True, leave=Leave.CLOSED),
    Scenario("dropped", Behaviour.STEPS, stream=True, leave=Leave.DROPPED),
    Scenario("cancelled", Behaviour.STEPS, stream=True, leave=Leave.CANCELLED, fast=True),
    Scenario("cancelled early", Behaviour.SILENT, leave=Leave.CANCELLED),
)


@attrs.define
class Outcome:
    """
    What the application saw, and the server.

    Attributes:
        items: Results, or the pieces of streams, as JSON.
        chunks_before: Of each item, how many chunks the server had sent when it came, where it
            sends one at a time.
        raised: The exception, described.
        requests: As the server saw them.
        items_at: When each item came (ns since the epoch).
    """

    items: list[Any] = attrs.field(factory=list)
    chunks_before: list[int] = attrs.field(factory=list)
    raised: Any = None
    requests: list[Received] = attrs.field(factory=list)
    items_at: list[int] = attrs.field(factory=list)

    def take(self, driver: Driver, case: Case, item: Any) -> None:
        self.items_at.append(time.time_ns())
        if case.behaviour is Behaviour.STEPS:
            self.chunks_before.append(len(case.sent))
        self.items.append(driver.dumped(item))


def run(driver: Driver, scenario: Scenario, case: Case) -> Outcome:
    """
    Do *scenario* with a new client, and close it.
    """
    outcome = Outcome()
    try:
        if driver.is_async:
            asyncio.run(_run_async(driver, scenario, case, outcome))
        else:
            _run(driver, scenario, case, outcome)
    except (Exception, asyncio.CancelledError, KeyboardInterrupt) as error:
        outcome.raised = described(error, case)
    if outcome.raised is not None:
        _collect()  # what nobody has closed goes now, not in the midst of another test
    outcome.requests = list(case.received)
    return outcome


def _run(driver: Driver, scenario: Scenario, case: Case, outcome: Outcome) -> None:
    client = driver.open(case.url, retries=scenario.retries, timeout=scenario.timeout)
    try:
        if scenario.leave is Leave.CANCELLED:
            _interrupt_when(functools.partial(_can_be_left, scenario, case, outcome))
        if scenario.stream:
            _read(driver, driver.stream(client, tools=scenario.tools), scenario, case, outcome)
        if scenario.leave is Leave.DROPPED:
            until(functools.partial(_is_let_go, case))
        if not scenario.stream or scenario.twice:
            outcome.take(driver, case, driver.ask(client, tools=scenario.tools))
    finally:
        driver.close(client)


def _read(driver: Driver, stream: Any, scenario: Scenario, case: Case, outcome: Outcome) -> None:
    case.step()
    for item in stream:
        outcome.take(driver, case, item)
        if len(outcome.items) == TAKEN and scenario.leave is not Leave.AT_THE_END:
            if scenario.leave is Leave.CANCELLED:
                continue  # nothing more comes
            break
        case.step()
    if scenario.leave is Leave.CLOSED:
        driver.close_stream(stream)


def _interrupt_when(condition: Callable[[], bool]) -> None:
    """
    Ctrl-C, a little after that.
    """

    def interrupt() -> None:
        until(condition)
        time.sleep(BLOCKED_SECONDS)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()


async def _run_async(driver: Driver, scenario: Scenario, case: Case, outcome: Outcome) -> None:
    client = driver.open(case.url, retries=scenario.retries, timeout=scenario.timeout)
    try:
        async with _cancelling(scenario, case, outcome):
            if scenario.stream:
                stream = await _had(driver.stream(client, tools=scenario.tools))
                await _read_async(driver, stream, scenario, case, outcome)
                del stream
            if scenario.leave is Leave.DROPPED:
                while not _is_let_go(case):  # noqa: ASYNC110 - nobody says so
                    await asyncio.sleep(0.001)
            if not scenario.stream or scenario.twice:
                result = await _had(driver.ask(client, tools=scenario.tools))
                outcome.take(driver, case, result)
    finally:
        await _had(driver.close(client))


async def _read_async(
    driver: Driver, stream: Any, scenario: Scenario, case: Case, outcome: Outcome
) -> None:
    case.step()
    async for item in stream:
        outcome.take(driver, case, item)
        if len(outcome.items) == TAKEN and scenario.leave is not Leave.AT_THE_END:
            if scenario.leave is Leave.CANCELLED:
                continue  # nothing more comes
            break
        case.step()
    if scenario.leave is Leave.CLOSED:
        await _had(driver.close_stream(stream))


@contextlib.asynccontextmanager
async def _cancelling(scenario: Scenario, case: Case, outcome: Outcome) -> AsyncIterator[None]:
    """
    Cancel the task within the block at the time that the scenario has for it.
    """
    if scenario.leave is not Leave.CANCELLED:
        yield
        return
    task = asyncio.current_task()
    assert task is not None

    async def cancel() -> None:
        ready = functools.partial(_can_be_left, scenario, case, outcome)
        await asyncio.to_thread(until, ready)
        await asyncio.sleep(BLOCKED_SECONDS)
        task.cancel()

    canceller = asyncio.create_task(cancel())
    try:
        yield
    finally:
        canceller.cancel()


def _is_let_go(case: Case) -> bool:
    """
    Whether the connection of a stream that nobody holds any more is closed.
    """
    _collect()
    return case.hung_up.is_set()


class _Loop:
    """
    Nobody holds it but itself.
    """

    def __init__(self) -> None:
        self.itself = self


def _collect() -> None:
    """
    Let go of what nobody holds. While another thread does so, `gc.collect()` does nothing and
    returns at once, and what is let go there is in the midst of being closed.
    """
    gone = weakref.ref(_Loop())
    until(lambda: gc.collect() >= 0 and gone() is None)


def _can_be_left(scenario: Scenario, case: Case, outcome: Outcome) -> bool:
    return len(outcome.items) == TAKEN if scenario.stream else bool(case.received)


async def _had(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


# -- exceptions ---------------------------------------------------------------------------------

NOTABLE = ("message", "code", "param", "type", "status_code", "request_id", "body", "headers",
           "details", "status", "error", "doc", "pos", "raw_response", "response")  # fmt: skip
"""What vendors' exceptions have about them."""


TAKEN_TIME = re.compile(r"time taken=[0-9.]+")

ADDRESS = re.compile(r"\b(0x)?[0-9a-f]{12}\b")
"""Where something is in memory: a cancel scope, a socket."""


def described(error: BaseException | None, case: Case) -> Any:
    """
    All that an application can see of an exception: kind, words, attributes, and what led to it.
    """
    if error is None:
        return None
    return {
        "type": f"{type(error).__module__}.{type(error).__qualname__}",
        "kinds": [kind.__qualname__ for kind in type(error).__mro__],
        "text": _steady(str(error), case),
        "attributes": {
            name: _plain(value, case)
            for name in NOTABLE
            if not callable(value := getattr(error, name, None))
        },
        "cause": described(error.__cause__, case),
        "context": described(error.__context__, case),
    }


def _plain(value: Any, case: Case) -> Any:
    if hasattr(value, "status_code") and hasattr(value, "headers"):
        content = getattr(value, "_content", None)
        return [value.status_code, _plain(dict(value.headers), case), content]
    return _steady(repr(value), case)


def _steady(text: str, case: Case) -> str:
    # some put a whole traceback into their words
    text = TAKEN_TIME.sub("<time>", text).partition("Traceback (most recent call last)")[0]
    return ADDRESS.sub("<address>", text.replace(case.url, "<url>"))
