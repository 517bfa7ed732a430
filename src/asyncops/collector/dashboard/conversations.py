"""
What was said to a model and by it, as messages, whichever vendor's way it was written in.

Read are plain strings, single messages, lists of messages, and whole requests and answers: the
chat of OpenAI (`tool_calls`, `tool_call_id`) and its responses (`function_call`, `output`), the
blocks of Anthropic (`tool_use`, `tool_result`, `thinking`). A part of another shape stays JSON, and
so does a whole that holds no message: nothing recorded is left out for being unknown.
"""

from __future__ import annotations

from typing import Any, Literal

import attrs
import msgspec

__all__ = ["Message", "Part", "messages"]

MAX_MESSAGES = 200
"""How many messages of one conversation are shown, from its end."""

PartKind = Literal["text", "thinking", "call", "result", "media", "json"]


@attrs.frozen(kw_only=True)
class Part:
    """
    One piece of a message.

    Attributes:
        kind: What it is; "media" is an image, sound or file that is named but not shown.
        text: Its text.
        name: The tool that is called or answers.
        id: The id that ties a call to its result.
        value: Arguments of a call, content of a result, or whatever has no other form.
    """

    kind: PartKind
    text: str = ""
    name: str | None = None
    id: str | None = None
    value: Any = None


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
    if _is_cut_text(value):
        return [Message(role=role, parts=tuple(_parts(value)))]
    return _envelope(value, role)


def _envelope(value: dict[str, Any], role: str) -> list[Message] | None:
    """
    A whole request or answer: the messages in it. Its other entries are shown as JSON beside them.
    """
    found: list[Message] = []
    shown: set[str] = set()
    for key in ("system", "instructions"):
        if value.get(key):
            found.append(Message(role="system", parts=tuple(_parts(value[key]))))
            shown.add(key)
    for key in ("messages", "input", "output", "content"):
        said = value.get(key)
        listed = _whole(said, role) if isinstance(said, (str, list)) and said else None
        if listed is not None:
            found += listed
            shown.add(key)
    choices = value.get("choices")
    if isinstance(choices, list):
        answers = [choice.get("message") for choice in choices if isinstance(choice, dict)]
        if answers and all(isinstance(answer, dict) for answer in answers):
            found += [_message(answer, role) for answer in answers if isinstance(answer, dict)]
            shown.add("choices")
    if not shown - {"system", "instructions"}:
        return None
    rest = {key: item for key, item in value.items() if key not in shown}
    if rest:
        found.append(Message(role="other fields", parts=(Part(kind="json", value=rest),)))
    return found


def _list(items: list[Any], role: str) -> list[Message] | None:
    if not items:
        return []
    if all(isinstance(item, str) for item in items):
        return [Message(role=role, parts=(Part(kind="text", text=item),)) for item in items]
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
    "text input_text output_text refusal image image_url input_image input_audio file input_file"
    " document tool_use server_tool_use tool_result thinking redacted_thinking reasoning".split()
)
_ITEM_TYPES = frozenset(("message", "function_call", "function_call_output", "reasoning"))
"""What stands for a message of its own in the list of OpenAI's responses."""


def _is_message(item: dict[str, Any]) -> bool:
    return isinstance(item.get("role"), str) or _type_of(item) in _ITEM_TYPES


def _is_block(item: dict[str, Any]) -> bool:
    return _type_of(item) in _BLOCK_TYPES


def _type_of(item: dict[str, Any]) -> str:
    kind = item.get("type")
    return kind if isinstance(kind, str) else ""


def _is_cut_text(value: Any) -> bool:
    return isinstance(value, dict) and value.get("$truncated") == "string"


def _message(item: dict[str, Any], role: str) -> Message:
    kind = _type_of(item)
    if kind == "function_call":
        call = _call(item.get("name"), item.get("call_id"), item.get("arguments"))
        return Message(role="assistant", parts=(call,))
    if kind == "function_call_output":
        return Message(role="tool", parts=(_result(item.get("call_id"), item.get("output")),))
    if kind == "reasoning" and "role" not in item:
        return Message(role="assistant", parts=tuple(_block(item)))

    speaker = item.get("role")
    parts: list[Part] = []
    if isinstance(item.get("reasoning_content"), str) and item["reasoning_content"]:
        parts.append(Part(kind="thinking", text=item["reasoning_content"]))
    if speaker == "tool" or isinstance(item.get("tool_call_id"), str):
        parts.append(_result(item.get("tool_call_id"), item.get("content"), item.get("name")))
    else:
        parts += _parts(item.get("content"))
    if isinstance(item.get("refusal"), str) and item["refusal"]:
        parts.append(Part(kind="text", text=item["refusal"]))
    parts += _tool_calls(item.get("tool_calls"))
    if isinstance(item.get("function_call"), dict):
        function = item["function_call"]
        parts.append(_call(function.get("name"), None, function.get("arguments")))
    known = {
        "role", "content", "name", "type", "id", "status", "refusal", "tool_calls", "tool_call_id",
        "function_call", "reasoning_content",
    }  # fmt: skip
    rest = {key: value for key, value in item.items() if key not in known and value}
    if rest:
        parts.append(_json(rest))
    return Message(
        role=speaker if isinstance(speaker, str) else role,
        name=item["name"] if isinstance(item.get("name"), str) else None,
        parts=tuple(parts),
    )


def _parts(content: Any) -> list[Part]:
    if content is None:
        return []
    if isinstance(content, str):
        return [Part(kind="text", text=content)] if content else []
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
    if kind == "thinking" and isinstance(block.get("thinking"), str):
        return [Part(kind="thinking", text=block["thinking"])]
    if kind == "reasoning" and isinstance(block.get("summary"), list):
        texts = [item["text"] for item in block["summary"] if _has_text(item)]
        return [Part(kind="thinking", text="\n\n".join(texts) or "(not shown by the provider)")]
    if kind in ("tool_use", "server_tool_use"):
        return [_call(block.get("name"), block.get("id"), block.get("input"))]
    if kind == "tool_result":
        return [_result(block.get("tool_use_id"), block.get("content"))]
    if kind in (
        "image",
        "image_url",
        "input_image",
        "input_audio",
        "file",
        "input_file",
        "document",
    ):
        return [Part(kind="media", text=kind, value=block)]
    return [_json(block)]


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
