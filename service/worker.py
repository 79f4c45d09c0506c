"""gunicorn's threaded worker, closed to slow and broken clients: time limits, and errors in the form of all others.

Stock gunicorn waits for ever for the rest of a request's head or body, lends a thread to each new connection before it
has said a word, answers what it can't parse in HTML, and logs requests with their queries.
"""

import logging
import selectors
import time
import uuid
from functools import partial
from http import HTTPStatus
from socket import socket
from typing import Any

import msgspec
from gunicorn import util
from gunicorn.http import errors
from gunicorn.http.unreader import SocketUnreader
from gunicorn.workers.gthread import TConn, ThreadWorker

HEAD_SECONDS = 10.0  # for all of the request line and headers, and for the first byte of a new connection
BODY_SECONDS = 10.0  # for each next piece of a body
SEND_SECONDS = 60.0  # for each piece of an answer

_STATUS: dict[type[Exception], tuple[HTTPStatus, str]] = {
    errors.LimitRequestLine: (HTTPStatus.REQUEST_URI_TOO_LONG, "The request line is too long"),
    errors.LimitRequestHeaders: (HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "Too many or too long header fields"),
    errors.UnsupportedTransferCoding: (HTTPStatus.NOT_IMPLEMENTED, "Expected Transfer-Encoding: chunked"),
    errors.ExpectationFailed: (HTTPStatus.EXPECTATION_FAILED, "Expected Expect: 100-continue"),
}

logger = logging.getLogger(__name__)


class HeadTimeoutError(errors.ParseException):  # type: ignore[misc]
    """The request's head does not come."""


class Worker(ThreadWorker):  # type: ignore[misc]
    """The worker."""

    def accept(self, listener: socket) -> None:
        """Take a new connection, and wait for its first byte without a thread."""
        try:
            client, address = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # another process was faster, or the client has gone
        self.nr_conns += 1
        connection = _Connection(self.cfg, client, address, listener.getsockname())
        connection.timeout = time.monotonic() + HEAD_SECONDS
        self.pending_conns.append(connection)
        self.poller.register(client, selectors.EVENT_READ, partial(self.on_pending_socket_readable, connection))

    def handle_request(self, req: Any, conn: "_Connection") -> bool:  # noqa: ANN401 (gunicorn's request)
        """Answer a request whose head has been read."""
        conn.parser.unreader.until = None
        conn.sock.settimeout(SEND_SECONDS)
        try:
            return bool(super().handle_request(req, conn))
        except TimeoutError:
            logger.info("a client does not take its answer")
            return False

    def _cap_keepalive(self, deadline: float) -> None:
        """When stopping, wait no longer for the first byte of a connection than for the next request of one."""
        super()._cap_keepalive(deadline)
        for connection in self.pending_conns:
            connection.timeout = min(connection.timeout, deadline)

    def handle_error(self, req: Any, client: socket, addr: Any, exc: Exception) -> None:  # noqa: ANN401, ARG002
        """Answer what no application has seen; nothing of it is repeated or logged, since it may hold secrets."""
        request_id = str(uuid.uuid4())
        if isinstance(exc, HeadTimeoutError):
            status, text = HTTPStatus.REQUEST_TIMEOUT, "The request does not come"
        elif isinstance(exc, errors.ParseException):
            status, text = _STATUS.get(type(exc), (HTTPStatus.BAD_REQUEST, "The request is not HTTP/1.1"))
        else:
            logger.error("internal error", exc_info=exc, extra={"request_id": request_id})
            status, text = HTTPStatus.INTERNAL_SERVER_ERROR, "Internal error"
        body: dict[str, object] = {"error": text}
        if status is HTTPStatus.BAD_REQUEST:
            body["details"] = [{"field": "request", "error": text}]
        if status is HTTPStatus.INTERNAL_SERVER_ERROR:
            body["request_id"] = request_id
        extra = {"status": int(status), "request_id": request_id}
        logger.info("request refused: %s", type(exc).__name__, extra=extra)
        data = msgspec.json.encode(body)
        head = (
            f"HTTP/1.1 {int(status)} {status.phrase}\r\nConnection: close\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(data)}\r\nX-Request-ID: {request_id}\r\n\r\n"
        )
        try:
            util.write_nonblock(client, head.encode("ascii") + data)
        except OSError as error:
            logger.debug("the client has gone: %s", error)


class _Connection(TConn):  # type: ignore[misc]
    """A connection whose requests have to come within their time."""

    def init(self) -> None:
        """Begin to read a request."""
        super().init()
        if not isinstance(self.parser.unreader, _Unreader):
            self.parser.unreader = _Unreader(self.sock)
        self.parser.unreader.until = time.monotonic() + HEAD_SECONDS


class _Unreader(SocketUnreader):  # type: ignore[misc]
    """Reads from a socket: a head as a whole within its time, of a body each piece."""

    def __init__(self, source: socket) -> None:
        super().__init__(source)
        self.until: float | None = None  # the end of the head's time; none while a body is read

    def chunk(self, size_hint: int | None = None) -> bytes:
        """Return the next piece; raise HeadTimeoutError or, of a body, TimeoutError where it does not come."""
        allowed = self.sock.gettimeout()
        if self.until is not None:
            limit = self.until - time.monotonic()
            if limit <= 0:
                raise HeadTimeoutError
        else:  # gunicorn allows less where it throws away the rest of a body
            limit = BODY_SECONDS if allowed is None else min(BODY_SECONDS, allowed)
        self.sock.settimeout(limit)
        try:
            return bytes(super().chunk(size_hint))
        except TimeoutError as error:
            if self.until is not None:
                raise HeadTimeoutError from error
            raise
        finally:
            self.sock.settimeout(allowed)
