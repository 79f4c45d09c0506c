"""Shows how lists of campaigns are searched, sorted and paged, and compared with the period before."""

from collections.abc import Callable
from datetime import date, timedelta
from fractions import Fraction
from typing import Any

import pytest
from falcon import testing
from hypothesis import given, settings
from hypothesis import strategies as st

from api.answers import listing
from api.answers.analytics import CAMPAIGNS
from domain import ledger
from domain.access import Access
from domain.recorder import Pool
from tests.support.examples import parsed, session
from tests.support.read_models import project_all

BASE = "/api/v1/dashboard/campaign-analytics/"
LIST = "/api/v1/campaigns/"
NAMES = {1: "Zürich STRASSE", 2: "alpha", 3: "Straße 3", 4: "beta", 5: "Beta"}
Ask = Callable[..., Any]


def event(number: int, campaign_id: int, kind: str = "EmailSent", **more: object) -> dict[str, Any]:
    """Return an event of a campaign, on some day of November."""
    at = f"2026-11-{1 + number % 20:02}T10:00:00Z"
    about: dict[str, Any] = {"id": f"{kind}-{number}", "type": kind, "campaign_id": campaign_id, "occurred_at": at}
    if kind != "CampaignCreated":
        about["prospect_id"] = f"p-{number}"
    return {**about, **more}


@pytest.fixture
def ask(client: testing.TestClient, pool: Pool, users: Access) -> Ask:
    """Give a function that asks as a user of two workspaces with five campaigns each."""
    for workspace_id in (340, 341):
        users.link("u-1", workspace_id, "cli:test")
        events = [event(n, n, "CampaignCreated", name=name) for n, name in NAMES.items()]
        events += [event(number, 1 + number % 4) for number in range(1, 7)]
        events += [event(9, 2), event(9, 2, "ReplyReceived", occurred_at="2026-11-10T12:00:01Z")]
        events += [event(11, 4), event(11, 4, "ReplyReceived", occurred_at="2026-11-12T12:00:00Z")]
        with pool.connection() as database:
            ledger.record(database, workspace_id, parsed(*events))
    project_all(pool)

    def ask(path: str = BASE, status: int = 200, **query: object) -> Any:
        params = {"workspace_id": 340, **query}
        answer = client.simulate_get(path, headers=session("u-1"), params={k: str(v) for k, v in params.items()})
        assert answer.status_code == status, answer.text
        return answer.json

    return ask


def ids(answer: dict[str, Any]) -> list[int]:
    """Return the ids of the campaigns of an answer, in order."""
    return [campaign["id"] for campaign in answer["campaigns"]]


@pytest.mark.parametrize("path", [BASE, LIST])
def test_a_part_of_the_name_is_enough_whatever_its_case(ask: Ask, path: str) -> None:
    """Case is folded as Unicode says, so that STRASSE and straße are the same."""
    assert ids(ask(path, search="strasse")) == [1, 3]
    assert ids(ask(path, search="STRAßE")) == [1, 3]
    assert ids(ask(path, search="BETA")) == [4, 5]
    assert ids(ask(path, search="%")) == []
    ask(path, status=400, search="x" * 257)


def test_the_order_is_that_of_the_field_or_metric(ask: Ask) -> None:
    """Strings by code points; descending with a dash; ties by workspace and id, null last in both directions."""
    assert ids(ask(sort="name")) == [5, 3, 1, 2, 4]
    assert ids(ask(sort="-name")) == [4, 2, 1, 3, 5]
    assert ids(ask(sort="-id")) == [5, 4, 3, 2, 1]
    assert ids(ask(sort="amount_of_emails_sent")) == [5, 1, 3, 4, 2]
    assert ids(ask(sort="-amount_of_emails_sent")) == [2, 3, 4, 1, 5]
    assert ids(ask(sort="-average_reply_time")) == [2, 4, 1, 3, 5], "the mean, not its words"
    assert ids(ask(sort="average_reply_time")) == [4, 2, 1, 3, 5]
    assert ids(ask(sort="-reply_rate", include="extended")) == [4, 2, 1, 3, 5]
    assert ids(ask(LIST, sort="-prospect_count")) == [2, 3, 4, 1, 5]
    assert ask(status=400, sort="reply_rate")["details"][0]["field"] == "sort"
    assert ask(status=400, sort="nonsense")["details"][0]["field"] == "sort"


@pytest.mark.parametrize("path", [BASE, LIST])
@pytest.mark.parametrize("sort", ["", "id", "-id", "name", "-name", "metric", "-metric"])
def test_pages_are_the_whole_list_each_row_once(ask: Ask, path: str, sort: str) -> None:
    """With `limit` an answer has `next`, null at the end; without it all rows and no `next`."""
    sort = sort.replace("metric", "average_reply_time" if path == BASE else "prospect_count")
    order = {"sort": sort} if sort else {}
    whole = ask(path, workspace_id="ALL", **order)
    assert "next" not in whole
    rows: list[Any] = []
    cursor: dict[str, str] = {}
    while True:
        page = ask(path, workspace_id="ALL", limit=3, **order, **cursor)
        rows += page["campaigns"]
        if page["next"] is None:
            break
        assert len(page["campaigns"]) == 3
        cursor = {"cursor": page["next"]}
    assert rows == whole["campaigns"]


def test_a_cursor_belongs_to_its_question(ask: Ask) -> None:
    """Another order, search or period refuses it; one that is made up is named."""
    following = ask(limit=2)["next"]
    assert ids(ask(limit=5, cursor=following)) == [3, 4, 5], "a page may have another length"
    for other in ({"sort": "name"}, {"search": "a"}, {"start_date": "2026-11-01"}, {"workspace_id": 341}):
        assert ask(status=400, limit=2, cursor=following, **other)["details"][0]["field"] == "cursor"
    assert ask(status=400, cursor=following)["details"][0]["field"] == "limit"
    assert ask(status=400, limit=2, cursor="e30")["details"][0]["field"] == "cursor"
    assert ask(status=400, limit=0)["details"][0]["field"] == "limit"


values = st.none() | st.fractions(-1, 1, max_denominator=4)


@given(
    rows=st.lists(st.tuples(st.integers(1, 3), st.integers(1, 9), values), unique_by=lambda row: row[:2]),
    limit=st.integers(1, 4),
    descending=st.booleans(),
)
@settings(deadline=None)
def test_pages_add_up_whatever_the_values(
    rows: list[tuple[int, int, int | Fraction | None]], limit: int, *, descending: bool
) -> None:
    """Ties and nulls too; no row is left out and none comes twice."""
    sort = "-amount_of_replies" if descending else "amount_of_replies"

    def page(more: str) -> tuple[list[Any], str | None]:
        request = testing.create_req(query_string=f"workspace_id=ALL&sort={sort}{more}")
        return listing.page(CAMPAIGNS.parse(request), rows, lambda row: listing.Row(row[0], row[1], "", row[2]))

    whole, _ = page("")
    shown, following = page(f"&limit={limit}")
    while following is not None:
        more, following = page(f"&limit={limit}&cursor={following}")
        assert len(more) <= limit
        shown += more
    assert shown == whole
    present = [row[2] for row in whole if row[2] is not None]
    assert present == sorted(present, reverse=descending)
    assert [row[2] for row in whole[len(present) :]] == [None] * (len(whole) - len(present))


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Asia/Kathmandu"])
@pytest.mark.parametrize("dated", ["event", "first_touch"])
def test_the_period_before_is_that_of_as_many_days(ask: Ask, zone: str, dated: str) -> None:
    """Beside each campaign's numbers, and beside the summary's, stand those that the period before is asked for."""
    start, end = date(2026, 11, 6), date(2026, 11, 12)
    query = {"timezone": zone, "dated": dated, "include": "extended"}
    compared = {**query, "start_date": start, "end_date": end, "compare": "previous"}
    before = {**query, "start_date": start - timedelta(7), "end_date": start - timedelta(1)}
    shown = ask(**compared)["campaigns"]
    assert [each["previous"] for each in shown] == [each["analytics"] for each in ask(**before)["campaigns"]]
    summary = ask(BASE + "summary/", **compared)
    assert summary["previous"] == ask(BASE + "summary/", **before)["analytics"]
    del compared["compare"]
    assert summary["analytics"] == ask(BASE + "summary/", **compared)["analytics"]


def test_a_comparison_needs_both_dates(ask: Ask) -> None:
    """The first days that can be asked have nothing before them."""
    for dates in ({}, {"start_date": "2026-11-01"}, {"end_date": "2026-11-01"}):
        assert ask(status=400, compare="previous", **dates)["details"][0]["field"] == "compare"
    first = ask(BASE + "summary/", compare="previous", start_date="1970-01-01", end_date="2026-12-31")
    assert first["previous"]["amount_of_emails_sent"] == 0
    assert first["analytics"]["amount_of_emails_sent"] == 8
