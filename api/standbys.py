"""Large reads go to a standby of the database, where one has what the primary has just answered for.

A standby is late, by milliseconds or by hours, and may be one that follows nobody any more. So the primary is asked
first who is calling, what they may see, and the state of its read models; rows of a standby count only where they are
of that state, or of a later one of the same log, which the primary confirms. In any other case the primary is read.
"""

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TypeVar

import psycopg
from psycopg.errors import SerializationFailure

from api.telemetry import Measurements
from domain.recorder import Database, Pool
from projections import marks

CONNECT_SECONDS = 0.05  # a read waits no longer for a connection; that goes on being made for the next one
LEFT_ALONE_SECONDS = 5.0  # after a failure

logger = logging.getLogger(__name__)
T = TypeVar("T")


MarkAt = Callable[[int, int], int]  # takes a workspace and a position, and returns the mark there


class PrimaryError(Exception):
    """The primary has failed while it was to confirm what a standby has."""

    def __init__(self, error: psycopg.Error) -> None:
        """Take the primary's error."""
        super().__init__(str(error))
        self.error = error


def marks_of(connection: Callable[[], AbstractContextManager[Database]]) -> MarkAt:
    """Return what asks the primary for a mark while a standby is read; raises PrimaryError where that fails."""

    def mark_at(workspace_id: int, position: int) -> int:
        try:
            with connection() as primary:
                return marks.at(primary, workspace_id, position)
        except psycopg.Error as error:
            raise PrimaryError(error) from error

    return mark_at


class Standbys:
    """Connections to standbys, which are left alone for some seconds after one has failed."""

    def __init__(self, pool: Pool, measurements: Measurements) -> None:
        """Take the pool, which is closed with this, and where reads are counted."""
        self._pool = pool
        self._measurements = measurements
        self._left_alone_until = float("-inf")

    def read(self, ask: Callable[[Database], T | None]) -> T | None:
        """Return what `ask` reads by a connection to a standby, in a thread; None where that fails.

        `ask` returns None where the standby does not have what is asked for. Raises psycopg's errors of the primary,
        where `ask` raises PrimaryError.
        """
        if time.monotonic() < self._left_alone_until:
            self._measurements.read_standby("away")
            return None
        outcome, answer = "away", None
        try:
            database = self._pool.getconn(CONNECT_SECONDS)
            try:
                answer = ask(database)
                outcome = "behind" if answer is None else "used"
            finally:
                self._pool.putconn(database)
        except PrimaryError as error:
            raise error.error from error
        except SerializationFailure as error:  # the primary has deleted what was being read
            logger.info("a standby gave up a read, the primary is read: %s", error)
        except psycopg.Error as error:
            if error.sqlstate is not None:  # else it is away, which is logged where connections are made
                logger.warning("a standby refused, the primary is read: %s", error)
            self._left_alone_until = time.monotonic() + LEFT_ALONE_SECONDS
        self._measurements.read_standby(outcome)
        return answer

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()
