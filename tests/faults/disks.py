"""
Bad disks: a small file system of one's own, which can be full or read-only.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

__all__ = ["Disk", "disk"]


@attrs.frozen
class Disk:
    """
    A file system in memory.
    """

    path: Path

    def fill(self) -> None:
        """
        Take all the room there is.
        """
        with contextlib.suppress(OSError), (self.path / "filler").open("ab", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    def empty(self) -> None:
        """
        Give it back.
        """
        (self.path / "filler").unlink()

    def remount(self, options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", str(self.path)], check=True)


@contextlib.contextmanager
def disk(directory: Path, *, size: str) -> Iterator[Disk]:
    """
    A small disk of its own at *directory*.
    """
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(directory)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs a user who may mount a disk")
    try:
        yield Disk(directory)
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)
