"""
The rows a session's page comes with are those its script draws, and nothing moves as that comes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect
from programs import MILLISECOND, SECOND, Failure, Get, Program, Programs, now
from stories import answer, begin, breakdown
from windows import Window, hold

from asyncops import Cost
from asyncops.collector.dashboard import opening

SHIFTS = """
window.shift = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) window.shift += entry.value;
}).observe({type: "layout-shift", buffered: true});
"""

ROWS = """
(geometry) => {
  const about = (element) => {
    const {x, y, width, height} = element.getBoundingClientRect();
    return [x, y, width, height].map((pixels) => Math.round(pixels * 10) / 10);
  };
  const rows = [...document.querySelectorAll("#canvas .row")];
  rows.sort((a, b) => a.getBoundingClientRect().top - b.getBoundingClientRect().top);
  return rows.map((row) => ({
    id: row.id,
    title: row.title,
    looks: [...row.classList].sort().join(" "),
    tree: ["level", "posinset", "setsize", "expanded"].map((it) => row.getAttribute(`aria-${it}`)),
    text: [...row.querySelectorAll("span, bdi, .c-took, .c-tokens, .c-cost")]
      .map((it) => it.childElementCount ? "" : it.textContent),
    icons: [...row.querySelectorAll("use")].map((it) => it.getAttribute("href")),
    kind: row.querySelector(".c-name > .icon").getAttribute("class"),
    mark: row.querySelector(".mark").className,
    bar: row.querySelector(".bar").className,
    places: geometry && [row, ...row.querySelectorAll(".name, .agent, .bar")].map(about),
  }));
}
"""


def failed(program: Program, start: int) -> None:
    breakdown(program, at=start)


def well(program: Program, start: int) -> None:
    answer(program, at=start)


def every_kind(program: Program, start: int) -> None:
    """
    What rows can say: endings, costs, depths, hostile names, an agent's own and others' children.
    """
    begin(program, "every kind", at=start)
    failure = Failure(type="E", message="it <b>broke</b>\nin two lines")
    top = program.event("agent", "top", at=start, lasts=60 * SECOND, agent="top")
    for at, (kind, fields) in enumerate(
        [
            ("llm", {"model": "m", "cost": "0.25", "prompt_tokens": 12_345, "agent": "top"}),
            ("llm", {"model": "call 1", "cost": Cost("3", currency="EUR"), "agent": "other"}),
            ("llm", {"model": "m", "agent": "other", "state": "Fail", "failure": failure}),
            ("llm", {"model": "m", "prompt_tokens": 0, "completion_tokens": 7}),
            ("tool", {"state": "Cancelled", "agent": "other", "lasts": 0}),
            ("error", {"state": "Fail", "failure": failure, "lasts": 0}),
            ("action", {"name": '</bdi><img src=x onerror="__xss(1)">&amp;"\N{SNOWMAN}'}),
            ("action", {"name": "n" * 500, "agent": "a" * 300, "lasts": 90 * SECOND}),
        ]
    ):
        fields = {"name": f"call {at}", "lasts": 3 * SECOND, "parent_id": top} | fields
        program.event(kind, fields.pop("name"), at=start + at * SECOND, **fields)
    below = top
    for depth in range(20):
        at = start + 20 * SECOND + depth * MILLISECOND
        below = program.event("tool", f"{depth} deep", at=at, parent_id=below, lasts=SECOND)
    program.event("tool", "before all", at=start - 5 * SECOND, lasts=SECOND)
    program.event("tool", "orphan", at=start + SECOND, lasts=SECOND, parent_id="ff" * 8)
    program.end("Success", at=start + 70 * SECOND)
    program.send()


def more_than_fit(program: Program, start: int) -> None:
    """
    Others, that come late, stand before those that came first.
    """
    begin(program, "many", at=start)
    tops = [program.new_id() for _ in range(40)]
    for number, top in reversed([*enumerate(tops)]):
        at = start + number * SECOND
        for call in range(3):
            program.event("tool", f"{number}.{call}", at=at, parent_id=top, lasts=SECOND)
        program.event("agent", f"{number}", at=at, id=top, agent=f"{number}", lasts=2 * SECOND)
    program.end("Success", at=start + 50 * SECOND)
    program.send()


def died(program: Program, start: int) -> None:
    begin(program, "died", at=start)
    top = program.open("agent", "top", at=start, agent="top")
    program.event("tool", "inside", at=start + SECOND, parent_id=top, lasts=SECOND)
    program.open("llm", "asking", at=start + 2 * SECOND, parent_id=top, model="m")
    program.end("Indeterminate", at=start + 4 * SECOND, reason="process died", said_by="adopter")
    program.send()


def running(program: Program, start: int) -> None:
    begin(program, "running", at=start)
    top = program.open("agent", "top", at=start, agent="top")
    program.event("tool", "inside", at=start + SECOND, parent_id=top, lasts=SECOND)
    program.open("llm", "asking", at=start + 2 * SECOND, parent_id=top, model="m")
    program.send()


@pytest.mark.parametrize("tell", [well, failed, every_kind, more_than_fit, died, running])
@pytest.mark.parametrize("width", [1440, 390])
def test_the_page_comes_with_what_its_script_draws(
    window: Window, program: Programs, tell: Callable[[Program, int], None], width: int
) -> None:
    """
    Row by row the same words, looks and places before the script has come and after it, and nothing
    else on the page moves.
    """
    one = program()
    tell(one, now() - 600 * SECOND)
    page = window.open("/keys", width=width)
    page.add_init_script(SHIFTS)
    release = hold(page, "**/*.js")
    page.goto(f"{window.url}/sessions/{one.session}", wait_until="commit")
    page.wait_for_function("() => document.querySelector('#keys')")  # it comes after the rows
    page.wait_for_function("() => performance.getEntriesByName('first-contentful-paint').length")
    is_still = tell is not running  # else bars grow meanwhile
    given: list[dict[str, Any]] = page.evaluate(ROWS, is_still)

    release()
    expect(page.locator("#timeline[inert]")).to_have_count(0)
    page.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done, 50)))")
    taken_over = page.evaluate(ROWS, is_still)
    if is_still:
        assert page.evaluate("window.shift") == 0
    page.goto(f"{window.url}/sessions/{one.session}?drawn=anew")
    expect(page.locator(".row").nth(1)).to_be_visible()
    drawn = page.evaluate(ROWS, is_still)

    assert len(given) >= min(len(drawn), opening.MOST_ROWS) > 2
    for rows in zip(given, taken_over, drawn, strict=False):
        for row in rows if not is_still else ():
            row["text"] = ""  # how long it has taken by now
        assert rows[0] == rows[1] == rows[2]


def test_nothing_can_be_used_before_the_events_have_come(window: Window, program: Programs) -> None:
    """
    Who is faster than the script changes nothing, and waits for it; they are asked for once, before
    the script has come.
    """
    story = answer(program(), at=now() - 60 * SECOND)
    page = window.open("/keys")
    release = hold(page, "**/timeline.json*")
    page.goto(window.url + story.path)
    for place in ("#zoom-in", "#critical", "#collapse-all", ".row:nth-of-type(3) .name", "#strip"):
        box = page.locator(place).bounding_box()
        assert box is not None
        page.mouse.dblclick(box["x"] + 5, box["y"] + 5)
    page.keyboard.press("j")
    page.keyboard.press("+")
    assert page.url == window.url + story.path
    release()
    expect(page.locator("#timeline[inert]")).to_have_count(0)
    expect(page.locator(".row")).to_have_count(len(story.events))
    expect(page.locator("#detail")).to_be_hidden()
    expect(page.locator("#brush")).to_be_hidden()
    # later it asks for what is new
    assert sum(url.endswith("/timeline.json?after=0") for url in window.requests) == 1
    page.locator(".row", has_text="search").click()
    expect(page.locator("#detail")).to_contain_text("task group")


def test_events_that_do_not_come_are_asked_for_again(window: Window, program: Programs) -> None:
    """
    A collector that goes away between a page and its events: the page shows the rows it came with,
    says so, and works once the collector is back.
    """
    story = answer(program(), at=now() - 60 * SECOND)
    page = window.open("/keys")
    for address in ("**/timeline.json*", "**/stream*"):
        page.route(address, lambda route: route.abort())
    page.goto(window.url + story.path)
    expect(page.locator("#live")).to_have_text("Reconnecting")
    expect(page.locator("#timeline[inert] .row")).to_have_count(len(story.events))
    page.unroute_all()
    expect(page.locator("#timeline[inert]")).to_have_count(0)
    page.locator(".row", has_text="search").click()
    expect(page.locator("#detail")).to_contain_text("task group")
    # that nobody answered is what the browser says of it, too
    window.faults = [fault for fault in window.faults if "net::ERR_" not in fault]


def test_a_page_has_no_rows_of_its_own_where_it_cannot_know_them(
    get: Get, program: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A page that looks for something, or shows one event, is left to its script; so is a session
    without events, or with more of them than can be looked through meanwhile.
    """
    story = answer(program(), at=now() - 60 * SECOND)
    assert get(story.path).text.count('id="row-') == len(story.events)
    for query in ("?q=search", "?zoom=1~2", f"?event={story.events['ask']}"):
        assert 'id="row-' not in get(story.path + query).text
    monkeypatch.setattr(opening, "MOST_EVENTS", len(story.events) - 1)
    assert 'id="row-' not in get(story.path).text
    monkeypatch.undo()
    empty = program()
    begin(empty, "empty", at=now())
    empty.send()
    page = get(f"/sessions/{empty.session}")
    assert 'id="row-' not in page.text
    assert "style-src" not in page.headers["content-security-policy"]
