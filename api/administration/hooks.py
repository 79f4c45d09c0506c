"""Connects tools to workspaces over HTTP, and shows what has come in from them."""

from typing import Any

import falcon

from api.administration.admission import MAX_BODY_BYTES, NUMBER, WORKSPACE_ID, admit
from api.administration.shown import hook_json
from api.dependencies import Parts
from api.errors import BadRequestError, ConflictError, NotFoundError
from api.http.bodies import json_object
from api.tools import hook_url
from domain.events import MAX_ID
from domain.hooks import PROSPECTS, Terms, UnknownHookError
from domain.refusals import DeletedWorkspaceError
from projections.queries import hooks


class ConnectedTools:
    """`/api/v1/access/hooks/`."""

    def __init__(self, parts: Parts) -> None:
        """Take the parts."""
        self._parts = parts

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Show all hooks, and what has come in by each."""
        admit(self._parts, request, response)
        with self._parts.connection() as database:
            response.media = {"hooks": [hook_json(each) for each in hooks.listed(database)]}

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Add a hook, and show the path with its token this once."""
        by = admit(self._parts, request, response)
        terms = terms_of(json_object(request, self._parts.threads.loop, MAX_BODY_BYTES, _TERMS))
        try:
            hook_id, token = self._parts.hooks.add(terms, by)
        except DeletedWorkspaceError as error:
            raise ConflictError(f"workspace_id: {terms.workspace_id} was deleted") from error
        response.status = falcon.HTTP_CREATED
        response.media = {"id": hook_id, "path": hook_url("", terms.provider, token)}

    def on_delete_hook(self, request: falcon.Request, response: falcon.Response, hook: str) -> None:
        """Revoke a hook; the very next delivery is refused, also one that waits already."""
        by = admit(self._parts, request, response)
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
        faults.append((WORKSPACE_ID, NUMBER))
    if not isinstance(own, bool):
        faults.append(("own_campaign_ids", "expected a boolean"))
    if not isinstance(labels, dict) or not all(isinstance(meaning, str) for meaning in labels.values()):
        faults.append(("labels", "expected an object of strings"))
    if faults:
        raise BadRequestError(*faults)
    return Terms(workspace_id=workspace_id, own_campaign_ids=own, labels=labels, **texts)  # type: ignore[arg-type]
