"""Shows where the days, weeks, months and hours of time zones begin."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from projections.journeys.calendar import Interval, bounds, bucket_of, buckets, day_begins, starts_at

ZONES = [
    ZoneInfo(name)
    for name in (
        *("UTC", "Europe/Berlin", "Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe", "America/St_Johns"),
        *("Pacific/Apia", "America/Sao_Paulo", "America/Havana", "Africa/Cairo"),
    )
]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
QUARTER = timedelta(minutes=15)


def local(quarter: int, zone: ZoneInfo) -> datetime:
    """Return what the clocks of a zone show at the beginning of a quarter hour."""
    return (EPOCH + quarter * QUARTER).astimezone(zone)


@pytest.mark.parametrize(
    ("zone", "day", "begins"),
    [
        ("UTC", "2026-11-01", "2026-11-01T00:00:00+00:00"),
        ("Europe/Berlin", "2026-03-29", "2026-03-29T00:00:00+01:00"),
        ("Europe/Berlin", "2026-03-30", "2026-03-30T00:00:00+02:00"),
        ("Asia/Kolkata", "2026-11-01", "2026-11-01T00:00:00+05:30"),
        ("Asia/Kathmandu", "2026-11-01", "2026-11-01T00:00:00+05:45"),
        ("America/Sao_Paulo", "2018-11-04", "2018-11-04T01:00:00-02:00"),  # midnight was left out
        ("America/Havana", "2026-11-01", "2026-11-01T00:00:00-04:00"),  # it comes twice: the first counts
        ("America/St_Johns", "2000-10-29", "2000-10-29T00:00:00-02:30"),  # at 00:01 back to the day before
        ("Pacific/Apia", "2011-12-30", "2011-12-31T00:00:00+14:00"),  # a day that was left out
        ("Pacific/Apia", "2011-12-31", "2011-12-31T00:00:00+14:00"),
        ("Africa/Monrovia", "1971-06-01", "1971-06-01T00:01:00-00:44"),  # 44:30 past, up to 45; no seconds
        ("Pacific/Kiritimati", "1970-01-01", "1970-01-01T00:05:00-10:40"),
        ("UTC", "3000-01-01", "3000-01-01T00:00:00+00:00"),
    ],
)
def test_a_day_begins_at_its_first_instant(zone: str, day: str, begins: str) -> None:
    """Whatever the clocks do about midnight; between two quarter hours it is the next one."""
    named = ZoneInfo(zone)
    assert starts_at(day_begins(date.fromisoformat(day), named), named) == begins


@given(
    zone=st.sampled_from(ZONES),
    around=st.sampled_from(["2018-11-03", "2000-10-28", "2011-12-29", "2026-03-28", "2026-10-24", "2026-04-04"]),
    days=st.integers(0, 4),
)
def test_a_day_begins_at_the_first_quarter_whose_local_date_is_that_day_or_later(
    zone: ZoneInfo, around: str, days: int
) -> None:
    """Found by walking up to it."""
    day = date.fromisoformat(around) + timedelta(days=days)
    quarter = (datetime(day.year, day.month, day.day, tzinfo=UTC) - EPOCH) // QUARTER - 200
    while local(quarter, zone).date() < day:
        quarter += 1
    assert day_begins(day, zone) == quarter


@given(
    zone=st.sampled_from(ZONES),
    interval=st.sampled_from(["hour", "day", "week", "month"]),
    first=st.dates(date(2026, 3, 1), date(2026, 4, 10)) | st.dates(date(2011, 12, 25), date(2012, 1, 2)),
    length=st.integers(0, 20),
)
def test_buckets_follow_each_other_without_a_gap(zone: ZoneInfo, interval: Interval, first: date, length: int) -> None:
    """They begin with the period and ascend; each is, cut to the period, the bucket of every quarter hour in it."""
    begins, end = bounds(first, first + timedelta(days=length), zone)
    assert begins is not None
    assert end is not None
    if begins == end:  # only the day that was left out
        return
    starts = buckets(interval, zone, begins, end, 1_000)
    assert starts is not None
    assert starts[0] == begins
    for start, following in pairwise([*starts, end]):
        assert start < following
        for quarter in {start, (start + following) // 2, following - 1}:
            whole = bucket_of(interval, zone, quarter)
            assert (max(whole[0], begins), min(whole[1], end)) == (start, following)


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", "2026-03-29", 23),
        ("Europe/Berlin", "2026-10-25", 25),
        ("Asia/Kolkata", "2026-10-25", 24),
        (
            "Australia/Lord_Howe",
            "2026-04-05",
            25,
        ),  # 01:30 to 02:00 comes twice, the second time as a stretch of its own
        ("Australia/Lord_Howe", "2026-10-04", 24),  # of 02:00 only the second half is there
    ],
)
def test_an_hour_is_a_stretch_of_one_date_hour_and_offset(zone: str, day: str, hours: int) -> None:
    named, chosen = ZoneInfo(zone), date.fromisoformat(day)
    first, end = bounds(chosen, chosen, named)
    assert first is not None
    assert end is not None
    starts = buckets("hour", named, first, end, 1_000)
    assert starts is not None
    assert len(starts) == hours
    stretches = [(at.date(), at.hour, at.utcoffset()) for at in (local(start, named) for start in starts)]
    assert len(set(stretches)) == hours
    assert {local(quarter, named).hour for quarter in range(first, end)} == {
        local(start, named).hour for start in starts
    }


def test_two_oclock_comes_twice_in_berlin_in_autumn() -> None:
    zone = ZoneInfo("Europe/Berlin")
    first, end = bounds(date(2026, 10, 25), date(2026, 10, 25), zone)
    assert first is not None
    assert end is not None
    starts = [starts_at(start, zone) for start in buckets("hour", zone, first, end, 1_000) or ()]
    assert starts[2:4] == ["2026-10-25T02:00:00+02:00", "2026-10-25T02:00:00+01:00"]


def test_weeks_begin_on_monday_and_months_with_the_first() -> None:
    """The first may begin later, with the period."""
    zone = ZoneInfo("Europe/Berlin")
    first, end = bounds(date(2026, 10, 21), date(2026, 11, 3), zone)
    assert first is not None
    assert end is not None
    weeks = [starts_at(start, zone)[:10] for start in buckets("week", zone, first, end, 1_000) or ()]
    months = [starts_at(start, zone)[:10] for start in buckets("month", zone, first, end, 1_000) or ()]
    assert weeks == ["2026-10-21", "2026-10-26", "2026-11-02"]
    assert months == ["2026-10-21", "2026-11-01"]


def test_too_many_buckets_are_none_at_once() -> None:
    """Also where the period is a thousand years of hours; as many as allowed are made."""
    zone = ZoneInfo("UTC")
    first, end = bounds(date(1970, 1, 1), date(2999, 12, 31), zone)
    assert first is not None
    assert end is not None
    assert buckets("hour", zone, first, end, 1_000) is None
    assert buckets("day", zone, 0, 1_001 * 96, 1_000) is None
    assert len(buckets("day", zone, 0, 1_000 * 96, 1_000) or ()) == 1_000
