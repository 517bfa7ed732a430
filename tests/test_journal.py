"""
What was appended is read back, whatever happened to the files in between.
"""

from __future__ import annotations

import errno
import fcntl
import gc
import json
import os
import resource
import shutil
import signal
import stat
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asyncops import _file_journal, _journal
from asyncops._adoption import adopt
from asyncops._directory import (
    owner_of,
    read_marks,
    remove_directory,
    segment_name,
    segment_names,
    take_lock,
)
from asyncops._file_journal import FileJournal
from asyncops._frames import EXPENDABLE, FRAMES_AT_ONCE, WINDOW_BYTES, Reader, compact, frame
from asyncops._journal import Journal, MemoryJournal

SOURCE = "0198a0b0-0000-7000-8000-00000000000a"


def journal_in(root: Path, **options: Any) -> FileJournal:
    options = {"owner": {"pid": 1}, "max_bytes": 2**30, **options}
    return FileJournal(root, SOURCE, **options)


def line(n: int, size: int = 10) -> bytes:
    return b'{"n":%d,"x":"%b"}' % (n, b"x" * size)


def numbers(journal: Any, *, records: int = 1_000, size: int = 10**6) -> list[int]:
    """
    The numbers of all that is left to read.
    """
    found: list[int] = []
    while (chunk := journal.read(records, size)) is not None:
        assert [json.loads(each)["seq"] for each in chunk.lines] == chunk.numbers
        found += chunk.numbers
    return found


@pytest.fixture(params=["file", "memory"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> Journal:
    if request.param == "memory":
        return MemoryJournal(SOURCE)
    return journal_in(tmp_path / "root")


def test_read_what_was_appended(journal: Journal) -> None:
    """
    Lines come back numbered and in order, in chunks no larger than asked for.
    """
    for n in range(10):
        journal.append(line(n))
    first = journal.read(4, 10**6)
    small = journal.read(100, 60)

    assert first is not None
    assert small is not None
    assert [1, 2, 3, 4] == first.numbers
    assert b'{"seq":1,"n":0,"x":"xxxxxxxxxx"}\n' == first.lines[0]
    assert [5] == small.numbers
    assert [6, 7, 8, 9, 10] == numbers(journal)
    assert journal.read(10, 10) is None


def test_read_goes_on_where_it_was(journal: Journal) -> None:
    """
    What is appended after everything was read is read next.
    """
    journal.append(line(1))
    assert [1] == numbers(journal)
    journal.append(line(2))

    assert 1 == journal.unread
    assert [2] == numbers(journal)
    assert 0 == journal.unread


def test_backlog(journal: Journal) -> None:
    """
    The backlog is what is not acknowledged.
    """
    for n in range(5):
        journal.append(line(n))
    numbers(journal)
    journal.acknowledge(3)

    assert 2 == journal.backlog
    assert 5 == journal.last_seq


def test_wakes_once_when_asked(journal: Journal) -> None:
    """
    Whoever waits for so many records is woken with the last of them, once, and not before it asks.
    """
    woken: list[int] = []
    journal._wake = lambda: woken.append(journal.last_seq)  # type: ignore[attr-defined]
    journal.append(line(1))
    journal.wake_when(4)
    for n in range(2, 8):
        journal.append(line(n))
    assert [4] == woken

    journal.wake_when(1)  # as many wait already
    journal.append(line(8))
    assert [4, 8] == woken
    assert list(range(1, 9)) == numbers(journal)
    journal.wake_when(1)
    journal.append(line(9))
    assert [4, 8, 9] == woken


def test_append_after_seal(journal: Journal) -> None:
    """
    After the end nothing is written, and nothing is raised.
    """
    journal.append(line(1))
    journal.seal()
    journal.append(line(2))
    journal.opened("x")
    journal.closed("x")

    assert 1 == journal.last_seq


def test_append_from_threads(journal: Journal) -> None:
    """
    Eight threads at once get a number each, and all is there.
    """

    def write() -> None:
        for n in range(200):
            journal.append(line(n))

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert list(range(1, 1_601)) == numbers(journal)


def test_append_from_a_signal_handler(journal: Journal) -> None:
    """
    A signal handler that records while its thread is recording neither hangs nor loses anything,
    and every number is in its place.
    """
    signals = 0

    def handler(*_: Any) -> None:
        nonlocal signals
        signals += 1
        journal.append(line(0))

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        for n in range(20_000):
            journal.append(line(n))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

    assert list(range(1, journal.last_seq + 1)) == numbers(journal)
    assert 20_000 + signals == journal.last_seq
    assert signals > 0


def test_append_from_a_finalizer(journal: Journal) -> None:
    """
    A finalizer that records while the journal's lock is held does not hang.
    """

    class Loud:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            journal.append(line(0))

    Loud()
    with journal._lock:  # type: ignore[attr-defined]
        gc.collect()

    assert [1] == numbers(journal)


def test_segments_roll_and_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Full segments are followed by new ones, and deleted once all in them is acknowledged.
    """
    monkeypatch.setattr(_file_journal, "SEGMENT_BYTES", 500)
    journal = journal_in(tmp_path)
    for n in range(100):
        journal.append(line(n, 40))
    before = segment_names(journal.directory)

    assert list(range(1, 101)) == numbers(journal, records=7)
    assert len(before) > 10
    journal.acknowledge(50)
    after = segment_names(journal.directory)
    assert int(after[0].removesuffix(".seg")) <= 51 < int(after[1].removesuffix(".seg"))
    assert 50 == read_marks(journal.directory)[0]


def test_all_delivered_leaves_nothing(tmp_path: Path) -> None:
    """
    A journal that was delivered whole leaves no file behind.
    """
    journal = journal_in(tmp_path)
    journal.append(line(1))
    numbers(journal)
    journal.acknowledge(1)
    journal.close()

    assert [] == list(tmp_path.iterdir())


def test_for_this_user_alone(tmp_path: Path) -> None:
    """
    Nobody else can read a journal, whatever the umask.
    """
    before = os.umask(0)
    try:
        journal = journal_in(tmp_path / "new" / "root")
    finally:
        os.umask(before)

    for path in (tmp_path / "new", tmp_path / "new" / "root", journal.directory):
        assert 0o700 == stat.S_IMODE(path.stat().st_mode)
    for path in journal.directory.iterdir():
        assert 0o600 == stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    journal = journal_in(tmp_path_factory.mktemp("written"))
    for n in range(6):
        journal.append(line(n, n * 7))
    return (journal.directory / segment_name(1)).read_bytes()


def read_bytes(directory: Path, data: bytes) -> list[int]:
    (directory / segment_name(1)).write_bytes(data)
    reader = Reader(directory, after=0)
    try:
        return numbers(reader)
    finally:
        reader.close()


def test_torn_anywhere(tmp_path: Path, written: bytes) -> None:
    """
    Cut at any byte, the whole frames before the cut are read and nothing else.
    """
    ends = [i for i in range(1, len(written) + 1) if written[:i].endswith(b'"}\n')]
    for cut in range(len(written)):
        whole = sum(end <= cut for end in ends)
        assert list(range(1, whole + 1)) == read_bytes(tmp_path, written[:cut])


def test_any_flipped_byte(tmp_path: Path, written: bytes) -> None:
    """
    Any one byte changed costs the one record it is in.
    """
    for at in range(len(written)):
        data = bytearray(written)
        data[at] ^= 0x41
        found = read_bytes(tmp_path, bytes(data))
        assert len(found) == 5, at
        assert set(found) < set(range(1, 7))


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=200,
)
@given(st.lists(st.binary(max_size=60) | st.integers(0, 5), max_size=8))
def test_rubbish_between_frames(
    tmp_path_factory: pytest.TempPathFactory, written: bytes, parts: list[bytes | int]
) -> None:
    """
    Frames are found among any rubbish, each at most once and in order.
    """
    frames = [part + b'"}\n' for part in written.split(b'"}\n')[:-1]]
    data = b"".join(frames[part] if isinstance(part, int) else part for part in parts)
    found = read_bytes(tmp_path_factory.mktemp("rubbish"), data)

    assert found == sorted(set(found))
    wanted: list[int] = []
    for part in parts:
        if isinstance(part, int) and part + 1 > max(wanted, default=0):
            wanted.append(part + 1)
    assert set(wanted) <= set(found)


@pytest.mark.parametrize("rubbish", [0, 1, 100, WINDOW_BYTES - 30, WINDOW_BYTES, 2**20, 5 * 2**20])
def test_longer_than_what_is_read_at_once(tmp_path: Path, rubbish: int) -> None:
    """
    Frames and rubbish may be longer than what is read of a segment at once, and lie across its end.
    """
    sizes = [10, WINDOW_BYTES - 70, WINDOW_BYTES, 10, 3 * WINDOW_BYTES, 2**21 - 50, 10, 10]
    frames = [
        frame(b'{"seq":%d,"x":"%b"}\n' % (seq, b"x" * size), seq, 0)
        for seq, size in enumerate(sizes, 1)
    ]
    every = list(range(1, len(sizes) + 1))

    assert every == read_bytes(tmp_path, bytes(rubbish).join(frames))
    torn = frames[4][:-1] + bytes(rubbish)
    found = read_bytes(tmp_path, b"".join([*frames[:4], torn, *frames[5:]]))
    assert [seq for seq in every if seq != 5] == found


def test_gives_way(tmp_path: Path) -> None:
    """
    Who reads a long segment, or makes it smaller, rests again and again, so that other threads get
    the interpreter.
    """

    def rests(work: Callable[[], object]) -> int:
        # not the kernel's count of voluntary switches: who is preempted on the way to sleep for so
        # short a time has slept without one
        found = 0

        def called(_: FrameType, event: str, function: object) -> None:
            nonlocal found
            found += event == "c_call" and function is time.sleep

        sys.setprofile(called)
        try:
            work()
        finally:
            sys.setprofile(None)
        return found

    data = b"".join(
        frame(b'{"seq":%d,"at":1,"x":"%b"}\n' % (seq, b"x" * 500), seq, EXPENDABLE)
        for seq in range(1, 4_001)
    )
    segment = tmp_path / segment_name(1)

    assert rests(lambda: read_bytes(tmp_path, data)) >= len(data) // WINDOW_BYTES
    assert rests(lambda: compact(segment, settled=0, kept=0, reason="x")) >= 4_000 // FRAMES_AT_ONCE


def test_record_larger_than_asked_for(tmp_path: Path) -> None:
    """
    A record larger than the limit of a chunk is read alone.
    """
    journal = journal_in(tmp_path)
    for size in (10, 900_000, 10):
        journal.append(line(1, size))

    assert [1, 2, 3] == numbers(journal, size=1_000)


def test_reader_and_writer_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Reading while another thread writes and rolls misses nothing and repeats nothing.
    """
    monkeypatch.setattr(_file_journal, "SEGMENT_BYTES", 20_000)
    journal = journal_in(tmp_path)
    count = 5_000

    def write() -> None:
        for n in range(count):
            journal.append(line(n, n % 500))

    thread = threading.Thread(target=write)
    thread.start()
    found: list[int] = []
    while len(found) < count:
        found += numbers(journal, records=50)
        if found:
            journal.acknowledge(found[-1])
    thread.join()

    assert list(range(1, count + 1)) == found


class FullDisk:
    """
    Lets `os.write` fail as a full disk does, from the first byte or in the middle of a frame.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full = False
        self.short = False
        self._write = os.write
        monkeypatch.setattr(os, "write", self.write)

    def write(self, fd: int, data: bytes) -> int:
        if self.short:
            self.short, self.full = False, True
            return self._write(fd, data[: len(data) // 2])
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._write(fd, data)


def test_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """
    A disk that fills up in the middle of a frame costs nothing while memory lasts; once there is
    room again the records are on disk, in order.
    """
    journal = journal_in(tmp_path)
    disk = FullDisk(monkeypatch)
    journal.append(line(1))
    disk.short = True
    for n in range(2, 5):
        journal.append(line(n), expendable=True)

    (told,) = caplog.messages
    assert os.strerror(errno.ENOSPC) in told
    disk.full = False
    journal._look_at = 0.0
    journal.append(line(5))
    reader = Reader(journal.directory, after=0)
    assert [1, 2, 3, 4, 5] == numbers(reader)
    assert [1, 2, 3, 4, 5] == numbers(journal)


def test_full_disk_keeps_no_half_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Of a record that does not fit nothing stays on the disk: the room is for those that do.
    """
    journal = journal_in(tmp_path)
    disk = FullDisk(monkeypatch)
    journal.append(line(1))
    segment = journal.directory / segment_name(1)
    before = segment.stat().st_size
    disk.short = True
    journal.append(line(2), expendable=True)

    assert disk.full
    assert before == segment.stat().st_size


def test_full_disk_after_an_interrupt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A Ctrl-C between a write and its counting does not make a full disk cost the record written.
    """
    journal = journal_in(tmp_path)
    disk = FullDisk(monkeypatch)
    journal.append(line(1))
    journal.append(line(2))
    journal._size -= 20  # as if the second had not been counted
    disk.short = True
    journal.append(line(3))

    assert [1, 2] == numbers(Reader(journal.directory, after=0))


def test_full_disk_read_from_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    What the disk did not take is delivered from memory.
    """
    journal = journal_in(tmp_path)
    disk = FullDisk(monkeypatch)
    journal.append(line(1))
    disk.full = True
    journal.append(line(2), expendable=True)

    assert [1, 2] == numbers(journal)
    journal.acknowledge(2)
    assert 0 == journal.backlog


def test_reserve_makes_room_for_an_ending(tmp_path: Path) -> None:
    """
    On a full disk the reserve is given up for a record that must not be lost, and for no other.
    """
    journal = journal_in(tmp_path)
    reserve = journal.directory / "reserve"
    real, journal._fd = journal._fd, os.open("/dev/full", os.O_WRONLY)
    journal.append(line(1), expendable=True)
    assert reserve.exists()
    os.close(journal._fd)
    journal._fd, journal._look_at = real, 0.0

    writes: Callable[[bytes, int, int], None] = journal._write

    def full_until_given_up(data: bytes, seq: int, flags: int) -> None:
        if reserve.exists():
            raise OSError(errno.ENOSPC, "full")
        writes(data, seq, flags)

    journal._ring.forget(1)
    journal._write = full_until_given_up  # type: ignore[method-assign]
    journal.append(line(2))

    assert not reserve.exists()
    assert [2] == numbers(Reader(journal.directory, after=0))


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    In memory the oldest events go first, counted, and what says how a session went stays.
    """
    monkeypatch.setattr(_journal, "MEMORY_BYTES", 10_000)
    journal = MemoryJournal(SOURCE)
    journal.append(line(0))
    for n in range(500):
        journal.append(line(n, 100), expendable=True)
    found = numbers(journal)

    assert 1 == found[0]
    assert 501 == found[-1]
    assert {"memory_full": 501 - len(found) + 1} == journal.dropped  # one number tells of them
    assert 30 < len(found) < 110


def lost(journal: Any) -> tuple[list[int], dict[str, int]]:
    """
    The numbers of the records that are left, and how many were dropped, by reason.
    """
    found: list[int] = []
    gone: dict[str, int] = {}
    while (chunk := journal.read(1_000, 10**6)) is not None:
        for text, seq in zip(chunk.lines, chunk.numbers, strict=True):
            told = json.loads(text)
            assert seq == told["seq"]
            if told.get("type") == "lost":
                # it speaks of the numbers right before it, and of none that is there
                assert not found or found[-1] <= seq - told["count"]
                gone[told["reason"]] = gone.get(told["reason"], 0) + told["count"]
            else:
                found.append(seq)
    return found, gone


def bytes_in(root: Path) -> int:
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file())


def test_disk_is_bounded(tmp_path: Path) -> None:
    """
    Over the limit the oldest events go, counted exactly in their place; other records stay.
    """
    journal = journal_in(tmp_path, max_bytes=200_000)
    for n in range(1, 5_001):
        journal.append(line(n, 50), expendable=n % 100 != 0)
        assert bytes_in(tmp_path) <= 200_000
    found, gone = lost(Reader(journal.directory, after=0))

    assert set(range(100, 5_001, 100)) <= set(found)
    assert gone == journal.dropped == {"journal_max_bytes": 5_000 - len(found)}
    assert found[-500:] == list(range(4_501, 5_001))


@pytest.mark.parametrize("maintained", [False, True])
def test_a_slow_reader_does_not_lift_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, maintained: bool
) -> None:
    """
    While somebody reads it is left to them to look after the limit; but once there is no room left
    for that, who records waits for them.
    """
    begun = threading.Event()

    def slowly(reader: Reader, max_records: int, max_bytes: int) -> None:
        begun.set()
        while bytes_in(tmp_path) < 230_000:
            time.sleep(0.001)
        time.sleep(0.1)

    # a machine that is busy may let the reader rest for longer than it would
    monkeypatch.setattr(_file_journal, "PATIENCE_SECONDS", 60.0)
    journal = journal_in(tmp_path, max_bytes=300_000)
    for n in range(1, 5_001):
        journal.append(line(n, 50), expendable=True)
    if maintained:
        journal.maintain()
    monkeypatch.setattr(Reader, "read", slowly)
    reading = threading.Thread(target=journal.read, args=(1, 1))
    reading.start()
    assert begun.wait(10)
    for n in range(5_001, 10_001):
        journal.append(line(n, 50), expendable=True)
        assert n % 20 or bytes_in(tmp_path) <= 300_000
    reading.join(10)

    assert journal.dropped["journal_max_bytes"] > 5_000


def test_what_is_on_its_way_is_not_dropped(tmp_path: Path) -> None:
    """
    Records that were read but not acknowledged when the limit was reached count as delivered or as
    dropped, never as both.
    """
    journal = journal_in(tmp_path, max_bytes=200_000)
    for n in range(1, 301):
        journal.append(line(n, 50), expendable=True)
    chunk = journal.read(200, 10**6)
    for n in range(301, 5_001):
        journal.append(line(n, 50), expendable=True)
    left, gone = lost(journal)

    assert chunk is not None
    assert 200 == chunk.last
    assert gone == journal.dropped == {"journal_max_bytes": 5_000 - 200 - len(left)}


def test_the_dead_give_way_first(tmp_path: Path) -> None:
    """
    The limit is that of all journals together: the oldest events go, whoever recorded them.
    """
    older = FileJournal(tmp_path, older_source := SOURCE.replace("0198", "0197"), owner={},
                        max_bytes=200_000)  # fmt: skip
    older.append(line(1))
    for n in range(2, 501):
        older.append(line(n, 50), expendable=True)
    older.append(line(501))
    dead(older)
    journal = journal_in(tmp_path, max_bytes=200_000)
    for n in range(1, 301):
        journal.append(line(n, 50), expendable=True)
    journal.maintain()

    assert {} == journal.dropped
    assert ([1, 501], {"journal_max_bytes": 499}) == lost(Reader(tmp_path / older_source, after=0))


def test_a_live_journal_is_not_made_smaller(tmp_path: Path) -> None:
    """
    What another process is writing to is that process's to keep within the limit.
    """
    other = FileJournal(tmp_path, SOURCE.replace("0198", "0197"), owner={}, max_bytes=10**9)
    for n in range(1, 2_001):
        other.append(line(n, 50), expendable=True)
    journal = journal_in(tmp_path, max_bytes=100_000)
    for n in range(1, 501):
        journal.append(line(n, 50), expendable=True)

    assert list(range(1, 2_001)) == numbers(other)


def test_directory_removed(tmp_path: Path) -> None:
    """
    A journal whose directory was removed under it is made anew with what was in its last segment.
    """
    made: list[Path] = []
    journal = journal_in(tmp_path / "root", made=made.append)
    journal.opened("a")
    for n in range(1, 11):
        journal.append(line(n))
    shutil.rmtree(tmp_path / "root")
    for n in range(11, 21):
        journal.append(line(n))
    journal._look_at = 0.0
    journal.maintain()
    journal.append(line(21))

    assert [journal.directory] * 2 == made
    assert list(range(1, 22)) == numbers(Reader(journal.directory, after=0))
    assert list(range(1, 22)) == numbers(journal)
    journal.acknowledge(21)
    dead(journal)
    (adopted,) = adopt(tmp_path / "root")
    assert ["a"] == adopted.open
    assert 21 == adopted.last_seq


def test_directory_removed_after_a_roll(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    What is lost with a removed directory is counted, and only that.
    """
    monkeypatch.setattr(_file_journal, "SEGMENT_BYTES", 500)
    journal = journal_in(tmp_path / "root")
    for n in range(1, 31):
        journal.append(line(n, 50))
    first = journal.read(3, 10**6)
    shutil.rmtree(tmp_path / "root")
    journal._look_at = 0.0
    journal.maintain()
    journal.append(line(31, 50))
    found, gone = lost(journal)

    assert first is not None
    assert gone == journal.dropped
    assert 10 < gone["journal_removed"] == 31 - len(first.numbers) - len(found)
    assert 31 == found[-1]


def test_segment_removed(tmp_path: Path) -> None:
    """
    A segment that was removed while it was written is written again.
    """
    journal = journal_in(tmp_path)
    for n in range(1, 6):
        journal.append(line(n))
    (journal.directory / segment_name(1)).unlink()
    journal._look_at = 0.0
    journal.maintain()
    journal.append(line(6))

    assert [1, 2, 3, 4, 5, 6] == numbers(Reader(journal.directory, after=0))
    assert {} == journal.dropped


def test_lock_removed(tmp_path: Path) -> None:
    """
    A journal whose lock file was removed gets another, so that it can be adopted one day.
    """
    journal = journal_in(tmp_path, owner={"pid": 7})
    journal.append(line(1))
    (journal.directory / "lock").unlink()
    journal._look_at = 0.0
    journal.maintain()
    journal.append(line(2))

    assert [] == list(adopt(tmp_path))
    dead(journal)
    (adopted,) = adopt(tmp_path)
    assert {"pid": 7} == adopted.owner
    assert [1, 2] == numbers(adopted)


def test_segment_cut_short(tmp_path: Path) -> None:
    """
    A segment that somebody truncates while it is written costs what was in it, and nothing after.
    """
    journal = journal_in(tmp_path)
    for n in range(1, 6):
        journal.append(line(n))
    assert [1, 2, 3, 4, 5] == numbers(journal)
    os.truncate(journal.directory / segment_name(1), 0)
    for n in range(6, 8):
        journal.append(line(n))

    assert [6, 7] == numbers(journal)


def test_files_closed_by_the_program(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """
    A program that closes our files loses no record made before, and we write to no file of its own.
    """
    journal = journal_in(tmp_path / "root")
    journal.append(line(1))
    numbers_of_ours = [journal._fd, journal._lock_fd, journal._open_fd]
    mine = os.open(tmp_path / "mine", os.O_RDWR | os.O_CREAT)
    for fd in numbers_of_ours:
        os.dup2(mine, fd)
    journal._look_at = 0.0
    journal.maintain()
    journal.append(line(2))
    journal.opened("a")
    journal.close()

    assert "closed the files" in caplog.text
    assert b"" == (tmp_path / "mine").read_bytes()
    for fd in numbers_of_ours:
        os.close(fd)
    (adopted,) = adopt(tmp_path / "root")
    assert [1] == numbers(adopted)


def test_ours_are_not_where_the_programs_are(tmp_path: Path) -> None:
    """
    A program that closes its own lower descriptors and opens files does not get ours.
    """
    journal = journal_in(tmp_path)

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    for fd in (journal._fd, journal._lock_fd, journal._open_fd):
        assert fd >= min(soft, 1024) * 7 // 8


def test_disk_comes_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """
    Where the directory cannot be made, memory serves until it can; that is said once.
    """
    (tmp_path / "root").touch()
    journal = journal_in(tmp_path / "root")
    journal.opened("a")
    for n in range(1, 4):
        journal.append(line(n), expendable=True)
        journal._look_at = 0.0
        journal.maintain()
    assert [1, 2] == journal.read(2, 10**6).numbers  # type: ignore[union-attr]
    (tmp_path / "root").unlink()
    journal._look_at = 0.0
    journal.maintain()
    journal.append(line(4))

    assert [3, 4] == numbers(journal)
    assert [1, 2, 3, 4] == numbers(Reader(journal.directory, after=0))
    assert 1 == len(caplog.messages)
    dead(journal)
    (adopted,) = adopt(tmp_path / "root")
    assert ["a"] == adopted.open


def test_what_died_in_memory_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Records that the full disk did not take die with the process, and their number is told.
    """
    journal = journal_in(tmp_path)
    journal.append(line(1))
    disk = FullDisk(monkeypatch)
    disk.full = True
    for n in range(2, 6):
        journal.append(line(n), expendable=True)
    disk.full = False
    dead(journal)
    (adopted,) = adopt(tmp_path)
    assert 4 == adopted.unwritten
    adopted.append_final([b'{"end":1}'])

    assert ([1, 6], {"process_died": 4}) == lost(adopted)


def test_what_died_in_memory_without_a_directory_is_counted(tmp_path: Path) -> None:
    """
    Of a process that died just after its directory could be made, what was still in memory is told.
    """
    (tmp_path / "root").write_text("no directory can be made here")
    journal = journal_in(tmp_path / "root")
    for n in range(3):
        journal.append(line(n))
    (tmp_path / "root").unlink()
    journal._make_directory(1)
    dead(journal)
    (adopted,) = adopt(tmp_path / "root")

    assert (0, 3) == (adopted.last_seq, adopted.unwritten)
    adopted.append_final([b'{"end":1}'])
    assert ([4], {"process_died": 3}) == lost(adopted)
    adopted.close(delivered=True)


def test_memory_is_bounded_while_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    On a full disk the oldest events go first, counted in their place by what the disk said.
    """
    monkeypatch.setattr(_file_journal, "MEMORY_BYTES", 20_000)
    journal = journal_in(tmp_path)
    disk = FullDisk(monkeypatch)
    journal.append(line(1))
    disk.full = True
    for n in range(2, 1_001):
        journal.append(line(n, 50), expendable=True)
        assert sum(len(record.line) for record in journal._ring.records) <= 20_000
    disk.full = False
    journal._look_at = 0.0
    journal.append(line(1_001))
    found, gone = lost(Reader(journal.directory, after=0))

    assert gone == journal.dropped == {"disk_full": 1_001 - len(found)}
    assert [1, *range(found[1], 1_002)] == found
    assert len(found) > 100


def test_an_ending_outlives_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    At the end of a process whose disk is full, the reserve keeps what was no event, and a count of
    the rest.
    """
    journal = journal_in(tmp_path)
    disk = FullDisk(monkeypatch)
    journal.append(line(1))
    disk.full = True
    for n in range(2, 101):
        journal.append(line(n, 50), expendable=True)
    journal._has_reserve = False  # as if it were needed before
    journal.append(line(101), final=True)
    journal._has_reserve = True
    give_up = journal._give_up_reserve

    def make_room() -> bool:
        disk.full = False
        return give_up()

    monkeypatch.setattr(journal, "_give_up_reserve", make_room)
    journal.close()
    (adopted,) = adopt(tmp_path)

    assert ([1, 101], {"disk_full": 99}) == lost(adopted)


def test_a_long_list_of_what_is_open_is_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A long life with many sessions does not fill the disk with their names.
    """
    monkeypatch.setattr(_file_journal, "OPEN_BYTES", 1_000)
    journal = journal_in(tmp_path)
    journal.append(line(1))
    journal.opened("first")
    for n in range(500):
        journal.opened(f"session {n}")
        if n != 250:
            journal.closed(f"session {n}")

    assert (journal.directory / "open").stat().st_size < 2_000
    dead(journal)
    (adopted,) = adopt(tmp_path)
    assert ["first", "session 250"] == adopted.open


def dead(journal: FileJournal) -> None:
    """
    What the kernel does when the process dies.
    """
    journal._close_files()


def test_adopt(tmp_path: Path) -> None:
    """
    The journal of a dead source is found, told of, read, and gone once delivered.
    """
    journal = journal_in(tmp_path, owner={"pid": 77})
    for n in range(5):
        journal.append(line(n))
    journal.opened("a")
    journal.opened("b")
    journal.closed("a")
    numbers(journal)
    journal.acknowledge(2)
    dead(journal)
    (adopted,) = adopt(tmp_path)

    assert {"pid": 77} == adopted.owner == owner_of(journal.directory)
    assert ["b"] == adopted.open
    assert (5, False) == (adopted.last_seq, adopted.finished)
    assert [3, 4, 5] == numbers(adopted)
    adopted.acknowledge(5)
    adopted.close(delivered=True)
    assert [] == list(tmp_path.iterdir())


def test_live_journal_is_not_adopted(tmp_path: Path) -> None:
    """
    A journal whose source lives is nobody else's, even if its pid is not.
    """
    journal = journal_in(tmp_path, owner={"pid": 2**22 + 1})
    journal.append(line(1))

    assert [] == list(adopt(tmp_path))
    assert journal.directory.exists()


def test_lock_of_a_journal_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Who opened a lock just before another delivered and removed the journal does not hold it.
    """
    journal = journal_in(tmp_path)
    journal.append(line(1))
    dead(journal)
    flock = fcntl.flock

    def too_late(fd: int, operation: int) -> None:
        remove_directory(journal.directory)
        flock(fd, operation)

    monkeypatch.setattr(fcntl, "flock", too_late)

    assert take_lock(journal.directory) is None


def test_adopted_is_not_adopted_again(tmp_path: Path) -> None:
    """
    While one delivers a journal no other does; when it lets go, the next can go on.
    """
    journal = journal_in(tmp_path)
    for n in range(4):
        journal.append(line(n))
    dead(journal)
    (first,) = adopt(tmp_path)

    assert [] == list(adopt(tmp_path))
    first.append_final([b'{"end":1}'])
    chunk = first.read(2, 10**6)
    assert chunk is not None
    first.acknowledge(2)
    first.close(delivered=False)
    (second,) = adopt(tmp_path)
    assert second.finished
    assert [3, 4, 5] == numbers(second)


def test_final_records_follow_the_last(tmp_path: Path) -> None:
    """
    What the adopter adds is numbered after what the source wrote, also where all of that is gone.
    """
    journal = journal_in(tmp_path)
    for n in range(3):
        journal.append(line(n))
    numbers(journal)
    journal.acknowledge(3)
    dead(journal)
    (adopted,) = adopt(tmp_path)
    adopted.append_final([b'{"a":1}', b'{"b":2}'])

    assert [4, 5] == numbers(adopted)


def test_finished_source(tmp_path: Path) -> None:
    """
    A source that wrote its last record needs no other.
    """
    journal = journal_in(tmp_path)
    journal.append(line(1))
    journal.append(line(2), final=True)
    dead(journal)
    (adopted,) = adopt(tmp_path)

    assert adopted.finished


def test_half_made_directory_is_left_alone_until_it_is_old(tmp_path: Path) -> None:
    """
    A directory that was never finished is removed after an hour, not before.
    """
    hidden = tmp_path / f".{SOURCE}"
    hidden.mkdir()
    (hidden / "lock").touch()
    assert [] == list(adopt(tmp_path))
    assert hidden.exists()

    os.utime(hidden, (0, 0))
    assert [] == list(adopt(tmp_path))
    assert not hidden.exists()


def test_foreign_things_in_the_directory(tmp_path: Path) -> None:
    """
    Files, links and directories that are no journals harm nobody and are not touched.
    """
    (tmp_path / "note.txt").write_text("mine")
    (tmp_path / "dir").mkdir()
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "lock").symlink_to(tmp_path / "note.txt")

    assert [] == list(adopt(tmp_path))
    assert "mine" == (tmp_path / "note.txt").read_text()


def test_no_directory(tmp_path: Path) -> None:
    """
    Where nothing was ever recorded there is nothing to adopt.
    """
    assert [] == list(adopt(tmp_path / "nowhere"))


def test_set_aside(tmp_path: Path) -> None:
    """
    A line no collector takes is kept apart, with the reason.
    """
    journal = journal_in(tmp_path)
    journal.set_aside(b'{"seq":1}', "too odd")

    told = json.loads((tmp_path / "set-aside.ndjson").read_text())
    assert {"source": SOURCE, "reason": "too odd", "line": '{"seq":1}'} == told
    assert 0o600 == stat.S_IMODE((tmp_path / "set-aside.ndjson").stat().st_mode)
