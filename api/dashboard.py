"""The dashboard's main answer: the campaigns that the caller may see, with their numbers.

As it is asked for by far the most, without any filter, it is one statement: that also says which of the pieces that
this process has rendered are still what is stored.
"""

from functools import lru_cache

import falcon

from api import numbers
from api.ahead import Ahead, is_plain, said
from api.conditional import VARY_BY_FORM, unchanged
from api.kept import Kept
from api.question import Question
from api.reading import Reading, allowed, encode, say_how_fresh, tag_of
from projections import campaign_analytics
from projections.access import ALL, Asked, Credentials
from projections.campaign_analytics import Answer, Held, Workspace


class CampaignAnalytics:
    """`GET /api/v1/dashboard/campaign-analytics/`."""

    def __init__(self, shared: Reading) -> None:
        """Take what it shares with the others that read."""
        self._shared = shared
        self._parts = shared.parts
        self._kept = Kept()
        self.ahead = Ahead(shared.parts, self._kept)

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Answer with the campaigns of the asked workspaces."""
        credentials = self._parts.authentication.credentials(request)
        with self._parts.known_first(request, response, credentials):
            question = numbers.CAMPAIGNS.parse(request)
        if not is_plain(question):
            self._shared.answer_question(request, response, numbers.CAMPAIGNS, credentials, question)
            return
        wanted = question.asked
        request.context.workspace = ALL if wanted.every else wanted.workspace_id
        answer, held = said(request, credentials, wanted) or self._read(credentials, wanted)
        caller = self._parts.authentication.admit(request, response, credentials, answer.caller)
        workspaces = allowed(answer.workspaces, caller, question)
        if not wanted.every:
            request.context.workspace = workspaces[0].workspace_id
        if question.min_position is not None and workspaces[0].position < question.min_position:
            self._shared.wait(workspaces[0].workspace_id, question.min_position)
            answer, held = self._read(credentials, wanted)  # the link may have gone meanwhile, or the key
            caller = self._parts.authentication.identify(credentials, answer.caller)
            workspaces = allowed(answer.workspaces, caller, question)
        self._kept.saw((credentials, wanted), tuple(workspace.workspace_id for workspace in workspaces))
        self._answer(request, response, workspaces, held, question)

    def _answer(
        self,
        request: falcon.Request,
        response: falcon.Response,
        workspaces: list[Workspace],
        held: dict[Held, bytes],
        question: Question,
    ) -> None:
        say_how_fresh(response, workspaces, question)
        pieces = [self._kept.rendered(workspace, held, _render) for workspace in workspaces]
        tagged = tag_of(request, workspaces, question)
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

    def _read(self, credentials: Credentials, wanted: Asked) -> tuple[Answer, dict[Held, bytes]]:
        """Return the answer, and the rendered campaigns of those workspaces that need not be read for it."""
        held = self._kept.held_for(credentials, wanted)
        with self._parts.connection() as database:
            return campaign_analytics.read(database, credentials, wanted, held), held


def _render(workspace: Workspace) -> bytes:
    """Return a workspace's campaigns as they stand between the brackets of the answer."""
    return b",".join([_campaign(workspace.workspace_id, *row) for row in workspace.campaigns or ()])


@lru_cache(maxsize=20_000)  # an event changes one campaign of its workspace, the others are as they were
def _campaign(
    workspace_id: int, campaign_id: int, name: str | None, status: str | None, totals: tuple[int | None, ...]
) -> bytes:
    return encode(campaign_analytics.campaign(workspace_id, campaign_id, name, status, totals))
