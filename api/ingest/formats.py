"""The formats of a post: each is decoded to JSON objects, which the parser then checks.

Where all events of plain JSON are valid, they are read without such objects (`typed_events`).
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import falcon
import msgspec

from api.errors import BadRequestError, TooLargeError
from api.http import bodies, strict_json
from api.ingest import cloudevents, ndjson, typed_events
from domain.parsing import MAX_ERRORS, RejectedError, json_type
from domain.texts import shown

MAX_EVENTS = 10_000
MAX_BODY_BYTES = 5 * 1024 * 1024
MIN_TYPED_BYTES = 1_024  # a smaller body is most often one event, which gains nothing
MAX_UNPACKED_BYTES = 1024 * 1024 * 1024  # of a packed stream of lines
LINES_AT_ONCE = 5_000  # so many lines of a stream share a transaction,
BYTES_AT_ONCE = MAX_BODY_BYTES  # or so many bytes of them
MOST_BLANK = 10_000  # a stream may have so many blank lines more than others
_EVENTS = "events"
_TOO_LARGE = f"Expected at most {MAX_BODY_BYTES} bytes and {MAX_EVENTS} events"
_UNPACKS_TOO_LARGE = f"Expected a body that unpacks to at most {MAX_UNPACKED_BYTES} bytes"
_TOO_MANY_BLANK = f"Expected at most {MOST_BLANK} blank lines more than events"
_TYPES = (falcon.MEDIA_JSON, ndjson.MEDIA_TYPE, cloudevents.STRUCTURED, cloudevents.BATCH)


class Part(NamedTuple):
    """Events that are recorded together: the raw ones, and the function that decodes one of them to JSON.

    `decode` raises RejectedError for an event of the wrong form. `lines` are their line numbers, from 1, in a stream.
    `is_text` says that no string of them can have NUL or a lone surrogate, which JSON has in escapes alone; `is_typed`
    that each raw one is a `typed_events.Posted`.
    """

    raw: Sequence[Any]
    decode: Callable[[Any], Any]
    lines: Sequence[int] | None = None
    is_text: bool = False
    is_typed: bool = False


def is_stream(request: falcon.Request) -> bool:
    """Return whether the body comes in parts, each of which is recorded before the next is read."""
    return bodies.media_type(request, _TYPES) == ndjson.MEDIA_TYPE


class Stream:
    """Lines that come in pieces, packed or not, and are recorded in parts."""

    def __init__(self, *, packed: bool) -> None:
        """Take whether gzip packed them."""
        self._unpacker = bodies.Unpacker(MAX_UNPACKED_BYTES, _UNPACKS_TOO_LARGE) if packed else None
        self._splitter = ndjson.Splitter()
        self._batch: list[ndjson.Line] = []
        self._size = self._events = 0

    def feed(self, piece: bytes) -> Iterator[Part | None]:
        """Yield the parts that are full with this piece, and None in between, where the caller may pause.

        Raises what `bodies.Unpacker` raises, and TooLargeError where there are too many blank lines.
        """
        for unpacked in (piece,) if self._unpacker is None else self._unpacker.feed(piece):
            for each in self._splitter.feed(unpacked):
                self._batch.append(each)
                self._size += len(each[1] or b"")
                if len(self._batch) >= LINES_AT_ONCE or self._size >= BYTES_AT_ONCE:
                    yield self._part()
            if self._splitter.blank > MOST_BLANK + self._events + len(self._batch):
                raise TooLargeError(_TOO_MANY_BLANK)
            yield None

    def finish(self) -> Iterator[Part]:
        """Yield the last part, which may be empty; raise BadRequestError where more should have come."""
        if self._unpacker is not None:
            self._unpacker.finish()
        self._batch += self._splitter.finish()
        yield self._part()

    def _part(self) -> Part:
        batch, self._batch, self._size = self._batch, [], 0
        self._events += len(batch)
        return part_of_lines(batch)


def part_of_lines(lines: Sequence[ndjson.Line]) -> Part:
    """Return the events of these lines."""
    numbers, texts = [number for number, _ in lines], [text for _, text in lines if text is not None]
    if len(texts) == len(lines):  # else one is too long
        typed = typed_events.decode_each(texts)
        if typed is not None:
            return _typed(typed, numbers)
        read = strict_json.decode_each(texts)
        if read is not None:
            return Part(read, _as_it_is, numbers, is_text=not any(map(strict_json.has_escape, texts)))
    return Part([text for _, text in lines], _line, numbers)


def require_head(request: falcon.Request) -> None:
    """Raise BadRequestError where headers carry attributes of an event, and one is not encoded as it should be."""
    if cloudevents.is_binary(request):
        kind, _ = falcon.parse_header(request.content_type or "")
        if kind.lower() == falcon.MEDIA_JSON:
            cloudevents.attributes(request)


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
    if kind == falcon.MEDIA_JSON and not cloudevents.is_binary(request):
        return part_of_json(data)
    body = bodies.decoded(data)
    if kind == cloudevents.STRUCTURED:
        return Part([_object(body, "one event as an object")], cloudevents.fields)
    if kind == cloudevents.BATCH:
        return Part(_events(body, "body"), cloudevents.fields)
    return Part([{**cloudevents.attributes(request), "data": body}], cloudevents.fields)


def part_of_json(data: bytes) -> Part:
    """Return the events of a body of plain JSON; raises what `part_of` raises."""
    typed = typed_events.decode(data) if len(data) >= MIN_TYPED_BYTES else None
    if typed is not None:
        return _typed(_bounded(typed))
    return Part(_plain(bodies.decoded(data)), _as_it_is, is_text=not strict_json.has_escape(data))


def _plain(body: object) -> list[Any]:
    if isinstance(body, list):
        return _events(body, "body")
    fields = _object(body, 'one event as an object, an array of them, or {"events": [...]}')
    if _EVENTS not in fields:
        return [fields]
    beside = [shown(name) for name in fields if name != _EVENTS]
    if beside:
        raise BadRequestError(*((name, f"expected nothing beside {_EVENTS}") for name in beside[:MAX_ERRORS]))
    return _events(fields[_EVENTS], _EVENTS)


def _events(events: object, field: str) -> list[Any]:
    if not isinstance(events, list):
        raise BadRequestError((field, f"expected an array, got {json_type(events)}"))
    return _bounded(events)


def _bounded(events: list[Any]) -> list[Any]:
    if len(events) > MAX_EVENTS:
        raise TooLargeError(_TOO_LARGE)
    return events


def _typed(events: Sequence[Any], lines: Sequence[int] | None = None) -> Part:
    return Part(events, msgspec.to_builtins, lines, is_text=True, is_typed=True)


def _object(body: object, expected: str) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise BadRequestError(("body", f"expected {expected}, got {json_type(body)}"))
    return body


def _as_it_is(event: Any) -> Any:  # noqa: ANN401 (any JSON value)
    return event


def _line(text: bytes | None) -> Any:  # noqa: ANN401 (whatever JSON can say)
    """Return the JSON value of a line; raise RejectedError where it is too long or no JSON."""
    if text is None:
        raise RejectedError("too_large", f"line: expected at most {ndjson.MAX_LINE_BYTES} bytes")
    try:
        return strict_json.decode(text)
    except strict_json.NotJSONError as error:
        raise RejectedError("malformed", f"line: {error}") from error
