"""
`python docs/screenshots/take.py`: fills a collector with the demo and a made-up past, and takes the
pictures of this directory anew.
"""

from __future__ import annotations

import io
import itertools
import json
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, cast

import attrs
from PIL import Image
from playwright.sync_api import Browser, sync_playwright

HERE = Path(__file__).parent

PALETTE = 256
"""How many colours a picture has."""


@attrs.frozen
class Shot:
    """
    A picture to take.

    Attributes:
        page: Which page, by its name in `pages()`.
        scheme: The theme.
        width: Of the window; 390 is a phone's.
    """

    page: str
    scheme: Literal["light", "dark"] = "light"
    width: int = 1440

    @property
    def file(self) -> str:
        return f"{self.page}-{self.scheme}{'-phone' if self.width < 700 else ''}.png"


SHOTS = (
    Shot("sessions"),
    Shot("sessions", "dark"),
    Shot("sessions", "dark", 390),
    Shot("waterfall"),
    Shot("waterfall", "dark"),
    Shot("waterfall", "light", 390),
    Shot("chat"),
    Shot("chat", "dark", 390),
    Shot("errors"),
    Shot("errors", "dark"),
    Shot("compare"),
    Shot("compare", "dark"),
    Shot("overview"),
    Shot("overview", "dark"),
    Shot("overview", "light", 390),
)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="asyncops-screenshots-") as directory:
        database = Path(directory, "collector.db")
        demo(database, "--history", "--sessions", "600", "--events", "40000")
        demo(database)
        with served(database) as url, sync_playwright() as playwright:
            addresses = pages(url)
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox"]
            )
            for shot in SHOTS:
                picture = take(browser, url + addresses[shot.page], shot)
                full = Image.open(io.BytesIO(picture)).convert("RGB")
                in_few_colours(full).save(HERE / shot.file, optimize=True)
                print(f"{shot.file}: {(HERE / shot.file).stat().st_size / 1e3:.0f} KB")
            browser.close()


def demo(database: Path, *options: str) -> None:
    command = [sys.executable, "-m", "asyncops", "demo", "--exit", "--port", "0"]
    subprocess.run(
        [*command, "--db", str(database), *options], check=True, stdout=subprocess.DEVNULL
    )


@contextmanager
def served(database: Path) -> Iterator[str]:
    """
    The address of a collector over *database*.
    """
    command = [sys.executable, "-m", "asyncops", "serve", "--port", "0", "--db", str(database)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().split()[-1]
        finally:
            process.terminate()


def pages(url: str) -> Mapping[str, str]:
    """
    Where there is something to see on each page: the demo's own sessions, before the past.
    """
    newest = ask(f"{url}/api/sessions?tag=demo")["sessions"]
    good = next(one for one in newest if one["name"] == "answer a question")
    bad = next(one for one in newest if one["state"] == "Fail")
    events = ask(f"{url}/api/sessions/{good['id']}/events?limit=500")["events"]
    call = next(event for event in events if event["kind"] == "llm")
    return {
        "sessions": "/",
        "waterfall": f"/sessions/{good['id']}?event={call['id']}",
        "chat": f"/sessions/{good['id']}?view=chat",
        "errors": f"/sessions/{bad['id']}?view=errors",
        "compare": f"/compare?ids={good['id']},{bad['id']}",
        "overview": "/overview",
    }


def ask(address: str) -> Any:
    with urllib.request.urlopen(address) as answer:
        return json.load(answer)


def take(browser: Browser, address: str, shot: Shot) -> bytes:
    """
    The page as it looks once it is all there, as a PNG.
    """
    is_phone = shot.width < 700
    context = browser.new_context(
        viewport={"width": shot.width, "height": 844 if is_phone else 900},
        color_scheme=shot.scheme,
        reduced_motion="reduce",
        locale="en-GB",
    )
    page = context.new_page()
    # a phone shows the detail over everything else
    page.goto(address.partition("?event=")[0] if is_phone else address)
    page.wait_for_timeout(1_000)  # the rows and their stream
    picture = page.screenshot()
    context.close()
    return picture


def in_few_colours(full: Image.Image) -> Image.Image:
    """
    *full* with a palette: grounds are exactly as they were, and colours that are rare keep their
    place, too.
    """
    counted = cast(
        "list[tuple[int, tuple[int, int, int]]]", full.getcolors(full.width * full.height)
    )
    most = [colour for _, colour in sorted(counted, reverse=True)[: PALETTE // 2]]
    rest = full.quantize(PALETTE - len(most), Image.Quantize.MAXCOVERAGE).getpalette() or []
    palette = Image.new("P", (1, 1))
    palette.putpalette([*itertools.chain.from_iterable(most), *rest])
    few = full.quantize(palette=palette, dither=Image.Dither.NONE)
    # which takes neighbours for the same
    exact = {bytes(colour): index for index, colour in enumerate(most)}
    was = full.tobytes()
    few.frombytes(
        bytes(exact.get(was[3 * at : 3 * at + 3], now) for at, now in enumerate(few.tobytes()))
    )
    return few


if __name__ == "__main__":
    main()
