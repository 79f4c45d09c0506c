"""Shows how a number is explained: page by page, each of one position of the log, and each at the cost of its rows."""

from typing import Any

import pytest
from falcon import testing

from domain import ledger
from domain.access import Access
from domain.recorder import Pool
from projections.queries import campaigns as rows
from tests.support.examples import api_key, email_sent, parsed, worked_example
from tests.support.read_models import project_all

PATH = "/api/v1/dashboard/campaign-analytics/123/explain/"
SENT = "amount_of_emails_sent"


class Reader:
    """Asks for the explanations of campaign 123 in workspace 340."""

    def __init__(self, client: testing.TestClient, pool: Pool, users: Access) -> None:
        """Link a user and give them a key."""
        self.client, self.pool, self.users = client, pool, users
        self.key = api_key(users, 340)

    def record(self, *events: dict[str, Any]) -> None:
        """Record and project events."""
        with self.pool.connection() as database:
            ledger.record(database, 340, parsed(*events))
        project_all(self.pool)

    def ask(self, path: str = PATH, **query: Any) -> testing.Result:
        """Return the answer, about the e-mails sent unless another metric is named."""
        query = {"workspace_id": 340, "metric": SENT, **query}
        return self.client.simulate_get(path, headers=self.key, params=query)


def retraction(event: dict[str, Any]) -> dict[str, Any]:
    """Return what takes an event back."""
    about = {name: event[name] for name in ("campaign_id", "prospect_id", "occurred_at")}
    return {"id": f"r-{event['id']}", "type": "EventRetracted", "retracts": {"id": event["id"]}, **about}


@pytest.fixture
def reader(client: testing.TestClient, pool: Pool, users: Access) -> Reader:
    """Give a reader."""
    return Reader(client, pool, users)


@pytest.fixture
def reads_of_journeys(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Give what lists each read of a campaign's journeys."""
    reads: list[Any] = []
    read = rows.read

    def counted(*arguments: Any) -> Any:
        reads.append(arguments)
        return read(*arguments)

    monkeypatch.setattr(rows, "read", counted)
    return reads


def test_an_unknown_campaign_is_a_404(reader: Reader) -> None:
    """Behind a 403: an answer does not show whether a foreign workspace has the campaign."""
    reader.record(email_sent(1))
    unknown = PATH.replace("123", "9")
    assert reader.ask(unknown).status_code == 404
    assert reader.ask(unknown, workspace_id=342).status_code == 403
    assert reader.ask(metric="amount_of_replies").json["value"] == 0


def test_a_cursor_belongs_to_its_question(reader: Reader) -> None:
    reader.record(*worked_example())
    page = reader.ask(limit=1).json
    other = reader.ask(metric="amount_of_replies", limit=1, cursor=page["next"])
    assert other.status_code == 400
    assert other.json["details"][0]["field"] == "cursor"


def test_pages_are_of_one_position(reader: Reader) -> None:
    """However many events come meanwhile, before, within and behind earlier pages, the parts add up to the value."""
    reader.record(*(email_sent(n, prospect_id="a") for n in range(1, 8)))
    values: list[int] = []
    contributions: list[Any] = []
    cursor: dict[str, str] = {}
    while True:
        page = reader.ask(limit=2, **cursor).json
        contributions += page["contributions"]
        values.append(page["value"])
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
        reader.record(
            *(email_sent(100 * len(values) + n, occurred_at=f"2026-1{n}-01T10:00:00Z") for n in (0, 1)),
        )
    assert values == [7, 7, 7, 7]
    assert [each["events"][0]["position"] for each in contributions] == [1, 2, 3, 4, 5, 6, 7]


def test_further_pages_read_no_journeys(reader: Reader, reads_of_journeys: list[Any]) -> None:
    """Whatever their size, and while events arrive; another question, or the first page of a new position, does."""
    reader.record(*(email_sent(n, prospect_id=f"p-{n}") for n in range(1, 8)))
    first = reader.ask(limit=1).json
    assert len(reads_of_journeys) == 1
    reader.record(email_sent(8))
    second = reader.ask(limit=2, cursor=first["next"]).json
    third = reader.ask(limit=1000, cursor=second["next"]).json
    assert len(reads_of_journeys) == 1
    pages = [*first["contributions"], *second["contributions"], *third["contributions"]]
    assert [each["prospect_id"] for each in pages] == [f"p-{n}" for n in range(1, 8)]
    assert reader.ask(limit=1).json["value"] == 8
    assert len(reads_of_journeys) == 2
    assert reader.ask(metric="amount_of_replies").json["value"] == 0
    assert len(reads_of_journeys) == 3


def test_a_cached_explanation_is_for_those_who_are_linked(reader: Reader, reads_of_journeys: list[Any]) -> None:
    """From the very next request after the link has gone."""
    reader.record(*(email_sent(n) for n in range(1, 4)))
    cursor = reader.ask(limit=1).json["next"]
    reader.users.unlink("u-1", 340, "cli:test")
    assert reader.ask(limit=1, cursor=cursor).status_code == 403
    reader.users.link("u-1", 340, "cli:test")
    assert reader.ask(limit=2, cursor=cursor).status_code == 200
    assert len(reads_of_journeys) == 1


@pytest.mark.parametrize("cached", [True, False])
def test_a_page_shows_what_was_retracted_since_the_first_one(
    reader: Reader,
    other_client: testing.TestClient,
    reads_of_journeys: list[Any],
    cached: bool,  # noqa: FBT001 (whether the process has the explanation)
) -> None:
    """Also where nothing of the campaign counts any more, in the process that made the first page and in others."""
    events = [email_sent(n) for n in (1, 2)]
    reader.record(*events)
    cursor = reader.ask(limit=1).json["next"]
    reader.record(*map(retraction, events))
    assert reader.ask().status_code == 404
    reader.client = reader.client if cached else other_client
    reads_of_journeys.clear()
    page = reader.ask(limit=10, cursor=cursor).json
    assert (page["value"], len(page["contributions"]), page["next"]) == (2, 1, None)
    assert len(reads_of_journeys) == (not cached)
