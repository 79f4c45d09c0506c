"""Says how long to wait before the next attempt; pure."""

from __future__ import annotations

from typing import Callable

FIRST_SECONDS = 0.5
MAX_SECONDS = 60.0


def delay(failures: int, asked: float | None, random: Callable[[], float]) -> float:
    """Return the seconds to wait after so many failures in a row (from 1).

    Half of it is chance, so that clients that failed together do not come back together. What the server asked for
    is waited out in full, and a part by chance on top. `random` gives a number from 0 up to, not including, 1.
    """
    usual = min(MAX_SECONDS, FIRST_SECONDS * 2.0 ** min(failures - 1, 16))
    if asked is None:
        return usual * (0.5 + random() / 2)
    return asked + min(usual, FIRST_SECONDS + asked / 10) * random()
