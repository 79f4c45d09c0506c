"""Hints that something was appended or projected; best effort: a listener that misses one polls anyway.

A thread of its own sends a hint after the commit that it is about, and at most so many times a second: NOTIFY in an
append's transaction would make all workspaces' commits wait for one another.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Lock, Thread

import psycopg
from psycopg.sql import SQL

from domain.recorder import Pool
from projections.pipeline import Statement

APPENDED, PROJECTED = "appended", "projected"  # the channels; the payload is the workspaces' ids, none for any of them
SPACING_SECONDS = 0.02  # between two hints
MOST_NAMED = 300  # workspaces in one hint; a payload has less than 8,000 bytes

_GIVE = SQL("SELECT set_config('synchronous_commit', 'off', true), pg_notify(%s, %s)")
_LISTEN = SQL("LISTEN appended")
_UNLISTEN = SQL("UNLISTEN appended")
LISTEN_PROJECTED = Statement("listen", b"LISTEN projected")

logger = logging.getLogger(__name__)


class Hints:
    """Sends hints on one channel, by a thread that begins with the first one."""

    def __init__(self, pool: Pool, channel: str = APPENDED) -> None:
        """Take the pool to borrow a connection from, and the channel."""
        self._pool = pool
        self._channel = channel
        self._due = Event()
        self._closed = Event()
        self._lock = Lock()
        self._thread: Thread | None = None
        self._workspaces: set[int] = set()

    def give(self, workspace_id: int | None = None) -> None:
        """Queue a hint about this workspace, or about any of them; returns at once, and may be called by any thread."""
        if workspace_id is not None:
            with self._lock:
                self._workspaces.add(workspace_id)
        if self._due.is_set():
            return
        self._due.set()
        if self._thread is None:
            with self._lock:
                if self._thread is None and not self._closed.is_set():
                    self._thread = Thread(target=self._run, name=f"hints-{self._channel}", daemon=True)
                    self._thread.start()

    def close(self) -> None:
        """End the thread, and wait for its end; hints that are queued are dropped."""
        with self._lock:
            self._closed.set()
        self._due.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while True:
            self._due.wait()
            if self._closed.is_set():
                return
            self._due.clear()
            with self._lock:
                workspaces, self._workspaces = self._workspaces, set()
            payload = ",".join(map(str, workspaces)) if len(workspaces) <= MOST_NAMED else ""
            try:
                with self._pool.connection() as database:
                    database.execute(_GIVE, (self._channel, payload))
            except psycopg.Error as error:
                logger.debug("no hint can be sent, listeners poll: %s", error)
            self._closed.wait(SPACING_SECONDS)


@contextmanager
def listening(pool: Pool) -> Iterator[Callable[[float], None]]:
    """Give a function that blocks its thread until an append, or for so many seconds; it raises psycopg's errors."""
    with pool.connection() as database:
        database.execute(_LISTEN)

        def wait(seconds: float) -> None:
            for _ in database.notifies(timeout=seconds, stop_after=1):
                pass

        try:
            yield wait
        finally:
            if not database.broken:
                database.execute(_UNLISTEN)
