"""
What tests of capture share.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from wires import WIRES, Wire

import asyncops
from asyncops.capture import _calls


@pytest.fixture(params=WIRES, ids=lambda wire: f"{wire.package}-{'a' * wire.is_async}sync")
def wire(request: pytest.FixtureRequest) -> Wire:
    """
    Each kind of client.
    """
    found: Wire = request.param
    return found


@pytest.fixture(autouse=True)
def _taken_back() -> Iterator[None]:
    """
    No client is left instrumented, and no failed request remembered.
    """
    yield
    asyncops.uninstrument()
    _calls._failed._times.clear()
