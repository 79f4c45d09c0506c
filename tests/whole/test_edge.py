"""Shows that no client, however slow or broken, and no slow question takes the service from anybody else."""

import asyncio
import http.client
import json
import os
import random
import re
import resource
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import psycopg
import pytest

from projections import pipeline
from service.web import worker
from tests.support.databases import Databases
from tests.support.examples import api_key, email_sent
from tests.support.running import Answer, Service, exchange, open_connections, request, serving, users_of
from tests.support.waiting import wait_for

pytestmark = pytest.mark.processes

DASHBOARD = "/api/v1/dashboard/campaign-analytics/"
EVENTS = "/api/v1/events/"
WORKSPACE = 340
RESET = struct.pack("ii", 1, 0)  # closed so, a connection is reset, and the server knows at once


@pytest.fixture(scope="module")
def url(databases: Databases) -> Iterator[str]:
    """Give a database for all tests of this module."""
    with databases.lend() as made:
        yield made


@pytest.fixture(scope="module")
def key(url: str) -> dict[str, str]:
    """Give the header of a key that may read and write."""
    with users_of(url) as users:
        return api_key(users, *range(WORKSPACE, WORKSPACE + 10))


@pytest.fixture(scope="module")
def service(url: str, key: dict[str, str]) -> Iterator[Service]:
    """Give a service of one process with one thread beside its event loop, which has answered already."""
    with serving(url, WEB_THREADS="1", LOG_FORMAT="json") as running:
        assert running.post(WORKSPACE, key, email_sent(0)).status == 200
        assert running.dashboard(key, f"workspace_id={WORKSPACE}&min_position=1").status == 200
        yield running


def test_clients_that_read_no_answers_delay_no_other_request(service: Service, key: dict[str, str]) -> None:
    """Sending waits for the client on the event loop, within a bounded buffer."""
    requests = b"GET /docs/swagger-ui.js HTTP/1.1\r\nHost: h\r\n\r\n" * 8
    with open_connections(service.port, 16, requests):
        for _ in range(64):
            began = time.monotonic()
            assert service.request("GET", "/healthz").status == 200
            assert service.dashboard(key, f"workspace_id={WORKSPACE}").status == 200
            assert time.monotonic() - began < worker.HEAD_SECONDS / 2


def test_bodies_that_are_not_read_delay_no_other_request(service: Service, key: dict[str, str]) -> None:
    """Each of their connections is closed behind its answer."""
    part = b"POST /nowhere HTTP/1.1\r\nHost: h\r\nContent-Length: 60\r\n\r\nx"
    with ThreadPoolExecutor(8) as executor:
        refused = [executor.submit(exchange, service.port, part) for _ in range(200)]
        began = time.monotonic()
        for _ in range(20):
            assert service.dashboard(key, f"workspace_id={WORKSPACE}").status == 200
        assert time.monotonic() - began < worker.HEAD_SECONDS / 2
        assert {each.result()[9:12] for each in refused} == {b"404"}


@pytest.mark.parametrize("credentials", [b"", b"X-API-Key: no.key\r\n"])
def test_a_broken_chunk_behind_a_401_gets_no_second_answer(service: Service, credentials: bytes) -> None:
    """Whether it comes with the head or after the answer."""
    head = b"POST /api/v1/events/ HTTP/1.1\r\nHost: h\r\n" + credentials + b"Transfer-Encoding: chunked\r\n\r\n"
    answer = exchange(service.port, head + b"zz\r\n")
    assert (answer.count(b"HTTP/1.1 "), answer[9:12]) == (1, b"401")
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as connection:
        connection.sendall(head + b"5\r\nabc")
        answer = connection.recv(12)
        with suppress(ConnectionError):
            connection.sendall(b"defzz\r\n\r\n")
            answer += b"".join(iter(lambda: connection.recv(65_536), b""))
    assert answer.count(b"HTTP/1.1 ") == 1
    assert answer[9:12] == b"401"


def test_a_slow_question_in_a_thread_holds_up_no_small_one(service: Service, url: str, key: dict[str, str]) -> None:
    """The only thread waits for a lock; reads of the main answer and small posts go on."""
    with psycopg.connect(url) as connection:
        connection.execute("LOCK TABLE journey IN ACCESS EXCLUSIVE MODE")
        slow: list[Answer] = []
        path = f"{DASHBOARD}breakdown/?workspace_id={WORKSPACE}"
        asking = threading.Thread(target=lambda: slow.append(service.request("GET", path, key)))
        asking.start()
        waits = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        wait_for(lambda: connection.execute(waits).rowcount >= 1)
        assert service.dashboard(key, f"workspace_id={WORKSPACE}").status == 200
        assert service.post(WORKSPACE + 1, key, email_sent(1)).status == 200
        assert slow == []
        connection.rollback()
    asking.join()
    assert slow[0].status == 200


def test_slow_questions_of_a_large_tenant_fail_no_other_request(
    service: Service, url: str, key: dict[str, str]
) -> None:
    """Its answers of many megabytes may be too many for the one thread; those of a small workspace are all given."""
    large, small, campaigns = WORKSPACE + 7, WORKSPACE + 8, 15_000
    assert service.post(large, key, email_sent(1, campaign_id=1)).status == 200
    assert service.post(small, key, email_sent(1, campaign_id=1)).status == 200
    with psycopg.connect(url, autocommit=True) as connection:
        projected = "SELECT FROM projection WHERE workspace_id = ANY (%s) AND position = 1"
        wait_for(lambda: connection.execute(projected, ([large, small],)).rowcount == 2)
        connection.execute(
            "INSERT INTO campaign (workspace_id, generation, campaign_id, about, name, status, totals)"
            " SELECT workspace_id, generation, number, about, name, status, totals"
            " FROM campaign, generate_series(2, %s) AS number WHERE workspace_id = %s",
            (campaigns, large),
        )
    over = threading.Event()

    def ask(path: str, query: str) -> list[Answer]:
        return [service.request("GET", f"{DASHBOARD}{path}?{query}", key) for _ in range(3)]

    def ask_little(client: int) -> list[Answer]:
        answers = []
        while not over.is_set():
            answers.append(service.dashboard(key, f"workspace_id={small}"))
            answers.append(service.post(small, key, email_sent(1, id=f"{client}-{len(answers)}")))
        return answers

    with ThreadPoolExecutor(10) as executor:
        little = [executor.submit(ask_little, client) for client in range(2)]
        questions = [
            ("", f"workspace_id={large}"),
            ("summary/", f"workspace_id={large}&status=UNKNOWN"),
            ("", "workspace_id=ALL"),
        ]
        much = [executor.submit(ask, *each) for each in questions * 2]
        answers = [answer for each in much for answer in each.result()]
        over.set()
        assert {answer.status for each in little for answer in each.result()} == {200}
    assert {answer.status for answer in answers} <= {200, 503}
    whole = [answer.json["campaigns"] for answer in answers if answer.status == 200 and len(answer.body) > 1_000_000]
    assert whole, "it gets an answer too"
    assert {sum(each["workspace_id"] == large for each in one) for one in whole} == {campaigns}


def test_a_thousand_clients_that_give_up_break_no_other_answer(service: Service, key: dict[str, str]) -> None:
    """At random moments, while others read and post: each answer is its request's own, each event is stored once."""
    rng, stay = random.Random(5), 300
    head = f"Host: h\r\nX-API-Key: {key['X-API-Key']}\r\nConnection: close\r\n"

    def request_of(number: int) -> bytes:
        workspace, identity = WORKSPACE + 2 + number % 3, f"X-Request-ID: g-{number}\r\n"
        if number % 2:
            return f"GET {DASHBOARD}?workspace_id={workspace} HTTP/1.1\r\n{head}{identity}\r\n".encode()
        body = json.dumps(email_sent(number, campaign_id=workspace)).encode()
        form = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        return f"POST {EVENTS}?workspace_id={workspace} HTTP/1.1\r\n{head}{identity}{form}\r\n".encode() + body

    async def client(number: int, slots: asyncio.Semaphore) -> bytes:
        async with slots:
            reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
            try:
                data = request_of(number)
                if number >= stay:
                    writer.write(data[: rng.randrange(1, len(data) + 1)])
                    await asyncio.sleep(rng.random() / 100)  # the moment at which it gives up
                    return b""
                writer.write(data)
                return await reader.read()
            finally:
                writer.close()

    async def all_of_them() -> list[bytes]:
        slots = asyncio.Semaphore(60)
        numbers = list(range(stay + 1_000))
        rng.shuffle(numbers)
        answers = await asyncio.gather(*(client(number, slots) for number in numbers))
        return [answer for _, answer in sorted(zip(numbers, answers, strict=True))]

    answers = asyncio.run(all_of_them())
    positions: dict[int, list[int]] = {}
    for number, answer in enumerate(answers[:stay]):
        top, _, body = answer.partition(b"\r\n\r\n")
        assert top.startswith(b"HTTP/1.1 200 "), answer
        assert f"x-request-id: g-{number}\r\n".encode() in top.lower() + b"\r\n"
        workspace = WORKSPACE + 2 + number % 3
        if number % 2:
            assert {each["workspace_id"] for each in json.loads(body)["campaigns"]} <= {workspace}
        else:
            assert json.loads(body)["accepted"] == 1
            positions.setdefault(workspace, []).append(json.loads(body)["position"])
    for workspace in positions:
        feed = service.request("GET", f"{EVENTS}?workspace_id={workspace}", key).json
        ids = [each["id"] for each in feed["events"]]
        assert len(ids) == len(set(ids)) == feed["head"]
        acknowledged = {f"e-{n}" for n in range(0, stay, 2) if WORKSPACE + 2 + n % 3 == workspace}
        assert acknowledged <= set(ids)
    assert service.request("GET", "/healthz").status == 200


@contextmanager
def backends_stopped(url: str) -> Iterator[None]:
    """Freeze the database's processes that serve the application, as a machine that hangs would."""
    with psycopg.connect(url, autocommit=True) as connection:
        backends = connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ).fetchall()
    for (pid,) in backends:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for (pid,) in backends:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


@pytest.mark.skipif(sys.platform != "linux", reason="stops processes of the database")
def test_a_database_that_freezes_and_comes_back(service: Service, url: str, key: dict[str, str]) -> None:
    """Reads and posts are 503 in time, the process lives meanwhile, and all is well again afterwards."""
    if not _may_signal(url):
        pytest.skip("the database's processes belong to somebody else")
    with backends_stopped(url), ThreadPoolExecutor(8) as executor:
        began = time.monotonic()
        futures = [executor.submit(service.dashboard, key, f"workspace_id={WORKSPACE}") for _ in range(4)]
        futures += [executor.submit(service.post, WORKSPACE, key, email_sent(500 + n)) for n in range(4)]
        assert service.request("GET", "/healthz").status == 200
        assert {each.result().status for each in futures} <= {200, 503}
        assert time.monotonic() - began < 2 * pipeline.ANSWER_SECONDS
    wait_for(lambda: service.dashboard(key, f"workspace_id={WORKSPACE}").status == 200)
    again = service.post(WORKSPACE, key, *(email_sent(500 + n) for n in range(4)))
    assert again.status == 200
    assert again.json["accepted"] + again.json["duplicates"] == 4


def _may_signal(url: str) -> bool:
    with psycopg.connect(url) as connection:
        try:
            os.kill(connection.info.backend_pid, 0)
        except OSError:
            return False
    return True


def test_connections_of_the_event_loop_that_are_terminated_are_opened_anew(
    service: Service, url: str, key: dict[str, str]
) -> None:
    """Again and again, while clients read and post: each gets 200 or 503, and what was acknowledged is stored once."""
    workspace, over = WORKSPACE + 6, threading.Event()

    def read() -> set[int]:
        statuses = set()
        while not over.is_set():
            statuses.add(service.dashboard(key, f"workspace_id={workspace}").status)
        return statuses

    def post(writer: int) -> list[str]:
        acknowledged, number = [], 0
        while not over.is_set():
            event = email_sent(number, id=f"w{writer}-{number}")
            answer = service.post(workspace, key, event)
            assert answer.status in (200, 503)
            if answer.status == 200:
                acknowledged.append(str(event["id"]))
                number += 1
        return acknowledged

    ending = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    with ThreadPoolExecutor(8) as executor, psycopg.connect(url, autocommit=True) as connection:
        reading, posting = executor.submit(read), [executor.submit(post, writer) for writer in range(3)]
        for _ in range(15):
            connection.execute(ending)
            over.wait(0.1)
        wait_for(lambda: service.dashboard(key, f"workspace_id={workspace}").status == 200)
        over.set()
        assert reading.result() <= {200, 503}
        acknowledged = [each for one in posting for each in one.result()]
    ids = whole_log(service, key, workspace)
    assert len(ids) == len(set(ids))
    assert set(acknowledged) <= set(ids)
    assert len(acknowledged) > 10


def whole_log(service: Service, key: dict[str, str], workspace: int) -> list[str]:
    """Return the ids of all events of a log, page by page."""
    ids, after, head = list[str](), 0, 1
    while after < head:
        page = service.request("GET", f"{EVENTS}?workspace_id={workspace}&after={after}", key).json
        ids += [each["id"] for each in page["events"]]
        after, head = page["position"], page["head"]
    return ids


@pytest.mark.skipif(sys.platform != "linux", reason="sets another process's limits")
def test_a_process_without_a_free_file_descriptor_keeps_its_connections(url: str, key: dict[str, str]) -> None:
    """It answers whom it can, and everybody again once some have gone."""
    with serving(url) as service:
        [process] = service.workers()
        connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=20)
        connection.request("GET", "/healthz")
        assert connection.getresponse().read()
        assert service.dashboard(key, f"workspace_id={WORKSPACE}").status == 200
        used = len(os.listdir(f"/proc/{process.pid}/fd"))  # noqa: PTH208 (only how many)
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (used + 6, used + 6))
        with open_connections(service.port, 40, b""):
            wait_for(lambda: len(os.listdir(f"/proc/{process.pid}/fd")) >= used + 5)  # noqa: PTH208
        wait_for(lambda: service.request("GET", "/healthz").status == 200)
        assert [each.pid for each in service.workers()] == [process.pid]
        connection.close()


def test_a_worker_that_ends_after_so_many_requests_resets_no_connection(url: str) -> None:
    """Another takes its place, and every request is answered."""
    with serving(url, GUNICORN_CMD_ARGS="--max-requests 30", WEB_CONCURRENCY="2") as service:
        first = {each.pid for each in service.workers()}
        for _ in range(90):
            assert request(service.url, "GET", "/healthz").status == 200
        wait_for(lambda: {each.pid for each in service.workers()} != first)


def test_idle_connections_do_not_delay_the_end(url: str) -> None:
    """They are closed at once."""
    with serving(url) as service:
        with open_connections(service.port, 20, b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n") as connections:
            for connection in connections:
                assert connection.recv(12) == b"HTTP/1.1 200"
            began = time.monotonic()
            service.process.send_signal(signal.SIGTERM)
            for connection in connections:
                assert b"".join(iter(lambda each=connection: each.recv(65_536), b"")) != b""  # type: ignore[misc]
            assert time.monotonic() - began < 3
        assert service.process.wait(20) == 0


def test_an_end_under_load_fails_no_request(url: str, key: dict[str, str]) -> None:
    """On SIGTERM each request is answered as a whole, or its connection ends before any byte of an answer."""
    workspace, headers = WORKSPACE + 9, f"Host: h\r\nX-API-Key: {key['X-API-Key']}\r\n"
    busy = asyncio.Event()

    async def client(number: int, port: int) -> tuple[int, list[str]]:
        """Return how many answers came, and which events were acknowledged."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        answers, acknowledged = 0, list[str]()
        while True:
            event = email_sent(answers, id=f"c{number}-{answers}")
            body = json.dumps(event).encode() if number % 2 else b""
            form = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else ""
            top = f"POST {EVENTS}" if body else f"GET {DASHBOARD}"
            writer.write(f"{top}?workspace_id={workspace} HTTP/1.1\r\n{headers}{form}\r\n".encode() + body)
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError as error:
                assert error.partial == b"", "an answer was cut short"
                break
            assert head.startswith(b"HTTP/1.1 200 "), head
            length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
            assert length is not None
            assert json.loads(await reader.readexactly(int(length[1])))
            answers += 1
            if body:
                acknowledged.append(str(event["id"]))
            if answers == 20:
                busy.set()
            if b"\r\nconnection: close" in head.lower():
                assert await reader.read() == b""
                break
        writer.close()
        return answers, acknowledged

    async def load_and_end(service: Service) -> list[tuple[int, list[str]]]:
        port = service.port
        clients = [asyncio.ensure_future(client(number, port)) for number in range(40)]
        await busy.wait()
        service.process.send_signal(signal.SIGTERM)
        return await asyncio.gather(*clients)

    with serving(url, WEB_CONCURRENCY="2") as service:
        results = asyncio.run(load_and_end(service))
        assert service.process.wait(20) == 0, service.output
    assert all(answers for answers, _ in results)
    acknowledged = [each for _, some in results for each in some]
    with serving(url) as service:
        ids = whole_log(service, key, workspace)
    assert len(ids) == len(set(ids))
    assert set(acknowledged) <= set(ids)


def test_clients_that_have_gone_before_their_answer_leave_nothing_behind(url: str, key: dict[str, str]) -> None:
    """Idle connections still make room for new ones, since none of those that have gone is counted as idle."""
    request_head = (
        f"GET {DASHBOARD}?workspace_id={WORKSPACE} HTTP/1.1\r\nHost: h\r\nX-API-Key: {key['X-API-Key']}\r\n".encode()
    )
    with serving(url, GUNICORN_CMD_ARGS="--worker-connections 20", LOG_FORMAT="json") as service:
        assert service.dashboard(key, f"workspace_id={WORKSPACE}").status == 200
        with psycopg.connect(url) as connection:
            connection.execute("LOCK TABLE workspace_link IN ACCESS EXCLUSIVE MODE")
            with open_connections(service.port, 15, request_head + b"X-Request-ID: gone\r\n\r\n") as going:
                for each in going:
                    each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                waits = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
                wait_for(lambda: connection.execute(waits).rowcount >= 1)
            connection.rollback()
        wait_for(lambda: service.output.count('"gone"') == 15)
        with open_connections(service.port, 30, b"") as connections:
            began = time.monotonic()
            assert service.request("GET", "/healthz").status == 200
            assert connections[0].recv(1) == b""
            assert time.monotonic() - began < worker.HEAD_SECONDS / 2
