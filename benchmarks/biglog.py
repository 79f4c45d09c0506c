"""Appending to a log of millions of events, against an empty one beside it: rate, WAL, and CPU of PostgreSQL."""

import os
from collections import defaultdict
from itertools import count
from pathlib import Path
from statistics import median
from typing import NamedTuple

from psycopg.sql import SQL

from benchmarks import measure, world
from domain import ledger
from domain.recorder import Database

EVENTS = 10_000_000
BIG = 1  # the workspace of the big log; the empty ones follow
STEP = 1_000_000

# The keys of events are hashes, so the primary key grows at random places, which leaves its pages some 70 % full. It is
# made so at once, which takes a tenth of the time.
_WITHOUT_KEYS = SQL("""
ALTER TABLE stored_events
    DROP CONSTRAINT stored_events_pkey, DROP CONSTRAINT stored_events_workspace_id_position_key
""")
_KEYS = (
    SQL("""
    CREATE UNIQUE INDEX stored_events_pkey ON stored_events (workspace_id, originator_id, originator_version)
        WITH (fillfactor = 70)
    """),
    SQL("ALTER TABLE stored_events ADD PRIMARY KEY USING INDEX stored_events_pkey"),
    SQL("ALTER INDEX stored_events_pkey RESET (fillfactor)"),
    SQL("ALTER TABLE stored_events ADD UNIQUE (workspace_id, position)"),
    SQL("INSERT INTO log_head VALUES (%(workspace_id)s, %(number)s)"),
    SQL("VACUUM (ANALYZE) stored_events"),  # now, and not while something is measured
)
# Reads the whole index, so that its pages are in the buffers, as those of a log that is written to all the time.
_WARM = SQL("SELECT count(originator_version) FROM stored_events WHERE workspace_id = %s AND originator_version > 0")
_WAL = SQL("SELECT pg_current_wal_insert_lsn() - '0/0'")


def main(events: int = EVENTS) -> None:
    """Measure batches of 500 and single events, right after checkpoints and between them."""
    with world.fresh_pool() as (_, pool), pool.connection() as database:
        database.execute("SET statement_timeout = 0")
        _fill(database, events)
        _warm(database)
        logs = _Logs(database)
        for after_checkpoint in (False, True):
            for size, number, goal in ((500, 40_000, 0.7), (1, 1_000, None)):
                _compare(logs, size, number, goal, after_checkpoint=after_checkpoint)


class _Cost(NamedTuple):
    wal: float  # bytes
    cpu: float  # seconds of PostgreSQL's process


class _Logs:
    """The big log and the empty ones, and what an event of each has cost."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._seeds = count(1)
        self._empty = count(BIG + 1)
        self.costs: dict[bool, list[_Cost]] = defaultdict(list)

    def rate(self, size: int, number: int, *, is_big: bool, after_checkpoint: bool) -> float:
        """Append so many events in batches of this size; return how many a second."""
        events = world.events(number, next(self._seeds), "big")
        batches = [events[first : first + size] for first in range(0, number, size)]
        workspace_id = BIG if is_big else next(self._empty)
        if after_checkpoint:
            self._database.execute("CHECKPOINT")
        before = self._cost()
        rate = measure.rate(
            lambda: sum(len(ledger.record(self._database, workspace_id, each).outcomes) for each in batches)
        )
        after = self._cost()
        self.costs[is_big].append(_Cost(*((now - then) / number for then, now in zip(before, after, strict=True))))
        return rate

    def _cost(self) -> _Cost:
        row = self._database.execute(_WAL).fetchone()
        assert row is not None  # a SELECT without FROM has one row
        fields = Path(f"/proc/{self._database.info.backend_pid}/stat").read_text().rpartition(")")[2].split()
        return _Cost(float(row[0]), (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"))


def _compare(logs: _Logs, size: int, number: int, goal: float | None, *, after_checkpoint: bool) -> None:
    logs.costs.clear()
    measure.compare(
        f"batches of {size} to a big log" + (", after a checkpoint" if after_checkpoint else ""),
        lambda: logs.rate(size, number, is_big=False, after_checkpoint=after_checkpoint),
        lambda: logs.rate(size, number, is_big=True, after_checkpoint=after_checkpoint),
        goal,
    )
    for name, is_big in (("big", True), ("empty", False)):
        wal, cpu = map(median, zip(*logs.costs[is_big], strict=True))
        print(f"  an event of the {name} log: {wal:,.0f} bytes of WAL, {cpu * 1e6:.1f} µs of CPU", flush=True)


def _fill(database: Database, events: int) -> None:
    database.execute(_WITHOUT_KEYS)
    for first in range(1, events + 1, STEP):
        world.insert_emails(database, BIG, first, min(first + STEP - 1, events))
    for statement in _KEYS:
        database.execute(statement, {"workspace_id": BIG, "number": events})


def _warm(database: Database) -> None:
    with database.transaction():
        database.execute("SET LOCAL enable_seqscan = off")
        database.execute("SET LOCAL enable_bitmapscan = off")
        database.execute("SET LOCAL max_parallel_workers_per_gather = 0")
        database.execute(_WARM, (BIG,))
