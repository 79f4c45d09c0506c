"""Reading the dashboard over HTTP, against Falcon's hello world on the same gunicorn; needs `wrk`.

Where the environment variable BASELINE names a commit, that one's reads are measured against too.
"""

import os
import re
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from statistics import median, quantiles
from urllib.parse import urlsplit

from benchmarks import measure, web, world
from domain.access import Access
from projections import access
from projections.building import generations
from projections.building.projector import Projector
from service.clock import clock

SECONDS = 1
CONNECTIONS = 16  # fewer would fall unevenly on the two worker processes
ROUNDS = 15
SLICES, TURNS = 40, 150
KEYS = 64
IN_TURN = """
local keys = {%s}
local n = 0
request = function()
    n = n + 1
    return wrk.format('GET', nil, {['X-API-Key'] = keys[n %% #keys + 1]})
end
"""
PATH = "/api/v1/dashboard/campaign-analytics/?workspace_id=1"
BARE = "/api/v1/bare?workspace_id=1"


def main() -> None:
    """Measure a read of twenty campaigns with an API key and with a session, and what authentication costs of it."""
    if not web.can_be_measured("reads"):
        return
    with (
        twenty_campaigns() as (environment, headers, in_turn),
        web.gunicorn(environment, web.HELLO) as hello,
        web.gunicorn(environment, "benchmarks.bare:application()") as both,
        web.gunicorn(environment) as service,
        web.baseline(environment) as baseline,
    ):
        measure.compare(
            f"read of 20 campaigns, {KEYS} keys in turn, so that none are alike, against hello world",
            lambda: requests(f"{hello}/", web.ANYBODY),
            lambda: web.load(f"{service}{PATH}", {}, connections=CONNECTIONS, seconds=SECONDS, script=in_turn),
            0.5,
            ROUNDS,
        )
        for who, header in headers.items():
            measure.compare(
                f"read of 20 campaigns, {who}, against hello world",
                lambda: requests(f"{hello}/", web.ANYBODY),
                lambda header=header: requests(f"{service}{PATH}", header),  # type: ignore[misc]
                0.5,
                ROUNDS,
            )
            _, answer_headers = web.ask(service, "GET", PATH, header)
            has = {**header, "If-None-Match": answer_headers["ETag"]}
            measure.compare(
                f"the same, 304, {who}, against hello world",
                lambda: requests(f"{hello}/", web.ANYBODY),
                lambda has=has: requests(f"{service}{PATH}", has),  # type: ignore[misc]
                0.5,
                ROUNDS,
            )
            if baseline is not None:
                _against(baseline[0], service, who, header)
            requests(f"{both}{PATH}", header)  # as many connections to the database as it will have
            targets = [(f"{hello}/", web.ANYBODY), (f"{both}{BARE}", web.ANYBODY), (f"{both}{PATH}", header)]
            shares = [(checked - unchecked) / base for base, unchecked, checked in _latencies(targets)]
            print(
                f"authentication and access check, {who}, of an answer that is not sent again: "
                f"{median(shares):.2f} of hello world's time "
                f"({quantiles(shares, n=4)[0]:.2f}-{quantiles(shares, n=4)[2]:.2f}), goal at most 0.25",
                flush=True,
            )


def _against(baseline: str, service: str, who: str, header: dict[str, str]) -> None:
    """Measure the same against an older commit; each has its own entity tags."""
    for what, unchanged in ((f"read of 20 campaigns, {who}", False), (f"the same, 304, {who}", True)):
        sent = {}
        for url in (baseline, service):
            tag = web.ask(url, "GET", PATH, header)[1]["ETag"]
            sent[url] = {**header, "If-None-Match": tag} if unchanged else header
        measure.compare(
            f"{what}, against the baseline",
            lambda sent=sent: requests(f"{baseline}{PATH}", sent[baseline]),  # type: ignore[misc]
            lambda sent=sent: requests(f"{service}{PATH}", sent[service]),  # type: ignore[misc]
            1.4,
        )


def _latencies(targets: list[tuple[str, dict[str, str]]]) -> Iterator[list[float]]:
    """Ask each in turn, one request at a time; yield the median seconds of each slice, which has new connections."""
    for _ in range(SLICES):
        with ExitStack() as stack:
            connections = []
            for url, headers in targets:
                parts = urlsplit(url)
                connection = stack.enter_context(socket.create_connection((parts.hostname, parts.port)))
                connections.append((connection, head(url, headers)))
            times = [[seconds(*connection) for connection in connections] for _ in range(TURNS)]
        yield [median(each) for each in zip(*times, strict=True)]


def head(url: str, headers: Mapping[str, str]) -> bytes:
    """Return the request for a URL as it is sent."""
    parts = urlsplit(url)
    text = f"GET {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
    return (text + "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n").encode()


def seconds(connection: socket.socket, request: bytes) -> float:
    """Return how long an answer took; raise RuntimeError where it is not answered well."""
    started = time.perf_counter()
    connection.sendall(request)
    answer = connection.recv(65_536)
    if b"\r\n\r\n" not in answer:
        answer += connection.recv(65_536)
    elapsed = time.perf_counter() - started
    response_head, _, body = answer.partition(b"\r\n\r\n")
    missing = int(re.search(rb"(?i)content-length: (\d+)", response_head)[1]) - len(body)  # type: ignore[index]
    while missing > 0:
        missing -= len(connection.recv(65_536))
    if b" 200 " not in response_head[:16]:
        raise RuntimeError(answer)
    return elapsed


@contextmanager
def twenty_campaigns() -> Iterator[tuple[dict[str, str], dict[str, dict[str, str]], str]]:
    """Give the environment of a service with twenty campaigns, and who sees them.

    That is the headers of a key and of a session, and a script for `wrk` that asks with other keys in turn.
    """
    with world.fresh_pool() as (url, pool):
        world.fill(pool, 1, world.events(20_000))
        with pool.connection() as database:
            generations.declare(database)  # so that an older commit reads what this one writes
        projector = Projector(pool)
        while projector.step():
            pass
        users = Access(pool, access.project, clock)
        keys = []
        for user in ("reader", *(f"reader-{number}" for number in range(KEYS))):
            users.link(user, 1, "cli:bench")
            keys.append(users.issue_key(user, scopes=["read"], name="", expires_at=None, by="cli:bench").key)
        key, *others = keys
        environment = {**os.environ, "DATABASE_URL": url, "JWT_SECRET": web.SECRET, "LOG_LEVEL": "error"}
        callers = {"API key": {"X-API-Key": key}, "session": web.session("reader")}
        yield environment, callers, IN_TURN % ",".join(f"'{each}'" for each in others)


def requests(url: str, headers: Mapping[str, str], connections: int = CONNECTIONS) -> float:
    """Return how many requests a second are answered."""
    return web.load(url, headers, connections=connections, seconds=SECONDS)
