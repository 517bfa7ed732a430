"""
`asyncops serve`: a collector in the foreground.
"""

from __future__ import annotations

import os
import signal
import socket

import pytest
from commands import Commands, wait_for
from processes import SECONDS


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_told_to_stop(asyncops: Commands, number: int) -> None:
    """
    It says where it is and what its database is, answers, and stops without complaint.
    """
    with asyncops.collector() as server:
        assert asyncops.get("/api/sessions").json() == {"sessions": [], "next": None}
        os.kill(server.pid, number)
        output, errors = server.communicate(timeout=SECONDS)
    assert server.returncode in (0, -number, 128 + number)
    assert errors == ""
    assert f"dashboard: {asyncops.url}\n" in output
    assert str(asyncops.directory / "collector.db") in output


def test_a_taken_port_is_one_clear_line(asyncops: Commands) -> None:
    """
    Where somebody has the port already, the command says so and ends with status 2.
    """
    with socket.create_server(("127.0.0.1", asyncops.port)):
        done = asyncops("serve", "--port", str(asyncops.port))
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(f"asyncops: 127.0.0.1:{asyncops.port} is taken")
    assert len(done.stderr.splitlines()) == 1


def test_others_are_not_served_without_keys(asyncops: Commands) -> None:
    """
    An address that others can reach is refused until there is a key, with what to do.
    """
    done = asyncops.here("serve", "--host", "0.0.0.0", "--port", str(asyncops.port))
    assert done.returncode == 2
    assert "asyncops keys create --project NAME" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_what_was_recorded_without_a_collector_is_taken_in(asyncops: Commands) -> None:
    """
    A session that ran while no collector was up appears, complete, once one is.
    """
    program = asyncops.script(
        "import asyncops\n"
        "with asyncops.session('before the collector', tags=['early']):\n"
        "    for number in range(20):\n"
        "        with asyncops.action(f'step {number}'): pass\n"
    )
    assert asyncops.python(program).returncode == 0
    with asyncops.collector():
        wait_for(lambda: asyncops.get("/api/sessions").json()["sessions"])
        wait_for(lambda: asyncops.get("/api/sessions").json()["sessions"][0]["state"] != "Running")
        (session,) = asyncops.get("/api/sessions").json()["sessions"]
    assert (session["name"], session["state"]) == ("before the collector", "Success")
    assert (session["events"], session["tags"]) == (20, ["early"])


def test_a_free_port_serves_too(asyncops: Commands) -> None:
    """
    Port 0 takes a free one and says which.
    """
    with asyncops.started("serve", "--port", "0") as server:
        assert server.stdout is not None
        url = server.stdout.readline().removeprefix("dashboard: ").strip()
        assert url.startswith("http://127.0.0.1:")
        assert not url.endswith(":0")


def test_journals_for_another_port_are_pointed_out(asyncops: Commands) -> None:
    """
    Sessions recorded for a collector elsewhere on this machine are not taken, but mentioned.
    """
    program = asyncops.script("import asyncops\nwith asyncops.session('elsewhere'): pass\n")
    environment = {**asyncops.environment, "ASYNCOPS_ENDPOINT": "http://127.0.0.1:9"}
    assert asyncops.python(program, env=environment).returncode == 0
    with asyncops.collector() as server:
        os.kill(server.pid, signal.SIGINT)
        errors = server.communicate(timeout=SECONDS)[1]
    assert "http://127.0.0.1:9" in errors
