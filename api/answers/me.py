"""`GET /api/v1/me/`: who am I, which workspaces are mine, and what may my key do."""

import falcon
from msgspec import Struct

from api.answers.answering import encode
from api.dependencies import Parts
from api.http.conditional import tag, unchanged
from api.http.parameters import no_parameters
from api.http.schemas import Id, Instant, Word
from domain.api_keys import Scope
from domain.instants import format_instant
from projections.queries.me import me


class KeyInUse(Struct):
    """The API key that the request came with."""

    prefix: Word
    name: str
    scopes: list[Scope]
    expires_at: Instant | None


class LinkedWorkspace(Struct):
    """A workspace that the caller may see."""

    id: Id
    name: Word


class Identity(Struct):
    """The answer; `key` is null for a session."""

    user: Word
    key: KeyInUse | None
    current_workspace: Id | None
    workspaces: list[LinkedWorkspace]


class MeResource:
    """Answers every authenticated caller, whatever the scopes."""

    def __init__(self, parts: Parts) -> None:
        """Take the parts."""
        self._parts = parts

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Answer, in a thread."""
        _, caller = self._parts.gate.enter(
            request, response, no_parameters, lambda database, credentials, _: me(database, credentials), None
        )
        key = None
        if caller.scopes is not None:
            prefix: str = request.context.key
            user = self._parts.users.user(caller.user_id)
            about = user.keys.get(prefix) if user else None
            expires_at = None if caller.expires_at is None else format_instant(caller.expires_at)
            key = KeyInUse(prefix, about.name if about else "", list(caller.scopes), expires_at)  # type: ignore[arg-type]
        current = next((each.id for each in caller.workspaces if each.is_current), None)
        linked = [LinkedWorkspace(each.id, each.name) for each in caller.workspaces]
        body = encode(Identity(caller.user_id, key, current, linked))
        if not unchanged(request, response, tag(request, (body,))):
            response.content_type = falcon.MEDIA_JSON
            response.data = body
