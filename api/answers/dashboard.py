"""The dashboard's main answer: the campaigns that the caller may see, with their numbers.

Most requests ask for it without any filter. It is one statement, which also says which cached pieces are still valid.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import falcon

from api.answers import analytics
from api.answers.analytics import CampaignRow
from api.answers.answering import Reading, check_past, encode, say_how_fresh, tag_of
from api.answers.cache import RenderedCache
from api.answers.question import Question
from api.http.conditional import VARY_BY_FORM, unchanged
from api.repeating import FAILURE, NOTE, Ground, Note
from projections import metrics
from projections.queries import dashboard
from projections.queries.caller import Asked, Credentials, Sealed
from projections.queries.campaigns import UNKNOWN
from projections.queries.dashboard import Workspace
from projections.queries.standing import State

MOST_WORKSPACES = 100  # of one answer on the event loop, and of one that may be sent again; and
MOST_BYTES_ON_THE_LOOP = 400_000  # so many bytes of campaigns when it was rendered last: about a thousand of them


class _Read(NamedTuple):
    """What was read of the asked workspaces, the rendered campaigns of those that were not read, and by whom."""

    sealed: Sealed[list[Workspace]]
    cached: dict[State, bytes]
    on_loop: bool  # by the loop's connection, which is the one that an answer is validated by


class CampaignAnalytics:
    """`GET /api/v1/dashboard/campaign-analytics/`."""

    def __init__(self, shared: Reading) -> None:
        """Take what it shares with the others that read."""
        self._shared = shared
        self._parts = shared.parts
        self._rendered_cache = RenderedCache()

    async def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Answer with the campaigns of the asked workspaces."""
        gate, endpoint, scope = self._parts.gate, analytics.CAMPAIGNS, request.scope  # type: ignore[attr-defined]
        note = None
        if NOTE in scope:
            note = scope[NOTE] = Note(request.context, request.uri_template or "")
        visit, question = await gate.visit(request, response, endpoint.parse)
        if not question.is_plain:
            await self._shared.answer_question(visit, endpoint, question)
            return
        visit.about(question.asked)
        if FAILURE in scope:
            raise scope.pop(FAILURE)
        access = None if note is None else await self._parts.validation.access()
        read = await self._read(visit.credentials, question.asked)
        workspaces = await gate.opened(visit, read.sealed)
        if not question.asked.every:
            visit.about(Asked(workspaces[0].standing.workspace_id))
        if question.min_position is not None and workspaces[0].standing.position < question.min_position:
            await self._parts.waiting.until(workspaces[0].standing.workspace_id, question.min_position)
            read = await self._read(visit.credentials, question.asked)
            workspaces = gate.open(visit, read.sealed)  # the link may have gone meanwhile, or the key
        standings = [workspace.standing for workspace in workspaces]
        self._rendered_cache.saw((visit.credentials, question.asked), tuple(each.workspace_id for each in standings))
        self._tell(request, response, workspaces, read.cached, question)
        if note is not None and access is not None and read.on_loop and len(standings) <= MOST_WORKSPACES:
            proof = self._parts.authentication.proof(request, visit.credentials, visit.until)
            note.ground = Ground(access, standings, proof)

    def _tell(
        self,
        request: falcon.Request,
        response: falcon.Response,
        workspaces: list[Workspace],
        cached: dict[State, bytes],
        question: Question,
    ) -> None:
        standings = [workspace.standing for workspace in workspaces]
        check_past(standings)
        say_how_fresh(response, standings, question)
        pieces = [self._rendered_cache.rendered(workspace, cached, render) for workspace in workspaces]
        tagged = tag_of(request, standings, question)
        if not unchanged(request, response, tagged, VARY_BY_FORM):
            response.content_type = falcon.MEDIA_JSON
            response.data = self._whole(tagged, pieces)

    def _whole(self, tagged: str, pieces: list[bytes]) -> bytes:
        """Return the answer; that of several workspaces is cached, since joining its pieces takes half of the time."""
        body = self._shared.bodies.get(tagged) if len(pieces) > 1 else None
        if body is None:
            body = b'{"campaigns":[%b]}' % b",".join(filter(None, pieces))
            if len(pieces) > 1:
                self._shared.bodies.put(tagged, body)
        return body

    async def _read(self, credentials: Credentials, asked: Asked) -> _Read:
        """Return the answer.

        A request that is known to be small shares the event loop's connection; any other takes a thread and a
        connection of its own, so that no other request waits for it.
        """
        known = self._rendered_cache.known_to(credentials, asked)
        cached = self._rendered_cache.cached(known)
        few = not asked.every or 0 < len(known) == len(cached) <= MOST_WORKSPACES
        if few and sum(map(len, cached.values())) <= MOST_BYTES_ON_THE_LOOP:
            sealed = await dashboard.ask(self._parts.reads, credentials, asked, cached)
            if sealed is not None:
                return _Read(sealed, cached, on_loop=True)
        return await self._parts.threads.run(self._read_much, credentials, asked, cached)

    def _read_much(self, credentials: Credentials, asked: Asked, cached: dict[State, bytes]) -> _Read:
        """Return the same in a thread, where all campaigns are rendered too."""
        with self._parts.connection() as database:
            sealed = dashboard.read(database, credentials, asked, cached)
        rendered: dict[State, bytes] = {}

        def without_rows(workspaces: list[Workspace]) -> list[Workspace]:
            for each in workspaces:
                rendered[each.standing.state] = self._rendered_cache.rendered(each, cached, render)
            return [each._replace(campaigns=None) for each in workspaces]

        return _Read(sealed.map(without_rows), rendered, on_loop=False)


def render(workspace: Workspace) -> bytes:
    """Return a workspace's campaigns as they stand between the brackets of the answer."""
    return b",".join([_campaign(workspace.standing.workspace_id, *row) for row in workspace.campaigns or ()])


@lru_cache(maxsize=20_000)  # an event changes one campaign of its workspace, the others are as they were
def _campaign(
    workspace_id: int, campaign_id: int, name: str | None, status: str | None, totals: tuple[int | None, ...]
) -> bytes:
    shown: Any = status or UNKNOWN
    numbers = metrics.analytics(totals)
    return encode(CampaignRow(campaign_id, name or f"Campaign {campaign_id}", shown, workspace_id, numbers))
