"""
Sessions that tests tell: small, and each with something to see.
"""

from __future__ import annotations

from typing import Any

import attrs
from programs import MILLISECOND, SECOND, Program, failure_of

HOST = {
    "os": {"system": "Linux", "release": "6.8.0"},
    "python": {"version": "3.12.7"},
    "memory_bytes": 67_108_864_000,
}


@attrs.frozen
class Story:
    """
    A session that was told, and the ids of its events by name.
    """

    program: Program
    events: dict[str, str]

    @property
    def path(self) -> str:
        return f"/sessions/{self.program.session}"

    def event_path(self, name: str) -> str:
        return f"{self.path}?event={self.events[name]}"


def answer(program: Program, *, at: int, name: str = "answer", **kwargs: Any) -> Story:
    """
    Two agents, a model's call with a conversation, tools; it ends well after four seconds.
    """
    begin(program, name, at=at, **kwargs)
    events = {"planner": program.new_id(), "writer": program.new_id()}
    events["ask"] = program.event(
        "llm",
        "ask",
        at=at + SECOND,
        lasts=SECOND,
        parent_id=events["planner"],
        agent="planner",
        model="gpt-5-mini",
        provider="openai",
        prompt=[
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "How do I cancel a task group?"},
        ],
        completion={
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "search", "arguments": '{"query": "task group"}'},
                }
            ],
        },
        prompt_tokens=1_200,
        completion_tokens=34,
        cached_tokens=1_000,
        reasoning_tokens=12,
        time_to_first_token=300 * MILLISECOND,
        cost="0.0123",
    )
    events["search"] = program.event(
        "tool",
        "search",
        at=at + 2 * SECOND,
        lasts=SECOND,
        parent_id=events["planner"],
        agent="planner",
        params={"query": "task group", "limit": 5},
        returns=[{"module": "asyncio.taskgroups", "score": 11.2}],
        tool_call_id="call_1",
    )
    program.event(
        "agent", "planner", at=at, lasts=3 * SECOND, id=events["planner"], agent="planner"
    )
    events["publish"] = program.event(
        "action",
        "publish",
        at=at + 3 * SECOND,
        lasts=SECOND // 2,
        parent_id=events["writer"],
        agent="writer",
        attributes={"path": "answer.md"},
    )
    program.event(
        "agent", "writer", at=at + 3 * SECOND, lasts=SECOND, id=events["writer"], agent="writer"
    )
    program.end("Success", at=at + 4 * SECOND, reason="answered")
    program.send()
    return Story(program, events)


def begin(program: Program, name: str | None, *, at: int, tags: tuple[str, ...] = ()) -> None:
    program.host = HOST
    program.begin(name, at=at, tags=tags)


def breakdown(program: Program, *, at: int, name: str = "breakdown") -> Story:
    """
    A tool fails because of a KeyError, an error event says so, the session fails; a record is lost.
    """

    def look_up() -> None:
        try:
            {}["widgets"]
        except KeyError as error:
            raise RuntimeError("no table 'widgets'") from error

    def read_rows() -> None:
        raise ExceptionGroup(
            "two rows", [ValueError("row 1 is empty"), TypeError("row 2 is a list")]
        )

    begin(program, name, at=at)
    failure = failure_of(look_up)
    events = {"work": program.new_id()}
    events["query"] = program.event(
        "tool",
        "query",
        at=at,
        lasts=SECOND,
        parent_id=events["work"],
        state="Fail",
        failure=failure,
    )
    events["rows"] = program.event(
        "error",
        "bad rows",
        at=at + SECOND,
        lasts=0,
        state="Fail",
        parent_id=events["work"],
        trigger_event_id=events["query"],
        failure=failure_of(read_rows),
    )
    program.lose(1)
    raised_there = attrs.evolve(failure, event_id=events["query"])
    program.event(
        "action",
        "work",
        at=at,
        lasts=2 * SECOND,
        id=events["work"],
        state="Fail",
        failure=raised_there,
    )
    program.end("Fail", at=at + 2 * SECOND, reason=failure.summary(), failure=raised_there)
    program.send()
    return Story(program, events)
