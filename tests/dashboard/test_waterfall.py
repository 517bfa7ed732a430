"""
The waterfall of a session: what one looks for, where the time went, and seeing it happen again.
"""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect
from programs import SECOND, Failure, Programs, now
from stories import begin
from windows import Window


def names(page: Page) -> list[str]:
    """
    The names of the rows, top to bottom.
    """
    return page.evaluate(
        "[...document.querySelectorAll('.row')].sort((a, b) => a.ariaRowIndex - b.ariaRowIndex)"
        ".map((row) => row.querySelector('.name').textContent)"
    )


def row(page: Page, name: str):
    return page.locator(".row", has=page.locator(f".name:text-is('{name}')"))


def tell(program: Programs) -> str:
    """
    Two agents at once, a pause of a minute in two, and two failures; gives the session's path.
    """
    one = program()
    start = now() - 120 * SECOND
    begin(one, "busy", at=start)
    quick, slow = one.new_id(), one.new_id()
    failure = Failure(type="TimeoutError", message="no answer")
    one.event("tool", "peek", at=start, lasts=5 * SECOND, parent_id=quick, agent="quick")
    one.event(
        "tool", "poke", at=start + 5 * SECOND, lasts=5 * SECOND, parent_id=quick, agent="quick",
        state="Fail", failure=failure,
    )  # fmt: skip
    one.event("agent", "quick", at=start, lasts=10 * SECOND, id=quick, agent="quick")
    one.event(
        "llm", "think", at=start, lasts=30 * SECOND, parent_id=slow, agent="slow", model="m-large",
        cost="0.25",
    )  # fmt: skip
    one.event(
        "llm", "conclude", at=start + 90 * SECOND, lasts=30 * SECOND, parent_id=slow, agent="slow",
        model="m-small", cost="0.001", state="Fail", failure=failure,
    )  # fmt: skip
    one.event("agent", "slow", at=start, lasts=120 * SECOND, id=slow, agent="slow")
    one.end("Fail", at=start + 120 * SECOND)
    one.send()
    return f"/sessions/{one.session}"


def test_events_are_found_and_errors_walked(window: Window, program: Programs) -> None:
    """
    Text, kind and state narrow the rows down to hits and what is above them; keys and buttons go
    from hit to hit and from error to error; all of it stands in the address.
    """
    path = tell(program)
    page = window.open(path)
    expect(page.locator(".row")).to_have_count(6)
    page.keyboard.press("/")
    page.keyboard.type("PO")
    assert names(page) == ["quick", "poke"]
    expect(row(page, "quick")).to_have_class("row beside")
    expect(page.locator("#hits-note")).to_have_text("1 found")
    page.keyboard.press("Escape")
    assert len(names(page)) == 6
    page.locator("#only-state").select_option("failed")
    assert names(page) == ["quick", "poke", "slow", "conclude"]
    page.locator("#only-kind").select_option("llm")
    assert names(page) == ["slow", "conclude"]
    assert page.url.endswith(f"{path}?state=failed&kind=llm")
    page.reload()
    expect(page.locator(".row")).to_have_count(2)
    page.locator("#only-kind").select_option("")
    page.get_by_role("button", name="Next hit").click()
    expect(page.locator(".row.current .name")).to_have_text("poke")
    page.get_by_role("button", name="Next hit").click()
    expect(page.locator("#hits-note")).to_have_text("2 of 2")
    page.locator("#only-state").select_option("")
    page.locator("#grid").focus()
    for key, name in (("e", "poke"), ("e", "conclude"), ("e", "poke"), ("E", "conclude")):
        page.keyboard.press(key)
        expect(page.locator(".row.current .name")).to_have_text(name)
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog", name="Keys")).to_be_hidden()


def test_what_was_said_is_found_too(window: Window, program: Programs) -> None:
    """
    The box looks into prompts, answers, params and returns, in what arrives later as well; the
    words are marked in the detail; a deep link finds the same; nothing found says where was looked.
    """
    one = program()
    begin(one, "said", at=now())
    one.event("llm", "ask", at=now(), prompt="May it be refunded?", completion="No, the Café pays.")
    one.event("tool", "look up", at=now(), params={"order": "A-77"}, returns=["refunded"])
    one.event("tool", "refund", at=now())
    one.event("tool", "beside", at=now())
    one.send()
    page = window.open(f"/sessions/{one.session}")
    search, note = page.locator("#search"), page.locator("#hits-note")
    expect(page.locator(".row")).to_have_count(4)
    search.press_sequentially("refund")  # also the beginning of a word
    assert set(names(page)) >= {"refund"}  # what is here is found at once
    expect(note).to_have_text("3 found")
    assert names(page) == ["ask", "look up", "refund"]
    search.fill("cafe")
    expect(note).to_have_text("1 found")
    assert names(page) == ["ask"]
    search.fill('"refunded café"')
    expect(page.locator("#no-hits")).to_contain_text("Looked for in names")
    expect(page.locator("#grid")).to_be_hidden()

    page.goto(f"{window.url}/sessions/{one.session}?q=REFUNDED")
    expect(note).to_have_text("2 found")
    page.get_by_role("button", name="Next hit").click()
    row(page, "ask").click()
    expect(page.locator("#detail")).to_contain_text("May it be refunded?")
    page.wait_for_function("() => CSS.highlights.get('found')?.size === 1")
    one.event("action", "later", at=now(), attributes={"state": "refunded"})
    one.send()
    expect(note).to_have_text("1 of 3")
    assert names(page) == ["ask", "look up", "later"]
    page.locator("#search").press("Escape")
    page.wait_for_function("() => !CSS.highlights.has('found')")


def test_time_is_zoomed_brushed_and_explained(window: Window, program: Programs) -> None:
    """
    The strip names the idle minute; dragging over it, keys and the wheel choose a stretch of time,
    which stands in the address; the critical path leaves out what the end did not wait for; colours
    tell agents, models and costs apart.
    """
    path = tell(program)
    page = window.open(path)
    expect(page.locator("#timeline-note")).to_have_text("6 events · 2 at once")
    expect(page.locator(".strip-gap")).to_have_text("1 min 00 s idle")
    bar = row(page, "peek").locator(".bar")
    narrow = bar.bounding_box()["width"]
    strip = page.locator("#strip").bounding_box()
    page.mouse.move(strip["x"] + 1, strip["y"] + 20)
    page.mouse.down()
    page.mouse.move(strip["x"] + strip["width"] / 12, strip["y"] + 20, steps=4)
    page.mouse.up()
    assert bar.bounding_box()["width"] > 8 * narrow
    expect(page.locator("#brush")).to_be_visible()
    expect(row(page, "conclude").locator(".bar")).to_be_hidden()  # it is not in this stretch
    assert "?zoom=" in page.url
    chosen = bar.bounding_box()["width"]
    page.reload()
    expect(page.locator("#brush")).to_be_visible()
    assert bar.bounding_box()["width"] == pytest.approx(chosen, abs=2)
    page.locator("#grid").focus()
    page.keyboard.press("0")
    expect(page.locator("#brush")).to_be_hidden()
    assert page.url.endswith(path)
    page.keyboard.press("+")
    expect(page.locator("#brush")).to_be_visible()
    page.keyboard.press("-")
    expect(page.locator("#brush")).to_be_hidden()
    axis = page.locator("#axis").bounding_box()
    page.mouse.move(axis["x"] + 3, axis["y"] + 60)
    page.keyboard.down("Control")
    page.mouse.wheel(0, -300)
    page.keyboard.up("Control")
    expect(page.locator("#brush")).to_be_visible()
    page.get_by_role("button", name="Whole").click()

    page.get_by_role("button", name="Critical path").click()
    for name, off in (("slow", False), ("think", False), ("conclude", False), ("poke", True)):
        assert ("off-path" in row(page, name).get_attribute("class")) is off, name
    page.locator("#colour-by").select_option("agent")
    expect(page.locator(".legend-entry")).to_have_text(["quick", "slow", "no agent"])
    hues = [row(page, name).locator(".bar").get_attribute("class") for name in ("peek", "think")]
    assert hues == ["bar hue-0", "bar hue-1"]
    page.locator("#colour-by").select_option("cost")
    expect(page.locator(".legend-entry").first).to_have_text("$0.001")
    expect(row(page, "think").locator(".bar")).to_have_class("bar heat-4")
    assert page.url.endswith("?colour=cost")


def test_a_session_is_seen_again_step_by_step(window: Window, program: Programs) -> None:
    """
    What had not happened yet is dim; steps go from beginning to beginning, the slider anywhere;
    playing comes to the end; closing it shows everything again.
    """
    page = window.open(tell(program))
    page.emulate_media(reduced_motion="reduce")
    expect(page.locator(".row")).to_have_count(6)
    page.keyboard.press("r")
    expect(page.locator("#replay-said")).to_contain_text("0.00 s of 120.00 s")
    expect(page.locator(".row.not-yet")).to_have_count(2)
    page.keyboard.press(".")
    expect(page.locator(".row.current .name")).to_have_text("poke")
    expect(page.locator("#replay-said")).to_have_text("5.00 s of 120.00 s · poke, think")
    expect(page.locator(".row.not-yet .name")).to_have_text("conclude")
    page.keyboard.press(",")
    expect(page.locator(".row.not-yet")).to_have_count(2)
    page.locator("#replay-at").fill("500")
    expect(page.locator("#replay-said")).to_have_text("60.00 s of 120.00 s")
    page.get_by_role("button", name="Play", exact=True).click()
    expect(page.locator(".row.not-yet")).to_have_count(0)  # with motion reduced: step by step
    expect(page.locator(".row.current .name")).to_have_text("conclude")
    expect(page.get_by_role("button", name="Play", exact=True)).to_be_visible()
    page.get_by_role("button", name="Replay").click()
    expect(page.locator("#replay-bar")).to_be_hidden()
    expect(page.locator(".now-line")).to_have_count(0)
