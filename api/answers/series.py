"""The numbers of the matching campaigns by time: all as one, or each on its own."""

from collections.abc import Iterable, Sequence
from typing import get_args

from msgspec import Struct
from msgspec.structs import asdict

from api.answers.answering import Endpoint, Matched, selection_for
from api.answers.numbers import CAMPAIGN_KEYS, cells_of, columns_of, dated, days_of, named
from api.answers.question import END, EVERYTHING, START, Question, ShownStatus
from api.answers.tables import Table
from api.errors import BadRequestError
from api.http.parameters import Parameter, Query, one_of
from api.http.schemas import Analytics, Id, Instant, Word
from projections.journeys import series
from projections.journeys.calendar import Interval, bucket_of, buckets, starts_at
from projections.journeys.series import Day
from projections.metrics import analytics
from projections.queries.campaigns import Selection

MOST_BUCKETS, MOST_BUCKETS_IN_ALL = 1_000, 50_000
INTERVAL: Parameter[Interval] = one_of("interval", "how long a bucket is", get_args(Interval), "day")
PER = one_of("per", "a series for each campaign, instead of one for all", ("campaign",))


class Bucket(Struct):
    """The numbers of a stretch of time; `start` is in the asked time zone, with its offset."""

    start: Instant
    analytics: Analytics


class Series(Struct):
    """All matching campaigns as one, by time."""

    interval: Interval
    timezone: Word
    series: list[Bucket]


class CampaignSeries(Struct):
    """A campaign, by time."""

    id: Id
    name: Word
    status: ShownStatus
    workspace_id: Id
    series: list[Bucket]


class SeriesByCampaign(Struct):
    """Each matching campaign, by time."""

    interval: Interval
    timezone: Word
    campaigns: list[CampaignSeries]


def _check(question: Question) -> None:
    first, end = question.bounds
    interval = question.values[INTERVAL]
    if first is not None and end is not None and buckets(interval, question.zone, first, end, MOST_BUCKETS) is None:
        raise _too_many(MOST_BUCKETS)


def _select(question: Question) -> Selection:
    selection = selection_for(question, dated(question))
    return selection._replace(split=question.zone.key != "UTC" or question.values[INTERVAL] == "hour")


def _series(matched: Matched) -> Series | SeriesByCampaign:
    question = matched.question
    interval, zone = question.values[INTERVAL], question.zone
    days = [days_of(campaign, question) for campaign in matched.campaigns]
    starts, end = _range(question, interval, days)
    texts = [starts_at(start, zone) for start in starts]

    def buckets_of(days: Sequence[Day]) -> list[Bucket]:
        sums = series.bucketed(days, starts, end) if starts else []
        return [
            Bucket(start, analytics(each, extended=question.extended)) for start, each in zip(texts, sums, strict=True)
        ]

    if question.values[PER] is None:
        return Series(interval, zone.key, buckets_of([day for each in days for day in each]))
    if len(starts) * len(days) > MOST_BUCKETS_IN_ALL:
        raise _too_many(MOST_BUCKETS_IN_ALL)
    campaigns = zip(matched.campaigns, days, strict=True)
    return SeriesByCampaign(
        interval, zone.key, [CampaignSeries(*named(campaign), buckets_of(each)) for campaign, each in campaigns]
    )


def _range(question: Question, interval: Interval, days: Iterable[Sequence[Day]]) -> tuple[list[int], int]:
    """Return where the buckets of a series begin, and where the last one ends."""
    first, end = question.bounds
    if first is None or end is None:
        extents = [extent for each in days if (extent := series.extent(each)) is not None]
        if not extents:
            return [], 0
        if first is None:
            first, _ = bucket_of(interval, question.zone, min(earliest for earliest, _ in extents))
        if end is None:
            _, end = bucket_of(interval, question.zone, max(latest for _, latest in extents))
    starts = buckets(interval, question.zone, first, end, MOST_BUCKETS)
    if starts is None:
        raise _too_many(MOST_BUCKETS)
    return starts, end


def _too_many(most: int) -> BadRequestError:
    return BadRequestError(
        (INTERVAL.name, f"expected at most {most} buckets: ask for longer ones, or from {START.name} to {END.name}")
    )


def _table(question: Question) -> Table:
    if question.values[PER] is None:
        return Table(columns_of(question, "start"), lambda body: map(cells_of, body.series))
    return Table(
        columns_of(question, *CAMPAIGN_KEYS, "start"),
        lambda body: [{**asdict(each), **cells_of(bucket)} for each in body.campaigns for bucket in each.series],
    )


SERIES = Endpoint(
    "The numbers by hour, day, week or month",
    Query(*EVERYTHING, INTERVAL, PER),
    _select,
    _series,
    (Series, SeriesByCampaign),
    _table,
    _check,
)
