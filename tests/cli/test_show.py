"""
`asyncops show`: a session as a tree to scale, and what it says where that is not enough.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from commands import Commands, wait_for
from processes import SECONDS, own_port
from rich.cells import cell_len

from asyncops.cli.session_tree import Scale

PROGRAM = r"""
import os, signal, sys, time
import asyncops

if sys.argv[1] == "failing":
    try:
        with asyncops.session("failing", tags=["x"]):
            with asyncops.agent("planner"):
                with asyncops.llm("chat", model="m-1", provider="here", prompt=[
                    {"role": "user", "content": "how many?"}
                ]) as call:
                    call.prompt_tokens, call.completion_tokens = 1200, 34
                    call.cached_tokens, call.reasoning_tokens = 1000, 12
                    call.cost = asyncops.Cost("0.0125")
                    call.completion = {"role": "assistant", "content": None, "tool_calls": [
                        {"id": "call_1", "type": "function",
                         "function": {"name": "lookup", "arguments": '{"word": "zebra"}'}}
                    ]}
            with asyncops.agent("worker \u65e5\u672c\u8a9e"):
                for number in range(3):
                    try:
                        with asyncops.tool("lookup"):
                            raise KeyError(f"key {number}")
                    except KeyError:
                        pass
                with asyncops.action("last"):
                    try:
                        {}["zebra"]
                    except KeyError as error:
                        raise LookupError("no animal") from error
    except LookupError:
        pass
elif sys.argv[1] == "large":
    with asyncops.session("large"):
        for number in range(int(sys.argv[2])):
            try:
                with asyncops.action("failing"):
                    raise ValueError(f"number {number}")
            except ValueError:
                pass
        for number in range(30):
            with asyncops.agent(f"agent {number}"):
                for _ in range(50):
                    with asyncops.tool("step"):
                        pass
                if number == 29:
                    with asyncops.tool("odd one"):
                        pass
else:
    asyncops.init(auto_start_session=False)
    with asyncops.session("killed"):
        with asyncops.agent("planner"):
            with asyncops.tool("endless"):
                time.sleep(600)
"""

AT = 1_790_000_000_000_000_000
"""When what is sent at times of its own began, in nanoseconds since the epoch."""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    """
    Four sessions in the database, and no collector.
    """
    with own_port() as port:
        asyncops = Commands(tmp_path_factory.mktemp("shown"), port)
        program = asyncops.script(PROGRAM)
        with asyncops.collector():
            assert asyncops.python(program, "failing").returncode == 0
            assert asyncops.python(program, "large", "0").returncode == 0
            with subprocess.Popen(
                [*asyncops.arguments()[:1], program, "killed"],
                env=asyncops.environment,
                cwd=asyncops.directory,
            ) as killed:
                # what is open is told after a while
                wait_for(lambda: ("killed", "Running", 2) in _found(asyncops))
                killed.kill()
            _send_steady(asyncops)
            states = {"failing": "Fail", "large": "Success", "killed": "Indeterminate"}
            states["steady"] = "Success"
            wait_for(lambda: {name: state for name, state, _ in _found(asyncops)} == states)
            wait_for(lambda: not any((asyncops.directory / "journal").glob("*/*")))
        yield asyncops


def _found(asyncops: Commands) -> list[tuple[str, str, int]]:
    """
    The sessions that the collector has: their names, states, numbers of events.
    """
    sessions = asyncops.get("/api/sessions").json()["sessions"]
    return [(session["name"], session["state"], session["events"]) for session in sessions]


def _send(asyncops: Commands, session: str, name: str, *records: dict[str, object]) -> None:
    """
    Send *records* of a session as a program would, at times of their own.
    """
    first = {"type": "session", "at": AT, "started_at": AT, "name": name}
    lines = [
        json.dumps({"seq": seq, "session": session, **record}) + "\n"
        for seq, record in enumerate((first, *records), 1)
    ]
    answer = httpx.post(
        f"{asyncops.url}/v1/records",
        content="".join(lines),
        headers={"Asyncops-Source": session, "Content-Type": "application/x-ndjson"},
        timeout=SECONDS,
        trust_env=False,
        verify=False,
    )
    assert answer.json() == {"acknowledged": len(lines), "rejected": []}


def _event(number: int, kind: str, name: str, start: int, end: int, **more: object) -> Any:
    times = {"at": AT, "started_at": AT + start, "ended_at": AT + end}
    event = {"type": "event", "id": f"{number:016x}", "kind": kind, "name": name}
    return {**event, **times, "state": "Success", **more}


def _send_steady(asyncops: Commands) -> None:
    """
    A session that lasted just so long: one agent after the other.
    """
    _send(
        asyncops,
        "0198a0b0-0000-7000-8000-000000000002",
        "steady",
        _event(1, "agent", "planner", 0, 8_000_000_000),
        _event(2, "agent", "worker \u65e5\u672c\u8a9e", 8_000_000_000, 10_000_000_000),
        {"type": "session_ended", "at": AT, "ended_at": AT + 10_000_000_000, "state": "Success",
         "said_by": "user"},
    )  # fmt: skip


def _id(asyncops: Commands, name: str) -> str:
    return next(str(each["id"]) for each in asyncops.sessions() if each["name"] == name)


def _shown(asyncops: Commands, name: str, *options: str) -> str:
    done = asyncops.here("show", _id(asyncops, name), *options)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_bars_are_to_scale(recorded: Commands) -> None:
    """
    One begins where the one before it ended; all are as long as they lasted.
    """
    done = recorded("show", _id(recorded, "steady"))
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    planner = next(line for line in lines if "── agent  planner" in line)
    worker = next(line for line in lines if "worker 日本語" in line and "──" in line)
    assert re.search(r"━{20,}╸?$", planner)
    assert cell_len(worker) > cell_len(planner) - 2
    assert worker.rstrip()[-1] in "╺╸━"


def test_the_head_says_who_says_what_it_cost_and_what_the_tokens_were(recorded: Commands) -> None:
    """
    Cost with provenance, tokens with those that were cached and thought, agents with their share.
    """
    said = _shown(recorded, "failing")
    assert "$0.0125  said by the provider" in said
    assert "1,200 → 34  (1,000 cached, 12 reasoning)" in said
    assert "7: 2 agents, 1 LLM call, 3 tools, 1 action" in said
    planner = next(line for line in said.splitlines() if line.startswith("planner"))
    assert planner.split()[-1] == "$0.0125"


def test_a_failure_is_told_where_it_came_from(recorded: Commands) -> None:
    """
    With its cause chain in full once, in the tree in one line, and marked on all it went through.
    """
    said = _shown(recorded, "failing")
    assert said.count("caused by KeyError: 'zebra'") == 1
    assert "LookupError: no animal" in said
    tree = said[said.index("├── ") :].splitlines()
    last = next(n for n, line in enumerate(tree) if "action ✗ last" in line)
    assert "no animal" in tree[last + 1]
    worker = next(n for n, line in enumerate(tree) if "agent  ✗ worker" in line)
    assert "no animal" not in tree[worker + 1]


def test_errors_alone(recorded: Commands) -> None:
    """
    What failed and what it happened in, then each kind of failure in full, with how often.
    """
    said = _shown(recorded, "failing", "--errors")
    assert "planner" not in said
    assert "3 times, first in tool lookup" in said
    assert "KeyError: 'key 0'" in said
    assert "once, in action last" in said
    assert "caused by KeyError: 'zebra'" in said
    assert "nothing failed" in _shown(recorded, "large", "--errors")


def test_one_event_in_full(recorded: Commands) -> None:
    """
    The conversation in turns, tokens, cost; by the end of its id as well; its JSON twin.
    """
    _, events = recorded.session(_id(recorded, "failing"))
    call = next(event for event in events if event["kind"] == "llm")
    said = _shown(recorded, "failing", "--event", call["id"])
    assert "[user]\nhow many?" in said
    assert 'calls lookup (call_1)\n{\n  "word": "zebra"\n}' in said
    assert "$0.0125, said by the provider" in said
    assert re.search(r"within +agent planner", said)
    assert _shown(recorded, "failing", "--event", call["id"][-4:]) == said
    assert json.loads(_shown(recorded, "failing", "--json", "--event", call["id"])) == call
    for part, trouble in (("zz", "no event begins or ends with 'zz'"), (call["id"][:2], "events")):
        done = recorded.here("show", _id(recorded, "failing"), "--event", part)
        assert done.returncode == 2
        assert trouble in done.stderr


def test_what_was_open_when_the_process_died(recorded: Commands) -> None:
    """
    The innermost event and what it lies in, in the head and in the tree.
    """
    said = _shown(recorded, "killed")
    assert "process died, last heard of at 20" in said
    assert "was open  agent planner / tool endless, since 20" in said
    assert said.count("still open when the session ended") == 2
    assert re.search("tool   endless.*╍", said)


def test_a_large_session_is_bounded_and_says_so(recorded: Commands) -> None:
    """
    Some of everything, with how much was left out; all of it on request; no deeper than asked.
    """
    said = _shown(recorded, "large")
    assert len(said.splitlines()) < 400 + 30 + 40  # events, a remark for each agent, the head
    assert said.count("── agent") == 30
    assert re.search(r"\.\.\. \d+ events left out: \d+ tool", said)
    total = re.search(r"\n([\d,]+) of 1,531 events are left out", said)
    assert total is not None
    left_out = re.findall(r"\.\.\. ([\d,]+) events? left out", said)
    assert sum(int(each.replace(",", "")) for each in left_out) == int(total[1].replace(",", ""))
    everything = _shown(recorded, "large", "--events")
    assert everything.count("── tool") == 1_501
    assert "left out" not in everything
    flat = _shown(recorded, "large", "--depth", "1")
    assert "── tool" not in flat
    assert flat.count("... 50 events left out: 50 tool") == 29


@pytest.mark.parametrize("columns", [20, 40, 60, 80, 100, 140, 200])
def test_lines_of_the_tree_fit_the_terminal(recorded: Commands, columns: int) -> None:
    """
    However narrow it is, no line of the tree is broken.
    """
    session_id = _id(recorded, "failing")
    status, said = recorded.on_a_terminal(columns, "show", session_id, "--depth", "2")
    assert status == 0
    plain = re.sub(r"\x1b\[[\d;]*m", "", said).replace("\r", "")
    assert "\x1b[" in said
    tree = plain[plain.index("├── ") :].splitlines()
    assert len([line for line in tree if re.match("[├└│ ]+── ", line)]) == 7
    # besides those there is one for each failure, cut where it does not fit
    assert len(tree) == 11
    assert max(map(cell_len, tree)) <= columns


def test_many_failures_are_bounded_and_counted(asyncops: Commands) -> None:
    """
    A hundred that failed in the tree and how many more, the kind of failure once; all on request.
    """
    program = asyncops.script(PROGRAM)
    with asyncops.collector():
        assert asyncops.python(program, "large", "130").returncode == 0
        wait_for(lambda: [each["events"] for each in asyncops.sessions()] == [1_661])
        said = _shown(asyncops, "large", "--errors")
        assert said.count("action ✗ failing") == 100
        assert "30 more events failed: --events shows all" in said
        assert said.count("130 times, first in action failing") == 1
        everything = _shown(asyncops, "large", "--errors", "--events")
        assert everything.count("action ✗ failing") == 130
        assert "more events failed" not in everything


def test_events_in_a_circle_are_shown_once(asyncops: Commands) -> None:
    """
    No program nests events so; a hostile one's are shown all the same, each once.
    """
    session = "0198a0b0-0000-7000-8000-000000000001"
    events = [
        _event(own, "tool", f"n{own}", 0, own, parent_id=f"{parent:016x}")
        for own, parent in ((1, 2), (2, 3), (3, 1), (4, 4), (5, 1))
    ]
    with asyncops.collector():
        _send(asyncops, session, "circle", *events)
        said = asyncops.here("show", session).stdout
    for number in range(1, 6):
        assert len(re.findall(rf"tool   n{number} ", said)) == 1


def test_bars_to_half_a_cell() -> None:
    """
    From where it began to where it ended, never nothing, never beyond the end.
    """
    scale = Scale(start=0, end=10_000_000, width=10)

    def at(seconds: float) -> str:
        return f"1970-01-01T00:00:{seconds:09.6f}Z"

    assert scale.bar(at(0), at(10)) == "━━━━━━━━━━"
    assert scale.bar(at(0.5), at(2.5)) == "╺━╸"
    assert scale.bar(at(5), at(5)) == "     ╸"
    assert scale.bar(at(5.6), at(5.7)) == "     ╺"
    assert scale.bar(at(10), at(10)) == "         ╺"
    assert scale.bar(at(8), None) == "        ╍╍"
    assert scale.bar(at(12), at(14)) == "         ╺"
    assert Scale(start=0, end=0, width=4).bar(at(0), at(0)) == "╸"
