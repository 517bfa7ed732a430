"""
The host environment: what machine, what Python, what packages a source ran with.

Collected once per source on the background thread, so psutil is imported there and not with us.
"""

from __future__ import annotations

import contextlib
import os
import platform
import sys
from collections.abc import Callable
from typing import Any

from ._giving_way import give_way
from ._version import __version__

__all__ = ["boot_id", "environment"]


def environment(*, everything: bool) -> dict[str, Any]:
    """
    What can be told of this process's surroundings; sizes in bytes. Never raises `Exception`.

    Args:
        everything: Whether to tell more than the versions of asyncops and Python.
    """
    told: dict[str, Any] = {
        "sdk": {
            "asyncops": __version__,
            "python": platform.python_version(),
            "implementation": platform.python_implementation(),
        }
    }
    if everything:
        parts: dict[str, Callable[[], Any]] = {
            "os": _os,
            "cpu": _cpu,
            "ram": _ram,
            "disk": _disk,
            "process": _process,
            "cwd": os.getcwd,
            "virtual_env": _virtual_env,
            "packages": _packages,
        }
        for name, tell in parts.items():
            with contextlib.suppress(Exception):
                told[name] = tell()
            give_way()
    return told


def boot_id() -> str | None:
    """
    The kernel's id of this boot (Linux, `random(4)`), or None.
    """
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except OSError:
        return None


def _os() -> dict[str, Any]:
    return {
        "name": platform.system(),
        "release": platform.release(),
        "version": platform.version(),
        "machine": platform.machine(),
        "hostname": platform.node(),
    }


def _cpu() -> dict[str, Any]:
    import psutil

    return {
        "logical": psutil.cpu_count(),
        "physical": psutil.cpu_count(logical=False),
        "load_average": list(os.getloadavg()),
    }


def _ram() -> dict[str, Any]:
    import psutil

    memory = psutil.virtual_memory()
    return {"total": memory.total, "available": memory.available, "used": memory.used}


def _disk() -> dict[str, Any]:
    import psutil

    usage = psutil.disk_usage(os.getcwd())
    return {"path": os.getcwd(), "total": usage.total, "used": usage.used, "free": usage.free}


def _process() -> dict[str, Any]:
    return {
        "pid": os.getpid(),
        "executable": sys.executable,
        "program": sys.argv[0] if sys.argv else "",
    }


def _virtual_env() -> str | None:
    return sys.prefix if sys.prefix != sys.base_prefix else os.environ.get("VIRTUAL_ENV")


def _packages() -> dict[str, str]:
    """
    The installed distributions, by the names of their metadata directories: reading the metadata
    itself would keep the interpreter busy for a tenth of a second.
    """
    packages: dict[str, str] = {}
    for entry in sys.path:
        with contextlib.suppress(OSError):
            for name in os.listdir(entry or "."):
                stem, dot, kind = name.rpartition(".")
                if dot and kind in ("dist-info", "egg-info"):
                    package, _, version = stem.partition("-")
                    packages.setdefault(package, version)
    return dict(sorted(packages.items(), key=lambda item: item[0].lower()))
