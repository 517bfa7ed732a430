"""
`asyncops keys`: keys made, listed and revoked in the database.
"""

from __future__ import annotations

import re

import httpx
from commands import Commands, wait_for


def sessions_status(asyncops: Commands, key: str | None) -> int:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    return httpx.get(
        f"{asyncops.url}/api/sessions", headers=headers, trust_env=False, verify=False
    ).status_code


def test_a_key_is_shown_once_and_works(asyncops: Commands) -> None:
    """
    A key opens its project at once, is never shown again, and opens nothing once revoked.
    """
    with asyncops.collector():
        assert sessions_status(asyncops, None) == 200
        created = asyncops("keys", "create", "--project", "lab")
        assert created.returncode == 0, created.stderr
        key = created.stdout.strip()
        assert re.fullmatch(r"aops_[\w-]{32,}", key)
        assert key not in created.stderr

        listed = asyncops.here("keys", "list").stdout
        (line,) = (line for line in listed.splitlines() if "lab" in line)
        key_id = line.split()[0]
        assert key not in listed
        assert key_id in created.stderr

        wait_for(lambda: sessions_status(asyncops, None) == 401)
        assert sessions_status(asyncops, key) == 200
        assert sessions_status(asyncops, key[:-1]) == 401

        refused = asyncops.here("sessions")
        assert refused.returncode == 2
        assert "ASYNCOPS_API_KEY" in refused.stderr
        environment = {**asyncops.environment, "ASYNCOPS_API_KEY": key}
        assert asyncops.here("sessions", env=environment).returncode == 0

        program = asyncops.script("print('hello')\n")
        done = asyncops("run", program, env=environment)
        assert "Success" in done.stderr

        revoked = asyncops("keys", "revoke", key_id)
        assert revoked.returncode == 0, revoked.stderr
        wait_for(lambda: sessions_status(asyncops, key) == 401)

    # whoever may read the file needs no key
    assert "program.py" in asyncops.here("sessions", "--project", "lab").stdout
    assert asyncops.here("sessions").stdout == "no sessions\n"


def test_trouble_with_keys_is_one_line(asyncops: Commands) -> None:
    """
    A key that does not exist, and a database that is none, are one line and status 2.
    """
    assert asyncops.here("keys", "list").stdout.startswith("no keys")
    missing = asyncops.here("keys", "revoke", "0123456789abcdef")
    assert missing.returncode == 2
    assert len(missing.stderr.splitlines()) == 1
    mistaken = asyncops.here("keys", "revoke", "aops_" + "x" * 43)
    assert (mistaken.returncode, "xxx" in mistaken.stderr) == (2, False)
    (asyncops.directory / "text.db").write_text("this is no database" * 100)
    broken = asyncops.here("keys", "list", "--db", "text.db")
    assert broken.returncode == 2
    assert len(broken.stderr.splitlines()) == 1
