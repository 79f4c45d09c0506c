"""Shows that numbers can be looked at as the log had them, and what has changed since."""

from typing import Any

import pytest
from falcon import testing
from hypothesis import given

from domain import ledger
from domain.access import Access
from domain.recorder import Pool
from tests.support import reference
from tests.support.examples import email_sent, parsed, session, worked_example
from tests.support.histories import histories, workspaces
from tests.support.properties import on_the_database
from tests.support.read_models import project_all
from tests.support.stored_events import record

BASE = "/api/v1/dashboard/campaign-analytics/"


def get(client: testing.TestClient, path: str = BASE, status: int = 200, /, **query: object) -> Any:
    """Return the answer to a user who may read."""
    params = {name: str(value) for name, value in query.items()}
    answer = client.simulate_get(path, headers=session("reader"), params=params)
    assert answer.status_code == status, answer.text
    return answer


@on_the_database(30)
@given(history=histories)
def test_as_of_a_position_the_numbers_are_those_of_the_log_up_to_there(
    client: testing.TestClient, pool: Pool, users: Access, history: list[dict[str, Any]]
) -> None:
    """At every position, names and statuses too; and what has changed is what differs between two of them."""
    workspace_id = next(workspaces)
    users.link("reader", workspace_id, "cli:test")
    with pool.connection() as database:
        recorded = ledger.record(database, workspace_id, parsed(*history))
    project_all(pool)
    log = reference.distinct(history)
    before: dict[int, dict[str, Any]] = {}
    for position in range(recorded.position + 1):
        answer = get(client, workspace_id=workspace_id, as_of=position)
        expected = reference.campaigns(log[:position])
        assert answer.json["campaigns"] == [{**each, "workspace_id": workspace_id} for each in expected]
        assert answer.headers["x-position"] == str(position)
        assert answer.headers["x-lag"] == str(recorded.position - position)
        after = {each["id"]: each for each in expected}
        if position:
            query = {"workspace_id": workspace_id, "from": position - 1, "to": position}
            changed = get(client, BASE + "changes/", **query).json
            assert (changed["from"], changed["to"]) == (position - 1, position)
            assert changed["campaigns"] == differences(workspace_id, before, after)
        before = after


NOTHING = {**dict.fromkeys(reference.campaigns([email_sent()])[0]["analytics"], 0), "average_reply_time": None}


def differences(workspace_id: int, before: dict[int, Any], after: dict[int, Any]) -> list[dict[str, Any]]:
    """Return what differs between two answers of the reference, by campaign."""
    rows = []
    for campaign_id in sorted(before.keys() | after.keys()):
        sides = [each.get(campaign_id, {}).get("analytics", NOTHING) for each in (before, after)]
        shown = after.get(campaign_id) or before[campaign_id]
        changes = [
            {"metric": name, "before": sides[0][name], "after": sides[1][name]}
            for name in NOTHING
            if sides[0][name] != sides[1][name]
        ]
        if changes:
            named = {"id": campaign_id, "name": shown["name"], "status": shown["status"], "workspace_id": workspace_id}
            rows.append({**named, "changes": changes})
    return rows


@pytest.fixture
def world(client: testing.TestClient, pool: Pool, users: Access) -> testing.TestClient:
    """Give the application with the worked example in workspace 340, and another event behind it."""
    users.link("reader", 340, "cli:test")
    record(pool, 340, *worked_example())
    record(pool, 340, email_sent(99, campaign_id=123, occurred_at="2026-11-06T10:00:00Z"))
    project_all(pool)
    return client


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("summary/", {}),
        ("summary/", {"start_date": "2026-11-01", "end_date": "2026-11-30", "compare": "previous"}),
        ("timeseries/", {"interval": "week"}),
        ("timeseries/", {"interval": "hour", "per": "campaign", "timezone": "Asia/Kathmandu"}),
        ("breakdown/", {"by": "channel"}),
        ("reply-times/", {}),
        ("reply-times/", {"by": "campaign"}),
        ("breakdown/", {"by": "weekday,hour"}),
        ("123/explain/", {"metric": "amount_of_emails_sent"}),
        ("", {"dated": "first_touch", "include": "extended"}),
        ("", {"format": "csv", "sort": "-amount_of_replies"}),
    ],
)
def test_every_question_can_be_asked_as_of_a_position(
    world: testing.TestClient, pool: Pool, users: Access, path: str, query: dict[str, str]
) -> None:
    """It is answered as by a log that ends there, and its tag does not move when the log grows."""
    users.link("reader", 341, "cli:test")
    record(pool, 341, *worked_example())
    project_all(pool)
    position = len(worked_example())
    then = get(world, BASE + path, workspace_id=340, as_of=position, **query)
    only = get(world, BASE + path, workspace_id=341, **query)
    assert then.text.replace("340", "341") == only.text
    record(pool, 340, email_sent(100, campaign_id=123))
    project_all(pool)
    again = world.simulate_get(
        BASE + path,
        headers={**session("reader"), "If-None-Match": then.headers["etag"]},
        params={"workspace_id": "340", "as_of": str(position), **query},
    )
    assert again.status_code == 304


def test_an_instant_stands_for_the_last_event_recorded_up_to_it(world: testing.TestClient, pool: Pool) -> None:
    """The times of recording are those that the feed shows, to the millisecond."""
    events = world.simulate_get("/api/v1/events/", headers=session("reader")).json["events"]
    last = len(worked_example())
    for at, position in (
        (
            events[last - 1]["recorded_at"],
            last if events[last]["recorded_at"] > events[last - 1]["recorded_at"] else last + 1,
        ),
        (events[-1]["recorded_at"], last + 1),
        ("1999-01-01T00:00:00Z", 0),
    ):
        assert get(world, workspace_id=340, as_of=at).headers["x-position"] == str(position)
    del pool


@pytest.mark.parametrize(
    ("path", "query", "field"),
    [
        ("", {"as_of": "15"}, "as_of"),
        ("", {"as_of": "2999-01-01T00:00:00Z"}, "as_of"),
        ("", {"as_of": "yesterday"}, "as_of"),
        ("", {"as_of": "-1"}, "as_of"),
        ("", {"as_of": "3", "workspace_id": "ALL"}, "as_of"),
        ("changes/", {}, "from"),
        ("changes/", {"from": "9", "to": "3"}, "to"),
        ("changes/", {"from": "99"}, "from"),
        ("changes/", {"from": "1", "to": "2026-11-01"}, "to"),
    ],
)
def test_a_moment_that_cannot_be_is_named(
    world: testing.TestClient, path: str, query: dict[str, str], field: str
) -> None:
    answer = get(world, BASE + path, 400, **query)
    assert field in [each["field"] for each in answer.json["details"]]


def test_positions_in_the_wrong_order_are_a_fault_whoever_asks(world: testing.TestClient) -> None:
    """The query alone shows it, so nobody's access is asked."""
    for workspace_id in (340, 999):
        answer = get(world, BASE + "changes/", 400, workspace_id=workspace_id, **{"from": 9, "to": 3})
        assert [each["field"] for each in answer.json["details"]] == ["to"]


def test_changes_up_to_now_and_of_nothing(world: testing.TestClient) -> None:
    """Without `to` it is now; between a position and itself nothing has changed."""
    answer = get(world, BASE + "changes/", workspace_id=340, **{"from": len(worked_example())}).json
    assert answer["to"] == len(worked_example()) + 1
    [campaign] = answer["campaigns"]
    assert {"metric": "amount_of_emails_sent", "before": 3, "after": 4} in campaign["changes"]
    assert get(world, BASE + "changes/", **{"from": 5, "to": 5}).json == {"from": 5, "to": 5, "campaigns": []}
