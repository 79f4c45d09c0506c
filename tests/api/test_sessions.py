"""Shows that a session holds by the configured key alone, whatever its token says, and that fetched keys never hang."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from falcon import testing

from api.app import create_app
from api.auth import published_keys
from api.auth.published_keys import PublishedKeys
from api.auth.sessions import Sessions, token_hash
from api.errors import UnavailableError
from domain.access import Access
from domain.recorder import Pool
from service import settings
from service.web.application import make_parts
from tests.support.examples import JWT_SECRET
from tests.support.published import Platform, Private, jwk, platform
from tests.support.waiting import wait_for

PATH = "/api/v1/dashboard/campaign-analytics/"
BAD_SESSION = {"error": "Invalid session"}
NOW = int(time.time())
CLAIMS = {"sub": "u-1", "exp": NOW + 3_600}
RSA = rsa.generate_private_key(65537, 2048)
OTHER_RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED25519 = ed25519.Ed25519PrivateKey.generate()
PRIVATE: dict[str, Private] = {"RS256": RSA, "ES256": EC, "EdDSA": ED25519}
OCT = {"kty": "oct", "kid": "o", "alg": "HS256", "k": base64.urlsafe_b64encode(JWT_SECRET.encode()).decode()}


def pem(private: Private) -> str:
    """Return the public half of a key as it is configured."""
    return private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def asking(pool: Pool, **environment: str) -> testing.TestClient:
    """Return the application with these settings."""
    return testing.TestClient(create_app(make_parts(pool, settings.from_environment(environment), {})))


def ask(client: testing.TestClient, token: str) -> tuple[int, Any]:
    """Ask for the dashboard with a token, and return status and body."""
    answer = client.simulate_get(PATH, headers={"Cookie": f"sessionid={token}"}, query_string="workspace_id=ALL")
    return answer.status_code, answer.json


def token(private: Any, algorithm: str, claims: dict[str, Any] = CLAIMS, **header: Any) -> str:
    """Return a signed token."""
    return jwt.encode(claims, private, algorithm=algorithm, headers=header)


def forged(header: dict[str, Any], key: bytes, claims: dict[str, Any] = CLAIMS) -> str:
    """Return a token of anything, signed by HMAC with any bytes as the key; PyJWT refuses to make such ones."""
    parts = [json.dumps(part).encode() for part in (header, claims)]
    signed = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    signature = base64.urlsafe_b64encode(hmac.new(key, signed, hashlib.sha256).digest()).rstrip(b"=")
    return (signed + b"." + signature).decode()


@pytest.mark.parametrize("algorithm", PRIVATE)
def test_a_session_of_each_kind_of_key_holds(pool: Pool, tmp_path: Path, algorithm: str) -> None:
    """The key is given as PEM or as a file; its kind decides the algorithm, and naming that changes nothing."""
    private = PRIVATE[algorithm]
    file = tmp_path / "key.pem"
    file.write_text(pem(private))
    for variables in (
        {"JWT_PUBLIC_KEY": pem(private)},
        {"JWT_PUBLIC_KEY": f"@{file}", "JWT_ALGORITHM": algorithm},
    ):
        client = asking(pool, **variables)
        assert ask(client, token(private, algorithm)) == (200, {"campaigns": []})
        assert ask(client, token(private, algorithm, kid="any")) == (200, {"campaigns": []})


@pytest.mark.parametrize("algorithm", PRIVATE)
def test_no_other_algorithm_holds_than_the_keys(pool: Pool, algorithm: str) -> None:
    """Not `none`, not an HMAC with the public key as its secret, not the right key by another algorithm."""
    client = asking(pool, JWT_PUBLIC_KEY=pem(PRIVATE[algorithm]))
    public = pem(PRIVATE[algorithm]).encode()
    bad = [
        forged({"alg": "HS256"}, public),
        forged({"alg": "HS256"}, public.strip()),
        forged({"alg": algorithm}, public),
        forged({"alg": "none"}, b""),
        jwt.encode(CLAIMS, JWT_SECRET, algorithm="HS256"),
        *[token(private, name) for name, private in PRIVATE.items() if name != algorithm],
        token(RSA, "RS512"),
        token(RSA, "PS256"),
        token(OTHER_RSA, "RS256"),
    ]
    assert [ask(client, each) for each in bad] == [(401, BAD_SESSION)] * len(bad)


KIDS = ["../../../dev/null", "/dev/null", "' OR 1=1 --", "", "http://127.0.0.1/x", "\0", "x" * 5_000]


@pytest.mark.parametrize(
    "header",
    [
        *[{"kid": kid} for kid in KIDS],
        {"jku": "http://127.0.0.1:1/jwks"},
        {"x5u": "http://127.0.0.1:1/x"},
        {"jwk": jwk(OTHER_RSA)},
    ],
)
def test_key_fields_in_the_head_of_a_token_are_ignored(pool: Pool, header: dict[str, Any]) -> None:
    """Neither an empty file as the secret, nor a key that the token brings along or points to."""
    client = asking(pool, JWT_SECRET=JWT_SECRET)
    assert ask(client, forged({"alg": "HS256", **header}, b"")) == (401, BAD_SESSION)
    client = asking(pool, JWT_PUBLIC_KEY=pem(RSA))
    assert ask(client, token(OTHER_RSA, "RS256", **header)) == (401, BAD_SESSION)


@pytest.mark.parametrize("header", [{"crit": ["x"], "x": 1}, {"b64": False, "crit": ["b64"]}, {"kid": 5}])
def test_a_header_that_cannot_be_understood_is_no_session(pool: Pool, header: dict[str, Any]) -> None:
    """RFC 7515, section 4.1.11: what is critical and not understood makes the token invalid."""
    client = asking(pool, JWT_SECRET=JWT_SECRET)
    assert ask(client, forged({"alg": "HS256", **header}, JWT_SECRET.encode())) == (401, BAD_SESSION)


@pytest.mark.parametrize(
    ("claims", "status"),
    [
        ({"iss": "platform", "aud": "analytics"}, 200),
        ({"iss": "platform", "aud": ["x", "analytics"]}, 200),
        ({"iss": "other", "aud": "analytics"}, 401),
        ({"iss": "platform", "aud": "other"}, 401),
        ({"iss": ["platform"], "aud": "analytics"}, 401),
        ({"iss": "platform", "aud": []}, 401),
        ({"iss": "platform"}, 401),
        ({"aud": "analytics"}, 401),
    ],
)
def test_issuer_and_audience_count_where_they_are_configured(pool: Pool, claims: dict[str, Any], status: int) -> None:
    """A token of another issuer or for another audience is refused."""
    client = asking(pool, JWT_SECRET=JWT_SECRET, JWT_ISSUER="platform", JWT_AUDIENCE="analytics")
    assert ask(client, forged({"alg": "HS256"}, JWT_SECRET.encode(), {**CLAIMS, **claims}))[0] == status


@pytest.mark.parametrize(
    ("claim", "seconds", "status"),
    [("exp", -30, 200), ("exp", -90, 401), ("nbf", 30, 200), ("nbf", 90, 401)],
)
def test_the_leeway_is_as_configured(pool: Pool, claim: str, seconds: int, status: int) -> None:
    """Clocks of two machines differ; by how much, the operator knows."""
    client = asking(pool, JWT_SECRET=JWT_SECRET, JWT_LEEWAY="60")
    claims = {**CLAIMS, claim: int(time.time()) + seconds}
    assert ask(client, jwt.encode(claims, JWT_SECRET, algorithm="HS256"))[0] == status


@pytest.fixture
def published() -> Iterator[Platform]:
    """Give a platform that publishes its keys."""
    with platform() as running:
        yield running


class Time:
    """A clock that a test moves."""

    def __init__(self) -> None:
        """Begin anywhere."""
        self.now = 1_000.0

    def __call__(self) -> float:
        """Return the seconds."""
        return self.now


@pytest.mark.parametrize("algorithm", PRIVATE)
def test_a_published_key_counts(pool: Pool, published: Platform, algorithm: str) -> None:
    """Through the real application: by its id among several, or alone without one."""
    private = PRIVATE[algorithm]
    published.publish(jwk(private, kid="a"))
    client = asking(pool, JWT_JWKS_URL=published.url)
    assert ask(client, token(private, algorithm)) == (200, {"campaigns": []})
    assert ask(client, token(private, algorithm, kid="a")) == (200, {"campaigns": []})
    assert ask(client, token(private, algorithm, kid="b")) == (401, BAD_SESSION)
    assert published.fetches == 1


def test_several_keys_count_at_once_so_that_they_can_be_rotated(pool: Pool, published: Platform) -> None:
    """Each for tokens that name it and for no others; without a name none of several is meant."""
    published.publish(jwk(RSA, kid="old"), jwk(OTHER_RSA, kid="new", use="sig", alg="RS256"), jwk(EC, kid="e"))
    client = asking(pool, JWT_JWKS_URL=published.url)
    good = [token(RSA, "RS256", kid="old"), token(OTHER_RSA, "RS256", kid="new"), token(EC, "ES256", kid="e")]
    bad = [token(RSA, "RS256", kid="new"), token(RSA, "RS256"), token(RSA, "RS256", kid="e")]
    assert [ask(client, each)[0] for each in good + bad] == [200] * 3 + [401] * 3


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
def test_keys_that_are_not_for_checking_signatures_are_ignored(pool: Pool, published: Platform) -> None:
    """A published secret is none; weak keys, other curves, other uses and other algorithms don't count either."""
    weak = rsa.generate_private_key(65537, 1024)
    p384 = ec.generate_private_key(ec.SECP384R1())
    ed_448 = ed448.Ed448PrivateKey.generate()
    published_448 = {
        "kty": "OKP",
        "crv": "Ed448",
        "x": base64.urlsafe_b64encode(ed_448.public_key().public_bytes_raw()).decode().rstrip("="),
    }
    published.publish(
        OCT,
        jwk(weak, kid="weak"),
        jwk(p384, kid="p384"),
        {**published_448, "kid": "448"},
        jwk(RSA, kid="enc", use="enc"),
        jwk(RSA, kid="512", alg="RS512"),
        {"kty": "nonsense", "kid": "n"},
        jwk(ED25519, kid="good"),
    )
    client = asking(pool, JWT_JWKS_URL=published.url)
    bad = [
        jwt.encode(CLAIMS, JWT_SECRET, algorithm="HS256", headers={"kid": "o"}),
        token(weak, "RS256", kid="weak"),
        token(p384, "ES384", kid="p384"),
        token(ed_448, "EdDSA", kid="448"),
        token(RSA, "RS256", kid="enc"),
        token(RSA, "RS512", kid="512"),
        token(RSA, "RS256", kid="512"),
    ]
    assert ask(client, token(ED25519, "EdDSA", kid="good"))[0] == 200
    assert [ask(client, each) for each in bad] == [(401, BAD_SESSION)] * len(bad)


def test_only_the_named_algorithm_counts_where_one_is_named(pool: Pool, published: Platform) -> None:
    """Keys for others are ignored."""
    published.publish(jwk(RSA, kid="r"), jwk(EC, kid="e"))
    client = asking(pool, JWT_JWKS_URL=published.url, JWT_ALGORITHM="ES256")
    assert ask(client, token(EC, "ES256", kid="e"))[0] == 200
    assert ask(client, token(RSA, "RS256", kid="r"))[0] == 401


NONSENSE = [
    (500, b""),
    (404, b"{}"),
    (200, b"not json"),
    (200, b"[]"),
    (200, b"{}"),
    (200, b'{"keys": 5}'),
    (200, b'{"keys": [5, null, {}]}'),
    (200, b'{"keys": [{"kty": "RSA"}, {"kty": "EC", "crv": []}, {"kty": "RSA", "alg": []}]}'),
    (200, b"[" * 100_000),
    (200, b"\xff"),
    (200, json.dumps({"keys": [OCT]}).encode()),
]


@pytest.mark.parametrize(("status", "body"), NONSENSE)
def test_without_keys_a_session_is_a_503(pool: Pool, published: Platform, status: int, body: bytes) -> None:
    """Whatever the platform answers: no session is accepted or ended by it, requests may be retried, and keys go on."""
    published.status, published.body = status, body
    client = asking(pool, JWT_JWKS_URL=published.url)
    for _ in range(3):
        answer = client.simulate_get(PATH, headers={"Cookie": f"sessionid={token(RSA, 'RS256', kid='a')}"})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert published.fetches == 1, "a failure counts too"


def test_a_redirect_is_not_followed(pool: Pool, published: Platform) -> None:
    """Keys are taken from the configured address and no other, though those behind it were good."""
    with platform() as elsewhere:
        elsewhere.publish(jwk(RSA, kid="a"))
        published.status, published.location = 302, elsewhere.url
        client = asking(pool, JWT_JWKS_URL=published.url)
        assert ask(client, token(RSA, "RS256", kid="a"))[0] == 503
        assert (published.fetches, elsewhere.fetches) == (1, 0)


def test_a_platform_that_cannot_be_reached_is_a_503(pool: Pool, published: Platform) -> None:
    """Nobody listens there."""
    client = asking(pool, JWT_JWKS_URL="http://127.0.0.1:1/jwks")
    assert ask(client, token(RSA, "RS256", kid="a"))[0] == 503
    assert published.fetches == 0


def test_keys_are_fetched_at_most_once_in_ten_seconds(published: Platform) -> None:
    """However many unknown keys are named; after that a new key is found by the first who names it."""
    clock = Time()
    keys = PublishedKeys(published.url, clock=clock)
    published.publish(jwk(RSA, kid="a"))
    assert keys.find("a") is not None
    published.publish(jwk(RSA, kid="a"), jwk(EC, kid="b"))
    clock.now += published_keys.PAUSE_SECONDS - 0.1
    assert [keys.find(each) for each in ("b", "c", "d")] == [None] * 3
    assert published.fetches == 1
    clock.now += 0.2
    assert keys.find("b") is not None
    assert published.fetches == 2


def test_while_one_request_fetches_the_others_do_not_wait(published: Platform) -> None:
    """Known keys count on; who needs the keys that are just coming is asked to come again."""
    clock = Time()
    keys = PublishedKeys(published.url, clock=clock)
    published.publish(jwk(RSA, kid="a"))
    known = keys.find("a")
    clock.now += published_keys.FRESH_SECONDS + 1
    published.answers.clear()
    published.publish(jwk(RSA, kid="a"), jwk(EC, kid="b"))
    with ThreadPoolExecutor(9) as executor:
        first = executor.submit(keys.find, "a")
        wait_for(lambda: published.fetches == 2)
        assert list(executor.map(keys.find, ["a"] * 50)) == [known] * 50
        with pytest.raises(UnavailableError):
            keys.find("b")
        assert not first.done()
        published.answers.set()
        assert first.result() is known
    wait_for(lambda: can_be_found(keys, "b"))
    assert published.fetches == 2


def test_nobody_hangs_on_a_platform_that_does_not_answer(monkeypatch: pytest.MonkeyPatch, published: Platform) -> None:
    """The one who needs the fetch waits for its time-out, and then is asked to come again."""
    monkeypatch.setattr(published_keys, "FETCH_SECONDS", 0.05)
    keys = PublishedKeys(published.url, clock=Time())
    published.answers.clear()
    started = time.monotonic()
    with pytest.raises(UnavailableError):
        keys.find("a")
    assert time.monotonic() - started < 2


def test_known_keys_count_for_a_day_while_the_platform_is_away(published: Platform) -> None:
    """After that sessions get 503, not 401; once the platform is back they are accepted."""
    clock = Time()
    keys = PublishedKeys(published.url, clock=clock)
    published.publish(jwk(RSA, kid="a"))
    known = keys.find("a")
    published.status = 500
    for hours in (1, 12, 10.9):
        clock.now += hours * 3_600
        assert keys.find("a") is known
        wait_for(lambda: can_be_found(keys, "b") is False)
    clock.now += 600
    with pytest.raises(UnavailableError):
        keys.find("a")
    published.status = 200
    clock.now += 11
    wait_for(lambda: can_be_found(keys, "a"))
    assert keys.find("a") is known


def test_a_session_ends_when_its_key_is_withdrawn(users: Access, pool: Pool, published: Platform) -> None:
    """Though its token had been verified before."""
    users.link("u-1", 340, "cli:test")
    clock = Time()
    chosen = settings.from_environment({"JWT_JWKS_URL": published.url})
    assert chosen.sessions is not None
    chosen.sessions.keys = PublishedKeys(published.url, clock=clock)
    client = testing.TestClient(create_app(make_parts(pool, chosen, {})))
    published.publish(jwk(RSA, kid="a"), jwk(EC, kid="b"))
    withdrawn, remaining = token(RSA, "RS256", kid="a"), token(EC, "ES256", kid="b")
    assert [ask(client, each)[0] for each in (withdrawn, remaining)] == [200, 200]
    published.publish(jwk(EC, kid="b"))
    clock.now += published_keys.FRESH_SECONDS + 1
    assert ask(client, withdrawn) == (401, BAD_SESSION), "the first request asks anew, and waits for the answer"
    assert ask(client, remaining)[0] == 200


def test_a_session_whose_key_was_withdrawn_is_left_to_a_thread(published: Platform) -> None:
    """There it may wait for the platform's keys; on the event loop all other requests would wait with it."""
    clock, now = Time(), NOW * 1_000
    keys = PublishedKeys(published.url, clock=clock)
    sessions = Sessions(keys)
    published.publish(jwk(RSA, kid="a"), jwk(EC, kid="b"))
    withdrawn, remaining = token(RSA, "RS256", kid="a"), token(EC, "ES256", kid="b")
    assert [sessions.user(each, now) for each in (withdrawn, remaining)] == ["u-1", "u-1"]
    assert not sessions.may_wait(withdrawn, now)
    published.publish(jwk(EC, kid="b"))
    clock.now += published_keys.FRESH_SECONDS + 1
    assert sessions.may_wait(remaining, now), "its key is not fresh any more"
    assert sessions.user(remaining, now) == "u-1"
    clock.now += published_keys.PAUSE_SECONDS
    assert (sessions.may_wait(withdrawn, now), sessions.may_wait(remaining, now)) == (True, False)
    assert not sessions.holds(token_hash(withdrawn), now)
    assert published.fetches == 2, "nothing was fetched"


def can_be_found(keys: PublishedKeys, key_id: str) -> bool:
    """Return whether a key counts now; not while the keys are being fetched."""
    try:
        return keys.find(key_id) is not None
    except UnavailableError:
        return False
