"""Projecting and replaying a log, against a scan and decode of it, and against the library's own projection runner."""

from datetime import UTC, datetime
from itertools import count
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from eventsourcing.application import Application
from eventsourcing.domain import DomainEvent
from eventsourcing.persistence import Tracking
from eventsourcing.postgres import PostgresDatastore, PostgresTrackingRecorder
from eventsourcing.projection import Projection, ProjectionRunner
from psycopg.sql import SQL

from benchmarks import measure, world
from domain import ledger
from domain.events import decode
from domain.recorder import Pool
from projections import generations, replay
from projections.projector import END_OF_LOG, Projector

LIVE_EVENTS = 50_000
REPLAYED_EVENTS = 200_000
RUNNER_EVENTS = 2_000


def main() -> None:
    """Measure the live projection and the replay."""
    with world.fresh_pool() as (url, pool):
        workspaces = count(1)

        def live() -> float:
            workspace_id = next(workspaces)
            world.fill(pool, workspace_id, world.facts(LIVE_EVENTS, workspace_id))
            projector = Projector(pool)

            def project() -> int:
                while projector.step():
                    pass
                return LIVE_EVENTS

            return measure.rate(project)

        world.fill(pool, 0x7FFF, world.facts(LIVE_EVENTS))
        Projector(pool, batch=LIVE_EVENTS).step()
        measure.compare("live projection, against scan and decode", lambda: _scan(pool, 0x7FFF), live, 0.05, 3)
        measure.compare("live projection, against ProjectionRunner", lambda: _runner(url), live, 12, 3)

        world.fill(pool, 0x7FFE, world.facts(REPLAYED_EVENTS))

        def replayed() -> float:
            done = measure.rate(lambda: replay.replay(pool, 0x7FFE, lambda _: None))
            generations.sweep(pool)
            return done

        measure.compare("replay, against scan and decode", lambda: _scan(pool, 0x7FFE), replayed, 0.15)


def _scan(pool: Pool, workspace_id: int) -> float:
    def scan() -> int:
        number = 0
        with pool.connection() as database, database.transaction():
            for _, topic, state in ledger.scan(database, workspace_id, after=0, upto=END_OF_LOG):
                decode(topic, state)
                number += 1
        return number

    return measure.rate(scan)


class Counted(DomainEvent):
    """A fact as the library stores it."""

    campaign_id: int


class Facts(Application[Any]):
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
    """The library's projection of facts to counts."""

    name = "counting"
    topics = ()

    def process_event(self, domain_event: Any, tracking: Tracking) -> None:  # noqa: ANN401 (the library's)
        """Count."""
        self.view.count(domain_event, tracking)


def _runner(url: str) -> float:
    environment = {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        **{f"POSTGRES_{name.upper()}": value for name, value in world.library_settings(url).items()},
    }
    with Facts(env=environment) as application:
        began = application.recorder.max_notification_id() or 0
        for number in range(began, began + RUNNER_EVENTS):
            identity = uuid5(NAMESPACE_URL, str(number))
            fact = Counted(  # type: ignore[call-arg]  # the library's metaclass makes it a dataclass
                originator_id=identity,
                originator_version=1,
                timestamp=datetime.now(UTC),
                campaign_id=number % 20,
            )
            application.save(fact)
        head = application.recorder.max_notification_id()
    with ProjectionRunner(
        application_class=Facts, projection_class=Counting, view_class=CountingView, env=environment
    ) as runner:

        def run() -> int:
            runner.wait(head, timeout=60)
            return RUNNER_EVENTS

        return measure.rate(run)
