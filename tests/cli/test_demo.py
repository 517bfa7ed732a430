"""
`asyncops demo`: five sessions, and what the collector says of them is true.
"""

from __future__ import annotations

import os
import signal
import socket
from typing import Any

import psutil
import pytest
from commands import Commands, wait_for
from processes import SECONDS

from asyncops.cli.demo import EXPECTED, wrong


def test_the_demo_leaves_one_session_of_each_kind(asyncops: Commands) -> None:
    """
    Even where its port is taken, the demo records five runs as they truly ended.
    """
    with socket.create_server(("127.0.0.1", asyncops.port)):
        done = asyncops("demo", "--exit", "--port", str(asyncops.port))
    assert done.returncode == 0, done.stderr
    assert "is taken" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    found = {
        kind: session
        for session in asyncops.sessions()
        for kind in EXPECTED
        if kind in session["tags"]
    }
    assert {kind: session["state"] for kind, session in found.items()} == EXPECTED
    assert all(session["id"][:13] in done.stdout for session in found.values())
    for kind, session in found.items():
        detail, events = asyncops.session(session["id"])
        check = globals()[f"check_{kind}"]
        check(detail, events)
        calls = [event for event in events if event["kind"] == "llm"]
        closed = [call for call in calls if call["state"] == "Success"]
        assert closed
        assert {call["cost_source"] for call in closed} == {"provider"}
        assert session["cost_usd"] == pytest.approx(sum(call["cost_usd"] for call in closed))
        assert session["prompt_tokens"] == sum(call["prompt_tokens"] for call in closed)


def check_success(session: dict[str, Any], events: list[dict[str, Any]]) -> None:
    agents = {event["name"]: event for event in events if event["kind"] == "agent"}
    researchers = [agent for name, agent in agents.items() if name.startswith("researcher: ")]
    assert {"planner", "writer"} < agents.keys()
    assert len(researchers) >= 2
    # they worked at the same time
    assert researchers[1]["started_at"] < researchers[0]["ended_at"]
    tools = [event for event in events if event["kind"] == "tool"]
    assert {"search_library", "read_module", "read_source"} == {tool["name"] for tool in tools}
    assert all(event["parent_id"] for event in events if event["kind"] in ("llm", "tool"))
    asked = {(event["id"], call["event_id"]) for event in events for call in event["tool_calls"]}
    assert asked == {(tool["requested_by"], tool["id"]) for tool in tools}
    first = min((event for event in events if event["kind"] == "llm"), key=_started)
    assert first["prompt"][1]["role"] == "user"
    assert first["completion"]["tool_calls"][0]["function"]["name"] == "search_library"


def check_failure(session: dict[str, Any], events: list[dict[str, Any]]) -> None:
    failure = session["failure"]
    assert failure["type"].endswith("AnswerError")
    assert failure["causes"][0]["type"].endswith("LibraryError")
    assert failure["causes"][0]["causes"][0]["type"] == "KeyError"
    assert "in write" in failure["traceback"]
    (failed,) = (event for event in events if event["kind"] == "tool" and event["failure"])
    assert failed["params"] == {"module": "asyncpool"}


def check_cancelled(session: dict[str, Any], events: list[dict[str, Any]]) -> None:
    assert session["reason"].startswith("the budget of $")
    assert any(event["state"] == "Cancelled" for event in events)


def check_inherited(session: dict[str, Any], events: list[dict[str, Any]]) -> None:
    sources = {source["id"]: source for source in session["sources"]}
    assert len({source["pid"] for source in sources.values()}) == 2
    assert {event["source_id"] for event in events} == set(sources)
    handed_over = next(event for event in events if event["kind"] == "action")
    inside = [event for event in events if event["parent_id"] == handed_over["id"]]
    assert {event["source_id"] for event in inside} == set(sources) - {handed_over["source_id"]}


def check_killed(session: dict[str, Any], events: list[dict[str, Any]]) -> None:
    assert session["reason"] == "process died"
    assert any(event["name"] == "writer" for event in events)


def _started(event: dict[str, Any]) -> str:
    return str(event["started_at"])


def test_the_demo_serves_until_told_to_stop(asyncops: Commands) -> None:
    """
    Without `--exit` the dashboard answers until Ctrl-C, which is a success.
    """
    with asyncops.started("demo", "--port", str(asyncops.port), start_new_session=True) as demo:
        assert demo.stdout is not None
        said = ""
        while "Ctrl-C ends it" not in said:
            line = demo.stdout.readline()
            assert line, (said, demo.communicate())
            said += line
        assert f"dashboard: {asyncops.url}\n" in said
        assert len(asyncops.get("/api/sessions", tag="demo").json()["sessions"]) == 5
        os.killpg(demo.pid, signal.SIGINT)
        assert demo.wait(timeout=SECONDS) == 0
        assert demo.communicate()[1] == ""


def test_a_database_with_keys_is_not_used_without_one(asyncops: Commands) -> None:
    """
    Where the database has keys and we were given none, the demo says so before it begins.
    """
    assert asyncops.here("keys", "create", "--project", "p").returncode == 0
    done = asyncops.here("demo", "--exit", "--port", str(asyncops.port))
    assert done.returncode == 2
    assert done.stderr == "asyncops: the collector wants an API key: set ASYNCOPS_API_KEY\n"


def test_a_demo_that_went_wrong_is_told() -> None:
    """
    A missing session, a wrong state and a missing process are each found.
    """
    right = {
        kind: {"state": state, "sources": [{}] * (2 if kind == "inherited" else 1)}
        for kind, state in EXPECTED.items()
    }
    assert list(wrong(right)) == []
    found = {**right, "killed": {"state": "Running", "sources": [{}]}}
    found["inherited"] = {"state": "Success", "sources": [{}]}
    del found["success"]
    assert {kind for kind, _ in wrong(found)} == {"killed", "inherited", "success"}


def test_ctrl_c_leaves_nothing_behind(asyncops: Commands) -> None:
    """
    Interrupted at work, the demo ends at once, without a traceback and with its processes: those
    that these have started, too.
    """
    temporary, site = asyncops.directory / "tmp", asyncops.directory / "site"
    temporary.mkdir()
    site.mkdir()
    # one of them never gets to work, or the demo might be over before it is interrupted
    (site / "sitecustomize.py").write_text(
        "import sys, time\nif 'research' in sys.orig_argv: time.sleep(600)\n"
    )
    path = os.pathsep.join([str(site), asyncops.environment["PYTHONPATH"]])
    environment = {**asyncops.environment, "TMPDIR": str(temporary), "PYTHONPATH": path}
    with asyncops.started("demo", "--port", str(asyncops.port), env=environment) as demo:
        found: list[psutil.Process] = []

        def is_at_work() -> bool:
            found[:] = psutil.Process(demo.pid).children(recursive=True)
            return any("research" in _arguments(each) for each in found)

        wait_for(is_at_work, seconds=2 * SECONDS)  # it is the seventh interpreter
        demo.send_signal(signal.SIGINT)
        output, errors = demo.communicate(timeout=SECONDS)
        assert demo.returncode in (130, -signal.SIGINT)
        assert "Traceback" not in errors
        assert "dashboard" not in output
    assert list(temporary.iterdir()) == []
    wait_for(lambda: not any(map(_arguments, found)))


def _arguments(process: psutil.Process) -> list[str]:
    """
    What *process* was started with; nothing of one that has ended.
    """
    try:
        return process.cmdline() if process.is_running() else []
    except psutil.Error:
        return []
