"""
Signing in with a key, where there are keys.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anyio
from playwright.sync_api import Browser, expect
from windows import Window

from asyncops.collector.app import CollectorSettings
from asyncops.collector.server import EmbeddedCollector
from asyncops.collector.store.sqlite import SQLiteStore


def test_a_key_opens_the_pages_and_signing_out_closes_them(
    browser: Browser, tmp_path: Path
) -> None:
    """
    Without a key one sees the form, a wrong one is told so, the right one leads where one wanted;
    with a second one, one goes from project to project.
    """
    db = tmp_path / "keys.db"

    research = "research <img src=x onerror=__xss('project')>"

    async def make_keys() -> tuple[str, str]:
        store = SQLiteStore(db)
        keys = [await store.create_key(project) for project in ("billing", research)]
        await store.aclose()
        return keys[0][1], keys[1][1]

    with ThreadPoolExecutor(1) as thread:  # the browser's driver has an event loop in this one
        key, other = thread.submit(anyio.run, make_keys).result()
    with EmbeddedCollector(CollectorSettings(port=0, db=db)) as collector:
        window = Window(browser, collector.url)
        page = window.open("/overview?since=2026-01-01")
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        page.get_by_label("API key").fill("aops_wrong")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert")).to_contain_text("opens nothing")
        window.faults.clear()  # the browser notes the 401
        page.get_by_label("API key").fill(key)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("heading", name="Overview")).to_be_visible()
        assert page.url.endswith("/overview?since=2026-01-01")
        expect(page.locator(".project")).to_have_text("billing")
        menu = page.locator(".menu summary")
        menu.click()
        page.get_by_role("link", name="Open another project").click()
        page.get_by_label("API key").fill(other)
        page.get_by_role("button", name="Sign in").click()
        expect(page.locator(".project")).to_have_text(research)
        page.goto(f"{collector.url}/keys")
        expect(page.get_by_role("heading", level=1)).to_have_text(f"API keys of {research}")
        menu.click()
        expect(page.locator("img")).to_have_count(0)
        page.get_by_role("button", name="billing").click()
        expect(page.locator(".project")).to_have_text("billing")
        page.goto(f"{collector.url}/keys")
        expect(page.get_by_role("heading", level=1)).to_have_text("API keys of billing")
        expect(page.locator("tbody tr")).to_have_count(1)
        menu.click()
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        page.goto(collector.url)
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        assert window.faults == []
        window.close()
