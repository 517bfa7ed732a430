"""
Events come out right, and what is recorded behaves as if it were not.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import inspect
import json
import threading
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import asyncops
from asyncops import Cost, SessionStateError
from asyncops._events import EventRecord
from asyncops.testing import Recording, recorded, ticking_clock

pytestmark = pytest.mark.anyio


def payload(raw: Any) -> Any:
    return json.loads(bytes(raw)) if bytes(raw) else None


def named(recording: Recording, name: str) -> EventRecord:
    (event,) = [event for event in recording.events if event.name == name]
    return event


# -- blocks -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["action", "tool", "agent", "llm"])
async def test_block(recording: Recording, kind: str) -> None:
    """
    A block is one event of its kind, with what went in and came out.
    """
    with asyncops.session():
        async with getattr(asyncops, kind)("look", params={"q": 1}) as span:
            span.returns = [2]
            span.set(shelf="b")

    (event,) = recording.events
    assert (kind, "look", "Success") == (event.kind, event.name, event.state)
    assert ({"q": 1}, [2], {"shelf": "b"}) == (
        payload(event.params), payload(event.returns), payload(event.attributes),
    )  # fmt: skip


async def test_times(recording: Recording) -> None:
    """
    When it began is wall time, how long it took is monotonic time.
    """
    with asyncops.session(), ticking_clock(1_000, step=10), asyncops.action("a"):
        pass

    (event,) = recording.events
    assert (1_000, 1_010) == (event.started_at, event.ended_at)


async def test_params_as_they_were(recording: Recording) -> None:
    """
    What goes in is recorded as it was then, whatever is done to it afterwards.
    """
    basket = ["apple"]
    with asyncops.session(), asyncops.action("fill", params=basket):
        basket.append("pear")

    assert ["apple"] == payload(recording.events[0].params)


async def test_nesting(recording: Recording) -> None:
    """
    An event's parent is the innermost block around it; agents give their name to what is within.
    """
    with asyncops.session(), asyncops.agent("boss"):
        with asyncops.action("outer"), asyncops.agent("clerk"), asyncops.tool("inner"):
            pass
        with asyncops.tool("after"):
            pass

    boss, outer, clerk = (named(recording, name) for name in ("boss", "outer", "clerk"))
    inner, after = named(recording, "inner"), named(recording, "after")
    assert [None, boss.id, outer.id, clerk.id, boss.id] == [
        boss.parent_id, outer.parent_id, clerk.parent_id, inner.parent_id, after.parent_id,
    ]  # fmt: skip
    assert ["boss", "boss", "clerk", "clerk", "boss"] == [
        event.agent for event in (boss, outer, clerk, inner, after)
    ]


async def test_failure(recording: Recording) -> None:
    """
    The exception that leaves a block is recorded with its traceback, and is the same outside.
    """
    error = ValueError("no such shelf")
    with asyncops.session(), pytest.raises(ValueError, match="no such") as raised:
        with asyncops.action("look"):
            raise error

    failure = recording.events[0].failure
    assert error is raised.value
    assert failure is not None
    assert ("ValueError", "no such shelf") == (failure.type, failure.message)
    assert "raise error" in failure.traceback
    assert "Fail" == recording.events[0].state


async def test_failure_is_told_where_it_arose(recording: Recording) -> None:
    """
    What an exception passes through on its way out names the event it arose in, and does not
    repeat its traceback.
    """
    with asyncops.session(), pytest.raises(ValueError, match="deep"):
        with asyncops.agent("outer"), asyncops.tool("inner"):
            raise ValueError("deep")

    inner, outer = (named(recording, name) for name in ("inner", "outer"))
    assert inner.failure is not None
    assert outer.failure is not None
    assert (None, inner.id) == (inner.failure.event_id, outer.failure.event_id)
    assert (True, False) == (bool(inner.failure.traceback), bool(outer.failure.traceback))
    assert ("Fail", "Fail") == (inner.state, outer.state)


async def test_group_of_told_failures(recording: Recording) -> None:
    """
    An exception group from tasks names the event of one of its members, and keeps them all.
    """

    @asyncops.tool
    async def fail(n: int) -> None:
        raise ValueError(n)

    with asyncops.session(), pytest.raises(ExceptionGroup), asyncops.agent("outer"):
        async with asyncio.TaskGroup() as tasks:
            for n in range(2):
                tasks.create_task(fail(n))

    outer = named(recording, "outer").failure
    assert outer is not None
    assert ["ValueError", "ValueError"] == [cause.type for cause in outer.causes]
    assert outer.event_id in {event.id for event in recording.events if event.kind == "tool"}


async def test_secrets_in_exceptions(recording: Recording) -> None:
    """
    Keys in the text of an exception do not get into the journal.
    """
    with asyncops.session(), pytest.raises(ValueError, match="sk-"), asyncops.tool("call"):
        raise ValueError("bad key sk-abcdefghijklmnopqrstuvwxyz")

    assert "sk-abcdef" not in str(recording.records)


@pytest.mark.parametrize(
    ("exception", "message"),
    [
        (asyncio.CancelledError("enough"), "enough"),
        (asyncio.CancelledError(), "cancelled"),
        (KeyboardInterrupt(), "SIGINT"),
        (GeneratorExit(), "generator closed"),
    ],
)
async def test_cancelled(recording: Recording, exception: BaseException, message: str) -> None:
    """
    What is called off is Cancelled, not failed, and says what called it off.
    """
    with asyncops.session(), pytest.raises(type(exception)), asyncops.action("long"):
        raise exception

    (event,) = recording.events
    assert event.failure is not None
    assert ("Cancelled", message) == (event.state, event.failure.message)


async def test_entered_twice(recording: Recording) -> None:
    """
    A block that is open cannot be opened again; it is one event all the same.
    """
    with asyncops.session(), asyncops.action("once") as span:
        with pytest.raises(SessionStateError, match="open already"):
            span.__enter__()

    assert 1 == len(recording.events)


async def test_without_session() -> None:
    """
    Without a session nothing is recorded and everything works.
    """

    @asyncops.tool
    async def double(n: int) -> int:
        return 2 * n

    with recorded() as recording:
        with asyncops.action("a") as span:
            span.returns = await double(2)
        with pytest.raises(ZeroDivisionError), asyncops.agent("b"):
            _ = 1 / 0

    assert 4 == span.returns
    assert [] == recording.records


async def test_unserialisable(recording: Recording) -> None:
    """
    What JSON has no word for is recorded with a marker.
    """
    with asyncops.session(), asyncops.action("odd", params={"lock": threading.Lock()}):
        pass

    assert "_thread.lock" == payload(recording.events[0].params)["lock"]["$type"]


async def test_llm(recording: Recording) -> None:
    """
    An LLM call keeps model, messages, tokens, cost and the time to its first token.
    """
    with asyncops.session(), ticking_clock(step=5):
        with asyncops.llm(model="m-1", provider="acme", prompt=[{"role": "user"}]) as call:
            call.first_token()
            call.first_token()
            call.completion = {"role": "assistant"}
            call.prompt_tokens, call.completion_tokens, call.cached_tokens = 10, 4, 2
            call.usage = {"total": 14}
            call.cost = 0.002

    (event,) = recording.events
    assert ("llm", "m-1", "m-1", "acme") == (event.kind, event.name, event.model, event.provider)
    assert ([{"role": "user"}], {"role": "assistant"}, {"total": 14}) == (
        payload(event.prompt), payload(event.completion), payload(event.usage),
    )  # fmt: skip
    assert (10, 4, 2, None) == (
        event.prompt_tokens, event.completion_tokens, event.cached_tokens, event.reasoning_tokens,
    )  # fmt: skip
    assert 5 == event.time_to_first_token
    assert Cost("0.002") == event.cost


async def test_llm_with_odd_numbers(recording: Recording) -> None:
    """
    What cannot be a number of tokens or a cost is kept among the attributes, not lost.
    """
    with asyncops.session(), asyncops.llm("m") as call:
        call.prompt_tokens = "ten"  # type: ignore[assignment]
        call.completion_tokens = -3
        call.cost = "free"  # type: ignore[assignment]

    (event,) = recording.events
    assert (None, None, None) == (event.prompt_tokens, event.completion_tokens, event.cost)
    assert {"prompt_tokens": "ten", "completion_tokens": -3, "cost": "free"} == payload(
        event.attributes
    )


# -- decorators: what is wrapped stays what it is ----------------------------------------------


def plain(a: int, /, b: int = 2, *rest: int, c: int = 3, **more: int) -> int:
    """Doc."""
    return a + b


async def coroutine(a: int, b: int = 2) -> int:
    """Doc."""
    await asyncio.sleep(0)
    return a + b


def generator(n: int) -> Iterator[int]:
    """Doc."""
    yield from range(n)


async def async_generator(n: int) -> AsyncIterator[int]:
    """Doc."""
    for i in range(n):
        yield i


@pytest.mark.parametrize("function", [plain, coroutine, generator, async_generator])
def test_kind_and_signature(function: Callable[..., Any]) -> None:
    """
    A decorated function is of the same kind, with the same name, doc and signature.
    """
    wrapped = asyncops.tool(function)

    for kind in (
        inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction,
    ):  # fmt: skip
        assert kind(function) == kind(wrapped)
    assert inspect.signature(function) == inspect.signature(wrapped)
    assert (function.__name__, "Doc.") == (wrapped.__name__, wrapped.__doc__)


async def test_function(recording: Recording) -> None:
    """
    All of a call's arguments are kept under their names, defaults too.
    """
    with asyncops.session():
        assert 3 == asyncops.action(plain)(1, 2, 3, 4, c=5, d=6)
        assert 3 == asyncops.action("sum")(plain)(1)

    first, second = recording.events
    assert {"a": 1, "b": 2, "rest": [3, 4], "c": 5, "d": 6} == payload(first.params)
    assert {"a": 1, "b": 2, "c": 3} == payload(second.params)
    assert ("plain", "sum", 3) == (first.name, second.name, payload(first.returns))


async def test_coroutine(recording: Recording) -> None:
    """
    A call of a coroutine function is recorded when it is awaited, and each time.
    """
    wrapped = asyncops.tool(coroutine)
    with asyncops.session():
        pending = wrapped(1)
        assert [] == recording.events
        assert 3 == await pending
        assert 5 == await wrapped(2, b=3)

    assert [{"a": 1, "b": 2}, {"a": 2, "b": 3}] == [payload(e.params) for e in recording.events]


async def test_methods(recording: Recording) -> None:
    """
    Methods, class methods and static methods, decorated above or below; self is not kept.
    """

    class Shelf:
        @asyncops.tool
        async def look(self, q: str) -> str:
            return q

        @asyncops.tool
        @classmethod
        def above(cls, q: str) -> str:
            return f"{cls.__name__} {q}"

        @classmethod
        @asyncops.tool
        def below(cls, q: str) -> str:
            return f"{cls.__name__} {q}"

        @asyncops.tool
        @staticmethod
        def static(q: str) -> str:
            return q

    with asyncops.session():
        assert ["a", "Shelf b", "Shelf c", "d"] == [
            await Shelf().look("a"), Shelf.above("b"), Shelf().below("c"), Shelf.static("d"),
        ]  # fmt: skip

    assert [{"q": q} for q in "abcd"] == [payload(event.params) for event in recording.events]
    assert "test_methods.<locals>.Shelf.look" == recording.events[0].name


@pytest.mark.parametrize("thing", [3, "x" * 3, int, None])
def test_not_a_function(thing: Any) -> None:
    """
    What cannot be decorated is refused where the mistake is.
    """
    with pytest.raises(TypeError, match="decorates functions"):
        asyncops.action("x")(thing)


async def test_same_exception_and_traceback(recording: Recording) -> None:
    """
    The caller sees the exception that was raised, with the line that raised it.
    """

    @asyncops.tool
    async def fail() -> None:
        raise LookupError("gone")

    with asyncops.session(), pytest.raises(LookupError) as raised:
        await fail()

    assert 'raise LookupError("gone")' in "".join(traceback.format_exception(raised.value))
    failure = recording.events[0].failure
    assert failure is not None
    assert "record_coroutine" not in failure.traceback
    assert 'raise LookupError("gone")' in failure.traceback


async def test_capture_can_be_narrowed(recording: Recording) -> None:
    """
    What is kept of arguments and return values can be switched off or narrowed, per decorator and
    by configuration.
    """

    def login(user: str, pin: int) -> str:
        return "welcome"

    with asyncops.session():
        asyncops.tool(capture_params=False, capture_returns=False)(login)("ada", 1)
        asyncops.tool(capture_params=["user"])(login)("ada", 1)
        asyncops.tool(capture_params="user")(login)("ada", 1)
    configuration = asyncops.Configuration(capture_params=False, capture_returns=False)
    with recorded(configuration) as other, asyncops.session():
        asyncops.tool(login)("ada", 1)
        asyncops.tool(capture_params=True)(login)("ada", 1)

    assert [(None, None), ({"user": "ada"}, "welcome"), ({"user": "ada"}, "welcome")] == [
        (payload(e.params), payload(e.returns)) for e in recording.events
    ]
    assert [(None, None), ({"user": "ada", "pin": 1}, None)] == [
        (payload(e.params), payload(e.returns)) for e in other.events
    ]


async def test_secrets_in_arguments(recording: Recording) -> None:
    """
    An argument loses a secret that its name or its text tells, also where nobody declared the name.
    """

    @asyncops.tool
    def login(user: str, password: object = None, **more: object) -> None:
        pass

    @asyncops.tool
    def fetch(address: str, depth: int = 1) -> None:
        pass

    with asyncops.session():
        login("ada", "hunter2")
        login("ada", api_key="hunter2")
        fetch("http://ada:hunter2@host/")
        with pytest.raises(TypeError):
            fetch("host", token="hunter2")  # type: ignore[call-arg]

    assert [
        {"user": "ada", "password": "[redacted]"},
        {"user": "ada", "password": None, "api_key": "[redacted]"},
        {"address": "http://[redacted]@host/", "depth": 1},
        {"address": "host", "depth": 1, "token": "[redacted]"},
    ] == [payload(event.params) for event in recording.events]


async def test_block_used_again(recording: Recording) -> None:
    """
    A block that is entered again after it was left is another event, with what goes in then.
    """
    with asyncops.session():
        span = asyncops.tool("look", params=["a"])
        for shelf in ("b", "c"):
            with span:
                pass
            span.params = [shelf]

    first, second = recording.events
    assert first.id != second.id
    assert [["a"], ["b"]] == [payload(event.params) for event in recording.events]


def test_capture_params_that_names_nothing() -> None:
    """
    What cannot name arguments is refused where it is said, not when the function is called.
    """
    with pytest.raises(TypeError, match="not iterable"):
        asyncops.tool(capture_params=3)  # type: ignore[call-overload]


async def test_generator(recording: Recording) -> None:
    """
    A generator is one event from its first step to its last, with its first items.
    """
    with asyncops.session():
        assert [0, 1, 2] == list(asyncops.tool(generator)(3))
        assert list(range(500)) == list(asyncops.tool(generator)(500))

    short, long = recording.events
    assert ([0, 1, 2], {"yielded": 3}) == (payload(short.returns), payload(short.attributes))
    assert (100, {"yielded": 500}) == (len(payload(long.returns)), payload(long.attributes))


def conversation() -> Iterator[Any]:
    said: Any = "hello"
    while said != "bye":
        try:
            said = yield f"you said {said}"
        except KeyError as error:
            said = f"error {error}"
    return "done"


async def async_conversation() -> AsyncIterator[Any]:
    said: Any = "hello"
    while said != "bye":
        try:
            said = yield f"you said {said}"
        except KeyError as error:
            said = f"error {error}"


@pytest.mark.parametrize("active", [True, False])
async def test_generator_protocol(*, active: bool) -> None:
    """
    send and throw reach the generator, and what it returns comes back, recorded or not.
    """
    with recorded() as recording:
        if active:
            asyncops.init()
        talk: Any = asyncops.tool(conversation)()
        heard = [next(talk), talk.send("a"), talk.throw(KeyError("k"))]
        with pytest.raises(StopIteration) as stop:
            talk.send("bye")
        if active:
            await asyncops.end_session()

    assert ["you said hello", "you said a", "you said error 'k'"] == heard
    assert "done" == stop.value.value
    assert int(active) == len(recording.events)


@pytest.mark.parametrize("active", [True, False])
async def test_async_generator_protocol(*, active: bool) -> None:
    """
    asend, athrow and aclose reach the async generator, recorded or not.
    """
    closed = []

    @asyncops.tool
    async def talk() -> AsyncIterator[Any]:
        try:
            inner: Any = async_conversation()
            said = None
            while True:
                try:
                    said = yield await inner.asend(said)
                except KeyError as error:
                    said = yield await inner.athrow(error)
        finally:
            await asyncio.sleep(0)
            closed.append(True)

    with recorded() as recording:
        if active:
            asyncops.init()
        agen: Any = talk()
        heard = [await anext(agen), await agen.asend("a"), await agen.athrow(KeyError("k"))]
        await agen.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(agen)
        if active:
            await asyncops.end_session()

    assert ["you said hello", "you said a", "you said error 'k'"] == heard
    assert [True] == closed
    if active:
        assert "Cancelled" == recording.events[0].state


@pytest.mark.parametrize("kind", [generator, async_generator])
async def test_context_is_set_around_each_step_only(
    recording: Recording, kind: Callable[[int], Any]
) -> None:
    """
    What a generator does lies within its event; what its consumer does between two steps does not.
    """
    inner = asyncops.action("inner")(lambda: None)
    outer = asyncops.action("outer")(lambda: None)

    @asyncops.tool
    def steps() -> Iterator[int]:
        for n in range(3):
            inner()
            yield n

    @asyncops.tool
    async def async_steps() -> AsyncIterator[int]:
        for n in range(3):
            inner()
            await asyncio.sleep(0)
            yield n

    with asyncops.session():
        if kind is generator:
            for _ in steps():
                outer()
        else:
            async for _ in async_steps():
                outer()

    (whole,) = [event for event in recording.events if event.kind == "tool"]
    parents = {(event.name, event.parent_id) for event in recording.events if event is not whole}
    assert {("inner", whole.id), ("outer", None)} == parents


async def test_async_generator_left_early(recording: Recording) -> None:
    """
    An async generator that is left in the middle and collected elsewhere is an event, and no error
    surfaces.
    """
    wrapped = asyncops.tool(async_generator)

    with asyncops.session():
        async for n in wrapped(10):
            if n == 2:
                break
        gc.collect()
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    assert ["Cancelled"] == [event.state for event in recording.events]


async def test_timeout_inside_async_generator(recording: Recording) -> None:
    """
    Every step runs in the consumer's task, so a timeout around steps of a generator works.
    """

    @asyncops.tool
    async def ticks() -> AsyncIterator[asyncio.Task[Any] | None]:
        async with asyncio.timeout(5):
            yield asyncio.current_task()
            await asyncio.sleep(0)
            yield asyncio.current_task()

    with asyncops.session():
        tasks = {task async for task in ticks()}

    assert {asyncio.current_task()} == tasks


# -- parentage ---------------------------------------------------------------------------------


@asyncops.tool
async def leaf(n: int) -> int:
    await asyncio.sleep(0)
    return n


async def gather() -> None:
    await asyncio.gather(*(leaf(n) for n in range(20)))


async def task_group() -> None:
    async with asyncio.TaskGroup() as tasks:
        for n in range(20):
            tasks.create_task(leaf(n))


async def create_task() -> None:
    for task in [asyncio.create_task(leaf(n)) for n in range(20)]:
        await task


async def to_thread() -> None:
    def work(n: int) -> None:
        asyncops.tool("leaf")(lambda: n)()

    await asyncio.gather(*(asyncio.to_thread(work, n) for n in range(20)))


async def executor() -> None:
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(4) as pool:
        work = asyncops.tool("leaf")(lambda: None)
        await asyncio.gather(
            *(loop.run_in_executor(pool, contextvars.copy_context().run, work) for _ in range(20))
        )


@pytest.mark.parametrize("spread", [gather, task_group, create_task, to_thread, executor])
async def test_parent_follows(recording: Recording, spread: Callable[[], Any]) -> None:
    """
    Parent and agent follow into tasks and threads, however they are begun.
    """
    with asyncops.session(), asyncops.agent("boss"), asyncops.action("spread"):
        await spread()

    parent = named(recording, "spread")
    leaves = [event for event in recording.events if event.kind == "tool"]
    assert 20 == len(leaves)
    assert {(parent.id, "boss")} == {(event.parent_id, event.agent) for event in leaves}


async def test_concurrent_branches_do_not_mix(recording: Recording) -> None:
    """
    Each of many concurrent branches keeps its own parent.
    """

    async def branch(n: int) -> None:
        with asyncops.agent(f"agent {n}"):
            for _ in range(5):
                await leaf(n)

    with asyncops.session():
        await asyncio.gather(*(branch(n) for n in range(50)))

    agents = {event.id: event.name for event in recording.events if event.kind == "agent"}
    leaves = [event for event in recording.events if event.kind == "tool"]
    assert 250 == len(leaves)
    for event in leaves:
        assert f"agent {payload(event.params)['n']}" == event.agent == agents[event.parent_id or ""]


async def test_task_that_outlives_its_session(recording: Recording) -> None:
    """
    A task left over from one session never writes into the next.
    """
    go = asyncio.Event()

    async def late() -> None:
        await go.wait()
        await leaf(1)

    async with asyncops.session("first") as first:
        task = asyncio.create_task(late())
        await asyncio.sleep(0)
    async with asyncops.session("second"):
        go.set()
        await task

    assert [first.id] == [event.session for event in recording.events]


# -- tool calls --------------------------------------------------------------------------------


async def test_a_block_says_which_tool_call_it_carries_out(recording: Recording) -> None:
    """
    The model's call names the calls it asks for, the block of a tool the one that it is.
    """
    with asyncops.session():
        with asyncops.llm("ask") as call:
            call.tool_call_ids = (each for each in ("c-1", "c-2"))
        with asyncops.tool("search", tool_call_id="c-1", params={"q": "x"}) as span:
            span.returns = ["y"]
        with pytest.raises(LookupError), asyncops.tool("fetch", tool_call_id="c-2"):
            raise LookupError
        with asyncops.tool("plain", tool_call_id=None):
            pass

    asked, search, fetch, plain = recording.events
    assert ("c-1", "c-2") == asked.tool_call_ids
    assert ("c-1", {"q": "x"}, ["y"]) == (
        search.tool_call_id,
        payload(search.params),
        payload(search.returns),
    )
    assert ("c-2", "Fail") == (fetch.tool_call_id, fetch.state)
    assert plain.tool_call_id is None


@pytest.mark.parametrize(
    "call",
    [
        lambda tool: tool("x", "c-1"),
        lambda tool: tool("x", tool_call_id="c-1"),
        lambda tool: tool(tool_call_id="c-1", q="x"),
    ],
)
async def test_a_decorated_tool_is_told_by_its_parameter(
    recording: Recording, call: Callable[[Any], Any]
) -> None:
    """
    A parameter `tool_call_id` says it, however it is passed and whether parameters are kept.
    """

    @asyncops.tool
    def plain(q: str, tool_call_id: str) -> None: ...

    @asyncops.tool("named", attributes={"k": 1}, capture_params=False)
    def kept_nothing(q: str, tool_call_id: str) -> None: ...

    @asyncops.tool(capture_params="q")
    async def some(q: str, tool_call_id: str) -> None: ...

    class Box:
        @asyncops.tool
        def method(self, q: str, tool_call_id: str = "c-0") -> None: ...

        @classmethod
        @asyncops.tool
        def of_class(cls, q: str, tool_call_id: str = "c-0") -> None: ...

    with asyncops.session():
        call(plain)
        call(kept_nothing)
        await call(some)
        call(Box().method)
        call(Box.of_class)

    assert 5 * ["c-1"] == [event.tool_call_id for event in recording.events]
    assert {"q": "x", "tool_call_id": "c-1"} == payload(recording.events[0].params)
    assert ("named", {"k": 1}) == (
        recording.events[1].name,
        payload(recording.events[1].attributes),
    )
    assert {"q": "x"} == payload(recording.events[2].params)


async def test_what_is_no_tool_call_id_is_none(recording: Recording) -> None:
    """
    A default counts, a value that is no text does not; other kinds have no such thing.
    """

    @asyncops.tool
    def keyword_only(*, tool_call_id: str = "c-0") -> None: ...

    @asyncops.action
    def action(tool_call_id: str) -> None: ...

    @asyncops.tool
    def anything(tool_call_id: object) -> None: ...

    with asyncops.session():
        keyword_only()
        action("c-1")
        anything(None)
        anything(7)
        for odd in (7, "c-2", object(), ["c-3", 4, None], (f"c-{n}" for n in range(2_000))):
            with asyncops.llm("ask") as call:
                call.tool_call_ids = odd  # type: ignore[assignment]
        asyncops.record(asyncops.LLMEvent(name="ready-made", tool_call_ids=["c-5"]))
    with pytest.raises(TypeError):
        asyncops.action("x", tool_call_id="c")  # type: ignore[call-overload]

    tools, others = recording.events[:4], recording.events[4:]
    assert ["c-0", None, None, None] == [event.tool_call_id for event in tools]
    told = [event.tool_call_ids for event in others]
    assert [(), ("c-2",), (), ("c-3", "4", "None")] == told[:4]
    assert 1_000 == len(told[4])
    assert ("c-5",) == told[5]


# -- ready-made events -------------------------------------------------------------------------


async def test_record(recording: Recording) -> None:
    """
    A ready-made event is recorded within the current block, as it says.
    """
    with asyncops.session(), asyncops.agent("boss") as boss:
        event_id = asyncops.record(
            asyncops.LLMEvent(
                model="m", prompt="hi", completion="ho", prompt_tokens=1, started_at=5, ended_at=9,
                cost=Cost("0.5", source="computed", table="t 1"), attributes={"k": 1},
            )
        )  # fmt: skip

    event = named(recording, "m")
    assert (event_id, boss.id, "boss", "llm") == (
        event.id,
        event.parent_id,
        event.agent,
        event.kind,
    )
    assert (5, 9, 1, "Success") == (
        event.started_at, event.ended_at, event.prompt_tokens, event.state,
    )  # fmt: skip
    assert Cost("0.5", source="computed", table="t 1") == event.cost


async def test_error_event_with_its_trigger(recording: Recording) -> None:
    """
    An error event names what triggered it, and brings it along if it was not recorded yet.
    """
    trigger = asyncops.ToolEvent(name="search", params={"q": "x"}, tool_call_id="c-1")
    with asyncops.session():
        asyncops.record(asyncops.ErrorEvent(exception=LookupError("none"), trigger_event=trigger))
        asyncops.record(asyncops.ErrorEvent(trigger_event="00000000000000aa", name="odd"))

    tool, error, second = recording.events
    assert error.failure is not None
    assert ("search", "c-1", "Success") == (tool.name, tool.tool_call_id, tool.state)
    assert ("LookupError", tool.id, "Fail") == (error.name, error.trigger_event_id, error.state)
    assert ("odd", "00000000000000aa") == (second.name, second.trigger_event_id)


async def test_record_odd_values(recording: Recording) -> None:
    """
    A ready-made event with values of the wrong kind is recorded as far as it makes sense.
    """
    odd: dict[str, Any] = {
        "id": "not an id", "parent_id": "neither", "started_at": "yesterday", "ended_at": -1,
        "state": "Perfect", "name": 7, "model": 8, "prompt_tokens": 1.5, "cost": "a lot",
    }  # fmt: skip
    with asyncops.session():
        asyncops.record(asyncops.LLMEvent(**odd))

    (event,) = recording.events
    assert ("7", "8", None, "Success") == (event.name, event.model, event.cost, event.state)
    assert {"prompt_tokens": 1.5, "cost": "a lot"} == payload(event.attributes)
    assert event.ended_at >= event.started_at > 0


async def test_record_without_session_and_without_event() -> None:
    """
    Without a session an event goes nowhere; what is no event is refused.
    """
    assert asyncops.record(asyncops.ActionEvent()) is None
    with pytest.raises(TypeError, match="takes an event"):
        asyncops.record({"name": "x"})  # type: ignore[arg-type]


async def test_announced(recording: Recording) -> None:
    """
    A span that is open for long is announced once, with what went in.
    """
    with asyncops.session() as session, asyncops.tool("slow", params={"n": 1}) as span:
        client = span.session.client if span.session else None
        assert client is not None
        client._host_told = True
        client.configuration = asyncops.Configuration(max_wait_time=0.001)
        await asyncio.sleep(0.01)
        client._tick()
        client._tick()

    kinds = [type(record).__name__ for record in recording.records]
    assert 1 == kinds.count("EventOpenedRecord")
    opened: Any = recording.records[kinds.index("EventOpenedRecord")]
    assert (span.id, session.id, {"n": 1}) == (opened.id, opened.session, payload(opened.params))
