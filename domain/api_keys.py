"""API keys, `<prefix>.<secret>`: how one is made, and what is stored of it."""

import hashlib
import secrets
from dataclasses import dataclass
from typing import Literal, NamedTuple

Scope = Literal["read", "write", "admin"]
SCOPES: tuple[Scope, ...] = ("read", "write", "admin")
MAX_KEY_NAME = 128
_SECRET_BYTES = 32


@dataclass(frozen=True)
class Key:
    """What is stored of an API key; of its secret only the SHA-256, in an event and a row."""

    prefix: str
    name: str
    scopes: tuple[str, ...]
    created_at: int
    expires_at: int | None


class IssuedKey(NamedTuple):
    """A new key: what is stored of it, and the whole, `<prefix>.<secret>`, which is shown this once."""

    about: Key
    key: str


def new_prefix_and_secret() -> tuple[str, str]:
    """Return the random prefix and secret of a new key."""
    return f"ca_{secrets.token_hex(8)}", secrets.token_urlsafe(_SECRET_BYTES)


def secret_sha256(secret: str) -> str:
    """Return what is stored of a key's secret: its SHA-256 in hexadecimal. 32 random bytes need no slow hash."""
    return hashlib.sha256(secret.encode()).hexdigest()
