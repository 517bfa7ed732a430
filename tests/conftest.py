"""
What all tests share: nothing of one test, nor of the machine, reaches another.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from processes import hear_signals

import asyncops.testing
from asyncops import _active, _api, _client, _log

hear_signals()

# Properties are tried on the same examples every time, so that what fails fails again;
# `--hypothesis-profile=random` looks for others. A machine that has something else to do for 0.2 s
# in the midst of an example is no failure.
settings.register_profile("random", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("suite", settings.get_profile("random"), derandomize=True)
settings.load_profile("suite")


@pytest.fixture
def anyio_backend() -> str:
    """
    The SDK is an asyncio SDK.
    """
    return "asyncio"


@pytest.fixture(autouse=True)
def _isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """
    A clean environment, a journal of its own, no session left over.
    """
    for name in list(os.environ):
        if name.startswith("ASYNCOPS_") or name == "TRACEPARENT":
            monkeypatch.delenv(name)
    monkeypatch.setenv("ASYNCOPS_JOURNAL_DIR", str(tmp_path / "journal"))
    monkeypatch.setenv("ASYNCOPS_DB", str(tmp_path / "collector.db"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    # nobody listens there: a test that wants a collector names it
    monkeypatch.setenv("ASYNCOPS_ENDPOINT", "http://127.0.0.1:9")
    _log._told.clear()
    yield
    holder = _active._slot
    if holder is not None:
        _active.leave(holder)
    _active._context.set(None)
    _api._configuration = None
    for client in list(_client._clients):
        client._end_sessions(None, "the test is over")
        if client._running is not None:
            client._running.cancel()  # or it would tell of its outage in the midst of another test
        _client._forget(client)


@pytest.fixture
def recording() -> Iterator[asyncops.testing.Recording]:
    """
    What the test records, in memory, with ids that count from one.
    """
    with asyncops.testing.recorded() as recording, asyncops.testing.fixed_ids():
        yield recording
