"""The client of a worker: keeps each event on disk before a call returns, and sends it in the background."""

from __future__ import annotations

import logging
import threading
import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Callable

from campaign_analytics_client.calls import EventCalls
from campaign_analytics_client.commits import Commits
from campaign_analytics_client.errors import ClosedError, ForkedError, SpoolError
from campaign_analytics_client.events import Prepared, prepare
from campaign_analytics_client.lease import Lease
from campaign_analytics_client.sender import BATCH_EVENTS, MAX_BATCH_EVENTS, Sender, Stats
from campaign_analytics_client.spool import MAX_BYTES, Spool
from campaign_analytics_client.transport import Transport

if TYPE_CHECKING:
    import os
    import ssl
    from collections.abc import Mapping

    from campaign_analytics_client.rows import DeadLetter

GATHER_SECONDS = 0.1
CLOSE_SECONDS = 5.0
TIMEOUT_SECONDS = 30.0
MAX_WORKSPACE = 2**63 - 1
_LOOK_SECONDS = 0.1  # between looks at what another process sends
_ABORT_SECONDS = 5.0

_log = logging.getLogger("campaign_analytics_client")


class Client(EventCalls):
    """Sends events of one workspace. When a call returns, the event survives `kill -9` and a power cut.

    Threads may share a client, and processes may share a spool, each with a client of its own, made after a fork.
    """

    def __init__(  # noqa: PLR0913 (all but four have good defaults)
        self,
        url: str,
        api_key: str,
        workspace_id: int,
        spool: str | os.PathLike[str],
        *,
        max_bytes: int = MAX_BYTES,
        batch_events: int = BATCH_EVENTS,
        gather: float = GATHER_SECONDS,
        timeout: float = TIMEOUT_SECONDS,
        context: ssl.SSLContext | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
    ) -> None:
        """Open the spool, or create it, and begin to send.

        `url` is the service's, `api_key` one of scope `write`, `spool` a file on a local disk that belongs to this
        workspace. `max_bytes` bounds the file: a call that goes beyond fails with SpoolFullError. `batch_events` are
        sent at once, and `gather` are the seconds that fewer wait for more. `timeout` are the seconds to wait for
        the server. Raises ValueError for a bad argument, SpoolError where the spool can't be used.
        """
        if type(workspace_id) is not int or not 1 <= workspace_id <= MAX_WORKSPACE:
            raise ValueError(f"workspace_id: expected an integer from 1 to {MAX_WORKSPACE}")
        if not 1 <= batch_events <= MAX_BATCH_EVENTS:
            raise ValueError(f"batch_events: expected 1 to {MAX_BATCH_EVENTS}")
        if timeout <= 0 or gather < 0:
            raise ValueError("timeout and gather: expected seconds, above and from 0")
        transport = Transport(url, api_key, workspace_id, timeout, context)
        super().__init__(now)
        self._spool = Spool(spool, workspace_id=workspace_id, max_bytes=max_bytes)
        try:
            lease = Lease(self._spool.path)
            self._sent_from = Spool(spool, workspace_id=workspace_id, max_bytes=max_bytes, sender=True)
        except BaseException:
            self._spool.close()
            raise
        self._sender = Sender(self._sent_from, lease, transport, batch_events=batch_events, gather=gather, now=now)
        self._transport = transport
        self._commits = Commits(self._spool, self._sender.wake)
        self._closed = False
        self._thread = threading.Thread(target=self._sender.run, name="campaign-analytics-sender", daemon=True)
        self._thread.start()

    def flush(self, timeout: float) -> bool:
        """Wait until every event that is in the spool now has left it: stored by the server, or a dead letter.

        Returns False where `timeout` seconds did not suffice, or sending is halted; nothing is lost by that.
        """
        self._usable()
        until = time.monotonic() + timeout
        last = self._spool.last()
        sender = self._sender
        with sender.progress:
            sender.hurried += 1
        sender.wake()
        try:
            while True:
                first = self._spool.content().first
                if first is None or first > last:
                    return True
                left = until - time.monotonic()
                if left <= 0 or sender.state == "halted":
                    return False
                with sender.progress:
                    sender.progress.wait(min(left, _LOOK_SECONDS))
        finally:
            with sender.progress:
                sender.hurried -= 1

    def stats(self) -> Stats:
        """Return what was done so far, and what the spool holds; raise SpoolError."""
        self._usable()
        content, sender = self._spool.content(), self._sender
        return Stats(
            state=sender.state,
            reason=sender.reason,
            pending=content.pending,
            dead=content.dead,
            bytes=content.bytes,
            accepted=sender.accepted,
            duplicates=sender.duplicates,
            rejected=sender.rejected,
            requests=sender.requests,
            failures=sender.failures,
        )

    def dead(self) -> list[DeadLetter]:
        """Return the events that were refused, with the reasons."""
        self._usable()
        return self._spool.dead()

    def retry(self, number: int, event: Mapping[str, Any] | None = None) -> bool:
        """Put a dead letter at the end of what is sent, mended where an event is given; return whether it was there.

        Raises InvalidEventError and SpoolError; then it stays a dead letter.
        """
        self._usable()
        revived = self._spool.revive(number, None if event is None else prepare(event, self._now).body)
        self._sender.wake()
        return revived

    def resume(self) -> None:
        """Send again after sending was halted, for example since the key may write now."""
        self._usable()
        self._sender.resume()

    def close(self, timeout: float = CLOSE_SECONDS) -> None:
        """Try for so many seconds to send what there is, and stop; what is left is kept for the next client."""
        if self._closed:
            return
        try:
            if timeout > 0 and not self.flush(timeout):
                _log.warning("closed with events left in the spool %s", self._spool.path)
        except ForkedError:
            self._closed = True  # the parent's threads and connections are not ours to end
            return
        except SpoolError as error:
            _log.warning("closed without knowing whether events are left: %s", error)
        self._closed = True
        self._sender.stop()
        self._thread.join(timeout)
        if self._thread.is_alive():
            self._transport.abort()
            self._thread.join(_ABORT_SECONDS)
        self._commits.close()
        self._spool.close()
        if not self._thread.is_alive():
            self._sent_from.close()

    def _append(self, prepared: list[Prepared]) -> list[str]:
        self._usable()
        if prepared:
            self._commits.append([each.body for each in prepared])
        return [each.id for each in prepared]

    def _usable(self) -> None:
        if self._closed:
            raise ClosedError("the client is closed")
        self._spool.usable()
