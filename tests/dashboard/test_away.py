"""
What open pages make of a collector that goes and comes, and of a machine that sleeps.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import psutil
from playwright.sync_api import Browser, Page, expect
from processes import collector
from programs import SECOND, Program, now
from stories import answer, begin
from windows import Window


@contextlib.contextmanager
def asleep(browser: Browser) -> Iterator[None]:
    """
    The browser with all its processes stands still, as in a laptop that is closed.
    """
    assert browser.is_connected()
    started = psutil.Process(os.getpid()).children(recursive=True)
    processes = [each for each in started if "chrom" in each.name()]
    assert processes
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            process.resume()


def test_open_pages_catch_up(browser: Browser) -> None:
    """
    The collector is killed with -9 while three pages are open: they say that it does not answer,
    and once there is another one on its port they are live again, untouched, and show what was
    recorded meanwhile. They do, too, where all that happens while the machine sleeps.
    """
    with httpx.Client(timeout=30, trust_env=False, verify=False) as http:
        one = Program(http)
        with collector() as first:
            http.base_url = first.url
            port = urlsplit(first.url).port or 0
            begin(one, "goes on", at=now() - 5 * SECOND)
            one.event("tool", "before", at=now() - 4 * SECOND)
            one.send()
            window = Window(browser, first.url)
            paths = ("/", f"/sessions/{one.session}", "/overview")
            sessions, session, overview = pages = [window.open(path) for path in paths]
            for page in pages:
                says(page, "Live")
                page.evaluate("window.untouched = true")
            first.process.kill()
            first.process.wait()
            for page in pages:
                says(page, "Reconnecting")

        def happens(name: str) -> None:
            one.event("tool", name, at=now())
            one.send()
            answer(Program(http), at=now() - 60 * SECOND, name=f"during {name}")

        def is_shown(name: str, cost: str) -> None:
            link = sessions.get_by_role("link", name=f"during {name}", exact=True)
            expect(link).to_be_visible()
            expect(session.locator(".row", has_text=name)).to_be_visible()
            expect(overview.locator(".cards")).to_contain_text(cost)
            for page in pages:
                says(page, "Live")
                assert page.evaluate("window.untouched") is True

        with collector(port) as second:
            happens("absence")
            is_shown("absence", "$0.0123")
            with asleep(browser):
                second.process.kill()
                second.process.wait()
                with collector(port) as third:
                    happens("sleep")
                    third.process.kill()
                    third.process.wait()
        with collector(port):
            is_shown("sleep", "$0.0246")
            window.close()
    # that nobody answered is what the browser says of it, too
    assert [fault for fault in window.faults if "net::ERR_" not in fault] == []


def says(page: Page, said: str) -> None:
    expect(page.locator("#live")).to_have_text(said)
