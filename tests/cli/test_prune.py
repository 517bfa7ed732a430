"""
`asyncops delete`, `asyncops prune` and `asyncops serve --keep`: sessions go.
"""

from __future__ import annotations

import json
import time

from commands import Commands, wait_for

SOURCE = "00000000-0000-7000-8000-00000000a001"
DAY = 86_400_000_000_000


def session_lines(source: str, *days_ago: int) -> str:
    """
    What a program would send that ran a session on each of those days.
    """
    records: list[dict[str, object]] = [{"type": "source", "source": source}]
    for number, days in enumerate(days_ago, 1):
        session = f"00000000-0000-7000-8000-{days:012x}"
        at = time.time_ns() - days * DAY
        records += [
            {"type": "session", "at": at, "session": session, "name": f"number {number}"},
            {"type": "session_ended", "at": at, "session": session, "said_by": "user",
             "ended_at": at, "state": "Success"},
        ]  # fmt: skip
    return "".join(
        json.dumps({"seq": seq, "at": 1, **record}) + "\n" for seq, record in enumerate(records, 1)
    )


def test_old_sessions_go(asyncops: Commands) -> None:
    """
    `prune` says what it would delete, deletes it, and leaves the rest; a collector that is told how
    long to keep sessions does so by itself; an age that is none is refused.
    """
    done = asyncops.here("import", input=session_lines(SOURCE, 40, 35, 10, 1))
    assert done.returncode == 0, done.stderr
    dry = asyncops.here("prune", "--older-than", "30d", "--dry-run")
    assert dry.stdout == "2 sessions with 0 events would be deleted\n"
    done = asyncops("prune", "--older-than", "30d")
    assert done.stdout == "2 sessions with 0 events deleted\n"
    assert [found["name"] for found in asyncops.sessions()] == ["number 4", "number 3"]
    done = asyncops.here("prune", "--older-than", "soon")
    assert done.returncode == 2
    assert "as in 30d" in done.stderr

    environment = {**asyncops.environment, "ASYNCOPS_KEEP": "90d, default=1w"}
    with asyncops.started("serve", "--port", str(asyncops.port), env=environment):
        wait_for(asyncops.answers)
        wait_for(lambda: [found["name"] for found in asyncops.sessions()] == ["number 4"])


def test_sessions_go_when_somebody_is_sure(asyncops: Commands) -> None:
    """
    `delete` asks, and deletes nothing where nobody says yes; what is deleted is not imported again,
    and the import says so.
    """
    lines = session_lines(SOURCE, 3, 2, 1)
    assert asyncops.here("import", input=lines).returncode == 0
    first, second, third = (f"00000000-0000-7000-8000-{days:012x}" for days in (3, 2, 1))
    status, said = asyncops.on_a_terminal(80, "delete", first, typed="n\n")
    assert (status, len(asyncops.sessions())) == (2, 3)
    assert f"{first} number 1, 0 events" in said
    assert "Delete 1 session for good? [y/N]" in said
    status, said = asyncops.on_a_terminal(80, "delete", first, typed="yes\n")
    assert status == 0
    done = asyncops.here("delete", second)
    assert (done.returncode, "say --yes" in done.stderr) == (2, True)
    done = asyncops.here("delete", second, second, "nothing", "--yes")
    assert (done.returncode, "no session begins with" in done.stderr) == (2, True)
    assert [session["id"] for session in asyncops.sessions()] == [third, second]
    done = asyncops.here("delete", second, "--yes")
    assert done.stdout == f"deleted {second} number 2, 0 events\n"

    done = asyncops.here("import", input=lines)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"asyncops: not taken: session {gone} was deleted here, and stays deleted"
        for gone in (second, first)
    ]
    assert [session["id"] for session in asyncops.sessions()] == [third]
