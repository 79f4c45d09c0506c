"""Shows what the dashboard answers, to whom, and how fresh that is."""

import asyncio
import time
from typing import Any

import falcon
import pytest
from falcon import testing

import api.answers.waiting
from api.answers import dashboard
from domain import ledger
from domain.access import Access
from domain.recorder import Pool
from projections.queries import dashboard as dashboard_query
from tests.support.examples import WORKED_EXAMPLE_ANALYTICS, api_key, email_sent, parsed, worked_example
from tests.support.read_models import project_all

PATH = "/api/v1/dashboard/campaign-analytics/"
DENIED = b'{"error": "Access denied"}'
WORKED_BYTES = (
    b'{"campaigns":[{"id":123,"name":"My Campaign","status":"ACTIVE","workspace_id":340,"analytics":'
    b'{"amount_of_prospects":2,"amount_of_emails_sent":3,"amount_of_invites_sent":1,"amount_of_invites_accepted":1,'
    b'"amount_of_linkedin_messages_sent":1,"amount_of_prospects_contacted":3,"amount_of_replies":3,'
    b'"amount_of_interested":1,"average_reply_time":"2 days"}}]}'
)
ABOUT = {"type": "CampaignCreated", "campaign_id": 123, "occurred_at": "2026-11-01T08:00:00Z"}
CREATED = {"id": "c-1", **ABOUT, "name": "My Campaign", "status": "ACTIVE"}
RENAMED = {"id": "r-1", **ABOUT, "type": "CampaignRenamed", "name": "N"}
PAUSED = {"id": "s-1", **ABOUT, "type": "CampaignStatusChanged", "status": "PAUSED"}


@pytest.fixture
def key(users: Access) -> dict[str, str]:
    """Give the header of a key that may read workspace 340, the current one, and 341."""
    return api_key(users, 340, 341)


def get(client: testing.TestClient, headers: dict[str, str], query: str = "", path: str = PATH) -> testing.Result:
    """Ask for the dashboard."""
    return client.simulate_get(path, headers=headers, query_string=query)


def record(pool: Pool, workspace_id: int, *events: dict[str, Any]) -> None:
    """Record events, and do not project them."""
    with pool.connection() as database:
        ledger.record(database, workspace_id, parsed(*events))


def stick(pool: Pool, workspace_id: int) -> None:
    """Let the workspace's last event be one that this version doesn't know, and project as far as can be."""
    with pool.connection() as database:
        database.execute(
            "UPDATE stored_events SET topic = 'domain.events:Unknown' WHERE workspace_id = %s AND position ="
            " (SELECT head FROM log_head WHERE workspace_id = %s)",
            (workspace_id, workspace_id),
        )
    project_all(pool)


@pytest.mark.parametrize("path", [PATH, PATH.rstrip("/")])
@pytest.mark.parametrize("query", ["", "workspace_id=340", "workspace_id=ALL", "min_position=14"])
def test_the_worked_example_is_answered_byte_for_byte(
    client: testing.TestClient, pool: Pool, key: dict[str, str], path: str, query: str
) -> None:
    """Shape, order of keys and numbers are those of the contract, with and without the slash."""
    record(pool, 340, CREATED, *worked_example())
    project_all(pool)
    result = get(client, key, query, path)
    assert (result.status_code, result.content) == (200, WORKED_BYTES)
    assert (result.headers["content-type"], result.headers["x-lag"]) == ("application/json", "0")
    assert result.headers.get("x-position") == (None if "ALL" in query else "14")


def test_campaigns_are_sorted_by_workspace_then_id(client: testing.TestClient, pool: Pool, users: Access) -> None:
    """Numbers sort as numbers; a workspace that is not linked is not there, one without events shows nothing."""
    for workspace in (9, 10, 1000, 2):
        for campaign in (10, 9, 100):
            record(pool, workspace, email_sent(campaign, campaign_id=campaign))
    project_all(pool)
    result = get(client, api_key(users, 1000, 9, 10, 11), "workspace_id=ALL")
    order = [(each["workspace_id"], each["id"]) for each in result.json["campaigns"]]
    assert order == [(workspace, campaign) for workspace in (9, 10, 1000) for campaign in (9, 10, 100)]


@pytest.mark.parametrize(
    ("events", "name", "status"),
    [
        ([email_sent()], "Campaign 123", "UNKNOWN"),
        ([email_sent(), RENAMED], "N", "UNKNOWN"),
        ([email_sent(), PAUSED], "Campaign 123", "PAUSED"),
        ([{"id": "c-1", **ABOUT, "name": "😀 <b>"}], "😀 <b>", "DRAFT"),
        ([CREATED, RENAMED, PAUSED], "N", "PAUSED"),
    ],
)
def test_name_and_status_come_each_on_their_own(  # noqa: PLR0913 (a row of the table)
    client: testing.TestClient, pool: Pool, key: dict[str, str], events: list[dict[str, Any]], name: str, status: str
) -> None:
    """A campaign of which one is not known yet is shown all the same."""
    record(pool, 340, *events)
    project_all(pool)
    (campaign,) = get(client, key).json["campaigns"]
    assert (campaign["name"], campaign["status"]) == (name, status)


def test_workspaces_are_chosen_by_the_query(client: testing.TestClient, pool: Pool, key: dict[str, str]) -> None:
    """None named is the current one, a number that one, `ALL` all that are linked; nothing joins two."""
    record(pool, 340, *worked_example())
    record(pool, 341, *worked_example(), *worked_example(124))
    project_all(pool)
    for query, expected in {
        "": [(340, 123)],
        "workspace_id=340": [(340, 123)],
        "workspace_id=341": [(341, 123), (341, 124)],
        "workspace_id=ALL": [(340, 123), (341, 123), (341, 124)],
    }.items():
        campaigns = get(client, key, query).json["campaigns"]
        assert [(each["workspace_id"], each["id"]) for each in campaigns] == expected
        assert all(each["analytics"] == WORKED_EXAMPLE_ANALYTICS for each in campaigns)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        *[
            (f"workspace_id={bad}", "workspace_id")
            for bad in ("0", "-1", "+340", "%2B340", "1e3", "%20340", "340%20", "0340", "3_4", "0x1", "340.0", "all")
        ],
        *[
            (f"workspace_id={bad}", "workspace_id")
            for bad in (
                "%D9%A3%D9%A4%D9%A0",
                "3%D9%A4%D9%A0",
                str(2**63),
                "9" * 5_000,
                "",
                "340&workspace_id=340",
                "340,341",
                "%FF",
                "%00",
            )
        ],
        ("workspace_id", "workspace_id"),
        ("campaign_key=%FF", "campaign_key"),
        ("search=a%C3", "search"),
        ("workspace_id=ALL&workspace_id=340", "workspace_id"),
        *[(f"min_position={bad}", "min_position") for bad in ("-1", "x", "", "1.0", "00", str(2**63))],
        ("workspace_id=ALL&min_position=0", "min_position"),
        ("min_position=0&min_position=0", "min_position"),
        ("workspace=340", "workspace"),
        ("Workspace_id=340", "Workspace_id"),
        ("workspace_id=340&%20min_position=1", " min_position"),
        ("x" * 65 + "=" + "y" * 65, "x" * 63 + "…"),
    ],
)
def test_a_malformed_query_is_refused_by_name(
    client: testing.TestClient, key: dict[str, str], query: str, field: str
) -> None:
    """A typo must not widen an answer: unknown, repeated, empty or junk is a 400 that names the parameter."""
    result = get(client, key, query)
    assert (result.status_code, list(result.json)) == (400, ["error", "details"])
    assert [each["field"] for each in result.json["details"]] == [field]
    assert field in result.json["error"]
    assert "y" * 65 not in result.text


def test_all_faults_of_a_query_are_named(client: testing.TestClient, key: dict[str, str]) -> None:
    """Two typos need no two attempts."""
    assert [each["field"] for each in get(client, key, "a=1&b=2").json["details"]] == ["a", "b"]


def test_lag_and_position_say_how_fresh_it_is(client: testing.TestClient, pool: Pool, key: dict[str, str]) -> None:
    """Lag counts what the log holds and the answer does not, over all workspaces asked for."""
    assert (get(client, key).headers["x-lag"], get(client, key).headers["x-position"]) == ("0", "0")
    record(pool, 340, email_sent(1), email_sent(2))
    project_all(pool)
    record(pool, 340, email_sent(3))
    record(pool, 341, email_sent(1), email_sent(2))
    one, every = get(client, key), get(client, key, "workspace_id=ALL")
    assert (one.headers["x-lag"], one.headers["x-position"]) == ("1", "2")
    assert (every.headers["x-lag"], "x-position" in every.headers) == ("3", False)
    assert one.json["campaigns"][0]["analytics"]["amount_of_emails_sent"] == 2


@pytest.mark.parametrize("stuck", [False, True])
def test_a_position_not_reached_is_a_503(
    client: testing.TestClient,
    pool: Pool,
    key: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    stuck: bool,  # noqa: FBT001
) -> None:
    """It waits a while, or, where the workspace is stuck, not at all; what is reached already is answered."""
    record(pool, 340, email_sent(1))
    project_all(pool)
    record(pool, 340, email_sent(2))
    if stuck:
        stick(pool, 340)
    else:
        monkeypatch.setattr(api.answers.waiting, "WAIT_SECONDS", 0.05)
    began = time.monotonic()
    result = get(client, key, "min_position=2")
    assert (result.status_code, result.headers["retry-after"], list(result.json)) == (503, "1", ["error"])
    assert ("stuck" in result.json["error"]) is stuck
    assert time.monotonic() - began < 4
    assert get(client, key, "min_position=1").headers["x-position"] == "1"


def test_a_writer_reads_their_own_writes(
    client: testing.TestClient, pool: Pool, key: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader that waits is answered as soon as the position is reached, and includes it; too many are sent away."""
    monkeypatch.setattr(api.answers.waiting, "MOST_WAITING", 2)

    async def read() -> list[testing.Result]:
        async with testing.ASGIConductor(client.app) as conductor:
            query = "workspace_id=340&min_position=1"
            tasks = [
                asyncio.ensure_future(conductor.simulate_get(PATH, headers=key, query_string=query)) for _ in range(3)
            ]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            record(pool, 340, email_sent(1))
            project_all(pool)
            answers = await asyncio.gather(*tasks)
        return sorted(answers, key=lambda answer: answer.status_code)

    *answered, refused = falcon.async_to_sync(read)
    assert [(each.status_code, len(each.json["campaigns"])) for each in answered] == [(200, 1)] * 2
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert "Too many requests" in refused.json["error"]


def test_a_workspace_with_many_campaigns_is_answered_as_a_whole(
    client: testing.TestClient, pool: Pool, key: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is read on the event loop's connection is bounded; more than that takes a thread, and gives the same."""
    record(pool, 340, *(email_sent(number, campaign_id=number) for number in range(1, 8)))
    project_all(pool)
    monkeypatch.setattr(dashboard_query, "MOST_ASKED", 3)
    answer = get(client, key)
    assert [each["id"] for each in answer.json["campaigns"]] == list(range(1, 8))
    monkeypatch.setattr(dashboard, "MOST_BYTES_ON_THE_LOOP", 100)
    again = get(client, key)
    assert (again.content, again.headers["etag"]) == (answer.content, answer.headers["etag"])
