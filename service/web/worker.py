"""gunicorn's ASGI worker with the limits that it lacks: on silent and slow clients, and on connections.

Tried with gunicorn 27.0.1, whose worker holds a connection without a whole head for ever, closes one whose client has
ended its side before the answer, answers a broken body a second time, and accepts without end and without sharing.
"""

import asyncio
import logging
import os
import resource
import time
import uuid
from contextlib import suppress
from http import HTTPStatus
from socket import socket
from typing import Any

import msgspec
from gunicorn.asgi.parser import ParseError
from gunicorn.asgi.protocol import ASGIProtocol
from gunicorn.glogging import Logger
from gunicorn.workers.gasgi import ASGIWorker

from api.http.bodies import WHOLE
from api.http.headers import REQUEST_ID, SECURITY
from projections.trouble import Trouble
from service.web.load import Load

HEAD_SECONDS = 10.0  # for all of the request line and headers, also of a new connection
SEND_SECONDS = 20.0  # an answer may wait so long for its client to take it, and
SEND_BYTES_PER_SECOND = 4_096  # a second more for each so many bytes of it
LINGER_SECONDS = 2.0  # for the client's end after the last answer (RFC 9112, section 9.6)
MOST_TINY, TINY_BYTES = 1_000, 32  # so many pieces of a body may have fewer bytes than so on average
TAKE_SECONDS = 0.02  # between two looks at whether the application has taken what has come of a body
SWEEP_SECONDS = 0.5  # between two looks for connections whose time is up
MOST_CONNECTIONS = 10_000  # of one process
OTHER_DESCRIPTORS = 100  # that a process needs beside them
ROOM_SECONDS = 0.05  # after a connection that could not be accepted
SHARE_TRIES, SHARE_SECONDS = 5, 0.001  # a new connection is left to a worker with fewer so often, and so long each time

logger = logging.getLogger(__name__)


def most_connections() -> int:
    """Return how many connections a process can open; the limit of its file descriptors is raised as far as it may."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft = MOST_CONNECTIONS + OTHER_DESCRIPTORS
    soft = soft if most == resource.RLIM_INFINITY else min(soft, most)
    with suppress(ValueError, OSError):  # the kernel has a limit of its own below the hard one
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, most))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, min(soft - OTHER_DESCRIPTORS, MOST_CONNECTIONS))


class ErrorLog(Logger):  # type: ignore[misc]
    """gunicorn's log without one of accesses: the application has its own."""

    access_log_enabled = False


class Protocol(ASGIProtocol):  # type: ignore[misc]
    """One connection, with a time by which something must have happened."""

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401 (asyncio's)
        """Begin to wait for a head; where there are too many connections, the one that is idle longest makes room."""
        seconds = HEAD_SECONDS if self.worker.alive else LINGER_SECONDS
        self.until: float | None = time.monotonic() + seconds  # when the connection is closed
        self.fresh = True  # no request has come yet
        self.at_work = self.half_closed = self.broken = self.head_begun = False
        self.pieces = self.piece_bytes = 0  # of the body that comes
        self._closed: bool
        super().connection_made(transport)
        self.worker.protocols[self] = None
        self.worker.share()
        if self.worker.nr_conns > self.worker.worker_connections:
            idle = next((each for each in self.worker.protocols if not each.at_work and each is not self), self)
            idle.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self.worker.protocols.pop(self, None)
        super().connection_lost(exc)
        self.worker.share()

    def data_received(self, data: bytes) -> None:
        """Take a piece of a request; a head has its time from its first byte on, and an ended connection drops it."""
        if self._closed or self.broken:
            return
        if not self.at_work and self._current_request is None:
            self.head_begun = True
            self.until = self.until or time.monotonic() + HEAD_SECONDS
        super().data_received(data)

    def _on_headers_complete(self) -> Any:  # noqa: ANN401 (gunicorn's)
        """Begin with another body, of which no piece has come."""
        self.pieces = self.piece_bytes = 0
        return super()._on_headers_complete()

    def _on_body(self, chunk: bytes) -> None:
        """Take a piece of a body; many that are tiny would take the event loop a thousand times as long as one."""
        self.pieces += 1
        self.piece_bytes += len(chunk)
        if self.pieces > MOST_TINY and self.piece_bytes < self.pieces * TINY_BYTES:
            raise ParseError("the body comes in pieces that are too small")
        super()._on_body(chunk)

    def eof_received(self) -> bool:
        """Answer a client that has ended its side after a request; close where there is none."""
        self.half_closed = True
        receiver = self._body_receiver
        if receiver is not None and not receiver._complete:  # noqa: SLF001 (gunicorn's)
            self._cut_short(receiver)
        if self._current_request is None or self._closed:
            self.transport.close()
        return True

    def _cut_short(self, receiver: Any) -> None:  # noqa: ANN401 (gunicorn's)
        """Let the application know that the rest of a body will not come, once it has taken what has come."""
        if receiver.buffered and not self._closed:
            self.worker.loop.call_later(TAKE_SECONDS, self._cut_short, receiver)
        else:
            receiver.signal_disconnect()

    async def _serve_http_request(self, request: Any, sockname: Any, peername: Any) -> bool:  # noqa: ANN401
        self.until, self.at_work, self.head_begun, self.fresh = None, True, False, False
        try:
            return bool(await super()._serve_http_request(request, sockname, peername))
        finally:
            self.at_work = self.broken = False
            if self.half_closed:  # only what has come already can follow
                self.until = time.monotonic() + LINGER_SECONDS
            if self in self.worker.protocols:  # else its client has gone meanwhile
                del self.worker.protocols[self]
                self.worker.protocols[self] = None  # idle since now, so the last to make room

    def _build_http_scope(self, request: Any, sockname: Any, peername: Any) -> dict[str, Any]:  # noqa: ANN401
        """Let the application know, beside what ASGI has, whether the body has come as a whole already."""
        scope: dict[str, Any] = super()._build_http_scope(request, sockname, peername)
        if self._body_receiver._complete:  # noqa: SLF001 (gunicorn's)
            scope[WHOLE] = True
        return scope

    def _will_close(self, request: Any, response_requires_close: bool) -> bool:  # noqa: ANN401, FBT001
        """Close after a body that was not read as a whole, without waiting for the rest of it."""
        receiver = self._body_receiver
        unread = receiver is not None and not receiver._complete  # noqa: SLF001
        last = self.half_closed and not self._callback_parser.remaining()
        return unread or last or self.broken or super()._will_close(request, response_requires_close)

    def pause_writing(self) -> None:
        """Give a client that does not take its answer some time."""
        self._send_until(SEND_SECONDS)
        super().pause_writing()

    def resume_writing(self) -> None:
        """Go on: the client takes its answer."""
        if not self._closed:
            self.until = None
        super().resume_writing()

    def _send_until(self, seconds: float) -> None:
        """Give a connection so long, and longer for what its client has not taken yet."""
        left = self.transport.get_write_buffer_size()
        self.until = time.monotonic() + max(seconds, SEND_SECONDS if left else 0) + left / SEND_BYTES_PER_SECOND

    def _close_transport(self) -> None:
        """End the connection once the client has read the last answer: closed at once, it might never reach it."""
        if self._closed or self.broken:  # the application answers a broken body
            return
        self._closed = True
        self._send_until(LINGER_SECONDS)
        if self.half_closed or self.transport.is_closing():
            self.transport.close()
        else:
            self._resume_reading()  # what still comes is dropped
            self.transport.write_eof()

    def _send_error_response(self, status: int, _: str, extra_headers: Any = ()) -> None:  # noqa: ANN401
        """Answer what no application has seen, in the form of all other errors; a broken body is the application's."""
        if self._current_request is not None and self._body_receiver is not None:
            self.broken = True
            self._cut_short(self._body_receiver)
            return
        request_id = str(uuid.uuid4())
        text = {400: "The request is not HTTP/1.1", 408: "The request does not come", 500: "Internal error"}.get(
            status, HTTPStatus(status).phrase
        )
        body: dict[str, object] = {"error": text}
        if status == HTTPStatus.BAD_REQUEST:
            body["details"] = [{"field": "request", "error": text}]
        if status == HTTPStatus.INTERNAL_SERVER_ERROR:
            body["request_id"] = request_id
        headers = (("Content-Type", "application/json"), (REQUEST_ID, request_id), *SECURITY, *extra_headers)
        data = msgspec.json.encode(body)
        head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n" + "".join(f"{n}: {v}\r\n" for n, v in headers)
        self._safe_write(f"{head}Content-Length: {len(data)}\r\nConnection: close\r\n\r\n".encode("ascii") + data)
        logger.info("request refused", extra={"status": status, "request_id": request_id})

    def expire(self) -> None:
        """End a connection whose time is up."""
        if self.head_begun and not self._closed and not self.half_closed:
            self._send_error_response(HTTPStatus.REQUEST_TIMEOUT, "")
            self._close_transport()
        else:
            self.transport.abort()


class Worker(ASGIWorker):  # type: ignore[misc]
    """The worker: its connections are swept, bounded, and shared with the other workers."""

    load: Load | None = None  # shared by all workers, where there are several

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 (gunicorn's)
        """Begin with no connections."""
        super().__init__(*args, **kwargs)
        self.protocols: dict[Protocol, None] = {}  # the longest idle first
        self.full = Trouble(logger, "connections can't be accepted", "connections are accepted again")
        self._left_to_others = 0  # so many times in a row
        self._connecting: set[asyncio.Task[Any]] = set()
        self._ending = asyncio.Event()

    def handle_exit_signal(self) -> None:
        """End, without waiting for the next sweep."""
        super().handle_exit_signal()
        self._ending.set()

    def handle_quit_signal(self) -> None:
        """End at once, and without waiting for the next sweep."""
        super().handle_quit_signal()
        self._ending.set()

    async def _serve(self) -> None:
        logger.info("ready for up to %s connections", self.worker_connections)
        for listener in self.sockets:
            listener.sock.settimeout(0)
            self._listen(listener.sock)
        while self.alive and self.ppid == os.getppid():
            self.notify()
            self._sweep()
            self.asgi.sample()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), SWEEP_SECONDS)
        for listener in self.sockets:
            self.loop.remove_reader(listener.sock.fileno())
        await asyncio.gather(*self._connecting, asyncio.sleep(0), return_exceptions=True)
        self.asgi.drain()
        for idle in [each for each in self.protocols if not each.at_work and each._current_request is None]:  # noqa: SLF001
            if idle.fresh:  # its client could not know, and has sent its request, or is about to
                idle.until = time.monotonic() + LINGER_SECONDS
            else:
                idle._close_transport()  # noqa: SLF001
        sweeping = asyncio.ensure_future(self._sweep_until_the_end())
        await self._shutdown()
        sweeping.cancel()

    def _listen(self, listener: socket) -> None:
        if self.alive:  # else it was left to others just before the end
            self.loop.add_reader(listener.fileno(), self._accept, listener)

    def _accept(self, listener: socket) -> None:
        """Take one connection, unless a worker with fewer takes it: else the first worker awake would take all."""
        if self.load is not None and self.share() > self.load.least() and self._left_to_others < SHARE_TRIES:
            self._left_to_others += 1
            self.loop.remove_reader(listener.fileno())
            self.loop.call_later(SHARE_SECONDS, self._listen, listener)
            return
        self._left_to_others = 0
        try:
            client, _ = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # another process was faster, or the client has gone
        except OSError as error:  # no descriptor is left, or no memory
            self.full.met(error)
            for idle in [each for each in self.protocols if not each.at_work][:1]:
                idle.transport.abort()
            self.loop.remove_reader(listener.fileno())  # which stays readable: the loop would do nothing else
            self.loop.call_later(ROOM_SECONDS, self._listen, listener)
            return
        self.full.over()
        client.settimeout(0)
        connecting = self.loop.create_task(self.loop.connect_accepted_socket(lambda: Protocol(self), client))
        self._connecting.add(connecting)
        connecting.add_done_callback(self._connecting.discard)
        self.share()

    def share(self) -> int:
        """Let the other workers know how many connections this one has; return the number."""
        connections: int = self.nr_conns + sum(not each.done() for each in self._connecting)
        if self.load is not None:
            self.load.set(self.age, connections)
        return connections

    def _sweep(self) -> None:
        self.share()
        now = time.monotonic()
        for each in [each for each in self.protocols if each.until is not None and each.until <= now]:
            each.expire()

    async def _sweep_until_the_end(self) -> None:
        while True:
            self._sweep()
            await asyncio.sleep(SWEEP_SECONDS)
