"""Verifies session tokens, and tells which public keys may: all that needs PyJWT, which takes long to import."""

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from api.auth.sessions import BadKeyError, Key, Keys, Verified
from api.errors import UnauthenticatedError
from domain.access import is_user

MIN_RSA_BITS = 2048  # RFC 7518, section 3.3
INVALID = "Invalid session"
_INSTANTS = ("exp", "nbf", "iat")  # numbers, RFC 7519, section 2
_REASONS: dict[type[Exception], str] = {
    jwt.InvalidSignatureError: "signature",
    jwt.ImmatureSignatureError: "not_yet_valid",
    jwt.InvalidIssuerError: "issuer",
    jwt.InvalidAudienceError: "audience",
    jwt.InvalidAlgorithmError: "algorithm",
    jwt.MissingRequiredClaimError: "missing_claim",
}


def verified(token: str, keys: Keys, *, issuer: str | None, audience: str | None, leeway: int) -> Verified:
    """Return what a token says; raise UnauthenticatedError where it is invalid."""
    try:
        key_id = jwt.get_unverified_header(token).get("kid")
        key = keys.find(key_id)
        if key is None:
            raise UnauthenticatedError(INVALID, "unknown_signing_key")
        claims = jwt.decode(
            token,
            key.value,
            algorithms=[key.algorithm],
            issuer=issuer,
            audience=audience,
            leeway=leeway,
            options={"require": ["exp", "sub"], "verify_aud": audience is not None},
        )
    except jwt.ExpiredSignatureError as error:
        raise UnauthenticatedError("Session expired", "expired") from error
    except (jwt.PyJWTError, OverflowError) as error:  # an infinite exp
        raise UnauthenticatedError(INVALID, _REASONS.get(type(error), "invalid_token")) from error
    if any(type(claims.get(name, 0)) not in (int, float) for name in _INSTANTS):  # PyJWT takes text and true, too
        raise UnauthenticatedError(INVALID, "invalid_token")
    user = claims["sub"]
    if not isinstance(user, str) or not is_user(user):
        raise UnauthenticatedError(INVALID, "invalid_subject")
    return Verified(user, (int(claims["exp"]) + leeway) * 1_000, key_id, key)


def require_secret(text: str) -> None:
    """Raise BadKeyError for a shared secret that is a key in another format."""
    try:
        jwt.get_algorithm_by_name("HS256").prepare_key(text)
    except jwt.InvalidKeyError as error:
        raise BadKeyError("expected a secret, not a key in PEM or another key's format") from error


def public_key(pem: str) -> Key:
    """Return the key of a PEM; raise BadKeyError where it is no public key, weak or of another kind."""
    try:
        key = usable(load_pem_public_key(pem.encode()))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise BadKeyError("expected a public key in PEM") from error
    if key is None:
        raise BadKeyError(f"expected an RSA key of at least {MIN_RSA_BITS} bits, an EC key on P-256 or an Ed25519 key")
    return key


def usable(value: object) -> Key | None:
    """Return a public key with the algorithm that it calls for; None where it is weak or of another kind."""
    if isinstance(value, RSAPublicKey) and value.key_size >= MIN_RSA_BITS:
        return Key(value, "RS256")
    if isinstance(value, EllipticCurvePublicKey) and isinstance(value.curve, SECP256R1):
        return Key(value, "ES256")
    if isinstance(value, Ed25519PublicKey):
        return Key(value, "EdDSA")
    return None
