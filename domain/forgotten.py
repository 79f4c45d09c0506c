"""The token that stands for a forgotten prospect: random, so nothing leads from it back to the id."""

import re
import secrets

_TOKEN = re.compile(r"forgotten-[0-9a-f]{32}")


def new_token() -> str:
    """Return a token that no prospect has yet."""
    return f"forgotten-{secrets.token_hex(16)}"


def is_token(prospect_id: object) -> bool:
    """Return whether a prospect id is such a token."""
    return isinstance(prospect_id, str) and _TOKEN.fullmatch(prospect_id) is not None
