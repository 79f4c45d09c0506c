"""Databases for tests: made on the run's server, emptied and lent again, so that few tests wait for a new one."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.errors import OperationalError, UndefinedTable

from domain.recorder import Database, Pool
from projections.building import generations
from service import database
from tests.support.waiting import wait_for

_SCHEMA_TABLES = ("migration", "fold_version", "database_identity")  # their rows belong to the schema
_END_SESSIONS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""
# DELETE takes a tenth of the time of TRUNCATE, but leaves the dead rows of a large test to be read by all later ones.
_EMPTY = f"""
DO $$
DECLARE
    name text;
BEGIN
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename NOT IN {_SCHEMA_TABLES} LOOP
        IF pg_relation_size(name::regclass) > 1000000 THEN
            EXECUTE format('TRUNCATE %I', name);
        ELSE
            EXECUTE format('DELETE FROM %I', name);
        END IF;
    END LOOP;
    PERFORM setval(seqrelid, seqstart, false) FROM pg_sequence WHERE seqrelid >= 16384;
END $$
"""
# Emptying, ANALYZE and VACUUM leave this alone; any change of the schema or of the database's settings shows in it.
_SHAPE = """
SELECT
    (SELECT string_agg(format('%s %s %s', attrelid, attnum, xmin), ',' ORDER BY attrelid, attnum)
     FROM pg_attribute WHERE attrelid >= 16384),
    (SELECT string_agg(format('%s %s', oid, xmin), ',' ORDER BY oid) FROM pg_constraint WHERE oid >= 16384),
    (SELECT string_agg(format('%s %s', oid, xmin), ',' ORDER BY oid) FROM pg_trigger),
    (SELECT string_agg(setconfig::text, ',') FROM pg_db_role_setting AS s JOIN pg_database AS d ON d.oid = setdatabase
     WHERE datname = current_database()),
    (SELECT string_agg(m::text, ',' ORDER BY version) FROM migration AS m),
    (SELECT string_agg(f::text, ',' ORDER BY version) FROM fold_version AS f)
"""


@contextmanager
def new_database(server_url: str) -> Iterator[str]:
    """Make a database without tables and drop it in the end; give its URL."""
    url = _create(server_url, "template0")
    try:
        yield url
    finally:
        _drop(server_url, url)


def connected(pool: Pool) -> Database:
    """Return a new connection to the database of a pool."""
    return psycopg.connect(str(pool.conninfo), autocommit=True)


class Databases:
    """The databases with our tables on one server, each lent to one test or module at a time."""

    def __init__(self, server_url: str, prepare: Callable[[str], object] = lambda _: None) -> None:
        """Make the database that all others are copies of; `prepare` is called with its URL while it has no tables."""
        self._server_url = server_url
        self._template_url = _create(server_url, "template0")
        self._free: list[str] = []
        self._sessions: dict[str, Database] = {}  # with those that have been lent: a new session costs most of the time
        prepare(self._template_url)
        database.migrate(self._template_url)
        with psycopg.connect(self._template_url) as connection:
            generations.declare(connection)  # else the first projection would make each database another one
            self._shape = connection.execute(_SHAPE).fetchone()

    @contextmanager
    def lend(self) -> Iterator[str]:
        """Give the URL of a database whose tables are empty, as a new one's are."""
        url = self._free.pop() if self._free else _create(self._server_url, _name(self._template_url))
        try:
            yield url
        finally:
            if self._is_empty_again(url):
                self._free.append(url)
            else:
                self._drop(url)

    def close(self) -> None:
        """Drop them all."""
        for url in (*self._free, self._template_url):
            self._drop(url)

    def _is_empty_again(self, url: str) -> bool:
        """End all sessions and empty the tables; return whether the database is then as a new one."""
        for _ in range(2):  # a test may have ended our session
            try:
                session = self._sessions.get(url) or psycopg.connect(url, autocommit=True)
                self._sessions[url] = session
                # PostgreSQL's own wait for the end of a session looks only every 100 ms.
                wait_for(lambda session=session: session.execute(_END_SESSIONS).rowcount == 0, pause_seconds=0.002)  # type: ignore[misc]
                if session.execute(_SHAPE).fetchone() != self._shape:
                    return False
                session.execute(_EMPTY)
            except (OperationalError, UndefinedTable):
                self._end_session(url)
            else:
                return True
        return False

    def _end_session(self, url: str) -> None:
        if session := self._sessions.pop(url, None):
            session.close()

    def _drop(self, url: str) -> None:
        self._end_session(url)
        _drop(self._server_url, url)


def _create(server_url: str, template: str) -> str:
    url = url_of(server_url, f"test_{uuid.uuid4().hex}")
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(_name(url)), sql.Identifier(template))
        )
    return url


def _drop(server_url: str, url: str) -> None:
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(_name(url))))


def _name(url: str) -> str:
    return str(conninfo_to_dict(url)["dbname"])


def url_of(server_url: str, name: str) -> str:
    """Return the URL of another database of a server, as DATABASE_URL takes it."""
    base, _, query = server_url.partition("?")
    scheme, _, rest = base.partition("://")
    url = f"{scheme}://{rest.partition('/')[0]}/{name}"
    return f"{url}?{query}" if query else url
