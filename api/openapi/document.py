"""The OpenAPI 3.1 document; events and metrics are taken from where they are declared."""

import re
from importlib.metadata import version
from typing import Any, get_args

import msgspec

from api.answers import changes, feed, me, prospects, rejections, stream
from api.answers.endpoints import ENDPOINTS
from api.auth.authentication import COOKIE, HEADER
from api.http.headers import REQUEST_ID
from api.http.parameters import NOTHING
from api.ingest import cloudevents, formats, ndjson
from api.ingest.events import POST
from api.openapi.access import access
from api.openapi.hooks import hooks
from api.openapi.vocabulary import (
    COUNT,
    ID,
    INSTANT,
    READING,
    TEXT,
    WORD,
    WRITING,
    Json,
    list_of,
    object_of,
    one_of,
    or_null,
    problems,
    read,
    ref,
)
from domain.api_keys import SCOPES
from domain.events import EVENTS, Code, EventRetracted, ProspectEvent
from projections.metrics import METRICS, Derived, Metric, Shown, reply_time_in_words


def _metric(metric: Metric) -> Json:
    if not isinstance(metric.rule, Derived):
        return or_null(COUNT)
    return or_null(TEXT if metric.rule.function is reply_time_in_words else {"type": "number", "minimum": 0})


def _schemas() -> Json:
    _, events = msgspec.json.schema_components(EVENTS, ref_template="#/components/schemas/{name}")
    for event in EVENTS:
        schema = events[event.__name__]
        schema["properties"] = {
            "id": schema["properties"].pop("id"),
            "type": {"const": event.__name__},
            **schema["properties"],
            "occurred_at": {**INSTANT, "description": "RFC 3339 with an offset; digits behind milliseconds are cut"},
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
        "Event": {"oneOf": [ref(event.__name__) for event in EVENTS]},
        "Analytics": object_of(shown, extended, additionalProperties=False),
        "Problem": object_of(
            {
                "error": TEXT,
                "details": list_of(object_of({"field": TEXT, "error": TEXT})),
                "request_id": TEXT,
                "workspace_id": or_null(ID),
                "accepted": COUNT,
                "duplicates": COUNT,
                "rejected": list_of(ref("Rejected")),
                "rejected_total": COUNT,
                "position": COUNT,
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
        "Rejected": object_of(
            {
                "index": {**COUNT, "description": "of the event among all that were sent, from 0"},
                "id": or_null(TEXT),
                "code": one_of(get_args(Code)),
                "error": {**TEXT, "description": "begins with the name of the field that is at fault"},
                "errors": list_of(TEXT, minItems=2, description="all faults, where there are several"),
                "line": {"type": "integer", "minimum": 1, "description": "where lines were sent, blank ones counted"},
            },
            ("errors", "line"),
        ),
        "Recorded": object_of(
            {
                "workspace_id": ID,
                "accepted": COUNT,
                "duplicates": COUNT,
                "rejected": list_of(ref("Rejected")),
                "rejected_total": COUNT,
                "position": COUNT,
            },
            ("rejected_total",),
        ),
        "Key": object_of(
            {
                "prefix": WORD,
                "name": TEXT,
                "scopes": list_of(one_of(SCOPES)),
                "created_at": INSTANT,
                "expires_at": or_null(INSTANT),
                "last_used_at": or_null(INSTANT),
            }
        ),
    }


def _any_of(schemas: list[Json]) -> Json:
    return schemas[0] if len(schemas) == 1 else {"oneOf": schemas}


def _answers() -> tuple[dict[Any, Json], Json]:
    """Return the schemas of the bodies of answers, by their types, and the parts that they refer to."""
    types: list[Any] = [each for endpoint in ENDPOINTS.values() for each in endpoint.answers]
    types += [changes.Changes, rejections.RejectionList, me.Identity, prospects.FoundProspect]
    schemas, parts = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    return dict(zip(types, schemas, strict=True)), parts


def _reading() -> Json:
    answers, _ = _answers()
    event = {"position": ID, "recorded_at": INSTANT, "error": TEXT}
    campaign = {"name": "campaign_id", "in": "path", "required": True, "schema": ID}
    paths = {
        path: read(
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
        "/api/v1/dashboard/campaign-analytics/changes/": read(
            "What the numbers of one position differ in from those of another",
            changes.CHANGES,
            answers[changes.Changes],
        ),
        "/api/v1/me/": read("Who is calling, and which workspaces they may see", NOTHING, answers[me.Identity]),
        "/api/v1/events/": read(
            "The log itself: keep `position` and `epoch`, give them as `after` and `epoch`, and nothing is missed or "
            "seen twice; 409 where the log went back",
            feed.FEED,
            object_of(
                {
                    "events": list_of(object_of(event, ("error",))),
                    "position": COUNT,
                    "head": COUNT,
                    "epoch": or_null({**WORD, "description": "null before the first event"}),
                }
            ),
            "409",
        ),
        "/api/v1/events/rejections/": read(
            "The latest events that were refused, newest first",
            rejections.REJECTIONS,
            answers[rejections.RejectionList],
        ),
        "/api/v1/prospects/lookup/": read(
            "How a prospect is called that tools know by an e-mail address",
            prospects.LOOKUP,
            answers[prospects.FoundProspect],
            "404",
        ),
        "/api/v1/dashboard/campaign-analytics/stream/": _stream(),
    }


def _stream() -> Json:
    text = "how far each asked workspace is, at once and when it moves: `event: position`; `event: end` is the last one"
    return {
        "get": {
            "tags": [READING],
            "summary": "How far the asked workspaces are, as they move, for as long as the caller may see them",
            "parameters": [parameter.described() for parameter in stream.STREAM.parameters],
            "responses": {
                "200": {"description": text, "content": {stream.MEDIA_EVENTS: {"schema": TEXT}}},
                **problems(),
            },
        }
    }


_WRITING_TEXT = """\
A prospect is known by `prospect_id`, character by character: `Jane@x.io` and `jane@x.io` are two prospects with two
journeys. Where an e-mail address is the id, every worker has to write it alike: without blanks around it and in lower
case, in Python `address.strip().lower()`. An id of your own that never changes is better still.

A name may stand once in an object. `source` and `id` name a fact for ever, so a lost answer is safe to send again."""


def _writing() -> Json:
    recorded = {"application/json": {"schema": ref("Recorded")}}
    events = list_of(ref("Event"), maxItems=formats.MAX_EVENTS)
    wrapped = object_of({"events": events}, additionalProperties=False)
    return {
        "tags": [WRITING],
        "summary": "Tell what has happened, each fact once whatever is sent how often",
        "description": _WRITING_TEXT,
        "parameters": [parameter.described() for parameter in POST.parameters],
        "requestBody": {
            "required": True,
            "description": "at most 10,000 events and 5 MiB, but for lines; may come with Content-Encoding: gzip",
            "content": {
                "application/json": {"schema": {"oneOf": [ref("Event"), events, wrapped]}, "examples": _examples()},
                ndjson.MEDIA_TYPE: {"schema": {**TEXT, "description": "one event a line, any number"}},
                cloudevents.STRUCTURED: {"schema": {"type": "object", "description": "CloudEvents 1.0"}},
                cloudevents.BATCH: {"schema": list_of({"type": "object"}, description="CloudEvents 1.0")},
            },
        },
        "responses": {
            "200": {"description": "all are on disk", "content": recorded},
            "207": {"description": "some were rejected, the others are on disk", "content": recorded},
            **problems("408", "413", "415"),
            "422": {"description": "all were rejected", "content": recorded},
        },
    }


def _health() -> Json:
    def open_to_all(text: str, content: Json, problem: Json | None = None) -> Json:
        responses: Json = {"200": {"description": text, "content": content}, **(problem or {})}
        return {"get": {"tags": ["Health"], "summary": text, "security": [], "responses": responses}}

    json = {"application/json": {"schema": {"type": "object"}}}
    away = {"503": {"description": "the database does not answer, or is of another version", "content": json}}
    return {
        "/healthz": open_to_all("the process lives", json),
        "/readyz": open_to_all("the database answers, and is of this version", json, away),
        "/metrics": open_to_all("measurements for Prometheus", {"text/plain": {"schema": TEXT}}),
    }


def _examples() -> Json:
    """Return an event of each type that can be posted as it is."""
    common = {"campaign_id": 123, "occurred_at": "2026-11-01T10:00:00Z"}
    own: dict[str, Json] = {
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


def document() -> Json:
    """Return the OpenAPI document; its paths are also taken without the slash at the end."""
    paths = _reading() | access() | hooks() | _health()
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
