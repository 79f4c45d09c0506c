"""The part of the OpenAPI document about who may see what."""

from api.administration.prospects import FORGET
from api.openapi.vocabulary import (
    COUNT,
    ID,
    INSTANT,
    NO_CONTENT,
    NO_CONTROL,
    TEXT,
    USER,
    WORD,
    Json,
    change,
    list_of,
    object_of,
    one_of,
    or_null,
    ref,
)
from domain.api_keys import MAX_KEY_NAME, SCOPES
from domain.events import MAX_PROSPECT_ID
from domain.workspaces import MAX_WORKSPACE_NAME


def access() -> Json:
    """Return the paths by which access is changed and shown, and prospects are forgotten."""
    user = {"name": "user", "in": "path", "required": True, "schema": USER}
    workspace = {"name": "workspace", "in": "path", "required": True, "schema": ID}
    prefix = {"name": "prefix", "in": "path", "required": True, "schema": {**WORD, "pattern": "^[^/]+$"}}
    scopes = list_of(one_of([scope for scope in SCOPES if scope != "admin"]), minItems=1)
    key_name = {**TEXT, "maxLength": MAX_KEY_NAME, "pattern": NO_CONTROL}
    new_key = {"name": key_name, "scopes": scopes, "expires_at": or_null(INSTANT)}
    known = {"user": USER, "linked_workspaces": list_of(ID), "current_workspace": or_null(ID)}
    issued = {"allOf": [ref("Key"), object_of({"key": WORD})]}
    path = "/api/v1/access/users/{user}/"

    def shown(text: str, schema: Json) -> Json:
        content = {"application/json": {"schema": schema}}
        return {"get": change(text, [user], None, {"200": {"description": "the answer", "content": content}})}

    name = {**WORD, "maxLength": MAX_WORKSPACE_NAME, "pattern": NO_CONTROL}
    prospect_id = {**WORD, "maxLength": MAX_PROSPECT_ID, "pattern": "^[^\\x00]+$"}
    prospect = {"name": "prospect", "in": "path", "required": True, "schema": prospect_id}
    forgotten = object_of({"token": or_null(WORD), "events": COUNT})
    return {
        "/api/v1/access/workspaces/{workspace}/": {
            "put": change(
                "Name a workspace",
                [workspace],
                object_of({"name": name}, additionalProperties=False),
                NO_CONTENT,
                *("408", "409", "413", "415"),
            )
        },
        "/api/v1/prospects/{prospect}/": {
            "delete": change(
                "Forget a prospect: a random token takes the place of the id in all that is stored; null: nothing was",
                [prospect, *(parameter.described() for parameter in FORGET.parameters)],
                None,
                {"200": {"description": "it is done", "content": {"application/json": {"schema": forgotten}}}},
            )
        },
        path: shown("Who a user is", object_of({**known, "keys": list_of(ref("Key"))})),
        f"{path}workspaces/{{workspace}}/": {
            "put": change("Link a workspace", [user, workspace], None, NO_CONTENT, "409"),
            "delete": change("Unlink a workspace", [user, workspace], None, NO_CONTENT),
        },
        f"{path}current-workspace/": {
            "put": change(
                "Choose the current workspace",
                [user],
                object_of({"workspace_id": ID}, additionalProperties=False),
                NO_CONTENT,
                *("408", "409", "413", "415"),
            )
        },
        f"{path}keys/": {
            "post": change(
                "Issue an API key, which is shown this once",
                [user],
                object_of(new_key, list(new_key), additionalProperties=False),
                {"201": {"description": "the key", "content": {"application/json": {"schema": issued}}}},
                *("408", "413", "415"),
            )
        },
        f"{path}keys/{{prefix}}/": {"delete": change("Revoke a key", [user, prefix], None, NO_CONTENT, "404")},
        f"{path}history/": shown(
            "Who could see what, since when", object_of({"user": USER, "history": list_of({"type": "object"})})
        ),
    }
