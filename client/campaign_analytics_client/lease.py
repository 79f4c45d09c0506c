"""Lets one process at a time send from a spool, so that events leave it in order.

The lock is SQLite's own on an empty file beside the spool: it works on every system, and it ends with its process,
however that ends.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from campaign_analytics_client.errors import SpoolError

if TYPE_CHECKING:
    from pathlib import Path


class Lease:
    """The right to send from a spool."""

    def __init__(self, spool: Path) -> None:
        """Take the spool's path; raise SpoolError where there can be no file beside it."""
        self._path = spool.with_name(spool.name + "-sender")
        try:
            self._connection = sqlite3.connect(
                str(self._path), timeout=0, isolation_level=None, check_same_thread=False
            )
        except sqlite3.DatabaseError as error:
            raise SpoolError(f"the lock {self._path} can't be used: {error}") from error
        self.is_owned = False

    def take(self) -> bool:
        """Return whether this process may send now; raise SpoolError where that can't be known."""
        if not self.is_owned:
            try:
                self._connection.execute("BEGIN EXCLUSIVE")
            except sqlite3.OperationalError as error:
                if "locked" in str(error):
                    return False
                raise SpoolError(f"the lock {self._path} can't be used: {error}") from error
            except sqlite3.DatabaseError as error:
                raise SpoolError(f"the lock {self._path} can't be used: {error}") from error
            self.is_owned = True
        return True

    def give_back(self) -> None:
        """Let others send."""
        if self.is_owned:
            self._connection.execute("ROLLBACK")
            self.is_owned = False

    def close(self) -> None:
        """Let others send, for good."""
        self._connection.close()
        self.is_owned = False
