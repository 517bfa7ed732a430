"""
What asyncops takes: to be imported, and for each event in memory, on disk and on the wire.

The arguments of the events are words of docs/ at random, which compress as texts do.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
from pathlib import Path

from .harness import Effort, Figure, Report, figure

_ROOT = Path(__file__).parent.parent
sys.path += [str(_ROOT / "tests"), str(_ROOT / "tests" / "faults")]

from processes import collector  # noqa: E402
from proxy import Proxy, passing, proxy, refusing  # noqa: E402

__all__ = ["run"]

IMPORTS = {
    "python": ("Python alone", "pass"),
    "foundation": ("asyncio, attrs, msgspec", "import asyncio, attrs, msgspec"),
    "asyncops": ("asyncops", "import asyncops"),
}

IMPORTING = """
import sys, time
began = time.process_time()
{}
took = time.process_time() - began
with open("/proc/self/statm") as file:
    pages = int(file.read().split()[1])
print(1000 * took, len(sys.modules), pages * 4096 / 1_048_576)
"""

SIZES = (500, 2_000)
"""Bytes of the argument of each event."""

EVENTS = 2_000

RECORDING = f"""
import asyncio, contextlib, json, random, sys, tracemalloc
import asyncops

words, size = json.loads(sys.stdin.readline()), int(sys.argv[1])
chance = random.Random(size)
texts = [" ".join(chance.choices(words, k=size))[:size] for _ in range({EVENTS})]

@asyncops.tool
async def work(text):
    pass

def in_use():
    return tracemalloc.get_traced_memory()[0]

async def main():
    async with asyncops.session("footprint") as session:
        await work(texts[0])
        assert not await session.flush(timeout=1)  # nobody is there
        tracemalloc.start()
        before = in_use()
        for text in texts:
            await work(text)
        print((in_use() - before) / {EVENTS}, flush=True)
        tracemalloc.stop()
        sys.stdin.readline()
        assert await session.flush(timeout=60)
        print("sent", flush=True)
        tracemalloc.start()
        before = in_use()
        with contextlib.ExitStack() as stack:
            for n in range({EVENTS}):
                stack.enter_context(asyncops.tool("open", params={{"n": n}}))
            print((in_use() - before) / {EVENTS}, flush=True)

asyncio.run(main())
"""


def importing(statement: str) -> tuple[float, float, float]:
    """
    Milliseconds of processor time, modules, and MiB in memory afterwards.
    """
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [sys.executable, "-c", IMPORTING.format(statement)],
        env=environment, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    took, modules, memory = map(float, done.stdout.split())
    return took, modules, memory


def words() -> list[str]:
    """
    Those of the documentation.
    """
    texts = [path.read_text() for path in sorted((_ROOT / "docs").glob("*.md"))]
    return re.findall("[a-z]+", " ".join(texts))


def recording(bad: Proxy, size: int) -> tuple[float, float, float, float]:
    """
    Bytes for each event of that *size*: in memory while it waits to be sent, in memory while its
    span is open, in the journal, and as it is sent.
    """
    bad.become(refusing)
    journals = Path(os.environ["ASYNCOPS_JOURNAL_DIR"])
    with subprocess.Popen(
        [sys.executable, "-c", RECORDING, str(size)],
        env={**os.environ, "ASYNCOPS_ENDPOINT": bad.url},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(words()) + "\n")
        process.stdin.flush()
        waiting = float(process.stdout.readline())
        kept = sum(path.stat().st_size for path in journals.glob("*/*/*.seg"))
        heard = len(bad.heard)
        bad.become(passing)
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "sent\n"
        sent = sum(
            int(re.search(rb"(?i)content-length: (\d+)", head)[1]) for head in bad.heard[heard:]
        )
        opened = float(process.stdout.readline())
    return waiting, opened, kept / EVENTS, sent / EVENTS


def run(effort: Effort, directory: str) -> Report:
    imports, runs = {Effort.QUICK: (7, 1), Effort.FULL: (21, 5)}[effort]
    told: dict[str, list[tuple[float, float, float]]] = {name: [] for name in IMPORTS}
    importing("import asyncops")  # its bytecode is written
    for _ in range(imports):
        for name, (_, statement) in IMPORTS.items():
            told[name].append(importing(statement))
    rows: list[list[str]] = []
    figures: dict[str, Figure] = {}
    for name, (said, _) in IMPORTS.items():
        took, modules, memory = zip(*told[name], strict=True)
        figures[f"footprint.import.{name}"] = figure(took, "ms")
        figures[f"footprint.import.{name}.memory"] = figure(memory, "MiB")
        rows.append(
            [f"import of {said}", f"{statistics.median(took):.0f} ms",
             f"{statistics.median(memory):.1f} MiB, {modules[0]:.0f} modules"]
        )  # fmt: skip
    figures["footprint.import_x"] = figure(
        (
            ours[0] / other[0]
            for ours, other in zip(told["asyncops"], told["foundation"], strict=True)
        ),
        "x asyncio, attrs, msgspec",
    )
    with collector() as serving, proxy(serving.url) as bad:
        for size in SIZES:
            found = [recording(bad, size) for _ in range(runs)]
            for values, name, said in zip(
                zip(*found, strict=True),
                ("waiting", "open", "journal", "wire"),
                ("in memory while it waits", "in memory while open", "in the journal", "sent"),
                strict=True,
            ):
                figures[f"footprint.{name}.{size}"] = figure(values, "bytes")
                taken = f"{statistics.median(values):,.0f} bytes"
                rows.append([f"an event of {size:,} B, {said}", "", taken])
    return Report(
        "What asyncops takes",
        ("what", "processor time", "memory or disk"),
        rows,
        figures,
        [f"Medians of {imports} imports; of {runs} runs of {EVENTS:,} events each."],
    )
