"""
Between a client of httpx and its transport: transports that pass everything on and look on.

The same for httpx and for httpx2, its continuation: their classes have to be told apart, because a
client insists on its own package's, so ours are made once for each.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from types import ModuleType, TracebackType
from typing import Any, TypeVar

from .._active import current
from ._calls import Attempt, begin

__all__ = ["capturing", "is_capturing", "transport"]

PACKAGES = ("httpx", "httpx2")

_T = TypeVar("_T")

_seen: ContextVar[Any] = ContextVar("asyncops_request", default=None)
"""The request that is being looked at already, where one of our transports holds another."""


def transport(inner: _T) -> _T:
    """
    A transport that does what *inner* does, and records the calls of models that go through it in
    the session of whoever makes them: for a client that shall be watched where others are not.

    ```python
    client = httpx.AsyncClient(transport=asyncops.capture.transport(httpx.AsyncHTTPTransport()))
    ```

    Without a session it only passes on. It may be used where `asyncops.instrument` is at work: a
    call is recorded once. Closing it closes *inner*.

    Args:
        inner: A transport of httpx or httpx2, sync or async.

    Raises:
        TypeError: It is none.
    """
    for name in PACKAGES:
        package = sys.modules.get(name)
        if package is not None and isinstance(
            inner, (package.BaseTransport, package.AsyncBaseTransport)
        ):
            captured: _T = capturing(inner, package)
            return captured
    raise TypeError(
        f"asyncops.capture.transport takes a transport of httpx or httpx2, not {inner!r:.100}"
    )


def capturing(inner: Any, package: ModuleType) -> Any:
    """
    *inner*, a transport of *package*, with one of ours around it.
    """
    return _transport_class(package)(inner)


def is_capturing(inner: Any) -> bool:
    """
    Whether *inner* is a transport of ours.
    """
    return getattr(type(inner), "captures_llm_calls", False) is True


def _begin(request: Any, package: ModuleType) -> Attempt | None:
    active = current()
    if active is None or _seen.get() is request:
        return None
    return begin(request, active, package)


@functools.cache
def _transport_class(package: Any) -> type[Any]:
    """
    Our transport for *package*, sync and async: what it holds may be both.
    """

    class SyncStream(package.SyncByteStream):  # type: ignore[misc]
        """
        A body that is looked at while it is read.
        """

        def __init__(self, stream: Any, attempt: Attempt) -> None:
            self._stream = stream
            self._attempt = attempt

        def __iter__(self) -> Iterator[bytes]:
            attempt = self._attempt
            try:
                for part in self._stream:
                    attempt.received(part)
                    yield part
            except BaseException as error:
                attempt.broke(error)
                raise
            attempt.ended()

        def close(self) -> None:
            try:
                self._stream.close()
            finally:
                self._attempt.closed()

        def __del__(self) -> None:  # somebody dropped it without closing it
            self._attempt.closed()

    class AsyncStream(package.AsyncByteStream):  # type: ignore[misc]
        """
        A body that is looked at while it is read.
        """

        def __init__(self, stream: Any, attempt: Attempt) -> None:
            self._stream = stream
            self._attempt = attempt

        async def __aiter__(self) -> AsyncIterator[bytes]:
            attempt = self._attempt
            try:
                async for part in self._stream:
                    attempt.received(part)
                    yield part
            except BaseException as error:
                attempt.broke(error)
                raise
            attempt.ended()

        async def aclose(self) -> None:
            try:
                await self._stream.aclose()
            finally:
                self._attempt.closed()

        def __del__(self) -> None:  # somebody dropped it without closing it
            self._attempt.closed()

    class Transport(package.BaseTransport, package.AsyncBaseTransport):  # type: ignore[misc]
        """
        Passes everything on.
        """

        captures_llm_calls = True

        def __init__(self, inner: Any) -> None:
            self._inner = inner

        def handle_request(self, request: Any) -> Any:
            attempt = _begin(request, package)
            if attempt is None:
                return self._inner.handle_request(request)
            attempt.admit()
            attempt.sent()
            token = _seen.set(request)
            try:
                response = self._inner.handle_request(request)
            except BaseException as error:
                attempt.broke(error)
                raise
            finally:
                _seen.reset(token)
            return _watched(response, attempt, SyncStream)

        def close(self) -> None:
            self._inner.close()

        def __enter__(self) -> Any:
            self._inner.__enter__()
            return self

        def __exit__(
            self,
            kind: type[BaseException] | None = None,
            error: BaseException | None = None,
            traceback: TracebackType | None = None,
        ) -> None:
            self._inner.__exit__(kind, error, traceback)

        async def handle_async_request(self, request: Any) -> Any:
            attempt = _begin(request, package)
            if attempt is None:
                return await self._inner.handle_async_request(request)
            await attempt.admit_async()
            attempt.sent()
            token = _seen.set(request)
            try:
                response = await self._inner.handle_async_request(request)
            except BaseException as error:
                attempt.broke(error)
                raise
            finally:
                _seen.reset(token)
            return _watched(response, attempt, AsyncStream)

        async def aclose(self) -> None:
            await self._inner.aclose()

        async def __aenter__(self) -> Any:
            await self._inner.__aenter__()
            return self

        async def __aexit__(
            self,
            kind: type[BaseException] | None = None,
            error: BaseException | None = None,
            traceback: TracebackType | None = None,
        ) -> None:
            await self._inner.__aexit__(kind, error, traceback)

    return Transport


def _watched(response: Any, attempt: Attempt, stream: Any) -> Any:
    attempt.answered(response)
    if response.is_closed:
        attempt.read_already(response)
    else:
        response.stream = stream(response.stream, attempt)
    return response
