"""
`asyncops export` and `asyncops import`: a session from one database to another.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from commands import Commands, wait_for

PROGRAM = """
import asyncops

with asyncops.session("taken along", tags=["a"]):
    with asyncops.tool("search", params={"q": "what nobody else may read"}):
        pass
"""


def test_a_session_moves_to_another_database(asyncops: Commands, tmp_path: Path) -> None:
    """
    An export is a file that another database takes, once, compressed or from standard input, and
    that tells nothing when it is redacted; what is no export is said to be none.
    """
    with asyncops.collector():
        assert asyncops.python(asyncops.script(PROGRAM)).returncode == 0
        wait_for(lambda: [found["state"] for found in asyncops.sessions()] == ["Success"])
        (session,) = asyncops.sessions()
        done = asyncops("export", session["id"][:13], "-o", "taken.ndjson")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not list(tmp_path.glob(".*partial"))
    body = (tmp_path / "taken.ndjson").read_bytes()
    (tmp_path / "taken.ndjson.gz").write_bytes(gzip.compress(body))

    done = asyncops("import", "taken.ndjson", "taken.ndjson.gz", "--db", "other.db")
    assert done.returncode == 0, done.stderr
    records = len(body.splitlines())
    assert done.stdout.splitlines() == [
        f"taken.ndjson: {records} records of 1 session",
        f"taken.ndjson.gz: {records} records of 1 session",
    ]
    done = asyncops.here(
        "export", session["id"], "--format", "json", "--redacted", "--db", "other.db"
    )
    document = json.loads(done.stdout)
    assert document["session"]["tags"] == ["a"]
    (event,) = document["events"]
    assert (event["name"], "nobody else" in done.stdout) == ("search", False)

    done = asyncops.here("import", input='{"half": ')
    assert done.returncode == 2
    assert done.stderr == (
        "asyncops: line 1 of standard input is no record: is it what `asyncops export` wrote?\n"
    )
