"""The part of the OpenAPI document about hooks."""

from api.ingest.deliveries import OUTCOMES
from api.openapi.vocabulary import (
    COUNT,
    ID,
    INSTANT,
    NO_CONTENT,
    TEXT,
    WORD,
    WRITING,
    Json,
    change,
    list_of,
    object_of,
    one_of,
    or_null,
)
from api.tools import KNOWN
from domain.hooks import MAX_LABEL, MAX_LABELS, MAX_REFERENCE, PROSPECTS

_PROVIDER: Json = one_of(sorted(KNOWN.signs))
_DELIVERY_TEXT = """\
The URL is made by `campaign-analytics hooks add` and pasted into the tool. Once it is known, the answer is a 200 also
where nothing was taken, since tools stop to post where they are refused. `accepted`, `duplicates` and `rejected` count
events, `ignored` and `rejected` also what became none; `access/hooks/` tells why."""


def hooks() -> Json:
    """Return the paths of hooks: what tools post to, and how an admin adds, lists and revokes them."""
    hook = {
        "name": "hook",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "pattern": "^hk_[0-9a-f]{16}$"},
    }
    secret = {"type": "string", "maxLength": MAX_REFERENCE, "pattern": "^(env:[A-Za-z_][A-Za-z0-9_]{0,127}|file:/.+)?$"}
    labels = {
        "type": "object",
        "additionalProperties": one_of(KNOWN.meanings),
        "propertyNames": {"minLength": 1, "maxLength": MAX_LABEL},
        "maxProperties": MAX_LABELS,
    }
    terms = {
        "workspace_id": ID,
        "provider": _PROVIDER,
        "prospects": one_of(PROSPECTS, PROSPECTS[0]),
        "own_campaign_ids": {"type": "boolean", "default": False},
        "secret": {**secret, "description": "where the secret of its signatures stands, never the secret itself"},
        "labels": {**labels, "description": "what the tool's own labels mean"},
    }
    received = {
        "name": {**TEXT, "description": "the tool's name of what came in"},
        "outcome": one_of(OUTCOMES),
        "reason": TEXT,
        "number": COUNT,
        "first_at": INSTANT,
        "latest_at": INSTANT,
    }
    shown = {
        "id": WORD,
        **terms,
        "secret": or_null(TEXT),
        "created_at": INSTANT,
        "created_by": TEXT,
        "confirm_url": {**or_null(TEXT), "description": "to be opened once, where the tool waits for that"},
        "received": list_of(object_of(received)),
    }
    added = object_of({"id": WORD, "path": {**TEXT, "description": "with the token, this once"}})
    optional = [name for name in terms if name not in ("workspace_id", "provider")]
    delivery = change(
        "What a connected tool posts, as it posts it",
        [
            {"name": "provider", "in": "path", "required": True, "schema": _PROVIDER},
            {"name": "token", "in": "path", "required": True, "schema": {**WORD, "pattern": "^[^/]+$"}},
        ],
        {},
        {
            "200": {
                "description": "what could be used is on disk",
                "content": {
                    "application/json": {
                        "schema": object_of(dict.fromkeys(("accepted", "duplicates", "ignored", "rejected"), COUNT))
                    }
                },
            }
        },
        *("404", "408", "413", "415"),
    )
    delivery |= {"tags": [WRITING], "description": _DELIVERY_TEXT, "security": []}
    path = "/api/v1/access/hooks/"
    return {
        "/api/v1/hooks/{provider}/{token}/": {"post": delivery},
        path: {
            "get": change(
                "The hooks of connected tools, and what has come in",
                [],
                None,
                {
                    "200": {
                        "description": "the answer",
                        "content": {"application/json": {"schema": object_of({"hooks": list_of(object_of(shown))})}},
                    }
                },
            ),
            "post": change(
                "Connect a tool to a workspace",
                [],
                object_of(terms, optional, additionalProperties=False),
                {"201": {"description": "the hook", "content": {"application/json": {"schema": added}}}},
                *("408", "409", "413", "415"),
            ),
        },
        f"{path}{{hook}}/": {"delete": change("Revoke a hook", [hook], None, NO_CONTENT, "404")},
    }
