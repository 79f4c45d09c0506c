"""The formats that a post may have: each turned into JSON's own objects, which the one parser then takes."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import falcon

from api.errors import BadRequestError, TooLargeError
from api.http import bodies
from api.ingest import cloudevents, ndjson
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


class Stream:
    """Lines that come in pieces, packed or not, and are recorded in parts."""

    def __init__(self, *, packed: bool) -> None:
        """Take whether gzip packed them."""
        self._unpacker = bodies.Unpacker(MAX_UNPACKED_BYTES, _UNPACKS_TOO_LARGE) if packed else None
        self._splitter = ndjson.Splitter()
        self._batch: list[bytes | None] = []

    def feed(self, piece: bytes) -> Iterator[Part]:
        """Yield the parts that are full with this piece; raises what `bodies.Unpacker` raises."""
        for unpacked in (piece,) if self._unpacker is None else self._unpacker.feed(piece):
            for each in self._splitter.feed(unpacked):
                self._batch.append(each)
                if len(self._batch) == LINES_AT_ONCE:
                    yield self._part()

    def finish(self) -> Iterator[Part]:
        """Yield the last part, which may be empty; raise BadRequestError where more should have come."""
        if self._unpacker is not None:
            self._unpacker.finish()
        self._batch += self._splitter.finish()
        yield self._part()

    def _part(self) -> Part:
        batch, self._batch = self._batch, []
        return Part(batch, line)


async def body_of(request: falcon.Request) -> bytes:
    """Return the body of a post that is not a stream, as it was sent.

    Raises BadRequestError, TooLargeError and RequestTimeoutError where the body is at fault.
    """
    bodies.is_packed(request)  # raises where it is packed in another way
    return await bodies.whole(request, MAX_BODY_BYTES, _TOO_LARGE)


def part_of(request: falcon.Request, data: bytes) -> Part:
    """Return the events of the body of a post that is not a stream; raise BadRequestError or TooLargeError."""
    kind = bodies.media_type(request, _TYPES)
    if bodies.is_packed(request):
        data = bodies.unpacked(data, MAX_BODY_BYTES, _TOO_LARGE)
    body = bodies.decoded(data)
    if kind == cloudevents.STRUCTURED:
        return Part([_object(body, "one event as an object")], cloudevents.fields)
    if kind == cloudevents.BATCH:
        return Part(_events(body, "body"), cloudevents.fields)
    if cloudevents.is_binary(request):
        return Part([cloudevents.from_headers(request, body)], cloudevents.fields)
    return _plain(_object(body, 'one event as an object, or {"events": [...]}'))


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
