"""What the spool holds, as those who use it see it."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

DAMAGED = "damaged"  # the code of a dead letter whose bytes have changed on disk


class Row(NamedTuple):
    """An event that waits: its place in the spool, its JSON, and whether that is still what was written."""

    number: int
    body: bytes
    intact: bool


class Refusal(NamedTuple):
    """An event that was refused: its place in the spool, the server's `code` and the text for people."""

    number: int
    code: str
    error: str


class DeadLetter(NamedTuple):
    """A refused event that is kept: its number, when (RFC 3339, UTC) and why it was refused, and its JSON."""

    number: int
    at: str
    code: str
    error: str
    body: bytes

    @property
    def event(self) -> Any:  # noqa: ANN401 (JSON is made of anything)
        """Return the event's fields; None where the JSON was damaged on disk."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


class Note(NamedTuple):
    """What a sender last wrote down about itself: its state, since when (RFC 3339, UTC), and why."""

    state: str
    since: str
    reason: str


class Content(NamedTuple):
    """How much a spool holds: events that wait, the number of the first, dead letters, and bytes of its files."""

    pending: int
    first: int | None
    dead: int
    bytes: int
