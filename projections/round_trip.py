"""One statement asked several times in one round trip, since most of what a small one costs is to ask it alone.

libpq's pipeline mode sends all of them at once, and PostgreSQL runs them one after another, each with its own snapshot.
"""

import re
import select
import time
from collections.abc import Mapping, Sequence
from weakref import WeakSet

from psycopg import DataError, OperationalError
from psycopg.adapt import Transformer
from psycopg.errors import InvalidSqlStatementName, error_from_result
from psycopg.pq import ConnStatus, ExecStatus
from psycopg.pq.abc import PGconn, PGresult
from psycopg.rows import TupleRow

from domain.recorder import Database

MOST_SECONDS = 10.0  # for all of them; each is bounded by the connection's own time-out

_PARAMETER = re.compile(rb"%\((\w+)\)s")
_BINARY = 1


class Repeated:
    """A statement that each connection prepares once, under a name of its own."""

    def __init__(self, name: str, statement: bytes) -> None:
        """Take the name, which no other statement has, and the statement with its parameters as `%(name)s`."""
        self._name = name.encode()
        self._parameters = list(dict.fromkeys(found.decode() for found in _PARAMETER.findall(statement)))
        places = {each.encode(): b"$%d" % place for place, each in enumerate(self._parameters, 1)}
        self._statement = _PARAMETER.sub(lambda found: places[found[1]], statement)
        self._prepared: WeakSet[PGconn] = WeakSet()

    def rows_of_each(self, database: Database, given: Sequence[Mapping[str, object]]) -> list[list[TupleRow]]:
        """Return the rows for each set of parameters: text, numbers, truth values or None.

        Raises psycopg's errors: where one fails, all have failed.
        """
        encoding, connection = database.info.encoding, database.pgconn
        values = [[_told(each[name], encoding) for name in self._parameters] for each in given]
        self._prepare(connection, encoding)
        try:
            connection.enter_pipeline_mode()
            for told in values:
                connection.send_query_prepared(self._name, told, result_format=_BINARY)
            connection.pipeline_sync()
            results = _results(connection)
        except OperationalError:
            database.close()  # whatever may still come is nobody's
            raise
        connection.exit_pipeline_mode()
        try:
            _check(results, encoding)
        except InvalidSqlStatementName:
            self._prepared.discard(connection)  # somebody has deallocated it
            raise
        transformer = Transformer(database)
        rows = []
        for result in results:
            transformer.set_pgresult(result)
            rows.append(transformer.load_rows(0, result.ntuples, tuple))
        return rows

    def _prepare(self, connection: PGconn, encoding: str) -> None:
        if connection not in self._prepared:
            _check([connection.prepare(self._name, self._statement)], encoding)
            self._prepared.add(connection)


def _told(value: object, encoding: str) -> bytes | None:
    """Return a parameter as PostgreSQL reads it."""
    if value is None:
        return None
    if isinstance(value, bool):
        return b"t" if value else b"f"
    told = str(value).encode(encoding)
    if b"\0" in told:  # what follows it would be left out
        raise DataError("PostgreSQL text can't hold NUL")
    return told


def _results(connection: PGconn) -> list[PGresult]:
    """Return one result for each statement that was sent."""
    until = time.monotonic() + MOST_SECONDS
    awaited = select.poll()
    awaited.register(connection.socket, select.POLLIN)
    results: list[PGresult] = []
    while True:
        while connection.is_busy():
            awaited.modify(connection.socket, select.POLLIN | (select.POLLOUT if connection.flush() else 0))
            if not awaited.poll(max(0, until - time.monotonic()) * 1_000):
                raise OperationalError("the database does not answer in time")
            connection.consume_input()
        result = connection.get_result()
        if result is not None and result.status == ExecStatus.PIPELINE_SYNC:
            return results
        if result is not None:
            results.append(result)
        elif connection.status == ConnStatus.BAD:
            raise OperationalError(connection.get_error_message())


def _check(results: Sequence[PGresult], encoding: str) -> None:
    for result in results:
        if result.status not in (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK):
            raise error_from_result(result, encoding=encoding)
