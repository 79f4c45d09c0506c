"""What happened when: the sums of each campaign by quarter hours of UTC, a row a day, and how they are added up.

Nearly every time zone on earth begins its days at a quarter hour, so any period of any zone is a sum of these.
"""

from collections.abc import Iterable, Sequence
from itertools import starmap
from operator import attrgetter
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np

from projections.journeys import quarter_hours
from projections.journeys.calendar import Bounds, local_hours
from projections.journeys.groups import Integers
from projections.journeys.quarter_hours import QUARTERS_A_DAY, Cells
from projections.metrics import MEASURES

_FIRST_WEEKDAY = 3  # 1 January 1970 was a Thursday, with Monday as 0
_HOURS_OF_WEEK = _OUTSIDE = 7 * 24  # the row behind them is what lies outside of the period


class Day(NamedTuple):
    """A day (since 1970, UTC) of a campaign as it is stored; quarter hours are None where only the day is needed."""

    day: int
    sums: bytes
    quarters: bytes | None


def bucketed(days: Sequence[Day], starts: Sequence[int], end: int) -> list[list[int]]:
    """Return the sums of each stretch from one of `starts` up to the next, the last up to `end`, not including it.

    Bounds are quarter hours since 1970 in UTC, ascending. Of each stretch the sums are in order of `MEASURES` (counts
    and ms). A day's quarter hours are needed only where a stretch begins or ends within it. Raises msgspec.DecodeError
    where a stored day is damaged.
    """
    bounds = np.array([*starts, end])
    shape = (len(bounds) + 1, len(MEASURES))  # the first and the last row are what lies outside

    def bucket(quarters: Integers) -> Integers:
        return np.searchsorted(bounds, quarters, "right")

    begins = np.array([each.day for each in days], np.int64) * QUARTERS_A_DAY
    # A day's sums go to the stretch of its noon: but for what belongs to others, which is taken from there again.
    mostly = bucket(begins + QUARTERS_A_DAY // 2)
    rows, places, values = quarter_hours.entries([each.sums for each in days])
    sums = quarter_hours.added(shape, mostly[rows], places, values)
    first = np.clip(np.insert(bounds, 0, begins.min(initial=0))[mostly] - begins, 0, QUARTERS_A_DAY)
    last = np.clip(np.append(bounds, begins.max(initial=0) + QUARTERS_A_DAY)[mostly] - begins, 0, QUARTERS_A_DAY)
    cut = np.flatnonzero((first > 0) | (last < QUARTERS_A_DAY))
    if cut.size:
        quarters = [_quarters(days[place]) for place in cut.tolist()]
        others = quarter_hours.unpacked(cut, begins[cut] // QUARTERS_A_DAY, quarters, (first[cut], last[cut]))
        sums += quarter_hours.added(shape, bucket(others.quarters), others.places, others.values)
        sums -= quarter_hours.added(shape, mostly[others.owners], others.places, others.values)
    listed: list[list[int]] = sums[1:-1].tolist()
    return listed


def by_hour_of_week(days: Sequence[Day], zone: ZoneInfo, period: Bounds) -> dict[tuple[int, int], list[int]]:
    """Return the sums of each weekday (1: Monday) and hour (0-23) of a zone with any, within a period, in order.

    A quarter hour belongs to the hour in which it begins. Of each row the sums are in order of `MEASURES` (counts and
    ms). Raises msgspec.DecodeError where a stored day is damaged.
    """
    present, places_of_days = np.unique(np.array([each.day for each in days], np.int64), return_inverse=True)
    quarters = (present[:, np.newaxis] * QUARTERS_A_DAY + np.arange(QUARTERS_A_DAY)).reshape(-1)
    hours = local_hours(quarters, zone)
    rows = (hours // 24 + _FIRST_WEEKDAY) % 7 * 24 + hours % 24
    first, end = period
    if first is not None:
        rows[quarters < first] = _OUTSIDE
    if end is not None:
        rows[quarters >= end] = _OUTSIDE
    of_days, slots, values = quarter_hours.entries([_quarters(each) for each in days])
    of_day, places = quarter_hours.split(slots)
    shape = (_HOURS_OF_WEEK + 1, len(MEASURES))
    sums = quarter_hours.added(shape, rows[places_of_days[of_days] * QUARTERS_A_DAY + of_day], places, values)
    counted = np.flatnonzero(sums[:_OUTSIDE].any(axis=1))
    return {(row // 24 + 1, row % 24): sums[row].tolist() for row in counted.tolist()}


def extent(days: Iterable[Day]) -> tuple[int, int] | None:
    """Return the first and the last quarter hour (since 1970, UTC) with an event; None where no day has any.

    Of a day without its quarter hours, all of it counts. Raises msgspec.DecodeError where a stored day is damaged.
    """
    rows = sorted(days, key=attrgetter("day"))
    return (min(_happened(rows[0])), max(_happened(rows[-1]))) if rows else None


def by_day(of: Cells) -> list[Day]:
    """Return sums that are all of one owner as days."""
    return list(starmap(Day, zip(*quarter_hours.packed(of)[1:], strict=True)))


def _happened(day: Day) -> Iterable[int]:
    first = day.day * QUARTERS_A_DAY
    if day.quarters is None:
        return range(first, first + QUARTERS_A_DAY)
    quarters: list[int] = quarter_hours.unpacked([0], [day.day], [day.quarters]).quarters.tolist()
    return quarters


def _quarters(day: Day) -> bytes:
    assert day.quarters is not None
    return day.quarters
