"""Shows what a projector that runs alone serves over HTTP, and that no client can stop it."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from service import database
from tests.support.databases import Databases, new_database
from tests.support.examples import email_sent
from tests.support.read_models import progress
from tests.support.running import Service, exchange, open_connections, request, running, serving, users_of
from tests.support.samples import read_samples
from tests.support.servers import frozen, temporary_server
from tests.support.stored_events import record
from tests.support.waiting import wait_for

pytestmark = pytest.mark.processes

PROJECT = ("-m", "service.cli", "project")
NOWHERE = "127.0.0.1:0"  # a port that is free


@contextmanager
def projecting(url: str, **variables: str) -> Iterator[Service]:
    """Run a projector that answers for its metrics, until it does."""
    with running(PROJECT, DATABASE_URL=url, **{"METRICS_BIND": NOWHERE, **variables}) as service:
        wait_for(lambda: "campaign_analytics_projector_look_age_seconds" in samples(service))
        yield service
        service.stop()


def samples(service: Service) -> dict[str, float]:
    """Return what Prometheus reads."""
    answer = service.request("GET", "/metrics")
    assert answer.status == 200
    return read_samples(answer.body.decode())


def test_a_projector_alone_serves_metrics_and_health(databases: Databases) -> None:
    """Its last look, its memory, what it sees of the database; a probe learns that it lives."""
    with databases.lend() as url, database.open_pool(url, size=1) as pool, projecting(url) as service:
        record(pool, 340, email_sent(1))
        wait_for(lambda: progress(pool, 340) == (1, 1, None))
        metrics = samples(service)
        assert metrics["campaign_analytics_projector_look_age_seconds"] < 5
        assert metrics['campaign_analytics_process_resident_memory_bytes{process="projector"}'] > 1_000_000
        assert (metrics["campaign_analytics_database_up"], metrics["campaign_analytics_database_writable"]) == (1, 1)
        assert metrics["campaign_analytics_projection_lag_events"] == 0
        assert metrics['campaign_analytics_table_bytes{table="journey"}'] > 0
        assert abs(metrics["campaign_analytics_clock_ahead_seconds"]) < 1
        answers = {
            (method, path): service.request(method, path).status
            for method, path in (("GET", "/healthz"), ("HEAD", "/metrics/"), ("POST", "/metrics"), ("GET", "/x"))
        }
        assert list(answers.values()) == [200, 200, 405, 404]


def test_broken_and_silent_callers_stop_nothing(databases: Databases) -> None:
    """Neither the projector nor those who ask as they should."""
    with databases.lend() as url, database.open_pool(url, size=1) as pool, projecting(url) as service:
        for sent in (b"", b"\0" * 100, b"GET", b"GET /metrics HTTP/1.1\r\n" + b"x" * 20_000, b"\r\n\r\n"):
            exchange(service.port, sent)
        with open_connections(service.port, 10, b"GET /metrics"):
            assert samples(service)["campaign_analytics_database_up"] == 1
        with open_connections(service.port, 40, b"GET /metrics"):
            record(pool, 340, email_sent(1))
            wait_for(lambda: progress(pool, 340) == (1, 1, None))
            assert service.request("GET", "/healthz").status == 200
            service.stop()
        assert '"level":"ERROR"' not in service.output.replace(" ", "")


def test_the_metrics_stay_while_the_database_does_not_answer() -> None:
    """The series are there, with a database that is down; a probe is answered at once, and all goes on afterwards."""
    with temporary_server(durable=False) as server, new_database(server) as url:
        database.migrate(url)
        with projecting(url) as service:
            before = samples(service)
            with frozen(server):
                began = time.monotonic()
                metrics = samples(service)
                assert service.request("GET", "/healthz").status == 200
                assert time.monotonic() - began < 4
            assert metrics["campaign_analytics_database_up"] == 0
            assert before.keys() == metrics.keys()
            wait_for(lambda: samples(service)["campaign_analytics_database_up"] == 1)


def test_a_port_that_is_in_use_is_named(databases: Databases) -> None:
    """As that of the API is."""
    with databases.lend() as url, socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with running(PROJECT, DATABASE_URL=url, METRICS_BIND=str(port)) as service:
            assert service.process.wait(20) == 1
            assert service.output.startswith(f"port {port} of 127.0.0.1 can't be listened at: ")


def test_within_serve_the_api_has_the_metrics_of_the_projector(databases: Databases) -> None:
    """So that no second port is opened there."""
    with databases.lend() as url, users_of(url), socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])  # it would fail
        with serving(url, METRICS_BIND=port) as service:
            name = "campaign_analytics_projector_look_age_seconds"
            wait_for(lambda: name in read_samples(request(service.url, "GET", "/metrics").body.decode()))
            assert "metrics listen" not in service.output
