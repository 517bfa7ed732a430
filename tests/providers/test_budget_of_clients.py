"""
With each vendor's own client: a session's budget is kept, whatever the client tries.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from typing import Any

import pytest
from clients import Driver
from vendor_server import Behaviour, VendorServer

import asyncops
import asyncops.testing
from asyncops import Budget, BudgetExceeded

BUDGET = Budget(llm_calls=3)


def test_the_call_beyond_is_never_sent(driver: Driver, vendor: VendorServer) -> None:
    """
    Of an agent that asks for ever, swallows what goes wrong and whose client tries again, the
    fourth call does not reach the vendor; its finally block runs, and may wait.
    """
    case = vendor.case(Behaviour.GOOD)
    cleaned: list[str] = []
    with asyncops.testing.recorded() as recording:
        with pytest.raises(BudgetExceeded, match="llm_calls=3 is used up: 3 LLM calls"):
            if driver.is_async:
                asyncio.run(ask_for_ever_async(driver, case.url, cleaned))
            else:
                ask_for_ever(driver, case.url, cleaned)

    (ending,) = recording.endings
    assert (3, ["done"], "Fail") == (len(case.received), cleaned, ending.state)
    assert ["Success"] * 3 == [event.state for event in recording.events if event.kind == "llm"]


def ask_for_ever(driver: Driver, url: str, cleaned: list[str]) -> None:
    client = driver.open(url, retries=2, timeout=10)
    try:
        with asyncops.session(budget=BUDGET):
            try:
                for _ in range(10):
                    with contextlib.suppress(Exception):
                        driver.ask(client, tools=False)
            finally:
                cleaned.append("done")
    finally:
        driver.close(client)


async def ask_for_ever_async(driver: Driver, url: str, cleaned: list[str]) -> None:
    client = driver.open(url, retries=2, timeout=10)
    try:
        async with asyncops.session(budget=BUDGET):
            try:
                for _ in range(10):
                    with contextlib.suppress(Exception):
                        await had(driver.ask(client, tools=False))
            finally:
                await asyncio.sleep(0)
                cleaned.append("done")
    finally:
        await had(driver.close(client))


async def had(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value
