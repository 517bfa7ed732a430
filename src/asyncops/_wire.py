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
import functools
import itertools
import os
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

import attrs
import msgspec

from ._events import MAX_LABEL_CHARS, Failure, Record
from ._exceptions import DecodeError

__all__ = [
    "MAX_DEPTH",
    "MAX_RECORD_BYTES",
    "REDACTED",
    "Encoder",
    "Redact",
    "decode",
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

REDACTED = "[redacted]"
"""What stands where a secret stood."""

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


def encode(record: Record) -> bytes:
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
    return b'{"seq":%d,%b' % (seq, line[1:])


def decode(line: bytes | bytearray | memoryview) -> Record:
    """
    The record that *line* holds.

    Raises:
        DecodeError: It is not JSON, not UTF-8, of an unknown type, lacks something or has a value
            out of range.
    """
    try:
        str(line, "utf-8")  # payloads are kept as the bytes they are, so nobody else would look
        record: Record = _decoder().decode(line)
    except UnicodeDecodeError as error:
        raise DecodeError(f"not UTF-8: {error.reason} at byte {error.start}") from None
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise DecodeError(str(error)) from None
    if record.seq < 1:
        raise DecodeError("Object missing required field `seq`, which counts from 1")
    return record


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
    """

    max_value_bytes: int = 262_144
    redact: Redact | None = None

    def payload(self, value: object) -> msgspec.Raw:
        """
        *value* as JSON. Never raises `Exception`; safe from any thread.
        """
        try:
            if self.redact is None and not _is_large(value):
                data = _encoder.encode(value)
                if len(data) <= min(MAX_PLAIN_BYTES, self.max_value_bytes) and _is_harmless(data):
                    return msgspec.Raw(data)
        except Exception:  # noqa: S110 - whatever it is, the careful way copes with it
            pass
        return self._rebuilt(value)

    def _rebuilt(self, value: object) -> msgspec.Raw:
        try:
            tree = _Rebuilder(self.max_value_bytes, self.redact).rebuild(value)
            return msgspec.Raw(_encoder.encode(tree))
        except Exception as error:
            return msgspec.Raw(
                _encoder.encode({"$type": _type_name(value), "error": type(error).__name__})
            )

    def text(self, value: object) -> str:
        """
        *value* as text of bounded length, secrets taken out: reasons, messages, addresses.
        """
        text = without_secrets(_valid_unicode(_text_of(value)[:MAX_TEXT_CHARS]))
        return _without_named(text, (_ASSIGNMENT,))

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
    text = _without_named(without_secrets(_valid_unicode(text)), (_ASSIGNMENT,))
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


def _is_harmless(data: bytes) -> bool:
    """
    Whether *data* can hold neither a secret nor too deep a nest: true only when that is certain.

    Looks for substrings without which no rule of the section on secrets can match. Written out,
    because a loop over them takes eight times as long as the searches themselves.
    """
    if data.count(b"[") + data.count(b"{") > MAX_DEPTH:
        return False
    low = data.lower().decode("latin-1")  # `in` is four times as fast on text as on bytes
    return not (
        "key" in low or "token" in low or "pass" in low or "secret" in low or "auth" in low
        or "pwd" in low or "credential" in low or "cookie" in low or "jwt" in low
        or "bearer" in low or "sk-" in low or "sk_" in low or "rk-" in low or "rk_" in low
        or ("gh" in low and ("_pat_" in low or "ghp_" in low or "gho_" in low
                             or "ghu_" in low or "ghs_" in low or "ghr_" in low))
        or "://" in low or "eyj" in low or "aiza" in low or "akia" in low or "asia" in low
        or "xox" in low or "hf_" in low or "npm_" in low or "glpat-" in low or "aops_" in low
    )  # fmt: skip


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
        text = without_secrets(text)
        if size > room or len(text.encode()) > room:
            head = text[: min(HEAD_CHARS, room)]
            self._left -= len(head) + 64
            return {"$truncated": "string", "size": size, "head": head}
        self._left -= len(text.encode()) + 3
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


def _shrunk(record: Record) -> bytes:
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


# -- secrets ----------------------------------------------------------------------------------

_SECRET_WORDS = frozenset(
    "password passwords passwd passphrase pwd secret secrets credential credentials authorization"
    " cookie cookies apikey jwt".split()
)
_SECRET_ENDINGS = (
    "password", "passwd", "secret", "apikey", "secretkey", "privatekey", "accesskey", "accesstoken",
    "authtoken", "refreshtoken",
)  # fmt: skip
"""Of words that nobody took apart: `dbpassword`."""

_SECRET_LAST_WORDS = frozenset({"token", "auth"})
_SECRET_KEYS = frozenset(
    "api access private secret signing encryption ssh account master license".split()
)
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


@functools.lru_cache(maxsize=4_096)
def is_secret_name(name: str) -> bool:
    """
    Whether what stands under *name* is taken out: `api_key`, `X-Auth-Token`, `dbPassword` ...
    """
    words = [word.lower() for word in _WORDS.findall(name)]
    if not words:
        return False
    if not _SECRET_WORDS.isdisjoint(words) or words[-1] in _SECRET_LAST_WORDS:
        return True
    if any(word.endswith(_SECRET_ENDINGS) for word in words):
        return True
    return any(b in ("key", "keys") and a in _SECRET_KEYS for a, b in itertools.pairwise(words))


# The shapes are the vendors' published ones (key prefixes of OpenAI, Anthropic, Stripe, GitHub,
# GitLab, AWS, Google, Slack, Hugging Face, npm), RFC 7519 (JWT), RFC 6750 (bearer), RFC 7468
# (PEM private keys) and RFC 3986 user information in a URL. By what they begin with, which is
# looked for first: one expression for all of them would look at every character of a long text.
_PREFIXED = r"\b(?P<value>[a-z]{2}[-_][A-Za-z0-9_-]{16,})"
_GITHUB = r"\b(?P<value>gh[a-z]_[A-Za-z0-9]{20,})"
_AWS = r"\b(?P<value>[A-Z]{4}[0-9A-Z]{16})\b"
_SHAPES = {
    **dict.fromkeys(("sk-", "sk_", "rk-", "rk_"), _PREFIXED),
    **dict.fromkeys(("ghp_", "gho_", "ghu_", "ghs_", "ghr_"), _GITHUB),
    **dict.fromkeys(("AKIA", "ASIA"), _AWS),
    "github_pat_": r"\b(?P<value>github_pat_\w{20,})",
    "glpat-": r"\b(?P<value>glpat-[\w-]{16,})",
    "AIza": r"\b(?P<value>AIza[\w-]{30,})",
    "xox": r"\b(?P<value>xox[a-z]-[A-Za-z0-9-]{10,})",
    "hf_": r"\b(?P<value>hf_[A-Za-z0-9]{20,})",
    "aops_": r"\b(?P<value>aops_[\w-]{20,})",
    "npm_": r"\b(?P<value>npm_[A-Za-z0-9]{30,})",
    "eyJ": r"\b(?P<value>eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{4,})",
    "earer ": r"earer (?P<value>[A-Za-z0-9._~+/=-]{16,})",
    "-----BEGIN ": (
        r"(?P<value>-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----[\s\S]*?"
        r"(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|\Z))"
    ),
    "://": r"://(?P<value>[^\s/@:]{0,256}:[^\s/?#]{1,256})(?=@)",
}

# What a name in the text itself tells to be a secret. Every repetition is bounded: a text made to
# be slow to search must not hold up the program that records it.
_NAME_HINTS = ("pass", "pwd", "secret", "token", "key", "credential", "auth", "cookie", "jwt")
_NAME_CHARS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_.-")
_MAX_NAME_CHARS = 64

_NAMED = r"([\w.-]{1,128})\\{0,8}[\"']?\s{0,8}[=:]"
_SCHEME = r"(?:basic|bearer|digest|token|negotiate|apikey|aws4-hmac-sha256) +"
_LITERAL = (
    r"[\w.-]{1,128}\\{0,8}[\"']?\s{0,8}[=:]\s{0,8}(?:"
    r"(?P<quote>[\"'])(?P<value>(?:\\.|(?!(?P=quote))[^\\]){1,1024})(?P=quote)"
    r"|(?P<escaped>\\{1,8}[\"'])(?P<inner>(?:(?!(?P=escaped)).){1,1024})(?P=escaped))"
)
"""`password = "..."`, `"password": "..."`, and the latter as it looks inside another string."""

_FIELD = (
    r"(?:(?<![^?&;\r\n])|(?<=export )|(?=--))[\w.-]{1,128}="
    r"(?P<value>[^&;\s\"'<>#\\]{1,4096})"
)
"""`password=...` in an address, the body of a form, a file of settings, a command's arguments."""

_HEADER = (
    r"(?:[\w-]{0,16}(?:authorization|cookie)|x-[\w-]{1,32}): *"
    rf"(?P<value>{_SCHEME}[^\r\n\"']{{1,4096}}"
    r"|[^\s\"';]{1,4096}(?:; *[^\r\n\"']{1,4096}|(?=[\r\n\"']|$)))"
)
"""`Authorization: Basic ...`, `Cookie: a=b; c=d`, `X-Api-Key: ...`."""

_ASSIGNMENT = (
    r"[\w.-]{1,128}[\"']?\s{0,8}[=:]\s{0,8}"
    rf"(?P<value>(?:{_SCHEME})?[^\s,;&)}}\]'\"]{{1,4096}})"
)
"""`password=hunter2` or `password: hunter2`, in a repr or in the message of an exception."""

_PLAIN_VALUE = r"[-+]?[\d.,_]+%?|none|null|true|false|\[redacted\]?"


@functools.cache
def _compiled(pattern: str, flags: int = 0) -> re.Pattern[str]:
    """
    *pattern*, compiled when first needed: that takes longer than importing the rest of the module.
    """
    return re.compile(pattern, flags)


def without_secrets(text: str) -> str:
    """
    *text* with `REDACTED` in place of what its shape, or a name before it, tells to be a secret.
    """
    return _without_named(_without_shapes(text), (_HEADER, _LITERAL, _FIELD))


def _without_shapes(text: str) -> str:
    parts: list[str] = []
    done = 0
    places = [(at, shape) for hint, shape in _SHAPES.items() for at in _places(text, hint)]
    for at, shape in sorted(places):
        found = _compiled(shape).match(text, at) if at >= done else None
        if found is not None:
            parts += (text[done : found.start("value")], REDACTED)
            done = found.end("value")
    return "".join((*parts, text[done:])) if parts else text


def _without_named(text: str, rules: tuple[str, ...]) -> str:
    """
    *text* with `REDACTED` in place of what stands after the name of a secret, as *rules* say.
    """
    low = text.replace("İ", "I").lower()  # the one letter whose lower case is longer
    hints = sorted(at for hint in _NAME_HINTS for at in _places(low, hint))
    if not hints:
        return text
    named = _compiled(_NAMED)
    patterns = [_compiled(rule, re.IGNORECASE | re.DOTALL) for rule in rules]
    parts: list[str] = []
    done = 0
    for hint in hints:
        rest = named.match(text, hint) if hint >= done else None
        if rest is None:
            continue
        begin = hint
        least = max(done, hint - _MAX_NAME_CHARS)
        while begin > least and low[begin - 1] in _NAME_CHARS:
            begin -= 1
        if not is_secret_name(text[begin : rest.end(1)]):
            continue
        for pattern in patterns:
            found = pattern.match(text, begin)
            if found is not None:
                group = "value" if found["value"] is not None else "inner"
                if not _compiled(_PLAIN_VALUE, re.IGNORECASE).fullmatch(found[group]):
                    parts += (text[done : found.start(group)], REDACTED)
                    done = found.end(group)
                    break
    return "".join((*parts, text[done:])) if parts else text


def _places(text: str, part: str) -> Iterator[int]:
    at = text.find(part)
    while at >= 0:
        yield at
        at = text.find(part, at + 1)
