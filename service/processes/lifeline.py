"""A child process ends when its parent has ended, for whatever reason.

The parent keeps one end of a pipe open for as long as it lives; each child waits for the other end to close.
"""

import os
import signal
from threading import Thread

VARIABLE = "CAMPAIGN_ANALYTICS_LIFELINE"  # the number of the inherited end


def watch() -> None:
    """Begin to watch, where a parent has left a lifeline; its end ends this process as SIGTERM does."""
    inherited = os.environ.get(VARIABLE)
    if inherited:
        Thread(target=_end_with, args=(int(inherited),), name="lifeline", daemon=True).start()


def _end_with(descriptor: int) -> None:
    os.read(descriptor, 1)  # nothing is ever written, so this returns when the other end is closed
    os.kill(os.getpid(), signal.SIGTERM)
