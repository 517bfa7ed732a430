"""
The overview: sums, shares, days and models, each leading to the sessions behind it.
"""

from __future__ import annotations

import datetime
import html
import re

from playwright.sync_api import expect
from programs import SECOND, Get, Programs, now
from stories import answer, begin, breakdown
from windows import Window

from asyncops._events import Failure

DAY = 86_400 * SECOND


def test_it_sums_what_there_is(get: Get, program: Programs) -> None:
    """
    Totals, averages, end-state shares and models of all sessions in the range.
    """
    answer(program(), at=now() - 60 * SECOND)
    answer(program(), at=now() - 60 * SECOND)
    breakdown(program(), at=now() - 60 * SECOND)
    text = get("/overview").text
    for shown in (
        "$0.0246",
        "$0.0123 per session with a known cost",
        "2,468",
        "3.33 s",
        "67 %",
        "33 %",
        "gpt-5-mini",
    ):
        assert shown in text
    assert re.search(r"Success</span><strong>2</strong>", text)
    assert re.search(r"Fail</span><strong>1</strong>", text)


def test_it_tells_what_sessions_have_in_common(get: Get, program: Programs) -> None:
    """
    Percentiles, the slowest and the dearest, errors, tags and agents; each leads to its sessions.
    """
    slow = answer(program(), at=now() - 60 * SECOND, tags=("v1",))
    breakdown(program(), at=now() - 60 * SECOND)
    text = get("/overview").text
    assert "median 2.00 s; 90 % within 4.00 s, 99 % within 4.00 s" in text
    assert "1 of 2 sessions that ended" in text
    assert text.count(f'<a href="/sessions/{slow.program.session}">') == 2
    for filter in (
        "tag=v1",
        "agent=planner",
        "fingerprint=RuntimeError%3A+no+table+%27widgets%27",
        "sort=duration",
        "sort=cost",
        "state=Fail",
    ):
        (address,) = set(re.findall(rf'href="(/\?[^"]*{re.escape(filter)})"', text)[:1])
        assert "since=" in address
        assert get(address.replace("&amp;", "&")).text.count('<tr id="session-') >= 1
    found = get("/api/breakdown").json()
    assert found["duration_ms"] == {"p50": 2_000, "p90": 4_000, "p99": 4_000}
    assert [group["text"] for group in found["agents"]] == ["planner", "writer"]


def test_every_link_leads_to_what_it_counts(get: Get, program: Programs) -> None:
    """
    Whatever agents, models, tags and errors are called: each link has an answer, behind each bar
    and row are sessions, and behind a number of sessions are so many.
    """
    names = ("50 % & more", "a+b #1", 'c=d; "e" <f>', "日本/?")
    for number, name in enumerate(names, 1):
        for _ in range(number):
            one = program()
            begin(one, "awkward", at=now() - 60 * SECOND, tags=(name,))
            failure = Failure(type="Odd", message=name, traceback="")
            one.event("llm", "ask", at=now() - 50 * SECOND, agent=name, model=name, cost="0.5")
            one.event("tool", "try", at=now(), agent=name, state="Fail", failure=failure)
            one.end("Fail", at=now(), reason=name, failure=failure)
            one.send()
    main = get("/overview").text.split("<main")[1]
    counts = re.findall(
        r'<a href="([^"]*(?:fingerprint|tag|agent|model)=[^"]*)">.*?</a></td>'
        r'<td class="num">(\d+)</td>',
        main,
    )
    assert len(counts) == 4 * len(names)

    def listed(address: str) -> int:
        page = get(html.unescape(address))
        assert page.status_code == 200, address
        return page.text.count('<tr id="session-')

    assert {address: listed(address) for address, _ in counts} == {
        address: int(count) for address, count in counts
    }
    empty = set(re.findall(r'href="([^"]*)"[^>]* tabindex="-1"', main))
    others = set(re.findall(r'href="(/[^"]*)"', main)) - {address for address, _ in counts}
    behind = {address: listed(address) for address in others}
    assert [it for it in others - empty if it.startswith("/?") and not behind[it]] == []


def test_a_cost_nobody_told_is_unknown_here_too(get: Get, program: Programs) -> None:
    """
    Without a single told cost the sum is unknown, not zero.
    """
    one = program()
    begin(one, "free?", at=now())
    one.event("llm", "ask", at=now(), model="m")
    one.send()
    text = get("/overview").text
    assert "no event said what it cost" in text
    assert text.count(">unknown<") >= 3  # the card, the model and the agent
    assert '<span class="unknown">no agent</span>' in text


def test_the_range_lives_in_the_address_and_in_every_link(get: Get, program: Programs) -> None:
    """
    Only sessions of the range count, and links to sessions carry it on.
    """
    old = now() - 10 * DAY
    answer(program(), at=old, name="old")
    answer(program(), at=now() - 60 * SECOND, name="new")
    day = datetime.datetime.fromtimestamp(old / SECOND, datetime.UTC).date()
    after = day + datetime.timedelta(days=1)
    query = f"?since={day}&until={after}"
    text = get(f"/overview{query}").text
    escaped = query.replace("&", "&amp;")
    assert f'<a href="/{escaped}">1</a>' in text
    assert f'href="/{escaped}&amp;state=Success"' in text
    assert f'href="/{escaped}&amp;model=gpt-5-mini"' in text
    assert f'href="/api/overview{escaped}"' in text
    assert "<bdi>old</bdi></a>" in get(f"/{query}").text
    assert "<bdi>new</bdi></a>" not in get(f"/{query}").text


def test_a_range_that_makes_no_sense_is_said(get: Get) -> None:
    """
    A bad date is answered with a page that names it.
    """
    answer = get("/overview?since=yesterday")
    assert answer.status_code == 400
    assert "since must be" in answer.text


def test_nothing_in_a_range_is_said(get: Get) -> None:
    """
    An empty range has no charts but a way out.
    """
    text = get("/overview").text
    assert "No sessions in this time" in text
    assert "<svg role" not in text


def test_a_bar_leads_to_the_sessions_of_its_day(window: Window, program: Programs) -> None:
    """
    Clicking a day's bar lists that day's sessions.
    """
    answer(program(), at=now() - 3 * DAY, name="three days ago")
    answer(program(), at=now() - 60 * SECOND, name="today")
    page = window.open("/overview")
    bars = page.locator(".chart-card").first.locator("a.bar-link:has(.series)")
    expect(bars).to_have_count(2)
    assert "Success 1" in (bars.first.get_attribute("aria-label") or "")
    bars.first.click()
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.locator("tbody tr")).to_contain_text("three days ago")
    assert "since=" in page.url
