"""Why a number is what it is: `GET …/{campaign_id}/explain/` lists what makes it up, a page at a time.

All pages describe the log at the position of the first one: the cursor contains that position, and later events are
left out, so the contributions add up to the value however many events arrive meanwhile.
"""

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Annotated

import falcon
import msgspec
from msgspec import Meta

from api.answers.answering import Endpoint, Matched, Reading, selection_for
from api.answers.numbers import in_ms
from api.answers.question import AS_OF, CAMPAIGN, MIN_POSITION, PERIOD, Question
from api.errors import BadRequestError, NotFoundError, UnavailableError
from api.http.cursors import cursor_of, encode
from api.http.parameters import ONE_WORKSPACE, WORKSPACE, Parameter, Query, in_path, number, one_of
from api.http.schemas import Count, Id, Instant, Word
from domain import ledger
from domain.events import decode
from domain.recorder import Database
from projections import marks
from projections.journeys.explanation import EXPLAINED, Contribution, as_json, explain
from projections.queries.campaigns import Needs, Selection


class ExplainedEvent(msgspec.Struct):
    """An event that makes a contribution."""

    id: str
    source: str
    type: Word
    occurred_at: Instant
    position: Id


class ContributionRow(msgspec.Struct):
    """One part of a number."""

    prospect_id: Word
    at: Instant
    value: Count
    events: list[ExplainedEvent]


class Explanation(msgspec.Struct):
    """A page of what makes up a number; `next` is the cursor of the next one."""

    metric: Annotated[str, Meta(extra_json_schema={"enum": list(EXPLAINED)})]
    value: Count
    contributions: list[ContributionRow]
    next: Word | None


class _Cursor(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """Where a page ends: of which question, at which position of the log (and its mark), behind which contribution."""

    question: str
    position: Id
    mark: int
    at: int
    prospect_id: str
    last: int


class Explain:
    """`GET /api/v1/dashboard/campaign-analytics/{campaign_id}/explain/`."""

    def __init__(self, shared: Reading) -> None:
        """Take what it shares with the others that read."""
        self._shared = shared

    async def on_get(self, request: falcon.Request, response: falcon.Response, campaign_id: str) -> None:
        """Answer with the contributions to a metric."""

        def parse_request(request: falcon.Request) -> Question:
            campaign = in_path(CAMPAIGN.name, campaign_id)
            question = EXPLAIN.parse(request)
            return replace(question, values=question.values.with_value(CAMPAIGN, (campaign,)))

        visit, question = await self._shared.parts.gate.visit(request, response, parse_request)
        await self._shared.answer_question(visit, EXPLAIN, question)


METRIC: Parameter[str] = replace(one_of("metric", "the number", list(EXPLAINED)), required=True)
LIMIT: Parameter[int] = number("limit", "so many at a time", 1, 1_000, 100)
CURSOR = cursor_of(_Cursor)
PAGING = (WORKSPACE, MIN_POSITION, CAMPAIGN, LIMIT, CURSOR)  # of another page of the same question these differ


def _select(question: Question) -> Selection:
    return selection_for(question, Needs.JOURNEYS)


def _body(matched: Matched) -> Explanation:
    question, [standing] = matched.question, matched.standings
    if not matched.campaigns:
        raise NotFoundError("No such campaign")
    [campaign] = matched.campaigns
    metric = question.values[METRIC]
    binding = (standing.workspace_id, campaign.campaign_id, question.values.normal(without=PAGING))
    asked = sha256(repr(binding).encode()).hexdigest()[:16]
    cursor = question.values[CURSOR]
    if cursor is not None and cursor.question != asked:
        raise BadRequestError((CURSOR.name, "belongs to another question"))
    newest = standing.position if matched.upto is None else matched.upto
    position = newest if cursor is None else cursor.position
    mark = marks.at(matched.database, standing.workspace_id, position)
    if cursor is not None and cursor.mark != mark:
        raise BadRequestError((CURSOR.name, "is of a past that the log no longer has: begin with the first page"))
    if position > standing.position:  # the read models were begun anew
        raise UnavailableError("The projection has not come so far yet, please try again")
    prospect_ids = [each.prospect_id for each in campaign.journeys]
    events = campaign.unpacked(position)
    everything = explain(prospect_ids, events, metric, *in_ms(question), at_first_touch=question.at_first_touch)
    first = 0 if cursor is None else everything.place_behind(cursor.at, cursor.prospect_id, cursor.last)
    page = everything.part(first, first + question.values[LIMIT])
    following = None
    if first + len(page) < len(everything):
        last = page[-1]
        following = _Cursor(asked, position, mark, last.at, last.prospect_id, last.position)
    return Explanation(
        metric,
        everything.total,
        _rows(matched.database, standing.workspace_id, page),
        None if following is None else encode(following),
    )


def _rows(database: Database, workspace_id: int, page: Sequence[Contribution]) -> list[ContributionRow]:
    positions = sorted({position for each in page for position in each.positions})
    rows = ledger.read_positions(database, workspace_id, positions)
    events = {row.position: decode(row.topic, row.state) for row in rows}
    return msgspec.convert([as_json(each, events) for each in page], list[ContributionRow])


EXPLAIN = Endpoint(
    "Why a number is what it is",
    Query(ONE_WORKSPACE, MIN_POSITION, *PERIOD, AS_OF, METRIC, LIMIT, CURSOR),
    _select,
    _body,
    (Explanation,),
)
