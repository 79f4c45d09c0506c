"""Bodies of requests, chunked or not, packed or not: read by the event loop, as they come or whole within a limit."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import falcon

from api.errors import BadRequestError, RequestTimeoutError, TooLargeError, UnsupportedTypeError
from api.http import strict_json
from domain.parsing import MAX_ERRORS
from domain.suggestions import did_you_mean
from domain.texts import shown

RECEIVE = "campaign_analytics.receive"  # in a request's scope: the server's own `receive`
WHOLE = "campaign_analytics.whole"  # in a request's scope: the whole body has come before the application is called
BODY_SECONDS = 10.0  # for each next piece of a body
BODY_GRACE_SECONDS = 20.0  # a body may be waited for so long, and
BODY_BYTES_PER_SECOND = 500  # a second more for each so many bytes of it
MAX_RATIO = 200  # how much smaller a packed body may be; 5,000 events that differ in little are packed by 80
_ANY_RATIO_BYTES = 1024 * 1024  # of what is unpacked, however small it was packed
_PIECE = 64 * 1024  # of what is unpacked, and
_PACKED_PIECE = 16 * 1024  # of what is packed: zlib copies all that is behind a member
_AT_ONCE = 50  # pieces of a body that are received before others have their turn
_UTF_8 = ("utf-8", "utf8")


def media_type(request: falcon.Request, allowed: Sequence[str]) -> str:
    """Return the type of the body; raise UnsupportedTypeError where it is none of these, or not in UTF-8."""
    kind, parameters = falcon.parse_header(request.content_type or "")
    if kind.lower() not in allowed:
        raise UnsupportedTypeError(f"Expected Content-Type: {' or '.join(allowed)}")
    if parameters.get("charset", _UTF_8[0]).lower() not in _UTF_8:
        raise UnsupportedTypeError("Expected charset=utf-8 in Content-Type, or none")
    return kind.lower()


def is_packed(request: falcon.Request) -> bool:
    """Return whether the body is packed by gzip; raise UnsupportedTypeError for any other Content-Encoding."""
    encoding = request.get_header("Content-Encoding", default="identity").lower()
    if encoding not in ("identity", "gzip", "x-gzip"):  # RFC 9110, section 8.4.1.3
        raise UnsupportedTypeError("Expected Content-Encoding: gzip, or none")
    return encoding != "identity"


async def pieces(request: falcon.Request) -> AsyncIterator[bytes]:
    """Yield the body as it comes.

    Raises BadRequestError where it is cut short, RequestTimeoutError where it does not come, or too slowly.
    """
    receive, missing, spare = request.scope[RECEIVE], request.content_length, BODY_GRACE_SECONDS  # type: ignore[attr-defined]
    clock = asyncio.get_running_loop().time
    more, number = missing != 0, 0
    while more:
        number += 1
        if number % _AT_ONCE == 0:  # what has come already is received without a pause, in which others have their turn
            await asyncio.sleep(0)
        began = clock()
        try:
            async with asyncio.timeout(min(BODY_SECONDS, spare)):
                event = await receive()
        except TimeoutError as error:
            raise RequestTimeoutError from error
        piece = event.get("body", b"")
        more = event["type"] == "http.request" and event.get("more_body", False)
        if event["type"] != "http.request" or (not more and len(piece) < (missing or 0)):
            raise BadRequestError(("body", "is cut short"))
        if missing is not None:
            missing -= len(piece)
        spare += len(piece) / BODY_BYTES_PER_SECOND - (clock() - began)
        if piece:
            yield piece


async def whole(request: falcon.Request, limit: int, too_large: str) -> bytes:
    """Return the body; raise TooLargeError with this text where it has more bytes than `limit`, else as `pieces`."""
    if (request.content_length or 0) > limit:
        raise TooLargeError(too_large)
    received, size = [], 0
    async for piece in pieces(request):
        size += len(piece)
        if size > limit:
            raise TooLargeError(too_large)
        received.append(piece)
    return received[0] if len(received) == 1 else b"".join(received)


class Unpacker:
    """Unpacks what gzip packed as it comes: one member after another, as RFC 1952, section 2.2, has it."""

    def __init__(self, limit: int, too_large: str) -> None:
        """Take how many bytes it may unpack to, and the error's text where there are more."""
        self._limit = limit
        self._too_large = too_large
        self._packed = self._unpacked = 0  # bytes so far
        self._member: Any = None  # zlib's own type has no name

    def feed(self, packed: bytes) -> Iterator[bytes]:
        """Yield what comes out; raise BadRequestError for what is not gzip, TooLargeError for too much."""
        for begin in range(0, len(packed), _PACKED_PIECE):
            yield from self._feed(packed[begin : begin + _PACKED_PIECE])

    def _feed(self, packed: bytes) -> Iterator[bytes]:
        piece, rest = b"", packed
        self._packed += len(packed)
        while rest or len(piece) == _PIECE:  # a full piece may leave something behind
            self._member = self._member or zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
            try:
                piece = self._member.decompress(rest, _PIECE)
            except zlib.error as error:
                raise BadRequestError(("body", "is not gzip")) from error
            self._unpacked += len(piece)
            if self._unpacked > self._limit:
                raise TooLargeError(self._too_large)
            if self._unpacked > _ANY_RATIO_BYTES + MAX_RATIO * self._packed:
                raise TooLargeError(f"Expected a body that gzip makes at most {MAX_RATIO} times smaller")
            yield piece
            rest = self._member.unconsumed_tail
            if self._member.eof:
                piece, rest, self._member = b"", self._member.unused_data, None

    def finish(self) -> None:
        """Raise BadRequestError where more should have come."""
        if self._member is not None:
            raise BadRequestError(("body", "is cut short"))


def unpacked(packed: bytes, limit: int, too_large: str) -> bytes:
    """Return a whole body unpacked; raises what `Unpacker` raises."""
    unpacker = Unpacker(limit, too_large)
    body = b"".join(unpacker.feed(packed))
    unpacker.finish()
    return body


def decoded(body: bytes) -> Any:  # noqa: ANN401 (whatever JSON can say)
    """Return the value of a JSON body, with or without a byte order mark; raise BadRequestError where it is no JSON."""
    try:
        return strict_json.decode(body.removeprefix(strict_json.BOM))
    except strict_json.NotJSONError as error:
        raise BadRequestError(("body", str(error))) from error


def json_object(
    request: falcon.Request, loop: asyncio.AbstractEventLoop, limit: int, fields: Sequence[str]
) -> dict[str, Any]:
    """Return, in a thread, a body that is an object with these fields at most; raise what the functions above raise."""
    media_type(request, (falcon.MEDIA_JSON,))
    too_large = f"Expected at most {limit} bytes"
    packed = is_packed(request)
    data = asyncio.run_coroutine_threadsafe(whole(request, limit, too_large), loop).result()
    body = decoded(unpacked(data, limit, too_large) if packed else data)
    if not isinstance(body, dict):
        raise BadRequestError(("body", "expected an object"))
    unknown = [name for name in body if name not in fields]
    if unknown:
        expected = f"expected {', '.join(fields)}"
        faults = ((shown(name), f"is not a field here, {expected}{did_you_mean(name, fields)}") for name in unknown)
        raise BadRequestError(*list(faults)[:MAX_ERRORS])
    return body
