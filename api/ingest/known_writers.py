"""Who has been allowed to write where: a small body of theirs may be looked at before the append asks again.

It decides nothing. A stranger's body is not parsed at all, and whoever may no longer write is forgotten with the first
refusal; so what can be had parsed without the right to write is 16 KiB, once.
"""

from projections.queries.caller import Credentials

_MOST = 10_000  # of one process; then all are asked about anew


class KnownWriters:
    """Pairs of credentials and a workspace that they could write to when they last tried."""

    def __init__(self) -> None:
        """Begin with nobody."""
        self._known: set[tuple[Credentials, int]] = set()

    def __contains__(self, writer: tuple[Credentials, int]) -> bool:
        """Return whether they could write there when they last tried."""
        return writer in self._known

    def allowed(self, writer: tuple[Credentials, int]) -> None:
        """Note that they can write there."""
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known.add(writer)

    def refused(self, writer: tuple[Credentials, int]) -> None:
        """Forget them."""
        self._known.discard(writer)
