"""
Where recorded calls go: a sink that takes anything, or our own collector.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import attrs

from .environments import Peer, environment_variables

_TESTS = Path(__file__).parents[2] / "tests"
sys.path += [str(_TESTS), str(_TESTS / "faults")]

from processes import Collector, collector, until  # noqa: E402
from proxy import late, passing, proxy  # noqa: E402

__all__ = ["INSIDE", "Receiver", "Told", "receiver"]

INSIDE = Path(__file__).parent / "inside"

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@attrs.frozen
class Told:
    """
    What has come to a receiver.

    Attributes:
        delivered: Different calls.
        requests: How many requests told of them; None where nobody counted.
        bytes: How large those were.
    """

    delivered: int
    requests: int | None
    bytes: int | None


class Receiver(Protocol):
    """
    A receiver at work.
    """

    @property
    def url(self) -> str:
        """
        Its address.
        """

    def told(self, made: int) -> Told:
        """
        What has come, once that is settled. *made* is how much may come at most.
        """


@attrs.define(eq=False)
class Sink:
    """
    `inside/sink.py`, in the peer's environment.
    """

    url: str

    def told(self, made: int) -> Told:
        found = self._ask("told")
        return Told(found["delivered"], found["requests"], found["bytes"])

    def delay(self, seconds: float) -> None:
        self._ask("delay", str(seconds).encode())

    def _ask(self, what: str, body: bytes | None = None) -> Any:
        with _OPENER.open(f"{self.url}/-/{what}", data=body, timeout=300) as answer:
            return json.load(answer)


@attrs.define(eq=False)
class OurCollector:
    """
    `asyncops serve`, asked what can be queried.

    Attributes:
        relay: A proxy before it, if the requests have to be counted or be late.
    """

    url: str
    serving: Collector
    relay: Any = None

    def told(self, made: int) -> Told:
        # what was left behind by a killed program is fetched within seconds
        with contextlib.suppress(AssertionError):
            until(lambda: self._events() >= made)
        if self.relay is None:
            return Told(self._events(), None, None)
        heads = self.relay.heard
        sizes = [
            len(head) + int(line.partition(b":")[2])
            for head in heads
            for line in head.lower().split(b"\r\n")
            if line.startswith(b"content-length:")
        ]
        return Told(self._events(), len(heads), sum(sizes))

    def _events(self) -> int:
        return sum(session["events"] for session in self.serving.sessions())


@contextlib.contextmanager
def receiver(
    peer: Peer, python: str, directory: Path, *, delay: float = 0.0, counting: bool = False
) -> Iterator[Receiver]:
    """
    The receiver for *peer*, which keeps what it has to keep in *directory*.

    Args:
        delay: After how many seconds it answers.
        counting: Whether our requests are counted, too; a proxy does that, at a cost.
    """
    if peer.name.startswith("asyncops"):
        os.environ["ASYNCOPS_DB"] = str(directory / "collector.db")
        os.environ["ASYNCOPS_JOURNAL_DIR"] = str(directory / "journal")
        with contextlib.ExitStack() as stack:
            serving = stack.enter_context(collector())
            if not delay and not counting:
                yield OurCollector(serving.url, serving)
                return
            relay = stack.enter_context(proxy(serving.url))
            relay.become(late(delay) if delay else passing)
            yield OurCollector(relay.url, serving, relay)
        return
    process = subprocess.Popen(
        [python, str(INSIDE / "sink.py")],
        env=environment_variables(peer, directory),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        sink = Sink(process.stdout.readline().strip())
        sink.delay(delay)
        yield sink
    finally:
        process.kill()
        process.communicate()
