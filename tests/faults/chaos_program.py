"""
What the chaos run kills: a program that records numbered events in one session after another.

It says in shared memory how far it got, so that whoever killed it knows what must be stored. What
it records, and how each session ends, follows from its number and the seed alone.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import mmap
import os
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

import asyncops
from asyncops import _client, _exporter, _file_journal

__all__ = ["FINALS", "STATUSES", "Ledger", "Spec", "planned", "text_of"]

RETURNED, STARTING, STARTED, ENDING, ENDED, PID, ADOPTING, STOP = range(8)
"""
The numbers of a slot: the last event whose call returned; the last session whose start was called,
had returned, whose end was called, had returned; the process; odd while it holds the journal of
another; and, set by the parent, that it is to end by itself.
"""

FINALS = {
    "kill -9": ("Indeterminate", "process died"),
    "SIGTERM": ("Cancelled", "SIGTERM"),
    "SIGHUP": ("Cancelled", "SIGHUP"),
    "SIGINT": ("Cancelled", "SIGINT"),
    "SIGSEGV": ("Fail", "SIGSEGV"),
    "SIGABRT": ("Fail", "SIGABRT"),
    "exception": ("Fail", "ValueError: the end"),
    "sys.exit(0)": ("Success", None),
    "sys.exit(3)": ("Fail", "SystemExit: 3"),
    "os._exit": ("Indeterminate", "process died"),
    "left open": ("Indeterminate", "process exited without end_session()"),
    "returns": None,
}
"""How a program ends, and what becomes of the session it has open then; None where it has none."""

STATUSES = {"exception": 1, "sys.exit(3)": 3}
"""The exit status of a program that is not killed by a signal, where it is not 0."""


class Ledger:
    """
    Memory shared by all programs and their parent: a slot of eight numbers for each.
    """

    SLOT_BYTES = 64

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._numbers = memoryview(mmap.mmap(file.fileno(), 0)).cast("Q")

    @classmethod
    def create(cls, path: Path, slots: int) -> Ledger:
        path.write_bytes(bytes(slots * cls.SLOT_BYTES))
        return cls(path)

    def __getitem__(self, program: int) -> memoryview:
        return self._numbers[program * 8 : program * 8 + 8]


@attrs.frozen(kw_only=True)
class Spec:
    """
    What one program is to do.

    Attributes:
        program: Its number, and its slot.
        final: How it ends: a key of `FINALS`.
        style: How it says its sessions: `async`, `with` or `init`.
        sessions: How many; 0 where it is killed.
        pace: Seconds between events.
        child: The number of the child it forks in its first session; 0 where it forks none.
        child_events: How many events that records; 0 where it is killed.
        ledger: The file that all share.
        constants: Limits of the SDK that are smaller here.
    """

    program: int
    seed: int
    final: str
    style: str
    sessions: int
    pace: float
    child: int
    child_events: int
    ledger: str
    constants: dict[str, float]


@attrs.frozen
class Plan:
    """
    One session: how many events, and how it ends.
    """

    events: int
    how: str
    state: str
    reason: str | None


def planned(seed: int, program: int, session: int) -> Plan:
    """
    What *program* does in its session of that number, if nobody kills it.
    """
    choose = random.Random(f"{seed}/{program}/{session}")
    how = choose.choice(["returns", "exception", "cancelled", "said"])
    events = choose.randint(5, 200)
    if how == "said":
        state = choose.choice(["Success", "Fail", "Cancelled", "Indeterminate"])
        return Plan(events, how, state, f"said {session}")
    states = {
        "returns": ("Success", None),
        "exception": ("Fail", f"LookupError: {session}"),
        "cancelled": ("Cancelled", f"enough {session}"),
    }
    return Plan(events, how, *states[how])


def text_of(program: int, number: int) -> str:
    """
    The payload of an event: nobody else could have made it up.
    """
    digest = hashlib.sha256(f"{program}/{number}".encode()).hexdigest()
    return digest * (200 if number % 97 == 0 else number % 7)


class Recorder:
    """
    A program at work.
    """

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.ledger = Ledger(Path(spec.ledger))
        self.slot = self.ledger[spec.program]
        self.slot[PID] = os.getpid()
        self._choose = random.Random(f"{spec.seed}/{spec.program}")

    def is_last(self, session: int) -> bool:
        return session == self.spec.sessions or bool(self.slot[STOP])

    def sessions(self) -> Iterator[int]:
        session = 0
        while True:
            session += 1
            self.slot[STARTING] = session
            yield session
            self.slot[ENDED] = session
            if self.is_last(session):
                return

    def begun(self, session: int) -> None:
        self.slot[STARTED] = session
        if session == 1 and self.spec.child:
            self.fork(session)

    def numbers(self, session: int) -> Iterator[int]:
        for _ in range(planned(self.spec.seed, self.spec.program, session).events):
            yield self.slot[RETURNED] + 1
            if self.slot[STOP]:
                return

    def params(self, session: int, number: int) -> dict[str, Any]:
        text = text_of(self.spec.program, number)
        return {"program": self.spec.program, "session": session, "number": number, "text": text}

    def pause(self) -> float:
        return self.spec.pace * self._choose.choice([0, 0, 1, 2])

    def fork(self, session: int) -> None:
        if os.fork():
            return
        spec = attrs.evolve(self.spec, program=self.spec.child, final="os._exit")
        child = Recorder(spec)
        number = 0
        while number != self.spec.child_events or not number:
            number += 1
            step(**child.params(session, number))
            child.slot[RETURNED] = number
            time.sleep(child.pause())
        os._exit(0)

    # -- one style after another --------------------------------------------------------------

    async def run_async(self) -> None:
        for session in self.sessions():
            try:
                await asyncio.create_task(self.in_async_block(session))
            except LookupError:
                pass
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is None or task.cancelling():  # it was meant for us
                    raise

    async def in_async_block(self, session: int) -> None:
        plan = planned(self.spec.seed, self.spec.program, session)
        async with asyncops.session(self.name(session)) as block:
            self.begun(session)
            with asyncops.agent("worker"):
                for number in self.numbers(session):
                    if number % 2:
                        await async_step(**self.params(session, number))
                    else:
                        record(self.params(session, number))
                    self.slot[RETURNED] = number
                    await asyncio.sleep(self.pause())
            self.end_for_good(session)
            self.slot[ENDING] = session
            if plan.how == "said":
                await block.end(plan.state, plan.reason)
            elif plan.how == "exception":
                raise LookupError(session)
            elif plan.how == "cancelled":
                task = asyncio.current_task()
                assert task is not None
                task.cancel(plan.reason)
                await asyncio.sleep(60)

    def run_with(self) -> None:
        for session in self.sessions():
            plan = planned(self.spec.seed, self.spec.program, session)
            try:
                with asyncops.session(self.name(session)) as block:
                    self.begun(session)
                    self.record_all(session)
                    self.end_for_good(session)
                    self.slot[ENDING] = session
                    if plan.how == "said":
                        asyncio.run(block.end(plan.state, plan.reason))
                    elif plan.how == "exception":
                        raise LookupError(session)
                    elif plan.how == "cancelled":
                        raise asyncio.CancelledError(plan.reason)
            except (LookupError, asyncio.CancelledError):
                pass

    def run_init(self) -> None:
        for session in self.sessions():
            plan = planned(self.spec.seed, self.spec.program, session)
            asyncops.init(name=self.name(session))
            self.begun(session)
            self.record_all(session)
            self.end_for_good(session)
            self.slot[ENDING] = session
            asyncio.run(asyncops.end_session(plan.state, plan.reason))

    def record_all(self, session: int) -> None:
        with asyncops.agent("worker"):
            for number in self.numbers(session):
                if number % 2:
                    step(**self.params(session, number))
                else:
                    record(self.params(session, number))
                self.slot[RETURNED] = number
                time.sleep(self.pause())

    def name(self, session: int) -> str:
        return f"{self.spec.program}/{session}"

    def end_for_good(self, session: int) -> None:
        if self.spec.sessions and self.is_last(session):
            final = self.spec.final
            if final == "exception":
                raise ValueError("the end")
            if final.startswith("sys.exit"):
                sys.exit(int(final[9]))
            if final == "os._exit":
                os._exit(0)
            if final == "left open":
                raise SystemExit


@asyncops.action("step")
def step(program: int, session: int, number: int, text: str) -> None:
    pass


@asyncops.action("step")
async def async_step(program: int, session: int, number: int, text: str) -> None:
    pass


def record(params: dict[str, Any]) -> None:
    asyncops.record(asyncops.ActionEvent(name="step", params=params))


def tell_of_adoptions(slot: memoryview) -> None:
    """
    Let the parent see when this program holds the journal of another: then it is worth killing.
    """
    recover = _client.recover

    def told(root: Path) -> Iterator[Any]:
        for journal in recover(root):
            slot[ADOPTING] += 1
            yield journal
            slot[ADOPTING] += 1

    _client.recover = told


def main() -> None:
    spec = Spec(**json.loads(sys.argv[1]))
    recorder = Recorder(spec)
    _file_journal.SEGMENT_BYTES = int(spec.constants["SEGMENT_BYTES"])
    _exporter.ADOPT_SECONDS = spec.constants["ADOPT_SECONDS"]
    _exporter.MAX_BACKOFF_SECONDS = spec.constants["MAX_BACKOFF_SECONDS"]
    tell_of_adoptions(recorder.slot)
    if spec.style == "async":
        asyncio.run(recorder.run_async())
    elif spec.style == "with":
        recorder.run_with()
    else:
        recorder.run_init()


if __name__ == "__main__":
    main()
