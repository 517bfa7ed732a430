"""
The command line as a whole.
"""

from __future__ import annotations

import os
import subprocess

import pytest
from commands import Commands
from processes import SECONDS

import asyncops as sdk


def test_the_version_is_the_packages(asyncops: Commands) -> None:
    """
    `--version` prints the version and nothing else.
    """
    done = asyncops("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{sdk.__version__}\n", "")


def test_help_names_every_command(asyncops: Commands) -> None:
    """
    `--help`, and no arguments at all, show what there is.
    """
    for arguments in (["--help"], []):
        done = asyncops.here(*arguments)
        assert done.returncode == 0
        for command in ("demo", "serve", "run", "sessions", "show", "tail", "keys"):
            assert command in done.stdout


@pytest.mark.parametrize("missing", ["cyclopts", "starlette"])
def test_what_is_missing_is_said(asyncops: Commands, missing: str) -> None:
    """
    Without what the `server` extra installs, one line says what to install.
    """
    site = asyncops.directory / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(f"import sys\nsys.modules[{missing!r}] = None\n")
    path = os.pathsep.join([str(site), asyncops.environment["PYTHONPATH"]])
    done = asyncops("sessions", env={**asyncops.environment, "PYTHONPATH": path})
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert missing in done.stderr
    assert 'pip install "asyncops[server]"' in done.stderr


@pytest.mark.parametrize("arguments", [["nonsense"], ["serve", "--nonsense"]])
def test_a_command_that_makes_no_sense_is_one_line(
    asyncops: Commands, arguments: list[str]
) -> None:
    """
    Unknown commands and options are one line and status 2.
    """
    done = asyncops(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("asyncops: ")


def test_a_reader_that_leaves_early_is_no_trouble(asyncops: Commands) -> None:
    """
    Where standard output is closed, a command ends without complaint.
    """
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            asyncops.arguments("keys", "list"),
            env=asyncops.environment,
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    finally:
        os.close(writing)
    assert done.returncode == 1
    assert done.stderr == ""
