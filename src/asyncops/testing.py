"""
Helpers for testing programs that record, and exporters.

```python
def test_it_searches():
    with asyncops.testing.recorded() as recording:
        with asyncops.session():
            search("asyncio")

    assert [event.name for event in recording.events] == ["search"]
```
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import attrs
import msgspec

from . import _clock, _ids
from ._client import Client, override
from ._configuration import Configuration
from ._events import EventRecord, Record, SessionEndedRecord, SessionRecord
from ._exporter import Answer
from ._frames import Chunk
from ._wire import decode, number_line

__all__ = ["MemoryExporter", "Recording", "fixed_ids", "recorded", "ticking_clock"]


class Recording:
    """
    What was recorded, in order. A journal that stays in memory and is delivered to nobody.

    Attributes:
        records: All of it: `SessionRecord`, `EventRecord`, `SessionEndedRecord` ...
    """

    source = "00000000-0000-7000-8000-000000000000"

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.dropped: dict[str, int] = {}

    @property
    def events(self) -> list[EventRecord]:
        """
        The events, in the order in which they ended.
        """
        return [record for record in self.records if isinstance(record, EventRecord)]

    @property
    def sessions(self) -> list[SessionRecord]:
        """
        The sessions that began.
        """
        return [record for record in self.records if isinstance(record, SessionRecord)]

    @property
    def endings(self) -> list[SessionEndedRecord]:
        """
        How they ended.
        """
        return [record for record in self.records if isinstance(record, SessionEndedRecord)]

    # what a client wants of a journal

    def append(self, line: bytes, *, expendable: bool = False, final: bool = False) -> None:
        self.records.append(decode(number_line(line, len(self.records) + 1)))

    def opened(self, word: str) -> None:
        pass

    def closed(self, word: str) -> None:
        pass

    def maintain(self) -> None:
        pass

    def read(self, max_records: int, max_bytes: int) -> Chunk | None:
        return None

    def acknowledge(self, seq: int) -> None:
        pass

    def set_aside(self, line: bytes, reason: str) -> None:
        pass

    def wake_when(self, unread: int) -> None:
        pass

    @property
    def unread(self) -> int:
        return 0

    @property
    def backlog(self) -> int:
        return 0

    @property
    def last_seq(self) -> int:
        return len(self.records)

    @property
    def is_volatile(self) -> bool:
        return False

    def seal(self) -> None:
        pass

    def close(self) -> None:
        pass

    def abandon(self) -> None:
        pass


@contextlib.contextmanager
def recorded(configuration: Configuration | None = None) -> Iterator[Recording]:
    """
    Record what happens in the block to memory: no file, no thread, no network.

    Args:
        configuration: Options such as `capture_params` or `redact`.
    """
    recording = Recording()
    before = override(Client(configuration or Configuration(), journal=recording))
    try:
        yield recording
    finally:
        override(before)


@contextlib.contextmanager
def ticking_clock(
    start: int = 1_700_000_000_000_000_000, *, step: int = 1_000_000
) -> Iterator[None]:
    """
    Let time begin at *start* and go on by *step* nanoseconds each time anybody looks.
    """
    before = _clock.wall_ns, _clock.monotonic_ns
    _clock.wall_ns = itertools.count(start, step).__next__
    _clock.monotonic_ns = itertools.count(0, step).__next__
    try:
        yield
    finally:
        _clock.wall_ns, _clock.monotonic_ns = before


@contextlib.contextmanager
def fixed_ids() -> Iterator[None]:
    """
    Let ids count up from one, so that whole recordings can be compared.
    """
    before = _ids.new_uuid, _ids.new_event_id
    uuids, events = itertools.count(1), itertools.count(1)
    _ids.new_uuid = lambda: f"00000000-0000-7000-8000-{next(uuids):012x}"
    _ids.new_event_id = lambda: f"{next(events):016x}"
    try:
        yield
    finally:
        _ids.new_uuid, _ids.new_event_id = before


@attrs.define
class MemoryExporter:
    """
    Keeps what it is given, as a collector would. Raises the errors in `failures` first, in order.

    Attributes:
        lines: Every line that was delivered, by source; sent twice, it is here once.
        batches: How many lines each request brought; 0 is a heartbeat.
        failures: What to raise instead of answering, used up one by one.
        closed: Whether `aclose` was called.
    """

    lines: dict[str, dict[int, bytes]] = attrs.field(factory=dict)
    batches: list[int] = attrs.field(factory=list)
    failures: list[Exception] = attrs.field(factory=list)
    closed: bool = False

    async def export(self, source: str, lines: Sequence[bytes]) -> Answer:
        if self.failures:
            raise self.failures.pop(0)
        self.batches.append(len(lines))
        kept = self.lines.setdefault(source, {})
        for line in lines:
            kept.setdefault(_seq(line), bytes(line))
        return Answer(acknowledged=max(kept, default=0))

    async def aclose(self) -> None:
        self.closed = True


def _seq(line: bytes) -> int:
    told: dict[str, Any] = msgspec.json.decode(line)
    return int(told["seq"])
