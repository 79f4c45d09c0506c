"""Shows which credentials are valid, the answers to all others, and that every error has one form."""

import base64
import json
import re
import time
from typing import Any

import falcon
import jwt
import pytest
from falcon import testing

from api.app import create_app
from domain.access import Access
from domain.recorder import Pool
from service import settings
from service.web.application import make_parts
from tests.support.examples import JWT_SECRET, api_key, lacking, session
from tests.support.waiting import wait_for

PATH = "/api/v1/dashboard/campaign-analytics/"
POSTS = "/api/v1/events/"
NOBODY = b'{"error": "Authentication required"}'
BAD_KEY = b'{"error": "Invalid API key"}'
BAD_SESSION = b'{"error": "Invalid session"}'
EXPIRED = b'{"error": "Session expired"}'
DENIED = b'{"error": "Access denied"}'
NOW = int(time.time())
LATER = NOW + 3_600


def get(client: testing.TestClient, headers: dict[str, str], query: str = "workspace_id=ALL") -> tuple[int, bytes]:
    """Ask for the dashboard, and return status and body."""
    result = client.simulate_get(PATH, headers=headers, query_string=query)
    return result.status_code, result.content


def cookie(token: str) -> dict[str, str]:
    """Return the header with a token as the session's cookie."""
    return {"Cookie": f"sessionid={token}"}


def signed(claims: dict[str, Any], secret: str = JWT_SECRET, algorithm: str = "HS256") -> dict[str, str]:
    """Return the header with a token of these claims alone."""
    return cookie(jwt.encode(claims, secret, algorithm=algorithm))


def test_a_session_that_was_good_a_moment_ago_expires_all_the_same(client: testing.TestClient) -> None:
    """What a process remembers of a token ends with it."""
    short = signed({"sub": "u-1", "exp": int(time.time()) - 8})  # with the leeway of ten seconds, it holds for two
    assert get(client, short) == (200, b'{"campaigns":[]}')
    assert get(client, short) == (200, b'{"campaigns":[]}')
    wait_for(lambda: get(client, short) == (401, EXPIRED))


def unsigned(header: Any, claims: Any) -> dict[str, str]:
    """Return the header with an unsigned token."""
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in (header, claims)]
    return cookie(".".join([*parts, ""]))


GOOD = {"sub": "u-1", "exp": LATER}
BAD_CLAIMS: dict[str, list[Any]] = {
    "exp": [None, "x", str(LATER), [], {}, float("inf"), float("nan")],
    "nbf": [LATER, "x", str(NOW), True, []],
    "iat": [LATER, "x", str(NOW), True, []],
    "sub": ["", "a\0", "a\n", "\ud800"],
}
NONE = {"alg": "none", "typ": "JWT"}
HEADERS: list[tuple[dict[str, str], bytes]] = [
    ({}, NOBODY),
    ({"Cookie": "other=1"}, NOBODY),
    ({"Authorization": "Bearer x"}, NOBODY),
    *[
        ({"X-API-Key": bad}, BAD_KEY)
        for bad in ("", ".", "x", "ca_0.", ".x", "ca_0.x", "ä.x", "ca 0.x", "x" * 65 + ".x")
    ],
    *[(cookie(bad), BAD_SESSION) for bad in ("", "x", "a.b.c", "..", "é.é.é", "[" * 100)],
    (unsigned(NONE, GOOD), BAD_SESSION),
    (unsigned({"alg": "HS256"}, GOOD), BAD_SESSION),
    (unsigned({"alg": ["none"]}, GOOD), BAD_SESSION),
    (unsigned([], []), BAD_SESSION),
    (signed(GOOD, "another secret that is long enough to be one"), BAD_SESSION),
    (signed(GOOD, JWT_SECRET * 2, "HS512"), BAD_SESSION),
    (signed({"sub": "u-1"}), BAD_SESSION),
    (signed({"exp": LATER}), BAD_SESSION),
    *[(signed({**GOOD, claim: bad}), BAD_SESSION) for claim, values in BAD_CLAIMS.items() for bad in values],
    (signed({**GOOD, "exp": NOW - 60}), EXPIRED),
    (signed({**GOOD, "exp": 0}), EXPIRED),
    (signed({"sub": "u-1", "exp": NOW - 60}, "another secret that is long enough to be one"), BAD_SESSION),
    (signed({"exp": NOW - 60}), BAD_SESSION),
]


@pytest.mark.parametrize(("headers", "body"), HEADERS)
def test_an_unauthenticated_request_gets_the_reason(
    client: testing.TestClient, users: Access, headers: dict[str, str], body: bytes
) -> None:
    """Nothing at all, a bad key, a bad session and an expired one differ; on every endpoint, and before all else."""
    users.link("u-1", 340, "cli:test")
    for query in ("workspace_id=340", "workspace_id=x", "workspace_id=777", "x=1"):
        assert get(client, headers, query) == (401, body)
        posted = client.simulate_post(POSTS, headers=headers, query_string=query, body=b"x")
        assert (posted.status_code, posted.content) == (401, body)


@pytest.mark.parametrize("subject", [5, None, ["u-1"], True])
def test_a_subject_that_is_no_string_is_no_session(client: testing.TestClient, users: Access, subject: object) -> None:
    """A user's id is a string, and none is made of anything else."""
    users.link(str(subject), 340, "cli:test")
    payload = json.dumps({"sub": subject, "exp": LATER}).encode()
    token = jwt.api_jws.encode(payload, JWT_SECRET, algorithm="HS256")
    assert get(client, cookie(token)) == (401, BAD_SESSION)


def test_a_session_that_holds_is_let_in(client: testing.TestClient, users: Access) -> None:
    """Issuer and audience mean nothing where none is configured, and ten seconds are forgiven."""
    users.link("u-1", 340, "cli:test")
    for claims in ({}, {"iss": "x", "aud": ["y"], "iat": NOW, "nbf": NOW}, {"exp": int(time.time()) - 5}):
        assert get(client, session("u-1", **claims))[0] == 200


def test_two_sessionid_cookies_are_invalid(client: testing.TestClient, users: Access) -> None:
    """Whoever could plant a second cookie must not choose which one counts."""
    users.link("u-1", 340, "cli:test")
    good = session("u-1")["Cookie"]
    assert get(client, {"Cookie": f"a=1; {good}; b=2"})[0] == 200
    for twice in (f"{good}; {good}", f"{good}; sessionid=x", f"sessionid=; {good}"):
        assert get(client, {"Cookie": twice}) == (401, BAD_SESSION)


def test_the_key_counts_where_a_request_has_key_and_session(client: testing.TestClient, users: Access) -> None:
    """A good key stands over a bad cookie, and a bad or an empty key is refused beside a good cookie."""
    key, good = api_key(users, 340), session("u-1")
    assert get(client, {**key, **cookie("x")})[0] == 200
    for bad in ("", "ca_0.x", key["X-API-Key"] + "x", key["X-API-Key"][:-1], key["X-API-Key"].upper()):
        assert get(client, {**good, "X-API-Key": bad}) == (401, BAD_KEY)
    for other in ("u-2", "u-3"):
        users.link(other, 777, "cli:test")
        assert get(client, {**key, **session(other)}, "workspace_id=777") == (403, DENIED)


def test_a_revoked_key_is_refused_at_once(client: testing.TestClient, users: Access) -> None:
    """The very next request is refused; the user's other key goes on."""
    key, other = api_key(users, 340), api_key(users)
    assert get(client, key)[0] == 200
    users.revoke_key("u-1", key["X-API-Key"].partition(".")[0], "cli:test")
    assert get(client, key) == (401, BAD_KEY)
    assert get(client, other)[0] == 200


def test_a_key_ends_when_it_expires(client: testing.TestClient, users: Access) -> None:
    """One that has expired is like one that never was."""
    users.link("u-1", 340, "cli:test")
    for expires_at, status in ((NOW * 1_000, 401), (LATER * 1_000, 200)):
        issued = users.issue_key("u-1", scopes=["read"], name="", expires_at=expires_at, by="cli:test")
        answer = get(client, {"X-API-Key": issued.key})
        assert answer[0] == status
        assert status == 200 or answer[1] == BAD_KEY


@pytest.mark.parametrize("as_session", [False, True])
def test_linking_works_from_the_next_request(client: testing.TestClient, users: Access, as_session: bool) -> None:  # noqa: FBT001
    """First link, select and unlink change what is seen at once; without a current workspace one must be named."""
    headers = session("u-1") if as_session else api_key(users)
    assert get(client, headers, "") == (403, DENIED)
    assert get(client, headers) == (200, b'{"campaigns":[]}')
    users.link("u-1", 340, "cli:test")
    users.link("u-1", 341, "cli:test")
    assert get(client, headers, "workspace_id=341")[0] == 200
    assert get(client, headers, "")[0] == 200
    users.unlink("u-1", 340, "cli:test")
    assert get(client, headers, "") == (403, DENIED)
    assert get(client, headers, "workspace_id=340") == (403, DENIED)
    assert get(client, headers, "workspace_id=341")[0] == 200
    users.select("u-1", 341, "cli:test")
    assert get(client, headers, "")[0] == 200


def test_a_foreign_and_an_absent_workspace_look_the_same(client: testing.TestClient, users: Access) -> None:
    """Nobody learns which workspaces there are: same status, same bytes, same headers."""
    key = api_key(users, 340)
    users.link("u-2", 777, "cli:test")
    seen = []
    for workspace in (777, 778, 2**63 - 1):
        result = client.simulate_get(PATH, headers=key, query_string=f"workspace_id={workspace}&min_position=5")
        same = {name: value for name, value in result.headers.items() if name != "x-request-id"}
        seen.append((result.status_code, result.content, same))
    assert seen == [(403, DENIED, seen[0][2])] * 3


@pytest.mark.parametrize("scopes", [("write",), ("admin",), ("write", "admin")])
def test_a_key_without_the_scope_reads_nothing(
    client: testing.TestClient, users: Access, scopes: tuple[str, ...]
) -> None:
    """`admin` reads no workspace's data by itself, and `write` does not either."""
    key = api_key(users, 340, scopes=scopes)
    for query in ("", "workspace_id=340", "workspace_id=ALL"):
        assert get(client, key, query) == (403, json.dumps(lacking("read")).encode())


@pytest.mark.parametrize("request_id", ["a", "A-Za.z_9", "x" * 128])
def test_a_valid_request_id_is_returned(client: testing.TestClient, request_id: str) -> None:
    """What the caller sent comes back, on answers and errors alike."""
    for path in ("/healthz", PATH, "/nowhere"):
        assert client.simulate_get(path, headers={"X-Request-ID": request_id}).headers["x-request-id"] == request_id


@pytest.mark.parametrize("request_id", [None, "", "x" * 129, "a b", "é", "a,b", "a/b", "<"])
def test_a_request_id_is_made_where_none_fits(client: testing.TestClient, request_id: str | None) -> None:
    """A missing or a strange one is replaced, by another each time."""
    headers = {} if request_id is None else {"X-Request-ID": request_id}
    made = [client.simulate_get(path, headers=headers).headers["x-request-id"] for path in ("/healthz", PATH, "/no")]
    assert len(set(made)) == 3
    assert all(re.fullmatch(r"[0-9a-f]{32}", each) for each in made)


@pytest.mark.parametrize(
    ("method", "path", "status", "error"),
    [
        ("GET", "/nowhere", 404, "Not Found"),
        ("GET", "/api/v1/nowhere/", 404, "Not Found"),
        ("GET", PATH + "123/", 404, "Not Found"),
        ("POST", PATH, 405, "Method Not Allowed"),
        ("DELETE", PATH, 405, "Method Not Allowed"),
        ("DELETE", POSTS, 405, "Method Not Allowed"),
        ("POST", "/healthz", 405, "Method Not Allowed"),
    ],
)
def test_the_frameworks_own_errors_have_our_form(
    client: testing.TestClient, method: str, path: str, status: int, error: str
) -> None:
    """A wrong path or method is answered in JSON too, with an id, and a 405 has the methods that are allowed."""
    result = client.simulate_request(method, path)
    assert (result.status_code, result.json) == (status, {"error": error})
    assert result.headers["content-type"] == "application/json"
    assert result.headers["x-request-id"]
    assert ("allow" in result.headers) is (status == 405)


def test_an_internal_error_has_only_its_request_id(pool: Pool, caplog: pytest.LogCaptureFixture) -> None:
    """A fault of ours is a 500 with the request's id; what happened stands in the log under that id."""
    chosen = settings.from_environment({"JWT_SECRET": JWT_SECRET})
    app = create_app(make_parts(pool, chosen, {}))

    class Faulty:
        async def on_get(self, _: falcon.Request, __: falcon.Response) -> None:
            raise RuntimeError("postgresql://user:password@host")

    app.add_route("/faulty", Faulty())
    result = testing.TestClient(app).simulate_get("/faulty", headers={"X-Request-ID": "r-1"})
    assert (result.status_code, result.json) == (500, {"error": "Internal error", "request_id": "r-1"})
    assert [getattr(each, "request_id", None) for each in caplog.records] == ["r-1"]


def test_a_database_that_is_away_is_a_503(pool: Pool) -> None:
    """The caller is asked to come again, and learns nothing of the database."""
    chosen = settings.from_environment({"JWT_SECRET": JWT_SECRET})
    client = testing.TestClient(create_app(make_parts(pool, chosen, {})))
    pool.close()
    result = client.simulate_get(PATH, headers=session("u-1"))
    assert (result.status_code, result.headers["retry-after"]) == (503, "1")
    assert result.json == {"error": "The database does not answer, please try again"}
