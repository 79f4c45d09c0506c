"""Lets calls of several threads share a commit: each waits for the disk, but not each for a sync of its own.

A thread of its own commits, since a signal never interrupts it: what interrupts one call must not fail the others.
"""

from __future__ import annotations

import threading
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Callable

from campaign_analytics_client.errors import ClosedError, SpoolError, SpoolFullError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from campaign_analytics_client.spool import Spool

MAX_EVENTS = 5_000  # that share a commit


class _Ticket:
    """What one call waits for."""

    def __init__(self, bodies: Sequence[bytes]) -> None:
        self.bodies = bodies
        self.error: SpoolError | None = None
        self.done = threading.Lock()  # released when the commit is done
        self.done.acquire()


class Commits:
    """The calls of one process that append to a spool."""

    def __init__(self, spool: Spool, appended: Callable[[], None]) -> None:
        """Take the spool, and what to call after each commit."""
        self._spool = spool
        self._appended = appended
        self._lock = threading.RLock()  # a signal's handler may call, too, while its thread holds this
        self._closed = False
        self._waiting: SimpleQueue[_Ticket | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="campaign-analytics-commits", daemon=True)
        self._thread.start()

    def append(self, bodies: Sequence[bytes]) -> None:
        """Keep these events, all or none, in this order; when this returns they are on disk.

        Raises SpoolError, and ClosedError once it is closed. Events of a call that a signal ends while it waits are
        kept all the same.
        """
        ticket = _Ticket(bodies)
        with self._lock:
            if self._closed:
                raise ClosedError("the client is closed")
            self._waiting.put(ticket)
        ticket.done.acquire()
        if ticket.error is not None:
            raise ticket.error

    def close(self) -> None:
        """Commit what waits, and take nothing more."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        ticket = self._waiting.get()
        while ticket is not None:
            group, ticket = self._gather(ticket)
            self._commit(group)
            for each in group:
                each.done.release()
            self._appended()
            ticket = ticket or self._waiting.get()

    def _gather(self, first: _Ticket) -> tuple[list[_Ticket], _Ticket | None]:
        """Return the tickets that share the next commit, and the one after them where it is known already."""
        group, size = [first], len(first.bodies)
        while True:
            try:
                ticket = self._waiting.get_nowait()
            except Empty:
                return group, None
            if ticket is None:  # the end, which must be seen again
                self._waiting.put(None)
                return group, None
            size += len(ticket.bodies)
            if size > MAX_EVENTS:
                return group, ticket
            group.append(ticket)

    def _commit(self, group: list[_Ticket]) -> None:
        try:
            self._spool.append([body for ticket in group for body in ticket.bodies])
        except SpoolFullError as error:
            if len(group) == 1:
                group[0].error = error
                return
            for ticket in group:  # what is too much for all may fit for some
                self._commit([ticket])
        except Exception as error:  # noqa: BLE001 (each call raises it)
            for ticket in group:
                ticket.error = SpoolError(str(error)) if not isinstance(error, SpoolError) else error
