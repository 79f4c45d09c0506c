"""Forgets a prospect over HTTP."""

from dataclasses import replace

import falcon

from api.dependencies import Parts
from api.errors import BadRequestError
from api.http.parameters import ONE_WORKSPACE, Query, path_is_utf8
from domain.events import MAX_PROSPECT_ID
from projections.building import forgetting
from projections.queries.caller import who

_OF_WORKSPACE = replace(ONE_WORKSPACE, text="the workspace, which must be named", required=True)
FORGET = Query(_OF_WORKSPACE)


class Prospects:
    """`/api/v1/prospects/{prospect}/`."""

    def __init__(self, parts: Parts) -> None:
        """Take the parts."""
        self._parts = parts

    def on_delete(self, request: falcon.Request, response: falcon.Response, prospect: str) -> None:
        """Forget a prospect: a random token takes the place of the id in all that is stored."""

        def check(request: falcon.Request) -> int:
            workspace_id = FORGET.read(request.query_string)[_OF_WORKSPACE].workspace_id
            assert workspace_id is not None  # it is required
            if not 1 <= len(prospect) <= MAX_PROSPECT_ID or "\0" in prospect:
                raise BadRequestError(("prospect_id", f"expected 1–{MAX_PROSPECT_ID} characters without NUL"))
            if not path_is_utf8(request):
                raise BadRequestError(("prospect_id", "expected UTF-8"))
            return workspace_id

        workspace_id, _ = self._parts.gate.enter(
            request, response, check, lambda database, credentials, _: who(database, credentials), "admin"
        )
        request.context.workspace = workspace_id
        by = f"key:{request.context.key}"
        with self._parts.connection() as database:
            forgotten = forgetting.forget(database, self._parts.users, workspace_id, prospect, by)
        response.media = forgotten._asdict()
