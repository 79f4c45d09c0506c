"""Session tokens: JWTs signed by the platform, verified with keys that alone decide the algorithm."""

from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

MIN_SECRET_BYTES = 32  # RFC 7518, section 3.2: a key of the same size as the hash output
MAX_VERIFIED = 10_000  # tokens that a process remembers to have verified


class BadKeyError(Exception):
    """A key to check sessions with can't be used; `algorithm` is true where the named algorithm is at fault."""

    def __init__(self, message: str, *, algorithm: bool = False) -> None:
        """Take the fault, without the key."""
        super().__init__(message)
        self.algorithm = algorithm


class Key(NamedTuple):
    """A key that signatures are checked with, and the one algorithm that it is for."""

    value: "str | RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey"
    algorithm: str


class Keys(Protocol):
    """Where the keys come from."""

    def known(self, key_id: str | None) -> Key | None:
        """Return what `find` would, at once; None where `find` may have to fetch the keys."""
        ...

    def find(self, key_id: str | None) -> Key | None:
        """Return the key that now counts for a token with this `kid`, the same object as long as it does."""
        ...


class FixedKey:
    """The one key of a configuration; a token's own `kid` changes nothing."""

    def __init__(self, key: Key, algorithm: str | None = None) -> None:
        """Take the key; raise BadKeyError where an algorithm is named that is not the key's."""
        if algorithm not in (None, key.algorithm):
            raise BadKeyError(f"expected {key.algorithm}, which the key calls for", algorithm=True)
        self._key = key

    def find(self, key_id: str | None) -> Key:
        """Return the key."""
        del key_id
        return self._key

    known = find


class Sessions:
    """Verifies session tokens, and returns their users."""

    def __init__(self, keys: Keys, *, issuer: str | None = None, audience: str | None = None, leeway: int = 10) -> None:
        """Take the keys, who must have issued a token and for whom (None: anybody), and the leeway in seconds."""
        self.keys = keys
        self._issuer = issuer
        self._audience = audience
        self._leeway = leeway
        self._verified: dict[bytes, Verified] = {}  # by the token's hash

    def may_wait(self, token: str, now: int) -> bool:
        """Return whether `user` may have to wait for keys, which are published elsewhere."""
        if isinstance(self.keys, FixedKey):
            return False
        return not self.holds(token_hash(token), now)

    def user(self, token: str, now: int) -> str:
        """Return the user whose session this is; raise UnauthenticatedError where it is invalid.

        `now` is in ms, UTC. A token that was verified once is valid until it expires or its key no longer counts:
        nothing else about it can change. Raises UnavailableError where the keys can't be fetched.
        """
        digest = token_hash(token)
        verified = self._verified.get(digest)
        if verified is None or now >= verified.until or self.keys.find(verified.key_id) is not verified.key:
            verified = self._verify(token)
            if len(self._verified) >= MAX_VERIFIED:
                self._verified.clear()
            self._verified[digest] = verified
        return verified.user

    def holds(self, digest: bytes, now: int) -> bool:
        """Return whether the token with this hash was verified, and is as valid at `now` (ms, UTC); never waits."""
        verified = self._verified.get(digest)
        return verified is not None and now < verified.until and self.keys.known(verified.key_id) is verified.key

    def _verify(self, token: str) -> "Verified":
        from api.auth import tokens  # noqa: PLC0415 (commands take keys from their environment and verify nothing)

        return tokens.verified(token, self.keys, issuer=self._issuer, audience=self._audience, leeway=self._leeway)


class Verified(NamedTuple):
    """A verified token: its user, its expiry (ms, UTC), and the key that verified it."""

    user: str
    until: int
    key_id: str | None
    key: Key


def token_hash(token: str) -> bytes:
    """Return the hash by which a token is remembered."""
    return sha256(token.encode()).digest()


def secret(text: str) -> Key:
    """Return the key that a shared secret is; raise BadKeyError where it is too short, or a key in another format."""
    if len(text.encode()) < MIN_SECRET_BYTES:
        raise BadKeyError(f"expected at least {MIN_SECRET_BYTES} bytes")
    from api.auth import tokens  # noqa: PLC0415 (as above)

    tokens.require_secret(text)
    return Key(text, "HS256")
