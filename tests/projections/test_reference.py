"""The naive reference must itself be right, or all that is checked against it is not."""

from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.examples import WORKED_EXAMPLE_ANALYTICS
from tests.support.reference import Event, campaigns, instant, reply_time_in_words, totals

SECOND, MINUTE, HOUR, DAY = 1000, 60_000, 3_600_000, 86_400_000
NUMBERS = count()


def event(event_type: str, at: str, prospect: str | int | None = "a", **fields: Any) -> Event:
    """An event of campaign 123, in November, as a worker posts it."""
    body = {
        "id": f"e-{next(NUMBERS)}",
        "type": event_type,
        "campaign_id": 123,
        "occurred_at": f"2026-11-{at}Z",
        **fields,
    }
    return body if prospect is None else {**body, "prospect_id": prospect}


def numbers(events: list[Event]) -> dict[str, Any]:
    """The analytics of the only campaign there is."""
    [campaign] = campaigns(events)
    analytics: dict[str, Any] = campaign["analytics"]
    return analytics


def title(events: list[Event]) -> tuple[str, str]:
    """The name and the status of the only campaign there is."""
    [campaign] = campaigns(events)
    return campaign["name"], campaign["status"]


def turns(events: list[Event]) -> tuple[int, int]:
    """The number of turns of campaign 123 and how many milliseconds they lasted together."""
    sums = totals(events)[123]
    return sums["turns"], sums["turn_ms"]


WORKED_EXAMPLE = [
    event("ProspectAdded", "01T09:00:00"),
    event("EmailSent", "01T10:00:00"),
    event("EmailSent", "03T10:00:00"),
    event("ReplyReceived", "05T10:00:00"),
    event("ReplyReceived", "05T11:00:00"),
    event("ProspectInterested", "05T12:00:00"),
    event("InviteSent", "01T10:00:00", "b"),
    event("InviteAccepted", "02T10:00:00", "b"),
    event("LinkedInMessageSent", "02T11:00:00", "b"),
    event("ReplyReceived", "04T11:00:00", "b"),
    event("EmailSent", "01T10:00:00", "c"),
    event("ReplyReceived", "01T10:01:00", "c", automatic=True),
    event("ProspectRemoved", "02T09:00:00", "c"),
]
WORKED_ANSWER = [
    {
        "id": 123,
        "name": "Campaign 123",
        "status": "UNKNOWN",
        "analytics": WORKED_EXAMPLE_ANALYTICS,
    }
]


@given(st.permutations(WORKED_EXAMPLE + WORKED_EXAMPLE[:5]))
def test_the_worked_example_gives_its_numbers_in_any_order_and_with_repeats(events: list[Event]) -> None:
    """Thirteen events, five of them sent twice, arrive in any order and give the numbers of the specification."""
    assert campaigns(events) == WORKED_ANSWER


def test_the_numbers_stand_in_the_order_of_the_contract() -> None:
    """Equal dictionaries may differ in the order of their keys, answers may not."""
    [campaign] = campaigns(WORKED_EXAMPLE)
    assert list(campaign) == ["id", "name", "status", "analytics"]
    assert list(campaign["analytics"]) == list(WORKED_ANSWER[0]["analytics"])  # type: ignore[call-overload]


def test_the_sums_behind_the_worked_example() -> None:
    """Two turns of 48 hours each."""
    assert turns(WORKED_EXAMPLE) == (2, 96 * HOUR)


def test_nothing_happened() -> None:
    """No events, no campaigns."""
    assert campaigns([]) == []


def test_campaigns_are_sorted_by_number() -> None:
    """Campaign 9 stands before campaign 10."""
    events = [event("ProspectAdded", "01T09:00:00", campaign_id=number) for number in (10, 9)]
    assert [campaign["id"] for campaign in campaigns(events)] == [9, 10]


@pytest.mark.parametrize(
    ("mean_ms", "words"),
    [
        (0, "0 seconds"),
        (499, "0 seconds"),
        (500, "1 second"),
        (1_499, "1 second"),
        (1_500, "2 seconds"),
        (45 * SECOND, "45 seconds"),
        (59_499, "59 seconds"),
        (59_500, "1 minute"),
        (89_500, "1 minute"),
        (89_999, "1 minute"),
        (90 * SECOND, "2 minutes"),
        (59 * MINUTE + 29_999, "59 minutes"),
        (59 * MINUTE + 30_000, "1 hour"),
        (59 * MINUTE + 36_000, "1 hour"),
        (59 * MINUTE + 59_400, "1 hour"),
        (89 * MINUTE + 30_000, "1 hour"),
        (90 * MINUTE, "2 hours"),
        (5 * HOUR, "5 hours"),
        (23 * HOUR + 29 * MINUTE + 59_999, "23 hours"),
        (23 * HOUR + 30 * MINUTE, "1 day"),
        (23 * HOUR + 42 * MINUTE, "1 day"),
        (35 * HOUR + 30 * MINUTE, "1 day"),
        (36 * HOUR, "2 days"),
        (48 * HOUR, "2 days"),
        (1000 * DAY, "1000 days"),
    ],
)
def test_a_mean_in_words(mean_ms: int, words: str) -> None:
    """Half is rounded up, each unit from the mean itself, 1 is singular; three such turns have the same mean as one."""
    assert reply_time_in_words(mean_ms, 1) == reply_time_in_words(3 * mean_ms, 3) == words


def test_a_mean_is_not_rounded_to_milliseconds_first() -> None:
    """A sum that is one millisecond short of a half is rounded down, however many turns share it."""
    assert reply_time_in_words(59_500 * 1_000_000, 1_000_000) == "1 minute"
    assert reply_time_in_words(59_500 * 1_000_000 - 1, 1_000_000) == "59 seconds"


def test_no_turn_has_no_mean() -> None:
    """A rate of nothing out of nothing is null."""
    assert reply_time_in_words(0, 0) is None
    assert numbers([event("ProspectAdded", "01T09:00:00")])["average_reply_time"] is None


def both_ways(*events: Event) -> list[list[Event]]:
    """The same events as they came and the other way round."""
    return [list(events), list(reversed(events))]


@pytest.mark.parametrize("events", both_ways(event("EmailSent", "01T10:00:00"), event("ReplyReceived", "01T10:00:00")))
def test_at_the_same_instant_the_touch_comes_before_the_reply(events: list[Event]) -> None:
    """They make a turn of no length, whichever arrived first."""
    assert turns(events) == (1, 0)
    assert numbers(events)["average_reply_time"] == "0 seconds"


@pytest.mark.parametrize(
    "events", both_ways(event("ProspectAdded", "01T10:00:00"), event("ProspectRemoved", "01T10:00:00"))
)
def test_at_the_same_instant_removed_stands_over_added(events: list[Event]) -> None:
    """A prospect added and removed at once is off the campaign, whichever arrived first."""
    assert numbers(events)["amount_of_prospects"] == 0


@pytest.mark.parametrize(
    "events", both_ways(event("ProspectInterested", "01T10:00:00"), event("ProspectNotInterested", "01T10:00:00"))
)
def test_at_the_same_instant_not_interested_stands_over_interested(events: list[Event]) -> None:
    """A prospect rated both ways at once is not interested, whichever arrived first."""
    assert numbers(events)["amount_of_interested"] == 0


@pytest.mark.parametrize(
    ("later", "interested"), [("ProspectInterested", 1), ("ProspectNotInterested", 0), ("MeetingBooked", 1)]
)
def test_the_latest_rating_stands(later: str, interested: int) -> None:
    """A rating is changed by a later rating and by nothing else."""
    assert (
        numbers([event("ProspectInterested", "01T10:00:00"), event(later, "01T11:00:00")])["amount_of_interested"]
        == interested
    )


def test_any_event_enrols_but_only_an_addition_enrols_again() -> None:
    """An open after the removal leaves the prospect off the campaign, an addition brings it back."""
    opened = event("EmailOpened", "01T10:00:00")
    removed = event("ProspectRemoved", "02T10:00:00")
    opened_again = event("EmailOpened", "03T10:00:00")
    added = event("ProspectAdded", "04T10:00:00")
    assert numbers([opened])["amount_of_prospects"] == 1
    assert numbers([opened, removed, opened_again])["amount_of_prospects"] == 0
    assert numbers([opened, removed, opened_again, added])["amount_of_prospects"] == 1


def test_a_further_touch_moves_the_start_of_a_turn() -> None:
    """A touch that arrives after the reply it precedes still shortens the turn."""
    events = [
        event("EmailSent", "01T09:00:00"),
        event("ReplyReceived", "01T13:00:00"),
        event("InviteSent", "01T11:00:00"),
    ]
    assert turns(events) == (1, 2 * HOUR)


def test_a_second_reply_is_counted_and_times_nothing() -> None:
    """Only the first reply after a touch closes a turn; a new touch opens the next."""
    events = [
        event("EmailSent", "01T09:00:00"),
        event("ReplyReceived", "01T10:00:00"),
        event("ReplyReceived", "01T15:00:00"),
    ]
    answered_again = [event("LinkedInMessageSent", "02T09:00:00"), event("ReplyReceived", "02T09:00:01")]
    assert numbers(events)["amount_of_replies"] == 2
    assert turns(events) == (1, HOUR)
    assert turns(events + answered_again) == (2, HOUR + SECOND)


def test_a_reply_before_any_touch_times_nothing() -> None:
    """Who writes first is counted as a reply and closes no turn."""
    events = [event("ReplyReceived", "01T09:00:00"), event("EmailSent", "01T10:00:00")]
    assert numbers(events)["amount_of_replies"] == 1
    assert turns(events) == (0, 0)


def test_an_automatic_reply_closes_no_turn() -> None:
    """An out-of-office is not counted, and the person's own reply still closes the turn."""
    events = [
        event("EmailSent", "01T09:00:00"),
        event("ReplyReceived", "01T09:01:00", automatic=True),
        event("ReplyReceived", "01T12:00:00", automatic=False),
    ]
    assert numbers(events)["amount_of_replies"] == 1
    assert turns(events) == (1, 3 * HOUR)


def test_a_reply_closes_no_turn_of_another_prospect_or_campaign() -> None:
    """Turns stay within the journey: one prospect in one campaign."""
    events = [
        event("EmailSent", "01T09:00:00", "a"),
        event("ReplyReceived", "01T10:00:00", "b"),
        event("ReplyReceived", "01T10:00:00", "a", campaign_id=124),
    ]
    assert [campaign["turns"] for campaign in totals(events).values()] == [0, 0]


def test_a_prospect_known_by_a_number_and_by_its_digits_is_one() -> None:
    """Prospect 5 and "5" are the same person."""
    assert (
        numbers([event("EmailSent", "01T09:00:00", 5), event("EmailSent", "02T09:00:00", "5")])["amount_of_prospects"]
        == 1
    )


def test_of_events_with_the_same_id_the_first_one_counts() -> None:
    """The same id of the same source is one event; an absent source is the empty one, another source is another."""
    events = [
        event("EmailSent", "01T09:00:00", id="1"),
        event("EmailOpened", "01T09:00:00", id="1", source=""),
        event("InviteSent", "01T09:00:00", id="1", source=None),
        event("LinkedInMessageSent", "01T09:00:00", id="1", source="linkedin"),
    ]
    analytics = numbers(events)
    assert (analytics["amount_of_emails_sent"], analytics["amount_of_linkedin_messages_sent"]) == (1, 1)
    assert analytics["amount_of_invites_sent"] == 0


def test_null_is_the_same_as_absent() -> None:
    """Fields that are null neither make a prospect nor a name nor a status."""
    created = event("CampaignCreated", "01T09:00:00", None, name="Autumn", status=None, prospect_id=None, language=None)
    assert title([created]) == ("Autumn", "DRAFT")
    assert numbers([created])["amount_of_prospects"] == 0


def test_name_and_status_come_each_on_their_own() -> None:
    """A field that no event has set yet is shown as a placeholder."""
    assert title([event("CampaignRenamed", "01T09:00:00", None, name="Autumn")]) == ("Autumn", "UNKNOWN")
    assert title([event("CampaignStatusChanged", "01T09:00:00", None, status="ACTIVE")]) == ("Campaign 123", "ACTIVE")


def test_the_latest_name_and_status_stand() -> None:
    """A creation after a change sets name and status anew, to a draft where it has no status."""
    renamed = event("CampaignRenamed", "01T09:00:00", None, name="Winter")
    activated = event("CampaignStatusChanged", "01T09:00:00", None, status="ACTIVE")
    created_later = event("CampaignCreated", "01T10:00:00", None, name="Autumn")
    assert title([created_later, activated, renamed]) == ("Autumn", "DRAFT")


def test_at_the_same_instant_a_change_stands_over_a_creation_then_the_greater_string() -> None:
    """Greater by code points: a small letter is above every capital one."""
    created = event("CampaignCreated", "01T09:00:00", None, name="zzz", status="PAUSED")
    capital = event("CampaignRenamed", "01T09:00:00", None, name="Zebra")
    small = event("CampaignRenamed", "01T09:00:00", None, name="ape")
    activated = event("CampaignStatusChanged", "01T09:00:00", None, status="ACTIVE")
    assert title([capital, created, activated]) == ("Zebra", "ACTIVE")
    assert title([small, activated, capital, created]) == ("ape", "ACTIVE")


@pytest.mark.parametrize(
    ("occurred_at", "ms"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:00.9999999Z", 999),
        ("1970-01-01T00:00:01.5Z", 1500),
        ("1970-01-01t01:00:00.0019+01:00", 1),
        ("1970-01-01T00:00:00-23:59", 23 * HOUR + 59 * MINUTE),
        ("2026-11-01T11:00:00+01:00", 1_793_527_200_000),
    ],
)
def test_an_instant_is_whole_milliseconds(occurred_at: str, ms: int) -> None:
    """Digits beyond the third are cut, never rounded, and the offset is taken off."""
    assert instant({"occurred_at": occurred_at}) == ms
