"""The calls that take a worker's events: the same for the client and for its stand-in in tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, TypeVar

from campaign_analytics_client.events import EventMethods, Prepared, prepare

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime
    from types import TracebackType


_Calls = TypeVar("_Calls", bound="EventCalls")  # Python 3.9 has no typing.Self


class EventCalls(EventMethods):
    """Takes events one by one, together, or in a batch; what keeps them is the subclass's `_append` and `close`."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        """Take the clock that dates events without `occurred_at`."""
        self._now = now

    def send(self, event: Mapping[str, Any]) -> str:
        """Keep an event, given as its fields, and return its id; raise InvalidEventError or SpoolError.

        An event without an `id` gets one, so that it is counted once however often it has to be sent.
        """
        return self._append([prepare(event, self._now)])[0]

    def send_many(self, events: Iterable[Mapping[str, Any]]) -> list[str]:
        """Keep events with one commit, all or none; return their ids. Raise as `send` does."""
        return self._append([prepare(event, self._now) for event in events])

    def batch(self) -> Batch:
        """Return a context whose calls are kept with one commit at its end: fast, but safe only from then on."""
        return Batch(self._append, self._now)

    def close(self) -> None:
        """Take no more events."""
        raise NotImplementedError

    def __enter__(self: _Calls) -> _Calls:
        """Return the client."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def _append(self, prepared: list[Prepared]) -> list[str]:
        """Keep events, all or none; return their ids."""
        raise NotImplementedError


class Batch(EventMethods):
    """Events that are kept together, at the end of a `with` block; for one thread."""

    def __init__(self, append: Callable[[list[Prepared]], list[str]], now: Callable[[], datetime]) -> None:
        """Take what keeps events, and the clock."""
        self._append, self._now = append, now
        self._prepared: list[Prepared] = []

    def send(self, event: Mapping[str, Any]) -> str:
        """Take an event, given as its fields, and return its id; it is kept when the block ends."""
        prepared = prepare(event, self._now)
        self._prepared.append(prepared)
        return prepared.id

    def __enter__(self) -> Batch:
        """Return the batch."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Keep what was taken, also where an error ends the block: it has happened all the same."""
        prepared, self._prepared = self._prepared, []
        self._append(prepared)
