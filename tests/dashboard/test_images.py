"""
Recorded images are shown where their bytes are there, and nothing else is taken for one.
"""

from __future__ import annotations

import base64
import hashlib
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from playwright.sync_api import expect
from programs import Get, Programs, now
from stories import begin
from windows import Window

from asyncops.collector.dashboard import payloads
from asyncops.collector.dashboard.conversations import messages
from asyncops.collector.dashboard.images import Image, image_of, without_images
from asyncops.collector.dashboard.payloads import json_html

GIF = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
"""The smallest there is."""


def png(width: int, height: int) -> bytes:
    """
    A real image of that many points.
    """

    def chunk(kind: bytes, data: bytes) -> bytes:
        end = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + end

    rows = b"".join(
        b"\0" + bytes(byte for x in range(width) for byte in (x % 256, y % 256, 90))
        for y in range(height)
    )
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        chunk(kind, data)
        for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    )


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.mark.parametrize(
    ("mime", "data"),
    [
        ("image/png", png(3, 2)),
        ("image/gif", GIF),
        ("image/jpeg", b"\xff\xd8\xff\xe0\0\x10JFIF\0" + bytes(range(256))),
        ("image/webp", b"RIFF\x24\0\0\0WEBPVP8 " + bytes(range(256))),
        ("image/avif", b"\0\0\0\x1cftypavif\0\0\0\0" + bytes(range(256))),
    ],
)
def test_an_image_is_known_by_its_first_bytes(mime: str, data: bytes) -> None:
    """
    As base64 of either alphabet and as a URL of it, whatever that claims; with its size.
    """
    plain = encoded(data)
    safe = base64.urlsafe_b64encode(data).decode().rstrip("=")
    for text in (
        plain,
        safe,
        f"data:{mime};base64,{plain}",
        f"data:text/html;charset=utf-8;base64,{plain}",
        f"data:;base64,{plain}",
    ):
        image = image_of(text)
        assert image is not None
        assert (image.mime, image.size) == (mime, len(data))
        address = image.address.removeprefix(f"data:{mime};base64,")
        assert base64.b64decode(address + "=" * (-len(address) % 4)) == data


@pytest.mark.parametrize(
    "text",
    [
        "",
        "iVBORw0KGgo",
        "plain words that go on for longer than any limit",
        "https://example.org/iVBORw0KGgoAAAANSUhEUgAAAAUAAAAF.png",
        "data:image/png;base64,",
        "data:image/png,not base64 at all, and long enough",
        "data:image/svg+xml;base64," + encoded(b"<svg onload='__xss(1)' xmlns='x'></svg>"),
        "data:text/html;base64," + encoded(b"<script>__xss('from an image')</script>"),
        encoded(png(3, 2)) + '" onerror="__xss(1)',
        encoded(png(3, 2)) + "\n",
        encoded(png(3, 2))[:30] + "<b>" + encoded(png(3, 2))[30:],
        encoded(b"%PDF-1.7 is no image, and neither are zip or wav"),
    ],
)
def test_what_is_no_image_stays_text(text: str) -> None:
    """
    Also where it begins like one, or says that it is one.
    """
    assert image_of(text) is None
    assert "<img" not in json_html({"it": text})


@given(head=st.sampled_from([GIF, png(1, 1), b"\xff\xd8\xff"]), tail=st.text(), url=st.booleans())
def test_no_text_gets_out_of_the_address(head: bytes, tail: str, url: bool) -> None:
    """
    Whatever follows the first bytes.
    """
    image = image_of(("data:image/png;base64," if url else "") + encoded(head) + tail)
    safe = r"data:image/[a-z]+;base64,[A-Za-z0-9+/]+=*"
    assert image is None or re.fullmatch(safe, image.address)


@given(value=st.recursive(st.text() | st.none(), lambda inner: st.dictionaries(st.text(), inner)))
def test_an_image_is_looked_for_in_anything(value: Any) -> None:
    """
    Nothing makes the search fail; it goes no deeper than vendors wrap.
    """

    def image(wrapped: Any) -> Image | None:
        block = {"type": "image_url", "image_url": wrapped}
        (message,) = messages([{"role": "user", "content": [block]}], role="user") or ()
        (part,) = message.parts
        return part.image

    assert image(value) is None
    assert image([encoded(GIF)]) is None
    assert image({"a": {"b": {"c": encoded(GIF)}}}) is not None
    assert image({"a": {"b": {"c": {"d": encoded(GIF)}}}}) is None


def test_a_part_of_a_message_says_which_image_it_is() -> None:
    """
    By what it is, not by what its vendor calls the part: this is what a terminal shows of it.
    """
    data = png(3, 2)
    words = f"image/png, {len(data)} B"
    block = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{encoded(data)}"}}
    inline = {"inlineData": {"mimeType": "image/png", "data": encoded(data)}}
    for said in ({"content": [block]}, {"parts": [inline]}, {"images": [encoded(data)]}):
        (message,) = messages([{"role": "user", **said}], role="user") or ()
        assert [(part.kind, part.text) for part in message.parts] == [("media", words)]


def test_images_have_a_bound_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A few screenshots do not hide the rest of a payload; what is beyond the bound is a text.
    """
    image = encoded(png(40, 40))
    monkeypatch.setattr(payloads, "MAX_IMAGE_CHARS", 2 * len(image))
    html = json_html([image, image, image, "and what was said of them"])
    assert html.count("<img") == 2
    assert html.count("<figcaption") == 2
    assert "and what was said of them" in html


def test_images_are_compared_by_their_hashes(get: Get, program: Programs) -> None:
    """
    Two screenshots are not held against each other letter by letter, and hide no text beside them.
    """
    shots = [png(300, 300 + number) for number in range(2)]
    assert len(encoded(shots[0])) > 1_000
    words = [f"SHA-256 {hashlib.sha256(shot).hexdigest()[:8]}]" for shot in shots]
    for shot, told in zip(shots, words, strict=True):
        for text in (encoded(shot), f"data:image/png;base64,{encoded(shot)}"):
            (said,) = without_images({"a": ["b", text, 1, None]})["a"][1:2]
            assert said.startswith("[image/png, ")
            assert said.endswith(told)
    ids, asked = [], []
    for shot, said in zip(shots, ("before", "after"), strict=True):
        one = program()
        begin(one, said, at=now())
        url = {"url": f"data:image/png;base64,{encoded(shot)}"}
        content = [{"type": "image_url", "image_url": url}, {"type": "text", "text": f"or {said}"}]
        asked.append(
            one.event("llm", "ask", at=now(), prompt=[{"role": "user", "content": content}])
        )
        one.send()
        ids.append(one.session)
    opened = get(f"/compare?ids={','.join(ids)}&step=A-{asked[0]}").text
    before, after = (told[8:16] for told in words)
    for change in (f"<del>{before}</del>", f"<ins>{after}</ins>"):
        assert change in opened.replace(" ", "")
    assert "<del> before</del><ins> after</ins>" in opened
    assert not any(encoded(shot)[:100] in opened for shot in shots)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_images_are_seen(window: Window, program: Programs, tmp_path: Path, scheme: Any) -> None:
    """
    In prompts of every vendor, in answers, in what tools were given and gave, on a phone too; in
    the chat as in the detail; and in the file that a session is taken along as.
    """
    one = program()
    begin(one, "sees", at=now())
    given = [encoded(png(1_000 + number, 40)) for number in range(9)]
    blocks = [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{given[0]}"}},
        {"type": "input_image", "image_url": f"data:image/png;base64,{given[1]}"},
        {
            "type": "image",
            "source": {"type": "base64", "media_type": "image/png", "data": given[2]},
        },
        {"inlineData": {"mimeType": "image/png", "data": given[3]}},
    ]
    drawn = {"type": "image_generation_call", "id": "ig", "status": "completed", "result": given[6]}
    look = one.event(
        "llm", "look", at=now(), model="m",
        prompt=[
            {"role": "user", "content": blocks},
            {"role": "user", "content": "and this", "images": [given[4]]},
            {"role": "tool", "tool_call_id": "c", "content": given[5]},
        ],
        completion=[drawn],
    )  # fmt: skip
    shot = one.event(
        "tool", "screenshot", at=now(), params={"mask": given[7]}, returns=given[8]
    )  # fmt: skip
    one.send()

    sizes = "[...document.querySelectorAll('#split img')].map((it) => it.naturalWidth)"
    page = window.open(f"/sessions/{one.session}?event={look}", width=390, scheme=scheme)
    expect(page.locator("#detail figure")).to_have_count(7)
    page.wait_for_function(f"{sizes}.every(Boolean)")
    assert page.evaluate(sizes) == [1_000 + number for number in range(7)]
    expect(page.locator("#detail figcaption").first).to_have_text(
        re.compile(r"^image/png, [\d.]+ KiB$")
    )
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    page.goto(f"{window.url}/sessions/{one.session}?event={shot}")
    expect(page.locator("#detail figure img")).to_have_count(2)
    page.goto(f"{window.url}/sessions/{one.session}?view=chat")
    expect(page.locator("#view figure img")).to_have_count(9)
    page.wait_for_function(f"{sizes}.every(Boolean)")

    taken = tmp_path / "taken.html"
    taken.write_bytes(
        page.request.get(f"{window.url}/api/sessions/{one.session}/export?format=html").body()
    )
    page.goto(taken.as_uri())
    assert page.evaluate("document.images.length") == 9
    widths = "[...document.images].map((it) => it.naturalWidth)"
    page.wait_for_function(f"{widths}.every(Boolean)")
    # a file is not from the collector
    window.faults = [fault for fault in window.faults if taken.as_uri() not in fault]
