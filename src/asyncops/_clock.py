"""
The clocks. Wall time says when, the monotonic clock says how long.

Everyone reads them through this module, so that `asyncops.testing` can put others in their place.
"""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["monotonic_ns", "wall_ns"]

wall_ns: Callable[[], int] = time.time_ns
"""Nanoseconds since the epoch."""

monotonic_ns: Callable[[], int] = time.perf_counter_ns
"""Nanoseconds since some moment; never goes back."""
