"""
Events per second that the collector acknowledges after commit, by the size of the batches.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import httpx

from asyncops import _ids
from asyncops._events import EventRecord, SessionRecord
from asyncops._wire import Encoder, encode, number_line
from asyncops.collector.app import CollectorSettings
from asyncops.collector.server import EmbeddedCollector

EVENTS = 20_000
RUNS = 3


def lines(count: int) -> list[bytes]:
    """
    A session and *count* events of about 500 bytes.
    """
    now = time.time_ns()
    session = _ids.new_uuid()
    params = Encoder().payload({"query": "x" * 200})
    made = [encode(SessionRecord(at=now, session=session, started_at=now))]
    made += [
        encode(
            EventRecord(
                at=now + n, session=session, id=f"{n:016x}", kind="tool", name="search",
                started_at=now, ended_at=now + n, state="Success", params=params,
            )
        )
        for n in range(1, count)
    ]  # fmt: skip
    return [number_line(line, seq) + b"\n" for seq, line in enumerate(made, 1)]


def acknowledged_per_second(url: str, count: int, batch: int) -> float:
    source = _ids.new_uuid()
    made = lines(count)
    with httpx.Client(headers={"Asyncops-Source": source}, trust_env=False) as client:
        began = time.perf_counter()
        for start in range(0, count, batch):
            answer = client.post(f"{url}/v1/records", content=b"".join(made[start : start + batch]))
            answer.raise_for_status()
        took = time.perf_counter() - began
    if answer.json()["acknowledged"] != count:
        raise RuntimeError(f"only {answer.text} of {count}")
    return count / took


def run(scale: float, directory: str) -> None:
    count = max(int(EVENTS * scale), 500)
    settings = CollectorSettings(port=0, db=Path(directory, "ingest.db"))
    print("| events in a batch | events/s (median of 3) |\n|---|---|")
    with EmbeddedCollector(settings) as collector:
        for batch in (1, 20, 500, 5_000):
            some = min(count, batch * 400)
            rates = [acknowledged_per_second(collector.url, some, batch) for _ in range(RUNS)]
            print(f"| {batch:,} | {statistics.median(rates):,.0f} |")
