"""What new events add to their campaigns: to sums by quarter hour, and to the numbers of events.

An event's whole effect is what its journey contributes with it less what it contributed without it. For most journeys
the packed events say that; only where one holds a retraction, or a reply that turned out to be automatic, its details
are needed too.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import compress, pairwise
from typing import NamedTuple

import msgspec
import numpy as np

from projections.building.batch import EventsByJourney, FoldError, JourneyKey
from projections.building.campaign_rows import CampaignRow
from projections.journeys import campaign, columns, contributions, quarter_hours
from projections.journeys.columns import EventColumns, PackedEvents
from projections.journeys.groups import Integers, group_of_each, is_first, lengths_of, offsets_of
from projections.journeys.quarter_hours import QUARTER_MS, Cells, Days

# So many, and of events about so many, are added up at once, so that the memory is bounded.
_JOURNEYS_AT_ONCE = 4_000
_EVENTS_AT_ONCE = 250_000
assert _JOURNEYS_AT_ONCE <= columns.MOST_SORTED, (
    f"journey index and event must fit in 63 bits together: lower _JOURNEYS_AT_ONCE to {columns.MOST_SORTED}"
)

# Returns the stored details of journeys, all of each, in order of these keys.
ReadDetails = Callable[[Sequence[JourneyKey]], Sequence[bytes]]


class Increments(NamedTuple):
    """What new events add to campaigns: to their sums by quarter hour, and to the numbers of their events.

    The owners of the sums are indices into `campaign_ids`. `counted` is by how many more events count; it is
    negative where retractions came.
    """

    campaign_ids: list[int]
    cells: Cells
    events: dict[int, int]
    counted: dict[int, int]

    def campaigns(self) -> dict[int, CampaignRow]:
        """Return what is added to each campaign's row."""
        totals = quarter_hours.totals(self.cells, len(self.campaign_ids)).tolist()
        return {
            campaign_id: CampaignRow(campaign.NOTHING, sums, self.events[campaign_id], self.counted[campaign_id])
            for campaign_id, sums in zip(self.campaign_ids, totals, strict=True)
        }

    def days(self) -> Days:
        """Return what is added as days are stored. Raises OverflowError where a sum is negative or too great."""
        return quarter_hours.packed(self.cells)


class Accumulator:
    """Adds up what new events add."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._indices: dict[int, int] = {}
        self._cells: list[Cells] = []
        self._stored: dict[int, int] = defaultdict(int)
        self._counted: dict[int, int] = defaultdict(int)

    def add(self, new: EventsByJourney, stored: Sequence[bytes], details: ReadDetails) -> None:
        """Add what new events contribute; `stored` are the events of each of their journeys, the new ones last.

        Raises FoldError where the details of a journey are needed and damaged.
        """
        events = np.cumsum(lengths_of(stored) // PackedEvents.BYTES)
        pieces = np.arange(len(stored)) // _JOURNEYS_AT_ONCE + events // _EVENTS_AT_ONCE
        bounds = [*np.flatnonzero(is_first(pieces)).tolist(), len(stored)]
        for first, end in pairwise(bounds):
            self._add(new.part(first, end), stored[first:end], details)

    def _add(self, new: EventsByJourney, stored: Sequence[bytes], details: ReadDetails) -> None:
        offsets = offsets_of(lengths_of(stored) // PackedEvents.BYTES)
        journeys = group_of_each(offsets)
        is_new = np.arange(journeys.size) >= (offsets[1:] - new.counts)[journeys]
        events = PackedEvents.read(stored)
        need_details = np.zeros(len(stored), np.bool_)
        need_details[journeys[events.need_details]] = True
        if need_details.any():
            self._add_with_details(new.chosen(need_details), list(compress(stored, need_details)), details)
            if not need_details.all():
                self._add(new.chosen(~need_details), list(compress(stored, ~need_details)), details)
            return
        for (campaign_id, _), number in zip(new.keys, new.counts.tolist(), strict=True):
            self._stored[campaign_id] += number
            self._counted[campaign_id] += number
        journeys, events, is_new = columns.in_order(journeys, events, is_new)
        changes = contributions.changes(journeys, events, is_new)
        quarters = events[changes.dating].instants // QUARTER_MS
        campaigns = self._campaigns_of(new)[journeys[changes.dating]]
        cells = quarter_hours.cells(campaigns, quarters, changes.places, changes.values)
        self._cells.append(quarter_hours.summed([cells]))

    def _add_with_details(self, new: EventsByJourney, stored: Sequence[bytes], details: ReadDetails) -> None:
        """Do as `_add` for journeys in which a retraction or `ReplyWasAutomatic` decides how other events count."""
        events = _read(new, list(zip(stored, details(new.keys), strict=True)))
        first_new = np.cumsum(lengths_of(stored) // PackedEvents.BYTES) - new.counts  # of each journey
        is_new = np.arange(len(events.events)) >= first_new[events.journeys]
        for (campaign_id, _), number in zip(new.keys, new.counts.tolist(), strict=True):
            self._stored[campaign_id] += number
        campaigns = self._campaigns_of(new)
        for sign, counted in ((1, columns.counting(events)), (-1, columns.counting(events.chosen(~is_new)))):
            numbers = np.bincount(counted.journeys, minlength=len(new.keys)).tolist()
            for (campaign_id, _), number in zip(new.keys, numbers, strict=True):
                self._counted[campaign_id] += sign * number
            places, values, dating = contributions.contributions(counted.journeys, counted.events)
            quarters = counted.instants[dating] // QUARTER_MS
            cells = quarter_hours.cells(campaigns[counted.journeys[dating]], quarters, places, sign * values)
            self._cells.append(quarter_hours.summed([cells]))

    def _campaigns_of(self, new: EventsByJourney) -> Integers:
        """Return the index of each journey's campaign; one that is new gets the next index."""
        return np.array([self._indices.setdefault(each, len(self._indices)) for each, _ in new.keys], np.int64)

    def increments(self) -> Increments:
        """Return what was added."""
        cells = quarter_hours.summed(self._cells) if len(self._cells) != 1 else self._cells[0]
        return Increments(list(self._indices), cells, dict(self._stored), dict(self._counted))


def require_intact(new: EventsByJourney, stored: list[bytes]) -> list[bytes]:
    """Return what is stored of journeys; raise FoldError, for the first new event of a damaged one, where any is."""
    are_intact = columns.are_intact(stored)
    if not are_intact.all():
        raise _damaged(new.chosen(~are_intact))
    return stored


def _read(new: EventsByJourney, stored: Sequence[tuple[bytes, bytes]]) -> EventColumns:
    """Return all events of journeys; raise FoldError, for the first new event of a damaged one, where any is."""
    try:
        return columns.read(stored)
    except msgspec.DecodeError as error:
        if len(stored) == 1:
            raise _damaged(new) from error
    are_readable = [_is_readable(each) for each in stored]
    raise _damaged(new.chosen(~np.array(are_readable)))


def _is_readable(stored: tuple[bytes, bytes]) -> bool:
    try:
        columns.read([stored])
    except msgspec.DecodeError:
        return False
    return True


def _damaged(journeys: EventsByJourney) -> FoldError:
    positions = map(columns.first_position, journeys.details, journeys.counts.tolist())
    return FoldError(min(positions), "its journey's row is damaged")
