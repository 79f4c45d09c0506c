"""Forgetting a prospect with 100 events in a log of 1,000,000, and deleting that workspace."""

import time
from statistics import median

from api.tools import KNOWN
from benchmarks import world
from domain import ledger
from domain.access import Access
from domain.events import EmailSent, Event
from domain.hooks import Hooks
from domain.recorder import Database, Pool
from projections import access
from projections.building import ending, forgetting
from projections.building.projector import Projector
from service.clock import clock

EVENTS = 1_000_000
PROSPECTS = 20  # that are forgotten, one after the other
BATCH = 10_000
AT_MS = 1_790_000_000_000  # when all of it happened
GOAL = 100  # ms
BY = "cli:bench"


def main() -> None:
    """Measure both on a durable server of their own."""
    with world.fresh_pool() as (_, pool), pool.connection() as connection:
        _fill(pool, connection)
        users = Access(pool, access.project, clock)
        times = sorted(_forget(connection, users, number) for number in range(PROSPECTS))
        print(
            f"forget a prospect with 100 events of {EVENTS:,}: p50 {median(times):.0f} ms (longest "
            f"{times[-1]:.0f}), goal under {GOAL} ms"
        )
        started = time.perf_counter()
        hooks = Hooks(pool, access.project_hooks, clock, KNOWN)
        ending.delete(connection, users, hooks, 1, BY, lambda _: None)
        print(f"delete the workspace: {time.perf_counter() - started:.1f} s")


def _fill(pool: Pool, connection: Database) -> None:
    for first in range(0, EVENTS, BATCH):
        _append(connection, [_sent(f"e-{n}", 1 + n % 200, f"prospect-{n // 5}") for n in range(first, first + BATCH)])
    for number in range(PROSPECTS):
        _append(connection, [_sent(f"f-{number}-{n}", 1 + n % 3, f"forgotten-{number}") for n in range(100)])
    projector = Projector(pool)
    while projector.step():
        pass
    connection.execute("ANALYZE")


def _append(connection: Database, events: list[Event]) -> None:
    ledger.record(connection, 1, events)


def _sent(event_id: str, campaign_id: int, prospect_id: str) -> Event:
    return EmailSent(id=event_id, campaign_id=campaign_id, occurred_at=AT_MS, prospect_id=prospect_id, step=1)


def _forget(connection: Database, users: Access, number: int) -> float:
    started = time.perf_counter()
    forgotten = forgetting.forget(connection, users, 1, f"forgotten-{number}", BY)
    if forgotten.events != 100:
        raise RuntimeError(forgotten)
    return 1_000 * (time.perf_counter() - started)
