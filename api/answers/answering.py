"""How a question to the read models is answered: first the caller's access and the workspaces' positions, then rows.

The first, small statement is enough for a 304, and for an answer that is cached in this process. Else a second one
reads everything in one snapshot: the caller's access, the positions, and the rows.
"""

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import NamedTuple

import falcon
import msgspec

from api.answers.cache import Cache
from api.answers.question import AS_OF, BOM, CAMPAIGN, CSV, STATUS, Moment, Question, parse
from api.answers.tables import Table
from api.auth.gate import Visit
from api.dependencies import Parts
from api.errors import BadRequestError, UnavailableError
from api.http.conditional import VARY, VARY_BY_FORM, cached_tag, has, unchanged
from api.http.parameters import Query
from api.standbys import marks_of
from domain.recorder import Database
from projections import marks
from projections.journeys import columns
from projections.journeys.columns import EventColumns
from projections.journeys.explanation import Contributions
from projections.metrics import FOLD_VERSION
from projections.queries import campaigns
from projections.queries.caller import Asked
from projections.queries.campaigns import MOST_EVENTS, Campaign, Needs, Selection
from projections.queries.past import as_of, position_at
from projections.queries.standing import Standing, are_no_older, look

_EXPLANATION_BYTES = 128 * 1024 * 1024  # of all that a process caches; one of 450,000 prospects takes half

encode: Callable[[object], bytes] = msgspec.json.Encoder().encode


class Matched(NamedTuple):
    """What an answer is made from: the question, each workspace's standing, and the matching campaigns."""

    question: Question
    standings: list[Standing]
    campaigns: list[Campaign]
    database: Database
    explanations: Cache[Hashable, Contributions]  # those that this process keeps for further pages
    upto: int | None = None  # the position of `as_of`; None: now

    def events(self) -> EventColumns:
        """Return what counts of all campaigns' journeys, as `columns.unpack` does, and raise what it raises."""
        return columns.unpack([each.columns for campaign in self.campaigns for each in campaign.journeys], self.upto)


class Endpoint(NamedTuple):
    """A kind of question: its summary, parameters, the rows that it selects, and the body of its answer."""

    summary: str
    parameters: Query
    select: Callable[[Question], Selection]
    body: Callable[[Matched], object]
    answers: tuple[type[msgspec.Struct], ...]  # the types of the body
    table: Callable[[Question], Table] | None = None
    check: Callable[[Question], object] = lambda _: None
    # The body, made without the campaigns; None where they are needed.
    cached: Callable[[Matched], object] | None = None

    def parse(self, request: falcon.Request) -> Question:
        """Return the question that a request asks; raise BadRequestError, which names what is wrong."""
        question = parse(request, self.parameters)
        self.check(question)
        return question


class Reading:
    """What all resources that read share: the parts, and the caches of bodies and of explanations."""

    def __init__(self, parts: Parts) -> None:
        """Take the parts."""
        self.parts = parts
        self.bodies: Cache[str, bytes] = Cache(len)
        self._explanations: Cache[Hashable, Contributions] = Cache(lambda each: each.bytes, _EXPLANATION_BYTES, share=2)

    async def answer(self, request: falcon.Request, response: falcon.Response, endpoint: Endpoint) -> None:
        """Answer a request; the work is done in a thread."""
        visit, question = await self.parts.gate.visit(request, response, endpoint.parse)
        await self.answer_question(visit, endpoint, question)

    async def answer_question(self, visit: Visit, endpoint: Endpoint, question: Question) -> None:
        """Answer a question in a thread; a request that waits for the projection occupies none."""
        threads = self.parts.threads
        visit.about(question.asked)
        if question.min_position is not None:
            await self.reach(visit, question, Moment(question.min_position))
        upto = None
        if question.values[AS_OF] is not None:
            upto = await self.reach(visit, question, question.values[AS_OF], AS_OF.name)
        is_large = upto is not None or endpoint.select(question).needs is Needs.JOURNEYS
        await (threads.run_large if is_large else threads.run)(self._answer, visit, endpoint, question, upto)

    async def reach(self, visit: Visit, question: Question, moment: Moment | None, name: str | None = None) -> int:
        """Wait until the asked workspace is projected up to a moment, None: now; return the position.

        A moment that lies in the future is waited for, or blamed on the parameter of this name where one is given.
        Raises what `Gate.open` and `Waiting.until` raise; and BadRequestError, which names the parameter, for a moment
        to which the log has not come yet.
        """
        standing, position = await self.parts.threads.run(self._position_of, visit, question, moment, name)
        if standing.position < position:
            await self.parts.waiting.until(standing.workspace_id, position)
        return position

    def _position_of(
        self, visit: Visit, question: Question, moment: Moment | None, name: str | None
    ) -> tuple[Standing, int]:
        """Return how far the asked workspace is projected, and the position of a moment; in a thread."""
        [standing] = self._standings(visit, question)
        if moment is None:
            return standing, standing.position
        if moment.at is None:
            position = moment.position or 0
            if name is not None and position > standing.head:
                raise BadRequestError((name, f"lies in the future: the log ends at position {standing.head}"))
            return standing, position
        if moment.at > self.parts.clock():
            raise BadRequestError((name or AS_OF.name, "lies in the future"))
        with self.parts.connection() as database:
            return standing, position_at(database, standing.workspace_id, moment.at, standing.head)

    def _standings(self, visit: Visit, question: Question) -> list[Standing]:
        """Return how far the asked workspaces are projected; raise what `Gate.open` raises."""
        with self.parts.connection() as database:
            sealed = look(database, visit.credentials, question.asked)
        standings = self.parts.gate.open(visit, sealed)
        check_past(standings)
        if not question.asked.every:
            visit.about(Asked(standings[0].workspace_id))
        return standings

    def matching(self, visit: Visit, question: Question, selection: Selection) -> tuple[list[Standing], list[Campaign]]:
        """Return how far the asked workspaces are projected, and their matching campaigns."""
        with self.parts.connection() as database:
            sealed = campaigns.read(database, visit.credentials, question.asked, selection)
        standings, matching = self.parts.gate.open(visit, sealed)
        check_past(standings)
        return standings, matching

    def _of_standby(
        self, visit: Visit, question: Question, selection: Selection, known: list[Standing]
    ) -> tuple[list[Standing], list[Campaign]] | None:
        """Return what `matching` does, read from a standby; None where none has the known states or later ones."""
        parts, credentials = self.parts, visit.credentials
        if parts.standbys is None:
            return None

        def is_no_older(found: list[Standing] | None) -> bool:
            return found is not None and are_no_older(found, known, marks_of(parts.connection))

        def read(standby: Database) -> tuple[list[Standing], list[Campaign]] | None:
            if not is_no_older(parts.gate.open_copy(visit, look(standby, credentials, question.asked))):
                return None  # before anything large is read in vain
            matching = parts.gate.open_copy(visit, campaigns.read(standby, credentials, question.asked, selection))
            if matching is None or not is_no_older(matching.standings):
                return None
            heads = [max(copy.head, own.head) for copy, own in zip(matching.standings, known, strict=True)]
            standings = [each._replace(head=head) for each, head in zip(matching.standings, heads, strict=True)]
            return standings, matching.campaigns

        return parts.standbys.read(read)

    def _answer(self, visit: Visit, endpoint: Endpoint, question: Question, upto: int | None) -> None:
        """Answer from a cached body, or from the rows; with `upto`, as of that position."""
        request, response = visit.request, visit.response
        standings = self._standings(visit, question)
        selection = endpoint.select(question) if upto is None else selection_for(question, Needs.JOURNEYS, upto=upto)
        tagged = self._tag(request, standings, question, upto)
        body = self.bodies.get(tagged)
        if body is None and not has(request, tagged):
            body = self._from_cache(endpoint, question, standings, upto)
            if body is None:
                standings, matching = self._of_standby(visit, question, selection, standings) or self.matching(
                    visit, question, selection
                )
                with self.parts.connection() as database:
                    matched = Matched(question, standings, matching, database, self._explanations, upto)
                    body = _rendered(endpoint, matched, selection)
            tagged = self._tag(request, standings, question, upto)  # the rows may be newer than the first standings
            self.bodies.put(tagged, body)
        say_how_fresh(response, standings, question, upto)
        if not unchanged(request, response, tagged, VARY if endpoint.table is None else VARY_BY_FORM):
            response.content_type = f"{CSV}; charset=utf-8" if question.csv else falcon.MEDIA_JSON
            response.data = body
            if question.csv:
                name = request.path.removeprefix("/api/v1/").removeprefix("dashboard/").strip("/").replace("/", "-")
                response.set_header("Content-Disposition", f'attachment; filename="{name}.csv"')

    def _from_cache(
        self, endpoint: Endpoint, question: Question, standings: list[Standing], upto: int | None
    ) -> bytes | None:
        """Return the body of an answer to a caller who was checked, where no campaigns have to be read for it."""
        if endpoint.cached is None:
            return None
        with self.parts.connection() as database:
            body = endpoint.cached(Matched(question, standings, [], database, self._explanations, upto))
        return None if body is None else encode(body)

    def _tag(self, request: falcon.Request, standings: Sequence[Standing], question: Question, upto: int | None) -> str:
        """Return the entity tag of an answer; as of a position, later events do not change it."""
        if upto is None:
            return tag_of(request, standings, question)
        workspace_id = standings[0].workspace_id
        with self.parts.connection() as database:
            mark = marks.at(database, workspace_id, upto)
        return cached_tag(request.path, (question.normal, workspace_id, FOLD_VERSION, upto, mark))


class Resource:
    """A resource that answers one kind of question."""

    def __init__(self, shared: Reading, endpoint: Endpoint) -> None:
        """Take what it shares with the others, and its kind."""
        self._shared = shared
        self._endpoint = endpoint

    async def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Answer."""
        await self._shared.answer(request, response, self._endpoint)


def tag_of(request: falcon.Request, standings: Iterable[Standing], question: Question) -> str:
    """Return the entity tag of an answer."""
    return cached_tag(request.path, (question.normal, *(standing.state for standing in standings)))


def check_past(standings: Iterable[Standing]) -> None:
    """Raise UnavailableError where read models are of a past that their log no longer has."""
    if any(standing.lost for standing in standings):
        raise UnavailableError("The log went back, and its read models are being rebuilt, please try again")


def say_how_fresh(
    response: falcon.Response, standings: Sequence[Standing], question: Question, upto: int | None = None
) -> None:
    """Set `X-Lag`, the events that the answer does not include, and `X-Position`, the last one that it does."""
    goes_to = [standing.position if upto is None else upto for standing in standings]
    lag = sum(standing.head - position for standing, position in zip(standings, goes_to, strict=True))
    response.set_header("X-Lag", str(lag))
    if not question.asked.every:
        response.set_header("X-Position", str(goes_to[0]))


def selection_for(question: Question, needs: Needs, upto: int | None = None) -> Selection:
    """Return which rows of which campaigns a question needs; as of a position, today's status does not matter."""
    statuses = None if upto is not None else question.values[STATUS]
    return Selection(needs, question.campaign_ids, statuses, *question.bounds, upto=upto)


def require_answerable(standings: Sequence[Standing], matching: Sequence[Campaign]) -> None:
    """Raise UnavailableError for rows of another version of the fold, BadRequestError for more than `MOST_EVENTS`."""
    if any(each.fold_version != FOLD_VERSION for each in standings):
        raise UnavailableError("The read models are being rebuilt, please try again")
    if sum(each.events for each in matching) > MOST_EVENTS:
        fault = (
            f"expected campaigns that have at most {MOST_EVENTS} events together, since single journeys are asked for"
        )
        raise BadRequestError((CAMPAIGN.name, fault))


def _rendered(endpoint: Endpoint, matched: Matched, selection: Selection) -> bytes:
    if selection.needs is not Needs.TOTALS:
        require_answerable(matched.standings, matched.campaigns if selection.needs is Needs.JOURNEYS else ())
    if matched.upto is not None:
        matched = matched._replace(campaigns=_cut(matched))
    body = endpoint.body(matched)
    if not matched.question.csv:
        return encode(body)
    assert endpoint.table is not None
    return endpoint.table(matched.question).written(body, bom=matched.question.values[BOM])


def _cut(matched: Matched) -> list[Campaign]:
    """Return the campaigns as of the asked position, those of the asked statuses there."""
    statuses = matched.question.values[STATUS]
    past = (as_of(campaign, matched.upto or 0) for campaign in matched.campaigns)
    return [campaign for campaign in past if campaign and (statuses is None or campaign.status in statuses)]
