"""The one clock of a running service; everything that needs the time is handed it."""

import time


def clock() -> int:
    """Return the time in ms since 1970, UTC."""
    return time.time_ns() // 1_000_000
