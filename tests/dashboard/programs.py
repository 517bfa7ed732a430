"""
Programs as a collector knows them: sources that write numbered records and post them.

What they say goes the real way: encoded by the recorder's own code, sent as NDJSON over a socket.
"""

from __future__ import annotations

import itertools
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import httpx

from asyncops._events import (
    Cost,
    EndState,
    EventOpenedRecord,
    EventRecord,
    Failure,
    Record,
    SaidBy,
    SessionEndedRecord,
    SessionRecord,
    SourceRecord,
    TagsRecord,
    VideoRecord,
)
from asyncops._wire import Encoder, encode, number_line

SECOND = 1_000_000_000
MILLISECOND = 1_000_000

_encoder = Encoder()


def now() -> int:
    return time.time_ns()


@attrs.define(eq=False)
class Program:
    """
    One process that records, with one session unless told otherwise.
    """

    http: httpx.Client
    pid: int = 4_242
    host: dict[str, Any] | None = None
    sdk: str = "asyncops 0.1.0"
    source: str = attrs.field(factory=lambda: str(uuid.uuid4()))
    session: str = attrs.field(factory=lambda: str(uuid.uuid4()))
    seq: int = 0
    _lines: list[bytes] = attrs.field(factory=list)
    _ids: Iterator[int] = attrs.field(factory=lambda: itertools.count(0x1F3A_0000_0001))

    def say(self, record: Record) -> None:
        """
        Write one record down.
        """
        self.seq += 1
        self._lines.append(number_line(encode(record), self.seq))

    def lose(self, records: int) -> None:
        """
        Number *records* that never arrive.
        """
        self.seq += records

    def send(self) -> None:
        """
        Post what was written down; return once the collector has it.
        """
        lines, self._lines = self._lines, []
        headers = {"Content-Type": "application/x-ndjson", "Asyncops-Source": self.source}
        for start in range(0, len(lines), 2_000):
            answer = self.http.post(
                "/v1/records",
                content=b"\n".join(lines[start : start + 2_000]) + b"\n",
                headers=headers,
            )
            answer.raise_for_status()
            assert answer.json()["rejected"] == []

    def begin(
        self,
        name: str | None,
        *,
        at: int,
        tags: tuple[str, ...] = (),
        inherited: bool = False,
    ) -> None:
        """
        The process and its session begin.
        """
        self.say(
            SourceRecord(
                at=at,
                source=self.source,
                pid=self.pid,
                started_at=at,
                sdk=self.sdk,
                host=self.host,
            )
        )
        self.say(
            SessionRecord(
                at=at,
                session=self.session,
                name=name,
                started_at=at,
                tags=tags,
                inherited=inherited,
            )
        )

    def tag(self, *tags: str, at: int) -> None:
        self.say(TagsRecord(at=at, session=self.session, tags=tags))

    def film(self, video: str, *, at: int) -> None:
        self.say(VideoRecord(at=at, session=self.session, video=video))

    def end(
        self,
        state: EndState | str,
        *,
        at: int,
        reason: str | None = None,
        failure: Failure | None = None,
        said_by: SaidBy = "process",
    ) -> None:
        """
        The session ends.
        """
        self.say(
            SessionEndedRecord(
                at=at,
                session=self.session,
                said_by=said_by,
                ended_at=at,
                state=EndState(state),
                reason=reason,
                failure=failure,
            )
        )

    def new_id(self) -> str:
        return f"{next(self._ids):016x}"

    def open(self, kind: Any, name: str, *, at: int, id: str | None = None, **fields: Any) -> str:
        """
        An event begins and goes on for long.
        """
        event_id = id or self.new_id()
        self.say(
            EventOpenedRecord(
                at=at,
                session=self.session,
                id=event_id,
                kind=kind,
                name=name,
                started_at=at,
                **_raw(fields),
            )
        )
        return event_id

    def event(
        self,
        kind: Any,
        name: str,
        *,
        at: int,
        lasts: int = MILLISECOND,
        id: str | None = None,
        state: Any = "Success",
        cost: str | Cost | None = None,
        **fields: Any,
    ) -> str:
        """
        An event, from *at* until it has lasted.
        """
        event_id = id or self.new_id()
        self.say(
            EventRecord(
                at=at + lasts,
                session=self.session,
                id=event_id,
                kind=kind,
                name=name,
                started_at=at,
                ended_at=at + lasts,
                state=state,
                cost=Cost(cost) if isinstance(cost, str) else cost,
                **_raw(fields),
            )
        )
        return event_id


def _raw(fields: dict[str, Any]) -> dict[str, Any]:
    payloads = {"params", "returns", "prompt", "completion", "usage", "attributes"}
    return {
        name: _encoder.payload(value) if name in payloads else value
        for name, value in fields.items()
        if value is not None
    }


Programs = Callable[[], Program]
"""Makes programs that send to the collector under test."""

Get = Callable[..., httpx.Response]
"""Fetches a page as a browser without scripts would."""


def failure_of(function: Any) -> Failure:
    """
    What a recorder makes of the exception that *function* raises.
    """
    try:
        function()
    except BaseException as error:
        return Failure.from_exception(error)
    raise AssertionError("it was to raise")
