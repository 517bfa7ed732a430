"""
How a session ends: every row, in every way of running a session, on both event loops, run for real.

About 500 programs in a few minutes: what the collector shows of each, and whether the program ended
as it does without asyncops.
"""

from __future__ import annotations

import sys
from pathlib import Path

from .harness import Effort, Report

_TESTS = Path(__file__).parent.parent / "tests"
sys.path += [str(_TESTS), str(_TESTS / "faults")]

from endings import CASES, Case, Outcome, run_cases  # noqa: E402
from processes import collector  # noqa: E402

__all__ = ["run"]


def _row(case: Case, outcome: Outcome) -> tuple[str, ...]:
    ending = outcome.ending
    told = ending.state if outcome.meanwhile is None else f"{outcome.meanwhile}, {ending.state}"
    right = case.expected == ending and outcome.meanwhile in (None, "Running")
    same = (outcome.status, outcome.stderr) == (outcome.bare_status, outcome.bare_stderr)
    return (
        case.row.name, case.kind, case.loop, told, ending.reason or "", str(outcome.status),
        str(outcome.bare_status), "same" if same else "DIFFERS",
        "yes" if right else f"NO: {case.expected}",
    )  # fmt: skip


def run(effort: Effort, directory: str) -> Report:
    cases = CASES if effort is Effort.FULL else CASES[::10]
    with collector() as serving:
        outcomes = run_cases(cases, Path(directory), serving)
    return Report(
        "How a session ends",
        ("row", "session", "loop", "state", "reason", "status", "without", "stderr", "as designed"),
        [_row(case, outcome) for case, outcome in outcomes.items()],
    )


if __name__ == "__main__":
    from .registry import run as run_benchmark

    print(run_benchmark("endings", Effort.FULL).markdown())
