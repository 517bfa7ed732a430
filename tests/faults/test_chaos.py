"""
Everything fails at random for a while, and nothing is lost.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from chaos import Chaos

SECONDS = 10.0
"""The long one is `nox -s chaos`."""

EVENTS = 1_000


@pytest.mark.timeout(600)
def test_chaos(tmp_path: Path) -> None:
    """
    Recorders, collector and network are killed and cut at random; every event whose call had
    returned is stored once, and every session has its true end state.
    """
    seed = int(os.environ.get("CHAOS_SEED") or int.from_bytes(os.urandom(4)))
    summary = Chaos(tmp_path, seed=seed, seconds=SECONDS, events=EVENTS + 1).run()

    assert summary.good, f"CHAOS_SEED={seed}\n{summary}"
    assert summary.recorded > EVENTS
