"""
Event loops one after another, nested, per test, per cell; threads; and the interpreter's last
moments.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections import Counter
from pathlib import Path

import pytest
from hosts import left_behind
from processes import SECONDS, program

from asyncops._events import EventRecord, Record, SessionEndedRecord, SessionRecord


def run(source: str, directory: Path) -> tuple[str, list[Record]]:
    """
    What *source* prints, and what it left in its journals.
    """
    with program(source, directory) as running:
        status, out, err = running.wait()
    assert (0, "") == (status, err)
    return out, left_behind(directory)


def stories(records: list[Record]) -> dict[str | None, tuple[str | None, str | None, list[str]]]:
    """
    By the name of the session: its state, its reason, and the names of its events.
    """
    names = {
        each.session: each.name
        for each in records
        if isinstance(each, SessionRecord) and not each.inherited
    }
    ends = {
        each.session: each
        for each in records
        if isinstance(each, SessionEndedRecord) and each.state is not None
    }
    return {
        name: (
            ends[session].state,
            ends[session].reason,
            [e.name for e in records if isinstance(e, EventRecord) and e.session == session],
        )
        for session, name in names.items()
    }


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_loops_one_after_another_and_in_threads(tmp_path: Path, loop: str) -> None:
    """
    Sessions in loop after loop, in loops of threads within one session, and after the last loop is
    closed keep what is theirs; nothing of ours is bound to a loop.
    """
    source = f"""
    import asyncio, asyncops, concurrent.futures, {loop}

    @asyncops.action
    async def step(name):
        await asyncio.sleep(0)

    async def one(name):
        async with asyncops.session(name):
            async with asyncio.TaskGroup() as tasks:
                for n in range(3):
                    tasks.create_task(step(n))
        await asyncops.flush(timeout=0.01)

    async def nested(name):
        try:
            async with asyncops.session("refused"):
                pass
        except asyncops.SessionActiveError:
            asyncops.record(asyncops.ActionEvent(name=f"refused in {{name}}"))

    async def outer():
        async with asyncops.session("outer"):
            with concurrent.futures.ThreadPoolExecutor(2) as pool:
                for name in ("first", "second"):
                    pool.submit({loop}.run, nested(name)).result()
            await asyncio.to_thread({loop}.run, nested("third"))
            await nested("own loop")

    for n in range(3):
        {loop}.run(one(f"loop {{n}}"))
    {loop}.run(outer())
    with asyncops.session("no loop"):
        asyncops.record(asyncops.ActionEvent(name="sync"))
        {loop}.run(step(0))
    """
    _, records = run(source, tmp_path)

    refused = [f"refused in {name}" for name in ("first", "second", "third", "own loop")]
    assert {
        **{f"loop {n}": ("Success", None, ["step"] * 3) for n in range(3)},
        "outer": ("Success", None, refused),
        "no loop": ("Success", None, ["sync", "step"]),
    } == stories(records)


def test_a_loop_per_test(tmp_path: Path) -> None:
    """
    Under pytest-asyncio, which gives each test a loop of its own and closes it under what is still
    open, each test's session is told as that test went.
    """
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"
    )
    (tmp_path / "test_host.py").write_text(
        textwrap.dedent("""
        import asyncio, asyncops

        async def record(name, seconds=0):
            async with asyncops.session(name):
                asyncops.record(asyncops.ActionEvent(name="event"))
                await asyncio.sleep(seconds)

        async def test_first():
            await record("first")

        async def test_second():
            await record("second")

        async def test_failing():
            async with asyncops.session("failing"):
                assert not asyncops

        async def test_left_open():
            await asyncops.start_session("left open")

        async def test_left_to_the_loop():
            test_left_to_the_loop.task = asyncio.create_task(record("left to the loop", 60))
            await asyncio.sleep(0)

        async def test_last():
            await record("last")
        """)
    )
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "."],
        check=False,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )

    assert "1 failed, 5 passed" in ran.stdout
    told = stories(left_behind(tmp_path))
    assert {
        "first": ("Success", None, ["event"]),
        "second": ("Success", None, ["event"]),
        "left open": ("Indeterminate", "event loop closed without end_session()", []),
        "left to the loop": ("Cancelled", "cancelled", ["event"]),
        "last": ("Success", None, ["event"]),
    } == {name: story for name, story in told.items() if name != "failing"}
    state, reason, _ = told["failing"]
    assert ("Fail", True) == (state, str(reason).startswith("AssertionError"))


def test_cells(tmp_path: Path) -> None:
    """
    In a notebook, where one loop runs for hours, each cell is code of its own in a task of its own,
    and errors end nothing, a session begun in one cell is the one that the others record into.
    """
    source = """
    import ast, asyncio, asyncops, inspect

    CELLS = [
        "import asyncops",
        "await asyncops.start_session('notebook')",
        "asyncops.record(asyncops.ActionEvent(name='sync cell'))",
        "asyncops.record(asyncops.ActionEvent(name='async cell')); await asyncio.sleep(0)",
        "@asyncops.action\\nasync def step(): 1 / 0",
        "await step()",
        "asyncops.init(); asyncops.record(asyncops.ActionEvent(name='after the error'))",
        "await asyncio.to_thread(asyncops.record, asyncops.ActionEvent(name='thread'))",
        "await asyncops.end_session('Success', 'looked at it')",
        "asyncops.record(asyncops.ActionEvent(name='nobody'))",
        "with asyncops.session('within a cell'): await asyncio.sleep(0)",
    ]

    async def kernel():
        names = {"asyncio": asyncio}
        for cell in CELLS:
            code = compile(cell, "cell", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            async def execute():
                found = eval(code, names)
                if inspect.isawaitable(found):
                    await found
            try:
                await asyncio.create_task(execute())
            except ZeroDivisionError as error:
                print(error)

    asyncio.run(kernel())
    """
    out, records = run(source, tmp_path)

    cells = ["sync cell", "async cell", "step", "after the error", "thread"]
    assert "division by zero\n" == out
    assert {
        "notebook": ("Success", "looked at it", cells),
        "within a cell": ("Success", None, []),
    } == stories(records)


def test_threads(tmp_path: Path) -> None:
    """
    Threads of every kind record into the process's session at once, and where they carry the
    context, within the span that started them.
    """
    source = """
    import asyncio, asyncops, concurrent.futures, threading

    def work(kind):
        for _ in range(200):
            asyncops.record(asyncops.ActionEvent(name=kind))

    async def main():
        async with asyncops.session("threads"):
            with asyncops.agent("boss"):
                thread = threading.Thread(target=work, args=("Thread",))
                thread.start()
                with concurrent.futures.ThreadPoolExecutor(3) as pool:
                    waiting = [pool.submit(work, "executor") for _ in range(3)]
                    loop = asyncio.get_running_loop()
                    await asyncio.gather(
                        asyncio.to_thread(work, "to_thread"),
                        loop.run_in_executor(None, work, "run_in_executor"),
                    )
                thread.join()
    asyncio.run(main())
    """
    _, records = run(source, tmp_path)

    events = [each for each in records if isinstance(each, EventRecord)]
    (boss,) = [each for each in events if each.kind == "agent"]
    counts = Counter((each.name, each.parent_id == boss.id) for each in events if each is not boss)
    assert {
        ("Thread", False): 200,
        ("executor", False): 600,
        ("run_in_executor", False): 200,
        ("to_thread", True): 200,
    } == counts
    assert len(events) == len({each.id for each in events})


@pytest.mark.parametrize(
    ("daemon", "expected"),
    [
        ("pass", {"atexit before us", "atexit after us", "finalize", "__del__"}),
        # what a thread can see is never let go
        (
            "threading.Thread(target=go_on, daemon=True).start(); begun.wait()",
            {"atexit before us", "atexit after us", "finalize", "daemon"},
        ),
    ],
    ids=["finalizers", "daemon threads"],
)
def test_last_moments(tmp_path: Path, daemon: str, expected: set[str]) -> None:
    """
    What exit handlers set before and after us, finalizers, `__del__` and daemon threads record
    while the interpreter ends is kept, if the call returned an id.
    """
    source = f"""
    import atexit, builtins, os
    def tell(what):
        id = session.record(asyncops.ActionEvent(name=what))
        os.write(1, f"{{what}} {{id}}\\n".encode())
    atexit.register(tell, "atexit before us")
    import asyncops, threading, time, weakref
    atexit.register(tell, "atexit after us")

    class Object:
        def __del__(self, write=os.write, event=asyncops.ActionEvent):
            id = self.session.record(event(name="__del__"))
            write(1, f"__del__ {{id}}\\n".encode())

    asyncops.init(name="to the end")
    session = Object.session = asyncops.current_session()
    finalized = builtins.kept = Object()
    weakref.finalize(finalized, tell, "finalize")

    begun = threading.Event()

    def go_on():
        while True:
            tell("daemon")
            begun.set()
            time.sleep(0.0005)
    {daemon}
    time.sleep(0.1)
    """
    out, records = run(source, tmp_path)

    said = [line.rsplit(" ", 1) for line in out.splitlines()]
    kept = {each.id: each.name for each in records if isinstance(each, EventRecord)}
    assert expected == {name for name, _ in said}
    assert [] == [(name, id) for name, id in said if kept.get(id) != name]
    exited = ("Indeterminate", "process exited without end_session()")
    assert exited == stories(records)["to the end"][:2]


def test_loop_closed_in_the_middle(tmp_path: Path) -> None:
    """
    A loop that is closed under a session, its tasks never finished, takes nothing with it: what was
    recorded is there, recording goes on, and the session ends with the process.
    """
    source = """
    import asyncio, asyncops
    async def main():
        await asyncops.start_session("open")
        asyncops.record(asyncops.ActionEvent(name="inside"))
    loop = asyncio.new_event_loop()
    loop.run_until_complete(main())
    loop.close()
    asyncops.record(asyncops.ActionEvent(name="after"))
    print(asyncio.run(asyncops.flush(timeout=0.01)))
    """
    out, records = run(source, tmp_path)

    assert "False\n" == out
    exited = ("Indeterminate", "process exited without end_session()", ["inside", "after"])
    assert {"open": exited} == stories(records)


def test_deep_in_recursion(tmp_path: Path) -> None:
    """
    What is recorded where the program's own recursion leaves hardly any room on the stack is kept
    as soon as there is more, if the call returned.
    """
    source = """
    import asyncops
    def deep(depth):
        # a name that was said before, so that nothing else needs more room than the journal
        return deep(depth - 1) if depth else asyncops.record(asyncops.ActionEvent(name="deep"))
    with asyncops.session():
        deep(0)
        for depth in range(870, 1000):
            try:
                print(deep(depth))
            except RecursionError:
                pass
    """
    out, records = run(source, tmp_path)

    returned = out.split()
    kept = [each.id for each in records if isinstance(each, EventRecord)]
    assert 100 < len(returned) < 130
    assert set(returned) <= set(kept)
    assert len(kept) == len(set(kept))
    assert [each.seq for each in records] == list(range(1, len(records) + 1))
