"""Decides what an answer of the server means for the events that were posted; pure."""

from __future__ import annotations

import json
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, NamedTuple, Union

if TYPE_CHECKING:
    from datetime import datetime

MAX_RETRY_AFTER_SECONDS = 3_600.0
_SHOWN_CHARACTERS = 200
_STORED = (200, 207, 422)
_HALTING = (401, 403)


class Rejected(NamedTuple):
    """One event that the server refused: its place in the post, from 0, the `code`, and the text for people."""

    place: int
    code: str
    error: str


class Settled(NamedTuple):
    """Each event of the post is stored, or was refused."""

    accepted: int
    duplicates: int
    rejected: tuple[Rejected, ...]


class Split(NamedTuple):
    """The post as a whole was refused for its body: fewer events at once may pass."""

    reason: str


class Later(NamedTuple):
    """Whether the events were stored is not known; the same is sent again, not before so many seconds."""

    reason: str
    seconds: float | None = None


class Halt(NamedTuple):
    """Who sends may not; sending again helps nobody."""

    reason: str


Meaning = Union[Settled, Split, Later, Halt]


def understand(status: int, retry_after: str | None, body: bytes, posted: int, now: datetime) -> Meaning:
    """Return what the answer to a post of so many events means.

    An answer that does not account for every event is none: whatever is in doubt is sent again, since the same
    event is counted once however often it comes. `now` is for a `Retry-After` that names an instant (RFC 9110).
    """
    answer = _parsed(body)
    if status in _STORED:
        return _settled(answer, posted) or Later(f"an answer with status {status} that does not account for each event")
    reason = _reason(status, answer)
    if status in _HALTING:
        return Halt(reason)
    # Only the service's own 400 is about the body; another one may come from anything on the way.
    if status == 413 or (status == 400 and "error" in answer):  # noqa: PLR2004
        if posted > 1:
            return Split(reason)
        return Settled(0, 0, (Rejected(0, "too_large" if status == 413 else "malformed", reason),))  # noqa: PLR2004
    return Later(reason, _seconds(retry_after, now))


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}


def _settled(answer: dict[str, Any], posted: int) -> Settled | None:
    accepted, duplicates, listed = (answer.get(name) for name in ("accepted", "duplicates", "rejected"))
    if type(accepted) is not int or type(duplicates) is not int or not isinstance(listed, list):
        return None
    rejected: list[Rejected] = []
    indexes: set[int] = set()
    for each in listed:
        index = each.get("index") if isinstance(each, dict) else None
        if type(index) is not int or not 0 <= index < posted:
            return None
        indexes.add(index)
        rejected.append(Rejected(index, _storable(each.get("code")), _storable(each.get("error"))))
    if len(indexes) != len(rejected) or min(accepted, duplicates) < 0:
        return None
    if accepted + duplicates + len(rejected) != posted:
        return None
    return Settled(accepted, duplicates, tuple(rejected))


def _reason(status: int, answer: dict[str, Any]) -> str:
    reason = f"the server answers {status}"
    if "error" in answer:
        reason += f": {answer['error']}"
    if answer.get("details"):
        reason += f" {json.dumps(answer['details'], ensure_ascii=False)}"
    return _storable(reason[:_SHOWN_CHARACTERS])


def _storable(value: object) -> str:
    """Return what a server says as a text that can be stored: JSON may have lone surrogates, UTF-8 has none."""
    return str(value).encode(errors="replace").decode()


def _seconds(retry_after: str | None, now: datetime) -> float | None:
    if retry_after is None:
        return None
    try:
        seconds = float(int(retry_after))
    except OverflowError:
        seconds = MAX_RETRY_AFTER_SECONDS
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(retry_after) - now).total_seconds()
        except (OverflowError, TypeError, ValueError):  # no date, one without a zone, or beyond all years
            return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS)
