"""Shows what the outside may try and what it gets, row by row: every status of the interface, and every attack."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import psycopg
import pytest
from falcon import testing
from psycopg_pool import ConnectionPool

from api.app import create_app
from domain import ledger
from domain.access import Access
from domain.recorder import Pool
from projections import access
from projections.pipeline import Pipeline
from projections.statements import Statement
from service import database, settings
from service.web.application import make_parts
from tests.support.databases import Databases
from tests.support.examples import JWT_SECRET, api_key, email_sent, lacking, parsed, session
from tests.support.read_models import project_all

DASHBOARD = "/api/v1/dashboard/campaign-analytics/"
EVENTS = "/api/v1/events/"
USERS = "/api/v1/access/users/u-1"
JSON = {"Content-Type": "application/json"}
NOW = int(time.time())
EVENT = json.dumps(email_sent()).encode()
CLAIMS: dict[str, Any] = {"sub": "u-1", "exp": NOW + 3_600, "iss": "platform", "aud": "analytics"}

NOBODY = {"error": "Authentication required"}
BAD_KEY = {"error": "Invalid API key"}
BAD_SESSION = {"error": "Invalid session"}
EXPIRED = {"error": "Session expired"}
DENIED = {"error": "Access denied"}


@dataclass(frozen=True)
class World:
    """Workspace 340 with one event; u-1 is linked to it and to 341, u-2 to 777."""

    client: testing.TestClient
    keys: dict[str, dict[str, str]]

    def __getattr__(self, name: str) -> dict[str, str]:
        """Return the header of one of the keys."""
        return self.keys[name]


@pytest.fixture(scope="module")
def world(databases: Databases) -> Iterator[World]:
    """Give a world that no row of the tables changes."""
    with databases.lend() as url, database.open_pool(url, size=4) as pool:
        users = Access(pool, access.project, lambda: NOW * 1_000)
        for user, workspace in (("u-1", 340), ("u-1", 341), ("u-2", 777)):
            users.link(user, workspace, "cli:test")
        with pool.connection() as connection:
            for workspace in (340, 777):
                ledger.record(connection, workspace, parsed(email_sent()))
        project_all(pool)
        expired = users.issue_key("u-1", scopes=["read", "write"], name="", expires_at=NOW * 1_000, by="cli:test")
        revoked = users.issue_key("u-1", scopes=["read", "write"], name="", expires_at=None, by="cli:test")
        users.revoke_key("u-1", revoked.about.prefix, "cli:test")
        keys = {
            "reader": api_key(users, scopes=("read",)),
            "writer": api_key(users, scopes=("write",)),
            "both": api_key(users),
            "admin": api_key(users, user="platform", scopes=("admin",)),
            "unlinked": api_key(users, user="nobody"),
            "expired": {"X-API-Key": expired.key},
            "revoked": {"X-API-Key": revoked.key},
        }
        chosen = settings.from_environment(
            {"JWT_SECRET": JWT_SECRET, "JWT_ISSUER": "platform", "JWT_AUDIENCE": "analytics"}
        )
        yield World(testing.TestClient(create_app(make_parts(pool, chosen, {}))), keys)


def token(header: object = None, claims: object = None, secret: str = JWT_SECRET, **changed: object) -> str:
    """Return a token of any header and claims, signed by HMAC-SHA256; a claim changed to None is left out."""
    if claims is None:
        claims = {name: value for name, value in {**CLAIMS, **changed}.items() if value is not None}
    parts = [json.dumps(part).encode() for part in ({"alg": "HS256"} if header is None else header, claims)]
    signed = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    signature = hmac.new(secret.encode(), signed, hashlib.sha256).digest()
    return (signed + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()


def nested(depth: int) -> str:
    """Return a token whose header is a list in a list in a list."""
    return ".".join([base64.urlsafe_b64encode(b"[" * depth + b"]" * depth).decode().rstrip("="), "e30", "e30"])


def cookie(*tokens: str) -> dict[str, str]:
    """Return the header with the session's cookie, or with several."""
    return {"Cookie": "; ".join(f"sessionid={each}" for each in tokens)}


GOOD = cookie(token())
ACCEPTED = {"workspace_id": 340, "accepted": 0, "duplicates": 1, "rejected": [], "position": 1}
Headers = dict[str, str] | Callable[[World], dict[str, str]]


class Try(NamedTuple):
    """An attempt and its answer; an answer that is a string is the field that a 400 names."""

    what: str
    method: str
    path: str
    headers: Headers
    query: str
    body: bytes
    status: int
    answer: object


def get(  # noqa: PLR0913 (a row of a table)
    what: str, headers: Headers, query: str, status: int, answer: object = None, path: str = DASHBOARD
) -> Try:
    """Return an attempt to read."""
    return Try(what, "GET", path, headers, query, b"", status, answer)


def post(  # noqa: PLR0913 (a row of a table)
    what: str, headers: Headers, query: str, status: int, answer: object = None, body: bytes = EVENT
) -> Try:
    """Return an attempt to write."""

    def typed(world: World) -> dict[str, str]:
        own_headers = headers(world) if callable(headers) else headers
        return {**JSON, **own_headers}

    return Try(what, "POST", EVENTS, typed, query, body, status, answer)


STATUSES = [
    get("a reading key", lambda w: w.reader, "workspace_id=340", 200),
    get("a session", GOOD, "workspace_id=340", 200),
    get("the current workspace", GOOD, "", 200),
    get("all linked workspaces", GOOD, "workspace_id=ALL", 200),
    get("all of none", lambda w: w.unlinked, "workspace_id=ALL", 200, {"campaigns": []}),
    post("a writing key", lambda w: w.writer, "workspace_id=340", 200, ACCEPTED),
    post("no events", lambda w: w.writer, "workspace_id=340", 200, {**ACCEPTED, "duplicates": 0}, b'{"events": []}'),
    post("some rejected", lambda w: w.writer, "workspace_id=340", 207, None, b'{"events": [' + EVENT + b", {}]}"),
    post("all rejected", lambda w: w.writer, "workspace_id=340", 422, None, b"{}"),
    get("an unknown parameter", GOOD, "workspace=340", 400, "workspace"),
    get("two workspaces", GOOD, "workspace_id=340&workspace_id=341", 400, "workspace_id"),
    get("the same one twice", GOOD, "workspace_id=340&workspace_id=340", 400, "workspace_id"),
    get("no number of a workspace", GOOD, "workspace_id=", 400, "workspace_id"),
    *[
        get(f"junk: {junk}", who, f"workspace_id={junk}", 400, "workspace_id")
        for who in (GOOD, lambda w: w.reader)
        for junk in ("0", "-1", "1e3", "%20340", "340%20", "%D9%A3%D9%A4%D9%A0", str(2**63), "0340", "all", "0x154")
    ],
    *[
        post(f"junk: {junk}", lambda w: w.writer, f"workspace_id={junk}", 400, "workspace_id")
        for junk in ("0", "-1", "1e3", "%20340", "%D9%A3%D9%A4%D9%A0", str(2**63))
    ],
    post("a write to all", lambda w: w.writer, "workspace_id=ALL", 400, "workspace_id"),
    post("no JSON", lambda w: w.writer, "workspace_id=340", 400, "body", b"{"),
    get("no credentials", {}, "workspace_id=340", 401, NOBODY),
    get("a foreign workspace", GOOD, "workspace_id=777", 403, DENIED),
    get("an absent workspace", GOOD, "workspace_id=778", 403, DENIED),
    get("no current workspace", lambda w: w.unlinked, "", 403, DENIED),
    get("no scope to read", lambda w: w.writer, "workspace_id=340", 403, lacking("read")),
    get("no scope to read all", lambda w: w.writer, "workspace_id=ALL", 403, lacking("read")),
    get("admin reads nothing", lambda w: w.admin, "workspace_id=ALL", 403, lacking("read")),
    post("no scope to write", lambda w: w.reader, "workspace_id=340", 403, lacking("write")),
    post("a session never writes", GOOD, "workspace_id=340", 403, DENIED),
    post("a foreign workspace", lambda w: w.writer, "workspace_id=777", 403, DENIED),
    post("an absent workspace", lambda w: w.writer, "workspace_id=778", 403, DENIED),
    get("another path", GOOD, "", 404, {"error": "Not Found"}, "/api/v1/nothing/"),
    Try("another method", "DELETE", DASHBOARD, GOOD, "", b"", 405, {"error": "Method Not Allowed"}),
    Try("not linked", "PUT", f"{USERS}/current-workspace", lambda w: {**JSON, **w.admin}, "", b'{"workspace_id": 9}',
        409, {"error": "workspace_id: 9 is not linked to this user"}),
    post("too large", lambda w: w.writer, "workspace_id=340", 413, None, b" " * (5 * 1024 * 1024 + 1)),
    post("another type", lambda w: {**w.writer, "Content-Type": "text/plain"}, "workspace_id=340", 415),
]  # fmt: skip

ATTACKS = [
    get("alg: none", cookie(token({"alg": "none"}).rpartition(".")[0] + "."), "", 401, BAD_SESSION),
    get("alg: None", cookie(token({"alg": "None"})), "", 401, BAD_SESSION),
    get("alg: none, signed all the same", cookie(token({"alg": "none"})), "", 401, BAD_SESSION),
    get("no alg", cookie(token({"typ": "JWT"})), "", 401, BAD_SESSION),
    get("alg of another kind", cookie(token({"alg": "RS256"})), "", 401, BAD_SESSION),
    get("a stripped signature", cookie(token().rpartition(".")[0] + "."), "", 401, BAD_SESSION),
    get("another secret", cookie(token(secret="another secret, as long as it has to be")), "", 401, BAD_SESSION),
    get("an empty secret", cookie(token(secret="")), "", 401, BAD_SESSION),
    get("a kid that is a file", cookie(token({"alg": "HS256", "kid": "/dev/null"}, secret="")), "", 401, BAD_SESSION),
    get("a kid that is SQL", cookie(token({"alg": "HS256", "kid": "' OR ''='"}, secret="")), "", 401, BAD_SESSION),
    get("a kid that is a list", cookie(token({"alg": "HS256", "kid": ["a"]})), "", 401, BAD_SESSION),
    get("changed claims", cookie(token().split(".")[0] + "." + token(sub="u-2").split(".", 1)[1].rpartition(".")[0]
        + "." + token().rpartition(".")[2]), "", 401, BAD_SESSION),
    get("another issuer", cookie(token(iss="other")), "", 401, BAD_SESSION),
    get("no issuer", cookie(token(iss=None)), "", 401, BAD_SESSION),
    get("another audience", cookie(token(aud="other")), "", 401, BAD_SESSION),
    get("no audience", cookie(token(aud=None)), "", 401, BAD_SESSION),
    get("expired", cookie(token(exp=NOW - 60)), "", 401, EXPIRED),
    get("expired and of another audience", cookie(token(exp=NOW - 60, aud="other")), "", 401),
    get("not yet valid", cookie(token(nbf=NOW + 600)), "", 401, BAD_SESSION),
    get("issued tomorrow", cookie(token(iat=NOW + 86_400)), "", 401, BAD_SESSION),
    get("no exp", cookie(token(exp=None)), "", 401, BAD_SESSION),
    get("exp that is a word", cookie(token(exp="never")), "", 401, BAD_SESSION),
    get("no sub", cookie(token(sub=None)), "", 401, BAD_SESSION),
    get("sub that is a number", cookie(token(sub=1)), "", 401, BAD_SESSION),
    get("sub that is a list", cookie(token(sub=["u-1"])), "", 401, BAD_SESSION),
    get("sub with a line in it", cookie(token(sub="u-1\nroot")), "", 401, BAD_SESSION),
    get("claims that are a list", cookie(token(claims=[CLAIMS])), "", 401, BAD_SESSION),
    get("nested too deep", cookie(nested(4_000)), "", 401, BAD_SESSION),
    get("two cookies", cookie(token(), token(sub="u-2")), "", 401, BAD_SESSION),
    get("the same cookie twice", cookie(token(), token()), "", 401, BAD_SESSION),
    get("a good cookie beside an empty one", cookie(token(), ""), "", 401, BAD_SESSION),
    get("the token in Authorization", {"Authorization": f"Bearer {token()}"}, "", 401, NOBODY),
    get("the token in the query", {}, f"sessionid={token()}", 401, NOBODY),
    get("an expired key", lambda w: w.expired, "workspace_id=340", 401, BAD_KEY),
    get("a revoked key", lambda w: w.revoked, "workspace_id=340", 401, BAD_KEY),
    post("an expired key", lambda w: w.expired, "workspace_id=340", 401, BAD_KEY),
    post("a revoked key", lambda w: w.revoked, "workspace_id=340", 401, BAD_KEY),
    get("a key of another's secret", lambda w: mixed(w.reader, w.admin), "workspace_id=340", 401, BAD_KEY),
    get("a key that is its own hash", lambda w: hashed(w.reader), "workspace_id=340", 401, BAD_KEY),
    get("a key without a secret", lambda w: mixed(w.reader, {"X-API-Key": "."}), "workspace_id=340", 401, BAD_KEY),
    get("an unknown prefix", {"X-API-Key": "ca_0000000000000000.x"}, "workspace_id=340", 401, BAD_KEY),
    get("a prefix that is a pattern", {"X-API-Key": "ca_%.x"}, "workspace_id=340", 401, BAD_KEY),
    get("a bad key beside a good cookie", {**GOOD, "X-API-Key": "ca_0.x"}, "workspace_id=340", 401, BAD_KEY),
    get("an empty key beside a good cookie", {**GOOD, "X-API-Key": ""}, "workspace_id=340", 401, BAD_KEY),
    get("a good key beside a bad cookie", lambda w: {**w.reader, **cookie("x")}, "workspace_id=340", 200),
    get("the key counts, not the cookie", lambda w: {**w.unlinked, **GOOD}, "workspace_id=340", 403, DENIED),
    post("a cookie beside a key does not widen it", lambda w: {**w.reader, **GOOD}, "workspace_id=340",
        403, lacking("write")),
    post("a form of another site", {**GOOD, "Content-Type": "application/x-www-form-urlencoded"}, "workspace_id=340",
        403, DENIED),
    post("text of another site", {**GOOD, "Content-Type": "text/plain", "Origin": "https://evil"}, "workspace_id=340",
        403, DENIED),
    Try("a session as admin", "PUT", f"{USERS}/workspaces/777", GOOD, "", b"", 403, DENIED),
    Try("a user as admin", "PUT", f"{USERS}/workspaces/777", lambda w: w.both, "", b"", 403, lacking("admin")),
    Try("a key for more than one has", "POST", f"{USERS}/keys", lambda w: {**JSON, **w.both}, "", b"{}",
        403, lacking("admin")),
    Try("an admin key over HTTP", "POST", f"{USERS}/keys", lambda w: {**JSON, **w.admin}, "",
        b'{"scopes": ["admin"]}', 400, "scopes"),
    get("a long parameter", GOOD, f"workspace_id={'9' * 5_000}", 400, "workspace_id"),
    get("a secret as a parameter", GOOD, "a-secret-of-mine=1", 400, "a-secret-of-mine"),
]  # fmt: skip


def mixed(one: dict[str, str], other: dict[str, str]) -> dict[str, str]:
    """Return the prefix of one key with the secret of another."""
    return {"X-API-Key": f"{one['X-API-Key'].partition('.')[0]}.{other['X-API-Key'].partition('.')[2]}"}


def hashed(key: dict[str, str]) -> dict[str, str]:
    """Return the key with what is stored of its secret in the secret's place."""
    prefix, _, secret = key["X-API-Key"].partition(".")
    return {"X-API-Key": f"{prefix}.{hashlib.sha256(secret.encode()).hexdigest()}"}


@pytest.mark.parametrize("attempt", STATUSES + ATTACKS, ids=lambda attempt: f"{attempt.method} {attempt.what}")
def test_every_attempt_gets_what_the_contract_says(world: World, attempt: Try) -> None:
    """The status, the words, and nothing beside them."""
    headers = attempt.headers(world) if callable(attempt.headers) else attempt.headers
    result = world.client.simulate_request(
        attempt.method, attempt.path, headers=headers, query_string=attempt.query, body=attempt.body
    )
    assert result.status_code == attempt.status, result.text
    if isinstance(attempt.answer, str):
        assert attempt.answer in [each["field"] for each in result.json["details"]]
        assert list(result.json) == ["error", "details"]
    elif attempt.answer is not None:
        assert result.json == attempt.answer
    assert result.headers["x-request-id"]
    assert "set-cookie" not in result.headers


def test_nothing_was_written_by_any_attempt(world: World, pool: Pool) -> None:
    """What was refused has left no trace."""
    del pool
    answer = world.client.simulate_get(DASHBOARD, headers=world.both, query_string="workspace_id=340")
    assert answer.headers["x-position"] == "1"
    assert [each["analytics"]["amount_of_emails_sent"] for each in answer.json["campaigns"]] == [1]


def test_a_foreign_and_an_absent_workspace_run_the_same_queries(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer and the queries are the same for both."""
    sql: list[bytes] = []

    class Listening(psycopg.Cursor[Any]):
        def execute(self, query: Any, *arguments: Any, **options: Any) -> "Listening":
            sql.append(query.as_bytes() if hasattr(query, "as_bytes") else str(query).encode())
            return super().execute(query, *arguments, **options)

    sent = Pipeline.rows

    async def listening(self: Pipeline, statement: Statement, parameters: Any) -> Any:
        sql.append(statement.name)
        return await sent(self, statement, parameters)

    monkeypatch.setattr(Pipeline, "rows", listening)
    kwargs = {"autocommit": True, "cursor_factory": Listening}
    with ConnectionPool(database_url, kwargs=kwargs, min_size=1, max_size=4, open=True) as pool:
        users = Access(pool, access.project, lambda: NOW * 1_000)
        key = api_key(users, 340)
        users.link("u-2", 777, "cli:test")
        with pool.connection() as connection:
            ledger.record(connection, 777, parsed(email_sent()))
        project_all(pool)
        chosen = settings.from_environment({"JWT_SECRET": JWT_SECRET})
        client = testing.TestClient(create_app(make_parts(pool, chosen, {})))
        client.simulate_get(DASHBOARD, headers=key)  # the first one also asks how far the log of access goes
        for path, method in ((DASHBOARD, "GET"), (EVENTS, "POST")):
            for who in (key, session("u-1")):
                seen = []
                for workspace in (777, 778):
                    sql.clear()
                    answer = client.simulate_request(
                        method, path, headers={**who, **JSON}, query_string=f"workspace_id={workspace}", body=EVENT
                    )
                    seen.append((answer.status_code, answer.content, [q for q in sql if b"last_used_at =" not in q]))
                assert seen[0] == seen[1]
                assert seen[0][0] == 403
                assert len(seen[0][2]) == 1
