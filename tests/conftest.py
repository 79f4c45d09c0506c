"""What the tests stand on: a real PostgreSQL, an empty database for each test, and the application around it."""

import gc
import logging
import os
from collections.abc import Generator, Iterator
from contextlib import ExitStack

import pytest
from falcon import testing

from api.app import create_app
from domain.access import Access
from domain.recorder import Pool
from projections import access
from service import cli, database, settings
from service.clock import clock
from service.web.application import make_parts
from tests.support import stand_in
from tests.support.commands import Command, CommandResult
from tests.support.databases import Databases
from tests.support.examples import JWT_SECRET
from tests.support.processes import Guard
from tests.support.properties import load_profiles
from tests.support.served import Served
from tests.support.servers import temporary_server

GUARD = Guard()
load_profiles()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Run one process of tests more than there are cores, since many tests wait for processes that they started."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_finish() -> None:
    """Let the collector of garbage leave alone what importing and collecting have made, which lives to the end."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None]:
    """Let only those tests and their fixtures start or kill a process that are marked so."""
    with GUARD.during(item):
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """Do the same while the test itself runs."""
    with GUARD.during(item):
        yield


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    """Give a PostgreSQL server: the one that TEST_DATABASE_URL names, else an embedded one that ends with the tests."""
    configured_url = os.environ.get("TEST_DATABASE_URL")
    if configured_url:
        yield configured_url
        return
    with ExitStack() as stack:
        with GUARD.open():
            url = stack.enter_context(temporary_server(durable=False))
        yield url


@pytest.fixture(scope="session")
def databases(server_url: str) -> Iterator[Databases]:
    """Give databases with our tables, all of which are dropped in the end."""
    made = Databases(server_url, stand_in.install if os.environ.get("TEST_CITUS") == "stand-in" else lambda _: None)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def database_url(databases: Databases) -> Iterator[str]:
    """Give a database with our tables, all empty."""
    with databases.lend() as url:
        yield url


@pytest.fixture
def pool(database_url: str) -> Iterator[Pool]:
    """Give connections to an empty database."""
    with database.open_pool(database_url, size=20) as opened:
        yield opened


@pytest.fixture
def users(pool: Pool) -> Access:
    """Give the users of an empty database."""
    return Access(pool, access.project, clock)


@pytest.fixture
def client(pool: Pool) -> testing.TestClient:
    """Give the application around an empty database, without a server; nothing projects unless a test does."""
    return _application(pool)


@pytest.fixture
def other_client(pool: Pool) -> testing.TestClient:
    """Give the application around the same database in another process: it shares nothing of what `client` caches."""
    return _application(pool)


def _application(pool: Pool) -> testing.TestClient:
    environment = {"JWT_SECRET": JWT_SECRET, "DATABASE_URL": "postgresql://unused"}
    chosen = settings.from_environment(environment)
    return testing.TestClient(Served(create_app(make_parts(pool, chosen, {}))))


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Take back what a command in this process configured: it logs to a stream that ends with its test."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def command(database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Give a function that runs a command against a fresh database."""
    monkeypatch.setenv("DATABASE_URL", database_url)

    def run(*arguments: str) -> CommandResult:
        try:
            code = cli.main(arguments)
        except SystemExit as ended:  # what argparse does
            assert isinstance(ended.code, int)
            code = ended.code
        return CommandResult(code, *capsys.readouterr())

    return run
