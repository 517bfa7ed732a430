"""
Any file of a journal, cut anywhere or with any one byte changed: what is not damaged is delivered,
nothing is made up, and nothing is raised.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from books import Books, line_of

from asyncops import _file_journal
from asyncops._directory import journals, segment_names
from asyncops._events import SessionEndedRecord
from asyncops._file_journal import FileJournal
from asyncops._recovery import recover
from asyncops._wire import decode

SOURCE = "0198a0b0-0000-7000-8000-00000000000a"
ENDED, OPEN = "0198a0b0-0000-7000-8000-000000000001", "0198a0b0-0000-7000-8000-000000000002"

RECORDS, ACKNOWLEDGED, SIZE = 5, 1, 2


@pytest.fixture(scope="module")
def left_behind(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """
    The journal of a process that was killed: three segments, of which the first was delivered in
    part, one session ended and one open, and the last records of an adopter who was killed, too.
    """
    root = tmp_path_factory.mktemp("left")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_file_journal, "SEGMENT_BYTES", 80)
        journal = FileJournal(root, SOURCE, owner={"pid": 7}, max_bytes=2**30)
        journal.opened(ENDED)
        journal.opened(OPEN)
        for number in range(1, RECORDS + 1):
            journal.append(line_of(number, SIZE))
        journal.closed(ENDED)
        chunk = journal.read(ACKNOWLEDGED, 10**6)
        assert chunk is not None
        journal.acknowledge(ACKNOWLEDGED)
    journal.abandon()
    (journal.directory / "reserve").unlink()  # nobody reads it
    (journal.directory / ".final").write_bytes(b"half of the last reco")
    assert len(segment_names(journal.directory)) >= 3
    return root


def spans(data: bytes) -> dict[int, tuple[int, int]]:
    """
    Which bytes of a segment each record takes, by its number.
    """
    found = {}
    begin = 0
    while begin < len(data):
        end = data.index(b"}\n", begin) + 2
        found[int(data[begin:end].partition(b'"seq":')[2].partition(b",")[0])] = (begin, end)
        begin = end
    return found


class Case:
    """
    The journal in which one file holds something else than it did.
    """

    def __init__(self, left_behind: Path, copy: Path) -> None:
        self.files = {path.name: path.read_bytes() for path in (left_behind / SOURCE).iterdir()}
        self._root = copy

    def deliver(self, name: str, data: bytes) -> Books:
        directory = self._root / SOURCE
        directory.mkdir(parents=True)
        for each, content in self.files.items():
            (directory / each).write_bytes(data if each == name else content)
        books = Books()
        for journal in recover(self._root):
            books.take_all(journal)
            journal.close(delivered=True)
        assert [] == journals(self._root)
        return books

    def check(self, books: Books, name: str, harmed: set[int]) -> None:
        """
        Everything is there but what was *harmed*; what else there is was said by the adopter, of
        the one session that was open.
        """
        own = {seq: line for seq, line in books.stored.items() if b'"n":' in line}
        for seq, line in own.items():
            assert line == b'{"seq":%d,%b\n' % (seq, line_of(seq, SIZE)[1:])
        assert set(range(ACKNOWLEDGED + 1, RECORDS + 1)) - harmed <= set(own)
        said = [decode(line) for seq, line in books.stored.items() if seq not in own]
        ended = {record.session for record in said if isinstance(record, SessionEndedRecord)}
        # of what was open no more may be known; whose end is not known is not open for long: the
        # collector tells when the lease is over, and an end that was said outranks the adopter's
        assert ended <= {OPEN, ENDED} if name == "open" else ended == {OPEN}


@pytest.fixture
def case(left_behind: Path, tmp_path: Path) -> Case:
    return Case(left_behind, tmp_path / "copy")


def test_nothing_damaged(case: Case) -> None:
    """
    The half-written last records of an adopter that was killed are no hindrance to the next.
    """
    books = case.deliver("", b"")

    assert list(range(ACKNOWLEDGED + 1, RECORDS + 3)) == sorted(books.stored)
    case.check(books, "", set())


def test_any_changed_byte(case: Case) -> None:
    """
    Any one byte changed, in whatever file, costs at most the record it is in.
    """
    for name, data in case.files.items():
        for at in range(len(data)):
            changed = bytearray(data)
            changed[at] ^= 1 << at % 8
            harmed = spans(data).items() if name.endswith(".seg") else ()
            case.check(
                case.deliver(name, bytes(changed)),
                name,
                {seq for seq, (begin, end) in harmed if begin <= at < end},
            )


def test_any_cut(case: Case) -> None:
    """
    Whatever file is cut wherever, what lies before the cut and in all other files is delivered.
    """
    for name, data in case.files.items():
        for length in range(len(data)):
            harmed = spans(data).items() if name.endswith(".seg") else ()
            case.check(
                case.deliver(name, data[:length]),
                name,
                {seq for seq, (_, end) in harmed if length < end},
            )
