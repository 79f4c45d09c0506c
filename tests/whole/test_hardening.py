"""Shows what is logged and never is, and what broken, slow and idle clients get."""

import http.client
import json
import re
import socket
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from select import POLLIN, poll

import jwt
import pytest

from api.http.headers import LONGEST
from service.web import worker
from tests.support.databases import Databases
from tests.support.examples import JWT_SECRET, SECURITY_HEADERS, api_key, email_sent, session
from tests.support.running import Service, descendants, exchange, open_connections, serving, users_of, with_password
from tests.support.waiting import wait_for

pytestmark = pytest.mark.processes

DASHBOARD = "/api/v1/dashboard/campaign-analytics/"
EVENTS = "/api/v1/events/"
HERE = "https://app.example.com"


@pytest.fixture(scope="module")
def url(databases: Databases) -> Iterator[str]:
    """Give a database for all tests of this module."""
    with databases.lend() as made:
        yield with_password(made)


@pytest.fixture(scope="module")
def service(url: str) -> Iterator[Service]:
    """Give a running service that logs everything, as JSON."""
    with serving(url, LOG_LEVEL="debug", LOG_FORMAT="json", WEB_THREADS="4") as running:
        yield running


def lines(service: Service, request_id: str) -> list[dict[str, object]]:
    """Return the access log's lines of a request."""
    logged = [json.loads(line) for line in service.output.splitlines() if f'"{request_id}"' in line]
    return [line for line in logged if line["logger"] == "access"]


def test_each_request_is_one_line_of_the_log(service: Service, url: str) -> None:
    """User or key's prefix, workspace, status, duration; the route, never the path or the query."""
    with users_of(url) as users:
        key = api_key(users, 340, user="u-log")
    prefix = key["X-API-Key"].partition(".")[0]
    requests: dict[str, tuple[str, str, dict[str, str], dict[str, object]]] = {
        "r-1": ("GET", DASHBOARD, key, {"key": prefix, "workspace": 340, "status": 200}),
        "r-2": ("GET", f"{DASHBOARD}?workspace_id=ALL", session("u-log"),
                {"user": "u-log", "workspace": "ALL", "status": 200}),
        "r-3": ("GET", f"{DASHBOARD}?workspace_id=777", key,
                {"key": prefix, "workspace": 777, "status": 403, "reason": "not_linked"}),
        "r-4": ("GET", DASHBOARD, {"X-API-Key": f"{prefix}.x"}, {"status": 401, "reason": "unknown_key"}),
        "r-5": ("GET", "/a-secret/?q=1", key, {"status": 404, "route": "none"}),
        "r-6": ("POST", f"{EVENTS}?workspace_id=340", key, {"key": prefix, "workspace": 340, "status": 415}),
        "r-8": ("POST", f"{EVENTS}?workspace_id=340", session("u-log"),
                {"user": "u-log", "workspace": 340, "status": 403, "reason": "scope"}),
        "r-7": ("GET", "/healthz", {}, {"status": 200, "level": "DEBUG"}),
    }  # fmt: skip
    for request_id, (method, path, headers, _) in requests.items():
        service.request(method, path, {**headers, "X-Request-ID": request_id})
    for request_id, (method, path, _, expected) in requests.items():
        wait_for(lambda request_id=request_id: lines(service, request_id) != [])  # type: ignore[misc]
        (line,) = lines(service, request_id)
        assert line["method"] == method
        assert isinstance(line["ms"], float)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", str(line["at"]))
        assert {name: line.get(name) for name in expected} == expected
        assert "?" not in str(line)
        assert {"user", "key", "workspace"} & line.keys() <= expected.keys(), path


def test_the_line_is_readable_on_a_terminal(url: str) -> None:
    """The same, as text."""
    with serving(url, LOG_FORMAT="text") as service:
        service.request("GET", DASHBOARD, {"X-Request-ID": "r-text", **session("u-text")})
        wait_for(lambda: "r-text" in service.output)
        (line,) = [line for line in service.output.splitlines() if "r-text" in line]
    assert "access: request method=GET route=/api/v1/dashboard/campaign-analytics status=403 ms=" in line
    assert "user=u-text" in line
    assert "reason=" in line
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO ", line)


def test_no_secret_is_logged_or_returned(service: Service, url: str) -> None:
    """Not in the log at its most talkative, not in an error, not in the metrics: good, bad and misplaced ones."""
    with users_of(url) as users:
        key = api_key(users, 340, user="u-secret")
        admin = api_key(users, user="platform", scopes=("admin",))
    good, forged = session("u-secret"), jwt.encode({"sub": "u"}, "a-forgers-secret-of-thirty-two-bytes", "HS256")
    query_secret = "a-secret-in-a-query"
    secrets = [
        JWT_SECRET,
        "a-forgers-secret",
        query_secret,
        key["X-API-Key"].partition(".")[2],
        admin["X-API-Key"].partition(".")[2],
        good["Cookie"].partition("=")[2],
        forged,
    ]
    swapped = {"X-API-Key": ".".join(reversed(key["X-API-Key"].split(".")))}
    everybody = [
        key,
        admin,
        good,
        swapped,
        {"Cookie": f"sessionid={forged}"},
        {"X-API-Key": query_secret},
    ]
    answers = []
    for headers in everybody:
        for method, path in (
            ("GET", DASHBOARD),
            ("GET", f"{DASHBOARD}?min_position={query_secret}"),
            ("GET", f"{DASHBOARD}?workspace_id={'9' * 100}"),
            ("POST", f"{EVENTS}?workspace_id=340"),
            ("GET", f"/{query_secret}/"),
            ("DELETE", f"/api/v1/access/users/u-secret/keys/{key['X-API-Key'].partition('.')[0]}0"),
            ("PUT", "/api/v1/access/users/u-secret/current-workspace"),
        ):
            answers.append(service.request(method, path, headers).body)
    answers += [
        exchange(service.port, f"GET / HTTP/1.1\r\nX-API-Key {key['X-API-Key']}\r\n\r\n".encode()),
        exchange(service.port, f"GET /?{query_secret} nonsense\r\n\r\n".encode()),
        exchange(service.port, f"GET / HTTP/1.1\r\nHost: h\r\nCookie: {good['Cookie']}\x00\r\n\r\n".encode()),
        service.request("GET", "/metrics").body,
        service.request("GET", "/api/v1/access/users/u-secret", admin).body,
        service.request("GET", "/api/v1/access/users/u-secret/history", admin).body,
    ]
    everything = service.output.encode() + b"".join(answers)
    assert [secret for secret in secrets if secret.encode() in everything] == []


BROKEN = [
    (b"nonsense\r\n\r\n", 400),
    (b"GET / HTTP/9.9\r\n\r\n", 400),
    (b"GET /" + b"x" * 9_000 + b" HTTP/1.1\r\n\r\n", 414),
    (b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: y\r\n" % number for number in range(65)) + b"\r\n", 431),
    (b"GET / HTTP/1.1\r\nX: " + b"y" * 9_000 + b"\r\n\r\n", 431),
    (b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: x\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: nonsense\r\n\r\n", 501),
    (b"GET / HTTP/1.1\r\n folded: x\r\n\r\n", 400),
    (b"\x16\x03\x01\x00\xa5\x01\x00\r\n\r\n", 400),
]


@pytest.mark.parametrize(("sent", "status"), BROKEN, ids=[str(number) for number in range(len(BROKEN))])
def test_what_is_no_request_gets_an_error_like_any_other(service: Service, sent: bytes, status: int) -> None:
    """In JSON, with a request id, and the connection is closed."""
    answer = exchange(service.port, sent)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), answer
    assert b"\r\nContent-Type: application/json\r\n" in head
    assert b"\r\nX-Request-ID: " in head
    assert [
        name for name, value in SECURITY_HEADERS.items() if f"\r\n{name}: {value}".lower().encode() not in head.lower()
    ] == []
    assert set(json.loads(body)) == ({"error", "details"} if status == 400 else {"error"})


def test_the_largest_requests_that_are_taken(service: Service) -> None:
    """A line of 8,000 bytes, 60 header fields, a cookie of 8,000 bytes."""
    headers = {**{f"X-{number}": "y" for number in range(60)}, "Cookie": "sessionid=" + "x" * 8_000}
    assert service.request("GET", f"{DASHBOARD}?{'x' * 7_900}", headers).status == 401


OPEN_REQUESTS = [
    b"",
    b"GET / HT",
    b"GET /healthz HTTP/1.1\r\nHost: h\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\nGET / HT",
    b"POST /api/v1/events/ HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\nx",
    b"POST /api/v1/events/ HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nx",
    b"POST /api/v1/events/ HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n",
    b"POST /healthz HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
]
STILL_COMING = b"POST /api/v1/events/ HTTP/1.1\r\nHost: h\r\ncontent-length: 1000\r\n\r\nx"


@pytest.mark.parametrize("sent", OPEN_REQUESTS, ids=[str(number) for number in range(len(OPEN_REQUESTS))])
def test_open_connections_use_no_thread(service: Service, sent: bytes) -> None:
    """Far more of them than there are threads; a stranger must not be able to stop the service with a few sockets."""
    started = time.monotonic()
    with open_connections(service.port, 60, sent) as connections:
        if b"\r\n\r\n" in sent:
            assert {connection.recv(9) for connection in connections} == {b"HTTP/1.1 "}
        assert service.request("GET", "/healthz").status == 200
        assert time.monotonic() - started < worker.HEAD_SECONDS / 2


def test_a_stranger_is_answered_before_the_body_has_come(service: Service) -> None:
    """Nothing is waited for: the connection is closed behind the answer."""
    started = time.monotonic()
    with open_connections(service.port, 60, STILL_COMING) as connections:
        assert {connection.recv(12) for connection in connections} == {b"HTTP/1.1 401"}
        rest = [b"".join(iter(lambda each=each: each.recv(65_536), b"")) for each in connections]  # type: ignore[misc]
        assert all(b"\r\nConnection: close\r\n" in each for each in rest)
        assert time.monotonic() - started < worker.HEAD_SECONDS / 2


def test_a_request_that_expects_100_continue_is_answered_before_its_body(service: Service) -> None:
    """It sends nothing of its body before."""
    head = b"POST /nowhere HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n"
    with open_connections(service.port, 1, head) as [connection]:
        assert connection.recv(12) in (b"HTTP/1.1 100", b"HTTP/1.1 404")


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="looks into Linux's /proc")
def test_connections_are_spread_over_the_processes(url: str) -> None:
    """Else the one that is awake would take all, and its one interpreter be busy while another has nothing to do."""

    def workers() -> list[Path]:
        """Return the directory in /proc of each worker process."""
        tree = descendants(running.process.pid)
        return [Path(f"/proc/{e.pid}") for e in tree if "gunicorn" in e.command and descendants(e.pid) == []]

    def accepting() -> list[bool]:
        """Return of each whether it waits for connections: what it polls is its own pipe and the socket."""
        return [any(file.read_text().count("tfd:") >= 2 for file in (each / "fdinfo").iterdir()) for each in workers()]

    def sockets() -> list[int]:
        """Return how many sockets each has open."""
        return [
            sum(str(file.readlink()).startswith("socket:") for file in (each / "fd").iterdir()) for each in workers()
        ]

    with serving(url, WEB_CONCURRENCY="2") as running:
        wait_for(lambda: accepting() == [True, True])
        before = sockets()
        with open_connections(running.port, 20, b""):
            wait_for(lambda: sum(sockets()) >= sum(before) + 20)
            assert [now - then > 5 for now, then in zip(sockets(), before, strict=True)] == [True, True]


def test_too_many_connections_make_room_for_new_ones(url: str) -> None:
    """The oldest idle one is closed; who comes new is answered."""
    with serving(url, GUNICORN_CMD_ARGS="--worker-connections 20", WEB_CONCURRENCY="1") as service:  # noqa: SIM117
        with open_connections(service.port, 30, b"") as connections:
            started = time.monotonic()
            assert service.request("GET", "/healthz").status == 200
            assert connections[0].recv(1) == b""
            assert time.monotonic() - started < worker.HEAD_SECONDS / 2


def test_the_last_answer_reaches_a_client_that_goes_on_sending(service: Service) -> None:
    """Closed at once, the connection would be reset, and the answer lost with it."""
    head = b"POST /nowhere HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 1000000\r\n\r\n"
    with open_connections(service.port, 1, head + b"x" * 100_000) as [connection]:
        assert connection.recv(12) == b"HTTP/1.1 404"
        connection.sendall(b"x" * 100_000)
        assert b"".join(iter(lambda: connection.recv(65_536), b"")).endswith(b'{"error": "Not Found"}')


def test_requests_one_after_another_are_answered_in_order(service: Service) -> None:
    """Sent at once, over one connection."""
    requests = [f"GET /healthz HTTP/1.1\r\nHost: h\r\nX-Request-ID: p-{number}\r\n\r\n" for number in range(20)]
    answer = exchange(service.port, "".join(requests).encode()).decode()
    assert re.findall(r"(?i)x-request-id: (p-\d+)", answer) == [f"p-{number}" for number in range(20)]


def test_bodies_that_do_not_come_take_no_thread(url: str) -> None:
    """Whoever sends them may write; all others are answered meanwhile, also those that need a thread."""
    with users_of(url) as users:
        key = api_key(users, 340, user="u-queue")["X-API-Key"]
    head = f"POST {EVENTS}?workspace_id=340 HTTP/1.1\r\nHost: h\r\nX-API-Key: {key}\r\n"
    slow = f"{head}Content-Type: application/json\r\nContent-Length: 99999\r\n\r\n".encode()
    lines = f"{head}Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{{\r\n".encode()
    with (
        serving(url, WEB_CONCURRENCY="1", WEB_THREADS="1") as service,
        open_connections(service.port, 20, slow),
        open_connections(service.port, 20, lines),
    ):
        started = time.monotonic()
        assert service.request("GET", f"{DASHBOARD}summary/?workspace_id=340", {"X-API-Key": key}).status == 200
        assert service.request("GET", "/readyz").status == 200
        assert time.monotonic() - started < worker.HEAD_SECONDS / 2


def test_no_header_moves_the_path(service: Service) -> None:
    """Not even from this machine, which gunicorn would trust with it."""
    answer = exchange(service.port, b"GET /x/healthz HTTP/1.1\r\nHost: h\r\nSCRIPT_NAME: /x\r\n\r\n")
    assert answer[9:12] == b"404"


def test_cookies_in_several_lines_are_those_of_one_line(service: Service, url: str) -> None:
    """A second session in a line of its own is a second session; other cookies in lines of their own are harmless."""
    with users_of(url) as users:
        users.link("u-1", 340, "cli:test")
        users.link("u-2", 340, "cli:test")

    def status(*cookies: str) -> bytes:
        lines = "".join(f"Cookie: {each}\r\n" for each in cookies)
        head = f"GET {DASHBOARD}?workspace_id=340 HTTP/1.1\r\nHost: h\r\n{lines}\r\n"
        return exchange(service.port, head.encode())[9:12]

    one, other = session("u-1")["Cookie"], session("u-2")["Cookie"]
    for good in ((one,), (one, "a=b"), ("a=b", one), ("a=b; c=d", one, "e=f")):
        assert status(*good) == b"200"
    for bad in ((one, other), (other, one), (one, one), ("sessionid=x", one), (one, "a=b; sessionid="), ("a=b", "c=d")):
        assert status(*bad) == b"401"


@pytest.mark.parametrize(("name", "most"), LONGEST.items())
def test_a_header_that_takes_long_to_read_has_an_end(service: Service, name: str, most: int) -> None:
    """It is named, whoever sends it."""
    for length, expected in ((most + 1, b"431"), (most, b"200")):
        values = ["x" * min(8_000, length - at) for at in range(0, length, 8_002)]  # joined by two characters
        lines = "".join(f"{name}: {each}\r\n" for each in values)
        answer = exchange(service.port, f"GET /healthz HTTP/1.1\r\nHost: h\r\n{lines}\r\n".encode())
        if len(values) == 1 or expected == b"431":
            assert answer[9:12] == expected
        if expected == b"431":
            assert json.loads(answer.partition(b"\r\n\r\n")[2]) == {
                "error": f"{name}: expected at most {most:,} characters"
            }


def test_of_other_cookies_nothing_is_decoded(service: Service, url: str) -> None:
    """What is quoted in them, and how, takes no time and changes nothing; a session may stand in quotation marks."""
    with users_of(url) as users:
        users.link("u-1", 340, "cli:test")
    token = session("u-1")["Cookie"].partition("=")[2]
    for cookie, status in (
        (f'a="{chr(92)}"{chr(92)}""; sessionid={token}', 200),
        (f'sessionid="{token}"; b="', 200),
        (f'a="; sessionid={token}; b="', 200),
        (f'sessionid="{token}', 401),
        (f"asessionid={token}", 401),
    ):
        assert service.dashboard({"Cookie": cookie}, "workspace_id=340").status == status


def test_a_websocket_is_refused_without_a_trace(service: Service) -> None:
    """There is none here; a stranger fills no log with it."""
    head = "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    answer = exchange(service.port, f"{head}Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode())
    assert answer[9:12] == b"403"
    assert "Traceback" not in service.output


@pytest.mark.parametrize("line", [b" ", b"x"])
def test_a_body_in_tiny_pieces_is_refused(service: Service, url: str, line: bytes) -> None:
    """Each takes as long as a large one; a few are fine."""
    with users_of(url) as users:
        key = api_key(users, 343, user="u-tiny")["X-API-Key"]
    head = (
        f"POST {EVENTS}?workspace_id=343 HTTP/1.1\r\nHost: h\r\nX-API-Key: {key}\r\nConnection: close\r\n"
        "Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
    ).encode()
    event = json.dumps(email_sent(source="tiny")).encode()
    tiny = b"".join(b"1\r\n%b\r\n" % event[at : at + 1] for at in range(len(event))) + b"0\r\n\r\n"
    assert exchange(service.port, head + tiny)[9:12] == b"200"
    answer = exchange(service.port, head + b"1\r\n%b\r\n" % line * 5_000 + b"0\r\n\r\n")
    assert answer[9:12] == b"400"
    assert service.is_ready()


def test_many_small_bodies_on_one_connection_are_no_tiny_pieces_of_one(service: Service, url: str) -> None:
    """Each body begins anew, however long the connection stays open."""
    with users_of(url) as users:
        key = api_key(users, user="u-names", scopes=("admin",))
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=20)
    headers = {**key, "Content-Type": "application/json"}
    statuses = Counter[int]()
    for _ in range(worker.MOST_TINY + 100):
        connection.request("PUT", "/api/v1/access/workspaces/343", b"{}", headers)
        response = connection.getresponse()
        statuses[response.status] += 1
        answer = json.loads(response.read())
        assert [each["field"] for each in answer["details"]] == ["name"]
    connection.close()
    assert statuses == {400: worker.MOST_TINY + 100}


def test_a_client_that_is_too_slow_is_sent_away(service: Service, url: str) -> None:
    """No first byte: closed. A head that stops or trickles, a body that stops or trickles: 408 after its time."""
    with users_of(url) as users:
        key = api_key(users, 340, user="u-slow")["X-API-Key"]
    head = (
        f"POST {EVENTS}?workspace_id=340 HTTP/1.1\r\nHost: h\r\nX-API-Key: {key}\r\nContent-Type: application/json\r\n"
    )
    small, body = (f"{head}Content-Length: {length}\r\n\r\n{{".encode() for length in (100, 100_000))
    silence, late = b"", b"408 Request Timeout"
    slow = [
        (b"", b"", silence),
        (b"GET / HT", b"", late),
        (b"GET / HTTP/1.1\r\nHost: h\r\n", b"", late),
        (b"GET / HTTP/1.1\r\nHost: h\r\nX: ", b"x", late),
        (small, b"", late),
        (small, b" ", late),
        (body, b"", late),
        (body, b" ", late),
        (f"{head}Transfer-Encoding: chunked\r\n\r\n5\r\n".encode(), b"", late),
    ]

    def send(sent: bytes, more: bytes) -> tuple[bytes, float]:
        """Send, and then the same byte twice a second until an answer comes."""
        started = time.monotonic()
        with socket.create_connection(("127.0.0.1", service.port), timeout=30) as connection:
            connection.sendall(sent)
            readable = poll()  # `select` takes no descriptor from 1,024 on
            readable.register(connection, POLLIN)
            while more and not readable.poll(500):
                connection.sendall(more)
            answer = b"".join(iter(lambda: connection.recv(65_536), b""))
        return answer, time.monotonic() - started

    with ThreadPoolExecutor(len(slow)) as executor:
        waiting = [executor.submit(send, sent, more) for sent, more, _ in slow]
        for each, (sent, more, expected) in zip(waiting, slow, strict=True):
            answer, seconds = each.result()
            assert answer[9 : 9 + len(expected)] == expected, (sent, more)
            if answer:
                assert list(json.loads(answer.partition(b"\r\n\r\n")[2])) == ["error"]
            assert 8 < seconds < 25
    posted = service.post(340, {"X-API-Key": key}, email_sent(source="slow"))
    assert posted.json["position"] == 1, "what came halfway left nothing"
