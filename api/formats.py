"""The formats that a post may have: each turned into JSON's own objects, which the one parser then takes."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import falcon

from api import bodies, cloudevents, ndjson
from api.errors import BadRequestError, TooLargeError
from domain.events import RejectedError

MAX_EVENTS = 10_000
MAX_BODY_BYTES = 5 * 1024 * 1024
MAX_UNPACKED_BYTES = 1024 * 1024 * 1024  # of a packed stream of lines
LINES_AT_ONCE = 5_000  # so many lines of a stream share a transaction
_EVENTS = "events"
_TOO_LARGE = f"Expected at most {MAX_BODY_BYTES} bytes and {MAX_EVENTS} events"
_UNPACKS_TOO_LARGE = f"Expected a body that unpacks to at most {MAX_UNPACKED_BYTES} bytes"
_TYPES = (falcon.MEDIA_JSON, ndjson.MEDIA_TYPE, cloudevents.STRUCTURED, cloudevents.BATCH)


class Part(NamedTuple):
    """Events that are recorded together, as they were given, and what makes JSON's own object of one.

    `said` raises RejectedError where one is refused for its form.
    """

    given: Sequence[Any]
    said: Callable[[Any], Any]


def is_stream(request: falcon.Request) -> bool:
    """Return whether the body comes in parts, each of which is recorded before the next is read."""
    return bodies.media_type(request, _TYPES) == ndjson.MEDIA_TYPE


def parts(request: falcon.Request) -> Iterator[Part]:
    """Yield the events of a body, in at least one part, with none where there are none.

    Raises UnsupportedTypeError, BadRequestError, TooLargeError and RequestTimeoutError where the body is at fault.
    """
    kind = bodies.media_type(request, _TYPES)
    if kind == ndjson.MEDIA_TYPE:
        lines = ndjson.lines(bodies.pieces(request, _UNPACKS_TOO_LARGE, MAX_UNPACKED_BYTES))
        batch = list(islice(lines, LINES_AT_ONCE))
        yield Part(batch, line)
        while batch := list(islice(lines, LINES_AT_ONCE)):
            yield Part(batch, line)
        return
    body = bodies.decoded(bodies.whole(request, MAX_BODY_BYTES, _TOO_LARGE))
    if kind == cloudevents.STRUCTURED:
        yield Part([_object(body, "one event as an object")], cloudevents.fields)
    elif kind == cloudevents.BATCH:
        yield Part(_events(body, "body"), cloudevents.fields)
    elif cloudevents.is_binary(request):
        yield Part([cloudevents.from_headers(request, body)], cloudevents.fields)
    else:
        yield _plain(_object(body, 'one event as an object, or {"events": [...]}'))


def _plain(body: dict[str, Any]) -> Part:
    if _EVENTS not in body:
        return Part([body], _as_it_is)
    if len(body) > 1:
        raise BadRequestError(("body", "expected nothing beside events"))
    return Part(_events(body[_EVENTS], _EVENTS), _as_it_is)


def _events(events: object, field: str) -> list[Any]:
    if not isinstance(events, list):
        raise BadRequestError((field, "expected a list"))
    if len(events) > MAX_EVENTS:
        raise TooLargeError(_TOO_LARGE)
    return events


def _object(body: object, expected: str) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise BadRequestError(("body", f"expected {expected}"))
    return body


def _as_it_is(said: Any) -> Any:  # noqa: ANN401 (whatever JSON can say)
    return said


def line(text: bytes | None) -> Any:  # noqa: ANN401 (whatever JSON can say)
    """Return what a line says; raise RejectedError where it is too long or no JSON."""
    if text is None:
        raise RejectedError("too_large", f"line: expected at most {ndjson.MAX_LINE_BYTES} bytes")
    try:
        return bodies.decoded(text)
    except BadRequestError as error:
        [(_, fault)] = error.faults
        raise RejectedError("malformed", f"line: {fault}") from error
