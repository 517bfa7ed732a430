"""
One process of a program, and what it and those that helped it wrote.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

import attrs

from ..._events import (
    EndState,
    EventRecord,
    EventState,
    LostRecord,
    Record,
    SessionEndedRecord,
    SessionRecord,
    SourceEndedRecord,
    SourceRecord,
    TagsRecord,
)
from ..._version import __version__
from ..._wire import encode, number_line
from .models import MODELS
from .programs import PROGRAMS, Program
from .work import SECOND, Over, Recorder, Work

__all__ = ["Lines", "PlannedSession", "Process", "lines"]

STARTING = 2 * SECOND
"""How long a process is up before its session begins."""

HELPED_FROM = 60
"""Events from which a session is worth other processes."""

WEEK = 7 * 86_400 * SECOND

_CALLED_OFF = (
    ("SIGINT", "process"),
    ("SIGTERM", "adopter"),
    ("nobody waits for it any more", "user"),
    ("the deadline of 600 s has passed", "process"),
)

_LOST = ("journal_max_bytes", "disk_full", None)
"""Why records are lost; nobody says why where it is None."""

_BY_NAME = {program.name: program for program in PROGRAMS}


@attrs.frozen(kw_only=True)
class PlannedSession:
    """
    A session to come.

    Attributes:
        start: Nanoseconds since the epoch.
        size: How many events it has, if nothing kills it.
        lost: How many of its records get lost on their way.
    """

    start: int
    size: int
    ending: EndState
    lost: int = 0


@attrs.frozen(kw_only=True)
class Process:
    """
    A run of a program, and the sessions that it will have.

    Attributes:
        seed: Everything that happens in it follows from this.
        announces: Whether its events are told of while they are open.
    """

    program: str
    seed: str
    sessions: tuple[PlannedSession, ...]
    announces: bool


@attrs.frozen
class Lines:
    """
    What one source wrote: its lines with their numbers, each with when it did.
    """

    source: str
    lines: list[tuple[int, bytes]]


@attrs.define(eq=False)
class _Source:
    """
    A process while it is made up.
    """

    id: str
    records: list[Record]


def lines(process: Process) -> Iterator[Lines]:
    """
    What *process* and those that helped it wrote.
    """
    chooser = Random(process.seed)  # noqa: S311 - it is to give the same again
    program = _BY_NAME[process.program]
    began = process.sessions[0].start - STARTING
    own, *others = [
        _source(chooser, program, began)
        for _ in range(1 + program.helpers * (process.sessions[0].size >= HELPED_FROM))
    ]
    lost = 0
    for session in process.sessions:
        _record(chooser, process, program, session, own, others)
        lost += session.lost
    for source in (own, *others):
        source.records.sort(key=lambda record: record.at)
        source.records.append(SourceEndedRecord(at=source.records[-1].at))
        yield Lines(source.id, _numbered(chooser, source.records, lost))
        lost = 0  # by one of them


def _source(chooser: Random, program: Program, began: int) -> _Source:
    source = _Source(_uuid(chooser, began), [])
    host = chooser.choice(program.hosts)
    source.records.append(
        SourceRecord(
            at=began,
            source=source.id,
            pid=chooser.randint(300, 60_000),
            boot_id=_uuid(Random(host), 0),  # noqa: S311 - as above
            started_at=began,
            sdk=__version__,
        )
    )
    source.records.append(
        SourceRecord(at=began + SECOND // 4, source=source.id, host=_host(host, program.name))
    )
    return source


def _host(name: str, program: str) -> dict[str, Any]:
    chooser = Random(name)  # noqa: S311 - as above
    cpus = chooser.choice((4, 8, 16))
    total = cpus * 4 * 1024**3
    return {
        "sdk": {"asyncops": __version__, "python": "3.12.7", "implementation": "CPython"},
        "os": {"name": "Linux", "release": "6.12.9", "machine": "x86_64", "hostname": name},
        "cpu": {"logical": cpus, "physical": cpus // 2, "load_average": [0.7, 0.9, 0.8]},
        "ram": {"total": total, "available": total // 2, "used": total // 2},
        "process": {"executable": "/srv/venv/bin/python", "program": f"{program}.py"},
        "packages": {"asyncops": __version__, "httpx": "0.28.1", "pydantic": "2.11.4"},
    }


def _record(
    chooser: Random,
    process: Process,
    program: Program,
    session: PlannedSession,
    own: _Source,
    others: Sequence[_Source],
) -> None:
    """
    Let *session* happen.
    """
    model = MODELS[chooser.choice(program.models)]
    session_id = _uuid(chooser, session.start)
    recorders = [
        Recorder(
            session=session_id,
            chooser=chooser,
            flaws=program.flaws,
            announces=process.announces or session.ending is EndState.INDETERMINATE,
            prefix=f"{chooser.getrandbits(32):08x}",
            records=[SessionRecord(at=session.start + SECOND, session=session_id, inherited=True)],
        )
        for _ in others
    ]
    owner = Recorder(
        session=session_id,
        chooser=chooser,
        flaws=program.flaws,
        announces=process.announces or session.ending is EndState.INDETERMINATE,
        prefix=f"{chooser.getrandbits(32):08x}",
        records=[
            SessionRecord(
                at=session.start,
                session=session_id,
                name=program.name,
                started_at=session.start,
                tags=_tags(chooser, program, session.start),
            )
        ],
    )
    if chooser.random() < 0.1:
        owner.records.append(
            TagsRecord(at=session.start + SECOND, session=session_id, tags=("flagged",))
        )
    work = Work(
        owner,
        now=session.start + owner.seconds(0.05),
        left=session.size,
        ending=_state_of_events(session.ending),
    )
    over = Over("Success")
    try:
        program.work(work, model, recorders)
    except Over as spent:
        over = spent
    if session.ending is EndState.INDETERMINATE:
        died = session.start + int((work.now - session.start) * chooser.uniform(0.2, 0.95))
        for source, recorder in zip((own, *others), (owner, *recorders), strict=True):
            kept = [record for record in recorder.records if record.at <= died]
            last = max(record.at for record in (*source.records, *kept))
            adopted = SessionEndedRecord(
                at=last,
                session=session_id,
                said_by="adopter",
                ended_at=last,
                state=EndState.INDETERMINATE,
                reason="process died",
            )
            source.records += [*kept, adopted]
        return
    ended = work.now + owner.seconds(0.01)
    reason, said_by = None, "process"
    if session.ending is EndState.FAIL and over.failure is not None:
        reason = over.failure.summary()
    elif session.ending is EndState.CANCELLED:
        reason, said_by = chooser.choice(_CALLED_OFF)
    own.records += [
        *owner.records,
        SessionEndedRecord(
            at=ended,
            session=session_id,
            said_by=said_by,  # type: ignore[arg-type]
            ended_at=ended,
            state=session.ending,
            reason=reason,
            failure=over.failure,
        ),
    ]
    for source, recorder in zip(others, recorders, strict=True):
        left = SessionEndedRecord(
            at=work.now, session=session_id, said_by="process", ended_at=work.now
        )
        source.records += [*recorder.records, left]


def _state_of_events(ending: EndState) -> EventState:
    if ending is EndState.FAIL:
        return "Fail"
    return "Cancelled" if ending is EndState.CANCELLED else "Success"


def _tags(chooser: Random, program: Program, start: int) -> tuple[str, ...]:
    release = f"v1.{start // WEEK % 50}"
    place = chooser.choices(("prod", "staging", "dev"), (16, 3, 1))[0]
    return (place, release, program.team, *(("eval",) if program.helpers else ()))


def _numbered(chooser: Random, records: list[Record], lost: int) -> list[tuple[int, bytes]]:
    """
    *records* as lines, without some of those that are to be *lost*.
    """
    dropped, reason = range(0), None
    if lost:
        dropped = _beside_each_other(chooser, records, lost)
        reason = chooser.choice(_LOST)
    found: list[tuple[int, bytes]] = []
    for seq, record in enumerate(records, 1):
        if seq in dropped:
            if reason is None or seq < dropped[-1]:
                continue
            record = LostRecord(at=record.at, count=len(dropped), reason=reason)
        found.append((record.at, number_line(encode(record), seq)))
    return found


def _beside_each_other(chooser: Random, records: list[Record], most: int) -> range:
    """
    The numbers of up to *most* events that were recorded one after the other.
    """
    events = [seq for seq, record in enumerate(records, 1) if type(record) is EventRecord]
    if not events:
        return range(0)
    first = chooser.choice(events[: len(events) // 2 + 1])
    after = first + 1
    while (
        after < first + most and after <= len(records) and type(records[after - 1]) is EventRecord
    ):
        after += 1
    return range(first, after)


def _uuid(chooser: Random, at: int) -> str:
    """
    A UUID of version 7, made when it was *at*.
    """
    number = (at // 1_000_000 & (2**48 - 1)) << 80 | chooser.getrandbits(76)
    number = number & ~(0xF << 76) | 0x7 << 76
    return str(uuid.UUID(int=number & ~(0b11 << 62) | 0b10 << 62))
