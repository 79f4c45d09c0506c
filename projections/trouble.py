"""A trouble that lasts is logged when it begins and when it ends, not each time that it is met."""

import logging
from threading import Lock


class Trouble:
    """Something that is either so or not, as this process has last seen it."""

    def __init__(self, logger: logging.Logger, begins: str, ends: str) -> None:
        """Take the logger and the two messages; the reason is put behind the first."""
        self._logger = logger
        self._begins = begins
        self._ends = ends
        self._lock = Lock()
        self._lasts = False

    @property
    def lasts(self) -> bool:
        """Return whether it was met and is not over."""
        return self._lasts

    def met(self, reason: object) -> None:
        """Note that it is so; the first time is logged as an error, with the reason's first line."""
        with self._lock:
            begins, self._lasts = not self._lasts, True
        if begins:
            self._logger.error("%s: %s", self._begins, str(reason).partition("\n")[0])

    def over(self) -> None:
        """Note that it is so no longer."""
        if not self._lasts:
            return
        with self._lock:
            ends, self._lasts = self._lasts, False
        if ends:
            self._logger.warning("%s", self._ends)
