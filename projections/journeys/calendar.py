"""Where the days, weeks, months and hours of a time zone begin, in quarter hours of UTC.

A quarter hour is the number of quarter hours since 1970 in UTC. A day begins at the first instant whose local date is
that day or later; a beginning between two quarter hours, which a few zones had long ago, moves up to the next.
"""

from bisect import bisect_left
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import islice
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np

from projections.journeys.groups import Integers

Interval = Literal["hour", "day", "week", "month"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_QUARTER = timedelta(minutes=15)
_SECOND = timedelta(seconds=1)
_DAY = timedelta(days=1)
_QUARTERS_A_DAY, _QUARTER_SECONDS = 96, 900
_CHANGES = 1 << 30  # no offset


class Bounds(NamedTuple):
    """A period from one quarter hour up to another, which is not included; None: as far as there is anything."""

    first: int | None
    end: int | None


def bounds(start: date | None, end: date | None, zone: ZoneInfo) -> Bounds:
    """Return the period from one day to another of a zone, both included."""
    return Bounds(
        None if start is None else day_begins(start, zone), None if end is None else day_begins(end + _DAY, zone)
    )


@lru_cache(maxsize=20_000)
def day_begins(day: date, zone: ZoneInfo) -> int:
    """Return the quarter hour at which a day of a zone begins."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=zone)
    before, after = _offset(midnight), _offset(midnight.replace(fold=1))
    at = midnight.replace(tzinfo=UTC)
    begins = at - before
    if before < after:  # clocks were put forward over midnight: the day begins when they were
        earliest = at - after
        seconds = range(int((begins - earliest) / _SECOND) + 1)
        later = bisect_left(seconds, True, key=lambda s: (earliest + s * _SECOND).astimezone(zone).date() >= day)  # noqa: FBT003
        begins = earliest + later * _SECOND
    return -((_EPOCH - begins) // _QUARTER)


def buckets(interval: Interval, zone: ZoneInfo, first: int, end: int, most: int) -> list[int] | None:
    """Return where the buckets of a period begin, the first with the period; None where they are more than `most`.

    A period without any quarter hour, such as a day that the zone has skipped, has none.
    """
    if end <= first:
        return []
    following = list(islice(_begin_after(interval, zone, first, end), most))
    return [first, *following] if len(following) < most else None


def bucket_of(interval: Interval, zone: ZoneInfo, quarter: int) -> tuple[int, int]:
    """Return the quarter hours at which the bucket that holds this one begins, and at which the next one does."""
    if interval == "hour":
        hour = _hour(quarter, zone)
        first = end = quarter
        while _hour(first - 1, zone) == hour:
            first -= 1
        while _hour(end, zone) == hour:
            end += 1
        return first, end
    start = _start(interval, _day_of(quarter, zone))
    return day_begins(start, zone), day_begins(_next(interval, start), zone)


def starts_at(quarter: int, zone: ZoneInfo) -> str:
    """Return the beginning of a quarter hour as RFC 3339 in a zone, with its offset.

    RFC 3339 knows no seconds in an offset: they are cut, and the local time is that of the remaining offset.
    """
    moment = (_EPOCH + quarter * _QUARTER).astimezone(zone)
    minutes = int(_offset(moment) / timedelta(minutes=1))
    local = (_EPOCH + quarter * _QUARTER + timedelta(minutes=minutes)).replace(tzinfo=None)
    sign = "-" if minutes < 0 else "+"
    return f"{local.isoformat(timespec='seconds')}{sign}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"


def local_hours(quarters: Integers, zone: ZoneInfo) -> Integers:
    """Return in which hour of a zone quarter hours begin, in local hours since 1970: shape (n,), int64."""
    days, places = np.unique(quarters // _QUARTERS_A_DAY, return_inverse=True)
    offsets = np.array([_offset_of_day(day, zone) for day in days.tolist()], np.int64)[places]
    changing = np.flatnonzero(offsets == _CHANGES)
    if changing.size:  # the clock is changed on such a day, so each quarter hour is asked for
        several, places = np.unique(quarters[changing], return_inverse=True)
        offsets[changing] = np.array([_offset_at(quarter, zone) for quarter in several.tolist()], np.int64)[places]
    return (quarters * _QUARTER_SECONDS + offsets) // 3_600


@lru_cache(maxsize=20_000)
def _offset_of_day(day: int, zone: ZoneInfo) -> int:
    """Return the offset in seconds that a zone has all through a day of UTC; `_CHANGES` where it has several."""
    first, last = (_offset_at(day * _QUARTERS_A_DAY + quarter, zone) for quarter in (0, _QUARTERS_A_DAY))
    return first if first == last else _CHANGES


def _offset_at(quarter: int, zone: ZoneInfo) -> int:
    return int(_offset((_EPOCH + quarter * _QUARTER).astimezone(zone)) / _SECOND)


def _begin_after(interval: Interval, zone: ZoneInfo, first: int, end: int) -> Iterator[int]:
    """Yield where buckets begin within a period, but for the one with which it begins."""
    if interval == "hour":
        yield from _hours_after(zone, first, end)
        return
    start = _next(interval, _start(interval, _day_of(first, zone)))
    last = first
    while (begins := day_begins(start, zone)) < end:
        if begins > last:  # a day that the zone has skipped is none
            yield begins
            last = begins
        start = _next(interval, start)


def _hours_after(zone: ZoneInfo, first: int, end: int) -> Iterator[int]:
    hour = _hour(first, zone)
    for quarter in range(first + 1, end):
        now = _hour(quarter, zone)
        if now != hour:
            yield quarter
            hour = now


def _hour(quarter: int, zone: ZoneInfo) -> tuple[date, int, timedelta]:
    moment = (_EPOCH + quarter * _QUARTER).astimezone(zone)
    return moment.date(), moment.hour, _offset(moment)


def _day_of(quarter: int, zone: ZoneInfo) -> date:
    """Return the day that holds a quarter hour: the latest that has begun."""
    day = (_EPOCH + quarter * _QUARTER).astimezone(zone).date()
    while day_begins(day + _DAY, zone) <= quarter:
        day += _DAY
    while day_begins(day, zone) > quarter:
        day -= _DAY
    return day


def _start(interval: Interval, day: date) -> date:
    if interval == "week":
        return day - day.weekday() * _DAY
    return day.replace(day=1) if interval == "month" else day


def _next(interval: Interval, start: date) -> date:
    if interval == "month":
        return (start + 31 * _DAY).replace(day=1)
    return start + (7 * _DAY if interval == "week" else _DAY)


def _offset(moment: datetime) -> timedelta:
    offset = moment.utcoffset()
    assert offset is not None
    return offset
