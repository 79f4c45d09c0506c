"""The part of the OpenAPI document about posting events, with an example of each type."""

from api.ingest import cloudevents, formats, ndjson
from api.ingest.recording import POST
from api.openapi.vocabulary import TEXT, WRITING, Json, list_of, object_of, problems, ref
from domain.events import EVENTS

_TEXT = """\
A prospect is known by `prospect_id`, character by character: `Jane@x.io` and `jane@x.io` are two prospects with two
journeys. Where an e-mail address is the id, every worker has to write it alike: without blanks around it and in lower
case, in Python `address.strip().lower()`. An id of your own that never changes is better still.

A name may stand once in an object. `source` and `id` name an event for ever, so a lost answer is safe to send again."""


def writing() -> Json:
    """Return the operation that takes events."""
    recorded = {"application/json": {"schema": ref("Recorded")}}
    events = list_of(ref("Event"), maxItems=formats.MAX_EVENTS)
    wrapped = object_of({"events": events}, additionalProperties=False)
    return {
        "tags": [WRITING],
        "summary": "Tell what has happened; each event is stored once, however often it is sent",
        "description": _TEXT,
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
