"""Shows that what was acknowledged under load is there once, whatever is killed meanwhile."""

import http.client
import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Lock

import pytest

from domain.recorder import Pool
from service import database
from tests.support.databases import Databases
from tests.support.examples import api_key, email_sent
from tests.support.running import Service, descendants, serving, users_of, with_password
from tests.support.stored_events import log
from tests.support.waiting import wait_for

pytestmark = pytest.mark.processes

WRITERS = 8
KILLS = 6


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


class Load:
    """Writers that send events one by one and in batches, and send again what was not acknowledged."""

    def __init__(self, service: Service, key: dict[str, str]) -> None:
        """Take the service and a key that may write."""
        self._service = service
        self._headers = {**key, "Content-Type": "application/json"}
        self._lock = Lock()
        self.acknowledged: set[str] = set()
        self.ended = Event()
        self.refused = 0

    def write(self, writer: int) -> None:
        """Send until the load ends, each event until it is acknowledged, some of them twice."""
        number = 0
        while not self.ended.is_set() or number % 10:
            events = [email_sent(writer * 1_000_000 + each) for each in range(number, number + 1 + number % 3)]
            while not self._send(events):
                pass
            number += len(events) if number % 5 else 1

    def _send(self, events: list[dict[str, object]]) -> bool:
        try:
            answer = self._service.request(
                "POST", "/api/v1/events/?workspace_id=340", self._headers, json.dumps({"events": events}).encode()
            )
        except (OSError, http.client.HTTPException):
            return False
        if answer.status != 200:
            assert answer.status == 503, answer.body
            self.refused += 1
            return False
        with self._lock:
            self.acknowledged |= {str(each["id"]) for each in events}
        return True


def test_what_was_acknowledged_outlives_every_kill(url: str, stored: Pool) -> None:
    """Kill -9 of the processes that answer, in the middle of a load, again and again."""
    with users_of(url) as users:
        key = api_key(users, 340)
    with serving(url) as service, ThreadPoolExecutor(WRITERS) as writers:
        load = Load(service, key)
        running = [writers.submit(load.write, writer) for writer in range(WRITERS)]
        try:
            for _ in range(KILLS):
                before = len(load.acknowledged)
                wait_for(lambda before=before: len(load.acknowledged) > before + 100)  # type: ignore[misc]
                workers = [
                    each.pid
                    for each in descendants(service.process.pid)
                    if "gunicorn" in each.command and descendants(each.pid) == []
                ]
                assert workers != []
                for worker in workers:
                    os.kill(worker, signal.SIGKILL)
                acknowledged = set(load.acknowledged)
                assert acknowledged <= set(log(stored))
        finally:
            load.ended.set()
        for writing in running:
            writing.result(60)
    found = log(stored)
    assert len(found) == len(set(found)), "each once"
    assert load.acknowledged == set(found), "everything was sent until it was acknowledged"


def test_sixteen_writers_over_http_store_each_fact_once(url: str, stored: Pool) -> None:
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
    found = log(stored)
    assert accepted == len(found) == len(set(found)) == 200
