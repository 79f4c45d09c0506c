"""The event loop's connections to PostgreSQL: statements are sent without waiting for earlier answers.

libpq's pipeline mode carries them (PostgreSQL documentation, "Pipeline Mode"). Statements that come in one tick of the
loop share a sync point, and so one system call on either side; each has a snapshot of its own. Where one of them fails,
those after it, which PostgreSQL skips, are sent again, each with a sync point of its own: an error is one caller's.
So are statements whose preparation had failed in an earlier batch.
"""

import asyncio
import os
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from itertools import chain
from typing import NamedTuple

from psycopg import OperationalError, abc
from psycopg.adapt import Transformer
from psycopg.errors import (
    DuplicatePreparedStatement,
    InvalidSqlStatementName,
    LockNotAvailable,
    QueryCanceled,
    error_from_result,
)
from psycopg.pq import ConnStatus, DiagnosticField, ExecStatus
from psycopg.pq.abc import PGresult
from psycopg.rows import TupleRow

from domain.citus import is_distributed
from domain.recorder import Database
from projections.statements import BINARY, Statement

ANSWER_SECONDS = 6.0  # the server ends a statement after 5; without an answer for longer a connection is given up
MOST_SENT = 1_000  # statements without an answer on one connection; the next request is refused at once
LOOK_SECONDS = 1.0  # between two looks at whether the oldest statement is overdue

_NOT_PREPARED, _ALREADY_PREPARED = (
    str(each.sqlstate).encode() for each in (InvalidSqlStatementName, DuplicatePreparedStatement)
)
_OVERDUE = (QueryCanceled, LockNotAvailable)  # the server's own time-outs

Borrow = Callable[[], Awaitable[Database]]


class TooManySentError(Exception):
    """More statements than `MOST_SENT` wait for their answers, or too many others wait for a connection."""


class _Sent(NamedTuple):
    """A statement and where its result goes; without the latter it is to be prepared, or `precedes` another."""

    statement: Statement
    values: list[bytes | None]
    answer: asyncio.Future[PGresult] | None
    precedes: asyncio.Future[PGresult] | None = None  # where the result of the statement right after it goes
    preceded_by: "_Sent | None" = None


class _Batch(NamedTuple):
    """Statements in front of one sync point, and their results as far as they have come."""

    sent: list[_Sent]
    results: list[PGresult]
    at: float  # seconds of the loop's clock


class Pipeline:
    """One connection of the loop, opened with the first statement, and again after it was lost."""

    def __init__(self, borrow: Borrow, give_back: Callable[[Database], None]) -> None:
        """Take where connections come from and go to; the latter is called on the loop with a closed connection.

        `borrow` raises psycopg's errors and TooManySentError.
        """
        self._borrow = borrow
        self._give_back = give_back
        self._database: Database | None = None
        self._opening: asyncio.Task[None] | None = None
        self._prepared: set[bytes] = set()
        self._queued: list[_Sent] = []  # to be sent at the end of this tick
        self._sent: deque[_Batch] = deque()
        self._waiting = 0
        self.opened = 0  # how often the connection was opened
        self._loaders: dict[bytes, abc.Transformer] = {}  # by statement: they remember how its columns are read
        self._writing = False
        self._descriptor = -1
        self._loop: asyncio.AbstractEventLoop  # that it was opened on
        self._watch: asyncio.TimerHandle | None = None
        self.on_notify: Callable[[str], None] = lambda _: None  # called with the payload of each NOTIFY that comes

    @property
    def waiting(self) -> int:
        """Return how many statements wait for their answers."""
        return self._waiting

    async def rows(self, statement: Statement, parameters: Mapping[str, object]) -> list[TupleRow]:
        """Send a statement and return its rows.

        Raises psycopg's errors, the statement's own ones or OperationalError where the connection is lost, and
        TooManySentError. A cancelled caller breaks no other caller's answer.
        """
        if self._waiting >= MOST_SENT:
            raise TooManySentError
        self._waiting += 1
        try:
            if await self.is_distributed():
                statement = statement.routed
            values = statement.values(parameters)
            loop = asyncio.get_running_loop()
            answer: asyncio.Future[PGresult] = loop.create_future()
            if not self._queued:
                loop.call_soon(self._send_queued)
            preceding = statement.preceded_by
            first = None if preceding is None else _Sent(preceding, preceding.values(parameters), None, precedes=answer)
            self._queued.append(_Sent(statement, values, answer, preceded_by=first))
            result = await answer
        finally:
            self._waiting -= 1
        if result.status not in (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK):
            error = error_from_result(result, encoding="utf-8")
            if isinstance(error, _OVERDUE) and self._sent:
                self._lose(error)  # the statements after it have waited as long, and would have to wait again
            raise error
        transformer = self._loaders.get(statement.name)
        if transformer is None:
            transformer = self._loaders[statement.name] = Transformer()
            transformer.set_pgresult(result)
        else:  # its columns are of the same types as before
            transformer.set_pgresult(result, set_loaders=False)
        return transformer.load_rows(0, result.ntuples, tuple)

    async def is_distributed(self) -> bool:
        """Return whether Citus distributes the database; opens the connection where there is none."""
        if self._database is None:
            await self._open()
        return is_distributed(self._database) if self._database is not None else False

    def close(self) -> None:
        """Close the connection; callers that still wait get OperationalError."""
        self._lose(OperationalError("the service is closing"))

    async def _open(self) -> None:
        if self._opening is None:
            self._opening = asyncio.ensure_future(self._connect())
            self._opening.add_done_callback(
                lambda task: task.cancelled() or task.exception()
            )  # all callers may be cancelled
        await asyncio.shield(self._opening)  # a cancelled caller does not cancel it for the others

    async def _connect(self) -> None:
        try:
            database = await self._borrow()
            connection = database.pgconn
            try:
                connection.nonblocking = 1
                connection.enter_pipeline_mode()
                # A descriptor of our own: libpq closes its one as soon as the server has gone, and the number may then
                # name another file before the loop notices.
                self._descriptor = os.dup(connection.socket)
            except (OperationalError, OSError) as error:
                database.close()
                self._give_back(database)
                raise OperationalError(f"a connection to the database can't be used: {error}") from error
            self._prepared = set()
            self._loaders = {}
            self._database = database
            self.opened += 1
            self._loop = asyncio.get_running_loop()
            self._loop.add_reader(self._descriptor, self._on_readable)
        finally:
            self._opening = None

    def _send_queued(self) -> None:
        """Send what has been queued in this tick, without those whose callers have given up."""
        queued, self._queued = self._queued, []
        waiting = [each for each in queued if each.answer is not None and not each.answer.done()]
        if waiting:
            self._send(waiting)

    def _send(self, statements: list[_Sent]) -> None:
        if self._database is None:  # lost in this very tick
            self._fail(statements, OperationalError("the connection to the database is lost"))
            return
        connection, batch = self._database.pgconn, list[_Sent]()
        self._sent.append(_Batch(batch, [], self._loop.time()))
        try:
            for each in chain.from_iterable(filter(None, (sent.preceded_by, sent)) for sent in statements):
                statement = each.statement
                if statement.name not in self._prepared:
                    connection.send_prepare(statement.name, statement.text)
                    self._prepared.add(statement.name)
                    batch.append(_Sent(statement, [], None))
                batch.append(each)
                connection.send_query_prepared(
                    statement.name, each.values, param_formats=statement.formats, result_format=BINARY
                )
            connection.pipeline_sync()  # sends at once what the socket takes
        except OperationalError as error:
            self._fail(statements, error)
            self._lose(error)
            return
        self._flush()
        if self._watch is None:
            self._watch = self._loop.call_later(LOOK_SECONDS, self._check_overdue)

    def _flush(self) -> None:
        """Send what the socket has not taken yet, as soon as it takes more."""
        if self._database is None:
            return
        connection = self._database.pgconn
        try:
            left = connection.flush()
        except OperationalError as error:
            self._lose(error)
            return
        if left and not self._writing:
            self._loop.add_writer(self._descriptor, self._flush)
        elif self._writing and not left:
            self._loop.remove_writer(self._descriptor)
        self._writing = bool(left)

    def _on_readable(self) -> None:
        if self._database is None:
            return
        connection = self._database.pgconn
        try:
            connection.consume_input()
            while self._sent and not connection.is_busy():
                result = connection.get_result()
                if result is None and connection.status == ConnStatus.BAD:
                    break
                self._take(result)
            while (notification := connection.notifies()) is not None:
                self.on_notify(notification.extra.decode())
        except OperationalError as error:
            self._lose(error)
            return
        if connection.status == ConnStatus.BAD:
            self._lose(OperationalError(connection.get_error_message()))

    def _take(self, result: PGresult | None) -> None:
        """Collect results until their sync point, where all statements of a batch have ended."""
        if result is None:
            return
        if result.status != ExecStatus.PIPELINE_SYNC:
            self._sent[0].results.append(result)
            return
        batch = self._sent.popleft()
        again, failed = list[_Sent](), dict[object, PGresult]()
        for sent, each in zip(batch.sent, batch.results, strict=True):
            corrected = each.status == ExecStatus.FATAL_ERROR and self._correct_prepared(sent.statement.name, each)
            outcome = failed.get(sent.answer) or failed.get(sent.statement.name, each)
            if sent.answer is None:
                if not corrected:
                    self._note_failure(sent, outcome, failed)
            elif not sent.answer.done():
                if corrected or outcome.status == ExecStatus.PIPELINE_ABORTED:
                    again.append(sent)
                else:
                    sent.answer.set_result(outcome)
        for sent in again:
            self._send([sent])

    def _correct_prepared(self, name: bytes, failure: PGresult) -> bool:
        """Correct what is known to be prepared by a failure; return whether the statement is to be sent again."""
        state = failure.error_field(DiagnosticField.SQLSTATE)
        if state == _NOT_PREPARED:  # its preparation failed in an earlier batch, or it was deallocated
            self._prepared.discard(name)
        elif state == _ALREADY_PREPARED:  # by another batch that was sent again
            self._prepared.add(name)
        return state in (_NOT_PREPARED, _ALREADY_PREPARED)

    def _note_failure(self, sent: _Sent, result: PGresult, failed: dict[object, PGresult]) -> None:
        """Note failures: of a preparation by the statement's name, of a preceding one by the next one's answer."""
        if sent.precedes is None and result.status != ExecStatus.COMMAND_OK:
            self._prepared.discard(sent.statement.name)
        if result.status == ExecStatus.FATAL_ERROR:
            failed[sent.precedes or sent.statement.name] = result

    def _check_overdue(self) -> None:
        """Close a connection whose oldest statement is overdue: the server is frozen, or the way to it is cut."""
        self._watch = None
        if not self._sent:
            return
        if self._loop.time() - self._sent[0].at > ANSWER_SECONDS:
            self._lose(OperationalError("the database does not answer in time"))
        else:
            self._watch = self._loop.call_later(LOOK_SECONDS, self._check_overdue)

    def _lose(self, error: OperationalError) -> None:
        database, self._database = self._database, None
        if database is None:
            return
        if not self._loop.is_closed():
            self._loop.remove_reader(self._descriptor)
            self._loop.remove_writer(self._descriptor)
        os.close(self._descriptor)
        self._writing = False
        batches, self._sent = self._sent, deque()
        for batch in batches:
            self._fail(batch.sent, error)
        database.close()
        self._give_back(database)

    def _fail(self, statements: list[_Sent], error: OperationalError) -> None:
        for each in statements:
            if each.answer is not None and not each.answer.done():
                each.answer.set_exception(error)
