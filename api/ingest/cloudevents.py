"""CloudEvents 1.0 over HTTP, structured, in batches and binary: the envelope turned into the fields of our events.

The JSON format: CloudEvents 1.0.2, "JSON Event Format", sections 2 to 4; binary mode: "HTTP Protocol Binding", 3.1.
"""

from typing import Any
from urllib.parse import unquote

import falcon

from domain.events import RejectedError

STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
_VERSION = "1.0"
_PREFIX = "ce-"  # of the headers that carry the context attributes in binary mode
_IN_THE_ENVELOPE = {"id": "id", "source": "source", "type": "type", "occurred_at": "time"}


def is_binary(request: falcon.Request) -> bool:
    """Return whether the request's headers carry an event's context attributes, and its body the data alone."""
    return request.get_header(f"{_PREFIX}specversion") is not None


def from_headers(request: falcon.Request, data: object) -> dict[str, Any]:
    """Return the event of a request in binary mode as the structured mode would have it."""
    attributes = {
        name.lower().removeprefix(_PREFIX): unquote(value)
        for name, value in request.headers.items()
        if name.lower().startswith(_PREFIX)
    }
    return {**attributes, "data": data}


def fields(said: object) -> dict[str, Any]:
    """Return the fields of an event in CloudEvents' JSON format; raise RejectedError where the envelope is at fault.

    `type` is the last dotted part of the CloudEvent's, `occurred_at` its `time`, the rest its `data`; other context
    attributes are ignored.
    """
    if not isinstance(said, dict):
        raise RejectedError("malformed", "event: expected a JSON object")
    if said.get("specversion") != _VERSION:
        raise RejectedError("invalid_field", f"specversion: expected {_VERSION}")
    for name in ("id", "source", "type", "time"):
        if not isinstance(said.get(name), str) or not said[name]:
            raise RejectedError("invalid_field", f"{name}: expected a string that is not empty")
    data = said.get("data")
    if not isinstance(data, dict):
        raise RejectedError("invalid_field", "data: expected a JSON object")
    for name, attribute in _IN_THE_ENVELOPE.items():
        if data.get(name) is not None:
            raise RejectedError("invalid_field", f"{name}: stands outside of data, as {attribute}")
    return {
        **data,
        "id": said["id"],
        "source": said["source"],
        "type": said["type"].rpartition(".")[2],
        "occurred_at": said["time"],
    }
