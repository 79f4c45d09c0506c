"""Projecting a log as it grows, against upserts of ready rows and the library's own runner; and how fresh that is."""

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import count
from statistics import median
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from eventsourcing.application import Application
from eventsourcing.domain import DomainEvent
from eventsourcing.persistence import Tracking
from eventsourcing.postgres import PostgresDatastore, PostgresTrackingRecorder
from eventsourcing.projection import Projection, ProjectionRunner
from psycopg.rows import TupleRow
from psycopg.sql import SQL

from benchmarks import measure, web, world
from domain import ledger
from domain.events import canonical, decode, encode
from domain.recorder import Pool
from projections.building import generations
from projections.building.projector import Projector

_END_OF_LOG = 2**63 - 1
LIVE_EVENTS = 200_000
RUNNER_EVENTS = 2_000
# What a projection writes: of each table its key behind the generation, and the other columns, with their types.
WRITTEN = {
    "journey": ({"campaign_id": "bigint", "prospect_id": "text"}, {"facts": "bytea", "details": "bytea"}),
    "campaign_activity": ({"campaign_id": "bigint", "day": "int"}, {"sums": "bytea", "quarters": "bytea"}),
    "campaign": ({"campaign_id": "bigint"}, {"about": "bytea", "totals": "text", "facts": "bigint"}),
}
FRESH_SECONDS = 15
FRESH_BATCH, FRESH_WRITERS, FRESH_PAUSE = 100, 4, 0.2  # 2,000 events a second


def main() -> None:
    """Measure the live projection, and how fresh what it shows is."""
    with world.fresh_pool() as (url, pool):
        workspaces = count(1)

        def live() -> float:
            workspace_id = next(workspaces)
            world.fill(pool, workspace_id, world.events(LIVE_EVENTS, workspace_id))
            projector = Projector(pool)

            def project() -> int:
                while projector.step():
                    pass
                return LIVE_EVENTS

            return measure.rate(project)

        world.fill(pool, 0x7FFF, world.events(LIVE_EVENTS))
        ready = _ready(pool)
        measure.compare("live projection, against upserts of ready rows", lambda: _upserts(pool, ready), live, 0.5, 5)
        measure.compare("live projection, against scan and decode", lambda: scan_rate(pool, 0x7FFF), live, None, 3)
        measure.compare("live projection, against ProjectionRunner", lambda: library_rate(url), live, 20, 3)
    if web.can_be_measured("freshness"):
        _freshness()


def scan_rate(pool: Pool, workspace_id: int) -> float:
    """Return how many events a second are read and decoded, and nothing else."""

    def scan() -> int:
        number = 0
        with pool.connection() as database, database.transaction():
            for _, topic, state, _ in ledger.scan(database, workspace_id, after=0, upto=_END_OF_LOG):
                decode(topic, state)
                number += 1
        return number

    return measure.rate(scan)


def _ready(pool: Pool) -> list[dict[str, list[TupleRow]]]:
    """Project the logs, and return of each batch which rows it has written, by table."""
    batches: list[dict[str, list[TupleRow]]] = []
    before: dict[str, set[TupleRow]] = {table: set() for table in WRITTEN}
    projector = Projector(pool)
    while projector.step():
        now = {}
        with pool.connection() as database:
            for table, (key, values) in WRITTEN.items():
                columns = ", ".join(f"{name}::{kind}" for name, kind in {**key, **values}.items())
                now[table] = set(database.execute(f"SELECT {columns} FROM {table}".encode(), binary=True).fetchall())
        batches.append({table: sorted(rows - before[table]) for table, rows in now.items()})
        before = now
    return batches


def _upserts(pool: Pool, batches: list[dict[str, list[TupleRow]]]) -> float:
    """Write the same rows in the same batches, as those of a workspace of their own."""

    def upsert() -> int:
        with pool.connection() as database:
            for batch in batches:
                with database.transaction():
                    database.execute(generations.NO_WAIT_FOR_DISK)
                    for table, rows in batch.items():
                        database.execute(_upsert(table), [list(column) for column in zip(*rows, strict=True)])
        return LIVE_EVENTS

    done = measure.rate(upsert)
    with pool.connection() as database:
        for table in WRITTEN:
            database.execute(f"DELETE FROM {table} WHERE workspace_id = 0".encode())
    return done


def _upsert(table: str) -> bytes:
    key, values = WRITTEN[table]
    arrays = ", ".join(f"%b::{kind}[]" for kind in {**key, **values}.values())
    names, keys = ", ".join({**key, **values}), ", ".join(("workspace_id", "generation", *key))
    columns = ", ".join("totals::bigint[]" if name == "totals" else name for name in {**key, **values})
    changed = ", ".join(f"{name} = excluded.{name}" for name in values)
    return (
        f"INSERT INTO {table} (workspace_id, generation, {names}) SELECT 0, 0, {columns} "
        f"FROM unnest({arrays}) AS k ({names}) ON CONFLICT ({keys}) DO UPDATE SET {changed}"
    ).encode()


def _freshness() -> None:
    """Post 2,000 events a second, and measure from each acknowledgement to an answer that includes the events."""
    with web.service() as (environment, _, headers), web.gunicorn(environment) as url:
        projecting = subprocess.Popen([sys.executable, "-m", "service.cli", "project"], env=environment)
        try:
            _waits(url, headers, FRESH_WRITERS, 0)  # until it runs
            until = time.monotonic() + FRESH_SECONDS
            with ThreadPoolExecutor(FRESH_WRITERS) as writers:
                futures = [writers.submit(_waits, url, headers, number, until) for number in range(FRESH_WRITERS)]
                waits = sorted(wait for each in futures for wait in each.result())
        finally:
            projecting.terminate()
            projecting.wait()
    posted = len(waits) * FRESH_BATCH / FRESH_SECONDS
    print(
        f"from the acknowledgement to a read that shows it, at {posted:,.0f} events/s: median "
        f"{1_000 * median(waits):.0f} ms, p99 {1_000 * waits[len(waits) * 99 // 100]:.0f} ms, goal under 250",
        flush=True,
    )


def _waits(url: str, headers: dict[str, str], writer: int, until: float) -> list[float]:
    waits: list[float] = []
    for number in count():
        began = time.monotonic()
        events = [json.loads(encode(canonical(each))) for each in world.events(FRESH_BATCH, number, f"w-{writer}")]  # type: ignore[arg-type]
        posted, _ = web.ask(url, "POST", "/api/v1/events/?workspace_id=1", headers, {"events": events})
        acknowledged, shown = time.monotonic(), 0
        while shown < posted["position"]:
            _, answer_headers = web.ask(url, "GET", "/api/v1/dashboard/campaign-analytics/?workspace_id=1", headers)
            shown = int(answer_headers["X-Position"])
        waits.append(time.monotonic() - acknowledged)
        if time.monotonic() > until:
            return waits
        time.sleep(max(0.0, began + FRESH_PAUSE - time.monotonic()))
    raise AssertionError


class Counted(DomainEvent):
    """An event as the library stores it."""

    campaign_id: int


class LibraryEvents(Application[Any]):
    """The library's own application, on the library's own tables."""

    name = "facts"


class CountingView(PostgresTrackingRecorder):
    """One upsert an event, with the position in the same transaction."""

    def __init__(self, datastore: PostgresDatastore, **kwargs: Any) -> None:  # noqa: ANN401 (the library's)
        """Make the table too."""
        super().__init__(datastore, **kwargs)
        table = "CREATE TABLE IF NOT EXISTS counted (campaign_id bigint PRIMARY KEY, number bigint NOT NULL)"
        self.sql_create_statements.append(SQL(table).format())

    def count(self, event: Counted, tracking: Tracking) -> None:
        """Count an event for its campaign."""
        with self.datastore.transaction(commit=True) as cursor:
            cursor.execute(
                "INSERT INTO counted AS c VALUES (%s, 1) ON CONFLICT (campaign_id) DO UPDATE SET number = c.number + 1",
                (event.campaign_id,),
            )
            self._insert_tracking(cursor, tracking)


class Counting(Projection[CountingView]):
    """The library's projection of events to counts."""

    name = "counting"
    topics = ()

    def process_event(self, domain_event: Any, tracking: Tracking) -> None:  # noqa: ANN401 (the library's)
        """Count."""
        self.view.count(domain_event, tracking)


def library_rate(url: str) -> float:
    """Return how many events a second the library's runner projects, with one upsert an event."""
    environment = {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        **{f"POSTGRES_{name.upper()}": value for name, value in world.library_settings(url).items()},
    }
    with LibraryEvents(env=environment) as application:
        began = application.recorder.max_notification_id() or 0
        for number in range(began, began + RUNNER_EVENTS):
            identity = uuid5(NAMESPACE_URL, str(number))
            counted = Counted(  # type: ignore[call-arg]  # the library's metaclass makes it a dataclass
                originator_id=identity,
                originator_version=1,
                timestamp=datetime.now(UTC),
                campaign_id=number % 20,
            )
            application.save(counted)
        head = application.recorder.max_notification_id()
    with ProjectionRunner(
        application_class=LibraryEvents, projection_class=Counting, view_class=CountingView, env=environment
    ) as runner:

        def run() -> int:
            runner.wait(head, timeout=60)
            return RUNNER_EVENTS

        return measure.rate(run)
