"""
How asyncops is set up: every option, where it may come from, and what it must look like.

An option comes from, in this order: the `Configuration` given to a session, the one given to
`init()`, the environment variable `ASYNCOPS_<OPTION>`, the default.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

import attrs

from ._exceptions import ConfigurationError
from ._redaction import without_secrets
from ._wire import Redact, label

__all__ = ["DEFAULT_ENDPOINT", "Configuration", "is_readable_by_others"]

DEFAULT_ENDPOINT = "http://127.0.0.1:4319"
"""Where `asyncops serve` listens unless told otherwise."""

_UNSAID: Any = object()


def _option(
    default: Any,
    parse: Callable[[str], Any],
    check: Callable[[Any], Any],
    *,
    repr: bool = True,
) -> Any:
    """
    An option: its default, how its environment variable is read, and how its value is checked.

    `check` returns the value to use and raises `ValueError` with what would fit.
    """
    metadata = {"default": default, "parse": parse, "check": check}
    return attrs.field(default=_UNSAID, repr=repr, metadata=metadata)


def _seconds(least: float, most: float) -> Callable[[Any], float]:
    def check(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError("a number of seconds")
        if not least <= value <= most:
            raise ValueError(f"between {least:g} and {most:g} seconds")
        return float(value)

    return check


def _count(least: int, most: int) -> Callable[[Any], int]:
    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError("a whole number")
        if not least <= value <= most:
            raise ValueError(f"between {least} and {most}")
        return value

    return check


def _one_of(*words: str) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if value not in words:
            raise ValueError("one of " + ", ".join(map(repr, words)))
        return str(value)

    return check


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("True or False")
    return value


def _parse_flag(text: str) -> bool:
    word = text.strip().lower()
    if word in ("1", "true", "yes", "on"):
        return True
    if word in ("0", "false", "no", "off"):
        return False
    raise ValueError("on or off")


def _api_key(value: Any) -> str | None:
    # An odd character would reach an HTTP header, whose error message repeats the whole key.
    if value is not None and not (
        isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9._~+/=-]{1,512}", value)
    ):
        raise ValueError("1 to 512 letters, digits and . _ ~ + / = - (the value is not shown here)")
    return value


_ADDRESS = re.compile(
    r"https?://(?:[^\s\x00-\x1f\x7f/?#@:\[\]]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?"
    r"(?:/[^\s\x00-\x1f\x7f?#]*)?",
    re.IGNORECASE,
)


def _endpoint(value: Any) -> str:
    # not urllib's parser: importing it costs every program's start, and needs a free descriptor
    found = _ADDRESS.fullmatch(value) if isinstance(value, str) else None
    if found is None or not 0 < int(found[1] or 80) < 65_536:
        raise ValueError(f"an address such as {DEFAULT_ENDPOINT}, without user, query or fragment")
    scheme, _, rest = str(value).partition("://")
    return f"{scheme.lower()}://{rest}".rstrip("/")


def is_readable_by_others(address: str) -> bool:
    """
    Whether what goes to *address* leaves this machine without encryption.
    """
    import ipaddress
    from urllib.parse import urlsplit

    parts = urlsplit(address)
    host = parts.hostname or ""
    if parts.scheme == "https" or host == "localhost" or host.endswith(".localhost"):
        return False
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return True


def _tags(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        raise ValueError('a list of words, such as ["nightly"]')
    return tuple(dict.fromkeys(label(tag) for tag in value))


def _parse_tags(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _directory(value: Any) -> Path:
    return Path(value).expanduser().absolute()


def _default_journal_dir() -> Path:
    """
    `$XDG_STATE_HOME/asyncops/journal`, else under `~/.local/state`, else one of this user's under
    the temporary directory. (XDG Base Directory Specification 0.8)
    """
    state = os.environ.get("XDG_STATE_HOME")
    if state and os.path.isabs(state):
        return Path(state, "asyncops", "journal")
    home = os.path.expanduser("~")
    if os.path.isabs(home):
        return Path(home, ".local", "state", "asyncops", "journal")
    import tempfile  # costs every program's start, and hardly any comes here

    return Path(tempfile.gettempdir(), f"asyncops-{os.getuid()}", "journal")


def _hook(value: Any) -> Redact | None:
    if value is not None and not callable(value):
        raise ValueError("a function redact(key, value) that returns what is kept")
    hook: Redact | None = value
    return hook


def _no_text(text: str) -> Any:
    raise ValueError("given in code: it is a function")


@attrs.frozen(kw_only=True)
class Configuration:
    """
    The options of asyncops. What is left out comes from `init()`, `ASYNCOPS_*` or the default.

    Each option's environment variable is its name in capitals after `ASYNCOPS_`. Durations are
    seconds, sizes are bytes.

    Attributes:
        api_key: The key of the project. Default: none, which a local collector without keys takes.
        endpoint: The collector's address. Default: `http://127.0.0.1:4319`.
        tags: Tags of every session (in the environment: separated by commas). Default: none.
        auto_start_session: Whether `init()` starts a session. Default: yes.
        scope: `"process"` (one session at a time) or `"context"` (one in each context, for
            servers). Default: `"process"`.
        max_wait_time: The longest a record waits before it is sent, and how long a span is open
            before it is announced. Default: 0.5.
        max_queue_size: How many records are sent together at most. Default: 1,000.
        max_batch_bytes: How large a batch is at most, before compression. Default: 1 MiB.
        request_timeout: How long one request may take as a whole. Default: 10.
        shutdown_timeout: The longest that a program's exit waits for a collector that has been
            answering. Default: 2.
        capture_params: Whether decorators keep arguments. Default: yes.
        capture_returns: Whether decorators keep return values. Default: yes.
        max_value_bytes: How large one payload (params, returns, prompt ...) may be.
            Default: 256 KiB.
        instrument_llm_calls: Whether calls of language models are recorded that go over httpx.
            Default: yes.
        capture_content: What is kept of prompts and completions: `"full"`, `"hash"` (a SHA-256 of
            each message) or `"metadata"` (nothing of them; tokens, cost and times stay).
            Default: `"full"`.
        capture_media: Whether the bytes of images and sound in them are kept, not only type, size
            and hash. Default: no.
        redact: A function `redact(key, value) -> value` that sees every entry of every payload
            before it is kept. Default: none; the built-in redaction always works.
        host_env: `"on"`, or `"off"` to tell nothing of this machine but the versions of Python and
            asyncops. Default: `"on"`.
        durability: `"journal"` (survives the death of the process), `"fsync"` (survives power loss
            too, and costs a disk write per record) or `"memory"` (survives nothing). Default:
            `"journal"`.
        journal_dir: Where journals are kept. Default: under the user's state directory.
        journal_max_bytes: How much of the disk the journals of one project may take.
            Default: 256 MiB.

    Raises:
        ConfigurationError: A value cannot work, here or in the environment.
    """

    api_key: str | None = _option(None, str, _api_key, repr=False)
    endpoint: str = _option(DEFAULT_ENDPOINT, str, _endpoint)
    tags: Iterable[str] = _option((), _parse_tags, _tags)
    auto_start_session: bool = _option(True, _parse_flag, _flag)
    scope: Literal["process", "context"] = _option("process", str, _one_of("process", "context"))
    max_wait_time: float = _option(0.5, float, _seconds(0.001, 3600))
    max_queue_size: int = _option(1_000, int, _count(1, 100_000))
    max_batch_bytes: int = _option(1_048_576, int, _count(1_024, 64 * 1_048_576))
    request_timeout: float = _option(10.0, float, _seconds(0.01, 600))
    shutdown_timeout: float = _option(2.0, float, _seconds(0, 600))
    capture_params: bool = _option(True, _parse_flag, _flag)
    capture_returns: bool = _option(True, _parse_flag, _flag)
    max_value_bytes: int = _option(262_144, int, _count(256, 1_048_576))
    instrument_llm_calls: bool = _option(True, _parse_flag, _flag)
    capture_content: Literal["full", "hash", "metadata"] = _option(
        "full", str, _one_of("full", "hash", "metadata")
    )
    capture_media: bool = _option(False, _parse_flag, _flag)
    redact: Redact | None = _option(None, _no_text, _hook)
    host_env: Literal["on", "off"] = _option("on", str, _one_of("on", "off"))
    durability: Literal["journal", "fsync", "memory"] = _option(
        "journal", str, _one_of("journal", "fsync", "memory")
    )
    journal_dir: Path = _option(None, Path, _directory)
    journal_max_bytes: int = _option(256 * 1_048_576, int, _count(1_048_576, 2**50))
    said: frozenset[str] = attrs.field(init=False, repr=False, eq=False)
    """The options that were given, not found in the environment or left at their default."""

    def __attrs_post_init__(self) -> None:
        said = set()
        for option in attrs.fields(Configuration):
            if "check" not in option.metadata:
                continue
            value = getattr(self, option.name)
            if value is not _UNSAID:
                said.add(option.name)
                value = _checked(option, value, option.name)
            else:
                value = _unsaid_value(option)
            object.__setattr__(self, option.name, value)
        object.__setattr__(self, "said", frozenset(said))

    def over(self, base: Configuration) -> Configuration:
        """
        This configuration, with what it leaves unsaid taken from *base*.
        """
        merged: dict[str, Any] = {name: getattr(base, name) for name in base.said}
        merged |= {name: getattr(self, name) for name in self.said}
        return Configuration(**merged)


def _unsaid_value(option: attrs.Attribute[Any]) -> Any:
    variable = f"ASYNCOPS_{option.name.upper()}"
    text = os.environ.get(variable)
    if text:
        try:
            value = option.metadata["parse"](text)
        except ValueError as error:
            raise ConfigurationError(
                f"the environment variable {variable} must be: {error}"
            ) from None
        return _checked(option, value, f"environment variable {variable}")
    if option.name == "journal_dir":
        return _default_journal_dir()
    return option.metadata["default"]


def _checked(option: attrs.Attribute[Any], value: Any, where: str) -> Any:
    try:
        return option.metadata["check"](value)
    except (ValueError, TypeError) as error:
        secret = option.name == "api_key" or (option.name == "endpoint" and "@" in str(value))
        shown = "" if secret else f", not {without_secrets(repr(value)[:200])}"
        raise ConfigurationError(f"{where} must be {error}{shown}") from None
