"""
Visits to a page: a real Chromium opens it with nothing kept, and tells what that took.
"""

from __future__ import annotations

import contextlib
import shutil
import statistics
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

import attrs
from playwright.sync_api import Browser, Page, sync_playwright

__all__ = ["Seen", "chromium", "new_page", "p95", "spread", "visit"]

WATCH = """
window.shift = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) window.shift += entry.value;
}).observe({type: "layout-shift", buffered: true});
const look = (selector, what) => {
  if (document.querySelector(selector)) {
    setTimeout(() => window[what] = performance.now());  // after this frame
  } else requestAnimationFrame(() => look(selector, what));
};
requestAnimationFrame(() => look(SELECTOR, "painted"));
requestAnimationFrame(() => look(READY, "ready"));
"""

FIRST = "performance.getEntriesByName('first-contentful-paint')[0]"
"""What is found in the document may wait for its style: on the screen it is not before this."""

SEEN = """
() => {
  const [page] = performance.getEntriesByType("navigation");
  const fetched = performance.getEntriesByType("resource");
  const all = [page, ...fetched];
  const answers = all.map((it) => it.responseStart - it.requestStart);
  return {
    server: answers[0],
    slowest: Math.max(...answers),
    painted: Math.max(window.painted, FIRST.startTime),
    ready: Math.max(window.ready, FIRST.startTime),
    bytes: all.reduce((sum, it) => sum + it.transferSize, 0),
    requests: all.length,
    nodes: document.getElementsByTagName("*").length,
  };
}
""".replace("FIRST", FIRST)


@attrs.frozen
class Seen:
    """
    What one visit was like.

    Attributes:
        server: Milliseconds until the first byte of the page.
        slowest: The same of whatever came slowest, of all that was fetched.
        painted: Milliseconds from the beginning of the navigation until the frame that shows it.
        ready: The same until the one in which it can be used.
        bytes: All that was fetched by then.
        requests: In how many requests.
        nodes: Elements of the document.
        shift: The sum of what moved.
        shown: What the caller asked the page.
        elsewhere: Hosts that it asked for something and that are not its own.
    """

    server: float
    slowest: float
    painted: float
    ready: float
    bytes: int
    requests: int
    nodes: int
    shift: float
    shown: int
    elsewhere: frozenset[str]


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """
    A browser that reaches this machine alone.

    Raises:
        RuntimeError: There is none.
    """
    installed = shutil.which("chromium") or shutil.which("google-chrome")
    if installed is None:
        raise RuntimeError("no Chromium is installed")
    options = (
        "--no-sandbox", "--disable-gpu", "--no-proxy-server",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    )  # fmt: skip
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=installed, args=options)
        try:
            yield browser
        finally:
            browser.close()


def visit(
    browser: Browser,
    url: str,
    selector: str,
    *,
    ready: str | None = None,
    shown: str = "0",
    seconds: float = 30.0,
) -> Seen:
    """
    Open *url* in a new profile and wait until what *selector* finds is painted.

    Args:
        ready: What finds it once it can be used; as soon as it is painted if None.
        shown: An expression that tells how much the page shows by then; as long as that is NaN, it
            cannot be told yet.
        seconds: How long it may take.

    Raises:
        playwright.sync_api.TimeoutError: It took longer.
    """
    watch = WATCH.replace("SELECTOR", repr(selector)).replace("READY", repr(ready or selector))
    page = new_page(browser, watch)
    try:
        hosts: set[str] = set()
        page.on("request", lambda request: hosts.add(urlsplit(request.url).hostname or ""))
        page.set_default_timeout(1e3 * seconds)
        page.goto(url)
        page.wait_for_function(f"() => window.painted && window.ready && {FIRST}")
        fetched = page.evaluate(SEEN)
        known = f"() => {{ const told = {shown}; return Number.isNaN(told) ? null : {{told}}; }}"
        told = page.wait_for_function(known).json_value()["told"]
        page.wait_for_timeout(300)  # whatever moves does so now
        shift = page.evaluate("window.shift")
        own = {urlsplit(url).hostname or "", ""}  # a data: URL has none
        return Seen(**fetched, shift=shift, shown=told, elsewhere=frozenset(hosts - own))
    finally:
        page.context.close()


def new_page(browser: Browser, script: str, *, height: int = 900) -> Page:
    """
    A page of a new profile that runs *script* in whatever it opens.
    """
    context = browser.new_context(viewport={"width": 1440, "height": height})
    context.add_init_script(script)
    return context.new_page()


def spread(values: Sequence[float], digits: int = 0) -> str:
    """
    Least, p50 and p95 of *values*, as they are printed.
    """
    found = (min(values), statistics.median(values), p95(values))
    return " / ".join(f"{each:,.{digits}f}" for each in found)


def p95(values: Sequence[float]) -> float:
    if len(values) == 1:
        return values[0]
    return statistics.quantiles(values, n=20, method="inclusive")[-1]
