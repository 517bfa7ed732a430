"""
Whatever a program records is text on a page, and nothing more.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import expect
from programs import SECOND, Get, Program, Programs, now
from windows import Window

from asyncops._events import Cost, Failure, LostRecord
from asyncops.collector.dashboard.session_page import VIEWS
from asyncops.collector.headers import content_policy

MARKUP = (
    "<script>alert(1)</script><img src=x onerror=alert(2)>\"'><svg onload=alert(3)>"
    "<a href=javascript:alert(4)>x</a>{{7*7}}{% raw %}</noscript><iframe src=//evil.test></iframe>"
    "<style>*{display:none}</style>\u202e&lt;b&gt;"
)
"""Everything at once: elements, attributes, both quotes, templates, a right-to-left override."""

SHORT = "<img src=x onerror=alert(5)>"
"""Short values are drawn in another way than long ones."""

ADDRESSES = (
    "javascript:alert(1)",
    " javascript:alert(1)",
    "JaVaScRiPt:alert(1)//http://example.org",
    "java\tscript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "vbscript:x",
    "http:",
    "//example.org/x",
    "https://\x00example.org",
    "http://[",
)


def attack(program: Program) -> tuple[str, dict[str, str]]:
    """
    A session in which every field that a program fills in holds markup.
    """
    m = MARKUP
    program.host = {m: m, "os": {m: [m, {m: m}]}}
    program.sdk = m
    program.begin(m, at=now() - 9 * SECOND, tags=(m, m[::-1]))
    program.film(f"javascript:alert('{m}')", at=now())
    failure = Failure(
        type=m,
        message=m,
        traceback=m,
        causes=(Failure(type=m, message=m * 40, traceback=m, relation="cause"),),
    )
    events = {"tool": program.new_id()}
    program.event(
        "tool",
        m,
        at=now() - 8 * SECOND,
        id=events["tool"],
        agent=m,
        state="Fail",
        failure=failure,
        params={m: m, "list": [m, {m: [m]}], "long": m * 50, "cut": {"$truncated": m, "head": m}},
        returns={"$type": m, "repr": m, "short": [SHORT, {SHORT: SHORT}], SHORT: [[SHORT]]},
        attributes={m: {"$truncated": "string", "size": 9, "head": m}},
        tool_call_id=m,
    )
    messages: list[Any] = [
        {"role": m, "name": m, "content": m},
        {"role": "user", "content": [{"type": "text", "text": m}, {"type": m, m: m}]},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "//evil.test/x"}}]},
        {"role": "assistant", "tool_calls": [{"id": m, "function": {"name": m, "arguments": m}}]},
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": m, "name": m, "input": {m: m}}],
        },
        {"role": "tool", "tool_call_id": m, "content": m},
        {"type": "reasoning", "summary": [{"text": m}]},
        m,
    ]
    events["llm"] = program.event(
        "llm",
        m,
        at=now() - 7 * SECOND,
        agent=m,
        model=m,
        provider=m,
        tool_call_ids=(m, SHORT),
        cost=Cost("1", m, "computed", m),
        prompt=messages,
        completion=m,
        usage={m: m},
    )
    events["error"] = program.event(
        "error", m, at=now(), state="Fail", failure=failure, trigger_event_id=events["tool"]
    )
    program.open("action", m, at=now() - 6 * SECOND, agent=m)
    program.say(LostRecord(at=now(), count=1, reason=m))
    program.end("Indeterminate", at=now(), reason=m, failure=failure)
    program.send()
    comment(program, m, events["tool"])
    return f"/sessions/{program.session}", events


def comment(program: Program, text: str, event: str) -> None:
    """
    A person says *text* in every field that there is for words on a session and on its *event*.
    """
    for about in ({}, {"event": event}):
        said = {"by": text, "note": text, "score": 1, "score_name": text, "star": True}
        answer = program.http.post(
            f"/api/sessions/{program.session}/annotations", json={**said, **about}
        )
        assert answer.status_code == 200, answer.text


def test_markup_in_every_field_stays_text(window: Window, program: Programs) -> None:
    """
    No dialog, no complaint of the browser, no request elsewhere, no element out of a recorded text.
    """
    path, events = attack(program())
    other, _ = attack(program())
    details = [f"{path}?event={event}" for event in events.values()]
    pair = f"/compare?ids={path.removeprefix('/sessions/')},{other.removeprefix('/sessions/')}"
    page = window.open("/")
    for address in (
        "/",
        "/?column=agents&column=models&column=host&column=tags",
        path,
        "/overview",
        *(f"{path}?view={view}" for view in VIEWS),
        *(f"{pair}&step=A-{event}" for event in events.values()),
        *details,
    ):
        page.goto(window.url + address)
        expect(page.locator("bdi", has_text="alert(1)").first).to_be_visible()
        for selector in ("iframe", "img", "main script", "main style", "svg[onload]", "[onerror]"):
            assert page.locator(selector).count() == 0, (address, selector)
        assert page.locator("a[href^='javascript' i]").count() == 0
        if address == path:
            for part in ("#failure", "#hosts"):
                page.locator(f"{part} > summary").click()
            page.locator(".row").first.click()
            expect(page.locator("#detail")).to_contain_text("alert(1)")


CORPUS = (
    "<script>__xss('script')</script>",
    "<img src=x onerror=__xss('img')>",
    "<svg onload=__xss('svg')>",
    "<svg><script>__xss('svg-script')</script></svg>",
    "<iframe srcdoc='<script>parent.__xss(`srcdoc`)</script>'></iframe>",
    "<details open ontoggle=__xss('toggle')><summary>x</summary></details>",
    "<style>@keyframes k{}</style><b style='animation:k 1ms' onanimationstart=__xss('style')>x</b>",
    "<math><mtext></table></math><img src=x onerror=__xss('math')>",
    "<p title='</title></textarea></noscript></style></script><img src=x onerror=__xss(`close`)>",
    "'\"><img src=x onerror=__xss('quotes')>",
    "--><img src=x onerror=__xss('comment')>",
    "]]>*/;}</style><img src=x onerror=__xss('cdata')>",
    "<video><source onerror=__xss('video')></video>",
    "<object data=javascript:__xss('object')></object><embed src=//evil.test/x>",
    "<base href=//evil.test/><link rel=stylesheet href=//evil.test/x.css>",
    "<meta http-equiv=refresh content='0;url=//evil.test/'>",
    "<form action=//evil.test/><button autofocus onfocus=__xss('focus')>x</button></form>",
    '" onmouseover=__xss(`mouse`) autofocus onfocus=__xss(`attribute`) x="',
    "[x](javascript:__xss('markdown')) ![x](//evil.test/x.png) <http://evil.test>",
    "{{constructor.constructor('__xss(1)')()}}{% raw %}${__xss(2)}`${__xss(3)}`",
    "\u2028__xss('line')//\u0000<\u0000script>__xss('null')</script>",
    "data:text/html,<script>__xss('data')</script>",
    "javascript:__xss('address')",
)
"""Ways in, each for another place in a page; `__xss` tells when one was taken."""


def invade(program: Program) -> str:
    """
    Put each of CORPUS into each kind of field; gives the session's path.
    """
    program.host = {text: {text: text} for text in CORPUS}
    program.begin("".join(CORPUS)[:900], at=now() - 9 * SECOND, tags=CORPUS)
    program.film(f"https://evil.test/x.mp4?{CORPUS[9]}", at=now())
    events = []
    for text in CORPUS:
        failure = Failure(type=text, message=text, traceback=text)
        image = {"type": "image_url", "image_url": {"url": text}}
        event = program.event(
            "llm",
            text,
            at=now() - 8 * SECOND,
            agent=text,
            model=text,
            provider=text,
            prompt=[
                {"role": text, "content": [{"type": "text", "text": text}, image]},
                {"role": "assistant", "tool_calls": [{"function": {"name": text}, "id": text}]},
            ],
            completion=text,
            params={text: [text, {text: text}]},
            returns=text,
            failure=failure,
            state="Fail",
            tool_call_id=text,
        )
        events.append(event)
    program.end("Fail", at=now(), reason="".join(CORPUS), failure=failure)
    program.send()
    for text, event in zip(CORPUS, events, strict=True):
        comment(program, text, event)
    return f"/sessions/{program.session}"


def test_no_way_in_is_taken(window: Window, get: Get, program: Programs, tmp_path: Path) -> None:
    """
    Nothing of a corpus of attacks runs, loads or leads away, whichever field it was recorded in or
    a person has said it in, and the policy need not stop anything: nothing gets that far. Nor does
    it out of a file that the session was exported to.
    """
    bare = window.browser.new_page()
    taken: list[str] = []
    asked: list[str] = []
    bare.add_init_script("window.__xss = (what) => console.warn(what)")
    bare.on("console", lambda message: taken.append(message.text))
    bare.on("request", lambda request: asked.append(request.url))
    bare.route("**/evil.test/**", lambda route: route.abort())
    # first what would happen if one of our pages let it through: else this test tells nothing
    for way in ("script", "img", "svg", "srcdoc", "toggle", "quotes", "comment"):
        (text,) = (it for it in CORPUS if re.search(rf"__xss\(\W{way}\W\)", it))
        bare.goto("about:blank")
        with bare.expect_console_message(lambda message, way=way: message.text == way):
            bare.set_content(f"<!doctype html><title></title>{text}")

    one = program()
    path = invade(one)
    events = get(f"/api{path}/events").json()["events"]
    page = window.open("/")
    other = program()
    invade(other)
    pair = f"/compare?ids={one.session},{other.session}"
    views = (f"{path}?view={view}" for view in VIEWS)
    for address in ("/", "/overview", path, f"{path}/head", *views, pair):
        page.goto(window.url + address)
        expect(page.locator("bdi", has_text="__xss('img')").first).to_be_visible()
    page.goto(window.url + path)
    for event in events:
        page.evaluate(
            """async (path) => {
                const answer = await fetch(path);
                document.querySelector("#detail").innerHTML = await answer.text();
            }""",
            f"{path}/events/{event['id']}",
        )
        shown = page.locator("#detail h2 bdi").text_content()
        assert shown == event["name"].replace("\0", "")
        links = page.locator("#detail a")
        for target in links.evaluate_all("(all) => all.map((it) => it.getAttribute('href'))"):
            assert (target or "").startswith("/"), target
    taken.clear()
    asked.clear()
    file = tmp_path / "taken along.html"
    file.write_bytes(get(f"/api{path}/export?format=html").content)
    bare.goto(file.as_uri())
    bare.evaluate("for (const it of document.querySelectorAll('details')) it.open = true")
    expect(bare.locator("bdi", has_text="__xss('img')").first).to_be_visible()
    bare.close()
    assert (taken, asked) == ([], [file.as_uri()])

    # an address is as good a place to put it
    query = "&".join(f"{name}={quote(text)}" for name, text in zip("qs", CORPUS[:2], strict=True))
    for address in (f"/?{query}", f"/api/sessions?sort={quote(CORPUS[1])}", f"/{quote(CORPUS[1])}"):
        page.goto(window.url + address)
    window.faults[:] = [fault for fault in window.faults if "status of 40" not in fault]


def test_markup_that_arrives_live_stays_text(window: Window, program: Programs) -> None:
    """
    What is put into open pages is as harmless as what they began with.
    """
    listed, watched = program(), program()
    watched.begin("watched", at=now())
    watched.send()
    sessions = window.open("/")
    session = window.open(f"/sessions/{watched.session}")
    expect(session.locator("#live")).to_have_text("Live")
    attack(listed)
    expect(sessions.locator("tbody tr")).to_have_count(2)
    watched.event("tool", MARKUP, at=now(), agent=MARKUP, state="Fail", params=MARKUP)
    watched.end("Fail", at=now(), reason=MARKUP)
    watched.send()
    expect(session.locator(".row .name").first).to_have_text(MARKUP)
    expect(session.locator("#head .state").first).to_have_text("Fail")


def test_markup_in_an_address_stays_text(window: Window, program: Programs) -> None:
    """
    Filters and event ids out of the address are shown, not run.
    """
    one = program()
    one.begin("x", at=now())
    one.send()
    query = "&".join(f"{name}={quote(MARKUP)}" for name in ("q", "tag", "agent"))
    page = window.open(f"/?{query}")
    expect(page.locator(".active-filters .chip")).to_have_count(3)
    assert page.locator("iframe, main img, main script").count() == 0
    page.goto(f"{window.url}/sessions/{one.session}?event={quote(MARKUP)}")
    expect(page.locator("#detail")).to_contain_text("There is no event <script>")


@pytest.mark.parametrize("video", ADDRESSES)
def test_only_web_addresses_become_links(get: Get, program: Programs, video: str) -> None:
    """
    A video that is no http or https address is text.
    """
    one = program()
    one.begin("x", at=now())
    one.film(video, at=now())
    one.send()
    text = get(f"/sessions/{one.session}").text
    assert "<dt>Video</dt>" in text
    assert "Not a web address, so not a link" in text
    assert 'target="_blank"' not in text
    assert "<video" not in text


@pytest.mark.parametrize(
    "video",
    [
        "https://user:secret@videos.example/run.mp4",
        "https://videos.example;script-src/run.mp4",
        "https://videos.example,*/run.mp4",
        "https://'unsafe-inline'/run.mp4",
        "https://*/run.mp4",
        "https://videos.example:port/run.mp4",
        "https://videos.example:99999/run.mp4",
        "https://[::1]/run.mp4",
        "https://vidéos.example/run.mp4",
        "https://videos.example/run.html?x.mp4#.mp4",
    ],
)
def test_what_a_policy_must_not_name_is_not_played(get: Get, program: Programs, video: str) -> None:
    """
    A web address that is odd, or no video's, is a link at most, and the page's policy as always.
    """
    one = program()
    one.begin("x", at=now())
    one.film(video, at=now())
    one.send()
    page = get(f"/sessions/{one.session}")
    assert "<dt>Video</dt>" in page.text
    assert "<video" not in page.text
    assert page.headers["content-security-policy"] == content_policy()


def test_absurd_sizes_are_bounded(get: Get, program: Programs) -> None:
    """
    A thousand tags, long names, wide and long payloads make a page that can still be read.
    """
    one = program()
    one.begin("n" * 1_000, at=now(), tags=tuple(f"tag {number}" for number in range(1_000)))
    wide = one.event(
        "tool", "wide", at=now(), params={f"key {n}": {"a": [n]} for n in range(5_000)}
    )
    long = one.event("tool", "long", at=now(), returns="line\n" * 40_000)
    one.send()
    assert len(get("/").text) < 40_000
    path = f"/sessions/{one.session}"
    assert len(get(path).text) < 40_000
    twin = program()
    twin.begin("n" * 1_000, at=now(), tags=tuple(f"tag {number}" for number in range(1_000)))
    twin.event("tool", "long", at=now(), returns="lines\n" * 40_000)
    twin.send()
    pair = get(f"/compare?ids={one.session},{twin.session}&step=A-{long}").text
    assert "only the beginning is compared" in pair
    assert len(pair) < 200_000
    assert "more: see the JSON" in get(f"{path}/events/{wide}").text
    assert len(get(f"{path}/events/{wide}").text) < 400_000
    assert len(get(f"{path}/events/{long}").text) < 500_000


def test_times_at_the_ends_of_what_can_be_said_are_shown(get: Get, program: Programs) -> None:
    """
    A program whose clock is at 1970 or at 2262 gets pages like any other.
    """
    one = program()
    one.begin("clockless", at=0)
    early = one.event("tool", "early", at=0, lasts=0)
    late = one.event("tool", "late", at=2**63 - 2, lasts=1)
    one.end("Success", at=2**63 - 1)
    one.send()
    assert "1970-01-01" in get("/").text
    for path in ("", f"?event={early}", f"?event={late}", "/timeline.json"):
        assert get(f"/sessions/{one.session}{path}").status_code == 200
    assert get("/overview?since=1960-01-01").status_code == 200
