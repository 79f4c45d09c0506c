"""`/metrics` and `/healthz` of a projector that runs alone, in a thread: whatever comes of it, projecting goes on."""

import asyncio
import logging
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from threading import Thread

import psycopg

from api import exposition
from api.http.headers import SECURITY
from api.telemetry import Measurements
from projections import health
from projections.building import status
from service import database
from service.connection import Connection
from service.processes.supervisor import listen, url_of

LOOK_SECONDS = 2.0  # an answer waits no longer for the database, then it has what was seen last
SIZES_SECONDS = 60.0  # between two looks at the sizes of tables
CONNECTION_SECONDS = 10.0  # of a connection, from its first byte to the last one
MOST_CONNECTIONS = 16
MOST_HEAD = 8_192  # bytes

_PLAIN = "text/plain; charset=utf-8"

logger = logging.getLogger(__name__)


@contextmanager
def serving(bind: tuple[str, int], database_url: str, measurements: Measurements) -> Iterator[None]:
    """Answer at this host and port meanwhile; raise PortInUseError where that can't be."""
    with listen(*bind) as listener:
        server = _Server(_Database(database_url, measurements))
        thread = Thread(target=server.run, args=(listener,), name="metrics", daemon=True)
        thread.start()
        logger.info("metrics listen at %s", url_of(listener))
        try:
            yield
        finally:
            server.stop()
            thread.join(LOOK_SECONDS)


class _Database:
    """A connection of its own to look at the database with, since the projector's may be busy for minutes."""

    def __init__(self, url: str, measurements: Measurements) -> None:
        self.measurements = measurements
        self._url = url
        self._connection: Connection | None = None
        self._sizes_at = float("-inf")

    def look(self) -> bool:
        """Note what there is to be seen, in a thread; return whether the database answers."""
        try:
            if self._connection is None:
                self._connection = database.connect(self._url, statement_timeout=int(LOOK_SECONDS))
            self._note(self._connection)
        except psycopg.Error as error:
            logger.debug("the metrics can't look at the database: %s", error)
            self.close()
            return False
        return True

    def _note(self, connection: Connection) -> None:
        asked = time.time()
        state = health.state(connection)
        ahead = health.clock_ahead(asked, time.time(), state.clock)
        self.measurements.state_seen(ahead, writable=state.writable)
        if database.schema_of(connection).fault is not None:
            return
        self.measurements.lag_seen(status.lag(connection))
        if time.monotonic() - self._sizes_at >= SIZES_SECONDS:
            self._sizes_at = time.monotonic()
            with suppress(psycopg.errors.LockNotAvailable):  # the sizes before are told
                self.measurements.sizes_seen(health.sizes(connection))

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class _Server:
    """The smallest server of HTTP/1.1 that Prometheus and probes need: one request a connection."""

    def __init__(self, looking: _Database) -> None:
        self._database = looking
        self._looking: asyncio.Task[bool] | None = None
        self._silent: dict[asyncio.Task[None], None] = {}  # connections whose request has not come, the oldest first
        self._answered = 0  # connections whose request is being answered
        self._loop = asyncio.new_event_loop()
        self._stopped = asyncio.Event()

    def run(self, listener: socket.socket) -> None:
        """Serve until it is stopped, in a thread; whatever ends it sooner is logged and ends nothing else."""
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._serve(listener))
        except Exception:
            logger.exception("metrics are answered no longer")

    def stop(self) -> None:
        """Stop; called by another thread."""
        with suppress(RuntimeError):  # it has ended already
            self._loop.call_soon_threadsafe(self._stopped.set)

    async def _serve(self, listener: socket.socket) -> None:
        async with await asyncio.start_server(self._take, sock=listener, limit=MOST_HEAD):
            await self._stopped.wait()
        if self._looking is not None:
            await asyncio.wait([self._looking], timeout=LOOK_SECONDS)
        self._database.close()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request; a broken or slow one is closed, and of too many the one that is silent longest."""
        try:
            async with asyncio.timeout(CONNECTION_SECONDS):
                head = await self._head(reader)
                if self._answered < MOST_CONNECTIONS:
                    self._answered += 1
                    try:
                        writer.write(await self._answer(head))
                        await writer.drain()
                    finally:
                        self._answered -= 1
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # there is nobody to tell
        except asyncio.CancelledError:
            pass  # it makes room, or the server ends; asyncio's streams would log a task that was cancelled
        finally:
            writer.close()

    async def _head(self, reader: asyncio.StreamReader) -> bytes:
        """Return the head of a request as soon as it has come."""
        task = asyncio.current_task()
        assert task is not None
        self._silent[task] = None
        try:
            if len(self._silent) > MOST_CONNECTIONS:
                next(iter(self._silent)).cancel()
            return await reader.readuntil(b"\r\n\r\n")
        finally:
            del self._silent[task]

    async def _answer(self, head: bytes) -> bytes:
        method, _, rest = head.partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0].rstrip(b"/")
        status, kind, body = HTTPStatus.OK, _PLAIN, b"ok\n"
        if path not in (b"/metrics", b"/healthz"):
            status, body = HTTPStatus.NOT_FOUND, b"Expected /metrics or /healthz\n"
        elif method not in (b"GET", b"HEAD"):
            status, body = HTTPStatus.METHOD_NOT_ALLOWED, b"Expected GET\n"
        elif path == b"/metrics":
            kind, body = exposition.CONTENT_TYPE, await self._metrics()
        fields = (*SECURITY, ("Content-Type", kind), ("Content-Length", len(body)), ("Connection", "close"))
        lines = [f"HTTP/1.1 {status} {status.phrase}", *(f"{name}: {value}" for name, value in fields), "", ""]
        return "\r\n".join(lines).encode("ascii") + (b"" if method == b"HEAD" else body)

    async def _metrics(self) -> bytes:
        if self._looking is None or self._looking.done():  # else it still waits for the database
            self._looking = asyncio.ensure_future(asyncio.to_thread(self._database.look))
        looking = self._looking
        await asyncio.wait([looking], timeout=LOOK_SECONDS)
        is_up = looking.done() and looking.result()
        return await asyncio.to_thread(exposition.text, self._database.measurements.counts, is_up=is_up)
