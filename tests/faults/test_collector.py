"""
The collector when things go wrong around it: killed, locked out, out of room, crowded, restarted.
What it acknowledged is there, what it could not store it did not acknowledge, and it says why.
"""

from __future__ import annotations

import contextlib
import os
import random
import resource
import shutil
import socket
import sqlite3
import statistics
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import attrs
import httpx
import pytest
from disks import disk
from processes import SECONDS, Collector, collector, own_port, until

from asyncops._events import EventRecord
from asyncops._wire import encode
from benchmarks.crashes import crash

VERSION_1 = Path(__file__).parents[1] / "collector" / "version_1.sql"

HTTP = httpx.Client(
    trust_env=False, timeout=SECONDS, limits=httpx.Limits(max_keepalive_connections=0)
)
"""Each request over a connection of its own."""


def uuid(number: int) -> str:
    return f"00000000-0000-7000-8000-{number:012x}"


@attrs.define
class Sender:
    """
    A source that records events in a session of its own, sends them, and keeps what it is told.
    """

    number: int = 1
    seq: int = 0
    acknowledged: int = 0
    unsettled: bytes = b""

    @property
    def session(self) -> str:
        return uuid(self.number)

    def records(self, count: int, *, name: str = "step") -> bytes:
        """
        Its next *count* records.
        """
        made = []
        for _ in range(count):
            self.seq += 1
            record = EventRecord(
                seq=self.seq, at=self.seq, session=self.session, id=f"{self.seq:016x}", kind="tool",
                name=name, started_at=1, ended_at=2, state="Success",
            )  # fmt: skip
            made.append(encode(record) + b"\n")
        self.unsettled += b"".join(made)
        return self.unsettled

    def post(self, url: str) -> httpx.Response:
        """
        Send what was not acknowledged yet.
        """
        answer = HTTP.post(
            f"{url}/v1/records",
            content=self.unsettled,
            headers={"Asyncops-Source": uuid(0xA000 + self.number)},
        )
        if answer.status_code == 200:
            self.acknowledged = answer.json()["acknowledged"]
            self.unsettled = b""
        return answer

    def sends(self, url: str, count: int) -> int:
        """
        The status that its next *count* records are answered with.
        """
        self.records(count)
        return self.post(url).status_code

    def stored(self, here: Collector) -> int:
        session = get(f"{here.url}/api/sessions/{self.session}").json()
        assert session["missing_records"] == 0
        events: int = session["events"]
        return events


def get(url: str, **headers: str) -> httpx.Response:
    return HTTP.get(url, headers=headers)


def is_put_off(answer: httpx.Response, why: str) -> None:
    """
    *answer* says in JSON why nothing can be stored, and when to come again.
    """
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert why in answer.json()["error"]


def fails_to_start() -> str:
    """
    What `asyncops serve` says when it does not start.
    """
    done = subprocess.run(
        [sys.executable, "-m", "asyncops", "serve", "--port", "0"],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 2, done
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "collector.db"


# -- killed, stopped ----------------------------------------------------------------------------


def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """
    However often the collector is killed, starting or taking in, the database is sound afterwards
    and holds every event of the programs that recorded meanwhile, once.
    """
    seed = random.randrange(2**32)
    came = crash(tmp_path, kills=6, events=6_000, programs=3, seed=seed)
    told = f"seed {seed}: {came}"
    assert (came.missing, came.repeated, came.invented, came.told_missing) == (0, 0, 0, 0), told
    assert (came.states, came.integrity) == (["Success"], "ok"), told


def test_kill_9_leaves_nothing_unsearchable(database: Path) -> None:
    """
    A collector that is killed in the midst of making events searchable goes on where it was: all of
    them are found, each once.
    """
    sender = Sender()
    with collector() as here:
        for number in range(20):
            sender.records(500, name=f"moon {number}")
            assert sender.post(here.url).status_code == 200

        def some() -> bool:
            connection = sqlite3.connect(database)
            try:
                (done,) = connection.execute("SELECT MAX(searched_seq) FROM sessions").fetchone()
            finally:
                connection.close()
            return bool(done)

        until(some)
        here.process.kill()
        here.process.wait()
    with collector() as here:
        until(lambda: "unsearched_sessions 0\n" in HTTP.get(f"{here.url}/metrics").text)
        assert [session["id"] for session in here.get("/api/sessions", q='"moon 19"')["sessions"]]
        found: list[str] = []
        cursor: dict[str, str] = {}
        while True:
            path = f"/api/sessions/{sender.session}/events"
            page = here.get(path, q="moon", limit="1000", **cursor)
            found += [event["id"] for event in page["events"]]
            if page["next"] is None:
                break
            cursor = {"cursor": page["next"]}
        assert len(set(found)) == len(found) == 20 * 500
    connection = sqlite3.connect(database)
    connection.execute("INSERT INTO texts (texts) VALUES ('integrity-check')")
    connection.close()


def test_a_restart_loses_nothing_and_frees_its_port_at_once() -> None:
    """
    Told to stop under traffic, the collector is gone within seconds, everything it acknowledged is
    there for the next one on the same port, and what it did not answer can be sent again.
    """
    senders = [Sender(number) for number in range(1, 5)]

    def deliver(sender: Sender, url: str) -> None:
        with contextlib.suppress(httpx.TransportError):  # it is gone
            while sender.sends(url, 20) == 200:
                pass

    def stopped(here: Collector) -> float:
        """
        How long it takes to stop in the midst of that.
        """
        threads = [threading.Thread(target=deliver, args=(s, here.url)) for s in senders]
        enough = max(sender.acknowledged for sender in senders) + 100
        for thread in threads:
            thread.start()
        until(lambda: all(sender.acknowledged > enough for sender in senders))
        began = time.monotonic()
        here.process.terminate()
        here.process.wait(timeout=SECONDS)
        took = time.monotonic() - began
        for thread in threads:
            thread.join()
        return took

    took: list[float] = []
    with own_port() as port:
        while not took or (took[-1] >= 3 and len(took) < 5):  # a machine may be too busy to tell
            with collector(port) as here:
                took.append(stopped(here))
        with collector(port) as here:
            for sender in senders:
                assert sender.stored(here) >= sender.acknowledged
                assert sender.post(here.url).status_code == 200
                assert sender.stored(here) == sender.acknowledged == sender.seq
    assert min(took) < 3


# -- the database -------------------------------------------------------------------------------


def test_waits_for_another_writer_and_puts_off_when_that_takes_long(database: Path) -> None:
    """
    While another process writes to the database records wait; when it does not end they are put off
    and not acknowledged; pages are served all along, and afterwards everything is as before.
    """
    sender = Sender()
    with collector() as here, ThreadPoolExecutor() as pool:
        other = sqlite3.connect(database, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        sender.records(5)
        answer = pool.submit(sender.post, here.url)
        time.sleep(0.3)
        assert not answer.done()
        other.execute("ROLLBACK")
        assert answer.result().status_code == 200

        other.execute("BEGIN IMMEDIATE")
        sender.records(5)
        answer = pool.submit(sender.post, here.url)
        while not answer.done():
            began = time.monotonic()
            assert get(f"{here.url}/api/sessions").json()["sessions"][0]["events"] == 5
            assert time.monotonic() - began < 2
            time.sleep(0.2)
        is_put_off(answer.result(), "another process is writing to it")
        other.execute("ROLLBACK")
        other.close()
        assert sender.post(here.url).json() == {"acknowledged": 10, "rejected": []}
        assert sender.stored(here) == 10


@contextlib.contextmanager
def full(here: Collector, directory: Path) -> Iterator[None]:
    """
    There is no room on the disk of *directory*.
    """
    filler = directory / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4_096)
    yield
    filler.unlink()


@contextlib.contextmanager
def limited(here: Collector, directory: Path) -> Iterator[None]:
    """
    No file of the collector may grow.
    """
    size = max(file.stat().st_size for file in directory.glob("collector.db*"))
    pid = here.process.pid
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))
    yield
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))


@pytest.mark.parametrize("fault", [full, limited])
def test_a_full_disk_is_said_and_survived(
    fault: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Without room on the disk nothing is acknowledged that is not stored, the answer says what is
    wrong, pages are served, the log is told once; with room again everything goes on, after a kill,
    too.
    """
    directory = tmp_path / "disk"
    with contextlib.ExitStack() as stack:
        if fault is full:
            stack.enter_context(disk(directory, size="4m"))
        monkeypatch.setenv("ASYNCOPS_DB", str(directory / "collector.db"))
        sender = Sender()
        with collector() as here:
            assert sender.sends(here.url, 10) == 200
            with fault(here, directory):  # type: ignore[operator]
                refused = []
                for _ in range(40):
                    sender.records(50, name="x" * 1_000)
                    answer = sender.post(here.url)
                    if answer.status_code != 200:
                        refused.append(answer)
                    if len(refused) == 3:
                        break
                for answer in refused:
                    is_put_off(answer, "disk")
                assert len(refused) == figure(here, "batches_put_off_total") == 3
                assert sender.stored(here) == sender.acknowledged < sender.seq
                assert get(here.url, Accept="text/html").status_code == 200
            assert sender.post(here.url).status_code == 200
            assert sender.stored(here) == sender.acknowledged == sender.seq
            here.process.kill()
            assert here.process.stderr is not None
            told = here.process.stderr.read()
            assert told.count("No records are stored") == 1
            assert told.count("Records are stored again") == 1
        with collector() as here:
            assert sender.stored(here) == sender.seq


@contextlib.contextmanager
def slow_disk(pid: int, seconds: float) -> Iterator[None]:
    """
    Whatever process *pid* writes through to the disk takes so long.
    """
    if shutil.which("strace") is None:
        pytest.skip("needs strace, to slow the disk down")
    calls = "fdatasync,fsync"
    slowed = ["-e", f"trace={calls}", "-e", f"inject={calls}:delay_enter={int(seconds * 1e6)}"]
    strace = subprocess.Popen(
        ["strace", "-f", "-qq", "-o", "/dev/null", *slowed, "-p", str(pid)],
        stderr=subprocess.PIPE,
    )
    try:
        until(lambda: strace.poll() is not None or traced(pid))
        if strace.poll() is not None:
            pytest.skip("needs a user who may trace processes")
        yield
    finally:
        strace.terminate()
        strace.communicate()


def traced(pid: int) -> bool:
    tasks = [task / "status" for task in Path(f"/proc/{pid}/task").iterdir()]
    with contextlib.suppress(OSError):  # a thread has just ended
        return all("TracerPid:\t0" not in task.read_text() for task in tasks)
    return False


SLOW = 1.0
"""Seconds that a disk takes: so long that nothing else a machine does comes near it."""


def test_a_slow_disk_holds_up_nobody_else() -> None:
    """
    While a commit takes long, pages are answered as always and all that arrives meanwhile shares
    the next commit.
    """
    senders = [Sender(number) for number in range(1, 13)]
    with collector() as here, ThreadPoolExecutor(len(senders)) as pool:
        assert senders[0].sends(here.url, 1) == 200
        with slow_disk(here.process.pid, SLOW):
            began = time.monotonic()
            answers = [pool.submit(sender.sends, here.url, 10) for sender in senders]
            times = []
            while not all(answer.done() for answer in answers):
                asked = time.monotonic()
                get(f"{here.url}/api/sessions").json()["sessions"]
                times.append(time.monotonic() - asked)
            took = time.monotonic() - began
            assert [answer.result() for answer in answers] == [200] * len(senders)
        assert SLOW <= took < SLOW * len(senders) / 2
        assert statistics.median(times) < 0.2


def test_a_database_that_is_taken_away_is_missed(database: Path) -> None:
    """
    Where somebody moves, deletes or replaces the database of a running collector, it acknowledges
    nothing, shows nothing and puts no empty one in its place; once the file is back it goes on.
    """
    why = "somebody removed or replaced its file"
    sender = Sender()
    elsewhere = database.with_name("elsewhere.db")
    with collector() as here:
        assert sender.sends(here.url, 5) == 200
        database.rename(elsewhere)
        sender.records(5)
        is_put_off(sender.post(here.url), why)
        is_put_off(get(f"{here.url}/api/sessions"), why)
        assert not database.exists()
        elsewhere.rename(database)
        assert sender.post(here.url).json()["acknowledged"] == 10
        assert sender.stored(here) == 10

        database.rename(elsewhere)
        shutil.copyfile(elsewhere, database)
        sender.records(5)
        is_put_off(sender.post(here.url), why)
        elsewhere.rename(database)

        database.with_name("collector.db-wal").unlink()
        is_put_off(sender.post(here.url), why)


def test_a_database_that_cannot_be_written_is_an_error_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    In a directory that can only be read, the collector says which file it cannot write and why,
    instead of starting.
    """
    directory = tmp_path / "disk"
    with disk(directory, size="4m"):
        monkeypatch.setenv("ASYNCOPS_DB", str(directory / "collector.db"))
        for _ in range(2):  # without a database there, and with one
            subprocess.run(["mount", "-o", "remount,ro", str(directory)], check=True)
            assert f"{directory}/collector.db" in (told := fails_to_start())
            assert "Read-only" in told or "let this user read and write it" in told
            subprocess.run(["mount", "-o", "remount,rw", str(directory)], check=True)
            with collector() as here:
                assert Sender().sends(here.url, 1) == 200


def test_a_damaged_database_is_never_replaced(database: Path) -> None:
    """
    A database that is damaged is left as it is: the collector says which file it is and what can
    be done, at the start or when it comes upon the damage.
    """
    sender = Sender()
    with collector() as here:
        assert sender.sends(here.url, 500) == 200
    sound = database.read_bytes()

    database.write_bytes(os.urandom(100) + sound[100:])
    damaged = database.read_bytes()
    told = fails_to_start()
    assert str(database) in told
    assert "backup" in told
    assert database.read_bytes() == damaged

    database.write_bytes(sound)
    connection = sqlite3.connect(database)
    where = "SELECT rootpage - 1 FROM sqlite_schema WHERE name = 'events'"
    (page,) = connection.execute(where).fetchone()
    connection.close()
    database.write_bytes(sound[: page * 4_096] + bytes(4_096) + sound[(page + 1) * 4_096 :])
    with collector() as here:
        sender.records(500)
        is_put_off(sender.post(here.url), "damaged")
        is_put_off(get(f"{here.url}/api/sessions/{sender.session}/events"), "damaged")


def test_a_database_of_another_version_is_upgraded_or_left_alone(database: Path) -> None:
    """
    A database of an older version is taken on with all it holds, one of a newer version refused.
    """
    connection = sqlite3.connect(database)
    connection.executescript(VERSION_1.read_text())
    connection.close()
    with collector() as here:
        session = here.session(uuid(1))
        assert (session["name"], session["events"]) == ("nightly", 1)
        assert session["missing_by_reason"] == {"unknown": 3}
    connection = sqlite3.connect(database)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    before = database.read_bytes()
    assert "upgrade asyncops" in fails_to_start()
    assert database.read_bytes() == before


# -- connections --------------------------------------------------------------------------------


@contextlib.contextmanager
def connections(here: Collector, count: int, *says: bytes) -> Iterator[list[socket.socket]]:
    """
    *count* connections to the collector, which say one of *says* each and nothing more.
    """
    where = urlsplit(here.url)
    opened: list[socket.socket] = []
    try:
        for number in range(count):
            connection = socket.create_connection((where.hostname, where.port), timeout=SECONDS)
            opened.append(connection)
            if says[number % len(says)]:
                connection.sendall(says[number % len(says)])
        yield opened
    finally:
        for connection in opened:
            connection.close()


def files_open(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def memory_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


HEAD = f"POST /v1/records HTTP/1.1\r\nHost: 127.0.0.1\r\nAsyncops-Source: {uuid(1)}\r\n".encode()
SLOW_BODY = HEAD + b'Content-Length: 1000\r\n\r\n{"se'


@pytest.fixture
def files() -> Iterator[Callable[[int], None]]:
    """
    Sets how many files this process, and what it starts from then on, may have open.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 4_000:
        pytest.skip("needs 4,000 open files")
    yield lambda files: resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("limit", [300, 4_000])
def test_a_crowd_that_says_nothing_holds_up_nobody(
    limit: int, files: Callable[[int], None]
) -> None:
    """
    Beside 2,000 connections that say nothing, or bring a head or a body bit by bit, who asks is
    answered at once, and the crowd takes bounded numbers of files and memory, fewer than the limit
    on open files.
    """
    files(limit)
    with collector() as here:
        files(4_000)
        assert Sender(2).sends(here.url, 1) == 200
        before = memory_bytes(here.process.pid)
        with (
            connections(here, limit // 20, SLOW_BODY),
            connections(here, 1_800, b"", b"GET / HTTP/1.1\r\nHo", HEAD) as crowd,
        ):
            times = []
            for number in range(20):
                asked = time.monotonic()
                if number % 2:
                    assert Sender(number + 10).sends(here.url, 1) == 200
                else:
                    assert get(f"{here.url}/api/sessions").status_code == 200
                times.append(time.monotonic() - asked)
                with contextlib.suppress(OSError):  # some drip on
                    crowd[-number - 1].sendall(b"s")
            assert statistics.median(times) < 0.5
            assert files_open(here.process.pid) < min(limit, 1_200)
            assert memory_bytes(here.process.pid) - before < 100 * 2**20
        here.process.terminate()
        assert here.process.communicate(timeout=SECONDS)[1] == ""


def test_fifty_open_pages_do_not_slow_down_what_arrives() -> None:
    """
    Records are acknowledged about as fast while fifty pages watch the session that they belong to,
    and the list, as while nobody does.
    """
    sender = Sender()

    def seconds(here: Collector) -> list[float]:
        times = []
        for _ in range(12):
            began = time.monotonic()
            assert sender.sends(here.url, 10) == 200
            times.append(time.monotonic() - began)
            time.sleep(0.02)  # longer together than pages rest between two looks
        return times

    with collector() as here:
        assert sender.sends(here.url, 10) == 200
        alone, watched = [], []
        for _ in range(2):
            alone += seconds(here)
            session = f"/api/sessions/{sender.session}/stream?after={sender.seq}"
            heads = [
                f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
                for path in ("/api/stream", session)
            ]
            with connections(here, 50, *heads) as pages:
                until(lambda: figure(here, "streams") == 50)
                watched += seconds(here)
                for page in pages:
                    until(lambda page=page: b"data: " in page.recv(65_536))
            until(lambda: figure(here, "streams") == 0)
        assert statistics.median(watched) < 2 * statistics.median(alone) + 0.005
        assert sender.stored(here) == sender.seq


def test_beyond_its_limit_requests_are_put_off_in_json(files: Callable[[int], None]) -> None:
    """
    With as many requests going on as there may be, a further one is answered at once, in JSON, when
    to come again; as soon as they are over it is served.
    """
    files(4_000)
    with collector() as here:
        with connections(here, 900, SLOW_BODY):
            until(lambda: get(f"{here.url}/api/sessions").status_code == 503)
            asked = time.monotonic()
            is_put_off(get(f"{here.url}/api/sessions"), "busy")
            is_put_off(Sender(5).post(here.url), "busy")
            assert time.monotonic() - asked < 2
        until(lambda: get(f"{here.url}/api/sessions").status_code == 200)


def gone(connection: socket.socket) -> None:
    """
    Break *connection*, as a machine does whose client died.
    """
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def figure(here: Collector, name: str) -> float:
    for line in get(f"{here.url}/metrics").text.splitlines():
        if line.startswith(f"asyncops_collector_{name} "):
            return float(line.split()[-1])
    raise AssertionError(name)


def test_clients_that_die_leave_nothing_behind() -> None:
    """
    Live views whose readers died are ended, and of a body that ended early nothing is stored or
    held: the same records can be sent again.
    """
    sender = Sender()
    stream = b"GET /api/stream HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with collector() as here:
        with connections(here, 90, stream) as readers:
            until(lambda: figure(here, "streams") == 90)
            for reader in readers:
                gone(reader)
        until(lambda: figure(here, "streams") == 0)
        body = sender.records(100)
        length = b"Content-Length: %d\r\n\r\n" % len(body)
        for part in (0, 1, len(body) // 2, len(body) - 1):
            with connections(here, 10, HEAD + length + body[:part]) as senders:
                for connection in senders:
                    gone(connection)
        until(lambda: figure(here, "in_flight_bytes") == 0)
        assert get(f"{here.url}/api/sessions").json()["sessions"] == []
        assert sender.post(here.url).json()["acknowledged"] == 100
        assert sender.stored(here) == 100
