"""Opens SQLite files, runs transactions on them, and puts SQLite's errors into the words of this package."""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from campaign_analytics_client import forks
from campaign_analytics_client.errors import (
    ClosedError,
    ForkedError,
    SpoolDamagedError,
    SpoolError,
    SpoolFullError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BUSY_SECONDS = 30.0  # that one process waits for the transactions of others
CHECKPOINT_BYTES = 8 * 1024 * 1024  # that a connection adds to the write-ahead log before it writes it back
_COMMIT_BYTES = 16 * 1024  # that a commit adds to it beside what is written: the pages that it touches, whole
_OPEN_ATTEMPTS = 200
_OPEN_PAUSE_SECONDS = 0.05
_DAMAGED = ("malformed", "not a database", "corrupt", "unsupported file format")


class Database:
    """One connection to a file in WAL mode, for one thread at a time."""

    def __init__(self, path: Path, *, durable: bool) -> None:
        """Open or create the file; raise SpoolError.

        A durable connection syncs each commit to the disk (`synchronous=FULL`). The commits of another one are
        synced by the next durable commit, so a power cut may undo them, but never what came before them.
        """
        self.lock = threading.RLock()
        self.forked = False
        self._path = path
        self._closed = False
        self._logged = 0  # bytes, about, that were written to the log since it was last written back
        with _in_own_words(path):
            self._connection = _open(path, durable=durable)
        forks.guard(self)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Give the connection for single statements that change nothing."""
        self.usable()
        with self.lock, _in_own_words(self._path):
            self.usable()
            yield self._connection

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Give the connection in a transaction that is committed in the end, or undone by an error."""
        self.usable()
        with self.lock, _in_own_words(self._path):
            self.usable()
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            self._write_back()

    def wrote(self, size: int) -> None:
        """Count so many bytes that the transaction writes."""
        self._logged += size

    def usable(self) -> None:
        """Raise ForkedError or ClosedError where the connection can't be used."""
        if self.forked:
            raise ForkedError("this client was made before the process forked; make one in each process")
        if self._closed:
            raise ClosedError("the client is closed")

    def close(self) -> None:
        """Close the connection; the last one writes the log back and removes it."""
        if self.forked:
            return
        with self.lock:
            self._closed = True
            self._connection.close()

    def _write_back(self) -> None:
        """Write the log back into the file after so many bytes of our own.

        SQLite's own automatic checkpoints are off: up to 3.51.2 a checkpoint beside a commit of another process can
        damage the file (https://sqlite.org/wal.html#walresetbug). This kind keeps writers out while it works, and
        leaves the log at its size: to write over a file and sync it is faster than to let it grow.
        """
        self._logged += _COMMIT_BYTES
        if self._logged < CHECKPOINT_BYTES:
            return
        self._logged = 0
        try:
            self._connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
        except sqlite3.OperationalError as error:
            # The commit stands already, and a later one tries again. A damaged file must not stay unsaid.
            if not _is_passing(error):
                raise


def _open(path: Path, *, durable: bool) -> sqlite3.Connection:
    for attempt in range(_OPEN_ATTEMPTS):
        connection = sqlite3.connect(
            str(path), timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=1_024
        )
        try:
            _set_up(connection, path, durable=durable)
        except sqlite3.OperationalError as error:
            connection.close()
            # The change to WAL does not wait for another process that does the same.
            if "locked" not in str(error) or attempt == _OPEN_ATTEMPTS - 1:
                raise
            time.sleep(_OPEN_PAUSE_SECONDS)
        except BaseException:
            connection.close()
            raise
        else:
            return connection
    raise AssertionError("the last attempt returns or raises")


def _set_up(connection: sqlite3.Connection, path: Path, *, durable: bool) -> None:
    connection.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
    connection.execute("PRAGMA fullfsync=ON")  # macOS, where fsync alone does not reach the disk
    connection.execute("PRAGMA checkpoint_fullfsync=ON")
    connection.execute("PRAGMA wal_autocheckpoint=0").fetchall()
    if connection.execute("PRAGMA journal_mode=WAL").fetchone() != ("wal",):
        raise SpoolError(f"the spool {path} can't have a write-ahead log; it must be a file on a local disk")


@contextmanager
def _in_own_words(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        text = str(error)
        if "full" in text:
            raise SpoolFullError(f"the spool {path} is full: {text}") from error
        if any(word in text for word in _DAMAGED):
            raise SpoolDamagedError(f"the spool {path} is damaged: {text}; it is left as it is") from error
        raise SpoolError(f"the spool {path} can't be used: {text}") from error


def _is_passing(error: sqlite3.OperationalError) -> bool:
    return any(word in str(error) for word in ("locked", "full", "disk I/O"))
