"""
The command line: `asyncops demo | serve | run | sessions | show | tail | export | import | prune
| reprice | keys | doctor`.

A module for each command; this one puts them together. Nothing here is imported by the SDK.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NoReturn

from .._version import __version__

if TYPE_CHECKING:
    import cyclopts

__all__ = ["app", "main"]

_EXTRA = frozenset({"cyclopts", "jinja2", "rich", "starlette", "uvicorn"})
"""What the command line needs that the SDK does not."""


def main() -> NoReturn:
    """
    Run the command that the program's arguments name. Trouble is one line, and exit status 2.
    """
    try:
        from cyclopts import CycloptsError

        from .._exceptions import AsyncopsError
        from .output import CommandError, notice
        from .run import program_apart

        commands = app()
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        sys.stderr.write(
            f"asyncops: the command line needs {error.name}, which is not installed:"
            ' pip install "asyncops[server]"\n'
        )
        raise SystemExit(2) from None
    try:
        try:
            commands(program_apart(sys.argv[1:]), print_error=False, exit_on_error=False)
        finally:
            sys.stdout.flush()
    except (CycloptsError, CommandError, AsyncopsError) as error:
        notice(str(error))
        raise SystemExit(2) from None
    except BrokenPipeError:  # as in `asyncops sessions --json | head`
        # else Python complains once more when it closes standard output
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    raise SystemExit(0)


def app() -> cyclopts.App:
    """
    The commands, ready to be called with arguments.
    """
    from cyclopts import App

    from . import (
        delete,
        demo,
        doctor,
        export,
        import_,
        keys,
        prune,
        reprice,
        run,
        serve,
        sessions,
        show,
        tail,
    )

    commands = App(
        name="asyncops",
        help="The flight recorder for async Python agents.",
        version=__version__,
    )
    for command in (demo.demo, serve.serve, run.run, sessions.sessions, show.show, tail.tail):
        commands.command(command)
    commands.command(export.export)
    commands.command(import_.import_, name="import")
    commands.command(delete.delete)
    commands.command(prune.prune)
    commands.command(reprice.reprice)
    commands.command(keys.keys)
    commands.command(doctor.doctor)
    return commands
