"""Answers requests that have come together by one thread, so that they share a round trip to the database.

A thread for each would cost more than the answers: all of them wait for one interpreter, and hand it over at each
system call. Whoever comes while some are being answered is among the next; nobody is waited for.
"""

import logging
import time
from collections import deque
from collections.abc import Sequence
from math import inf
from threading import Lock
from typing import Any, NamedTuple, Protocol
from wsgiref.types import WSGIEnvironment

from gunicorn.http import errors, wsgi

MOST = 16  # requests that are answered at a time
PATIENCE_SECONDS = 0.1  # those who wait get another thread where one is held up so long, by the database for example

logger = logging.getLogger(__name__)


class Ahead(Protocol):
    """What an application that can be asked for several requests at once offers."""

    def takes(self, head: bytes | bytearray) -> bool:
        """Return whether the request that begins so can be asked ahead; a body is never part of one."""

    def ask(self, environments: Sequence[WSGIEnvironment]) -> Sequence[bool]:
        """Ask for these requests, and let what was found go along with each; return which of them were asked."""


class _Waiting(NamedTuple):
    connection: Any
    until: float


class _Begun(NamedTuple):
    """A request that is being answered."""

    connection: Any
    request: Any
    response: Any
    environment: WSGIEnvironment
    answer: "_Answer"


class _Answer:
    """Takes what gunicorn writes to a socket, so that it can be sent at once."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def sendall(self, piece: bytes) -> None:
        self.pieces.append(piece)


class Together:
    """Those who wait to be answered together in one worker process."""

    def __init__(self, worker: Any, ahead: Ahead, seconds: float) -> None:  # noqa: ANN401 (it is what has this one)
        """Take the worker whose connections they are, the application's part, and how long a request may wait."""
        self._worker = worker
        self._seconds = seconds
        self._ahead = ahead
        self._waiting: deque[_Waiting] = deque()
        self._threads = 0  # that are answering
        self._patient_until = 0.0
        self._lock = Lock()  # held for a moment only

    def takes(self, connection: Any) -> bool:  # noqa: ANN401
        """Return whether the request whose head has come is one that can be answered together with others."""
        return self._ahead.takes(connection.unreader.head)

    def join(self, connection: Any) -> None:  # noqa: ANN401
        """Let a request be among the next that are answered."""
        with self._lock:
            self._waiting.append(_Waiting(connection, time.monotonic() + self._seconds))
        self._begin()

    def overdue(self, now: float) -> list[Any]:
        """Return the connections whose requests have waited too long; they are not answered any more."""
        found = []
        with self._lock:
            while self._waiting and self._waiting[0].until <= now:
                found.append(self._waiting.popleft().connection)
        self._begin()
        return found

    def _begin(self) -> None:
        """Lend a thread to those who wait, unless one is at others; what else wants a thread comes in between."""
        now = time.monotonic()
        with self._lock:
            if not self._waiting or (self._threads and now < self._patient_until):
                return
            self._threads += 1
            self._patient_until = now + PATIENCE_SECONDS
        self._worker.tpool.submit(self._answer)

    def patience(self) -> float:
        """Return how long the main loop may sleep before it looks whether those who wait need another thread."""
        return PATIENCE_SECONDS if self._waiting else inf

    def _answer(self) -> None:
        try:
            with self._lock:
                connections = [self._waiting.popleft().connection for _ in range(min(MOST, len(self._waiting)))]
            begun = [each for connection in connections if (each := self._parsed(connection)) is not None]
            asked = self._ask(begun)
            for each, was_asked in zip(begun, asked, strict=True):
                if not was_asked:  # it may have to wait for something, but nobody else for it
                    self._worker.tpool.submit(self._answer_alone, each)
            together = [each for each, was_asked in zip(begun, asked, strict=True) if was_asked]
            self._go_on([each.connection for each in together if self._answered(each)])
        except Exception:
            logger.exception("requests were not answered")
        finally:
            with self._lock:
                self._threads -= 1
                self._patient_until = 0.0  # if others are at work still, they are held up
            self._begin()

    def _answer_alone(self, begun: _Begun) -> None:
        if self._answered(begun):
            self._go_on([begun.connection])

    def _parsed(self, connection: Any) -> _Begun | None:  # noqa: ANN401
        """Return a request that is to be answered; None where it is none."""
        worker, answer = self._worker, _Answer()
        try:
            connection.init()
            request = next(connection.parser)
            response, environment = wsgi.create(request, answer, connection.client, connection.server, worker.cfg)
        except (errors.NoMoreData, StopIteration, OSError):
            self._end(connection)
        except Exception as error:  # noqa: BLE001 (whatever it is, it is told to this client alone)
            worker.handle_error(None, connection.sock, connection.client, error)
            self._end(connection)
        else:
            environment["wsgi.multithread"] = True
            return _Begun(connection, request, response, environment, answer)
        return None

    def _ask(self, begun: list[_Begun]) -> Sequence[bool]:
        try:
            return self._ahead.ask([each.environment for each in begun])
        except Exception:
            logger.exception("requests can't be asked ahead")  # each asks by itself, and tells what is wrong
            return [False] * len(begun)

    def _answered(self, begun: _Begun) -> bool:
        """Answer a request; return whether the connection may go on with the next."""
        connection, request, response, environment, answer = begun
        worker = self._worker
        worker.nr += 1
        if worker.nr >= worker.max_requests:
            worker.alive = False
        if not worker.alive or not worker.cfg.keepalive or len(worker.keepalived_conns) >= worker.max_keepalived:
            response.force_close()
        try:
            for piece in worker.wsgi(environment, response.start_response):
                response.write(piece)
            response.close()
        except Exception as error:  # noqa: BLE001
            worker.handle_error(request, connection.sock, connection.client, error)
            self._end(connection)
            return False
        return self._sent(connection, answer.pieces, keep=not response.should_close())

    def _sent(self, connection: Any, answer: list[bytes], *, keep: bool) -> bool:  # noqa: ANN401
        """Send an answer, as far as the client takes it at once; the rest gets a thread of its own."""
        if connection.sock.gettimeout() != 0:
            connection.sock.settimeout(0)
        try:
            sent = connection.sock.sendmsg(answer)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._end(connection)
            return False
        whole = sent == sum(map(len, answer))
        if not whole:
            self._worker.tpool.submit(self._send_rest, connection, b"".join(answer)[sent:], keep=keep)
        elif not keep:
            self._end(connection)
        return keep and whole

    def _send_rest(self, connection: Any, rest: bytes, *, keep: bool) -> None:  # noqa: ANN401
        if self._worker.send(connection, rest) and keep:
            self._go_on([connection])
        else:
            self._end(connection)

    def _go_on(self, connections: list[Any]) -> None:
        """Go on with the next requests of these connections: those that have come already are among the next."""
        others = []
        for connection in connections:
            connection.unreader.begin_head()
            if not connection.unreader.ready:  # what has come already must not grow with each request
                connection.unreader.receive()
            if connection.unreader.ready and self.takes(connection):
                self.join(connection)
            else:
                others.append(connection)
        if others:
            self._worker.method_queue.defer(self._worker.keep, others)

    def _end(self, connection: Any) -> None:  # noqa: ANN401
        self._worker.method_queue.defer(self._worker.end, connection)
