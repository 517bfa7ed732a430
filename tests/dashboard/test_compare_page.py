"""
Sessions side by side: what they have in common, what differs, word by word.
"""

from __future__ import annotations

import pytest
from playwright.sync_api import expect
from programs import MILLISECOND, SECOND, Get, Programs, now
from stories import answer, begin, breakdown
from windows import Window, at_work

from asyncops.collector.dashboard.word_diff import MAX_WORDS, word_diff


def test_words_that_are_gone_and_come() -> None:
    """
    Both texts can be read off the difference, spaces included.
    """
    before, after = "The cat sat,\n  and slept.", "The old cat sat.\n  and  slept!"
    pieces, whole = word_diff(before, after)
    assert whole
    assert "".join(piece.text for piece in pieces if piece.change != "come") == before
    assert "".join(piece.text for piece in pieces if piece.change != "gone") == after
    assert next(piece.text for piece in pieces if piece.change == "come") == " old"


@pytest.mark.timeout(20)
@pytest.mark.parametrize("unit", ["a ", "ab", "x" * 50, "\u00e9 \n", "1,"])
def test_long_texts_are_compared_from_their_beginning_in_bounded_time(unit: str) -> None:
    """
    Texts that repeat a word without end do not hold anybody up.
    """
    pieces, whole = word_diff(unit * 100_000, f"b {unit}" * 50_000)
    assert not whole
    assert sum(len(piece.text) for piece in pieces) < 2 * MAX_WORDS * 210


def test_two_runs_side_by_side(get: Get, program: Programs) -> None:
    """
    Facts with by how much they differ, steps that stand in the same place, what only one has.
    """
    one = answer(program(), at=now() - 60 * SECOND, name="before")
    other = program()
    begin(other, "after", at=now() - 30 * SECOND, tags=("v2",))
    planner = other.new_id()
    asked = other.event(
        "llm",
        "ask",
        at=now() - 29 * SECOND,
        lasts=3 * SECOND,
        parent_id=planner,
        agent="planner",
        model="gpt-5",
        prompt=[
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "How do I leave a task group?"},
        ],
        prompt_tokens=600,
        completion_tokens=34,
        cost="0.0246",
    )
    other.event("tool", "read", at=now() - 26 * SECOND, parent_id=planner, agent="planner")
    other.event(
        "agent", "planner", at=now() - 29 * SECOND, lasts=4 * SECOND, id=planner, agent="planner"
    )
    other.end("Fail", at=now() - 25 * SECOND, reason="TimeoutError: too slow")
    other.send()

    ids = f"{one.program.session},{other.session}"
    text = get(f"/compare?ids={ids}").text
    for shown in (
        "before",
        "after",
        "+$0.0123 (+100 %)",
        "\u2212600 (\u221250 %)",
        "too slow",
        "v2",
    ):
        assert shown in text
    rows = {
        row.split("<bdi>")[1].split("</bdi>")[0]: row for row in text.split('<tr id="step-')[1:]
    }
    assert list(rows) == ["planner", "ask", "read", "search", "writer", "publish"]
    assert "+2.00 s (+200 %)" in rows["ask"]
    assert "+$0.0123 (+100 %)" in rows["ask"]
    for word in ("model", "prompt", "completion"):
        assert f'<span class="word {word}">' in rows["ask"]
    assert "not here" not in rows["ask"]
    assert "only in A" in rows["search"]
    assert "only in B" in rows["read"]
    assert f"/sessions/{other.session}?event={asked}" in rows["ask"]
    assert "not here" not in rows["planner"]

    opened = get(f"/compare?ids={ids}&step=A-{one.events['ask']}").text
    assert "<del> cancel</del><ins> leave</ins>" in opened
    assert "only in <b>A</b>" in opened  # what only the first has answered
    only = get(f"/compare?ids={ids}&only=differences").text
    assert 'title="Compare what was given and returned"' in only
    assert "<bdi>planner</bdi></a>" not in only
    # as a form without a script sends it
    form = get(f"/compare?ids={one.program.session}&ids={other.session}", follow=False)
    assert form.headers["location"] == f"/compare?ids={ids}"


def test_a_cost_that_is_not_all_known_is_a_minimum(get: Get, program: Programs) -> None:
    """
    Beside a cost that every call has told stands one that is at least so much.
    """
    one = answer(program(), at=now() - 60 * SECOND)
    other = program()
    begin(other, "after", at=now() - 30 * SECOND)
    other.event("llm", "told", at=now() - 20 * SECOND, model="m", cost="0.5")
    other.event("llm", "untold", at=now() - 10 * SECOND, model="m", prompt_tokens=3)
    other.end("Success", at=now())
    other.send()
    text = get(f"/compare?ids={one.program.session},{other.session}").text
    assert "<bdi>$0.0123</bdi>" in text
    assert "<bdi>at least $0.50</bdi>" in text


def test_siblings_alike_are_told_apart_by_their_order(get: Get, program: Programs) -> None:
    """
    The second call of a tool stands beside the second call, of up to four sessions.
    """
    runs = []
    for steps in (2, 3, 1):
        run = program()
        begin(run, f"{steps} steps", at=now() - SECOND)
        for number in range(steps):
            at = now() - SECOND + number * MILLISECOND
            run.event("tool", "step", at=at, params={"n": number})
        run.end("Success", at=now())
        run.send()
        runs.append(run.session)
    text = get(f"/compare?ids={','.join(runs)}").text
    rows = text.split('<tr id="step-')[1:]
    assert ["word params" in row for row in rows] == [False] * 3
    assert [row.count("not here") for row in rows] == [0, 1, 2]
    assert "only in A B" in rows[1]


def test_long_sessions_are_compared_page_by_page(get: Get, program: Programs) -> None:
    """
    Every step is on exactly one page; which are different is counted over all.
    """
    runs = []
    for changed in (None, 270):
        run = program()
        begin(run, "long", at=now() - SECOND)
        for number in range(300):
            given = {"n": -1 if number == changed else number}
            run.event("tool", f"step {number}", at=now(), params=given)
        run.send()
        runs.append(run.session)
    address = f"/compare?ids={','.join(runs)}"
    first = get(address).text
    following = first.split('rel="next" href="')[1].split('"')[0].replace("&amp;", "&")
    second = get(following).text
    assert 'rel="next"' not in second
    for number in range(300):
        shown = [f"<bdi>step {number}</bdi>" in text for text in (first, second)]
        assert shown == [number < 250, number >= 250]
    assert "Different 1<" in first
    assert get(f"{address}&only=differences").text.count('<tr id="step-') == 1


def test_what_cannot_be_compared_is_said(get: Get, program: Programs) -> None:
    """
    One session is not enough, five are too many, one that is not there is not found.
    """
    one = answer(program(), at=now()).program.session
    assert "Choose two to four sessions" in get("/compare").text
    assert get(f"/compare?ids={one}").status_code == 400
    assert get(f"/compare?ids={one},{one}").status_code == 400
    assert get(f"/compare?ids={one},a,b,c,d").status_code == 400
    assert get(f"/compare?ids={one},nobody").status_code == 404


def test_from_the_list_to_a_difference_by_keys(window: Window, program: Programs) -> None:
    """
    j, x, j, x, c: two sessions side by side; a step unfolds to its words, and back.
    """
    names = ("<img src=x onerror=__xss(1)>", "breakdown")
    answer(program(), at=now() - 60 * SECOND, name=names[0])
    breakdown(program(), at=now() - 30 * SECOND, name=names[1])
    page = window.open("/")
    expect(page.locator("#compare button")).to_be_disabled()
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#keys")).not_to_be_visible()
    for key in "jxjxkj":
        page.keyboard.press(key)
    expect(page.locator("tr:has(.pick:checked)")).to_have_count(2)
    expect(page.locator("#picked")).to_have_text(" 2")
    assert page.evaluate("document.activeElement.textContent") == names[0]
    page.keyboard.press("c")
    expect(page.locator(".heads thead a")).to_have_text([names[1], names[0]])
    page.get_by_role("link", name="planner").first.click()
    expect(page.locator(".opened")).to_be_visible()
    page.go_back()
    page.go_back()
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_contain_text(names[1])


def test_columns_and_views_are_kept(window: Window, program: Programs) -> None:
    """
    Columns are chosen and stay; a view gets a name, leads back, and is forgotten.
    """
    answer(program(), at=now() - 60 * SECOND)
    breakdown(program(), at=now() - 30 * SECOND)
    page = window.open("/?state=Success")
    page.locator(".columns summary").click()
    page.get_by_label("Models", exact=True).check()
    expect(page.locator("th", has_text="Models")).to_be_visible()
    assert "column=models" in page.url
    assert "state=Success" in page.url
    expect(page.locator(".c-models")).to_have_text(["gpt-5-mini"])
    at_work(page)
    page.locator("#save-view").click()
    page.get_by_label("Name", exact=True).fill("<b>mine</b>")
    page.keyboard.press("Enter")
    page.goto(window.url + "/")  # the columns are the usual ones now
    expect(page.locator("th", has_text="Models")).to_be_visible()
    expect(page.locator("tbody tr")).to_have_count(2)
    page.get_by_role("link", name="<b>mine</b>").click()
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.locator("span.view[aria-current]")).to_contain_text("<b>mine</b>")
    page.get_by_role("button", name="Forget the view <b>mine</b>").click()
    expect(page.locator("span.view")).to_have_count(0)
