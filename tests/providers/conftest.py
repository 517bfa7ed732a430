"""
What the tests with vendors' clients share: a server that speaks as the vendors do, a collector, and
the table of what was recorded.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import inspect
from collections.abc import Iterator
from typing import Any

import pytest
from clients import Driver
from scenarios import SCENARIOS
from vendor_server import VendorServer, serving

import asyncops
from asyncops.capture import _calls
from asyncops.collector.app import CollectorSettings
from asyncops.collector.server import EmbeddedCollector

FAST = ("client_openai", "client_anthropic")
"""The clients of the normal suite."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--clients",
        nargs="+",
        metavar="MODULE",
        help="all scenarios with these clients: the modules client_*.py here; one that cannot be"
        " imported is an error",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "driver" not in metafunc.fixturenames:
        return
    wanted = metafunc.config.getoption("--clients", None)
    names = [name for name in ("driver", "scenario") if name in metafunc.fixturenames]
    cells = []
    for module in wanted or FAST:
        if wanted is None and importlib.util.find_spec(module.removeprefix("client_")) is None:
            reason = f"{module.removeprefix('client_')} is not installed"
            none = [None] * len(names)
            cells.append(pytest.param(*none, marks=pytest.mark.skip(reason), id=module))
            continue
        for driver in _drivers(module):
            marks = [pytest.mark.filterwarnings(each) for each in driver.warnings]
            if "scenario" not in names:
                cells.append(pytest.param(driver, id=repr(driver), marks=marks))
                continue
            cells += [
                pytest.param(driver, scenario, id=f"{driver}-{scenario.name}", marks=marks)
                for scenario in SCENARIOS
                if driver.does(scenario) and (wanted or scenario.fast)
            ]
    metafunc.parametrize(names, cells)


def _drivers(module: str) -> Iterator[Driver]:
    """
    Of each client in *module*, with and without a loop.
    """
    exported = importlib.import_module(module)
    for name in exported.__all__:
        kind = getattr(exported, name)
        if inspect.isclass(kind) and issubclass(kind, Driver):
            yield from (kind(is_async=is_async) for is_async in (False, True))


@pytest.fixture(scope="session")
def vendor() -> Iterator[VendorServer]:
    """
    The vendors, on this machine.
    """
    # what streams and exceptions leave behind is collected after each run; of all that was there
    # before nothing is, and looking at it would take most of the time
    gc.collect()
    gc.freeze()
    with serving() as server:
        yield server
    gc.unfreeze()


@pytest.fixture(scope="session")
def vendors_collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedCollector]:
    """
    A collector for all tests here; each has a session of its own.
    """
    db = tmp_path_factory.mktemp("providers") / "collector.db"
    with EmbeddedCollector(CollectorSettings(port=0, db=db)) as collector:
        yield collector


@pytest.fixture(autouse=True)
def _taken_back() -> Iterator[None]:
    """
    No client is left instrumented, and no failed request remembered.
    """
    yield
    asyncops.uninstrument()
    _calls._failed._times.clear()


# -- the table --------------------------------------------------------------------------------

_rows: list[Any] = []

COLUMNS = ("client", "scenario", "mode", "attempts", "state", "model", "prompt", "completion",
           "tokens", "first token", "cost", "differing")  # fmt: skip


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call":
        _rows.extend(value for name, value in report.user_properties if name == "cell")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if terminalreporter.config.getoption("--clients", None) is None:
        return
    names = [scenario.name for scenario in SCENARIOS]
    _rows.sort(key=lambda row: (row["client"], names.index(row["scenario"]), row["mode"]))
    lines = [COLUMNS, *map(_cells, _rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    terminalreporter.section("what was recorded")
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        terminalreporter.write_line("  ".join(cells).rstrip())
    differing = sum(bool(row["differing"]) for row in _rows)
    terminalreporter.write_line(
        f"{len(_rows)} cells; cells that differ from what the client itself reported: {differing}"
    )


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    """
    A row as it is printed.
    """
    tokens = (row["prompt_tokens"], row["completion_tokens"])
    first, cost = row["time_to_first_token_ms"], row["cost_usd"]
    return (
        f"{row['client']} {row['version']}",
        row["scenario"],
        row["mode"],
        str(row["attempts"]),
        row["state"] or "",
        row["model"] or "",
        f"{row['prompt']} characters",
        row["completion"],
        "" if tokens == (None, None) else " + ".join(map(str, tokens)),
        "" if first is None else f"{first:.1f} ms",
        "" if cost is None else f"${cost:.7f}",
        "; ".join(each.partition(":")[0] for each in row["differing"]),
    )
