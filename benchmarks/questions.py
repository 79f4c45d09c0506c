"""Reading beyond one small workspace: whatever is stored beside it, many workspaces at once, and what is worked out."""

import http.client
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from statistics import median
from urllib.parse import urlsplit

import msgspec
from psycopg import Connection

from benchmarks import measure, read, web, world
from domain.access import Access
from domain.events import Event, canonical
from domain.recorder import Pool
from projections import access
from projections.building import replay
from service.clock import clock
from service.processes.replay_workers import replay_workers

DASHBOARD = "/api/v1/dashboard/campaign-analytics/"
SIZES = (1_000, 100_000, 1_000_000)  # events, in workspaces of these numbers
OTHERS = 1_000  # workspaces
MANY = range(2_000, 2_050)  # workspaces of twenty campaigns each
SERIES = "&start_date=2026-08-02&end_date=2026-10-30&interval=day"  # ninety days, as long as the events reach
MONTH_MS = 30 * 86_400_000
BIG = 7  # the workspace of a campaign with 5,000 prospects and 50,000 events
AS_OF = "40000"  # the first position; each request asks for the one behind
QUESTIONS = 60  # times at one connection
UNDISTURBED_SECONDS = 8
BATCH, PAUSE = 100, 0.05  # 2,000 events a second


def main() -> None:
    """Measure them all."""
    if not web.can_be_measured("questions"):
        return
    with web.service() as (environment, pool, headers):
        _fill(pool)
        _measure_sizes(environment, headers)
        with web.gunicorn(environment, web.HELLO) as hello, web.gunicorn(environment) as service:
            measure.compare(
                "ALL over 50 workspaces of 20 campaigns, against hello world",
                lambda: read.requests(f"{hello}/", web.ANYBODY),
                lambda: read.requests(f"{service}{DASHBOARD}?workspace_id=ALL", _key(pool, "many", MANY)),
                0.15,
            )
            _moving(hello, service, pool, headers)
            _worked_out(service, pool, headers)
            _while_posting(environment, service, headers)


def _fill(pool: Pool) -> None:
    users = Access(pool, access.project, clock)
    for size in SIZES:
        users.link("worker", size, "cli:bench")
        world.fill(pool, size, _over_three_months(world.events(size)))
    for workspace_id in MANY:
        world.fill(pool, workspace_id, world.events(400, workspace_id))
    for workspace_id in range(10_000, 10_000 + OTHERS):
        world.fill(pool, workspace_id, world.events(20, workspace_id))
    users.link("worker", BIG, "cli:bench")
    world.fill(pool, BIG, [msgspec.structs.replace(event, campaign_id=1) for event in world.events(50_000, BIG)])
    with replay_workers(str(pool.conninfo), 2) as workers:
        for failure in replay.replay_all(pool, replay.workspaces(pool), lambda _: None, workers):
            raise RuntimeError(failure)
    with pool.connection() as database:
        database.execute("ANALYZE")


def _over_three_months(events: list[Event]) -> list[Event]:
    return [msgspec.structs.replace(f, occurred_at=f.occurred_at - n % 3 * MONTH_MS) for n, f in enumerate(events)]


def _key(pool: Pool, user: str, workspaces: range) -> dict[str, str]:
    users = Access(pool, access.project, clock)
    for workspace_id in workspaces:
        users.link(user, workspace_id, "cli:bench")
    return {"X-API-Key": users.issue_key(user, scopes=["read"], name="", expires_at=None, by="cli:bench").key}


def _measure_sizes(environment: dict[str, str], headers: dict[str, str]) -> None:
    """Ask workspaces of different sizes in turns; all other workspaces are there meanwhile."""
    with web.gunicorn(environment) as service:
        measured: dict[int, list[float]] = {size: [] for size in SIZES}
        for _ in range(5):
            for size in SIZES:
                measured[size].append(read.requests(f"{service}{DASHBOARD}?workspace_id={size}", headers))
        rates = {size: median(each) for size, each in measured.items()}
        summary = ", ".join(f"{size:,} events {rate:,.0f}/s" for size, rate in rates.items())
        least = min(rates.values()) / max(rates.values())
        print(f"main endpoint beside {OTHERS:,} others: {summary}; least of most {least:.2f}, goal 0.75")


def _moving(hello: str, service: str, pool: Pool, headers: dict[str, str]) -> None:
    """Ask while the mark of what is shown changes: as often as a projector may say so, and all the time."""
    workspace_id = SIZES[0]
    url = f"{service}{DASHBOARD}?workspace_id={workspace_id}"
    callers = {"API key": headers, "session": web.session("worker")}
    answered = {
        **callers,
        **{f"304, {who}": {**header, "If-None-Match": "*"} for who, header in callers.items()},  # whatever it is by now
    }
    for often, pause in (("50 times a second", 1 / 50), ("all the time, so that no cache helps", 0.0)):
        with _mover(pool, workspace_id, pause) as moved:
            for how, header in answered.items():
                measure.compare(
                    f"read of 20 campaigns, {how}, while its position moves {often}, against hello world",
                    lambda: read.requests(f"{hello}/", web.ANYBODY),
                    lambda header=header: read.requests(url, header),  # type: ignore[misc]
                    0.4,
                )
            print(f"(the position was moved {moved():,.0f} times a second)")


@contextmanager
def _mover(pool: Pool, workspace_id: int, pause: float) -> Iterator[Callable[[], float]]:
    stop = threading.Event()
    times = 0
    started = time.monotonic()

    def move() -> None:
        nonlocal times
        with Connection.connect(str(pool.conninfo), autocommit=True) as connection:
            connection.execute("SET synchronous_commit = off")
            while not stop.wait(pause):
                connection.execute(
                    "UPDATE projection SET forgotten = forgotten + 1 WHERE workspace_id = %s", (workspace_id,)
                )
                times += 1

    mover = threading.Thread(target=move)
    mover.start()
    try:
        yield lambda: times / (time.monotonic() - started)
    finally:
        stop.set()
        mover.join()


def _worked_out(service: str, pool: Pool, headers: dict[str, str]) -> None:
    """Ask on one connection, with the mark changed before each request, so that nothing cached helps."""
    for what, workspace_id, query, goal in (
        ("a series of 90 days by day, 1,000,000 events, nothing kept", SIZES[-1], f"timeseries/?{SERIES}", 20),
        ("the same in Europe/Berlin", SIZES[-1], f"timeseries/?{SERIES}&timezone=Europe/Berlin", 20),
        (
            "the same by hour for a month in Asia/Kolkata",
            SIZES[-1],
            "timeseries/?start_date=2026-10-01&end_date=2026-10-31&interval=hour&timezone=Asia/Kolkata",
            None,
        ),
        ("the same kept", -SIZES[-1], f"timeseries/?{SERIES}&timezone=Europe/Berlin", 20),
        ("a breakdown of 50,000 events, nothing kept", BIG, "breakdown/?by=step", 150),
        ("an explain page of 50,000 events, nothing kept", BIG, "1/explain/?metric=amount_of_replies", 150),
        ("the numbers of 50,000 events as of a position, nothing kept", BIG, f"?as_of={AS_OF}", 150),
        ("reply times of 50,000 events, nothing kept", BIG, "reply-times/?campaign_id=1", 150),
        ("weekday and hour of 1,000,000 events, nothing kept", SIZES[-1], "breakdown/?by=weekday,hour", 60),
    ):
        times = _times(service, pool, headers, abs(workspace_id), query, moving=workspace_id > 0)
        end = f", goal under {goal} ms" if goal else ""
        print(f"{what}: p50 {1_000 * median(times):.1f} ms (p99 {1_000 * times[-1]:.1f}){end}", flush=True)
    times = _further_pages(service, headers)
    print(f"a further page of that explanation: p50 {1_000 * median(times):.1f} ms (p99 {1_000 * times[-1]:.1f})")


def _further_pages(service: str, headers: dict[str, str]) -> list[float]:
    """Return the seconds of the page behind the first one, of another size each time, so that no answer is cached."""
    page = f"{DASHBOARD}1/explain/?metric=amount_of_emails_sent&workspace_id={BIG}"
    first, _ = web.ask(service, "GET", f"{page}&limit=1", headers)
    parts = urlsplit(service)
    with closing(http.client.HTTPConnection(parts.hostname or "", parts.port)) as connection:
        return sorted(
            _seconds(connection, f"{page}&limit={limit}&cursor={first['next']}", headers)
            for limit in range(100, 100 + QUESTIONS)
        )


def _seconds(connection: http.client.HTTPConnection, path: str, headers: dict[str, str]) -> float:
    started = time.perf_counter()
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    text = answer.read()
    if answer.status != 200:
        raise RuntimeError(text)
    return time.perf_counter() - started


def _times(  # noqa: PLR0913 (who asks what of whom)
    service: str, pool: Pool, headers: dict[str, str], workspace_id: int, query: str, *, moving: bool
) -> list[float]:
    parts = urlsplit(service)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
    times = []
    with pool.connection() as database:
        for number in range(QUESTIONS):
            if moving:
                database.execute(
                    "UPDATE projection SET forgotten = forgotten + 1 WHERE workspace_id = %s", (workspace_id,)
                )
            # An answer as of a position is cached for ever, so each request names another position.
            unique_query = query.replace(AS_OF, str(int(AS_OF) + number))
            times.append(_seconds(connection, f"{DASHBOARD}{unique_query}&workspace_id={workspace_id}", headers))
    connection.close()
    return sorted(times[5:])


def _while_posting(environment: dict[str, str], service: str, headers: dict[str, str]) -> None:
    """Compare the slowest reads of one workspace, by itself and while another gets 2,000 events a second."""
    url = f"{service}{DASHBOARD}?workspace_id={SIZES[0]}"
    undisturbed = _slowest(url, headers)
    stop = threading.Event()
    # Made beforehand, since the one interpreter here is also that of who reads.
    batches = [world.events(BATCH, number, "posted") for number in range(round(4 * UNDISTURBED_SECONDS / PAUSE))]
    bodies = [json.dumps({"events": [canonical(each) for each in batch]}).encode() for batch in batches]
    projecting = subprocess.Popen([sys.executable, "-m", "service.cli", "project"], env=environment)
    posting = threading.Thread(target=_post, args=(service, headers, bodies, stop))
    posting.start()
    try:
        written, _ = web.ask(service, "POST", "/api/v1/events/?workspace_id=1", headers, {"events": []})
        shown = f"{DASHBOARD}?workspace_id=1&min_position={written['position'] + 1}"
        web.ask(service, "GET", shown, headers)  # until the projector runs
        disturbed = _slowest(url, headers)
    finally:
        stop.set()
        posting.join()
        projecting.terminate()
        projecting.wait()
    print(
        f"p99 of reads {1_000 * undisturbed:.1f} ms, while 2,000 events/s are posted and projected "
        f"{1_000 * disturbed:.1f} ms: {disturbed / undisturbed:.1f} times, goal at most 3"
    )


def _slowest(url: str, headers: dict[str, str]) -> float:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
    times = []
    until = time.monotonic() + UNDISTURBED_SECONDS
    while time.monotonic() < until:
        started = time.perf_counter()
        connection.request("GET", f"{parts.path}?{parts.query}", headers=headers)
        connection.getresponse().read()
        times.append(time.perf_counter() - started)
    connection.close()
    return sorted(times)[len(times) * 99 // 100]


def _post(service: str, headers: dict[str, str], bodies: list[bytes], stop: threading.Event) -> None:
    for body in bodies:
        if stop.wait(PAUSE):
            return
        web.ask(service, "POST", "/api/v1/events/?workspace_id=1", headers, body)
    raise AssertionError("too few were made")
