"""Shows that many writers at once store each event once."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from domain.recorder import Pool
from service import database
from tests.support.databases import Databases
from tests.support.examples import api_key, email_sent
from tests.support.running import serving, users_of, with_password
from tests.support.stored_events import log

pytestmark = pytest.mark.processes


@pytest.fixture
def url(databases: Databases) -> Iterator[str]:
    """Give a fresh database, with a password in its URL."""
    with databases.lend() as made:
        yield with_password(made)


@pytest.fixture
def stored(url: str) -> Iterator[Pool]:
    """Give connections to look at the log."""
    with database.open_pool(url, size=2) as opened:
        yield opened


def test_sixteen_writers_over_http_store_each_event_once(url: str, stored: Pool) -> None:
    """On two processes, with repeated and overlapping ids; positions have no gap."""
    with users_of(url) as users:
        keys = [api_key(users, 340, user=f"u-{number}") for number in range(3)]

    def write(writer: int) -> int:
        accepted = 0
        for number in range(writer % 4, 200, 4):
            events = {"events": [email_sent(number), email_sent(number // 2)]}
            headers = {**keys[writer % 3], "Content-Type": "application/json"}
            answer = service.request("POST", "/api/v1/events/?workspace_id=340", headers, json.dumps(events).encode())
            assert answer.status == 200, answer.body
            accepted += answer.json["accepted"]
        return accepted

    with serving(url, WEB_CONCURRENCY="2") as service, ThreadPoolExecutor(16) as writers:
        accepted = sum(writers.map(write, range(16)))
    entries = log(stored)
    assert accepted == len(entries) == len(set(entries)) == 200
