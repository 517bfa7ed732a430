"""
The views of a session that the server renders: tree, chat, agents, errors, raw.
"""

from __future__ import annotations

import re

from playwright.sync_api import expect
from programs import MILLISECOND, SECOND, Get, Program, Programs, failure_of, now
from stories import answer, begin, breakdown
from windows import Window

from asyncops.collector.dashboard.session_page import CHAT_CALLS, PLAIN_EVENTS, VIEWS


def text_of(html: str) -> str:
    """
    What a reader sees of the main part of a page, on one line.
    """
    main = re.sub(
        r"<noscript>.*?</noscript>", " ", html.split('<main id="main">')[1], flags=re.DOTALL
    )
    return " ".join(re.sub(r"<[^>]+>", " ", main).replace("&#34;", '"').split())


def test_every_view_has_an_address(get: Get, program: Programs) -> None:
    """
    Tabs are links; the one that shows is marked; views that there are not are not found.
    """
    story = answer(program(), at=now())
    for view, title in VIEWS.items():
        page = get(f"{story.path}?view={view}")
        assert page.status_code == 200
        assert f'aria-current="page">{title}' in page.text.replace("\n", "")
        assert get(f"{story.path}/views/{view}").status_code == 200
    assert get(f"{story.path}?view=nothing").status_code == 404
    empty = program()
    begin(empty, "empty", at=now())
    empty.send()
    for view in VIEWS:
        assert get(f"/sessions/{empty.session}?view={view}").status_code == 200


def talk(program: Program, *, agent: str, start: int, turns: int) -> list[str]:
    """
    An agent that sends its whole history with each call, as all of them do.
    """
    history: list[dict[str, object]] = [{"role": "system", "content": f"You are {agent}."}]
    calls = []
    for turn in range(turns):
        history.append({"role": "user", "content": f"{agent} question {turn}"})
        reply = {"role": "assistant", "content": f"{agent} reply {turn}"}
        calls.append(
            program.event(
                "llm",
                "ask",
                at=start + turn * SECOND,
                lasts=SECOND // 2,
                agent=agent,
                prompt=list(history),
                completion={"choices": [{"message": reply, "finish_reason": "stop"}]},
            )
        )
        history.append(reply)
    return calls


def test_the_chat_says_everything_once(get: Get, program: Programs) -> None:
    """
    Of each call only what is new shows, agent by agent, though the agents talk at the same time;
    a page that begins in the middle knows what was said before it.
    """
    one = program()
    begin(one, "two at once", at=now())
    talk(one, agent="ada", start=now(), turns=CHAT_CALLS - 2)
    talk(one, agent="bob", start=now() + MILLISECOND, turns=4)
    one.send()
    path = f"/sessions/{one.session}?view=chat"
    text = text_of(get(path).text)
    for turn in range(CHAT_CALLS - 2):
        assert text.count(f"ada question {turn} ") == 1
        assert text.count(f"ada reply {turn} ") == 1
    assert text.index(f"ada reply {CHAT_CALLS - 3}") < text.index("bob question 0")
    assert "3 earlier messages sent again" in text
    assert "bob question 2" not in text
    following = re.search(r"after=(\d+)", get(path).text)
    assert following is not None
    rest = text_of(get(f"{path}&after={following[1]}").text)
    assert "bob question 2" in rest
    assert "bob question 1" not in rest  # it was on the page before
    only = text_of(get(f"{path}&agent=bob").text)
    assert "bob question 3" in only
    assert "ada question" not in only


def test_a_history_that_was_cut_is_still_known(get: Get, program: Programs) -> None:
    """
    Who leaves the middle out, or says the same thing twice, is read as a person would.
    """
    one = program()
    begin(one, "cut", at=now())
    said = [{"role": "user", "content": text} for text in ("first", "second", "yes")]
    one.event("llm", "a", at=now(), prompt=said, completion="well")
    cut = [said[0], said[2], {"role": "assistant", "content": "well"}, said[2]]
    one.event("llm", "b", at=now() + SECOND, prompt=cut, completion="better")
    one.send()
    text = text_of(get(f"/sessions/{one.session}?view=chat").text)
    assert text.count("first") == 1
    assert text.count(" yes ") == 2  # it was said again
    assert text.count(" well ") == 1
    assert "3 earlier messages sent again" in text


def test_tools_stand_where_they_were_called(get: Get, program: Programs) -> None:
    """
    What a tool gave is beneath its call, linked to its event, and is not told again; without an id
    the next call of that tool by that agent is taken. Tools that nobody asked for stand alone.
    """
    one = program()
    begin(one, "tools", at=now())
    calls = [
        {"id": "call_1", "type": "function", "function": {"name": "search", "arguments": "{}"}},
        {"id": "call_2", "type": "function", "function": {"name": "fetch", "arguments": "{}"}},
    ]
    asking = {"role": "assistant", "content": None, "tool_calls": calls}
    question = {"role": "user", "content": "go"}
    one.event(
        "llm", "ask", at=now(), agent="a", prompt=[question], completion=asking,
        tool_call_ids=("call_1", "call_2"),
    )  # fmt: skip
    linked = one.event(
        "tool", "search", at=now() + SECOND, agent="a", returns="found it", tool_call_id="call_1"
    )
    named = one.event("tool", "fetch", at=now() + 2 * SECOND, agent="a", returns={"page": 1})
    alone = one.event("tool", "tidy", at=now() + 3 * SECOND, agent="a", returns="tidied")
    told = {"role": "tool", "tool_call_id": "call_1", "content": "found it"}
    one.event(
        "llm", "ask", at=now() + 4 * SECOND, agent="a", prompt=[question, asking, told],
        completion="done",
    )  # fmt: skip
    one.send()
    html = get(f"/sessions/{one.session}?view=chat").text
    text = text_of(html)
    assert text.count("found it") == 1
    assert text.index("calls search") < text.index("found it") < text.index("calls fetch")
    assert text.index("calls fetch") < text.index("page: 1") < text.index("tidied")
    assert f'id="exchange-{alone}"' in html
    for inline in (linked, named):
        assert f'id="exchange-{inline}"' not in html
        assert f'data-event="{inline}"' in html


def test_agents_models_and_tools_are_added_up(get: Get, program: Programs) -> None:
    """
    Calls, tokens, cost, time and errors of each, dearest first; what nobody knows is said.
    """
    one = program()
    begin(one, "spending", at=now())
    for cost in ("0.25", "0.5"):
        one.event(
            "llm", "ask", at=now(), lasts=2 * SECOND, agent="dear", model="large", cost=cost,
            prompt_tokens=1_000, completion_tokens=10, cached_tokens=400,
        )  # fmt: skip
    one.event("llm", "ask", at=now(), agent="cheap", model="small", cost="0.125", prompt_tokens=5)
    one.event("llm", "ask", at=now(), agent="cheap", model="small", prompt_tokens=5)
    one.event("tool", "look", at=now(), lasts=3 * SECOND, agent="cheap", state="Fail")
    one.event("action", "stray", at=now())
    one.send()
    text = text_of(get(f"/sessions/{one.session}?view=agents").text)
    assert "dear $0.75 2 2,000 800 cached 20 4.00 s 0 0 s" in text
    assert "cheap at least $0.125 2 10 0 2.0 ms 1 3.00 s" in text
    assert text.index("dear $0.75") < text.index("cheap at least") < text.index("no agent")
    assert "large $0.75 2 2,000 800 cached 20 4.00 s 2.00 s 0" in text
    assert "look 1 3.00 s 3.00 s 3.00 s 1" in text
    dearest = text.partition("Dearest calls")[2]
    assert "ask $0.50 57 % dear large 1,000 10 2.00 s" in dearest
    assert dearest.index("$0.50 57 %") < dearest.index("$0.25 29 %") < dearest.index("$0.125 14 %")


def test_errors_that_say_the_same_stand_together(get: Get, program: Programs) -> None:
    """
    Grouped but for their numbers, most frequent first; what an exception passed through is no
    fault of its own; the cause is told.
    """
    one = program()
    begin(one, "faults", at=now())

    def wait(seconds: int) -> None:
        raise TimeoutError(f"no answer after {seconds} s")

    for number in range(3):
        failure = failure_of(lambda number=number: wait(number))
        one.event("tool", f"fetch {number}", at=now(), state="Fail", failure=failure)
    one.send()
    path = f"/sessions/{one.session}?view=errors"
    text = text_of(get(path).text)
    assert "TimeoutError 3 times sessions with it no answer after 0 s" in text
    assert "fetch 2" in text
    listed = re.search(r'href="(/\?fingerprint=[^"]+)"', get(path).text)
    assert listed is not None
    assert one.session in get(listed[1]).text
    story = breakdown(program(), at=now())
    text = text_of(get(f"{story.path}?view=errors").text)
    assert "query at 0 s · passed through work" in text
    assert text.count("passed through") == 1
    assert "caused by KeyError" in text
    calm = answer(program(), at=now())
    assert "Nothing has failed in this session" in get(f"{calm.path}?view=errors").text


def test_the_tree_puts_equal_steps_together(get: Get, program: Programs) -> None:
    """
    Steps in a row are one line with their number and time; one that failed is never among them.
    """
    one = program()
    begin(one, "steps", at=now())
    parent = one.new_id()
    for number in range(9_000):
        state = "Fail" if number == 5_000 else "Success"
        one.event("tool", "step", at=now() + number * MILLISECOND, parent_id=parent, state=state)
    for number in range(PLAIN_EVENTS):
        one.event("action", f"other {number}", at=now() + (10_000 + number) * MILLISECOND)
    one.event("agent", "worker", at=now(), lasts=20 * SECOND, id=parent, agent="worker")
    one.send()
    path = f"/sessions/{one.session}?view=tree"
    text = text_of(get(path).text)
    assert "step \N{MULTIPLICATION SIGN} 5,000" in text
    assert "step failed" in text
    assert "step \N{MULTIPLICATION SIGN} 3,999" in text
    assert "More events" in text
    assert f"other {PLAIN_EVENTS - 1}" in get(f"{path}&after={PLAIN_EVENTS}").text


def test_raw_shows_everything_in_pages(get: Get, program: Programs) -> None:
    """
    The session and its events as JSON, as many as fit on a page, with links to the rest.
    """
    one = program()
    begin(one, "raw", at=now())
    for number in range(30):
        one.event("tool", f"step {number}", at=now(), params={"number": number})
    one.send()
    path = f"/sessions/{one.session}?view=raw"
    first = get(path).text
    assert "step 24" in first
    assert "step 25" not in first
    following = re.search(r'href="(\?view=raw&amp;cursor=[^"]+)"', first)
    assert following is not None
    second = get(f"/sessions/{one.session}{following[1].replace('&amp;', '&')}").text
    assert "step 29" in second
    assert "step 24" not in second
    assert get(f"{path}&cursor=nonsense").status_code == 400


NOTE = """
window.copied = [];
new MutationObserver((changes) => {
  for (const {target} of changes) if ("done" in target.dataset) window.copied.push(target.title);
}).observe(document.body, {subtree: true, attributeFilter: ["data-done"]});
"""
"""Notes the buttons that say they have copied, which they do for little more than a second."""


def test_views_live_and_lead_to_events(window: Window, program: Programs) -> None:
    """
    The chat grows while the session runs; an event opens beside it, with an address that keeps the
    view; back and Escape lead out of it.
    """
    one = program()
    begin(one, "live", at=now())
    (asked,) = talk(one, agent="ada", start=now(), turns=1)
    one.send()
    page = window.open(f"/sessions/{one.session}")
    page.get_by_role("link", name="Chat").click()
    expect(page.locator(".exchange")).to_have_count(1)
    expect(page.locator("#live")).to_have_text("Live")
    talk(one, agent="bob", start=now(), turns=1)
    one.send()
    expect(page.locator(".speaker-name").nth(1)).to_have_text("bob")
    page.locator(f"#exchange-{asked} .exchange-head a").click()
    expect(page.locator("#detail h2")).to_contain_text("ask")
    assert page.url.endswith(f"?view=chat&event={asked}")
    expect(page.locator(f"#exchange-{asked} .exchange-head a")).to_have_attribute(
        "aria-current", "true"
    )
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.evaluate(NOTE)
    page.get_by_role("button", name="Copy the completion").click()
    page.wait_for_function("() => window.copied.join() === 'Copy the completion'")
    assert '"content": "ada reply 0"' in page.evaluate("navigator.clipboard.readText()")
    page.keyboard.press("Escape")
    expect(page.locator("#detail")).to_be_hidden()
    page.go_back()
    expect(page.locator("#detail h2")).to_contain_text("ask")
    page.reload()
    expect(page.locator("#detail h2")).to_contain_text("ask")
    expect(page.locator(".exchange")).to_have_count(2)
