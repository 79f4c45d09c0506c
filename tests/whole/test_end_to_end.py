"""Shows over HTTP, with gunicorn, two workers and the projector running, that what is posted is what is seen."""

import json
import random
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from service import cli, database
from tests.support.databases import Databases
from tests.support.examples import WORKED_EXAMPLE_ANALYTICS, api_key, email_sent, session, worked_example
from tests.support.running import Answer, Service, exchange, request, serving, users_of, with_password
from tests.support.waiting import wait_for

pytestmark = pytest.mark.processes

EVENTS = "/api/v1/events/?workspace_id=340"
MAX_BODY_BYTES = 5 * 1024 * 1024


@pytest.fixture(scope="module")
def url(databases: Databases) -> Iterator[str]:
    """Give a database for all tests of this module."""
    with databases.lend() as made:
        yield made


@pytest.fixture(scope="module")
def key(url: str) -> dict[str, str]:
    """Give a key that reads and writes some workspaces."""
    with users_of(url) as users:
        return api_key(users, 1, 2, 3, 340, user="worker")


@pytest.fixture(scope="module")
def service(url: str, key: dict[str, str]) -> Iterator[Service]:
    """Give a service of two worker processes."""
    del key  # made before, so that the tests may stop the database meanwhile
    with serving(with_password(url), WEB_CONCURRENCY="2") as running:
        yield running


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_worked_example_is_counted_however_it_arrives(service: Service, key: dict[str, str], seed: int) -> None:
    """Shuffled, cut into several requests and with repeats, it gives exactly the documented answer."""
    rng = random.Random(seed)
    events = worked_example()
    arriving = events + rng.sample(events, 5)
    rng.shuffle(arriving)
    accepted = position = 0
    while arriving:
        size = rng.randint(1, 4)
        answer = service.post(seed, key, *arriving[:size])
        assert answer.status == 200, answer.body
        arriving = arriving[size:]
        accepted += answer.json["accepted"]
        position = answer.json["position"]
    assert (accepted, position) == (len(events), len(events))
    answer = service.dashboard(key, f"workspace_id={seed}&min_position={position}")
    campaign = {"id": 123, "name": "Campaign 123", "status": "UNKNOWN", "workspace_id": seed}
    expected = {"campaigns": [{**campaign, "analytics": WORKED_EXAMPLE_ANALYTICS}]}
    assert answer.body.decode() == json.dumps(expected, separators=(",", ":"))
    assert (answer.headers["X-Lag"], answer.headers["X-Position"]) == ("0", "13")


def test_a_chunked_body_is_taken_like_any_other(service: Service, key: dict[str, str]) -> None:
    """The chunks need not end where events end."""
    body = json.dumps({"events": [email_sent(number, source="chunked") for number in range(50)]}).encode()
    chunks = (body[start : start + 7] for start in range(0, len(body), 7))
    answer = service.request("POST", EVENTS, {**key, "Content-Type": "application/json"}, chunks)
    assert (answer.status, answer.json["accepted"]) == (200, 50)


def test_a_chunked_body_over_the_limit_is_refused_and_nothing_of_it_is_stored(
    service: Service, key: dict[str, str]
) -> None:
    """Its length is not announced, so it is refused when the limit is passed."""
    before = stored(service, key)
    body = json.dumps(email_sent(1, source="large")).encode()
    chunks = (part for part in [body, *[b" " * 65_536] * (MAX_BODY_BYTES // 65_536)])
    answer = service.request("POST", EVENTS, {**key, "Content-Type": "application/json"}, chunks)
    assert answer.status == 413
    assert stored(service, key) == before


@pytest.mark.parametrize(
    ("framing", "body"),
    [
        ("Content-Length: 1000", b'{"events": []}'),
        ("Content-Length: 1000", b""),
        ("Transfer-Encoding: chunked", b'e\r\n{"events": []}\r\n'),
        ("Transfer-Encoding: chunked", b'ff\r\n{"events": []}'),
        ("Transfer-Encoding: chunked", b""),
        ("Transfer-Encoding: chunked", b"no size\r\n"),
    ],
    ids=["length", "length, empty", "no last chunk", "within a chunk", "no chunk", "no size"],
)
def test_a_body_cut_short_is_refused_and_nothing_of_it_is_stored(
    service: Service, key: dict[str, str], framing: str, body: bytes
) -> None:
    """Also where what has arrived would be whole by itself."""
    before = stored(service, key)
    event = json.dumps(email_sent(1, source="cut")).encode()
    whole = body.replace(b'{"events": []}', event).replace(b"e\r\n", f"{len(event):x}\r\n".encode(), 1)
    head = f"POST {EVENTS} HTTP/1.1\r\nHost: here\r\nX-API-Key: {key['X-API-Key']}\r\n{framing}\r\n"
    answer = exchange(service.port, f"{head}Content-Type: application/json\r\n\r\n".encode() + whole)
    assert answer.startswith(b"HTTP/1.1 400 "), answer
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
    assert stored(service, key) == before


def test_the_metrics_count_the_requests_of_all_worker_processes(service: Service) -> None:
    """Each worker is made to answer some requests, and each returns the same sum."""
    before = answered(service)
    for _ in service.each_worker():
        for _ in range(5):
            assert service.request("GET", "/healthz").status == 200
    assert [answered(service) for _ in service.each_worker()] == [before + 10] * 2


def test_an_unlink_works_from_the_very_next_request_on_every_worker(
    service: Service, url: str, key: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No worker keeps in mind who may see what, neither for a session nor for a key."""
    del key
    monkeypatch.setenv("DATABASE_URL", url)
    with users_of(url) as users:
        by_key = api_key(users, 7, user="leaving")
    by_session = session("leaving")
    for command, expected in (("unlink", 403), ("link", 200), ("unlink", 403)):
        assert cli.main(["access", command, "leaving", "7"]) == 0
        for _ in service.each_worker():
            assert service.dashboard(by_key, "workspace_id=7").status == expected
            assert service.dashboard(by_session, "workspace_id=7").status == expected
            assert service.post(7, by_key).status == expected


def test_without_its_database_the_service_answers_503_quickly_and_recovers(
    service: Service, url: str, server_url: str, key: dict[str, str]
) -> None:
    """No request hangs, no process dies, and what was posted afterwards is counted again."""
    tree = {each.pid for each in (service.arbiter(), service.projector(), *service.workers()) if each}
    with psycopg.connect(server_url, autocommit=True) as server:
        close_database(server, url)
        paths = ["/api/v1/dashboard/campaign-analytics/?workspace_id=340", "/readyz"] * 8
        started = time.monotonic()
        answers: list[Answer] = []

        def are_all_refused() -> bool:
            with ThreadPoolExecutor(len(paths)) as callers:
                answers[:] = callers.map(lambda path: service.request("GET", path, key), paths)
            return {answer.status for answer in answers} == {503}

        wait_for(are_all_refused)  # not at once: a process answers probes for a second by what it saw last
        answers.append(service.post(340, key, email_sent(1, source="away")))
        assert time.monotonic() - started < 10
        assert answers[-1].status == 503
        assert all(int(answer.headers["Retry-After"]) > 0 for answer in answers)
        assert service.request("GET", "/healthz").status == 200
        wait_for(lambda: "the database does not answer" in service.output)
        open_database(server, url)
    wait_for(service.is_ready, 5)
    answer = service.post(340, key, email_sent(1, source="away"))
    assert (answer.status, answer.json["accepted"]) == (200, 1)
    assert service.dashboard(key, f"workspace_id=340&min_position={answer.json['position']}").status == 200
    assert {each.pid for each in (service.arbiter(), service.projector(), *service.workers()) if each} == tree


def test_the_service_reconnects_at_once_however_long_the_database_was_away(database_url: str, server_url: str) -> None:
    """Attempts to connect do not grow rare, as they would by the pool's own default."""
    with (
        psycopg.connect(server_url, autocommit=True) as server,
        database.open_pool(database_url, size=1) as pool,
    ):
        pool.wait()
        close_database(server, database_url)
        for _ in range(3):
            with pytest.raises(psycopg.OperationalError), pool.connection() as connection:
                connection.execute("SELECT 1")
        open_database(server, database_url)
        with pool.connection() as connection:
            connection.execute("SELECT 1")


def close_database(server: psycopg.Connection, url: str) -> None:
    """Close a database for new sessions, and end those that are open."""
    name = conninfo_to_dict(url)["dbname"]
    server.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(sql.Identifier(str(name))))
    server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))


def open_database(server: psycopg.Connection, url: str) -> None:
    """Let everybody in again."""
    name = str(conninfo_to_dict(url)["dbname"])
    server.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(sql.Identifier(name)))


def stored(service: Service, key: dict[str, str]) -> int:
    """Return how many events the log holds."""
    position = service.post(340, key).json["position"]
    assert isinstance(position, int)
    return position


def answered(service: Service) -> int:
    """Return how many liveness probes the metrics of the service have counted."""
    text = request(service.url, "GET", "/metrics").body.decode()
    counted = r'^campaign_analytics_http_requests_total\{method="GET",route="/healthz",status="200"\} (\d+)'
    match = re.search(counted, text, re.MULTILINE)
    return int(match[1]) if match else 0
