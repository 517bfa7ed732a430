"""
How things become lines of JSON, and lines become records again.

`Encoder` turns what a program hands us into JSON that is safe to keep: total (it never raises),
bounded in size and depth, secrets taken out. `encode` and `decode` are for records.

Values take one of two ways. Most are small and plain: msgspec encodes them in well under a
microsecond, a look at the bytes shows that nothing in them needs care, and they are used as they
are. Everything else (large, deep, cyclic, exotic, or looking like it holds a secret) is rebuilt
piece by piece in Python. Where JSON cannot say what a value is, a marker object says it:

    {"$truncated": "string", "size": 300000, "head": "..."}    "bytes", "list", "mapping": likewise
    {"$truncated": "depth", "type": "dict"}                    deeper than MAX_DEPTH
    {"$truncated": "cycle", "type": "list"}                    contains itself
    {"$type": "pkg.Class", "repr": "<...>"}                    an object JSON has no word for
    {"$type": "pkg.Class", "error": "ValueError"}              ... whose repr() raises
"""

from __future__ import annotations

import base64
import contextlib
import functools
import os
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import attrs
import msgspec

from ._content import hashed, without_media
from ._events import (
    MAX_LABEL_CHARS,
    NOTHING,
    AnnotationRecord,
    EventOpenedRecord,
    EventRecord,
    Failure,
    LostRecord,
    Record,
    SourceEndedRecord,
    SourceRecord,
    SucceededEvent,
)
from ._exceptions import DecodeError
from ._redaction import (
    REDACTED,
    is_secret_name,
    may_hold_secrets,
    without_secrets,
    without_secrets_in_prose,
)

__all__ = [
    "MAX_DEPTH",
    "MAX_RECORD_BYTES",
    "NUMBERED",
    "Encoder",
    "Redact",
    "decode",
    "decode_lines",
    "encode",
    "label",
    "number_line",
    "tombstone",
    "without_secrets",
]

MAX_DEPTH = 32
"""How deep a value may nest; what lies deeper becomes a marker."""

MAX_RECORD_BYTES = 1_048_576
"""The longest line there is; a record that comes out longer loses its largest payloads."""

MAX_PLAIN_BYTES = 65_536
"""Values larger than this are always rebuilt piece by piece."""

MAX_REPR_CHARS = 1_024
"""How much of an object's repr is kept."""

MAX_TEXT_CHARS = 65_536
"""How much is kept of a reason, a message, a traceback, an address."""

HEAD_CHARS = 1_024
"""How much of a string is kept that does not fit."""

NUMBERED = b'{"seq":%d,%b'
"""What a line becomes: its number, and what follows its first brace."""

Redact = Callable[[str, Any], Any]
"""
A hook `redact(key, value) -> value` called for every entry of a mapping and every element of a
list, with the nearest key above it ("" at the top). What it returns is kept instead; if it raises,
the value is left out.
"""


def label(value: object) -> str:
    """
    The text of a name, tag or model: at most `MAX_LABEL_CHARS` characters, valid Unicode, the
    shapes of secrets taken out.
    """
    text = value if type(value) is str else _text_of(value)
    return _label(text if len(text) <= 2 * MAX_LABEL_CHARS else text[: 2 * MAX_LABEL_CHARS])


@functools.lru_cache(maxsize=1_024)  # a program has few names, and says them all the time
def _label(text: str) -> str:
    text = without_secrets(_valid_unicode(text))
    return text if len(text) <= MAX_LABEL_CHARS else text[: MAX_LABEL_CHARS - 3] + "..."


def encode(record: Record | SucceededEvent) -> bytes:
    """
    One line of JSON for *record*, without its `seq` where that is still 0, without a line break.

    Its payloads come from an `Encoder`, its labels from `label`: then this cannot fail.
    """
    line = _encoder.encode(record)
    return line if len(line) <= MAX_RECORD_BYTES else _shrunk(record)


def number_line(line: bytes, seq: int) -> bytes:
    """
    *line* as `encode` made it, with its number.
    """
    return NUMBERED % (seq, line[1:])


def decode(line: bytes | bytearray | memoryview) -> Record:
    """
    The record that *line* holds.

    Raises:
        DecodeError: It is not JSON, not UTF-8, of an unknown type, lacks something or has a value
            out of range.
    """
    with _decoding():
        str(line, "utf-8")  # payloads are kept as the bytes they are, so nobody else would look
        record: Record = _decoder().decode(line)
    _check([record])
    return record


def decode_lines(body: bytes) -> list[Record]:
    """
    The records that the lines of *body* hold, each of which must be one: in half the time that
    `decode` takes for them one by one.

    Raises:
        DecodeError: One of the lines is no record, or empty.
    """
    with _decoding():
        str(body, "utf-8")
        records: list[Record] = _decoder().decode_lines(body)
    if len(records) != body.count(b"\n") + (not body.endswith(b"\n")):
        raise DecodeError("a record is a line, and a line is a record")
    _check(records)
    return records


@contextlib.contextmanager
def _decoding() -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError as error:
        raise DecodeError(f"not UTF-8: {error.reason} at byte {error.start}") from None
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise DecodeError(str(error)) from None


_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_HEX = re.compile(r"[0-9a-f]*")


def _check(records: Sequence[Record]) -> None:
    """
    Raises:
        DecodeError: One of *records* has a value that its types let pass, but not the protocol.
    """
    uuids: dict[str, str] = {}
    ids: list[str] = []
    for record in records:
        if record.seq < 1:
            raise DecodeError("Object missing required field `seq`, which counts from 1")
        if isinstance(record, EventOpenedRecord):
            uuids[record.session] = "session"
            ids.append(record.id)
            if record.parent_id is not None:
                ids.append(record.parent_id)
            if isinstance(record, EventRecord) and record.trigger_event_id is not None:
                ids.append(record.trigger_event_id)
        elif isinstance(record, SourceRecord):
            uuids[record.source] = "source"
        elif not isinstance(record, LostRecord | SourceEndedRecord):
            uuids[record.session] = "session"
            if isinstance(record, AnnotationRecord):
                ids += filter(None, (record.event, record.note_id))
    for text, field in uuids.items():
        if not _UUID.fullmatch(text):
            raise DecodeError(f"Expected a UUID in lower case - at `$.{field}`")
    if not _HEX.fullmatch("".join(ids)):
        raise DecodeError("Expected 16 hex digits in lower case in each id of an event")


def tombstone(line: bytes) -> bytes:
    """
    *line* with a marker in place of each of its payloads: for a collector that finds it too long.
    """
    try:
        record = decode(line)
    except DecodeError:
        return line
    changed = {
        name: msgspec.Raw(_encoder.encode({"$truncated": "record", "size": len(bytes(value))}))
        for name in record.__struct_fields__
        if isinstance(value := getattr(record, name), msgspec.Raw) and bytes(value)
    }
    return _encoder.encode(msgspec.structs.replace(record, **changed)) + b"\n"


@attrs.frozen(kw_only=True)
class Encoder:
    """
    Makes payloads: JSON of whatever a program hands us.

    Attributes:
        max_value_bytes: About how large one payload may become, in bytes of JSON.
        redact: The program's own hook, called after the built-in redaction.
        keep_content: What is kept of prompts and completions: "full", "hash" or "metadata".
        keep_media: Whether the bytes of images and sound in them are kept.
    """

    max_value_bytes: int = 262_144
    redact: Redact | None = None
    keep_content: str = "full"
    keep_media: bool = False
    _plain_bytes: int = attrs.field(init=False, repr=False)

    @_plain_bytes.default
    def _(self) -> int:
        return min(MAX_PLAIN_BYTES, self.max_value_bytes)

    def payload(self, value: object) -> msgspec.Raw:
        """
        *value* as JSON, for a record. Never raises `Exception`; safe from any thread.
        """
        return msgspec.Raw(self.json(value))

    def content(self, value: Any) -> msgspec.Raw:
        """
        `payload` of *value*, a prompt or a completion, as far as it is to be kept.
        """
        if self.keep_content == "metadata":
            return NOTHING
        try:
            if not self.keep_media:
                value = without_media(value)
            if self.keep_content == "hash":
                value = hashed(value)
        except Exception as error:  # then nothing of it is kept: it might be what must not be
            value = {"$type": _type_name(value), "error": type(error).__name__}
        return self.payload(value)

    def member(self, value: Any) -> Any:
        """
        `payload` of *value*, or the number, bool or None that it is: a record takes those as well.
        """
        kind = type(value)  # which need not be hashable
        if kind is int:
            if -(2**63) <= value < 2**63:
                return value
        elif kind is bool or kind is float or value is None:
            return value
        return msgspec.Raw(self.json(value))

    def json(self, value: object) -> bytes:
        """
        *value* as JSON. Never raises `Exception`; safe from any thread.
        """
        try:
            if self.redact is None and not _is_large(value):
                data = _encoder.encode(value)
                if len(data) <= self._plain_bytes and _is_harmless(data):
                    return data
        except Exception:  # noqa: S110 - whatever it is, the careful way copes with it
            pass
        return self._rebuilt(value)

    def arguments(self, values: dict[str, Any]) -> msgspec.Raw:
        """
        `payload` of *values* that stand under names none of which is that of a secret.
        """
        try:
            are_scalars = _SCALARS.issuperset(map(type, values.values()))
            if self.redact is None and (are_scalars or not _is_large(values)):
                data = _encoder.encode(values)
                if len(data) <= self._plain_bytes and (
                    are_scalars or _is_harmless(data, members=len(values))
                ):
                    return msgspec.Raw(data)
        except Exception:  # noqa: S110 - as above
            pass
        return msgspec.Raw(self.json(values))

    def _rebuilt(self, value: object) -> bytes:
        try:
            tree = _Rebuilder(self.max_value_bytes, self.redact).rebuild(value)
            return _encoder.encode(tree)
        except Exception as error:
            return _encoder.encode({"$type": _type_name(value), "error": type(error).__name__})

    def text(self, value: object) -> str:
        """
        *value* as text of bounded length, secrets taken out: reasons, messages, addresses.
        """
        return without_secrets_in_prose(_valid_unicode(_text_of(value)[:MAX_TEXT_CHARS]))

    def failure(self, failure: Failure) -> Failure:
        """
        *failure* with the shapes of secrets taken out of its texts, all the way down.
        """
        return attrs.evolve(
            failure,
            type=label(failure.type),
            message=self.text(failure.message),
            # source code: there `token = next(tokens)` is no secret, and worth reading
            traceback=without_secrets(_valid_unicode(failure.traceback)[:MAX_TEXT_CHARS]),
            causes=tuple(self.failure(cause) for cause in failure.causes),
        )


# -- the quick way ----------------------------------------------------------------------------

_SCALARS = frozenset({int, float, bool, type(None)})
"""Values of these types hold no secret."""


def _encode_unknown(value: Any) -> Any:
    """
    What msgspec cannot encode by itself, in terms of what it can.
    """
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (AbstractSet, deque)):
        return list(value)
    for kind in (str, int, float):  # subclasses: an enum's member, a NumPy number
        if isinstance(value, kind):
            return kind.__str__(value) if kind is str else kind(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if callable(getattr(type(value), "model_dump", None)):  # pydantic
        return value.model_dump()
    return _described(value)


def _described(value: object) -> dict[str, Any]:
    try:
        text = repr(value)[: 2 * MAX_REPR_CHARS]
    except Exception as error:
        return {"$type": _type_name(value), "error": type(error).__name__}
    text = without_secrets_in_prose(_valid_unicode(text))
    if len(text) > MAX_REPR_CHARS:
        text = text[: MAX_REPR_CHARS - 3] + "..."
    return {"$type": _type_name(value), "repr": text}


_encoder = msgspec.json.Encoder(enc_hook=_encode_unknown)


@functools.cache
def _decoder() -> msgspec.json.Decoder[Record]:
    """
    Made when first needed: a program that records decodes nothing, and this takes milliseconds.
    """
    return msgspec.json.Decoder(Record)


def _is_large(value: object) -> bool:
    """
    Whether *value*, or anything directly in it, is so long that encoding it whole would be a waste.
    """
    if type(value) is dict:
        for item in value.values():
            if hasattr(item, "__len__") and len(item) > MAX_PLAIN_BYTES:
                return True
    return hasattr(value, "__len__") and len(value) > MAX_PLAIN_BYTES


def _is_harmless(data: bytes, *, members: int = 0) -> bool:
    """
    Whether *data* can hold neither a secret nor too deep a nest: true only when that is certain.
    """
    if data.count(b"[") + data.count(b"{") > MAX_DEPTH:
        return False
    return not may_hold_secrets(data, members=members)


# -- the careful way --------------------------------------------------------------------------


class _Rebuilder:
    """
    Rebuilds one value from parts JSON has words for, within a budget of bytes.
    """

    def __init__(self, max_bytes: int, redact: Redact | None) -> None:
        self._left = max_bytes
        self._redact = redact
        self._above: set[int] = set()

    def rebuild(self, value: object, key: str = "", depth: int = 0) -> Any:
        try:
            return self._rebuild(value, key, depth)
        except Exception as error:  # an object that lies about itself
            self._left -= 64
            return {"$type": _type_name(value), "error": type(error).__name__}

    def _rebuild(self, value: Any, key: str, depth: int) -> Any:
        if depth > 0 and self._redact is not None:
            value = self._redact(key, value)
        kind = type(value)
        if value is None or kind is bool or kind is float:
            self._left -= 8
            return value
        if kind is int:
            return self._integer(value)
        if kind is str:
            return self._string(value)
        if isinstance(value, (bytes, bytearray, memoryview)):
            return self._bytes(bytes(value))
        if depth >= MAX_DEPTH:
            self._left -= 64
            return {"$truncated": "depth", "type": _type_name(value)}
        if id(value) in self._above:
            self._left -= 64
            return {"$truncated": "cycle", "type": _type_name(value)}
        self._above.add(id(value))
        try:
            return self._container(value, key, depth)
        finally:
            self._above.discard(id(value))

    def _integer(self, value: int) -> Any:
        self._left -= 8
        if -(2**63) <= value < 2**64:
            return value
        size = value.bit_length()
        return str(value) if size < 4_096 else {"$truncated": "int", "size": size, "unit": "bits"}

    def _string(self, value: str) -> Any:
        room = max(self._left, 0)
        size = len(value)
        text = _valid_unicode(value[:room] if size > room else value)
        data = text.encode()
        if may_hold_secrets(data):
            text = without_secrets(text)
            data = text.encode()
        if size > room or len(data) > room:
            head = text[: min(HEAD_CHARS, room)]
            self._left -= len(head) + 64
            return {"$truncated": "string", "size": size, "head": head}
        self._left -= len(data) + 3
        return text

    def _bytes(self, value: bytes) -> Any:
        if len(value) * 4 // 3 <= min(self._left, HEAD_CHARS):
            self._left -= len(value) * 4 // 3
            return base64.b64encode(value).decode()
        self._left -= HEAD_CHARS
        head = base64.b64encode(value[: HEAD_CHARS // 4]).decode()
        return {"$truncated": "bytes", "size": len(value), "head": head}

    def _container(self, value: Any, key: str, depth: int) -> Any:
        if isinstance(value, Mapping):
            return self._mapping(value, depth)
        if isinstance(value, (list, tuple, AbstractSet, deque)):
            return self._sequence(value, key, depth)
        if isinstance(value, msgspec.Raw):
            return self.rebuild(msgspec.json.decode(value), key, depth)
        fields = _fields_of(value)
        if fields is not None:
            return self._mapping(fields, depth)
        return self.rebuild(msgspec.to_builtins(value, enc_hook=_encode_unknown), key, depth + 1)

    def _mapping(self, value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for name, item in list(value.items()):
            if self._left <= 0:
                result["$truncated"] = {"$truncated": "mapping", "size": len(value)}
                break
            name = label(name)
            self._left -= len(name) + 4
            if is_secret_name(name) and not isinstance(item, int | float | None):
                result[name] = REDACTED
            else:
                result[name] = self.rebuild(item, name, depth + 1)
        return result

    def _sequence(self, value: Any, key: str, depth: int) -> list[Any]:
        if _is_secret_pair(value):
            value = (value[0], REDACTED)
        result: list[Any] = []
        for item in value if isinstance(value, (list, tuple)) else list(value):
            if self._left <= 0:
                result.append({"$truncated": "list", "size": len(value)})
                break
            self._left -= 1
            result.append(self.rebuild(item, key, depth + 1))
        return result


def _is_secret_pair(value: Any) -> bool:
    """
    Whether *value* is a name and a secret: a header, a cookie, a field of a form.
    """
    return (
        type(value) is tuple
        and len(value) == 2
        and type(value[0]) is str
        and is_secret_name(value[0])
    )


def _fields_of(value: Any) -> Mapping[str, Any] | None:
    """
    What attrs, dataclass, pydantic and msgspec objects consist of; None for any other.
    """
    kind = type(value)
    if callable(getattr(kind, "model_dump", None)):
        dumped = value.model_dump()
        return dumped if isinstance(dumped, Mapping) else {"value": dumped}
    for listed in ("__attrs_attrs__", "__dataclass_fields__", "__struct_fields__"):
        fields = getattr(kind, listed, None)
        if fields is not None:
            names = (getattr(field, "name", field) for field in fields)
            return {name: getattr(value, name) for name in names if hasattr(value, name)}
    return None


def _text_of(value: object) -> str:
    if isinstance(value, str):
        return str.__str__(value)
    try:
        return str(value)
    except Exception:
        return f"<{_type_name(value)}>"


def _type_name(value: object) -> str:
    kind = type(value)
    module = "" if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}."
    return _valid_unicode(f"{module}{kind.__qualname__}"[:MAX_LABEL_CHARS])


def _valid_unicode(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode(errors="replace").decode()
    return text


def _shrunk(record: Record | SucceededEvent) -> bytes:
    """
    The line of *record* with its payloads cut to an even share of what a line may hold.
    """
    payloads = {
        name: value
        for name in record.__struct_fields__
        if isinstance(value := getattr(record, name), msgspec.Raw) and bytes(value)
    }
    failure: Failure | None = getattr(record, "failure", None)
    changed: dict[str, Any] = {}
    if failure is not None:
        changed["failure"] = attrs.evolve(failure, causes=())
    room = MAX_RECORD_BYTES // 2
    while True:
        # what is counted is text; control characters take six times as much once they are escaped
        share = Encoder(max_value_bytes=room // max(len(payloads), 1))
        changed |= {name: share.payload(value) for name, value in payloads.items()}
        line = _encoder.encode(msgspec.structs.replace(record, **changed))
        if len(line) <= MAX_RECORD_BYTES or room == 0:
            return line
        room //= 8
