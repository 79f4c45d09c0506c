"""Shows that requests end in time while the database does not answer, and that begin and end of it are logged."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from domain.recorder import Pool
from service import database
from tests.support.databases import new_database
from tests.support.examples import api_key, email_sent
from tests.support.running import serving, users_of
from tests.support.servers import frozen, temporary_server
from tests.support.waiting import wait_for

pytestmark = pytest.mark.processes

FROZEN_SECONDS = 20.0
SOON_SECONDS = 9.0  # a wait for a connection, and a statement's 6 s


def test_requests_end_in_time_while_the_database_is_frozen() -> None:
    """Posts, small and large, questions and probes get 503 within seconds, `/healthz` and `/metrics` 200."""
    with temporary_server(durable=False) as server, new_database(server) as url:
        database.migrate(url)
        with users_of(url) as users:
            key = api_key(users, 340)
        with serving(url, WEB_CONCURRENCY="1") as service:
            assert service.post(340, key, email_sent(1)).status == 200
            path = "/api/v1/dashboard/campaign-analytics"
            expected = {
                f"{path}/?workspace_id=340": 503,
                f"{path}/summary/?workspace_id=340": 503,
                f"{path}/timeseries/?workspace_id=340": 503,
                "/readyz": 503,
                "/metrics": 200,
                "/healthz": 200,
            }
            answers: list[tuple[str, int, float, str | None]] = []
            stop = threading.Event()

            def ask(what: str) -> None:
                while not stop.is_set():
                    began = time.monotonic()
                    if what == "small":
                        answer = service.post(340, key, email_sent(2))
                    elif what == "large":
                        answer = service.post(340, key, *(email_sent(number) for number in range(2_000)))
                    else:
                        answer = service.request("GET", what, key)
                    if not stop.is_set():
                        took = time.monotonic() - began
                        answers.append((what, answer.status, took, answer.headers["Retry-After"]))
                    stop.wait(0.2)

            before = service.output
            with ThreadPoolExecutor(16) as executor, frozen(server):
                threading.Event().wait(1.2)  # what probes have kept is old by then
                for what in ("small", "large", *expected):
                    executor.submit(ask, what)
                threading.Event().wait(FROZEN_SECONDS)
                stop.set()
            assert {what for what, *_ in answers} == {"small", "large", *expected}
            for what, status, took, retry_after in answers:
                assert status == expected.get(what, 503), (what, status)
                assert took < SOON_SECONDS, (what, took)
                assert took < 0.5 or what != "/healthz"
                assert took < 4 or what not in ("/readyz", "/metrics"), (what, took)
                assert retry_after == ("1" if status == 503 else None)
            wait_for(service.is_ready)
            assert service.post(340, key, email_sent(3)).status == 200
            begun, ended = "the database does not answer: ", "the database answers again"
            wait_for(lambda: 0 < service.output.count(begun) == service.output.count(ended))
            logged = [json.loads(line) for line in service.output.removeprefix(before).splitlines()]
            lines = [(line["level"], line["logger"]) for line in logged if line["level"] != "INFO"]
            assert {line for line in lines if line[1] == "service.database"} == {
                ("ERROR", "service.database"),
                ("WARNING", "service.database"),
            }
            # The worker process's two; the projector's where it was waiting meanwhile, and where its transaction, which
            # the server takes for idle, is ended afterwards.
            assert len(lines) <= 6, lines


def test_a_statement_that_is_not_answered_ends_on_our_side(database_url: str, pool: Pool) -> None:
    """Its connection is given up, and the pool lends another one."""
    connection = database.connect(database_url, statement_timeout=10)
    connection.deadline = 0.2
    began = time.monotonic()
    with pytest.raises(psycopg.OperationalError, match="does not answer in time"), connection.transaction():
        connection.execute("SELECT pg_sleep(5)")
    assert time.monotonic() - began < 2
    assert connection.broken
    with pool.connection() as lent:
        lent.deadline = 0.2  # type: ignore[attr-defined]
        with pytest.raises(psycopg.OperationalError):
            lent.execute("SELECT pg_sleep(5)")
    with pool.connection() as lent:
        assert lent.execute("SELECT 1").fetchone() == (1,)
