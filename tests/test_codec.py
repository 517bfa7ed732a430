"""
Whatever a program hands over becomes a line, and every line comes back as the record it was.
"""

from __future__ import annotations

import collections
import json
import types
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncops import Cost, DecodeError, EndState, Failure
from asyncops._events import (
    EventOpenedRecord,
    EventRecord,
    LostRecord,
    Record,
    SessionEndedRecord,
    SessionRecord,
    SourceEndedRecord,
    SourceRecord,
    TagsRecord,
    VideoRecord,
)
from asyncops._wire import (
    MAX_RECORD_BYTES,
    Encoder,
    decode,
    decode_lines,
    encode,
    label,
    number_line,
    tombstone,
)

# -- things that lie about themselves ---------------------------------------------------------


def raising(*_: Any, **__: Any) -> Any:
    raise LookupError("no")


DUNDERS = (
    "__repr__ __str__ __len__ __iter__ __getitem__ __contains__ __bool__ __hash__ __eq__"
    " __getattribute__ __format__ __fspath__ __int__ __float__ __bytes__ __index__ __reduce__"
).split()

LIES: dict[str, list[Callable[..., Any]]] = {
    name: [raising, lambda *_: None, lambda *_: -1, lambda *_: 2**80] for name in DUNDERS
}


@st.composite
def liars(draw: st.DrawFn) -> Any:
    """
    An object of a class of its own that answers some questions wrongly or not at all.
    """
    base = draw(st.sampled_from([object, str, int, float, dict, list, tuple, set, bytes]))
    names = draw(st.lists(st.sampled_from(DUNDERS), max_size=4, unique=True))
    members: dict[str, Any] = {name: draw(st.sampled_from(LIES[name])) for name in names}
    if draw(st.booleans()):
        members["items"] = members["keys"] = members["values"] = raising
    if draw(st.booleans()):
        members["model_dump"] = draw(st.sampled_from([raising, lambda self: self, lambda _: 7]))
    for listed in draw(
        st.sets(st.sampled_from(["__attrs_attrs__", "__dataclass_fields__", "__struct_fields__"]))
    ):
        members[listed] = draw(st.sampled_from([None, 7, ("gone",), raising]))
    if base is object:
        members.setdefault("__slots__", draw(st.sampled_from([(), ("gone",)])))
    return type("Liar", (base,), members)()


class Bottomless(Mapping[Any, Any]):
    """
    A mapping in which there is always another one.
    """

    def __getitem__(self, key: Any) -> Bottomless:
        return Bottomless()

    def __iter__(self) -> Iterator[str]:
        return iter(["down"])

    def __len__(self) -> int:
        return 1


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


PLAIN = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.binary(max_size=50)
    | st.decimals()
    | st.datetimes()
    | st.timedeltas()
    | st.uuids()
    | st.complex_numbers()
)

KEYS = st.none() | st.text() | st.integers() | st.binary(max_size=5) | st.tuples(st.uuids())

ANYTHING = st.recursive(
    PLAIN
    | liars()
    | st.builds(Bottomless)
    | st.integers(0, 3_000).map(nested)
    | st.sampled_from([raising, type, ..., types, object(), memoryview(b"x"), range(3), slice(1)])
    | st.builds(LookupError, PLAIN),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(KEYS, inner, max_size=4)
        | st.tuples(inner, inner)
        | st.builds(collections.deque, st.lists(inner, max_size=3))
        | st.builds(types.SimpleNamespace, a=inner)
        | st.builds(types.MappingProxyType, st.dictionaries(st.text(), inner, max_size=3))
    ),
    max_leaves=12,
)


# -- records as the SDK makes them ------------------------------------------------------------

_encoder = Encoder(max_value_bytes=4_096)

numbers = st.integers(0, 2**63 - 1)
uuids = st.uuids().map(str)
event_ids = st.integers(0, 2**64 - 1).map("{:016x}".format)
labels = ANYTHING.map(label)
texts = ANYTHING.map(_encoder.text)
payloads = ANYTHING.map(_encoder.payload)


def failure_of(exception: BaseException) -> Failure:
    return _encoder.failure(Failure.from_exception(exception))


failures = st.recursive(
    st.builds(LookupError, ANYTHING) | st.builds(OSError, st.integers(), st.text()),
    lambda inner: st.builds(ExceptionGroup, st.text(), st.lists(inner, min_size=1, max_size=3)),
    max_leaves=5,
).map(failure_of)

costs = st.builds(
    Cost,
    amount=st.decimals(0, 10**6, allow_nan=False, places=9),
    currency=st.sampled_from(["USD", "EUR"]),
    source=st.sampled_from(["provider", "computed"]),
)


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


said = st.fixed_dictionaries(
    {
        "at": numbers,
        "session": uuids,
        "id": event_ids,
        "kind": st.sampled_from(["action", "tool", "llm", "agent", "error"]),
        "name": labels,
        "started_at": numbers,
    },
    optional={
        "parent_id": event_ids,
        "agent": labels,
        "params": payloads,
        "model": labels,
        "provider": labels,
        "prompt": payloads,
        "attributes": payloads,
    },
)

closed = st.fixed_dictionaries(
    {"state": st.sampled_from(["Success", "Fail", "Cancelled"]), "ended_at": numbers},
    optional={
        "returns": payloads,
        "failure": failures,
        "completion": payloads,
        "prompt_tokens": numbers,
        "completion_tokens": numbers,
        "cached_tokens": numbers,
        "cache_write_tokens": numbers,
        "reasoning_tokens": numbers,
        "time_to_first_token": numbers,
        "usage": payloads,
        "cost": costs,
        "trigger_event_id": event_ids,
        "tool_call_id": labels,
    },
)

records: st.SearchStrategy[Record] = st.one_of(
    st.builds(
        SourceRecord,
        at=numbers,
        source=uuids,
        pid=maybe(numbers),
        boot_id=maybe(labels),
        started_at=maybe(numbers),
        sdk=maybe(labels),
        host=maybe(st.dictionaries(st.text(), st.text() | st.integers(0, 2**62), max_size=3)),
    ),
    st.builds(
        SessionRecord,
        at=numbers,
        session=uuids,
        name=maybe(labels),
        started_at=maybe(numbers),
        tags=st.lists(labels, max_size=3).map(tuple),
        inherited=st.booleans(),
    ),
    st.builds(
        TagsRecord,
        at=numbers,
        session=uuids,
        tags=st.lists(labels, max_size=3).map(tuple),
        replace=st.booleans(),
    ),
    st.builds(VideoRecord, at=numbers, session=uuids, video=texts),
    said.map(lambda fields: EventOpenedRecord(**fields)),
    st.tuples(said, closed).map(lambda fields: EventRecord(**fields[0], **fields[1])),
    st.builds(
        SessionEndedRecord,
        at=numbers,
        session=uuids,
        said_by=st.sampled_from(["user", "process", "adopter"]),
        ended_at=numbers,
        state=maybe(st.sampled_from(EndState)),
        reason=maybe(texts),
        failure=maybe(failures),
    ),
    st.builds(LostRecord, at=numbers, count=numbers, reason=labels),
    st.builds(SourceEndedRecord, at=numbers),
)


def told(record: Record) -> dict[str, Any]:
    """
    What *record* says, so that it can be compared: payloads as bytes.
    """
    values = {name: getattr(record, name) for name in record.__struct_fields__}
    return {
        name: bytes(value) if isinstance(value, msgspec.Raw) else value
        for name, value in values.items()
    }


@settings(max_examples=150)
@given(records, st.integers(1, 2**63 - 1))
def test_every_record_comes_back(record: Record, seq: int) -> None:
    """
    Any record made of any objects becomes one bounded line, and that line is the same record.
    """
    line = number_line(encode(record), seq)
    back = decode(line)

    assert b"\n" not in line
    assert len(line) <= MAX_RECORD_BYTES + 64
    assert type(record) is type(back)
    assert {**told(record), "seq": seq} == told(back)


@settings(max_examples=150)
@given(ANYTHING)
def test_anything_becomes_json(value: object) -> None:
    """
    No object, however it lies about itself, makes the encoder raise; what comes out is JSON.
    """
    json.loads(bytes(Encoder().payload(value)).decode())
    label(value).encode()
    Encoder().text(value).encode()


@settings(max_examples=100)
@given(records, st.data())
def test_any_damaged_byte_of_a_line(record: Record, data: st.DataObject) -> None:
    """
    A line with one byte changed is a record or no record, and never anything else.
    """
    line = bytearray(number_line(encode(record), 7))
    at = data.draw(st.integers(0, len(line) - 1))
    line[at] ^= data.draw(st.integers(1, 255))
    try:
        back = decode(line)
    except DecodeError:
        return
    assert decode(encode(back)) == back


@settings(max_examples=100)
@given(st.lists(records, min_size=1, max_size=5), st.data())
def test_lines_are_decoded_together_as_one_by_one(some: list[Record], data: st.DataObject) -> None:
    """
    Many lines at once are the records that they are one by one, and are refused where one of them
    would be.
    """
    lines = [number_line(encode(record), seq) for seq, record in enumerate(some, 1)]
    together = decode_lines(b"\n".join(lines))
    assert [told(decode(line)) for line in lines] == [told(record) for record in together]
    assert len(decode_lines(b"\n".join(lines) + b"\n")) == len(some)

    damaged = bytearray(lines[-1])
    at = data.draw(st.integers(0, len(damaged) - 1))
    damaged[at] ^= data.draw(st.integers(1, 255))
    body = b"\n".join([*lines[:-1], bytes(damaged)])
    try:
        assert [decode(line) for line in body.split(b"\n")] == decode_lines(body)
    except DecodeError:
        with pytest.raises(DecodeError):
            decode_lines(body)


@pytest.mark.parametrize("gap", [b"\n\n", b" ", b"\n \n", b""])
def test_lines_that_are_decoded_together_are_one_record_each(gap: bytes) -> None:
    """
    Two records in a line, or none, are not what the protocol says.
    """
    line = number_line(encode(SourceEndedRecord(at=1)), 1)
    with pytest.raises(DecodeError):
        decode_lines(line + gap + line)


@settings(max_examples=50)
@given(records)
def test_tombstones_of_all_records(record: Record) -> None:
    """
    A tombstone of any record is the same record but for its payloads.
    """
    line = number_line(encode(record), 7) + b"\n"
    before, after = told(decode(line)), told(decode(tombstone(line)))

    for name, value in before.items():
        if not isinstance(value, bytes):
            assert value == after[name]
        elif value:
            assert {"$truncated": "record", "size": len(value)} == json.loads(after[name])


@pytest.mark.parametrize("amount", ["0", "0.000000001", "123.45", "1E-7", "1000000000"])
def test_costs_keep_every_digit(amount: str) -> None:
    """
    An amount of money is the same number after its journey.
    """
    record = EventRecord(
        at=1,
        session="0198a0b0-0000-7000-8000-000000000000",
        id="00000000000000aa",
        kind="llm",
        name="m",
        started_at=1,
        state="Success",
        ended_at=1,
        cost=Cost(amount=Decimal(amount), source="provider"),
    )
    back = decode(number_line(encode(record), 1))

    assert isinstance(back, EventRecord)
    assert back.cost is not None
    assert Decimal(amount) == back.cost.amount
