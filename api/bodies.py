"""Bodies of requests, read whole within a limit, chunked or not."""

from collections.abc import Sequence
from typing import Any

import falcon
import msgspec
from gunicorn.http.errors import ParseException

from api.errors import BadRequestError, RequestTimeoutError, TooLargeError, UnsupportedTypeError
from domain.events import shown


def whole(request: falcon.Request, limit: int, too_large: str) -> bytes:
    """Return the body of a JSON request.

    Raises UnsupportedTypeError where it is said to be something else, TooLargeError with this text where it has more
    bytes than `limit`, BadRequestError where it is cut short, RequestTimeoutError where it does not come.
    """
    if falcon.parse_header(request.content_type or "")[0].lower() != falcon.MEDIA_JSON:
        raise UnsupportedTypeError("Expected Content-Type: application/json")
    if request.get_header("Content-Encoding", default="identity").lower() != "identity":
        raise UnsupportedTypeError("Expected no Content-Encoding")
    length = request.content_length
    if length is not None and length > limit:
        raise TooLargeError(too_large)
    try:
        # Falcon's bounded stream reads nothing of a chunked body, so this reads the server's own.
        body = bytes(request.stream.read(limit + 1 if length is None else length))
    except TimeoutError as error:
        raise RequestTimeoutError from error
    except (OSError, ParseException) as error:
        raise BadRequestError(("body", "is cut short")) from error
    if len(body) > limit:  # one byte too many is enough
        raise TooLargeError(too_large)
    if length is not None and len(body) < length:
        raise BadRequestError(("body", "is cut short"))
    return body


def decoded(body: bytes) -> Any:  # noqa: ANN401 (whatever JSON can say)
    """Return what a JSON body says; raise BadRequestError where it is no JSON."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequestError(("body", f"is not JSON: {error}")) from error
    except RecursionError as error:
        raise BadRequestError(("body", "is nested too deep")) from error


def json_object(request: falcon.Request, limit: int, fields: Sequence[str]) -> dict[str, Any]:
    """Return a body that is an object with these fields at most; raise what `whole` and `decoded` raise."""
    body = decoded(whole(request, limit, f"Expected at most {limit} bytes"))
    if not isinstance(body, dict):
        raise BadRequestError(("body", "expected an object"))
    unknown = [name for name in body if name not in fields]
    if unknown:
        expected = f"is not a field here, expected {', '.join(fields)}"
        raise BadRequestError(*((shown(name), expected) for name in unknown))
    return body
