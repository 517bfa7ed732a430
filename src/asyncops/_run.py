"""
`asyncops run`, seen from the SDK: the session wrapped around a program that knows nothing of it.

The program runs as a child process, and `activate` there starts its session before its first line.
How the program ended, its parent says with `conclude`.
"""

from __future__ import annotations

import asyncio
import json
import os

from . import _clock
from ._api import configure
from ._client import Client
from ._configuration import Configuration
from ._events import EndState, SessionEndedRecord, SessionRecord
from ._instrumentation import instrument_for_sessions
from ._session import Session

__all__ = ["VARIABLE", "activate", "conclude"]

VARIABLE = "ASYNCOPS_RUN"
"""The environment variable by which the parent tells the child: a JSON object."""


def activate() -> None:
    """
    In the child: start the session that the environment names, if it names one.

    It gives way to any session the program itself starts. The variable is taken out of the
    environment, so that the program's own children are not taken for it.
    """
    text = os.environ.pop(VARIABLE, None)
    if text is None:
        return
    told = json.loads(text)
    configuration = Configuration(endpoint=told["endpoint"])
    configure(configuration)
    if configuration.instrument_llm_calls:
        instrument_for_sessions()
    session = Session(
        told.get("name"),
        tags=told.get("tags"),
        configuration=configuration,
        id=told["session_id"],
        ambient=True,
    )
    session.start()


def conclude(
    session_id: str,
    state: EndState,
    reason: str | None,
    configuration: Configuration,
    *,
    name: str | None = None,
) -> bool:
    """
    In the parent: say how the child ended. What the child itself said of it comes first.

    Returns:
        Whether the collector has stored it; if not, it is in the journal.
    """
    client = Client(configuration)
    now = _clock.wall_ns()
    client.record(SessionRecord(at=now, session=session_id, name=name, inherited=True))
    client.record(
        SessionEndedRecord(
            at=now, session=session_id, said_by="process", ended_at=now, state=state, reason=reason
        )
    )
    return asyncio.run(client.aclose())
