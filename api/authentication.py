"""Who is calling: a session cookie of the platform or an API key, and never anything that the token itself decides."""

import hmac
import re
from collections.abc import Callable
from hashlib import sha256

import falcon
import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from api.errors import AccessDeniedError, UnauthenticatedError
from domain.access import Scope, secret_sha256
from projections.access import Caller, Credentials

COOKIE = "sessionid"
HEADER = "X-API-Key"
MIN_SECRET_BYTES = 32  # RFC 7518, section 3.2: a key of the same size as the hash output
MAX_VERIFIED = 10_000  # tokens that a process remembers to have verified
MIN_RSA_BITS = 2048  # RFC 7518, section 3.3
_PREFIX = re.compile(r"[A-Za-z0-9_]{1,64}")
_NO_SUCH_SECRET = "0" * 64


class BadKeyError(Exception):
    """A key to check sessions with can't be used; `algorithm` tells whether the named algorithm is what is wrong."""

    def __init__(self, message: str, *, algorithm: bool = False) -> None:
        """Take what is wrong, without the key."""
        super().__init__(message)
        self.algorithm = algorithm


class SessionKey:
    """The key that session cookies are checked with; it alone decides the algorithm."""

    def __init__(  # noqa: PLR0913 (what the environment may say of it)
        self,
        key: str,
        *,
        public: bool = False,
        algorithm: str | None = None,
        issuer: str | None = None,
        audience: str | None = None,
        leeway: int = 10,
    ) -> None:
        """Take a shared secret or a public key in PEM; raise BadKeyError where it is weak or of an unknown kind."""
        self._key: str | RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey
        if public:
            self._key, expected = _public_key(key)
        else:
            if len(key.encode()) < MIN_SECRET_BYTES:
                msg = f"expected at least {MIN_SECRET_BYTES} bytes"
                raise BadKeyError(msg)
            self._key, expected = key, "HS256"
        if algorithm not in (None, expected):
            msg = f"expected {expected}, which the key calls for"
            raise BadKeyError(msg, algorithm=True)
        self._algorithm = expected
        self._issuer = issuer
        self._audience = audience
        self._leeway = leeway
        self._verified: dict[bytes, tuple[str, int]] = {}  # by the token's hash: the user, and until when (ms)

    def user(self, token: str, now: int) -> str:
        """Return the user whose session this is; raise UnauthenticatedError where it does not hold.

        `now` is in ms, UTC. A token that was verified once holds until it expires: nothing else about it can change.
        """
        digest = sha256(token.encode()).digest()
        user, until = self._verified.get(digest, ("", 0))
        if now >= until:
            user, until = self._verify(token)
            if len(self._verified) >= MAX_VERIFIED:
                self._verified.clear()
            self._verified[digest] = user, until
        return user

    def _verify(self, token: str) -> tuple[str, int]:
        try:
            claims = jwt.decode(
                token,
                self._key,
                algorithms=[self._algorithm],
                issuer=self._issuer,
                audience=self._audience,
                leeway=self._leeway,
                options={"require": ["exp", "sub"], "verify_aud": self._audience is not None},
            )
        except jwt.ExpiredSignatureError as error:
            raise UnauthenticatedError("Session expired") from error
        except (jwt.InvalidTokenError, OverflowError) as error:  # an infinite exp
            raise UnauthenticatedError("Invalid session") from error
        user = claims["sub"]
        if not isinstance(user, str) or not user or not user.isprintable():
            raise UnauthenticatedError("Invalid session")
        return user, (int(claims["exp"]) + self._leeway) * 1_000


class Authentication:
    """Reads a request's credentials, and compares them with what the database knows."""

    def __init__(self, session_key: SessionKey | None, clock: Callable[[], int]) -> None:
        """Take the key for sessions (None: there are none) and the clock (ms, UTC)."""
        self._session_key = session_key
        self._clock = clock

    def credentials(self, request: falcon.Request) -> Credentials:
        """Return who the request says it comes from; an API key stands over a cookie, however bad it is.

        Raises UnauthenticatedError where there is nothing, or nothing that could hold.
        """
        key = request.get_header(HEADER)
        if key is not None:
            prefix, dot, secret = key.partition(".")
            if not dot or not secret or not _PREFIX.fullmatch(prefix):
                raise UnauthenticatedError("Invalid API key")
            return Credentials(prefix=prefix, secret=secret)
        cookies = request.get_cookie_values(COOKIE)
        if cookies is None:
            raise UnauthenticatedError("Authentication required")
        if len(cookies) > 1 or self._session_key is None:
            raise UnauthenticatedError("Invalid session")
        return Credentials(session_user=self._session_key.user(cookies[0], self._clock()))

    def identify(self, credentials: Credentials, caller: Caller | None) -> Caller:
        """Return the caller once the key's secret has been compared; raise UnauthenticatedError where it differs."""
        if credentials.prefix is not None:
            stored = caller.secret_sha256 if caller and caller.secret_sha256 else _NO_SUCH_SECRET
            same = hmac.compare_digest(stored, secret_sha256(credentials.secret or ""))
            if caller is None or not same or (caller.expires_at is not None and caller.expires_at <= self._clock()):
                raise UnauthenticatedError("Invalid API key")
        if caller is None:
            raise UnauthenticatedError("Authentication required")
        return caller


def require(caller: Caller, scope: Scope) -> None:
    """Raise AccessDeniedError where the caller lacks the scope; a session may only read."""
    if scope not in (["read"] if caller.scopes is None else caller.scopes):
        raise AccessDeniedError


def _public_key(pem: str) -> tuple[RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey, str]:
    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        msg = "expected a public key in PEM"
        raise BadKeyError(msg) from error
    if isinstance(key, RSAPublicKey) and key.key_size >= MIN_RSA_BITS:
        return key, "RS256"
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return key, "ES256"
    if isinstance(key, Ed25519PublicKey):
        return key, "EdDSA"
    msg = f"expected an RSA key of at least {MIN_RSA_BITS} bits, an EC key on P-256 or an Ed25519 key"
    raise BadKeyError(msg)
