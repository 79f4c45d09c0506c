"""Shows what becomes of the events that a worker posts, and what a worker is told."""

import json
from typing import Any

import pytest
from falcon import testing
from psycopg import Connection
from psycopg_pool import ConnectionPool

from api.app import create_app
from domain import ledger
from domain.access import Access
from domain.recorder import Pool
from service import settings
from service.web.application import make_parts
from tests.facts import JWT_SECRET, api_key, email_sent, lacking, session

PATH = "/api/v1/events/"
JSON = {"Content-Type": "application/json"}
DENIED = b'{"error": "Access denied"}'


@pytest.fixture
def key(users: Access) -> dict[str, str]:
    """Give the header of a key that may write to workspace 340, the current one, and to 341."""
    return api_key(users, 340, 341)


def post(client: testing.TestClient, headers: dict[str, str], body: Any, query: str = "") -> testing.Result:
    """Post a body, given as bytes or as what is to be JSON."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return client.simulate_post(PATH, headers={**JSON, **headers}, body=raw, query_string=query)


def log(pool: Pool, workspace_id: int = 340) -> list[str]:
    """Return the ids of the facts in a workspace's log, in order."""
    with pool.connection() as database:
        rows = ledger.read(database, workspace_id, after=0, upto=2**62, limit=100_000)
    assert [row.position for row in rows] == list(range(1, len(rows) + 1))
    return [json.loads(row.state)["id"] for row in rows]


def answer(accepted: int = 0, duplicates: int = 0, *rejected: dict[str, Any], position: int = 0) -> dict[str, Any]:
    """Return the answer about workspace 340."""
    counts = {"workspace_id": 340, "accepted": accepted, "duplicates": duplicates}
    return {**counts, "rejected": list(rejected), "position": position}


def reject(index: int, name: str | None, code: str, error: str) -> dict[str, Any]:
    """Return one entry of the list of rejects."""
    return {"index": index, "id": name, "code": code, "error": error}


CONFLICT = "id: names another fact already, with other content"
SENT = email_sent(1)
ELSEWHERE_SPELT = email_sent(1, occurred_at="2026-11-01T11:00:00.0009+01:00", step=None, source="")
OTHER = email_sent(1, step=1)
FUTURE = email_sent(2, occurred_at="2999-01-01T00:00:00Z")
FUTURE_REJECT = ("e-2", "out_of_range", "occurred_at: 2999-01-01T00:00:00Z lies in the future")


@pytest.mark.parametrize(
    ("before", "body", "status", "expected"),
    [
        ([], SENT, 200, answer(1, position=1)),
        ([], {"events": []}, 200, answer()),
        ([SENT], {"events": []}, 200, answer(position=1)),
        ([], {"events": [SENT, email_sent(2)]}, 200, answer(2, position=2)),
        ([SENT], SENT, 200, answer(0, 1, position=1)),
        ([SENT], ELSEWHERE_SPELT, 200, answer(0, 1, position=1)),
        ([SENT], {"events": [email_sent(2), SENT]}, 200, answer(1, 1, position=2)),
        ([SENT], {**SENT, "source": "other"}, 200, answer(1, position=2)),
        ([SENT], OTHER, 422, answer(0, 0, reject(0, "e-1", "conflict", CONFLICT), position=1)),
        ([], {"events": [SENT, ELSEWHERE_SPELT, SENT]}, 200, answer(1, 2, position=1)),
        ([], {"events": [SENT, OTHER]}, 207, answer(1, 0, reject(1, "e-1", "conflict", CONFLICT), position=1)),
        (
            [SENT],
            {"events": [OTHER, SENT, email_sent(3), FUTURE]},
            207,
            answer(1, 1, reject(0, "e-1", "conflict", CONFLICT), reject(3, *FUTURE_REJECT), position=2),
        ),
        ([SENT], {"events": [SENT, FUTURE]}, 207, answer(0, 1, reject(1, *FUTURE_REJECT), position=1)),
        ([], FUTURE, 422, answer(0, 0, reject(0, *FUTURE_REJECT))),
        ([], {}, 422, answer(0, 0, reject(0, None, "invalid_field", "type: is missing"))),
    ],
)
def test_every_event_is_accepted_known_or_refused(  # noqa: PLR0913 (a row of the table)
    client: testing.TestClient, key: dict[str, str], before: list[Any], body: Any, status: int, expected: dict[str, Any]
) -> None:
    """The first of a fact stands, the same again is a duplicate, another under its name is a conflict."""
    post(client, key, {"events": before})
    result = post(client, key, body)
    assert (result.status_code, result.json) == (status, expected)
    assert result.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("event", "name", "code"),
    [
        *[(bad, None, "malformed") for bad in (5, "e-1", None, True, [SENT])],
        (email_sent(1, id=5), None, "invalid_field"),
        (email_sent(1, id=None), None, "invalid_field"),
        (email_sent(1, id=""), None, "invalid_field"),
        (email_sent(1, id="x" * 129), None, "invalid_field"),
        (email_sent(1, id="a\0"), None, "invalid_field"),
        (email_sent(1, id="x" * 128, stepp=1), "x" * 128, "invalid_field"),
        (email_sent(1, type="EmailEaten"), "e-1", "unknown_type"),
        (email_sent(1, occurred_at="1969-12-31T23:59:59Z"), "e-1", "out_of_range"),
    ],
)
def test_a_reject_is_found_by_index_id_and_code(  # noqa: PLR0913 (the same)
    client: testing.TestClient, pool: Pool, key: dict[str, str], event: Any, name: str | None, code: str
) -> None:
    """The index counts from 0 over all events sent; an id that is none itself is null; the others are stored."""
    result = post(client, key, {"events": [email_sent(8), event, email_sent(9)]})
    (rejected,) = result.json["rejected"]
    assert (result.status_code, rejected["index"], rejected["id"], rejected["code"]) == (207, 1, name, code)
    assert log(pool) == ["e-8", "e-9"]


@pytest.mark.parametrize(("rejects", "total"), [(1_000, None), (1_001, 1_001), (10_000, 10_000)])
def test_a_thousand_rejects_are_listed(
    client: testing.TestClient, pool: Pool, key: dict[str, str], rejects: int, total: int | None
) -> None:
    """Where there were more, their number is told, and nothing of them enters the log."""
    result = post(client, key, {"events": [5] * rejects})
    assert result.status_code == 422
    assert [each["index"] for each in result.json["rejected"]] == list(range(1_000))
    assert result.json.get("rejected_total") == total
    assert ("rejected_total" in result.json) is (total is not None)
    assert log(pool) == []


def test_ten_thousand_events_are_taken_at_once(client: testing.TestClient, pool: Pool, key: dict[str, str]) -> None:
    """The limit itself is still inside, and the log is in the order of the request."""
    result = post(client, key, {"events": [email_sent(number) for number in range(10_000)]})
    assert (result.status_code, result.json) == (200, answer(10_000, position=10_000))
    assert log(pool) == [f"e-{number}" for number in range(10_000)]


def test_a_body_of_5_mib_is_taken(client: testing.TestClient, key: dict[str, str]) -> None:
    """The limit itself is still inside; blanks count."""
    assert post(client, key, json.dumps(SENT).encode().ljust(5 * 2**20)).status_code == 200


@pytest.mark.parametrize("extras", [{}, {"CONTENT_LENGTH": ""}])
@pytest.mark.parametrize(
    "body", [json.dumps({"events": [SENT] * 10_001}).encode(), json.dumps(SENT).encode().ljust(5 * 2**20 + 1)]
)
def test_too_much_is_refused_as_a_whole(
    client: testing.TestClient, pool: Pool, key: dict[str, str], extras: dict[str, str], body: bytes
) -> None:
    """10,001 events or a byte over 5 MiB are a 413, whether the length was told or not, and nothing is stored."""
    result = client.simulate_post(PATH, headers={**JSON, **key}, body=body, extras=extras)
    assert (result.status_code, list(result.json)) == (413, ["error"])
    assert log(pool) == []


@pytest.mark.parametrize(
    "headers",
    [
        *[{"Content-Type": kind} for kind in ("text/plain", "application/xml", "application/jsonx", "", "json")],
        *[{"Content-Encoding": encoding} for encoding in ("br", "deflate", "zstd", "identity, br")],
    ],
)
def test_other_types_and_encodings_are_refused(
    client: testing.TestClient, pool: Pool, key: dict[str, str], headers: dict[str, str]
) -> None:
    """What is not known to be JSON is not read as JSON."""
    result = post(client, {**key, **headers}, SENT)
    assert (result.status_code, list(result.json)) == (415, ["error"])
    assert log(pool) == []


@pytest.mark.parametrize(
    "headers",
    [
        *[{"Content-Type": kind} for kind in ("application/json; charset=utf-8", "Application/JSON")],
        {"Content-Encoding": "identity"},
    ],
)
def test_json_may_be_spelt_otherwise(client: testing.TestClient, key: dict[str, str], headers: dict[str, str]) -> None:
    """Case and parameters of the type mean nothing."""
    assert post(client, {**key, **headers}, SENT).status_code == 200


RAW = json.dumps(SENT).encode()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        *[
            (bad, "body")
            for bad in (b"", b" ", b"{", b"x", RAW + b",", RAW + RAW, RAW + b"\n" + RAW, b"\xef\xbb\xbf" + RAW)
        ],
        *[(RAW[:-1] + b',"step":' + bad + b"}", "body") for bad in (b"NaN", b"Infinity", b"01", b"1" * 5_000, b"'1'")],
        *[(RAW[:-1] + b',"step":' + b"[" * deep + b"]" * deep + b"}", "body") for deep in (2_000, 1_000_000)],
        *[(RAW.replace(b"p-1", bad), "body") for bad in (b"\xff", b"\xed\xa0\x80", b"\\ud800", b"\\udc00x", b"\\x")],
        *[(bad, "body") for bad in ([], [SENT], 5, "x", None, True, {"events": [SENT], "event": SENT})],
        *[({"events": bad}, "events") for bad in (None, SENT, "x", 5)],
    ],
)
def test_a_body_that_is_no_json_of_ours_is_refused_as_a_whole(
    client: testing.TestClient, pool: Pool, key: dict[str, str], body: Any, field: str
) -> None:
    """Nothing is stored, and the error is a 400 that names what is wrong."""
    result = post(client, key, body)
    assert (result.status_code, list(result.json)) == (400, ["error", "details"])
    assert [each["field"] for each in result.json["details"]] == [field]
    assert log(pool) == []


@pytest.mark.parametrize("scopes", [("read",), ("admin",), ("read", "admin"), None])
def test_only_a_key_with_the_scope_writes(
    client: testing.TestClient, pool: Pool, users: Access, scopes: tuple[str, ...] | None
) -> None:
    """A session may only read, so a forged cross-site post does nothing; nor does a key without the scope `write`."""
    users.link("u-1", 340, "cli:test")
    headers = session("u-1") if scopes is None else api_key(users, scopes=scopes)
    result = post(client, headers, SENT)
    assert (result.status_code, result.json) == (403, lacking("write") if scopes else {"error": "Access denied"})
    assert log(pool) == []


def test_an_unlinked_and_an_absent_workspace_look_the_same(
    client: testing.TestClient, pool: Pool, users: Access, key: dict[str, str]
) -> None:
    """A workspace of others, one that never was and none at all are the same 403, byte for byte."""
    other = api_key(users, 777, user="u-2")
    assert post(client, other, SENT).status_code == 200
    results = [post(client, key, SENT, f"workspace_id={workspace}") for workspace in (777, 778)]
    results.append(post(client, api_key(users, user="u-3"), SENT))
    assert {(result.status_code, result.content) for result in results} == {(403, DENIED)}
    assert len(log(pool, 777)) == 1
    assert log(pool, 778) == []


def test_a_workspace_is_named_or_the_current_one(client: testing.TestClient, pool: Pool, key: dict[str, str]) -> None:
    """The same ids in two workspaces are two facts, each log counts its own, and a conflict here is none there."""
    assert post(client, key, SENT).json == answer(1, position=1)
    elsewhere = post(client, key, {"events": [OTHER, email_sent(2)]}, "workspace_id=341")
    assert elsewhere.json == {**answer(2, position=2), "workspace_id": 341}
    assert post(client, key, SENT, "workspace_id=340").json == answer(0, 1, position=1)
    assert (log(pool, 340), log(pool, 341)) == (["e-1"], ["e-1", "e-2"])


MANY = b"x" * (5 * 2**20 + 1)
STRANGER: dict[str, str] = {}
BAD_KEY = {"X-API-Key": "ca_0.x"}
TEXT = {"Content-Type": "text/plain"}


@pytest.mark.parametrize(
    ("credentials", "query", "headers", "body", "status"),
    [
        (STRANGER, "workspace_id=x", TEXT, MANY, 401),
        (BAD_KEY, "workspace_id=x", TEXT, MANY, 401),
        (None, "workspace_id=ALL", TEXT, MANY, 400),
        (None, "workspace=777", TEXT, MANY, 400),
        (None, "workspace_id=777", TEXT, MANY, 403),
        (None, "workspace_id=340", TEXT, MANY, 415),
        (None, "workspace_id=340", {}, MANY, 413),
        (None, "workspace_id=340", {}, b"x", 400),
        (None, "workspace_id=340", {}, b"{}", 422),
    ],
)
def test_what_is_wrong_is_said_in_order(  # noqa: PLR0913 (the same)
    client: testing.TestClient,
    pool: Pool,
    key: dict[str, str],
    credentials: dict[str, str] | None,
    query: str,
    headers: dict[str, str],
    body: bytes,
    status: int,
) -> None:
    """Who is calling, then the query, then what they may, then the body's type, size, form and content."""
    result = post(client, {**headers, **(key if credentials is None else credentials)}, body, query)
    assert result.status_code == status
    assert log(pool) == []


def test_a_database_that_takes_no_writes_now_is_a_503(database_url: str, pool: Pool, key: dict[str, str]) -> None:
    """As one does that was demoted to a standby: the worker may send again."""

    def demote(connection: Connection[Any]) -> None:
        connection.execute("SET default_transaction_read_only = on")

    with ConnectionPool(database_url, configure=demote, kwargs={"autocommit": True}, open=True) as demoted:
        chosen = settings.from_environment({"JWT_SECRET": JWT_SECRET})
        result = post(testing.TestClient(create_app(make_parts(demoted, chosen, {}))), key, SENT)
    assert (result.status_code, result.headers["retry-after"]) == (503, "1")
    assert log(pool) == []
