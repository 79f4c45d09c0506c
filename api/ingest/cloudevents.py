"""CloudEvents 1.0 over HTTP, structured, in batches and binary: the envelope turned into the fields of our events.

The JSON format: CloudEvents 1.0.2, "JSON Event Format", sections 2 to 4; binary mode: "HTTP Protocol Binding", 3.1.
"""

import binascii
import re
from base64 import b64decode
from typing import Any
from urllib.parse import unquote_to_bytes

import falcon

from api.errors import BadRequestError
from api.http import strict_json
from domain.parsing import MAX_ERRORS, RejectedError, json_type
from domain.texts import shown

STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
MOST_CHARACTERS = 16_384  # of all headers that carry attributes
_VERSION = "1.0"
_PREFIX = "ce-"  # of the headers that carry the context attributes in binary mode
_ATTRIBUTE = re.compile(r"ce-([a-z0-9]+)")  # CloudEvents 1.0.2, "Attribute Naming Convention"
_IN_THE_ENVELOPE = {"id": "id", "source": "source", "type": "type", "occurred_at": "time"}
_QUOTED = re.compile(rb'"(?:[^"\\]|\\.)*"')
_ESCAPED = re.compile(rb"\\(.)")
_NOT_ENCODED = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_JSON_TYPE = re.compile(r"[^/;\s]+/(?:[^;\s]+\+)?json\s*(?:;.*)?", re.IGNORECASE)


def is_binary(request: falcon.Request) -> bool:
    """Return whether the request's headers carry an event's context attributes, and its body the data alone."""
    return request.get_header(f"{_PREFIX}specversion") is not None


def attributes(request: falcon.Request) -> dict[str, Any]:
    """Return the context attributes that the headers of a request in binary mode carry.

    Raises BadRequestError where a header is not encoded as the binding has it.
    """
    found: dict[str, Any] = {}
    faults: list[tuple[str, str]] = []
    headers = {name.lower(): value for name, value in request.headers.items() if name.lower().startswith(_PREFIX)}
    if sum(map(len, headers.values())) > MOST_CHARACTERS:
        raise BadRequestError((_PREFIX + "*", f"expected at most {MOST_CHARACTERS:,} characters in all of them"))
    for name, value in headers.items():
        match = _ATTRIBUTE.fullmatch(name)
        if match is not None:
            try:
                found[match[1]] = _decoded(value.encode("latin-1"))  # as which Falcon has read it
            except ValueError as error:
                faults.append((match[0], str(error)))
    if faults:
        raise BadRequestError(*faults[:MAX_ERRORS])
    return found


def _decoded(value: bytes) -> str:
    """Return what a header's value says (HTTP Protocol Binding 1.0.2, 3.1.3.2); raise ValueError where it says nothing.

    What is quoted is unquoted, then percent-encoding is undone once; UTF-8 that was sent as it is is taken as such.
    """
    value = value.strip(b" \t")
    if value.startswith(b'"'):
        if not _QUOTED.fullmatch(value):
            raise ValueError("has no end of its quotation")
        value = _ESCAPED.sub(rb"\1", value[1:-1])
    if _NOT_ENCODED.search(value):
        raise ValueError("has a % that begins no percent-encoding, expected %25")
    try:
        return unquote_to_bytes(value).decode()
    except UnicodeDecodeError as error:
        raise ValueError("is not UTF-8, percent-encoded or not") from error


def fields(event: object) -> dict[str, Any]:
    """Return the fields of an event in CloudEvents' JSON format; raise RejectedError where the envelope is at fault.

    `type` is the last dotted part of the CloudEvent's, `occurred_at` its `time`, the rest its `data`; other context
    attributes are ignored.
    """
    if not isinstance(event, dict):
        raise RejectedError("malformed", f"event: expected a JSON object, got {json_type(event)}")
    errors = [] if event.get("specversion") == _VERSION else [f"specversion: expected {_VERSION}"]
    for name in ("id", "source", "type", "time"):
        if not isinstance(event.get(name), str):
            errors.append(
                f"{name}: " + ("expected a string, got " + json_type(event[name]) if name in event else "is missing")
            )
        elif not event[name]:
            errors.append(f"{name}: expected a string that is not empty")
    data = _data(event)
    if not isinstance(data, dict):
        errors.append(
            f"data: expected a JSON object, got {json_type(data)}" if data is not None else "data: is missing"
        )
    else:
        errors += [
            f"{name}: stands outside of data, as {attribute}"
            for name, attribute in _IN_THE_ENVELOPE.items()
            if data.get(name) is not None
        ]
    if errors:
        raise RejectedError("invalid_field", *errors)
    return {
        **data,
        "id": event["id"],
        "source": event["source"],
        "type": event["type"].rpartition(".")[2],
        "occurred_at": event["time"],
    }


def _data(event: dict[str, Any]) -> Any:  # noqa: ANN401 (whatever JSON can say)
    """Return the data, which may come as JSON that is packed by Base64 (JSON Event Format 1.0.2, 3.1.1)."""
    text = event.get("data_base64")
    if text is None:
        return event.get("data")
    if event.get("data") is not None:
        raise RejectedError("invalid_field", "data_base64: stands beside data")
    if not isinstance(text, str):
        raise RejectedError("invalid_field", f"data_base64: expected a string, got {json_type(text)}")
    kind = event.get("datacontenttype")
    if kind is not None and not (isinstance(kind, str) and _JSON_TYPE.fullmatch(kind)):
        raise RejectedError("invalid_field", f"datacontenttype: {shown(str(kind))} is not JSON")
    try:
        return strict_json.decode(b64decode(text, validate=True))
    except (binascii.Error, ValueError) as error:
        raise RejectedError("invalid_field", "data_base64: is not Base64") from error
    except strict_json.NotJSONError as error:
        raise RejectedError("malformed", f"data_base64: {error}") from error
