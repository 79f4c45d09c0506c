"""Holds what every other test relies on: lent databases are like new ones, and processes are marked."""

import os
import subprocess
import sys
from collections.abc import Iterator

import psycopg
import pytest

from service import database
from tests.support.databases import Databases, new_database
from tests.support.examples import api_key, email_sent
from tests.support.processes import Guard
from tests.support.running import users_of
from tests.support.stored_events import log, record

REJECTED = "INSERT INTO rejected_event (workspace_id, at, code, error) VALUES (1, 0, 'c', 'e') RETURNING number"
BIG = "INSERT INTO stored_events SELECT 9, gen_random_uuid(), 1, 't', repeat('x', 1000)::bytea, n, now()"


@pytest.fixture
def own(server_url: str) -> Iterator[Databases]:
    """Give databases that no other test is lent."""
    made = Databases(server_url)
    try:
        yield made
    finally:
        made.close()


def test_a_database_that_was_used_is_lent_again_as_empty_as_a_new_one(own: Databases) -> None:
    """Rows few or many, users, numbers that count on, and sessions that were left open."""
    with own.lend() as first, database.open_pool(first, size=2) as pool, users_of(first) as users:
        api_key(users, 340)
        record(pool, 340, email_sent())
        left = psycopg.connect(first, autocommit=True)
        left.execute(f"{BIG} FROM generate_series(1, 3000) AS n")
        assert left.execute(REJECTED).fetchone() == (1,)
        left.execute("BEGIN")
        left.execute("LOCK TABLE journey")
    with own.lend() as second, database.open_pool(second, size=2) as pool, users_of(second) as users:
        assert second == first
        assert log(pool) == []
        assert users.user("u-1") is None
        with pool.connection() as connection:
            assert connection.execute(REJECTED).fetchone() == (1,)
            assert database.schema_of(connection).fault is None
    with pytest.raises(psycopg.OperationalError):
        left.execute("SELECT 1")
    left.close()


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE journey ADD CONSTRAINT refused CHECK (workspace_id <> 1)",
        "ALTER TABLE campaign ADD COLUMN more text",
        "CREATE INDEX more ON campaign (name)",
        "DROP TABLE migration",
        "DELETE FROM migration",
        "UPDATE fold_version SET measures = '{}'",
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET work_mem = 64', current_database()); END $$",
    ],
)
def test_a_database_of_another_shape_is_not_lent_again(own: Databases, change: str) -> None:
    """Whatever a test does to the schema or the settings ends with it."""
    with own.lend() as first, psycopg.connect(first, autocommit=True) as connection:
        connection.execute(change.encode())
    with own.lend() as second:
        assert second != first


def test_databases_are_dropped_in_the_end(server_url: str) -> None:
    """Also on a server that goes on."""
    own = Databases(server_url)
    with own.lend() as first, own.lend() as second, new_database(server_url) as third:
        pass
    own.close()
    for url in (first, second, third):
        with pytest.raises(psycopg.OperationalError, match="does not exist"):
            psycopg.connect(url)


@pytest.mark.processes
@pytest.mark.parametrize("marked", [False, True])
def test_only_a_marked_test_may_start_or_kill_a_process(request: pytest.FixtureRequest, *, marked: bool) -> None:
    """So `make test-fast` leaves out all that do."""
    guard = Guard()
    item = request.node if marked else request.node.parent
    with guard.during(item):
        for act in (lambda: subprocess.run([sys.executable, "-c", ""], check=True), lambda: os.kill(os.getpid(), 0)):
            if marked:
                act()
                continue
            with pytest.raises(AssertionError, match=r"mark\.processes"):
                act()
            with guard.open():
                act()
