"""Outreach that never happened but might have, so that a dashboard can be seen before real workers report."""

import json
import random
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, time, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

Event = dict[str, Any]  # as a worker posts it

EMAIL, INVITE, MESSAGE = "EmailSent", "InviteSent", "LinkedInMessageSent"
WORDS = {EMAIL: "email", INVITE: "invite", MESSAGE: "message"}
BY_EMAIL, BY_LINKEDIN, BY_BOTH = (EMAIL,) * 4, (INVITE, MESSAGE, MESSAGE), (EMAIL, INVITE, EMAIL, MESSAGE)
REPLY_CHANCE = {EMAIL: 0.032, INVITE: 0.0, MESSAGE: 0.18}  # a prospect accepts an invitation before answering

PEOPLE = ("anna", "jonas", "priya")
LAST_STATUSES = ("ACTIVE", "PAUSED", "ACTIVE", "COMPLETED")
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


class Plan(NamedTuple):
    """What a campaign sets out to do: a sequence of touches, in working hours of its time zone."""

    name: str
    timezone: str
    language: str
    sequence: tuple[str, ...]


class Happening(NamedTuple):
    """The fields of an event beside campaign and prospect; `word` ends its id."""

    at: datetime
    type: str
    word: str
    fields: Mapping[str, Any] = {}


PLANS = (
    Plan("Partner programme, agencies", "Europe/Madrid", "es", BY_BOTH),
    Plan("Logistics managers, Benelux", "Europe/Amsterdam", "nl", BY_EMAIL),
    Plan("Founders in London", "Europe/London", "en", BY_LINKEDIN),
    Plan("Trials that went quiet", "America/New_York", "en", BY_EMAIL),
    Plan("Autumn webinar — CTOs", "Europe/Berlin", "de", BY_BOTH),
    Plan("Heads of sales, Nordics", "Europe/Stockholm", "en", BY_LINKEDIN),
    Plan("Met at the trade fair", "Europe/Paris", "fr", BY_EMAIL),
    Plan("Warehouse automation, second try", "Europe/Warsaw", "pl", BY_EMAIL),
)


def activity(
    seed: int, workspace: int, *, until: datetime, weeks: int = 5, campaigns: int = 4, prospects: int = 120
) -> list[Event]:
    """What the campaigns of a workspace did in the weeks up to an instant, each for so many prospects, in order."""
    rng = random.Random(f"{seed}/{workspace}")
    events = []
    for index in range(campaigns):
        plan = PLANS[(workspace * campaigns + index) % len(PLANS)]
        campaign_id = 101 + index
        name = f"w{workspace}-c{campaign_id}"
        created = working_time(rng, until - weeks * 7 * DAY + weeks * 2 * DAY * index / campaigns, plan)
        last_status = LAST_STATUSES[index % len(LAST_STATUSES)]
        closes = until if last_status == "ACTIVE" else until - 2 * DAY
        life = campaign(rng, plan, created, closes, last_status)
        events += [posted(name, happening, {"campaign_id": campaign_id}) for happening in life]
        for number in range(prospects):
            # Neighbouring campaigns share a sixth of their prospects, as people do end up on two lists.
            prospect = f"p{index * prospects * 5 // 6 + number + 1}"
            enrolled = working_time(rng, created + DAY + (closes - created) * 0.8 * rng.random(), plan)
            life = journey(rng, plan, enrolled, closes)
            about = {"campaign_id": campaign_id, "prospect_id": prospect}
            events += [posted(f"{name}-{prospect}", happening, about) for happening in life]
    past = [event for event in events if event["occurred_at"] <= wire_instant(until)]
    return sorted(past, key=lambda event: (event["occurred_at"], event["id"]))


def campaign(
    rng: random.Random, plan: Plan, created: datetime, closes: datetime, last_status: str
) -> Iterator[Happening]:
    """A campaign is made, often as a copy that gets its own name later, activated, and perhaps ended."""
    copied = rng.random() < 0.4
    name = f"Copy of {plan.name}" if copied else plan.name
    described = {"name": name, "timezone": plan.timezone, "language": plan.language}
    yield Happening(created, "CampaignCreated", "created", described)
    if copied:
        yield Happening(later(rng, created, MINUTE, HOUR), "CampaignRenamed", "renamed", {"name": plan.name})
    activated = later(rng, created, 2 * HOUR, 20 * HOUR)
    yield Happening(activated, "CampaignStatusChanged", "activated", {"status": "ACTIVE"})
    if last_status != "ACTIVE":
        yield Happening(closes, "CampaignStatusChanged", "ended", {"status": last_status})


def journey(rng: random.Random, plan: Plan, enrolled: datetime, closes: datetime) -> Iterator[Happening]:
    """One prospect is added and touched every few days, until there is an answer or the sequence is through."""
    yield Happening(enrolled, "ProspectAdded", "added")
    person = rng.choice(PEOPLE)
    reads, accepts, unreachable = rng.random() < 0.53, rng.random() < 0.37, rng.random() < 0.03
    at, ends = enrolled - 2 * DAY, closes
    accepted = replied = None
    for step, touch in enumerate(plan.sequence, start=1):
        at = working_time(rng, at + rng.choice((3, 4)) * DAY, plan)
        if at > ends:
            return
        if touch == MESSAGE and (accepted is None or accepted > at):
            continue
        fields = {"step": step, "sender_id": sender(person, touch), "variant": rng.choice("AB")}
        yield Happening(at, touch, f"{WORDS[touch]}-{step}", fields)
        if touch == INVITE and accepts:
            accepted = later(rng, at, HOUR, 6 * DAY)
            yield Happening(accepted, "InviteAccepted", f"accepted-{step}")
        if touch == EMAIL:
            if unreachable:
                yield Happening(later(rng, at, MINUTE / 10, HOUR), "EmailBounced", f"bounced-{step}")
                yield Happening(later(rng, at, HOUR, DAY), "ProspectRemoved", "removed")
                return
            yield from signals(rng, at, step, reads)
            if replied is None and rng.random() < 0.006:
                yield Happening(later(rng, at, 10 * MINUTE, 2 * DAY), "ProspectUnsubscribed", f"unsubscribed-{step}")
                return
        if replied is None and rng.random() < REPLY_CHANCE[touch]:
            replied = later(rng, at, HOUR, 7 * DAY)
            ends = min(ends, replied)
            yield from conversation(rng, plan, person, touch, replied)


def signals(rng: random.Random, sent: datetime, step: int, reads: bool) -> Iterator[Happening]:
    """What an e-mail sets off by itself: it is opened, perhaps clicked, and some mailboxes answer on their own."""
    if rng.random() < 0.02:
        at = later(rng, sent, MINUTE / 20, 2 * MINUTE)
        yield Happening(at, "ReplyReceived", f"out-of-office-{step}", {"channel": "email", "automatic": True})
    if reads and rng.random() < 0.6:
        opened = later(rng, sent, MINUTE, 2 * DAY)
        yield Happening(opened, "EmailOpened", f"opened-{step}")
        if rng.random() < 0.2:
            yield Happening(later(rng, opened, MINUTE / 10, 5 * MINUTE), "EmailClicked", f"clicked-{step}")


def conversation(rng: random.Random, plan: Plan, person: str, touch: str, replied: datetime) -> Iterator[Happening]:
    """A prospect answers and is rated; who is interested is written to by hand and may answer again, and meet."""
    channel = {"channel": "email" if touch == EMAIL else "linkedin"}
    yield Happening(replied, "ReplyReceived", "reply-1", channel)
    if rng.random() < 0.15:
        yield Happening(later(rng, replied, MINUTE, HOUR), "ReplyReceived", "reply-1-postscript", channel)
    rated, rating = later(rng, replied, 10 * MINUTE, DAY), rng.random()
    if rating < 0.38:
        yield Happening(rated, "ProspectInterested", "rated")
        answered = working_time(rng, replied + DAY, plan)
        yield Happening(answered, touch, f"{WORDS[touch]}-by-hand", {"sender_id": sender(person, touch)})
        if rng.random() < 0.7:
            replied_again = later(rng, answered, 20 * MINUTE, 3 * DAY)
            yield Happening(replied_again, "ReplyReceived", "reply-2", channel)
            if rng.random() < 0.7:
                yield Happening(later(rng, replied_again, 5 * MINUTE, DAY), "MeetingBooked", "meeting")
    elif rating < 0.7:
        yield Happening(rated, "ProspectNotInterested", "rated")
        if rng.random() < 0.5:
            yield Happening(later(rng, rated, MINUTE, DAY), "ProspectRemoved", "removed")


def posted(name: str, happening: Happening, about: Mapping[str, Any]) -> Event:
    """A happening in the form in which it is posted."""
    at = wire_instant(happening.at)
    return {"id": f"{name}-{happening.word}", "type": happening.type, "occurred_at": at, **about, **happening.fields}


def sender(person: str, touch: str) -> str:
    """A sender's account: a mailbox or a LinkedIn profile."""
    return f"{person}@sender.example" if touch == EMAIL else f"linkedin.com/in/{person}"


def working_time(rng: random.Random, near: datetime, plan: Plan) -> datetime:
    """A moment between eight and five of that day where the campaign lives, of the next Monday if it is a weekend."""
    zone = ZoneInfo(plan.timezone)
    day = near.astimezone(zone).date()
    while day.weekday() >= 5:
        day += DAY
    return (datetime.combine(day, time(8), zone) + 9 * HOUR * rng.random()).astimezone(UTC)


def later(rng: random.Random, at: datetime, shortest: timedelta, longest: timedelta) -> datetime:
    """Some time afterwards, most often soon."""
    late = rng.random()
    return at + shortest + (longest - shortest) * (late * late * late)


def wire_instant(at: datetime) -> str:
    """RFC 3339 in UTC with milliseconds: sorts as it reads."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def example() -> str:
    """The text of `examples/activity.json`, one event a line."""
    # With this seed a few hundred events hold every type of event, and each campaign has replies of interest.
    events = activity(42, 1, until=datetime(2026, 11, 1, tzinfo=UTC), weeks=4, campaigns=3, prospects=20)
    return '{"events": [\n' + ",\n".join(json.dumps(event, ensure_ascii=False) for event in events) + "\n]}"


if __name__ == "__main__":
    print(example())  # noqa: T201
