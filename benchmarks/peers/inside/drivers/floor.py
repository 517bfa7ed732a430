"""
What any recorder must do: set and reset a context variable, look at two clocks, append a tuple.
"""

from __future__ import annotations

import functools
import time
from contextvars import ContextVar

from .bare import end, flush, setup, shutdown, start

__all__ = ["end", "flush", "recorded", "setup", "shutdown", "start"]

_variable = ContextVar("floor")
_kept = []


def recorded(work):
    @functools.wraps(work)
    async def wrapper(n):
        token = _variable.set(n)
        began = time.time_ns()
        try:
            return await work(n)
        finally:
            _kept.append(("work", began, time.time_ns()))
            _variable.reset(token)

    return wrapper
