"""Why a number is what it is: each contribution with its instant, its value and the events that make it."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from domain.events import Event
from domain.instants import format_instant
from projections.journeys.columns import CODE, IS_TOUCH, EventColumns, counting, first_touches, latest, read
from projections.journeys.contributions import contributions
from projections.journeys.groups import Integers, is_first
from projections.metrics import MEASURES, METRICS, PLACES, RETRACTION, Derived, Each, Turns, TurnTime

AVERAGE = "average_reply_time"  # is explained by its turns, in ms
EXPLAINED = {
    **{metric.name: PLACES[metric.name] for metric in METRICS if not isinstance(metric.rule, Derived | TurnTime)},
    AVERAGE: PLACES["reply_time_ms"],
}


class Contribution(NamedTuple):
    """One part of a number; contributions sort in the order in which answers list them.

    `at` is in ms (UTC), a value is a count or ms, and the positions are the log's.
    """

    at: int
    prospect_id: str
    position: int
    value: int
    positions: tuple[int, ...]


class Contributions:
    """What makes up a number, by columns, in the order in which answers list it; a page costs what it shows."""

    def __init__(
        self, prospect_ids: Sequence[str], at: Integers, journeys: Integers, values: Integers, named: Sequence[Integers]
    ) -> None:
        """Take the prospect of each journey; and of each contribution its instant (ms, UTC), journey, value, positions.

        The columns have shape (n,) and dtype int64, in any order; the last of `named` are the positions that date.
        """
        used, journeys = np.unique(journeys, return_inverse=True)
        prospect_ids = [prospect_ids[journey] for journey in used.tolist()]
        ranks = np.empty(len(prospect_ids), np.int64)
        ranks[sorted(range(len(prospect_ids)), key=prospect_ids.__getitem__)] = np.arange(len(prospect_ids))
        order = np.lexsort((named[-1], ranks[journeys], at))
        self._prospect_ids = prospect_ids  # of the journeys that contribute
        self._at, self._journeys, self._values = at[order], journeys[order], values[order]
        self._named = [positions[order] for positions in named]
        self.total = int(values.sum())  # a count or ms

    def __len__(self) -> int:
        """Return the number of contributions."""
        return self._at.size

    @property
    def bytes(self) -> int:
        """Return about how much memory it takes."""
        return self._at.size * 8 * (3 + len(self._named)) + 100 * len(self._prospect_ids)

    def part(self, first: int, end: int) -> list[Contribution]:
        """Return the contributions from one place up to, not including, another."""
        columns = (self._at, self._journeys, self._values, *self._named)
        return [
            Contribution(at, self._prospect_ids[journey], positions[-1], value, tuple(positions))
            for at, journey, value, *positions in zip(*(column[first:end].tolist() for column in columns), strict=True)
        ]

    def place_behind(self, at: int, prospect_id: str, position: int) -> int:
        """Return the place of the first contribution behind this one."""
        first, end = (int(np.searchsorted(self._at, at, side)) for side in ("left", "right"))
        key = (prospect_id, position)
        return first + bisect_right(range(first, end), key, key=self._key)

    def _key(self, place: int) -> tuple[str, int]:
        return self._prospect_ids[self._journeys[place]], int(self._named[-1][place])


def explain(  # noqa: PLR0913 (a question)
    prospect_ids: Sequence[str], columns: EventColumns, metric: str, first: int, end: int, *, at_first_touch: bool
) -> Contributions:
    """Return what makes up a number, one of `EXPLAINED`, from instant `first` up to `end` (ms, UTC).

    `columns` are those of one campaign, `prospect_ids` names the prospect of each journey.
    """
    places, values, dating = contributions(columns.journeys, columns.events)
    of_metric = places == EXPLAINED[metric]
    values, dating = values[of_metric], dating[of_metric]
    dated = first_touches(columns)[columns.journeys[dating]] if at_first_touch else dating
    at = columns.instants[dated]
    counted = np.flatnonzero((dated >= 0) & (first <= at) & (at < end))
    rule = MEASURES[EXPLAINED[metric]].rule
    lowest = columns.positions if isinstance(rule, Each) else _lowest(columns)  # of events alike, each one counts
    named = [lowest[dating[counted]]]
    if isinstance(rule, Turns | TurnTime):
        touches = latest(IS_TOUCH[columns.codes], columns.journeys)
        named.insert(0, lowest[touches[dating[counted]]])
    return Contributions(prospect_ids, at[counted], columns.journeys[dating[counted]], values[counted], named)


def amount_retracted(stored: Sequence[tuple[bytes, bytes]]) -> int:
    """Return how many events of stored journeys were taken back; raises as `columns.read` does."""
    events = read(stored)
    retractions = int((events.codes == CODE[RETRACTION]).sum())
    return len(events.events) - retractions - len(counting(events).events)


def as_json(contribution: Contribution, events: Mapping[int, Event]) -> dict[str, object]:
    """Return a contribution as JSON has it; `events` are those of the log by position, at least its own."""
    return {
        "prospect_id": contribution.prospect_id,
        "at": format_instant(contribution.at),
        "value": contribution.value,
        "events": [
            {
                "id": events[position].id,
                "source": events[position].source,
                "type": type(events[position]).__name__,
                "occurred_at": format_instant(events[position].occurred_at),
                "position": position,
            }
            for position in contribution.positions
        ],
    }


def _lowest(columns: EventColumns) -> Integers:
    """Return for each event the lowest position of those that are alike; they stand together, the lowest first."""
    alike = np.ones(len(columns.events), np.bool_)
    for column in (
        columns.journeys,
        columns.events.data,
        columns.steps,
        columns.senders,
        columns.variants,
        columns.channels,
    ):
        alike &= ~is_first(column)
    firsts = np.maximum.accumulate(np.where(alike, 0, np.arange(alike.size)))
    return columns.positions[firsts]
