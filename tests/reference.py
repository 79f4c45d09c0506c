"""What the dashboard's numbers mean, computed as naively as it can be said, for the product to be checked against."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from fractions import Fraction
from math import floor
from typing import Any

Event = dict[str, Any]  # as a worker posts it

TOUCHES = ("EmailSent", "InviteSent", "LinkedInMessageSent")
MEMBERSHIP = ("ProspectAdded", "ProspectRemoved")
RATINGS = ("ProspectInterested", "ProspectNotInterested")

COUNTED = {
    "amount_of_emails_sent": "EmailSent",
    "amount_of_invites_sent": "InviteSent",
    "amount_of_invites_accepted": "InviteAccepted",
    "amount_of_linkedin_messages_sent": "LinkedInMessageSent",
}


def campaigns(events: list[Event]) -> list[dict[str, Any]]:
    """The `campaigns` of the main answer for the accepted events of one workspace, without their `workspace_id`."""
    facts = distinct(events)
    answer = []
    for campaign_id, numbers in totals(events).items():
        own = [fact for fact in facts if fact["campaign_id"] == campaign_id]
        analytics: dict[str, Any] = {key: value for key, value in numbers.items() if key.startswith("amount_of_")}
        analytics["average_reply_time"] = reply_time_in_words(numbers["turn_ms"], numbers["turns"])
        answer.append(
            {
                "id": campaign_id,
                "name": last_told(own, "name") or f"Campaign {campaign_id}",
                "status": last_told(own, "status") or "UNKNOWN",
                "analytics": analytics,
            }
        )
    return answer


def totals(events: list[Event]) -> dict[int, dict[str, int]]:
    """The whole numbers behind each campaign's answer, by campaign id: its eight amounts, its turns and their sum."""
    journeys: dict[int, dict[str, list[Event]]] = defaultdict(lambda: defaultdict(list))
    for fact in sorted(distinct(events), key=order):
        prospects = journeys[fact["campaign_id"]]
        if "prospect_id" in fact:
            prospects[str(fact["prospect_id"])].append(fact)
    return {campaign_id: sums(list(journeys[campaign_id].values())) for campaign_id in sorted(journeys)}


def sums(journeys: list[list[Event]]) -> dict[str, int]:
    """The numbers of one campaign, given its journeys, each in order."""
    facts = [fact for journey in journeys for fact in journey]
    turns = [turn for journey in journeys for turn in turns_of(journey)]
    return {
        "amount_of_prospects": sum(latest(journey, MEMBERSHIP) != "ProspectRemoved" for journey in journeys),
        **{name: sum(fact["type"] == counted for fact in facts) for name, counted in COUNTED.items()},
        "amount_of_prospects_contacted": sum(any(is_touch(fact) for fact in journey) for journey in journeys),
        "amount_of_replies": sum(is_reply(fact) for fact in facts),
        "amount_of_interested": sum(latest(journey, RATINGS) == "ProspectInterested" for journey in journeys),
        "turns": len(turns),
        "turn_ms": sum(turns),
    }


def turns_of(journey: list[Event]) -> list[int]:
    """How many milliseconds each turn of a journey lasted: from the latest touch to the first reply after it."""
    turns = []
    touched_at = None
    for fact in journey:
        if is_touch(fact):
            touched_at = instant(fact)
        elif is_reply(fact) and touched_at is not None:
            turns.append(instant(fact) - touched_at)
            touched_at = None
    return turns


def latest(journey: list[Event], types: tuple[str, ...]) -> str | None:
    """The type of the last event of a journey that is one of these types."""
    told: list[str] = [fact["type"] for fact in journey if fact["type"] in types]
    return told[-1] if told else None


def last_told(facts: list[Event], field: str) -> str | None:
    """The latest name or status; at the same instant a change stands over a creation, then the greater string."""
    told = []
    for fact in facts:
        created = fact["type"] == "CampaignCreated"
        value = fact.get(field, "DRAFT" if created and field == "status" else None)
        if value is not None:
            told.append((instant(fact), not created, str(value)))
    return max(told)[-1] if told else None


def is_touch(fact: Event) -> bool:
    """Whether it is we who turned to the prospect."""
    return fact["type"] in TOUCHES


def is_reply(fact: Event) -> bool:
    """Whether a person answered; an out-of-office is no answer."""
    return fact["type"] == "ReplyReceived" and not fact.get("automatic")


def order(fact: Event) -> tuple[int, bool, str]:
    """The place of an event in its journey, as far as these numbers can tell two events apart."""
    return instant(fact), not is_touch(fact), fact["type"]


def instant(fact: Event) -> int:
    """When it happened, in whole milliseconds since 1970 in UTC; further digits are cut."""
    text = fact["occurred_at"].upper()
    seconds, rest = text[:19], text[19:]
    digits = ""
    if rest.startswith("."):
        offset_at = next(place for place, sign in enumerate(rest) if sign in "Z+-")
        digits, rest = rest[1:offset_at], rest[offset_at:]
    since_1970 = datetime.fromisoformat(seconds + rest) - datetime.fromisoformat("1970-01-01T00:00:00Z")
    return since_1970 // timedelta(seconds=1) * 1000 + int(digits[:3].ljust(3, "0"))


def distinct(events: Iterable[Event]) -> list[Event]:
    """Each fact once, the first telling of it, without the fields that are null."""
    facts: dict[tuple[str, str], Event] = {}
    for event in events:
        fact = {field: value for field, value in event.items() if value is not None}
        facts.setdefault((fact.get("source", ""), fact["id"]), fact)
    return list(facts.values())


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
