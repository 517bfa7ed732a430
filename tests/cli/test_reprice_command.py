"""
`asyncops reprice`: stored costs, by way of a collector or out of its database.
"""

from __future__ import annotations

import http.server
import itertools
import json
import os
import random
import signal
import sqlite3
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
from commands import Commands, wait_for
from processes import SECONDS

PROGRAM = """
import asyncops

for name, calls in (("one", 3), ("two", 1)):
    with asyncops.session(name):
        for _ in range(calls):
            with asyncops.llm(model="mine-1", provider="here") as call:
                call.prompt_tokens, call.completion_tokens = 1_000_000, 0
        with asyncops.llm(model="mine-1", provider="here") as call:
            call.prompt_tokens, call.cost = 5, 0.25
"""


def price(directory: Path, dollars: float) -> str:
    path = directory / "prices.toml"
    path.write_text(f'[[price]]\nmodel = "mine-*"\ninput = {dollars}\noutput = 0\n')
    return str(path)


@pytest.fixture
def recorded(asyncops: Commands) -> Commands:
    """
    Two sessions with calls that nobody knew a price for, and no collector.
    """
    program = asyncops.script(PROGRAM)
    with asyncops.collector():
        assert asyncops.python(program).returncode == 0
        wait_for(lambda: len(sessions(asyncops)) == 2)
        wait_for(lambda: not any((asyncops.directory / "journal").glob("*/*")))
    return asyncops


def sessions(asyncops: Commands) -> list[dict[str, Any]]:
    found = json.loads(asyncops.here("sessions", "--json").stdout)["sessions"]
    return [session for session in found if session["state"] == "Success"]


def costs(asyncops: Commands) -> dict[str, tuple[float, int]]:
    return {s["name"]: (s["cost_usd"], s["costs_unknown"]) for s in sessions(asyncops)}


def test_it_changes_the_database_where_no_collector_runs(recorded: Commands) -> None:
    """
    It says what would change, changes that, and then nothing more; one session or all.
    """
    environment = {
        **recorded.environment,
        "ASYNCOPS_PRICES": price(recorded.directory, 2),
    }
    (one,) = [session["id"] for session in sessions(recorded) if session["name"] == "one"]
    tried = recorded("reprice", "--all", "--dry-run", env=environment)
    assert (tried.returncode, tried.stderr) == (0, "")
    assert "6 LLM calls examined with the prices of prices.toml sha256:" in tried.stdout
    assert "4 calls in 2 sessions would change, from $0 to $8.00 (+$8.00)" in tried.stdout
    assert costs(recorded) == {"one": (0.25, 3), "two": (0.25, 1)}

    assert recorded.here("reprice", "--session", one, env=environment).returncode == 0
    assert costs(recorded) == {"one": (6.25, 0), "two": (0.25, 1)}
    assert recorded.here("reprice", "--since", "2020-01-01", env=environment).returncode == 0
    assert costs(recorded) == {"one": (6.25, 0), "two": (2.25, 0)}
    again = recorded.here("reprice", "--all", env=environment)
    assert "nothing changed" in again.stdout

    environment["ASYNCOPS_PRICES"] = price(recorded.directory, 1)
    cheaper = recorded.here("reprice", "--all", env=environment)
    assert "4 calls in 2 sessions changed, from $8.00 to $4.00 (-$4.00)" in cheaper.stdout


def test_it_asks_the_collector_that_runs(recorded: Commands) -> None:
    """
    The prices are those of the collector, and its pages show at once what changed.
    """
    prices = price(recorded.directory, 2)
    arguments = ("serve", "--port", str(recorded.port), "--prices", prices)
    with recorded.started(*arguments) as server:
        wait_for(lambda: recorded.answers() or server.poll() is not None)
        done = recorded("reprice", "--until", "2100-01-01")
        assert (done.returncode, done.stderr) == (0, "")
        assert "4 calls in 2 sessions changed" in done.stdout
        shown = recorded.here("show", sessions(recorded)[0]["id"]).stdout
        os.kill(server.pid, signal.SIGTERM)
        server.communicate(timeout=SECONDS)
    assert "computed from your prices.toml sha256:" in shown
    assert "said by the provider: 1 call" in shown


def test_a_collector_that_is_killed_in_the_midst_has_its_sums_right(asyncops: Commands) -> None:
    """
    Killed with -9 while it works out costs anew, it has events and sums that agree, and the next
    one finishes the work.
    """
    source = "00000000-0000-7000-8000-0000000000aa"
    sessions_ = [f"00000000-0000-7000-8000-{number:012x}" for number in range(4)]
    lines = [
        b'{"type":"event","seq":%d,"at":1,"session":"%b","id":"%016x","kind":"llm","name":"m",'
        b'"started_at":1,"ended_at":2,"state":"Success","model":"mine-1","prompt_tokens":1000000}\n'
        % (number, sessions_[number % 4].encode(), number)
        for number in range(1, 4_001)
    ]
    with asyncops.collector():
        answer = httpx.post(
            f"{asyncops.url}/v1/records",
            content=b"".join(lines),
            headers={"Asyncops-Source": source},
            trust_env=False,
            timeout=30,
        )
        assert answer.json() == {"acknowledged": 4_000, "rejected": []}
    environment = {**asyncops.environment, "ASYNCOPS_PRICES": price(asyncops.directory, 1)}
    arguments = ("serve", "--port", str(asyncops.port))
    with (
        asyncops.started(*arguments, env=environment) as server,
        httpx.Client(base_url=asyncops.url, trust_env=False, verify=False) as client,
    ):
        wait_for(lambda: asyncops.answers() or server.poll() is not None)
        killer = threading.Timer(random.random() / 20, server.kill)
        cursor: str | None = None
        with pytest.raises(httpx.TransportError):
            for part in itertools.count():
                if part == 20:
                    killer.start()
                asked = {"limit": 5, "cursor": cursor}
                cursor = client.post("/api/reprice", json=asked).json()["next"]
                assert cursor is not None
        killer.join()

    connection = sqlite3.connect(asyncops.directory / "collector.db")
    found = connection.execute(
        "SELECT s.cost, s.costs_known, s.costs_unknown, COUNT(e.cost), SUM(e.cost IS NULL)"
        " FROM sessions s JOIN events e ON e.session = s.key GROUP BY s.key"
    ).fetchall()
    connection.close()
    assert len(found) == 4
    for cost, known, unknown, priced, unpriced in found:
        assert (cost, known, unknown) == (priced * 10**9, priced, unpriced)
    assert 100 <= sum(priced for *_, priced, _ in found) < 4_000
    assert asyncops.here("reprice", "--all", env=environment).returncode == 0
    told = json.loads(asyncops.here("sessions", "--json").stdout)["sessions"]
    assert [(each["cost_usd"], each["costs_unknown"]) for each in told] == 4 * [(1_000.0, 0)]
    assert "nothing changed" in asyncops.here("reprice", "--all", env=environment).stdout


class Dripping(http.server.BaseHTTPRequestHandler):
    """
    A collector that never comes to an end.
    """

    parts = 0

    def do_GET(self) -> None:
        self._answer({"status": "ok", "service": "asyncops"})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        type(self).parts += 1
        changed = {"id": "s", "events": 2, "cost_usd_before": 0.0, "cost_usd_after": 1.5}
        sessions = [changed] if self.parts == 1 else []
        self._answer({"examined": 10, "sessions": sessions, "tables": ["t 1"], "next": "10"})

    def _answer(self, value: dict[str, Any]) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


def test_ctrl_c_says_what_was_done(asyncops: Commands) -> None:
    """
    Interrupted, it tells what changed until then, and how to go on.
    """
    with http.server.ThreadingHTTPServer(("127.0.0.1", asyncops.port), Dripping) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            with asyncops.started("reprice", "--all") as command:
                wait_for(lambda: Dripping.parts > 3)
                command.send_signal(signal.SIGINT)
                output, errors = command.communicate(timeout=SECONDS)
        finally:
            server.shutdown()
            thread.join()
    assert command.returncode == 130
    assert errors == "asyncops: interrupted: run it again for the rest\n"
    assert "2 calls in 1 session changed, from $0 to $1.50 (+$1.50)" in output


def test_it_does_nothing_unless_told_for_what(recorded: Commands) -> None:
    """
    Everything at once is only what somebody asked for; what makes no sense is one clear line.
    """
    for arguments, said in (
        ((), "say which: --since, --until, --session or, for all, --all"),
        (("--all", "--since", "2020-01-01"), "say which"),
        (("--since", "soon"), "since must be a time like"),
        (("--session", "ffffffff"), "no session begins with"),
    ):
        done = recorded.here("reprice", *arguments)
        assert done.returncode == 2
        assert said in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert costs(recorded) == {"one": (0.25, 3), "two": (0.25, 1)}


def test_a_file_of_prices_that_makes_no_sense_is_one_clear_line(asyncops: Commands) -> None:
    """
    A collector does not start with prices that it cannot understand.
    """
    path = asyncops.directory / "mine.toml"
    path.write_text('[[price]]\nmodel = "m"\ninput = 1\n')
    for arguments, options in (
        (("--prices", str(path)), {}),
        ((), {"env": {**asyncops.environment, "ASYNCOPS_PRICES": str(path)}}),
    ):
        done = asyncops.here("serve", "--port", str(asyncops.port), *arguments, **options)
        assert done.returncode == 2
        assert done.stderr.startswith(f"asyncops: price 1 in {path}: needs input and output")
        assert len(done.stderr.splitlines()) == 1
