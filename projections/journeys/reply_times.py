"""How long prospects took to reply: the turns of journeys, one by one, where sums alone can't tell a median."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from projections.journeys.attribution import By, Row, codes_of, in_order, values_of
from projections.journeys.columns import EventColumns, first_touches
from projections.journeys.contributions import contributions
from projections.journeys.groups import Integers
from projections.metrics import MEASURES, TurnTime

_TURN_TIME = next(place for place, measure in enumerate(MEASURES) if isinstance(measure.rule, TurnTime))
_MINUTE, _HOUR, _DAY = 60_000, 3_600_000, 86_400_000  # ms
# The upper bounds of the histogram's classes (ms), which hold what is as long too; the last class has none.
BOUNDS = (
    *(5 * _MINUTE, 15 * _MINUTE, _HOUR, 4 * _HOUR, _DAY, 2 * _DAY, 3 * _DAY, 7 * _DAY),
    *(14 * _DAY, 30 * _DAY),
)


class Distribution(NamedTuple):
    """How turns are distributed, in ms: of none of them, all but the counts is None."""

    turns: int
    total: int
    median: int | None
    p75: int | None
    p90: int | None
    p95: int | None
    longest: int | None
    histogram: list[int]  # the number of turns up to each of `BOUNDS`, and at last of the longer ones


def turns(
    columns: EventColumns, by: Sequence[By], first: int, end: int, *, at_first_touch: bool
) -> dict[Row, Integers]:
    """Return by row how long its turns took, in ms: int64, of any order.

    A turn belongs where its reply does. It counts if it is dated from instant `first` up to, not including, `end` (ms,
    UTC): by its reply, or by the first touch of its journey. Rows are in the order of a breakdown.
    """
    places, values, dating = contributions(columns.journeys, columns.events)
    chosen = np.flatnonzero(places == _TURN_TIME)
    values, replies = values[chosen], dating[chosen]
    dated = first_touches(columns)[columns.journeys[replies]] if at_first_touch else replies
    at = columns.instants[dated]
    counted = np.flatnonzero((first <= at) & (at < end))
    values, replies = values[counted], replies[counted]
    if not by:
        return {(): values}
    codes, rows = np.unique(codes_of(columns, by)[replies + 1], axis=0, return_inverse=True)
    by_row = {
        values_of(columns, by, code): values[rows.reshape(-1) == place] for place, code in enumerate(codes.tolist())
    }
    return in_order(by_row)


def distribution(durations: Integers) -> Distribution:
    """Return how durations (ms) are distributed; percentiles are by nearest rank, so each is one of the durations."""
    ordered = np.sort(durations)
    count = int(ordered.size)

    def percentile(percent: int) -> int | None:
        return int(ordered[-(-percent * count // 100) - 1]) if count else None

    upto = np.searchsorted(ordered, BOUNDS, "right")
    histogram = np.diff(upto, prepend=0, append=count).tolist()
    longest = int(ordered[-1]) if count else None
    return Distribution(
        count, int(ordered.sum()), percentile(50), percentile(75), percentile(90), percentile(95), longest, histogram
    )
