"""The vocabulary of the OpenAPI document: schemas that recur, and how a read, a change and their errors look."""

from collections.abc import Sequence
from typing import Any

from api.answers.question import MIN_POSITION
from api.http.parameters import Query
from domain.events import MAX_ID

Json = dict[str, Any]

ID: Json = {"type": "integer", "minimum": 1, "maximum": MAX_ID}
COUNT: Json = {"type": "integer", "minimum": 0}
TEXT: Json = {"type": "string"}
WORD: Json = {"type": "string", "minLength": 1}
INSTANT: Json = {"type": "string", "format": "date-time"}
USER: Json = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^[^/\u0000-\u001f\u007f-\u009f]+$"}
NO_CONTROL = r"^[^\u0000-\u001f\u007f-\u009f]*$"
READING, WRITING, ACCESS = "Reading", "Writing", "Access"


def ref(name: str) -> Json:
    """Return a reference to a schema of the document."""
    return {"$ref": f"#/components/schemas/{name}"}


def object_of(properties: Json, optional: Sequence[str] = (), **more: object) -> Json:
    """Return the schema of an object; all its properties are required but for the optional ones."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required, **more}


def list_of(of: Json, **more: object) -> Json:
    """Return the schema of an array of such items."""
    return {"type": "array", "items": of, **more}


def or_null(of: Json) -> Json:
    """Return a schema that takes null too."""
    return {"anyOf": [of, {"type": "null"}]}


def one_of(words: Sequence[str], default: str | None = None) -> Json:
    """Return the schema of a string that is one of these words."""
    return {"type": "string", "enum": list(words)} | ({"default": default} if default else {})


FRESH = {
    "X-Lag": {"description": "how many events the log holds that the answer does not include", "schema": COUNT},
    "X-Position": {"description": "the position up to which it includes them (one workspace)", "schema": COUNT},
}
TAG = {"ETag": {"description": "weak; with If-None-Match an unchanged answer is a 304", "schema": TEXT}}
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


def problems(*more: str) -> Json:
    """Return the errors that every request can have, and some more by their status."""
    return {
        status: {"description": _PROBLEMS[status], "content": {"application/json": {"schema": ref("Problem")}}}
        for status in sorted({*_ALWAYS, *more})
    }


def read(text: str, query: Query, schema: Json, *more: str, in_path: Sequence[Json] = (), table: bool = False) -> Json:
    """Return a GET that takes a query; `table` where the answer comes as CSV too."""
    content: Json = {"application/json": {"schema": schema}}
    if table:
        content["text/csv"] = {"schema": TEXT}
    headers = {**TAG, **(FRESH if MIN_POSITION in query.parameters else {})}
    return {
        "get": {
            "tags": [READING],
            "summary": text,
            "parameters": [*in_path, *(parameter.described() for parameter in query.parameters)],
            "responses": {
                "200": {"description": "the answer", "headers": headers, "content": content},
                "304": {"description": "unchanged since the answer with this tag"},
                **problems(*more),
            },
        }
    }


def change(text: str, parameters: Sequence[Json], body: Json | None, done: Json, *more: str) -> Json:
    """Return an operation on access; `done` is its answer, and `more` the statuses of further errors."""
    operation: Json = {
        "tags": [ACCESS],
        "summary": text,
        "parameters": list(parameters),
        "responses": {**done, **problems(*more)},
    }
    if body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return operation


NO_CONTENT = {"204": {"description": "done, also where it already was so"}}
