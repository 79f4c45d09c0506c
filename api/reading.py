"""How a question to the read models is answered: who asks, how far things are projected, and only then the rows.

The first, small statement is enough for whoever has the answer already, and for an answer that this process keeps. Else
a second one reads everything again in one snapshot: who asks, how far things are, and the rows.
"""

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import falcon
import msgspec

from api.authentication import require
from api.conditional import VARY, VARY_BY_FORM, has, kept_tag, unchanged
from api.errors import AccessDeniedError, BadRequestError, UnavailableError
from api.kept import Bodies
from api.parts import Parts
from api.question import CAMPAIGN, CSV, Question
from domain.recorder import Database
from projections import reading
from projections.access import ALL, Caller, Credentials
from projections.metrics import FOLD_VERSION
from projections.reading import MOST_FACTS, Campaign, Needs, Seen, Standing, Wanted

_RISKY = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet would take such text for a formula

encode: Callable[[object], bytes] = msgspec.json.Encoder().encode


class Freshness(Protocol):
    """How far a workspace's part of an answer goes."""

    @property
    def workspace_id(self) -> int:
        """Return the workspace."""

    @property
    def head(self) -> int:
        """Return the head of its log."""

    @property
    def generation(self) -> int:
        """Return the generation of its read rows."""

    @property
    def position(self) -> int:
        """Return the position up to which events are included."""


_S = TypeVar("_S", bound=Freshness)


class Found(NamedTuple):
    """What an answer is made of: the question, how far each workspace is, and the matching campaigns."""

    question: Question
    standings: list[Standing]
    campaigns: list[Campaign]
    database: Database


class Table(NamedTuple):
    """How an answer is told as CSV: the names of its columns, and its rows by these names."""

    columns: Sequence[str]
    rows: Callable[[Any], Iterable[dict[str, object]]]


class Endpoint(NamedTuple):
    """A kind of question: how a request asks it, what it needs, and what the answer says."""

    parse: Callable[[falcon.Request], Question]
    wanted: Callable[[Question], Wanted]
    body: Callable[[Found], object]
    table: Callable[[Question], Table] | None = None


class Reading:
    """What the resources that read have in common: the parts, and the bodies that are kept."""

    def __init__(self, parts: Parts) -> None:
        """Take the parts."""
        self.parts = parts
        self.bodies = Bodies()

    async def answer(self, request: falcon.Request, response: falcon.Response, endpoint: Endpoint) -> None:
        """Answer a request, in a thread."""
        credentials = await self.parts.credentials(request)
        question = await self.parts.parsed(request, response, credentials, endpoint.parse)
        await self.answer_question(request, response, endpoint, credentials, question)

    async def answer_question(
        self,
        request: falcon.Request,
        response: falcon.Response,
        endpoint: Endpoint,
        credentials: Credentials,
        question: Question,
    ) -> None:
        """Answer a question that has been parsed, in a thread; none is held while the projection is waited for."""
        run, wanted = self.parts.threads.run, question.asked
        request.context.workspace = ALL if wanted.every else wanted.workspace_id
        if question.min_position is None:
            await run(self._answer, request, response, endpoint, credentials, question)
            return
        standing = await run(self._standing, request, response, credentials, question)
        if standing.position < question.min_position:
            await self.parts.waiting.until(standing.workspace_id, question.min_position)
        await run(self._answer, request, response, endpoint, credentials, question, admitted=True)

    def _standing(
        self, request: falcon.Request, response: falcon.Response, credentials: Credentials, question: Question
    ) -> Standing:
        """Return how far the one asked workspace is projected."""
        [standing] = self._standings(request, response, credentials, question, admitted=False)
        return standing

    def _standings(
        self,
        request: falcon.Request,
        response: falcon.Response,
        credentials: Credentials,
        question: Question,
        *,
        admitted: bool,
    ) -> list[Standing]:
        """Return how far the asked workspaces are projected; a request that was `admitted` before is not counted again.

        Raises what `Authentication.admit` and `allowed` raise.
        """
        with self.parts.connection() as database:
            seen = reading.look(database, credentials, question.asked)
        if admitted:
            caller = self._identify(credentials, seen)
        else:
            caller = self.parts.authentication.admit(request, response, credentials, seen.caller)
        standings = allowed(seen.standings, caller, question)
        if not question.asked.every:
            request.context.workspace = standings[0].workspace_id
        return standings

    def _answer(  # noqa: PLR0913 (a request, who asks, and what)
        self,
        request: falcon.Request,
        response: falcon.Response,
        endpoint: Endpoint,
        credentials: Credentials,
        question: Question,
        *,
        admitted: bool = False,
    ) -> None:
        """Answer from what is kept, or from the rows."""
        standings = self._standings(request, response, credentials, question, admitted=admitted)
        vary = VARY if endpoint.table is None else VARY_BY_FORM
        tagged = tag_of(request, standings, question)
        body = self.bodies.get(tagged)
        if body is None and not has(request, tagged):
            with self.parts.connection() as database:
                seen, campaigns = reading.read(database, credentials, question.asked, endpoint.wanted(question))
                standings = allowed(seen.standings, self._identify(credentials, seen), question)
                body = _told(endpoint, Found(question, standings, campaigns, database), endpoint.wanted(question))
            tagged = tag_of(request, standings, question)
            self.bodies.keep(tagged, body)
        say_how_fresh(response, standings, question)
        if not unchanged(request, response, tagged, vary):
            response.content_type = f"{CSV}; charset=utf-8" if question.csv else falcon.MEDIA_JSON
            response.data = body

    def _identify(self, credentials: Credentials, seen: Seen) -> Caller:
        return self.parts.authentication.identify(credentials, seen.caller)


class Resource:
    """A resource that answers one kind of question."""

    def __init__(self, shared: Reading, endpoint: Endpoint) -> None:
        """Take what it shares with the others, and its kind."""
        self._shared = shared
        self._endpoint = endpoint

    async def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Answer."""
        await self._shared.answer(request, response, self._endpoint)


def allowed(standings: list[_S], caller: Caller, question: Question) -> list[_S]:
    """Return the workspaces that were found; raise AccessDeniedError where the caller may not read what is asked."""
    require(caller, "read")
    if not standings and not question.asked.every:
        raise AccessDeniedError
    return standings


def tag_of(request: falcon.Request, standings: Sequence[Freshness], question: Question) -> str:
    """Return the entity tag of an answer."""
    made_of = ((each.workspace_id, each.generation, each.position) for each in standings)
    return kept_tag(request.path, request.query_string, (question.csv, *made_of))


def say_how_fresh(response: falcon.Response, standings: Sequence[Freshness], question: Question) -> None:
    """Say how many events the answer does not include yet, and up to which position it goes."""
    response.set_header("X-Lag", str(sum(standing.head - standing.position for standing in standings)))
    if not question.asked.every:
        response.set_header("X-Position", str(standings[0].position))


def wants(question: Question, needs: Needs) -> Wanted:
    """Return which rows of the matching campaigns a question needs."""
    return Wanted(needs, question.campaign_ids, question.statuses, *question.bounds)


def _told(endpoint: Endpoint, found: Found, wanted: Wanted) -> bytes:
    if wanted.needs is not Needs.TOTALS and any(each.fold_version != FOLD_VERSION for each in found.standings):
        raise UnavailableError("The read models are being rebuilt, please try again")
    if wanted.needs is Needs.JOURNEYS and sum(each.facts for each in found.campaigns) > MOST_FACTS:
        fault = (
            f"expected campaigns that have at most {MOST_FACTS} events together, since single journeys are asked for"
        )
        raise BadRequestError((CAMPAIGN, fault))
    body = endpoint.body(found)
    if not found.question.csv:
        return encode(body)
    assert endpoint.table is not None
    table = endpoint.table(found.question)
    text = io.StringIO(newline="")
    writer = csv.writer(text)  # RFC 4180
    writer.writerow(table.columns)
    for row in table.rows(body):
        writer.writerow([_cell(row[column]) for column in table.columns])
    return text.getvalue().encode()


def _cell(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(_RISKY) else value
