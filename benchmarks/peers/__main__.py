"""
`python -m benchmarks.peers [--quick] [--scenario NAME] [names...]`: what recording and taking in
cost, here and with the peers, each in an environment of its own, which is made on the first run.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from .. import document
from ..harness import Effort, Report
from . import BLOCKS, NAMES, reports
from .environments import PEERS, SERVERS, Peer


def main() -> None:
    names = sorted({each.name for each in (*PEERS, *SERVERS)})
    parser = argparse.ArgumentParser(prog="benchmarks.peers", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the work")
    parser.add_argument("--write", type=Path, metavar="FILE", help="keep the tables in there")
    parser.add_argument("--scenario", action="append", choices=NAMES, help="may be repeated")
    parser.add_argument("names", nargs="*", help=f"of {', '.join(names)}; all, if none is given")
    asked = parser.parse_args()
    if unknown := set(asked.names).difference(names):
        parser.error(f"no such peer: {', '.join(sorted(unknown))}")
    effort = Effort.QUICK if asked.quick else Effort.FULL
    print(f"{document.machine()}\n", flush=True)
    for block, held in BLOCKS.items():
        scenarios = [name for name in held if not asked.scenario or name in asked.scenario]
        if not scenarios:
            continue
        found = []
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
            for report in reports(effort, directory, only=asked.names, scenarios=scenarios):
                print(report.markdown(), flush=True)
                found.append(report)
        if block == "peers":
            found.append(versions())
            print(found[-1].markdown())
        if asked.write is not None:
            document.write(asked.write, block, found)


def versions() -> Report:
    """
    What each environment holds.
    """
    peers: dict[tuple[str, ...], Peer] = {}
    for peer in (*PEERS, *SERVERS):
        if peer.requirements:
            peers.setdefault(peer.requirements, peer)
    return Report(
        "Versions",
        ("peer", "installed", "remark"),
        [[peer.name, " ".join(peer.requirements), peer.why] for peer in peers.values()],
    )


if __name__ == "__main__":
    main()
