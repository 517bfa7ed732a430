"""
What is recorded of a call, and that whoever makes it notices nothing.
"""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
from typing import Any

import pytest
from wires import CHAT, WIRES, Body, Wire, answer, asked, events, sse, stream

import asyncops
import asyncops.testing
from asyncops.capture import Answered, Asked, _calls, register, transport, unregister
from asyncops.capture.openai_chat import OpenAIChat

JSON = {"content-type": "application/json"}
SSE = {"content-type": "text/event-stream"}


def whole(body: Any, status: int = 200, **headers: str) -> Any:
    """
    Serves *body* as JSON in two pieces.
    """
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    kept = Body([data[:7], data[7:]])
    return lambda request: (status, {**JSON, **headers}, kept)


def test_a_call(wire: Wire) -> None:
    """
    Without a change to the program: model, messages, tokens, and where it belongs.
    """
    with asyncops.testing.recorded() as recording, asyncops.session():
        with asyncops.agent("planner") as agent:
            response = wire.post(
                wire.client(whole(answer(), **{"x-request-id": "req_1"})), asked(temperature=0)
            )

    call, _ = events(recording)
    assert answer() == response.json()
    assert {
        "kind": "llm",
        "name": "gpt-4o",
        "agent": "planner",
        "parent_id": agent.id,
        "state": "Success",
        "params": {"temperature": 0},
        "model": "gpt-4o-2024-08-06",
        "provider": "openai",
        "prompt": asked()["messages"],
        "completion": {"role": "assistant", "content": "hi there"},
        "prompt_tokens": 9,
        "completion_tokens": 3,
        "usage": answer()["usage"],
        "attributes": {
            "dialect": "openai.chat",
            "server": "api.openai.com",
            "http_status": 200,
            "request_id": "req_1",
            "requested_model": "gpt-4o",
            "response_id": "chatcmpl-1",
            "finish_reasons": ["stop"],
        },
    }.items() <= call.items()
    assert "time_to_first_token" not in call


def test_tool_calls(wire: Wire) -> None:
    """
    The ids of the tool calls that an answer asks for stand with the call, also where that is told
    by a block of the program's own.
    """
    function = {"name": "search", "arguments": "{}"}
    calls = [{"id": f"call_{n}", "type": "function", "function": function} for n in (1, 2)]
    said = answer()
    said["choices"][0]["message"] = {"role": "assistant", "content": None, "tool_calls": calls}
    with asyncops.testing.recorded() as recording, asyncops.session():
        wire.post(wire.client(whole(said)), asked())
        with asyncops.llm("mine"):
            wire.post(wire.client(whole(said)), asked())
        with asyncops.llm("knows better") as block:
            wire.post(wire.client(whole(said)), asked())
            block.tool_call_ids = ("own",)

    captured, mine, better = recording.events
    assert ("call_1", "call_2") == captured.tool_call_ids == mine.tool_call_ids
    assert ("own",) == better.tool_call_ids


def test_a_stream(wire: Wire) -> None:
    """
    A stream is put together; the application sees the very pieces that came.
    """
    pieces = sse(stream("one ", "two ", "three"))
    body = Body(pieces)
    with asyncops.testing.recorded() as recording, asyncops.session():
        seen = wire.pieces(wire.client(lambda request: (200, SSE, body)))

    (call,) = events(recording)
    assert pieces == seen
    assert 1 == body.closed
    assert "Success" == call["state"]
    assert {"role": "assistant", "content": "one two three"} == call["completion"]
    assert ["stop"] == call["attributes"]["finish_reasons"]
    assert 0 <= call["time_to_first_token"] <= call["ended_at"] - call["started_at"]
    assert "incomplete" not in call["attributes"]


def test_time_to_the_first_token_not_to_the_first_byte(wire: Wire) -> None:
    """
    A stream's first events often hold no token yet.
    """
    with asyncops.testing.recorded() as recording, asyncops.testing.ticking_clock():
        with asyncops.session():
            for first in ([], ["one"]):
                body = Body(sse([*stream(*first, done=False), "[DONE]"]))
                wire.pieces(wire.client(lambda request, body=body: (200, SSE, body)))

    without, with_token = events(recording)
    assert "time_to_first_token" not in without
    assert with_token["time_to_first_token"] > 0


def test_a_stream_that_breaks(wire: Wire) -> None:
    """
    What came before the connection broke is kept; the error goes on to the application as it is.
    """
    error = wire.httpx.ReadError("connection reset")
    body = Body(sse(stream("so ", "far", done=False)), error=error)
    with asyncops.testing.recorded() as recording, asyncops.session():
        with pytest.raises(wire.httpx.ReadError) as raised:
            wire.pieces(wire.client(lambda request: (200, SSE, body)))

    (call,) = events(recording)
    assert error is raised.value
    assert "Fail" == call["state"]
    assert f"{wire.package}.ReadError" == call["failure"]["type"]
    assert "asyncops/capture" not in call["failure"]["traceback"]
    assert "so far" == call["completion"]["content"]
    assert call["attributes"]["incomplete"] is True


def test_a_stream_that_says_it_failed(wire: Wire) -> None:
    """
    A client that closes it at once has not called it off.
    """
    error = {"error": {"type": "server_error", "message": "out of luck"}}
    pieces = sse([*stream("so ", "far", done=False), error])
    with asyncops.testing.recorded() as recording, asyncops.session():
        body = Body([*pieces, b"nobody reads on\n\n"])
        wire.pieces(wire.client(lambda request: (200, SSE, body)), most=len(pieces))

    (call,) = events(recording)
    assert ("Fail", "StreamError") == (call["state"], call["failure"]["type"])
    assert "server_error: out of luck" == call["failure"]["message"]
    assert "so far" == call["completion"]["content"]


def test_a_stream_that_is_abandoned(wire: Wire) -> None:
    """
    Whoever stops listening has called it off; what came so far is kept.
    """
    body = Body(sse(stream("one ", "two ", "three")))
    with asyncops.testing.recorded() as recording, asyncops.session():
        wire.pieces(wire.client(lambda request: (200, SSE, body)), most=3)

    (call,) = events(recording)
    assert (3, 1) == (body.read, body.closed)
    assert "Cancelled" == call["state"]
    assert "the answer was closed before its end" == call["failure"]["message"]
    assert "one two " == call["completion"]["content"]


def test_a_stream_read_to_its_last_event_only(wire: Wire) -> None:
    """
    Clients stop at `[DONE]`, before the end of the body: that is no cancellation.
    """
    pieces = [*sse(stream("all")), b": the server has more to say\n\n"]
    with asyncops.testing.recorded() as recording, asyncops.session():
        wire.pieces(wire.client(lambda request: (200, SSE, Body(pieces))), most=len(pieces) - 1)

    (call,) = events(recording)
    assert "Success" == call["state"]
    assert "incomplete" not in call["attributes"]


def test_a_stream_kept_open_after_its_last_event() -> None:
    """
    Some clients neither read nor close what follows the last event: the call is over with that.
    """
    wire = WIRES[0]
    pieces = sse(stream("all"))
    with asyncops.testing.recorded() as recording, asyncops.session():
        client = wire.client(lambda request: (200, SSE, Body(pieces)))
        request = client.build_request("POST", CHAT, json=asked(stream=True))
        response = client.send(request, stream=True)
        reading = response.iter_raw()
        for _ in pieces:
            next(reading)
        (call,) = events(recording)
        response.close()
        assert 1 == len(recording.events)

    assert "Success" == call["state"]


def test_an_answer_that_is_dropped() -> None:
    """
    An answer nobody closes is told of when it is collected, and nothing keeps it alive.
    """
    wire = WIRES[0]
    with asyncops.testing.recorded() as recording, asyncops.session():
        client = wire.client(lambda request: (200, SSE, Body(sse(stream("one")))))
        request = client.build_request("POST", CHAT, json=asked(stream=True))
        response = client.send(request, stream=True)
        assert [] == recording.events
        del response, request
        gc.collect()
        (call,) = events(recording)

    assert "Cancelled" == call["state"]


def test_an_answer_that_is_dropped_with_all_that_holds_it() -> None:
    """
    Clients' streams hold themselves, so they are collected together with what has come of an
    answer, in any order: it can be read all the same.
    """
    read = []

    class Stream:
        def __init__(self, assembly: Any) -> None:
            self.assembly, self.itself = assembly, self

        def __del__(self) -> None:
            read.append(self.assembly.body()["choices"][0]["message"]["content"])

    assembly = OpenAIChat().assembly()
    for event in stream("one ", "two ", done=False):
        assembly.add("", event)
    held = Stream(assembly)  # the younger goes last
    del assembly, held
    gc.collect()
    assert ["one two "] == read


def test_a_refusal(wire: Wire) -> None:
    """
    What the vendor says is wrong stands in the failure; the next attempt is told as such.
    """
    said = {"error": {"message": "Rate limit reached", "type": "rate_limit_error", "code": None}}
    with asyncops.testing.recorded() as recording, asyncops.session():
        for body, status in ((said, 429), (said, 429), (answer(), 200), (answer(), 200)):
            response = wire.post(wire.client(whole(body, status)))
            assert (status, body) == (response.status_code, response.json())

    calls = events(recording)
    assert ["Fail", "Fail", "Success", "Success"] == [call["state"] for call in calls]
    assert {
        "type": "HTTPStatusError",
        "message": "429 Too Many Requests: rate_limit_error: Rate limit reached",
    }.items() <= calls[0]["failure"].items()
    assert [None, 2, 3, None] == [call["attributes"].get("attempt") for call in calls]
    assert 429 == calls[0]["attributes"]["http_status"]


def test_an_answer_that_says_it_failed(wire: Wire) -> None:
    """
    The status was 200 already: in the midst of a stream, or by way of a gateway.
    """
    error = {"code": 502, "message": "Provider disconnected"}
    broken = sse([*stream("so far", done=False), {"error": error}])
    with asyncops.testing.recorded() as recording, asyncops.session():
        wire.pieces(wire.client(lambda request: (200, SSE, Body(broken))))
        wire.post(wire.client(whole({"error": error})))
        wire.post(wire.client(whole(answer("so far", error=None))))

    calls = events(recording)
    assert ["Fail", "Fail", "Success"] == [call["state"] for call in calls]
    assert [("StreamError", "Provider disconnected"), ("AnswerError", "Provider disconnected")] == [
        (call["failure"]["type"], call["failure"]["message"]) for call in calls[:2]
    ]
    assert "so far" == calls[0]["completion"]["content"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"error": "model is busy"}, "model is busy"),
        ([{"error": {"code": 400, "message": "bad", "status": "INVALID"}}], "INVALID: bad"),
        ({"message": "invalid api token"}, "invalid api token"),
        ({"object": "error", "detail": "no"}, "no"),
        (b"<html>", ""),
        (b"", ""),
        (None, ""),
    ],
)
def test_errors_in_any_words(body: Any, words: str) -> None:
    """
    Every vendor puts its words elsewhere; where there are none the status is said.
    """
    wire = WIRES[0]
    with asyncops.testing.recorded() as recording, asyncops.session():
        wire.post(wire.client(whole(body, 400)))

    (call,) = events(recording)
    assert f"400 Bad Request: {words}".removesuffix(": ") == call["failure"]["message"]


def test_no_answer(wire: Wire) -> None:
    """
    The exception that the transport raises is recorded, and goes on as it is.
    """
    error = wire.httpx.ConnectError("refused")
    with asyncops.testing.recorded() as recording, asyncops.session():
        with pytest.raises(wire.httpx.ConnectError) as raised:
            wire.post(wire.client(lambda request: error))

    (call,) = events(recording)
    assert error is raised.value
    assert "Fail" == call["state"]
    assert "refused" == call["failure"]["message"]
    assert "asyncops/capture" not in call["failure"]["traceback"]
    assert "http_status" not in call["attributes"]


@pytest.mark.anyio
@pytest.mark.parametrize("wire", [wire for wire in WIRES if wire.is_async], indirect=True)
async def test_cancellation_in_the_midst(wire: Wire) -> None:
    """
    A task that is cancelled while it waits leaves a cancelled call with what came so far.
    """
    reached = asyncio.Event()
    body = Body(sse(stream("so ", "far", done=False)), reached=reached)
    client = wire.client(lambda request: (200, SSE, body))
    with asyncops.testing.recorded() as recording, asyncops.session():
        task = asyncio.create_task(client.post(CHAT, json=asked(stream=True)))
        await reached.wait()
        task.cancel("no longer needed")
        with pytest.raises(asyncio.CancelledError):
            await task
        await client.aclose()

    (call,) = events(recording)
    assert ("Cancelled", "no longer needed") == (call["state"], call["failure"]["message"])
    assert "so far" == call["completion"]["content"]


# -- what is no call, or none that can be read ----------------------------------------------------


@pytest.mark.parametrize(
    ("method", "url", "body"),
    [
        ("GET", CHAT, None),
        ("POST", "https://example.org/login", {"model": "T", "messages": []}),
        ("POST", "https://example.org/v1/messages", {"to": "you", "text": "hello"}),
    ],
)
def test_other_requests(method: str, url: str, body: Any) -> None:
    """
    Only calls of models are recorded.
    """
    wire = WIRES[0]
    with asyncops.testing.recorded() as recording, asyncops.session():
        client = wire.client(whole({}))
        client.request(method, url, json=body)

    assert [] == recording.events


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'"x"', b"\xff", b'{"model": 3}'])
def test_a_request_nobody_can_read(wire: Wire, content: bytes) -> None:
    """
    It is recorded as an attempt over HTTP; nothing is made up, nothing is raised.
    """
    with asyncops.testing.recorded() as recording, asyncops.session():
        wire.post(wire.client(whole(answer())), content=content)

    (call,) = events(recording)
    assert ("Success", "openai.chat") == (call["state"], call["attributes"]["dialect"])
    assert 9 == call["prompt_tokens"]
    assert "prompt" not in call


@pytest.mark.parametrize("body", [b"", b"<html>", b"null", b"[1]", b'{"choices": 7}', b"{"])
@pytest.mark.parametrize("headers", [JSON, SSE])
def test_an_answer_nobody_can_read(wire: Wire, body: bytes, headers: dict[str, str]) -> None:
    """
    What was asked is recorded; of what came nothing is made up.
    """
    with asyncops.testing.recorded() as recording, asyncops.session():
        response = wire.post(wire.client(lambda request: (200, headers, Body([body]))))

    (call,) = events(recording)
    assert body == response.content
    assert ("Success", "gpt-4o") == (call["state"], call["model"])
    assert asked()["messages"] == call["prompt"]
    assert {"prompt_tokens", "completion_tokens", "cost"}.isdisjoint(call)


def test_an_answer_too_long_to_be_read(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    It goes on to the application whole; we keep nothing of it, and say so.
    """
    monkeypatch.setattr(_calls, "MAX_BODY_BYTES", 1_000)
    with asyncops.testing.recorded() as recording, asyncops.session():
        response = wire.post(wire.client(whole(answer("x" * 1_000))))

    (call,) = events(recording)
    assert answer("x" * 1_000) == response.json()
    assert "too many to be read" in call["attributes"]["unread"]
    assert "completion" not in call


def test_a_body_that_is_streamed_up(wire: Wire) -> None:
    """
    A request whose body is made while it is sent is not read by us.
    """

    async def pieces() -> Any:
        yield json.dumps(asked()).encode()

    content: Any = pieces() if wire.is_async else iter([json.dumps(asked()).encode()])
    with asyncops.testing.recorded() as recording, asyncops.session():
        wire.post(wire.client(whole(answer())), content=content)

    (call,) = events(recording)
    assert "prompt" not in call
    assert 9 == call["prompt_tokens"]


@pytest.mark.parametrize("streamed", [False, True])
def test_compressed_answers(wire: Wire, streamed: bool) -> None:
    """
    The application gets the compressed bytes it would get, and undoes them itself.
    """
    plain = b"".join(sse(stream("one"))) if streamed else json.dumps(answer("one")).encode()
    data = gzip.compress(plain)
    headers = {**(SSE if streamed else JSON), "content-encoding": "gzip"}
    body = Body([data[:20], data[20:]])
    with asyncops.testing.recorded() as recording, asyncops.session():
        response = wire.post(wire.client(lambda request: (200, headers, body)))

    (call,) = events(recording)
    assert plain == response.content
    assert "one" == call["completion"]["content"]


def test_an_answer_that_is_there_at_once(wire: Wire) -> None:
    """
    Out of a cache, or made up by a test: no stream is read, and it is recorded all the same.
    """
    with asyncops.testing.recorded() as recording, asyncops.session():
        wire.post(wire.client(lambda request: wire.httpx.Response(200, json=answer())))

    (call,) = events(recording)
    assert "hi there" == call["completion"]["content"]


# -- once, and in the right place -----------------------------------------------------------------


def test_without_a_session_nothing_is_recorded(wire: Wire) -> None:
    """
    Nor is anything put in between.
    """
    asyncops.instrument()
    with asyncops.testing.recorded() as recording:
        client = wire.client(whole(answer()))
        inner = client._transport
        assert client._transport_for_url(wire.httpx.URL(CHAT)) is inner
        wire.post(client)

    assert [] == recording.records


def test_a_block_written_by_hand_is_filled_in(wire: Wire) -> None:
    """
    An `asyncops.llm` block around a call is that call: it is recorded once, with what the block
    says, and what only the wire knows.
    """
    with asyncops.testing.recorded() as recording, asyncops.session():
        with asyncops.llm("ask", provider="mine") as block:
            wire.post(wire.client(whole(answer())))
            block.completion = "what I made of it"

    (call,) = events(recording)
    assert {
        "name": "ask",
        "provider": "mine",
        "model": "gpt-4o-2024-08-06",
        "prompt": asked()["messages"],
        "completion": "what I made of it",
        "prompt_tokens": 9,
    }.items() <= call.items()
    assert 200 == call["attributes"]["http_status"]


def test_a_decorated_call_is_filled_in_and_a_second_one_told() -> None:
    """
    The first call that succeeds fills the block in; a failed attempt before, and another call after
    it, are events of their own within it.
    """
    wire = WIRES[0]

    @asyncops.llm
    def ask() -> None:
        wire.post(wire.client(whole({"error": "busy"}, 500)))
        wire.post(wire.client(whole(answer("first"))))
        wire.post(wire.client(whole(answer("second"))))

    with asyncops.testing.recorded() as recording, asyncops.session():
        ask()

    failed, second, block = events(recording)
    assert ["Fail", "Success", "Success"] == [call["state"] for call in (failed, second, block)]
    assert ["second", "first"] == [call["completion"]["content"] for call in (second, block)]
    assert {block["id"]} == {failed["parent_id"], second["parent_id"]}


def test_one_client_alone(wire: Wire) -> None:
    """
    `transport` watches one client where no others are; where all are, it is still recorded once.
    """
    configuration = asyncops.Configuration(instrument_llm_calls=False)
    with asyncops.testing.recorded(configuration) as recording:
        with asyncops.session(config=configuration):
            kind = wire.httpx.AsyncClient if wire.is_async else wire.httpx.Client
            inner = wire.transport(whole(answer()))
            wire.post(wire.client(whole(answer())))
            assert [] == recording.events
            wire.post(kind(transport=transport(inner)))
            assert 1 == len(recording.events)
            asyncops.instrument()
            wire.post(kind(transport=transport(transport(inner))))
            assert 2 == len(recording.events)


def test_what_is_no_transport() -> None:
    """
    A clear error says what would be one.
    """
    with pytest.raises(TypeError, match="takes a transport of httpx or httpx2, not"):
        transport(object())


def test_a_transport_keeps_its_own_life(wire: Wire) -> None:
    """
    Entering, leaving and closing reach the transport that is inside.
    """
    told: list[str] = []
    base = wire.httpx.AsyncBaseTransport if wire.is_async else wire.httpx.BaseTransport

    class Inner(base):  # type: ignore[misc,valid-type]
        def __enter__(self) -> Any:
            told.append("enter")
            return self

        def __exit__(self, *args: object) -> None:
            told.append("exit")

        def close(self) -> None:
            told.append("close")

        async def __aenter__(self) -> Any:
            return self.__enter__()

        async def __aexit__(self, *args: object) -> None:
            self.__exit__()

        async def aclose(self) -> None:
            self.close()

    async def use() -> None:
        async with transport(Inner()):
            pass
        await transport(Inner()).aclose()

    if wire.is_async:
        asyncio.run(use())
    else:
        with transport(Inner()):
            pass
        transport(Inner()).close()

    assert ["enter", "exit", "close"] == told


def test_content_that_is_not_to_be_kept(wire: Wire) -> None:
    """
    `capture_content="metadata"`: numbers, models and flags, and not a word that was said.
    """
    said = "the secret plan"
    request = asked(
        temperature=0.5, reasoning_effort="low", user=said, tools=[{"name": said}], stop=[said]
    )
    request["messages"][0]["content"] = said
    configuration = asyncops.Configuration(capture_content="metadata")
    with asyncops.testing.recorded(configuration) as recording, asyncops.session():
        wire.post(wire.client(whole(answer(said))), request)
        wire.post(wire.client(whole({"error": {"type": "invalid", "message": said}}, 400)), request)

    call, failed = events(recording)
    assert said not in str((call, failed))
    assert {"temperature": 0.5, "reasoning_effort": "low"} == call["params"]
    assert 9 == call["prompt_tokens"]
    assert "400 Bad Request: invalid" == failed["failure"]["message"]


def test_secrets_stay_out(wire: Wire) -> None:
    """
    Keys in headers are never looked at, those in messages are taken out.
    """
    key = "sk-proj-" + "a1B2" * 10
    request = asked()
    request["messages"][0]["content"] = f"my key is {key}"
    with asyncops.testing.recorded() as recording, asyncops.session():
        wire.post(wire.client(whole(answer())), request, headers={"Authorization": f"Bearer {key}"})

    assert key not in str(events(recording))


# -- a user's own dialect -------------------------------------------------------------------------


class Parrot:
    """
    A model that repeats.
    """

    name = "parrot"
    provider = "zoo"
    ends = ("/squawk",)

    def matches(self, path: str, body: Any) -> bool:
        return body is not None

    def asked(self, path: str, body: Any) -> Asked:
        return Asked(model="ara", prompt=body["say"])

    def answered(self, body: Any) -> Answered:
        return Answered(completion=body["said"], prompt_tokens=len(body["said"]))

    def assembly(self) -> Any:
        raise NotImplementedError


def test_a_dialect_of_ones_own(wire: Wire) -> None:
    """
    What a program registers is asked first; what it raises breaks nothing.
    """
    register(Parrot())
    try:
        with asyncops.testing.recorded() as recording, asyncops.session():
            url = "https://zoo.example/v1/squawk"
            wire.post(wire.client(whole({"said": "hello"})), {"say": "hello"}, url=url)
            wire.post(wire.client(whole({"mute": True})), {"say": "hello"}, url=url)
            wire.pieces(
                wire.client(lambda request: (200, SSE, Body([b"data: 1\n\n"]))),
                {"say": "hello"},
                url=url,
            )
    finally:
        unregister("parrot")

    said, mute, streamed = events(recording)
    assert ("ara", "zoo", "hello", 5) == (
        said["model"], said["provider"], said["completion"], said["prompt_tokens"],
    )  # fmt: skip
    assert "KeyError" in mute["attributes"]["unread"]
    assert "Success" == streamed["state"]
