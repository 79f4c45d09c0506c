"""The latest rejected events of a workspace, for the people who operate its workers."""

import falcon
from msgspec import Struct

from api.answers.answering import encode
from api.dependencies import Parts
from api.http.conditional import tag, unchanged
from api.http.parameters import ONE_WORKSPACE, WORKSPACE, Query
from api.http.schemas import Instant
from domain.events import Code
from domain.instants import format_instant
from projections.queries import rejections

REJECTIONS = Query(ONE_WORKSPACE)


class RejectionRow(Struct):
    """An event that was refused: when, what it called itself as far as that is valid, and why."""

    at: Instant
    id: str | None
    source: str | None
    code: Code
    error: str


class RejectionList(Struct):
    """The latest rejections, newest first."""

    rejections: list[RejectionRow]


class Rejections:
    """`GET /api/v1/events/rejections/`."""

    def __init__(self, parts: Parts) -> None:
        """Take the parts."""
        self._parts = parts

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Answer with the latest rejected events of one workspace, newest first."""
        _, (workspace_id, latest) = self._parts.gate.enter(
            request, response, lambda request: REJECTIONS.read(request.query_string)[WORKSPACE], rejections.latest
        )
        request.context.workspace = workspace_id
        made_of = (workspace_id, latest)  # all of them, since a prospect may have been forgotten in any
        if unchanged(request, response, tag(request, made_of)):
            return
        rows = [RejectionRow(**{**each._asdict(), "at": format_instant(each.at)}) for each in latest]
        response.data = encode(RejectionList(rows))
