"""What is known of a campaign itself: its name, status and so on, each from the latest event that carries one."""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import msgspec

from domain.events import CampaignCreated, CampaignRenamed, CampaignStatusChanged

# (instant in ms, whether a change said it, the value): the greatest stands. At the same instant a change stands over a
# creation, then the greater string wins, by code points. Stored, so a change wants a new FOLD_VERSION.
Told = tuple[int, bool, str]


class About(NamedTuple):
    """What stands so far, None until one has come; when it was created first and changed last (ms, UTC)."""

    name: Told | None = None
    status: Told | None = None
    timezone: Told | None = None
    language: Told | None = None
    created_at: int | None = None
    updated_at: int | None = None


_T = TypeVar("_T")
CampaignEvent = CampaignCreated | CampaignRenamed | CampaignStatusChanged

_decode = msgspec.msgpack.Decoder(About).decode
_encode = msgspec.msgpack.Encoder().encode


def told(about: About, event: CampaignEvent) -> About:
    """Return what stands once this event is known too, whatever the order in which events become known."""
    at = event.occurred_at
    if isinstance(event, CampaignCreated):
        timezone, language = _told(at, event.timezone), _told(at, event.language)
        known = About((at, False, event.name), (at, False, event.status), timezone, language, at, at)
    elif isinstance(event, CampaignRenamed):
        known = About(name=(at, True, event.name), updated_at=at)
    else:
        known = About(status=(at, True, event.status), updated_at=at)
    return both(about, known)


def both(one: About, other: About) -> About:
    """Return what stands where both are known."""
    return About(
        _of(max, one.name, other.name),
        _of(max, one.status, other.status),
        _of(max, one.timezone, other.timezone),
        _of(max, one.language, other.language),
        _of(min, one.created_at, other.created_at),
        _of(max, one.updated_at, other.updated_at),
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


def _told(at: int, value: str | None) -> Told | None:
    return None if value is None else (at, False, value)


def _of(choose: Callable[[_T, _T], _T], one: _T | None, other: _T | None) -> _T | None:
    """Return the one that there is; where there are both, what is chosen."""
    if one is None or other is None:
        return other if one is None else one
    return choose(one, other)
