"""
`python -m benchmarks [NAME ...] [--quick] [--write docs/performance.md]`: what asyncops costs here.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from . import document
from .harness import Effort
from .registry import NAMES, run


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; all")
    parser.add_argument("--quick", action="store_true", help="seconds instead of minutes")
    parser.add_argument(
        "--write", type=Path, metavar="FILE", help="keep each table in its place there"
    )
    options = parser.parse_args()
    if unknown := sorted(set(options.names) - set(NAMES)):
        parser.error(f"no benchmark is called {unknown[0]}; there are {', '.join(NAMES)}")
    effort = Effort.QUICK if options.quick else Effort.FULL
    print(document.machine(), flush=True)
    for name in options.names or NAMES:
        report = run(name, effort)
        print(f"\n{report.markdown()}", flush=True)
        if options.write is not None:
            document.write(options.write, name, [report])


if __name__ == "__main__":
    main()
