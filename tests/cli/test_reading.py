"""
`asyncops sessions` and `asyncops show`: what was recorded, from a collector or from its database.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from commands import Commands, wait_for
from processes import own_port

from asyncops.cli.output import cell, multiline, one_line

PROGRAM = r"""
import asyncops

HOSTILE = "\x1b[2J\x07[bold]name[/bold]\u202e\nsecond line"

with asyncops.session("calm", tags=["a", "b"]):
    with asyncops.agent("planner"):
        with asyncops.llm("chat", model="m-1", provider="here", prompt="hi") as call:
            call.prompt_tokens, call.completion_tokens = 1200, 34
            call.cost = asyncops.Cost("0.0125")
        with asyncops.action("step"):
            pass
try:
    with asyncops.session(HOSTILE, tags=["b", HOSTILE]):
        with asyncops.tool(HOSTILE):
            raise ValueError(HOSTILE)
except ValueError:
    pass
"""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    """
    Two sessions in the database, and no collector.
    """
    with own_port() as port:
        asyncops = Commands(tmp_path_factory.mktemp("recorded"), port)
        program = asyncops.script(PROGRAM)
        with asyncops.collector():
            assert asyncops.python(program).returncode == 0
            wait_for(lambda: _ended(asyncops))
            # what the program left behind at its exit is in the database, too
            wait_for(lambda: not any((asyncops.directory / "journal").glob("*/*")))
        yield asyncops


def _ended(asyncops: Commands) -> bool:
    states = [found["state"] for found in asyncops.get("/api/sessions").json()["sessions"]]
    return len(states) == 2 and "Running" not in states


def test_sessions_are_listed_newest_first(recorded: Commands) -> None:
    """
    The table says of each session what it was and how it ended; nothing recorded moves the cursor.
    """
    done = recorded("sessions")
    assert done.returncode == 0, done.stderr
    assert recorded.here("sessions").stdout == done.stdout
    assert "\x1b" not in done.stdout
    assert "\x07" not in done.stdout
    assert "\u202e" not in done.stdout
    assert r"\x1b[2J" in done.stdout
    assert "[bold]name[/bold]" in done.stdout
    lines = done.stdout.splitlines()
    calm = next(line for line in lines if "calm" in line)
    assert "✓ Success" in calm
    assert "$0.0125" in calm
    assert "1,200 → 34" in calm
    assert lines.index(calm) > next(n for n, line in enumerate(lines) if "✗ Fail" in line)


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (["--limit", "1"], ["hostile"]),
        (["--state", "Success"], ["calm"]),
        (["--tag", "b", "--tag", "a"], ["calm"]),
        (["--tag", "a", "--state", "Fail"], []),
    ],
)
def test_filters_choose(recorded: Commands, filters: list[str], expected: list[str]) -> None:
    """
    State, tags and limit choose among the sessions, together.
    """
    done = recorded.here("sessions", "--json", *filters)
    names = [session["name"] for session in json.loads(done.stdout)["sessions"]]
    assert ["calm" if name == "calm" else "hostile" for name in names] == expected


def test_collector_and_database_tell_the_same(recorded: Commands) -> None:
    """
    What is read from the file is what a running collector answers.
    """
    session_id = _ids(recorded)["Success"]
    listed = json.loads(recorded.here("sessions", "--json").stdout)["sessions"]
    shown = json.loads(recorded("show", "--json", session_id).stdout)
    assert len(listed) == 2
    assert len(shown["events"]) == 3
    with recorded.collector():
        assert recorded.get("/api/sessions").json()["sessions"] == listed
        assert json.loads(recorded.here("show", "--json", session_id).stdout) == shown


def _ids(asyncops: Commands) -> dict[str, str]:
    return {session["state"]: session["id"] for session in asyncops.sessions()}


def test_a_session_is_shown_as_a_tree(recorded: Commands) -> None:
    """
    Head, and the events under their parents, with what they cost and how long they took.
    """
    session_id = _ids(recorded)["Success"]
    done = recorded.here("show", session_id)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert any(line.split() == ["session", session_id] for line in lines)
    assert any(line.split()[:3] == ["tags", "a,", "b"] for line in lines)
    planner = next(n for n, line in enumerate(lines) if "agent" in line and "planner" in line)
    assert "├── llm" in lines[planner + 1]
    assert "m-1" in lines[planner + 1]
    assert "1,200 → 34" in lines[planner + 1]
    assert "$0.0125 (provider)" in lines[planner + 1]
    assert "└── action step" in lines[planner + 2]
    assert recorded.here("show", session_id[:30]).stdout == done.stdout


def test_a_failure_is_shown_without_its_control_characters(recorded: Commands) -> None:
    """
    Message and traceback are there, but nothing in them reaches the terminal as a command.
    """
    done = recorded.here("show", _ids(recorded)["Fail"])
    assert "ValueError" in done.stdout
    assert "in <module>" in done.stdout
    for forbidden in "\x1b\x07\u202e":
        assert forbidden not in done.stdout


def test_show_in_json_has_everything(recorded: Commands) -> None:
    """
    `--json` gives the collector's own objects, ready for other programs.
    """
    told: dict[str, Any] = json.loads(
        recorded.here("show", _ids(recorded)["Success"], "--json").stdout
    )
    assert told["session"]["sources"][0]["pid"] > 0
    assert {event["kind"] for event in told["events"]} == {"agent", "llm", "action"}


def test_colour_is_for_terminals(recorded: Commands) -> None:
    """
    On a terminal states are coloured; recorded text still holds no command to it.
    """
    status, said = recorded.on_a_terminal(200, "sessions")
    assert status == 0
    assert "\x1b[32m" in said
    assert "\x1b[2J" not in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("show", "ffff"), "no session begins with 'ffff'"),
        (("show", "0"), "2 sessions begin with '0'"),
        (("sessions", "--state", "Broken"), "state"),
        (("sessions", "--endpoint", "nonsense"), "endpoint must be an address"),
    ],
)
def test_expected_trouble_is_one_line(
    recorded: Commands, arguments: tuple[str, ...], said: str
) -> None:
    """
    What cannot be found or does not fit is one line on standard error, and status 2.
    """
    done = recorded.here(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert said.lower() in done.stderr.lower()
    assert len(done.stderr.splitlines()) == 1


def test_nothing_to_read_is_said(asyncops: Commands) -> None:
    """
    Without a collector and without a database there is one line that says what to do.
    """
    done = asyncops.here("sessions")
    assert done.returncode == 2
    assert "asyncops serve" in done.stderr
    assert not (asyncops.directory / "collector.db").exists()


def test_a_long_text_does_not_spoil_a_table() -> None:
    """
    What does not fit is cut, after escaping, and says so.
    """
    assert cell("short") == "short"
    assert cell("\x1b" * 1000) == r"\x1b" * 19 + r"\..."
    assert len(cell("x" * 81)) == 80


def test_text_is_made_harmless() -> None:
    """
    Control and format characters become escapes, everything else stays as it is.
    """
    assert one_line("plain ünïcode ✓ 日本 \u00a0") == "plain ünïcode ✓ 日本 \u00a0"
    assert one_line("a\x1b[31m\r\n\t\x9b\u2028\u202e\ud800") == (
        r"a\x1b[31m\r\n\t\x9b\u2028\u202e\ud800"
    )
    assert multiline("one\n\ttwo\x00") == "one\n    two\\x00"
