"""A cache of callers who could write to a workspace: their small bodies are parsed before the append checks again.

It decides nothing. The body of an unknown caller is not parsed, and a caller who may no longer write is removed with
the first refusal; so a caller without the right to write can have 16 KiB parsed, once.
"""

from projections.queries.caller import Credentials

_MOST = 10_000  # of one process; then the cache is emptied


class KnownWriters:
    """Pairs of credentials and a workspace to which their last post was allowed."""

    def __init__(self) -> None:
        """Begin empty."""
        self._known: set[tuple[Credentials, int]] = set()

    def __contains__(self, writer: tuple[Credentials, int]) -> bool:
        """Return whether the caller's last post there was allowed."""
        return writer in self._known

    def allowed(self, writer: tuple[Credentials, int]) -> None:
        """Add a caller."""
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known.add(writer)

    def refused(self, writer: tuple[Credentials, int]) -> None:
        """Remove a caller."""
        self._known.discard(writer)
