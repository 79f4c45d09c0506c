"""Events that an operator has set aside because they can't be folded: recorded, shown, and left out by every replay."""

from typing import NamedTuple

from psycopg.sql import SQL

from domain import ledger
from domain.recorder import Database
from projections.building.batch import fault

_POSITIONS = SQL("SELECT position FROM set_aside WHERE workspace_id = %s")
_LISTED = SQL("""
SELECT workspace_id, position, topic, fault, reason, to_char(at, 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'), by
FROM set_aside ORDER BY workspace_id, position
""")
# Every fold locks this row first, so an event is set aside before a batch or after it.
_LOCK = SQL("SELECT position FROM projection WHERE workspace_id = %s FOR UPDATE")
_PUT = SQL("""
INSERT INTO set_aside (workspace_id, position, topic, fault, reason, at, by)
VALUES (%s, %s, %s, %s, %s, clock_timestamp(), %s) ON CONFLICT (workspace_id, position) DO NOTHING
""")
_TRY_AT_ONCE = SQL("UPDATE projection SET projected_at = '-infinity' WHERE workspace_id = %s")
_REMOVE = SQL("DELETE FROM set_aside WHERE workspace_id = %s AND position = %s")


class SetAside(NamedTuple):
    """An event that was set aside: why it can't be folded (`fault`), and why, when (RFC 3339, UTC) and by whom."""

    workspace_id: int
    position: int
    topic: str
    fault: str
    reason: str
    at: str
    by: str


class SetAsideError(Exception):
    """The event can't be set aside, or is not; the text says why."""


def positions(database: Database, workspace_id: int) -> frozenset[int]:
    """Return the positions that are not folded."""
    return frozenset(position for (position,) in database.execute(_POSITIONS, (workspace_id,)))


def listed(database: Database) -> list[SetAside]:
    """Return everything that is set aside, by workspace and position."""
    return [SetAside(*row) for row in database.execute(_LISTED)]


def put(database: Database, workspace_id: int, position: int, *, reason: str, by: str) -> bool:
    """Set an event aside; return whether it is in the numbers already, so that only a replay takes it out of them.

    Raises SetAsideError where there is none, where it can be folded, and where it already is.
    """
    with database.transaction():
        locked = database.execute(_LOCK, (workspace_id,)).fetchone()
        log = ledger.read(database, workspace_id, after=position - 1, upto=position, limit=1)
        if not log:
            msg = f"workspace {workspace_id} has no event at position {position}"
            raise SetAsideError(msg)
        why = fault(log[0])
        if why is None:
            msg = f"position {position} of workspace {workspace_id} can be folded; damaged rows are mended by replay"
            raise SetAsideError(msg)
        if not database.execute(_PUT, (workspace_id, position, log[0].topic, why, reason, by)).rowcount:
            msg = f"position {position} of workspace {workspace_id} is set aside already"
            raise SetAsideError(msg)
        database.execute(_TRY_AT_ONCE, (workspace_id,))
    return locked is not None and locked[0] >= position


def remove(database: Database, workspace_id: int, position: int) -> None:
    """Take a mark away, in the transaction in which rows that include the event become the live ones."""
    database.execute(_REMOVE, (workspace_id, position))
