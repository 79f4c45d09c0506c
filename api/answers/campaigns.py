"""The campaigns themselves: their names, their statuses, and since when they exist."""

from typing import Any

from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import asdict

from api.answers import listing
from api.answers.answering import Endpoint, Matched, selection_for
from api.answers.listing import CURSOR, LIMIT, SEARCH
from api.answers.listing import SORT_CAMPAIGNS as SORT
from api.answers.question import FILTERS, FORM, MIN_POSITION, Question, ShownStatus
from api.answers.tables import Table
from api.http.parameters import WORKSPACE, Query
from api.http.schemas import Count, Id, Instant, Word
from domain.campaign_keys import FIRST_DERIVED_ID
from domain.instants import format_instant
from domain.keyed_campaigns import keys_of
from projections.journeys import campaign
from projections.journeys.campaign import Dated
from projections.metrics import analytics
from projections.queries.campaigns import Campaign, Needs, Selection


class CampaignAbout(Struct):
    """What is known of a campaign itself."""

    id: Id
    name: Word
    status: ShownStatus
    workspace_id: Id
    timezone: Word | None
    language: Word | None
    created_at: Instant | None
    updated_at: Instant | None
    prospect_count: Count | None
    campaign_key: Word | UnsetType = UNSET  # of a campaign that its tool names so


class CampaignList(Struct):
    """The matching campaigns."""

    campaigns: list[CampaignAbout]
    next: Word | UnsetType | None = UNSET


def _select(question: Question) -> Selection:
    return selection_for(question, Needs.TOTALS)


def _body(matched: Matched) -> CampaignList:
    question = matched.question
    key = listing.sorted_by(question)

    def describe(row: CampaignAbout) -> listing.Row:
        return listing.Row(row.workspace_id, row.id, row.name, None if key is None else getattr(row, key))

    rows, following = listing.page(question, [_campaign(each) for each in matched.campaigns], describe)
    _add_keys(matched, rows)
    return CampaignList(rows, UNSET if question.values[LIMIT] is None else following)


def _add_keys(matched: Matched, rows: list[CampaignAbout]) -> None:
    """Add the campaigns' keys to their rows; a key never changes, so reading it needs no common snapshot."""
    for workspace_id in {row.workspace_id for row in rows}:
        own = {row.id: row for row in rows if row.workspace_id == workspace_id and row.id >= FIRST_DERIVED_ID}
        keys = keys_of(matched.database, workspace_id, own) if own else {}
        for campaign_id, key in keys.items():
            own[campaign_id].campaign_key = key


def _campaign(row: Campaign) -> CampaignAbout:
    about = campaign.unpack_about(row.about)
    prospects: Any = analytics(row.totals)["amount_of_prospects"]
    return CampaignAbout(
        id=row.campaign_id,
        name=row.name,
        status=row.status,  # type: ignore[arg-type]  # one of these by the fold
        workspace_id=row.workspace_id,
        timezone=_value(about.timezone),
        language=_value(about.language),
        created_at=_instant(about.created_at),
        updated_at=_instant(about.updated_at),
        prospect_count=prospects,
    )


def _value(dated: Dated | None) -> str | None:
    return dated and dated[2]


def _instant(at: int | None) -> str | None:
    return None if at is None else format_instant(at)


CAMPAIGNS = Endpoint(
    "The campaigns themselves",
    Query(WORKSPACE, MIN_POSITION, *FILTERS, *FORM, SEARCH, SORT, LIMIT, CURSOR),
    _select,
    _body,
    (CampaignList,),
    lambda _: Table(CampaignAbout.__struct_fields__[:-1], lambda body: map(asdict, body.campaigns)),
    listing.check,
)
