"""
asyncops without arguments and results: what a plain OpenTelemetry span holds.
"""

from __future__ import annotations

import asyncops

from .asyncops import end, flush, setup, shutdown, start

__all__ = ["end", "flush", "recorded", "setup", "shutdown", "start"]


def recorded(work):
    return asyncops.action(capture_params=False, capture_returns=False)(work)
