"""Why a number is what it is: `GET …/{campaign_id}/explain/` lists what makes it up, a page at a time.

All pages are about the log as it stood at the first one: the cursor holds that position, and facts behind it are left
out, so the parts add up to the value however many events arrive meanwhile.
"""

import base64
import binascii
from bisect import bisect_right
from collections.abc import Sequence
from hashlib import sha256

import falcon
import msgspec

from api.answers.analytics import in_ms
from api.answers.answering import Endpoint, Found, Reading, wants
from api.answers.question import MIN_POSITION, PERIOD, Question, parse
from api.errors import BadRequestError, NotFoundError
from api.http.parameters import WORKSPACE, number
from domain import ledger
from domain.events import MAX_ID, decode, shown
from domain.recorder import Database
from projections.journeys.explanation import EXPLAINED, Contribution, as_json, explain
from projections.queries.campaigns import Needs, Wanted

METRIC, LIMIT, CURSOR = "metric", "limit", "cursor"
MOST, USUAL = 1_000, 100


class _Cursor(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """Where a page ends: of which question, at which position of the log, behind which contribution."""

    question: str
    position: int
    at: int
    prospect_id: str
    last: int


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Cursor).decode


class Explain:
    """`GET /api/v1/dashboard/campaign-analytics/{campaign_id}/explain/`."""

    def __init__(self, shared: Reading) -> None:
        """Take what it shares with the others that read."""
        self._shared = shared

    async def on_get(self, request: falcon.Request, response: falcon.Response, campaign_id: str) -> None:
        """Answer with the contributions to a metric."""

        def parse_request(request: falcon.Request) -> Question:
            campaign = number("campaign_id", campaign_id, 1, f"expected a number from 1 to {MAX_ID}")
            return _parse(request)._replace(campaign_ids=(campaign,))

        await self._shared.answer(request, response, Endpoint(parse_request, _wanted, _body))


def _parse(request: falcon.Request) -> Question:
    question = parse(request, (WORKSPACE, MIN_POSITION, *PERIOD, METRIC, LIMIT, CURSOR), every=False)
    given = question.own.one
    if given.get(METRIC) not in EXPLAINED:
        raise BadRequestError((METRIC, f"expected one of {', '.join(EXPLAINED)}"))
    _limit(question)
    if CURSOR in given:
        _cursor(given[CURSOR])
    return question


def _limit(question: Question) -> int:
    expected = f"expected a number from 1 to {MOST}"
    limit = number(LIMIT, question.own.one.get(LIMIT, str(USUAL)), 1, expected)
    if limit > MOST:
        raise BadRequestError((LIMIT, expected))
    return limit


def _cursor(text: str) -> _Cursor:
    try:
        return _decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, binascii.Error, msgspec.DecodeError) as error:
        raise BadRequestError((CURSOR, f"{shown(text)} is none, expected the last answer's next")) from error


def _wanted(question: Question) -> Wanted:
    return wants(question, Needs.JOURNEYS)


def _body(found: Found) -> object:
    question, [standing] = found.question, found.standings
    if not found.campaigns:
        raise NotFoundError("No such campaign")
    [campaign] = found.campaigns
    metric = question.own.one[METRIC]
    asked = sha256(repr((standing.workspace_id, campaign.campaign_id, metric, question[4:7])).encode()).hexdigest()[:16]
    text = question.own.one.get(CURSOR)
    cursor = None if text is None else _cursor(text)
    if cursor is not None and cursor.question != asked:
        raise BadRequestError((CURSOR, "belongs to another question"))
    position = standing.position if cursor is None else min(cursor.position, standing.position)
    prospect_ids = [each.prospect_id for each in campaign.journeys]
    facts = campaign.unpacked().upto(position)
    everything = explain(prospect_ids, facts, metric, *in_ms(question), at_first_touch=question.at_first_touch)
    first = 0
    if cursor is not None:
        first = bisect_right(everything, (cursor.at, cursor.prospect_id, cursor.last), key=lambda each: each[:3])
    page = everything[first : first + _limit(question)]
    following = None
    if first + len(page) < len(everything):
        last = page[-1]
        following = _Cursor(asked, position, last.at, last.prospect_id, last.position)
    return {
        "metric": metric,
        "value": sum(each.value for each in everything),
        "contributions": _told(found.database, standing.workspace_id, page),
        "next": following and base64.urlsafe_b64encode(_encode(following)).rstrip(b"=").decode(),
    }


def _told(database: Database, workspace_id: int, page: Sequence[Contribution]) -> list[dict[str, object]]:
    positions = sorted({position for each in page for position in each.positions})
    rows = ledger.read_positions(database, workspace_id, positions)
    facts = {row.position: decode(row.topic, row.state) for row in rows}
    return [as_json(each, facts) for each in page]
