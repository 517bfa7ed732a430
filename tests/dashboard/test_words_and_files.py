"""
What people do with a session on its page: say what they think of it, take it along, delete it.
"""

from __future__ import annotations

import time
from pathlib import Path

import httpx
from playwright.sync_api import expect
from programs import Programs
from stories import answer, breakdown
from windows import Window

SECOND = 1_000_000_000


def test_a_session_is_annotated_taken_along_and_deleted(
    window: Window, program: Programs, tmp_path: Path
) -> None:
    """
    A star, a note, tags and a score are there when the page is; the star is in the list, too. What
    was noted is text and nothing else. The page offers the session as a file, which opens without
    the collector, with all that was recorded folded below its events. To delete the session one
    must say so twice.
    """
    story = answer(program(), at=time.time_ns() - 100 * SECOND)
    page = window.open(story.path)
    page.evaluate("window.untouched = true")
    page.get_by_role("button", name="Star", exact=True).click()
    expect(page.get_by_role("button", name="Starred")).to_have_attribute("aria-pressed", "true")
    page.get_by_text("Notes and scores").click()
    page.get_by_role("textbox", name="Note", exact=True).fill("<b>it answered</b>")
    page.get_by_role("textbox", name="Your name").fill("Ada")
    page.get_by_role("button", name="Add note").click()
    expect(page.locator("#annotations .said")).to_contain_text("<b>it answered</b>")
    page.get_by_label("Score", exact=True).fill("0.5")
    page.get_by_role("button", name="Set score").click()
    expect(page.locator("#annotations .said")).to_contain_text("0.5")
    page.get_by_label("Tags, divided by commas").fill("good, seen by Ada")
    page.get_by_role("button", name="Set tags").click()
    expect(page.locator("#head").get_by_text("seen by Ada")).to_be_visible()
    page.get_by_role("button", name="Take back the note").click()
    expect(page.get_by_text("it answered")).to_have_count(0)
    assert page.evaluate("window.untouched") is True
    scored = window.open("/?starred=1&min_score=0.5&column=score")
    expect(scored.locator("tr .starred")).to_have_count(1)
    expect(scored.locator(".c-score")).to_have_text("0.5")

    page.get_by_text("Export or delete").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="HTML", exact=True).click()
    assert download.value.suggested_filename == f"session-{story.program.session}.html"
    download.value.save_as(tmp_path / "taken.html")

    page.get_by_role("button", name="Delete session").click()
    assert page.url.endswith(story.path)  # the browser asks to tick the box first
    page.get_by_role("checkbox", name="Delete this session").check()
    assert window.faults == []
    page.get_by_role("button", name="Delete session").click()
    expect(page.get_by_role("heading", name="No sessions yet")).to_be_visible()
    # where the next page takes long, the one that is left asks for its stream again
    window.faults = [fault for fault in window.faults if "404" not in fault]

    context = window.browser.new_context(offline=True, viewport={"width": 390, "height": 800})
    requests: list[str] = []
    faults: list[str] = []
    try:
        taken = context.new_page()
        taken.on("request", lambda request: requests.append(request.url))
        taken.on("console", lambda message: faults.append(message.text))
        address = (tmp_path / "taken.html").as_uri()
        taken.goto(address)
        expect(taken.get_by_role("heading", name="answer")).to_be_visible()
        expect(taken.get_by_text("How do I cancel a task group?")).to_be_hidden()
        taken.locator("summary").filter(has_text="ask").click()
        expect(taken.get_by_text("How do I cancel a task group?")).to_be_visible()
        assert taken.evaluate("document.documentElement.scrollWidth") <= 390
        assert (requests, faults) == ([address], [])
    finally:
        context.close()


def test_words_appear_on_every_open_page_and_on_their_event(
    window: Window, program: Programs
) -> None:
    """
    What somebody says of an event is on its panel and on the session's page, also where others have
    it open, and takes nothing from what they are writing; without a script a form does the same.
    """
    story = answer(program(), at=time.time_ns() - 100 * SECOND)
    event = f"{story.path}?event={story.events['search']}"
    hers, his = window.open(event), window.open(event)
    for page in (hers, his):
        expect(page.locator("#live")).to_have_text("Live")
        page.evaluate("window.untouched = true")
    his.get_by_label("Note on this event").fill("half a thought")
    hers.get_by_label("Score of this event").fill("0.25")
    hers.get_by_role("button", name="Set score").last.click()
    hers.get_by_role("button", name="Star event").click()
    hers.get_by_label("Note on this event").fill("<i>odd</i>")
    hers.get_by_label("Note on this event").press("Enter")
    for page in (hers, his):
        said = page.locator("#detail .said")
        expect(said).to_contain_text("<i>odd</i>")
        expect(said).to_contain_text("0.25")
        expect(page.get_by_role("button", name="Starred event")).to_be_visible()
        expect(page.locator("#annotations .said a")).to_have_count(3)
        assert page.evaluate("window.untouched") is True
    expect(his.get_by_label("Note on this event")).to_have_value("half a thought")
    expect(hers.get_by_label("Note on this event")).to_have_value("")

    hers.evaluate("document.querySelector('#detail [name=note]').value = 'x'.repeat(9000)")
    hers.get_by_role("button", name="Add note").last.click()
    expect(hers.get_by_text("That cannot be said")).to_be_visible()
    assert ["400" in fault for fault in window.faults] == [True]  # the browser tells of it, too
    window.faults.clear()

    plain = window.open(event, script=False)
    plain.get_by_role("button", name="Starred event").click()
    expect(plain.get_by_role("button", name="Star event")).to_be_visible()
    expect(his.get_by_role("button", name="Star event")).to_be_visible()


def test_a_form_that_is_not_sure_deletes_nothing(program: Programs, http: httpx.Client) -> None:
    """
    Without the tick the session stays, whatever sent the form.
    """
    story = breakdown(program(), at=time.time_ns() - 100 * SECOND)
    assert http.post(f"{story.path}/delete").status_code == 400
    assert http.get(f"/api{story.path}").status_code == 200
    foreign = {"Sec-Fetch-Site": "cross-site"}
    assert http.post(f"{story.path}/delete", data={"sure": "1"}, headers=foreign).status_code == 403
    assert http.get(f"/api{story.path}").status_code == 200
