"""
A lock that a stopped thread holds keeps nobody for ever.
"""

from __future__ import annotations

import threading

import pytest

from asyncops import _locks
from asyncops._locks import ImpatientLock


def test_is_re_entrant() -> None:
    """
    A finalizer that interrupts its holder gets it.
    """
    lock = ImpatientLock()
    with lock, lock:
        pass
    with lock:
        pass


def test_is_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Where its holder does not let go, whoever wants it is told so.
    """
    monkeypatch.setattr(_locks, "PATIENCE_SECONDS", 0.01)
    lock = ImpatientLock()
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            done.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(10)
    try:
        with pytest.raises(TimeoutError), lock:
            pass
    finally:
        done.set()
        thread.join()
    with lock:
        pass
