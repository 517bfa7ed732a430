"""
The keys of a project: made, shown once, and revoked.

Whoever has a key of a project sees and makes that project's keys. Where there is none yet, whoever
is at the machine makes the first one, for any project, and is signed in with it: from then on every
request needs a key.
"""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ..auth import VISIT_COOKIE, Keys, Visitors, cookie, hash_of
from ..store.base import ApiKey, Store
from .forms import read_form
from .rendering import render
from .sign_in_page import enter

__all__ = ["make_key", "revoke_key", "show_keys"]

MAX_PROJECT = 100
"""How many characters the name of a project has that is thought of in the page."""


async def show_keys(request: Request) -> Response:
    return await _page(request)


async def make_key(request: Request) -> Response:
    state = request.state
    is_first = not state.by_key
    if is_first:
        project = (await read_form(request)).get("project", "").strip()
        if not (project.isprintable() and 0 < len(project) <= MAX_PROJECT):
            said = f"The name of a project is one line of 1 to {MAX_PROJECT} characters."
            return await _page(request, problem=said)
        state.project, state.projects, state.by_key = project, (project,), True
    key, text = await _store(request).create_key(state.project)
    _forget_answers(request)
    response = await _page(request, made=text, is_first=is_first)
    if is_first:
        enter(request, response, hash_of(text), key.project)
    return response


async def revoke_key(request: Request) -> Response:
    key_id: str = request.path_params["key_id"]
    if not any(key.id == key_id for key in await _keys(request)):
        raise HTTPException(404, "there is no such key in this project")
    await _store(request).revoke_key(key_id)
    _forget_answers(request)
    return RedirectResponse("/keys", 303)


async def _page(
    request: Request, *, made: str | None = None, is_first: bool = False, problem: str | None = None
) -> Response:
    visitors: Visitors = request.app.state.visitors
    own = visitors.keys(cookie(request, VISIT_COOKIE))
    context = {
        "page": "keys",
        "keys": sorted(await _keys(request), key=lambda key: key.revoked_at is not None),
        "own": {key_hash.hex()[:16] for key_hash in own},
        "by_key": request.state.by_key,
        "made": made,
        "is_first": is_first,
        "problem": problem,
        "endpoint": str(request.base_url).rstrip("/"),
    }
    return render(request, "keys.html", context, 400 if problem else 200)


async def _keys(request: Request) -> list[ApiKey]:
    if not request.state.by_key:
        return []  # nobody would get here without one if there were any
    project = request.state.project
    return [key for key in await _store(request).keys() if key.project == project]


def _store(request: Request) -> Store:
    store: Store = request.app.state.store
    return store


def _forget_answers(request: Request) -> None:
    keys: Keys = request.app.state.keys
    keys.forget()
