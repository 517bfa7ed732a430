"""
Which address shows which page.

Pages read through the `Store` of `request.app.state.store`, for the project of
`request.state.project`.
"""

from __future__ import annotations

from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import BaseRoute, Route

from .annotations_page import annotate_session
from .compare_page import show_compare, show_compared
from .keys_page import make_key, revoke_key, show_keys
from .overview_page import show_overview, show_overview_sums
from .rendering import View, assets, page
from .session_page import (
    delete_session,
    give_event,
    give_matches,
    give_timeline,
    show_event,
    show_session,
    show_session_head,
    show_session_view,
)
from .sessions_page import show_session_rows, show_sessions
from .sign_in_page import choose_project, show_form, sign_in, sign_out

__all__ = ["routes"]


def routes() -> list[BaseRoute]:
    """
    The pages, the parts of them that are fetched anew, and their static files.
    """
    compressed = [Middleware(GZipMiddleware, minimum_size=1_024, compresslevel=4)]
    session_page = "/sessions/{session_id}"
    pages: dict[str, View] = {
        "/": show_sessions,
        "/fragments/sessions": show_session_rows,
        "/compare": show_compare,
        "/fragments/compare": show_compared,
        "/overview": show_overview,
        "/fragments/overview": show_overview_sums,
        "/keys": show_keys,
        "/sign-in": show_form,
        session_page: show_session,
        f"{session_page}/head": show_session_head,
        f"{session_page}/views/{{view}}": show_session_view,
        f"{session_page}/timeline.json": give_timeline,
        f"{session_page}/matches.json": give_matches,
        f"{session_page}/events/{{event_id}}.json": give_event,
        f"{session_page}/events/{{event_id}}": show_event,
    }
    forms: dict[str, View] = {
        "/keys": make_key,
        "/keys/{key_id}/revoke": revoke_key,
        "/project": choose_project,
        f"{session_page}/annotations": annotate_session,
        f"{session_page}/delete": delete_session,
        "/sign-in": sign_in,
        "/sign-out": sign_out,
    }
    return [
        *(Route(path, page(view), middleware=compressed) for path, view in pages.items()),
        *(Route(path, page(view), methods=["POST"]) for path, view in forms.items()),
        Route("/static/{digest}/{name}", assets.respond, middleware=compressed),
    ]
