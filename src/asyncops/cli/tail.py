"""
`asyncops tail`: what happens, as it happens: in a project, or in one session until it ends.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

import anyio
import attrs
from cyclopts import Parameter
from rich.text import Text

from ..collector.dashboard.format import amount_of, plural
from . import output
from .collector_api import CollectorAPI, UnavailableError, live_collector
from .live import Told, listen
from .session_tree import KIND_COLOURS, microseconds

__all__ = ["tail"]

OPEN_SECONDS = 1.0
"""How long an event is open before that is told."""

MAX_AT_ONCE = 100
"""How many events of one session are told one by one if so many arrive at once in a project."""

MAX_KNOWN = 5_000
"""How many sessions that ended are remembered, so that they are not told twice."""

SLACK_SECONDS = 60
"""How far the clocks of programs and ours may be apart."""

MAX_SESSIONS = 1_000
"""How many sessions are looked at when something may have been missed."""

Event = Mapping[str, Any]
Session = Mapping[str, Any]


def tail(
    session_id: Annotated[str | None, Parameter(name="ID")] = None,
    /,
    *,
    tag: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    state: Annotated[
        tuple[Literal["Running", "Success", "Fail", "Cancelled", "Indeterminate"], ...],
        Parameter(negative=()),
    ] = (),
    kind: Annotated[
        tuple[Literal["action", "agent", "error", "llm", "tool"], ...], Parameter(negative=())
    ] = (),
    errors: Annotated[bool, Parameter(negative=())] = False,
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
    endpoint: str | None = None,
) -> None:
    """
    Tell what happens, as it happens, until Ctrl-C; or in one session, until it ends.

    Exit status 0, for one session only if it ended in Success.

    Parameters
    ----------
    session_id
        The session to follow, from its beginning: its id, or the beginning of it. All of the
        project if left out, from now on.
    tag
        Only sessions with this tag; with several, those that have them all.
    state
        Only what is told of sessions in this state: Running for what happens in them, the others
        for how they end.
    kind
        Only events of this kind.
    errors
        Only what failed: events, and sessions that did not end in Success.
    as_json
        A line of JSON for each session that starts or ends and each event.
    endpoint
        The collector's address. Default: ASYNCOPS_ENDPOINT, else the one on this machine.
    """
    log = _Log(_Filter(tags=tag, states=state, kinds=kind, errors=errors), as_json=as_json)

    async def follow() -> str | None:
        async with live_collector(endpoint) as api:
            if session_id is None:
                await _Project(api, log).follow()
                return None
            return await _follow_session(api, await api.find(session_id), log)

    try:
        ended = anyio.run(follow)
    except KeyboardInterrupt:  # how one stops watching
        return
    if ended != "Success":
        raise SystemExit(1)


@attrs.frozen(kw_only=True)
class _Filter:
    """
    What is told.
    """

    tags: tuple[str, ...]
    states: tuple[str, ...]
    kinds: tuple[str, ...]
    errors: bool

    def ending(self, session: Session) -> bool:
        """
        Whether it is told how *session* ended.
        """
        if self.errors and session["state"] == "Success":
            return False
        return self._tagged(session) and (not self.states or session["state"] in self.states)

    def work(self, session: Session) -> bool:
        """
        Whether it is told what happens in *session*.
        """
        return self._tagged(session) and (not self.states or "Running" in self.states)

    def _tagged(self, session: Session) -> bool:
        return set(self.tags) <= set(session["tags"])

    def event(self, event: Event) -> bool:
        if self.kinds and event["kind"] not in self.kinds:
            return False
        return not self.errors or event["state"] == "Fail"


# -- one session ----------------------------------------------------------------------------------


async def _follow_session(api: CollectorAPI, session: Session, log: _Log) -> str:
    """
    Tell of *session* until it ends; its end state.
    """
    events = _Events()
    is_told = False
    async with contextlib.aclosing(listen(api, f"/api/sessions/{session['id']}/stream")) as told:
        async for each in told:
            if each.kind == "session":
                session = each.data
                if not is_told:
                    is_told = True
                    log.session(session, "starts")
                if session["state"] != "Running":
                    break
            elif each.kind == "events":
                if not is_told:  # by what it was when it was asked for
                    is_told = True
                    log.session(session, "starts")
                log.events(session, events.changed(each.data), events.depths)
            log.events(session, events.due(), events.depths)
    log.session(session, "ends")
    return str(session["state"])


class _Events:
    """
    The events of a session that were heard of.
    """

    def __init__(self) -> None:
        self.depths: dict[str, int] = {}
        self.seq = 0
        self._waiting: dict[str, tuple[float, Event]] = {}

    def changed(self, events: Sequence[Event]) -> list[Event]:
        """
        Those of *events* that are to be told now, parents before what happened in them.
        """
        inside: dict[str | None, list[Event]] = {}
        ids = {event["id"] for event in events}
        for event in sorted(events, key=lambda event: (event["started_at"], event["seq"])):
            parent = event["parent_id"]
            inside.setdefault(parent if parent in ids else None, []).append(event)
        found: list[Event] = []
        following = list(reversed(inside.pop(None, [])))
        while following:
            event = following.pop()
            self.depths[event["id"]] = self.depths.get(event["parent_id"], -1) + 1
            found.append(event)
            following += reversed(inside.pop(event["id"], []))
        # what hangs together in a circle, which no program's events do
        found += [event for events in inside.values() for event in events]
        self.seq = max([self.seq, *(event["seq"] for event in events)])
        return [event for event in found if self._is_told(event)]

    def _is_told(self, event: Event) -> bool:
        if event["state"] != "Running":
            self._waiting.pop(event["id"], None)
            return True
        age = time.time() - microseconds(event["started_at"]) / 1e6
        since = time.monotonic() - min(max(age, 0.0), OPEN_SECONDS)
        if time.monotonic() - since >= OPEN_SECONDS:
            return True
        self._waiting[event["id"]] = since, event
        return False

    def due(self) -> list[Event]:
        """
        Those that have been open for long enough by now.
        """
        now = time.monotonic()
        due = [e for since, e in self._waiting.values() if now - since >= OPEN_SECONDS]
        for event in due:
            del self._waiting[event["id"]]
        return due


# -- a project ------------------------------------------------------------------------------------


@attrs.define
class _Known:
    """
    A session that was heard of.
    """

    look: Session
    events: _Events = attrs.field(factory=_Events)
    ended: bool = False


class _Project:
    """
    Everything that happens from now on.
    """

    def __init__(self, api: CollectorAPI, log: _Log) -> None:
        self._api = api
        self._log = log
        self._known: dict[str, _Known] = {}
        self._pending: dict[str, Session] = {}
        self._is_behind = False
        self._is_first = True
        self._heard_at = time.time()

    async def follow(self) -> None:
        async with contextlib.aclosing(listen(self._api, "/api/stream")) as told:
            async for each in told:
                await self._hear(each)

    async def _hear(self, told: Told) -> None:
        if told.kind == "away":
            return
        if told.kind == "watching":
            self._is_behind = True
        elif told.kind == "session":
            self._pending[told.data["id"]] = told.data
            return  # many of them come together
        try:
            if self._is_behind:
                await self._catch_up()
                self._is_behind = False
            while self._pending:
                await self._look_at(self._pending[next(iter(self._pending))])
                del self._pending[next(iter(self._pending))]
        except UnavailableError:  # which the stream notices as well
            self._is_behind = True
        else:
            self._heard_at = time.time()
        for known in self._known.values():
            if not known.ended:
                self._log.events(known.look, known.events.due(), None)

    async def _catch_up(self) -> None:
        """
        Look at all that may have changed while nobody listened.
        """
        found = {s["id"]: s for s in await self._api.sessions(limit=MAX_SESSIONS, state="Running")}
        if self._is_first:
            for session in found.values():
                await self._take_up(session)
            self._is_first = False
            return
        since = time.gmtime(self._heard_at - SLACK_SECONDS)
        recent = await self._api.sessions(
            limit=MAX_SESSIONS, since=time.strftime("%Y-%m-%dT%H:%M:%SZ", since)
        )
        found |= {session["id"]: session for session in recent}
        for session_id, known in self._known.items():
            if not known.ended and session_id not in found:
                look = await self._api.session(session_id)
                if look is not None:
                    found[session_id] = look
        self._pending = found | self._pending

    async def _take_up(self, session: Session) -> None:
        """
        Begin with *session*, which runs already: what happened in it is not told.
        """
        known = self._known[session["id"]] = _Known(session)
        open_events = [
            event
            for event in known.events.changed(await self._api.timeline(session["id"]))
            if event["state"] == "Running"
        ]
        self._log.session(session, "runs")
        self._log.events(session, open_events, None)

    async def _look_at(self, session: Session) -> None:
        known = self._known.get(session["id"])
        has_ended = session["state"] != "Running"
        if known is None:
            known = self._known[session["id"]] = _Known(session)
            if has_ended and microseconds(session["last_record_at"]) / 1e6 < (
                self._heard_at - SLACK_SECONDS
            ):  # it is from long ago: somebody annotated it, or found its journal
                known.ended = True
                known.events.seq = 2**31
                self._log.session(session, "changes")
                return
            self._log.session(session, "starts")
        known.look = session
        if self._log.filter.work(session):
            after = await self._api.timeline(session["id"], after=known.events.seq)
            self._tell(session, known.events.changed(after))
        if has_ended and not known.ended:
            self._log.session(session, "ends")
            known.ended = True
            self._forget()
        elif not has_ended:
            known.ended = False

    def _tell(self, session: Session, events: Sequence[Event]) -> None:
        told = [event for event in events if self._log.filter.event(event)]
        if len(told) <= MAX_AT_ONCE or self._log.as_json:
            self._log.events(session, told, None)
            return
        failed = [event for event in told if event["state"] == "Fail"][: MAX_AT_ONCE // 5]
        self._log.many(session, told)
        self._log.events(session, failed, None)

    def _forget(self) -> None:
        ended = [session_id for session_id, known in self._known.items() if known.ended]
        for session_id in ended[: max(len(ended) - MAX_KNOWN, 0)]:
            del self._known[session_id]


# -- lines ----------------------------------------------------------------------------------------

_SIGNS = {"starts": ("▶", "blue"), "runs": ("●", "blue"), "changes": ("·", "dim")}


class _Log:
    """
    What is told, line by line.
    """

    def __init__(self, chosen: _Filter, *, as_json: bool) -> None:
        self.filter = chosen
        self.as_json = as_json
        self._console = output.console()
        self._is_wide = self._console.width >= 90

    def session(self, session: Session, what: str) -> None:
        """
        Tell that *session* starts, runs, ends or changes.
        """
        if what in ("ends", "changes"):
            is_told = self.filter.ending(session)
        else:
            is_told = self.filter.work(session) and not self.filter.errors
        if not is_told:
            return
        if self.as_json:
            self._json({"type": "session", "what": what, "session": session})
            return
        line = self._beginning(
            session, session["started_at"] if what == "starts" else session["last_record_at"]
        )
        if what == "ends":
            line.append_text(output.state(session["state"]))
        else:
            sign, colour = _SIGNS[what]
            line.append(f"{sign} {what}", style=colour)
        line.append(f"  {output.cell(session['name'] or '')}", style="bold")
        if what == "ends":
            for said in (
                output.how_long(session["duration_ms"]),
                output.cost(session),
                output.tokens(session),
                plural(session["events"], "event"),
                plural(session["errors"], "error") if session["errors"] else "",
            ):
                if said:
                    line.append(f"  {said}", style="cyan")
            if session["missing_records"]:
                missing = plural(session["missing_records"], "record")
                line.append(f"  {missing} missing", style="yellow")
            if session["reason"]:
                line.append(f"  {output.one_line(session['reason'])}", style="red")
        elif session["tags"]:
            line.append(f"  {output.cell(', '.join(session['tags']))}", style="dim")
        self._print(line)

    def events(
        self, session: Session, events: Iterable[Event], depths: Mapping[str, int] | None
    ) -> None:
        """
        Tell of *events*, which ended or are open for long.

        Args:
            depths: How deep each lies, where lines are to show that.
        """
        if not self.filter.work(session):
            return
        for event in filter(self.filter.event, events):
            if self.as_json:
                self._json({"type": "event", "session_id": session["id"], "event": event})
            else:
                self._print(self._event(session, event, depths))

    def many(self, session: Session, events: Sequence[Event]) -> None:
        """
        Tell of *events* in one line.
        """
        if not self.filter.work(session):
            return
        kinds = Counter(event["kind"] for event in events)
        words = ", ".join(f"{many:,} {kind}" for kind, many in kinds.most_common())
        costs = [output.dollars(e["cost_usd"]) for e in events if e["cost_usd"] is not None]
        line = self._beginning(session, events[-1]["started_at"])
        line.append(f"{plural(len(events), 'event')}: {output.one_line(words)}", style="italic")
        if costs:
            line.append(f"  {amount_of(sum(costs[1:], costs[0]), '$')}", style="cyan")
        self._print(line)

    def _event(self, session: Session, event: Event, depths: Mapping[str, int] | None) -> Text:
        is_open = event["state"] == "Running"
        line = self._beginning(
            None if depths is not None else session, event["ended_at"] or event["started_at"]
        )
        if depths is not None:
            line.append("  " * min(depths.get(event["id"], 0), 20))
        elif event["agent"] and event["kind"] != "agent":
            line.append(f"{output.cell(event['agent'])} / ", style="dim")
        line.append(f"{output.one_line(event['kind'])} ", style=KIND_COLOURS.get(event["kind"], ""))
        if event["state"] not in ("Success", "Running"):
            line.append_text(output.state(event["state"])[:2])
        line.append(output.cell(event["name"]), style="bold" if event["kind"] == "agent" else "")
        if event["model"] and event["model"] != event["name"]:
            line.append(f" {output.cell(event['model'])}", style="dim")
        if is_open:
            line.append("  is open ...", style="blue")
        cost = output.event_cost(event).partition(" ")[0]
        for said in (output.how_long(event["duration_ms"]), output.tokens(event), cost):
            if said:
                line.append(f"  {said}", style="cyan")
        if event["error"]:
            line.append(f"  {output.cell(event['error'])}", style="red")
        return line

    def _beginning(self, session: Session | None, moment: str) -> Text:
        """
        When, and in which session unless there is only one.
        """
        said = output.one_line(moment)[11 : 23 if self._is_wide else 19]
        line = Text.assemble((f"{said}  ", "dim"))
        if session is not None:
            name = output.short_id(session) if self._is_wide else output.short_id(session)[-9:]
            line.append(f"{name}  ", style="dim")
        return line

    def _print(self, line: Text) -> None:
        if self._console.is_terminal:
            self._console.print(line, no_wrap=True, overflow="ellipsis")
        else:  # whoever reads it can cope with long lines
            print(line.plain, flush=True)

    def _json(self, said: object) -> None:
        print(json.dumps(said), flush=True)
