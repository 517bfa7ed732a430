"""
What people say of a session in its page's forms.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ..api import annotation_of
from ..auth import wants_page
from ..store.base import Store
from .forms import read_form

__all__ = ["annotate_session"]


async def annotate_session(request: Request) -> Response:
    store: Store = request.app.state.store
    session_id: str = request.path_params["session_id"]
    form = await read_form(request)
    try:
        annotation = annotation_of(session_id, _said(form))
    except ValueError as error:
        raise HTTPException(400, f"That cannot be said: {error}") from None
    await store.annotate(request.state.project, annotation)
    if not wants_page(request.scope):  # a script of ours, which asks for what it shows
        return Response(status_code=204)
    where = f"?event={quote(annotation.event)}" if annotation.event else ""
    return RedirectResponse(f"/sessions/{quote(session_id)}{where}", 303)


def _said(form: Mapping[str, str]) -> dict[str, Any]:
    """
    What the fields of *form* say, in the words of the API.
    """
    said: dict[str, Any] = {
        name: form[name] for name in ("event", "by", "note", "score_name") if name in form
    }
    if "star" in form:
        said["star"] = form["star"] == "1"
    if "score" in form:
        said["score"] = float(form["score"])
    if "take_back" in form:
        said |= {"note_id": form["take_back"], "note": ""}
    if "retag" in form:
        tags = (tag.strip() for tag in form.get("tags", "").split(","))
        said["tags"] = list(dict.fromkeys(filter(None, tags)))
    return said
