"""Shows that requests which are answered together get each their own answer, and pay for no other."""

import http.client
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import psycopg
import pytest
from falcon import testing

from api import ahead
from api.app import App, create_app
from domain import ledger
from domain.access import Access
from domain.recorder import Pool
from projections import round_trip
from projections.round_trip import Repeated
from service import settings, together
from service.together import Together
from service.web import make_parts
from tests.conftest import new_database, project_all
from tests.facts import JWT_SECRET, api_key, email_sent, parsed, session
from tests.running import Service, serving, users_of
from tests.servers import wait_for

DASHBOARD = "/api/v1/dashboard/campaign-analytics/"
HEAD = b"GET /api/v1/dashboard/campaign-analytics/%b HTTP/1.1\r\n%b\r\n"


class Got(NamedTuple):
    """An answer: its status, what of its headers is about this caller alone, and its body."""

    status: int
    about: dict[str, str | None]
    body: bytes


@pytest.fixture(scope="module")
def url(server_url: str, template: str) -> Iterator[str]:
    """Give a database for all tests of this module."""
    with new_database(server_url, template) as made:
        yield made


@pytest.fixture(scope="module")
def service(url: str) -> Iterator[Service]:
    """Give a service of a single process, so that whoever comes at the same time is answered together."""
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


def at_once(service: Service, asked: list[tuple[str, str, dict[str, str]]]) -> list[Got]:
    """Send requests (method, query and headers) at the same time, each on a connection of its own."""
    with ExitStack() as stack:
        connections = []
        with frozen(service):
            for method, query, headers in asked:
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
    """Whoever they are and whatever they ask: together they are told what each is told alone."""
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
        asked: list[tuple[str, str, dict[str, str]]] = [
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
        asked = [
            (method, query, {**headers, "X-Request-ID": f"t-{n}"}) for n, (method, query, headers) in enumerate(asked)
        ]
    alone = [at_once(service, [each])[0] for each in asked]
    assert {got.status for got in alone} == {200, 400, 401, 403}
    assert [json.loads(got.body)["campaigns"][0]["id"] for got in alone[:12]] == [11, 12, 13, 14] * 3
    assert [got.about["X-Request-ID"] for got in alone] == [f"t-{n}" for n in range(len(asked))]
    for _ in range(3):
        assert at_once(service, asked) == alone
    have = [(m, q, {**h, "If-None-Match": str(got.about["ETag"])}) for (m, q, h), got in zip(asked, alone, strict=True)]
    expected = [304 if got.status == 200 else got.status for got in alone]
    assert [got.status for got in at_once(service, have)] == expected


def test_requests_one_after_another_on_one_connection_are_answered_in_order(service: Service, url: str) -> None:
    """Those that are answered together, and others in between."""
    with users_of(url) as users:
        key = api_key(users, 21, user="u-21")["X-API-Key"]
    asked = b""
    for number in range(60):
        query = b"?workspace_id=21" if number % 3 else b"summary/?workspace_id=21"
        asked += HEAD % (query, b"Host: h\r\nX-API-Key: %b\r\nX-Request-ID: o-%d\r\n" % (key.encode(), number))
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as connection:
        connection.sendall(asked)
        connection.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: connection.recv(65_536), b""))
    assert [int(part.split(b"\r\n")[0]) for part in answer.lower().split(b"x-request-id: o-")[1:]] == list(range(60))
    assert answer.count(b"HTTP/1.1 200 OK") == 60


def test_a_client_that_takes_no_answer_holds_up_nobody(service: Service, url: str) -> None:
    """It asks again and again and reads nothing, until nothing more can be sent to it."""
    with users_of(url) as users:
        key = api_key(users, 22, user="u-22")
    events = [
        email_sent(n, type="CampaignCreated", campaign_id=n, name="x" * 200, status="ACTIVE") for n in range(1, 200)
    ]
    written = service.post(22, key, *events).json
    assert service.dashboard(key, f"workspace_id=22&min_position={written['position']}").status == 200
    asked = HEAD % (b"?workspace_id=22", b"Host: h\r\nX-API-Key: %b\r\n" % key["X-API-Key"].encode())
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        connection.settimeout(20)
        connection.connect(("127.0.0.1", service.port))
        connection.sendall(asked * 300)
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
        parts.request("GET", f"{DASHBOARD}?workspace_id=23", headers={**key, "X-Request-ID": "slow-23"})
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


@pytest.fixture
def app(pool: Pool, users: Access) -> App:
    """Give the application around a fresh database, in which u-1 sees a projected workspace."""
    users.link("u-1", 340, "cli:test")
    with pool.connection() as connection:
        ledger.record(connection, 340, parsed(email_sent()))
    project_all(pool)
    chosen = settings.from_environment({"JWT_SECRET": JWT_SECRET})
    return create_app(make_parts(pool, chosen, {}))


def environment(headers: dict[str, str], query: str = "workspace_id=340") -> dict[str, Any]:
    """Return a request as WSGI has it."""
    return testing.create_environ(DASHBOARD, headers=headers, query_string=query)


def answered(app: App, request: dict[str, Any]) -> tuple[int, bytes]:
    """Return the answer's status and body."""
    response = testing.StartResponseMock()
    body = b"".join(app(request, response))
    return int((response.status or "0").split()[0]), body


@pytest.fixture
def lent(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], int]]:
    """Give how many connections to the database have been lent by now."""
    times = 0
    lend = pool.getconn

    def counting(timeout: float | None = None) -> Any:
        nonlocal times
        times += 1
        return lend(timeout)

    monkeypatch.setattr(pool, "getconn", counting)
    return lambda: times  # type: ignore[return-value]


def test_all_are_asked_on_one_connection_and_each_is_used_once(app: App, lent: Callable[[], int]) -> None:
    """A request that is answered a second time asks again: a link may have gone."""
    one, two = session("u-1"), session("u-2")
    requests = [environment(one), environment(one), environment(two), environment(one, "")]
    app.ahead.ask(requests)
    assert lent() == 1
    assert [answered(app, each)[0] for each in requests] == [200, 200, 403, 200]
    assert lent() == 1
    assert answered(app, requests[0])[0] == 200
    assert lent() == 2


def test_all_workspaces_are_asked_ahead_once_something_of_them_is_kept(app: App, lent: Callable[[], int]) -> None:
    """Before, many such answers at a time might take much memory."""
    for loans in (0, 1):
        request, before = environment(session("u-1"), "workspace_id=ALL"), lent()
        assert app.ahead.ask([request, environment({})]) == [loans == 1, False]
        assert lent() - before == loans
        assert answered(app, request)[0] == 200


def test_who_sees_many_workspaces_asks_for_all_of_them_alone(
    app: App, lent: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others would wait for the answer."""
    monkeypatch.setattr(ahead, "MOST_WORKSPACES", 0)
    request = environment(session("u-1"), "workspace_id=ALL")
    assert answered(app, request)[0] == 200
    before = lent()
    assert app.ahead.ask([request]) == [False]
    assert lent() == before


def test_what_was_said_of_one_request_answers_no_other(app: App, lent: Callable[[], int]) -> None:
    """Not even where it goes along with it: another caller, or another workspace, is asked for anew."""
    said, other = environment(session("u-1")), environment(session("u-2"))
    app.ahead.ask([said])
    other["campaign_analytics.said"] = said["campaign_analytics.said"]
    assert answered(app, other)[0] == 403
    other = environment(session("u-1"), "workspace_id=341")
    other["campaign_analytics.said"] = said["campaign_analytics.said"]
    assert answered(app, other)[0] == 403
    assert lent() == 3


def test_a_database_that_is_away_is_asked_once(app: App, pool: Pool) -> None:
    """All are told so, and none of them waits for it again."""
    requests = [environment({"X-API-Key": "ca_1.x"}), environment(session("u-1"))]
    pool.close()
    app.ahead.ask(requests)
    expected = (503, b'{"error": "The database does not answer, please try again"}')
    assert [answered(app, each) for each in requests] == [expected] * 2


def test_where_asking_together_fails_each_asks_by_itself(app: App, pool: Pool, lent: Callable[[], int]) -> None:
    """Somebody has deallocated what was prepared; it is prepared again the next time."""
    requests = [environment(session("u-1")), environment(session("u-1"))]
    for loans in (1, 1 + len(requests), 1):
        if loans > 1:
            with ExitStack() as stack:
                for _ in range(pool.get_stats()["pool_size"]):
                    stack.enter_context(pool.connection()).execute("DEALLOCATE ALL")
        before = lent()
        app.ahead.ask(requests)
        assert [answered(app, each)[0] for each in requests] == [200, 200]
        assert lent() - before == loans


def test_sessions_whose_keys_may_have_to_be_fetched_are_answered_alone(pool: Pool) -> None:
    """All others would wait for that too; API keys are asked ahead there as well."""
    chosen = settings.from_environment({"JWT_JWKS_URL": "http://127.0.0.1:9/keys"})
    asking = create_app(make_parts(pool, chosen, {})).ahead
    assert not asking.takes(HEAD % (b"", b"Host: h\r\ncookie : sessionid=x\r\n"))
    assert asking.takes(HEAD % (b"", b"Host: h\r\nX-API-Key: x.y\r\n"))


@pytest.mark.parametrize(
    "head",
    [
        b"POST /api/v1/dashboard/campaign-analytics/ HTTP/1.1\r\nHost: h\r\n\r\n",
        b"GET /api/v1/events/ HTTP/1.1\r\nHost: h\r\n\r\n",
        HEAD % (b"?workspace_id=1&min_position=1", b""),
        HEAD % (b"?workspace_id=0", b""),
        HEAD % (b"?workspace_id=0340", b""),
        HEAD % (b"?workspace_id=all", b""),
        HEAD % (b"?workspace_id=1&campaign_id=1", b""),
        HEAD % (b"summary/?workspace_id=1", b""),
        HEAD % (b"", b"Content-Length: 5\r\n"),
        HEAD % (b"", b"transfer-encoding: chunked\r\n"),
        HEAD % (b"", b"Host: h\r\nExpect: 100-continue\r\n"),
        HEAD % (b"", b"Upgrade: h2c\r\n"),
    ],
)
def test_what_may_have_to_be_waited_for_is_answered_alone(app: App, head: bytes) -> None:
    """A body, the projection, another question, what is malformed: all others would wait for that too."""
    assert not app.ahead.takes(head)


@pytest.mark.parametrize("query", [b"", b"?workspace_id=340", b"?workspace_id=ALL"])
def test_a_plain_read_is_answered_together_with_others(app: App, query: bytes) -> None:
    assert app.ahead.takes(HEAD % (query, b"Host: h\r\nX-API-Key: x.y\r\n"))
    assert app.ahead.takes(HEAD % (query, b"Host: h\r\nCookie: sessionid=x\r\n"))


def test_keys_whose_uses_are_counted_are_answered_alone(pool: Pool) -> None:
    """Each count is a wait of its own for the database; sessions are not counted."""
    chosen = settings.from_environment({"JWT_SECRET": JWT_SECRET, "RATE_LIMIT": "100"})
    asking = create_app(make_parts(pool, chosen, {})).ahead
    assert not asking.takes(HEAD % (b"", b"Host: h\r\nx-API-Key : x.y\r\n"))
    assert asking.takes(HEAD % (b"", b"Host: h\r\nCookie: sessionid=x\r\n"))


def test_a_statement_is_asked_several_times_and_gives_the_rows_of_each_in_order(pool: Pool) -> None:
    """Whatever a parameter is; and a failure leaves the connection as it was."""
    divided = Repeated("divided", b"SELECT %(text)s::text, 10 / %(number)s::bigint, %(yes)s::boolean, %(number)s")
    given: list[dict[str, object]] = [
        {"text": "ä'\\", "number": 1, "yes": True},
        {"text": None, "number": 2, "yes": None},
        {"text": "", "number": -5, "yes": False},
    ]
    with pool.connection() as connection:
        expected = [[("ä'\\", 10, True, 1)], [(None, 5, None, 2)], [("", -2, False, -5)]]
        assert divided.rows_of_each(connection, given) == expected
        with pytest.raises(psycopg.errors.DivisionByZero):
            divided.rows_of_each(connection, [given[0], {**given[0], "number": 0}, given[1]])
        with pytest.raises(psycopg.DataError):
            divided.rows_of_each(connection, [{**given[0], "text": "u-1\0"}])
        assert divided.rows_of_each(connection, given) == expected
        assert connection.execute("SELECT 1").fetchall() == [(1,)]


def test_a_statement_with_long_parameters_is_asked_several_times(pool: Pool) -> None:
    """More than the sockets hold: it is written while what comes back is read."""
    long = Repeated("long", b"SELECT %(text)s::text")
    given = [{"text": str(number) * 300_000} for number in range(1, 10)]
    with pool.connection() as connection:
        found = long.rows_of_each(connection, given)
    assert found == [[(each["text"],)] for each in given]


class Client:
    """A connection on which nothing can be parsed, so that its turn shows in that it is ended."""

    def __init__(self) -> None:
        """Be open."""
        self.ended = threading.Event()
        self.parser: Iterator[object] = iter(())

    def init(self) -> None:
        """Begin to parse."""


class Worker:
    """A worker with threads and a main loop that does at once what it is given."""

    def __init__(self, threads: ThreadPoolExecutor) -> None:
        """Take the threads."""
        self.tpool = threads
        self.method_queue = self

    def defer(self, what: Callable[[Client], None], client: Client) -> None:
        """Do it."""
        what(client)

    def end(self, client: Client) -> None:
        """End a connection."""
        client.ended.set()


class Held:
    """An application that is held up when it is asked for the first time."""

    def __init__(self) -> None:
        """Wait to be asked."""
        self.asked = 0
        self.goes_on = threading.Event()

    def takes(self, _: bytes | bytearray) -> bool:
        """Take any."""
        return True

    def ask(self, _: object) -> list[bool]:
        """Wait, the first time."""
        self.asked += 1
        if self.asked == 1:
            self.goes_on.wait()
        return []


def test_who_comes_while_a_thread_is_held_up_gets_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a moment; and whoever comes then is not made to wait for that moment again."""
    monkeypatch.setattr(together, "PATIENCE_SECONDS", 1.0)
    application, clients = Held(), [Client() for _ in range(4)]
    with ThreadPoolExecutor(3) as threads:
        waiting = Together(Worker(threads), application, 60.0)
        try:
            waiting.join(clients[0])
            wait_for(lambda: application.asked == 1)
            assert waiting.patience() > 60
            waiting.join(clients[1])
            wait_for(lambda: waiting.overdue(time.monotonic()) == [] and clients[1].ended.is_set())
            wait_for(lambda: waiting._threads == 1)
            for client in clients[2:]:
                waiting.join(client)
                assert client.ended.wait(10)
                wait_for(lambda: waiting._threads == 1)
        finally:
            application.goes_on.set()


class Pipelined:
    """What has come of a connection whose next request is here already."""

    head = b""
    ready = False

    def begin_head(self) -> None:
        """Take what has come behind the last request."""
        self.ready = True

    def receive(self) -> None:
        """Read more."""
        raise AssertionError("what is read ahead would grow with each request")


def test_no_more_is_read_of_a_client_whose_next_request_is_here_already() -> None:
    client, application = Client(), Held()
    application.goes_on.set()
    client.unreader = Pipelined()  # type: ignore[attr-defined]
    with ThreadPoolExecutor(1) as threads:
        Together(Worker(threads), application, 60.0)._go_on([client])
        assert client.ended.wait(10)


def test_a_connection_that_has_gone_is_told_as_such(pool: Pool) -> None:
    """And the next one is another."""
    asked = Repeated("asked", b"SELECT %(number)s::bigint")
    with pytest.raises(psycopg.OperationalError), pool.connection() as connection:
        asked.rows_of_each(connection, [{"number": 1}])
        with psycopg.connect(str(pool.conninfo), autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(%s)", (connection.info.backend_pid,))
        asked.rows_of_each(connection, [{"number": 1}] * 3)
    with pool.connection() as connection:
        assert asked.rows_of_each(connection, [{"number": 1}] * 2) == [[(1,)], [(1,)]]


def test_a_database_that_says_nothing_is_not_waited_for_for_ever(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection is given up: what may come later is the answer to nobody's question."""
    asked = Repeated("slept", b"SELECT %(number)s::bigint FROM pg_sleep(%(number)s)")
    monkeypatch.setattr(round_trip, "MOST_SECONDS", 0.2)
    began = time.monotonic()
    with pytest.raises(psycopg.OperationalError), pool.connection() as connection:
        asked.rows_of_each(connection, [{"number": 0}, {"number": 3}])
    assert time.monotonic() - began < 2
    assert connection.closed
    with pool.connection() as connection:
        assert asked.rows_of_each(connection, [{"number": 0}]) == [[(0,)]]
