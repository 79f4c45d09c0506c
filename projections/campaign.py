"""What is known of a campaign itself: its name and its status, each from the latest event that carries one."""

from typing import NamedTuple

import msgspec

from domain.events import CampaignCreated, CampaignRenamed, CampaignStatusChanged

# (instant in ms, whether a change said it, the value): the greatest stands. At the same instant a change stands over a
# creation, then the greater string wins, by code points. Stored, so a change wants a new FOLD_VERSION.
Told = tuple[int, bool, str]


class About(NamedTuple):
    """The name and the status that stand so far; None until one has come."""

    name: Told | None = None
    status: Told | None = None


CampaignEvent = CampaignCreated | CampaignRenamed | CampaignStatusChanged

_decode = msgspec.msgpack.Decoder(About).decode
_encode = msgspec.msgpack.Encoder().encode


def told(about: About, event: CampaignEvent) -> About:
    """Return what stands once this event is known too, whatever the order in which events become known."""
    changed = not isinstance(event, CampaignCreated)
    name = None if isinstance(event, CampaignStatusChanged) else (event.occurred_at, changed, event.name)
    status = None if isinstance(event, CampaignRenamed) else (event.occurred_at, changed, event.status)
    return both(about, About(name, status))


def both(one: About, other: About) -> About:
    """Return what stands where both are known."""
    return About(_greater(one.name, other.name), _greater(one.status, other.status))


def pack(about: About) -> bytes:
    """Return what is known as it is stored."""
    return _encode(about)


def unpack(stored: bytes) -> About:
    """Return what was stored. Raises msgspec.DecodeError where the bytes are damaged."""
    return _decode(stored)


def _greater(one: Told | None, other: Told | None) -> Told | None:
    if one is None or other is None:
        return one or other
    return max(one, other)
