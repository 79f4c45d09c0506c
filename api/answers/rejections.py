"""What was refused lately in a workspace, for whoever looks after its workers."""

import falcon

from api.answers.answering import encode
from api.auth.authentication import require
from api.dependencies import Parts
from api.errors import AccessDeniedError
from api.http.conditional import tag, unchanged
from api.http.parameters import WORKSPACE, asked, query
from domain.instants import format_instant
from projections.queries import rejections


class Rejections:
    """`GET /api/v1/events/rejections/`."""

    def __init__(self, parts: Parts) -> None:
        """Take the parts."""
        self._parts = parts

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Answer with the latest rejected events of one workspace, newest first."""
        credentials = self._parts.authentication.credentials(request)
        with self._parts.known_first(request, response, credentials):
            wanted = asked(query(request, (WORKSPACE,)), every=False)
        request.context.workspace = wanted.workspace_id
        with self._parts.connection() as database:
            found, workspace_id, latest = rejections.latest(database, credentials, wanted)
        require(self._parts.authentication.admit(request, response, credentials, found), "read")
        if workspace_id is None:
            raise AccessDeniedError
        request.context.workspace = workspace_id
        made_of = (workspace_id, latest[:1])  # each is newer than those before it
        if unchanged(request, response, tag(request, made_of)):
            return
        response.data = encode({"rejections": [{**each._asdict(), "at": format_instant(each.at)} for each in latest]})
