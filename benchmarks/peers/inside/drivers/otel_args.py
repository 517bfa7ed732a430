"""
The OpenTelemetry SDK, the argument and the result as attributes.
"""

from __future__ import annotations

import functools

from .otel import end, flush, setup, shutdown, start, tracer

__all__ = ["end", "flush", "recorded", "setup", "shutdown", "start"]


def recorded(work):
    @functools.wraps(work)
    async def wrapper(n):
        with tracer.start_as_current_span("work") as span:
            span.set_attribute("n", n)
            result = await work(n)
            span.set_attribute("result", result)
            return result

    return wrapper
