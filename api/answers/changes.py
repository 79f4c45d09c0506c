"""The differences between the numbers of two positions of the log: why two reports differ."""

import falcon
from msgspec import Struct

from api.answers.answering import Reading, encode, require_answerable, selection_for
from api.answers.numbers import NOTHING, named, totals
from api.answers.question import FILTERS, INCLUDE, MIN_POSITION, PERIOD, Moment, Question, ShownStatus, moment, parse
from api.auth.gate import Visit
from api.errors import BadRequestError
from api.http.conditional import cached_tag, unchanged
from api.http.parameters import ONE_WORKSPACE, Parameter, Query
from api.http.schemas import Id, Position, Word
from projections.metrics import analytics
from projections.queries.campaigns import Campaign, Needs
from projections.queries.past import as_of

FROM: Parameter[Moment | None] = moment("from", "the position or instant that is compared with", required=True)
TO: Parameter[Moment | None] = moment("to", "the position or instant that is looked at; without it, now")
CHANGES = Query(ONE_WORKSPACE, MIN_POSITION, FROM, TO, *FILTERS, *PERIOD, INCLUDE)


class Change(Struct):
    """A metric that differs."""

    metric: Word
    before: int | float | str | None
    after: int | float | str | None


class ChangedCampaign(Struct):
    """A campaign of which some metric differs."""

    id: Id
    name: Word
    status: ShownStatus
    workspace_id: Id
    changes: list[Change]


class Changes(Struct, rename={"since": "from", "upto": "to"}):
    """The answer; `from` and `to` are positions."""

    since: Position
    upto: Position
    campaigns: list[ChangedCampaign]


class ChangesResource:
    """`GET /api/v1/dashboard/campaign-analytics/changes/`."""

    def __init__(self, shared: Reading) -> None:
        """Take what it shares with the others that read."""
        self._shared = shared

    async def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Answer; a thread compares."""
        shared = self._shared
        visit, question = await shared.parts.gate.visit(request, response, _parse)
        visit.about(question.asked)
        since = question.values[FROM]
        assert since is not None  # it is required
        first = await shared.reach(visit, question, since, FROM.name)
        last = await shared.reach(visit, question, question.values[TO], TO.name)
        _require_order(first, last)
        await shared.parts.threads.run_large(self._answer, visit, question, first, last)

    def _answer(self, visit: Visit, question: Question, first: int, last: int) -> None:
        request, response, shared = visit.request, visit.response, self._shared
        standings, matching = shared.matching(visit, question, selection_for(question, Needs.JOURNEYS, upto=last))
        require_answerable(standings, matching)
        [standing] = standings
        changed = [row for campaign in matching if (row := _compared(campaign, question, first, last))]
        body = encode(Changes(first, last, changed))
        response.set_header("X-Position", str(last))
        response.set_header("X-Lag", str(standing.head - last))
        if not unchanged(request, response, cached_tag(request.path, (question.normal, standing.workspace_id, body))):
            response.content_type = falcon.MEDIA_JSON
            response.data = body


def _parse(request: falcon.Request) -> Question:
    question = parse(request, CHANGES)
    since, upto = question.values[FROM], question.values[TO]
    if since is not None and upto is not None:
        _require_order(since.position, upto.position)
    return question


def _require_order(since: int | None, upto: int | None) -> None:
    """Raise BadRequestError where the second position is before the first; None is not known yet."""
    if since is not None and upto is not None and upto < since:
        raise BadRequestError((TO.name, f"expected no position before {FROM.name}"))


def _compared(campaign: Campaign, question: Question, first: int, last: int) -> ChangedCampaign | None:
    """Return what differs of a campaign, None where nothing does."""
    sides = [as_of(campaign, position) for position in (first, last)]
    before, after = (
        analytics(NOTHING if side is None else totals(side, question), extended=question.extended) for side in sides
    )
    changes = [Change(name, before[name], after[name]) for name in after if before[name] != after[name]]  # type: ignore[arg-type]
    shown = sides[1] or sides[0]
    return ChangedCampaign(*named(shown), changes) if shown is not None and changes else None
