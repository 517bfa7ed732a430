"""
How a page is made: templates with what they may say, answers for people and for scripts.

`render()` and `error_page()` are for everybody in the collector that answers a person.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import jinja2
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from ..._exceptions import SessionNotFoundError, StoreError
from ..api import json_bytes, timestamp
from .assets import Assets
from .costs import event_cost, said_by
from .format import (
    amount_of,
    clock,
    compact,
    count,
    dollars,
    duration,
    exact_time,
    percent,
    plural,
    relative_time,
    web_address,
)
from .hosts import host_entry
from .images import image_of
from .markdown import markdown_html
from .missing import missing_words
from .payloads import image_html, json_html, text_html

__all__ = ["View", "as_html", "as_json", "assets", "environment", "error_page", "page", "render"]

HERE = Path(__file__).parent

View = Callable[[Request], Awaitable[Response]]
"""Answers requests to one address."""

TITLES = {
    400: "That was not understood",
    401: "Sign in first",
    403: "Not from here",
    404: "Not found",
    405: "Not like that",
    503: "The collector cannot answer now",
}

assets = Assets.read(HERE / "static")

environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader(HERE / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)
environment.globals["asset"] = assets.url
environment.globals["host_entry"] = host_entry
environment.filters["rfc3339"] = timestamp
for filter_ in (
    amount_of, clock, compact, count, dollars, duration, event_cost, exact_time, image_html,
    image_of, json_html, markdown_html, missing_words, percent, plural, relative_time, said_by,
    text_html, web_address,
):  # fmt: skip
    environment.filters[filter_.__name__] = filter_


def render(
    request: Request, name: str, context: Mapping[str, Any], status: int = 200
) -> HTMLResponse:
    """
    The template *name* as an answer. Works for those, too, who are not signed in.

    Args:
        context: What the template asks for; `sign_in.html`: `next` and `error` (None for none).
    """
    common = {
        "project": getattr(request.state, "project", None),
        "projects": getattr(request.state, "projects", ()),
        "signed_in": getattr(request.state, "by_key", False),
        "page": None,
        "now": time.time_ns(),
    }
    html = environment.get_template(name).render({**common, **context})
    return HTMLResponse(html, status, headers={"Cache-Control": "no-store"})


def error_page(request: Request, status: int, message: str) -> HTMLResponse:
    """
    A page that says what went wrong, to a person.
    """
    title = TITLES.get(status, "Something went wrong")
    context = {"status": status, "title": title, "message": message}
    return render(request, "error.html", context, status)


def page(view: View) -> View:
    """
    *view*, with what goes wrong in it told to a person.
    """

    @functools.wraps(view)
    async def answer(request: Request) -> Response:
        try:
            return await view(request)
        except SessionNotFoundError as error:
            message = f"There is no session {error.session_id} in this project."
            return error_page(request, 404, message)
        except HTTPException as error:
            return error_page(request, error.status_code, error.detail)
        except StoreError as error:
            return error_page(request, 503, str(error))

    return answer


def as_html(html: bytes) -> HTMLResponse:
    """
    *html*, which `render` made, as an answer.
    """
    return HTMLResponse(html, headers={"Cache-Control": "no-store"})


def as_json(value: Any) -> Response:
    """
    *value* for a script of ours.
    """
    return Response(
        json_bytes(value), media_type="application/json", headers={"Cache-Control": "no-store"}
    )
