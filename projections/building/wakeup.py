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
from projections.statements import Statement

# The channels. The payload of the second are the workspaces' ids, none for any of them; of the first, notes for traces.
APPENDED, PROJECTED = "appended", "projected"
SPACING_SECONDS = 0.02  # between two hints
MOST_BYTES = 7_999  # of a payload; what would be longer is left out

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
        self._about: dict[object, None] = {}

    def give(self, *about: object) -> None:
        """Queue a hint, about these workspaces or with these notes; returns at once, any thread may call it."""
        if about:
            with self._lock:
                self._about.update(dict.fromkeys(about))
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
                about, self._about = self._about, {}
            payload = ",".join(map(str, about))
            payload = payload if len(payload) <= MOST_BYTES else ""
            try:
                with self._pool.connection() as database:
                    database.execute(_GIVE, (self._channel, payload))
            except psycopg.Error as error:
                logger.debug("no hint can be sent, listeners poll: %s", error)
            self._closed.wait(SPACING_SECONDS)


@contextmanager
def listening(pool: Pool) -> Iterator[Callable[[float], list[str]]]:
    """Give a function that blocks its thread until an append, or for so many seconds.

    It returns the payloads of the hints that came, and raises psycopg's errors.
    """
    with pool.connection() as database:
        database.execute(_LISTEN)

        def wait(seconds: float) -> list[str]:
            return [hint.payload for hint in database.notifies(timeout=seconds, stop_after=1)]

        try:
            yield wait
        finally:
            if not database.broken:
                database.execute(_UNLISTEN)
