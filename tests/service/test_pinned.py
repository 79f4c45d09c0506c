"""Shows that neither the database, the role nor the environment changes what a connection of ours means."""

import subprocess
import sys
from collections.abc import Iterator

import psycopg
import pytest
from psycopg.sql import SQL, Identifier, Literal

from domain import ledger
from projections.building import status
from service import cli, database
from service.connection import PINNED, EncodingError
from service.processes.replay_workers import replay_workers
from tests.support.databases import url_of
from tests.support.examples import email_sent, parsed
from tests.support.read_models import project_all
from tests.support.running import ROOT, environment

pytestmark = pytest.mark.processes

ELSEWHERE = {
    "client_encoding": "LATIN1",
    "search_path": "elsewhere",
    "default_transaction_isolation": "serializable",
    "default_transaction_deferrable": "on",
    "TimeZone": "Pacific/Apia",
    "DateStyle": "SQL, DMY",
    "IntervalStyle": "iso_8601",
    "extra_float_digits": "-10",
    "bytea_output": "escape",
    "standard_conforming_strings": "off",
    "backslash_quote": "on",
    "array_nulls": "off",
    "transform_null_equals": "on",
    "row_security": "off",
    "idle_session_timeout": "5min",
    "plan_cache_mode": "force_custom_plan",
}
ENVIRONMENT = {
    "PGTZ": "Pacific/Apia",
    "PGDATESTYLE": "SQL, DMY",
    "PGCLIENTENCODING": "LATIN1",
    "PGOPTIONS": "-c bytea_output=escape -c default_transaction_isolation=serializable",
}


@pytest.fixture
def elsewhere(database_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Give a database whose owner and whose environment want everything otherwise."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        name = Identifier(connection.info.dbname)
        for setting, value in ELSEWHERE.items():
            connection.execute(SQL("ALTER DATABASE {} SET {} = {}").format(name, Identifier(setting), Literal(value)))
    for variable, value in ENVIRONMENT.items():
        monkeypatch.setenv(variable, value)
    return database_url


def settings_of(connection: psycopg.Connection[tuple[object, ...]]) -> dict[str, object]:
    """Return the session's values of all settings that are pinned."""
    cursor = connection.execute("SELECT name, current_setting(name) FROM pg_settings WHERE name = ANY(%s)", [[*PINNED]])
    return dict(cursor.fetchall())  # type: ignore[arg-type]


def test_every_setting_that_we_rely_on_is_tried_otherwise() -> None:
    """A new one must be shown here too."""
    assert ELSEWHERE.keys() == PINNED.keys()
    assert all(ELSEWHERE[name] != PINNED[name] for name in PINNED)


def test_no_connection_takes_a_setting_from_elsewhere(elsewhere: str) -> None:
    """Neither in a pool, from which the event loop borrows, nor on the command line, nor in a replay."""
    with psycopg.connect(elsewhere) as plain:
        plain.execute("SET client_encoding = 'UTF8'")
        assert settings_of(plain)["TimeZone"] == "Pacific/Apia"
    with database.open_pool(elsewhere, size=1) as pool:
        with pool.connection() as connection:
            assert settings_of(connection) == PINNED
        with replay_workers(str(pool.conninfo), 1) as workers, workers.connect() as connection:
            assert settings_of(connection) == PINNED
    with database.connect(elsewhere) as connection:
        assert settings_of(connection) == PINNED


def test_a_database_that_wants_another_encoding_changes_no_name(elsewhere: str) -> None:
    """What is posted is projected and exported as it was, by processes that have it from their environment."""
    with database.open_pool(elsewhere, size=3) as pool:
        with pool.connection() as connection:
            ledger.record(connection, 340, parsed(email_sent(1, prospect_id="中")))
        project_all(pool)
        with pool.connection() as connection:
            (each,) = status.workspaces(connection)
        assert (each.position, each.stuck) == (1, None)
    exported = subprocess.run(
        [sys.executable, "-m", "service.cli", "export", "--workspace", "340"],
        cwd=ROOT,
        env=environment(DATABASE_URL=elsewhere, **ENVIRONMENT),
        capture_output=True,
        check=True,
    )
    assert '"prospect_id":"中"' in exported.stdout.decode()


@pytest.fixture
def latin(server_url: str) -> Iterator[str]:
    """Give a database that stores text as LATIN1."""
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS latin")
        connection.execute("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    yield url_of(server_url, "latin")
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute("DROP DATABASE latin WITH (FORCE)")


@pytest.mark.parametrize("command", [["migrate"], ["serve", "--port", "0"], ["project"], ["status"]])
def test_a_database_of_another_encoding_is_named_in_one_line(
    latin: str, command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It could not hold what is posted, so nothing begins."""
    monkeypatch.setenv("DATABASE_URL", latin)
    monkeypatch.setenv("JWT_SECRET", "x" * 32)
    assert cli.main(command) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line]
    assert lines == ["DATABASE_URL: the database's encoding is LATIN1, expected UTF8"]


def test_no_connection_is_made_to_a_database_of_another_encoding(latin: str) -> None:
    """Also where the start was not checked."""
    with pytest.raises(EncodingError):
        database.connect(latin)
