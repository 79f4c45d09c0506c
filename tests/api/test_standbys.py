"""Shows that a copy of the database is read only as far as the database itself confirms what the copy has."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, TypeVar

import psycopg
import pytest
from falcon import testing

from api.app import create_app
from api.dependencies import Parts
from api.standbys import Standbys, marks_of
from domain import ledger
from domain.access import Access
from domain.recorder import Database, Pool
from service import database, settings
from service.web.application import make_parts
from tests.support.databases import Databases
from tests.support.examples import JWT_SECRET, api_key, email_sent, parsed
from tests.support.read_models import project_all
from tests.support.samples import read_samples

T = TypeVar("T")
SERIES = "/api/v1/dashboard/campaign-analytics/timeseries/"
FEED = "/api/v1/events/"
TABLES = (
    *("log_head", "stored_events", "projection", "campaign", "campaign_activity", "journey"),
    *("api_key", "workspace_link", "set_aside"),
)


class Meanwhile(Standbys):
    """Standbys before whose next read something is done."""

    before: Callable[[], None] = staticmethod(lambda: None)

    def read(self, ask: Callable[[Database], T | None]) -> T | None:
        """Do it, and read."""
        self.before()
        return super().read(ask)


@pytest.fixture
def copy(databases: Databases) -> Iterator[Pool]:
    """Give another database, which is read as if it were a standby."""
    with databases.lend() as url, database.open_pool(url, size=5) as opened:
        yield opened


@pytest.fixture
def parts(pool: Pool) -> Parts:
    """Give the application's parts around the database alone."""
    return make_parts(pool, settings.from_environment({"JWT_SECRET": JWT_SECRET}), {})


@pytest.fixture
def standbys(parts: Parts, copy: Pool) -> Meanwhile:
    """Give the reads of the copy."""
    return Meanwhile(copy, parts.measurements)


@pytest.fixture
def client(parts: Parts, standbys: Standbys) -> testing.TestClient:
    """Give the application around both databases."""
    return testing.TestClient(create_app(replace(parts, standbys=standbys)))


def follow(pool: Pool, copy: Pool) -> None:
    """Let the copy have what the database has."""
    with pool.connection() as source, copy.connection() as target, target.transaction():
        for table in TABLES:
            target.execute(f"DELETE FROM {table}".encode())
            with (
                source.cursor().copy(f"COPY {table} TO STDOUT".encode()) as out,
                target.cursor().copy(f"COPY {table} FROM STDIN".encode()) as into,
            ):
                for piece in out:
                    into.write(piece)


def record(pool: Pool, first: int, end: int, **fields: Any) -> None:
    """Append e-mails with these numbers to the log of workspace 340, and project them."""
    with pool.connection() as connection:
        ledger.record(connection, 340, parsed(*[email_sent(number, **fields) for number in range(first, end)]))
    project_all(pool)


def ask(client: testing.TestClient, key: dict[str, str], path: str, **headers: str) -> testing.Result:
    """Ask something of workspace 340, which must succeed."""
    answer = client.simulate_get(path, headers={**key, **headers}, params={"workspace_id": 340})
    assert answer.status_code == 200, answer.text
    return answer


def emails(answer: testing.Result) -> int:
    """Return how many e-mails a series shows as sent."""
    return sum(each["analytics"]["amount_of_emails_sent"] for each in answer.json["series"])


def outcomes(client: testing.TestClient) -> list[int]:
    """Return how many reads the copy was used for, was behind with, and was away at."""
    samples = read_samples(client.simulate_get("/metrics").text)
    name = "campaign_analytics_standby_reads_total"
    return [int(samples[f'{name}{{outcome="{each}"}}']) for each in ("used", "behind", "away")]


def test_a_copy_that_is_as_far_is_read(client: testing.TestClient, pool: Pool, copy: Pool, users: Access) -> None:
    """The rows are changed in the copy alone, which shows that they are read there."""
    key = api_key(users, 340)
    record(pool, 1, 6)
    follow(pool, copy)
    with copy.connection() as connection:
        connection.execute(
            "UPDATE stored_events SET state = convert_to(replace(convert_from(state, 'UTF8'), 'p-1', 'x'), 'UTF8')"
        )
    assert emails(ask(client, key, SERIES)) == 5
    assert {each["prospect_id"] for each in ask(client, key, FEED).json["events"]} >= {"x"}
    assert outcomes(client) == [2, 0, 0]


def test_a_copy_may_be_further_where_the_database_confirms_it(
    client: testing.TestClient, pool: Pool, copy: Pool, users: Access, standbys: Meanwhile
) -> None:
    """The answer is then that of the later state, and so is its tag."""
    key = api_key(users, 340)
    record(pool, 1, 6)

    def go_on() -> None:
        record(pool, 6, 9)
        follow(pool, copy)

    standbys.before = go_on
    later = ask(client, key, SERIES)
    assert (emails(later), later.headers["X-Position"], later.headers["X-Lag"]) == (8, "8", "0")
    standbys.before = lambda: None
    again = client.simulate_get(
        SERIES, headers={**key, "If-None-Match": later.headers["ETag"]}, params={"workspace_id": 340}
    )
    assert again.status_code == 304
    assert outcomes(client) == [1, 0, 0]


@pytest.mark.parametrize("further", [0, 3])
def test_a_copy_with_another_past_is_not_read(
    client: testing.TestClient, pool: Pool, copy: Pool, users: Access, further: int
) -> None:
    """As one has that follows a primary which is gone: as far as the database, or further."""
    key = api_key(users, 340)
    record(pool, 1, 6)
    follow(pool, copy)
    record(copy, 11, 14 + further, campaign_id=7)
    record(pool, 21, 24, campaign_id=8)
    assert emails(ask(client, key, SERIES)) == 8
    assert {each["campaign_id"] for each in ask(client, key, FEED).json["events"]} == {123, 8}
    assert outcomes(client) == [0, 2, 0]


def test_a_copy_of_another_version_is_not_read(
    client: testing.TestClient, pool: Pool, copy: Pool, users: Access
) -> None:
    """It has no such column yet; after a failure it is left alone for some seconds."""
    key = api_key(users, 340)
    record(pool, 1, 6)
    with copy.connection() as connection:
        connection.execute("ALTER TABLE projection RENAME COLUMN mark TO earlier")
    assert emails(ask(client, key, SERIES)) == 5
    assert len(ask(client, key, FEED).json["events"]) == 5
    assert outcomes(client) == [0, 0, 2]


def test_a_primary_that_fails_is_no_fault_of_the_standby(standbys: Standbys, pool: Pool, parts: Parts) -> None:
    """The request gets the error, and the next one reads the standby all the same."""
    pool.close()
    with pytest.raises(psycopg.OperationalError):
        standbys.read(lambda _: marks_of(parts.connection)(340, 1))
    assert standbys.read(lambda copy: copy.execute("SELECT 1").fetchone()) == (1,)
