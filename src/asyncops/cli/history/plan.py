"""
Which processes there were: when they began, how much they did, how they ended.
"""

from __future__ import annotations

import itertools
import math
from random import Random

import attrs

from ..._events import EndState
from .processes import PlannedSession, Process
from .programs import LARGE, PROGRAMS, Program
from .work import SECOND

__all__ = ["Past", "newcomer", "processes"]

DAY = 86_400 * SECOND

HOURS = {
    "office": (1, 1, 1, 1, 1, 2, 5, 14, 26, 34, 36, 33, 22, 28, 34, 33, 28, 20, 10, 6, 4, 3, 2, 1),
    "evening": (2, 1, 1, 1, 1, 1, 2, 4, 6, 8, 9, 9, 9, 9, 9, 10, 12, 16, 22, 28, 30, 24, 14, 6),
    "night": (8, 30, 40, 18, 6, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 4),
    "hourly": (1,) * 24,
}
"""How busy each rhythm is in each hour of the day, UTC."""

WEEKEND = {"office": 0.12, "evening": 0.7, "night": 0.8, "hourly": 1.0}
"""How busy it is on a Saturday or Sunday, where other days are 1."""

GROWTH = 1.6
"""How many times busier the last day is than the first."""

ENDINGS = {
    EndState.SUCCESS: 0.885,
    EndState.FAIL: 0.065,
    EndState.CANCELLED: 0.03,
    EndState.INDETERMINATE: 0.02,
}
"""How sessions end on most days."""

BAD_HOURS = 5 * 3_600 * SECOND
FAILING = 0.55
"""How long a provider was down in these days, and how many sessions that ended in that time."""

LOSING = 0.008
"""How many sessions have records that got lost."""

LARGE_SIZES = ((1_000_000, 100_000), *((250_000 * n, 10_000) for n in range(1, 5)))
"""From how many events in all there is a session of such a size."""

LEAST_EVENTS = 4

SESSIONS_OF_A_SERVICE = 24
"""How many sessions one process of a service has at most."""

RUNNING_FOR = 150 * SECOND
"""When the first of those began that are still running."""

LEAST_PACE = SECOND // 3
"""How long the programs that are to be still running need for one event, at least."""


@attrs.frozen(kw_only=True)
class Past:
    """
    What is wanted.

    Attributes:
        until: When it ends, nanoseconds since the epoch.
    """

    seed: int
    sessions: int
    events: int
    days: int
    until: int


def processes(past: Past) -> list[Process]:
    """
    All of them, in the order in which they began.
    """
    chooser = Random(f"{past.seed} plan")  # noqa: S311 - it is to give the same again
    planned = [
        (program, _session(chooser, past, program, size)) for program, size in _sizes(chooser, past)
    ]
    longest = sorted(
        (n for n, (program, _) in enumerate(planned) if program.name in _LONG),
        key=lambda n: planned[n][1].size,
    )
    running = longest[-min(max(past.sessions // 1_000, 3), 12) :]
    for n in running:
        program, session = planned[n]
        ago = chooser.uniform(0.1, 0.9) * min(RUNNING_FOR, session.size * LEAST_PACE)
        planned[n] = (
            program,
            attrs.evolve(session, start=past.until - int(ago), ending=EndState.SUCCESS),
        )
    others = [n for n in range(len(planned)) if n not in running]
    for n in chooser.sample(others, math.ceil(LOSING * len(others))):
        program, session = planned[n]
        planned[n] = (program, attrs.evolve(session, lost=chooser.randint(1, 40)))
    planned.sort(key=lambda plan: plan[1].start)
    found: list[Process] = []
    for program in PROGRAMS:
        sessions = [session for other, session in planned if other is program]
        groups = _of_services(chooser, sessions) if program.service else [(s,) for s in sessions]
        for group in groups:
            number = len(found)
            found.append(
                Process(
                    program=program.name,
                    seed=f"{past.seed} {number}",
                    sessions=tuple(group),
                    announces=past.until - group[-1].start < DAY // 4,
                )
            )
    return sorted(found, key=lambda process: process.sessions[0].start)


def newcomer(past: Past, number: int, now: int) -> Process:
    """
    A process that begins *now*: somebody goes on working when the past is over.
    """
    chooser = Random(f"{past.seed} newcomer {number}")  # noqa: S311 - as above
    program = chooser.choices(PROGRAMS, [program.share for program in PROGRAMS])[0]
    session = PlannedSession(
        start=now + 2 * SECOND,
        size=max(int(chooser.lognormvariate(0.0, program.spread) * program.size / 2), LEAST_EVENTS),
        ending=_ending(chooser, program),
    )
    return Process(
        program=program.name,
        seed=f"{past.seed} newcomer {number} {now}",
        sessions=(session,),
        announces=True,
    )


_LONG = ("research", "code-review")
"""The programs of which some are still running at the end."""


def _sizes(chooser: Random, past: Past) -> list[tuple[Program, int]]:
    """
    Whose each session is and how many events it has: in all as many as are wanted.
    """
    large = [size for least, size in LARGE_SIZES if past.events >= least][: past.sessions // 10]
    programs = chooser.choices(
        PROGRAMS, [program.share for program in PROGRAMS], k=past.sessions - len(large)
    )
    raw = [program.size * chooser.lognormvariate(0.0, program.spread) for program in programs]
    scale = (past.events - sum(large)) / max(sum(raw), 1.0)
    sizes = [max(round(size * scale), LEAST_EVENTS) for size in raw]
    if sizes:
        largest = max(range(len(sizes)), key=sizes.__getitem__)
        missing = past.events - sum(large) - sum(sizes)
        sizes[largest] = max(sizes[largest] + missing, LEAST_EVENTS)
    return [*zip(programs, sizes, strict=True), *((LARGE, size) for size in large)]


def _session(chooser: Random, past: Past, program: Program, size: int) -> PlannedSession:
    large = size >= LARGE_SIZES[-1][1]
    start = _start(chooser, past, program.rhythm, days_ago=1 if large else 0)
    ending = EndState.SUCCESS if large else _ending(chooser, program)
    bad = past.until - int(past.days * 0.37 * DAY)
    if bad <= start < bad + BAD_HOURS and not large and chooser.random() < FAILING:
        ending = EndState.FAIL
    return PlannedSession(start=start, size=size, ending=ending)


def _ending(chooser: Random, program: Program) -> EndState:
    ending = chooser.choices(tuple(ENDINGS), tuple(ENDINGS.values()))[0]
    if program.service and ending is EndState.INDETERMINATE:  # all its others would have died, too
        return EndState.SUCCESS
    return ending


def _start(chooser: Random, past: Past, rhythm: str, *, days_ago: int) -> int:
    since = past.until - past.days * DAY
    latest = past.until - 60 * SECOND - days_ago * DAY * (past.days > 1)
    busiest = GROWTH * max(HOURS[rhythm])
    while True:
        start = chooser.randrange(since, max(latest, since + 1))
        day, moment = divmod(start, DAY)
        busy = HOURS[rhythm][moment * 24 // DAY] * (1 + (GROWTH - 1) * (start - since) / DAY
            / past.days)  # fmt: skip
        if (day + 3) % 7 >= 5:  # the epoch began on a Thursday
            busy *= WEEKEND[rhythm]
        if chooser.random() * busiest < busy:
            break
    if rhythm in ("night", "hourly"):  # a timer starts these
        quarter = 900 * SECOND
        start = max(start - start % quarter + chooser.randrange(9 * SECOND), since)
    return start


def _of_services(
    chooser: Random, sessions: list[PlannedSession]
) -> list[tuple[PlannedSession, ...]]:
    """
    *sessions*, in order, as they share processes: one of these lasts a day at most.
    """
    found = []
    for _, of_a_day in itertools.groupby(sessions, key=lambda session: session.start // DAY):
        left = list(of_a_day)
        while left:
            many = chooser.randint(1, SESSIONS_OF_A_SERVICE)
            found.append(tuple(left[:many]))
            left = left[many:]
    return found
