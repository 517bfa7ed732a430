"""
The list of sessions: what it shows, how it filters, that it lives.
"""

from __future__ import annotations

import httpx
from playwright.sync_api import expect
from programs import SECOND, Get, Programs, now
from stories import answer, begin, breakdown
from windows import Window


def test_an_empty_list_says_what_to_type(get: Get) -> None:
    """
    Who has no session yet reads the program that makes the first one.
    """
    text = get("/").text
    assert "No sessions yet" in text
    assert "async with asyncops.session(" in text
    assert "asyncops demo" in text


def test_the_list_tells_each_session_in_full(get: Get, program: Programs) -> None:
    """
    State, name, id, tags, start, duration, cost, tokens, events and errors are in the page itself.
    """
    story = answer(program(), at=now() - 90 * SECOND, tags=("v1", "nightly"))
    text = get("/").text
    for shown in (
        "Success",
        "answer",
        story.program.session,
        "v1",
        "nightly",
        "1 min ago",
        "4.00 s",
    ):
        assert shown in text
    assert "$0.0123" in text
    assert "1,200 in, 34 out" in text
    assert 'title="20' in text  # the exact time


def test_a_cost_nobody_told_is_unknown_and_a_partly_told_one_is_a_minimum(
    get: Get, program: Programs
) -> None:
    """
    The list never shows zero for what it does not know.
    """
    silent = program()
    begin(silent, "silent", at=now())
    silent.event("llm", "ask", at=now(), model="m")
    silent.send()
    assert "unknown</span>" in get("/").text
    assert "$0<" not in get("/").text
    silent.event("llm", "ask again", at=now(), model="m", cost="0.5")
    silent.send()
    text = get("/").text
    assert "at least" in text
    assert "$0.50" in text


def test_filters_combine_and_live_in_the_address(get: Get, program: Programs) -> None:
    """
    A filtered list shows just what matches, without a script.
    """
    answer(program(), at=now() - 60 * SECOND, tags=("v1",))
    breakdown(program(), at=now() - 30 * SECOND)
    for query, found in (
        ("state=Fail", {"breakdown"}),
        ("state=Fail&state=Success", {"breakdown", "answer"}),
        ("tag=v1", {"answer"}),
        ("agent=planner", {"answer"}),
        ("model=gpt-5-mini", {"answer"}),
        ("model=gpt-5-mini&state=Fail", set()),
        ("q=widgets", {"breakdown"}),
        ("min_cost=0.01", {"answer"}),
        ("min_cost=5", set()),
        ("since=2100-01-01", set()),
        ("until=2100-01-01", {"breakdown", "answer"}),
        ("name=ANS", {"answer"}),
        ("error=no+table", {"breakdown"}),
        ("fingerprint=RuntimeError%3A+no+table+%27widgets%27", {"breakdown"}),
        ("missing=1", {"breakdown"}),
        ("min_duration=3&max_duration=5", {"answer"}),
        ("min_errors=1", {"breakdown"}),
        ("min_tokens=1&max_cost=1", {"answer"}),
    ):
        text = get(f"/?{query}").text
        shown = {name for name in ("answer", "breakdown") if f"<bdi>{name}</bdi></a>" in text}
        assert shown == found, query
        assert ("No session matches" in text) == (not found)


def test_what_is_asked_stands_there_in_words(get: Get, program: Programs) -> None:
    """
    Each filter is a chip that leads to the list without it; forms carry on what they do not set.
    """
    answer(program(), at=now())
    text = get("/?state=Success&min_duration=2&missing=1&fingerprint=E%3A+%23&column=cost").text
    for said in ("at least 2 s", "records missing", "error like E: #"):
        assert f"<bdi>{said}</bdi>" in text
    left = "/?state=Success&amp;min_duration=2&amp;missing=1&amp;column=cost"
    assert f'href="{left}" title="Remove this filter"' in text
    assert text.count('<input type="hidden" name="fingerprint" value="E: #">') == 2


def test_running_sessions_stand_on_top(get: Get, program: Programs) -> None:
    """
    One that runs since long ago is above newer ones that ended, and not shown twice.
    """
    old = program()
    begin(old, "long ago", at=now() - 9_000 * SECOND)
    old.send()
    answer(program(), at=now() - 60 * SECOND)
    text = get("/").text
    assert text.index("<bdi>long ago</bdi>") < text.index("<bdi>answer</bdi>")
    assert text.count("<bdi>long ago</bdi>") == 1
    text = get("/?sort=cost").text
    assert text.index("<bdi>answer</bdi>") < text.index("<bdi>long ago</bdi>")


def test_columns_are_chosen_in_the_address(get: Get, http: httpx.Client, program: Programs) -> None:
    """
    The address says which columns there are, else what this browser keeps; unknown ones are none.
    """
    one = program()
    answer(one, at=now())
    helper = program()
    helper.session = one.session
    helper.host = {"os": {"hostname": "lab-1", "name": "Linux"}}
    helper.begin(None, at=now(), inherited=True)
    helper.send()
    text = get("/?column=agents&column=models&column=llms&column=host&column=nonsense").text
    for shown in ("<bdi>planner</bdi>", "<bdi>gpt-5-mini</bdi>", ">LLM calls</th>", "lab-1, Linux"):
        assert shown in text
    assert 'class="c-cost' not in text
    bare = program()
    bare.event("tool", "alone", at=now())
    bare.send()
    assert f'id="session-{bare.session}"' in get("/?column=agents&column=models&column=host").text
    http.cookies.set("asyncops_columns", "cost.nonsense")
    text = get("/").text
    assert 'class="c-cost' in text
    assert 'class="c-tokens' not in text
    assert 'class="c-models' in get("/?column=models").text


def test_the_twin_takes_the_same_query(get: Get, program: Programs) -> None:
    """
    The JSON link carries the page's filters.
    """
    answer(program(), at=now())
    breakdown(program(), at=now())
    assert 'href="/api/sessions?state=Fail&amp;q=widgets"' in get("/?state=Fail&q=widgets").text
    twin = get("/api/sessions?state=Fail&q=widgets").json()
    assert [session["name"] for session in twin["sessions"]] == ["breakdown"]


def test_fields_left_blank_leave_the_address(get: Get) -> None:
    """
    A form sent without a script ends at an address with only what was filled in.
    """
    answer = get("/?q=&state=Fail&tag=&min_cost=", follow=False)
    assert answer.status_code == 303
    assert answer.headers["location"] == "/?state=Fail"


def test_a_filter_that_makes_no_sense_is_said(get: Get) -> None:
    """
    A bad value is answered with a page that names it and keeps the form.
    """
    answer = get("/?min_cost=lots")
    assert answer.status_code == 400
    assert "min_cost must be" in answer.text
    assert 'value="lots"' in answer.text


def test_pages_follow_each_other_without_gap_or_overlap(get: Get, program: Programs) -> None:
    """
    Sixty sessions take two pages, each session on exactly one.
    """
    one = program()
    start = now() - 1_000 * SECOND
    for number in range(60):
        one.session = f"{number:08x}-0000-7000-8000-000000000000"
        begin(one, f"run {number}", at=start + number * SECOND)
    one.send()
    first = get("/").text
    assert "First page" not in first
    following = first.split('rel="next" href="')[1].split('"')[0].replace("&amp;", "&")
    second = get(following).text
    assert 'rel="next"' not in second
    names = [f"run {number}" for number in range(60)]
    assert [f"<bdi>{name}</bdi>" in first for name in names] == [False] * 10 + [True] * 50
    assert [f"<bdi>{name}</bdi>" in second for name in names] == [True] * 10 + [False] * 50


def test_sorting_puts_the_longest_first(get: Get, program: Programs) -> None:
    """
    The head of a column sorts by it.
    """
    answer(program(), at=now() - 20 * SECOND)
    breakdown(program(), at=now() - 10 * SECOND)
    text = get("/?sort=duration").text
    assert text.index("<bdi>answer</bdi>") < text.index("<bdi>breakdown</bdi>")
    text = get("/?sort=errors").text
    assert text.index("<bdi>breakdown</bdi>") < text.index("<bdi>answer</bdi>")
    assert 'aria-sort="descending"><a href="/?sort=errors">' in text


def test_the_first_page_is_small_and_nothing_is_kept_but_static_files(
    get: Get, program: Programs
) -> None:
    """
    Pages are never cached; their static files are, for ever, under an address of their content.
    """
    answer(program(), at=now())
    page = get("/")
    assert page.headers["cache-control"] == "no-store"
    assert "default-src 'self'" in page.headers["content-security-policy"]
    sheet = page.text.split('rel="stylesheet" href="')[1].split('"')[0]
    served = get(sheet)
    assert served.headers["cache-control"] == "public, max-age=31536000, immutable"
    old = get("/static/000000000000/base.css")
    assert old.headers["cache-control"] == "no-store"
    assert get("/static/000000000000/..%2froutes.py").status_code == 404


def test_a_new_session_appears_without_reloading(window: Window, program: Programs) -> None:
    """
    An open list shows a session that begins, and its end, while focus and unfolded filters stay.
    """
    answer(program(), at=now() - 60 * SECOND, name="old")
    page = window.open("/")
    expect(page.locator("#live")).to_have_text("Live")
    page.evaluate("window.untouched = true")
    page.get_by_text("More filters").click()
    page.get_by_role("link", name="old", exact=True).focus()

    newcomer = program()
    begin(newcomer, "newcomer", at=now())
    newcomer.send()
    row = page.locator("tbody tr").first
    expect(row).to_contain_text("newcomer")
    expect(row).to_contain_text("Running")
    newcomer.end("Cancelled", at=now(), reason="SIGINT")
    newcomer.send()
    expect(row).to_contain_text("Cancelled")
    expect(row).to_contain_text("SIGINT")

    assert page.evaluate("window.untouched") is True
    assert page.evaluate("document.activeElement.textContent") == "old"
    assert page.locator(".filters-more").get_attribute("open") is not None


def test_what_one_reads_stays_in_place_while_sessions_arrive(
    window: Window, program: Programs
) -> None:
    """
    A scrolled list does not jump when rows are put in above.
    """
    for number in range(40):
        one = program()
        begin(one, f"run {number}", at=now() - (100 - number) * SECOND)
        one.send()
    page = window.open("/", height=500)
    expect(page.locator("#live")).to_have_text("Live")
    row = page.locator("tr", has_text="run 10")
    row.scroll_into_view_if_needed()
    before = row.bounding_box()
    newcomer = program()
    begin(newcomer, "newcomer", at=now())
    newcomer.send()
    expect(page.locator("tbody tr").first).to_contain_text("newcomer")
    after = row.bounding_box()
    assert before is not None
    assert after is not None
    assert abs(before["y"] - after["y"]) < 2


def test_a_running_session_counts_on(window: Window, program: Programs) -> None:
    """
    The elapsed time of a running session goes on by itself.
    """
    one = program()
    begin(one, "running", at=now() - 5 * SECOND)
    one.send()
    page = window.open("/")
    elapsed = page.locator("[data-elapsed]")
    first = elapsed.text_content()
    expect(elapsed).not_to_have_text(first or "")
    assert (
        page.locator(".state.running .icon").first.evaluate(
            "e => getComputedStyle(e).animationName"
        )
        == "pulse"
    )


def test_names_and_tags_keep_their_room(window: Window, program: Programs) -> None:
    """
    In a narrow window, and with every column there is, names can be read, as the table scrolls; one
    column more than usual still fits a wide one.
    """
    answer(program(), at=now() - 60 * SECOND, tags=("nightly",))
    page = window.open("/", width=1024)
    expect(page.locator("#columns input")).not_to_have_count(0)
    every = page.locator("#columns input").evaluate_all("(all) => all.map((it) => it.value)")
    for path in ("/", "/?" + "&".join(f"column={name}" for name in every)):
        page.goto(window.url + path)
        for column in (".c-name", ".c-tags"):
            place = page.locator(f"tbody {column}").bounding_box()
            assert place is not None
            assert place["width"] >= 100, (path, column)
    page.set_viewport_size({"width": 1440, "height": 900})
    usual = "column=tags&column=started&column=duration&column=cost&column=tokens&column=events"
    page.goto(f"{window.url}/?{usual}&column=errors&column=missing")  # and one more
    frame = page.locator(".table-frame")
    assert frame.evaluate("(it) => it.scrollWidth - it.clientWidth") == 0


def test_filters_are_applied_as_they_are_chosen(window: Window, program: Programs) -> None:
    """
    Clicking a state filters at once, and the address holds just that.
    """
    answer(program(), at=now())
    breakdown(program(), at=now())
    page = window.open("/")
    page.locator(".chip", has_text="Fail").click()
    expect(page.locator("tbody tr")).to_have_count(1)
    assert page.url.endswith("/?state=Fail")
    page.get_by_label("Search").fill("nothing like it")
    page.get_by_label("Search").press("Enter")
    expect(page.get_by_text("No session matches")).to_be_visible()
    assert page.url.endswith("/?q=nothing+like+it&state=Fail")


def test_the_page_comes_back_by_itself_after_the_collector_was_away(
    window, program: Programs, tmp_path
) -> None:
    """
    While the stream is refused the list polls, and says so.
    """
    answer(program(), at=now(), name="first")
    context = window.browser.new_context()
    window.contexts.append(context)
    page = context.new_page()
    page.route("**/api/stream", lambda route: route.fulfill(status=503, body="full"))
    page.goto(window.url)
    expect(page.locator("#live")).to_have_text("Reconnecting")
    answer(program(), at=now(), name="second")
    expect(page.locator("tbody tr")).to_have_count(2)
