"""
What the tests of the command line share.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import Commands, free_port


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def asyncops(tmp_path: Path) -> Commands:
    """
    The command line, with a port where nobody listens.
    """
    return Commands(tmp_path, free_port())
