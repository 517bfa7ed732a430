"""
JSON as HTML: folded, bounded, escaped.
"""

from __future__ import annotations

import re
from typing import Any

from asyncops.collector.dashboard.payloads import MAX_NODES, json_html, text_html


def plain(value: Any) -> str:
    """
    What a reader sees of *value*.
    """
    return re.sub(r"<[^>]+>", "", str(json_html(value))).replace("&#34;", '"')


def test_small_things_stay_on_one_line() -> None:
    """
    A short object of plain values needs no folding.
    """
    assert plain({"a": 1, "b": "x", "c": None}) == '{ a: 1, b: "x", c: null }'
    assert "<details" not in json_html({"a": 1})


def test_large_things_are_folded() -> None:
    """
    Nested objects open to their second level; long lists are closed and counted.
    """
    html = json_html({"a": {"b": {"c": {"d": "e" * 80}}}, "many": [{"x": n} for n in range(50)]})
    assert html.count("<details") == 5
    assert html.count('<details class="fold" open') == 2
    assert "50 items" in html


def test_texts_keep_their_lines_and_fold_when_long() -> None:
    """
    A long text shows its beginning and how much there is.
    """
    assert "<details" not in text_html("one\ntwo")
    assert "one\ntwo" in text_html("one\ntwo")
    assert "Show all 100 lines" in text_html("line\n" * 99 + "last")
    assert "Show all 5,000 characters" in text_html("x" * 5_000)


def test_there_is_a_limit_and_it_is_said() -> None:
    """
    What is not shown is counted, at every level.
    """
    html = json_html([[n, [n]] for n in range(10 * MAX_NODES)])
    assert html.count("<li") < 3 * MAX_NODES
    assert "more: see the JSON" in html
    assert "300,000 more characters: see the JSON" in text_html("x" * 500_000)


def test_what_the_recorder_cut_is_told_as_such() -> None:
    """
    Markers read as sentences, not as data.
    """
    cut = plain({"$truncated": "string", "size": 300_000, "head": "Once upon"})
    assert cut == "string cut short when it was recorded: 300,000 charactersOnce upon"
    assert "bytes cut short when it was recorded: 2.0 KiB" in plain(
        {"$truncated": "bytes", "size": 2_048, "head": ""}
    )
    assert plain({"$type": "app.Thing", "repr": "<Thing 1>"}) == "app.Thing &lt;Thing 1&gt;"


def test_integers_of_any_size_are_shown() -> None:
    """
    JSON knows no largest integer.
    """
    assert plain([2**70]) == f"[{2**70}]"


def test_depth_is_bounded() -> None:
    """
    A value nested deeper than anything recorded is cut, not recursed into.
    """
    value: list[Any] = []
    for _ in range(500):
        value = [value, "x" * 80]
    assert "deeper: see the JSON" in json_html(value)
