"""
A session's budget is kept at the transport: what it refuses is never sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from wires import CHAT, Body, Wire, answer, asked, events

import asyncops
import asyncops.testing
from asyncops import Budget, BudgetExceeded
from asyncops.capture import transport

FOREVER = 50


class Server:
    """
    Counts what it is sent; refuses the first *busy* requests.
    """

    def __init__(self, *, busy: int = 0) -> None:
        self.requests = 0
        self._busy = busy

    def __call__(self, request: Any) -> Any:
        self.requests += 1
        status = 429 if self.requests <= self._busy else 200
        body = answer() if status == 200 else {"error": {"message": "slow down"}}
        return status, {"content-type": "application/json"}, Body([json.dumps(body).encode()])


def loop(wire: Wire, server: Server, budget: Budget, block: bool = False) -> list[str]:
    """
    An agent that asks for ever, through a client that tries again whatever goes wrong; returns
    what its finally block did.
    """
    cleaned: list[str] = []
    around: Callable[[], Any] = asyncops.llm if block else contextlib.nullcontext
    kind = wire.httpx.AsyncClient if wire.is_async else wire.httpx.Client
    client = kind(transport=transport(wire.transport(server)))

    async def run() -> None:
        async with client, asyncops.session(budget=budget):
            try:
                for _ in range(FOREVER):
                    with contextlib.suppress(Exception), around():
                        response = await client.post(CHAT, json=asked())
                        response.raise_for_status()
            finally:
                await asyncio.sleep(0)
                cleaned.append("done")

    def run_sync() -> None:
        with client, asyncops.session(budget=budget):
            try:
                for _ in range(FOREVER):
                    with contextlib.suppress(Exception), around():
                        client.post(CHAT, json=asked()).raise_for_status()
            finally:
                cleaned.append("done")

    if wire.is_async:
        asyncio.run(run())
    else:
        run_sync()
    return cleaned


@pytest.mark.parametrize("block", [False, True], ids=["bare", "block"])
def test_the_call_beyond_is_never_sent(wire: Wire, block: bool) -> None:
    """
    With a budget of three calls the fourth does not reach the wire, whether the program has
    written a block around it or not.
    """
    server = Server()
    with asyncops.testing.recorded() as recording:
        with pytest.raises(BudgetExceeded, match="llm_calls=3 is used up: 3 LLM calls, 36 tokens"):
            loop(wire, server, Budget(llm_calls=3), block)

    calls = [event for event in events(recording) if event["kind"] == "llm"]
    assert 3 == server.requests
    assert 3 == len([call for call in calls if call["state"] == "Success"])
    (ending,) = recording.endings
    assert "Fail" == ending.state
    assert (ending.reason or "").startswith("BudgetExceeded: llm_calls=3 is used up")


@pytest.mark.parametrize("block", [False, True], ids=["bare", "block"])
def test_tokens(wire: Wire, block: bool) -> None:
    """
    Tokens are counted as the vendor tells them, once, whether there is a block or not.
    """
    server = Server()
    with asyncops.testing.recorded():
        with pytest.raises(BudgetExceeded, match="tokens=40 is used up: 4 LLM calls, 48 tokens"):
            loop(wire, server, Budget(tokens=40), block)

    assert 4 == server.requests


@pytest.mark.parametrize("block", [False, True], ids=["bare", "block"])
def test_refused_attempts_do_not_count(wire: Wire, block: bool) -> None:
    """
    What the vendor refuses uses nothing, and is not counted.
    """
    server = Server(busy=5)
    with asyncops.testing.recorded():
        with pytest.raises(BudgetExceeded, match="llm_calls=2 is used up: 2 LLM calls, 24 tokens"):
            loop(wire, server, Budget(llm_calls=2), block)

    assert 7 == server.requests


def test_within_the_budget(wire: Wire) -> None:
    """
    Exactly as many calls as are allowed are no trouble.
    """
    server = Server()
    with asyncops.testing.recorded() as recording:
        assert ["done"] == loop(wire, server, Budget(llm_calls=FOREVER))

    assert FOREVER == server.requests
    assert "Success" == recording.endings[0].state


def test_two_calls_in_one_block(wire: Wire) -> None:
    """
    A block is counted for the first call in it; another call in it is a call of its own.
    """
    server = Server()
    kind = wire.httpx.AsyncClient if wire.is_async else wire.httpx.Client
    client = kind(transport=transport(wire.transport(server)))

    async def run() -> None:
        async with client, asyncops.session(budget=Budget(llm_calls=3)):
            while True:
                with asyncops.llm():
                    for _ in range(2):
                        await client.post(CHAT, json=asked())

    def run_sync() -> None:
        with client, asyncops.session(budget=Budget(llm_calls=3)):
            while True:
                with asyncops.llm():
                    for _ in range(2):
                        client.post(CHAT, json=asked())

    with asyncops.testing.recorded():
        with pytest.raises(BudgetExceeded, match="3 LLM calls, 36 tokens"):
            asyncio.run(run()) if wire.is_async else run_sync()

    assert 3 == server.requests
