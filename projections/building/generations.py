"""Generations of read rows: which one is live, which are being built under a lease, and which are swept away.

A replay that builds a generation holds a lease of it. An expired lease can't be renewed, so a sweep may delete the
rows, and a replay that slept for too long fails before it makes half of them the live ones.
"""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from psycopg.sql import SQL, Literal

from domain.recorder import Database, Pool
from projections.marks import Mark, mark_at
from projections.metrics import FOLD_VERSION, MEASURES

LEASE = "10 minutes"
_DELETED_AT_ONCE = 20_000  # rows
_TABLES = ("journey", "campaign_activity", "campaign")

_DECLARED = SQL("SELECT measures FROM fold_version WHERE version = %s")
_DECLARE = SQL("INSERT INTO fold_version (version, measures) VALUES (%s, %s) ON CONFLICT (version) DO NOTHING")
_BEGIN = SQL("""
INSERT INTO projection (workspace_id, generation, position, fold_version, projected_at)
VALUES (%s, %s, 0, {version}, '-infinity') ON CONFLICT (workspace_id) DO NOTHING
""").format(version=Literal(FOLD_VERSION))
# Only where the log still has what was read of it.
_SWITCH = SQL("""
UPDATE projection SET generation = %(generation)s, position = %(position)s, fold_version = {version},
    mark_position = %(position)s, mark = %(mark)s, lost_at = NULL,
    projected_at = statement_timestamp(), replayed_at = statement_timestamp(),
    stuck_position = NULL, stuck_topic = NULL, stuck_reason = NULL
WHERE workspace_id = %(workspace_id)s AND %(mark)s = {mark}
""").format(version=Literal(FOLD_VERSION), mark=mark_at(SQL("%(workspace_id)s"), SQL("%(position)s")))
_BEGIN_AGAIN = SQL("""
UPDATE projection SET generation = %(generation)s, position = 0, fold_version = {version},
    mark_position = 0, mark = 0, lost_at = NULL, projected_at = '-infinity',
    stuck_position = NULL, stuck_topic = NULL, stuck_reason = NULL
WHERE workspace_id = %(workspace_id)s
""").format(version=Literal(FOLD_VERSION))
_LOCK_LOST = SQL("SELECT generation FROM projection WHERE workspace_id = %s AND lost_at IS NOT NULL FOR UPDATE")
# Rows and position are lost together or not at all, so nothing needs to wait for the disk here.
NO_WAIT_FOR_DISK = SQL("SET LOCAL synchronous_commit = off")

_REGISTER = SQL("""
INSERT INTO spare_generation (workspace_id, generation, leased_until)
VALUES (%s, %s, statement_timestamp() + {lease}::interval)
""").format(lease=Literal(LEASE))
_LEASED = SQL(
    "workspace_id = %(workspace_id)s AND generation = %(generation)s AND leased_until > statement_timestamp()"
)
_EXTEND = SQL("""
UPDATE spare_generation SET leased_until = statement_timestamp() + {lease}::interval, folded = %(folded)s,
    upto = %(upto)s
WHERE {leased}
""").format(lease=Literal(LEASE), leased=_LEASED)
# Holders don't exclude one another, nor an extension; a sweep skips what is held.
_HOLD = SQL("SELECT FROM spare_generation WHERE {leased} FOR KEY SHARE").format(leased=_LEASED)
_TAKE = SQL("DELETE FROM spare_generation WHERE {leased}").format(leased=_LEASED)
_EXPIRE = SQL("""
UPDATE spare_generation SET leased_until = '-infinity' WHERE workspace_id = %s AND generation = %s
""")
_RETIRE = SQL("INSERT INTO spare_generation (workspace_id, generation, leased_until) VALUES (%s, %s, '-infinity')")
_EXPIRED = SQL("SELECT workspace_id, generation FROM spare_generation WHERE leased_until < clock_timestamp()")
_CLAIM_EXPIRED = SQL("""
UPDATE spare_generation AS s SET leased_until = '-infinity'
FROM (
    SELECT workspace_id, generation FROM spare_generation
    WHERE workspace_id = %(workspace_id)s AND generation = %(generation)s
        AND leased_until < statement_timestamp() FOR UPDATE SKIP LOCKED
) AS e
WHERE s.workspace_id = %(workspace_id)s AND s.workspace_id = e.workspace_id AND s.generation = e.generation
""")
_UNREGISTER = SQL("DELETE FROM spare_generation WHERE workspace_id = %s AND generation = %s")
_DELETE_SOME = {
    table: SQL("""
DELETE FROM {table} WHERE ctid IN (
    SELECT ctid FROM {table} WHERE workspace_id = %(workspace_id)s AND generation = %(generation)s LIMIT {limit}
) AND workspace_id = %(workspace_id)s
""").format(table=SQL(table), limit=Literal(_DELETED_AT_ONCE))
    for table in _TABLES
}
_SWITCH_AT_ONCE = SQL("WITH {deleted} {switch}").format(
    deleted=SQL(", ").join(
        SQL("{name} AS (DELETE FROM {table} WHERE workspace_id = %(workspace_id)s AND generation = %(old)s)").format(
            name=SQL(f"old_{table}"), table=SQL(table)
        )
        for table in _TABLES
    ),
    switch=_SWITCH,
)


class ReadRows(NamedTuple):
    """Names the read rows of one generation of one workspace."""

    workspace_id: int
    generation: int


class OtherMeasuresError(Exception):
    """The measures were changed without a new version of the fold, so that stored sums would be misread."""


class SupersededError(Exception):
    """The lease ran out, or the log, what is set aside, or a prospect's name changed: begin again; nothing was lost."""

    def __str__(self) -> str:
        """Return the docstring."""
        return str(self.__doc__)


def new_generation() -> int:
    """Return a random number that names a generation of read rows; it fits a bigint."""
    return secrets.randbits(63)


def declare(database: Database) -> None:
    """Record the names of what this version of the fold sums, before it writes any rows.

    Raises OtherMeasuresError where this version has summed others here.
    """
    measures = [measure.name for measure in MEASURES]
    declared = database.execute(_DECLARED, (FOLD_VERSION,)).fetchone()
    if declared is None:  # only then is it written, for which Citus needs every node
        database.execute(_DECLARE, (FOLD_VERSION, measures))
    elif declared[0] != measures:
        raise OtherMeasuresError(f"version {FOLD_VERSION} of the fold sums other measures here: raise FOLD_VERSION")


def begin(database: Database, workspace_id: int) -> None:
    """Insert a workspace's projection, at position 0, where it has none."""
    database.execute(_BEGIN, (workspace_id, new_generation()))


def begin_again(database: Database, workspace_id: int) -> bool:
    """Let a lost projection be one of nothing yet, where it still is lost; return whether it was."""
    with database.transaction():
        lost = database.execute(_LOCK_LOST, (workspace_id,)).fetchone()
        if lost is None:
            return False
        database.execute(_RETIRE, (workspace_id, lost[0]))
        database.execute(_BEGIN_AGAIN, {"workspace_id": workspace_id, "generation": new_generation()})
    return True


@contextmanager
def spare_rows(database: Database, workspace_id: int) -> Iterator[ReadRows]:
    """Lend a leased generation that no reader sees; where it is not live at the end, it expires and may be swept."""
    rows = ReadRows(workspace_id, new_generation())
    database.execute(_REGISTER, rows)
    try:
        yield rows
    finally:
        if not database.broken:
            database.execute(_EXPIRE, rows)


def extend(database: Database, rows: ReadRows, folded: int, upto: int) -> None:
    """Extend the lease of a generation, and record how many events of how many are in it; raise SupersededError."""
    if database.execute(_EXTEND, {**rows._asdict(), "folded": folded, "upto": upto}).rowcount != 1:
        raise SupersededError


def hold(database: Database, rows: ReadRows) -> None:
    """Keep a generation from being swept until the end of the transaction; raise SupersededError."""
    if database.execute(_HOLD, rows._asdict()).rowcount != 1:
        raise SupersededError


def switch(database: Database, rows: ReadRows, old_generation: int, reached: Mark) -> None:
    """Make a leased generation the live one, in a transaction that has locked the projection; raise SupersededError."""
    if database.execute(_TAKE, rows._asdict()).rowcount != 1:
        raise SupersededError
    database.execute(_RETIRE, (rows.workspace_id, old_generation))
    if database.execute(_SWITCH, {**rows._asdict(), **reached._asdict()}).rowcount != 1:
        raise SupersededError


def switch_at_once(database: Database, rows: ReadRows, old_generation: int, reached: Mark) -> None:
    """Make a generation that was written in this same transaction the live one, and delete the old one's few rows.

    Raises SupersededError.
    """
    parameters = {**rows._asdict(), **reached._asdict(), "old": old_generation}
    if database.execute(_SWITCH_AT_ONCE, parameters).rowcount != 1:
        raise SupersededError


def sweep(pool: Pool) -> None:
    """Delete, in small steps, the read rows of generations that nobody reads or builds any more."""
    with pool.connection() as database:
        for workspace_id, generation in database.execute(_EXPIRED).fetchall():
            rows = {"workspace_id": workspace_id, "generation": generation}
            if database.execute(_CLAIM_EXPIRED, rows).rowcount == 0:
                continue  # it is being built, after all, or swept by somebody else
            for delete in _DELETE_SOME.values():
                while database.execute(delete, rows).rowcount:
                    pass
            database.execute(_UNREGISTER, (workspace_id, generation))
