"""How a question to the read models is answered: who asks, how far things are projected, and only then the rows.

The first, small statement is enough for whoever has the answer already, and for an answer that this process keeps. Else
a second one reads everything again in one snapshot: who asks, how far things are, and the rows.
"""

import csv
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import falcon
import msgspec

from api.answers.cache import Bodies
from api.answers.question import BOM, CAMPAIGN, CSV, STATUS, Question, parse
from api.auth.gate import Visit
from api.dependencies import Parts
from api.errors import BadRequestError, UnavailableError
from api.http.conditional import VARY, VARY_BY_FORM, cached_tag, has, unchanged
from api.http.parameters import Query
from domain.recorder import Database
from projections.metrics import FOLD_VERSION
from projections.queries import campaigns
from projections.queries.caller import Asked
from projections.queries.campaigns import MOST_FACTS, Campaign, Needs, Wanted
from projections.queries.standing import Standing, look

# A spreadsheet may take text for a formula that begins so, also behind white space (OWASP, "CSV Injection").
_RISKY = re.compile(r"\s*[=+\-@＝＋－＠]|[\t\r\n]")

encode: Callable[[object], bytes] = msgspec.json.Encoder().encode


class Found(NamedTuple):
    """What an answer is made of: the question, how far each workspace is, and the matching campaigns."""

    question: Question
    standings: list[Standing]
    campaigns: list[Campaign]
    database: Database


class Table(NamedTuple):
    """How an answer is told as CSV: the names of its columns, and its rows by these names."""

    columns: Sequence[str]
    rows: Callable[[Any], Iterable[Mapping[str, object]]]


class Endpoint(NamedTuple):
    """A kind of question: what it is for, how a request asks it, which rows it needs, and what the answer says."""

    summary: str
    parameters: Query
    wanted: Callable[[Question], Wanted]
    body: Callable[[Found], object]
    answers: tuple[type[msgspec.Struct], ...]  # the types of the body
    table: Callable[[Question], Table] | None = None
    check: Callable[[Question], object] = lambda _: None

    def parse(self, request: falcon.Request) -> Question:
        """Return the question that a request asks; raise BadRequestError, which names what is wrong."""
        question = parse(request, self.parameters)
        self.check(question)
        return question


class Reading:
    """What the resources that read have in common: the parts, and the bodies that are kept."""

    def __init__(self, parts: Parts) -> None:
        """Take the parts."""
        self.parts = parts
        self.bodies = Bodies()

    async def answer(self, request: falcon.Request, response: falcon.Response, endpoint: Endpoint) -> None:
        """Answer a request, in a thread."""
        visit, question = await self.parts.gate.visit(request, response, endpoint.parse)
        await self.answer_question(visit, endpoint, question)

    async def answer_question(self, visit: Visit, endpoint: Endpoint, question: Question) -> None:
        """Answer a question in a thread; none is held while the projection is waited for."""
        run = self.parts.threads.run
        visit.about(question.asked)
        if question.min_position is not None:
            [standing] = await run(self._standings, visit, question)
            if standing.position < question.min_position:
                await self.parts.waiting.until(standing.workspace_id, question.min_position)
        is_large = endpoint.wanted(question).needs is Needs.JOURNEYS
        await (self.parts.threads.run_large if is_large else run)(self._answer, visit, endpoint, question)

    def _standings(self, visit: Visit, question: Question) -> list[Standing]:
        """Return how far the asked workspaces are projected; raise what `Gate.open` raises."""
        with self.parts.connection() as database:
            sealed = look(database, visit.credentials, question.asked)
        standings = self.parts.gate.open(visit, sealed)
        check_past(standings)
        if not question.asked.every:
            visit.about(Asked(standings[0].workspace_id))
        return standings

    def _answer(self, visit: Visit, endpoint: Endpoint, question: Question) -> None:
        """Answer from a cached body, or from the rows."""
        request, response = visit.request, visit.response
        standings = self._standings(visit, question)
        tagged = tag_of(request, standings, question)
        body = self.bodies.get(tagged)
        if body is None and not has(request, tagged):
            wanted = endpoint.wanted(question)
            with self.parts.connection() as database:
                sealed = campaigns.read(database, visit.credentials, question.asked, wanted)
                standings, matching = self.parts.gate.open(visit, sealed)
                check_past(standings)
                body = _rendered(endpoint, Found(question, standings, matching, database), wanted)
            tagged = tag_of(request, standings, question)
            self.bodies.keep(tagged, body)
        say_how_fresh(response, standings, question)
        if not unchanged(request, response, tagged, VARY if endpoint.table is None else VARY_BY_FORM):
            response.content_type = f"{CSV}; charset=utf-8" if question.csv else falcon.MEDIA_JSON
            response.data = body
            if question.csv:
                name = request.path.removeprefix("/api/v1/").removeprefix("dashboard/").strip("/").replace("/", "-")
                response.set_header("Content-Disposition", f'attachment; filename="{name}.csv"')


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


def say_how_fresh(response: falcon.Response, standings: Sequence[Standing], question: Question) -> None:
    """Say how many events the answer does not include yet, and up to which position it goes."""
    response.set_header("X-Lag", str(sum(standing.head - standing.position for standing in standings)))
    if not question.asked.every:
        response.set_header("X-Position", str(standings[0].position))


def wants(question: Question, needs: Needs) -> Wanted:
    """Return which rows of the matching campaigns a question needs."""
    return Wanted(needs, question.campaign_ids, question.values[STATUS], *question.bounds)


def _rendered(endpoint: Endpoint, found: Found, wanted: Wanted) -> bytes:
    if wanted.needs is not Needs.TOTALS and any(each.fold_version != FOLD_VERSION for each in found.standings):
        raise UnavailableError("The read models are being rebuilt, please try again")
    if wanted.needs is Needs.JOURNEYS and sum(each.facts for each in found.campaigns) > MOST_FACTS:
        fault = (
            f"expected campaigns that have at most {MOST_FACTS} events together, since single journeys are asked for"
        )
        raise BadRequestError((CAMPAIGN.name, fault))
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
    return text.getvalue().encode("utf-8-sig" if found.question.values[BOM] else "utf-8")


def _cell(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and _RISKY.match(value) else value
