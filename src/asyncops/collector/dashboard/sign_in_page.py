"""
The browser's way in and out, and from one project to another.
"""

from __future__ import annotations

from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ..auth import (
    PROJECT_COOKIE,
    VISIT_COOKIE,
    Visitors,
    cookie,
    hash_of,
    refuse_foreign,
    set_cookie,
)
from ..store.base import Store
from .forms import read_form
from .rendering import render

__all__ = ["choose_project", "enter", "show_form", "sign_in", "sign_out"]


async def show_form(request: Request) -> Response:
    wanted = _own_path(request.query_params.get("next", ""))
    return render(request, "sign_in.html", {"next": wanted, "error": None})


async def sign_in(request: Request) -> Response:
    refuse_foreign(request)
    form = await read_form(request)
    wanted = _own_path(form.get("next", ""))
    key_hash = hash_of(form.get("key", "").strip())
    store: Store = request.app.state.store
    project = await store.project_of_key(key_hash)
    if project is None:
        context = {"next": wanted, "error": "That key opens nothing here."}
        return render(request, "sign_in.html", context, 401)
    response = RedirectResponse(wanted, 303)
    enter(request, response, key_hash, project)
    return response


def enter(request: Request, response: Response, key_hash: bytes, project: str) -> None:
    """
    Sign the browser in with the key that has this hash, besides those it has already shown, and
    lead it to the key's *project*.
    """
    visitors: Visitors = request.app.state.visitors
    token = visitors.enter(key_hash, before=cookie(request, VISIT_COOKIE))
    set_cookie(request, response, VISIT_COOKIE, token)
    set_cookie(request, response, PROJECT_COOKIE, quote(project, safe=""))


async def sign_out(request: Request) -> Response:
    refuse_foreign(request)
    visitors: Visitors = request.app.state.visitors
    visitors.leave(cookie(request, VISIT_COOKIE))
    response = RedirectResponse("/sign-in", 303)
    response.delete_cookie(VISIT_COOKIE, httponly=True, samesite="strict")
    response.delete_cookie(PROJECT_COOKIE, httponly=True, samesite="strict")
    return response


async def choose_project(request: Request) -> Response:
    form = await read_form(request)
    response = RedirectResponse("/", 303)  # what was looked at belongs to the other project
    set_cookie(request, response, PROJECT_COOKIE, quote(form.get("project", ""), safe=""))
    return response


def _own_path(wanted: str) -> str:
    """
    *wanted* if it is an address on this collector, else the first page.
    """
    # browsers read a backslash as a slash and leave out control characters
    if not wanted.startswith("//") and wanted.startswith("/"):
        return wanted if wanted.isprintable() and "\\" not in wanted else "/"
    return "/"
