"""Appending events, against raw binary COPY of the same rows into a table of the same shape."""

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import count
from uuid import UUID

from psycopg.sql import SQL

from benchmarks import measure, world
from domain import ledger
from domain.events import TOPICS, Event, encode
from domain.recorder import Database

_COPY = SQL("COPY raw_events FROM STDIN (FORMAT binary)")
_TYPES = ["int8", "uuid", "int8", "text", "bytea", "int8", "timestamptz"]


def main() -> None:
    """Measure batches of 1, 100 and 500, each committed to the disk."""
    with world.fresh_pool() as (_, pool), pool.connection() as database:
        copied = Limit(database)
        seeds = count(1)
        for size, number, goal in ((1, 1_000, None), (100, 100, None), (500, 40, 0.6)):

            def product(size: int = size, number: int = number) -> float:
                events = world.events(size * number, next(seeds))
                batches = [events[first : first + size] for first in range(0, len(events), size)]
                return measure.rate(lambda: sum(_record(database, batch) for batch in batches))

            measure.compare(
                f"append, batches of {size}, against COPY",
                lambda size=size, number=number: copied.rate(size, number),  # type: ignore[misc]
                product,
                goal,
            )


class Limit:
    """Raw binary COPY of ready rows, a commit for each batch, into a table of the same shape."""

    def __init__(self, database: Database) -> None:
        """Make the table."""
        self._database = database
        self._seeds = count(1)
        self._positions = count(1)
        database.execute("CREATE TABLE raw_events (LIKE stored_events INCLUDING ALL)")

    def rate(self, size: int, number: int) -> float:
        """Return how many rows a second are written, in so many batches of this size."""
        events = world.events(size * number, next(self._seeds), "raw")
        rows = [
            (
                1,
                UUID(bytes=ledger.event_key(each)),
                1,
                TOPICS[type(each)],
                encode(each),
                next(self._positions),
                datetime.now(UTC),
            )
            for each in events
        ]
        batches = [rows[first : first + size] for first in range(0, len(rows), size)]
        return measure.rate(lambda: sum([_copy(self._database, batch) for batch in batches]))


def _copy(database: Database, rows: Sequence[tuple[object, ...]]) -> int:
    with database.cursor() as cursor, cursor.copy(_COPY) as copy:
        copy.set_types(_TYPES)
        for row in rows:
            copy.write_row(row)
    return len(rows)


def _record(database: Database, events: list[Event]) -> int:
    return len(ledger.record(database, 1, events).outcomes)
