"""
Where options come from, and what they must look like.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from asyncops import Configuration, ConfigurationError
from asyncops._configuration import is_readable_by_others


def test_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Nothing has to be said.
    """
    monkeypatch.delenv("ASYNCOPS_ENDPOINT")
    configuration = Configuration()

    assert "http://127.0.0.1:4319" == configuration.endpoint
    assert configuration.api_key is None
    assert frozenset() == configuration.said


@pytest.mark.parametrize(
    ("variable", "text", "option", "value"),
    [
        ("API_KEY", "k-1", "api_key", "k-1"),
        ("ENDPOINT", "https://x.example/ops/", "endpoint", "https://x.example/ops"),
        ("ENDPOINT", "HTTPS://[::1]:8080", "endpoint", "https://[::1]:8080"),
        ("TAGS", "a, b,,a", "tags", ("a", "b")),
        ("MAX_WAIT_TIME", "2.5", "max_wait_time", 2.5),
        ("MAX_QUEUE_SIZE", "7", "max_queue_size", 7),
        ("AUTO_START_SESSION", "off", "auto_start_session", False),
        ("HOST_ENV", "off", "host_env", "off"),
        ("SCOPE", "context", "scope", "context"),
        ("DURABILITY", "memory", "durability", "memory"),
        ("CAPTURE_PARAMS", "0", "capture_params", False),
        ("JOURNAL_DIR", "/var/x", "journal_dir", Path("/var/x")),
    ],
)
def test_environment(
    monkeypatch: pytest.MonkeyPatch, variable: str, text: str, option: str, value: object
) -> None:
    """
    What is not said comes from the environment.
    """
    monkeypatch.setenv(f"ASYNCOPS_{variable}", text)

    assert value == getattr(Configuration(), option)


def test_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A session's configuration comes before init()'s, that before the environment.
    """
    monkeypatch.setenv("ASYNCOPS_MAX_WAIT_TIME", "3")
    monkeypatch.setenv("ASYNCOPS_MAX_QUEUE_SIZE", "30")
    merged = Configuration(max_wait_time=1).over(
        Configuration(max_wait_time=2, shutdown_timeout=5, tags=["t"])
    )

    assert (1.0, 30, 5.0, ("t",)) == (
        merged.max_wait_time, merged.max_queue_size, merged.shutdown_timeout, merged.tags,
    )  # fmt: skip


def test_saying_the_default_is_saying_something() -> None:
    """
    An option that is given holds even if it is the default.
    """
    assert (
        0.5 == Configuration(max_wait_time=0.5).over(Configuration(max_wait_time=9)).max_wait_time
    )


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("api_key", "two words"),
        ("api_key", "line\nbreak"),
        ("api_key", ""),
        ("endpoint", "ftp://x"),
        ("endpoint", "127.0.0.1:4319"),
        ("endpoint", "http://x?y"),
        ("endpoint", "http://x:99999"),
        ("endpoint", "http://x:0"),
        ("endpoint", "http://"),
        ("endpoint", "http://x/a b"),
        ("endpoint", "http://x\r\nHost: y"),
        ("endpoint", "http://[::1"),
        ("tags", "nightly"),
        ("max_wait_time", "1"),
        ("max_wait_time", -1),
        ("max_wait_time", True),
        ("max_queue_size", 0),
        ("max_queue_size", 1.5),
        ("scope", "thread"),
        ("durability", "disk"),
        ("redact", "***"),
        ("capture_params", 1),
        ("host_env", None),
    ],
)
def test_bad_values(option: str, value: Any) -> None:
    """
    A value that cannot work gives an error that names the option.
    """
    with pytest.raises(ConfigurationError, match=f"^{option} must be "):
        Configuration(**{option: value})


@pytest.mark.parametrize(
    ("variable", "text"), [("MAX_WAIT_TIME", "soon"), ("SCOPE", "x"), ("CAPTURE_PARAMS", "maybe")]
)
def test_bad_environment(monkeypatch: pytest.MonkeyPatch, variable: str, text: str) -> None:
    """
    A variable that cannot work gives an error that names the variable.
    """
    monkeypatch.setenv(f"ASYNCOPS_{variable}", text)

    with pytest.raises(ConfigurationError, match=f"environment variable ASYNCOPS_{variable}"):
        Configuration()


def test_secrets_are_not_shown() -> None:
    """
    Neither a key nor a password in an address shows up in errors or in a repr.
    """
    with pytest.raises(ConfigurationError) as key:
        Configuration(api_key="hunter2 hunter2")
    with pytest.raises(ConfigurationError) as address:
        Configuration(endpoint="http://me:hunter2@x")

    with pytest.raises(ConfigurationError) as query:
        Configuration(endpoint="http://x?api_key=hunter2")
    with pytest.raises(ConfigurationError) as mistaken:
        Configuration(endpoint="aops_hunter2hunter2hunter2hunter2")

    shown = f"{key.value}{address.value}{query.value}{mistaken.value}"
    assert "hunter2" not in shown + repr(Configuration(api_key="hunter2"))


@pytest.mark.parametrize(
    ("address", "readable"),
    [
        ("http://127.0.0.1:4319", False),
        ("http://127.8.9.1", False),
        ("http://[::1]:4319", False),
        ("http://localhost", False),
        ("https://collector.example", False),
        ("http://collector.example", True),
        ("http://10.0.0.7:4319", True),
        ("http://127.0.0.1.example", True),
        ("http://localhost.example", True),
    ],
)
def test_what_others_can_read(address: str, readable: bool) -> None:
    """
    What leaves this machine without encryption is told from what stays or is encrypted.
    """
    assert readable == is_readable_by_others(address)
