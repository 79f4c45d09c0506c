"""Shows what becomes of the events that a worker posts, and what the answers to it are."""

import gzip
import json
import re
import threading
from pathlib import Path
from typing import Any

import pytest
from falcon import testing
from psycopg import Connection
from psycopg_pool import ConnectionPool

from api.app import create_app
from api.ingest import formats, intake
from domain.access import Access
from domain.recorder import Pool
from service import settings
from service.web.application import make_parts
from tests.support.examples import JWT_SECRET, api_key, email_sent, lacking, session
from tests.support.stored_events import log

PATH = "/api/v1/events/"
JSON = {"Content-Type": "application/json"}
WORKSPACE = "workspace_id=340"
DENIED = b'{"error": "Access denied"}'


@pytest.fixture
def key(users: Access) -> dict[str, str]:
    """Give the header of a key that may write to workspace 340, the current one, and to 341."""
    return api_key(users, 340, 341)


def post(client: testing.TestClient, headers: dict[str, str], body: Any, query: str = WORKSPACE) -> testing.Result:
    """Post a body, given as bytes or as what is to be JSON."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return client.simulate_post(PATH, headers={**JSON, **headers}, body=raw, query_string=query)


def answer(accepted: int = 0, duplicates: int = 0, *rejected: dict[str, Any], position: int = 0) -> dict[str, Any]:
    """Return the answer about workspace 340."""
    counts = {"workspace_id": 340, "accepted": accepted, "duplicates": duplicates}
    return {**counts, "rejected": list(rejected), "position": position}


def reject(index: int, name: str | None, code: str, error: str) -> dict[str, Any]:
    """Return one entry of the list of rejects."""
    return {"index": index, "id": name, "code": code, "error": error}


CONFLICT = "id: names another event already, with other content"
SENT = email_sent(1)
ELSEWHERE_SPELT = email_sent(1, occurred_at="2026-11-01T11:00:00.0009+01:00", step=None, source="")
RAW = json.dumps(SENT).encode()
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
        ([], [SENT, email_sent(2)], 200, answer(2, position=2)),
        ([], [], 200, answer()),
    ],
)
def test_every_event_is_accepted_known_or_refused(  # noqa: PLR0913 (a row of the table)
    client: testing.TestClient, key: dict[str, str], before: list[Any], body: Any, status: int, expected: dict[str, Any]
) -> None:
    """The first of an event stands, the same again is a duplicate, another under its name is a conflict."""
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
def test_a_rejection_names_index_id_and_code(  # noqa: PLR0913 (the same)
    client: testing.TestClient, pool: Pool, key: dict[str, str], event: Any, name: str | None, code: str
) -> None:
    """The index counts from 0 over all events sent; an id that is none itself is null; the others are stored."""
    result = post(client, key, {"events": [email_sent(8), event, email_sent(9)]})
    (rejected,) = result.json["rejected"]
    assert (result.status_code, rejected["index"], rejected["id"], rejected["code"]) == (207, 1, name, code)
    assert log(pool) == ["e-8", "e-9"]


def test_a_rejection_lists_all_faults_of_an_event(client: testing.TestClient, key: dict[str, str]) -> None:
    """`error` is the first fault, `errors` are all of them where there are several, and no more than ten."""
    several = email_sent(1, prospectid="p", prospect_id=None, campaign_id="5", occurred_at="2999-01-01T00:00:00Z")
    many = email_sent(2, **{f"unknown{number}": number for number in range(1_000)})
    first, second, third = post(client, key, [several, email_sent(3, step=-1), many]).json["rejected"]
    assert first == {
        **reject(0, "e-1", "invalid_field", "prospectid: is not a field of EmailSent, did you mean prospect_id?"),
        "errors": [
            "prospectid: is not a field of EmailSent, did you mean prospect_id?",
            "campaign_id: expected an integer, got a string",
            "occurred_at: 2999-01-01T00:00:00Z lies in the future",
            "prospect_id: is missing",
        ],
    }
    assert second == reject(1, "e-3", "invalid_field", "step: expected an integer from 0 to 10000")
    assert len(third["errors"]) == 10


TWICE = [  # what says a name twice, and the name
    (b'{"events": [%b], "events": [%b]}', "events"),
    (b'{"events": [%b, {"id": "e-2", "id": "e-3"}, %b]}', "id"),
    (b'[%b, {"a": {"b": [{"c": 1, "d": 2, "c": 1}]}}, %b]', "c"),
    (b'[%b, {"step": 1, "\\u0073tep": 1}, %b]', "step"),
    (b'[%b, {"variant": "a\\"b\\\\", "": 1, "": "\\\\\\""}, %b]', ""),
]


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize(("form", "name"), TWICE)
def test_a_name_that_stands_twice_is_an_error_that_names_it(  # noqa: PLR0913 (the same)
    client: testing.TestClient,
    pool: Pool,
    key: dict[str, str],
    form: bytes,
    name: str,
    large: bool,  # noqa: FBT001
) -> None:
    """One of the two would be lost in silence; so nothing is stored, whatever the size of the body."""
    body = form % (RAW, json.dumps(email_sent(9, variant='"x"\\')).encode()) + b" " * 20_000 * large
    result = post(client, key, body)
    error = f'has the name "{name}" twice in one object'
    assert (result.status_code, result.json["details"]) == (400, [{"field": "body", "error": error}])
    assert log(pool) == []


@pytest.mark.parametrize("text", ['"', "\\", '\\"', '\\\\"', '"\\', "\n\t", "é", "\U0001f600", '"id":', ","])
def test_what_only_looks_repeated_is_taken(client: testing.TestClient, key: dict[str, str], text: str) -> None:
    """However it is escaped."""
    events = [email_sent(1, variant=text, sender_id="x" + text), email_sent(2, id=text, source=text)]
    for raw in (json.dumps(events), json.dumps(events, ensure_ascii=False)):
        assert post(client, key, raw.encode()).status_code == 200


def test_a_byte_order_mark_is_skipped(client: testing.TestClient, key: dict[str, str]) -> None:
    """At the start of the body; elsewhere, or that of UTF-16, it is named."""
    assert post(client, key, b"\xef\xbb\xbf" + RAW).json == answer(1, position=1)
    for bad in (b"\xef\xbb\xbf" * 2 + RAW, RAW.decode().encode("utf-16")):
        assert "byte order mark (BOM)" in post(client, key, bad).json["error"]


def test_few_bytes_do_not_become_much_memory(client: testing.TestClient, key: dict[str, str]) -> None:
    """Lists in lists would take forty times the body; before any is made, they are counted."""
    lists = b'[{"id": [' + b"[]," * 700_000 + b"[]]}]"
    result = post(client, key, lists)
    assert (result.status_code, result.json["error"]) == (400, "body: holds more than 100000 arrays and objects")
    brackets = [email_sent(number, sender_id='[{"' * 40) for number in range(8_000)]
    assert post(client, key, brackets).status_code == 200


def test_nothing_of_a_stranger_is_parsed(
    client: testing.TestClient, users: Access, key: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However small: who may write is asked before the body is looked at, unless they could write there before."""
    assert post(client, key, SENT).status_code == 200
    parsed: list[bytes] = []
    monkeypatch.setattr(formats, "part_of", lambda _, data: parsed.append(data))
    other = api_key(users, 777, user="u-2")
    senders = [(BAD_KEY, WORKSPACE, 401), (other, WORKSPACE, 403), (session("u-1"), WORKSPACE, 403)]
    senders += [({"X-API-Key": key["X-API-Key"] + "x"}, WORKSPACE, 401), (key, "workspace_id=342", 403)]
    for headers, query, status in senders:
        for body in (SENT, b"no json", gzip.compress(RAW)):
            packed = {"Content-Encoding": "gzip"} if isinstance(body, bytes) and body[:1] == b"\x1f" else {}
            assert post(client, {**headers, **packed}, body, query).status_code == status
    assert parsed == []
    users.unlink("u-1", 340, "cli:test")
    monkeypatch.undo()
    assert [post(client, key, each).status_code for each in (b"no json", SENT)] == [403, 403]


def test_many_events_in_a_small_body_are_left_to_a_thread(
    client: testing.TestClient, key: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """16 KiB hold 8,000 events that are none: to refuse them takes longer than the event loop may be held."""
    assert post(client, key, SENT).status_code == 200
    threads, take = set[bool](), intake.take

    def taken(part: formats.Part, first: int, now: int) -> intake.Intake:
        threads.add(threading.current_thread().name.startswith("beside-the-loop"))
        return take(part, first, now)

    monkeypatch.setattr(intake, "take", taken)
    for number, in_thread in ((1, False), (150, False), (151, True), (5_000, True)):
        threads.clear()
        post(client, key, b"[" + b"0," * (number - 1) + b"0]")
        assert threads == {in_thread}


@pytest.mark.parametrize(("rejects", "total"), [(1_000, None), (1_001, 1_001), (10_000, 10_000)])
def test_a_thousand_rejects_are_listed(
    client: testing.TestClient, pool: Pool, key: dict[str, str], rejects: int, total: int | None
) -> None:
    """The answer has the number of all of them, and none of them enters the log."""
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
    """10,001 events or a byte over 5 MiB are a 413, whether the request has a length or not, and nothing is stored."""
    result = client.simulate_post(PATH, headers={**JSON, **key}, body=body, extras=extras, query_string=WORKSPACE)
    assert (result.status_code, list(result.json)) == (413, ["error"])
    assert log(pool) == []


@pytest.mark.parametrize(
    "headers",
    [
        *[{"Content-Type": kind} for kind in ("text/plain", "application/xml", "application/jsonx", "", "json")],
        *[{"Content-Type": f"application/json; charset={each}"} for each in ("latin1", "UTF-16", '"iso-8859-1"', "")],
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
        *[{"Content-Type": f"application/json; {each}"} for each in ('CHARSET="UTF-8"', "charset=utf8", "profile=x")],
        {"Content-Encoding": "identity"},
    ],
)
def test_json_may_be_spelt_otherwise(client: testing.TestClient, key: dict[str, str], headers: dict[str, str]) -> None:
    """Case and parameters of the type mean nothing."""
    assert post(client, {**key, **headers}, SENT).status_code == 200


@pytest.mark.parametrize(
    ("body", "field"),
    [
        *[
            (bad, "body")
            for bad in (b"", b" ", b"{", b"x", RAW + b",", RAW + RAW, RAW + b"\n" + RAW, b"\xef\xbb\xbf" * 2 + RAW)
        ],
        *[(RAW[:-1] + b',"step":' + bad + b"}", "body") for bad in (b"NaN", b"Infinity", b"01", b"1" * 5_000, b"'1'")],
        *[(RAW[:-1] + b',"step":' + b"[" * deep + b"]" * deep + b"}", "body") for deep in (2_000, 1_000_000)],
        *[(RAW.replace(b"p-1", bad), "body") for bad in (b"\xff", b"\xed\xa0\x80", b"\\ud800", b"\\udc00x", b"\\x")],
        *[(bad, "body") for bad in (5, "x", None, True)],
        ({"events": [SENT], "event": SENT}, "event"),
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
    assert post(client, other, SENT, "workspace_id=777").status_code == 200
    results = [post(client, key, SENT, f"workspace_id={workspace}") for workspace in (777, 778)]
    results.append(post(client, api_key(users, user="u-3"), SENT))
    assert {(result.status_code, result.content) for result in results} == {(403, DENIED)}
    assert len(log(pool, 777)) == 1
    assert log(pool, 778) == []


def test_a_post_names_its_workspace(client: testing.TestClient, pool: Pool, key: dict[str, str]) -> None:
    """A current workspace that has changed would be the wrong log for ever; without a valid key it is a 401 first."""
    bodies: tuple[Any, ...] = (SENT, {"events": []})
    for body in bodies:
        result = post(client, key, body, "")
        assert (result.status_code, [each["field"] for each in result.json["details"]]) == (400, ["workspace_id"])
    assert post(client, BAD_KEY, SENT, "").status_code == 401
    assert log(pool, 340) == []


def test_each_workspace_has_a_log_of_its_own(client: testing.TestClient, pool: Pool, key: dict[str, str]) -> None:
    """The same ids in two workspaces are two events, each log counts its own, and a conflict here is none there."""
    assert post(client, key, SENT).json == answer(1, position=1)
    elsewhere = post(client, key, {"events": [OTHER, email_sent(2)]}, "workspace_id=341")
    assert elsewhere.json == {**answer(2, position=2), "workspace_id": 341}
    assert post(client, key, SENT, "workspace_id=340").json == answer(0, 1, position=1)
    assert (log(pool, 340), log(pool, 341)) == (["e-1"], ["e-1", "e-2"])


MANY = b"x" * (5 * 2**20 + 1)
BAD_KEY = {"X-API-Key": "ca_0.x"}
STRANGER: dict[str, str] = {}
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
def test_faults_are_listed_in_order(  # noqa: PLR0913 (the same)
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


def test_the_documents_describe_ids_and_the_workspace_of_a_post(client: testing.TestClient) -> None:
    """Their Python works; two spellings of one address are one prospect."""
    text = (Path(__file__).parents[2] / "docs/ingestion.md").read_text(encoding="utf-8")
    made: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(block, made)
    assert made["prospect_id"](" Jane@X.io ") == made["prospect_id"]("jane@x.io") == "jane@x.io"
    assert made["event_id"](SENT) == made["event_id"](SENT) != made["event_id"](email_sent(2))
    described_post = client.simulate_get("/openapi.json").json["paths"]["/api/v1/events/"]["post"]
    assert "address.strip().lower()" in described_post["description"]
    assert [(each["name"], each["required"]) for each in described_post["parameters"]] == [("workspace_id", True)]
