"""
Sessions begin one at a time and end as they truly ended.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
import uuid
from typing import Any

import pytest

import asyncops
from asyncops import (
    Configuration,
    ConfigurationError,
    EndState,
    NoSessionError,
    SessionActiveError,
    SessionStateError,
)
from asyncops._active import stay_outside
from asyncops._events import SessionEndedRecord, SessionRecord, TagsRecord, VideoRecord
from asyncops.testing import Recording, recorded

pytestmark = pytest.mark.anyio


def ending(recording: Recording) -> SessionEndedRecord:
    (record,) = recording.endings
    return record


# -- how a session ends ------------------------------------------------------------------------


async def test_success(recording: Recording) -> None:
    """
    A block that is left normally is a success.
    """
    async with asyncops.session("nightly", tags=["a", "b", "a"]) as session:
        assert session is asyncops.current_session()
        assert session.state is None

    (began,) = recording.sessions
    assert (session.id, "nightly", ("a", "b")) == (began.session, began.name, began.tags)
    assert (EndState.SUCCESS, None, "process") == (
        ending(recording).state, ending(recording).reason, ending(recording).said_by,
    )  # fmt: skip
    assert EndState.SUCCESS is session.state
    assert 7 == uuid.UUID(session.id).version or session.id.startswith("00000000-0000-7")


class Odd(BaseException):
    pass


@pytest.mark.parametrize(
    ("exception", "state", "reason"),
    [
        (ValueError("no"), "Fail", "ValueError: no"),
        (ValueError(), "Fail", "ValueError"),
        (ValueError("first\nsecond"), "Fail", "ValueError: first"),
        (TimeoutError(), "Fail", "TimeoutError"),
        (SystemExit(3), "Fail", "SystemExit: 3"),
        (SystemExit("bad"), "Fail", "SystemExit: bad"),
        (SystemExit(0), "Success", None),
        (SystemExit(), "Success", None),
        (asyncio.CancelledError(), "Cancelled", "cancelled"),
        (asyncio.CancelledError("budget"), "Cancelled", "budget"),
        (KeyboardInterrupt(), "Cancelled", "SIGINT"),
        (GeneratorExit(), "Cancelled", "generator closed"),
        (Odd("x"), "Fail", "Odd: x"),
        (ExceptionGroup("g", [OSError("a")]), "Fail", "ExceptionGroup: g (1 sub-exception)"),
        (BaseExceptionGroup("g", [asyncio.CancelledError("c"), GeneratorExit()]), "Cancelled", "c"),
        (
            BaseExceptionGroup("g", [asyncio.CancelledError(), ExceptionGroup("h", [OSError()])]),
            "Fail",
            "BaseExceptionGroup: g (2 sub-exceptions)",
        ),
        (BaseExceptionGroup("g", [KeyboardInterrupt()]), "Cancelled", "SIGINT"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("block", ["async with", "with"])
async def test_ending(
    recording: Recording, block: str, exception: BaseException, state: str, reason: str | None
) -> None:
    """
    The exception that leaves the block decides, and passes through unchanged.
    """
    with pytest.raises(type(exception)) as raised:
        if block == "with":
            with asyncops.session():
                raise exception
        else:
            async with asyncops.session():
                raise exception

    assert exception is raised.value
    assert (state, reason) == (ending(recording).state, ending(recording).reason)
    assert (state == "Fail") == (ending(recording).failure is not None)


async def test_cancelled_task(recording: Recording) -> None:
    """
    A task that is cancelled ends its session as Cancelled, with the message it was cancelled with.
    """

    async def work() -> None:
        async with asyncops.session():
            await asyncio.sleep(60)

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel("out of patience")
    with pytest.raises(asyncio.CancelledError):
        await task

    assert ("Cancelled", "out of patience") == (
        ending(recording).state, ending(recording).reason,
    )  # fmt: skip


async def test_timeout_around_and_inside(recording: Recording) -> None:
    """
    A timeout outside the block cancels it; one inside makes it fail.
    """
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            async with asyncops.session():
                await asyncio.sleep(60)
    with pytest.raises(TimeoutError):
        async with asyncops.session():
            async with asyncio.timeout(0.01):
                await asyncio.sleep(60)

    assert ["Cancelled", "Fail"] == [record.state for record in recording.endings]


async def test_swallowed_cancellation(recording: Recording) -> None:
    """
    A cancellation that the block overcomes is no ending.
    """
    async with asyncops.session():
        try:
            raise asyncio.CancelledError
        except asyncio.CancelledError:
            pass

    assert "Success" == ending(recording).state


async def test_leaving_waits_for_nothing() -> None:
    """
    Leaving a block takes no time, also when it is cancelled and nobody listens.
    """
    loop = asyncio.get_running_loop()
    async with asyncops.session(config=Configuration(endpoint="http://127.0.0.1:9")):
        pass
    took = []
    while not took or (took[-1] >= 0.2 and len(took) < 12):  # a machine may stand still meanwhile
        began = loop.time()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                async with asyncops.session(config=Configuration(endpoint="http://127.0.0.1:9")):
                    await asyncio.sleep(60)
        took.append(loop.time() - began)

    assert min(took) < 0.2


# -- ending by hand ----------------------------------------------------------------------------


async def test_by_hand(recording: Recording) -> None:
    """
    start_session and end_session say what a block would, in your words.
    """
    session_id = await asyncops.start_session("manual", tags=["x"])
    await asyncops.end_session("Fail", "bad evals", video="https://v.example/1")

    (video,) = [record for record in recording.records if isinstance(record, VideoRecord)]
    assert (session_id, "Fail", "bad evals", "user") == (
        ending(recording).session, ending(recording).state, ending(recording).reason,
        ending(recording).said_by,
    )  # fmt: skip
    assert "https://v.example/1" == video.video
    with pytest.raises(NoSessionError):
        asyncops.current_session()


@pytest.mark.parametrize("state", ["success", "Done", "", None, 3])
async def test_unknown_end_state(recording: Recording, state: Any) -> None:
    """
    An end state that does not exist is a clear error, and the session stays open.
    """
    async with asyncops.session() as session:
        with pytest.raises(SessionStateError, match="is no end state: say one of 'Success'"):
            await asyncops.end_session(state)
        assert session.state is None
        asyncops.record(asyncops.ActionEvent(name="still here"))

    assert "Success" == ending(recording).state
    assert ["still here"] == [event.name for event in recording.events]


async def test_ended_inside_the_block(recording: Recording) -> None:
    """
    What was said by hand inside a block stands when the block is left, even by an exception.
    """
    with pytest.raises(ValueError, match="after"):
        async with asyncops.session() as session:
            await session.end("Success", "good enough")
            raise ValueError("after")

    assert ("Success", "good enough") == (ending(recording).state, ending(recording).reason)


async def test_misuse(recording: Recording) -> None:
    """
    Ending what has not started or has ended, starting twice, and ending nothing are clear errors.
    """
    session = asyncops.session()
    with pytest.raises(SessionStateError, match="has not started"):
        await session.end()
    with pytest.raises(NoSessionError, match="no session is active"):
        await asyncops.end_session()
    async with session:
        with pytest.raises(SessionStateError, match="was started before"):
            session.start()
    with pytest.raises(SessionStateError, match=r"already ended \(Success\)"):
        await session.end()
    with pytest.raises(SessionStateError):
        session.add_tags(["late"])

    assert 1 == len(recording.endings)


# -- one at a time -----------------------------------------------------------------------------


async def test_second_session(recording: Recording) -> None:
    """
    A second session is refused, and the error names the first.
    """
    async with asyncops.session("first") as first:
        with pytest.raises(SessionActiveError, match=f"{first.id}.*'first'") as raised:
            async with asyncops.session("second"):
                pass
        assert first.id == raised.value.session_id
        with pytest.raises(SessionActiveError):
            await asyncio.create_task(asyncops.start_session())
    async with asyncops.session("third"):
        pass

    assert ["first", "third"] == [record.name for record in recording.sessions]


async def test_started_elsewhere(recording: Recording) -> None:
    """
    A session that was started in another task or thread is this program's session, too.
    """
    await asyncio.create_task(asyncops.start_session("elsewhere"))
    asyncops.record(asyncops.ActionEvent(name="here"))
    thread = threading.Thread(target=lambda: asyncops.add_tags(["thread"]))
    thread.start()
    thread.join()
    await asyncio.gather(asyncops.end_session())
    async with asyncops.session("next"):
        pass

    assert ["elsewhere", "next"] == [record.name for record in recording.sessions]
    assert ["here"] == [event.name for event in recording.events]
    assert [("thread",)] == [r.tags for r in recording.records if isinstance(r, TagsRecord)]


def test_loop_closed_under_it(recording: Recording) -> None:
    """
    A session whose event loop is gone does not stand in the way of the next.
    """

    async def begin() -> None:
        await asyncops.start_session("lost")

    asyncio.run(begin())
    with asyncops.session("next"):
        pass

    first, second = recording.endings
    assert ("Indeterminate", "event loop closed without end_session()") == (
        first.state, first.reason,
    )  # fmt: skip
    assert "Success" == second.state


async def test_one_per_context(recording: Recording) -> None:
    """
    With scope="context" each task may have its own, and still only one.
    """
    config = Configuration(scope="context")
    together = asyncio.Barrier(3)

    async def request(n: int) -> None:
        async with asyncops.session(f"request {n}", config=config):
            await together.wait()
            with pytest.raises(SessionActiveError):
                await asyncops.start_session(config=config)
            asyncops.record(asyncops.ActionEvent(name=str(n)))

    await asyncio.gather(*(request(n) for n in range(3)))

    names = {record.session: record.name for record in recording.sessions}
    assert {f"request {event.name}" for event in recording.events} == set(names.values())
    for event in recording.events:
        assert f"request {event.name}" == names[event.session]
    with pytest.raises(NoSessionError):
        asyncops.current_session()


async def test_our_own_work_is_outside(recording: Recording) -> None:
    """
    The background thread's context belongs to no session, whatever the process does.
    """

    def look() -> str | None:
        stay_outside()
        return asyncops.record(asyncops.ActionEvent(name="mine"))

    async with asyncops.session():
        assert contextvars.Context().run(look) is None


# -- what can be said of it --------------------------------------------------------------------


async def test_tags_and_video(recording: Recording) -> None:
    """
    Tags are added or set anew, a video is named; without a session nothing happens.
    """
    async with asyncops.session():
        asyncops.add_tags(["a"])
        asyncops.set_tags(["b", "b"])
        asyncops.add_tags("word")  # type: ignore[arg-type]
        asyncops.set_video("https://v")
    asyncops.add_tags(["nobody"])
    asyncops.set_tags(["nobody"])
    asyncops.set_video("nobody")

    tags = [record for record in recording.records if isinstance(record, TagsRecord)]
    assert [(("a",), False), (("b",), True), (("word",), False)] == [
        (record.tags, record.replace) for record in tags
    ]
    assert 1 == sum(isinstance(record, VideoRecord) for record in recording.records)


async def test_configuration_tags(recording: Recording) -> None:
    """
    Tags of the configuration are on every session.
    """
    asyncops.init(tags=["all"], auto_start_session=False)
    async with asyncops.session(tags=["one"]):
        pass

    assert ("all", "one") == recording.sessions[0].tags


# -- init --------------------------------------------------------------------------------------


async def test_init_starts_a_session(recording: Recording) -> None:
    """
    init() starts a session and returns its id; again, it returns the same and changes nothing.
    """
    session_id = asyncops.init(name="main", tags=["v1"])

    assert session_id == asyncops.init(tags=["v2"]) == asyncops.current_session().id
    await asyncops.end_session()
    assert [("main", ("v1",))] == [(record.name, record.tags) for record in recording.sessions]


def test_init_before_any_loop(recording: Recording) -> None:
    """
    A session that init() started before there was a loop is the one inside it.
    """
    session_id = asyncops.init()

    async def main() -> None:
        assert session_id == asyncops.current_session().id
        await asyncops.end_session("Success")

    asyncio.run(main())
    assert "Success" == ending(recording).state
    assert asyncops.init() != session_id


async def test_init_without_a_session(
    recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Told not to, by argument, configuration or environment, init() starts none.
    """
    assert asyncops.init(auto_start_session=False) is None
    assert asyncops.init(config=Configuration(auto_start_session=False)) is None
    monkeypatch.setenv("ASYNCOPS_AUTO_START_SESSION", "no")
    assert asyncops.init() is None
    assert [] == recording.records


def test_configuration_of_one_session(tmp_path: Any) -> None:
    """
    A Configuration given to one session holds for that one, over init()'s.
    """
    asyncops.init(
        config=Configuration(journal_dir=tmp_path / "a", shutdown_timeout=0, max_wait_time=9),
        auto_start_session=False,
    )
    with asyncops.session(config=Configuration(journal_dir=tmp_path / "b")) as session:
        client = session._active.client if session._active else None
        assert client is not None
        assert (tmp_path / "b", 9.0, 0.0) == (
            client.configuration.journal_dir, client.configuration.max_wait_time,
            client.configuration.shutdown_timeout,
        )  # fmt: skip
        assert (tmp_path / "b").exists()
    assert not (tmp_path / "a").exists()


# -- inherited sessions ------------------------------------------------------------------------

ID = "0198a0b0-0000-7000-8000-0000000000aa"


@pytest.mark.parametrize(
    "reference", [ID, ID.upper(), ID.replace("-", ""), uuid.UUID(ID), "session"]
)
async def test_inherited(recording: Recording, reference: Any) -> None:
    """
    A session of another process is joined by its id as text or UUID, or by a Session.
    """
    if reference == "session":
        with recorded():
            reference = asyncops.session()
            reference.id = ID
    session_id = await asyncops.start_session(inherited_session_id=reference)
    asyncops.record(asyncops.ActionEvent(name="mine"))
    await asyncops.end_session("Fail", "not mine to say")

    (joined,) = recording.sessions
    assert (ID, ID, True, None) == (session_id, joined.session, joined.inherited, joined.started_at)
    assert [ID] == [event.session for event in recording.events]
    assert (ID, None) == (ending(recording).session, ending(recording).state)


async def test_inherited_from_the_environment(
    recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    to_env() tells another process all it needs: it joins, within the span that was open.
    """
    with recorded():
        async with asyncops.session() as owner:
            outside = owner.to_env()
            with asyncops.agent("boss") as boss:
                environment = owner.to_env()
    trace_id = owner.id.replace("-", "")
    assert owner.id == environment["ASYNCOPS_SESSION_ID"]
    assert f"00-{trace_id}-{boss.id}-01" == environment["TRACEPARENT"]
    assert "api_key" not in str(environment).lower()

    for told, parent_id in ((outside, None), (environment, boss.id)):
        for name, value in told.items():
            monkeypatch.setenv(name, value)
        async with asyncops.session("worker"):
            asyncops.record(asyncops.ActionEvent(name="mine"))
        assert (owner.id, parent_id) == (
            recording.events[-1].session,
            recording.events[-1].parent_id,
        )
    assert [True, True] == [record.inherited for record in recording.sessions]


async def test_foreign_traceparent(recording: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A TRACEPARENT of somebody else's trace is not ours to join.
    """
    monkeypatch.setenv("TRACEPARENT", f"00-{'ab' * 16}-{'cd' * 8}-01")
    async with asyncops.session():
        asyncops.record(asyncops.ActionEvent(name="mine"))

    assert not recording.sessions[0].inherited
    assert recording.events[0].parent_id is None


@pytest.mark.parametrize("reference", ["yesterday", "123", 5])
async def test_bad_reference(reference: Any) -> None:
    """
    What is no session id is refused by name.
    """
    with pytest.raises(ConfigurationError, match="inherited_session_id must be the id"):
        await asyncops.start_session(inherited_session_id=reference)


async def test_repr(recording: Recording) -> None:
    """
    A session's repr says which, and how it stands.
    """
    session = asyncops.session("x")
    shown = [repr(session)]
    async with session:
        shown.append(repr(session))
    shown.append(repr(session))

    assert [
        f"<Session {session.id} 'x' {s}>" for s in ("not started", "running", "Success")
    ] == shown
    assert f"http://127.0.0.1:9/sessions/{session.id}" == session.url


async def test_records_are_kept_in_order(recording: Recording) -> None:
    """
    What was recorded first comes first.
    """
    async with asyncops.session():
        with asyncops.action("a"):
            asyncops.add_tags(["t"])

    assert ["SessionRecord", "TagsRecord", "EventRecord", "SessionEndedRecord"] == [
        type(record).__name__ for record in recording.records
    ]
    assert isinstance(recording.records[0], SessionRecord)
