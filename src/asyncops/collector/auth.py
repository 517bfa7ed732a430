"""
Who may ask for what: API keys, the browser's sign-in, and the `Host` header.

Without any key the collector serves project `default` to this machine alone. With keys every
request needs one: programs send it as `Authorization: Bearer ...`; a browser gives it once to the
sign-in form and gets a cookie that holds a random token, never the key. Writing takes the header,
so no page elsewhere can write by way of somebody's cookie.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
import secrets
import time
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, quote, urlsplit

import attrs
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from .._exceptions import StoreError
from .api import JSON
from .dashboard.rendering import render
from .store.base import Store

__all__ = [
    "DEFAULT_PROJECT",
    "AuthMiddleware",
    "HostMiddleware",
    "Visitors",
    "is_loopback",
    "routes",
]

DEFAULT_PROJECT = "default"
"""Whose records are those that come without a key."""

COOKIE = "asyncops_session"

VISIT_SECONDS = 12 * 3600.0
"""How long a browser stays signed in."""

MAX_VISITORS = 10_000
"""How many browsers are signed in at once; the first ones are forgotten beyond that."""

REMEMBER_SECONDS = 1.0
"""How long an answer of the store about keys is trusted: other processes change them."""

MAX_REMEMBERED = 10_000

MAX_FORM_BYTES = 16_384

_PUBLIC = ("/static/",)
_PUBLIC_PATHS = frozenset({"/healthz", "/sign-in", "/sign-out"})
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

    _known: dict[bytes, tuple[bytes, float]] = attrs.field(factory=dict, init=False)

    def enter(self, key_hash: bytes) -> str:
        """
        The token of a new visitor, who came with the key that has this hash.
        """
        while len(self._known) >= MAX_VISITORS:
            del self._known[next(iter(self._known))]
        token = secrets.token_urlsafe(32)
        self._known[_hash(token)] = (key_hash, time.monotonic() + VISIT_SECONDS)
        return token

    def key_hash(self, token: str) -> bytes | None:
        """
        The hash of the key with which the visitor that has *token* came.
        """
        found = self._known.get(_hash(token))
        if found is None:
            return None
        key_hash, until = found
        if time.monotonic() < until:
            return key_hash
        del self._known[_hash(token)]
        return None

    def leave(self, token: str) -> None:
        self._known.pop(_hash(token), None)


@attrs.define(eq=False)
class _Keys:
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
    Finds out whose request it is (`request.state.project`), or refuses it.

    Args:
        trusted_project: Answer every request for this project, without a key.
    """

    def __init__(self, app: ASGIApp, *, trusted_project: str | None = None) -> None:
        self.app = app
        self.trusted_project = trusted_project
        self.keys = _Keys()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = scope["path"]
        if path not in _PUBLIC_PATHS and not path.startswith(_PUBLIC):
            try:
                project = await self._project(Request(scope))
            except StoreError as error:
                refusal: Response | None = JSON({"error": str(error)}, 503, {"Retry-After": "1"})
            except HTTPException as error:
                refusal = self._refusal(scope, error)
            else:
                refusal = None
                scope.setdefault("state", {})["project"] = project
            if refusal is not None:
                await refusal(scope, receive, send)
                return
        await self.app(scope, receive, send)

    async def _project(self, request: Request) -> str:
        if self.trusted_project is not None:
            return self.trusted_project
        store: Store = request.app.state.store
        if not await self.keys.required(store):
            if request.client is None or not is_loopback(request.client.host):
                raise HTTPException(403, "without API keys this collector serves its machine only")
            return DEFAULT_PROJECT
        key_hash = self._key_hash(request)
        project = None if key_hash is None else await self.keys.project(store, key_hash)
        if project is None:  # no word on whether the key is wrong, revoked or none at all
            raise HTTPException(
                401,
                "a valid API key is needed: Authorization: Bearer aops_...",
                {"WWW-Authenticate": "Bearer"},
            )
        return project

    def _key_hash(self, request: Request) -> bytes | None:
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme:
            return _hash(key.strip()) if scheme.lower() == "bearer" else None
        if request.method in ("GET", "HEAD") and not request.url.path.startswith("/v1/"):
            visitors: Visitors = request.app.state.visitors
            return visitors.key_hash(_token(request))
        return None

    def _refusal(self, scope: Scope, error: HTTPException) -> Response:
        if error.status_code == 401 and scope["method"] == "GET" and wants_page(scope):
            query = scope["query_string"].decode("latin-1")
            wanted = quote(scope["path"]) + (f"?{query}" if query else "")
            return RedirectResponse(f"/sign-in?next={quote(wanted, safe='')}", 303)
        return JSON({"error": error.detail}, error.status_code, dict(error.headers or {}))


# -- the browser's way in ---------------------------------------------------------------------


def routes() -> list[BaseRoute]:
    """
    What the collector serves from here.
    """
    return [
        Route("/sign-in", show_form, methods=["GET"]),
        Route("/sign-in", sign_in, methods=["POST"]),
        Route("/sign-out", sign_out, methods=["POST"]),
    ]


async def show_form(request: Request) -> Response:
    wanted = _own_path(request.query_params.get("next", ""))
    return render(request, "sign_in.html", {"next": wanted, "error": None}, 200)


async def sign_in(request: Request) -> Response:
    _refuse_foreign(request)
    form = await _form(request)
    wanted = _own_path(form.get("next", ""))
    key_hash = _hash(form.get("key", "").strip())
    store: Store = request.app.state.store
    if await store.project_of_key(key_hash) is None:
        context = {"next": wanted, "error": "That key opens nothing here."}
        return render(request, "sign_in.html", context, 401)
    visitors: Visitors = request.app.state.visitors
    response = RedirectResponse(wanted, 303)
    response.set_cookie(
        COOKIE,
        visitors.enter(key_hash),
        max_age=int(VISIT_SECONDS),
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return response


async def sign_out(request: Request) -> Response:
    _refuse_foreign(request)
    visitors: Visitors = request.app.state.visitors
    visitors.leave(_token(request))
    response = RedirectResponse("/sign-in", 303)
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return response


def _refuse_foreign(request: Request) -> None:
    """
    Refuse a form that a page of another site sent: it must not sign anybody in, or out.
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


async def _form(request: Request) -> dict[str, str]:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_FORM_BYTES:
            raise HTTPException(413, "that is more than the form has", {"Connection": "close"})
    try:
        fields = parse_qs(body.decode("latin-1"), max_num_fields=20)
    except ValueError:
        raise HTTPException(400, "that is more than the form has") from None
    return {name: values[0] for name, values in fields.items()}


def _own_path(wanted: str) -> str:
    """
    *wanted* if it is an address on this collector, else the first page.
    """
    # browsers read a backslash as a slash and leave out control characters
    if not wanted.startswith("//") and wanted.startswith("/"):
        return wanted if wanted.isprintable() and "\\" not in wanted else "/"
    return "/"


def _token(request: Request) -> str:
    try:
        morsel = SimpleCookie(request.headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return "" if morsel is None else morsel.value


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode(errors="replace")).digest()
