"""Names people who are known by their e-mail address, so that no address enters an append-only log."""

import hashlib
import hmac

from domain.events import MAX_PROSPECT_ID


def prospect_of_address(address: str, key: bytes, *, plain: bool = False) -> str:
    """Return the prospect id of an address: `e:` and 32 hexadecimal digits of an HMAC-SHA256 with the workspace's key.

    The address is trimmed and in lower case. With `plain` it is itself the id, unless it is longer than an id may be.
    """
    address = address.strip().lower()
    if plain and len(address) <= MAX_PROSPECT_ID:
        return address
    return "e:" + hmac.digest(key, address.encode(), hashlib.sha256).hex()[:32]
