"""The numbers of the matching campaigns: each on its own, all as one, by time, or by what they belong to."""

from collections.abc import Iterable, Sequence
from typing import Any, get_args

from msgspec import UNSET, Struct, UnsetType, field
from msgspec.structs import asdict

from api.answers.answering import Endpoint, Found, Table, wants
from api.answers.question import END, EVERYTHING, START, Question, ShownStatus
from api.errors import BadRequestError
from api.http.parameters import Parameter, Query, one_of
from api.http.schemas import Analytics, Count, Id, Instant, Word
from projections.journeys import columns, series
from projections.journeys.attribution import By, breakdown
from projections.journeys.calendar import Interval, bucket_of, buckets, starts_at
from projections.journeys.quarter_hours import QUARTER_MS
from projections.journeys.series import Day
from projections.metrics import MEASURES, analytics
from projections.queries.campaigns import Campaign, Needs, Wanted, as_one

MOST_BUCKETS, MOST_BUCKETS_IN_ALL = 1_000, 50_000
_NOTHING = [0] * len(MEASURES)
_EVER = 2**62  # quarter hours and milliseconds: later than anything
INTERVAL: Parameter[Interval] = one_of("interval", "how long a bucket is", get_args(Interval), "day")
PER = one_of("per", "a series for each campaign, instead of one for all", ("campaign",))
BREAKDOWNS: dict[str, tuple[By, ...]] = {
    ",".join(by): by for by in (("step",), ("step", "variant"), ("sender",), ("channel",))
}
BY = one_of("by", "the values that make a row", list(BREAKDOWNS), "step")
_CAMPAIGN = ("id", "name", "status", "workspace_id")


class CampaignRow(Struct):
    """A campaign and its numbers."""

    id: Id
    name: Word
    status: ShownStatus
    workspace_id: Id
    analytics: Analytics


class Campaigns(Struct):
    """The main answer."""

    campaigns: list[CampaignRow]


class Summary(Struct):
    """All matching campaigns as one."""

    workspaces: Count
    campaigns: Count
    analytics: Analytics


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


class BreakdownRow(Struct):
    """The numbers of what belongs to the same values."""

    step: Count | UnsetType | None = UNSET
    variant: Word | UnsetType | None = UNSET
    sender: Word | UnsetType | None = UNSET
    channel: Word | UnsetType | None = UNSET
    analytics: Analytics = field(default_factory=dict)


class Breakdown(Struct):
    """All matching campaigns as one, by the values of `by`."""

    by: list[By]
    rows: list[BreakdownRow]


def _check_series(question: Question) -> None:
    first, end = question.bounds
    interval = question.values[INTERVAL]
    if first is not None and end is not None and buckets(interval, question.zone, first, end, MOST_BUCKETS) is None:
        raise _too_many(MOST_BUCKETS)


def _wanted(question: Question) -> Wanted:
    if question.is_whole:
        return wants(question, Needs.TOTALS)
    wanted = wants(question, _dated(question))
    return wanted._replace(split=False)  # only a bound may fall within a day


def _wanted_series(question: Question) -> Wanted:
    wanted = wants(question, _dated(question))
    return wanted._replace(split=question.zone.key != "UTC" or question.values[INTERVAL] == "hour")


def _wanted_breakdown(question: Question) -> Wanted:
    return wants(question, Needs.JOURNEYS)


def _dated(question: Question) -> Needs:
    return Needs.JOURNEYS if question.at_first_touch else Needs.DAYS


def _campaigns(found: Found) -> Campaigns:
    question = found.question

    def row(campaign: Campaign) -> CampaignRow:
        return CampaignRow(*_named(campaign), analytics(_totals(campaign, question), extended=question.extended))

    return Campaigns([row(campaign) for campaign in found.campaigns])


def _summary(found: Found) -> Summary:
    question = found.question
    totals = as_one((_totals(campaign, question) for campaign in found.campaigns), _NOTHING)
    return Summary(len(found.standings), len(found.campaigns), analytics(totals, extended=question.extended))


def _series(found: Found) -> Series | SeriesByCampaign:
    question = found.question
    interval, zone = question.values[INTERVAL], question.zone
    days = [_days(campaign, question) for campaign in found.campaigns]
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
    campaigns = zip(found.campaigns, days, strict=True)
    return SeriesByCampaign(
        interval, zone.key, [CampaignSeries(*_named(campaign), buckets_of(each)) for campaign, each in campaigns]
    )


def _breakdown(found: Found) -> Breakdown:
    question = found.question
    by = _by(question)
    first, end = in_ms(question)
    facts = columns.unpack([each.columns for campaign in found.campaigns for each in campaign.journeys])
    rows = breakdown(facts, by, first, end, at_first_touch=question.at_first_touch)
    values: Any = [dict(zip(by, row, strict=True)) for row in rows]
    numbers = [analytics(sums, extended=question.extended) for sums in rows.values()]
    return Breakdown(list(by), [BreakdownRow(**row, analytics=of) for row, of in zip(values, numbers, strict=True)])


def in_ms(question: Question) -> tuple[int, int]:
    """Return the instants (ms) from which and up to which a question asks."""
    first, end = question.bounds
    return (-_EVER if first is None else first * QUARTER_MS, _EVER if end is None else end * QUARTER_MS)


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


def _days(campaign: Campaign, question: Question) -> list[Day]:
    return campaign.at_first_touch() if question.at_first_touch else campaign.days


def _totals(campaign: Campaign, question: Question) -> Sequence[int | None]:
    if question.is_whole:
        return campaign.totals
    first, end = question.bounds
    [cell] = series.bucketed(
        _days(campaign, question), [-_EVER if first is None else first], _EVER if end is None else end
    )
    return cell


def _named(campaign: Campaign) -> tuple[int, str, Any, int]:
    return campaign.campaign_id, campaign.name, campaign.status, campaign.workspace_id


def _by(question: Question) -> tuple[By, ...]:
    return BREAKDOWNS[question.values[BY]]


def _too_many(most: int) -> BadRequestError:
    return BadRequestError(
        (INTERVAL.name, f"expected at most {most} buckets: ask for longer ones, or from {START.name} to {END.name}")
    )


def _columns(question: Question, *keys: str) -> list[str]:
    return [*keys, *analytics(_NOTHING, extended=question.extended)]


def _cells(row: Any) -> dict[str, object]:  # noqa: ANN401 (a struct with `analytics`)
    return {**asdict(row), **row.analytics}


def _campaigns_table(question: Question) -> Table:
    return Table(_columns(question, *_CAMPAIGN), lambda body: map(_cells, body.campaigns))


def _summary_table(question: Question) -> Table:
    return Table(_columns(question, "workspaces", "campaigns"), lambda body: [_cells(body)])


def _series_table(question: Question) -> Table:
    if question.values[PER] is None:
        return Table(_columns(question, "start"), lambda body: map(_cells, body.series))
    return Table(
        _columns(question, *_CAMPAIGN, "start"),
        lambda body: [{**asdict(each), **_cells(bucket)} for each in body.campaigns for bucket in each.series],
    )


def _breakdown_table(question: Question) -> Table:
    return Table(_columns(question, *_by(question)), lambda body: map(_cells, body.rows))


CAMPAIGNS = Endpoint(
    "Each campaign with its numbers", Query(*EVERYTHING), _wanted, _campaigns, (Campaigns,), _campaigns_table
)
SUMMARY = Endpoint("All matching campaigns as one", Query(*EVERYTHING), _wanted, _summary, (Summary,), _summary_table)
SERIES = Endpoint(
    "The numbers by hour, day, week or month",
    Query(*EVERYTHING, INTERVAL, PER),
    _wanted_series,
    _series,
    (Series, SeriesByCampaign),
    _series_table,
    _check_series,
)
BREAKDOWN = Endpoint(
    "The numbers by what they belong to",
    Query(*EVERYTHING, BY),
    _wanted_breakdown,
    _breakdown,
    (Breakdown,),
    _breakdown_table,
)
