"""A stand-in for the client in a worker's own tests: it keeps events in a list, without a disk and a network."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Callable

from campaign_analytics_client.calls import EventCalls
from campaign_analytics_client.errors import ClosedError
from campaign_analytics_client.sender import Stats

if TYPE_CHECKING:
    from collections.abc import Mapping

    from campaign_analytics_client.events import Prepared
    from campaign_analytics_client.rows import DeadLetter


class RecordingClient(EventCalls):
    """Takes what a client takes, refuses what it refuses, and keeps it in `events`, as it would be sent."""

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(timezone.utc)) -> None:
        """Take the clock that dates events without `occurred_at`."""
        super().__init__(now)
        self.events: list[dict[str, Any]] = []
        self.closed = False

    def flush(self, timeout: float) -> bool:  # noqa: ARG002 (as the client has it)
        """Return True: nothing waits."""
        return True

    def stats(self) -> Stats:
        """Return the numbers of a client that has sent everything."""
        return Stats("idle", "", 0, 0, 0, len(self.events), 0, 0, 0, 0)

    def dead(self) -> list[DeadLetter]:
        """Return no dead letters: nothing is refused later."""
        return []

    def retry(self, number: int, event: Mapping[str, Any] | None = None) -> bool:  # noqa: ARG002 (as the client)
        """Return False: there are no dead letters."""
        return False

    def resume(self) -> None:
        """Do nothing: it never halts."""

    def close(self, timeout: float = 0.0) -> None:  # noqa: ARG002 (as the client has it)
        """Take no more events."""
        self.closed = True

    def _append(self, prepared: list[Prepared]) -> list[str]:
        if self.closed:
            raise ClosedError("the client is closed")
        self.events += [json.loads(each.body) for each in prepared]
        return [each.id for each in prepared]
