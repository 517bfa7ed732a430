"""
What the tests of the pages share: a real collector, a real browser, programs that record.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, sync_playwright
from programs import Get, Program, Programs
from windows import Window

from asyncops.collector.app import CollectorSettings
from asyncops.collector.server import EmbeddedCollector

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """
    What asks for the browser is a test of `-m browser`, whether or not it says so.
    """
    for item in items:
        if isinstance(item, pytest.Function) and "browser" in item.fixturenames:
            item.add_marker("browser")


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[str]:
    """
    The address of a collector with a database of its own.
    """
    with EmbeddedCollector(CollectorSettings(port=0, db=tmp_path / "pages.db")) as collector:
        yield collector.url


@pytest.fixture
def http(collector: str) -> Iterator[httpx.Client]:
    """
    Connections to the collector.
    """
    # making a client reads all certificates of the machine unless it is told not to
    with httpx.Client(base_url=collector, timeout=30, trust_env=False, verify=False) as client:
        yield client


@pytest.fixture
def program(http: httpx.Client) -> Programs:
    """
    Makes programs that send to the collector.
    """
    return lambda: Program(http)


@pytest.fixture
def get(http: httpx.Client) -> Get:
    """
    Fetches a page as a browser without scripts would.
    """

    def fetch(path: str, *, follow: bool = True) -> httpx.Response:
        return http.get(path, headers={"Accept": "text/html"}, follow_redirects=follow)

    return fetch


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """
    One Chromium for all tests of a file.

    Its driver keeps an event loop in the main thread for as long as it lives, so it must not
    outlive these tests: asynchronous ones that come later could not run.
    """
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=[
                "--no-sandbox",
                "--disable-gpu",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
            ],
        )
        yield browser
        browser.close()


@pytest.fixture
def window(browser: Browser, collector: str) -> Iterator[Window]:
    """
    Opens pages; fails the test if one of them complains, asks elsewhere, or runs what was recorded.
    """
    window = Window(browser, collector)
    yield window
    window.close()
    assert window.faults == []
