"""Events come through to the real service each once, however the service and the worker are killed."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from campaign_analytics_client import Client

from domain.recorder import Pool
from tests.client.spooled import python_path
from tests.support.examples import JWT_SECRET, WORKED_EXAMPLE_ANALYTICS, api_key, worked_example
from tests.support.running import Service, descendants, free_port, running, serving, users_of
from tests.support.waiting import wait_for

pytestmark = pytest.mark.processes

LIMIT_SECONDS = 90.0
NUMBER = 6_000
KILLS = 3

# A worker with ids of its own, which notes how far it is after each call.
WORKER = """
import sys
from pathlib import Path
from campaign_analytics_client import Client
url, key, spool, number, note = sys.argv[1:]
note = Path(note)
with Client(url, key, 340, spool, batch_events=100) as client:
    for first in range(int(note.read_text()) if note.exists() else 0, int(number), 20):
        client.send_many(
            {"id": f"e-{each}", "type": "EmailSent", "campaign_id": 123, "prospect_id": f"p-{each}",
             "occurred_at": "2026-11-01T10:00:00Z"}
            for each in range(first, first + 20)
        )
        written = note.with_suffix(".new")
        written.write_text(str(first + 20))
        written.replace(note)
    assert client.flush(90), client.stats()
    assert client.stats().dead == 0, client.dead()
"""


def test_the_numbers_are_those_of_the_events_of_the_worker(database_url: str, spool: Path) -> None:
    with serving(database_url) as service:
        with users_of(database_url) as users:
            headers = api_key(users, 340)
        with Client(service.url, headers["X-API-Key"], 340, spool) as client:
            client.campaign_created("Worked", campaign_id=123, status="ACTIVE")
            client.send_many(worked_example())
            client.send_many(worked_example())
            client.send({**worked_example()[0], "prospect_id": "another"})
            client.send({**worked_example()[0], "id": "late", "stepp": 1})
            assert client.flush(LIMIT_SECONDS)
            stats = client.stats()
            assert (stats.accepted, stats.duplicates, stats.rejected) == (14, 13, 2)
            assert [letter.code for letter in client.dead()] == ["conflict", "invalid_field"]
        wait_for(lambda: "X-Lag" in service.dashboard(headers, "workspace_id=340&min_position=14").headers)
        [campaign] = service.dashboard(headers, "workspace_id=340&min_position=14").json["campaigns"]
        assert campaign["name"] == "Worked"
        assert campaign["analytics"] == WORKED_EXAMPLE_ANALYTICS


def test_each_event_comes_once_through_kills_of_the_service_and_the_worker(
    database_url: str, pool: Pool, spool: Path
) -> None:
    with users_of(database_url) as users:
        key = api_key(users, 340)["X-API-Key"]
    port = free_port()
    arguments = ("-m", "service.cli", "serve", "--port", str(port))
    variables = {"DATABASE_URL": database_url, "JWT_SECRET": JWT_SECRET, "WEB_CONCURRENCY": "1"}
    worker = [sys.executable, "-c", WORKER, f"http://127.0.0.1:{port}", key, str(spool), str(NUMBER)]
    worker.append(str(spool.with_name("note")))
    process = start(worker)
    try:
        for kill in range(1, KILLS + 1):
            with running(arguments, **variables) as service:
                enough = kill * NUMBER // (KILLS + 2)
                wait_for(lambda enough=enough: stored(pool) >= enough, LIMIT_SECONDS)  # type: ignore[misc]
                process.kill()
                process.wait(LIMIT_SECONDS)
                kill_all(service)
            process = start(worker)
        with running(arguments, **variables):
            assert process.wait(LIMIT_SECONDS) == 0
    finally:
        process.kill()
        process.wait(LIMIT_SECONDS)
    assert stored(pool) == NUMBER
    with pool.connection() as connection:
        rows = connection.execute("SELECT state FROM stored_events WHERE workspace_id = 340 ORDER BY position")
        stored_ids = [json.loads(row[0])["id"] for row in rows]
    assert stored_ids == [f"e-{number}" for number in range(NUMBER)]  # in the worker's order, and each once


def stored(pool: Pool) -> int:
    """Return how many events the log holds."""
    with pool.connection() as connection:
        row = connection.execute("SELECT head FROM log_head WHERE workspace_id = 340").fetchone()
    return row[0] if row else 0


def start(command: list[str]) -> subprocess.Popen[bytes]:
    """Start a worker, which prints on stderr that the service is away."""
    return subprocess.Popen(command, env=python_path(), stderr=subprocess.DEVNULL)


def kill_all(service: Service) -> None:
    """Kill a service with all its processes, at once."""
    for pid in (service.process.pid, *(each.pid for each in descendants(service.process.pid))):
        os.kill(pid, signal.SIGKILL)
    service.process.wait(LIMIT_SECONDS)
