"""
One session's page: its head, its timeline, the detail of an event, that it lives.
"""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import Page, expect
from processes import least
from programs import MILLISECOND, SECOND, Get, Programs, now
from stories import answer, begin, breakdown
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


# -- the head --


def test_the_head_tells_everything_about_the_session(get: Get, program: Programs) -> None:
    """
    Name, id, project, state, reason, tags, times, duration, cost, tokens, counts, host, video.
    """
    story = answer(program(), at=now() - 60 * SECOND, tags=("v1",))
    story.program.film("https://example.org/run.mp4", at=now())
    story.program.send()
    text = get(story.path).text
    for shown in (
        "answer", story.program.session, "default", "Success", "answered", "v1", "4.00 s",
        "$0.0123", "said by the provider", "5 <small>",
        "1,200 in (1,000 cached), 34 out (12 reasoning)",
        "2 agents, 1 LLM call, 1 tool call, 1 action", "Process 4242", "asyncops 0.1.0", "6.8.0",
    ):  # fmt: skip
        assert shown in text
    assert '<a href="https://example.org/run.mp4" rel="noopener noreferrer"' in text
    assert f'href="/api/sessions/{story.program.session}"' in text


def test_a_video_is_asked_for_when_somebody_plays_it(window: Window, program: Programs) -> None:
    """
    Nothing of it is fetched before, and then from nowhere but its origin; what looks like markup in
    its address stays an address.
    """
    one = program()
    begin(one, "filmed", at=now())
    address = "https://videos.example/run%201/a.WEBM?x=\"'><b onclick=__xss('video')>&amp;#t=2"
    one.film(address.replace(" ", "+"), at=now())
    one.end("Success", at=now())
    one.send()
    page = window.open(f"/sessions/{one.session}?view=tree")
    page.context.route("https://*.example/**", lambda route: route.fulfill(body=""))
    video = page.locator("#video video")
    expect(video).to_be_hidden()
    page.locator("#video > summary").click()
    expect(video).to_be_visible()
    expect(page.locator("#video")).to_contain_text("https://videos.example")
    assert video.evaluate("(it) => it.readyState") == 0
    assert window.faults == []
    with page.expect_request("https://videos.example/run%201/a.WEBM?**") as asked:
        video.focus()
        page.keyboard.press("Space")
    assert asked.value.resource_type == "media"
    page.wait_for_function("() => document.querySelector('#video video').error")  # it is empty
    elsewhere = [fault for fault in window.faults if fault.startswith("request to elsewhere:")]
    assert len(elsewhere) == 1
    page.evaluate(
        "new Promise((end) => { addEventListener('securitypolicyviolation', end);"
        " new Audio('https://others.example/a.mp4').load(); })"
    )
    assert "against the policy: media-src" in window.faults[-1]
    window.faults.clear()


def test_a_computed_cost_names_its_price_table(get: Get, program: Programs) -> None:
    """
    Where the cost comes from is said, and how many calls did not tell it.
    """
    from asyncops._events import Cost

    one = program()
    begin(one, "priced", at=now())
    one.event("llm", "a", at=now(), cost=Cost("0.1", source="computed", table="prices 2026-11"))
    one.event("llm", "b", at=now())
    one.send()
    text = get(f"/sessions/{one.session}").text
    assert "computed from prices 2026-11: 1 call; unknown: 1 call" in text
    assert "at least" in text


def test_a_session_tells_who_said_its_costs_of_all_its_events(get: Get, program: Programs) -> None:
    """
    Prices of several sources are told apart, however late in a long session they come.
    """
    from asyncops._events import Cost

    one = program()
    begin(one, "long", at=now())
    for number in range(2_100):
        one.event("action", f"step {number}", at=now())
    one.event("llm", "a", at=now(), cost="0.1")
    one.event("llm", "b", at=now(), cost="0.1")
    one.event("llm", "c", at=now(), cost=Cost("0.1", source="computed", table="p.toml sha256:0a"))
    one.event("llm", "d", at=now(), cost=Cost("7", currency="EUR"))
    one.send()
    text = get(f"/sessions/{one.session}").text
    assert "said by the provider: 2 calls; computed from your p.toml sha256:0a: 1 call" in text
    assert "said by the provider, in EUR, which is not added up: 1 call" in text


def test_a_refused_call_shows_no_unknown_cost(get: Get, program: Programs) -> None:
    """
    What the provider refused cost nothing that is missing; what nobody has a price for did.
    """
    from asyncops._events import Failure

    one = program()
    begin(one, "refused", at=now())
    failure = Failure(type="HTTPStatusError", message="429 Too Many Requests: slow down")
    refused = one.event("llm", "a", at=now(), model="m", state="Fail", failure=failure)
    one.send()
    session = f"/sessions/{one.session}"
    # until it has ended, another call may be open that does cost something
    assert "no call has told yet" in get(session).text
    assert "Providers refused" not in get(session).text
    one.end("Fail", at=now(), failure=failure)
    one.send()
    for shown in ("nothing was used", 'title="Providers refused all calls.">none</span>'):
        assert shown in get(session).text
    text = get(f"{session}?event={refused}").text
    assert 'none <span class="note">the provider refused the call' in text
    assert text.count('<td class="num">none</td>') == 1
    assert get(f"{session}/timeline.json").json()["other_cost"] == {"0": "none"}
    unknown = one.event("llm", "b", at=now(), model="m", prompt_tokens=3)
    one.send()
    assert "unknown: 1 call" in get(session).text
    assert "nobody knows what this call cost" in get(f"{session}?event={unknown}").text


def test_tool_calls_lead_to_each_other(get: Get, program: Programs) -> None:
    """
    A model's call links to the tools that carried its calls out, and each of them back.
    """
    one = program()
    begin(one, "linked", at=now())
    asks = one.event("llm", "asks <b>", at=now(), tool_call_ids=("call_1", "call_<2>"))
    search = one.event("tool", "search <i>", at=now(), tool_call_id="call_1")
    stray = one.event("tool", "stray", at=now(), tool_call_id="call_9")
    one.send()
    session = f"/sessions/{one.session}"
    text = get(f"{session}?event={asks}").text
    assert f'href="{session}?event={search}" data-event="{search}" title="call_1"' in text
    assert "<bdi>search &lt;i&gt;</bdi>" in text
    assert "<code>call_&lt;2&gt;</code>" in text
    text = get(f"{session}?event={search}").text
    assert f'href="{session}?event={asks}" data-event="{asks}"' in text
    assert "<bdi>asks &lt;b&gt;</bdi>" in text
    assert "asked for by" not in get(f"{session}?event={stray}").text


def test_one_click_leads_from_a_call_to_its_tool_and_back(
    window: Window, program: Programs
) -> None:
    """
    The links of the panel select the other event, without the page being loaded anew.
    """
    one = program()
    begin(one, "linked", at=now())
    asks = one.event("llm", "asks", at=now(), tool_call_ids=("call_1",))
    one.event("tool", "search", at=now(), tool_call_id="call_1")
    one.send()
    page = window.open(f"/sessions/{one.session}?event={asks}")
    detail = page.locator("#detail")
    detail.get_by_role("link", name="search").click()
    expect(detail.locator("h2")).to_contain_text("search")
    detail.get_by_role("link", name="asks").click()
    expect(detail.locator("h2")).to_contain_text("asks")


def test_missing_records_are_said_plainly(get: Get, program: Programs) -> None:
    """
    A hole in a source's numbers is told in the session's head, with the reason, and in the list.
    """
    story = breakdown(program(), at=now())
    head = get(story.path).text
    assert "1 record is missing:</strong> 1 could not be read back, or never arrived." in head
    assert "1 record missing" in get("/").text


def test_the_failure_of_a_session_shows_its_chain(get: Get, program: Programs) -> None:
    """
    Type, message, traceback and cause of what ended the session, and where it was raised.
    """
    story = breakdown(program(), at=now())
    text = get(story.path).text
    assert "RuntimeError" in text
    assert "no table &#39;widgets&#39;" in text
    assert "in look_up" in text
    assert "caused by" in text
    assert "KeyError" in text
    assert f"?event={story.events['query']}" in text


def test_what_was_open_when_the_process_died_is_named(get: Get, program: Programs) -> None:
    """
    An Indeterminate session lists the events nobody closed, and for how long they were open.
    """
    one = program()
    start = now() - 100 * SECOND
    begin(one, "killed", at=start)
    agent = one.open("agent", "worker", at=start, agent="worker")
    one.event("tool", "done before", at=start, parent_id=agent)
    one.open("tool", "slow fetch", at=start + 10 * SECOND, parent_id=agent, agent="worker")
    one.end(
        "Indeterminate", at=start + 20 * SECOND, reason="process died (SIGKILL)", said_by="adopter"
    )
    one.send()
    text = get(f"/sessions/{one.session}").text
    told = text[text.index('id="still-open"') :]
    told = told[: told.index("</div></div>")]
    assert "Nobody could say how this session ended." in told
    assert "process died (SIGKILL)" in text
    assert "worker" in told
    assert "slow fetch" in told
    assert "tool of <bdi>worker</bdi>, open for 10.0 s" in told
    assert "done before" not in told


def test_a_session_that_does_not_exist_is_a_page(get: Get) -> None:
    """
    A wrong address is answered with a page, not with JSON.
    """
    answer = get("/sessions/0190b0d4-0000-7000-8000-000000000000")
    assert answer.status_code == 404
    assert "There is no session 0190b0d4-0000-7000-8000-000000000000" in answer.text
    assert "<html" in answer.text


# -- without a script --


def test_the_events_are_a_list_where_there_is_no_script(get: Get, program: Programs) -> None:
    """
    The page itself holds the events, nested, with their failures and links to their detail.
    """
    story = breakdown(program(), at=now())
    plain = get(story.path).text.split("<noscript>")[1].split("</noscript>")[0]
    assert plain.index("<bdi>work</bdi>") < plain.index("<bdi>query</bdi>")
    assert plain.index("<bdi>query</bdi>") < plain.index("<bdi>bad rows</bdi>")
    assert f'href="?event={story.events["query"]}"' in plain
    assert "RuntimeError: no table" in plain


def test_a_long_list_without_a_script_has_pages(get: Get, program: Programs) -> None:
    """
    Each of 700 events is on one of three pages.
    """
    one = program()
    begin(one, "long", at=now())
    for number in range(700):
        one.event("tool", f"step {number}.", at=now())
    one.send()
    path, seen, pages = f"/sessions/{one.session}", 0, 0
    while path:
        text = get(path).text
        seen += sum(f"step {number}.</bdi>" in text for number in range(700))
        pages += 1
        following = text.split('<a href="?after=')
        path = (
            f"/sessions/{one.session}?after={following[1].split(chr(34))[0]}"
            if following[1:]
            else ""
        )
    assert (pages, seen) == (3, 700)


def test_a_session_reads_without_a_script(window: Window, program: Programs) -> None:
    """
    With scripts off, a click on an event in the list opens its detail.
    """
    story = answer(program(), at=now())
    page = window.open(story.path, script=False)
    page.get_by_role("link", name="search").click()
    expect(page.locator("#detail h2")).to_contain_text("search")
    expect(page.locator("#detail")).to_contain_text("asyncio.taskgroups")
    expect(page.locator(".plain tbody tr")).to_have_count(5)


# -- the timeline --


def test_the_timeline_nests_events_below_their_parents(window: Window, program: Programs) -> None:
    """
    Rows stand parent before child, siblings by start, with level, duration, tokens and cost.
    """
    story = answer(program(), at=now())
    page = window.open(story.path)
    expect(page.locator(".row")).to_have_count(5)
    assert names(page) == ["planner", "ask", "search", "writer", "publish"]
    assert row(page, "ask").get_attribute("aria-level") == "2"
    expect(row(page, "ask")).to_contain_text("1.00 s")
    expect(row(page, "ask")).to_contain_text("1,234")
    expect(row(page, "ask")).to_contain_text("$0.0123")
    expect(row(page, "ask")).to_contain_text("gpt-5-mini")


def test_bars_lie_on_one_time_axis(window: Window, program: Programs) -> None:
    """
    A bar begins and ends where its event did, in proportion to the session.
    """
    story = answer(program(), at=now())
    page = window.open(story.path)
    boxes = {
        name: row(page, name).locator(".bar").bounding_box()
        for name in ("planner", "ask", "writer")
    }
    column = row(page, "ask").locator(".c-bar").bounding_box()
    for name, start, length in (("planner", 0, 0.75), ("ask", 0.25, 0.25), ("writer", 0.75, 0.25)):
        assert boxes[name]["x"] - column["x"] == pytest.approx(start * column["width"], abs=2)
        assert boxes[name]["width"] == pytest.approx(length * column["width"], abs=2)


def test_orphans_circles_and_strangers_all_show(window: Window, program: Programs) -> None:
    """
    An event whose parent is missing, itself, or in a circle with it, stands at the top or below.
    """
    one = program()
    begin(one, "odd", at=now())
    one.event("tool", "orphan", at=now(), parent_id="00000000deadbeef")
    one.event(
        "tool", "own parent", at=now() + 1_000, id="000000000000000a", parent_id="000000000000000a"
    )
    one.event("tool", "hen", at=now() + 2_000, id="000000000000000b", parent_id="000000000000000c")
    one.event("tool", "egg", at=now() + 3_000, id="000000000000000c", parent_id="000000000000000b")
    one.send()
    page = window.open(f"/sessions/{one.session}")
    expect(page.locator(".row")).to_have_count(4)
    assert sorted(names(page)) == ["egg", "hen", "orphan", "own parent"]


def test_the_keyboard_walks_folds_and_opens(window: Window, program: Programs) -> None:
    """
    Arrows move and fold, Enter opens the detail, Escape closes it.
    """
    story = answer(program(), at=now())
    page = window.open(story.path)
    grid = page.locator("#grid")
    expect(page.locator(".row")).to_have_count(5)
    grid.focus()
    grid.press("ArrowLeft")
    assert names(page) == ["planner", "writer", "publish"]
    assert row(page, "planner").get_attribute("aria-expanded") == "false"
    grid.press("ArrowRight")
    assert len(names(page)) == 5
    grid.press("ArrowRight")
    assert page.locator(".row.current .name").text_content() == "ask"
    assert grid.get_attribute("aria-activedescendant") == f"row-{story.events['ask']}"
    grid.press("Enter")
    expect(page.locator("#detail h2")).to_contain_text("ask")
    assert page.url.endswith(story.event_path("ask"))
    grid.press("ArrowDown")
    expect(page.locator("#detail h2")).to_contain_text("search")
    assert page.url.endswith(story.event_path("search"))
    grid.press("End")
    assert page.locator(".row.current .name").text_content() == "publish"
    grid.press("Escape")
    expect(page.locator("#detail")).to_be_hidden()
    assert page.url.endswith(story.path)


SHIFTED = """
new Promise((resolve) => {
  let sum = 0;
  new PerformanceObserver((list) => {
    for (const shift of list.getEntries()) {
      sum += shift.sources.some(({node}) => node?.closest?.("main")) ? shift.value : 0;
    }
  }).observe({type: "layout-shift", buffered: true});
  requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(() => resolve(sum), 50)));
})
"""
"""
How far what was drawn below the header has moved since the page opened.
"""


def test_nothing_moves_as_an_event_opens_by_its_address(window: Window, program: Programs) -> None:
    """
    The detail has its place beside the timeline before that is drawn.
    """
    one = program()
    begin(one, "one call", at=now() - SECOND)
    said = [{"role": "user", "content": "a text as long as a line and a half " * 3}] * 3
    asked = one.event("llm", "ask", at=now() - SECOND, model="m", prompt=said)
    one.end("Success", at=now())
    one.send()

    def shifted() -> float:
        page = window.open(f"/sessions/{one.session}?event={asked}")
        expect(page.locator(".row")).to_have_count(1)
        moved: float = page.evaluate(SHIFTED)
        return moved

    # a browser that has to wait in the midst of a page draws what it has read of it by then, such
    # as a <details> before its <summary>: on a busy machine that may be often, but not each time
    assert least(shifted, within=0) == 0


def test_ten_thousand_events_stay_quick(window: Window, program: Programs) -> None:
    """
    A session of 10,000 events paints within a second, holds few rows, and scrolls to any of them.
    """
    one = program()
    start = now() - 100 * SECOND
    begin(one, "large", at=start)
    root = one.new_id()
    for number in range(9_999):
        at = start + number * 10 * MILLISECOND
        one.event("tool", f"step {number}", at=at, lasts=8 * MILLISECOND, parent_id=root)
    one.event("agent", "worker", at=start, lasts=100 * SECOND, id=root)
    one.end("Success", at=start + 100 * SECOND)
    one.send()
    pages: list[Page] = []

    def drawn_after() -> float:
        pages.append(window.open(f"/sessions/{one.session}"))
        expect(row(pages[-1], "step 3")).to_be_visible()
        millis: float = pages[-1].evaluate("performance.now()")
        return millis

    # far below on a machine that does nothing else
    assert least(drawn_after, within=3_000) <= 3_000
    page = pages[-1]
    assert page.locator(".row").count() < 100
    page.locator("#grid").focus()
    page.locator("#grid").press("End")
    expect(row(page, "step 9998")).to_be_visible()
    assert page.locator(".row").count() < 100
    page.locator("#grid").evaluate(
        "(e) => { e.scrollTop = 5000 * e.querySelector('.row').offsetHeight; }"
    )
    expect(row(page, "step 5000")).to_be_visible()
    assert page.locator(".row").count() < 100

    def frame_takes() -> float:
        millis: float = page.evaluate(
            """async () => {
                const grid = document.getElementById("grid");
                const began = performance.now();
                for (let i = 0; i < 25; i++) {
                    grid.scrollTop = i * 10000;
                    await new Promise(requestAnimationFrame);
                }
                return (performance.now() - began) / 25;
            }"""
        )
        return millis

    assert least(frame_takes, within=100) <= 100  # 17 where nothing else runs


def test_the_axis_fits_what_is_in_view(window: Window, program: Programs) -> None:
    """
    With one click short events far inside a long session get bars one can read.
    """
    one = program()
    start = now() - 3_600 * SECOND
    begin(one, "sparse", at=start)
    for number in range(200):
        one.event("tool", f"step {number}", at=start + number * 18 * SECOND, lasts=9 * SECOND)
    one.end("Success", at=start + 3_600 * SECOND)
    one.send()
    page = window.open(f"/sessions/{one.session}")
    bar = row(page, "step 3").locator(".bar")
    narrow = bar.bounding_box()["width"]
    page.get_by_role("button", name="Fit rows in view").click()
    assert bar.bounding_box()["width"] > 4 * narrow


# -- an event --


def test_an_event_shows_in_detail_when_it_is_clicked(window: Window, program: Programs) -> None:
    """
    Params, returns and tool call of a tool; back returns to where one was.
    """
    story = answer(program(), at=now())
    page = window.open(story.path)
    row(page, "search").click()
    detail = page.locator("#detail")
    for shown in ("search", "1.00 s", "2.00 s into the session", "planner", "call_1"):
        expect(detail).to_contain_text(shown)
    expect(detail).to_contain_text('query: "task group", limit: 5')
    expect(detail).to_contain_text("11.2")
    page.go_back()
    expect(detail).to_be_hidden()


def test_a_call_of_a_model_reads_as_a_chat(window: Window, program: Programs) -> None:
    """
    Who said what, which tool was called with what, tokens, cost and its source, first token.
    """
    story = answer(program(), at=now())
    page = window.open(story.path)
    row(page, "ask").click()
    turns = page.locator(".turn")
    expect(turns).to_have_count(3)
    assert turns.locator(".role").all_text_contents() == ["system", "user", "assistant"]
    expect(turns.nth(1)).to_contain_text("How do I cancel a task group?")
    expect(turns.nth(2)).to_contain_text("calls search")
    expect(turns.nth(2)).to_contain_text('query: "task group"')
    detail = page.locator("#detail")
    for shown in (
        "gpt-5-mini", "by openai", "$0.0123", "said by the provider", "1,200 in", "1,000 cached",
        "34 out", "12 reasoning", "after 300 ms",
    ):  # fmt: skip
        expect(detail).to_contain_text(shown)


def test_what_was_not_kept_is_told_in_words(window: Window, program: Programs) -> None:
    """
    Images by type and size, texts by size and hash, vectors by number; and of tokens that nobody
    told of nothing is said. A hash as long as it is stays within a phone's window.
    """
    one = program()
    begin(one, "kept short", at=now())
    marker = {"$media": "image/png", "size": 48_211, "sha256": 64 * "a"}
    image = {"type": "image_url", "image_url": {"url": marker}}
    hashed = {"role": "user", "$hashed": f"sha256:{64 * 'b'}", "size": 1_234}
    look = one.event("llm", "look", at=now(), prompt=[hashed, {"role": "user", "content": [image]}])
    embed = one.event(
        "llm", "embed", at=now(), prompt=["a", "b"], prompt_tokens=8,
        completion={"embeddings": 2, "dimensions": 1_536},
    )  # fmt: skip
    one.send()

    page = window.open(f"/sessions/{one.session}?event={look}", width=390)
    detail = page.locator("#detail")
    expect(detail).to_contain_text(f"1,234 characters, not kept: sha256:{64 * 'b'}")
    expect(detail.locator("summary", has_text="image/png")).to_have_text(
        "image/png, 47.1 KiB, not shown"
    )
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0

    page.goto(f"{window.url}/sessions/{one.session}?event={embed}")
    expect(detail).to_contain_text("2 vectors of 1,536 numbers, not kept")
    tokens = detail.locator("dt:text-is('Tokens') + dd")
    expect(tokens).to_have_text("8 in")


def test_a_deep_link_opens_its_event(window: Window, program: Programs) -> None:
    """
    The address of an event shows it selected, brought into view, with everything above unfolded.
    """
    one = program()
    begin(one, "long", at=now())
    for number in range(400):
        one.event(
            "tool", f"step {number}", at=now() + number * MILLISECOND, id=f"{number + 1:016x}"
        )
    one.send()
    page = window.open(f"/sessions/{one.session}?event={300:016x}")
    expect(page.locator("#detail h2")).to_contain_text("step 299")
    expect(row(page, "step 299")).to_be_in_viewport()
    expect(row(page, "step 299")).to_have_attribute("aria-selected", "true")


def test_a_failed_event_shows_why_and_what_it_triggered(window: Window, program: Programs) -> None:
    """
    The row is marked; the detail has traceback and cause; an error links to what brought it about.
    """
    story = breakdown(program(), at=now())
    page = window.open(story.path)
    expect(row(page, "query")).to_have_class("row failed")
    expect(row(page, "query").locator(".mark")).to_contain_text("failed")
    row(page, "bad rows").click()
    detail = page.locator("#detail")
    for shown in (
        "ExceptionGroup",
        "in the group",
        "row 1 is empty",
        "TypeError",
        "row 2 is a list",
    ):
        expect(detail).to_contain_text(shown)
    detail.get_by_role("link", name="query").click()
    expect(page.locator("#detail h2")).to_contain_text("query")
    expect(detail).to_contain_text("in look_up")
    expect(detail).to_contain_text("caused by KeyError")
    assert page.url.endswith(story.event_path("query"))


def test_what_one_folds_stays_folded_at_the_next_event(window: Window, program: Programs) -> None:
    """
    A part of the detail that was folded stays so for other events; the other parts stay open.
    """
    one = program()
    begin(one, "two", at=now())
    one.event("tool", "well", at=now(), params={"a": 1}, returns=2)
    one.event("tool", "silent", at=now(), returns=3)
    one.send()
    page = window.open(f"/sessions/{one.session}")
    row(page, "well").click()
    page.locator("[data-part=params] > summary").click()
    row(page, "silent").click()
    expect(page.locator("[data-part=params]")).to_have_count(0)
    expect(page.locator("[data-part=returns]")).to_have_attribute("open", "")
    row(page, "well").click()
    expect(page.locator("[data-part=params]")).not_to_have_attribute("open", "")
    expect(page.locator("[data-part=returns]")).to_have_attribute("open", "")


def test_an_event_that_is_not_there_says_so(get: Get, program: Programs) -> None:
    """
    A link to an event that never arrived leads to the session and says what is missing.
    """
    story = answer(program(), at=now())
    page = get(f"{story.path}?event=00000000deadbeef")
    assert page.status_code == 200
    assert "There is no event <code>00000000deadbeef</code>" in page.text
    assert get(f"{story.path}/events/00000000deadbeef").status_code == 404
    assert get(f"{story.path}/events/00000000deadbeef.json").status_code == 404


def test_an_event_has_a_twin_in_json(get: Get, program: Programs) -> None:
    """
    What the detail shows is there as JSON, whole.
    """
    story = answer(program(), at=now())
    twin = get(f"{story.path}/events/{story.events['search']}.json").json()
    assert twin["params"] == {"query": "task group", "limit": 5}
    assert twin["name"] == "search"


# -- living --


def test_events_appear_while_the_session_runs(window: Window, program: Programs) -> None:
    """
    An open page shows new events, closes open ones, and tells the end, without being reloaded.
    """
    one = program()
    begin(one, "live", at=now())
    agent = one.open("agent", "worker", at=now(), agent="worker")
    one.send()
    page = window.open(f"/sessions/{one.session}")
    page.evaluate("window.untouched = true")
    expect(row(page, "worker").locator(".bar")).to_have_class("bar kind-agent open")
    row(page, "worker").click()
    expect(page.locator("#detail")).to_contain_text("still running")
    page.locator("#hosts summary").click()

    one.event("tool", "first", at=now(), parent_id=agent)
    one.send()
    expect(row(page, "first")).to_be_visible()
    expect(page.locator(".facts")).to_contain_text("1 tool call")
    one.event(
        "agent", "worker", at=now(), lasts=SECOND, id=agent, agent="worker", returns="done well"
    )
    one.end("Success", at=now() + SECOND)
    one.send()
    expect(row(page, "worker").locator(".bar")).to_have_class("bar kind-agent")
    expect(page.locator("#detail")).to_contain_text("done well")
    expect(page.locator("#head .state").first).to_have_text("Success")
    assert page.evaluate("window.untouched") is True
    assert page.locator("#hosts").get_attribute("open") is not None  # as it was unfolded


def test_what_arrives_out_of_view_is_counted(window: Window, program: Programs) -> None:
    """
    Who reads the beginning is told how many events are new at the end, and is led there; who reads
    the end sees them and is told nothing.
    """
    one = program()
    begin(one, "live", at=now())
    for number in range(60):
        one.event("tool", f"early {number}", at=now())
    one.send()
    page = window.open(f"/sessions/{one.session}")
    expect(row(page, "early 0")).to_be_visible()
    news = page.locator("#fresh")
    expect(news).to_be_hidden()
    for number in range(2):
        one.event("tool", f"late {number}", at=now())
    one.send()
    expect(news).to_have_text("2 new")
    expect(row(page, "early 0")).to_be_in_viewport()
    news.click()
    expect(row(page, "late 0")).to_be_in_viewport()
    expect(news).to_be_hidden()
    page.locator("#grid").press("End")
    one.event("tool", "last", at=now())
    one.send()
    expect(row(page, "last")).to_be_in_viewport()
    expect(news).to_be_hidden()


def test_an_open_event_of_a_dead_session_is_marked(window: Window, program: Programs) -> None:
    """
    What nobody closed is told apart from what still runs.
    """
    one = program()
    begin(one, "killed", at=now() - 9 * SECOND)
    one.open("tool", "fetch", at=now() - 9 * SECOND)
    one.end("Indeterminate", at=now(), reason="process died", said_by="adopter")
    one.send()
    page = window.open(f"/sessions/{one.session}")
    expect(row(page, "fetch").locator(".mark")).to_contain_text("still open when the session ended")
    page.locator("#still-open").get_by_role("link", name="fetch").click()
    expect(page.locator("#detail")).to_contain_text("never closed")


def test_the_timeline_tells_only_what_is_new(get: Get, program: Programs) -> None:
    """
    Asked for what came after a position, it holds the new events and names their parents.
    """
    one = program()
    begin(one, "live", at=now())
    parent = one.event("action", "old", at=now())
    one.send()
    first = get(f"/sessions/{one.session}/timeline.json").json()
    one.event("tool", "new", at=now(), parent_id=parent)
    one.send()
    second = get(f"/sessions/{one.session}/timeline.json?after={sum(first['seqs'])}").json()
    assert second["names"] == ["new"]
    ids = second["ids"]
    below = 0 - second["parents"][0]
    prefix = ids["begins"][ids["begin"][below]]
    assert prefix + f"{sum(ids['ends'][: below + 1]):08x}" == parent
    assert len(json.dumps(second)) < 1_000


# -- every size --


@pytest.mark.parametrize("width", [390, 1440])
def test_no_page_is_wider_than_the_window(window: Window, program: Programs, width: int) -> None:
    """
    Nothing sticks out on a phone or on a wide screen, in light or dark.
    """
    story = breakdown(program(), at=now(), name="a name that is long " * 20)
    answer(program(), at=now())
    page = window.open("/", width=width)
    for path in ("/", story.path, story.event_path("query"), "/overview", "/sign-in?next=/"):
        page.goto(window.url + path)
        for scheme, ground in (("light", "rgb(246, 247, 248)"), ("dark", "rgb(16, 17, 20)")):
            page.emulate_media(color_scheme=scheme)
            root = "document.documentElement"
            assert page.evaluate(f"getComputedStyle({root}).backgroundColor") == ground
            assert page.evaluate(f"{root}.scrollWidth - innerWidth") <= 0, path


def test_on_a_phone_the_detail_lies_over_the_page(window: Window, program: Programs) -> None:
    """
    The selected event fills a small window and can be closed.
    """
    story = answer(program(), at=now())
    page = window.open(story.path, width=390, height=844)
    row(page, "search").click()
    detail = page.locator("#detail")
    expect(detail).to_contain_text("asyncio.taskgroups")
    assert detail.bounding_box()["width"] == 390
    detail.get_by_title("Close (Escape)").click()
    expect(detail).to_be_hidden()
    expect(row(page, "search")).to_be_visible()
