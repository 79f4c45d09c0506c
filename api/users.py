"""Who may see what, changed and shown over HTTP: for the platform that owns the users, with a key of scope `admin`."""

from dataclasses import replace
from typing import Any

import falcon

from api.dependencies import Parts
from api.errors import BadRequestError, ConflictError, NotFoundError
from api.hooks import hook_url
from api.http.bodies import json_object
from api.http.parameters import ONE_WORKSPACE, Query, in_path, no_parameters, path_is_utf8
from domain import instants
from domain.access import BadFieldError, DeletedWorkspaceError, NotLinkedError, UnknownKeyError, User, check_user
from domain.api_keys import SCOPES, Key, Scope
from domain.events import MAX_ID
from domain.hooks import PROSPECTS, Terms, UnknownHookError
from projections import access
from projections.building import forgetting
from projections.queries import hooks
from projections.queries.caller import who
from projections.queries.hooks import ListedHook

MAX_BODY_BYTES = 64 * 1024
ISSUED_HERE: tuple[Scope, ...] = tuple(scope for scope in SCOPES if scope != "admin")
_WORKSPACE_ID = "workspace_id"
_LAST = instants.parse_instant("9999-12-31T23:59:59.999Z")
_NUMBER = f"expected a number from 1 to {MAX_ID}"


class Users:
    """`/api/v1/access/users/{user}/…`."""

    def __init__(self, parts: Parts) -> None:
        """Take the parts."""
        self._parts = parts
        self._users = parts.users

    def on_get(self, request: falcon.Request, response: falcon.Response, user: str) -> None:
        """Show a user: linked workspaces, the current one, and keys; an unknown user is an empty one."""
        _admit(self._parts, request, response, user)
        with self._parts.connection() as database:
            last_used = access.last_used(database, user)
        response.media = user_json(user, self._users.user(user), last_used)

    def on_get_history(self, request: falcon.Request, response: falcon.Response, user: str) -> None:
        """Show who could see what, since when, and by whose hand."""
        _admit(self._parts, request, response, user)
        response.media = {"user": user, "history": history_json(self._users.history(user))}

    def on_put_workspace(self, request: falcon.Request, response: falcon.Response, user: str, workspace: str) -> None:
        """Link a workspace."""
        by = _admit(self._parts, request, response, user, workspace)
        try:
            self._users.link(user, int(workspace), by)
        except DeletedWorkspaceError as error:
            raise ConflictError(f"workspace: {workspace} was deleted") from error
        response.status = falcon.HTTP_NO_CONTENT

    def on_delete_workspace(
        self, request: falcon.Request, response: falcon.Response, user: str, workspace: str
    ) -> None:
        """Unlink a workspace; from the very next request on, the user no longer sees it."""
        by = _admit(self._parts, request, response, user, workspace)
        self._users.unlink(user, int(workspace), by)
        response.status = falcon.HTTP_NO_CONTENT

    def on_put_current(self, request: falcon.Request, response: falcon.Response, user: str) -> None:
        """Make a linked workspace the current one."""
        by = _admit(self._parts, request, response, user)
        body = json_object(request, self._parts.threads.loop, MAX_BODY_BYTES, (_WORKSPACE_ID,))
        workspace_id = body.get(_WORKSPACE_ID)
        if type(workspace_id) is not int or not 1 <= workspace_id <= MAX_ID:
            raise BadRequestError((_WORKSPACE_ID, _NUMBER))
        try:
            self._users.select(user, workspace_id, by)
        except NotLinkedError as error:
            raise ConflictError(f"workspace_id: {workspace_id} is not linked to this user") from error
        response.status = falcon.HTTP_NO_CONTENT

    def on_post_keys(self, request: falcon.Request, response: falcon.Response, user: str) -> None:
        """Issue an API key, and show the whole of it this once."""
        by = _admit(self._parts, request, response, user)
        body = json_object(request, self._parts.threads.loop, MAX_BODY_BYTES, ("name", "scopes", "expires_at"))
        scopes, name = _scopes(body.get("scopes")), _name(body.get("name"))
        expires_at = self._expires_at(body.get("expires_at"))
        issued = self._users.issue_key(user, scopes=scopes, name=name, expires_at=expires_at, by=by)
        response.status = falcon.HTTP_CREATED
        response.media = {"key": issued.key, **key_json(issued.about, None)}

    def on_delete_key(self, request: falcon.Request, response: falcon.Response, user: str, prefix: str) -> None:
        """Revoke an API key; the very next request with it is refused."""
        by = _admit(self._parts, request, response, user)
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
        by = _admit(self._parts, request, response, workspace=workspace)
        body = json_object(request, self._parts.threads.loop, MAX_BODY_BYTES, ("name",))
        name = body.get("name")
        if not isinstance(name, str):
            raise BadRequestError(("name", "expected a string"))
        try:
            self._parts.users.rename_workspace(int(workspace), name, by)
        except DeletedWorkspaceError as error:
            raise ConflictError(f"workspace: {workspace} was deleted") from error
        response.status = falcon.HTTP_NO_CONTENT


_OF_WORKSPACE = replace(ONE_WORKSPACE, text="the workspace, which must be named", required=True)
FORGET = Query(_OF_WORKSPACE)
_MAX_PROSPECT = 128


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
            if not 1 <= len(prospect) <= _MAX_PROSPECT or "\0" in prospect:
                raise BadRequestError(("prospect_id", f"expected 1–{_MAX_PROSPECT} characters without NUL"))
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


class ConnectedTools:
    """`/api/v1/access/hooks/`."""

    def __init__(self, parts: Parts) -> None:
        """Take the parts."""
        self._parts = parts

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Show all hooks, and what has come in by each."""
        _admit(self._parts, request, response)
        with self._parts.connection() as database:
            response.media = {"hooks": [hook_json(each) for each in hooks.listed(database)]}

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Add a hook, and show the path with its token this once."""
        by = _admit(self._parts, request, response)
        terms = terms_of(json_object(request, self._parts.threads.loop, MAX_BODY_BYTES, _TERMS))
        try:
            hook_id, token = self._parts.hooks.add(terms, by)
        except DeletedWorkspaceError as error:
            raise ConflictError(f"workspace_id: {terms.workspace_id} was deleted") from error
        response.status = falcon.HTTP_CREATED
        response.media = {"id": hook_id, "path": hook_url("", terms.provider, token)}

    def on_delete_hook(self, request: falcon.Request, response: falcon.Response, hook: str) -> None:
        """Revoke a hook; the very next delivery is refused, also one that waits already."""
        by = _admit(self._parts, request, response)
        try:
            self._parts.hooks.revoke(hook, by)
        except UnknownHookError as error:
            raise NotFoundError("There never was such a hook") from error
        response.status = falcon.HTTP_NO_CONTENT


_TERMS = ("workspace_id", "provider", "prospects", "own_campaign_ids", "secret", "labels")


def terms_of(body: dict[str, Any]) -> Terms:
    """Return the terms of a hook that a body gives; raise BadRequestError where a field has another type."""
    fields = {name: value for name, value in body.items() if value is not None}
    workspace_id, own = fields.get("workspace_id"), fields.get("own_campaign_ids", False)
    texts = {name: fields.get(name, default) for name, default in (("prospects", PROSPECTS[0]), ("secret", ""))}
    texts["provider"] = fields.get("provider")
    labels = fields.get("labels", {})
    faults = [(name, "expected a string") for name, text in texts.items() if not isinstance(text, str)]
    if type(workspace_id) is not int or not 1 <= workspace_id <= MAX_ID:
        faults.append((_WORKSPACE_ID, _NUMBER))
    if not isinstance(own, bool):
        faults.append(("own_campaign_ids", "expected a boolean"))
    if not isinstance(labels, dict) or not all(isinstance(meaning, str) for meaning in labels.values()):
        faults.append(("labels", "expected an object of strings"))
    if faults:
        raise BadRequestError(*faults)
    return Terms(workspace_id=workspace_id, own_campaign_ids=own, labels=labels, **texts)  # type: ignore[arg-type]


def hook_json(hook: ListedHook) -> dict[str, Any]:
    """Return a hook as JSON has it; nothing of its token."""
    shown = hook._asdict()
    received = [
        {
            **each._asdict(),
            "first_at": instants.format_instant(each.first_at),
            "latest_at": instants.format_instant(each.latest_at),
        }
        for each in hook.received
    ]
    created_at = instants.format_instant(hook.created_at)
    shown |= {"secret": hook.secret or None, "created_at": created_at, "received": received}
    return {"id": shown.pop("hook_id"), **shown}


def _admit(
    parts: Parts, request: falcon.Request, response: falcon.Response, user: str = "-", workspace: str = "1"
) -> str:
    """Let only an admin key through; return by whose hand a change is made."""

    def check(request: falcon.Request) -> None:
        no_parameters(request)
        _check_path(request, user, workspace)

    parts.gate.enter(request, response, check, lambda database, credentials, _: who(database, credentials), "admin")
    return f"key:{request.context.key}"


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


def user_json(user_id: str, user: User | None, last_used: dict[str, int | None]) -> dict[str, Any]:
    """Return a user as JSON has them."""
    return {
        "user": user_id,
        "linked_workspaces": sorted(user.linked_workspaces) if user else [],
        "current_workspace": user.current_workspace if user else None,
        "keys": [key_json(key, last_used.get(key.prefix)) for key in user.keys.values()] if user else [],
    }


def key_json(key: Key, last_used_at: int | None) -> dict[str, Any]:
    """Return what may be shown of a key as JSON has it."""
    return {
        "prefix": key.prefix,
        "name": key.name,
        "scopes": list(key.scopes),
        "created_at": instants.format_instant(key.created_at),
        "expires_at": _instant(key.expires_at),
        "last_used_at": _instant(last_used_at),
    }


def history_json(events: list[User.Event]) -> list[dict[str, Any]]:
    """Return a user's events as JSON has them: when, by whose hand, what; nothing of a key's secret."""
    return [
        {
            "at": instants.format_instant(event.at),
            "by": event.by,
            "type": type(event).__name__,
            **_said(event),
        }
        for event in events
    ]


def _said(event: User.Event) -> dict[str, Any]:
    match event:
        case User.WorkspaceLinked():
            return {"workspace_id": event.workspace_id, "current": event.current}
        case User.WorkspaceUnlinked() | User.WorkspaceSelected():
            return {"workspace_id": event.workspace_id}
        case User.KeyIssued():
            return {
                "prefix": event.prefix,
                "name": event.name,
                "scopes": event.scopes,
                "expires_at": _instant(event.expires_at),
            }
        case User.KeyRevoked():
            return {"prefix": event.prefix}
    return {}


def _instant(instant: int | None) -> str | None:
    return None if instant is None else instants.format_instant(instant)


def _check_path(request: falcon.Request, user: str, workspace: str) -> None:
    faults = []
    try:
        check_user(user)
    except BadFieldError as error:
        faults.append((error.field, error.expected))
    if not path_is_utf8(request):
        faults.append(("user", "expected UTF-8"))
    try:
        in_path("workspace", workspace)
    except BadRequestError as error:
        faults += error.faults
    if faults:
        raise BadRequestError(*faults)
