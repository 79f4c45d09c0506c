"""The invented activity must be postable as it is and look like the real thing, or a demo of it shows nothing."""

import json
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from service.demo.outreach import activity, example
from tests.support.reference import Event, campaigns, instant

UNTIL = datetime(2026, 11, 1, tzinfo=UTC)
EXAMPLE = Path(__file__).parents[2] / "examples" / "activity.json"

TOUCHES = {"EmailSent", "InviteSent", "LinkedInMessageSent"}
OF_EVERY_EVENT = {"id", "type", "campaign_id", "occurred_at"}
OF_A_PROSPECT = OF_EVERY_EVENT | {"prospect_id"}
OF_A_TOUCH = OF_A_PROSPECT | {"sender_id"}
REQUIRED = {
    "CampaignCreated": OF_EVERY_EVENT | {"name"},
    "CampaignRenamed": OF_EVERY_EVENT | {"name"},
    "CampaignStatusChanged": OF_EVERY_EVENT | {"status"},
    "ProspectAdded": OF_A_PROSPECT,
    "ProspectRemoved": OF_A_PROSPECT,
    "EmailSent": OF_A_TOUCH,
    "InviteSent": OF_A_TOUCH,
    "LinkedInMessageSent": OF_A_TOUCH,
    "InviteAccepted": OF_A_PROSPECT,
    "ReplyReceived": OF_A_PROSPECT | {"channel"},
    "ProspectInterested": OF_A_PROSPECT,
    "ProspectNotInterested": OF_A_PROSPECT,
    "EmailOpened": OF_A_PROSPECT,
    "EmailClicked": OF_A_PROSPECT,
    "EmailBounced": OF_A_PROSPECT,
    "ProspectUnsubscribed": OF_A_PROSPECT,
    "MeetingBooked": OF_A_PROSPECT,
}
OPTIONAL = {
    "CampaignCreated": {"status", "timezone", "language"},
    "EmailSent": {"step", "variant"},
    "InviteSent": {"step", "variant"},
    "LinkedInMessageSent": {"step", "variant"},
    "ReplyReceived": {"automatic"},
}


@pytest.fixture(scope="module")
def events() -> list[Event]:
    """What two workspaces did in five weeks."""
    return activity(1, 1, until=UNTIL) + activity(1, 2, until=UNTIL)


def share(events: list[Event], some: set[str], of: set[str]) -> float:
    """Among the journeys with an event of some types, how many have one of the other types; no automatic replies."""
    journeys = defaultdict(set)
    for event in events:
        if "prospect_id" in event and not event.get("automatic"):
            workspace = event["id"].split("-")[0]
            journeys[workspace, event["campaign_id"], event["prospect_id"]].add(event["type"])
    base = [types for types in journeys.values() if types & of]
    return sum(bool(types & some) for types in base) / len(base)


def test_the_same_arguments_give_the_same_activity() -> None:
    """Nothing depends on the clock or on what was made before; another seed or workspace gives other activity."""
    first = activity(1, 1, until=UNTIL)
    assert activity(1, 1, until=UNTIL) == first
    assert activity(2, 1, until=UNTIL) != first
    assert activity(1, 2, until=UNTIL) != first


def test_every_event_has_an_id_of_its_own(events: list[Event]) -> None:
    """A repeated id would be rejected as a conflict."""
    assert [name for name, times in Counter(event["id"] for event in events).items() if times > 1] == []


def test_an_activity_id_contains_its_parts(events: list[Event]) -> None:
    """Ids are readable and stable, such as `w1-c101-p17-email-1`."""
    first_email = next(event for event in events if event["type"] == "EmailSent")
    assert first_email["id"] == f"w1-c{first_email['campaign_id']}-{first_email['prospect_id']}-email-1"


@pytest.mark.parametrize("weeks", [1, 2, 5])
@pytest.mark.parametrize("until", [UNTIL, datetime(2026, 3, 29, 1, 30, 0, 123456, tzinfo=UTC)])
def test_events_are_in_order_and_none_is_after_the_end(until: datetime, weeks: int) -> None:
    """The last weeks end in the middle of things, as a look at a running system does."""
    instants = [instant(event) for event in activity(1, 1, until=until, weeks=weeks)]
    end = (until - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    week_ms = 7 * 24 * 3600 * 1000
    assert instants == sorted(instants)
    assert end - week_ms * weeks - week_ms <= instants[0] < end - week_ms * weeks + week_ms
    assert end - week_ms < instants[-1] <= end


def test_every_event_has_the_fields_of_its_type(events: list[Event]) -> None:
    """Nothing that ingestion would reject as unknown or missing, and every type occurs."""
    assert {event["type"] for event in events} == set(REQUIRED)
    for event in events:
        required, optional = REQUIRED[event["type"]], OPTIONAL.get(event["type"], set())
        assert required <= set(event) <= required | optional, event
        assert None not in event.values()


def test_a_workspace_has_a_few_thousand_events() -> None:
    """Enough to look alive, few enough to be sent within seconds."""
    assert 2000 <= len(activity(1, 1, until=UNTIL)) <= 4000


def test_the_rates_are_those_of_real_outreach(events: list[Event]) -> None:
    """Bands around the rates of real campaigns, so that the demonstration shows plausible numbers."""
    assert 0.38 <= share(events, {"EmailOpened"}, of={"EmailSent"}) <= 0.52
    assert 0.06 <= share(events, {"ReplyReceived"}, of=TOUCHES) <= 0.12
    assert 0.28 <= share(events, {"InviteAccepted"}, of={"InviteSent"}) <= 0.42
    assert 0.25 <= share(events, {"ProspectInterested"}, of={"ReplyReceived"}) <= 0.45
    assert 0.01 <= share(events, {"EmailBounced"}, of={"EmailSent"}) <= 0.05
    assert 0.01 <= share(events, {"ProspectRemoved"}, of={"ProspectAdded"}) <= 0.08


def test_touches_vary_by_step_sender_and_variant(events: list[Event]) -> None:
    """So that a breakdown by any of them has rows to compare."""
    emails = [event for event in events if event["type"] == "EmailSent"]
    assert {email.get("step") for email in emails} >= {1, 2, 3, 4}
    assert {email.get("variant") for email in emails} >= {"A", "B"}
    assert len({email["sender_id"] for email in emails}) == 3


def test_touches_are_sent_in_working_hours(events: list[Event]) -> None:
    """Nobody writes at night or at the weekend, by the clock of the campaign's own time zone."""
    for workspace in ("w1", "w2"):
        own = [event for event in events if event["id"].startswith(f"{workspace}-")]
        zones = {event["campaign_id"]: ZoneInfo(event["timezone"]) for event in own if "timezone" in event}
        sent = [event for event in own if event["type"] in TOUCHES]
        local = [datetime.fromisoformat(event["occurred_at"]).astimezone(zones[event["campaign_id"]]) for event in sent]
        assert all(at.weekday() < 5 and 8 <= at.hour < 17 for at in local)


def test_nothing_follows_a_bounce_and_accepted_comes_before_messages(events: list[Event]) -> None:
    """An address that does not exist is given up, and LinkedIn lets only connections write."""
    journeys = defaultdict(list)
    for event in events:
        if "prospect_id" in event:
            journeys[event["id"].split("-")[0], event["campaign_id"], event["prospect_id"]].append(event["type"])
    for types in journeys.values():
        if "EmailBounced" in types:
            assert set(types[types.index("EmailBounced") :]) <= {"EmailBounced", "ProspectRemoved"}
        if "LinkedInMessageSent" in types:
            assert "InviteAccepted" in types[: types.index("LinkedInMessageSent")]


@pytest.mark.parametrize("workspace", [1, 2])
def test_a_dashboard_of_it_has_no_empty_number(workspace: int) -> None:
    """Each of the nine metrics has something to show, and every campaign has a name and a status."""
    answer = campaigns(activity(1, workspace, until=UNTIL))
    assert [campaign["id"] for campaign in answer] == [101, 102, 103, 104]
    assert all(any(campaign["analytics"][metric] for campaign in answer) for metric in answer[0]["analytics"])
    assert all(campaign["analytics"]["average_reply_time"] for campaign in answer)
    assert not any(campaign["name"].startswith("Campaign ") for campaign in answer)
    assert {campaign["status"] for campaign in answer} == {"ACTIVE", "PAUSED", "COMPLETED"}


def test_the_example_file_is_what_the_generator_gives() -> None:
    """Made anew with `python -m service.activity > examples/activity.json`."""
    assert EXAMPLE.read_text(encoding="utf-8") == example() + "\n"


def test_the_example_file_can_be_posted_as_it_is() -> None:
    """A few hundred events, one a line, of every type and with every metric."""
    body = json.loads(example())
    assert list(body) == ["events"]
    assert 200 <= len(body["events"]) <= 400
    assert len(example().splitlines()) == len(body["events"]) + 2
    assert {event["type"] for event in body["events"]} == set(REQUIRED)
    for campaign in campaigns(body["events"]):
        assert campaign["analytics"]["average_reply_time"]
        assert campaign["analytics"]["amount_of_interested"]
