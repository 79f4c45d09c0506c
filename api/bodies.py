"""Bodies of requests, chunked or not, packed or not: as they come, or whole within a limit."""

import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import falcon
import msgspec
from gunicorn.http.errors import ParseException

from api.errors import BadRequestError, RequestTimeoutError, TooLargeError, UnsupportedTypeError
from domain.events import shown

MAX_SMALL_BYTES = 16 * 1024  # our server has read a body of so many bytes before the request takes a thread
_PIECE = 64 * 1024


def media_type(request: falcon.Request, allowed: Sequence[str]) -> str:
    """Return the type of the body; raise UnsupportedTypeError where it is none of these."""
    found = falcon.parse_header(request.content_type or "")[0].lower()
    if found not in allowed:
        raise UnsupportedTypeError(f"Expected Content-Type: {' or '.join(allowed)}")
    return found


def pieces(request: falcon.Request, too_large: str, packed_limit: int) -> Iterator[bytes]:
    """Yield the body as it comes, unpacked where it is `gzip`; memory stays bounded whatever its length.

    Raises UnsupportedTypeError for another Content-Encoding, BadRequestError where the body is cut short or does not
    unpack, RequestTimeoutError where it does not come, TooLargeError with the given text where it unpacks to more than
    `packed_limit` bytes.
    """
    encoding = request.get_header("Content-Encoding", default="identity").lower()
    if encoding not in ("identity", "gzip", "x-gzip"):  # RFC 9110, section 8.4.1.3
        raise UnsupportedTypeError("Expected Content-Encoding: gzip, or none")
    raw = _raw(request)
    return raw if encoding == "identity" else _bounded(_unpacked(raw), packed_limit, too_large)


def whole(request: falcon.Request, limit: int, too_large: str) -> bytes:
    """Return the body; raise TooLargeError with this text where it has more bytes than `limit`, else as `pieces`."""
    read = pieces(request, too_large, limit)
    if (request.content_length or 0) > limit:
        raise TooLargeError(too_large)
    return b"".join(_bounded(read, limit, too_large))


def _raw(request: falcon.Request) -> Iterator[bytes]:
    missing = request.content_length
    while missing != 0:
        try:
            # Falcon's bounded stream reads nothing of a chunked body, so this reads the server's own.
            piece = bytes(request.stream.read(_PIECE if missing is None else min(_PIECE, missing)))
        except TimeoutError as error:
            raise RequestTimeoutError from error
        except (OSError, ParseException) as error:
            raise BadRequestError(("body", "is cut short")) from error
        if not piece:
            if missing is not None:
                raise BadRequestError(("body", "is cut short"))
            return
        if missing is not None:
            missing -= len(piece)
        yield piece


def _unpacked(raw: Iterator[bytes]) -> Iterator[bytes]:
    """Yield what gzip packed: one member after another, as RFC 1952, section 2.2, has it."""
    unpacker = None
    for packed in raw:
        piece, rest = b"", packed
        while rest or len(piece) == _PIECE:  # a full piece may leave something behind
            unpacker = unpacker or zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
            try:
                piece = unpacker.decompress(rest, _PIECE)
            except zlib.error as error:
                raise BadRequestError(("body", "is not gzip")) from error
            yield piece
            rest = unpacker.unconsumed_tail
            if unpacker.eof:
                piece, rest, unpacker = b"", unpacker.unused_data, None
    if unpacker is not None:
        raise BadRequestError(("body", "is cut short"))


def _bounded(given: Iterator[bytes], limit: int, too_large: str) -> Iterator[bytes]:
    size = 0
    for piece in given:
        size += len(piece)
        if size > limit:
            raise TooLargeError(too_large)
        yield piece


def decoded(body: bytes) -> Any:  # noqa: ANN401 (whatever JSON can say)
    """Return what a JSON body says; raise BadRequestError where it is no JSON."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequestError(("body", f"is not JSON: {error}")) from error
    except RecursionError as error:
        raise BadRequestError(("body", "is nested too deep")) from error


def json_object(request: falcon.Request, limit: int, fields: Sequence[str]) -> dict[str, Any]:
    """Return a body that is an object with these fields at most; raise what the functions above raise."""
    media_type(request, (falcon.MEDIA_JSON,))
    body = decoded(whole(request, limit, f"Expected at most {limit} bytes"))
    if not isinstance(body, dict):
        raise BadRequestError(("body", "expected an object"))
    unknown = [name for name in body if name not in fields]
    if unknown:
        expected = f"is not a field here, expected {', '.join(fields)}"
        raise BadRequestError(*((shown(name), expected) for name in unknown))
    return body
