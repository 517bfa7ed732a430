"""
The host's signals are the host's: its handlers, its exit status, its output, its files.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import attrs
import pytest
from hosts import Ended, left_behind, run_both, without_asyncops
from processes import program, until

from asyncops._events import EventRecord, SessionEndedRecord

TELLING = """
import asyncops, asyncio, faulthandler, os, signal, subprocess, sys, time

NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGSEGV")
calls = []

def handler(number, frame):
    calls.append(signal.Signals(number).name)

def tell(*more):
    said = [str(signal.getsignal(getattr(signal, name))) for name in NAMES]
    print([each.partition(" at ")[0] for each in said], calls, *more)

def send(*names):
    for name in names:
        for _ in range(3):
            os.kill(os.getpid(), getattr(signal, name))

CHILD = "print([line for line in open('/proc/self/status') if line.startswith('SigIgn')])"

def child():
    print(subprocess.check_output([sys.executable, "-c", CHILD]))
"""

HOSTS = {
    "handlers before": """
        for name in ("SIGTERM", "SIGHUP", "SIGUSR1", "SIGINT"):
            signal.signal(getattr(signal, name), handler)
        with asyncops.session():
            tell()
            send("SIGTERM", "SIGHUP", "SIGUSR1", "SIGINT")
            tell()
            child()
    """,
    "handlers after": """
        with asyncops.session():
            tell()
            for name in ("SIGTERM", "SIGHUP", "SIGUSR1", "SIGINT"):
                signal.signal(getattr(signal, name), handler)
            tell()
            send("SIGTERM", "SIGHUP", "SIGUSR1", "SIGINT")
            tell()
    """,
    "SIG_IGN before and after": """
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        with asyncops.session():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            tell()
            send("SIGTERM", "SIGHUP")
            child()
    """,
    "loop.add_signal_handler before and after, asyncio": """
        async def main():
            loop = asyncio.get_running_loop()
            came = asyncio.Queue()
            loop.add_signal_handler(signal.SIGTERM, came.put_nowait, "SIGTERM")
            async with asyncops.session():
                loop.add_signal_handler(signal.SIGHUP, came.put_nowait, "SIGHUP")
                for name in ("SIGTERM", "SIGHUP"):
                    os.kill(os.getpid(), getattr(signal, name))
                    print(await came.get())
                loop.remove_signal_handler(signal.SIGHUP)
                tell(came.qsize())
        asyncio.run(main())
        tell()
    """,
    "loop.add_signal_handler before and after, uvloop": """
        import uvloop
        async def main():
            loop = asyncio.get_running_loop()
            came = asyncio.Queue()
            loop.add_signal_handler(signal.SIGTERM, came.put_nowait, "SIGTERM")
            async with asyncops.session():
                loop.add_signal_handler(signal.SIGHUP, came.put_nowait, "SIGHUP")
                for name in ("SIGTERM", "SIGHUP"):
                    os.kill(os.getpid(), getattr(signal, name))
                    print(await came.get())
                tell(came.qsize())
        uvloop.run(main())
        tell()
    """,
    "Ctrl-C that the program overcomes": """
        async def main():
            async with asyncops.session():
                try:
                    os.kill(os.getpid(), signal.SIGINT)
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    asyncio.current_task().uncancel()
                print("going on")
        asyncio.run(main())
    """,
    "a handler that cleans up and dies of the signal": """
        def die(number, frame):
            print("cleaning up", flush=True)
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        signal.signal(signal.SIGTERM, die)
        asyncops.init()
        send("SIGTERM")
    """,
    "faulthandler before": """
        faulthandler.enable(all_threads=False)
        asyncops.init()
        os.kill(os.getpid(), signal.SIGSEGV)
    """,
    "faulthandler after": """
        asyncops.init()
        faulthandler.enable(all_threads=False)
        os.kill(os.getpid(), signal.SIGSEGV)
    """,
    "faulthandler.register before": """
        faulthandler.register(signal.SIGTERM, all_threads=False, chain=True)
        asyncops.init()
        os.kill(os.getpid(), signal.SIGTERM)
    """,
    "faulthandler.register after, in a child": """
        asyncops.init()
        faulthandler.register(signal.SIGTERM, all_threads=False, chain=True)
        if os.fork() == 0:
            asyncops.record(asyncops.ActionEvent())
            os.kill(os.getpid(), signal.SIGTERM)
        print(os.wait()[1])
    """,
    "descriptors closed, then files": """
        import logging
        logging.disable(logging.WARNING)  # in time we say that we have noticed
        asyncops.init()
        ours = sys.modules.get("asyncops._background")
        if ours:  # in the middle of a connection, our thread would close what is a file by now
            ours.background.rest()
        os.closerange(3, 256)
        files = [os.open(sys.argv[0] + str(n), os.O_RDWR | os.O_CREAT) for n in range(30)]
        if ours:
            ours.background.resume()
        asyncops.record(asyncops.ActionEvent())
        if os.fork() == 0:
            asyncops.record(asyncops.ActionEvent())
            os.kill(os.getpid(), signal.SIGTERM)
        print(os.wait()[1])
        signal.signal(signal.SIGTERM, handler)
        send("SIGTERM")
        tell([os.fstat(file).st_size for file in files])
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
    """,
    "descriptors closed, ours among them, then files in their place": """
        import logging, resource
        logging.disable(logging.WARNING)  # in time we say that we have noticed
        resource.setrlimit(resource.RLIMIT_NOFILE, (2048, 2048))
        asyncops.init()
        ours = sys.modules.get("asyncops._background")
        if ours:  # in the middle of a connection, our thread would close what is a file by now
            ours.background.rest()
        os.closerange(3, 2048)
        files = [os.open(sys.argv[0] + str(n), os.O_RDWR | os.O_CREAT) for n in range(1500)]
        if ours:
            ours.background.resume()
        if os.fork() == 0:
            asyncops.record(asyncops.ActionEvent())
            os._exit(0)
        print(os.wait()[1])
        print(sum(os.fstat(file).st_size for file in files))
        os._exit(0)  # without a word of the loop that lost its selector
    """,
}


@pytest.mark.parametrize("host", HOSTS)
def test_the_host_notices_nothing(tmp_path: Path, host: str) -> None:
    """
    What the host is told of its signals, how often its handlers are called, its output, its files,
    its children's dispositions and its exit status are the same with and without us.
    """
    recorded, bare = run_both(TELLING + textwrap.dedent(HOSTS[host]), tmp_path)

    assert without_addresses(bare) == without_addresses(recorded)


def without_addresses(ended: Ended) -> Ended:
    err = re.sub("0x[0-9a-f]+", "0x", ended.err)
    # what faulthandler lists there we do add to
    err = err.partition("\nExtension modules:")[0].strip()
    # where all descriptors were closed, so was our loop's, and that is said
    return attrs.evolve(ended, err=re.sub("^asyncops lost its thread .*$", "", err))


def told(directory: Path) -> list[tuple[str | None, str | None]]:
    """
    How the sessions in the journals of the test ended, as whoever adopts them tells it.
    """
    return [
        (each.state, each.reason)
        for each in left_behind(directory)
        if isinstance(each, SessionEndedRecord) and each.state is not None
    ]


DIED = [("Indeterminate", "process died")]

SURVIVORS = {
    "a handler set before": """
        signal.signal(signal.SIGTERM, lambda *_: None)
        asyncops.init()
        os.kill(os.getpid(), signal.SIGTERM)
    """,
    "a handler set after": """
        asyncops.init()
        signal.signal(signal.SIGTERM, lambda *_: None)
        os.kill(os.getpid(), signal.SIGTERM)
    """,
    "a child that dies of it": """
        asyncops.init()
        if os.fork() == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        assert signal.SIGTERM == os.wait()[1]
    """,
    "a child that records and dies of it": """
        asyncops.init()
        if os.fork() == 0:
            asyncops.record(asyncops.ActionEvent())
            os.kill(os.getpid(), signal.SIGTERM)
        assert signal.SIGTERM == os.wait()[1]
    """,
    "whatever it is that was outlived": """
        asyncops.init()
        from asyncops import _signals
        file = _signals._files["signal-SIGTERM"].fd
        os.write(file, b"SIGTERM came, and something kept it from being deadly")
        deadline = time.monotonic() + 15
        while os.fstat(file).st_size and time.monotonic() < deadline:
            time.sleep(0.05)
    """,
}


@pytest.mark.parametrize("survivor", SURVIVORS)
def test_a_signal_that_is_survived_is_no_cause_of_death(tmp_path: Path, survivor: str) -> None:
    """
    A program that handles or outlives a signal and is killed by something else did not die of it.
    """
    source = "import asyncops, os, signal, time\n" + textwrap.dedent(SURVIVORS[survivor])
    with program(source + "os.kill(os.getpid(), signal.SIGKILL)", tmp_path) as running:
        status, _, err = running.wait()

    assert (-signal.SIGKILL, "") == (status, err)
    assert DIED == told(tmp_path)


@pytest.mark.skipif(
    shutil.which("unshare") is None or os.geteuid() != 0, reason="needs unshare(1) and root"
)
def test_the_first_process_of_a_container(tmp_path: Path) -> None:
    """
    Process 1 of a pid namespace ignores SIGTERM by default: it must live on with us as without,
    and killed later it did not die of it.
    """
    source = """
    import asyncops, os, signal, time
    assert os.getpid() == 1
    asyncops.init()
    os.kill(1, signal.SIGTERM)
    print("alive", flush=True)
    time.sleep(60)
    """
    path = tmp_path / "program.py"
    path.write_text(textwrap.dedent(source))
    process = subprocess.Popen(
        ["unshare", "--pid", "--fork", "--kill-child", sys.executable, str(path)],
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"alive\n"
    finally:
        process.kill()
        process.wait()  # and with it the child, before it sees the end of its input
        process.communicate()

    assert DIED == until(lambda: told(tmp_path))


def test_ten_thousand_signals_while_recording(tmp_path: Path) -> None:
    """
    A handler that records, called in the middle of recording, however often and fast, loses
    nothing whose call had returned, blocks nothing, and overflows no stack; observers in C did.
    """
    source = """
    import asyncops, os, signal, subprocess, sys
    handled = []
    recorded = []
    def handler(number, frame):
        try:
            handled.append(asyncops.record(asyncops.ActionEvent(name="handled")))
        except RecursionError:
            pass  # signals came so fast that handlers within each other left no room for a call
    signal.signal(signal.SIGTERM, handler)
    signal.signal(signal.SIGHUP, handler)
    with asyncops.session():
        sender = f"import os\\nfor n in range(5000): os.kill({os.getpid()}, 15); os.kill({os.getpid()}, 1)"
        sending = subprocess.Popen([sys.executable, "-c", sender])
        while sending.poll() is None or len(recorded) < 1000:
            recorded.append(asyncops.record(asyncops.ActionEvent(name="recorded")))
        for _ in range(10_000):
            signal.raise_signal(signal.SIGTERM)
    print(*handled)
    print(*recorded)
    """  # noqa: E501
    with program(source, tmp_path) as running:
        status, out, err = running.wait()
    assert (0, "") == (status, err)
    handled, recorded = (line.split() for line in out.splitlines())

    events = [each for each in left_behind(tmp_path) if isinstance(each, EventRecord)]
    assert len(handled) > 10_000
    assert set(handled) <= {each.id for each in events if each.name == "handled"}
    assert set(recorded) == {each.id for each in events if each.name == "recorded"}


def test_dying_takes_no_longer(tmp_path: Path) -> None:
    """
    From SIGTERM to the end it takes as long as without us: nothing of ours runs in between.
    """
    source = """
    import asyncops, time
    asyncops.init()
    print("ready", flush=True)
    time.sleep(60)
    """

    def seconds(**environment: str) -> float:
        with program(source, tmp_path, **environment) as running:
            assert running.line() == "ready"
            began = time.monotonic()
            running.process.terminate()
            assert running.process.wait() == -signal.SIGTERM
            return time.monotonic() - began

    without = without_asyncops(tmp_path)

    bare, recorded = [seconds(**without)], [seconds()]
    while min(recorded) >= min(bare) + 0.05 and len(bare) < 12:  # a machine may be too busy to tell
        bare.append(seconds(**without))
        recorded.append(seconds())

    assert min(recorded) < min(bare) + 0.05
