"""
How an exception ends what it leaves: a session, an event.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import attrs

from ._events import EndState, Failure
from ._exceptions import BudgetStop

__all__ = ["Ending", "ending_of"]


@attrs.frozen
class Ending:
    """
    An end state with its reason.
    """

    state: EndState
    reason: str | None = None
    failure: Failure | None = None


def ending_of(exception: BaseException | None, *, interrupted: bool = False) -> Ending:
    """
    What it means that *exception* left a block; None left it normally.

    Args:
        exception: What left.
        interrupted: Whether a Ctrl-C was seen meanwhile: asyncio turns it into a cancellation.
    """
    if exception is None:
        return Ending(EndState.SUCCESS)
    leaves = list(_leaves(exception))
    if all(_is_clean_exit(leaf) for leaf in leaves):
        return Ending(EndState.SUCCESS)
    if all(isinstance(leaf, _CALLED_OFF) or _is_clean_exit(leaf) for leaf in leaves):
        return Ending(EndState.CANCELLED, _cancel_reason(leaves, interrupted))
    failure = Failure.from_exception(exception)
    return Ending(EndState.FAIL, failure.summary(), failure)


_CALLED_OFF = (asyncio.CancelledError, BudgetStop, GeneratorExit, KeyboardInterrupt)


def _leaves(exception: BaseException) -> Iterator[BaseException]:
    groups = [exception]  # a list of our own: groups may be nested deeper than functions may
    while groups:
        found = groups.pop()
        if isinstance(found, BaseExceptionGroup):
            groups += reversed(found.exceptions)
        else:
            yield found


def _is_clean_exit(exception: BaseException) -> bool:
    if not isinstance(exception, SystemExit):
        return False
    # anything but a number is printed, and the exit status is 1
    return exception.code is None or (isinstance(exception.code, int) and exception.code == 0)


def _cancel_reason(leaves: list[BaseException], interrupted: bool) -> str:
    if interrupted or any(isinstance(leaf, KeyboardInterrupt) for leaf in leaves):
        return "SIGINT"
    for leaf in leaves:
        if (
            isinstance(leaf, asyncio.CancelledError | BudgetStop)
            and leaf.args
            and isinstance(leaf.args[0], str)
        ):
            return leaf.args[0]
    if any(isinstance(leaf, GeneratorExit) for leaf in leaves):
        return "generator closed"
    return "cancelled"
