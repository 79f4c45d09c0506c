"""Authentication of a caller by a session cookie of the platform or an API key, and the counting of its use."""

import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import falcon

from api.auth.last_use import LastUse
from api.auth.rate_limit import RateLimit
from api.auth.sessions import Sessions, token_hash
from api.auth.tokens import INVALID
from api.errors import UnauthenticatedError
from domain.api_keys import secret_sha256
from projections.queries.caller import Caller, Credentials

COOKIE = "sessionid"
HEADER = "X-API-Key"
_PREFIX = re.compile(r"[A-Za-z0-9_]{1,64}")
_NO_SUCH_SECRET = "0" * 64
_INVALID_KEY, _REQUIRED = "Invalid API key", "Authentication required"


def sessions_of(request: falcon.Request) -> list[str]:
    """Return the tokens of all sessions that a request shows.

    Nothing of other cookies is decoded: a stranger can have Python's own decoder take very long (CVE-2024-7592).
    """
    pairs = (each.partition("=") for each in (request.get_header("Cookie") or "").split(";"))
    return [_unquoted(value.strip()) for name, _, value in pairs if name.strip() == COOKIE]


def session_of(request: falcon.Request) -> str:
    """Return the token of a request that shows one session and no API key."""
    return (sessions_of(request) or [""])[0]


def _unquoted(value: str) -> str:
    """Return a cookie's value without the quotation marks that may be around it (RFC 6265, section 4.1.1)."""
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value


def credentials_of_key(key: str) -> Credentials:
    """Return the credentials of an API key; raise UnauthenticatedError where it is malformed."""
    prefix, dot, secret = key.partition(".")
    if not dot or not secret or not _PREFIX.fullmatch(prefix):
        raise UnauthenticatedError(_INVALID_KEY, "malformed_key")
    return Credentials(prefix=prefix, secret_sha256=secret_sha256(secret))


class Proof(NamedTuple):
    """What a request was accepted by: an API key's prefix and expiry (ms, UTC), or the hash of a session's token."""

    prefix: str | None
    until: int | None
    session: bytes | None


@dataclass(frozen=True)
class Authentication:
    """Reads a request's credentials, and compares them with the database's row of the key."""

    sessions: Sessions | None  # None: no session holds
    clock: Callable[[], int]  # ms, UTC
    last_use: LastUse
    rate_limit: RateLimit | None = None

    def may_wait(self, request: falcon.Request) -> bool:
        """Return whether `credentials` may have to wait for the platform's keys, so that it is left to a thread."""
        if self.sessions is None or request.get_header(HEADER) is not None:
            return False
        tokens = sessions_of(request)
        return len(tokens) == 1 and self.sessions.may_wait(tokens[0], self.clock())

    def verify_again(self, token: str) -> None:
        """Raise UnauthenticatedError where a session that was verified before is no longer valid."""
        if self.sessions is not None:
            self.sessions.user(token, self.clock())

    def may_wait_again(self, token: str) -> bool:
        """Return whether `verify_again` may have to wait for the platform's keys."""
        return self.sessions is not None and self.sessions.may_wait(token, self.clock())

    def credentials(self, request: falcon.Request) -> Credentials:
        """Return the credentials of a request; an API key has precedence over a cookie, even if the key is invalid.

        Raises UnauthenticatedError where there are none, or only malformed ones.
        """
        key = request.get_header(HEADER)
        if key is not None:
            return credentials_of_key(key)
        tokens = sessions_of(request)
        if not tokens:
            raise UnauthenticatedError(_REQUIRED, "no_credentials")
        if len(tokens) > 1 or self.sessions is None:
            raise UnauthenticatedError(INVALID, "ambiguous" if self.sessions else "no_sessions")
        user = self.sessions.user(tokens[0], self.clock())
        request.context.user = user
        return Credentials(session_user=user)

    def proof(self, request: falcon.Request, credentials: Credentials, until: int | None) -> Proof:
        """Return what an accepted request is accepted by, until then (ms, UTC), without a secret."""
        session = None if credentials.prefix is not None else token_hash(session_of(request))
        return Proof(credentials.prefix, until, session)

    def accepts_again(self, proof: Proof) -> bool:
        """Return whether what was accepted before still holds by the clock and the platform's keys; note a key's use.

        What the database knows of the caller is not asked.
        """
        if proof.prefix is None:
            return self.sessions is not None and self.sessions.holds(proof.session or b"", self.clock())
        if proof.until is not None and proof.until <= self.clock():
            return False
        self.last_use.note(proof.prefix)
        return True

    def identify(self, credentials: Credentials, caller: Caller | None) -> Caller:
        """Return the caller once the key's secret has been compared; raise UnauthenticatedError where it differs."""
        if credentials.prefix is not None:
            stored = caller.secret_sha256 if caller and caller.secret_sha256 else _NO_SUCH_SECRET
            same = hmac.compare_digest(stored, credentials.secret_sha256 or "")
            if caller is None or not same:
                raise UnauthenticatedError(_INVALID_KEY, "unknown_key")
            if caller.expires_at is not None and caller.expires_at <= self.clock():
                raise UnauthenticatedError(_INVALID_KEY, "expired")
        if caller is None:
            raise UnauthenticatedError(_REQUIRED, "no_credentials")
        return caller

    def note(self, request: falcon.Request, response: falcon.Response, credentials: Credentials) -> None:
        """Count a request of an authenticated caller: the use of a key, which counts against its limit.

        Raises RateLimitedError.
        """
        if credentials.prefix is not None:
            request.context.key = credentials.prefix
            self.last_use.note(credentials.prefix)
            if self.rate_limit is not None:
                self.rate_limit.count(credentials.prefix, response)
