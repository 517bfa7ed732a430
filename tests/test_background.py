"""
The SDK's own thread starts once, whoever interrupts its start, or not at all.
"""

from __future__ import annotations

import sys
import threading
from types import FrameType
from typing import Any

import pytest

from asyncops._background import Background


async def answer() -> int:
    return 42


def ours() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "asyncops"]


def test_start_that_is_interrupted() -> None:
    """
    A signal handler or finalizer that records while the thread is being started is neither stuck
    nor the cause of a second thread.
    """
    background = Background()
    inner: list[Any] = []

    def interrupt(frame: FrameType, event: str, argument: object) -> None:
        # as a signal handler would be, called between two steps of the main thread
        if event == "call" and frame.f_code is threading.Thread.start.__code__ and not inner:
            inner.append(background.run(answer(), first=lambda: None))

    before = len(ours())
    sys.setprofile(interrupt)
    try:
        outer = background.run(answer(), first=lambda: None)
    finally:
        sys.setprofile(None)

    assert outer is not None
    assert [42, 42] == [outer.result(5), inner[0].result(5)]
    assert 1 == len(ours()) - before


def test_no_thread_to_be_had(caplog: pytest.LogCaptureFixture) -> None:
    """
    Where the system gives no thread there is one warning, and another try the next time.
    """
    background = Background()
    before = threading.stack_size(2**46)
    try:
        assert background.run(answer(), first=lambda: None) is None
        assert background.run(answer(), first=lambda: None) is None
    finally:
        threading.stack_size(before)
    (warning,) = caplog.messages
    assert "cannot start its thread" in warning

    future = background.run(answer(), first=lambda: None)
    assert future is not None
    assert 42 == future.result(5)


def test_what_goes_wrong_on_the_loop(caplog: pytest.LogCaptureFixture) -> None:
    """
    An error in a callback is told in our name, not by asyncio as one of the program's.
    """
    background = Background()
    future = background.run(answer(), first=lambda: None)
    assert future is not None
    future.result(5)
    told = threading.Event()

    def fail() -> None:
        background.call_soon(told.set)  # after this
        raise OSError("closed")

    background.call_soon(fail)

    assert told.wait(5)
    (record,) = caplog.records
    assert ("asyncops", "WARNING") == (record.name, record.levelname)
    assert "closed" in record.getMessage()
