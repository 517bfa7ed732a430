"""
What README and docs say is true.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import attrs
import msgspec
import pytest

from asyncops import Configuration, _events
from asyncops._wire import decode, encode, number_line

ROOT = Path(__file__).parents[1]
SECURITY = ROOT / "SECURITY.md"
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    SECURITY,
    *sorted((ROOT / "docs").glob("*.md")),
]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)


PROGRAMS = [
    pytest.param(block, id=f"{page.name}-{number}")
    for page in PAGES
    for number, block in enumerate(blocks(page, "python"))
]


@pytest.mark.parametrize("program", PROGRAMS)
def test_examples_run(program: str, tmp_path: Path) -> None:
    """
    Each example is a program that runs, without a warning.
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=tmp_path, env=os.environ, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip

    assert (0, "") == (done.returncode, done.stderr)


LINES = [
    block.strip() for block in blocks(ROOT / "docs" / "protocol.md", "json") if '"seq":' in block
]
LINES = [line for line in LINES if line.startswith('{"seq"')]


@pytest.mark.parametrize("line", LINES, ids=lambda line: line[:40])
def test_records_of_the_protocol(line: str) -> None:
    """
    Each example of a record is what we would write.
    """
    record = decode(line.encode())

    unnumbered = encode(msgspec.structs.replace(record, seq=0))
    assert line == number_line(unnumbered, record.seq).decode()


def test_every_record_and_key_is_in_the_protocol() -> None:
    """
    The protocol has an example of every record, with every key in it.
    """
    told: dict[str, set[str]] = {}
    for line in LINES:
        keys = msgspec.json.decode(line)
        told.setdefault(keys.pop("type"), set()).update(keys)
    for kind in _events.Record.__args__:
        info = msgspec.inspect.type_info(kind)
        assert isinstance(info, msgspec.inspect.StructType)
        wanted = {field.encode_name for field in info.fields}
        if info.tag == "event_opened":  # its event shows them all
            wanted &= told["event_opened"]
        assert wanted == told[str(info.tag)], info.tag


def test_every_option_is_documented() -> None:
    """
    The class's docstring and the page on configuration tell of every option.
    """
    page = (ROOT / "docs" / "configuration.md").read_text()
    for option in attrs.fields(Configuration):
        if "check" in option.metadata:
            doc = Configuration.__doc__ or ""
            assert re.search(rf"^ +{option.name}: ", doc, re.MULTILINE), option.name
            assert f"`{option.name}`" in page
            assert f"`ASYNCOPS_{option.name.upper()}`" in page or option.name == "redact"


def test_links_lead_somewhere() -> None:
    """
    Links between our own pages lead to files that are there.
    """
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_claims_of_security_have_their_tests() -> None:
    """
    Each test that SECURITY.md names as the keeper of a claim is there.
    """
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    named = re.findall(r"`(test_\w+)`", SECURITY.read_text())
    assert len(named) > 40
    assert [name for name in named if f"def {name}(" not in tests] == []


def test_ci_runs_the_line_that_contributors_run() -> None:
    """
    The tests' line is the same in README, CONTRIBUTING and .ci/run.
    """
    line = "python3 -m venv .venv && .venv/bin/pip install nox && .venv/bin/nox\n"
    for place in ("README.md", "CONTRIBUTING.md", ".ci/run"):
        assert line in (ROOT / place).read_text(), place
