"""
`python -m benchmarks [--quick]`: runs all of them and prints one table each.
"""

from __future__ import annotations

import argparse
import os
import tempfile

from . import delivery, exits, ingest, recording


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the work")
    scale = 0.1 if parser.parse_args().quick else 1.0
    with tempfile.TemporaryDirectory() as directory:
        os.environ["ASYNCOPS_JOURNAL_DIR"] = f"{directory}/journal"
        os.environ["ASYNCOPS_ENDPOINT"] = "http://127.0.0.1:9"  # nobody listens there
        for benchmark in (recording, delivery, ingest, exits):
            print(f"\n## {(benchmark.__doc__ or '').strip().splitlines()[0]}\n")
            benchmark.run(scale, directory)


if __name__ == "__main__":
    main()
