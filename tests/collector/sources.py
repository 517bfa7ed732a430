"""
Sources as the tests play them: each numbers its records as a journal would.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from typing import Any, TypeVar

from asyncops._events import (
    EndState,
    EventOpenedRecord,
    EventRecord,
    Record,
    SaidBy,
    SessionEndedRecord,
    SessionRecord,
    SourceEndedRecord,
    SourceRecord,
)
from asyncops._wire import encode
from asyncops.collector.store.base import Batch, RejectedLine

START = 1_800_000_000_000_000_000
"""When the stories of the tests begin, in nanoseconds since the epoch."""

SECOND = 1_000_000_000

R = TypeVar("R", bound=Record)


def uuid(number: int) -> str:
    """
    A UUID that says which one it is.
    """
    return f"00000000-0000-7000-8000-{number:012x}"


class Source:
    """
    One process: says things in order, one a millisecond unless told when.
    """

    def __init__(self, number: int = 1, *, project: str = "default") -> None:
        self.id = uuid(0xA000 + number)
        self.project = project
        self.seq = 0
        self._number = number
        self._events = itertools.count(1)

    def says(self, record: type[R], /, *, at: int | None = None, **fields: Any) -> R:
        """
        Its next record.
        """
        self.seq += 1
        moment = START + self.seq * 1_000_000 if at is None else at
        return record(seq=self.seq, at=moment, **fields)

    def loses(self, records: int) -> None:
        """
        Its next records never arrive.
        """
        self.seq += records

    def begins(self, **fields: Any) -> SourceRecord:
        return self.says(SourceRecord, source=self.id, **fields)

    def starts(self, session: str, **fields: Any) -> SessionRecord:
        return self.says(SessionRecord, session=session, **fields)

    def joins(self, session: str, **fields: Any) -> SessionRecord:
        return self.says(SessionRecord, session=session, inherited=True, **fields)

    def event_id(self) -> str:
        return f"{self._number:08x}{next(self._events):08x}"

    def opens(self, session: str, *, id: str, **fields: Any) -> EventOpenedRecord:
        moment = START + self.seq * 1_000_000
        return self.says(
            EventOpenedRecord,
            session=session,
            id=id,
            **{"kind": "action", "name": "step", "started_at": moment} | fields,
        )

    def does(self, session: str, *, id: str | None = None, **fields: Any) -> EventRecord:
        moment = START + self.seq * 1_000_000
        return self.says(
            EventRecord,
            session=session,
            id=id or self.event_id(),
            **{
                "kind": "action",
                "name": "step",
                "state": "Success",
                "started_at": moment,
                "ended_at": moment + 1_000_000,
            }
            | fields,
        )

    def ends(
        self,
        session: str,
        state: EndState | None = EndState.SUCCESS,
        *,
        said_by: SaidBy = "user",
        **fields: Any,
    ) -> SessionEndedRecord:
        moment = START + self.seq * 1_000_000
        return self.says(
            SessionEndedRecord,
            session=session,
            state=state,
            said_by=said_by,
            **{"ended_at": moment} | fields,
        )

    def stops(self) -> SourceEndedRecord:
        return self.says(SourceEndedRecord)

    def batch(
        self,
        *records: Record,
        rejected: Sequence[RejectedLine] = (),
        received_at: int = START,
    ) -> Batch:
        """
        What one request of it brings.
        """
        return Batch(
            project=self.project,
            source=self.id,
            records=records,
            rejected=rejected,
            received_at=received_at,
        )


def lines(*records: Record) -> bytes:
    """
    The body of a request with *records*.
    """
    return b"".join(encode(record) + b"\n" for record in records)


def hostile_line(**fields: object) -> bytes:
    """
    A line of JSON that no encoder of ours would write.
    """
    return json.dumps(fields).encode() + b"\n"


class Clock:
    """
    A clock that stands still until it is told the time.
    """

    def __init__(self, now: int = START) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now

    def passes(self, seconds: float) -> None:
        self.now += int(seconds * SECOND)
