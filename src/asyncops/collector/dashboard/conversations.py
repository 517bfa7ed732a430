"""
What was said to a model and by it, as messages, whichever vendor's way it was written in.

Read are plain strings, single messages, lists of messages, and whole requests and answers: the
chat of OpenAI (`tool_calls`, `tool_call_id`) and its responses (`function_call`, `output`), the
blocks of Anthropic (`tool_use`, `tool_result`, `thinking`), the parts of Gemini (`functionCall`,
`inlineData`), the chats of Mistral, Cohere (`tool_plan`) and Ollama (`images`, `thinking`), and
what a recorder leaves of content that it does not keep (`$media`, `$hashed`). A part of another
shape stays JSON, and so does a whole that holds no message: nothing recorded is left out for being
unknown.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar

import attrs
import msgspec

from .format import plural, size_bytes, web_address
from .images import Image, image_of

__all__ = ["Message", "Part", "messages"]

MAX_MESSAGES = 200
"""How many messages of one conversation are shown, from its end."""

MAX_WRAPPED = 3
"""How deep an image, sound or file is looked for in what stands for it."""

_T = TypeVar("_T")

PartKind = Literal["text", "thinking", "call", "result", "media", "note", "json"]


@attrs.frozen(kw_only=True)
class Part:
    """
    One piece of a message.

    Attributes:
        kind: What it is; "media" is an image, sound or file, "note" says in our words what was
            there.
        text: Its text.
        name: The tool that is called or answers.
        id: The id that ties a call to its result.
        value: Arguments of a call, content of a result, or whatever has no other form.
        address: Where an image, sound or file lies on the web.
        image: An image whose bytes were kept; other media are named but not shown.
    """

    kind: PartKind
    text: str = ""
    name: str | None = None
    id: str | None = None
    value: Any = None
    address: str | None = None
    image: Image | None = None


@attrs.frozen(kw_only=True)
class Message:
    """
    One turn: who speaks, and what.
    """

    role: str
    name: str | None = None
    parts: tuple[Part, ...] = ()


def messages(value: Any, *, role: str) -> tuple[Message, ...] | None:
    """
    *value* as messages, or None if it is no conversation in any way we know.

    Args:
        value: Plain JSON, as recorded.
        role: Who speaks where it is not said: "user" for a prompt, "assistant" for a completion.
    """
    found = _whole(value, role)
    return None if found is None else tuple(found)


def _whole(value: Any, role: str) -> list[Message] | None:
    if isinstance(value, str):
        return [Message(role=role, parts=(Part(kind="text", text=value),))]
    if isinstance(value, list):
        return _list(value, role)
    if not isinstance(value, dict):
        return None
    if _is_message(value):
        return [_message(value, role)]
    if _is_cut_text(value) or _is_left_out(value):
        return [Message(role=role, parts=tuple(_parts(value)))]
    if value.keys() == {"embeddings", "dimensions"}:
        return [Message(role=role, parts=(_vectors(value),))]
    return _envelope(value, role)


def _envelope(value: dict[str, Any], role: str) -> list[Message] | None:
    """
    A whole request or answer: the messages in it. Its other entries are shown as JSON beside them.
    """
    found: list[Message] = []
    shown: set[str] = set()
    for key in ("system", "instructions", "systemInstruction"):
        if value.get(key):
            found.append(Message(role="system", parts=tuple(_system(value[key]))))
            shown.add(key)
    instructed = len(shown)
    for key in ("messages", "contents", "input", "output", "content", "prompt"):
        said = value.get(key)
        readable = isinstance(said, (str, list)) or _is_left_out(said)
        listed = _whole(said, role) if readable and said else None
        if listed is not None:
            found += listed
            shown.add(key)
    if isinstance(value.get("response"), str):
        found.append(_message({"content": value["response"], **_beside(value)}, role))
        shown.update(("response", *_beside(value)))
    choices = value.get("choices")
    if isinstance(choices, list):
        answers = [choice.get("message") for choice in choices if isinstance(choice, dict)]
        if answers and all(isinstance(answer, dict) for answer in answers):
            found += [_message(answer, role) for answer in answers if isinstance(answer, dict)]
            shown.add("choices")
    if len(shown) == instructed:
        return None
    rest = {key: item for key, item in value.items() if key not in shown}
    if rest:
        found.append(Message(role="other fields", parts=(Part(kind="json", value=rest),)))
    return found


def _beside(value: dict[str, Any]) -> dict[str, Any]:
    """
    What Ollama has beside a response.
    """
    return {key: value[key] for key in ("thinking", "image") if key in value}


def _system(said: Any) -> list[Part]:
    if isinstance(said, dict) and isinstance(said.get("parts"), list):
        return _parts(said["parts"])
    return _parts(said)


def _list(items: list[Any], role: str) -> list[Message] | None:
    if not items:
        return []
    if all(isinstance(item, str) for item in items):
        return [Message(role=role, parts=(Part(kind="text", text=item),)) for item in items]
    if all(_is_left_out(item) for item in items):
        return [Message(role=role, parts=tuple(_parts(items)))]
    if not any(isinstance(item, dict) and _is_message(item) for item in items):
        if all(isinstance(item, dict) and _is_block(item) for item in items):
            return [Message(role=role, parts=tuple(_parts(items)))]
        return None
    found = [
        _message(item, role) if isinstance(item, dict) else Message(role="?", parts=(_json(item),))
        for item in items[-MAX_MESSAGES:]
    ]
    if len(items) > MAX_MESSAGES:
        text = f"{len(items) - MAX_MESSAGES:,} earlier messages are in the JSON."
        found.insert(0, Message(role="left out", parts=(Part(kind="text", text=text),)))
    return found


_BLOCK_TYPES = frozenset(
    "text input_text output_text refusal tool_use server_tool_use tool_result thinking"
    " redacted_thinking reasoning".split()
)
_MEDIA_TYPES = frozenset(
    "image image_url input_image input_audio video_url file input_file document"
    " document_url".split()
)
_NOT_SHOWN = "(not shown by the provider)"


def _is_message(item: dict[str, Any]) -> bool:
    return (
        isinstance(item.get("role"), str)
        or isinstance(item.get("parts"), list)
        or _is_item(_type_of(item))
    )


def _is_item(kind: str) -> bool:
    """
    Whether that type stands for a message of its own in the list of OpenAI's responses.
    """
    return kind in ("message", "reasoning") or kind.endswith(("_call", "_call_output"))


def _is_block(item: dict[str, Any]) -> bool:
    return _type_of(item) in _BLOCK_TYPES or _type_of(item) in _MEDIA_TYPES


def _type_of(item: dict[str, Any]) -> str:
    kind = item.get("type")
    return kind if isinstance(kind, str) else ""


def _is_cut_text(value: Any) -> bool:
    return isinstance(value, dict) and value.get("$truncated") == "string"


def _is_left_out(value: Any) -> bool:
    """
    Whether *value* stands in place of what the recorder did not keep.
    """
    return isinstance(value, dict) and any(
        isinstance(value.get(key), str) for key in ("$media", "$hashed")
    )


def _message(item: dict[str, Any], role: str) -> Message:
    kind = _type_of(item)
    if _is_item(kind) and "role" not in item:
        return _item(item, kind)

    speaker = item.get("role")
    if speaker == "model":  # Gemini
        speaker = "assistant"
    parts = [
        Part(kind="thinking", text=item[key])
        for key in _THOUGHTS
        if isinstance(item.get(key), str) and item[key]
    ]
    content = item.get("content")
    if speaker == "tool" or isinstance(item.get("tool_call_id"), str):
        name = item.get("name") or item.get("tool_name")
        parts.append(_result(item.get("tool_call_id"), content, name))
    else:
        parts += _parts(content)
    if isinstance(item.get("parts"), list):
        parts += _parts(item["parts"])
    if _is_left_out(item):
        parts.append(_left_out(item))
    parts += _media(item)
    if isinstance(item.get("refusal"), str) and item["refusal"]:
        parts.append(Part(kind="text", text=item["refusal"]))
    parts += _tool_calls(item.get("tool_calls"))
    if isinstance(item.get("function_call"), dict):
        function = item["function_call"]
        parts.append(_call(function.get("name"), None, function.get("arguments")))
    known = {
        "role", "content", "parts", "name", "type", "id", "status", "refusal", "tool_calls",
        "tool_call_id", "tool_name", "function_call", "audio", "image", "images", "$media",
        "$hashed", "size", "sha256",
    } | {key for key in _THOUGHTS if isinstance(item.get(key), str)}  # fmt: skip
    if isinstance(item.get("reasoning"), str):
        known.add("reasoning_details")  # OpenRouter: the same once more
    rest = {key: value for key, value in item.items() if key not in known and value}
    if rest:
        parts.append(_json(rest))
    return Message(
        role=speaker if isinstance(speaker, str) else role,
        name=item["name"] if isinstance(item.get("name"), str) else None,
        parts=tuple(parts),
    )


def _item(item: dict[str, Any], kind: str) -> Message:
    """
    One of OpenAI's responses that is no message, or one that does not say who speaks.
    """
    if kind.endswith("_output"):
        return Message(role="tool", parts=(_result(item.get("call_id"), item.get("output")),))
    if kind.endswith("_call"):
        said = next((item[key] for key in _CALLED_WITH if item.get(key)), None)
        call = _call(item.get("name") or kind, item.get("call_id") or item.get("id"), said)
        known = {"type", "id", "call_id", "name", "status"}
        rest = {key: value for key, value in item.items() if key not in known and value is not said}
        parts = [call, *([_json(rest)] if any(rest.values()) else [])]
        return Message(role="assistant", parts=tuple(parts))
    if kind == "reasoning":
        return Message(role="assistant", parts=tuple(_block(item)))
    return Message(role="assistant", parts=tuple(_parts(item.get("content"))))


_THOUGHTS = ("reasoning_content", "reasoning", "thinking", "tool_plan")
"""Where a message has what was thought before it was said."""

_CALLED_WITH = ("arguments", "input", "action", "code", "queries")
"""Where an item has what its tool is called with."""


def _media(item: dict[str, Any]) -> list[Part]:
    """
    Images and sound that a message has beside its content.
    """
    found: list[Part] = []
    images = item.get("images")
    for image in images if isinstance(images, list) else [item.get("image")]:
        if image:
            found += _block(image) if isinstance(image, dict) else [_named("image", image)]
    audio = item.get("audio")
    if isinstance(audio, dict):
        if isinstance(audio.get("transcript"), str) and audio["transcript"]:
            found.append(Part(kind="text", text=audio["transcript"]))
        found.append(_named("audio", audio))
    elif audio:
        found.append(_json({"audio": audio}))
    return found


def _parts(content: Any) -> list[Part]:
    if content is None:
        return []
    if isinstance(content, str):
        return [Part(kind="text", text=content)] if content else []
    if _is_left_out(content):
        return [_left_out(content)]
    if not isinstance(content, list):
        return [_json(content)]
    found: list[Part] = []
    for block in content:
        if isinstance(block, str):
            found.append(Part(kind="text", text=block))
        elif isinstance(block, dict):
            found += _block(block)
        else:
            found.append(_json(block))
    return found


def _block(block: dict[str, Any]) -> list[Part]:
    kind = _type_of(block)
    if kind in ("text", "input_text", "output_text") and isinstance(block.get("text"), str):
        return [Part(kind="text", text=block["text"])]
    if kind == "refusal" and isinstance(block.get("refusal"), str):
        return [Part(kind="text", text=block["refusal"])]
    if kind == "thinking":
        said = block.get("thinking")
        texts = [said] if isinstance(said, str) else _texts(said)
        return [Part(kind="thinking", text="".join(texts))] if texts else [_json(block)]
    if kind == "redacted_thinking":
        return [Part(kind="thinking", text=_NOT_SHOWN)]
    if kind == "reasoning" and isinstance(block.get("summary"), list):
        texts = [*_texts(block["summary"]), *_texts(block.get("content"))]
        return [Part(kind="thinking", text="\n\n".join(texts) or _NOT_SHOWN)]
    if kind.endswith("tool_use"):
        return [_call(block.get("name"), block.get("id"), block.get("input"))]
    if kind.endswith("tool_result"):
        return [_result(block.get("tool_use_id"), block.get("content"))]
    if kind in _MEDIA_TYPES:
        return [_named(kind, block)]
    if _is_left_out(block):
        return [_left_out(block)]
    return [_json(block)] if kind else _gemini_part(block)


def _gemini_part(part: dict[str, Any]) -> list[Part]:
    """
    A part that tells what it is by the name of one of its entries; Google takes names in both
    spellings.
    """
    part = {_camel(key): value for key, value in part.items()}
    kind = next((name for name in _GEMINI if isinstance(part.get(name), _GEMINI[name])), None)
    if kind is None:
        return [_json(part)]
    said = part[kind]
    rest = {key: value for key, value in part.items() if key not in (kind, *_GEMINI_BESIDE)}
    beside = [_json(rest)] if any(rest.values()) else []
    if kind == "text":
        how: PartKind = "thinking" if part.get("thought") is True else "text"
        return [*([Part(kind=how, text=said)] if said else []), *beside]
    said = {_camel(key): value for key, value in said.items()}
    if kind in ("functionCall", "toolCall"):
        return [_call(said.get("name") or said.get("toolType"), said.get("id"), said.get("args"))]
    if kind in ("functionResponse", "toolResponse"):
        name = said.get("name") or said.get("toolType")
        return [_result(said.get("id"), said.get("response"), name), *beside]
    if kind == "executableCode":
        return [_call(_text(said.get("language")) or kind, said.get("id"), said.get("code"))]
    if kind == "codeExecutionResult":
        return [_result(said.get("id"), said.get("output"), _text(said.get("outcome"))), *beside]
    return [_named(_text(said.get("mimeType")) or kind, said), *beside]


_GEMINI: dict[str, type] = {
    "text": str,
    "functionCall": dict,
    "functionResponse": dict,
    "toolCall": dict,
    "toolResponse": dict,
    "executableCode": dict,
    "codeExecutionResult": dict,
    "inlineData": dict,
    "fileData": dict,
}
"""What a part may be."""

_GEMINI_BESIDE = ("thought", "thoughtSignature")
"""What is said about a part, and shown by how it is shown."""


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)


def _named(name: str, value: Any) -> Part:
    """
    An image, sound or file; where its bytes were not kept, by what was kept of them.
    """
    marker, image = _first(_marker, value), _first(_image, value)
    if image is not None:
        name = image.words
    elif marker is not None:
        name = _media_words(marker)
    address = _first(_address, value)
    return Part(kind="media", text=name, value=value, address=address, image=image)


def _first(find: Callable[[Any], _T | None], value: Any, depth: int = 0) -> _T | None:
    """
    What *find* finds first, of *value* and what lies in it or not far below: vendors wrap what they
    mean, as in `{"image_url": {"url": ...}}`.
    """
    found = find(value)
    if found is not None or not isinstance(value, dict) or depth > MAX_WRAPPED:
        return found
    below = (_first(find, inner, depth + 1) for inner in value.values())
    return next((it for it in below if it is not None), None)


def _address(value: Any) -> str | None:
    return web_address(value) if isinstance(value, str) else None


def _image(value: Any) -> Image | None:
    return image_of(value) if isinstance(value, str) else None


def _marker(value: Any) -> dict[str, Any] | None:
    """
    What stands in place of bytes.
    """
    return value if isinstance(value, dict) and isinstance(value.get("$media"), str) else None


def _left_out(value: dict[str, Any]) -> Part:
    if isinstance(value.get("$media"), str):
        return Part(kind="media", text=_media_words(value), value=value)
    size = _number(value.get("size"))
    how_much = "What was said" if size is None else plural(size, "character")
    return Part(kind="note", text=f"{how_much}, not kept: {value['$hashed']}")


def _media_words(marker: dict[str, Any]) -> str:
    size = _number(marker.get("size"))
    return marker["$media"] if size is None else f"{marker['$media']}, {size_bytes(size)}"


def _vectors(value: dict[str, Any]) -> Part:
    """
    What is kept of embeddings, in words.
    """
    many, size = _number(value["embeddings"]), _number(value["dimensions"])
    if many is None:
        return _json(value)
    words = plural(many, "vector")
    if size is not None:
        words += f" of {plural(size, 'number')}"
    return Part(kind="note", text=f"{words}, not kept")


def _number(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value < 2**63 else None


def _texts(blocks: Any) -> list[str]:
    if not isinstance(blocks, list):
        return []
    return [block["text"] for block in blocks if _has_text(block)]


def _has_text(item: Any) -> bool:
    return isinstance(item, dict) and isinstance(item.get("text"), str)


def _tool_calls(calls: Any) -> list[Part]:
    if not isinstance(calls, list):
        return [] if calls is None else [_json(calls)]
    found: list[Part] = []
    for call in calls:
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict):
            found.append(_call(function.get("name"), call.get("id"), function.get("arguments")))
        else:
            found.append(_json(call))
    return found


def _call(name: Any, call_id: Any, arguments: Any) -> Part:
    if isinstance(arguments, str):
        arguments = _decoded(arguments)
    return Part(kind="call", name=_text(name), id=_text(call_id), value=arguments)


def _result(call_id: Any, content: Any, name: Any = None) -> Part:
    if isinstance(content, list) and content and all(_has_text(block) for block in content):
        content = "\n\n".join(block["text"] for block in content)
    if isinstance(content, str):
        content = _decoded(content)
    return Part(kind="result", name=_text(name), id=_text(call_id), value=content)


def _json(value: Any) -> Part:
    return Part(kind="json", value=value)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _decoded(text: str) -> Any:
    """
    Arguments and results often are JSON inside a string; show what it says, not the backslashes.
    """
    if text[:1] in ("{", "["):
        try:
            return msgspec.json.decode(text)
        except (msgspec.MsgspecError, RecursionError):
            pass
    return text
