"""The numbers of the matching campaigns, each on its own, and all as one; beside those of the period before."""

from typing import Any

from msgspec import UNSET, Struct, UnsetType

from api.answers import listing
from api.answers.answering import Endpoint, Matched, selection_for
from api.answers.listing import CURSOR, LIMIT, SEARCH, SORT
from api.answers.numbers import CAMPAIGN_KEYS, NOTHING, cells_of, columns_of, dated, named, totals
from api.answers.question import END, EVERYTHING, START, ZONE, Question, ShownStatus
from api.answers.tables import Table
from api.errors import BadRequestError
from api.http.parameters import Query, one_of
from api.http.schemas import Analytics, Count, Id, Word
from domain.zones import time_zone
from projections.journeys.calendar import Bounds, bounds
from projections.metrics import PLACES, analytics
from projections.queries.campaigns import Campaign, Needs, Selection, as_one

COMPARE = one_of("compare", "the numbers of as many days before beside those of the period", ("previous",))


class CampaignRow(Struct):
    """A campaign and its numbers; those of the period before where they are asked for."""

    id: Id
    name: Word
    status: ShownStatus
    workspace_id: Id
    analytics: Analytics
    previous: Analytics | UnsetType = UNSET


class Campaigns(Struct):
    """The main answer; `next` is the cursor of the next page, where pages are asked for."""

    campaigns: list[CampaignRow]
    next: Word | UnsetType | None = UNSET


class Summary(Struct):
    """All matching campaigns as one."""

    workspaces: Count
    campaigns: Count
    analytics: Analytics
    previous: Analytics | UnsetType = UNSET


def _check(question: Question) -> None:
    values = question.values
    if values[COMPARE] is not None and (values[START] is None or values[END] is None):
        raise BadRequestError((COMPARE.name, f"expected only with {START.name} and {END.name}"))


def _check_campaigns(question: Question) -> None:
    _check(question)
    listing.check(question)


def _before(question: Question) -> Bounds | None:
    """Return the period of as many days before the asked one, None where it is not asked for."""
    start, end = question.values[START], question.values[END]
    if question.values[COMPARE] is None or start is None or end is None:
        return None
    days = end - start
    last = start.fromordinal(max(start.toordinal() - 1, 1))
    return bounds(last.fromordinal(max(last.toordinal() - days.days, 1)), last, time_zone(question.values[ZONE]))


def _select(question: Question) -> Selection:
    if question.is_whole:
        return selection_for(question, Needs.TOTALS)
    before = _before(question)
    selection = selection_for(question, dated(question))
    if before is not None:
        return selection._replace(first=before.first)  # the period's own beginning may fall within a day, too
    return selection._replace(split=False)  # only a bound may fall within a day


def _numbers(question: Question, sums: Any) -> dict[str, object]:  # noqa: ANN401 (sums, or None where not known)
    return analytics(sums, extended=question.extended)


def _campaigns(matched: Matched) -> Campaigns:
    question, before = matched.question, _before(matched.question)
    key = listing.sorted_by(question)

    def row(campaign: Campaign) -> tuple[CampaignRow, listing.Row]:
        sums = totals(campaign, question)
        shown = CampaignRow(*named(campaign), _numbers(question, sums))
        if before is not None:
            shown.previous = _numbers(question, totals(campaign, question, before))
        fields: dict[str | None, str | int | None] = {
            None: None,
            "id": campaign.campaign_id,
            "name": campaign.name,
            "status": campaign.status,
        }
        sort_key = fields[key] if key in fields else listing.sort_key(str(key), lambda name: sums[PLACES[name]])
        return shown, listing.Row(campaign.workspace_id, campaign.campaign_id, campaign.name, sort_key)

    rows, following = listing.page(question, [row(campaign) for campaign in matched.campaigns], lambda pair: pair[1])
    return Campaigns([shown for shown, _ in rows], UNSET if question.values[LIMIT] is None else following)


def _summary(matched: Matched) -> Summary:
    question, before = matched.question, _before(matched.question)
    sums = as_one((totals(campaign, question) for campaign in matched.campaigns), NOTHING)
    summary = Summary(len(matched.standings), len(matched.campaigns), _numbers(question, sums))
    if before is not None:
        sums = as_one((totals(campaign, question, before) for campaign in matched.campaigns), NOTHING)
        summary.previous = _numbers(question, sums)
    return summary


def _table(question: Question, *keys: str) -> list[str]:
    columns = columns_of(question, *keys)
    compared = columns[len(keys) :] if question.values[COMPARE] is not None else []
    return [*columns, *(f"previous_{name}" for name in compared)]


def _cells(row: CampaignRow | Summary) -> dict[str, object]:
    previous = row.previous or {}
    return {**cells_of(row), **{f"previous_{name}": value for name, value in previous.items()}}


CAMPAIGNS = Endpoint(
    "Each campaign with its numbers",
    Query(*EVERYTHING, COMPARE, SEARCH, SORT, LIMIT, CURSOR),
    _select,
    _campaigns,
    (Campaigns,),
    lambda question: Table(_table(question, *CAMPAIGN_KEYS), lambda body: map(_cells, body.campaigns)),
    _check_campaigns,
)
SUMMARY = Endpoint(
    "All matching campaigns as one",
    Query(*EVERYTHING, COMPARE),
    _select,
    _summary,
    (Summary,),
    lambda question: Table(_table(question, "workspaces", "campaigns"), lambda body: [_cells(body)]),
    _check,
)
