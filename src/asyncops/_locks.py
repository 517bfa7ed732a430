"""
A lock for the interpreter's last moments.
"""

from __future__ import annotations

import threading

__all__ = ["ImpatientLock"]

PATIENCE_SECONDS = 0.5
"""How long is waited for a thread that may be stopped for good."""


class ImpatientLock:
    """
    A re-entrant lock that is not waited for without end.

    While the interpreter ends, daemon threads are stopped where they are, and what they hold they
    never let go. A finalizer that records must not wait for them.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        if not self._lock.acquire(timeout=PATIENCE_SECONDS):
            raise TimeoutError("held by a thread that the interpreter's end has stopped")

    def __exit__(self, *exception: object) -> None:
        self._lock.release()
