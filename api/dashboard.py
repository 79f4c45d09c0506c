"""The dashboard's main answer: the campaigns that the caller may see, with their numbers.

As it is asked for by far the most, without any filter, it is one statement: that also says which of the pieces that
this process has rendered are still what is stored.
"""

from functools import lru_cache

import falcon

from api import numbers
from api.alike import Alike, Group, key_of
from api.conditional import VARY_BY_FORM, unchanged
from api.kept import Kept
from api.question import Question
from api.reading import Reading, allowed, encode, say_how_fresh, tag_of
from projections import campaign_analytics
from projections.access import ALL, Asked, Credentials
from projections.campaign_analytics import Answer, Held, Workspace

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
        credentials = await self._parts.credentials(request)
        question = await self._parts.parsed(request, response, credentials, numbers.CAMPAIGNS.parse)
        if not is_plain(question):
            await self._shared.answer_question(request, response, numbers.CAMPAIGNS, credentials, question)
            return
        wanted = question.asked
        request.context.workspace = ALL if wanted.every else wanted.workspace_id
        answer, held = await self._read(credentials, wanted, group if question.min_position is None else None)
        caller = await self._parts.admit(request, response, credentials, answer.caller)
        workspaces = allowed(answer.workspaces, caller, question)
        if not wanted.every:
            request.context.workspace = workspaces[0].workspace_id
        if question.min_position is not None and workspaces[0].position < question.min_position:
            await self._parts.waiting.until(workspaces[0].workspace_id, question.min_position)
            answer, held = await self._read(credentials, wanted)  # the link may have gone meanwhile, or the key
            caller = self._parts.authentication.identify(credentials, answer.caller)
            workspaces = allowed(answer.workspaces, caller, question)
        self._kept.saw((credentials, wanted), tuple(workspace.workspace_id for workspace in workspaces))
        self._tell(request, response, workspaces, held, question)

    def _tell(
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

    async def _read(
        self, credentials: Credentials, wanted: Asked, group: Group | None = None
    ) -> tuple[Answer, dict[Held, bytes]]:
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
            answer = await campaign_analytics.ask(self._parts.reads, credentials, wanted, held)
            if answer is not None:
                return answer, held
        return await self._parts.threads.run(self._read_much, credentials, wanted, held)

    def _read_much(
        self, credentials: Credentials, wanted: Asked, held: dict[Held, bytes]
    ) -> tuple[Answer, dict[Held, bytes]]:
        """Return the same in a thread, where all campaigns are rendered too."""
        with self._parts.connection() as database:
            answer = campaign_analytics.read(database, credentials, wanted, held)
        rendered = {
            Held(each.workspace_id, each.generation, each.position): self._kept.rendered(each, held, _render)
            for each in answer.workspaces
        }
        return Answer(answer.caller, [each._replace(campaigns=None) for each in answer.workspaces]), rendered


def is_plain(question: Question) -> bool:
    """Return whether a question is answered by the one statement: it has no filters, period or other form."""
    return question == Question(question.asked, question.min_position, own=question.own)


def _render(workspace: Workspace) -> bytes:
    """Return a workspace's campaigns as they stand between the brackets of the answer."""
    return b",".join([_campaign(workspace.workspace_id, *row) for row in workspace.campaigns or ()])


@lru_cache(maxsize=20_000)  # an event changes one campaign of its workspace, the others are as they were
def _campaign(
    workspace_id: int, campaign_id: int, name: str | None, status: str | None, totals: tuple[int | None, ...]
) -> bytes:
    return encode(campaign_analytics.campaign(workspace_id, campaign_id, name, status, totals))
