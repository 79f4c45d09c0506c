"""gunicorn's threaded worker, closed to slow and broken clients: time limits, and errors in the form of all others.

Stock gunicorn lends a thread to each connection before it has said a word, waits for ever for the rest of a request's
head or body, stops its main loop for clients that don't close, lets requests queue without end, answers what it can't
parse in HTML, and logs requests with their queries.
"""

import logging
import mmap
import re
import selectors
import time
import uuid
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from http import HTTPStatus
from math import inf
from socket import SHUT_WR, socket
from typing import Any, NamedTuple

import msgspec
from gunicorn import util
from gunicorn.http import errors
from gunicorn.http.unreader import SocketUnreader
from gunicorn.workers.gthread import STOP_KEEPALIVE_LINGER, TConn, ThreadWorker

from api.bodies import MAX_SMALL_BYTES
from api.headers import REQUEST_ID, SECURITY
from service.together import Together

HEAD_SECONDS = 10.0  # for all of the request line and headers, and for the first byte of a new connection
QUEUE_SECONDS = 5.0  # a request that has waited longer for a thread is asked to come again
BODY_SECONDS = 10.0  # for each next piece of a body
BODY_GRACE_SECONDS = 20.0  # a body may be waited for so long, and
BODY_BYTES_PER_SECOND = 500  # a second more for each so many bytes of it
DRAIN_SECONDS = 0.2  # for the rest of a body that nobody wants; then the connection is closed
SEND_SECONDS = 60.0  # for each piece of an answer
LEFT_TO_OTHERS = 5  # times that a new connection is left to a worker with fewer, before it is taken all the same
LEFT_SECONDS = 0.0002  # between them
LINGER_SECONDS = 2.0  # for the client's end after the last answer (RFC 9112, section 9.6)

_MAX_HEAD_BYTES = 128 * 1024
_PIECE = 16 * 1024
_END_OF_HEAD = b"\r\n\r\n"
_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,5})[ \t]*\r\n", re.IGNORECASE)
_EXPECT = re.compile(rb"\r\nexpect:", re.IGNORECASE)

logger = logging.getLogger(__name__)


class HeadTimeoutError(errors.ParseException):  # type: ignore[misc]
    """The request's head does not come."""


class QueueTimeoutError(errors.ParseException):  # type: ignore[misc]
    """No thread was free for the request in time."""


_STATUS: dict[type[Exception], tuple[HTTPStatus, str]] = {
    HeadTimeoutError: (HTTPStatus.REQUEST_TIMEOUT, "The request does not come"),
    QueueTimeoutError: (HTTPStatus.SERVICE_UNAVAILABLE, "Too many requests wait, please try again"),
    errors.LimitRequestLine: (HTTPStatus.REQUEST_URI_TOO_LONG, "The request line is too long"),
    errors.LimitRequestHeaders: (HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "Too many or too long header fields"),
    errors.UnsupportedTransferCoding: (HTTPStatus.NOT_IMPLEMENTED, "Expected Transfer-Encoding: chunked"),
    errors.ExpectationFailed: (HTTPStatus.EXPECTATION_FAILED, "Expected Expect: 100-continue"),
}


class Load:
    """How many connections each worker process has, in memory that they share."""

    _SLOTS = 256
    _ABSENT = 2**31 - 1

    def __init__(self) -> None:
        """Make the memory, before the processes are forked."""
        self._memory = mmap.mmap(-1, self._SLOTS * 4)
        self._counts = memoryview(self._memory).cast("i")
        for slot in range(self._SLOTS):
            self._counts[slot] = self._ABSENT

    def tell(self, age: int, connections: int) -> None:
        """Tell how many connections the worker of this age (gunicorn's number of it) has."""
        self._counts[age % self._SLOTS] = connections

    def forget(self, age: int) -> None:
        """Count a worker that has ended no longer."""
        self._counts[age % self._SLOTS] = self._ABSENT

    def least(self) -> int:
        """Return how many connections the worker with the fewest has."""
        return min(self._counts)


class Worker(ThreadWorker):  # type: ignore[misc]
    """The worker: its main loop reads heads and small bodies, and lends a thread only to what has come whole."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 (gunicorn's)
        """Begin with no connections."""
        super().__init__(*args, **kwargs)
        self.lingering_conns: deque[_Connection] = deque()  # answered for the last time, not yet closed by the client
        self.queued_reqs: deque[_Queued] = deque()
        self.load: Load | None = None  # shared by all workers, where there are several
        self.together: Together | None = None  # where the application can be asked for several requests at once
        self._left_to_others = 0  # so many times in a row

    def load_wsgi(self) -> None:
        """Load the application, and see whether it can be asked for several requests at once."""
        super().load_wsgi()
        ahead = getattr(self.wsgi, "ahead", None)
        if ahead is not None:
            self.together = Together(self, ahead, QUEUE_SECONDS)

    def run(self) -> None:
        """Answer until told to stop; the others know of this one before anybody has come to it."""
        if self.load is not None:
            self.load.tell(self.age, self.nr_conns)
        super().run()

    def accept(self, listener: socket) -> None:
        """Take a new connection, unless a worker with fewer takes it; where there are too many, an idle one makes room.

        Whoever is awake would take all, and its one interpreter be busy while another has nothing to do.
        """
        if self.load is not None:
            self.load.tell(self.age, self.nr_conns)
            if self.nr_conns > self.load.least() and self._left_to_others < LEFT_TO_OTHERS:
                self._left_to_others += 1
                time.sleep(LEFT_SECONDS)
                return
            self._left_to_others = 0
        try:
            client, address = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # another process was faster, or the client has gone
        self.nr_conns += 1
        if self.load is not None:
            self.load.tell(self.age, self.nr_conns)
        if self.nr_conns >= self.worker_connections:
            self._make_room()
        self.enqueue_req(_Connection(self.cfg, client, address, listener.getsockname(), self._linger))

    def enqueue_req(self, conn: "_Connection") -> None:
        """Lend a thread to a connection that has a whole head to be answered; any other takes nothing from anybody."""
        conn.unreader.begin_head()
        self._go_on(conn)

    def on_client_socket_readable(self, conn: "_Connection", client: socket) -> None:
        """Read the next head of a connection that was kept alive."""
        self.keepalived_conns.remove(conn)
        self.poller.unregister(client)
        conn.unreader.begin_head()
        conn.unreader.receive()
        self._go_on(conn)

    def on_pending_socket_readable(self, conn: "_Connection", client: socket) -> None:
        """Read more of a head."""
        conn.unreader.receive()
        if conn.unreader.ready:
            self.pending_conns.remove(conn)
            self.poller.unregister(client)
            self._go_on(conn)

    def murder_pending(self) -> None:
        """Send away those whose head does not come or that no thread is free for, and end with those answered."""
        now = time.monotonic()
        if self.load is not None:
            self.load.tell(self.age, self.nr_conns)
        while self.queued_reqs and (self.queued_reqs[0].answered.done() or self.queued_reqs[0].until <= now):
            connection, answered, _ = self.queued_reqs.popleft()
            if answered.cancel():
                self.handle_error(None, connection.sock, connection.client, QueueTimeoutError())
        for connection in self.together.overdue(now) if self.together else ():
            self.handle_error(None, connection.sock, connection.client, QueueTimeoutError())
            self.end(connection)
        while self.pending_conns and self.pending_conns[0].timeout <= now:
            connection = self.pending_conns[0]
            self._forget(self.pending_conns, connection)
            if connection.unreader.head:
                self.handle_error(None, connection.sock, connection.client, HeadTimeoutError())
            connection.close(graceful=bool(connection.unreader.head))
        while self.lingering_conns and self.lingering_conns[0].timeout <= now:
            self._drop(self.lingering_conns, self.lingering_conns[0])

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """Wait for whatever happens next, but not so long that those who are answered together would notice."""
        super().wait_for_and_dispatch_events(min(timeout, self.together.patience() if self.together else timeout))

    def keep(self, connections: "list[_Connection]") -> None:
        """Go on with connections that have been answered, whatever has come of their next requests."""
        for connection in connections:
            if connection.unreader.head or connection.unreader.ready:
                self._go_on(connection)
                continue
            connection.set_timeout()
            if not self.alive:
                connection.timeout = min(connection.timeout, time.monotonic() + STOP_KEEPALIVE_LINGER)
            self.keepalived_conns.append(connection)
            on_next = partial(self.on_client_socket_readable, connection)
            self.poller.register(connection.sock, selectors.EVENT_READ, on_next)

    def send(self, connection: "_Connection", answer: bytes) -> bool:
        """Send an answer, as fast as the client takes it; return whether it has taken all."""
        connection.sock.settimeout(SEND_SECONDS)
        try:
            connection.sock.sendall(answer)
        except TimeoutError:
            logger.info("a client does not take its answer")
            return False
        except OSError:
            return False
        return True

    def end(self, connection: "_Connection") -> None:
        """End a connection once the client has read the last answer."""
        self.nr_conns -= 1
        connection.close(graceful=True)

    def handle_request(self, req: Any, conn: "_Connection") -> bool:  # noqa: ANN401 (gunicorn's request)
        """Answer a request whose head has been read."""
        conn.parser.unreader.begin_body()
        conn.sock.settimeout(SEND_SECONDS)
        try:
            return bool(super().handle_request(req, conn))
        except TimeoutError:
            logger.info("a client does not take its answer")
            return False

    def _keepalive_after(self, conn: "_Connection", keepalive: bool) -> bool:  # noqa: FBT001 (gunicorn's)
        """Tell whether another request may follow; the rest of a body is not waited for."""
        conn.parser.unreader.until = time.monotonic() + DRAIN_SECONDS
        return bool(super()._keepalive_after(conn, keepalive))

    def _cap_keepalive(self, deadline: float) -> None:
        """When stopping, wait no longer for a connection's first byte or end than for the next request of one."""
        super()._cap_keepalive(deadline)
        for connection in (*self.pending_conns, *self.lingering_conns):
            connection.timeout = min(connection.timeout, deadline)

    def handle_error(self, req: Any, client: socket, addr: Any, exc: Exception) -> None:  # noqa: ANN401, ARG002
        """Answer what no application has seen; nothing of it is repeated or logged, since it may hold secrets."""
        request_id = str(uuid.uuid4())
        if isinstance(exc, errors.ParseException):
            status, text = _STATUS.get(type(exc), (HTTPStatus.BAD_REQUEST, "The request is not HTTP/1.1"))
        else:
            logger.error("internal error", exc_info=exc, extra={"request_id": request_id})
            status, text = HTTPStatus.INTERNAL_SERVER_ERROR, "Internal error"
        body: dict[str, object] = {"error": text}
        headers = [("Connection", "close"), ("Content-Type", "application/json"), (REQUEST_ID, request_id), *SECURITY]
        if status is HTTPStatus.BAD_REQUEST:
            body["details"] = [{"field": "request", "error": text}]
        if status is HTTPStatus.SERVICE_UNAVAILABLE:
            headers.append(("Retry-After", "1"))
        if status is HTTPStatus.INTERNAL_SERVER_ERROR:
            body["request_id"] = request_id
        extra = {"status": int(status), "request_id": request_id}
        logger.info("request refused: %s", type(exc).__name__, extra=extra)
        data = msgspec.json.encode(body)
        headers.append(("Content-Length", str(len(data))))
        head = f"HTTP/1.1 {int(status)} {status.phrase}\r\n" + "".join(f"{name}: {said}\r\n" for name, said in headers)
        try:
            util.write_nonblock(client, f"{head}\r\n".encode("ascii") + data)
        except OSError as error:
            logger.debug("the client has gone: %s", error)

    def _go_on(self, connection: "_Connection") -> None:
        """Answer a head that has come, wait for one that has not, end a connection that says nothing more."""
        if not connection.unreader.ready:
            connection.timeout = time.monotonic() + HEAD_SECONDS
            self.pending_conns.append(connection)
            on_more = partial(self.on_pending_socket_readable, connection)
            self.poller.register(connection.sock, selectors.EVENT_READ, on_more)
        elif not connection.unreader.head:
            self.nr_conns -= 1
            connection.close()
        elif self.together is not None and self.together.takes(connection):
            self.together.join(connection)
        else:
            answered = self.tpool.submit(self.handle, connection)
            self.queued_reqs.append(_Queued(connection, answered, time.monotonic() + QUEUE_SECONDS))
            answered.add_done_callback(partial(self.method_queue.defer, self.finish_request, connection))

    def _linger(self, connection: "_Connection") -> None:
        """Wait for the client's end without a thread: closed at once, its last answer might never reach it."""
        try:
            connection.sock.shutdown(SHUT_WR)
        except OSError:
            connection.sock.close()  # the client has gone already
            return
        connection.sock.settimeout(0)
        connection.timeout = time.monotonic() + LINGER_SECONDS
        self.nr_conns += 1
        self.lingering_conns.append(connection)
        self.poller.register(connection.sock, selectors.EVENT_READ, partial(self._on_lingering_readable, connection))

    def _on_lingering_readable(self, connection: "_Connection", client: socket) -> None:
        try:
            ended = not client.recv(_PIECE)
        except BlockingIOError:
            ended = False
        except OSError:
            ended = True
        if ended:
            self._drop(self.lingering_conns, connection)

    def _make_room(self) -> None:
        for idle in (self.lingering_conns, self.pending_conns, self.keepalived_conns):
            if idle:
                self._drop(idle, idle[0])
                return

    def _drop(self, among: "deque[_Connection]", connection: "_Connection") -> None:
        self._forget(among, connection)
        connection.close()

    def _forget(self, among: "deque[_Connection]", connection: "_Connection") -> None:
        among.remove(connection)
        self.poller.unregister(connection.sock)
        self.nr_conns -= 1


class _Queued(NamedTuple):
    """A request that was given to the threads, and how long it may wait for one."""

    connection: "_Connection"
    answered: Future[Any]
    until: float


class _Connection(TConn):  # type: ignore[misc]
    """A connection whose heads are read by the main loop, and which ends without holding it up."""

    def __init__(
        self, cfg: object, sock: socket, client: object, server: object, linger: Callable[["_Connection"], None]
    ) -> None:
        super().__init__(cfg, sock, client, server)
        self.unreader = _Unreader(sock)
        self.data_ready = True
        self._linger = linger

    def init(self) -> None:
        """Begin to parse a head."""
        super().init()
        self.parser.unreader = self.unreader
        self.unreader.begin_parsing()

    def close(self, graceful: bool = False) -> None:  # noqa: FBT001, FBT002 (gunicorn's)
        """Close at once, or once the client has read the last answer."""
        if graceful:
            self._linger(self)
        else:
            util.close(self.sock)


class _Unreader(SocketUnreader):  # type: ignore[misc]
    """Reads from a socket: heads without waiting, bodies within their time."""

    def __init__(self, source: socket) -> None:
        super().__init__(source)
        self.head = bytearray()  # what has come of the next head, and perhaps of what follows it
        self.ready = False  # whether a head can be parsed without waiting, and a small body be read
        self._needed = 0  # bytes of both, once they are known
        self.until = inf  # when it ends that a body may be read
        self._ended = False
        self._in_head = True
        self._spare = 0.0  # seconds that a body may yet be waited for

    def begin_head(self) -> None:
        """Take what has come behind the last request."""
        if self.sock.gettimeout() != 0:
            self.sock.settimeout(0)
        self._in_head = True
        self.head += self.take_buffered()
        self._needed = 0
        self._look(0)

    def receive(self) -> None:
        """Read what has come of a head."""
        looked_at = max(0, len(self.head) - len(_END_OF_HEAD))
        try:
            piece = self.sock.recv(_PIECE)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        self.head += piece
        self._ended = not piece
        self._look(looked_at)

    def _look(self, looked_at: int) -> None:
        """See whether all has come that is needed."""
        if not self._needed:
            end = self.head.find(_END_OF_HEAD, looked_at)
            if end >= 0:
                self._needed = end + len(_END_OF_HEAD) + _small_body(self.head[: end + 2])
        enough = self._needed and len(self.head) >= self._needed
        self.ready = bool(enough) or self._ended or len(self.head) > _MAX_HEAD_BYTES

    def begin_parsing(self) -> None:
        """Hand the head to the parser."""
        self.unread(bytes(self.head))
        self.head.clear()

    def begin_body(self) -> None:
        """Let the body be read, as long as it comes."""
        self._in_head = False
        self._spare, self.until = BODY_GRACE_SECONDS, inf

    def chunk(self, size_hint: int | None = None) -> bytes:
        """Return the next piece of a body; raise TimeoutError where it does not come."""
        if self._ended:
            return b""
        if self._in_head:  # all of it should be here
            raise errors.LimitRequestHeaders("head")
        began, allowed = time.monotonic(), self.sock.gettimeout()
        limit = min(BODY_SECONDS, self._spare, self.until - began)
        if limit <= 0:
            raise TimeoutError
        self.sock.settimeout(limit)
        try:
            piece = bytes(super().chunk(size_hint))
        finally:
            self.sock.settimeout(allowed)
        self._spare += len(piece) / BODY_BYTES_PER_SECOND - (time.monotonic() - began)
        return piece


def _small_body(head: bytearray) -> int:
    """Return how many bytes of a body are to come before its request takes a thread: those of a small one."""
    found = _CONTENT_LENGTH.search(head)
    if found is None or _EXPECT.search(head):  # a client that expects an answer first sends nothing before
        return 0
    length = int(found[1])
    return length if length <= MAX_SMALL_BYTES else 0
