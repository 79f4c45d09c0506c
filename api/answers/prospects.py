"""`GET /api/v1/prospects/lookup/`: how a prospect is called that tools know by an e-mail address."""

from typing import Any

import falcon
from msgspec import Struct

from api.answers.answering import encode
from api.dependencies import Parts
from api.errors import NotFoundError
from api.http.conditional import tag, unchanged
from api.http.parameters import ONE_WORKSPACE, ExpectedError, Parameter, Query, Values
from api.http.schemas import Word
from connectors.prospects import prospect_of_address
from domain.recorder import Database
from projections.queries.caller import Credentials, Sealed
from projections.queries.hooks import prospect_key_for

MAX_ADDRESS = 320  # characters: RFC 3696, section 3, with its erratum 1690


def _read_address(texts: list[str]) -> str:
    if not ("@" in texts[0] and len(texts[0]) <= MAX_ADDRESS):
        raise ExpectedError(f"expected an e-mail address of at most {MAX_ADDRESS} characters")
    return texts[0]


EMAIL: Parameter[Any] = Parameter(
    "email",
    "the address, in whatever case",
    {"type": "string", "maxLength": MAX_ADDRESS, "pattern": "@"},
    _read_address,
    None,
    required=True,
)
LOOKUP = Query(EMAIL, ONE_WORKSPACE)


class FoundProspect(Struct):
    """The answer."""

    prospect_id: Word


class ProspectLookup:
    """Answers every caller who may read in the workspace."""

    def __init__(self, parts: Parts) -> None:
        """Take the parts."""
        self._parts = parts

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Answer, in a thread; nothing is looked up but the workspace's key, so any address has a name."""

        def ask(database: Database, credentials: Credentials, values: Values) -> Sealed[tuple[int, bytes | None]]:
            return prospect_key_for(database, credentials, values[ONE_WORKSPACE])

        values, (workspace_id, key) = self._parts.gate.enter(
            request, response, lambda request: LOOKUP.read(request.query_string), ask
        )
        request.context.workspace = workspace_id
        if key is None:
            raise NotFoundError("No tool was ever connected to this workspace")
        body = encode(FoundProspect(prospect_of_address(values[EMAIL], key)))
        if not unchanged(request, response, tag(request, (body,))):
            response.content_type = falcon.MEDIA_JSON
            response.data = body
