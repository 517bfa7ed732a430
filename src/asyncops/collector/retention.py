"""
How long sessions are kept, and what sees to it.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Iterable, Mapping

import anyio
import attrs

from .._exceptions import ConfigurationError, StoreError
from .store.base import Store

__all__ = ["Retention", "age", "keep_for", "own_retention"]

CHECK_SECONDS = 600.0
"""How often old sessions are looked for."""

STEP_SESSIONS = 100

_AGE = re.compile(r"([1-9][0-9]{0,4})([hdw])", re.ASCII)
_HOURS = {"h": 1, "d": 24, "w": 7 * 24}

_logger = logging.getLogger("asyncops")


def age(text: str) -> int:
    """
    The nanoseconds that *text* says: `12h`, `30d`, `8w`.

    Raises:
        ConfigurationError: It says none.
    """
    found = _AGE.fullmatch(text.strip())
    if found is None:
        raise ConfigurationError(
            f"an age is a number and h (hours), d (days) or w (weeks), as in 30d, not {text!r}"
        )
    return int(found[1]) * _HOURS[found[2]] * 3_600 * 1_000_000_000


@attrs.frozen
class Retention:
    """
    How long sessions are kept after the last that was recorded of them, nanoseconds.

    Attributes:
        everywhere: Where a project has no word of its own; None is for ever.
        projects: By project.
    """

    everywhere: int | None = None
    projects: Mapping[str, int] = attrs.field(factory=dict)

    @classmethod
    def read(cls, texts: Iterable[str]) -> Retention:
        """
        What *texts* say: `30d` for every project, `NAME=90d` for one; the last word counts.

        Raises:
            ConfigurationError: One of them says nothing.
        """
        everywhere: int | None = None
        projects: dict[str, int] = {}
        for text in texts:
            project, named, how_long = text.rpartition("=")
            if named:
                projects[project.strip()] = age(how_long)
            else:
                everywhere = age(how_long)
        return cls(everywhere, projects)

    def of(self, project: str) -> int | None:
        return self.projects.get(project, self.everywhere)


def own_retention() -> list[str]:
    """
    What `$ASYNCOPS_KEEP` says, divided by commas.
    """
    return [text for text in os.environ.get("ASYNCOPS_KEEP", "").split(",") if text.strip()]


async def keep_for(store: Store, retention: Retention) -> None:
    """
    Delete sessions as soon as they are old enough, for as long as this is not cancelled.
    """
    while True:
        try:
            for project in await store.projects():
                how_long = retention.of(project)
                if how_long is not None:
                    await _prune(store, project, time.time_ns() - how_long)
        except StoreError as error:  # it may be locked or full now
            _logger.warning("Old sessions cannot be deleted now: %s", error)
        await anyio.sleep(CHECK_SECONDS)


async def _prune(store: Store, project: str, before: int) -> None:
    cursor: str | None = None
    deleted = 0
    while True:
        done = await store.prune(project, before=before, cursor=cursor, limit=STEP_SESSIONS)
        deleted += len(done.sessions)
        cursor = done.next
        if cursor is None:
            break
    if deleted:
        _logger.info("Deleted %d old sessions of project %s", deleted, project)
