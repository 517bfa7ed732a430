"""
Anything becomes JSON that is safe to keep, and records come back as they went.
"""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import json
import math
import pathlib
import time
import uuid
from collections.abc import Callable
from typing import Any

import attrs
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from asyncops import DecodeError
from asyncops._events import (
    NOTHING,
    EventRecord,
    Failure,
    SessionRecord,
    SourceRecord,
    SucceededEvent,
)
from asyncops._redaction import REDACTED, is_secret_name, may_hold_secrets
from asyncops._wire import (
    MAX_DEPTH,
    MAX_RECORD_BYTES,
    Encoder,
    decode,
    decode_lines,
    encode,
    label,
    number_line,
    tombstone,
    without_secrets,
)

SESSION = "0198a0b0-0000-7000-8000-000000000000"


def kept(value: object, **options: Any) -> Any:
    return json.loads(bytes(Encoder(**options).payload(value)))


def event(**fields: Any) -> EventRecord:
    told: dict[str, Any] = {
        "seq": 1,
        "at": 5,
        "session": SESSION,
        "id": "00000000000000aa",
        "kind": "tool",
        "name": "search",
        "started_at": 3,
        "ended_at": 5,
        "state": "Success",
    }
    return EventRecord(**{**told, **fields})


class Point(BaseModel):
    x: int = 1
    password: str = "hunter2"


@attrs.define
class Credentials:
    user: str
    api_key: str


@dataclasses.dataclass
class Request:
    body: object
    retries: int = 0


class Colour(enum.Enum):
    RED = "red"


class Stubborn:
    def __repr__(self) -> str:
        raise RuntimeError("no")


class Hollow(dict):  # type: ignore[type-arg]
    def items(self) -> Any:
        raise RuntimeError("nothing here")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": [1, 2.5, None, True, "x"]}, {"a": [1, 2.5, None, True, "x"]}),
        (math.nan, None),
        (math.inf, None),
        ("\ud800!", "?!"),
        (10**30, 10**30),
        ({(1, 2): "pair", None: 0}, {"(1, 2)": "pair", "None": 0}),
        (b"abc", "YWJj"),
        ({1}, [1]),
        (collections.deque([1, 2]), [1, 2]),
        (datetime.date(2026, 1, 2), "2026-01-02"),
        (uuid.UUID(int=7), str(uuid.UUID(int=7))),
        (pathlib.PurePosixPath("/srv/x"), "/srv/x"),
        (decimal.Decimal("1.50"), "1.50"),
        (Colour.RED, "red"),
        (Point(), {"x": 1, "password": REDACTED}),
        (Credentials("ada", "k"), {"user": "ada", "api_key": REDACTED}),
        (Request(Point(x=2)), {"body": {"x": 2, "password": REDACTED}, "retries": 0}),
        (Stubborn(), {"$type": "test_wire.Stubborn", "error": "RuntimeError"}),
        ([Stubborn(), 1], [{"$type": "test_wire.Stubborn", "error": "RuntimeError"}, 1]),
    ],
)  # fmt: skip
def test_values(value: object, expected: object) -> None:
    """
    Every kind of value has one form in JSON.
    """
    assert expected == kept(value)


def test_type_without_a_hash() -> None:
    """
    What is odd about the type of a value does not matter either.
    """

    class Odd(type):
        __hash__ = None  # type: ignore[assignment]

    class Thing(metaclass=Odd):
        pass

    encoder = Encoder()
    told = json.loads(encoder.json(Thing()))

    assert told["$type"].endswith("Thing")
    assert {"value": told} == json.loads(bytes(encoder.arguments({"value": Thing()})))
    assert {"value": told} == json.loads(msgspec.json.encode({"value": encoder.member(Thing())}))


def test_lying_mapping_does_not_spoil_its_neighbours() -> None:
    """
    A part that cannot be read becomes a marker; the rest is kept.
    """
    told = kept({"bad": [Hollow(a=1), {(): 1}], "good": 1})

    assert 1 == told["good"]
    assert "RuntimeError" == told["bad"][0]["error"]


def test_object_is_described() -> None:
    """
    An object JSON has no word for is told by its type and repr, secrets in the repr taken out.
    """

    class Login:
        def __repr__(self) -> str:
            return "Login(user='ada', password='pa ss', token=abc123, n=3)"

    told = kept(Login())

    assert told["$type"].endswith("Login")
    assert f"Login(user='ada', password='{REDACTED}', token={REDACTED}, n=3)" == told["repr"]


def test_cycle() -> None:
    """
    What contains itself ends in a marker.
    """
    ring: list[Any] = []
    ring.append({"again": ring})

    assert [{"again": {"$truncated": "cycle", "type": "list"}}] == kept(ring)


def test_shared_is_no_cycle() -> None:
    """
    The same object twice, side by side, is told twice.
    """
    twice = {"token": "x", "n": [1]}

    assert [twice | {"token": REDACTED}] * 2 == kept([twice, twice])


def test_depth() -> None:
    """
    What nests deeper than MAX_DEPTH ends in a marker.
    """
    deep: Any = "bottom"
    for _ in range(MAX_DEPTH + 5):
        deep = [deep]
    told = kept(deep)
    for _ in range(MAX_DEPTH):
        told = told[0]

    assert {"$truncated": "depth", "type": "list"} == told


@pytest.mark.parametrize(
    ("value", "marker"),
    [
        ("x" * 300_000, {"$truncated": "string", "size": 300_000}),
        (b"x" * 300_000, {"$truncated": "bytes", "size": 300_000}),
    ],
)
def test_too_long(value: object, marker: dict[str, Any]) -> None:
    """
    A string or bytes that do not fit are told by their beginning and size.
    """
    told = kept(value)

    assert marker == {key: told[key] for key in marker}
    assert 0 < len(told["head"]) <= 1024


def test_too_many() -> None:
    """
    A list or mapping that does not fit ends with a marker that tells its size.
    """
    listed = kept(list(range(100_000)), max_value_bytes=1_000)
    mapped = kept({str(n): n for n in range(100_000)}, max_value_bytes=1_000)

    assert {"$truncated": "list", "size": 100_000} == listed[-1]
    assert 50 < len(listed) < 200
    assert {"$truncated": "mapping", "size": 100_000} == mapped["$truncated"]


def test_huge_integer() -> None:
    """
    An integer of thousands of digits does not become thousands of digits.
    """
    assert {"$truncated": "int", "size": 33_220, "unit": "bits"} == kept([10**10_000])[0]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=20,
)  # fmt: skip


@given(JSON)
def test_quick_and_careful_way_agree(value: object) -> None:
    """
    What the quick way keeps as it is, the careful way rebuilds to the same.
    """
    encoder = Encoder()
    careful = json.loads(bytes(encoder._rebuilt(value)))
    quick = json.loads(bytes(encoder.payload(value)))

    assert careful == quick


@given(JSON)
def test_plain_values_come_back(value: object) -> None:
    """
    Plain JSON without secrets or excess comes back as it went.
    """
    told = kept(value)
    text = json.dumps(value, ensure_ascii=False).lower()
    clean = REDACTED not in json.dumps(told) and "\\ud" not in json.dumps(value)
    if clean:
        assert told == json.loads(json.dumps(value)) or "$truncated" in json.dumps(told), text


@given(st.dictionaries(st.sampled_from("abc"), JSON, max_size=3))
def test_arguments_under_harmless_names(values: dict[str, object]) -> None:
    """
    Knowing that no name is that of a secret makes it quicker, and no different.
    """
    encoder = Encoder()

    assert encoder.json(values) == bytes(encoder.arguments(values))
    assert encoder.json(values) == bytes(encoder.payload(values))


@pytest.mark.parametrize(
    "value",
    [1, -(2**63), 2**63, 10**5_000, 1.5, math.nan, True, None, "x"],
    ids="one least too-large huge float nan bool none text".split(),
)
def test_plain_member(value: object) -> None:
    """
    A number may stand in a record as it is, unless it is so large that it needs care.
    """
    encoder = Encoder()
    told = msgspec.json.encode({"value": encoder.member(value)})

    assert b'{"value":%b}' % encoder.json(value) == told


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.binary(max_size=50)
    | st.complex_numbers()
    | st.dates()
    | st.uuids()
    | st.builds(Stubborn)
    | st.builds(Hollow)
    | st.sampled_from([len, Stubborn, ...]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=5) | st.integers() | st.none(), inner, max_size=4)
        | st.tuples(inner, inner)
        | st.builds(Request, inner)
    ),
    max_leaves=20,
)


@given(ANYTHING, st.integers(256, 4096))
def test_total_and_bounded(value: object, size: int) -> None:
    """
    No object makes it raise, or makes it much larger than it may be; what comes out is JSON.
    """
    data = bytes(Encoder(max_value_bytes=size).payload(value))

    json.loads(data.decode())
    assert len(data) <= 8 * size + 4096


@pytest.mark.parametrize(
    "name",
    "password db_password dbPassword API_KEY apiKey x-api-key Authorization set-cookie"
    " client_secret access_token accessToken token private_key passphrase"
    " aws_secret_access_key".split(),
)
def test_secret_names(name: str) -> None:
    """
    What stands under the name of a secret is taken out, numbers aside.
    """
    assert is_secret_name(name)
    assert {name: REDACTED, "n": 1} == kept({name: "s3cr3t", "n": 1})
    assert {name: 7} == kept({name: 7})


@pytest.mark.parametrize(
    "name",
    "prompt_tokens max_tokens tokenizer author key keyboard monkey passenger secretary".split(),
)
def test_harmless_names(name: str) -> None:
    """
    Words that only look like those of secrets do not hide anything.
    """
    assert {name: "value"} == kept({name: "value"})


@pytest.mark.parametrize(
    "secret",
    [
        "sk-ant-api03-abcdefghijklmnop",
        "sk_live_abcdefghijklmnop1234",
        "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
        "github_pat_11ABCDEFG0abcdefghijkl",
        "AKIAIOSFODNN7EXAMPLE",
        "AIzaSyA-abcdefghijklmnopqrstuvwxyz01234",
        "xoxb-123456789012-abcdef",
        "hf_abcdefghijklmnopqrstuvwx",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl",
        "aops_abcdefghijklmnopqrstuvwxyz012345",
    ],
)
def test_secret_shapes(secret: str) -> None:
    """
    What looks like a key is taken out of any text, wherever it is.
    """
    assert f"use {REDACTED} here" == kept(f"use {secret} here")
    assert [{"note": REDACTED}] == kept([{"note": secret}])
    assert f"it was {REDACTED}" == Encoder().text(f"it was {secret}")


def test_secrets_in_addresses_and_headers() -> None:
    """
    The password in a URL, a bearer token and a PEM key are taken out; what surrounds them stays.
    """
    key = "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----"

    assert f"postgres://{REDACTED}@db/x" == kept("postgres://u:pw@db/x")
    assert f"curl -H 'Bearer {REDACTED}'" == kept("curl -H 'Bearer abcdefghijklmnop123'")
    assert f"a {REDACTED} b" == kept(f"a {key} b")


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("user=ada&password=hunter2&n=1", "user=ada&password=*&n=1"),
        ("https://host/x?a=1&access_token=hunter2#f", "https://host/x?a=1&access_token=*#f"),
        ("redis://:hunter2@host/0", "redis://*@host/0"),
        ("https://ada:hun@ter2@host/x", "https://*@host/x"),
        (
            "A=1\nexport DB_PASSWORD=hunter2\nAPI_KEY=hunter2",
            "A=1\nexport DB_PASSWORD=*\nAPI_KEY=*",
        ),
        ("run --password=hunter2 now", "run --password=* now"),
        ('{"user": "ada", "password": "hun\\"ter2"}', '{"user": "ada", "password": "*"}'),
        (r'"{\"dbpassword\":\"hunter2\"}"', r'"{\"dbpassword\":\"*\"}"'),
        ("client(api_key='hunter2')", "client(api_key='*')"),
        ("Authorization: Basic hunter2\r\nAccept: x", "Authorization: *\r\nAccept: x"),
        ("GET /\nCookie: sid=hunter2; t=hunter2\nX: 1", "GET /\nCookie: *\nX: 1"),
        ("curl -H 'X-Api-Key: hunter2' host", "curl -H 'X-Api-Key: *' host"),
    ],
)
def test_secrets_named_within_a_text(text: str, left: str) -> None:
    """
    A name inside a text (an address, a form, JSON in a string, a request) gives a secret away, too.
    """
    left = left.replace("*", REDACTED)
    assert {"body": [left]} == kept({"body": [text]})
    assert left == Encoder().text(text)
    assert left == label(text)


def test_secrets_in_messages_need_no_quotes() -> None:
    """
    A message was written about values: what stands after a secret's name goes, numbers aside.
    """
    failure = Failure(
        type="E",
        message="login failed: password=hunter2, token: hunter2 (max_tokens=5, token=7)",
        traceback="    token = next(tokens)\n    connect(password='hunter2')\n",
    )

    told = Encoder().failure(failure)

    assert (
        f"login failed: password={REDACTED}, token: {REDACTED} (max_tokens=5, token=7)"
        == told.message
    )
    assert f"    token = next(tokens)\n    connect(password='{REDACTED}')\n" == told.traceback


@pytest.mark.parametrize(
    "text",
    [
        "tokens: 5, the token is next",
        "if token == '(' or key: return",
        "    api_key: str\n    token = lexer.next()\n",
        "password policy: at least eight characters",
        "mailto:ada@host and http://host:80/a@b",
    ],
)
def test_what_only_mentions_secrets_stays(text: str) -> None:
    """
    Prose and source code that merely speak of secrets are kept as they are.
    """
    assert {"body": text} == kept({"body": text})


WORDS = (
    "api access private secret signing encryption ssh account master license key keys Key KEY Api"
    " token Token tokens accesstoken refreshtoken auth AUTH authorization password PassWord passw"
    " passphrase pwd jwt Cookie cookies credential monkey author prompt_tokens user"
).split()
BETWEEN = [*"_-. \n\"\\éİſK:='\t\x00&?/@[],1\u2028", "", "--", ": ", '\\"', "_" * 29, "_" * 40]  # noqa: RUF001
SHAPES = (
    "sk- rk_ ghp_ github_pat_ AKIA ASIA AIza xoxb- hf_ npm_ glpat- aops_ eyJ :// @"
    " .aaaaaaaaaa.bbbbbbbb hunter2 abcdefghijklmnop ABCDEFGHIJ012345 a1B2c3D4e5F6g7H8i9J0k1L2m3N4"
).split()
SHAPES += ["Bearer ", "-----BEGIN RSA PRIVATE KEY-----", "-----END RSA PRIVATE KEY-----"]
TEXTS = st.lists(
    st.sampled_from(WORDS) | st.sampled_from(BETWEEN) | st.sampled_from(SHAPES), max_size=7
).map("".join)
TELLING = (
    TEXTS
    | st.dictionaries(TEXTS, TEXTS | st.booleans() | st.none(), max_size=2)
    | st.tuples(TEXTS, TEXTS)
    | st.lists(st.tuples(TEXTS, TEXTS), max_size=2)
    | st.builds(json.dumps, st.dictionaries(TEXTS, TEXTS, max_size=2))
)


@settings(max_examples=1_000)
@given(TELLING)
def test_quick_look_misses_no_secret(value: Any) -> None:
    """
    Whatever names, separators and beginnings of keys a value is made of: what the quick look lets
    pass is what the careful way leaves as it is.
    """
    encoder = Encoder()
    assert json.loads(encoder._rebuilt(value)) == json.loads(encoder.json(value))
    assert json.loads(encoder._rebuilt({"a": value})) == json.loads(
        bytes(encoder.arguments({"a": value}))
    )
    if type(value) is str and not may_hold_secrets(value.encode()):
        assert value == without_secrets(value)


@pytest.mark.parametrize("between", ["", "_", "\n", "é", "_" * 29, "_" * 31, "_" * 40, "\x00" * 9])
def test_key_far_from_the_word_before_it(between: str) -> None:
    """
    However far apart the two words of a name are, together they are that of a secret.
    """
    name = f"api{between}key"

    assert {name: REDACTED} == kept({name: "hunter2"})


@pytest.mark.parametrize(
    "value",
    [
        {"usage": {"prompt_tokens": 5, "completion_tokens": 7}},
        {"key": "a", "monkey": "b", "rows": [{"key": 1}]},
        "the key point: passengers, authors and tokens",
        "see https://host/a_b_c?page=2, and mail x@host",
    ],
    ids=["usage", "key", "prose", "address"],
)
def test_what_models_and_tools_say_takes_the_quick_way(value: object) -> None:
    """
    Words of every day that only remind of secrets do not make a value ten times as dear.
    """
    assert not may_hold_secrets(msgspec.json.encode(value))


def test_pairs_of_name_and_secret() -> None:
    """
    Headers kept as a list of pairs lose their secrets like those kept as a mapping.
    """
    headers = [("Authorization", "hunter2"), ("Accept", "*/*")]

    assert [["Authorization", REDACTED], ["Accept", "*/*"]] == kept(headers)


@pytest.mark.parametrize(
    "text",
    [
        'password="' * 20_000,
        "password" * 25_000,
        "a" * 200_000 + "key",
        'password="' + r"\a" * 100_000,
        "authorization: basic " * 10_000,
        "://a:" * 40_000,
        "-----BEGIN PRIVATE KEY-----" * 7_000,
        "eyJaaaaaaaa." * 16_000,
    ],
    ids=lambda text: text[:12],
)
def test_no_text_is_slow_to_search(text: str) -> None:
    """
    A text made to be hard on the rules for secrets does not hold up the program that records it.
    """
    began = time.thread_time()
    Encoder().payload(text)
    assert time.thread_time() - began < 2


def test_hook() -> None:
    """
    The program's own hook sees every entry with the nearest key, and what it returns is kept.
    """
    seen = []

    def redact(key: str, value: Any) -> Any:
        seen.append(key)
        return "***" if key == "iban" else value

    assert {"iban": "***", "rows": [1, {"iban": "***"}]} == kept(
        {"iban": "DE00", "rows": [1, {"iban": "DE01"}]}, redact=redact
    )
    assert ["iban", "rows", "rows", "rows", "iban"] == seen


def test_hook_that_raises() -> None:
    """
    A hook that raises costs the value it was asked about, and no more.
    """

    def redact(key: str, value: Any) -> Any:
        if key == "a":
            raise LookupError
        return value

    assert {"a": {"$type": "str", "error": "LookupError"}, "b": 1} == kept(
        {"a": "secret", "b": 1}, redact=redact
    )


def test_label() -> None:
    """
    A name is text of bounded length whatever it was.
    """
    assert "7" == label(7)
    assert 1_000 == len(label("x" * 5_000))
    assert "?" == label("\udcff")
    assert "<test_wire.test_label.<locals>.Bad>" == label(_bad())


def _bad() -> object:
    class Bad:
        def __str__(self) -> str:
            raise ValueError

    Bad.__qualname__ = "test_label.<locals>.Bad"
    return Bad()


def test_record_comes_back() -> None:
    """
    A record that is encoded, numbered and decoded is the same.
    """
    record = event(
        params=msgspec.Raw(b'{"q":1}'),
        failure=Failure(type="E", message="m", causes=(Failure(type="F", relation="cause"),)),
        parent_id="00000000000000ab",
    )
    line = encode(msgspec.structs.replace(record, seq=0))
    back = decode(number_line(line, 1))

    assert isinstance(back, EventRecord)
    assert record.failure == back.failure
    assert b'{"q":1}' == bytes(back.params)
    assert b"" == bytes(back.returns)
    assert encode(record) == encode(back)


TIMES = st.integers(0, 2**63 - 1)
IDS = st.from_regex("[0-9a-f]{16}", fullmatch=True)
LABELS = st.text(max_size=20).map(label)


@given(
    TIMES, IDS, st.sampled_from(["action", "tool", "agent"]), LABELS, TIMES, IDS | st.none(),
    LABELS | st.none(), *[JSON] * 3,
)  # fmt: skip
def test_succeeded_event_is_an_event(
    ended_at: int, event_id: str, kind: Any, name: str, started_at: int, parent_id: str | None,
    agent: str | None, params: object, attributes: object, returns: object,
) -> None:  # fmt: skip
    """
    What succeeded is told by the same line, byte for byte, as the record of any event.
    """
    encoder = Encoder()
    went_in, besides = encoder.payload(params), encoder.payload(attributes)
    quick = SucceededEvent(
        ended_at, SESSION, event_id, kind, name, started_at, parent_id, agent, went_in, besides,
        "Success", ended_at, encoder.member(returns),
    )  # fmt: skip
    record = EventRecord(
        at=ended_at, session=SESSION, id=event_id, kind=kind, name=name, started_at=started_at,
        parent_id=parent_id, agent=agent, params=went_in, attributes=besides, state="Success",
        ended_at=ended_at, returns=NOTHING if returns is None else encoder.payload(returns),
    )  # fmt: skip

    assert encode(record) == encode(quick)


def test_long_succeeded_event_is_cut() -> None:
    """
    It is cut where it is too long for a line as any other record is.
    """
    payload = Encoder(max_value_bytes=1_000_000).payload("\x00" * 600_000)
    quick = SucceededEvent(
        5, SESSION, "00000000000000aa", "tool", "search", 3, None, None, payload, None,
        "Success", 5, payload,
    )  # fmt: skip

    assert encode(event(seq=0, params=payload, returns=payload)) == encode(quick)


def test_long_record_is_cut() -> None:
    """
    A record whose payloads together are too long for a line keeps its facts and loses their tails.
    """
    payload = Encoder(max_value_bytes=1_000_000).payload("\x00" * 600_000)
    line = encode(event(params=payload, returns=payload))
    back = decode(line)

    assert len(line) <= MAX_RECORD_BYTES
    assert isinstance(back, EventRecord)
    assert "search" == back.name
    assert "string" == json.loads(bytes(back.params))["$truncated"]


def test_tombstone() -> None:
    """
    A tombstone keeps everything but the payloads, and tells how large those were.
    """
    line = encode(event(params=msgspec.Raw(b'"%b"' % (b"x" * 100)))) + b"\n"
    back = decode(tombstone(line))

    assert isinstance(back, EventRecord)
    assert {"$truncated": "record", "size": 102} == json.loads(bytes(back.params))
    assert (1, "search") == (back.seq, back.name)


@pytest.mark.parametrize(
    ("line", "word"),
    [
        (b"", "truncated"),
        (b"[]", "object"),
        (b"{}", "type"),
        (b'{"type":"nonsense","seq":1,"at":1}', "nonsense"),
        (b'{"type":"video","seq":1,"at":1,"session":"x","video":"v"}', "session"),
        (b'{"type":"source_ended","at":1}', "seq"),
        (b'{"type":"source_ended","seq":-1,"at":1}', "seq"),
        (b'{"type":"source_ended","seq":1,"at":99999999999999999999}', "at"),
        (b'{"type":"source_ended","seq":1,"at":"now"}', "at"),
        (b'{"type":"source_ended","seq":1,"at":1,"x":"\xff"}', "UTF-8"),
        (b'{"type":"source_ended","seq":1,"at":1,"x":' + b"[" * 5000, "recursion|truncated"),
    ],
)
def test_decode_says_what_is_wrong(line: bytes, word: str) -> None:
    """
    A line that is no record gives an error that says why.
    """
    with pytest.raises(DecodeError, match=word):
        decode(line)


@pytest.mark.parametrize("field", ["id", "parent_id", "trigger_event_id", "session"])
@pytest.mark.parametrize("change", [str.upper, lambda text: text.replace("a", "g"), lambda _: ""])
def test_decode_refuses_ids_that_are_none(field: str, change: Callable[[str], str]) -> None:
    """
    An id is hex digits in lower case, as many as it takes: alone and among other lines.
    """
    ids = dict.fromkeys(("id", "parent_id", "trigger_event_id"), "a" * 16)
    ids["session"] = "aaaaaaaa-aaaa-7aaa-aaaa-aaaaaaaaaaaa"
    line = number_line(encode(event(**ids)), 1)
    assert decode_lines(line) == [decode(line)]
    bad = number_line(encode(event(**{**ids, field: change(ids[field])})), 2)
    with pytest.raises(DecodeError):
        decode(bad)
    with pytest.raises(DecodeError):
        decode_lines(line + b"\n" + bad)


def test_decode_refuses_impossible_costs() -> None:
    """
    A cost that would take gigabytes to write out is refused.
    """
    line = encode(event())[:-1] + b',"cost":{"amount":"1e999999"}}'

    with pytest.raises(DecodeError, match="cost"):
        decode(line)


@given(st.binary(max_size=200))
def test_decode_raises_nothing_else(line: bytes) -> None:
    """
    Whatever the bytes, decode returns a record or raises DecodeError.
    """
    with pytest.raises(DecodeError):
        decode(line)


def test_records_leave_out_what_was_not_said() -> None:
    """
    A line holds only what was said.
    """
    assert b'{"type":"session","at":1,"session":"%b"}' % SESSION.encode() == encode(
        SessionRecord(at=1, session=SESSION)
    )
    assert b'"pid":7' in encode(SourceRecord(at=1, source=SESSION, pid=7))
