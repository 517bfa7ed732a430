"""
`asyncops doctor` tells what waits on this machine, and harms none of it.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from commands import Commands
from processes import Program, program, until

RECORDS = """
import asyncops, sys, time
with asyncops.session("nightly", tags=["eval"]) as session:
    for n in range(int(sys.stdin.readline())):
        asyncops.record(asyncops.ActionEvent(name=str(n)))
    print(session.id, flush=True)
    sys.stdin.readline()
"""


def journal_of(running: Program, events: int) -> Path:
    """
    The journal of a program that has recorded so many events.
    """
    assert running.process.stdin is not None
    running.process.stdin.write(f"{events}\n")
    running.process.stdin.flush()
    assert running.line()
    root = Path(os.environ["ASYNCOPS_JOURNAL_DIR"])
    found = [
        path.parent
        for path in root.glob("*/*/lock")
        # empty while it is being made, by another of the programs
        if (told := path.read_text()) and json.loads(told)["pid"] == running.process.pid
    ]
    assert 1 == len(found)
    # the host environment is told once, by the thread
    until(lambda: b'"packages"' in b"".join(p.read_bytes() for p in found[0].glob("*.seg")))
    return found[0]


def contents(root: Path) -> dict[str, str]:
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file()
    }


def doctor(asyncops: Commands, status: int) -> dict[str, Any]:
    done = asyncops.here("doctor", "--json")
    assert status == done.returncode, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    for journal in told["journals"]:
        assert journal["recorded"] == (
            journal["acknowledged"]
            + journal["waiting"]
            + sum(journal["lost"].values())
            + journal["unreadable"]
            + journal["in_memory"]
        )
    return told


def test_nothing_waits(asyncops: Commands) -> None:
    """
    On a machine where nothing waits, that is what it says.
    """
    done = asyncops("doctor")

    assert 0 == done.returncode
    assert "nothing waits" in done.stdout


def test_live_orphan_and_damaged(asyncops: Commands, tmp_path: Path) -> None:
    """
    It tells a live journal from an orphan and from a damaged one, and changes none of them.
    """
    root = Path(os.environ["ASYNCOPS_JOURNAL_DIR"])
    with (
        program(RECORDS, tmp_path) as live,
        program(RECORDS, tmp_path) as orphan,
        program(RECORDS, tmp_path) as damaged,
    ):
        lives, died, broke = (
            journal_of(running, events)
            for running, events in ((live, 10), (orphan, 20), (damaged, 30))
        )
        orphan.process.terminate()
        damaged.process.kill()
        for running in (orphan, damaged):
            running.process.wait()
        (segment,) = broke.glob("*.seg")
        data = bytearray(segment.read_bytes())
        middle = data.index(b'"name":"15"')
        data[middle] ^= 0xFF
        segment.write_bytes(data)
        before = contents(root)
        told = doctor(asyncops, 1)
        shown = asyncops.here("doctor").stdout
        assert before == contents(root)

        journals = {Path(each["directory"]): each for each in told["journals"]}
        assert "live" == journals[lives]["state"]
        assert live.process.pid == journals[lives]["owner"]["pid"]
        assert journals[lives]["waiting"] == journals[lives]["recorded"] == 13
        assert [] == journals[lives]["problems"]
        assert "orphan" == journals[died]["state"]
        assert "Cancelled: SIGTERM" == journals[died]["ending"]
        assert 23 == journals[died]["waiting"]
        assert 1 == len(journals[died]["open_sessions"])
        assert "Indeterminate: process died" == journals[broke]["ending"]
        assert (32, 1) == (journals[broke]["waiting"], journals[broke]["unreadable"])
        assert "1 record cannot be read" in journals[broke]["problems"][0]
        assert any("no collector answers" in problem for problem in told["problems"])
        for word in ("live", "orphan, damaged", "1 to become Cancelled: SIGTERM"):
            assert word in shown

        # and then everything that can be read is delivered
        assert live.process.stdin is not None
        live.process.stdin.write("\n")
        live.process.stdin.flush()
        live.wait()


def test_what_cannot_be_right(asyncops: Commands, tmp_path: Path) -> None:
    """
    It says what is wrong and what to do: a directory that cannot be written, refused records.
    """
    root = Path(os.environ["ASYNCOPS_JOURNAL_DIR"])
    aside = root / "0123456789abcdef" / "set-aside.ndjson"
    aside.parent.mkdir(parents=True)
    aside.write_text('{"line": "x"}\n')
    root.chmod(0o755)
    problems = " ".join(doctor(asyncops, 1)["problems"])

    assert "1 record refused by the collector" in problems
    assert "chmod 700" in problems


def test_a_journal_without_a_lock(asyncops: Commands, tmp_path: Path) -> None:
    """
    A journal nobody will ever deliver is named, with what to do.
    """
    with program(RECORDS, tmp_path) as running:
        journal = journal_of(running, 3)
        running.process.send_signal(signal.SIGKILL)
        running.process.wait()
    (journal / "lock").unlink()
    (told,) = doctor(asyncops, 1)["journals"]

    assert "unreadable" == told["state"]
    assert "no file named lock" in told["problems"][0]


@pytest.mark.parametrize("name", ["lock", "marks", "open"])
def test_rubbish_in_a_file(asyncops: Commands, tmp_path: Path, name: str) -> None:
    """
    Whatever a file of a journal holds, the others are told of.
    """
    with program(RECORDS, tmp_path) as running:
        journal = journal_of(running, 3)
        running.process.kill()
        running.process.wait()
    (journal / name).write_bytes(bytes(range(256)))
    (told,) = doctor(asyncops, 1)["journals"]

    assert ("orphan", 6) == (told["state"], told["waiting"])


def test_hostile_names(asyncops: Commands, tmp_path: Path) -> None:
    """
    What others wrote into a journal moves no cursor.
    """
    with program(RECORDS, tmp_path) as running:
        journal = journal_of(running, 1)
        running.process.kill()
        running.process.wait()
    (journal / "lock").write_text(json.dumps({"pid": 1, "program": "\x1b[2J/x\x1b]0;y\x07"}))
    done = asyncops.here("doctor")

    assert "\x1b" not in done.stdout + done.stderr
    assert "\\x1b[2J" in done.stdout or "\\x1b]0" in done.stdout
