"""The answer to a post: the outcomes of its events."""

from collections.abc import Collection, Sequence
from http import HTTPStatus

import msgspec

MAX_REJECTS_LISTED = 1_000


class Rejected(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why one event was refused: `errors` where there is more than one fault, `line` where it stood on one, from 1."""

    index: int
    id: str | None
    code: str
    error: str
    errors: Sequence[str] | None = None
    line: int | None = None


class Result(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer's body."""

    workspace_id: int
    accepted: int
    duplicates: int
    rejected: list[Rejected]
    position: int
    rejected_total: int | None = None

    @property
    def status(self) -> HTTPStatus:
        """Return the answer's status."""
        if not self.rejected:
            return HTTPStatus.OK
        return HTTPStatus.MULTI_STATUS if self.accepted or self.duplicates else HTTPStatus.UNPROCESSABLE_ENTITY


class Tally:
    """The outcomes of a post's events so far."""

    def __init__(self) -> None:
        """Begin with none."""
        self._accepted = self._duplicates = self._rejects = self._position = 0
        self._rejected: list[Rejected] = []
        self.seconds = 0.0  # that threads have worked for them

    @property
    def events(self) -> int:
        """Return how many events there were."""
        return self._accepted + self._duplicates + self._rejects

    @property
    def recorded(self) -> int:
        """Return how many of them are stored, now or before."""
        return self._accepted + self._duplicates

    @property
    def position(self) -> int:
        """Return where the log ends after the last part, 0 before the first one."""
        return self._position

    @property
    def rejects(self) -> int:
        """Return how many of them were rejected."""
        return self._rejects

    def add(self, accepted: int, duplicates: int, rejected: Collection[Rejected], position: int) -> None:
        """Add a part of them, and where the log ends after it."""
        self._accepted += accepted
        self._duplicates += duplicates
        self._rejects += len(rejected)
        self._rejected += list(rejected)[: MAX_REJECTS_LISTED - len(self._rejected)]
        self._position = position

    def result(self, workspace_id: int) -> Result:
        """Return the answer's body."""
        total = self._rejects if self._rejects > MAX_REJECTS_LISTED else None
        return Result(workspace_id, self._accepted, self._duplicates, self._rejected, self._position, total)
