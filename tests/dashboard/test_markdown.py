"""
Markdown as HTML: read as its writers mean it, and never more than text.
"""

from __future__ import annotations

import html
import re
import time
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncops.collector.dashboard.markdown import MAX_CHARS, markdown_html

ELEMENTS = frozenset(
    "div p ul ol li pre code strong em del a hr blockquote table thead tbody tr th td details"
    " summary span".split()
)


class Reader(HTMLParser):
    """
    Notes which elements and attributes there are, and whether each is closed in its turn.
    """

    def __init__(self) -> None:
        super().__init__()
        self.elements: set[str] = set()
        self.attributes: set[tuple[str, str | None]] = set()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self.attributes.update(attrs)
        if tag != "hr":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(markdown_html(text))
    reader.close()
    assert reader.open == []
    return reader


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a **b** and *c* of `d`", "a <strong>b</strong> and <em>c</em> of <code>d</code>"),
        ("# Title", '<p class="heading">Title</p>'),
        ("- a\n- b", "<ul><li>a</li><li>b</li></ul>"),
        ("3. a\n4. b", '<ol start="3"><li>a</li><li>b</li></ol>'),
        ("- a\n  - b", "<ul><li>a<ul><li>b</li></ul></li></ul>"),
        ("> a\n> b", "<blockquote><p>a\nb</p></blockquote>"),
        ("```py\nx = **1**\n```", "<code>x = **1**</code>"),
        ("---", "<hr>"),
        ("[a](https://example.org/b)", '<a href="https://example.org/b" rel="noopener noreferrer"'),
        ("![a](https://example.org/b.png)", ">image: a</a>"),
        ("| a | b |\n|---|---|\n| 1 | 2 |", "<td>1</td><td>2</td>"),
        ("one\ntwo **x**", "<p>one\ntwo <strong>x</strong></p>"),
    ],
)
def test_marks_are_read(text: str, expected: str) -> None:
    """
    The marks that models use.
    """
    assert expected in markdown_html(text)


@pytest.mark.parametrize(
    "text",
    [
        "snake_case_name and 2 * 3 * 4",
        "a [b](javascript:alert(1)) c",
        "![x](//evil.test/x.png) *",
        "<http://evil.test> `",
        "[x](data:text/html,1)",
        "** a **",
    ],
)
def test_what_is_no_mark_stays(text: str) -> None:
    """
    Names with underscores, sums, and addresses that may not become links.
    """
    shown = markdown_html(text)
    assert html.unescape(re.sub(r"<[^>]+>", "", shown)) == text
    assert "<a" not in shown
    assert "<em" not in shown


def test_long_texts_are_folded() -> None:
    """
    The beginning shows, as it was written, and how much there is.
    """
    shown = markdown_html("- line\n" * 99 + "- last")
    assert "Show all 100 lines" in shown
    assert shown.count("<li>") == 100


@given(
    st.text(
        st.sampled_from("*_`~[]()!#>-+|1.\n \t\\<&\"'abchttps:/javascript") | st.characters(),
        max_size=120,
    )
)
def test_nothing_but_our_own_elements_comes_out(text: str) -> None:
    """
    Whatever is written: known elements, closed in their turn, links to the web alone.
    """
    reader = read(text)
    assert reader.elements <= ELEMENTS
    for name, value in reader.attributes:
        assert name in ("class", "href", "rel", "target", "start", "scope", "tabindex")
        if name == "href":
            assert (value or "").startswith(("http://", "https://"))


@pytest.mark.parametrize(
    "piece", ["*", "**a", "[", "[a](", "`", "_a", "> ", "- ", "  - ", "|-", "~~a", "```\n", "1. "]
)
def test_no_text_takes_long(piece: str) -> None:
    """
    Marks that are opened again and again and never closed.
    """
    for text in (piece * (MAX_CHARS // len(piece)), (piece + "\n") * 9_000):
        began = time.process_time()
        markdown_html(text)
        assert time.process_time() - began < 2
