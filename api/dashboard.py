"""The dashboard's answer: the campaigns that the caller may see, with their numbers, and how fresh they are."""

import time
from threading import BoundedSemaphore

import falcon
import msgspec

from api.authentication import require
from api.conditional import tag, unchanged
from api.errors import AccessDeniedError, BadRequestError, UnavailableError
from api.kept import Kept
from api.parameters import WORKSPACE, asked, position, query
from api.parts import Parts
from projections import campaign_analytics
from projections.access import ALL, Asked, Caller, Credentials
from projections.campaign_analytics import Answer, Held, Workspace

MIN_POSITION = "min_position"
WAIT_SECONDS = 5.0  # so long a reader waits for their own writes
_POLL_SECONDS = 0.02

_encode = msgspec.json.Encoder().encode


class CampaignAnalytics:
    """`GET /api/v1/dashboard/campaign-analytics/`."""

    def __init__(self, parts: Parts) -> None:
        """Take the parts."""
        self._parts = parts
        self._waiting = BoundedSemaphore(parts.waiting_requests)
        self._kept = Kept()

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Answer with the campaigns of the asked workspaces."""
        credentials = self._parts.authentication.credentials(request)
        with self._parts.known_first(request, response, credentials):
            wanted, min_position = _parse(request)
        request.context.workspace = ALL if wanted.every else wanted.workspace_id
        answer, held = self._read(credentials, wanted)
        caller = self._parts.authentication.admit(request, response, credentials, answer.caller)
        workspaces = _allowed(answer, caller, wanted)
        if not wanted.every:
            request.context.workspace = workspaces[0].workspace_id
        if min_position is not None and workspaces[0].position < min_position:
            self._wait(workspaces[0], min_position)
            answer, held = self._read(credentials, wanted)  # the link may have gone meanwhile, or the key
            workspaces = _allowed(answer, self._parts.authentication.identify(credentials, answer.caller), wanted)
        self._kept.saw((credentials, wanted), tuple(workspace.workspace_id for workspace in workspaces))
        self._answer(request, response, workspaces, held, wanted)

    def _answer(
        self,
        request: falcon.Request,
        response: falcon.Response,
        workspaces: list[Workspace],
        held: dict[Held, bytes],
        wanted: Asked,
    ) -> None:
        response.set_header("X-Lag", str(sum(workspace.head - workspace.position for workspace in workspaces)))
        if not wanted.every:
            response.set_header("X-Position", str(workspaces[0].position))
        pieces = [self._kept.rendered(workspace, held, _render) for workspace in workspaces]
        made_of = ((each.workspace_id, each.generation, each.position) for each in workspaces)
        if not unchanged(request, response, tag(request, made_of)):
            response.content_type = falcon.MEDIA_JSON
            response.data = b'{"campaigns":[%b]}' % b",".join(filter(None, pieces))

    def _read(self, credentials: Credentials, wanted: Asked) -> tuple[Answer, dict[Held, bytes]]:
        """Return the answer, and the rendered campaigns of those workspaces that need not be read for it."""
        known = (wanted.workspace_id,) if wanted.workspace_id else self._kept.seen_last((credentials, wanted))
        held = self._kept.held(known)
        with self._parts.connection() as database:
            return campaign_analytics.read(database, credentials, wanted, held), held

    def _wait(self, workspace: Workspace, min_position: int) -> None:
        """Wait until the projection has come so far; no connection is held meanwhile."""
        if not self._waiting.acquire(blocking=False):
            raise UnavailableError("Too many requests wait for the projection, please try again")
        try:
            until = time.monotonic() + WAIT_SECONDS
            reached, stuck = workspace.position, workspace.stuck
            while reached < min_position:
                if stuck:
                    raise UnavailableError("The projection of this workspace is stuck")
                if time.monotonic() >= until:
                    raise UnavailableError("The projection has not come so far yet, please try again")
                time.sleep(_POLL_SECONDS)
                with self._parts.connection() as database:
                    reached, stuck = campaign_analytics.projected(database, workspace.workspace_id)
        finally:
            self._waiting.release()


def _render(workspace: Workspace) -> bytes:
    """Return a workspace's campaigns as they stand between the brackets of the answer."""
    return _encode(campaign_analytics.campaigns(workspace))[1:-1]


def _allowed(answer: Answer, caller: Caller, wanted: Asked) -> list[Workspace]:
    """Return the workspaces of an answer; raise AccessDeniedError where the caller may not read what was asked for."""
    require(caller, "read")
    if not answer.workspaces and not wanted.every:
        raise AccessDeniedError
    return answer.workspaces


def _parse(request: falcon.Request) -> tuple[Asked, int | None]:
    parameters = query(request, (WORKSPACE, MIN_POSITION))
    wanted, min_position = asked(parameters, every=True), position(parameters, MIN_POSITION)
    if wanted.every and min_position is not None:
        raise BadRequestError((MIN_POSITION, "expected only with one workspace"))
    return wanted, min_position
