"""The campaigns themselves: what they are called, how they stand, since when they are there."""

import falcon

from api.answers.answering import Endpoint, Found, Table, wants
from api.answers.question import FILTERS, FORMAT, MIN_POSITION, Question, parse
from api.http.parameters import WORKSPACE
from domain.instants import format_instant
from projections.journeys import campaign
from projections.journeys.campaign import Dated
from projections.metrics import analytics
from projections.queries.campaigns import Campaign, Needs, Wanted

_COLUMNS = (
    "id",
    "name",
    "status",
    "workspace_id",
    "timezone",
    "language",
    "created_at",
    "updated_at",
    "prospect_count",
)


def _parse(request: falcon.Request) -> Question:
    return parse(request, (WORKSPACE, MIN_POSITION, *FILTERS, FORMAT))


def _wanted(question: Question) -> Wanted:
    return wants(question, Needs.TOTALS)


def _body(found: Found) -> object:
    return {"campaigns": [_campaign(each) for each in found.campaigns]}


def _campaign(found: Campaign) -> dict[str, object]:
    about = campaign.unpack(found.about)
    return {
        "id": found.campaign_id,
        "name": found.name,
        "status": found.status,
        "workspace_id": found.workspace_id,
        "timezone": _value(about.timezone),
        "language": _value(about.language),
        "created_at": _instant(about.created_at),
        "updated_at": _instant(about.updated_at),
        "prospect_count": analytics(found.totals)["amount_of_prospects"],
    }


def _value(told: Dated | None) -> str | None:
    return told and told[2]


def _instant(at: int | None) -> str | None:
    return None if at is None else format_instant(at)


CAMPAIGNS = Endpoint(_parse, _wanted, _body, lambda _: Table(_COLUMNS, lambda body: body["campaigns"]))
