"""The meaning of the dashboard's numbers, computed as naively as possible, for the product to be checked against."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from fractions import Fraction
from math import floor
from typing import Any

Event = dict[str, Any]  # as a worker posts it

TOUCHES = ("EmailSent", "InviteSent", "LinkedInMessageSent")
MEMBERSHIP = ("ProspectAdded", "ProspectRemoved")
RATINGS = ("ProspectInterested", "ProspectNotInterested", "ProspectNeutral")  # at the same instant the last one stands

COUNTED = {
    "amount_of_emails_sent": "EmailSent",
    "amount_of_invites_sent": "InviteSent",
    "amount_of_invites_accepted": "InviteAccepted",
    "amount_of_linkedin_messages_sent": "LinkedInMessageSent",
}


def campaigns(events: list[Event]) -> list[dict[str, Any]]:
    """The `campaigns` of the main answer for the accepted events of one workspace, without their `workspace_id`."""
    events_once = counting(events)
    answer = []
    for campaign_id, numbers in totals(events).items():
        own = [event for event in events_once if event["campaign_id"] == campaign_id]
        analytics: dict[str, Any] = {key: value for key, value in numbers.items() if key.startswith("amount_of_")}
        analytics["average_reply_time"] = reply_time_in_words(numbers["turn_ms"], numbers["turns"])
        answer.append(
            {
                "id": campaign_id,
                "name": latest_value(own, "name") or f"Campaign {campaign_id}",
                "status": latest_value(own, "status") or "UNKNOWN",
                "analytics": analytics,
            }
        )
    return answer


def totals(events: list[Event]) -> dict[int, dict[str, int]]:
    """The whole numbers behind each campaign's answer, by campaign id: its eight amounts, its turns and their sum."""
    journeys: dict[int, dict[str, list[Event]]] = defaultdict(lambda: defaultdict(list))
    for event in sorted(counting(events), key=order):
        prospects = journeys[event["campaign_id"]]
        if "prospect_id" in event:
            prospects[str(event["prospect_id"])].append(event)
    return {
        campaign_id: sums([with_automatic_replies(journey) for journey in journeys[campaign_id].values()])
        for campaign_id in sorted(journeys)
    }


def sums(journeys: list[list[Event]]) -> dict[str, int]:
    """The numbers of one campaign, given its journeys, each in order."""
    events = [event for journey in journeys for event in journey]
    turns = [turn for journey in journeys for turn in turns_of(journey)]
    return {
        "amount_of_prospects": sum(latest(journey, MEMBERSHIP) != "ProspectRemoved" for journey in journeys),
        **{name: sum(event["type"] == counted for event in events) for name, counted in COUNTED.items()},
        "amount_of_prospects_contacted": sum(any(is_touch(event) for event in journey) for journey in journeys),
        "amount_of_replies": sum(is_reply(event) for event in events),
        "amount_of_interested": sum(rating(journey) == "ProspectInterested" for journey in journeys),
        "turns": len(turns),
        "turn_ms": sum(turns),
    }


def turns_of(journey: list[Event]) -> list[int]:
    """How many milliseconds each turn of a journey lasted: from the latest touch to the first reply after it."""
    turns = []
    touched_at = None
    for event in journey:
        if is_touch(event):
            touched_at = instant(event)
        elif is_reply(event) and touched_at is not None:
            turns.append(instant(event) - touched_at)
            touched_at = None
    return turns


def latest(journey: list[Event], types: tuple[str, ...]) -> str | None:
    """The type of the last event of a journey that is one of these types."""
    among: list[str] = [event["type"] for event in journey if event["type"] in types]
    return among[-1] if among else None


def rating(journey: list[Event]) -> str | None:
    """How the prospect is rated in the end."""
    ratings = sorted((instant(event), RATINGS.index(event["type"])) for event in journey if event["type"] in RATINGS)
    return RATINGS[ratings[-1][1]] if ratings else None


def latest_value(events: list[Event], field: str) -> str | None:
    """The latest name or status; at the same instant a change stands over a creation, then the greater string."""
    values = []
    for event in events:
        created = event["type"] == "CampaignCreated"
        value = event.get(field, "DRAFT" if created and field == "status" else None)
        if value is not None:
            values.append((instant(event), not created, str(value)))
    return max(values)[-1] if values else None


def is_touch(event: Event) -> bool:
    """Whether it is we who turned to the prospect."""
    return event["type"] in TOUCHES


def is_reply(event: Event) -> bool:
    """Whether a person answered; an out-of-office is no answer."""
    return event["type"] == "ReplyReceived" and not event.get("automatic")


def order(event: Event) -> tuple[Any, ...]:
    """The place of an event in its journey: by instant, touches first, by type, by the values with none first.

    Of replies that are alike in all this the automatic one comes first, so that it is the other that may be found out.
    """
    values = (event.get("step", -1), *(event.get(name, "") for name in ("sender_id", "variant", "channel")))
    return instant(event), not is_touch(event), event["type"], *values, not event.get("automatic", False)


def with_automatic_replies(journey: list[Event]) -> list[Event]:
    """A journey, which is in order, with the replies marked that a later event calls automatic."""
    journey = list(journey)
    latest_reply = None
    for place, event in enumerate(journey):
        if event["type"] == "ReplyReceived":
            latest_reply = place
        if event["type"] == "ReplyWasAutomatic" and latest_reply is not None:
            journey[latest_reply] = {**journey[latest_reply], "automatic": True}
    return journey


def instant(event: Event) -> int:
    """When it happened, in whole milliseconds since 1970 in UTC; further digits are cut."""
    text = event["occurred_at"].upper()
    seconds, rest = text[:19], text[19:]
    digits = ""
    if rest.startswith("."):
        offset_at = next(place for place, sign in enumerate(rest) if sign in "Z+-")
        digits, rest = rest[1:offset_at], rest[offset_at:]
    since_1970 = datetime.fromisoformat(seconds + rest) - datetime.fromisoformat("1970-01-01T00:00:00Z")
    return since_1970 // timedelta(seconds=1) * 1000 + int(digits[:3].ljust(3, "0"))


def counting(events: Iterable[Event]) -> list[Event]:
    """What is left of the events once those that are taken back, and what takes them back, are struck out."""
    events_once = distinct(events)
    struck_out = {
        (whose(event), event["retracts"].get("source") or "", event["retracts"]["id"])
        for event in events_once
        if event["type"] == "EventRetracted"
    }
    return [
        event
        for event in events_once
        if event["type"] != "EventRetracted" and (whose(event), event.get("source", ""), event["id"]) not in struck_out
    ]


def whose(event: Event) -> tuple[int, str | None]:
    """The journey of an event, or the campaign that it is about itself."""
    prospect = event.get("prospect_id")
    return event["campaign_id"], None if prospect is None else str(prospect)


def distinct(events: Iterable[Event]) -> list[Event]:
    """Each event once, as it was posted first, without the fields that are null."""
    by_identity: dict[tuple[str, str], Event] = {}
    for event in events:
        fields = {field: value for field, value in event.items() if value is not None}
        by_identity.setdefault((fields.get("source", ""), fields["id"]), fields)
    return list(by_identity.values())


def reply_time_in_words(total_ms: int, count: int) -> str | None:
    """The mean in the largest fitting unit, each rounding made from the exact mean and never from a rounded one."""
    if count == 0:
        return None
    seconds = Fraction(total_ms, count * 1000)
    for unit, length, limit in (("second", 1, 60), ("minute", 60, 60), ("hour", 3600, 24)):
        if half_up(seconds / length) < limit:
            return in_words(half_up(seconds / length), unit)
    return in_words(half_up(seconds / 86_400), "day")


def half_up(number: Fraction) -> int:
    """The nearest whole number, the upper one where two are as near."""
    return floor(number + Fraction(1, 2))


def in_words(amount: int, unit: str) -> str:
    """`1 day`, `2 days`."""
    return f"{amount} {unit}" if amount == 1 else f"{amount} {unit}s"
