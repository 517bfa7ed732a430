"""
The assembly of what is not streamed.
"""

from __future__ import annotations

from typing import Any

__all__ = ["WholeAssembly"]


class WholeAssembly:
    """
    A stream whose last piece is the whole body.
    """

    def __init__(self) -> None:
        self.has_token = False
        self.complete = self.over = False
        self.error: Any = None
        self._body: Any = {}

    def add(self, event: str, data: Any) -> None:
        self._body = data

    def body(self) -> Any:
        return self._body
