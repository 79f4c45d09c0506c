"""What is known of a campaign itself: its name, status and so on, each from the latest event that carries one.

All its own events are kept, since any of them may still be retracted; they are few.
"""

from collections.abc import Iterable
from operator import attrgetter
from typing import NamedTuple, TypeVar

import msgspec

from domain.events import CampaignCreated, CampaignRenamed, CampaignStatusChanged

# (instant in ms, whether the event is a change, the value): the greatest stands. At the same instant a change stands
# over a creation, then the greater string wins, by code points.
Dated = tuple[int, bool, str]
CampaignEvent = CampaignCreated | CampaignRenamed | CampaignStatusChanged


class Change(NamedTuple):
    """A campaign's own event: its position in the log, its key's beginning, its instant (ms, UTC), what it carries."""

    position: int
    key: bytes
    at: int
    created: bool
    name: str | None = None
    status: str | None = None
    timezone: str | None = None
    language: str | None = None


class Retraction(NamedTuple):
    """A retraction of one of them: its own position in the log, and the beginning of the named event's key."""

    position: int
    key: bytes


class History(msgspec.Struct, frozen=True, omit_defaults=True):
    """All that the log says of a campaign itself, in order of the log. Stored: a change needs a new FOLD_VERSION."""

    changes: tuple[Change, ...] = ()
    retractions: tuple[Retraction, ...] = ()

    def upto(self, position: int) -> "History":
        """Return what the log says up to a position."""
        return History(
            tuple(change for change in self.changes if change.position <= position),
            tuple(each for each in self.retractions if each.position <= position),
        )

    def counting(self) -> list[Change]:
        """Return the events that are not retracted."""
        retracted = {each.key for each in self.retractions}
        return [change for change in self.changes if change.key not in retracted]


class About(NamedTuple):
    """What stands, None where no event carries it; the earliest creation and the latest event (ms, UTC)."""

    name: Dated | None = None
    status: Dated | None = None
    timezone: Dated | None = None
    language: Dated | None = None
    created_at: int | None = None
    updated_at: int | None = None


NOTHING = History()
_P = TypeVar("_P", Change, Retraction)

# Rows of version 3 of the fold hold only what stands. They are read so until they are rebuilt.
_decode = msgspec.msgpack.Decoder(History | About).decode
_encode = msgspec.msgpack.Encoder().encode


def change_of(event: CampaignEvent, position: int, key: bytes) -> Change:
    """Return what is kept of a campaign's event at a position of the log; `key` is the beginning of its key there."""
    at = event.occurred_at
    if isinstance(event, CampaignCreated):
        return Change(position, key, at, True, event.name, event.status, event.timezone, event.language)  # noqa: FBT003
    if isinstance(event, CampaignRenamed):
        return Change(position, key, at, False, name=event.name)  # noqa: FBT003
    return Change(position, key, at, False, status=event.status)  # noqa: FBT003


def merged(one: History, other: History) -> History:
    """Return what two stretches of a log say together."""
    if one is NOTHING or other is NOTHING:
        return one if other is NOTHING else other
    return History(_merged(one.changes, other.changes), _merged(one.retractions, other.retractions))


def about(history: History) -> About:
    """Return what stands; neither the order of the log nor what was retracted matters."""
    changes = history.counting()
    return About(
        _latest((each.at, not each.created, each.name) for each in changes),
        _latest((each.at, not each.created, each.status) for each in changes),
        _latest((each.at, not each.created, each.timezone) for each in changes),
        _latest((each.at, not each.created, each.language) for each in changes),
        min((each.at for each in changes if each.created), default=None),
        max((each.at for each in changes), default=None),
    )


def pack(history: History) -> bytes:
    """Return what is known as it is stored."""
    return _encode(history)


def unpack(stored: bytes) -> History:
    """Return what was stored. Raises msgspec.DecodeError where the bytes are damaged, or not of this version."""
    history = _unpack(stored)
    if isinstance(history, About):
        raise msgspec.DecodeError("it is of another version")
    return history


def unpack_about(stored: bytes) -> About:
    """Return what stands by what was stored, also by version 3. Raises msgspec.DecodeError where it is damaged."""
    stands = _unpack(stored)
    return stands if isinstance(stands, About) else about(stands)


def _unpack(stored: bytes) -> History | About:
    try:
        decoded: History | About = _decode(stored)
    except UnicodeDecodeError as error:  # the one that msgspec does not make its own
        raise msgspec.DecodeError(str(error)) from error
    return decoded


def _latest(values: Iterable[tuple[int, bool, str | None]]) -> Dated | None:
    return max([(at, change, value) for at, change, value in values if value is not None], default=None)


def _merged(one: tuple[_P, ...], other: tuple[_P, ...]) -> tuple[_P, ...]:
    return tuple(sorted(one + other, key=attrgetter("position")))
