"""One table from exceptions to answers; an answer never contains a stack trace, SQL or an address."""

import logging
from http import HTTPStatus
from typing import Any

import falcon
import falcon.asgi
import psycopg
from psycopg.errors import DiskFull

from domain.refusals import BadFieldError, BusyError
from projections.pipeline import TooManySentError

RETRY_AFTER_SECONDS = 1

logger = logging.getLogger(__name__)


class UnauthenticatedError(Exception):
    """The caller is not authenticated; the text is the answer, the reason is a word for the log alone."""

    def __init__(self, text: str, reason: str) -> None:
        """Take both."""
        super().__init__(text)
        self.reason = reason


class AccessDeniedError(Exception):
    """Not linked, or absent, or a scope is missing: from outside all the same, but for the caller's own key."""

    def __init__(self, reason: str, lacking: str | None = None) -> None:
        """Take the reason, a word for the log alone, and the scope that the caller's key lacks, if that is it."""
        super().__init__("Access denied")
        self.reason = reason
        self.lacking = lacking


class BadRequestError(Exception):
    """Fields of the request are malformed: pairs of the field's name and what is expected."""

    def __init__(self, *faults: tuple[str, str]) -> None:
        """Take at least one fault."""
        super().__init__("; ".join(f"{field}: {error}" for field, error in faults))
        self.faults = faults


class NotFoundError(Exception):
    """There is no such thing; the text is the answer."""


class ConflictError(Exception):
    """The request conflicts with the present state; the text is the answer."""


class RequestTimeoutError(Exception):
    """The request's body does not arrive in time."""

    def __init__(self) -> None:
        """Take nothing; the text is always the same."""
        super().__init__("The body does not come")


class RateLimitedError(Exception):
    """The key has made too many requests; after so many seconds it may make some again."""

    def __init__(self, seconds: int) -> None:
        """Take the seconds."""
        super().__init__("Rate limit exceeded")
        self.seconds = seconds


class UnavailableError(Exception):
    """The request can't be served now, a retry helps; the text is the answer."""


class TooLargeError(Exception):
    """The body is larger than it may be; the text is the answer."""


class TooLongHeaderError(Exception):
    """A header is longer than it may be."""

    def __init__(self, name: str, most: int) -> None:
        """Take its name, and how many characters it may have."""
        super().__init__(f"{name}: expected at most {most:,} characters")


class UnsupportedTypeError(Exception):
    """The body is of a type that is not taken; the text is the answer."""


# The database is away: it does not answer, it has ended a transaction that took too long, or it became a standby.
DATABASE_AWAY: tuple[type[psycopg.Error], ...] = (
    psycopg.OperationalError,  # the pool's time-outs too
    psycopg.errors.IdleInTransactionSessionTimeout,
    psycopg.errors.ReadOnlySqlTransaction,
)
BODY_FAULTS = (BadRequestError, TooLargeError, RequestTimeoutError, UnsupportedTypeError)
INTERRUPTIONS: tuple[type[Exception], ...] = (
    *BODY_FAULTS,
    UnauthenticatedError,
    AccessDeniedError,
    UnavailableError,
    *DATABASE_AWAY,
)


class InterruptedBodyError(Exception):
    """A stream of events broke off; what was committed by then stays, and the answer counts it."""

    def __init__(self, cause: Exception, counts: dict[str, object]) -> None:
        """Take what broke it off, one of `INTERRUPTIONS`, and the counts."""
        super().__init__(str(cause))
        self.cause = cause
        self.counts = counts


def add_error_handlers(app: falcon.asgi.App[Any, Any]) -> None:
    """Add the table's error handlers to the application."""
    for exception, status in _STATUS.items():
        app.add_error_handler(exception, _answer_with(status))
    app.add_error_handler(UnauthenticatedError, _unauthenticated)
    app.add_error_handler(AccessDeniedError, _access_denied)
    app.add_error_handler(BadRequestError, _bad_request)
    app.add_error_handler(InterruptedBodyError, _interrupted)
    app.add_error_handler(BadFieldError, _bad_field)
    app.add_error_handler(RateLimitedError, _rate_limited)
    app.add_error_handler(falcon.HTTPError, _http_error)
    app.add_error_handler(TooManySentError, _busy)
    for away in DATABASE_AWAY:
        app.add_error_handler(away, _database_away)
    app.add_error_handler(Exception, _internal_error)


_STATUS: dict[type[Exception], HTTPStatus] = {
    NotFoundError: HTTPStatus.NOT_FOUND,
    RequestTimeoutError: HTTPStatus.REQUEST_TIMEOUT,
    ConflictError: HTTPStatus.CONFLICT,
    TooLargeError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    TooLongHeaderError: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    UnsupportedTypeError: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    BusyError: HTTPStatus.SERVICE_UNAVAILABLE,
    UnavailableError: HTTPStatus.SERVICE_UNAVAILABLE,
}
_FULL: dict[str, object] = {"error": "Nothing can be written now: the database's disk is full"}


def _answer_with(status: HTTPStatus) -> Any:  # noqa: ANN401 (Falcon's own type of error handler)
    async def answer(_: falcon.Request, response: falcon.Response, error: Exception, __: object) -> None:
        _set(response, status, {"error": str(error)})

    return answer


async def _unauthenticated(
    request: falcon.Request, response: falcon.Response, error: UnauthenticatedError, _: object
) -> None:
    request.context.reason = error.reason
    _set(response, HTTPStatus.UNAUTHORIZED, {"error": str(error)})


async def _access_denied(
    request: falcon.Request, response: falcon.Response, error: AccessDeniedError, _: object
) -> None:
    request.context.reason = error.reason
    body: dict[str, object] = {"error": str(error)}
    if error.lacking is not None:
        body["details"] = [{"field": "scope", "error": f"{error.lacking} is missing"}]
    _set(response, HTTPStatus.FORBIDDEN, body)


async def _bad_request(_: falcon.Request, response: falcon.Response, error: BadRequestError, __: object) -> None:
    details = [{"field": field, "error": what} for field, what in error.faults]
    _set(response, HTTPStatus.BAD_REQUEST, {"error": str(error), "details": details})


async def _bad_field(request: falcon.Request, response: falcon.Response, error: BadFieldError, _: object) -> None:
    await _bad_request(request, response, BadRequestError((error.field, error.expected)), _)


async def _interrupted(
    request: falcon.Request, response: falcon.Response, error: InterruptedBodyError, _: object
) -> None:
    if isinstance(error.cause, BadRequestError):
        await _bad_request(request, response, error.cause, _)
    elif isinstance(error.cause, UnauthenticatedError):
        await _unauthenticated(request, response, error.cause, _)
    elif isinstance(error.cause, AccessDeniedError):
        await _access_denied(request, response, error.cause, _)
    elif isinstance(error.cause, DATABASE_AWAY):
        await _database_away(request, response, error.cause, _)
    else:
        await _answer_with(_STATUS[type(error.cause)])(request, response, error.cause, _)
    response.media = {**response.media, **error.counts}


async def _rate_limited(_: falcon.Request, response: falcon.Response, error: RateLimitedError, __: object) -> None:
    _set(response, HTTPStatus.TOO_MANY_REQUESTS, {"error": str(error)})
    response.set_header("Retry-After", str(error.seconds))


async def _http_error(_: falcon.Request, response: falcon.Response, error: falcon.HTTPError, __: object) -> None:
    status = HTTPStatus(error.status_code)
    body: dict[str, object] = {"error": status.phrase}
    if status == HTTPStatus.BAD_REQUEST:
        body["details"] = [{"field": "request", "error": error.description or status.phrase}]
    _set(response, status, body)
    if error.headers:
        response.set_headers(error.headers)


async def _busy(_: falcon.Request, response: falcon.Response, __: Exception, ___: object) -> None:
    _set(response, HTTPStatus.SERVICE_UNAVAILABLE, {"error": "Too many requests wait, please try again"})


async def _database_away(request: falcon.Request, response: falcon.Response, error: Exception, _: object) -> None:
    if isinstance(error, DiskFull):
        request.context.measurements.disk_full(error)
        _set(response, HTTPStatus.SERVICE_UNAVAILABLE, _FULL)
        return
    # Only the server's own errors: that the database is down is logged once, where connections are made.
    level = logging.DEBUG if getattr(error, "sqlstate", None) is None else logging.WARNING
    logger.log(level, "the database refused: %s", error, extra=_names(request))
    _set(response, HTTPStatus.SERVICE_UNAVAILABLE, {"error": "The database does not answer, please try again"})


async def _internal_error(request: falcon.Request, response: falcon.Response, error: Exception, _: object) -> None:
    names = _names(request)
    logger.error("internal error", exc_info=error, extra=names)
    body: dict[str, object] = {"error": "Internal error", "request_id": names["request_id"]}
    _set(response, HTTPStatus.INTERNAL_SERVER_ERROR, body)


def _names(request: falcon.Request) -> dict[str, str]:
    """Return what finds the other lines about a request."""
    context = request.context
    traceparent = {"traceparent": context.traceparent} if context.traceparent else {}
    return {"request_id": context.request_id, **traceparent}


def _set(response: falcon.Response, status: HTTPStatus, body: dict[str, object]) -> None:
    response.status_code = status
    response.media = body
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        response.set_header("Retry-After", str(RETRY_AFTER_SECONDS))
