"""
Putting capture into clients, and taking it out again.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap
from typing import Any

import pytest
from processes import SECONDS
from wires import CHAT, WIRES, Body, Wire, answer, asked, events

import asyncops
import asyncops.testing
from asyncops import _instrumentation

METHOD = "_transport_for_url"


def methods() -> list[Any]:
    """
    What every kind of client asks for its transport.
    """
    found = []
    for wire in WIRES:
        client = wire.httpx.AsyncClient if wire.is_async else wire.httpx.Client
        found.append(client.__dict__[METHOD])
    return found


def test_it_is_taken_back_without_a_trace() -> None:
    """
    However often it is put in, once is enough to take it out.
    """
    before = methods()
    path = list(sys.meta_path)

    asyncops.instrument()
    once = methods()
    asyncops.instrument()
    with asyncops.testing.recorded(), asyncops.session():
        pass

    assert once == methods()
    assert all(ours is not theirs for ours, theirs in zip(once, before, strict=True))
    asyncops.uninstrument()
    asyncops.uninstrument()
    assert before == methods()
    assert path == sys.meta_path


@pytest.mark.parametrize("way", ["init", "session", "start_session"])
@pytest.mark.parametrize("wanted", [True, False])
@pytest.mark.anyio
async def test_who_puts_it_in(way: str, wanted: bool) -> None:
    """
    `init()`, `session()` and `start_session()` do, unless they are told not to.
    """
    before = methods()
    config = asyncops.Configuration(instrument_llm_calls=wanted)
    with asyncops.testing.recorded(config):
        if way == "init":
            asyncops.init(instrument_llm_calls=wanted)
            await asyncops.end_session()
        elif way == "session":
            async with asyncops.session(config=config):
                pass
        else:
            await asyncops.start_session(config=config)
            await asyncops.end_session()

    assert wanted is (methods() != before)


def ask(wire: Wire) -> None:
    wire.post(wire.client(lambda request: wire.httpx.Response(200, json=answer())))


def test_a_session_that_does_not_want_it(wire: Wire) -> None:
    """
    What another session has put in does not look on in one that said no, until somebody asks for
    it everywhere.
    """
    said_no = asyncops.Configuration(instrument_llm_calls=False)
    with asyncops.testing.recorded(), asyncops.session():
        pass
    with asyncops.testing.recorded(said_no) as recording, asyncops.session(config=said_no):
        ask(wire)
        assert [] == recording.events
        asyncops.instrument()
        ask(wire)
        assert 1 == len(recording.events)
        asyncops.uninstrument()
        ask(wire)
        assert 1 == len(recording.events)


def test_somebody_else_does_the_same(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    What somebody has put over ours stays when ours is taken back, and ours records no more.
    """
    client = wire.httpx.AsyncClient if wire.is_async else wire.httpx.Client
    monkeypatch.setattr(client, METHOD, client.__dict__[METHOD])  # to have it back afterwards
    asyncops.instrument()
    ours, theirs = client.__dict__[METHOD], []

    def over(self: Any, url: Any) -> Any:
        theirs.append(url)
        return ours(self, url)

    setattr(client, METHOD, over)
    with asyncops.testing.recorded() as recording, asyncops.session():
        ask(wire)
        asyncops.uninstrument()
        ask(wire)
        asyncops.instrument()
        ask(wire)

    assert (3, 2) == (len(theirs), len(recording.events))
    _instrumentation._originals.pop(client)


def test_a_version_nobody_knows(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """
    A client without the place where we stand is left as it is, and the log says what to do.
    """
    monkeypatch.delattr(WIRES[0].httpx.Client, METHOD)

    asyncops.instrument()

    assert "asyncops.capture.transport" in caplog.text
    with asyncops.testing.recorded() as recording, asyncops.session():
        ask(WIRES[1])
    assert 1 == len(recording.events)


def run(program: str) -> str:
    """
    What *program* prints, in an interpreter of its own.
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program)],
        capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert (0, "") == (done.returncode, done.stderr)
    return done.stdout


@pytest.mark.parametrize("package", ["httpx", "httpx2"])
def test_a_package_that_is_imported_later(package: str) -> None:
    """
    It is not imported for our sake; when it is, it is looked after, and its module tells nothing.
    """
    out = run(
        f"""
        import sys
        import asyncops, asyncops.testing
        with asyncops.testing.recorded() as recording, asyncops.session():
            assert "httpx" not in sys.modules and "httpx2" not in sys.modules
            import {package} as httpx
            assert type(httpx.__spec__.loader).__module__ != "asyncops._instrumentation"
            assert httpx.__loader__ is httpx.__spec__.loader
            serve = httpx.MockTransport(lambda request: httpx.Response(200, json={{}}))
            client = httpx.Client(transport=serve)
            client.post("{CHAT}", json={asked()!r})
            print([event.name for event in recording.events])
        """
    )

    assert "['gpt-4o']\n" == out


def test_a_package_that_is_being_imported() -> None:
    """
    Two threads at the same time: one imports, one puts capture in. Neither waits for ever, and no
    client is missed.
    """
    out = run(
        """
        import sys, threading, time
        import asyncops
        from asyncops import _instrumentation
        sys.setswitchinterval(1e-6)
        threads = [
            threading.Thread(target=__import__, args=(name,)) for name in ("httpx", "httpx2")
        ]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            asyncops.instrument()
        asyncops.instrument()
        print(len(_instrumentation._originals))
        """
    )

    assert "4\n" == out


def test_an_import_that_fails() -> None:
    """
    Whoever lacks a package gets the error they would get.
    """
    out = run(
        """
        import sys
        import asyncops
        asyncops.instrument()
        sys.path[:] = []
        sys.path_importer_cache.clear()
        try:
            import httpx2
        except ModuleNotFoundError as error:
            print(error, error.__context__)
        """
    )

    assert "No module named 'httpx2' None\n" == out


def test_a_forked_child_records_its_calls() -> None:
    """
    A child goes on where its parent was.
    """
    out = run(
        f"""
        import os, sys, httpx
        import asyncops, asyncops.testing
        with asyncops.testing.recorded() as recording, asyncops.session():
            serve = httpx.MockTransport(lambda request: httpx.Response(200, json={{}}))
            client = httpx.Client(transport=serve)
            child = os.fork()
            client.post("{CHAT}", json={asked()!r})
            print(end=f"{{[event.name for event in recording.events]}}\\n", flush=True)
            if child == 0:
                os._exit(0)
            os.waitpid(child, 0)
        """
    )

    assert 2 * "['gpt-4o']\n" == out


def test_an_answer_that_is_open_at_exit() -> None:
    """
    A program may end in the midst of a stream; it ends as it would without us, without a word.
    """
    out = run(
        f"""
        import httpx
        import asyncops
        asyncops.init()
        serve = httpx.MockTransport(
            lambda request: httpx.Response(
                200, headers={{"content-type": "text/event-stream"}}, content=iter([b"data: 1"] * 9)
            )
        )
        client = httpx.Client(transport=serve)
        request = client.build_request("POST", "{CHAT}", json={asked()!r})
        response = client.send(request, stream=True)
        pieces = response.iter_raw()
        print(next(pieces))
        """
    )

    assert "b'data: 1'\n" == out


def test_what_we_send_ourselves_is_not_seen(wire: Wire) -> None:
    """
    Work that belongs to no session is not recorded: neither ours, nor a request that has an `llm`
    in its address by chance.
    """
    asyncops.instrument()
    client = wire.client(lambda request: (200, {}, Body([b"{}"])))
    with asyncops.testing.recorded() as recording:
        wire.post(client)
        with asyncops.session():
            pass

    assert [] == events(recording)
