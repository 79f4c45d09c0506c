"""Lets calls of several threads share a commit: each waits for the disk, but not each for a sync of its own."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Callable

from campaign_analytics_client.errors import SpoolError, SpoolFullError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from campaign_analytics_client.spool import Spool

MAX_EVENTS = 5_000  # that share a commit


class _Ticket:
    """What one call waits for: that it is done, or that it is its turn to commit what has gathered."""

    def __init__(self, bodies: Sequence[bytes]) -> None:
        self.bodies = bodies
        self.done = False
        self.leads = False
        self.error: SpoolError | None = None
        self.turn = threading.Lock()
        self.turn.acquire()


class Commits:
    """The calls of one process that append to a spool."""

    def __init__(self, spool: Spool, appended: Callable[[], None]) -> None:
        """Take the spool, and what to call after each commit."""
        self._spool = spool
        self._appended = appended
        self._lock = threading.Lock()
        self._waiting: list[_Ticket] = []
        self._led = False

    def append(self, bodies: Sequence[bytes]) -> None:
        """Keep these events, all or none, in this order; when this returns they are on disk. Raise SpoolError."""
        self._spool.usable()
        ticket = _Ticket(bodies)
        try:
            with self._lock:
                self._waiting.append(ticket)
                if not self._led:
                    self._led = ticket.leads = True
            if not ticket.leads:
                ticket.turn.acquire()
            if not ticket.done:
                self._commit(self._take())
        finally:  # also where a signal ends the call
            self._leave(ticket)
        if ticket.error is not None:
            raise ticket.error

    def _take(self) -> list[_Ticket]:
        with self._lock:
            count = size = 0
            for ticket in self._waiting:
                size += len(ticket.bodies)
                if count and size > MAX_EVENTS:
                    break
                count += 1
            group, self._waiting = self._waiting[:count], self._waiting[count:]
        return group

    def _commit(self, group: list[_Ticket]) -> None:
        error: SpoolError | None = SpoolError("the commit was interrupted; whether the event is kept is not known")
        try:
            self._spool.append([body for ticket in group for body in ticket.bodies])
            error = None
        except SpoolFullError as full:
            error = full
            if len(group) > 1:  # what is too much for all may fit for some
                for ticket in group:
                    self._commit([ticket])
        except SpoolError as other:
            error = other
        finally:
            for ticket in group:
                if not ticket.done:
                    ticket.error, ticket.done = error, True
                    ticket.turn.release()
        self._appended()

    def _leave(self, ticket: _Ticket) -> None:
        """Give the lead to the first who waits, where this one has it."""
        with self._lock:
            if not ticket.done and ticket in self._waiting:
                self._waiting.remove(ticket)
            if not ticket.leads:
                return
            ticket.leads = False
            if self._waiting:
                self._waiting[0].leads = True
                self._waiting[0].turn.release()
            else:
                self._led = False
