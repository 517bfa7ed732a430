"""
Keys in the page: made, shown once, copied, revoked; from one project to another; nobody else's.
"""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from playwright.sync_api import Browser, expect
from programs import Get, Programs, now
from stories import answer
from windows import Window, at_work

KEY = "aops_"


def make_first_key(http: httpx.Client, project: str = "billing") -> str:
    """
    The first key of a collector, made by a browser that stays signed in.
    """
    answer = http.post("/keys", data={"project": project})
    assert answer.status_code == 200
    return shown_key(answer.text)


def shown_key(text: str) -> str:
    return KEY + text.split(f"<code>{KEY}")[1].split("<")[0]


def status(http: httpx.Client, path: str = "/api/sessions", **headers: str) -> int:
    """
    What a stranger gets, unless *headers* make one more.
    """
    return httpx.get(
        f"{http.base_url}{path}".replace("//api", "/api"),
        headers=headers,
        trust_env=False,
        verify=False,
    ).status_code


def test_the_first_key_closes_the_collector_and_signs_its_maker_in(
    http: httpx.Client, get: Get
) -> None:
    """
    It works at once, is shown in one answer alone, and from then on every request needs a key.
    """
    assert "There is no key yet" in get("/keys").text
    assert status(http) == 200
    key = make_first_key(http)
    assert status(http) == 401
    assert status(http, Authorization=f"Bearer {key}") == 200
    page = get("/keys").text
    assert key not in page
    assert f"{key[:9]}…" in page
    assert "you are here with it" in page
    assert http.cookies["asyncops_project"] == "billing"
    assert key not in str(http.cookies)


@pytest.mark.parametrize("project", ["", "  ", "x" * 101, "two\nlines", "\u202eback"])
def test_a_project_has_a_name_that_can_be_read(http: httpx.Client, project: str) -> None:
    """
    A name nobody could type again makes no key.
    """
    answer = http.post("/keys", data={"project": project}, headers={"Accept": "text/html"})
    assert answer.status_code == 400
    assert "The name of a project" in answer.text
    assert status(http) == 200


def test_a_key_makes_and_revokes_those_of_its_project_alone(http: httpx.Client) -> None:
    """
    Another project's keys are neither listed nor revoked, and no key to it is made.
    """
    mine = make_first_key(http, "mine")
    more = shown_key(http.post("/keys", data={"project": "theirs"}).text)
    listed = http.get("/keys", headers={"Authorization": f"Bearer {more}"}).text
    assert "API keys of <bdi>mine</bdi>" in listed
    assert (mine[:9] in listed, more[:9] in listed) == (True, True)
    assert http.post("/keys/0123456789abcdef/revoke").status_code == 404
    ids = [part.split("/")[0] for part in listed.split('action="/keys/')[1:]]
    ids.sort(key=lambda it: it == hashlib.sha256(more.encode()).hexdigest()[:16])
    for key_id in ids:  # the one that is used here last
        revoked = http.post(f"/keys/{key_id}/revoke", headers={"Authorization": f"Bearer {more}"})
        assert revoked.status_code == 303
    # at once, for programs and for the browser that came with the first
    assert status(http, Authorization=f"Bearer {mine}") == 401
    assert status(http, Authorization=f"Bearer {more}") == 401
    led = http.get("/keys", headers={"Accept": "text/html"}, follow_redirects=False)
    assert led.headers["location"] == "/sign-in?next=%2Fkeys"


def test_the_cookie_of_a_project_opens_none(http: httpx.Client, program: Programs) -> None:
    """
    Whoever names another project in a cookie stays where their keys lead.
    """
    answer(program(), at=now(), name="secret plan")
    key = make_first_key(http, "billing")
    for cookie in ("default", "billing", "%00", "..", '"'):
        answered = httpx.get(
            f"{http.base_url}/api/sessions".replace("//api", "/api"),
            headers={"Authorization": f"Bearer {key}", "Cookie": f"asyncops_project={cookie}"},
            trust_env=False,
            verify=False,
        )
        assert answered.json()["sessions"] == []
        assert status(http, Cookie=f"asyncops_project={cookie}") == 401


def test_cookies_are_closed_to_scripts_and_secure_where_the_page_is(http: httpx.Client) -> None:
    """
    Both are HttpOnly and SameSite=Strict, and Secure behind a proxy that speaks TLS for us.
    """
    key = make_first_key(http)
    for origin, secure in (
        (str(http.base_url).rstrip("/"), False),
        (str(http.base_url).rstrip("/").replace("http:", "https:"), True),
    ):
        answered = http.post("/sign-in", data={"key": key}, headers={"Origin": origin})
        cookies = answered.headers.get_list("set-cookie")
        assert len(cookies) == 2
        for cookie in cookies:
            assert "HttpOnly" in cookie
            assert "SameSite=strict" in cookie
            assert ("Secure" in cookie) == secure


def test_keys_are_made_copied_used_and_revoked_in_the_page(
    browser: Browser, window: Window, collector: str
) -> None:
    """
    From a collector without keys to one with two, of which the first is taken back.
    """
    page = window.open("/keys")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_label("Project").fill("mine")
    page.get_by_role("button", name="Make the first key").click()
    mine = page.locator(".secret code").inner_text()
    at_work(page)
    page.get_by_role("button", name="Copy the key").click()
    page.wait_for_function(
        "(key) => navigator.clipboard.readText().then((it) => it === key)", arg=mine
    )
    page.get_by_role("link", name="Sessions").click()
    menu = page.locator(".menu summary")
    expect(menu).to_contain_text("mine")

    # a program has the second one
    with httpx.Client(base_url=collector, trust_env=False, verify=False) as other:
        made = other.post("/keys", headers={"Authorization": f"Bearer {mine}"})
    spare = shown_key(made.text)
    menu.click()
    page.get_by_role("link", name="API keys").click()
    expect(page.locator("tbody tr")).to_have_count(2)
    assert spare not in page.content()

    row = page.locator("tbody tr", has_text="you are here with it")
    row.get_by_text("Revoke", exact=False).first.click()
    row.get_by_role("button", name="Revoke this key").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    page.get_by_label("API key").fill(spare)
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator("tbody tr.note")).to_have_count(1)
    expect(page.get_by_text("you are here with it")).to_be_visible()


@contextmanager
def elsewhere(text: str) -> Iterator[str]:
    """
    The address of a page on another port: another origin, on the same site.
    """

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *args: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()


def test_no_page_elsewhere_makes_or_revokes_a_key(
    browser: Browser, collector: str, http: httpx.Client
) -> None:
    """
    Forms and scripts of other pages change nothing: not where there are no keys, nor by way of a
    browser that is signed in, from another site or from another port of this machine.
    """
    forms = "".join(
        f'<form id="f{number}" method="post" action="{collector}{path}" target="t{number}">'
        f'<input name="project" value="evil"></form><iframe name="t{number}"></iframe>'
        for number, path in enumerate(("/keys", "/project", "/sign-out"))
    )
    script = f"""
      const told = [];
      const body = new URLSearchParams("project=evil");
      for (const form of document.forms) form.submit();
      for (const mode of ["no-cors", "cors"])
        for (const path of ["/keys", "/project", "/sign-out"])
          told.push(fetch("{collector}" + path,
            {{method: "POST", mode, credentials: "include", body}}
          ).then((it) => it.type, () => "refused"));
      window.told = Promise.all(told);
    """
    with elsewhere(f"{forms}<script>{script}</script>") as evil:
        context = browser.new_context()
        page = context.new_page()
        statuses: list[int] = []
        page.on(
            "response",
            lambda got: statuses.append(got.status) if got.request.method == "POST" else None,
        )

        def try_it() -> None:
            for host in ("127.0.0.1", "localhost"):  # the same site, and another one
                page.goto(evil.replace("127.0.0.1", host))
                assert set(page.evaluate("window.told")) <= {"opaque", "refused"}
                page.wait_for_load_state("networkidle")

        try_it()
        assert set(statuses) == {403}
        assert status(http) == 200  # nobody made a key
        page.goto(f"{collector}/keys")
        page.get_by_role("button", name="Make the first key").click()
        expect(page.locator(".secret")).to_be_visible()
        try_it()
        page.goto(f"{collector}/keys")
        expect(page.locator("tbody tr")).to_have_count(1)
        context.close()
