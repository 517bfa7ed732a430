"""
Every call the journal makes of the operating system fails once, or is the last: nothing is lost
that is not told, and nothing is raised.

SQLite's method: count the calls of a run in which nothing fails, then let the first fail, the
second, and so on.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from books import Books, line_of

from asyncops import Configuration, _file_journal
from asyncops._client import Client
from asyncops._directory import journals
from asyncops._events import TagsRecord
from asyncops._file_journal import FileJournal
from asyncops._journal import MemoryJournal
from asyncops._recovery import recover

SOURCE = "0198a0b0-0000-7000-8000-00000000000a"

RECORDS = 12
SIZE = 60

CALLS = (
    "open write pwrite pread ftruncate rename unlink mkdir rmdir listdir stat fstat lseek fdatasync"
).split()


class Killed(BaseException):
    """
    The process is no more.
    """


class System:
    """
    The operating system, of which a call can fail.

    Attributes:
        calls: How many there have been since it was armed.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls = 0
        self._at = 0
        self._for_good = False
        self._fail: Callable[[], BaseException] | None = None
        self._thread = threading.get_ident()
        for name in CALLS:
            monkeypatch.setattr(os, name, self._wrapped(getattr(os, name)))

    def _wrapped(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            if self._fail is not None and threading.get_ident() == self._thread:
                self.calls += 1
                if self.calls == self._at or (self._for_good and self.calls > self._at):
                    raise self._fail()
            return call(*args, **kwargs)

        return wrapped

    def arm(self, at: int, fail: Callable[[], BaseException], *, for_good: bool) -> None:
        self.calls, self._at, self._fail, self._for_good = 0, at, fail, for_good

    def disarm(self) -> None:
        self._fail = None


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> System:
    # four records in a segment, so that the last one here is full and the next still empty
    room = len(b'{"seq":10,' + line_of(10, SIZE)) + 20
    monkeypatch.setattr(_file_journal, "SEGMENT_BYTES", 4 * room - 20)
    monkeypatch.setattr(_file_journal, "RETRY_SECONDS", 0.0)
    return System(monkeypatch)


class Life:
    """
    What a program does with its journal, and how far it got.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.books = Books()
        self.returned = 0
        self.opened: set[str] = set()
        self.unsure: set[str] = set()
        self.journal: FileJournal

    def live(self) -> None:
        self.journal = FileJournal(self.root, SOURCE, owner={}, max_bytes=2**30, fsync=True)
        self.open("a")
        for number in range(1, RECORDS + 1):
            self.journal.append(line_of(number, SIZE), expendable=number % 3 > 0)
            self.returned = number
            if number == 6:
                self.open("b")
                self.take(2)
            if number == 10:
                self.close("a")
                self.journal.maintain()
        self.take(RECORDS)
        self.journal.maintain()

    def open(self, word: str) -> None:
        self.unsure.add(word)
        self.journal.opened(word)
        self.opened.add(word)
        self.unsure.discard(word)

    def close(self, word: str) -> None:
        self.unsure.add(word)
        self.opened.discard(word)
        self.journal.closed(word)
        self.unsure.discard(word)

    def take(self, records: int) -> None:
        try:
            while (chunk := self.journal.read(records, 10**6)) is not None:
                self.books.take(chunk)
                self.journal.acknowledge(chunk.last)
        except OSError:
            pass  # it is asked again later

    def die(self) -> None:
        """
        What the kernel does with a process that is no more.
        """
        for fd in map(int, os.listdir("/proc/self/fd")):
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/self/fd/{fd}").startswith(str(self.root)):
                    os.close(fd)

    def adopt(self) -> None:
        for journal in recover(self.root):
            self.books.take_all(journal)
            journal.close(delivered=True)

    def sessions_ended(self) -> list[str]:
        """
        What an adopter said has ended.
        """
        records = map(json.loads, self.books.stored.values())
        return [each["session"] for each in records if each.get("type") == "session_ended"]


def until_all_succeed(
    system: System, fail: Callable[[], BaseException], *, for_good: bool
) -> Iterator[int]:
    """
    Arms *system* for the first call, the second, and so on, until there was no call to fail.
    """
    for at in itertools.count(1):
        system.arm(at, fail, for_good=for_good)
        yield at
        system.disarm()
        if system.calls < at:
            assert at > 50  # so many calls were made to fail
            return


def test_killed_at_any_call(tmp_path: Path, system: System) -> None:
    """
    Wherever a program is killed, what it recorded is delivered once, and what it had open is told.
    """
    for at in until_all_succeed(system, Killed, for_good=True):
        life = Life(tmp_path / str(at))
        with contextlib.suppress(Killed):
            life.live()
        system.disarm()
        life.die()
        life.adopt()

        own = [seq for seq, line in life.books.stored.items() if b'"n":' in line]
        assert list(range(1, len(own) + 1)) == own
        assert life.returned <= len(own) <= life.returned + 1, at
        assert (0, {}) == (life.books.unexplained, life.books.lost), at
        ended = life.sessions_ended()
        assert len(set(ended)) == len(ended)
        assert life.opened <= set(ended) <= life.opened | life.unsure, at
        assert [] == journals(life.root)


def test_adopter_killed_at_any_call(tmp_path: Path, system: System) -> None:
    """
    Wherever an adopter is killed, the next one finishes: nothing is lost, nothing said twice.
    """
    for at in until_all_succeed(system, Killed, for_good=True):
        life = Life(tmp_path / str(at))
        system.disarm()
        life.live()
        life.open("c")
        for number in range(RECORDS + 1, RECORDS + 7):
            life.journal.append(line_of(number, SIZE))
        life.die()
        system.arm(at, Killed, for_good=True)
        with contextlib.suppress(Killed):
            life.adopt()
        system.disarm()
        life.die()
        life.adopt()

        assert life.books.are_complete(life.books.mark)
        assert (0, {}) == (life.books.unexplained, life.books.lost)
        assert RECORDS + 6 + 3 == life.books.mark, at
        assert ["b", "c"] == life.sessions_ended()
        assert [] == journals(life.root)


@pytest.mark.parametrize(
    ("number", "for_good"),
    [(errno.ENOSPC, False), (errno.EIO, True)],
    ids=["once", "from then on"],
)
def test_any_call_fails(tmp_path: Path, system: System, number: int, *, for_good: bool) -> None:
    """
    Whatever call fails, and whether the disk is well again at once or only later, nothing is raised
    and every number is accounted for; with the little there is to keep, nothing is even lost.
    """

    def fail() -> OSError:
        return OSError(number, os.strerror(number))

    for at in until_all_succeed(system, fail, for_good=for_good):
        life = Life(tmp_path / str(at))
        life.live()
        calls = system.calls
        system.disarm()
        life.journal.append(line_of(RECORDS + 1, SIZE))
        life.journal.maintain()
        life.books.take_all(life.journal)

        assert life.books.are_complete(RECORDS + 1), at
        assert (0, life.journal.dropped) == (life.books.unexplained, life.books.lost), at
        assert {} == life.journal.dropped, at
        life.journal.close()
        life.adopt()
        assert RECORDS + 1 <= life.books.mark
        assert [] == journals(life.root), at
        system.calls = calls


def test_interrupted_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Ctrl-C in the middle of recording costs at most the record whose call it interrupted, and what
    comes after is recorded as ever.
    """
    monkeypatch.setattr(_file_journal, "SEGMENT_BYTES", 200)
    for at in itertools.count(1):
        journal = FileJournal(tmp_path, f"{at:08x}{SOURCE[8:]}", owner={}, max_bytes=2**30)
        journal.append(line_of(1, SIZE))
        interrupted = interrupt(at, lambda: journal.append(line_of(2, SIZE)))  # noqa: B023
        journal.append(line_of(3, SIZE))
        books = Books()
        books.take_all(journal)

        kept = [json.loads(line)["n"] for line in books.stored.values()]
        assert kept in ([[1, 2, 3], [1, 3]] if interrupted else [[1, 2, 3]]), at
        assert books.are_complete(journal.last_seq), at
        journal.close()
        if not interrupted:
            assert at > 20
            return


def test_interrupted_while_others_wait(tmp_path: Path) -> None:
    """
    Whatever a signal handler raises into a call that records, and wherever: what handlers recorded
    meanwhile, in calls that returned, is kept.
    """
    for at in itertools.count(1):
        journal = FileJournal(tmp_path, f"{at:08x}{SOURCE[8:]}", owner={}, max_bytes=2**30)

        def records(*numbers: int, journal: FileJournal = journal) -> None:
            for number in numbers:
                journal.append(line_of(number, SIZE))

        interrupted = interrupt(at, lambda: records(1), meanwhile=lambda: records(2, 3))
        records(4)
        books = Books()
        books.take_all(journal)

        kept = {json.loads(line)["n"] for line in books.stored.values()}
        assert kept - {1} == {2, 3, 4}, at
        journal.close()
        if not interrupted:
            assert at > 10
            return


def test_interrupted_while_catching_up() -> None:
    """
    What is recorded later, for want of room on the stack, is recorded wherever Ctrl-C comes.
    """
    for at in itertools.count(1):
        journal = MemoryJournal(SOURCE)
        client = Client(Configuration(), journal=journal)
        client._late += [(TagsRecord(at=n, session=SOURCE, tags=()), False, False) for n in (1, 2)]
        interrupted = interrupt(at, client._catch_up)
        client._catch_up()
        books = Books()
        books.take_all(journal)

        assert {json.loads(line)["at"] for line in books.stored.values()} == {1, 2}, at
        if not interrupted:
            assert at > 10
            return


def interrupt(
    at: int, call: Callable[[], None], *, meanwhile: Callable[[], None] | None = None
) -> bool:
    """
    Raise KeyboardInterrupt within *call*, the at-th time that our code calls or returns: that is
    when Python looks for signals. Says whether it came to that. *meanwhile* is called as a handler
    is while a record is written, and the times are counted from there.
    """
    times = 0

    def profile(frame: FrameType, event: str, _: Any) -> None:
        nonlocal times, meanwhile
        if "/asyncops/" not in frame.f_code.co_filename:
            return
        if meanwhile is None:
            times += 1
            if times == at:
                raise KeyboardInterrupt
        elif frame.f_code.co_name == "_write":
            handle, meanwhile = meanwhile, None
            handle()

    sys.setprofile(profile)
    try:
        call()
    except KeyboardInterrupt:
        return True
    finally:
        sys.setprofile(None)
    return False
