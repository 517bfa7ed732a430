"""
What models write, as HTML: a small part of Markdown, made safe.

Texts come from recorded programs. Every character of them is escaped; elements are only those
written here, and a link is one only to an http or https address that the text names itself. An
image becomes a link, too: a page asks nobody for anything.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from markupsafe import Markup, escape

from .format import web_address
from .payloads import folded, text_html

__all__ = ["markdown_html"]

MAX_CHARS = 60_000
"""A text longer than this is shown as it is."""

MAX_DEPTH = 6
"""How deep quotes, lists and emphasis lie in each other; what is deeper stays as it is written."""

MAX_COLUMNS = 30


def markdown_html(text: str) -> Markup:
    """
    *text* with its headings, lists, tables, code and emphasis; folded where it is long.
    """
    if len(text) > MAX_CHARS or not _MARKED.search(text):
        return text_html(text)
    body = Markup('<div class="md">{}</div>').format(_blocks(text.splitlines(), 0))
    return folded(text, body)


_MARKED = re.compile(r"[*_`|~\[]|^\s{0,3}(?:[-+#>]|\d{1,3}[.)])", re.MULTILINE)
"""What a text must have for Markdown to change anything."""

_FENCE = re.compile(r"\s{0,12}(`{3,}|~{3,})\s*([\w+#.-]{0,30})")
_HEADING = re.compile(r"\s{0,3}#{1,6}\s+(.*?)\s*#*\s*$")
_RULE = re.compile(r"\s{0,3}([-*_])(?:\s*\1){2,}\s*$")
_ITEM = re.compile(r"(\s*)(?:[-*+]|(\d{1,9})[.)])\s+(?=\S)")
_DIVIDER = re.compile(r"\s*\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?\s*$")


def _blocks(lines: Sequence[str], depth: int) -> Markup:
    return Markup("").join(_each_block(lines, depth))


def _each_block(lines: Sequence[str], depth: int) -> Iterator[Markup]:
    place = 0
    paragraph: list[str] = []

    def said() -> Iterator[Markup]:
        if paragraph:
            yield Markup("<p>{}</p>").format(_inline("\n".join(paragraph), 0))
            paragraph.clear()

    while place < len(lines):
        line = lines[place]
        if fence := _FENCE.match(line):
            yield from said()
            end = _end_of_fence(lines, place + 1, fence[1])
            code = "\n".join(lines[place + 1 : end])
            yield Markup('<pre class="code" tabindex="0"><code>{}</code></pre>').format(code)
            place = end + 1
        elif not line.strip():
            yield from said()
            place += 1
        elif heading := _HEADING.match(line):
            yield from said()
            yield Markup('<p class="heading">{}</p>').format(_inline(heading[1], 0))
            place += 1
        elif _RULE.match(line):
            yield from said()
            yield Markup("<hr>")
            place += 1
        elif depth < MAX_DEPTH and line.lstrip().startswith(">"):
            yield from said()
            end = _while(lines, place, lambda at: at.lstrip().startswith(">"))
            quoted = [at.lstrip()[1:].removeprefix(" ") for at in lines[place:end]]
            yield Markup("<blockquote>{}</blockquote>").format(_blocks(quoted, depth + 1))
            place = end
        elif depth < MAX_DEPTH and (item := _ITEM.match(line)):
            yield from said()
            end = _while(lines, place + 1, lambda at: bool(not at or at[0] == " " or _item(at)))
            yield _list(lines[place:end], item, depth)
            place = end
        elif "|" in line and place + 1 < len(lines) and _is_divider(lines[place + 1]):
            yield from said()
            end = _while(lines, place + 2, lambda at: "|" in at)
            yield _table([line, *lines[place + 2 : end]])
            place = end
        else:
            paragraph.append(line)
            place += 1
    yield from said()


def _item(line: str) -> bool:
    return _ITEM.match(line) is not None


def _is_divider(line: str) -> bool:
    return "|" in line and _DIVIDER.match(line) is not None


def _while(lines: Sequence[str], place: int, belongs: Callable[[str], bool]) -> int:
    while place < len(lines) and belongs(lines[place]):
        place += 1
    return place


def _end_of_fence(lines: Sequence[str], place: int, fence: str) -> int:
    while place < len(lines) and not lines[place].strip().startswith(fence):
        place += 1
    return place


def _list(lines: Sequence[str], first: re.Match[str], depth: int) -> Markup:
    """
    A list; what is indented more than its first item lies below the item before.
    """
    indent = len(first[1])
    items: list[list[str]] = []
    for line in lines:
        item = _ITEM.match(line)
        if item and (len(item[1]) <= indent or not items):
            items.append([line[item.end() :]])
        else:
            items[-1].append(line[indent + 2 :] if line[: indent + 2].isspace() else line.lstrip())
    inner = Markup("").join(
        Markup("<li>{}{}</li>").format(_inline(head, 0), _blocks(rest, depth + 1))
        for head, *rest in items
    )
    if first[2] is None:
        return Markup("<ul>{}</ul>").format(inner)
    return Markup('<ol start="{}">{}</ol>').format(int(first[2]), inner)


def _table(lines: Sequence[str]) -> Markup:
    head, *rows = (
        [cell.strip() for cell in line.strip().strip("|").split("|")[:MAX_COLUMNS]]
        for line in lines
    )
    return Markup(
        '<div class="md-table" tabindex="0"><table><thead><tr>{}</tr></thead>'
        "<tbody>{}</tbody></table></div>"
    ).format(
        Markup("").join(Markup('<th scope="col">{}</th>').format(_inline(it, 0)) for it in head),
        Markup("").join(
            Markup("<tr>{}</tr>").format(
                Markup("").join(Markup("<td>{}</td>").format(_inline(it, 0)) for it in row)
            )
            for row in rows
        ),
    )


# every repetition has a bound: no text takes longer than its length a thousand times
_INLINE = re.compile(
    r"(?P<ticks>`{1,3})(?P<code>[^\n]{1,1000}?)(?P=ticks)(?!`)"
    r"|(?P<image>!?)\[(?P<label>[^\[\]\n]{0,300})\]\((?P<address>[^\s()]{1,2000})\)"
    r"|\*\*(?P<strong>(?=\S)[^\n]{1,1000}?(?<=\S))\*\*"
    r"|(?<![\w*])\*(?P<em>(?=[^\s*])[^\n*]{1,500}?(?<=\S))\*(?![\w*])"
    r"|(?<!\w)__(?P<strong2>(?=\S)[^\n]{1,1000}?(?<=\S))__(?!\w)"
    r"|(?<![\w_])_(?P<em2>(?=[^\s_])[^\n_]{1,500}?(?<=\S))_(?![\w_])"
    r"|~~(?P<deleted>(?=\S)[^\n]{1,500}?(?<=\S))~~"
)

_ELEMENTS = {
    "strong": Markup("<strong>{}</strong>"),
    "strong2": Markup("<strong>{}</strong>"),
    "em": Markup("<em>{}</em>"),
    "em2": Markup("<em>{}</em>"),
    "deleted": Markup("<del>{}</del>"),
}


def _inline(text: str, depth: int) -> Markup:
    if depth >= MAX_DEPTH:
        return escape(text)
    parts: list[Markup] = []
    place = 0
    for found in _INLINE.finditer(text):
        parts.append(escape(text[place : found.start()]))
        parts.append(_marked(found, depth))
        place = found.end()
    parts.append(escape(text[place:]))
    return Markup("").join(parts)


def _marked(found: re.Match[str], depth: int) -> Markup:
    if found["code"] is not None:
        return Markup("<code>{}</code>").format(found["code"])
    if found["address"] is None:
        name = found.lastgroup or ""
        return _ELEMENTS[name].format(_inline(found[name], depth + 1))
    address = web_address(found["address"])
    if address is None:
        return escape(found[0])
    label = _inline(found["label"], depth + 1) or escape(address)
    return Markup('<a href="{}" rel="noopener noreferrer" target="_blank">{}{}</a>').format(
        address, "image: " if found["image"] else "", label
    )
