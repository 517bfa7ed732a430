"""
What measures our speed: a budget that is broken, or that nobody measured, is seen.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import budgets, document, registry
from benchmarks.budgets import BUDGETS, Budget, judge
from benchmarks.harness import Effort, Report, figure

MOST = Budget("at most", "a.most", 2.0, quick=4.0)
LEAST = Budget("at least", "a.least", 2.0, at_least=True)


def test_a_figure_is_the_median() -> None:
    """
    One slow run of many does not count, but is told.
    """
    found = figure([3.0, 1.0, 90.0], "ms")

    assert (3.0, 1.0, 90.0, 3) == (found.value, found.least, found.most, found.runs)


@pytest.mark.parametrize(
    ("budget", "value", "effort", "kept"),
    [
        (MOST, 2.0, Effort.FULL, True),
        (MOST, 2.1, Effort.FULL, False),
        (MOST, 4.0, Effort.QUICK, True),
        (MOST, 4.1, Effort.QUICK, False),
        (LEAST, 2.0, Effort.FULL, True),
        (LEAST, 1.9, Effort.FULL, False),
    ],
)
def test_a_budget_is_kept_or_broken(
    monkeypatch: pytest.MonkeyPatch, budget: Budget, value: float, effort: Effort, kept: bool
) -> None:
    """
    Each effort has its own limit, which itself is allowed.
    """
    monkeypatch.setattr(budgets, "BUDGETS", (budget,))
    (verdict,) = judge({budget.figure: figure([value], "x")}, effort)

    assert kept == verdict.kept
    assert ("kept" if kept else "BROKEN") == verdict.cells()[-1]


def test_a_budget_over_another_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    What is compared with a peer is measured in the same run; without the peer it is not kept.
    """
    budget = Budget("of theirs", "a.ours", 0.5, over="a.theirs")
    monkeypatch.setattr(budgets, "BUDGETS", (budget,))
    ours, theirs = figure([2.0, 3.0, 4.0], "ns"), figure([5.0, 10.0, 20.0], "ns")
    (verdict,) = judge({"a.ours": ours, "a.theirs": theirs}, Effort.FULL)
    (alone,) = judge({"a.ours": ours}, Effort.FULL)

    assert verdict.kept
    assert verdict.found is not None
    assert (0.3, 0.1, 0.8) == (verdict.found.value, verdict.found.least, verdict.found.most)
    assert not alone.kept


def test_what_nobody_measured_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A benchmark that lost its figure does not keep the budget.
    """
    monkeypatch.setattr(budgets, "BUDGETS", (MOST, LEAST))
    (verdict,) = judge({}, Effort.QUICK)

    assert not verdict.kept
    assert "not measured" in verdict.cells()


def test_a_broken_budget_ends_with_a_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    nox fails, and says which one it was.
    """
    monkeypatch.setattr("sys.argv", ["budgets", "--quick"])
    monkeypatch.setattr(budgets, "BUDGETS", (MOST,))
    monkeypatch.setattr(budgets, "measure", lambda effort: {"a.most": figure([5.0], "x")})
    with pytest.raises(SystemExit) as stopped:
        budgets.main()

    assert "broken: at most" == stopped.value.code
    assert "| at most | at most 4 | 5 | 5 - 5 | BROKEN |" in capsys.readouterr().out


def test_every_budget_has_its_benchmark() -> None:
    """
    No budget waits for a figure of a benchmark that is never run.
    """
    figures = [name for each in BUDGETS for name in (each.figure, each.over) if name is not None]

    assert {name.partition(".")[0] for name in figures} <= {*registry.NAMES, "peers"}


def test_tables_replace_the_former_ones(tmp_path: Path) -> None:
    """
    What was measured before goes, what was written by hand stays; without a place for it, it is
    said that there is none.
    """
    path = tmp_path / "performance.md"
    path.write_text("above\n<!-- ours: begin -->\nold\n<!-- ours: end -->\nbelow\n")
    report = Report("Speed", ("what", "ns"), [("call", "1")], notes=("By the way.",))
    document.write(path, "ours", [report])
    text = path.read_text()

    assert text.startswith("above\n<!-- ours: begin -->\n")
    assert text.endswith("<!-- ours: end -->\nbelow\n")
    assert "old" not in text
    assert "### Speed\n\n| what | ns |\n| --- | --- |\n| call | 1 |\n\nBy the way.\n" in text
    with pytest.raises(ValueError, match="peers"):
        document.write(path, "peers", [report])
