"""
Everything that is checked, each as a session: `nox` runs what every change must pass.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "virtualenv"
nox.options.error_on_missing_interpreters = False

PROJECT = nox.project.load_toml("pyproject.toml")


def _dependencies(*groups: str) -> list[str]:
    return list(nox.project.dependency_groups(PROJECT, *groups))


def _interpreters() -> list[str]:
    """
    The Pythons we support that really are on this machine, newest last.

    A name on the PATH is not enough: version managers leave names there that run nothing. Their
    directories are looked into instead.
    """
    found = []
    for version in nox.project.python_versions(PROJECT):
        candidates = [f"python{version}"]
        if sys.version_info[:2] == tuple(map(int, version.split("."))):
            candidates.insert(0, sys.executable)
        managed = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
        candidates += map(str, sorted(managed.glob(f"{version}.*/bin/python{version}")))
        working = next(filter(_runs, candidates), None)
        if working is not None:
            found.append(working)
    return found


def _runs(python: str) -> bool:
    if shutil.which(python) is None:
        return False
    probe = [python, "-c", "import ssl, sqlite3, venv"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0  # noqa: S603


PYTHONS = _interpreters()

# A file stays with one worker: what its tests share is made once. Files are taken as they are
# sorted, or those of few tests, which are the longest ones, would come last, one worker idle.
PARALLEL = ["-n", "logical", "--dist", "loadfile", "--no-loadscope-reorder"]

nox.options.sessions = ["lint", "types", "layers", "docs", "tests", "pages", "speed", "wheel"]


@nox.session
def lint(session: nox.Session) -> None:
    """
    ruff: rules and formatting.
    """
    session.install(*_dependencies("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """
    mypy --strict over the package and over what users write.
    """
    session.install("-e", ".[server]", *_dependencies("types", "tests"))
    session.run("mypy")


@nox.session
def layers(session: nox.Session) -> None:
    """
    Imports point one way.
    """
    session.install("-e", ".[server]", *_dependencies("tests"))
    session.run("pytest", "tests/test_layers.py", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """
    What README and docs say is true: examples run, every record and option is there.
    """
    session.install("-e", ".[server]", *_dependencies("tests"))
    session.run("pytest", "tests/test_docs.py", *session.posargs)


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """
    The suite but for the pages, on each supported Python of this machine; branches are counted on
    the last.
    """
    session.install("-e", ".[server]", *_dependencies("tests"))
    options = [*PARALLEL, "-m", "not browser"]
    if session.python == PYTHONS[-1]:
        options += ["--cov", "--cov-report=" if session.posargs else "--cov-report=term"]
    session.run("pytest", *options, *session.posargs)


@nox.session
def pages(session: nox.Session) -> None:
    """
    The pages in a real browser, once: they are the same on every Python.
    """
    session.install("-e", ".[server]", *_dependencies("tests"))
    session.run("pytest", *PARALLEL, "-m", "browser", *session.posargs)


@nox.session
def wheel(session: nox.Session) -> None:
    """
    What is published works: the built wheel, alone, records a session and serves its pages.
    """
    session.install("build")
    directory = Path(session.create_tmp()) / "dist"
    shutil.rmtree(directory, ignore_errors=True)
    session.run("python", "-m", "build", "--wheel", "--outdir", str(directory), silent=True)
    (built,) = directory.glob("*.whl")
    session.run("python", "-m", "pip", "uninstall", "-y", "-q", "asyncops")
    session.install(f"{built}[server]")
    session.chdir(session.create_tmp())
    environment = {
        "ASYNCOPS_JOURNAL_DIR": str(directory / "journal"),
        "ASYNCOPS_DB": str(directory / "collector.db"),
    }
    session.run("asyncops", "demo", "--exit", "--port", "0", env=environment)


@nox.session
def chaos(session: nox.Session) -> None:
    """
    Everything fails at random for five minutes, and nothing is lost: `-- --seconds 60 --seed 7`.
    """
    session.install("-e", ".[server]")
    session.run("python", "tests/faults/chaos.py", *session.posargs)


@nox.session
def mutants(session: nox.Session) -> None:
    """
    The suite is checked, too: what it must not miss is broken, one thing at a time.
    """
    session.install("-e", ".[server]", *_dependencies("tests"))
    session.run("python", "tests/mutants.py", *session.posargs)


@nox.session
def screenshots(session: nox.Session) -> None:
    """
    The pictures of docs/screenshots, taken anew of the demo and a made-up past.
    """
    session.install("-e", ".[server]", *_dependencies("screenshots"))
    session.run("python", "docs/screenshots/take.py")


CLIENTS = {
    "latest": (
        "client_openai client_anthropic client_google client_mistral client_cohere client_groq"
        " client_ollama"
    ),
    "older": "client_openai client_anthropic",
    "litellm": "client_litellm",
}
"""Modules in tests/providers by the environment that has what they import."""


@nox.session
@nox.parametrize("clients", list(CLIENTS), ids=list(CLIENTS))
def providers(session: nox.Session, clients: str) -> None:
    """
    Vendors' own clients, all scenarios: capture changes nothing, and records what they report.
    """
    session.install("-e", ".[server]", *_dependencies("pytest", f"providers-{clients}"))
    modules = CLIENTS[clients].split()
    # litellm would look for newer prices on the network
    environment = {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    session.run(
        "pytest", "tests/providers", *session.posargs, "--clients", *modules, env=environment
    )


@nox.session
def benchmarks(session: nox.Session) -> None:
    """
    What recording, delivery, collector and pages cost, as ratios in one run: minutes.
    """
    session.install("-e", ".[server]", *_dependencies("benchmarks"))
    session.run("python", "-m", "benchmarks", *session.posargs)


@nox.session
def benchmarks_peers(session: nox.Session) -> None:
    """
    The same work done by OpenTelemetry, Langfuse, MLflow and others, side by side with ours.
    """
    session.install("-e", ".[server]", *_dependencies("benchmarks"))
    session.run("python", "-m", "benchmarks.peers", *session.posargs)


@nox.session
def budgets(session: nox.Session) -> None:
    """
    Whether every budget is kept: many minutes, on a quiet machine; `-- --quick` as `speed`.
    """
    session.install("-e", ".[server]", *_dependencies("benchmarks"))
    session.run("python", "-m", "benchmarks.budgets", *session.posargs)


@nox.session
def speed(session: nox.Session) -> None:
    """
    Nothing has become several times slower: the budgets in a form that bears a busy machine.
    """
    session.install("-e", ".[server]")
    session.run("python", "-m", "benchmarks.budgets", "--quick")
