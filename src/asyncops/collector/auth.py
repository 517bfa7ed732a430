"""
Who may ask for what: API keys, the browser's cookie, and the `Host` header.

Without any key the collector serves this machine alone, and all of it. With keys every request
needs one: programs send it as `Authorization: Bearer ...`; a browser gives it once to the sign-in
form (dashboard/sign_in_page.py) and gets a cookie that holds a random token, never the key.

What changes something and bears no such header must come from one of our own pages, or from no
page at all: no page elsewhere can write by way of somebody's cookie, or of somebody's machine.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
import secrets
import time
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import attrs
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from .._exceptions import StoreError
from .api import JSON
from .store.base import Store

__all__ = [
    "DEFAULT_PROJECT",
    "PROJECT_COOKIE",
    "VISIT_COOKIE",
    "AuthMiddleware",
    "HostMiddleware",
    "Keys",
    "Visitors",
    "cookie",
    "hash_of",
    "is_loopback",
    "refuse_foreign",
    "set_cookie",
    "wants_page",
]

DEFAULT_PROJECT = "default"
"""Whose records are those that come without a key."""

VISIT_COOKIE = "asyncops_session"

PROJECT_COOKIE = "asyncops_project"
"""Which of the projects that are open to the browser it looks at; it opens none."""

VISIT_SECONDS = 12 * 3600.0
"""How long a browser stays signed in."""

MAX_VISITORS = 10_000
"""How many browsers are signed in at once; the first ones are forgotten beyond that."""

MAX_VISITOR_KEYS = 20
"""With how many keys one browser is signed in at once; the first ones are forgotten beyond that."""

REMEMBER_SECONDS = 1.0
"""How long an answer of the store about keys is trusted: other processes change them."""

MAX_REMEMBERED = 10_000

_PUBLIC = ("/static/",)
_PUBLIC_PATHS = frozenset({"/healthz", "/sign-in", "/sign-out"})
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_PROGRAMS = ("/api/", "/v1/", "/metrics", "/healthz")


def is_loopback(host: str) -> bool:
    """
    Whether *host*, a name or an address, is this machine as seen from itself.
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_for_programs(path: str) -> bool:
    """
    Whether *path* answers programs, in JSON even where something goes wrong.
    """
    return path.startswith(_PROGRAMS)


def wants_page(scope: Scope) -> bool:
    """
    Whether a person in front of a browser is asking.
    """
    accept = Headers(scope=scope).get("accept", "")
    return "text/html" in accept and not is_for_programs(scope["path"])


class HostMiddleware:
    """
    Refuses requests that were meant for another host.

    A page from elsewhere can make a name of its own point at this machine and so ask it for
    anything as if it came from here (DNS rebinding); its requests carry that name.

    Args:
        hosts: Names and addresses that are right, besides this machine's own for itself.
        any_address: Whether any address is right: no name can stand for one.
    """

    def __init__(self, app: ASGIApp, *, hosts: Iterable[str], any_address: bool) -> None:
        self.app = app
        self.hosts = frozenset(host.lower() for host in hosts)
        self.any_address = any_address

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._is_right(Headers(scope=scope).getlist("host")):
            await JSON({"error": "this is not the host that was asked for"}, 400)(
                scope, receive, send
            )
            return
        await self.app(scope, receive, send)

    def _is_right(self, values: list[str]) -> bool:
        if len(values) != 1:
            return False
        found = _HOST.fullmatch(values[0].lower())
        if found is None:
            return False
        host = found["address"] or found["name"]
        if host in self.hosts or is_loopback(host):
            return True
        return self.any_address and _is_address(host)


_HOST = re.compile(r"(?:\[(?P<address>[0-9a-f:.]+)\]|(?P<name>[\w.-]+))(?::\d{1,5})?", re.ASCII)
"""A name or an address, perhaps with a port: RFC 9110, section 7.2, as far as browsers go."""


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


@attrs.define(eq=False)
class Visitors:
    """
    The browsers that are signed in, by the hash of their cookie's token.
    """

    _known: dict[bytes, tuple[tuple[bytes, ...], float]] = attrs.field(factory=dict, init=False)

    def enter(self, key_hash: bytes, before: str = "") -> str:
        """
        The token of a visitor who came with the key that has this hash.

        Args:
            before: The token the visitor had so far, worthless from now on; its keys stay good.
        """
        keys = [known for known in self.keys(before) if known != key_hash]
        self.leave(before)
        while len(self._known) >= MAX_VISITORS:
            del self._known[next(iter(self._known))]
        token = secrets.token_urlsafe(32)
        until = time.monotonic() + VISIT_SECONDS
        self._known[hash_of(token)] = ((*keys, key_hash)[-MAX_VISITOR_KEYS:], until)
        return token

    def keys(self, token: str) -> tuple[bytes, ...]:
        """
        The hashes of the keys with which the visitor that has *token* came, the last one last.
        """
        keys, until = self._known.get(hash_of(token), ((), 0.0))
        if keys and time.monotonic() >= until:
            self.leave(token)
            return ()
        return keys

    def leave(self, token: str) -> None:
        self._known.pop(hash_of(token), None)


@attrs.define(eq=False)
class Keys:
    """
    What the store says about keys, asked at most once in `REMEMBER_SECONDS` per question.
    """

    _answers: dict[bytes | None, tuple[str | None, float]] = attrs.field(factory=dict, init=False)

    async def required(self, store: Store) -> bool:
        """
        Whether there is a key. A revoked one counts: taking it back opens nothing to anybody.
        """
        return await self._ask(store, None) is not None

    async def project(self, store: Store, key_hash: bytes) -> str | None:
        return await self._ask(store, key_hash)

    def forget(self) -> None:
        """
        Ask anew: a key was made or revoked here.
        """
        self._answers.clear()

    async def _ask(self, store: Store, key_hash: bytes | None) -> str | None:
        now = time.monotonic()
        known = self._answers.get(key_hash)
        if known is not None and now < known[1]:
            return known[0]
        if key_hash is None:
            answer = "some" if await store.keys() else None
        else:
            answer = await store.project_of_key(key_hash)
        if len(self._answers) >= MAX_REMEMBERED:
            self._answers.clear()
        self._answers[key_hash] = (answer, now + REMEMBER_SECONDS)
        return answer


class AuthMiddleware:
    """
    Finds out whose request it is, or refuses it.

    What is behind it reads from `request.state`: `project`, whose records are meant; `projects`,
    those among which the browser may choose; `by_key`, whether a key opened them.

    Args:
        trusted_project: Answer every request for this project, without a key.
    """

    def __init__(self, app: ASGIApp, *, trusted_project: str | None = None) -> None:
        self.app = app
        self.trusted_project = trusted_project

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = scope["path"]
        if path not in _PUBLIC_PATHS and not path.startswith(_PUBLIC):
            try:
                state = await self._state(Request(scope))
            except StoreError as error:
                refusal: Response | None = JSON({"error": str(error)}, 503, {"Retry-After": "1"})
            except HTTPException as error:
                refusal = self._refusal(scope, error)
            else:
                refusal = None
                scope.setdefault("state", {}).update(state)
            if refusal is not None:
                await refusal(scope, receive, send)
                return
        await self.app(scope, receive, send)

    async def _state(self, request: Request) -> dict[str, Any]:
        if request.method not in _READING and "authorization" not in request.headers:
            refuse_foreign(request)
        if self.trusted_project is not None:
            found: tuple[str, ...] = (self.trusted_project,)
            return {"project": self.trusted_project, "projects": found, "by_key": False}
        store: Store = request.app.state.store
        keys: Keys = request.app.state.keys
        if not await keys.required(store):
            if request.client is None or not is_loopback(request.client.host):
                raise HTTPException(403, "without API keys this collector serves its machine only")
            if is_for_programs(request.url.path) and "cookie" not in request.headers:
                found = (DEFAULT_PROJECT,)
            else:
                found = tuple(sorted({DEFAULT_PROJECT, *await store.projects()}))
            return {**_chosen(request, found, DEFAULT_PROJECT), "by_key": False}
        opened = [await keys.project(store, key_hash) for key_hash in _key_hashes(request)]
        found = tuple(sorted({project for project in opened if project is not None}))
        if not found:  # no word on whether the key is wrong, revoked or none at all
            raise HTTPException(
                401,
                "a valid API key is needed: Authorization: Bearer aops_...",
                {"WWW-Authenticate": "Bearer"},
            )
        return {**_chosen(request, found, found[0]), "by_key": True}

    def _refusal(self, scope: Scope, error: HTTPException) -> Response:
        if error.status_code == 401 and scope["method"] == "GET" and wants_page(scope):
            query = scope["query_string"].decode("latin-1")
            wanted = quote(scope["path"]) + (f"?{query}" if query else "")
            return RedirectResponse(f"/sign-in?next={quote(wanted, safe='')}", 303)
        return JSON({"error": error.detail}, error.status_code, dict(error.headers or {}))


def _chosen(request: Request, projects: tuple[str, ...], default: str) -> dict[str, Any]:
    wanted = default
    # records go to the project that is meant by them, whatever a browser looks at
    if not request.url.path.startswith("/v1/"):
        wanted = unquote(cookie(request, PROJECT_COOKIE))
    return {"project": wanted if wanted in projects else default, "projects": projects}


def _key_hashes(request: Request) -> tuple[bytes, ...]:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme:
        return (hash_of(key.strip()),) if scheme.lower() == "bearer" else ()
    path = request.url.path
    # by cookie the API is read, and the forms of our own pages are sent
    if path.startswith("/v1/") or (request.method not in _READING and is_for_programs(path)):
        return ()
    visitors: Visitors = request.app.state.visitors
    return visitors.keys(cookie(request, VISIT_COOKIE))


def refuse_foreign(request: Request) -> None:
    """
    Refuse what a page of another site sent.

    Raises:
        HTTPException: It did.
    """
    site = request.headers.get("sec-fetch-site")
    if site is None:
        # Browsers say where a form comes from in `Sec-Fetch-Site` to localhost and over https
        # alone; elsewhere `Origin` does, and programs, which nobody can misuse so, say nothing.
        origin = request.headers.get("origin")
        ours = origin is None or urlsplit(origin).netloc == request.headers["host"]
    else:
        ours = site in ("none", "same-origin")
    if not ours:
        raise HTTPException(403, "this form was sent from another site")


def cookie(request: Request, name: str) -> str:
    """
    What the browser sends under *name*; empty if that is nothing.
    """
    try:
        morsel = SimpleCookie(request.headers.get("cookie", "")).get(name)
    except CookieError:
        return ""
    return "" if morsel is None else morsel.value


def set_cookie(request: Request, response: Response, name: str, value: str) -> None:
    """
    Give the browser a cookie that no script reads and that comes along from our own pages alone.
    """
    # a proxy that speaks TLS for us is known by what the browser says of its own page
    secure = request.url.scheme == "https" or request.headers.get("origin", "").startswith("https:")
    response.set_cookie(
        name, value, max_age=int(VISIT_SECONDS), httponly=True, samesite="strict", secure=secure
    )


def hash_of(text: str) -> bytes:
    """
    What is kept in place of a key or a token.
    """
    return hashlib.sha256(text.encode(errors="replace")).digest()
