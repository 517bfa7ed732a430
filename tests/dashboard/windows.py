"""
Windows of a real browser, which note everything that must not happen in them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal
from urllib.parse import urlsplit

import attrs
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect
from processes import SECONDS

WATCH = """
  window.__xss = (what) => console.error(`a script ran: ${what}`);
  addEventListener("securitypolicyviolation", (event) =>
    console.error(`against the policy: ${event.effectiveDirective} ${event.blockedURI}`));
"""
"""
Tells of recorded scripts that run, and of what the policy had to stop: our own pages must not even
come so far.
"""

LATE = "was preloaded using link preload but not used within a few seconds"
"""
What the browser says of a script that comes late, or not at all where there are none; that what was
preloaded is used is seen from its being asked for once.
"""

PATIENCE_MILLIS = 1_000 * SECONDS

expect.set_options(timeout=PATIENCE_MILLIS)


def at_work(page: Page) -> None:
    """
    Wait until the scripts of the page that shows are at work: only then do keys and buttons do what
    they are for. Whoever follows a link waits for something of the new page before.
    """
    page.wait_for_load_state("domcontentloaded")  # modules have run by then
    # but for a session's, which waits for its events
    expect(page.locator("#timeline:is([inert], [hidden])")).to_have_count(0)


def hold(page: Page, what: str) -> Callable[[], None]:
    """
    Let nothing of *what* arrive until the returned function is called.
    """
    held: list[Route] | None = []

    def arrive(route: Route) -> None:
        if held is None:
            route.continue_()
        else:
            held.append(route)

    def release() -> None:
        nonlocal held
        routes, held = held, None
        for route in routes or ():
            route.continue_()

    page.route(what, arrive)
    return release


@attrs.define
class Window:
    """
    Opens pages and notes everything that must not happen in them.
    """

    browser: Browser
    url: str
    faults: list[str] = attrs.field(factory=list)
    requests: list[str] = attrs.field(factory=list)
    contexts: list[BrowserContext] = attrs.field(factory=list)

    def open(
        self,
        path: str,
        *,
        width: int = 1440,
        height: int = 900,
        scheme: Literal["light", "dark"] = "light",
        script: bool = True,
    ) -> Page:
        """
        Open *path* of the collector in a window of its own.
        """
        context = self.browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme=scheme,
            java_script_enabled=script,
            locale="en-GB",
        )
        context.set_default_timeout(PATIENCE_MILLIS)
        self.contexts.append(context)
        context.add_init_script(WATCH)
        page = context.new_page()
        page.on("request", lambda request: self._see(request.url))
        page.on("pageerror", lambda error: self.faults.append(f"exception: {error}"))
        page.on(
            "dialog",
            lambda dialog: (self.faults.append(f"dialog: {dialog.message}"), dialog.dismiss()),
        )
        page.on("popup", lambda popup: self.faults.append(f"popup: {popup.url}"))
        page.on(
            "console",
            lambda message: (
                self.faults.append(f"console: {message.text}")
                if message.type in ("error", "warning") and LATE not in message.text
                else None
            ),
        )
        page.goto(self.url + path)
        if script:
            at_work(page)
        return page

    def _see(self, url: str) -> None:
        self.requests.append(url)
        if urlsplit(url).netloc != urlsplit(self.url).netloc:
            self.faults.append(f"request to elsewhere: {url}")

    def close(self) -> None:
        for context in self.contexts:
            context.close()
