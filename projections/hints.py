"""Wakes projectors as soon as something was appended: a hint only, for who misses it finds the facts by looking.

A hint is sent by a thread of its own after the append has been answered for, and at most so many times a second: NOTIFY
in the append's transaction would make all workspaces' commits wait for one another.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Lock, Thread

import psycopg
from psycopg.sql import SQL

from domain.recorder import Pool

SPACING_SECONDS = 0.02  # between two hints

_GIVE = SQL("SELECT set_config('synchronous_commit', 'off', true), pg_notify('appended', '')")
_LISTEN = SQL("LISTEN appended")
_UNLISTEN = SQL("UNLISTEN appended")

logger = logging.getLogger(__name__)


class Hints:
    """Gives hints by a thread that begins with the first one."""

    def __init__(self, pool: Pool) -> None:
        """Take the pool to borrow a connection from."""
        self._pool = pool
        self._wanted = Event()
        self._closed = Event()
        self._lock = Lock()
        self._thread: Thread | None = None

    def give(self) -> None:
        """Let projectors know that something was appended; this returns at once."""
        if self._wanted.is_set():
            return
        self._wanted.set()
        if self._thread is None:
            with self._lock:
                if self._thread is None and not self._closed.is_set():
                    self._thread = Thread(target=self._run, name="hints", daemon=True)
                    self._thread.start()

    def close(self) -> None:
        """End."""
        with self._lock:
            self._closed.set()
        self._wanted.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while True:
            self._wanted.wait()
            if self._closed.is_set():
                return
            self._wanted.clear()
            try:
                with self._pool.connection() as database:
                    database.execute(_GIVE)
            except psycopg.Error as error:
                logger.info("projectors find out by themselves, no hint can be given: %s", error)
            self._closed.wait(SPACING_SECONDS)


@contextmanager
def listening(pool: Pool) -> Iterator[Callable[[float], None]]:
    """Give a function that waits for a hint, for so many seconds at most; raises psycopg's errors as it does."""
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
