"""
Makes a program record itself that `asyncops run` started.

Python imports a module of this name when it starts. `asyncops run` puts the directory of this one
first on the program's PYTHONPATH; from here on nothing must be different for the program, so this
module leaves the path, puts the environment back, and gives way to the `sitecustomize` that would
have been imported without it.
"""

import contextlib
import importlib.util
import os
import sys
from importlib.machinery import PathFinder


def _step_aside() -> None:
    here = os.path.dirname(__file__)
    sys.path[:] = [entry for entry in sys.path if entry != here]
    before = os.environ.pop("ASYNCOPS_RUN_PYTHONPATH", None)
    if before is None:
        os.environ.pop("PYTHONPATH", None)
    else:
        os.environ["PYTHONPATH"] = before


def _give_way() -> None:
    # In `sys.modules` it replaces this module, also when the import of this one is over.
    spec = PathFinder.find_spec("sitecustomize")
    if spec is not None and spec.loader is not None:
        module = importlib.util.module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


def _activate() -> None:
    try:
        from asyncops._run import activate

        activate()
    except Exception as error:  # whatever it is, the program runs
        with contextlib.suppress(Exception):
            sys.stderr.write(
                f"asyncops: this run records nothing: {type(error).__name__}: {error}\n"
            )


_step_aside()
try:
    _give_way()  # what it raises is told by `site`, as it would be without us
finally:
    _activate()
