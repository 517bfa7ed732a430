"""
Every row of the design's "How a session ends", run for real.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from endings import CASES, Case, Outcome, run_cases
from processes import collector

ELSEWHERE = {
    "with": {
        "exception", "generator closed", "Ctrl-C under asyncio.run",
        "Ctrl-C without an event loop", "raise KeyboardInterrupt", "SIGTERM", "kill -9",
    },
    "init()": {
        "left normally", "SystemExit(0)", "exception", "task.cancel('enough')", "os._exit(0)",
        "raise KeyboardInterrupt", "Ctrl-C under asyncio.run", "SIGHUP", "SIGSEGV",
        "end_session('Fail', 'as I say')", "end_session('Maybe')",
        "event loop closed, nothing after", "event loop closed, another session",
    },
    "inherited": {"exception", "SIGTERM", "kill -9", "end_session('Fail', 'as I say')"},
    "asyncops run": {"exception", "Ctrl-C under asyncio.run", "os._exit(4)", "kill -9"},
}  # fmt: skip
"""The rows that are run beside `async with`; `python -m benchmarks.endings` runs all."""

UVLOOP = {
    "task.cancel('enough')", "Ctrl-C under asyncio.run", "second Ctrl-C", "SIGTERM", "exception",
}  # fmt: skip

CHOSEN = [
    case
    for case in CASES
    if (case.loop == "asyncio" and case.row.name in ELSEWHERE.get(case.kind, {case.row.name}))
    or (case.loop == "uvloop" and case.kind == "async with" and case.row.name in UVLOOP)
]


@pytest.fixture(scope="module")
def outcomes(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[Case, Outcome]]:
    """
    All cases that are to be tested, run beside each other: most of the time is spent in waiting.
    """
    directory = tmp_path_factory.mktemp("endings")
    wanted = [
        item.callspec.params["case"]
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.path == request.path
    ]
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ASYNCOPS_JOURNAL_DIR", str(directory / "journal"))
        environment.setenv("ASYNCOPS_DB", str(directory / "collector.db"))
        environment.setenv("XDG_STATE_HOME", str(directory / "state"))
        with collector() as serving:
            yield run_cases(wanted, directory, serving)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("case", CHOSEN, ids=str)
def test_ending(case: Case, outcomes: dict[Case, Outcome]) -> None:
    """
    The session's state and reason are true, and the program ends as it does without asyncops, to
    the last line of its traceback.
    """
    outcome = outcomes[case]

    assert case.expected == outcome.ending
    assert ("Running" if case.kind == "inherited" else None) == outcome.meanwhile
    assert outcome.bare_status == outcome.status
    assert outcome.bare_stderr == outcome.stderr
