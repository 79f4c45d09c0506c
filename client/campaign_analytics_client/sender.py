"""Sends what waits in the spool, in order, until each event is stored or was refused."""

from __future__ import annotations

import logging
import random
import threading
from contextlib import suppress
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Callable, NamedTuple

from campaign_analytics_client import answers, backoff
from campaign_analytics_client.errors import ClientError, SpoolDamagedError, SpoolError
from campaign_analytics_client.rows import DAMAGED, Refusal, Row
from campaign_analytics_client.transport import Packed, Transport, TransportError, pack

if TYPE_CHECKING:
    from campaign_analytics_client.lease import Lease
    from campaign_analytics_client.spool import Spool

BATCH_EVENTS = 500
MAX_BATCH_EVENTS = 1_000  # an answer lists no more refused ones
MAX_BATCH_BYTES = 4 * 1024 * 1024  # of JSON; the server takes 5 MiB
LOOK_SECONDS = 0.25  # between looks for events of other processes
STANDBY_SECONDS = 0.5  # between attempts to become the one that sends
_WELL = ("idle", "sending")

_log = logging.getLogger("campaign_analytics_client")


class Stats(NamedTuple):
    """What a client has done since it was made, and how much its spool holds.

    `state` is `starting`, `idle`, `sending`, `waiting` (after a failure), `standby` (another process sends) or
    `halted` (sending has stopped for `reason`, until `resume`). `pending`, `dead` and `bytes` are those of the spool;
    the other numbers count what this client sent.
    """

    state: str
    reason: str
    pending: int
    dead: int
    bytes: int
    accepted: int
    duplicates: int
    rejected: int
    requests: int
    failures: int


class Pause(NamedTuple):
    """How long to wait before the next step, and whether new events end the wait."""

    seconds: float
    until_work: bool = False


class _Batch(NamedTuple):
    """Events that are sent at once: all rows, those that are still what was written, and the post of these."""

    rows: list[Row]
    intact: list[Row]
    packed: Packed


class Sender:
    """Moves events from the spool to the server, one batch after the other; `run` is its thread."""

    def __init__(  # noqa: PLR0913 (all is handed in)
        self,
        spool: Spool,
        lease: Lease,
        transport: Transport,
        *,
        batch_events: int = BATCH_EVENTS,
        gather: float = 0.0,
        now: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Take the spool over a connection of its own, the lease on it, and the way to the server.

        `gather` are the seconds that a batch which is not full waits for more.
        """
        self._spool, self._lease, self._transport = spool, lease, transport
        self._batch_events, self._gather = batch_events, gather
        self._now, self._chance = now, chance
        self._size = batch_events  # of the next batch; less after a 413
        self._failed = 0  # attempts in a row
        self._gathered = False
        self._ahead: _Batch | None = None  # the next batch, read while the one before it was on its way
        self._work = threading.Event()
        self._stopping = threading.Event()
        self.progress = threading.Condition()  # notified when events have left the spool, or the state has changed
        self.hurried = 0  # that many callers wait for the spool to be empty
        self.state, self.reason = "starting", ""
        self.accepted = self.duplicates = self.rejected = self.requests = self.failures = 0

    def run(self) -> None:
        """Send until `stop`."""
        try:
            while not self._stopping.is_set():
                pause = self.step()
                if pause.seconds > 0:
                    if pause.until_work:
                        self._work.wait(pause.seconds)
                    else:
                        self._stopping.wait(pause.seconds)
                    self._work.clear()
        finally:
            self._transport.close()
            self._lease.close()

    def wake(self) -> None:
        """Say that there are new events."""
        self._work.set()

    def stop(self) -> None:
        """End `run` after its step."""
        self._stopping.set()
        self._work.set()

    def resume(self) -> None:
        """Send again after sending was halted."""
        if self.state == "halted":
            self._become("idle", "")
            self._work.set()

    def step(self) -> Pause:
        """Send at most one batch; return how long to wait before the next step."""
        if self.state == "halted":
            return Pause(LOOK_SECONDS, until_work=True)
        try:
            return self._send_next()
        except SpoolDamagedError as error:
            return self._halt(str(error))
        except SpoolError as error:
            return self._later(answers.Later(str(error)))
        except Exception as error:  # noqa: BLE001 (it is logged and shown)
            _log.exception("a fault of the sender's own")
            return self._halt(f"{type(error).__name__}: {error}")

    def _send_next(self) -> Pause:
        if not self._lease.take():
            self._become("standby", "another process sends from this spool", note=False)
            return Pause(STANDBY_SECONDS)
        ahead, self._ahead = self._ahead, None
        batch = ahead or self._read(after=0)
        if not batch.rows:
            self._become("idle", "")
            return Pause(LOOK_SECONDS, until_work=True)
        if self._should_gather(batch):
            self._gathered = True
            return Pause(self._gather)
        self._gathered = False
        meaning = self._post(batch)
        if isinstance(meaning, answers.Settled):
            return self._settle(batch, meaning)
        if isinstance(meaning, answers.Split):
            self._ahead = None
            self._size = max(1, len(batch.intact) // 2)
            _log.warning("%s; the next batch has at most %d events", meaning.reason, self._size)
            return Pause(0)
        return self._halt(meaning.reason) if isinstance(meaning, answers.Halt) else self._later(meaning)

    def _read(self, after: int) -> _Batch:
        rows = self._spool.first(self._size, MAX_BATCH_BYTES, after)
        intact = [row for row in rows if row.intact]
        return _Batch(rows, intact, pack([row.body for row in intact]))

    def _should_gather(self, batch: _Batch) -> bool:
        few = len(batch.rows) < self._size
        return few and self._gather > 0 and not self._gathered and not self.hurried and not self._failed

    def _post(self, batch: _Batch) -> answers.Meaning:
        if not batch.intact:
            return answers.Settled(0, 0, ())
        self.requests += 1
        try:
            answer = self._transport.post(batch.packed, lambda: self._read_ahead(batch))
        except TransportError as error:
            return answers.Later(str(error))
        return answers.understand(
            answer.status, answer.retry_after, answer.body, posted=len(batch.intact), now=self._now()
        )

    def _read_ahead(self, batch: _Batch) -> None:
        """Make the next batch ready where a full one is on its way; it is used once that one is settled."""
        if len(batch.rows) < self._batch_events:
            return
        with suppress(SpoolError):  # the next step reads again, and says what is wrong
            self._ahead = self._read(after=batch.rows[-1].number)

    def _settle(self, batch: _Batch, settled: answers.Settled) -> Pause:
        rows = batch.rows
        refusals = [Refusal(batch.intact[each.place].number, each.code, each.error) for each in settled.rejected]
        refusals += [Refusal(row.number, DAMAGED, "it is no longer what was written") for row in rows if not row.intact]
        self._spool.settle(rows, refusals)
        self.accepted += settled.accepted
        self.duplicates += settled.duplicates
        self.rejected += len(refusals)
        if refusals:
            _log.error(
                "%d of %d events were refused and are dead letters of the spool %s now; the first: %s: %s",
                len(refusals),
                len(rows),
                self._spool.path,
                refusals[0].code,
                refusals[0].error,
            )
        if self._failed:
            _log.info("the server takes events again, after %d failures", self._failed)
        self._failed = 0
        self._size = min(self._batch_events, self._size * 2)
        self._become("sending", "")
        with self.progress:
            self.progress.notify_all()
        return Pause(0)

    def _later(self, later: answers.Later) -> Pause:
        self._ahead = None
        self._failed += 1
        self.failures += 1
        seconds = backoff.delay(self._failed, later.seconds, self._chance)
        if not self._stopping.is_set():
            _log.warning("%s; attempt %d follows in %.1f s", later.reason, self._failed + 1, seconds)
        self._become("waiting", later.reason)
        return Pause(seconds)

    def _halt(self, reason: str) -> Pause:
        _log.error("%s; sending has stopped, events stay in the spool %s", reason, self._spool.path)
        self._ahead = None
        self._become("halted", reason)
        self._lease.give_back()  # another process may have a better key
        return Pause(0)

    def _become(self, state: str, reason: str, *, note: bool = True) -> None:
        """Take a state, and write it down for `status` where it is news about sending."""
        changed = self.state != state
        known = (self.state in _WELL and state in _WELL) or (not changed and self.reason == reason)
        self.state, self.reason = state, reason
        if note and not known:
            try:
                self._spool.write_note(state, reason)
            except ClientError as error:
                _log.warning("the state %s could not be written down: %s", state, error)
        if changed:
            with self.progress:
                self.progress.notify_all()
