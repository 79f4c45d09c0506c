"""The dashboard's answer: the campaigns that the caller may see, with their numbers, and how fresh they are."""

import time
from threading import BoundedSemaphore

import falcon
import msgspec

from api.authentication import require
from api.errors import AccessDeniedError, BadRequestError, UnavailableError
from api.parameters import WORKSPACE, asked, position, query
from api.parts import Parts
from projections import campaign_analytics
from projections.access import Asked, Credentials
from projections.campaign_analytics import Workspace

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

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Answer with the campaigns of the asked workspaces."""
        credentials = self._parts.authentication.credentials(request)
        try:
            wanted, min_position = _parse(request)
        except BadRequestError:
            self._parts.identify(credentials)  # who is not known is told that first
            raise
        workspaces = self._read(credentials, wanted)
        if min_position is not None and workspaces[0].position < min_position:
            self._wait(workspaces[0], min_position)
            workspaces = self._read(credentials, wanted)
        response.content_type = falcon.MEDIA_JSON
        response.data = _encode(campaign_analytics.body(workspaces))
        response.set_header("X-Lag", str(sum(workspace.head - workspace.position for workspace in workspaces)))
        if not wanted.every:
            response.set_header("X-Position", str(workspaces[0].position))

    def _read(self, credentials: Credentials, wanted: Asked) -> list[Workspace]:
        with self._parts.connection() as database:
            answer = campaign_analytics.read(database, credentials, wanted)
        require(self._parts.authentication.identify(credentials, answer.caller), "read")
        if not answer.workspaces and not wanted.every:
            raise AccessDeniedError
        return answer.workspaces

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


def _parse(request: falcon.Request) -> tuple[Asked, int | None]:
    parameters = query(request, (WORKSPACE, MIN_POSITION))
    wanted, min_position = asked(parameters, every=True), position(parameters, MIN_POSITION)
    if wanted.every and min_position is not None:
        raise BadRequestError((MIN_POSITION, "expected only with one workspace"))
    return wanted, min_position
