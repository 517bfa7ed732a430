"""
One attempt of one call of a language model, from its request to its end, as an `llm` event.

Everything here looks on: it changes no request and no answer, and what goes wrong in it is told to
nobody but our own log.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import http
import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, TypeVar

import msgspec

from .._active import ActiveSession
from .._budgets import Account
from .._events import Failure
from .._log import trouble
from .._spans import LLMSpan, current_span
from ._dialects import Answered, Asked, Assembly, Dialect
from ._providers import provider_of
from ._registry import find, may_match
from ._streams import DONE, MALFORMED, Inflate, Reader, inflate, reader_for

__all__ = ["Attempt", "begin"]

MAX_BODY_BYTES = 32 * 1_048_576
"""A body longer than this is not read; the call is recorded without what it says."""

MAX_RETRIES_KNOWN = 256
"""Of how many failed requests is remembered that they failed."""

_REQUEST_ID_HEADERS = (
    "x-request-id",
    "request-id",
    "apim-request-id",
    "x-ms-request-id",
    "x-amzn-requestid",
    "x-debug-trace-id",
    "mistral-correlation-id",
)
"""Where vendors say by what name they know a request."""

_F = TypeVar("_F", bound=Callable[..., Any])

_SAFE_PARAMS = frozenset({"service_tier", "reasoning_effort", "encoding_format"})
"""Texts among the params that are no content; numbers and flags never are."""


def _looking_on(method: _F) -> _F:
    """
    What *method* raises is our trouble, not the host's.
    """

    @functools.wraps(method)
    def guarded(self: Attempt, *args: Any) -> Any:
        try:
            return method(self, *args)
        except Exception as error:
            trouble("capture", "asyncops could not follow a call of a model: %r", error)
            return None

    return guarded  # type: ignore[return-value]


class _Failed:
    """
    How often in a row each request has failed: a client that tries again sends the same bytes.
    """

    def __init__(self) -> None:
        self._times: OrderedDict[int, int] = OrderedDict()

    def times(self, key: int) -> int:
        return self._times.get(key, 0)

    def failed(self, key: int, times: int) -> None:
        self._times[key] = times
        if len(self._times) > MAX_RETRIES_KNOWN:
            with contextlib.suppress(KeyError):  # another thread took it
                self._times.popitem(last=False)

    def succeeded(self, key: int) -> None:
        self._times.pop(key, None)


_failed = _Failed()


def begin(request: Any, active: ActiveSession, package: ModuleType) -> Attempt | None:
    """
    The attempt that *request* is, in *active*; None where it calls no model, as far as we know.

    Args:
        request: A `Request` of *package*.
        active: The session.
        package: httpx or httpx2.
    """
    try:
        if request.method != "POST" or not may_match(request.url.path):
            return None
        content = _content_of(request, package)
        body = _decoded(content)
        dialect = find(request.url.path, body)
        if dialect is None:
            return None
        return Attempt(request, content, body, dialect, active, package)
    except Exception as error:
        trouble("capture", "asyncops could not follow a call of a model: %r", error)
        return None


def _content_of(request: Any, package: ModuleType) -> bytes:
    """
    The body, where it is there as a whole; one that is streamed is not ours to read.
    """
    try:
        content: bytes = request.content
    except package.RequestNotRead:
        return b""
    if request.headers.get("content-encoding", "identity") != "identity":
        return b""
    return content


def _decoded(content: bytes) -> Any:
    if not content or len(content) > MAX_BODY_BYTES:
        return None
    try:
        return msgspec.json.decode(content)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return None


class Attempt:
    """
    An attempt that is under way. From `sent` to `ended`, `broke` or `closed`, of which the
    first counts; from any thread, one at a time.
    """

    def __init__(
        self,
        request: Any,
        content: bytes,
        body: Any,
        dialect: Dialect,
        active: ActiveSession,
        package: ModuleType,
    ) -> None:
        self._active = active
        self._dialect = dialect
        self._package = package
        self._path: str = request.url.path
        self._over = False
        self._status = 0
        self._reader: Reader | None = None
        self._assembly: Assembly | None = None
        self._inflate: Inflate | None = None
        self._parts: list[bytes] = []
        self._size = 0
        self._done = False
        self._malformed = 0
        self._headers: Any = None
        asked = Asked()
        if body is not None:
            try:
                asked = dialect.asked(self._path, body)
            except Exception as error:
                trouble("dialect", "%s: a request it cannot read: %r", dialect.name, error)
        url = request.url
        where = url.host if url.port is None else f"{url.host}:{url.port}"
        self._asked_model = asked.model
        self._span = span = LLMSpan(
            asked.model or dialect.name,
            model=asked.model,
            provider=provider_of(url.host, dialect),
            prompt=asked.prompt,
            params=self._params(asked.params) or None,
            attributes={"dialect": dialect.name, "server": where},
        )
        span.captured = True
        self._block = self._block_around()
        self._retry_key = hash((active.id, where, self._path, content))
        self._failures = _failed.times(self._retry_key) if content else 0
        if self._failures:
            span.set(attempt=self._failures + 1)

    def _params(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """
        What is kept of the rest of a request: where its content is not to be kept, nothing that may
        hold any.
        """
        if self._active.client.configuration.capture_content == "full":
            return dict(params)
        return {
            name: value
            for name, value in params.items()
            if isinstance(value, bool | int | float) or name in _SAFE_PARAMS
        }

    def _block_around(self) -> LLMSpan | None:
        """
        The `asyncops.llm` block written around this call, unless another call has told of it.
        """
        around = current_span()
        if isinstance(around, LLMSpan) and around.session is self._active and not around.captured:
            around.captured = True
            return around
        return None

    # -- the way out ------------------------------------------------------------------------------

    def admit(self) -> None:
        """
        Count it towards the session's budget, before anything is sent.

        Raises:
            BudgetStop: The budget is used up; nothing may be sent.
        """
        budget = self._budget()
        if budget is not None:
            budget.admit()
            self._span.admitted = True

    async def admit_async(self) -> None:
        """
        Likewise, in a task.

        Raises:
            asyncio.CancelledError: The budget is used up; nothing may be sent.
            BudgetStop: Likewise, in a session whose block is no `async with`.
        """
        budget = self._budget()
        if budget is not None:
            await budget.admit_async()
            self._span.admitted = True

    def _budget(self) -> Account | None:
        """
        What it has to be counted towards; None if the block around it has been counted.
        """
        block = self._block
        return None if block is not None and block.admitted else self._active.budget

    @_looking_on
    def sent(self) -> None:
        """
        The request goes out.
        """
        span = self._span
        span.open(self._active)
        span.keep_prompt(self._active)
        span.params = None
        if self._block is not None:
            # what it opens is open already: nobody need be told twice
            self._active.client.open_spans.discard(span)

    # -- the way back -----------------------------------------------------------------------------

    @_looking_on
    def answered(self, response: Any) -> None:
        """
        Status and headers are there.
        """
        self._status = response.status_code
        self._headers = headers = response.headers
        span = self._span
        span.set(http_status=self._status)
        for name in _REQUEST_ID_HEADERS:
            if name in headers:
                span.set(request_id=headers[name])
                break
        self._inflate = inflate(headers.get("content-encoding", "").strip().lower())
        if self._status == http.HTTPStatus.OK:
            self._reader = reader_for(headers.get("content-type", ""))
            if self._reader is not None:
                span.set(stream=True)
                self._assembly = self._dialect.assembly()

    @_looking_on
    def read_already(self, response: Any) -> None:
        """
        *response* came with its body: out of a cache, or made up by a test.
        """
        self._inflate = bytes
        self._received(response.content)
        self._end(None)

    @_looking_on
    def received(self, part: bytes) -> None:
        """
        A piece of the body has come, as it was on the wire.
        """
        if not self._over:
            self._received(part)

    def _received(self, part: bytes) -> None:
        if self._reader is not None and self._inflate is not None:
            try:
                self._feed(self._inflate(part))
            except Exception:
                self._malformed += 1
            return
        self._size += len(part)
        if self._size <= MAX_BODY_BYTES:
            self._parts.append(part)
        else:
            self._parts.clear()

    def _feed(self, data: bytes) -> None:
        """
        The next piece of a stream, as it was before compression.
        """
        reader, assembly = self._reader, self._assembly
        if reader is None or assembly is None:
            return
        for event, value in reader.feed(data):
            if value is DONE:
                self._done = True
            elif value is MALFORMED:
                self._malformed += 1
            else:
                try:
                    assembly.add(event, value)
                except Exception:
                    self._malformed += 1
                if assembly.has_token:
                    self._span.first_token()
        if self._done or assembly.over:
            # some clients read no further, and keep the answer open for as long as they live
            self._end(None)

    def _catch_up(self) -> None:
        """
        Read what of a stream is there but has not been read: what was compressed in a way that
        cannot be undone piece by piece, and a last event without its end.
        """
        if self._assembly is not None:
            if self._parts:
                parts, self._parts = self._parts, []
                self._feed(self._whole(parts))
            self._feed(b"\n\n")

    # -- the end ----------------------------------------------------------------------------------

    @_looking_on
    def ended(self) -> None:
        """
        The body is there as a whole.
        """
        self._end(None)

    @_looking_on
    def broke(self, error: BaseException) -> None:
        """
        *error* left the transport, or the stream.
        """
        if isinstance(error, GeneratorExit):
            self.closed()
        else:
            self._end(error)

    @_looking_on
    def closed(self) -> None:
        """
        Whoever read the body will read no more of it.
        """
        if self._over:
            return
        with contextlib.suppress(Exception):
            self._catch_up()
        if self._status >= http.HTTPStatus.BAD_REQUEST or self._is_complete() or self._error():
            self._end(None)
        else:
            self._end(asyncio.CancelledError("the answer was closed before its end"))

    def _is_complete(self) -> bool:
        """
        Whether the stream has said that it is over, though its last bytes were not read.
        """
        return self._done or (self._assembly is not None and self._assembly.complete)

    def _end(
        self, error: BaseException | None, is_finalizing: Callable[[], bool] = sys.is_finalizing
    ) -> None:
        if self._over or is_finalizing():
            # when the interpreter ends, what was under way stays open, as everything does
            return
        self._over = True
        span = self._span
        failure: Failure | None = None
        body = None
        try:
            if self._status >= http.HTTPStatus.BAD_REQUEST:
                failure = self._refusal()
            elif self._status:
                body = self._body()
                failure = self._said_to_have_failed(self._error(), "StreamError")
            if body is not None:
                answered = self._dialect.answered(body)
                failure = failure or self._said_to_have_failed(answered.error, "AnswerError")
                self._read(answered)
        except Exception as problem:
            words = f": {problem}" if self._keeps_content() else ""
            span.set(unread=f"{type(problem).__name__}{words}")
        if self._malformed:
            span.set(malformed_events=self._malformed)
        if self._assembly is not None and not self._is_complete():
            span.set(incomplete=True)
        self._parts = []
        self._assembly = self._reader = self._inflate = None
        self._close(error, failure)

    def _close(self, error: BaseException | None, failure: Failure | None) -> None:
        span, block = self._span, self._block
        if error is None and failure is None:
            _failed.succeeded(self._retry_key)
            if block is not None and block.is_open():
                block.told_by(span)
                return
        elif not isinstance(error, asyncio.CancelledError):
            _failed.failed(self._retry_key, self._failures + 1)
        if block is not None:
            block.captured = False  # for the next attempt
        span.close(error, failure=failure)

    def _body(self) -> Any:
        self._catch_up()
        if self._assembly is not None:
            return self._assembly.body()
        if self._size > MAX_BODY_BYTES:
            raise ValueError(f"{self._size:,} bytes are too many to be read")
        content = self._whole(self._parts)
        return msgspec.json.decode(content) if content else None

    def _whole(self, parts: list[bytes]) -> bytes:
        """
        A body as it was before compression.
        """
        content = b"".join(parts)
        if self._inflate is not None:
            return self._inflate(content)
        # httpx undoes what it has the libraries for
        encoding = {"content-encoding": self._headers.get("content-encoding", "")}
        whole: bytes = self._package.Response(200, headers=encoding, content=content).content
        return whole

    def _refusal(self) -> Failure:
        """
        What the vendor says is wrong.
        """
        try:
            phrase = http.HTTPStatus(self._status).phrase
        except ValueError:
            phrase = ""
        message = f"{self._status} {phrase}".rstrip()
        said = ""
        with contextlib.suppress(Exception):
            said = _words(_decoded(self._whole(self._parts)), self._keeps_content())
        return Failure(type="HTTPStatusError", message=f"{message}: {said}" if said else message)

    def _said_to_have_failed(self, error: Any, kind: str) -> Failure | None:
        """
        What an answer that began well, by its status, says went wrong.
        """
        if error is None:
            return None
        return Failure(type=kind, message=_words(error, self._keeps_content()))

    def _error(self) -> Any:
        return None if self._assembly is None else self._assembly.error

    def _keeps_content(self) -> bool:
        return self._active.client.configuration.capture_content == "full"

    def _read(self, answered: Answered) -> None:
        span = self._span
        if answered.model is not None:
            if self._asked_model not in (None, answered.model):
                span.set(requested_model=self._asked_model)
            span.model = answered.model
        if answered.response_id is not None:
            span.set(response_id=answered.response_id)
        if answered.finish_reasons:
            span.set(finish_reasons=list(answered.finish_reasons))
        span.completion = answered.completion
        span.prompt_tokens = answered.prompt_tokens
        span.completion_tokens = answered.completion_tokens
        span.cached_tokens = answered.cached_tokens
        span.cache_write_tokens = answered.cache_write_tokens
        span.reasoning_tokens = answered.reasoning_tokens
        span.usage = answered.usage
        span.cost = answered.cost
        span.tool_call_ids = answered.tool_call_ids


def _words(said: Any, everything: bool) -> str:
    """
    The words in a vendor's error object, wherever it has put them.

    Args:
        said: The body, or the object in it.
        everything: Whether the message is told; it may repeat what was asked. Otherwise only the
            error's kind is.
    """
    if isinstance(said, list) and said:
        said = said[0]
    if isinstance(said, dict) and "error" in said:
        said = said["error"]
    if isinstance(said, str):
        return said if everything else ""
    if not isinstance(said, dict):
        return ""
    telling = ["type", "status", "code"], ["message", "detail", "msg"]
    found = [
        next((said[name] for name in names if isinstance(said.get(name), str)), "")
        for names in telling[: 2 if everything else 1]
    ]
    return ": ".join(filter(None, found))
