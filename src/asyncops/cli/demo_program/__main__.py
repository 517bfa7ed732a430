"""
The command line of the demo's program.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from .scenarios import SCENARIOS, Setting, research


def main() -> None:
    """
    Run one scenario, or do a part of another process's.
    """
    parser = argparse.ArgumentParser(prog="python -m asyncops.cli.demo_program")
    parser.add_argument("scenario", choices=[*SCENARIOS, "research"])
    parser.add_argument("--model-url", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--index", type=Path, required=True)
    parser.add_argument("--tag", action="append", default=[])
    parser.add_argument("--question", default="")
    parser.add_argument("--module", action="append", default=[])
    options = parser.parse_args()
    setting = Setting(
        model_url=options.model_url,
        model=options.model,
        index=options.index,
        tags=tuple(options.tag),
    )
    if options.scenario == "research":
        asyncio.run(research(setting, options.question, options.module))
    else:
        asyncio.run(SCENARIOS[options.scenario](setting))


if __name__ == "__main__":
    main()
