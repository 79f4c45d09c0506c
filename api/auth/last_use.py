"""When each API key was used last: written beside the requests, so that none waits for it."""

import logging
from collections.abc import Callable
from threading import Event, Lock, Thread

import psycopg
from psycopg_pool import PoolClosed

from domain.recorder import Pool
from projections import access

PAUSE_MS = 60_000  # the use of a key is written at most once in so long
_AGAIN_SECONDS = 5.0  # after a failure

logger = logging.getLogger(__name__)


class LastUse:
    """Writes the uses of keys in a thread of its own, which starts with the first one."""

    def __init__(self, pool: Pool, clock: Callable[[], int]) -> None:
        """Take the pool to borrow a connection from, and the clock (ms, UTC)."""
        self._pool = pool
        self._clock = clock
        self._noted: dict[str, int] = {}  # by prefix, and only of keys that are known
        self._pending: dict[str, int] = {}
        self._lock = Lock()
        self._something = Event()
        self._closed = Event()
        self._thread: Thread | None = None

    def note(self, prefix: str) -> None:
        """Queue the use of a key, unless one was queued less than a minute ago."""
        now = self._clock()
        noted = self._noted.get(prefix)
        if noted is not None and now - noted < PAUSE_MS:
            return
        with self._lock:
            self._noted[prefix] = self._pending[prefix] = now
            if self._thread is None and not self._closed.is_set():
                self._thread = Thread(target=self._run, name="last-use", daemon=True)
                self._thread.start()
        self._something.set()

    def close(self) -> None:
        """Write the uses that are not written yet, and end."""
        with self._lock:
            self._closed.set()
        self._something.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while True:
            self._something.wait()
            self._something.clear()
            written = self._write()
            if self._closed.is_set():
                return
            if not written:
                self._closed.wait(_AGAIN_SECONDS)
                self._something.set()

    def _write(self) -> bool:
        with self._lock:
            instants, self._pending = self._pending, {}
        if not instants:
            return True
        try:
            with self._pool.connection() as database:
                access.used(database, instants, PAUSE_MS)
        except PoolClosed:
            self._closed.set()  # nothing can be written any more
        except psycopg.Error as error:
            logger.debug("the last use of API keys can't be written yet: %s", error)
            with self._lock:
                self._pending = {**instants, **self._pending}
            return False
        return True
