"""
HTTP: the one place that imports httpx, and only when the first batch is sent.

Speaks to httpx's transport, not to its client: the client would write every request into the host's
log, follow proxies from the environment, and be seen by our own capture of LLM calls.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import sys
import time
import types
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from ._configuration import Configuration, is_readable_by_others
from ._exceptions import BatchRejectedError, CollectorUnavailableError
from ._exporter import Answer, RejectedRecord
from ._giving_way import give_way
from ._log import trouble

if TYPE_CHECKING:
    import httpx

__all__ = ["HTTPExporter"]

MAX_ANSWER_BYTES = 1_048_576
"""How much of an answer is read; a collector's is a few hundred bytes."""

COMPRESS_FROM_BYTES = 16_384
"""Smaller batches are sent as they are: compressing them costs more than it saves."""

MAX_RETRY_AFTER = 300.0
"""The longest wait a collector may ask for, in seconds."""

_CONNECT_TIMEOUT = 5.0


class _Refusal(msgspec.Struct, frozen=True):
    error: str


class HTTPExporter:
    """
    Sends batches to a collector: `POST /v1/records`, as docs/protocol.md says.

    Belongs to one event loop.
    """

    def __init__(self, configuration: Configuration) -> None:
        self._url = f"{configuration.endpoint}/v1/records"
        self._api_key = configuration.api_key
        self._timeout = configuration.request_timeout
        self._httpx: Any = None
        self._target: httpx.URL | None = None
        self._transport: httpx.AsyncHTTPTransport | None = None

    def __repr__(self) -> str:
        return f"<HTTPExporter {self._url}>"  # without the key

    async def export(self, source: str, lines: Sequence[bytes]) -> Answer:
        """
        Send *lines* of *source*; none of them is a heartbeat.

        Raises:
            CollectorUnavailableError: Try again later.
            BatchRejectedError: The collector will not have it.
        """
        if self._transport is None:
            # httpx2 is the maintained continuation of httpx, with the same interface
            try:
                self._httpx = _imported("httpx2")
            except ImportError:
                self._httpx = _imported("httpx")
            give_way()
            self._transport = self._httpx.AsyncHTTPTransport(
                verify=self._url.startswith("https:"), trust_env=False
            )
            if self._api_key is not None and is_readable_by_others(self._url):
                trouble(
                    "plain http",
                    "asyncops sends its API key and all it records to %s without encryption:"
                    " whoever is on the way can read them; use https",
                    self._url,
                )
        try:
            # httpx limits each wait, but not their sum: a header that drips in holds it for ever
            async with asyncio.timeout(self._timeout):
                return await self._post(source, b"".join(lines))
        except TimeoutError:
            raise CollectorUnavailableError(f"no answer within {self._timeout:g} s") from None
        except (self._httpx.HTTPError, self._httpx.InvalidURL, OSError) as error:
            said = _fit_for_a_log(str(error) or type(error).__name__, self._api_key)
            raise CollectorUnavailableError(said) from None

    async def _post(self, source: str, body: bytes) -> Answer:
        assert self._transport is not None
        headers = {
            "Content-Type": "application/x-ndjson",
            "Asyncops-Source": source,
            "Accept-Encoding": "identity",
        }
        if self._api_key is not None:
            headers["Authorization"] = f"Bearer {self._api_key}"
        if len(body) > COMPRESS_FROM_BYTES:
            compress = zlib.compressobj(1, wbits=31)  # gzip; lets go of the GIL
            body = compress.compress(body) + compress.flush()
            headers["Content-Encoding"] = "gzip"
            give_way()
        if self._target is None:  # it is no small thing to take an address to pieces
            self._target = self._httpx.URL(self._url)
        waits = {"connect": min(_CONNECT_TIMEOUT, self._timeout), "pool": self._timeout}
        waits |= {"read": self._timeout, "write": self._timeout}
        request = self._httpx.Request(
            "POST", self._target, headers=headers, content=body, extensions={"timeout": waits}
        )
        response = await self._transport.handle_async_request(request)
        try:
            return _answer(response, await _read(response), self._api_key)
        finally:
            with contextlib.suppress(Exception):
                await response.aclose()

    async def aclose(self) -> None:
        """
        Close the connection.
        """
        if self._transport is not None:
            await self._transport.aclose()
            self._transport = None


def _imported(name: str) -> Any:
    """
    httpx under that *name*, without its command line: where click, pygments and rich are installed
    it brings them along, and they take longer and more memory than all the rest of it.
    """
    if name in sys.modules:
        return importlib.import_module(name)
    command_line = f"{name}._main"

    def main() -> None:
        importlib.import_module(command_line).main()

    stand_in: Any = types.ModuleType(command_line)
    stand_in.main = main
    sys.modules[command_line] = stand_in
    try:
        return importlib.import_module(name)
    finally:
        sys.modules.pop(command_line, None)


async def _read(response: httpx.Response) -> bytes:
    # raw: a compressed answer is not inflated, however large it says it would be
    data = bytearray()
    async for part in response.aiter_raw():
        data += part
        if len(data) > MAX_ANSWER_BYTES:
            raise CollectorUnavailableError("an answer far too long to be a collector's")
    return bytes(data)


def _answer(response: httpx.Response, data: bytes, api_key: str | None) -> Answer:
    status = response.status_code
    if status == 200:
        try:
            answer = msgspec.json.decode(data, type=Answer)
        except (msgspec.MsgspecError, RecursionError):
            raise CollectorUnavailableError("an answer that is not a collector's") from None
        rejected = [
            RejectedRecord(each.seq, _fit_for_a_log(each.error, api_key))
            for each in answer.rejected
        ]
        return Answer(answer.acknowledged, rejected)
    said = f"{status} {_error(data, api_key)}".rstrip()
    if status in (408, 425, 429) or status >= 500:
        raise CollectorUnavailableError(
            said, retry_after=_retry_after(response), status_code=status
        )
    raise BatchRejectedError(said, status_code=status)


def _error(data: bytes, api_key: str | None) -> str:
    """
    What the answer says is wrong.
    """
    try:
        said = msgspec.json.decode(data, type=_Refusal).error
    except (msgspec.MsgspecError, RecursionError):
        return ""
    return _fit_for_a_log(said, api_key)


def _fit_for_a_log(said: str, api_key: str | None) -> str:
    """
    What whoever answers there said, in one short line and without the key, which it may repeat.
    """
    if api_key is not None:
        said = said.replace(api_key, "[api_key]")
    return "".join(c if c.isprintable() else " " for c in said[:500])


def _retry_after(response: httpx.Response) -> float | None:
    """
    Seconds or an HTTP date (RFC 9110, section 10.2.3).
    """
    text = response.headers.get("Retry-After", "").strip()
    try:
        seconds = float(text)
    except ValueError:
        import email.utils  # costs every program's start, and hardly any collector sends a date

        try:
            seconds = email.utils.parsedate_to_datetime(text).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER) if seconds == seconds else None
