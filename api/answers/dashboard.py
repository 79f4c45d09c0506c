"""The dashboard's main answer: the campaigns that the caller may see, with their numbers.

As it is asked for by far the most, without any filter, it is one statement: that also says which of the pieces that
this process has rendered are still what is stored.
"""

from functools import lru_cache
from typing import Any

import falcon

from api.answers import analytics
from api.answers.alike import Alike, Group, key_of
from api.answers.analytics import CampaignRow
from api.answers.answering import Reading, check_past, encode, say_how_fresh, tag_of
from api.answers.cache import Kept
from api.answers.question import Question
from api.http.conditional import VARY_BY_FORM, unchanged
from projections import metrics
from projections.queries import dashboard
from projections.queries.caller import Asked, Credentials, Sealed
from projections.queries.campaigns import UNKNOWN
from projections.queries.dashboard import Workspace
from projections.queries.standing import State

MOST_WORKSPACES = 100  # of one answer on the event loop, and
MOST_BYTES_ON_THE_LOOP = 400_000  # so many bytes of campaigns when it was rendered last: about a thousand of them


class CampaignAnalytics:
    """`GET /api/v1/dashboard/campaign-analytics/`."""

    def __init__(self, shared: Reading) -> None:
        """Take what it shares with the others that read."""
        self._shared = shared
        self._parts = shared.parts
        self._kept = Kept()
        self._alike = Alike(lambda: shared.parts.reads.sendings)

    async def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Answer with the campaigns of the asked workspaces, together with requests that are alike."""
        key = key_of(request)
        if self._parts.authentication.rate_limit is None:  # else each of them counts
            while (other := self._alike.find(key)) is not None:
                if await other.answers(request, response):
                    return
        with Group(self._alike, key, request, response) as group:
            await self._answer(request, response, group)

    async def _answer(self, request: falcon.Request, response: falcon.Response, group: Group) -> None:
        gate, endpoint = self._parts.gate, analytics.CAMPAIGNS
        visit, question = await gate.visit(request, response, endpoint.parse)
        if not question.is_plain:
            await self._shared.answer_question(visit, endpoint, question)
            return
        visit.about(question.asked)
        alone = question.min_position is not None
        sealed, held = await self._read(visit.credentials, question.asked, None if alone else group)
        workspaces = await gate.opened(visit, sealed)
        if not question.asked.every:
            visit.about(Asked(workspaces[0].standing.workspace_id))
        if question.min_position is not None and workspaces[0].standing.position < question.min_position:
            await self._parts.waiting.until(workspaces[0].standing.workspace_id, question.min_position)
            sealed, held = await self._read(visit.credentials, question.asked)
            workspaces = gate.open(visit, sealed)  # the link may have gone meanwhile, or the key
        ids = tuple(workspace.standing.workspace_id for workspace in workspaces)
        self._kept.saw((visit.credentials, question.asked), ids)
        self._tell(request, response, workspaces, held, question)

    def _tell(
        self,
        request: falcon.Request,
        response: falcon.Response,
        workspaces: list[Workspace],
        held: dict[State, bytes],
        question: Question,
    ) -> None:
        standings = [workspace.standing for workspace in workspaces]
        check_past(standings)
        say_how_fresh(response, standings, question)
        pieces = [self._kept.rendered(workspace, held, render) for workspace in workspaces]
        tagged = tag_of(request, standings, question)
        if not unchanged(request, response, tagged, VARY_BY_FORM):
            response.content_type = falcon.MEDIA_JSON
            response.data = self._whole(tagged, pieces)

    def _whole(self, tagged: str, pieces: list[bytes]) -> bytes:
        """Return the answer; of several workspaces it is kept, since to put it together takes as long as all else."""
        body = self._shared.bodies.get(tagged) if len(pieces) > 1 else None
        if body is None:
            body = b'{"campaigns":[%b]}' % b",".join(filter(None, pieces))
            if len(pieces) > 1:
                self._shared.bodies.keep(tagged, body)
        return body

    async def _read(
        self, credentials: Credentials, wanted: Asked, group: Group | None = None
    ) -> tuple[Sealed[list[Workspace]], dict[State, bytes]]:
        """Return the answer, and the rendered campaigns of those workspaces that were not read for it.

        What is known to be small shares the event loop's connection with others; anything else takes a thread and a
        connection of its own, so that nobody waits for it.
        """
        known = self._kept.known_to(credentials, wanted)
        held = self._kept.held(known)
        few = not wanted.every or 0 < len(known) == len(held) <= MOST_WORKSPACES
        if few and sum(map(len, held.values())) <= MOST_BYTES_ON_THE_LOOP:
            if group is not None:
                group.open()
            sealed = await dashboard.ask(self._parts.reads, credentials, wanted, held)
            if sealed is not None:
                return sealed, held
        return await self._parts.threads.run(self._read_much, credentials, wanted, held)

    def _read_much(
        self, credentials: Credentials, wanted: Asked, held: dict[State, bytes]
    ) -> tuple[Sealed[list[Workspace]], dict[State, bytes]]:
        """Return the same in a thread, where all campaigns are rendered too."""
        with self._parts.connection() as database:
            sealed = dashboard.read(database, credentials, wanted, held)
        rendered: dict[State, bytes] = {}

        def without_rows(workspaces: list[Workspace]) -> list[Workspace]:
            for each in workspaces:
                rendered[each.standing.state] = self._kept.rendered(each, held, render)
            return [each._replace(campaigns=None) for each in workspaces]

        return sealed.map(without_rows), rendered


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
