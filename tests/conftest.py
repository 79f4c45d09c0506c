"""What the tests stand on: a real PostgreSQL, a fresh database for whoever asks, and the application around it."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from falcon import testing
from psycopg import sql
from psycopg.conninfo import make_conninfo

from api.app import create_app
from domain.access import Access
from domain.recorder import Pool
from projections import access
from projections.building.projector import Projector
from service import database, settings
from service.clock import clock
from service.web.application import make_parts
from tests.facts import JWT_SECRET
from tests.servers import temporary_server, wait_for

__all__ = ["wait_for"]


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    """Give a PostgreSQL server: the one that TEST_DATABASE_URL names, else an embedded one that ends with the tests."""
    given = os.environ.get("TEST_DATABASE_URL")
    if given:
        yield given
        return
    with temporary_server(durable=False) as url:
        yield url


@contextmanager
def new_database(server_url: str, template: str = "template0") -> Iterator[str]:
    """Make a database and drop it in the end; give its URL."""
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
        )
    try:
        yield make_url(server_url, name)
    finally:
        with psycopg.connect(server_url, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def make_url(server_url: str, name: str) -> str:
    """Return the URL of another database of a server, as DATABASE_URL takes it."""
    base, _, query = server_url.partition("?")
    scheme, _, rest = base.partition("://")
    url = f"{scheme}://{rest.partition('/')[0]}/{name}"
    return f"{url}?{query}" if query else url


@pytest.fixture(scope="session")
def template(server_url: str) -> Iterator[str]:
    """Give the name of a database with our tables, to be copied."""
    with new_database(server_url) as url:
        database.migrate(url)
        yield psycopg.conninfo.conninfo_to_dict(make_conninfo(url))["dbname"]  # type: ignore[misc]


@pytest.fixture
def database_url(server_url: str, template: str) -> Iterator[str]:
    """Give a fresh database with our tables."""
    with new_database(server_url, template) as url:
        yield url


@pytest.fixture
def pool(database_url: str) -> Iterator[Pool]:
    """Give connections to a fresh database."""
    with database.open_pool(database_url, size=20) as opened:
        yield opened


@pytest.fixture
def users(pool: Pool) -> Access:
    """Give the users of a fresh database."""
    return Access(pool, access.project, clock)


@pytest.fixture
def client(pool: Pool) -> testing.TestClient:
    """Give the application around a fresh database, without a server; nothing projects unless a test does."""
    environment = {"JWT_SECRET": JWT_SECRET, "DATABASE_URL": "postgresql://unused"}
    chosen = settings.from_environment(environment)
    return testing.TestClient(create_app(make_parts(pool, chosen, {})))


def project_all(pool: Pool, batch: int = 5_000) -> None:
    """Project everything that can be projected now."""
    projector = Projector(pool, batch=batch)
    while projector.step():
        pass
