"""
`python -m benchmarks.peers [--quick] [--scenario NAME] [names...]`: what recording and taking in
cost, here and with the peers, each in an environment of its own, which is made on the first run.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import tempfile

from ..harness import Effort
from . import NAMES, reports
from .environments import PEERS, SERVERS


def main() -> None:
    names = sorted({each.name for each in (*PEERS, *SERVERS)})
    parser = argparse.ArgumentParser(prog="benchmarks.peers", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the work")
    parser.add_argument("--scenario", action="append", choices=NAMES, help="may be repeated")
    parser.add_argument("names", nargs="*", help=f"of {', '.join(names)}; all, if none is given")
    asked = parser.parse_args()
    if unknown := set(asked.names).difference(names):
        parser.error(f"no such peer: {', '.join(sorted(unknown))}")
    print(
        f"{platform.system()} {platform.release()}, {platform.machine()}, {os.cpu_count()} cores,"
        f" {platform.python_implementation()} {platform.python_version()},"
        f" {datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC\n"
    )
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        for report in reports(
            Effort.QUICK if asked.quick else Effort.FULL,
            directory,
            only=asked.names,
            scenarios=asked.scenario or NAMES,
        ):
            print(report.markdown(), flush=True)
    print("Versions and remarks:\n")
    for peer in {each.requirements: each for each in (*PEERS, *SERVERS)}.values():
        if peer.requirements:
            print(f"- {' '.join(peer.requirements)}{f': {peer.why}' if peer.why else ''}")


if __name__ == "__main__":
    main()
