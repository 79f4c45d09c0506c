"""The numbers of the matching campaigns: each on its own, all as one, by time, or by what they belong to."""

from collections.abc import Iterable, Sequence
from typing import Any, get_args

import falcon

from api.answers.answering import Endpoint, Found, Table, wants
from api.answers.question import ALL_OF_IT, END, START, Question, parse
from api.errors import BadRequestError
from api.http.parameters import chosen
from projections.journeys import columns, series
from projections.journeys.attribution import By, breakdown
from projections.journeys.calendar import Interval, bucket_of, buckets, starts_at
from projections.journeys.quarter_hours import QUARTER_MS
from projections.journeys.series import Day
from projections.metrics import MEASURES, analytics
from projections.queries.campaigns import Campaign, Needs, Wanted, as_one

MOST_BUCKETS, MOST_BUCKETS_IN_ALL = 1_000, 50_000
INTERVAL, PER, BY = "interval", "per", "by"
_NOTHING = [0] * len(MEASURES)
_EVER = 2**62  # quarter hours and milliseconds: later than anything
_INTERVALS = ("day", "hour", "week", "month")
BREAKDOWNS: dict[str, tuple[By, ...]] = {
    ",".join(by): by for by in (("step",), ("step", "variant"), ("sender",), ("channel",))
}
_CAMPAIGN = ("id", "name", "status", "workspace_id")


def _parse(request: falcon.Request) -> Question:
    return parse(request, ALL_OF_IT)


def _parse_series(request: falcon.Request) -> Question:
    question = parse(request, (*ALL_OF_IT, INTERVAL, PER))
    interval = _interval(question)
    if PER in question.own.one:
        chosen(question.own.one, PER, ("campaign",))
    first, end = question.bounds
    if first is not None and end is not None and buckets(interval, question.zone, first, end, MOST_BUCKETS) is None:
        raise _too_many(MOST_BUCKETS)
    return question


def _parse_breakdown(request: falcon.Request) -> Question:
    question = parse(request, (*ALL_OF_IT, BY))
    chosen(question.own.one, BY, list(BREAKDOWNS))
    return question


def _wanted(question: Question) -> Wanted:
    if question.is_whole:
        return wants(question, Needs.TOTALS)
    wanted = wants(question, _dated(question))
    return wanted._replace(split=False)  # only a bound may fall within a day


def _wanted_series(question: Question) -> Wanted:
    wanted = wants(question, _dated(question))
    return wanted._replace(split=question.zone.key != "UTC" or _interval(question) == "hour")


def _wanted_breakdown(question: Question) -> Wanted:
    return wants(question, Needs.JOURNEYS)


def _dated(question: Question) -> Needs:
    return Needs.JOURNEYS if question.at_first_touch else Needs.DAYS


def _campaigns(found: Found) -> object:
    question = found.question
    return {
        "campaigns": [
            {**_named(campaign), "analytics": analytics(_totals(campaign, question), extended=question.extended)}
            for campaign in found.campaigns
        ]
    }


def _summary(found: Found) -> object:
    question = found.question
    totals = as_one((_totals(campaign, question) for campaign in found.campaigns), _NOTHING)
    return {
        "workspaces": len(found.standings),
        "campaigns": len(found.campaigns),
        "analytics": analytics(totals, extended=question.extended),
    }


def _series(found: Found) -> object:
    question = found.question
    interval, zone = _interval(question), question.zone
    days = [_days(campaign, question) for campaign in found.campaigns]
    starts, end = _range(question, interval, days)
    head: dict[str, object] = {"interval": interval, "timezone": zone.key}
    written = [starts_at(start, zone) for start in starts]

    def told(cells: Sequence[Sequence[int]]) -> list[dict[str, object]]:
        return [
            {"start": start, "analytics": analytics(cell, extended=question.extended)}
            for start, cell in zip(written, cells, strict=True)
        ]

    if PER not in question.own.one:
        every = [day for each in days for day in each]
        return {**head, "series": told(series.bucketed(every, starts, end) if starts else [])}
    if len(starts) * len(days) > MOST_BUCKETS_IN_ALL:
        raise _too_many(MOST_BUCKETS_IN_ALL)
    each_one = (
        {**_named(campaign), "series": told(series.bucketed(each, starts, end) if starts else [])}
        for campaign, each in zip(found.campaigns, days, strict=True)
    )
    return {**head, "campaigns": list(each_one)}


def _breakdown(found: Found) -> object:
    question = found.question
    by = _by(question)
    first, end = in_ms(question)
    facts = columns.unpack([each.columns for campaign in found.campaigns for each in campaign.journeys])
    rows = breakdown(facts, by, first, end, at_first_touch=question.at_first_touch)
    return {
        "by": list(by),
        "rows": [
            {
                **dict(zip(by, row, strict=True)),
                "analytics": analytics(cell, extended=question.extended),
            }
            for row, cell in rows.items()
        ],
    }


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
        if end <= first:
            return [], 0
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


def _named(campaign: Campaign) -> dict[str, object]:
    return {
        "id": campaign.campaign_id,
        "name": campaign.name,
        "status": campaign.status,
        "workspace_id": campaign.workspace_id,
    }


def _interval(question: Question) -> Interval:
    text = chosen(question.own.one, INTERVAL, _INTERVALS)
    return next(each for each in get_args(Interval) if each == text)


def _by(question: Question) -> tuple[By, ...]:
    return BREAKDOWNS[chosen(question.own.one, BY, list(BREAKDOWNS))]


def _too_many(most: int) -> BadRequestError:
    return BadRequestError(
        (INTERVAL, f"expected at most {most} buckets: ask for longer ones, or from {START} to {END}")
    )


def _table(keys: Sequence[str], name: str) -> Any:  # noqa: ANN401
    def table(question: Question) -> Table:
        columns = [*keys, *analytics(_NOTHING, extended=question.extended)]
        return Table(columns, lambda body: map(_flat, body[name]))

    return table


def _flat(row: dict[str, Any]) -> dict[str, object]:
    return {**row, **row["analytics"]}


def _summary_table(question: Question) -> Table:
    columns = ["workspaces", "campaigns", *analytics(_NOTHING, extended=question.extended)]
    return Table(columns, lambda body: [_flat(body)])


def _series_table(question: Question) -> Table:
    if PER not in question.own.one:
        table: Table = _table(["start"], "series")(question)
        return table
    columns = [*_CAMPAIGN, "start", *analytics(_NOTHING, extended=question.extended)]
    return Table(columns, lambda body: [{**c, **_flat(row)} for c in body["campaigns"] for row in c["series"]])


def _breakdown_table(question: Question) -> Table:
    table: Table = _table(_by(question), "rows")(question)
    return table


CAMPAIGNS = Endpoint(_parse, _wanted, _campaigns, _table(_CAMPAIGN, "campaigns"))
SUMMARY = Endpoint(_parse, _wanted, _summary, _summary_table)
SERIES = Endpoint(_parse_series, _wanted_series, _series, _series_table)
BREAKDOWN = Endpoint(_parse_breakdown, _wanted_breakdown, _breakdown, _breakdown_table)
