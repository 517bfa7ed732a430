"""
The peers: what they are, which versions, and the virtual environment each lives in.
"""

from __future__ import annotations

import enum
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import attrs

__all__ = [
    "PEERS",
    "SERVERS",
    "Pace",
    "Peer",
    "PeerError",
    "chosen",
    "environment_variables",
    "interpreter",
]

ENVIRONMENTS = Path(__file__).parents[2] / ".nox" / ".cache" / "peers"
"""Where environments are kept between runs, unless `$BENCHMARKS_PEERS` names another directory."""

PIP_SECONDS = 900.0

SETTINGS = (
    "AGENTOPS_", "ASYNCOPS_", "LANGCHAIN_", "LANGFUSE_", "LANGSMITH_", "LOGFIRE_", "MLFLOW_",
    "OTEL_", "PHOENIX_",
)  # fmt: skip
"""What the variables of recorders begin with: all of them are measured as they come."""

OURS = frozenset({"ASYNCOPS_DB", "ASYNCOPS_JOURNAL_DIR"})
"""What `receiver()` sets for each run."""


class PeerError(Exception):
    """
    A peer cannot be installed, or fails. The message is told in its row of the table.
    """


class Pace(enum.Enum):
    """
    How much work a peer can be given, so that all of it ends within a coffee break.
    """

    FAST = "fast"
    """Up to 50 us a call."""

    MEDIUM = "medium"
    """Up to 300 us."""

    SLOW = "slow"
    """More."""


@attrs.frozen(kw_only=True)
class Peer:
    """
    A way of recording, or a server.

    Attributes:
        name: The name of its driver, too.
        requirements: What its first page has installed, pinned. Empty: it runs where we do.
        pace: How fast it is.
        why: What is not obvious about the versions.
    """

    name: str
    requirements: tuple[str, ...] = ()
    pace: Pace = Pace.FAST
    why: str = ""

    @property
    def version(self) -> str:
        if self.requirements:
            return self.requirements[0].partition("==")[2]
        return "this tree" if self.name.startswith("asyncops") else "-"


OTEL = ("opentelemetry-sdk==1.45.2", "opentelemetry-exporter-otlp-proto-http==1.45.2")

MLFLOW = Peer(
    name="mlflow",
    requirements=("mlflow==3.17.2",),
    pace=Pace.SLOW,
    why="3.18 needs an mlflow-skinny that could not be installed when the list was made",
)

PEERS = (
    Peer(name="bare"),
    Peer(name="floor"),
    Peer(name="asyncops"),
    Peer(name="asyncops_lean"),
    Peer(name="otel", requirements=OTEL),
    Peer(name="otel_args", requirements=OTEL),
    Peer(
        name="agentops04",
        requirements=(
            "agentops==0.4.21",
            "opentelemetry-sdk==1.36.0",
            "opentelemetry-api==1.36.0",
            "opentelemetry-exporter-otlp-proto-http==1.36.0",
        ),
        pace=Pace.MEDIUM,
        why="with OpenTelemetry 1.36, because with 1.45 it delivers nothing",
    ),
    Peer(name="phoenix", requirements=("arize-phoenix-otel==0.17.2",), pace=Pace.MEDIUM),
    Peer(name="langfuse", requirements=("langfuse==5.0.4",), pace=Pace.MEDIUM),
    Peer(
        name="logfire",
        requirements=("logfire==5.2.0",),
        pace=Pace.MEDIUM,
        why="5.3 and 5.4 need a certifi that could not be installed when the list was made",
    ),
    Peer(name="langsmith", requirements=("langsmith==0.15.0",), pace=Pace.SLOW),
    MLFLOW,
    Peer(name="agentops03", requirements=("agentops==0.3.26",), pace=Pace.SLOW),
)

SERVERS = (
    Peer(name="asyncops"),
    MLFLOW,
    Peer(name="phoenix_server", requirements=("arize-phoenix==20.26.1",)),
)


def chosen(peers: Sequence[Peer], only: Sequence[str]) -> list[Peer]:
    """
    Those of *peers* that *only* names, and what all are compared with; all, if it names none.
    """
    always = {"bare", "floor", "asyncops"}
    return [each for each in peers if not only or each.name in always.union(only)]


def interpreter(peer: Peer) -> str:
    """
    The Python of the peer's environment, which is made now if it is not there.

    Raises:
        PeerError: It cannot be installed.
    """
    if not peer.requirements:
        return sys.executable
    asked = "\n".join((sys.version, *peer.requirements))
    name = f"{peer.name.partition('_args')[0]}-{hashlib.sha256(asked.encode()).hexdigest()[:12]}"
    directory = Path(os.environ.get("BENCHMARKS_PEERS", ENVIRONMENTS)).absolute() / name
    python = directory / "bin" / "python"
    complete = directory / "complete"
    if not complete.exists():
        print(f"installing {' '.join(peer.requirements)}", file=sys.stderr)
        shutil.rmtree(directory, ignore_errors=True)
        _run(sys.executable, "-m", "venv", str(directory))
        _run(str(python), "-m", "pip", "install", "--quiet", *peer.requirements)
        complete.touch()
    return str(python)


def environment_variables(peer: Peer, directory: Path) -> dict[str, str]:
    """
    What a program of *peer* sees: no settings, no proxies; none of our modules and a home of its
    own, if it lives in an environment of its own.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        # without compiled modules an import takes several times longer
        if name != "PYTHONDONTWRITEBYTECODE"
        and not name.lower().endswith("_proxy")
        and (name in OURS or not name.startswith(SETTINGS))
    }
    if peer.requirements:
        kept.pop("PYTHONPATH", None)
        kept["HOME"] = str(directory)
    return kept


def _run(*command: str) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=PIP_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise PeerError(f"not installed within {PIP_SECONDS:.0f} s") from None
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise PeerError("cannot be installed: " + (errors or ["pip failed"])[-1][:160])
