"""
Puts capture into every client of httpx and httpx2 that there is or will be, and takes it out again.

A client asks itself for the transport of each request (`Client._transport_for_url`). That is where
we stand: below every vendor's client and its retries, above every transport, also of other kinds.
A package that is not imported yet is waited for: we do not import httpx, which takes longer than
all of our start.
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
import threading
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ._active import current
from ._log import trouble

if TYPE_CHECKING:
    from importlib.abc import Loader

__all__ = ["instrument", "instrument_for_sessions", "uninstrument"]

PACKAGES = ("httpx", "httpx2")

_METHOD = "_transport_for_url"

_lock = threading.RLock()
_originals: dict[type, Callable[..., Any]] = {}
"""What we have taken the place of, by the class that it is a method of."""

_at_work = False
"""Whether what we have put there looks on; somebody may have put something over it that stays."""

_everywhere = False
"""Whether somebody has asked for it, whatever a session's configuration says."""


def instrument() -> None:
    """
    Record the calls of language models that go over httpx or httpx2, sync or async, from now on,
    in the session of whoever makes them: of all clients, those that are there already and those
    to come.

    `init()` and `session()` do this by themselves unless `instrument_llm_calls` is off; then this
    turns it on all the same. Does no harm when repeated. Without a session, calls cost a look-up
    and nothing is recorded. From any thread.
    """
    global _everywhere
    _everywhere = True
    instrument_for_sessions()


def instrument_for_sessions() -> None:
    """
    `instrument`, for those sessions only whose configuration wants it.
    """
    global _at_work
    with _lock:
        _at_work = True
        if _finder not in sys.meta_path:
            sys.meta_path.insert(0, _finder)
        waiting = [name for name in PACKAGES if name in sys.modules and name not in _loading]
    for name in waiting:
        # another thread may be in the midst of importing it
        package = importlib.import_module(name)
        with _lock:
            _put_into(package)


def uninstrument() -> None:
    """
    Take back what `instrument` did: clients are as if we had never been there. Calls that are under
    way are recorded to their end. The next `init()` or `session()` puts it in again, unless
    `instrument_llm_calls` is off.
    """
    global _at_work, _everywhere
    with _lock:
        _at_work = _everywhere = False
        if _finder in sys.meta_path:
            sys.meta_path.remove(_finder)
        for client, original in list(_originals.items()):
            if getattr(client.__dict__.get(_METHOD), "__wrapped__", None) is original:
                setattr(client, _METHOD, original)
                del _originals[client]


def _put_into(package: ModuleType) -> None:
    for name in ("Client", "AsyncClient"):
        client = getattr(package, name, None)
        original = getattr(client, "__dict__", {}).get(_METHOD)
        if client is None or original is None:
            trouble(
                "instrument",
                "asyncops does not know this version of %s: calls of language models are recorded"
                " only where asyncops.capture.transport is given to the client",
                package.__name__,
            )
        elif client not in _originals:
            _originals[client] = original
            setattr(client, _METHOD, _looking(original, package))


def _looking(original: Callable[..., Any], package: ModuleType) -> Callable[..., Any]:
    @functools.wraps(original)
    def transport_for_url(self: Any, url: Any) -> Any:
        inner = original(self, url)
        active = current()
        if (
            active is None
            or not _at_work
            or not (_everywhere or active.client.configuration.instrument_llm_calls)
        ):
            return inner
        from .capture._transports import capturing, is_capturing  # when the first call is made

        return inner if is_capturing(inner) else capturing(inner, package)

    return transport_for_url


# -- packages to come -------------------------------------------------------------------------


class _Finder:
    """
    Sees httpx being imported, lets the others find it, and is there when it has been executed.
    """

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in PACKAGES:
            return None
        for finder in sys.meta_path:
            find = None if finder is self else getattr(finder, "find_spec", None)
            spec: ModuleSpec | None = None if find is None else find(name, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _Loader(spec.loader)  # type: ignore[assignment]
                return spec
        return None


class _Loader:
    """
    Loads as *loader* does; once it is done, nothing shows that it was not *loader* itself.
    """

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        _loading.add(module.__name__)
        try:
            self._loader.exec_module(module)
            with _lock:
                if _at_work:
                    _put_into(module)
        finally:
            _loading.discard(module.__name__)


_finder = _Finder()
_loading: set[str] = set()
"""What is being imported and will be looked after when that is done."""


def _after_fork() -> None:
    global _lock
    _lock = threading.RLock()


os.register_at_fork(after_in_child=_after_fork)
