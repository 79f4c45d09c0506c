"""A batch of a log, sorted by journey and by campaign: what the fold works on, live and in a replay alike."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import compress
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from domain.events import UndecodableError, decode
from domain.ledger import PlainRow, retracted_key
from projections.journeys import campaign
from projections.journeys.campaign import CampaignEvent, Change, History, Retraction
from projections.journeys.columns import CODE, CODE_OF_TOPIC, KEY_BYTES, PackedEvents, details_of
from projections.journeys.groups import Integers, cut, offsets_of
from projections.metrics import AUTOMATIC_REPLY, REPLY, RETRACTION

JourneyKey = tuple[int, str]  # campaign, prospect

_REPLY, _AUTOMATIC_REPLY, _RETRACTION = CODE[REPLY], CODE[AUTOMATIC_REPLY], CODE[RETRACTION]


class FoldError(Exception):
    """An event can't be folded: it, or the row of its journey, can't be read. Nothing was written."""

    def __init__(self, position: int, reason: str) -> None:
        """Take the event's position in the log and what is wrong, in words for an operator."""
        super().__init__(position, reason)  # as given, so that it can come from another process
        self.position = position
        self.reason = reason

    def __str__(self) -> str:
        """Say both."""
        return f"position {self.position}: {self.reason}"


class EventsByJourney(NamedTuple):
    """Events grouped by journey, those of a journey in order of the log.

    Journey i has `keys[i]`, the events from `offsets[i]` up to `offsets[i + 1]`, and `details[i]`, the stored details
    of all these. `offsets` has shape (journeys + 1,) and dtype int64.
    """

    keys: Sequence[JourneyKey]
    offsets: Integers
    events: PackedEvents
    details: Sequence[bytes]

    @property
    def counts(self) -> Integers:
        """Return the number of events of each journey: shape (journeys,), int64."""
        return np.diff(self.offsets)

    def part(self, first: int, end: int) -> "EventsByJourney":
        """Return the journeys from `first` up to, not including, `end`."""
        offsets = self.offsets[first : end + 1]
        events = self.events[int(offsets[0]) : int(offsets[-1])]
        return EventsByJourney(self.keys[first:end], offsets - offsets[0], events, self.details[first:end])

    def chosen(self, which: NDArray[np.bool_]) -> "EventsByJourney":
        """Return the journeys for which `which`, shape (journeys,), is true."""
        return EventsByJourney(
            list(compress(self.keys, which)),
            offsets_of(self.counts[which]),
            self.events[np.repeat(which, self.counts)],
            list(compress(self.details, which)),
        )

    def pieces(self, size: int) -> Iterator["EventsByJourney"]:
        """Yield all of them, so many journeys at a time."""
        return (self.part(first, min(first + size, len(self.keys))) for first in range(0, len(self.keys), size))

    def stored(self) -> list[bytes]:
        """Return the events of each journey as they are stored."""
        return cut(self.events.stored(), self.offsets * PackedEvents.BYTES)


class EventsInLogOrder(NamedTuple):
    """Events in order of the log, by columns: the journey of each, as its index in `keys`, and what is stored of it."""

    keys: Sequence[JourneyKey]
    journeys: Sequence[int]
    events: PackedEvents
    details: Sequence[bytes]

    def by_journey(self) -> EventsByJourney:
        """Group the events by journey, the journeys in order of their keys."""
        order = sorted(range(len(self.keys)), key=self.keys.__getitem__)
        places = np.empty(len(order), np.int64)
        places[order] = np.arange(len(order))
        journeys = places[np.array(self.journeys, np.int64)]
        offsets = offsets_of(np.bincount(journeys, minlength=len(order)))
        by_journey = np.argsort(journeys, kind="stable")
        details = [self.details[event] for event in by_journey.tolist()]
        joined = [b"".join(each) for each in cut(details, offsets)]
        return EventsByJourney([self.keys[place] for place in order], offsets, self.events[by_journey], joined)


_Events = TypeVar("_Events", EventsInLogOrder, EventsByJourney)


class Batch(NamedTuple, Generic[_Events]):
    """What a stretch of the log holds, about prospects and about campaigns; its positions, both 0 where it is empty."""

    first: int
    last: int
    events: _Events
    campaigns: dict[int, History]


def sort(log: Iterable[PlainRow], aside: Collection[int | None]) -> Batch[EventsByJourney]:
    """Sort a stretch of the log by journey and by campaign; takes and raises what `gather` does."""
    first, last, events, campaigns = gather(log, aside)
    return Batch(first, last, events.by_journey(), campaigns)


def gather(log: Iterable[PlainRow], aside: Collection[int | None]) -> Batch[EventsInLogOrder]:
    """Decode a stretch of the log, rows of position, topic, state and key; positions in `aside` are passed over.

    Raises FoldError for the first event that can't be folded.
    """
    keys: dict[JourneyKey, int] = {}
    journeys: list[int] = []
    instants: list[int] = []
    codes: list[int] = []
    details: list[bytes] = []
    changes: dict[int, list[Change]] = defaultdict(list)
    retractions: dict[int, list[Retraction]] = defaultdict(list)
    first = position = 0
    event: Any
    for position, topic, state, key in log:  # the hottest loop
        first = first or position
        if position in aside:
            continue
        try:
            event = decode(topic, state)
        except UndecodableError as error:
            raise FoldError(position, str(error)) from error
        code = CODE_OF_TOPIC.get(topic)
        if code is not None:
            channel, short = None, key[:KEY_BYTES]
            if code == _REPLY:
                channel = event.channel
                code = _AUTOMATIC_REPLY if event.automatic else code
            elif code == _RETRACTION:
                short = retracted_key(event.retracts)[:KEY_BYTES]
                if event.prospect_id is None:
                    retractions[event.campaign_id].append(Retraction(position, short))
                    continue
            journeys.append(keys.setdefault((event.campaign_id, event.prospect_id), len(keys)))
            instants.append(event.occurred_at)
            codes.append(code)
            details.append(details_of((position, event.step, event.sender_id, event.variant, channel, short)))
        elif isinstance(event, CampaignEvent):
            changes[event.campaign_id].append(campaign.change_of(event, position, key[:KEY_BYTES]))
        else:
            raise FoldError(position, f"nothing folds {topic}")
    events = PackedEvents.of(np.array(instants, np.int64), np.array(codes, np.int64))
    campaigns = {
        campaign_id: History(tuple(changes[campaign_id]), tuple(retractions[campaign_id]))
        for campaign_id in sorted(changes.keys() | retractions.keys())
    }
    return Batch(first, position, EventsInLogOrder(list(keys), journeys, events, details), campaigns)


def fault(row: PlainRow) -> str | None:
    """Return why this event can't be folded whatever its journey is; None where it can be."""
    try:
        gather([row], ())
    except FoldError as error:
        return error.reason
    return None
