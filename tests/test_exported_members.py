"""
What is public is said in one place, and is all there.
"""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys

import pytest

import asyncops
from asyncops import capture, testing

HEAVY = (
    "httpx",
    "httpx2",
    "httpcore",
    "psutil",
    "starlette",
    "rich",
    "anyio",
    "asyncops.capture",
    "asyncops.collector",
    "genai_prices",
)
"""What a program pays for only when it is needed."""


@pytest.mark.parametrize("module", [asyncops, capture, testing], ids=lambda module: module.__name__)
def test_all(module: object) -> None:
    """
    `__all__` is sorted, complete and true.
    """
    names: list[str] = module.__all__  # type: ignore[attr-defined]
    assert sorted(names) == names
    for name in names:
        assert hasattr(module, name)


def test_nothing_else_looks_public() -> None:
    """
    Besides `__all__` the package shows only its public modules.
    """
    shown = {name for name in vars(asyncops) if not name.startswith("_")}
    assert shown <= {*asyncops.__all__, "capture", "cli", "collector", "testing"}


def test_every_public_name_is_documented() -> None:
    """
    Each public name says what it is.
    """
    for name in asyncops.__all__:
        value = getattr(asyncops, name)
        if callable(value):
            assert (value.__doc__ or "").strip(), name


def test_every_module_says_what_it_owns() -> None:
    """
    Each module has a docstring.
    """
    for module in pkgutil.walk_packages(asyncops.__path__, "asyncops."):
        if not module.name.endswith("__main__") and "_activate" not in module.name:
            assert (importlib.import_module(module.name).__doc__ or "").strip(), module.name


def test_import_is_light() -> None:
    """
    Importing asyncops loads neither an HTTP client nor psutil nor the collector.
    """
    code = f"import sys, asyncops; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "[]" == done.stdout.strip()
