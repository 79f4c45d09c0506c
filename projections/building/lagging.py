"""Which workspaces lag behind their logs, and so wait for the projector; also while a node of the database is away."""

import logging
import time
from typing import NamedTuple

from psycopg import Error
from psycopg.sql import SQL, Literal

from domain.citus import is_distributed
from domain.recorder import Database
from projections.marks import Mark
from projections.metrics import FOLD_VERSION
from projections.trouble import Trouble

STUCK_RETRY_SECONDS = 5
LIST_AGAIN_SECONDS = 5.0  # after a node of a distributed database has failed

logger = logging.getLogger(__name__)

# No lock is taken here. The workspace that was served longest ago comes first, so none starves.
_LAGGING_WHERE = SQL("""
SELECT h.workspace_id, p.workspace_id IS NULL, p.stuck_position IS NOT NULL, coalesce(p.mark_position, 0),
    coalesce(p.mark, 0)
FROM log_head AS h LEFT JOIN projection AS p USING (workspace_id)
WHERE {which} AND h.head > coalesce(p.position, 0) AND coalesce(p.fold_version, {version}) = {version}
    AND p.lost_at IS NULL
    AND (p.stuck_position IS NULL OR p.projected_at < clock_timestamp() - make_interval(secs => {retry}))
ORDER BY p.projected_at NULLS FIRST
""")
_LAGGING, _IS_LAGGING = (
    _LAGGING_WHERE.format(version=Literal(FOLD_VERSION), retry=Literal(STUCK_RETRY_SECONDS), which=which)
    for which in (SQL("h.workspace_id > 0"), SQL("h.workspace_id = %(workspace_id)s"))
)


class Lagging(NamedTuple):
    """A workspace that lags: whether it was never projected, whether it is stuck, and up to where it is."""

    workspace_id: int
    new: bool
    stuck: bool
    reached: Mark


class Listing:
    """The list of workspaces that lag."""

    def __init__(self) -> None:
        """Begin with all nodes there."""
        self._trouble = Trouble(
            logger,
            "workspaces are projected one by one: not all nodes of the database answer",
            "all nodes of the database answer again",
        )
        self._again_at = float("-inf")  # of the monotonic clock

    def read(self, database: Database) -> list[Lagging] | None:
        """Return the workspaces that lag; None where Citus distributes them and a node is away.

        Raises psycopg's errors, where the database is distributed only those of a lost connection.
        """
        if time.monotonic() < self._again_at:
            return None
        try:
            rows = database.execute(_LAGGING).fetchall()
        except Error as error:
            if database.broken or not is_distributed(database):
                raise
            self._trouble.met(error)
            self._again_at = time.monotonic() + LIST_AGAIN_SECONDS
            return None
        self._trouble.over()
        return [_row(*row) for row in rows]

    def find(self, database: Database, workspace_id: int) -> Lagging | None:
        """Return one workspace where it lags; raises psycopg's errors."""
        row = database.execute(_IS_LAGGING, {"workspace_id": workspace_id}).fetchone()
        return None if row is None else _row(*row)


def _row(workspace_id: int, new: bool, stuck: bool, position: int, mark: int) -> Lagging:  # noqa: FBT001 (columns)
    return Lagging(workspace_id, new, stuck, Mark(position, mark))
