"""Why a number is what it is: `GET …/{campaign_id}/explain/` lists what makes it up, a page at a time.

All pages describe the log at the position of the first one: the cursor contains that position, and later events are
left out, so the contributions add up to the value however many events arrive meanwhile. The first page computes what
makes up the number; a process caches that, so that a further page costs what it shows.
"""

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Annotated, NamedTuple

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
from projections.journeys.explanation import EXPLAINED, Contribution, Contributions, as_json, explain
from projections.metrics import FOLD_VERSION
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


PAST = "is of a log that has since gone back, or in which a prospect was forgotten: begin with the first page"


class _Cursor(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """Where a page ends: of which question, at which position of the log (and its mark), behind which contribution."""

    question: str
    position: Id
    mark: int
    at: int
    prospect_id: str
    last: int


class _Key(NamedTuple):
    """What decides an explanation: the question about a campaign, a position of the log, and its mark."""

    workspace_id: int
    campaign_id: int
    question: str
    position: int
    mark: int


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
PAGING = (WORKSPACE, MIN_POSITION, CAMPAIGN, LIMIT, CURSOR)  # these may differ between pages of one question


def _select(question: Question) -> Selection:
    """Return which rows are needed; a further page may be of a campaign of which nothing counts any more."""
    cursor = question.values[CURSOR]
    return selection_for(question, Needs.JOURNEYS, None if cursor is None else cursor.position)


def _key(matched: Matched) -> _Key:
    """Return what decides the asked explanation; raise BadRequestError for the cursor of another question or past."""
    question, [standing] = matched.question, matched.standings
    [campaign_id] = question.values[CAMPAIGN] or ()
    cursor = question.values[CURSOR]
    newest = standing.position if matched.upto is None else matched.upto
    position = newest if cursor is None else cursor.position
    mark = marks.at(matched.database, standing.workspace_id, position)
    key = _Key(standing.workspace_id, campaign_id, question.values.normal(without=PAGING), position, mark)
    if cursor is not None and cursor.question != _digest(key):
        raise BadRequestError((CURSOR.name, "belongs to another question"))
    if cursor is not None and cursor.mark != mark:
        raise BadRequestError((CURSOR.name, PAST))
    return key


def _digest(key: _Key) -> str:
    """Return what names the question in a cursor."""
    return sha256(repr(key[:3]).encode()).hexdigest()[:16]


def _cached(matched: Matched) -> Explanation | None:
    """Return the asked page of a cached explanation; None where it is not cached."""
    key = _key(matched)
    contributions = matched.explanations.get(key)
    [standing] = matched.standings
    if contributions is None or standing.fold_version != FOLD_VERSION or key.position > standing.position:
        return None
    return _page(matched, key, contributions)


def _computed(matched: Matched) -> Explanation:
    """Return the asked page, and cache the whole explanation."""
    key, contributions = _explained(matched)
    [standing] = matched.standings
    # A prospect may have been forgotten since the journeys were read: then the mark is not that of the journeys.
    if marks.at(matched.database, standing.workspace_id, standing.position) == standing.mark:
        matched.explanations.put(key, contributions)
    return _page(matched, key, contributions)


def _explained(matched: Matched) -> tuple[_Key, Contributions]:
    """Return the key, and the contributions computed from the campaign's journeys."""
    question, [standing] = matched.question, matched.standings
    if not matched.campaigns:
        raise NotFoundError("No such campaign")
    key = _key(matched)
    if key.position > standing.position:  # the read models were begun anew
        raise UnavailableError("The projection has not come so far yet, please try again")
    [campaign] = matched.campaigns
    prospect_ids = [each.prospect_id for each in campaign.journeys]
    events = campaign.unpacked(key.position)
    metric, period = question.values[METRIC], in_ms(question)
    return key, explain(prospect_ids, events, metric, *period, at_first_touch=question.at_first_touch)


def _page(matched: Matched, key: _Key, contributions: Contributions) -> Explanation:
    """Return the asked page of an explanation."""
    values = matched.question.values
    cursor = values[CURSOR]
    first = 0 if cursor is None else contributions.place_behind(cursor.at, cursor.prospect_id, cursor.last)
    page = contributions.part(first, first + values[LIMIT])
    following = None
    if first + len(page) < len(contributions):
        last = page[-1]
        following = encode(_Cursor(_digest(key), key.position, key.mark, last.at, last.prospect_id, last.position))
    return Explanation(values[METRIC], contributions.total, _rows(matched.database, key.workspace_id, page), following)


def _rows(database: Database, workspace_id: int, page: Sequence[Contribution]) -> list[ContributionRow]:
    positions = sorted({position for each in page for position in each.positions})
    rows = ledger.read_positions(database, workspace_id, positions)
    events = {row.position: decode(row.topic, row.state) for row in rows}
    return msgspec.convert([as_json(each, events) for each in page], list[ContributionRow])


EXPLAIN = Endpoint(
    "Why a number is what it is",
    Query(ONE_WORKSPACE, MIN_POSITION, *PERIOD, AS_OF, METRIC, LIMIT, CURSOR),
    _select,
    _computed,
    (Explanation,),
    cached=_cached,
)
