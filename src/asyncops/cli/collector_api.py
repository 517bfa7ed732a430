"""
Sessions as the collector tells them: over HTTP from one that runs, or out of its database file.

Where no collector runs, its application answers in this process: there is one API, and one
implementation of it.
"""

from __future__ import annotations

import contextlib
import gzip
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from .._configuration import Configuration
from ..collector.app import CollectorSettings, create_app
from ..collector.auth import DEFAULT_PROJECT
from .output import CommandError, one_line

__all__ = ["CollectorAPI", "UnavailableError", "answers", "collector_api", "live_collector"]

CONNECT_SECONDS = 5.0

_IN_AN_ID = re.compile(r"[0-9a-f-]+")

PAGE = 500
LONG_PAGE = 10_000
"""How much is asked for at once, and where that is little."""


class UnavailableError(CommandError):
    """
    The collector does not answer, or not now.
    """


class CollectorAPI:
    """
    The collector's API.
    """

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def sessions(
        self, *, limit: int, **filters: str | Sequence[str] | None
    ) -> list[dict[str, Any]]:
        """
        At most *limit* sessions that pass all *filters*, newest first.
        """
        said = {name: value for name, value in filters.items() if value}
        found: list[dict[str, Any]] = []
        cursor: str | None = None
        while len(found) < limit:
            page = {"limit": str(min(limit - len(found), PAGE))}
            if cursor is not None:
                page["cursor"] = cursor
            answer = await self._get("/api/sessions", {**said, **page})
            found += answer["sessions"]
            cursor = answer["next"]
            if cursor is None:
                break
        return found

    async def session(self, session_id: str) -> dict[str, Any] | None:
        """
        One session with its sources, or None where there is none of that id.
        """
        found: dict[str, Any] | None = await self._get(
            f"/api/sessions/{session_id}", {}, missing_ok=True
        )
        return found

    async def events(self, session_id: str) -> list[dict[str, Any]]:
        """
        All events of a session in order of arrival.
        """
        return await self._all(f"/api/sessions/{session_id}/events", limit=PAGE)

    async def timeline(self, session_id: str, *, after: int = 0) -> list[dict[str, Any]]:
        """
        The same without what went in and came out; those whose `seq` is beyond *after*.
        """
        path = f"/api/sessions/{session_id}/timeline"
        return await self._all(path, limit=LONG_PAGE, after=after)

    async def event(self, session_id: str, event_id: str) -> dict[str, Any]:
        """
        One event with all that is known of it.
        """
        found: dict[str, Any] = await self._get(f"/api/sessions/{session_id}/events/{event_id}", {})
        return found

    async def _all(self, path: str, *, limit: int, after: int = 0) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        query = {"limit": str(limit), "cursor": str(after)}
        while True:
            answer = await self._get(path, query)
            found += answer["events"]
            if answer["next"] is None:
                return found
            query["cursor"] = answer["next"]

    async def reprice(self, **asked: str | bool) -> AsyncIterator[dict[str, Any]]:
        """
        Have calls of models priced anew, and tell of it part by part.
        """
        async for part in self._parts("/api/reprice", asked):
            yield part

    async def delete(self, session_id: str) -> None:
        """
        Delete a session, if it is still there.
        """
        await self._ask("DELETE", f"/api/sessions/{session_id}", missing_ok=True)

    async def prune(self, **asked: str | bool) -> AsyncIterator[dict[str, Any]]:
        """
        Have old sessions deleted, and tell of it part by part.
        """
        async for part in self._parts("/api/prune", asked):
            yield part

    async def _parts(
        self, path: str, asked: dict[str, str | bool]
    ) -> AsyncIterator[dict[str, Any]]:
        while True:
            part: dict[str, Any] = await self._ask("POST", path, json=asked)
            yield part
            if part["next"] is None:
                return
            asked["cursor"] = part["next"]

    async def export(self, session_id: str, form: str, *, redacted: bool) -> AsyncIterator[bytes]:
        """
        One session as a file, part by part.
        """
        query = {"format": form, **({"redacted": "1"} if redacted else {})}
        path = f"/api/sessions/{session_id}/export"
        try:
            async with self._http.stream("GET", path, params=query) as response:
                if response.status_code != 200:
                    await response.aread()
                    self._answer(path, response)
                async for part in response.aiter_bytes():
                    yield part
        except httpx.HTTPError as error:
            raise CommandError(f"the collector stopped answering: {error!r}") from None

    async def send(self, source: str, lines: bytes) -> list[str]:
        """
        Have records of *source* stored; returns what is wrong with those that were refused.
        """
        answer = await self._ask(
            "POST",
            "/v1/records",
            content=gzip.compress(lines, 1),
            headers={"Asyncops-Source": source, "Content-Encoding": "gzip"},
        )
        return [str(line["error"]) for line in answer["rejected"]]

    async def find(self, prefix: str) -> dict[str, Any]:
        """
        The one session whose id begins with *prefix*.

        Raises:
            CommandError: There is none, or there are several.
        """
        prefix = prefix.lower()
        hits: list[str] = []
        if len(prefix) == 36 and _IN_AN_ID.fullmatch(prefix):
            hits = [prefix]
        elif _IN_AN_ID.fullmatch(prefix):
            found_ids = [session["id"] for session in await self.sessions(limit=10_000, q=prefix)]
            # only what is an id: whoever answers there could send us anywhere with it
            hits = [
                each for each in found_ids if each.startswith(prefix) and _IN_AN_ID.fullmatch(each)
            ]
        if len(hits) > 1:
            shown = ", ".join(hits[:5])
            raise CommandError(f"{len(hits)} sessions begin with {prefix!r}: {shown} ...")
        found = await self.session(hits[0]) if hits else None
        if found is None or found["id"] != hits[0]:
            raise CommandError(f"no session begins with {prefix!r}")
        return found

    async def _get(
        self, path: str, query: Mapping[str, str | Sequence[str]], *, missing_ok: bool = False
    ) -> Any:
        return await self._ask("GET", path, params=dict(query), missing_ok=missing_ok)

    async def _ask(
        self, method: str, path: str, *, missing_ok: bool = False, **request: Any
    ) -> Any:
        try:
            response = await self._http.request(method, path, **request)
        except httpx.HTTPError as error:
            raise UnavailableError(f"the collector stopped answering: {error!r}") from None
        if missing_ok and response.status_code == 404:
            return None
        return self._answer(path, response)

    @contextlib.asynccontextmanager
    async def stream(
        self, path: str, *, last: str | None, silence: float
    ) -> AsyncIterator[AsyncIterator[str]]:
        """
        The lines of the stream at *path*.

        Args:
            last: The id of the last event that was seen of it.
            silence: Seconds after which a stream that says nothing is given up.

        Raises:
            UnavailableError: Nobody answers, or not now; also by the lines, when it breaks.
        """
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last} if last else {})
        timeout = httpx.Timeout(CONNECT_SECONDS, read=silence)
        try:
            async with self._http.stream("GET", path, headers=headers, timeout=timeout) as response:
                if response.status_code != 200:
                    await response.aread()
                    self._answer(path, response)
                yield response.aiter_lines()
        except httpx.HTTPError as error:
            raise UnavailableError(f"the collector stopped answering: {error!r}") from None

    def _answer(self, path: str, response: httpx.Response) -> Any:
        """
        What *response* says.

        Raises:
            CommandError: It is a refusal, or nothing that a collector says.
        """
        if response.status_code == 401:
            raise CommandError("the collector wants an API key: set ASYNCOPS_API_KEY")
        try:
            answer = response.json()
            if response.status_code != 200:
                said = f"the collector says: {one_line(answer['error'])}"
                raise (UnavailableError if response.status_code == 503 else CommandError)(said)
        except (ValueError, LookupError, TypeError):
            raise CommandError(
                f"{self._http.base_url} is no asyncops collector"
                f" (it answers {path} with {response.status_code})"
            ) from None
        return answer


async def answers(endpoint: str) -> bool:
    """
    Whether a collector answers at *endpoint*.
    """
    try:
        async with httpx.AsyncClient(timeout=2, trust_env=False) as http:
            response = await http.get(f"{endpoint}/healthz")
            return response.status_code == 200 and response.json()["service"] == "asyncops"
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, LookupError, TypeError):
        return False


@contextlib.asynccontextmanager
async def collector_api(
    endpoint: str | None = None,
    *,
    db: Path | None = None,
    project: str = DEFAULT_PROJECT,
    create: bool = False,
) -> AsyncIterator[CollectorAPI]:
    """
    The API of the collector at *endpoint* or, where none answers, of the database *db*.

    Args:
        endpoint: Its address; that of the configuration if None.
        db: The database; the usual one if None.
        project: Whose sessions are read from the database. A collector goes by the API key.
        create: Make the database where there is none.

    Raises:
        CommandError: No collector answers, and there is no database.
    """
    configuration = _configuration(endpoint)
    if await answers(configuration.endpoint):
        async with _client(configuration) as http:
            yield CollectorAPI(http)
        return
    settings = CollectorSettings(db=db)
    if not create and not settings.db.exists():
        raise CommandError(
            f"no collector answers at {configuration.endpoint}, and there is no database"
            f" {settings.db}; start one with: asyncops serve"
        )
    app = create_app(settings, trusted_project=project)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as http,
    ):
        yield CollectorAPI(http)


@contextlib.asynccontextmanager
async def live_collector(endpoint: str | None = None) -> AsyncIterator[CollectorAPI]:
    """
    The API of the collector that runs at *endpoint*, or where the configuration says.

    Raises:
        CommandError: None answers.
    """
    configuration = _configuration(endpoint)
    if not await answers(configuration.endpoint):
        raise CommandError(
            f"no collector answers at {configuration.endpoint}; start one with: asyncops serve"
        )
    async with _client(configuration) as http:
        yield CollectorAPI(http)


def _configuration(endpoint: str | None) -> Configuration:
    return Configuration() if endpoint is None else Configuration(endpoint=endpoint)


def _client(configuration: Configuration) -> httpx.AsyncClient:
    headers = {}
    if configuration.api_key is not None:
        headers["Authorization"] = f"Bearer {configuration.api_key}"
    return httpx.AsyncClient(
        base_url=configuration.endpoint, headers=headers, timeout=30, trust_env=False
    )
