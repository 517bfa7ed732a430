"""
Budgets: what a session may spend, what it has spent, and how its block is stopped.
"""

from __future__ import annotations

import asyncio
import contextlib
import decimal
import functools
import inspect
import math
import operator
import sys
import threading
import weakref
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import attrs

from . import _clock
from ._events import ActionEvent, Cost, Event, EventState
from ._exceptions import BudgetExceeded, BudgetStop, ConfigurationError
from ._log import trouble

if TYPE_CHECKING:
    from ._prices import PriceTable

__all__ = ["Account", "Budget", "Spending", "current_task"]

Limit = Literal["usd", "tokens", "llm_calls", "seconds"]
"""What a budget can limit."""

_ARITHMETIC = decimal.Context(prec=40, traps=[])
"""Of dollars: whatever the program has set for its own."""


# -- values -----------------------------------------------------------------------------------


def _refusal(option: str, fits: str, value: object) -> ConfigurationError:
    return ConfigurationError(f"{option} of a budget must be {fits}, not {value!r:.100}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def _usd(value: Decimal | float | None) -> Decimal | None:
    if value is None:
        return None
    amount = Decimal(str(value)) if _is_number(value) else Decimal(0)
    if not (amount.is_finite() and amount > 0):
        raise _refusal("usd", "a number of dollars above 0", value)
    return amount


def _count(option: str, value: int | None) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value > 0):
        return value
    raise _refusal(option, "a whole number above 0, such as 100_000", value)


def _tokens(value: int | None) -> int | None:
    return _count("tokens", value)


def _llm_calls(value: int | None) -> int | None:
    return _count("llm_calls", value)


def _seconds(value: float | None) -> float | None:
    if value is None:
        return None
    if not (_is_number(value) and math.isfinite(value) and value > 0):
        raise _refusal("seconds", "a number of seconds above 0", value)
    return float(value)


def _fraction(value: float) -> float:
    if not (_is_number(value) and 0 < value <= 1):
        raise _refusal("warn_at", "a fraction above 0 and up to 1, such as 0.8", value)
    return float(value)


def _callback(value: Callable[[Spending], object] | None) -> Callable[[Spending], object] | None:
    called = value if inspect.isroutine(value) else getattr(value, "__call__", None)  # noqa: B004
    if value is not None and (called is None or inspect.iscoroutinefunction(called)):
        raise _refusal("on_warning", "a plain function that takes a Spending", value)
    return value


@attrs.frozen(kw_only=True)
class Spending:
    """
    What a session has spent so far, in this process.

    Attributes:
        usd: Dollars: what the calls said they cost, and, where dollars are limited, what the prices
            known here say of the others.
        tokens: Prompt and completion tokens, of the calls that have ended.
        llm_calls: Calls made, those under way included. One that failed without using anything is
            not among them.
        seconds: How long the block has been open.
        unpriced_calls: How many of the calls that ended have a cost that nobody knows.
    """

    usd: Decimal
    tokens: int
    llm_calls: int
    seconds: float
    unpriced_calls: int

    def __str__(self) -> str:
        parts = [
            _number(self.llm_calls, "LLM call"),
            _number(self.tokens, "token"),
            self._cost(),
            f"{self.seconds:,.2f} s",
        ]
        return ", ".join(parts)

    def _cost(self) -> str:
        if self.unpriced_calls and not self.usd:
            return "cost unknown"
        if 0 < self.usd < Decimal("0.000001"):
            cost = "less than $0.000001"
        else:
            whole, _, rest = f"{self.usd:,.6f}".partition(".")
            cost = f"${whole}.{rest.rstrip('0'):0<2}"
        if self.unpriced_calls:
            cost += f" and {_number(self.unpriced_calls, 'call')} of unknown cost"
        return cost


def _number(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


@attrs.frozen(kw_only=True)
class Budget:
    """
    What a session may spend: its block is stopped when one of the limits is exceeded.

    ```python
    async with asyncops.session("agent", budget=asyncops.Budget(llm_calls=50, tokens=200_000)):
        ...
    ```

    A call of a model that begins when a limit is reached is refused, and one that ends beyond a
    limit stops the block, too; what is under way at the same time is not known before it ends. The
    block is cancelled, as `asyncio.timeout` would cancel it, and `BudgetExceeded` leaves it.

    Attributes:
        usd: Dollars. Needs prices: `pip install "asyncops[prices]"`, or a file of your own; they
            are loaded here, which takes a fifth of a second once in a process. Calls whose cost is
            not known spend nothing of it, and are warned of.
        tokens: Prompt and completion tokens together.
        llm_calls: How many calls of models. Those that fail without using anything are not counted,
            so a call that succeeds when tried again is counted once.
        seconds: How long the block may take. In `async with` it is stopped at that moment; in
            `with` as soon as a call of a model begins or ends.
        warn_at: The fraction of any limit at which the session is warned, once: an event "budget
            warning" is recorded, and `on_warning` called.
        on_warning: Called with what was spent, from the thread or task in which that is seen. What
            it raises is logged.

    Raises:
        ConfigurationError: A value cannot work; or nothing is limited; or dollars are, and no price
            is known here.
    """

    usd: Decimal | None = attrs.field(default=None, converter=_usd)
    tokens: int | None = attrs.field(default=None, converter=_tokens)
    llm_calls: int | None = attrs.field(default=None, converter=_llm_calls)
    seconds: float | None = attrs.field(default=None, converter=_seconds)
    warn_at: float = attrs.field(default=0.8, converter=_fraction)
    on_warning: Callable[[Spending], object] | None = attrs.field(default=None, converter=_callback)

    def __attrs_post_init__(self) -> None:
        if not self.limits():
            raise ConfigurationError(
                "a budget must limit something: usd, tokens, llm_calls or seconds"
            )
        if self.usd is not None:
            price_table()

    def limits(self) -> dict[Limit, Decimal | float]:
        """
        What is limited, and to what.
        """
        said: dict[Limit, Decimal | float | None] = {
            "usd": self.usd,
            "tokens": self.tokens,
            "llm_calls": self.llm_calls,
            "seconds": self.seconds,
        }
        return {name: limit for name, limit in said.items() if limit is not None}

    def warnings(self) -> dict[Limit, Decimal | float]:
        """
        Of what is limited, how much is reason to warn.
        """
        share = Decimal(str(self.warn_at))
        return {
            name: amount if name == "usd" else float(amount)
            for name, limit in self.limits().items()
            for amount in [_ARITHMETIC.multiply(Decimal(str(limit)), share)]
        }


def price_table() -> PriceTable:
    """
    The prices known here, loaded.

    Raises:
        ConfigurationError: There are none.
    """
    from ._prices import NO_PRICES, own_prices  # only those who limit dollars pay for importing it

    table = _price_table(own_prices())
    if not table.versions:
        raise ConfigurationError(f"a budget in dollars needs prices; {NO_PRICES}")
    return table


@functools.lru_cache(maxsize=1)
def _price_table(own: Path | None) -> PriceTable:
    from ._prices import PriceTable

    return PriceTable(own)


# -- the account ------------------------------------------------------------------------------


class Account:
    """
    What a session has spent of its budget in this process, and whom it stops when that is used up.

    Safe from any thread. In an `async with` block the task that entered it is cancelled; where
    there is nothing to cancel, because the block is a `with` or a thread makes the call, a call
    that is refused raises `BudgetStop`.

    Args:
        budget: What it may spend.
        record: Records an event in the session.
        task: The task that enters the block, in `async with`.

    Attributes:
        exceeded: The limit that was exceeded first.
    """

    def __init__(
        self,
        budget: Budget,
        *,
        record: Callable[[Event], object],
        task: asyncio.Task[Any] | None,
    ) -> None:
        self.exceeded: Limit | None = None
        self._budget = budget
        self._limits = budget.limits()
        self._warnings = budget.warnings()
        self._prices = None if budget.usd is None else price_table()
        self._record = record
        # reentrant: a finalizer may close a span just when another one is accounted for
        self._lock = threading.RLock()
        self._began_at = _clock.monotonic_ns()
        self._usd = Decimal(0)
        self._tokens = 0
        self._llm_calls = 0
        self._unpriced_calls = 0
        self._warned = False
        self._message = ""
        self._task = task
        self._cancelling = 0 if task is None else task.cancelling()
        self._asked = False
        self._cancels = 0
        self._refused: weakref.WeakSet[asyncio.Task[Any]] = weakref.WeakSet()
        self._timers: list[asyncio.TimerHandle] = []
        self._left = False

    def entered(self) -> None:
        """
        The session has begun: from now on the clock is watched.
        """
        seconds = self._budget.seconds
        if self._task is not None and seconds is not None:
            later = self._task.get_loop().call_later
            self._timers = [
                later(seconds * self._budget.warn_at, self._warn, "seconds"),
                later(seconds, self._exceed, "seconds"),
            ]

    # -- may a call be made? ------------------------------------------------------------------

    def admit(self) -> None:
        """
        Before a call is made: count it.

        Raises:
            BudgetStop: Another one would be too much; it must not be made.
        """
        if not self._reserve():
            if current_task() is not self._task:
                self._stop()
            raise BudgetStop(self._why())

    async def admit_async(self) -> None:
        """
        Likewise in a task, which is cancelled together with the block where a call is refused.

        Raises:
            asyncio.CancelledError: Another one would be too much; it must not be made.
            BudgetStop: Likewise, in a block that cannot be cancelled because it is a `with`.
        """
        if self._reserve():
            return
        calling = current_task()
        if self._task is None or calling is None:
            raise BudgetStop(self._why())
        self._stop()
        self._cancel(calling)
        await asyncio.sleep(0)  # here it is cancelled
        raise asyncio.CancelledError(self._why())

    def began(self) -> bool:
        """
        A call begins in a block that somebody wrote, and that is entered in any case.

        Returns:
            Whether it was counted. Otherwise the task is cancelled: the next await within stops it.

        Raises:
            BudgetStop: It must not be made, and there is no task to cancel, or it went on all the
                same.
        """
        if self._reserve():
            return True
        calling = current_task()
        with self._lock:
            again = calling is None or calling in self._refused
            if calling is not None:
                self._refused.add(calling)
        self._stop()
        if self._task is None or calling is None or again:
            raise BudgetStop(self._why())
        self._cancel(calling)
        return False

    def _reserve(self) -> bool:
        with self._lock:
            if self.exceeded is None:
                self._note_cancellations()
                self.exceeded = self._first(self._limits, operator.ge)
            if self.exceeded is not None:
                return False
            self._llm_calls += 1
        self._warn()
        return True

    def _note_cancellations(self) -> None:
        """
        Where the task that entered the block makes a call in the normal run of things, it has got
        over whatever cancelled it before: that cancels it no more. (A `TaskGroup` whose failure was
        caught leaves its task so until Python 3.13: python/cpython#116720.)
        """
        task = self._task
        if (
            task is not None
            and task is current_task()
            and sys.exc_info()[1] is None
            and not getattr(task, "_must_cancel", False)  # asked for since its last await
        ):
            self._cancelling = task.cancelling()

    # -- what it was ----------------------------------------------------------------------------

    def settle(
        self,
        *,
        admitted: bool,
        state: EventState,
        at_ns: int,
        model: str | None = None,
        provider: str | None = None,
        prompt_tokens: int | None = None,
        completion_tokens: int | None = None,
        cached_tokens: int | None = None,
        cache_write_tokens: int | None = None,
        reasoning_tokens: int | None = None,
        cost: Cost | None = None,
    ) -> None:
        """
        A call has ended: add what it used, or take back that it was counted. Never raises
        `Exception`.

        Args:
            admitted: Whether it was counted when it began.
            state: How it ended.
            at_ns: When it began, nanoseconds since the epoch.
        """
        if prompt_tokens is None and completion_tokens is None and cost is None:
            if state == "Fail":
                if admitted:
                    with self._lock:
                        self._llm_calls -= 1
                return
            if state == "Cancelled" and not admitted:  # by us, before anything was sent
                return
        if (cost is None or cost.currency != "USD") and self._prices is not None:
            cost = self._prices.price(
                provider=provider,
                model=model,
                prompt_tokens=prompt_tokens,
                completion_tokens=completion_tokens,
                cached_tokens=cached_tokens,
                cache_write_tokens=cache_write_tokens,
                reasoning_tokens=reasoning_tokens,
                at_ns=at_ns,
            )
        known = cost is not None and cost.currency == "USD"
        with self._lock:
            self._llm_calls += not admitted
            self._tokens += (prompt_tokens or 0) + (completion_tokens or 0)
            if cost is not None and known:
                self._usd = _ARITHMETIC.add(self._usd, cost.amount)
            else:
                self._unpriced_calls += 1
            over = self._first(self._limits, operator.gt)
        if not known and self._prices is not None:
            trouble(
                "budget",
                "asyncops does not know what a call of %r (%r) costs: it spends nothing of the"
                " session's budget in dollars",
                model,
                provider,
            )
        self._warn()
        if over is not None:
            self._exceed(over)

    def spending(self) -> Spending:
        """
        What was spent so far.
        """
        with self._lock:
            return Spending(
                usd=self._usd,
                tokens=self._tokens,
                llm_calls=self._llm_calls,
                seconds=(_clock.monotonic_ns() - self._began_at) / 1e9,
                unpriced_calls=self._unpriced_calls,
            )

    def _first(
        self,
        limits: Mapping[Limit, Decimal | float],
        reaches: Callable[[Any, Any], bool],
    ) -> Limit | None:
        """
        The first of *limits* that what was spent *reaches*.
        """
        spent = self.spending()
        for name, limit in limits.items():
            if reaches(getattr(spent, name), limit):
                return name
        return None

    def _warn(self, limit: Limit | None = None) -> None:
        """
        Warn, once, if so much is spent of *limit*, or of any where None.
        """
        with self._lock:
            limit = None if self._warned else limit or self._first(self._warnings, operator.ge)
            if limit is None:
                return
            self._warned = True
            spending = self.spending()
        said = {name: getattr(self._budget, name) for name in self._limits}
        params = {"limit": limit, "budget": said, "spending": attrs.asdict(spending)}
        try:
            self._record(ActionEvent(name="budget warning", params=params))
            if self._budget.on_warning is not None:
                self._budget.on_warning(spending)
        except Exception as error:
            trouble("on_warning", "asyncops: on_warning of a budget raised %r", error)

    # -- stopping -------------------------------------------------------------------------------

    def _exceed(self, limit: Limit) -> None:
        with self._lock:
            if self.exceeded is None:
                self.exceeded = limit
        self._stop()

    def _stop(self) -> None:
        """
        Cancel the task that entered the block, if that was not done before.
        """
        task = self._task
        with self._lock:
            if task is None or self._asked:
                return
            self._asked = True
        calling = current_task()
        if calling is not None and calling.get_loop() is task.get_loop():
            self._cancel(task)
        else:
            with contextlib.suppress(RuntimeError):  # its loop is closed
                task.get_loop().call_soon_threadsafe(self._cancel, task)

    def _cancel(self, task: asyncio.Task[Any]) -> None:
        if task is not self._task:
            task.cancel(self._why())
        elif not self._left and task.cancel(self._why()):
            self._cancels += 1

    def _why(self) -> str:
        """
        The message of every cancellation of ours.
        """
        with self._lock:
            if not self._message:
                error = self._error()
                self._message = f"{type(error).__name__}: {error}"
            return self._message

    def _error(self) -> BudgetExceeded:
        assert self.exceeded is not None
        return BudgetExceeded(self.exceeded, self._budget, self.spending())

    # -- leaving the block ----------------------------------------------------------------------

    def leave(self, exception: BaseException | None) -> BaseException | None:
        """
        *exception* (None: nothing) leaves the block; returns what is to leave instead, if anything.
        """
        self._left = True
        for timer in self._timers:
            timer.cancel()
        if self.exceeded is None or not (exception is None or self._led_to(exception)):
            return None
        error = self._error()
        error.__cause__ = exception
        return error

    async def aleave(self, exception: BaseException | None) -> BaseException | None:
        """
        Likewise, in the task that entered it: no cancellation of ours remains when this returns,
        and none of somebody else's is lost.
        """
        instead = self.leave(exception)
        task = self._task
        if task is None or self.exceeded is None:
            return instead
        for _ in range(self._cancels):
            task.uncancel()
        late = None
        if self._cancels and not isinstance(exception, GeneratorExit) and current_task() is task:
            try:
                # what was asked for since the last await, and not delivered yet, is now. (Since
                # Python 3.13 `uncancel` alone does it where nobody else has cancelled.)
                await asyncio.sleep(0)
            except asyncio.CancelledError as error:
                late = error
        if task.cancelling() > self._cancelling:  # somebody else cancels, too: that goes first
            if isinstance(exception, asyncio.CancelledError):
                # whose it is matters: a cancel scope of anyio knows its own by the message
                return late if self._message in exception.args else None
            if late is not None and instead is not None:
                return late
            if late is not None:
                # an error goes its way, and the next await is cancelled, as without us
                task.cancel(*late.args)
                task.uncancel()
        return instead

    def _led_to(self, exception: BaseException) -> bool:
        """
        Whether our stopping it led to *exception*: it is that, or it holds that, or it was raised
        from that or while that was handled.
        """
        if isinstance(exception, SystemExit | KeyboardInterrupt | GeneratorExit):
            return False
        stops = (BudgetStop,) if self._task is None else (BudgetStop, asyncio.CancelledError)
        found: list[BaseException | None] = [exception]
        seen: set[int] = set()
        while found:
            each = found.pop()
            if isinstance(each, stops):
                return True
            if each is not None and id(each) not in seen:
                seen.add(id(each))
                found += (each.__cause__, each.__context__)
                if isinstance(each, BaseExceptionGroup):
                    found += each.exceptions
        return False


def current_task() -> asyncio.Task[Any] | None:
    """
    The task that calls this, if it is one.
    """
    try:
        return asyncio.current_task()
    except RuntimeError:  # no loop runs in this thread
        return None
