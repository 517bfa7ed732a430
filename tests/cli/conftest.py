"""
What the tests of the command line share.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import Commands
from processes import own_port


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def asyncops(tmp_path: Path) -> Iterator[Commands]:
    """
    The command line, with a port where nobody listens.
    """
    with own_port() as port:
        yield Commands(tmp_path, port)
