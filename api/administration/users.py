"""Who may see what, changed and shown over HTTP: for the platform that owns the users."""

import falcon

from api.administration.admission import MAX_BODY_BYTES, NUMBER, WORKSPACE_ID, admit
from api.administration.shown import history_json, key_json, user_json
from api.dependencies import Parts
from api.errors import BadRequestError, ConflictError, NotFoundError
from api.http.bodies import json_object
from domain import instants
from domain.api_keys import SCOPES, Scope
from domain.events import MAX_ID
from domain.refusals import DeletedWorkspaceError, NotLinkedError, UnknownKeyError
from projections import access

ISSUED_HERE: tuple[Scope, ...] = tuple(scope for scope in SCOPES if scope != "admin")
_LAST = instants.parse_instant("9999-12-31T23:59:59.999Z")


class Users:
    """`/api/v1/access/users/{user}/…`."""

    def __init__(self, parts: Parts) -> None:
        """Take the parts."""
        self._parts = parts
        self._users = parts.users

    def on_get(self, request: falcon.Request, response: falcon.Response, user: str) -> None:
        """Show a user: linked workspaces, the current one, and keys; an unknown user is an empty one."""
        admit(self._parts, request, response, user)
        with self._parts.connection() as database:
            last_used = access.last_used(database, user)
        response.media = user_json(user, self._users.user(user), last_used)

    def on_get_history(self, request: falcon.Request, response: falcon.Response, user: str) -> None:
        """Show who could see what, since when, and by whose hand."""
        admit(self._parts, request, response, user)
        response.media = {"user": user, "history": history_json(self._users.history(user))}

    def on_put_workspace(self, request: falcon.Request, response: falcon.Response, user: str, workspace: str) -> None:
        """Link a workspace."""
        by = admit(self._parts, request, response, user, workspace)
        try:
            self._users.link(user, int(workspace), by)
        except DeletedWorkspaceError as error:
            raise ConflictError(f"workspace: {workspace} was deleted") from error
        response.status = falcon.HTTP_NO_CONTENT

    def on_delete_workspace(
        self, request: falcon.Request, response: falcon.Response, user: str, workspace: str
    ) -> None:
        """Unlink a workspace; from the very next request on, the user no longer sees it."""
        by = admit(self._parts, request, response, user, workspace)
        self._users.unlink(user, int(workspace), by)
        response.status = falcon.HTTP_NO_CONTENT

    def on_put_current(self, request: falcon.Request, response: falcon.Response, user: str) -> None:
        """Make a linked workspace the current one."""
        by = admit(self._parts, request, response, user)
        body = json_object(request, self._parts.threads.loop, MAX_BODY_BYTES, (WORKSPACE_ID,))
        workspace_id = body.get(WORKSPACE_ID)
        if type(workspace_id) is not int or not 1 <= workspace_id <= MAX_ID:
            raise BadRequestError((WORKSPACE_ID, NUMBER))
        try:
            self._users.select(user, workspace_id, by)
        except NotLinkedError as error:
            raise ConflictError(f"workspace_id: {workspace_id} is not linked to this user") from error
        response.status = falcon.HTTP_NO_CONTENT

    def on_post_keys(self, request: falcon.Request, response: falcon.Response, user: str) -> None:
        """Issue an API key, and show the whole of it this once."""
        by = admit(self._parts, request, response, user)
        body = json_object(request, self._parts.threads.loop, MAX_BODY_BYTES, ("name", "scopes", "expires_at"))
        scopes, name = _scopes(body.get("scopes")), _name(body.get("name"))
        expires_at = self._expires_at(body.get("expires_at"))
        issued = self._users.issue_key(user, scopes=scopes, name=name, expires_at=expires_at, by=by)
        response.status = falcon.HTTP_CREATED
        response.media = {"key": issued.key, **key_json(issued.about, None)}

    def on_delete_key(self, request: falcon.Request, response: falcon.Response, user: str, prefix: str) -> None:
        """Revoke an API key; the very next request with it is refused."""
        by = admit(self._parts, request, response, user)
        try:
            self._users.revoke_key(user, prefix, by)
        except UnknownKeyError as error:
            raise NotFoundError("This user never had such a key") from error
        response.status = falcon.HTTP_NO_CONTENT

    def _expires_at(self, text: object) -> int | None:
        if text is None:
            return None
        try:
            at = instants.parse_instant(text) if isinstance(text, str) else None
        except ValueError:
            at = None
        if at is None or not self._parts.clock() < at <= _LAST:
            raise BadRequestError(("expires_at", "expected RFC 3339 with an offset, in the future"))
        return at


class Workspaces:
    """`/api/v1/access/workspaces/{id}`."""

    def __init__(self, parts: Parts) -> None:
        """Take the parts."""
        self._parts = parts

    def on_put(self, request: falcon.Request, response: falcon.Response, workspace: str) -> None:
        """Give a workspace a name."""
        by = admit(self._parts, request, response, workspace=workspace)
        body = json_object(request, self._parts.threads.loop, MAX_BODY_BYTES, ("name",))
        name = body.get("name")
        if not isinstance(name, str):
            raise BadRequestError(("name", "expected a string"))
        try:
            self._parts.users.rename_workspace(int(workspace), name, by)
        except DeletedWorkspaceError as error:
            raise ConflictError(f"workspace: {workspace} was deleted") from error
        response.status = falcon.HTTP_NO_CONTENT


def _scopes(scopes: object) -> list[str]:
    if scopes is None:
        return ["read"]
    if not isinstance(scopes, list) or not scopes or any(each not in ISSUED_HERE for each in scopes):
        expected = (
            f"expected a list of some of {', '.join(ISSUED_HERE)}; admin keys are issued on the command line only"
        )
        raise BadRequestError(("scopes", expected))
    return scopes


def _name(name: object) -> str:
    if name is None:
        return ""
    if not isinstance(name, str):
        raise BadRequestError(("name", "expected a string"))
    return name
