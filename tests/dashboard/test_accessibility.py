"""
Whoever reads them, and however: every page for those who see, hear, type or wait differently.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from typing import Literal

import pytest
from playwright.sync_api import Locator, Page, ViewportSize, expect
from programs import SECOND, Get, Program, Programs, now
from stories import answer, begin, breakdown
from windows import Window, at_work

AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")

WIDE: ViewportSize = {"width": 1440, "height": 900}
PHONE: ViewportSize = {"width": 390, "height": 844}

LEVELS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
"""WCAG 2.2 AA, and what axe's makers hold for good besides."""

SEEN = ["color-contrast"]
"""The rule for what depends on theme and width together."""

FIND = """
async ([levels, part]) => {
  const found = await axe.run(part, {resultTypes: ["violations"], runOnly: levels});
  return found.violations.flatMap((rule) =>
    rule.nodes.map((node) => `${rule.id}: ${node.target} ${node.failureSummary}`));
}
"""

UNFOLD = """
document.querySelectorAll("details:not(.menu)").forEach((it) => { it.open = true; });
"""
"""Shows all that pages hide at first, but for the menu, which lies over what is below it."""

OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"

MARKED = """
(() => {
  const it = document.activeElement;
  return [it, it.parentElement, ...it.querySelectorAll(".current")].some((place) =>
    [null, "::after"].some((part) => getComputedStyle(place, part).outlineStyle !== "none"));
})()
"""
"""
Whether one sees where the focus is: on itself, around a box that is drawn anew, on a whole row.
"""

MOVING = 'document.getAnimations().filter((it) => it.playState === "running")'


def tell(program: Programs) -> dict[str, str]:
    """
    One session of each kind, and the address of every page by its name.
    """
    good = answer(program(), at=now() - 90 * SECOND, tags=("v1", "nightly"))
    bad = breakdown(program(), at=now() - 60 * SECOND)
    running = go_on(program())
    long = work_through_much(program())
    return {
        "sessions": "/",
        "no sessions": "/?state=Cancelled",
        "compare": f"/compare?ids={good.program.session},{bad.program.session}"
        f"&step=A-{good.events['ask']}",
        "overview": "/overview",
        "keys": "/keys",
        "session": good.path,
        "event": good.event_path("ask"),
        "chat": f"{good.path}?view=chat",
        "tree": f"{bad.path}?view=tree",
        "agents": f"{good.path}?view=agents",
        "errors": f"{bad.path}?view=errors",
        "raw": f"{good.path}?view=raw",
        "failure": bad.event_path("query"),
        "running": f"/sessions/{running.session}",
        "long": f"/sessions/{long.session}?q=step",
        "not found": "/sessions/nothing",
        "sign in": "/sign-in",
    }


def go_on(program: Program) -> Program:
    """
    A session that has not ended, of which people have said something already.
    """
    begin(program, "going on", at=now() - 5 * SECOND)
    worker = program.open("agent", "worker", at=now() - 4 * SECOND, agent="worker")
    program.send()
    for word in (
        {"note": "looks good so far", "by": "Ada", "score": 0.5},
        {"event": worker, "note": "rather slow", "score": 2, "star": True},
    ):
        path = f"/api/sessions/{program.session}/annotations"
        program.http.post(path, json=word).raise_for_status()
    return program


def work_through_much(program: Program) -> Program:
    """
    A session of more events than a window has rows, and with a video.
    """
    start = now() - 50 * SECOND
    begin(program, "long", at=start)
    for number in range(60):
        program.event("tool", f"step {number}", at=start + number * SECOND, params={"of": [[{}]]})
    program.film("https://videos.example/long.mp4", at=start)
    program.end("Success", at=now())
    program.send()
    return program


def check(page: Page, name: str, part: str = "html", rules: Sequence[str] = LEVELS) -> list[str]:
    """
    What is wrong with the page, or a part of it, as it looks now.
    """
    found: list[str] = page.evaluate(FIND, [rules, part])
    beyond: int = page.evaluate(OVERFLOW)
    if beyond > 0:
        found.append(f"{beyond} px wider than the window")
    return [f"{name}: {each}" for each in found]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(
    window: Window, program: Programs, scheme: Literal["light", "dark"]
) -> None:
    """
    No page breaks a rule of WCAG 2.2 AA or is wider than its window, in either theme, on a wide
    screen and on a phone.
    """
    wrong = []
    page = window.open("/healthz", scheme=scheme)
    for name, path in tell(program).items():
        page.goto(window.url + path)
        expect(page.locator("h1")).to_be_visible()
        at_work(page)
        page.evaluate(AXE)
        for size in (WIDE, PHONE):
            page.set_viewport_size(size)
            # what has nothing to do with colours was looked for in the other theme
            everything = size is (WIDE if scheme == "light" else PHONE)
            rules = LEVELS if everything else SEEN
            wrong += check(page, f"{name}, {scheme}, {size['width']} px", rules=rules)
    window.faults = [fault for fault in window.faults if "404" not in fault]  # asked for
    assert wrong == []


def test_axe_finds_nothing_in_what_is_asked_for(window: Window, program: Programs) -> None:
    """
    Neither does what pages unfold, their menu or a dialog, in the same two ways.
    """
    wrong = []
    pages = tell(program)
    page = window.open("/healthz")
    for name in ("sessions", "failure", "errors", "raw", "long", "keys"):
        page.goto(window.url + pages[name])
        if name == "keys":
            page.get_by_role("button", name="Make the first key").click()
            expect(page.locator(".secret")).to_be_visible()
        at_work(page)
        page.evaluate(AXE)
        page.evaluate(UNFOLD)
        for scheme, size in (("light", WIDE), ("dark", PHONE)):
            page.emulate_media(color_scheme=scheme)
            page.set_viewport_size(size)
            wrong += check(page, f"{name}, {scheme}, unfolded")
            for dialog in page.locator("dialog").all() if name in ("sessions", "long") else ():
                dialog.evaluate("(it) => it.showModal()")
                wrong += check(page, f"{name}, {scheme}, a dialog", "dialog[open]")
                dialog.evaluate("(it) => it.close()")
            if name == "keys":
                page.locator(".menu > summary").click()
                wrong += check(page, f"{name}, {scheme}, the menu", ".menu")
                page.locator(".menu > summary").click()
    window.faults = [fault for fault in window.faults if "404" not in fault]  # asked for
    assert wrong == []


def test_a_session_is_found_opened_and_left_by_keyboard(window: Window, program: Programs) -> None:
    """
    Tab and Enter lead from the list into a session, to an event, and back; one sees where one is.
    """
    story = answer(program(), at=now() - 60 * SECOND)
    breakdown(program(), at=now() - 30 * SECOND)
    page = window.open("/")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    walk_to(page, page.get_by_role("link", name="answer", exact=True))
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1, name="answer")).to_be_visible()
    at_work(page)
    grid = page.get_by_role("treegrid", name="Events")
    walk_to(page, grid)
    for _ in range(2):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    detail = page.locator("#detail")
    expect(detail).to_contain_text("asyncio.taskgroups")
    assert f"event={story.events['search']}" in page.url
    page.keyboard.press("Escape")
    expect(detail).to_be_hidden()
    expect(grid).to_be_focused()
    page.keyboard.press("Shift+Tab")
    walk_to(page, page.get_by_role("link", name="Sessions"), back=True)
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="breakdown", exact=True)).to_be_visible()


def walk_to(page: Page, target: Locator, *, back: bool = False) -> None:
    """
    Press Tab until *target* has the focus; each stop on the way is marked.
    """
    for _ in range(60):
        page.keyboard.press("Shift+Tab" if back else "Tab")
        assert page.evaluate(MARKED), "the focus cannot be seen"
        if target.evaluate("(it) => it === document.activeElement"):
            return
    raise AssertionError(f"{target} is not on the way")


def test_nothing_moves_for_those_who_asked_for_rest(window: Window, program: Programs) -> None:
    """
    Where the system asks for reduced motion, the pulse of what is running stands still, in the list
    and in a session.
    """
    running = go_on(program())
    page = window.open("/")
    page.wait_for_function(f"() => {MOVING}.length > 0")
    page.emulate_media(reduced_motion="reduce")
    page.wait_for_function(f"() => {MOVING}.length === 0")
    page.goto(f"{window.url}/sessions/{running.session}")
    expect(page.locator(".bar.open")).to_have_count(1)
    assert page.evaluate(f"{MOVING}.length") == 0
    page.emulate_media(reduced_motion="no-preference")
    page.wait_for_function(f"() => {MOVING}.length > 0")


def test_every_page_reads_without_a_script(get: Get, program: Programs) -> None:
    """
    What a page is about stands in the page itself, and it says what it is in which language.
    """
    pages = tell(program)
    said = {
        "sessions": ("breakdown", "going on", "nightly"),
        "no sessions": ("No session matches",),
        "compare": ("planner", "only in A", "How do I cancel a task group?"),
        "overview": ("gpt-5-mini", "$0.0123"),
        "keys": ("There is no key yet",),
        "session": ("planner", "publish", "answered"),
        "event": ("How do I cancel a task group?", "asyncops", "300 ms"),
        "chat": ("Be brief.", "How do I cancel a task group?", "asyncio.taskgroups"),
        "tree": ("query", "bad rows", "work"),
        "agents": ("planner", "writer"),
        "errors": ("RuntimeError", "KeyError"),
        "raw": ("planner", "publish"),
        "failure": ("RuntimeError", "KeyError", "Traceback"),
        "running": ("worker", "Still running"),
        "long": ("step 59", "https://videos.example"),
        "not found": ("There is no session nothing",),
        "sign in": ("API key",),
    }
    assert set(said) == set(pages)
    for name, path in pages.items():
        text = get(path).text
        for words in (*said[name], '<html lang="en">', "<title>", '<main id="main">', "<h1"):
            assert words in text, (name, words)
