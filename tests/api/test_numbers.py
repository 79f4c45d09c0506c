"""Shows that whatever the period, the zone or the breakdown, the parts are right and add up to the whole."""

import math
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import pytest
from falcon import testing
from hypothesis import given
from hypothesis import strategies as st

from domain import ledger
from domain.access import Access
from domain.events import EVENTS, ProspectEvent
from domain.instants import format_instant
from domain.recorder import Pool
from projections import metrics
from projections.building import verification
from tests.support import reference, reference_periods
from tests.support.examples import email_sent, parsed, session
from tests.support.histories import with_retractions, workspaces
from tests.support.properties import on_the_database
from tests.support.read_models import project_all
from tests.support.reference_periods import FURTHER, MAIN

BASE = "/api/v1/dashboard/campaign-analytics/"
ZONES = ("UTC", "Europe/Berlin", "Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe")
# About both changes of summer time in Berlin, and both in Lord Howe.
CHANGES = ("2026-03-28T18:00:00Z", "2026-10-24T18:00:00Z", "2026-04-04T06:00:00Z", "2026-10-03T06:00:00Z")
KINDS = (
    *(event.__name__ for event in EVENTS if issubclass(event, ProspectEvent)),
    *["ReplyReceived"] * 3,
    "ReplyWasAutomatic",
)
QUARTER = timedelta(minutes=15)


class Asked(NamedTuple):
    """A period of a query."""

    zone: str
    start: date | None
    end: date | None
    how: str

    def query(self, **more: object) -> dict[str, Any]:
        """Return the parameters that ask for it."""
        parameters = {"timezone": self.zone, "start_date": self.start, "end_date": self.end, "dated": self.how, **more}
        return {name: str(value) for name, value in parameters.items() if value is not None}

    def is_long(self) -> bool:
        """Return whether it may have too many hours for one answer."""
        return self.start is None or self.end is None or self.end - self.start > timedelta(days=40)

    def instants(self) -> dict[str, Any]:
        """Return the same as the reference takes it, in ms."""
        zone = ZoneInfo(self.zone)
        first = None if self.start is None else begins(self.start, zone)
        end = None if self.end is None else begins(self.end + timedelta(days=1), zone)
        return {"first": first, "end": end, "how": self.how}


def begins(day: date, zone: ZoneInfo) -> int:
    """Return the first quarter hour (ms) in which the local date is that day, found by walking up to it."""
    at = datetime(day.year, day.month, day.day, tzinfo=UTC) - timedelta(days=2)
    while at.astimezone(zone).date() < day:
        at += QUARTER
    return ms(at)


def ms(at: datetime) -> int:
    """Return an instant in ms."""
    return round(at.timestamp() * 1000)


@st.composite
def histories(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Return what happened within two days or so about a change of summer time."""
    base = datetime.fromisoformat(draw(st.sampled_from(CHANGES)))
    offset = st.tuples(st.integers(0, 200), st.sampled_from([0, 1, 450_000, 899_999]))
    event = st.fixed_dictionaries(
        {
            "type": st.sampled_from(KINDS),
            "campaign_id": st.sampled_from([1, 1, 2]),
            "prospect_id": st.sampled_from(["a", "a", "b", "é"]),
            "occurred_at": offset.map(lambda o: format_instant(ms(base) + o[0] * 900_000 + o[1])),
        },
        optional={
            "step": st.sampled_from([0, 1, 2]),
            "sender_id": st.sampled_from(["s", "é"]),
            "variant": st.sampled_from(["A", "B"]),
        },
    )
    events = draw(st.lists(event, min_size=draw(st.sampled_from([0, 8, 16])), max_size=30))  # else most are short
    for number, each in enumerate(events):
        each["id"] = f"e-{number}"
        if each["type"] == "ReplyReceived":
            each.update(draw(st.sampled_from([{}, {"automatic": True}, {"channel": "email"}, {"channel": "linkedin"}])))
    if events and draw(st.sampled_from([True, False])):  # events alike but for their ids
        events += [{**draw(st.sampled_from(events)), "id": f"again-{number}"} for number in range(5)]
    return draw(with_retractions(events))


days = st.none() | st.dates(date(2026, 3, 27), date(2026, 3, 31)) | st.dates(date(2026, 10, 22), date(2026, 10, 28))
periods = st.builds(Asked, st.sampled_from(ZONES), days, days, st.sampled_from(["event", "first_touch"])).filter(
    lambda asked: asked.start is None or asked.end is None or asked.start <= asked.end
)


class World(NamedTuple):
    """A workspace with a history, and a user who may read it."""

    client: testing.TestClient
    workspace_id: int
    history: list[dict[str, Any]]

    def get(self, path: str = "", **query: object) -> Any:
        """Return what is answered."""
        parameters = {"workspace_id": self.workspace_id, **query}
        answer = self.client.simulate_get(BASE + path, params=parameters, headers=session("reader"))
        assert answer.status_code == 200, answer.text
        return answer.json


def world(client: testing.TestClient, pool: Pool, users: Access, history: list[dict[str, Any]]) -> World:
    """Tell a history in two parts, each of which is projected, to a workspace of its own."""
    workspace_id = next(workspaces)
    users.link("reader", workspace_id, "cli:test")
    for part in (history[::2], history[1::2]):
        with pool.connection() as database:
            ledger.record(database, workspace_id, parsed(*part))
        project_all(pool)
    return World(client, workspace_id, [*history[::2], *history[1::2]])


@given(history=histories(), asked=periods)
@on_the_database(40)
def test_a_period_is_what_happened_in_it(
    client: testing.TestClient, pool: Pool, users: Access, history: list[dict[str, Any]], asked: Asked
) -> None:
    """Each campaign's numbers, and those of all as one, are the naive ones; a campaign without any has zeros."""
    made = world(client, pool, users, history)
    campaigns = made.get(**asked.query(include="extended"))["campaigns"]
    assert [each["id"] for each in campaigns] == sorted({each["campaign_id"] for each in reference.counting(history)})
    for each in campaigns:
        assert each["analytics"] == reference_periods.whole(made.history, [each["id"]], **asked.instants())
    summary = made.get("summary/", **asked.query(include="extended"))
    expected = reference_periods.whole(made.history, **asked.instants())
    assert summary == {"workspaces": 1, "campaigns": len(campaigns), "analytics": expected}
    assert list(summary["analytics"]) == list(expected)


@given(history=histories(), asked=periods, interval=st.sampled_from(["hour", "day", "week", "month"]))
@on_the_database(40)
def test_buckets_hold_what_happened_in_them(  # noqa: PLR0913 (a world and a question)
    client: testing.TestClient,
    pool: Pool,
    users: Access,
    history: list[dict[str, Any]],
    asked: Asked,
    interval: str,
) -> None:
    """Each bucket's numbers are the naive ones of its stretch of time, and together they are the whole's."""
    if interval == "hour" and asked.is_long():
        asked = Asked(asked.zone, None, None, asked.how)
    made = world(client, pool, users, history)
    query = asked.query(include="extended", interval=interval)
    answer = made.get("timeseries/", **query)
    assert (answer["interval"], answer["timezone"]) == (interval, asked.zone)
    starts = [ms(datetime.fromisoformat(bucket["start"])) for bucket in answer["series"]]
    end = asked.instants()["end"]
    for bucket, first, following in zip(answer["series"], starts, [*starts[1:], end], strict=False):
        stretch = {"first": first, "end": following, "how": asked.how}
        assert bucket["analytics"] == reference_periods.whole(made.history, **stretch)
    whole = made.get("summary/", **asked.query(include="extended"))["analytics"]
    for name in (*MAIN, *FURTHER):
        assert sum(bucket["analytics"][name] for bucket in answer["series"]) == whole[name]
    each_one = made.get("timeseries/", **query, per="campaign")["campaigns"]
    for campaign in each_one:
        assert [bucket["start"] for bucket in campaign["series"]] == [bucket["start"] for bucket in answer["series"]]
    for place, bucket in enumerate(answer["series"]):
        together = sum(campaign["series"][place]["analytics"]["amount_of_replies"] for campaign in each_one)
        assert together == bucket["analytics"]["amount_of_replies"]


@given(history=histories(), asked=periods, by=st.sampled_from(["step", "step,variant", "sender", "channel"]))
@on_the_database(40)
def test_rows_hold_what_belongs_to_them(  # noqa: PLR0913 (a world and a question)
    client: testing.TestClient, pool: Pool, users: Access, history: list[dict[str, Any]], asked: Asked, by: str
) -> None:
    """Each row's numbers are the naive ones, in order; all but those that count in several add up to the whole."""
    made = world(client, pool, users, history)
    answer = made.get("breakdown/", **asked.query(include="extended", by=by))
    expected = reference_periods.breakdown(made.history, tuple(by.split(",")), **asked.instants())
    assert answer == {"by": by.split(","), "rows": expected}
    whole = made.get("summary/", **asked.query(include="extended"))["analytics"]
    for name in {*MAIN, *FURTHER} - {"amount_of_prospects", "amount_of_prospects_contacted"}:
        assert sum(row["analytics"][name] for row in answer["rows"]) == whole[name]


@given(history=histories(), asked=periods)
@on_the_database(40)
def test_hours_of_the_week_hold_what_happened_in_them(
    client: testing.TestClient, pool: Pool, users: Access, history: list[dict[str, Any]], asked: Asked
) -> None:
    """Each quarter hour belongs to the weekday and the hour of the zone in which it begins; the rows add up."""
    made = world(client, pool, users, history)
    shown = made.get("breakdown/", **asked.query(include="extended", by="weekday,hour"))
    parts = reference_periods.within(reference_periods.parts(made.history), **asked.instants())
    rows: dict[tuple[int, int], list[reference_periods.Part]] = {}
    for part in parts:
        at = reference_periods.dated(part, asked.how)
        assert at is not None
        local = datetime.fromtimestamp(at // 900_000 * 900, UTC).astimezone(ZoneInfo(asked.zone))
        rows.setdefault((local.isoweekday(), local.hour), []).append(part)
    expected = [
        {
            "weekday": day,
            "hour": hour,
            "analytics": reference_periods.analytics(reference_periods.summed(rows[day, hour])),
        }
        for day, hour in sorted(rows)
    ]
    assert shown == {"by": ["weekday", "hour"], "rows": expected}


def test_hours_of_the_week_end_where_a_day_of_the_zone_does(
    client: testing.TestClient, pool: Pool, users: Access
) -> None:
    """A Monday of Kolkata lasts from 18:30 of Sunday to 18:30 of Monday, in UTC; what touches its ends lies outside."""
    instants = ("2026-11-01T18:29:59Z", "2026-11-01T18:30:00Z", "2026-11-02T18:29:59Z", "2026-11-02T18:30:00Z")
    made = world(client, pool, users, [email_sent(number, occurred_at=at) for number, at in enumerate(instants)])
    query = {"by": "weekday,hour", "timezone": "Asia/Kolkata", "start_date": "2026-11-02", "end_date": "2026-11-02"}
    rows = made.get("breakdown/", **query)["rows"]
    assert [(row["weekday"], row["hour"], row["analytics"]["amount_of_emails_sent"]) for row in rows] == [
        (1, 0, 1),
        (1, 23, 1),
    ]


@given(history=histories(), asked=periods, by=st.sampled_from(["", "step", "sender", "channel", "campaign"]))
@on_the_database(40)
def test_reply_times_are_those_of_all_turns(  # noqa: PLR0913 (a world and a question)
    client: testing.TestClient, pool: Pool, users: Access, history: list[dict[str, Any]], asked: Asked, by: str
) -> None:
    """Mean, percentiles by nearest rank and histogram are those of the turns, listed and sorted."""
    made = world(client, pool, users, history)
    answer = made.get("reply-times/", **asked.query(**({"by": by} if by else {})))
    parts = reference_periods.within(reference_periods.parts(made.history), **asked.instants())
    turns = [part for part in parts if part.metric == "reply_time_ms"]
    if not by:
        assert answer == distribution([part.value for part in turns])
        return
    rows: dict[Any, list[int]] = {}
    for part in turns:
        row = part.campaign_id if by == "campaign" else part.belongs[by]
        rows.setdefault(row, []).append(part.value)
    ordered = sorted(rows, key=lambda row: (row is None, row or 0))
    assert answer == {"by": by, "rows": [{by: row, **distribution(rows[row])} for row in ordered]}


def distribution(durations: list[int]) -> dict[str, Any]:
    """Return the reply times of turns that took so many ms."""
    ordered = sorted(durations)
    mean = reference_periods.rounded(sum(ordered), 1_000 * len(ordered), 3)

    def percentile(percent: int) -> float | None:
        return ordered[math.ceil(Fraction(percent * len(ordered), 100)) - 1] / 1_000 if ordered else None

    minutes = [5, 15, 60, 240, *(days * 1_440 for days in (1, 2, 3, 7, 14, 30))]
    bounds = [0, *(60 * each for each in minutes), math.inf]
    return {
        "count": len(ordered),
        "mean_seconds": mean,
        "median_seconds": percentile(50),
        **{f"p{percent}_seconds": percentile(percent) for percent in (75, 90, 95)},
        "longest_seconds": ordered[-1] / 1_000 if ordered else None,
        "median": reference.reply_time_in_words(int((percentile(50) or 0) * 1_000), 1) if ordered else None,
        "histogram": [
            {
                "up_to_seconds": None if upto == math.inf else upto,
                "count": sum(after * 1_000 < each <= upto * 1_000 or each == after == 0 for each in ordered),
            }
            for after, upto in pairwise(bounds)
        ],
    }


@given(history=histories(), asked=periods, metric=st.sampled_from([*MAIN, *FURTHER, "average_reply_time"]))
@on_the_database(40)
def test_an_explanation_names_what_makes_the_number(  # noqa: PLR0913 (a world and a question)
    client: testing.TestClient, pool: Pool, users: Access, history: list[dict[str, Any]], asked: Asked, metric: str
) -> None:
    """Page by page, every contribution with its instant, value and events; together they are the number."""
    made = world(client, pool, users, history)
    for campaign_id in {each["campaign_id"] for each in reference.counting(history)}:
        query = asked.query(metric=metric, limit=3)
        contributions: list[tuple[int, str, int, list[str]]] = []
        page = made.get(f"{campaign_id}/explain/", **query)
        while True:
            contributions += [
                (
                    reference.instant({"occurred_at": c["at"]}),
                    c["prospect_id"],
                    c["value"],
                    [e["id"] for e in c["events"]],
                )
                for c in page["contributions"]
            ]
            if page["next"] is None:
                break
            page = made.get(f"{campaign_id}/explain/", **query, cursor=page["next"])
        assert contributions == reference_periods.explained(made.history, campaign_id, metric, **asked.instants())
        assert page["value"] == sum(value for _, _, value, _ in contributions)


@given(history=histories())
@on_the_database(20)
def test_a_replay_makes_the_same_activity(
    client: testing.TestClient, pool: Pool, users: Access, history: list[dict[str, Any]]
) -> None:
    """What was folded in parts is, row by row, what a replay makes of the whole."""
    made = world(client, pool, users, history)
    assert verification.verify(pool, made.workspace_id, lambda _: None) == []


def test_the_worked_examples_period(client: testing.TestClient, pool: Pool, users: Access) -> None:
    """A quiet week with a late reply: by event it has a reply and no contact, by first touch neither."""
    events = [
        {"id": "1", "type": "EmailSent", "campaign_id": 1, "prospect_id": "a", "occurred_at": "2026-11-01T10:00:00Z"},
        {
            "id": "2",
            "type": "ReplyReceived",
            "campaign_id": 1,
            "prospect_id": "a",
            "occurred_at": "2026-11-12T10:00:00Z",
        },
    ]
    made = world(client, pool, users, events)
    week = {"start_date": "2026-11-09", "end_date": "2026-11-15", "include": "extended"}
    late = made.get("summary/", **week)["analytics"]
    assert (late["amount_of_prospects_replied"], late["amount_of_prospects_contacted"], late["reply_rate"]) == (
        1,
        0,
        None,
    )
    assert made.get("summary/", **week, dated="first_touch")["analytics"]["amount_of_replies"] == 0
    first_week = {"start_date": "2026-11-01", "end_date": "2026-11-01", "include": "extended", "dated": "first_touch"}
    assert made.get("summary/", **first_week)["analytics"]["reply_rate"] == 1.0


@pytest.mark.parametrize(("part", "of", "rate"), [(1, 3, 0.3333), (2, 3, 0.6667), (1, 8, 0.125), (1, 20_000, 0.0001)])
def test_rates_are_rounded_half_up(part: int, of: int, rate: float) -> None:
    assert metrics.rate(part, of) == rate


@pytest.mark.parametrize("interval", ["hour", "day", "week", "month"])
@pytest.mark.parametrize("per", ["", "&per=campaign"])
@pytest.mark.parametrize(
    ("zone", "day"),
    [("Pacific/Apia", "2011-12-30"), ("Pacific/Fakaofo", "2011-12-30"), ("Pacific/Kwajalein", "1993-08-21"),
     ("Pacific/Kiritimati", "1994-12-31"), ("Pacific/Enderbury", "1994-12-31")],
)  # fmt: skip
def test_a_day_that_the_zone_skipped_has_no_bucket(  # noqa: PLR0913 (a world and a question)
    client: testing.TestClient, pool: Pool, users: Access, interval: str, per: str, zone: str, day: str
) -> None:
    """Not of a day, nor of an hour, a week or a month that is asked for just that day."""
    users.link("u-1", 340, "cli:test")
    with pool.connection() as database:
        at = f"{day}T12:00:00Z"
        event = {"id": "e", "type": "EmailSent", "campaign_id": 1, "prospect_id": "a", "occurred_at": at}
        ledger.record(database, 340, parsed(event))
    project_all(pool)
    period = f"start_date={day}&end_date={day}&timezone={zone}"
    answer = client.simulate_get(
        f"{BASE}timeseries/", headers=session("u-1"), query_string=f"{period}&interval={interval}{per}"
    )
    assert answer.status_code == 200, answer.text
    assert answer.json["campaigns"][0]["series"] == [] if per else answer.json["series"] == []
    around = date.fromisoformat(day) - timedelta(1), date.fromisoformat(day) + timedelta(1)
    period = f"start_date={around[0]}&end_date={around[1]}&timezone={zone}"
    answer = client.simulate_get(f"{BASE}timeseries/", headers=session("u-1"), query_string=period)
    assert [bucket["start"][:10] for bucket in answer.json["series"]] == [str(each) for each in around]


@pytest.mark.parametrize(
    "zone", ["localtime", "posixrules", "Factory", "europe/berlin", "right/Europe/Berlin", "../UTC"]
)
def test_what_depends_on_the_node_is_no_time_zone(client: testing.TestClient, users: Access, zone: str) -> None:
    users.link("u-1", 340, "cli:test")
    answer = client.simulate_get(BASE, headers=session("u-1"), params={"timezone": zone})
    assert (answer.status_code, answer.json["details"][0]["field"]) == (400, "timezone")
