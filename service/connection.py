"""A connection to PostgreSQL on which nothing that we rely on is left to the database, the role or the environment.

`ALTER DATABASE`, `ALTER ROLE`, PGOPTIONS, PGTZ, PGDATESTYLE and PGCLIENTENCODING act when a session starts, and libpq
sends PGTZ and PGDATESTYLE behind the options of the startup packet, so that they win. What is SET in the session wins
over all of them.
"""

from typing import Any, Self, TypeVar

import psycopg
from psycopg import OperationalError
from psycopg.abc import PQGen
from psycopg.errors import _WaitTimeout
from psycopg.rows import TupleRow
from psycopg.sql import SQL, Identifier, Literal

from domain.citus import IS_PRESENT
from projections.trouble import Trouble

ENCODING = "UTF8"
PINNED = {
    "client_encoding": ENCODING,
    "search_path": "public, pg_temp",  # temporary tables last: by default they would hide ours
    "default_transaction_isolation": "read committed",
    "default_transaction_deferrable": "off",
    "TimeZone": "UTC",
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "standard_conforming_strings": "on",
    "backslash_quote": "safe_encoding",
    "array_nulls": "on",
    "transform_null_equals": "off",
    "row_security": "on",
    "idle_session_timeout": "0",  # the pool and the loop keep connections
    "plan_cache_mode": "force_generic_plan",  # planning a read anew costs twice its execution
}
_PIN = (
    SQL("; ")
    .join(
        [
            *(
                SQL("SET {} = {}").format(
                    Identifier(name),
                    SQL(", ").join(map(Literal, value.split(", "))) if name == "search_path" else Literal(value),
                )
                for name, value in PINNED.items()
            ),
            IS_PRESENT,
        ]
    )
    .as_bytes()
)
# Where Citus is there: it refuses generic plans of many statements, and compiling takes longer than running them.
_PIN_DISTRIBUTED = SQL("SET plan_cache_mode = force_custom_plan; SET jit = off")
_MARGIN_SECONDS = 1.0  # the server's own time-out, which says why, comes first

T = TypeVar("T")


class EncodingError(OperationalError):
    """The database stores text in another encoding than UTF-8; the text names it."""


class Connection(psycopg.Connection[TupleRow]):
    """A connection with pinned settings, of which each wait for the server has an end."""

    deadline: float  # seconds, for each wait
    outage: Trouble | None
    is_distributed: bool  # see `domain.citus`

    @classmethod
    def connect(  # type: ignore[override]
        cls,
        conninfo: str = "",
        *,
        statement_timeout: int,
        outage: Trouble | None = None,
        **parameters: Any,  # noqa: ANN401 (psycopg's)
    ) -> Self:
        """Return a new connection in autocommit; `statement_timeout` is the server's, in seconds.

        `outage` begins where the database does not answer, and ends where it does. Raises OperationalError, and its
        EncodingError.
        """
        try:
            connection = super().connect(conninfo, **{**parameters, "autocommit": True})
            connection.deadline, connection.outage = statement_timeout + _MARGIN_SECONDS, None
            connection.is_distributed = _is_present(connection.execute(_PIN))
            if connection.is_distributed:
                connection.execute(_PIN_DISTRIBUTED)
            encoding = connection.info.parameter_status("server_encoding")
            if encoding != ENCODING:
                connection.close()
                raise EncodingError(f"DATABASE_URL: the database's encoding is {encoding}, expected {ENCODING}")
        except OperationalError as error:
            if outage is not None:
                outage.met(error)
            raise
        if outage is not None:
            outage.over()
        connection.outage = outage
        return connection

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        """Wait for the server as psycopg does; without `timeout` the connection is lost when the time is up.

        A server that is frozen says nothing, and its host keeps the connection alive, so nothing else would end this.
        """
        if timeout is not None:
            return super().wait(gen, interval, timeout)
        try:
            answer = super().wait(gen, interval, self.deadline)
        except _WaitTimeout:
            self.pgconn.finish()  # its late answer must not be read
            error = OperationalError("the database does not answer in time")
            if self.outage is not None:
                self.outage.met(error)
            raise error from None
        if self.outage is not None:
            self.outage.over()
        return answer


def _is_present(pinned: psycopg.Cursor[TupleRow]) -> bool:
    """Return whether Citus is there: the result of the last statement of `_PIN`."""
    while pinned.nextset():
        pass
    return pinned.fetchone() == (True,)


def check(connection: psycopg.Connection[TupleRow]) -> None:
    """Raise OperationalError where the server has closed the connection meanwhile; this asks the server nothing."""
    connection.pgconn.consume_input()
