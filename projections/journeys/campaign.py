"""What is known of a campaign itself: its name, status and so on, each from the latest event that carries one."""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import msgspec

from domain.events import CampaignCreated, CampaignRenamed, CampaignStatusChanged

# (instant in ms, whether the event is a change, the value): the greatest stands. At the same instant a change stands
# over a creation, then the greater string wins, by code points. Stored, so a change needs a new FOLD_VERSION.
Dated = tuple[int, bool, str]


class About(NamedTuple):
    """What stands so far, None until an event carries it; the earliest creation and the latest change (ms, UTC)."""

    name: Dated | None = None
    status: Dated | None = None
    timezone: Dated | None = None
    language: Dated | None = None
    created_at: int | None = None
    updated_at: int | None = None


_T = TypeVar("_T")
CampaignEvent = CampaignCreated | CampaignRenamed | CampaignStatusChanged

_decode = msgspec.msgpack.Decoder(About).decode
_encode = msgspec.msgpack.Encoder().encode


def with_event(about: About, event: CampaignEvent) -> About:
    """Return what stands once this event is known too; the order in which events become known does not matter."""
    at = event.occurred_at
    if isinstance(event, CampaignCreated):
        timezone, language = _created(at, event.timezone), _created(at, event.language)
        more = About((at, False, event.name), (at, False, event.status), timezone, language, at, at)
    elif isinstance(event, CampaignRenamed):
        more = About(name=(at, True, event.name), updated_at=at)
    else:
        more = About(status=(at, True, event.status), updated_at=at)
    return merged(about, more)


def merged(one: About, other: About) -> About:
    """Return what stands where both are known."""
    return About(
        _chosen(max, one.name, other.name),
        _chosen(max, one.status, other.status),
        _chosen(max, one.timezone, other.timezone),
        _chosen(max, one.language, other.language),
        _chosen(min, one.created_at, other.created_at),
        _chosen(max, one.updated_at, other.updated_at),
    )


def pack(about: About) -> bytes:
    """Return what is known as it is stored."""
    return _encode(about)


def unpack(stored: bytes) -> About:
    """Return what was stored. Raises msgspec.DecodeError where the bytes are damaged."""
    try:
        return _decode(stored)
    except UnicodeDecodeError as error:  # the one that msgspec does not make its own
        raise msgspec.DecodeError(str(error)) from error


def _created(at: int, value: str | None) -> Dated | None:
    return None if value is None else (at, False, value)


def _chosen(choose: Callable[[_T, _T], _T], one: _T | None, other: _T | None) -> _T | None:
    """Return the one that is known; where both are, the chosen one."""
    if one is None or other is None:
        return other if one is None else one
    return choose(one, other)
