"""The campaigns themselves: what they are called, how they stand, since when they are there."""

from typing import Any

from msgspec import Struct
from msgspec.structs import asdict

from api.answers.answering import Endpoint, Found, Table, wants
from api.answers.question import FILTERS, FORM, MIN_POSITION, Question, ShownStatus
from api.http.parameters import WORKSPACE, Query
from api.http.schemas import Count, Id, Instant, Word
from domain.instants import format_instant
from projections.journeys import campaign
from projections.journeys.campaign import Dated
from projections.metrics import analytics
from projections.queries.campaigns import Campaign, Needs, Wanted


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


class CampaignList(Struct):
    """The matching campaigns."""

    campaigns: list[CampaignAbout]


def _wanted(question: Question) -> Wanted:
    return wants(question, Needs.TOTALS)


def _body(found: Found) -> CampaignList:
    return CampaignList([_campaign(each) for each in found.campaigns])


def _campaign(found: Campaign) -> CampaignAbout:
    about = campaign.unpack_about(found.about)
    prospects: Any = analytics(found.totals)["amount_of_prospects"]
    return CampaignAbout(
        id=found.campaign_id,
        name=found.name,
        status=found.status,  # type: ignore[arg-type]  # one of these by the fold
        workspace_id=found.workspace_id,
        timezone=_value(about.timezone),
        language=_value(about.language),
        created_at=_instant(about.created_at),
        updated_at=_instant(about.updated_at),
        prospect_count=prospects,
    )


def _value(told: Dated | None) -> str | None:
    return told and told[2]


def _instant(at: int | None) -> str | None:
    return None if at is None else format_instant(at)


CAMPAIGNS = Endpoint(
    "The campaigns themselves",
    Query(WORKSPACE, MIN_POSITION, *FILTERS, *FORM),
    _wanted,
    _body,
    (CampaignList,),
    lambda _: Table(CampaignAbout.__struct_fields__, lambda body: map(asdict, body.campaigns)),
)
