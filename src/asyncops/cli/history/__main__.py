"""
`python -m asyncops.cli.history SEED SESSIONS EVENTS DAYS UNTIL`: writes a past to standard output.

In a process of its own, so that making it and taking it in each have a core. What it writes are
frames: a line that says source, moment, events and bytes, then as many bytes of records. The moment
is 0 for what is past, else when that is to be sent: what lies ahead of a session still running.
"""

from __future__ import annotations

import contextlib
import sys

from .plan import Past, processes
from .processes import lines

BATCH_LINES = 2_000
"""How many lines a frame has."""


def main() -> None:
    """
    Write all of it, until it is done or nobody reads it any more.
    """
    seed, sessions, events, days, until = map(int, sys.argv[1:])
    past = Past(seed=seed, sessions=sessions, events=events, days=days, until=until)
    with contextlib.suppress(BrokenPipeError):
        for process in processes(past):
            for written in lines(process):
                done = [line for at, line in written.lines if at <= past.until]
                for first in range(0, len(done), BATCH_LINES):
                    _write(written.source, 0, done[first : first + BATCH_LINES])
                for at, line in written.lines[len(done) :]:
                    _write(written.source, at, [line])
        sys.stdout.buffer.flush()


def _write(source: str, at: int, batch: list[bytes]) -> None:
    body = b"".join([line + b"\n" for line in batch])
    events = body.count(b',"type":"event",')
    sys.stdout.buffer.write(b"%b %d %d %d\n%b" % (source.encode(), at, events, len(body), body))


if __name__ == "__main__":
    main()
