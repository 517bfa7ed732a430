"""
What open pages learn by themselves.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from playwright.sync_api import expect
from programs import SECOND, Get, Programs, now
from stories import answer, begin
from windows import Window, at_work, hold

from asyncops.collector.dashboard import shared


def test_what_many_look_at_is_made_once(
    get: Get, program: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The sums of an overview are the same for all who ask at the same time, and others for another
    time; a page that is opened is made for itself.
    """
    monkeypatch.setattr(shared, "HOLD_SECONDS", 60.0)  # however long ten requests take here
    answer(program(), at=now() - 60 * SECOND)
    with ThreadPoolExecutor(10) as threads:
        fragments = {
            it.text for it in threads.map(get, ["/fragments/overview?since=2020-01-01"] * 10)
        }
    assert len(fragments) == 1
    assert ">1<" in fragments.pop()
    answer(program(), at=now() - 60 * SECOND)
    assert ">2<" in get("/fragments/overview?since=2020-01-02").text
    assert ">2<" in get("/overview?since=2020-01-01").text
    assert get("/fragments/overview?since=yesterday").status_code == 400
    assert get("/fragments/compare?ids=one").status_code == 400


def test_overview_and_comparison_follow_what_happens(window: Window, program: Programs) -> None:
    """
    Open pages show new sums and steps without being reloaded or asking for what they have; what has
    the focus keeps it.
    """
    done = answer(program(), at=now() - 60 * SECOND)
    one = program()
    begin(one, "going on", at=now())
    one.send()
    overview = window.open("/overview")
    compared = window.open(f"/compare?ids={done.program.session},{one.session}")
    for page in (overview, compared):
        expect(page.locator("#live")).to_have_text("Live")
        page.evaluate("window.untouched = true")
    overview.locator(".chart-card .bar-link:has(.series)").first.focus()
    compared.get_by_role("link", name="All").focus()
    assert [request for request in window.requests if "/fragments/" in request] == []

    one.event("llm", "ask again", at=now(), model="m-new", cost="2.5")
    one.end("Fail", at=now() + SECOND, reason="too dear")
    one.send()
    expect(overview.locator(".cards")).to_contain_text("$2.51")
    expect(overview.get_by_role("link", name="m-new")).to_be_visible()
    expect(compared.locator(".heads")).to_contain_text("too dear")
    expect(compared.locator(".steps")).to_contain_text("ask again")
    for page in (overview, compared):
        assert page.evaluate("window.untouched") is True
    assert overview.evaluate("document.activeElement.classList.contains('bar-link')")
    assert compared.evaluate("document.activeElement.textContent").startswith("All ")


def test_a_slow_answer_does_not_keep_a_page_from_asking_again(
    window: Window, program: Programs
) -> None:
    """
    A page rests after what took long, but not for minutes: once the machine or the collector is
    quick again, it soon shows what is new.
    """
    one = program()
    begin(one, "going on", at=now())
    one.event("tool", "before", at=now())
    one.send()
    page = window.open("/keys")
    page.clock.install()
    page.goto(f"{window.url}/sessions/{one.session}")
    at_work(page)
    expect(page.locator("#live")).to_have_text("Live")
    release = hold(page, "**/timeline.json*")
    with page.expect_request("**/timeline.json*"):
        one.event("tool", "slow", at=now())
        one.send()
    page.clock.fast_forward(25_000)
    release()
    expect(page.locator(".row", has_text="slow")).to_be_visible()
    one.event("tool", "quick", at=now())
    one.send()
    expect(page.locator(".facts")).to_contain_text("3 tool calls")  # it has heard of it
    page.clock.fast_forward(21_000)
    expect(page.locator(".row", has_text="quick")).to_be_visible()
