"""
A past into a collector, over the wire; and what goes on when it is over.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import sys
import time
from collections.abc import AsyncGenerator, Callable, Sequence

import attrs

from ..._configuration import Configuration
from ..._exceptions import CollectorUnavailableError
from ..._exporter import HEARTBEAT_SECONDS
from ..._http import HTTPExporter
from .plan import Past, newcomer
from .processes import lines

__all__ = ["Ahead", "fill", "go_on"]

SENDERS = 8
"""How many sources send at the same time: so that one commit is for several of them."""

WAITING = 4
"""How many batches wait for one sender."""

TICK_SECONDS = 0.25
"""How often what is due is sent, when it goes on."""

AT_WORK = 5
"""How many sources are at work when it goes on."""

MAX_AGAIN_SECONDS = 5.0


@attrs.frozen(order=True)
class Ahead:
    """
    A line that is not due yet: its moment, and whose it is.
    """

    at: int
    source: str
    line: bytes


async def fill(endpoint: str, past: Past, *, told: Callable[[int], None]) -> list[Ahead]:
    """
    Send *past* to the collector at *endpoint*.

    Args:
        told: Called with the number of events that were sent, again and again.

    Returns:
        What lies ahead of the sessions that are still running.
    """
    ahead: list[Ahead] = []
    queues: list[asyncio.Queue[tuple[str, int, bytes] | None]] = [
        asyncio.Queue(WAITING) for _ in range(SENDERS)
    ]

    async def send(queue: asyncio.Queue[tuple[str, int, bytes] | None]) -> None:
        async with contextlib.aclosing(_Sender(endpoint)) as sender:
            while (batch := await queue.get()) is not None:
                source, events, body = batch
                await sender.send(source, [body])
                told(events)

    async with asyncio.TaskGroup() as senders:
        for queue in queues:
            senders.create_task(send(queue))
        async with contextlib.aclosing(_made(past)) as made:
            async for source, at, events, body in made:
                if at:
                    ahead.append(Ahead(at, source, body))
                else:  # the batches of one source stay in order
                    await queues[int(source[-4:], 16) % SENDERS].put((source, events, body))
        for queue in queues:
            await queue.put(None)
    return ahead


async def go_on(endpoint: str, past: Past, ahead: Sequence[Ahead]) -> None:
    """
    Send what lies *ahead* as it becomes due, and let others begin, until cancelled.
    """
    due = sorted(ahead)
    number = 0
    heard_at = 0.0
    async with contextlib.aclosing(_Sender(endpoint)) as sender:
        while True:
            at_work = {each.source for each in due}
            if len(at_work) < AT_WORK:
                number += 1
                for written in lines(newcomer(past, number, time.time_ns())):
                    for at, line in written.lines:
                        heapq.heappush(due, Ahead(at, written.source, line + b"\n"))
                    at_work.add(written.source)
            if time.monotonic() - heard_at > HEARTBEAT_SECONDS / 2:
                heard_at = time.monotonic()
                for source in at_work:
                    await sender.send(source, [])
            now = time.time_ns()
            bodies: dict[str, list[bytes]] = {}
            while due and due[0].at <= now:
                next_one = heapq.heappop(due)
                bodies.setdefault(next_one.source, []).append(next_one.line)
            for source, body in bodies.items():
                await sender.send(source, body)
            await asyncio.sleep(TICK_SECONDS)


class _Sender:
    """
    Sends to a collector until it takes it.
    """

    def __init__(self, endpoint: str) -> None:
        self._exporter = HTTPExporter(Configuration(endpoint=endpoint))

    async def send(self, source: str, body: Sequence[bytes]) -> None:
        """
        Raises:
            ExportError: The collector will never take it.
        """
        again = 0.1
        while True:
            try:
                answer = await self._exporter.export(source, body)
            except CollectorUnavailableError as error:
                await asyncio.sleep(error.retry_after or again)
                again = min(2 * again, MAX_AGAIN_SECONDS)
            else:
                assert not answer.rejected, answer.rejected
                return

    async def aclose(self) -> None:
        await self._exporter.aclose()


async def _made(past: Past) -> AsyncGenerator[tuple[str, int, int, bytes], None]:
    """
    The frames that `__main__` writes for *past*.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "asyncops.cli.history"),
        *map(str, attrs.astuple(past)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for us, who then end it
    )
    assert process.stdout is not None
    try:
        while head := await process.stdout.readline():
            source, *numbers = head.split()
            at, events, size = map(int, numbers)
            yield source.decode(), at, events, await process.stdout.readexactly(size)
        if await process.wait() != 0:
            raise RuntimeError(f"making the past failed with status {process.returncode}")
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()  # while what it wrote is not read, it is waited for in vain
