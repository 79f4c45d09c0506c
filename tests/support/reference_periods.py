"""What a period, a breakdown and an explanation say, computed as naively as the domain's page can be read."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from fractions import Fraction
from typing import Any, NamedTuple

from tests.support.catalogue import ALWAYS, EXTENDED, Each, First, Mean, Rate
from tests.support.reference import (
    RATINGS,
    TOUCHES,
    Event,
    counting,
    half_up,
    instant,
    is_reply,
    is_touch,
    order,
    reply_time_in_words,
    with_automatic_replies,
)

EACH = {name: rule.type for name, rule in (ALWAYS | EXTENDED).items() if isinstance(rule, Each)}
FIRSTS = {name: rule.type for name, rule in (ALWAYS | EXTENDED).items() if isinstance(rule, First)}
MAIN, FURTHER = (
    tuple(name for name, rule in metrics.items() if not isinstance(rule, Rate | Mean)) for metrics in (ALWAYS, EXTENDED)
)
RATED = {"ProspectInterested": "amount_of_interested", "ProspectNotInterested": "amount_of_not_interested"}
VALUES = ("step", "sender", "variant", "channel")
ANSWERED = {"InviteAccepted": "InviteSent", "EmailOpened": "EmailSent", "EmailClicked": "EmailSent"}
ANSWERED["EmailBounced"] = "EmailSent"


class Part(NamedTuple):
    """One part of a number: of which journey, how much, when, by first touch when, where, and of which events."""

    campaign_id: int
    prospect_id: str
    metric: str
    value: int
    at: int
    first_touch_at: int | None
    belongs: Mapping[str, Any]
    events: list[Event]


def parts(events: Iterable[Event], *, each_row: tuple[str, ...] = ()) -> list[Part]:
    """Every part of every number; with `each_row`, prospects and contacts count in each row of these values."""
    journeys: dict[tuple[int, str], list[Event]] = defaultdict(list)
    for place, event in enumerate(counting(events)):
        if "prospect_id" in event:
            journeys[event["campaign_id"], str(event["prospect_id"])].append({**event, "place": place})
    listed = []
    for (campaign_id, prospect_id), journey in journeys.items():
        ordered = with_automatic_replies(sorted(journey, key=place_in_journey))
        touch = next((instant(event) for event in ordered if is_touch(event)), None)
        for metric, value, dating, belongs, made_of in journey_parts(ordered, each_row):
            listed.append(Part(campaign_id, prospect_id, metric, value, instant(dating), touch, belongs, made_of))
    return listed


Added = tuple[str, int, Event, Mapping[str, Any], list[Event]]


def journey_parts(journey: list[Event], each_row: tuple[str, ...]) -> list[Added]:
    """What one journey adds to which numbers."""
    added: list[Added] = []

    def one(metric: str, event: Event, *, counted: bool = False) -> None:
        named = event if counted else lowest(journey, event)
        added.append((metric, 1, event, belonging(journey, event), [named]))

    for event in journey:
        for metric, kind in EACH.items():
            if event["type"] == kind:
                one(metric, event, counted=True)
        if event["type"] == "ReplyReceived":
            one("amount_of_replies" if is_reply(event) else "amount_of_automatic_replies", event, counted=True)
    for metric, event in firsts(journey):
        one(metric, event)
    ratings = [event for event in journey if event["type"] in RATINGS]
    for event in sorted(ratings, key=lambda event: (instant(event), RATINGS.index(event["type"])))[-1:]:
        if event["type"] in RATED:
            one(RATED[event["type"]], event)
    for touch, reply in turns(journey):
        made_of = [lowest(journey, touch), lowest(journey, reply)]
        where = belonging(journey, reply)
        added.append(("amount_of_timed_replies", 1, reply, where, made_of))
        added.append(("reply_time_ms", instant(reply) - instant(touch), reply, where, made_of))
    return added + in_each_row(journey, each_row)


def firsts(journey: list[Event]) -> list[tuple[str, Event]]:
    """The first event of each kind that counts once a journey."""
    candidates = [(metric, event) for metric, kind in FIRSTS.items() for event in journey if event["type"] == kind]
    candidates += [("amount_of_prospects_replied", event) for event in journey if is_reply(event)]
    return list({metric: (metric, event) for metric, event in reversed(candidates)}.values())


def in_each_row(journey: list[Event], each_row: tuple[str, ...]) -> list[Added]:
    """What counts once a journey, or, in a breakdown, once in every row that touched the prospect."""
    row_parts: list[Added] = []
    touches = [event for event in journey if is_touch(event)]
    first_of_row: dict[tuple[Any, ...], Event] = {}
    for touch in touches:
        first_of_row.setdefault(tuple(own(touch)[name] for name in each_row), touch)
    memberships = [event for event in journey if event["type"] in ("ProspectAdded", "ProspectRemoved")]
    removed = memberships and memberships[-1]["type"] == "ProspectRemoved"
    added = [event for event in journey if event["type"] == "ProspectAdded"]
    dating = lowest(journey, added[-1]) if added else journey[0]
    if each_row:
        for touch in first_of_row.values():
            row_parts.append(("amount_of_prospects_contacted", 1, touch, own(touch), [touch]))
            if not removed:
                row_parts.append(("amount_of_prospects", 1, touch, own(touch), [dating]))
        if not touches and not removed:
            row_parts.append(("amount_of_prospects", 1, dating, dict.fromkeys(VALUES), [dating]))
    else:
        row_parts += [("amount_of_prospects_contacted", 1, touch, {}, [touch]) for touch in touches[:1]]
        row_parts += [] if removed else [("amount_of_prospects", 1, dating, {}, [dating])]
    return row_parts


def turns(journey: list[Event]) -> list[tuple[Event, Event]]:
    """The latest touch and the first reply after it, of each turn."""
    pairs = []
    touch = None
    for event in journey:
        if is_touch(event):
            touch = event
        elif is_reply(event) and touch is not None:
            pairs.append((touch, event))
            touch = None
    return pairs


def own(event: Event) -> dict[str, Any]:
    """The values that an event carries itself; of a touch, the channel is its kind's."""
    channel = event.get("channel")
    if is_touch(event):
        channel = "email" if event["type"] == "EmailSent" else "linkedin"
    return {
        "step": event.get("step"),
        "sender": event.get("sender_id"),
        "variant": event.get("variant"),
        "channel": channel,
    }


def belonging(journey: list[Event], event: Event) -> dict[str, Any]:
    """Where what happened belongs: to its own values, else, each on its own, to those of the touch that it answers."""
    if is_touch(event):
        return own(event)
    kinds = (ANSWERED[event["type"]],) if event["type"] in ANSWERED else TOUCHES
    before = [each for each in journey[: journey.index(event)] if each["type"] in kinds]
    answered = own(before[-1]) if before else dict.fromkeys(VALUES)
    mine = own(event)
    return {name: answered[name] if mine[name] is None else mine[name] for name in VALUES}


def lowest(journey: list[Event], event: Event) -> Event:
    """Of the events of a journey that are alike, the one posted first."""
    alike = [
        each
        for each in journey
        if place_in_journey(each)[:-1] == place_in_journey(event)[:-1] and is_reply(each) == is_reply(event)
    ]
    return min(alike, key=lambda each: each["place"])


def place_in_journey(event: Event) -> tuple[Any, ...]:
    """Its place in order; of events alike the one posted first."""
    return *order(event), event["place"]


def dated(part: Part, how: str) -> int | None:
    """When a part counts; nowhere, where it is dated by a first touch and there is none."""
    return part.first_touch_at if how == "first_touch" else part.at


def within(dated_parts: Iterable[Part], how: str, first: int | None, end: int | None) -> list[Part]:
    """The parts from one instant up to another."""
    return [
        part
        for part in dated_parts
        if (at := dated(part, how)) is not None and (first is None or first <= at) and (end is None or at < end)
    ]


def summed(dated_parts: Iterable[Part]) -> dict[str, int]:
    """The sums of parts by metric."""
    totals: dict[str, int] = defaultdict(int)
    for part in dated_parts:
        totals[part.metric] += part.value
    return totals


def analytics(totals: Mapping[str, int], *, extended: bool = True) -> dict[str, object]:
    """What is shown of sums, in order of the keys."""
    return {name: shown(name, rule, totals) for name, rule in (ALWAYS | EXTENDED if extended else ALWAYS).items()}


def shown(name: str, rule: Each | First | Rate | Mean | None, totals: Mapping[str, int]) -> object:
    """One metric of sums."""
    if isinstance(rule, Rate):
        return rounded(totals.get(rule.part, 0), totals.get(rule.whole, 0), 4)
    if isinstance(rule, Mean):
        turns_taken, taken = totals.get("amount_of_timed_replies", 0), totals.get("reply_time_ms", 0)
        return reply_time_in_words(taken, turns_taken) if rule.words else rounded(taken, turns_taken * 1000, 3)
    return totals.get(name, 0)


def rounded(part: int, whole: int, places: int) -> float | None:
    """The quotient, exactly, then rounded half up to so many places."""
    return half_up(Fraction(part, whole) * 10**places) / 10**places if whole else None


def whole(  # noqa: PLR0913 (as a question may be asked)
    events: Iterable[Event],
    campaign_ids: Collection[int] | None = None,
    *,
    first: int | None = None,
    end: int | None = None,
    how: str = "event",
    extended: bool = True,
) -> dict[str, object]:
    """The numbers of all these campaigns as one, from one instant up to another."""
    dated_parts = within(parts(events), how, first, end)
    chosen = [part for part in dated_parts if campaign_ids is None or part.campaign_id in campaign_ids]
    return analytics(summed(chosen), extended=extended)


def breakdown(
    events: Iterable[Event],
    by: tuple[str, ...],
    *,
    first: int | None = None,
    end: int | None = None,
    how: str = "event",
) -> list[dict[str, object]]:
    """The rows of a breakdown, none last."""
    rows: dict[tuple[Any, ...], list[Part]] = defaultdict(list)
    for part in within(parts(events, each_row=by), how, first, end):
        rows[tuple(part.belongs[name] for name in by)].append(part)
    return [
        {**dict(zip(by, row, strict=True)), "analytics": analytics(summed(rows[row]))}
        for row in sorted(rows, key=lambda row: [(value is None, value or 0) for value in row])
    ]


def explained(  # noqa: PLR0913 (as a question may be asked)
    events: Iterable[Event],
    campaign_id: int,
    metric: str,
    *,
    first: int | None = None,
    end: int | None = None,
    how: str = "event",
) -> list[tuple[int, str, int, list[str]]]:
    """When, of whom, how much, and the ids of the events, of each part of a number; in order of when and whom."""
    name = "reply_time_ms" if metric == "average_reply_time" else metric
    chosen = [
        part
        for part in within(parts(events), how, first, end)
        if (part.campaign_id, part.metric) == (campaign_id, name)
    ]
    listed = [(dated(part, how) or 0, part.prospect_id, part.events[-1]["place"], part) for part in chosen]
    return [
        (at, who, part.value, [each["id"] for each in part.events])
        for at, who, _, part in sorted(listed, key=lambda t: t[:3])
    ]
