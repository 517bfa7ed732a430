"""
How long a program's exit, and a cancelled block, take while the collector is not well.

Real programs before a real collector, behind the proxy of the tests; each is compared with the same
program without asyncops. What could not be delivered is looked for once the collector is back.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterable
from pathlib import Path

import attrs

from .harness import Effort, Report, figure

_TESTS = Path(__file__).parent.parent / "tests"
sys.path += [str(_TESTS), str(_TESTS / "faults")]

from processes import Collector, collector, own_port, until  # noqa: E402
from proxy import Fault, Proxy, answering, http, late, passing, proxy, refusing, silent  # noqa: E402

STATES: dict[str, Fault] = {
    "well": passing,
    "refused": refusing,
    "silent": silent,
    "answering 500": answering(http("500 Internal Server Error", b'{"error":"broken"}')),
    "2 s slow": late(2.0),
}
"""What the collector is like."""

BLOCKS, EVENTS = 5, 20

PROGRAM = f"""
import asyncio, contextlib, json, sys, time

recording = sys.argv[1] == "recording"
ids, left = [], []
if recording:
    import asyncops

async def block(entered):
    async with contextlib.AsyncExitStack() as stack:
        if recording:
            session = await stack.enter_async_context(asyncops.session("exit"))
            ids.append(session.id)
            for n in range({EVENTS}):
                asyncops.record(asyncops.ActionEvent(name=str(n)))
        entered.set()
        await asyncio.sleep(60)

async def main():
    for n in range({BLOCKS}):
        entered = asyncio.Event()
        task = asyncio.create_task(block(entered))
        await entered.wait()
        began = time.perf_counter()
        task.cancel()
        await asyncio.wait([task])
        left.append(time.perf_counter() - began)
        if n == 1:
            if recording and sys.argv[2] == "midway":
                assert await asyncops.flush(timeout=10)
            print("half", flush=True)
            await asyncio.to_thread(sys.stdin.readline)
    if sys.argv[2] == "start":
        await asyncio.sleep(float(sys.argv[3]))

asyncio.run(main())
print(json.dumps([ids, left, time.monotonic()]), flush=True)
"""


@attrs.frozen
class Exit:
    """
    How a program went.

    Attributes:
        sessions: The ids of the sessions it recorded, with `EVENTS` events each.
        left: How long it took to leave each cancelled block.
        seconds: From its last statement until the process was gone.
    """

    sessions: list[str]
    left: list[float]
    seconds: float


def leave(
    bad: Proxy,
    state: str,
    directory: Path,
    *,
    turning: str = "start",
    recording: bool = True,
    life: float = 0.6,
) -> Exit:
    """
    Run the program while the collector is in that *state*: from the `"start"`, which then lasts so
    many seconds, or from `"midway"`, when the program is about to end.
    """
    path = directory / "leaving.py"
    path.write_text(textwrap.dedent(PROGRAM))
    bad.become(STATES[state] if turning == "start" else passing)
    command = [sys.executable, str(path), "recording" if recording else "bare", turning, str(life)]
    with subprocess.Popen(
        command,
        env={**os.environ, "ASYNCOPS_ENDPOINT": bad.url},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "half\n"
        bad.become(STATES[state])
        process.stdin.write("\n")
        process.stdin.flush()
        told = process.stdout.readline()
        process.wait()
        ids, left, ended_at = json.loads(told)
        return Exit(ids, left, time.monotonic() - ended_at)


def lost(serving: Collector, exits: Iterable[Exit]) -> int:
    """
    How many events of *exits* the collector still lacks, or has more than once.
    """
    there = {each["id"]: each["events"] for each in _all_sessions(serving)}
    ids = [session_id for each in exits for session_id in each.sessions]
    return sum(abs(EVENTS - there.get(session_id, 0)) for session_id in ids)


def _all_sessions(serving: Collector) -> Iterable[dict[str, int | str]]:
    query: dict[str, str] = {}
    while True:
        page = serving.get("/api/sessions", limit="100", **query)
        yield from page["sessions"]
        if page["next"] is None:
            return
        query = {"cursor": page["next"]}


def run(effort: Effort, directory: str) -> Report:
    repetitions = {Effort.QUICK: 2, Effort.FULL: 7}[effort]
    exits: dict[tuple[str, str], list[Exit]] = {}
    bare: list[Exit] = []
    place = Path(directory)
    with own_port() as port:
        with collector() as serving, proxy(serving.url, port) as bad:
            for _ in range(repetitions):
                bare.append(leave(bad, "well", place, recording=False))
                for turning in ("start", "midway"):
                    for state in STATES:
                        if (state, turning) != ("well", "midway"):
                            left = leave(bad, state, place, turning=turning)
                            exits.setdefault((state, turning), []).append(left)
        with collector(port) as serving:
            everything = [each for some in exits.values() for each in some]
            until(lambda: lost(serving, everything) == 0)
            missing = {key: lost(serving, some) for key, some in exits.items()}
    exit_alone = statistics.median(each.seconds for each in bare)
    block_alone = statistics.median(seconds for each in bare for seconds in each.left)
    rows, figures = [], {"exits.bare": figure((each.seconds for each in bare), "s")}
    for (state, turning), some in exits.items():
        longer = figure((each.seconds - exit_alone for each in some), "s")
        block = figure(
            (1000 * (seconds - block_alone) for each in some for seconds in each.left), "ms"
        )
        figures[f"exits.{turning}.{state}"] = longer
        rows.append(
            (
                state,
                turning,
                f"{longer.value:.3f} ({longer.most:.3f})",
                f"{block.value:.2f} ({block.most:.2f})",
                f"{sum(len(each.sessions) for each in some) * EVENTS:,}",
                f"{missing[state, turning]}",
            )
        )
    note = (
        f"Medians (worst) of {repetitions}. Without asyncops the exit took {exit_alone:.3f} s, a"
        f" cancelled block {1000 * block_alone:.2f} ms."
    )
    return Report(
        "A program's exit, and a cancelled block",
        ("the collector", "since", "exit longer by s", "cancelled block longer by ms", "events",
         "lost"),
        rows,
        figures,
        [note],
    )  # fmt: skip


if __name__ == "__main__":
    from .registry import run as run_benchmark

    print(run_benchmark("exits", Effort.FULL).markdown())
