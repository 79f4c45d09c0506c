"""The OpenAPI 3.1 document; events and metrics are taken from where they are declared."""

import re
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, get_args

import msgspec

from api.answers import changes, feed, me, prospects, rejections, stream
from api.answers.endpoints import ENDPOINTS
from api.answers.question import MIN_POSITION
from api.auth.authentication import COOKIE, HEADER
from api.http.headers import REQUEST_ID
from api.http.parameters import NOTHING, Query
from api.ingest import cloudevents, formats, ndjson
from api.ingest.deliveries import KNOWN, OUTCOMES
from api.ingest.events import POST
from api.users import FORGET
from domain.api_keys import MAX_KEY_NAME, SCOPES
from domain.events import EVENTS, MAX_ID, Code, EventRetracted, ProspectEvent
from domain.hooks import MAX_LABEL, MAX_LABELS, MAX_REFERENCE, PROSPECTS
from domain.workspaces import MAX_WORKSPACE_NAME
from projections.metrics import METRICS, Derived, Metric, Shown, reply_time_in_words

_Json = dict[str, Any]

_ID: _Json = {"type": "integer", "minimum": 1, "maximum": MAX_ID}
_COUNT: _Json = {"type": "integer", "minimum": 0}
_TEXT: _Json = {"type": "string"}
_WORD: _Json = {"type": "string", "minLength": 1}
_INSTANT: _Json = {"type": "string", "format": "date-time"}
_USER: _Json = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^[^/\u0000-\u001f\u007f-\u009f]+$"}
_NO_CONTROL = r"^[^\u0000-\u001f\u007f-\u009f]*$"
_READING, _WRITING, _ACCESS = "Reading", "Writing", "Access"


def _ref(name: str) -> _Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(properties: _Json, optional: Sequence[str] = (), **more: object) -> _Json:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required, **more}


def _list(of: _Json, **more: object) -> _Json:
    return {"type": "array", "items": of, **more}


def _or_null(of: _Json) -> _Json:
    return {"anyOf": [of, {"type": "null"}]}


def _one_of(words: Sequence[str], default: str | None = None) -> _Json:
    return {"type": "string", "enum": list(words)} | ({"default": default} if default else {})


_FRESH = {
    "X-Lag": {"description": "how many events the log holds that the answer does not include", "schema": _COUNT},
    "X-Position": {"description": "the position up to which it includes them (one workspace)", "schema": _COUNT},
}
_TAG = {"ETag": {"description": "weak; with If-None-Match an unchanged answer is a 304", "schema": _TEXT}}
_PROBLEMS = {
    "400": "a parameter, a header or the body is malformed; names it and what is expected",
    "401": "no credentials, an invalid or expired session, an invalid API key",
    "403": "the workspace is not linked or does not exist, there is no current one, or the scope is missing",
    "404": "there is no such thing",
    "405": "not with this method",
    "408": "the body does not come",
    "409": "as things are, that can't be",
    "413": "the body is too large",
    "414": "the request line is too long",
    "415": "the body is of a type that is not taken",
    "429": "the key has made too many requests; Retry-After tells when it may go on",
    "431": "the header fields are too large",
    "500": "our fault; carries the request's id",
    "503": "not now, but soon: Retry-After",
}
_ALWAYS = ("400", "401", "403", "405", "414", "429", "431", "500", "503")


def _problems(*more: str) -> _Json:
    return {
        status: {"description": _PROBLEMS[status], "content": {"application/json": {"schema": _ref("Problem")}}}
        for status in sorted({*_ALWAYS, *more})
    }


def _get(
    text: str, query: Query, schema: _Json, *more: str, in_path: Sequence[_Json] = (), table: bool = False
) -> _Json:
    content: _Json = {"application/json": {"schema": schema}}
    if table:
        content["text/csv"] = {"schema": _TEXT}
    headers = {**_TAG, **(_FRESH if MIN_POSITION in query.parameters else {})}
    return {
        "get": {
            "tags": [_READING],
            "summary": text,
            "parameters": [*in_path, *(parameter.described() for parameter in query.parameters)],
            "responses": {
                "200": {"description": "the answer", "headers": headers, "content": content},
                "304": {"description": "unchanged since the answer with this tag"},
                **_problems(*more),
            },
        }
    }


def _change(text: str, parameters: Sequence[_Json], body: _Json | None, done: _Json, *more: str) -> _Json:
    change: _Json = {
        "tags": [_ACCESS],
        "summary": text,
        "parameters": list(parameters),
        "responses": {**done, **_problems(*more)},
    }
    if body is not None:
        change["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return change


_NO_CONTENT = {"204": {"description": "done, also where it already was so"}}


def _metric(metric: Metric) -> _Json:
    if not isinstance(metric.rule, Derived):
        return _or_null(_COUNT)
    return _or_null(_TEXT if metric.rule.function is reply_time_in_words else {"type": "number", "minimum": 0})


def _schemas() -> _Json:
    _, events = msgspec.json.schema_components(EVENTS, ref_template="#/components/schemas/{name}")
    for event in EVENTS:
        schema = events[event.__name__]
        schema["properties"] = {
            "id": schema["properties"].pop("id"),
            "type": {"const": event.__name__},
            **schema["properties"],
            "occurred_at": {**_INSTANT, "description": "RFC 3339 with an offset; digits behind milliseconds are cut"},
        }
        schema["required"] = ["type", *(name for name in schema["required"] if name != "campaign_id")]
        schema["properties"]["campaign_key"] = schema["properties"]["campaign_key"]["anyOf"][0]
        schema["oneOf"] = [{"required": ["campaign_id"]}, {"required": ["campaign_key"]}]
        if issubclass(event, ProspectEvent | EventRetracted):
            schema["properties"]["prospect_id"] = {"anyOf": [schema["properties"]["prospect_id"], {"type": "integer"}]}
    del events["Retracted"]["properties"]["key"]  # storage, no worker's field
    shown = {metric.name: _metric(metric) for metric in METRICS if metric.shown != Shown.NEVER}
    extended = [metric.name for metric in METRICS if metric.shown == Shown.EXTENDED]
    return {
        **events,
        **_answers()[1],
        "Event": {"oneOf": [_ref(event.__name__) for event in EVENTS]},
        "Analytics": _object(shown, extended, additionalProperties=False),
        "Problem": _object(
            {
                "error": _TEXT,
                "details": _list(_object({"field": _TEXT, "error": _TEXT})),
                "request_id": _TEXT,
                "workspace_id": _or_null(_ID),
                "accepted": _COUNT,
                "duplicates": _COUNT,
                "rejected": _list(_ref("Rejected")),
                "rejected_total": _COUNT,
                "position": _COUNT,
            },
            (
                "details",
                "request_id",
                "workspace_id",
                "accepted",
                "duplicates",
                "rejected",
                "rejected_total",
                "position",
            ),
        ),
        "Rejected": _object(
            {
                "index": {**_COUNT, "description": "of the event among all that were sent, from 0"},
                "id": _or_null(_TEXT),
                "code": _one_of(get_args(Code)),
                "error": {**_TEXT, "description": "begins with the name of the field that is at fault"},
                "errors": _list(_TEXT, minItems=2, description="all faults, where there are several"),
                "line": {"type": "integer", "minimum": 1, "description": "where lines were sent, blank ones counted"},
            },
            ("errors", "line"),
        ),
        "Recorded": _object(
            {
                "workspace_id": _ID,
                "accepted": _COUNT,
                "duplicates": _COUNT,
                "rejected": _list(_ref("Rejected")),
                "rejected_total": _COUNT,
                "position": _COUNT,
            },
            ("rejected_total",),
        ),
        "Key": _object(
            {
                "prefix": _WORD,
                "name": _TEXT,
                "scopes": _list(_one_of(SCOPES)),
                "created_at": _INSTANT,
                "expires_at": _or_null(_INSTANT),
                "last_used_at": _or_null(_INSTANT),
            }
        ),
    }


def _any_of(schemas: list[_Json]) -> _Json:
    return schemas[0] if len(schemas) == 1 else {"oneOf": schemas}


def _answers() -> tuple[dict[Any, _Json], _Json]:
    """Return the schemas of the bodies of answers, by their types, and the parts that they refer to."""
    types: list[Any] = [each for endpoint in ENDPOINTS.values() for each in endpoint.answers]
    types += [changes.Changes, rejections.RejectionList, me.Identity, prospects.FoundProspect]
    schemas, parts = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    return dict(zip(types, schemas, strict=True)), parts


def _reading() -> _Json:
    answers, _ = _answers()
    event = {"position": _ID, "recorded_at": _INSTANT, "error": _TEXT}
    campaign = {"name": "campaign_id", "in": "path", "required": True, "schema": _ID}
    paths = {
        path: _get(
            endpoint.summary,
            endpoint.parameters,
            _any_of([answers[each] for each in endpoint.answers]),
            *(["404"] if "{" in path else []),
            in_path=[campaign] if "{" in path else [],
            table=endpoint.table is not None,
        )
        for path, endpoint in ENDPOINTS.items()
    }
    return {
        **paths,
        "/api/v1/dashboard/campaign-analytics/changes/": _get(
            "What the numbers of one position differ in from those of another",
            changes.CHANGES,
            answers[changes.Changes],
        ),
        "/api/v1/me/": _get("Who is calling, and which workspaces they may see", NOTHING, answers[me.Identity]),
        "/api/v1/events/": _get(
            "The log itself: keep `position` and `epoch`, give them as `after` and `epoch`, and nothing is missed or "
            "seen twice; 409 where the log went back",
            feed.FEED,
            _object(
                {
                    "events": _list(_object(event, ("error",))),
                    "position": _COUNT,
                    "head": _COUNT,
                    "epoch": _or_null({**_WORD, "description": "null before the first event"}),
                }
            ),
            "409",
        ),
        "/api/v1/events/rejections/": _get(
            "The latest events that were refused, newest first",
            rejections.REJECTIONS,
            answers[rejections.RejectionList],
        ),
        "/api/v1/prospects/lookup/": _get(
            "How a prospect is called that tools know by an e-mail address",
            prospects.LOOKUP,
            answers[prospects.FoundProspect],
            "404",
        ),
        "/api/v1/dashboard/campaign-analytics/stream/": _stream(),
    }


def _stream() -> _Json:
    text = "how far each asked workspace is, at once and when it moves: `event: position`; `event: end` is the last one"
    return {
        "get": {
            "tags": [_READING],
            "summary": "How far the asked workspaces are, as they move, for as long as the caller may see them",
            "parameters": [parameter.described() for parameter in stream.STREAM.parameters],
            "responses": {
                "200": {"description": text, "content": {stream.MEDIA_EVENTS: {"schema": _TEXT}}},
                **_problems(),
            },
        }
    }


_WRITING_TEXT = """\
A prospect is known by `prospect_id`, character by character: `Jane@x.io` and `jane@x.io` are two prospects with two
journeys. Where an e-mail address is the id, every worker has to write it alike: without blanks around it and in lower
case, in Python `address.strip().lower()`. An id of your own that never changes is better still.

A name may stand once in an object. `source` and `id` name a fact for ever, so a lost answer is safe to send again."""


def _writing() -> _Json:
    recorded = {"application/json": {"schema": _ref("Recorded")}}
    events = _list(_ref("Event"), maxItems=formats.MAX_EVENTS)
    wrapped = _object({"events": events}, additionalProperties=False)
    return {
        "tags": [_WRITING],
        "summary": "Tell what has happened, each fact once whatever is sent how often",
        "description": _WRITING_TEXT,
        "parameters": [parameter.described() for parameter in POST.parameters],
        "requestBody": {
            "required": True,
            "description": "at most 10,000 events and 5 MiB, but for lines; may come with Content-Encoding: gzip",
            "content": {
                "application/json": {"schema": {"oneOf": [_ref("Event"), events, wrapped]}, "examples": _examples()},
                ndjson.MEDIA_TYPE: {"schema": {**_TEXT, "description": "one event a line, any number"}},
                cloudevents.STRUCTURED: {"schema": {"type": "object", "description": "CloudEvents 1.0"}},
                cloudevents.BATCH: {"schema": _list({"type": "object"}, description="CloudEvents 1.0")},
            },
        },
        "responses": {
            "200": {"description": "all are on disk", "content": recorded},
            "207": {"description": "some were rejected, the others are on disk", "content": recorded},
            **_problems("408", "413", "415"),
            "422": {"description": "all were rejected", "content": recorded},
        },
    }


def _access() -> _Json:
    user = {"name": "user", "in": "path", "required": True, "schema": _USER}
    workspace = {"name": "workspace", "in": "path", "required": True, "schema": _ID}
    prefix = {"name": "prefix", "in": "path", "required": True, "schema": {**_WORD, "pattern": "^[^/]+$"}}
    scopes = _list(_one_of([scope for scope in SCOPES if scope != "admin"]), minItems=1)
    key_name = {**_TEXT, "maxLength": MAX_KEY_NAME, "pattern": _NO_CONTROL}
    new_key = {"name": key_name, "scopes": scopes, "expires_at": _or_null(_INSTANT)}
    known = {"user": _USER, "linked_workspaces": _list(_ID), "current_workspace": _or_null(_ID)}
    issued = {"allOf": [_ref("Key"), _object({"key": _WORD})]}
    path = "/api/v1/access/users/{user}/"

    def shown(text: str, schema: _Json) -> _Json:
        content = {"application/json": {"schema": schema}}
        return {"get": _change(text, [user], None, {"200": {"description": "the answer", "content": content}})}

    name = {**_WORD, "maxLength": MAX_WORKSPACE_NAME, "pattern": _NO_CONTROL}
    prospect_id = {**_WORD, "maxLength": 128, "pattern": "^[^/\\x00]+$"}
    prospect = {"name": "prospect", "in": "path", "required": True, "schema": prospect_id}
    forgotten = _object({"token": _or_null(_WORD), "events": _COUNT})
    return {
        "/api/v1/access/workspaces/{workspace}/": {
            "put": _change(
                "Name a workspace",
                [workspace],
                _object({"name": name}, additionalProperties=False),
                _NO_CONTENT,
                *("408", "409", "413", "415"),
            )
        },
        "/api/v1/prospects/{prospect}/": {
            "delete": _change(
                "Forget a prospect: a random token takes the place of the id in all that is stored; null: nothing was",
                [prospect, *(parameter.described() for parameter in FORGET.parameters)],
                None,
                {"200": {"description": "it is done", "content": {"application/json": {"schema": forgotten}}}},
            )
        },
        path: shown("Who a user is", _object({**known, "keys": _list(_ref("Key"))})),
        f"{path}workspaces/{{workspace}}/": {
            "put": _change("Link a workspace", [user, workspace], None, _NO_CONTENT, "409"),
            "delete": _change("Unlink a workspace", [user, workspace], None, _NO_CONTENT),
        },
        f"{path}current-workspace/": {
            "put": _change(
                "Choose the current workspace",
                [user],
                _object({"workspace_id": _ID}, additionalProperties=False),
                _NO_CONTENT,
                *("408", "409", "413", "415"),
            )
        },
        f"{path}keys/": {
            "post": _change(
                "Issue an API key, which is shown this once",
                [user],
                _object(new_key, list(new_key), additionalProperties=False),
                {"201": {"description": "the key", "content": {"application/json": {"schema": issued}}}},
                *("408", "413", "415"),
            )
        },
        f"{path}keys/{{prefix}}/": {"delete": _change("Revoke a key", [user, prefix], None, _NO_CONTENT, "404")},
        f"{path}history/": shown(
            "Who could see what, since when", _object({"user": _USER, "history": _list({"type": "object"})})
        ),
    }


_PROVIDER: _Json = _one_of(sorted(KNOWN.signs))
_DELIVERY_TEXT = """\
The URL is made by `campaign-analytics hooks add` and pasted into the tool. Once it is known, the answer is a 200 also
where nothing was taken, since tools stop to post where they are refused. `accepted`, `duplicates` and `rejected` count
events, `ignored` and `rejected` also what became none; `access/hooks/` tells why."""


def _hooks() -> _Json:
    hook = {
        "name": "hook",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "pattern": "^hk_[0-9a-f]{16}$"},
    }
    secret = {"type": "string", "maxLength": MAX_REFERENCE, "pattern": "^(env:[A-Za-z_][A-Za-z0-9_]{0,127}|file:/.+)?$"}
    labels = {
        "type": "object",
        "additionalProperties": _one_of(KNOWN.meanings),
        "propertyNames": {"minLength": 1, "maxLength": MAX_LABEL},
        "maxProperties": MAX_LABELS,
    }
    terms = {
        "workspace_id": _ID,
        "provider": _PROVIDER,
        "prospects": _one_of(PROSPECTS, PROSPECTS[0]),
        "own_campaign_ids": {"type": "boolean", "default": False},
        "secret": {**secret, "description": "where the secret of its signatures stands, never the secret itself"},
        "labels": {**labels, "description": "what the tool's own labels mean"},
    }
    received = {
        "name": {**_TEXT, "description": "the tool's name of what came in"},
        "outcome": _one_of(OUTCOMES),
        "reason": _TEXT,
        "number": _COUNT,
        "first_at": _INSTANT,
        "latest_at": _INSTANT,
    }
    shown = {
        "id": _WORD,
        **terms,
        "secret": _or_null(_TEXT),
        "created_at": _INSTANT,
        "created_by": _TEXT,
        "confirm_url": {**_or_null(_TEXT), "description": "to be opened once, where the tool waits for that"},
        "received": _list(_object(received)),
    }
    added = _object({"id": _WORD, "path": {**_TEXT, "description": "with the token, this once"}})
    optional = [name for name in terms if name not in ("workspace_id", "provider")]
    delivery = _change(
        "What a connected tool posts, as it posts it",
        [
            {"name": "provider", "in": "path", "required": True, "schema": _PROVIDER},
            {"name": "token", "in": "path", "required": True, "schema": {**_WORD, "pattern": "^[^/]+$"}},
        ],
        {},
        {
            "200": {
                "description": "what could be used is on disk",
                "content": {
                    "application/json": {
                        "schema": _object(dict.fromkeys(("accepted", "duplicates", "ignored", "rejected"), _COUNT))
                    }
                },
            }
        },
        *("404", "408", "413", "415"),
    )
    delivery |= {"tags": [_WRITING], "description": _DELIVERY_TEXT, "security": []}
    path = "/api/v1/access/hooks/"
    return {
        "/api/v1/hooks/{provider}/{token}/": {"post": delivery},
        path: {
            "get": _change(
                "The hooks of connected tools, and what has come in",
                [],
                None,
                {
                    "200": {
                        "description": "the answer",
                        "content": {"application/json": {"schema": _object({"hooks": _list(_object(shown))})}},
                    }
                },
            ),
            "post": _change(
                "Connect a tool to a workspace",
                [],
                _object(terms, optional, additionalProperties=False),
                {"201": {"description": "the hook", "content": {"application/json": {"schema": added}}}},
                *("408", "409", "413", "415"),
            ),
        },
        f"{path}{{hook}}/": {"delete": _change("Revoke a hook", [hook], None, _NO_CONTENT, "404")},
    }


def _health() -> _Json:
    def open_to_all(text: str, content: _Json, problem: _Json | None = None) -> _Json:
        responses: _Json = {"200": {"description": text, "content": content}, **(problem or {})}
        return {"get": {"tags": ["Health"], "summary": text, "security": [], "responses": responses}}

    json = {"application/json": {"schema": {"type": "object"}}}
    away = {"503": {"description": "the database does not answer, or is of another version", "content": json}}
    return {
        "/healthz": open_to_all("the process lives", json),
        "/readyz": open_to_all("the database answers, and is of this version", json, away),
        "/metrics": open_to_all("measurements for Prometheus", {"text/plain": {"schema": _TEXT}}),
    }


def _examples() -> _Json:
    """Return an event of each type that can be posted as it is."""
    common = {"campaign_id": 123, "occurred_at": "2026-11-01T10:00:00Z"}
    own: dict[str, _Json] = {
        "CampaignCreated": {"name": "My Campaign", "status": "ACTIVE", "timezone": "Europe/Berlin", "language": "en"},
        "CampaignRenamed": {"name": "My Campaign, north"},
        "CampaignStatusChanged": {"status": "PAUSED"},
        "EmailSent": {"prospect_id": "p-1", "step": 1, "variant": "A", "sender_id": "ann@example.com"},
        "ReplyReceived": {"prospect_id": "p-1", "channel": "email"},
        "EventRetracted": {"prospect_id": "p-1", "retracts": {"id": "example-EmailSent"}},
    }
    return {
        event.__name__: {
            "value": {
                "id": f"example-{event.__name__}",
                "type": event.__name__,
                **common,
                **own.get(event.__name__, {"prospect_id": "p-1"}),
            }
        }
        for event in EVENTS
    }


def _operation_id(method: str, path: str) -> str:
    """Return a readable name for generated clients, such as `getCampaignAnalyticsSummary`."""
    words = [re.sub(r"\{(\w+)\}", r"by-\1", part) for part in path.strip("/").split("/")]
    named = "-".join(word for word in words if word not in ("api", "v1", "dashboard"))
    return method + "".join(word.capitalize() for word in re.split(r"[-_.]", named))


def document() -> _Json:
    """Return the OpenAPI document; its paths are also taken without the slash at the end."""
    paths = _reading() | _access() | _hooks() | _health()
    paths["/api/v1/events/"]["post"] = _writing()
    for path, operations in paths.items():
        for method, operation in operations.items():
            operation["operationId"] = _operation_id(method, path)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "campaign-analytics",
            "version": version("campaign-analytics"),
            "description": "Tells a sales team, exactly and at once, how its outreach is doing. "
            f"Every answer carries {REQUEST_ID}. An unknown parameter is a 400 that names it.",
        },
        "security": [{"key": []}, {"session": []}],
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {
                "key": {"type": "apiKey", "in": "header", "name": HEADER, "description": "`<prefix>.<secret>`"},
                "session": {"type": "apiKey", "in": "cookie", "name": COOKIE, "description": "a session; only reads"},
            },
        },
    }
