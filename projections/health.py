"""What the database says of itself to probes and metrics: its clock, whether it takes writes, its tables' sizes."""

from typing import NamedTuple

from psycopg.sql import SQL

from domain.recorder import Database
from projections.statements import Statement

# Ours; another program may have tables beside them.
TABLES = (
    "api_key",
    "api_key_window",
    "campaign",
    "campaign_activity",
    "campaign_key",
    "database_identity",
    "deleted_workspace",
    "fold_version",
    "hook",
    "hook_received",
    "journey",
    "log_head",
    "migration",
    "projection",
    "prospect_key",
    "rejected_event",
    "set_aside",
    "spare_generation",
    "stored_events",
    "workspace",
    "workspace_link",
)
_STATE = SQL("""
SELECT extract(epoch FROM clock_timestamp())::float8, current_setting('transaction_read_only') = 'off'
""")
STATE = Statement("state", _STATE.as_bytes())  # `State`, for the event loop
# It waits for no lock that a migration or TRUNCATE has, and nobody waits for it.
_BRIEFLY = SQL("SELECT set_config('lock_timeout', '100ms', true), set_config('statement_timeout', '1s', true)")
_SIZES = SQL("""
SELECT relname::text, pg_total_relation_size(oid) FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname = ANY(%s)
""")


class State(NamedTuple):
    """The database's clock (s since 1970), and whether it takes writes."""

    clock: float
    writable: bool


def state(database: Database) -> State:
    """Return how the database is; raises psycopg's errors."""
    row = database.execute(_STATE).fetchone()
    assert row is not None  # it always answers
    return State(*row)


def sizes(database: Database) -> dict[str, int]:
    """Return the bytes that each of our tables takes with its indexes; raises psycopg's errors, also for a lock."""
    with database.transaction():
        database.execute(_BRIEFLY)
        return dict(database.execute(_SIZES, (list(TABLES),)).fetchall())


def clock_ahead(asked: float, answered: float, theirs: float) -> float:
    """Return how far our clock is ahead of the database's, negative where it is behind (s).

    Both instants are ours, before and behind its answer. What the way of the question and of its answer may account for
    is left out, so a slow answer looks like no fault of a clock.
    """
    if asked <= theirs <= answered:
        return 0.0
    return asked - theirs if theirs < asked else answered - theirs
