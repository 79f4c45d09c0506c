"""Derives the integer id of a campaign that its tool names by a string, so that any place derives the same."""

import hashlib

# Above the ids that tools number themselves; twice as much is 2^53, up to where JavaScript's numbers are exact.
_BITS = 52
FIRST_DERIVED_ID = 1 << _BITS
_VERSION = "campaign:1"  # part of what is hashed: another derivation would be another version


def campaign_id_of_key(key: str) -> int:
    """Return the id, from 2^52 up to 2^53-1, of the campaign with this key (by convention `provider:key`).

    It is 2^52 + the first 52 bits of SHA-256 over `campaign:1`, a newline and the key in UTF-8. Raises
    UnicodeEncodeError for a key with a lone surrogate, which no stored text may have.
    """
    digest = hashlib.sha256(f"{_VERSION}\n{key}".encode()).digest()
    return FIRST_DERIVED_ID + (int.from_bytes(digest[:8], "big") >> (64 - _BITS))
