"""
A collector under load: `asyncops serve` on a core of its own, and sources that send to it.

Sessions are copies of a few that are encoded once, with their ids, numbers and times put in, so
that what sends is never what limits: about 5 us an event, most of it compression.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import random
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attrs
import psutil

from asyncops import _ids
from asyncops._events import Cost, EndState, EventRecord, Record, SessionEndedRecord, SessionRecord
from asyncops._wire import Encoder, encode

__all__ = ["Load", "Serving", "Source", "send", "serving"]

EVENTS = 100
"""Of one session."""

COMPRESSED_FROM = 16_384
"""Bytes from which a body is compressed, as the SDK does it."""

_MOMENT = 1_700_000_000
"""The second in which the sessions that are copied happen."""

_SESSION = "00000000-0000-7000-8000-000000000000"


@attrs.define(eq=False)
class Serving:
    """
    A collector at work.

    Attributes:
        url: Its address.
        process: What runs it.
        path: Its database.
    """

    url: str
    process: psutil.Process
    path: Path

    def cpu(self) -> float:
        """
        Seconds of processor time that it has used.
        """
        times = self.process.cpu_times()
        return float(times.user + times.system)

    def rss(self) -> int:
        return int(self.process.memory_info().rss)

    def database_bytes(self) -> int:
        return sum(file.stat().st_size for file in self.path.parent.glob(f"{self.path.name}*"))

    @contextlib.contextmanager
    def connection(self) -> Iterator[http.client.HTTPConnection]:
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=120)
        try:
            yield connection
        finally:
            connection.close()

    def get(self, path: str) -> Any:
        with self.connection() as connection:
            connection.request("GET", path)
            return json.loads(connection.getresponse().read())


@contextlib.contextmanager
def serving(path: Path) -> Iterator[Serving]:
    """
    A collector over the database *path*. Where there are several cores, the first is its alone and
    this process keeps to the others.
    """
    cores = os.sched_getaffinity(0)
    first, *others = sorted(cores)
    os.sched_setaffinity(0, {first})  # what is started inherits it
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "asyncops", "serve", "--port", "0", "--db", str(path)],
            stdout=subprocess.PIPE,
            text=True,
        )
    finally:
        os.sched_setaffinity(0, others or cores)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        yield Serving(url, psutil.Process(process.pid), path)
    finally:
        os.sched_setaffinity(0, cores)
        process.terminate()
        process.communicate()


# -- what is sent ---------------------------------------------------------------------------------


def _texts(chooser: random.Random) -> Iterator[str]:
    """
    Texts of 10 to 40 words, some of which everybody uses and most hardly anybody.
    """
    words = [
        "".join(chooser.choices("abcdefghijklmnopqrstuvwxyz", k=n % 8 + 3)) for n in range(20_000)
    ]
    weights = list(itertools.accumulate(1 / n for n in range(1, len(words) + 1)))
    while True:
        yield " ".join(chooser.choices(words, cum_weights=weights, k=chooser.randint(10, 40)))


def _copied(count: int = 200) -> list[bytes]:
    """
    Sessions as lines without their numbers; about 650 bytes an event.
    """
    chooser = random.Random(4)
    texts = _texts(chooser)
    encoder = Encoder()
    found = []
    for _ in range(count):
        second = _MOMENT * 1_000_000_000
        records: list[Record] = [
            SessionRecord(
                at=second,
                session=_SESSION,
                started_at=second,
                name=chooser.choice(["nightly", "eval", "chat", "triage"]),
                tags=(chooser.choice(["v1", "v2", "prod", "dev"]),),
            )
        ]
        for number in range(1, EVENTS + 1):
            at = second + number * 1_000_000
            kind = chooser.choices(["llm", "tool", "action"], [3, 4, 3])[0]
            said: dict[str, Any] = {"params": encoder.payload({"query": next(texts)})}
            if kind == "llm":
                said = {
                    "model": chooser.choice(["large", "medium", "small"]),
                    "provider": "somebody",
                    "prompt": encoder.payload([{"role": "user", "content": next(texts)}]),
                    "completion": encoder.payload({"role": "assistant", "content": next(texts)}),
                    "prompt_tokens": 100,
                    "completion_tokens": 50,
                    "cost": Cost("0.00123"),
                }
            records.append(
                EventRecord(
                    at=at,
                    session=_SESSION,
                    id=f"{number:016x}",
                    kind=kind,  # type: ignore[arg-type]
                    name=chooser.choice(["search", "fetch", "plan", "ask"]),
                    started_at=at,
                    ended_at=at + 900_000,
                    state="Fail" if chooser.random() < 0.02 else "Success",
                    parent_id=f"{number - number % 10:016x}" if number > 9 else None,
                    agent=chooser.choice(["planner", None]),
                    returns=encoder.payload(next(texts)),
                    **said,
                )
            )
        if chooser.random() < 0.99:
            state = EndState.SUCCESS if chooser.random() < 0.9 else EndState.FAIL
            records.append(
                SessionEndedRecord(
                    at=at, session=_SESSION, said_by="process", ended_at=at, state=state
                )
            )
        found.append(b"\n".join(encode(record)[1:] for record in records))
    return found


class Source:
    """
    A process that records one session after the other.

    Attributes:
        sessions: The ids of the last ones, newest last.
        events: How many are in the bodies that it made.
    """

    copied: Sequence[bytes] = ()

    def __init__(self, clock: Iterator[int]) -> None:
        """
        Args:
            clock: The seconds in which its sessions happen.
        """
        Source.copied = Source.copied or _copied()
        self.id = _ids.new_uuid()
        self.sessions: list[str] = []
        self.events = 0
        self._seq = 0
        self._clock = clock
        self._chooser = random.Random(self.id)
        self._lines: list[bytes] = []

    def body(self, records: int) -> bytes:
        """
        The next *records*, one per line.
        """
        while len(self._lines) < records:
            session = _ids.new_uuid()
            self.sessions = [*self.sessions[-9:], session]
            text = self._chooser.choice(self.copied).replace(_SESSION.encode(), session.encode())
            text = text.replace(b'":%d' % _MOMENT, b'":%d' % next(self._clock))
            self._lines += text.split(b"\n")
        lines, self._lines = self._lines[:records], self._lines[records:]
        first, self._seq = self._seq + 1, self._seq + records
        body = b"".join([b'{"seq":%d,%b\n' % pair for pair in enumerate(lines, first)])
        self.events += body.count(b'"type":"event"')
        return body


@attrs.define
class Load:
    """
    What became of some load.

    Attributes:
        events: How many events were acknowledged.
        seconds: How long that took.
        cpu: Seconds of processor time that the collector used meanwhile.
        latencies: Seconds from each request to its answer.
    """

    events: int = 0
    seconds: float = 0.0
    cpu: float = 0.0
    latencies: list[float] = attrs.field(factory=list)

    @property
    def rate(self) -> float:
        return self.events / self.seconds

    @property
    def cpu_per_thousand(self) -> float:
        """
        Milliseconds.
        """
        return self.cpu * 1e6 / self.events


def send(
    serving: Serving,
    sources: Sequence[Source],
    batch: int,
    *,
    events: int | None = None,
    until: threading.Event | None = None,
    pace: float | None = None,
) -> Load:
    """
    Let each of *sources* send batches of *batch* records, the next one when the last is
    acknowledged, until about *events* are, or *until* is set.

    Args:
        pace: Events per second, of all of them together, that are not exceeded.
    """
    load = Load()
    lock = threading.Lock()
    failures: list[BaseException] = []
    began = time.perf_counter()

    def work(source: Source) -> None:
        try:
            with serving.connection() as connection:
                while not failures and not (until is not None and until.is_set()):
                    before = source.events
                    body = source.body(batch)
                    headers = {"Asyncops-Source": source.id, "Content-Type": "application/x-ndjson"}
                    if len(body) >= COMPRESSED_FROM:
                        gzip = zlib.compressobj(1, wbits=31)
                        body = gzip.compress(body) + gzip.flush()
                        headers["Content-Encoding"] = "gzip"
                    asked = time.perf_counter()
                    connection.request("POST", "/v1/records", body, headers)
                    answer = connection.getresponse()
                    told = json.loads(answer.read())
                    if told.get("acknowledged") != source._seq:
                        raise RuntimeError(f"{answer.status}: {told}")
                    with lock:
                        load.latencies.append(time.perf_counter() - asked)
                        load.events += source.events - before
                        due = began + load.events / pace if pace else 0.0
                        if events is not None and load.events >= events:
                            return
                    time.sleep(max(due - time.perf_counter(), 0.0) if pace else 0.0)
        except BaseException as error:
            failures.append(error)

    cpu = serving.cpu()
    threads = [threading.Thread(target=work, args=(source,)) for source in sources]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    load.seconds = time.perf_counter() - began
    load.cpu = serving.cpu() - cpu
    return load
