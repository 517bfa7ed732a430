"""
The benchmark beside the peers measures what it says: what came to the sink, and who failed.
"""

from __future__ import annotations

import gzip
import http.client
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from benchmarks.harness import Effort
from benchmarks.peers import browsing
from benchmarks.peers.environments import Peer, PeerError
from benchmarks.peers.otlp import field
from benchmarks.peers.receivers import Receiver, receiver
from benchmarks.peers.scenarios import Amount, Outcome, in_turns, run, table
from benchmarks.peers.servers import SERVING


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[Receiver]:
    with receiver(Peer(name="otel"), sys.executable, tmp_path) as there:
        yield there


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("ASYNCOPS_DB", "ASYNCOPS_JOURNAL_DIR"):
        monkeypatch.setenv(name, "")  # the benchmark sets them: they are put back
    return tmp_path


def request(*names: str) -> bytes:
    """
    An OTLP request with a span of each name; the number of its place is its id.
    """
    spans = [
        field(2, field(1, b"t" * 16) + field(2, bytes([n] * 8)) + field(5, name.encode()))
        for n, name in enumerate(names)
    ]
    return field(1, field(2, b"".join(spans)))


def test_the_sink_counts_each_call_once(sink: Receiver) -> None:
    """
    Compressed or not, in one piece or several, on one connection: calls count, sessions do not, and
    what is sent again counts once.
    """
    connection = http.client.HTTPConnection(sink.url.removeprefix("http://"))
    headers = {"Content-Type": "application/x-protobuf"}
    bodies = (
        (request("work", "session", "work.task"), headers),
        (gzip.compress(request("work", "session")), headers | {"Content-Encoding": "gzip"}),
        (iter([request("x", "x", "x", "work")]), headers | {"Transfer-Encoding": "chunked"}),
    )
    for body, said in bodies:
        connection.request(
            "POST", "/v1/traces", body, said, encode_chunked="Transfer-Encoding" in said
        )
        assert connection.getresponse().read() == b""
    connection.close()

    told = sink.told(0)

    assert (3, 3) == (told.delivered, told.requests)
    assert sink.told(0).requests == 0


def test_a_peer_that_fails_has_a_row_with_the_reason(place: Path) -> None:
    """
    Whatever goes wrong with one, the others are measured; and what it did before, or after, counts.
    """
    rounds = {"otel": 0, "mlflow": 0, "bare": 0}

    def one(peer: Peer, amount: Amount, directory: Path) -> dict[str, float]:
        rounds[peer.name] += 1
        if peer.name == "otel" or (peer.name, rounds[peer.name]) == ("mlflow", 2):
            raise PeerError("it is | broken")
        return {"ns": 1.0}

    peers = [Peer(name=name) for name in rounds]
    outcome = in_turns(peers, str(place), lambda peer: Amount(3, {}), one)
    _, rows = table(peers, outcome, ("runs", "ns"), lambda name: [f"{outcome.median(name, 'ns')}"])

    assert {"otel": 1, "mlflow": 3, "bare": 3} == rounds
    assert [
        ["otel", "-", "failed: it is / broken", ""],
        ["mlflow", "-", "2", "1.0"],
        ["bare", "-", "3", "1.0"],
    ] == rows
    assert ["mlflow: 1 more went wrong: it is / broken"] == outcome.notes()


def test_ours_has_no_figures_when_any_run_of_it_failed(place: Path) -> None:
    """
    A budget is not kept by the runs that went well.
    """
    outcome = Outcome({"asyncops": {0: {}}, "otel": {0: {}}}, {"asyncops": ["x"], "otel": ["x"]})

    assert ["otel"] == list(outcome.measured())


def test_a_program_that_fails_says_why(place: Path) -> None:
    """
    A driver that cannot even be imported is told with the last line of its traceback.
    """
    with pytest.raises(PeerError, match=r"No module named 'drivers.nobody'"):
        run("burst")(Peer(name="nobody"), Amount(1, {"calls": 1}), place)


def test_nothing_of_ours_is_lost(place: Path) -> None:
    """
    The program really records, and what its collector can show is counted.
    """
    found = run("burst")(Peer(name="asyncops"), Amount(1, {"calls": 200}), place)

    assert 200 < found["made"] == found["delivered"]


@pytest.mark.browser
def test_pages_show_what_was_posted(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The list and a trace are opened in a browser, and all of it is there; who cannot be started has
    rows with the reason.
    """
    monkeypatch.setattr(browsing, "LENGTHS", {Effort.QUICK: (30,)})
    monkeypatch.setattr(browsing, "OTHERS", {Effort.QUICK: 3})
    monkeypatch.setattr(browsing, "VISITS", {Effort.QUICK: 1})

    def refuse(peer: Peer, directory: Path) -> NoReturn:
        raise PeerError("it does not start")

    monkeypatch.setitem(SERVING, "mlflow", refuse)
    peers = [Peer(name="asyncops"), Peer(name="mlflow", requirements=("mlflow==1",))]

    report = browsing.pages(peers, Effort.QUICK, str(place))

    table = [dict(zip(report.columns, row, strict=True)) for row in report.rows]
    assert [
        ("list of 4", "asyncops", "1", "4"),
        ("list of 4", "mlflow", "failed: it does not start", ""),
        ("30 spans", "asyncops", "1", "30"),
        ("30 spans", "mlflow", "failed: it does not start", ""),
    ] == [(row["page"], row["recorder"], row["runs"], row["shown"]) for row in table]
    assert ["0", "0"] == [row["other hosts"] for row in table if row["recorder"] == "asyncops"]
    assert {"peers.pages.list_of_4.asyncops", "peers.pages.30_spans.asyncops"} == {*report.figures}
