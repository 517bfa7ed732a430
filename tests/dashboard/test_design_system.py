"""
The colours of the pages: the ones that docs/design-system.md names, with contrasts that hold, and
apart for those who see colours differently.
"""

from __future__ import annotations

import itertools
import math
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STYLES = (ROOT / "src/asyncops/collector/dashboard/static/base.css").read_text()
PAGE = (ROOT / "docs/design-system.md").read_text()

COLOURS = {
    name: (light, dark)
    for name, light, dark in re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\);", STYLES)
}
SIZES = dict(re.findall(r"--(small|tiny|radius|row|header): ([\w.]+);", STYLES))

KINDS = ("agent", "llm", "tool", "action", "error")
STATES = ("running", "success", "fail", "cancelled", "indeterminate")
INK = ("text", "muted", "accent", *KINDS, *STATES)
GROUNDS = ("surface", "ground", "raised", "hover", "accent-ground", "fail-ground", "warn-ground")

SEEN_BY: dict[str, tuple[tuple[float, float, float], ...]] = {
    "protanopia": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deuteranopia": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
    "tritanopia": (
        (1.255528, -0.076749, -0.178779),
        (-0.078411, 0.930809, 0.147602),
        (0.004733, 0.691367, 0.303900),
    ),
}
"""What becomes of linear RGB (Machado, Oliveira and Fernandes, 2009, at full severity)."""

LEAST_DIFFERENCE = 3.0
"""Between two kinds, as `difference()` counts it; side by side, about 2 can be seen."""

Light = tuple[float, float, float]


def linear(colour: str) -> Light:
    """
    Red, green and blue as amounts of light.
    """
    values = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values)
    return red, green, blue


def contrast(one: str, other: str) -> float:
    """
    As WCAG 2.2 defines it.
    """
    weights = (0.2126, 0.7152, 0.0722)
    lights = [
        sum(weight * part for weight, part in zip(weights, linear(colour), strict=True))
        for colour in (one, other)
    ]
    return (max(lights) + 0.05) / (min(lights) + 0.05)


def perceived(light: Light) -> Light:
    """
    Lightness and hue in Oklab, where a distance is about how different two colours look.
    """
    red, green, blue = (min(max(part, 0.0), 1.0) for part in light)
    long = (0.4122214708 * red + 0.5363325363 * green + 0.0514459929 * blue) ** (1 / 3)
    middle = (0.2119034982 * red + 0.6806995451 * green + 0.1073969566 * blue) ** (1 / 3)
    short = (0.0883024619 * red + 0.2817188376 * green + 0.6299787005 * blue) ** (1 / 3)
    return (
        0.2104542553 * long + 0.7936177850 * middle - 0.0040720468 * short,
        1.9779984951 * long - 2.4285922050 * middle + 0.4505937099 * short,
        0.0259040371 * long + 0.7827717662 * middle - 0.8086757660 * short,
    )


def difference(one: str, other: str, eyes: str) -> float:
    """
    How different two colours look to those *eyes*, in hundredths of the way from black to white.
    """
    seen = []
    for colour in (one, other):
        light = linear(colour)
        red, green, blue = (
            sum(weight * part for weight, part in zip(row, light, strict=True))
            for row in SEEN_BY[eyes]
        )
        seen.append(perceived((red, green, blue)))
    return 100 * sum((a - b) ** 2 for a, b in zip(*seen, strict=True)) ** 0.5


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_every_ink_can_be_read_on_every_ground(theme: int) -> None:
    """
    At least 4.5:1, as text of any size needs it.
    """
    faint = {
        (ink, ground): found
        for ink, ground in itertools.product(INK, GROUNDS)
        if (found := contrast(COLOURS[ink][theme], COLOURS[ground][theme])) < 4.5
    }
    assert faint == {}


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("eyes", SEEN_BY)
def test_kinds_are_told_apart_by_all_eyes(eyes: str, theme: int) -> None:
    """
    No two kinds of events look alike to people who see fewer colours.
    """
    alike = {
        pair: found
        for pair in itertools.combinations(KINDS, 2)
        if (found := difference(*(COLOURS[kind][theme] for kind in pair), eyes)) < LEAST_DIFFERENCE
    }
    assert alike == {}


def test_the_page_names_the_colours_and_their_contrasts() -> None:
    """
    docs/design-system.md tells each colour as it is, and the least contrast of each ink.
    """
    for ground in GROUNDS:
        light, dark = COLOURS[ground]
        assert re.search(rf"`--{ground}` \| [^|]+ \| `{light}` \| `{dark}` \|", PAGE), ground
    for ink in INK:
        cells = []
        for theme in (0, 1):
            least = min(contrast(COLOURS[ink][theme], COLOURS[it][theme]) for it in GROUNDS)
            cells.append(f"`{COLOURS[ink][theme]}` | {math.floor(10 * least) / 10:.1f}")
        assert re.search(rf"`--{ink}` \| [^|]+ \| {' [|] '.join(map(re.escape, cells))}", PAGE), ink


def test_the_page_names_the_sizes() -> None:
    """
    Steps of the type scale and the sizes of parts are as the page tells them.
    """
    for name, size in SIZES.items():
        assert re.search(rf"--{name}(` \| |: ){re.escape(size)}", PAGE), name
    assert re.search(r"h1 { font-size: 1.25rem", STYLES)
    assert re.search(r"h2 { font-size: 0.9375rem", STYLES)
    assert "font: 400 0.875rem/1.45 var(--sans)" in STYLES
    assert "font-variant-numeric: tabular-nums" in STYLES


def test_every_picture_is_there_and_they_are_small() -> None:
    """
    What page and README show exists; all of it together stays under 2 MB.
    """
    named = set(re.findall(r"screenshots/([\w-]+\.png)", PAGE + (ROOT / "README.md").read_text()))
    files = {file.name: file.stat().st_size for file in (ROOT / "docs/screenshots").glob("*.png")}
    assert named == set(files)
    assert sum(files.values()) < 2_000_000
