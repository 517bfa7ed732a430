"""
Ids are of the form that others expect, and no two are the same.
"""

from __future__ import annotations

import itertools
import threading

import pytest

from asyncops import _ids


def test_event_ids_count() -> None:
    """
    Event ids are 16 hex digits: a prefix of the process, and a number that goes up by one.
    """
    new = _ids._event_ids()
    found = [new() for _ in range(70_000)]  # past a carry into the third byte

    assert {16} == {len(each) for each in found}
    assert list(range(1, 70_001)) == [int(each[8:], 16) for each in found]
    assert 1 == len({each[:8] for each in found})


def test_another_prefix_when_all_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    After the last number the next prefix begins with the first.
    """
    monkeypatch.setattr(_ids, "_BYTES", ("00", "01"))
    new = _ids._event_ids()
    found = [new() for _ in range(40)]

    assert len(found) == len(set(found))
    assert 3 == len({each[:8] for each in found})  # 15 of each


def test_event_ids_of_threads() -> None:
    """
    Threads that ask at the same time get different ids.
    """
    new = _ids._event_ids()
    found: list[list[str]] = [[] for _ in range(4)]

    def ask(kept: list[str]) -> None:
        kept += [new() for _ in range(20_000)]

    threads = [threading.Thread(target=ask, args=(kept,)) for kept in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert 80_000 == len(set(itertools.chain(*found)))
