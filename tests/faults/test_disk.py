"""
The journal's disk fails, and the program does not notice: what can be kept is kept, and what cannot
is counted, with the reason, where people look.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
from disks import Disk, disk
from processes import Collector, Program, collector, own_port, program, until

STEP = 300
"""How many events are recorded before, while and after something is wrong."""

PROGRAM = f"""
import asyncops, os, resource, sys
def step(n):
    for number in range(n * {STEP}, (n + 1) * {STEP}):
        asyncops.record(asyncops.ActionEvent(name=str(number), params="x" * 200))
    print("done", flush=True)
    sys.stdin.readline()
BEFORE
with asyncops.session() as session:
    print(session.id, flush=True)
    for n in range(3):
        step(n)
        WRONG
"""


@attrs.frozen(kw_only=True)
class Fault:
    """
    Something that is wrong with the disk.

    Attributes:
        promise: What is kept all the same.
        before: What is done before the program starts.
        wrong: What is done once the first events are recorded.
        right: What is done once more were recorded while it was wrong.
        served: Whether a collector is there all the time; else it comes when all is over.
        killed: Whether the program is killed in the end.
        lost: The reasons for which records may be missing; none if all must be there.
        told: How many warnings the program prints.
        early, within: Statements of the program: before its session, and after each step.
        options: Its options.
    """

    promise: str
    before: Callable[[Disk], object] = lambda disk: None
    wrong: Callable[[Disk], object] = lambda disk: None
    right: Callable[[Disk], object] = lambda disk: None
    served: bool = False
    killed: bool = False
    lost: frozenset[str] = frozenset()
    told: int = 1
    early: str = "pass"
    within: str = "pass"
    options: dict[str, str] = attrs.field(factory=dict)


def remove(disk: Disk) -> None:
    # at once: the program may be making it anew while it is taken away file by file
    gone = disk.path / "gone"
    (disk.path / "journal").rename(gone)
    shutil.rmtree(gone)


def made_anew(disk: Disk) -> None:
    until(lambda: list((disk.path / "journal").glob("*/*/*.seg")))


def flip(disk: Disk) -> None:
    """
    Damage a record of the middle.
    """
    (segment,) = (disk.path / "journal").glob("*/*/*.seg")
    # that byte alone: the program may be writing at the end
    with segment.open("r+b") as file:
        file.seek(file.read().index(b'"name":"150"'))
        file.write(bytes([ord('"') ^ 0x20]))


def zero(disk: Disk) -> None:
    """
    Damage a whole page, as a disk does that lost power.
    """
    (segment,) = (disk.path / "journal").glob("*/*/*.seg")
    with segment.open("r+b") as file:
        file.seek(40_960)
        file.write(bytes(4_096))


def cut(disk: Disk) -> None:
    (segment,) = (disk.path / "journal").glob("*/*/*.seg")
    os.truncate(segment, 10_000)


NO_DESCRIPTORS = """
resource.setrlimit(resource.RLIMIT_NOFILE, (200, 4096))
files = []
try:
    while True:
        files.append(os.dup(0))
except OSError:
    pass
"""

FAULTS = {
    "full from the start, then not": Fault(
        promise="what memory held goes to the disk once there is room",
        before=Disk.fill, right=Disk.empty,
    ),
    "full in the middle, to the end": Fault(
        promise="the ending is kept, and what is not is counted",
        wrong=Disk.fill, lost=frozenset({"disk_full"}),
    ),
    "full in the middle, with a collector": Fault(
        promise="a collector gets everything although the disk takes nothing",
        wrong=Disk.fill, served=True,
    ),
    "full, then killed": Fault(
        promise="what died in memory is counted",
        wrong=Disk.fill, killed=True, lost=frozenset({"process_died"}),
    ),
    "read-only from the start, then not": Fault(
        promise="a disk that becomes writable is used",
        before=lambda disk: disk.remount("ro"), right=lambda disk: disk.remount("rw"),
    ),
    "read-only, with a collector": Fault(
        promise="a collector gets everything although nothing can be written",
        before=lambda disk: disk.remount("ro"), served=True,
    ),
    "no directory can be made": Fault(
        promise="memory serves, and a collector gets everything",
        before=lambda disk: (disk.path / "journal").touch(), served=True,
    ),
    "the directory is removed, then the program is killed": Fault(
        promise="the journal is made anew, with what was in it",
        wrong=remove, right=made_anew, killed=True, told=0,
        options={"ASYNCOPS_MAX_WAIT_TIME": "0.1"},
    ),
    "a limit on the size of files": Fault(
        promise="a quota is met as a full disk is",
        within="resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, -1) if n == 0 else (-1, -1))",
    ),
    "no descriptors left": Fault(
        promise="the journal begins once the program has closed some of its files",
        told=2,
        early=NO_DESCRIPTORS,
        within="while files: os.close(files.pop())",
    ),
    "a flipped bit": Fault(
        promise="one record is missing, and that is said",
        right=flip, killed=True, told=0, lost=frozenset({"unreadable"}),
    ),
    "a page of zeros": Fault(
        promise="some records are missing, and that is said",
        right=zero, killed=True, told=0, lost=frozenset({"unreadable"}),
    ),
}  # fmt: skip


def finish(running: Program, fault: Fault, disk: Disk) -> str:
    session_id = running.line()
    assert running.process.stdin is not None
    for act in (fault.wrong, fault.right, None):
        assert "done" == running.line()
        if act is not None:
            act(disk)
        elif fault.killed:
            running.process.send_signal(signal.SIGKILL)
            break
        running.process.stdin.write("\n")
        running.process.stdin.flush()
    status, _, err = running.wait()
    assert (-signal.SIGKILL if fault.killed else 0) == status, err
    # a machine may be so slow that nobody has taken anything for long enough to say so
    about_the_disk = [line for line in err.splitlines() if "no collector takes" not in line]
    assert fault.told == "".join(about_the_disk).count("asyncops"), err
    return session_id


def whole(serving: Collector, session_id: str) -> dict[str, Any]:
    """
    The session once nothing is left to come.
    """
    root = Path(os.environ["ASYNCOPS_JOURNAL_DIR"])
    session = serving.ended(session_id)
    until(lambda: not list(root.glob("*/*/lock")))
    return serving.session(session["id"])


@pytest.mark.parametrize("name", FAULTS)
def test_the_disk(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Whatever happens to the disk, the program runs as ever, and everything it recorded is stored or
    counted as missing, with the reason.
    """
    fault = FAULTS[name]
    # what only memory has is given to a collector that is slow this once, too
    options = {"ASYNCOPS_SHUTDOWN_TIMEOUT": "60", **fault.options}
    source = PROGRAM.replace("BEFORE", fault.early).replace("WRONG", fault.within)
    with disk(tmp_path / "disk", size="1m") as bad:
        journal_dir = bad.path / "journal"
        monkeypatch.setenv("ASYNCOPS_JOURNAL_DIR", str(journal_dir))
        fault.before(bad)
        if fault.served:
            with collector() as serving:
                told = {"ASYNCOPS_ENDPOINT": serving.url, **options}
                with program(source, tmp_path, **told) as running:
                    session_id = finish(running, fault, bad)
                session = whole(serving, session_id)
                events = serving.events(session_id)
        else:
            with own_port() as port:
                told = {"ASYNCOPS_ENDPOINT": f"http://127.0.0.1:{port}", **options}
                with program(source, tmp_path, **told) as running:
                    session_id = finish(running, fault, bad)
                with collector(port) as serving:
                    session = whole(serving, session_id)
                    events = serving.events(session_id)

    names = [event["name"] for event in events]
    assert len(names) == len(set(names)) == session["events"]
    assert set(session["missing_by_reason"]) == set(fault.lost)
    # an ending that memory held dies with the process; nothing else is missing but events
    assert 3 * STEP == len(names) + session["missing_records"]
    wanted = ("Indeterminate", "process died") if fault.killed else ("Success", None)
    assert wanted == (session["state"], session["reason"])


def test_a_cut_journal(tmp_path: Path) -> None:
    """
    Of a segment that was cut off the beginning is stored, and the session has its ending.
    """
    source = PROGRAM.replace("BEFORE", "pass").replace("WRONG", "pass")
    with own_port() as port:
        with program(source, tmp_path, ASYNCOPS_ENDPOINT=f"http://127.0.0.1:{port}") as running:
            session_id = running.line()
            assert "done" == running.line()
            running.process.kill()
            running.process.wait()
        cut(Disk(tmp_path))
        with collector(port) as serving:
            session = whole(serving, session_id)
            events = serving.events(session_id)

    assert ("Indeterminate", "process died") == (session["state"], session["reason"])
    assert [str(n) for n in range(len(events))] == [event["name"] for event in events]
    assert 10 < len(events) < STEP


def test_the_limit(tmp_path: Path) -> None:
    """
    With no collector the journals stay below their limit, and what was dropped for that is counted
    exactly.
    """
    source = """
    import asyncops, contextlib, sys
    from pathlib import Path
    with asyncops.session() as session:
        print(session.id, flush=True)
        for number in range(20_000):
            asyncops.record(asyncops.ActionEvent(name=str(number), params="x" * 100))
            if number % 100 == 0:
                root = Path(sys.argv[0]).parent / "journal"
                taken = 0
                for each in root.rglob("*"):
                    with contextlib.suppress(FileNotFoundError):  # it was made smaller meanwhile
                        taken += each.stat().st_size if each.is_file() else 0
                assert taken <= 1_048_576, taken
    """
    with own_port() as port:
        endpoint = f"http://127.0.0.1:{port}"
        with program(
            source, tmp_path, ASYNCOPS_ENDPOINT=endpoint, ASYNCOPS_JOURNAL_MAX_BYTES="1048576"
        ) as running:
            session_id = running.line()
            status, _, err = running.wait()
        assert 0 == status, err
        assert 1 == err.count("journal_max_bytes")
        with collector(port) as serving:
            session = whole(serving, session_id)

    assert ["journal_max_bytes"] == list(session["missing_by_reason"])
    assert 20_000 == session["events"] + session["missing_records"]
    assert 1_000 < session["events"] < 10_000
    assert "Success" == session["state"]
