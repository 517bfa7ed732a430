"""
How a session ends: every row, in every way of running a session, on both event loops, run for real.

`python -m benchmarks.endings` runs about 500 programs in a few minutes and prints what the
collector shows of each, and whether the program ended as it does without asyncops.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

TESTS = Path(__file__).parents[1] / "tests"


def main() -> None:
    sys.path[:0] = [str(TESTS), str(TESTS / "faults")]
    from endings import CASES, Case, Outcome, run_cases
    from processes import collector

    def line(case: Case, outcome: Outcome) -> str:
        ending = outcome.ending
        told = ending.state if outcome.meanwhile is None else f"{outcome.meanwhile}, {ending.state}"
        right = case.expected == ending and outcome.meanwhile in (None, "Running")
        same = (outcome.status, outcome.stderr) == (outcome.bare_status, outcome.bare_stderr)
        return (
            f"| {case.row.name} | {case.kind} | {case.loop} | {told} | {ending.reason or ''}"
            f" | {outcome.status} | {outcome.bare_status} | {'same' if same else 'DIFFERS'}"
            f" | {'yes' if right else f'NO: {case.expected}'} |"
        )

    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        os.environ["ASYNCOPS_JOURNAL_DIR"] = str(directory / "journal")
        os.environ["ASYNCOPS_DB"] = str(directory / "collector.db")
        with collector() as serving:
            outcomes = run_cases(CASES, directory, serving)
    print("| row | session | loop | state | reason | status | without | stderr | as designed |")
    print("|---|---|---|---|---|---|---|---|---|")
    for case, outcome in outcomes.items():
        print(line(case, outcome))


if __name__ == "__main__":
    main()
