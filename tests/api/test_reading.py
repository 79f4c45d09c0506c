"""Shows how questions are asked and answered: filters, forms, bad input, and who has the answer already."""

import csv
import gzip
import io
from typing import Any

import pytest
from falcon import testing

from api.answers import question, waiting
from api.answers.cache import Cache
from api.http import compression
from domain import ledger
from domain.access import Access
from domain.recorder import Pool
from projections.metrics import MEASURES
from projections.queries import campaigns as rows
from tests.support.examples import api_key, email_sent, parsed, session
from tests.support.read_models import project_all

BASE = "/api/v1/dashboard/campaign-analytics/"
CAMPAIGNS = "/api/v1/campaigns/"
KINDS = ("", "summary/", "timeseries/", "breakdown/")
AT = "2026-11-01T09:00:00Z"


def campaign(campaign_id: int, name: str | None = None, status: str | None = None, **more: Any) -> list[dict[str, Any]]:
    """Return what makes a campaign known, with one e-mail sent."""
    about = {"campaign_id": campaign_id, "occurred_at": AT}
    events = [email_sent(campaign_id, campaign_id=campaign_id)]
    if name is not None:
        events.append({"id": f"c-{campaign_id}", "type": "CampaignCreated", "name": name, **about, **more})
    if status is not None:
        events.append({"id": f"s-{campaign_id}", "type": "CampaignStatusChanged", "status": status, **about})
    return events


@pytest.fixture
def key(pool: Pool, users: Access) -> dict[str, str]:
    """Give a key that reads two workspaces with campaigns in them."""
    with pool.connection() as database:
        ledger.record(database, 340, parsed(*campaign(1, "=A", "ACTIVE"), *campaign(2, "B", "PAUSED"), *campaign(3)))
        ledger.record(database, 341, parsed(*campaign(1, "Other", "ACTIVE")))
    project_all(pool)
    return api_key(users, 340, 341)


def get(client: testing.TestClient, path: str, headers: dict[str, str], **query: Any) -> testing.Result:
    """Ask about workspace 340, unless another is named."""
    return client.simulate_get(path, headers=headers, params={"workspace_id": 340, **query}, params_csv=False)


def ids(answer: testing.Result) -> list[tuple[int, int]]:
    """Return the campaigns of an answer."""
    return [(each["workspace_id"], each["id"]) for each in answer.json["campaigns"]]


@pytest.mark.parametrize("path", [BASE, CAMPAIGNS])
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"campaign_id": [1, 3]}, [(340, 1), (340, 3)]),
        ({"campaign_id": 9}, []),
        ({"status": ["PAUSED", "UNKNOWN"]}, [(340, 2), (340, 3)]),
        ({"status": "ACTIVE", "campaign_id": [1, 2]}, [(340, 1)]),
        ({"status": "ACTIVE", "workspace_id": "ALL"}, [(340, 1), (341, 1)]),
        ({"campaign_id": 1, "workspace_id": "ALL"}, [(340, 1), (341, 1)]),
    ],
)
def test_filters_choose_campaigns(
    client: testing.TestClient, key: dict[str, str], path: str, query: dict[str, Any], expected: list[tuple[int, int]]
) -> None:
    """By id and by the status now shown, each repeatable; an unknown id is just absent."""
    assert ids(get(client, path, key, **query)) == expected


def test_a_summary_counts_what_was_asked_for_and_what_matches(client: testing.TestClient, key: dict[str, str]) -> None:
    summary = get(client, BASE + "summary/", key, workspace_id="ALL", status="ACTIVE").json
    assert (summary["workspaces"], summary["campaigns"], summary["analytics"]["amount_of_emails_sent"]) == (2, 2, 2)
    nobody = session("somebody-else")
    summary = get(client, BASE + "summary/", nobody, workspace_id="ALL").json
    assert (summary["workspaces"], summary["campaigns"], summary["analytics"]["amount_of_prospects"]) == (0, 0, 0)


def test_campaigns_have_the_fields_of_their_events(client: testing.TestClient, pool: Pool, users: Access) -> None:
    """The earliest creation, the latest change, zone and language of the latest creation that carries one."""
    about = {"type": "CampaignCreated", "campaign_id": 1, "name": "A"}
    events = [
        {**about, "id": "1", "occurred_at": "2026-11-01T09:00:00Z", "timezone": "Europe/Berlin", "language": "de"},
        {**about, "id": "2", "occurred_at": "2026-11-02T09:00:00Z", "timezone": "Asia/Kolkata"},
        {**about, "id": "3", "occurred_at": "2026-11-02T09:00:00Z", "timezone": "Asia/Kathmandu"},
        {"id": "4", "type": "CampaignRenamed", "campaign_id": 1, "name": "B", "occurred_at": "2026-11-03T09:00:00.5Z"},
        email_sent(1, campaign_id=1),
        email_sent(2, campaign_id=2),
    ]
    with pool.connection() as database:
        ledger.record(database, 340, parsed(*events))
    project_all(pool)
    first, second = get(client, CAMPAIGNS, api_key(users, 340)).json["campaigns"]
    assert list(first.items()) == [
        ("id", 1),
        ("name", "B"),
        ("status", "DRAFT"),
        ("workspace_id", 340),
        ("timezone", "Asia/Kolkata"),
        ("language", "de"),
        ("created_at", "2026-11-01T09:00:00.000Z"),
        ("updated_at", "2026-11-03T09:00:00.500Z"),
        ("prospect_count", 1),
    ]
    assert (second["timezone"], second["created_at"], second["updated_at"], second["prospect_count"]) == (
        *[None] * 3,
        1,
    )


@pytest.mark.parametrize(
    ("path", "query", "named"),
    [
        (BASE, {"campaign_id": "x"}, "campaign_id"),
        (BASE, {"campaign_id": "0"}, "campaign_id"),
        (BASE, {"status": "active"}, "status"),
        (BASE, {"start_date": "2026-02-30"}, "start_date"),
        (BASE, {"start_date": "20260201"}, "start_date"),
        (BASE, {"start_date": "1969-12-31"}, "start_date"),
        (BASE, {"end_date": "3000-01-01"}, "end_date"),
        (BASE, {"start_date": "2026-11-02", "end_date": "2026-11-01"}, "end_date"),
        (BASE, {"timezone": "europe/berlin"}, "timezone"),
        (BASE, {"timezone": "../etc/passwd"}, "timezone"),
        (BASE, {"dated": "touch"}, "dated"),
        (BASE, {"include": "all"}, "include"),
        (BASE, {"format": "xml"}, "format"),
        (BASE, {"start_date": ["2026-11-01", "2026-11-02"]}, "start_date"),
        (BASE, {"interval": "day"}, "interval"),
        (BASE, {"workspace_id": "ALL", "min_position": 1}, "min_position"),
        (BASE + "timeseries/", {"interval": "year"}, "interval"),
        (BASE + "timeseries/", {"per": "prospect"}, "per"),
        (BASE + "timeseries/", {"start_date": "2020-01-01", "end_date": "2026-01-01"}, "interval"),
        (BASE + "breakdown/", {"by": "variant"}, "by"),
        (BASE + "breakdown/", {"by": "variant,step"}, "by"),
        (BASE + "1/explain/", {}, "metric"),
        (BASE + "1/explain/", {"metric": "reply_time_ms"}, "metric"),
        (BASE + "1/explain/", {"metric": "reply_rate"}, "metric"),
        (BASE + "1/explain/", {"metric": "amount_of_replies", "workspace_id": "ALL"}, "workspace_id"),
        (BASE + "1/explain/", {"metric": "amount_of_replies", "limit": 1001}, "limit"),
        (BASE + "1/explain/", {"metric": "amount_of_replies", "cursor": "é"}, "cursor"),
        (BASE + "1/explain/", {"metric": "amount_of_replies", "cursor": "WzFd"}, "cursor"),
        (BASE + "01/explain/", {"metric": "amount_of_replies"}, "campaign_id"),
        (CAMPAIGNS, {"start_date": "2026-11-01"}, "start_date"),
        ("/api/v1/events/", {"after": "-1"}, "after"),
        ("/api/v1/events/", {"limit": "0"}, "limit"),
        ("/api/v1/events/", {"workspace_id": "ALL"}, "workspace_id"),
    ],
)
def test_bad_input_is_named(
    client: testing.TestClient, key: dict[str, str], path: str, query: dict[str, Any], named: str
) -> None:
    """With what is expected; and it never widens an answer."""
    answer = get(client, path, key, **query)
    assert answer.status_code == 400
    [detail] = answer.json["details"]
    assert detail["field"] == named
    assert detail["error"]


@pytest.mark.parametrize(
    ("path", "query"),
    [
        *((BASE + kind, {"include": "extended"}) for kind in KINDS),
        (BASE + "timeseries/", {"per": "campaign"}),
        (BASE + "breakdown/", {"by": "step,variant"}),
        (CAMPAIGNS, {}),
    ],
)
@pytest.mark.parametrize("empty", [False, True])
def test_a_table_says_the_same_as_json(
    client: testing.TestClient,
    key: dict[str, str],
    path: str,
    query: dict[str, Any],
    empty: bool,  # noqa: FBT001
) -> None:
    """The keys before `analytics`, then its keys; a header also where there is no row; what is null is empty."""
    if empty:
        query = {**query, "campaign_id": 9}
    body = get(client, path, key, **query).json
    answer = get(client, path, key, format="csv", **query)
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    header, *lines = csv.reader(io.StringIO(answer.text, newline=""))
    expected = []
    for each in (
        body.get("campaigns", body.get("rows", body.get("series", [body]))) if "workspaces" not in body else [body]
    ):
        about = {name: value for name, value in each.items() if name not in ("analytics", "series")}
        for one in each.get("series", [each]):
            start = {"start": one["start"]} if "start" in one else {}
            row = {**about, **start, **one.get("analytics", {})}
            assert list(row) == header
            texts = ["" if value is None else str(value) for value in row.values()]
            expected.append(["'=A" if text == "=A" else text for text in texts])
    assert lines == expected
    assert len(header) >= 9
    assert answer.text.endswith("\r\n")


def test_the_form_is_chosen_by_accept_unless_it_is_named(client: testing.TestClient, key: dict[str, str]) -> None:
    """`format` stands over it; `Vary` and the tags keep the forms apart in caches."""
    for accept in ("TEXT/CSV", "text/csv;q=0.9, nonsense", "application/json;q=0.1, Text/csv"):
        assert get(client, BASE, {**key, "Accept": accept}).headers["content-type"].startswith("text/csv"), accept
    accepts = {**key, "Accept": "text/csv"}
    table = get(client, BASE, accepts)
    assert table.headers["content-type"].startswith("text/csv")
    named = get(client, BASE, accepts, format="json")
    assert named.headers["content-type"] == "application/json"
    usual = get(client, BASE, {**key, "Accept": "*/*"})
    assert usual.headers["content-type"] == "application/json"
    assert named.text == usual.text
    assert table.headers["etag"] != named.headers["etag"] == usual.headers["etag"], "one tag, however it is asked for"
    assert "Accept" in usual.headers["vary"].split(", ")


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@a", "\ta", "\ra", "\na", " =1", "\u00a0@a", "＝1", "－1"])
def test_text_that_a_spreadsheet_would_take_for_a_formula_is_quoted(
    client: testing.TestClient, pool: Pool, users: Access, text: str
) -> None:
    with pool.connection() as database:
        ledger.record(database, 340, parsed(email_sent(1, sender_id=text)))
    project_all(pool)
    answer = get(client, BASE + "breakdown/", api_key(users, 340), by="sender", format="csv")
    [_, row] = csv.reader(io.StringIO(answer.text, newline=""))
    assert row[0] == f"'{text}"


def test_a_table_is_saved_under_a_name_and_may_begin_with_a_byte_order_mark(
    client: testing.TestClient, key: dict[str, str]
) -> None:
    """For a link in a browser: a spreadsheet else takes UTF-8 for something older."""
    plain, marked = (get(client, BASE + "summary/", key, format="csv", **more) for more in ({}, {"bom": "1"}))
    assert marked.content == b"\xef\xbb\xbf" + plain.content
    assert plain.headers["content-disposition"] == 'attachment; filename="campaign-analytics-summary.csv"'
    assert "content-disposition" not in get(client, BASE + "summary/", key).headers


QUESTIONS = [
    *((BASE + kind, {}) for kind in KINDS[1:]),
    (BASE, {"include": "extended"}),
    (BASE, {"start_date": "2026-11-01"}),
    (BASE + "1/explain/", {"metric": "amount_of_prospects"}),
    (CAMPAIGNS, {}),
]


@pytest.mark.parametrize(("path", "query"), QUESTIONS)
def test_who_has_the_answer_gets_none(  # noqa: PLR0913 (a question, and who asks)
    client: testing.TestClient, pool: Pool, users: Access, key: dict[str, str], path: str, query: dict[str, Any]
) -> None:
    """Until the content could have changed; a user without access any more gets 403 instead."""
    first = get(client, path, key, **query)
    has = {**key, "If-None-Match": first.headers["etag"]}
    again = get(client, path, has, **query)
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    assert again.headers["x-position"] == first.headers["x-position"]
    with pool.connection() as database:
        ledger.record(database, 340, parsed(email_sent(99, campaign_id=1)))
    project_all(pool)
    changed = get(client, path, has, **query)
    assert changed.status_code == 200
    assert changed.content != first.content
    assert changed.headers["etag"] != first.headers["etag"]
    users.unlink("u-1", 340, "cli:test")
    assert get(client, path, {**key, "If-None-Match": changed.headers["etag"]}, **query).status_code == 403


@pytest.mark.parametrize(("path", "query"), QUESTIONS)
def test_an_answer_is_worked_out_once(  # noqa: PLR0913 (a question, and who works it out)
    client: testing.TestClient,
    users: Access,
    key: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    query: dict[str, Any],
) -> None:
    """It is cached for all who may see it, and no other user; a change of access counts at once."""
    reads = []
    read = rows.read

    def counted(*arguments: Any) -> Any:
        reads.append(arguments)
        return read(*arguments)

    monkeypatch.setattr(rows, "read", counted)
    first = get(client, path, key, **query)
    users.link("u-2", 340, "cli:test")
    other = session("u-2")
    assert get(client, path, other, **query).content == first.content
    assert len(reads) == 1
    users.unlink("u-2", 340, "cli:test")
    assert get(client, path, other, **query).status_code == 403


def test_cached_bodies_are_bounded() -> None:
    """The least used goes first, and no body may take more than an eighth of all."""
    cache: Cache[str, bytes] = Cache(len, most_bytes=32)
    for name in "abcdefgh":
        cache.put(name, b"1234")
    assert cache.get("a") == b"1234"
    cache.put("i", b"1234")
    assert (cache.get("a"), cache.get("b"), cache.get("i")) == (b"1234", None, b"1234")
    cache.put("too large", b"12345")
    assert cache.get("too large") is None
    assert cache.get("c") == b"1234", "and nothing has gone for it"


def test_long_questions_are_not_cached(client: testing.TestClient, key: dict[str, str]) -> None:
    """Whoever asks them, known or not, fills no memory; they are answered all the same."""
    size_before = question._parsed.cache_info().currsize
    assert len(ids(get(client, BASE, key, campaign_id=list(range(1, 200))))) == 3
    assert question._parsed.cache_info().currsize == size_before


@pytest.mark.parametrize("first_touch", [False, True])
def test_min_position_includes_ones_own_writes(
    client: testing.TestClient,
    pool: Pool,
    key: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    first_touch: bool,  # noqa: FBT001
) -> None:
    """Whatever is asked; where the projection has not come so far it is a 503 that says when to come again."""
    monkeypatch.setattr(waiting, "WAIT_SECONDS", 0.05)
    with pool.connection() as database:
        position = ledger.record(database, 340, parsed(email_sent(99, campaign_id=1))).position
    query = {"min_position": position, **({"dated": "first_touch"} if first_touch else {})}
    late = get(client, BASE + "summary/", key, **query)
    assert (late.status_code, late.headers["retry-after"]) == (503, "1")
    project_all(pool)
    answer = get(client, BASE + "summary/", key, **query)
    assert answer.json["analytics"]["amount_of_emails_sent"] == 4
    assert (answer.headers["x-lag"], answer.headers["x-position"]) == ("0", str(position))


def test_rows_of_another_version_are_not_taken_for_activity(
    client: testing.TestClient, pool: Pool, key: dict[str, str]
) -> None:
    """What only needs the sums is answered; else it is a 503 until they are rebuilt."""
    with pool.connection() as database:
        names = [measure.name for measure in MEASURES]
        database.execute("INSERT INTO fold_version VALUES (99, %s)", (names,))
        database.execute("UPDATE projection SET fold_version = 99 WHERE workspace_id = 340")
    assert get(client, BASE + "summary/", key).json["analytics"]["amount_of_emails_sent"] == 3
    for path, query in [("timeseries/", {}), ("breakdown/", {}), ("", {"start_date": "2026-11-01"})]:
        answer = get(client, BASE + path, key, **query)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert "etag" not in answer.headers


def test_a_metric_that_an_older_version_did_not_sum_is_null(
    client: testing.TestClient, pool: Pool, key: dict[str, str]
) -> None:
    """Not zero; and all that is derived from it is null too."""
    with pool.connection() as database:
        database.execute("UPDATE projection SET fold_version = 1 WHERE workspace_id = 340")
        database.execute("UPDATE campaign SET totals = totals[:10] WHERE workspace_id = 340")
    for path in ("", "summary/"):
        body = get(client, BASE + path, key, include="extended").json
        analytics = body.get("analytics") or body["campaigns"][0]["analytics"]
        assert analytics["amount_of_emails_sent"] > 0
        assert analytics["amount_of_prospects_replied"] is None
        assert analytics["reply_rate"] is None


def test_journeys_are_read_only_so_many_at_once(client: testing.TestClient, pool: Pool, key: dict[str, str]) -> None:
    """Beyond that it is a 400 that asks for a campaign; one campaign is answered."""
    with pool.connection() as database:
        database.execute("UPDATE campaign SET facts = 400000 WHERE workspace_id = 340 AND campaign_id < 3")
    for path, query in [("breakdown/", {}), ("summary/", {"dated": "first_touch"})]:
        answer = get(client, BASE + path, key, **query)
        assert answer.status_code == 400
        assert answer.json["details"][0]["field"] == "campaign_id"
        assert get(client, BASE + path, key, campaign_id=1, **query).status_code == 200


def test_series_have_no_more_buckets_in_all_than_an_answer_may_have(
    client: testing.TestClient, pool: Pool, users: Access
) -> None:
    with pool.connection() as database:
        ledger.record(database, 340, parsed(*(email_sent(each, campaign_id=each) for each in range(1, 52))))
    project_all(pool)
    query = {"per": "campaign", "start_date": "2020-01-01", "end_date": "2022-09-26"}
    key = api_key(users, 340)
    answer = get(client, BASE + "timeseries/", key, **query)
    assert answer.status_code == 400
    assert "50000" in answer.json["error"]
    del query["per"]
    assert len(get(client, BASE + "timeseries/", key, **query).json["series"]) == 1_000


def test_a_long_answer_is_packed_for_whoever_takes_that(client: testing.TestClient, pool: Pool, users: Access) -> None:
    """It is the same answer with the same tag; a short one is not worth it."""
    with pool.connection() as database:
        ledger.record(database, 340, parsed(*(email_sent(each, campaign_id=each) for each in range(1, 30))))
    project_all(pool)
    key = api_key(users, 340)
    plain = get(client, BASE, key)
    packed = get(client, BASE, {**key, "Accept-Encoding": "br, gzip;q=0.5"})
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed.content) == plain.content
    assert int(packed.headers["content-length"]) < len(plain.content) / 4
    assert packed.headers["etag"] == plain.headers["etag"]
    assert "Accept-Encoding" in plain.headers["vary"].split(", ")
    short = get(client, BASE, {**key, "Accept-Encoding": "gzip"}, campaign_id=1)
    assert "content-encoding" not in short.headers


@pytest.mark.parametrize(
    ("accepted", "takes"),
    [
        ("gzip", True),
        ("GZIP;q=1", True),
        ("x-gzip", True),
        ("*", True),
        ("deflate, gzip;q=0.001", True),
        ("", False),
        ("identity", False),
        ("gzip;q=0", False),
        ("gzip;q=0.000, *", False),
        ("*;q=0", False),
        ("gzip;q=a.b", False),
    ],
)
def test_gzip_is_taken_as_the_caller_says(accepted: str, takes: bool) -> None:  # noqa: FBT001
    assert compression.takes_gzip(accepted) is takes


@pytest.mark.parametrize("path", [*(BASE + kind for kind in KINDS), CAMPAIGNS, "/api/v1/events/"])
def test_every_answer_is_somebodys_own(client: testing.TestClient, key: dict[str, str], path: str) -> None:
    """With and without the slash; who is not linked, not known, or may not read, sees nothing."""
    answer = get(client, path.rstrip("/"), key)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "private, no-cache"
    assert {"Cookie", "X-API-Key"} <= set(answer.headers["vary"].split(", "))
    assert len(answer.headers["vary"].split(", ")) == len(set(answer.headers["vary"].split(", ")))
    assert get(client, path, key, workspace_id=342).status_code == 403
    assert get(client, path, {}).status_code == 401
    head = client.simulate_head(path, headers=key, params={"workspace_id": 340})
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == answer.headers["content-length"]
