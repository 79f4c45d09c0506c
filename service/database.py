"""Connections to PostgreSQL that can never hang, and the migrations that bring a database to this version."""

from importlib.resources import files
from typing import NamedTuple

import psycopg
from psycopg import Connection
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.errors import DuplicateObject, DuplicateTable, UndefinedTable, UniqueViolation
from psycopg.sql import SQL
from psycopg_pool import ConnectionPool

from domain.recorder import Database, Pool
from projections.building import epochs

REQUEST_TIMEOUT = "5s"  # a statement that answers a request
BATCH_TIMEOUT = "120s"  # a statement of the projector or of a replay
POOL_TIMEOUT_SECONDS = 2.0  # a request waits for a connection no longer, and no attempt to connect backs off longer

_CREATE = SQL("CREATE TABLE IF NOT EXISTS migration (version integer PRIMARY KEY, applied_at timestamptz NOT NULL)")
_APPLIED = SQL("SELECT version FROM migration")
_RECORD = SQL("INSERT INTO migration (version, applied_at) VALUES (%s, now())")
_SERIALISE = SQL("LOCK TABLE migration IN EXCLUSIVE MODE")
_ATTEMPTS = 5


class Migration(NamedTuple):
    """One numbered step of the schema."""

    version: int
    name: str
    statements: str


def conninfo(url: str, statement_timeout: str) -> str:
    """Return the URL with time-outs and keepalives: no caller hangs, and no frozen peer holds a head for ever."""
    given = conninfo_to_dict(url)
    options = (  # planning a read anew costs twice its execution
        f"{given.get('options') or ''} -c lock_timeout=2s -c idle_in_transaction_session_timeout=10s"
        f" -c statement_timeout={statement_timeout} -c timezone=UTC -c plan_cache_mode=force_generic_plan"
    )
    return make_conninfo(
        url,
        options=options,
        # Of several hosts, the one that takes writes: a standby may lag behind a link that has gone.
        target_session_attrs=given.get("target_session_attrs") or "read-write",
        application_name="campaign-analytics",
        client_encoding="utf8",  # whatever the database's or the environment's default is
        connect_timeout=2,
        keepalives_idle=10,
        keepalives_interval=5,
        keepalives_count=3,
        tcp_user_timeout=15_000,
    )


def open_pool(url: str, *, size: int, statement_timeout: str = REQUEST_TIMEOUT) -> Pool:
    """Return a pool of at most `size` autocommitting connections, opened in the background; the caller closes it."""
    return ConnectionPool(
        conninfo(url, statement_timeout),
        connection_class=Connection[tuple[object, ...]],
        kwargs={"autocommit": True},
        min_size=1,
        max_size=size,
        timeout=POOL_TIMEOUT_SECONDS,
        reconnect_timeout=POOL_TIMEOUT_SECONDS,
        max_waiting=4 * size,
        open=True,
    )


def migrations() -> list[Migration]:
    """Return all migrations of this version in order."""
    found = [file for file in files("service").joinpath("migrations").iterdir() if file.name.endswith(".sql")]
    return [
        Migration(int(file.name.split("_")[0]), file.name, file.read_text(encoding="utf-8"))
        for file in sorted(found, key=lambda file: file.name)
    ]


def migrate(url: str) -> list[str]:
    """Apply the migrations that the database lacks, each once, in one transaction; return their names.

    Whoever comes second, from wherever, waits for the first and finds nothing left to do.
    """
    with psycopg.connect(conninfo(url, BATCH_TIMEOUT), autocommit=True) as database:
        database.execute("SET lock_timeout = '60s'")
        _create_table(database)
        with database.transaction():
            database.execute(_SERIALISE)
            applied = {version for (version,) in database.execute(_APPLIED)}
            lacking = [migration for migration in migrations() if migration.version not in applied]
            for migration in lacking:
                database.execute(migration.statements.encode())
                database.execute(_RECORD, (migration.version,))
        epochs.compare_identity(database)
    return [migration.name for migration in lacking]


def schema_fault(database: Database) -> str | None:
    """Say in what the database's schema differs from this version's; None where it does not."""
    try:
        applied = {version for (version,) in database.execute(_APPLIED)}
    except UndefinedTable:
        applied = set()
    expected = {migration.version for migration in migrations()}
    if applied == expected:
        return None
    return "the database is older than this version: run migrate" if expected - applied else "the database is newer"


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
