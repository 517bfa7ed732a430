"""
How our thread leaves the interpreter to the host's.
"""

from __future__ import annotations

import time

__all__ = ["give_way"]

PAUSE_SECONDS = 0.00005
"""About as long as a thread that waits takes to wake up."""


def give_way() -> None:
    """
    Let the host's threads run, if they want to. To be called between pieces of work of a fraction
    of a millisecond.

    A thread that wants the interpreter asks for it only after five milliseconds
    (`sys.getswitchinterval`), and begins to wait anew whenever somebody else has had it meanwhile.
    It is not enough to let go of it either, as each system call does: before the other has woken
    up, we have it again. So this sleeps.
    """
    time.sleep(PAUSE_SECONDS)
