"""Connections to PostgreSQL that can never hang, and the migrations that bring a database to this version."""

import logging
import re
import time
from importlib.resources import files
from typing import NamedTuple

from psycopg import OperationalError
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.errors import DuplicateObject, DuplicateTable, UniqueViolation
from psycopg.sql import SQL
from psycopg_pool import ConnectionPool

from domain.recorder import Database, Pool
from projections import schema
from projections.building import epochs
from projections.schema import Schema
from projections.trouble import Trouble
from service import citus
from service.connection import Connection, EncodingError, check

REQUEST_TIMEOUT = 5  # seconds, of a statement that answers a request
BATCH_TIMEOUT = 120  # seconds, of a statement of the projector or of a replay
POOL_TIMEOUT_SECONDS = 2.0  # a request waits for a connection no longer, and no attempt to connect backs off longer
FAIL_OVER_SECONDS = 10.0  # a command waits so long for a standby to take over
_LOOK_SECONDS = 0.5  # between two looks for it

_CREATE = SQL("CREATE TABLE IF NOT EXISTS migration (version integer PRIMARY KEY, applied_at timestamptz NOT NULL)")
_LACKS_COLUMN = SQL("""
SELECT NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'migration'::regclass AND attname = 'works_with')
""")
_ADD_COLUMN = SQL("ALTER TABLE migration ADD COLUMN works_with integer")
_RECORD = SQL("INSERT INTO migration (version, applied_at, works_with) VALUES (%s, now(), %s)")
_SERIALISE = SQL("LOCK TABLE migration IN EXCLUSIVE MODE")
_ATTEMPTS = 5
_MOVE_SECONDS = 86_400.0
_WORKS_WITH = re.compile(r"^-- works with: ([0-9]+)$", re.MULTILINE)

logger = logging.getLogger(__name__)


class Migration(NamedTuple):
    """One numbered step of the schema."""

    version: int
    name: str
    statements: str
    works_with: int | None  # programs of this migration or a later one go on working with it; None: no older one does


def conninfo(url: str, statement_timeout: int, *, standby: bool = False) -> str:
    """Return the URL with time-outs and keepalives: no caller hangs, and no frozen peer locks a head for ever.

    Of several hosts, the one that takes writes is connected to; with `standby` any one that is a standby.
    """
    parameters = conninfo_to_dict(url)
    options = (
        f"{parameters.get('options') or ''} -c lock_timeout=2s -c idle_in_transaction_session_timeout=10s"
        f" -c statement_timeout={statement_timeout}s"
    )
    if standby:
        parameters.setdefault("load_balance_hosts", "random")
    return make_conninfo(
        "",
        **{
            **parameters,
            "options": options,
            "target_session_attrs": "standby" if standby else "read-write",
            "application_name": "campaign-analytics",
            "connect_timeout": 2,
            # A primary whose machine has gone says nothing: after 8 s its connections are lost, and another host tried.
            "keepalives_idle": 4,
            "keepalives_interval": 2,
            "keepalives_count": 2,
            "tcp_user_timeout": 8_000,
        },
    )


def connect(url: str, *, statement_timeout: int = BATCH_TIMEOUT) -> Connection:
    """Return a connection in autocommit; the caller closes it. Raises what `Connection.connect` raises."""
    return Connection.connect(conninfo(url, statement_timeout), statement_timeout=statement_timeout)


def connect_patiently(url: str, *, statement_timeout: int = BATCH_TIMEOUT) -> Connection:
    """Do what `connect` does; where the URL names several hosts, wait for one that takes writes, in a fail-over."""
    several = "," in str(conninfo_to_dict(url).get("host"))
    until = time.monotonic() + (FAIL_OVER_SECONDS if several else 0)
    while True:
        try:
            return connect(url, statement_timeout=statement_timeout)
        except OperationalError as error:
            if isinstance(error, EncodingError) or time.monotonic() >= until:
                raise
            logger.debug("no host takes writes yet: %s", error)
        time.sleep(_LOOK_SECONDS)


def open_pool(
    url: str,
    *,
    size: int,
    statement_timeout: int = REQUEST_TIMEOUT,
    outage: Trouble | None = None,
    standby: bool = False,
) -> Pool:
    """Return a pool of at most `size` connections in autocommit, opened in the background; the caller closes it.

    `outage`, where one is to be logged, lasts while the database does not answer. The connections are to the server
    that takes writes, or to a `standby`.
    """
    return ConnectionPool(
        conninfo(url, statement_timeout, standby=standby),
        connection_class=Connection,
        kwargs={"statement_timeout": statement_timeout, "outage": outage},
        min_size=1,
        max_size=size,
        timeout=POOL_TIMEOUT_SECONDS,
        reconnect_timeout=POOL_TIMEOUT_SECONDS,
        max_waiting=4 * size,
        check=check,
        open=True,
    )


def check_encoding(url: str) -> None:
    """Raise EncodingError where the database answers and stores text in another encoding than ours."""
    try:
        connect(url).close()
    except EncodingError:
        raise
    except OperationalError as error:
        logger.info("the database's encoding can't be checked yet: %s", error)


def new_outage() -> Trouble:
    """Return what logs when the database stops answering, and when it answers again."""
    return Trouble(logger, "the database does not answer", "the database answers again")


def migrations() -> list[Migration]:
    """Return all migrations of this version in order."""
    scripts = [file for file in files("service").joinpath("migrations").iterdir() if file.name.endswith(".sql")]
    return [
        _migration(file.name, file.read_text(encoding="utf-8")) for file in sorted(scripts, key=lambda file: file.name)
    ]


def _migration(name: str, statements: str) -> Migration:
    declared = _WORKS_WITH.search(statements)
    return Migration(int(name.split("_", maxsplit=1)[0]), name, statements, declared and int(declared[1]))


def known() -> frozenset[int]:
    """Return the migrations that this version knows."""
    return frozenset(migration.version for migration in migrations())


def migrate(url: str) -> list[str]:
    """Apply the migrations that the database lacks, each once, in one transaction; return their names.

    Where Citus is there, tables that are not distributed yet are, in the same transaction, and are returned too.

    Concurrent calls, on any machine, wait for the first one and then have nothing to apply. Migrations of a newer
    version stay. Raises EncodingError.
    """
    with connect_patiently(url) as database:
        database.execute("SET lock_timeout = '60s'")
        if database.is_distributed:  # all rows may have to move to their nodes
            database.execute("SET statement_timeout = 0")
            database.deadline = _MOVE_SECONDS
        _create_table(database)
        with database.transaction():
            database.execute(_SERIALISE)
            if database.execute(_LACKS_COLUMN).fetchone() == (True,):
                database.execute(_ADD_COLUMN)
            applied = schema.applied_to(database)
            lacking = [migration for migration in migrations() if migration.version not in applied]
            for migration in lacking:
                database.execute(migration.statements.encode())
                database.execute(_RECORD, (migration.version, migration.works_with))
            distributed = citus.distribute(database)
        citus.empty_here(database, distributed)
        epochs.compare_identity(database)
    return [*(migration.name for migration in lacking), *(f"distributed {table}" for table in distributed)]


def schema_of(database: Database) -> Schema:
    """Return whether this version can work with the database's schema."""
    return schema.judge(schema.applied_to(database), known())


def _create_table(database: Database) -> None:
    """Create the table of migrations; two that do so at once may still collide in PostgreSQL's catalogue."""
    for attempt in range(_ATTEMPTS):
        try:
            database.execute(_CREATE)
        except (UniqueViolation, DuplicateObject, DuplicateTable):
            if attempt + 1 == _ATTEMPTS:
                raise
        else:
            return
