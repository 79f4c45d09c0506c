"""The part of the OpenAPI document that names schemas; events and metrics are taken from where they are declared."""

from typing import get_args

import msgspec

from api.openapi.reading import answers
from api.openapi.vocabulary import COUNT, ID, INSTANT, TEXT, WORD, Json, list_of, object_of, one_of, or_null, ref
from domain.api_keys import SCOPES
from domain.events import EVENTS, Code, EventRetracted, ProspectEvent
from projections.metrics import METRICS, Derived, Metric, Shown, reply_time_in_words


def schemas() -> Json:
    """Return the named schemas: of events and answers from where they are declared, and of what is written."""
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
        **answers()[1],
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


def _metric(metric: Metric) -> Json:
    if not isinstance(metric.rule, Derived):
        return or_null(COUNT)
    return or_null(TEXT if metric.rule.function is reply_time_in_words else {"type": "number", "minimum": 0})
