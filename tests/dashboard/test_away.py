"""
What open pages make of a collector that goes and comes, and of a machine that sleeps.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import psutil
from playwright.sync_api import Browser, Page, expect
from processes import collector, own_port, until
from programs import SECOND, Program, Programs, now
from stories import answer, begin
from windows import Window


@contextlib.contextmanager
def asleep(browser: Browser) -> Iterator[None]:
    """
    The browser with all its processes stands still, as in a laptop that is closed.
    """
    assert browser.is_connected()
    asleep = []
    for process in psutil.Process(os.getpid()).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # some are just ending
            if "chrom" in process.name():
                process.suspend()
                asleep.append(process)
    assert asleep
    try:
        yield
    finally:
        for process in asleep:
            process.resume()


def test_open_pages_catch_up(browser: Browser) -> None:
    """
    The collector is killed with -9 while three pages are open: they say that it does not answer,
    and once there is another one on its port they are live again, untouched, and show what was
    recorded meanwhile. They do, too, where all that happens while the machine sleeps.
    """
    with (
        httpx.Client(timeout=30, trust_env=False, verify=False) as http,
        own_port() as port,
    ):
        one = Program(http)
        with collector(port) as first:
            http.base_url = first.url
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


NOTE = """
window.said = [];
const light = document.getElementById("live");
new MutationObserver(() => window.said.push(light.textContent)).observe(light, {childList: true});
"""
"""Notes what the light says from now on, for however short a time."""


class Relay:
    """
    What lies between a page and the collector. It may forget the connections that it has, as what
    lies there does while a laptop sleeps: nobody is told.

    Attributes:
        in_vain: Set when something comes over a forgotten connection.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._connections: list[socket.socket] = []
        self._forgotten: set[socket.socket] = set()
        self.in_vain = threading.Event()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def forget(self) -> None:
        """
        Pass nothing on of what comes over the connections there are.
        """
        self._forgotten.update(self._connections)

    def close(self) -> None:
        for each in (self._listener, *self._connections):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for each in (self._listener, *self._connections):
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                here, _ = self._listener.accept()
                there = socket.create_connection(("127.0.0.1", self._port))
                self._connections += here, there
                for pair in ((here, there), (there, here)):
                    thread = threading.Thread(target=self._pass_on, args=pair)
                    self._threads.append(thread)
                    thread.start()

    def _pass_on(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(65_536):
                if one in self._forgotten:
                    self.in_vain.set()
                else:
                    other.sendall(data)
            if one not in self._forgotten:
                other.shutdown(socket.SHUT_WR)


def test_connections_that_are_dead_and_nobody_says_so(
    browser: Browser, program: Programs, collector: str
) -> None:
    """
    A page whose stream leads nowhere says so once that has been silent for too long, asks for it
    anew, and is up to date again, though its other connections lead nowhere either.
    """
    one = program()
    begin(one, "goes on", at=now() - 5 * SECOND)
    one.event("tool", "before", at=now() - 4 * SECOND)
    one.send()
    with contextlib.closing(Relay(urlsplit(collector).port or 0)) as relay:
        window = Window(browser, relay.url)
        with contextlib.closing(window):
            page = window.open("/keys")
            page.clock.install()
            page.goto(f"{window.url}/sessions/{one.session}")
            says(page, "Live")
            expect(page.locator(".row", has_text="before")).to_be_visible()
            page.evaluate(NOTE)
            relay.forget()
            one.event("tool", "meanwhile", at=now())
            one.send()
            page.clock.fast_forward(25_000)
            assert page.evaluate("window.said") == []  # what it has heard last is not long ago
            page.clock.fast_forward(25_000)
            is_shown = page.locator(".row", has_text="meanwhile").is_visible

            def is_found() -> bool:
                # what was asked in vain is given up in time; what was not has its time to come
                if relay.in_vain.is_set():
                    relay.in_vain.clear()
                    page.clock.fast_forward(31_000)
                return is_shown() and page.locator("#live").text_content() == "Live"

            until(is_found)
            assert page.evaluate("window.said[0]") == "Reconnecting"
    assert window.faults == []


def says(page: Page, said: str) -> None:
    expect(page.locator("#live")).to_have_text(said)
