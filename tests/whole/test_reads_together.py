"""Shows that requests which are answered together get each their own answer, and pay for no other."""

import http.client
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import psycopg
import pytest

from tests.support.databases import Databases
from tests.support.examples import api_key, email_sent, session
from tests.support.running import Service, serving, users_of
from tests.support.waiting import wait_for

pytestmark = pytest.mark.processes

DASHBOARD = "/api/v1/dashboard/campaign-analytics/"
HEAD = b"GET /api/v1/dashboard/campaign-analytics/%b HTTP/1.1\r\n%b\r\n"


class Got(NamedTuple):
    """An answer: its status, what of its headers is about this caller alone, and its body."""

    status: int
    about: dict[str, str | None]
    body: bytes


@pytest.fixture(scope="module")
def url(databases: Databases) -> Iterator[str]:
    """Give a database for all tests of this module."""
    with databases.lend() as made:
        yield made


@pytest.fixture(scope="module")
def service(url: str) -> Iterator[Service]:
    """Give a service of a single process, so that simultaneous requests are answered together."""
    with serving(url, WEB_THREADS="4", LOG_FORMAT="json") as running:
        yield running


@contextmanager
def frozen(service: Service) -> Iterator[None]:
    """Stop the process that answers; what is sent meanwhile comes at once for it."""
    [worker] = service.workers()
    os.kill(worker.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(worker.pid, signal.SIGCONT)


def at_once(service: Service, requests: list[tuple[str, str, dict[str, str]]]) -> list[Got]:
    """Send requests (method, query and headers) at the same time, each on a connection of its own."""
    with ExitStack() as stack:
        connections = []
        with frozen(service):
            for method, query, headers in requests:
                connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=20)
                stack.callback(connection.close)
                connection.request(method, f"{DASHBOARD}{query}", headers=headers)
                connections.append(connection)
        answers = [connection.getresponse() for connection in connections]
        names = ("X-Request-ID", "ETag", "X-Position", "X-Lag", "Content-Type", "Vary", "Cache-Control")
        return [
            Got(answer.status, {name: answer.headers.get(name) for name in names}, answer.read()) for answer in answers
        ]


def test_each_gets_its_own_answer(service: Service, url: str) -> None:
    """Whatever the keys and queries: together requests get the answers that each gets alone."""
    with users_of(url) as users:
        keys = {number: api_key(users, number, user=f"u-{number}") for number in range(11, 15)}
        writer = api_key(users, *keys, 19, user="u-all")
        for number in keys:
            written = service.post(number, writer, email_sent(number, campaign_id=number)).json
            query = f"workspace_id={number}&min_position={written['position']}"
            assert service.dashboard(writer, query).status == 200
        revoked = api_key(users, 11, user="u-revoked")
        users.revoke_key("u-revoked", revoked["X-API-Key"].partition(".")[0], "cli:test")
        prefix = keys[11]["X-API-Key"].partition(".")[0]
        calls: list[tuple[str, str, dict[str, str]]] = [
            *(("GET", f"?workspace_id={number}", key) for number, key in keys.items()),
            *(("GET", f"?workspace_id={number}", session(f"u-{number}")) for number in keys),
            *(("GET", "", key) for key in keys.values()),
            ("GET", "?workspace_id=12", keys[11]),
            ("GET", "?workspace_id=999", session("u-11")),
            ("GET", "?workspace_id=ALL", writer),
            ("GET", "?workspace_id=ALL", session("u-nobody")),
            ("GET", "?workspace_id=0", keys[11]),
            ("GET", "?workspace_id=0", {"X-API-Key": f"{prefix}.x"}),
            ("GET", "?workspace_id=11", {"X-API-Key": f"{prefix}.x"}),
            ("GET", "?workspace_id=11", revoked),
            ("GET", "?workspace_id=11", {"X-API-Key": "x"}),
            ("GET", "?workspace_id=11", {"Cookie": "sessionid=x"}),
            ("GET", "?workspace_id=11", {}),
            ("HEAD", "?workspace_id=11", keys[11]),
            ("GET", "?workspace_id=11", {**keys[11], "Accept": "text/csv"}),
        ]
        calls = [
            (method, query, {**headers, "X-Request-ID": f"t-{n}"}) for n, (method, query, headers) in enumerate(calls)
        ]
    alone = [at_once(service, [each])[0] for each in calls]
    assert {got.status for got in alone} == {200, 400, 401, 403}
    assert [json.loads(got.body)["campaigns"][0]["id"] for got in alone[:12]] == [11, 12, 13, 14] * 3
    assert [got.about["X-Request-ID"] for got in alone] == [f"t-{n}" for n in range(len(calls))]
    for _ in range(3):
        assert at_once(service, calls) == alone
    have = [(m, q, {**h, "If-None-Match": str(got.about["ETag"])}) for (m, q, h), got in zip(calls, alone, strict=True)]
    expected = [304 if got.status == 200 else got.status for got in alone]
    assert [got.status for got in at_once(service, have)] == expected


def test_requests_one_after_another_on_one_connection_are_answered_in_order(service: Service, url: str) -> None:
    """Those that are answered together, and others in between."""
    with users_of(url) as users:
        key = api_key(users, 21, user="u-21")["X-API-Key"]
    requests = b""
    for number in range(60):
        query = b"?workspace_id=21" if number % 3 else b"summary/?workspace_id=21"
        requests += HEAD % (query, b"Host: h\r\nX-API-Key: %b\r\nX-Request-ID: o-%d\r\n" % (key.encode(), number))
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as connection:
        connection.sendall(requests)
        connection.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: connection.recv(65_536), b""))
    assert [int(part.split(b"\r\n")[0]) for part in answer.lower().split(b"x-request-id: o-")[1:]] == list(range(60))
    assert answer.count(b"HTTP/1.1 200 OK") == 60


def test_a_client_that_reads_no_answer_delays_no_other_request(service: Service, url: str) -> None:
    """It asks again and again and reads nothing, until nothing more can be sent to it."""
    with users_of(url) as users:
        key = api_key(users, 22, user="u-22")
    events = [
        email_sent(n, type="CampaignCreated", campaign_id=n, name="x" * 200, status="ACTIVE") for n in range(1, 200)
    ]
    written = service.post(22, key, *events).json
    assert service.dashboard(key, f"workspace_id=22&min_position={written['position']}").status == 200
    request = HEAD % (b"?workspace_id=22", b"Host: h\r\nX-API-Key: %b\r\n" % key["X-API-Key"].encode())
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        connection.settimeout(20)
        connection.connect(("127.0.0.1", service.port))
        connection.sendall(request * 300)
        for _ in range(50):
            began = time.monotonic()
            assert service.dashboard(key, "workspace_id=22").status == 200
            assert time.monotonic() - began < 5
        connection.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: connection.recv(1_000_000), b""))
    assert answer.count(b"HTTP/1.1 200 OK") == 300, "it gets all of it once it reads"


def test_what_is_measured_includes_the_database(service: Service, url: str) -> None:
    """A request that is asked ahead has begun when that began."""
    with users_of(url) as users:
        key = api_key(users, 23, user="u-23")
    assert service.dashboard(key, "workspace_id=23").status == 200
    with psycopg.connect(url) as connection:
        connection.execute("LOCK TABLE workspace_link IN ACCESS EXCLUSIVE MODE")
        parts = http.client.HTTPConnection("127.0.0.1", service.port, timeout=20)
        new = {"Accept-Encoding": "identity", "X-Request-ID": "slow-23"}  # unlike the last one, whose answer is kept
        parts.request("GET", f"{DASHBOARD}?workspace_id=23", headers={**key, **new})
        waits = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        wait_for(lambda: connection.execute(waits).rowcount == 1)
        began = time.monotonic()
        wait_for(lambda: time.monotonic() - began > 0.4)
        connection.rollback()
    assert parts.getresponse().status == 200
    parts.close()
    wait_for(lambda: '"slow-23"' in service.output)
    (line,) = [json.loads(line) for line in service.output.splitlines() if '"slow-23"' in line]
    assert line["ms"] >= 300


def test_a_database_that_does_not_answer_is_a_503_for_all_at_once(service: Service, url: str) -> None:
    """They wait no longer together than one would wait alone; and the next are answered again."""
    with users_of(url) as users:
        key = api_key(users, 24, user="u-24")
    with psycopg.connect(url) as connection:
        connection.execute("LOCK TABLE workspace_link IN ACCESS EXCLUSIVE MODE")
        began = time.monotonic()
        answers = at_once(service, [("GET", "?workspace_id=24", key)] * 10)
        assert time.monotonic() - began < 4, "PostgreSQL gives a lock up after two seconds"
        connection.rollback()
    assert {answer.status for answer in answers} == {503}
    assert {answer.body for answer in answers} == {b'{"error": "The database does not answer, please try again"}'}
    assert {answer.status for answer in at_once(service, [("GET", "?workspace_id=24", key)] * 10)} == {200}
