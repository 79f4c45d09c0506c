"""How far the read models have come, for operators: per workspace, and all together for probes and metrics."""

from typing import NamedTuple

from psycopg.sql import SQL

from domain.recorder import Database

_WORKSPACES = SQL("""
SELECT h.workspace_id, h.head, coalesce(p.position, 0), h.head - coalesce(p.position, 0),
    p.stuck_position, p.stuck_reason
FROM log_head AS h LEFT JOIN projection AS p USING (workspace_id)
WHERE h.workspace_id > 0 ORDER BY h.workspace_id
""")
_TOTAL = SQL("""
SELECT coalesce(sum(h.head - coalesce(p.position, 0)), 0)::bigint,
    count(*) FILTER (WHERE p.stuck_position IS NOT NULL),
    coalesce(max(extract(epoch FROM clock_timestamp() - e.recorded_at)), 0)::float8
FROM log_head AS h LEFT JOIN projection AS p USING (workspace_id)
LEFT JOIN LATERAL (
    SELECT recorded_at FROM stored_events
    WHERE workspace_id = h.workspace_id AND position = coalesce(p.position, 0) + 1 LIMIT 1
) AS e ON h.head > coalesce(p.position, 0)
WHERE h.workspace_id > 0
""")


class WorkspaceStatus(NamedTuple):
    """How far one workspace's read models have come: positions, events, and why they are stuck, if they are."""

    workspace_id: int
    head: int
    position: int
    lag: int
    stuck_position: int | None
    stuck_reason: str | None


class Lag(NamedTuple):
    """How far behind all read models are together, how many workspaces are stuck, and since when the oldest waits."""

    events: int
    stuck: int
    seconds: float


def workspaces(database: Database) -> list[WorkspaceStatus]:
    """Return the status of every workspace that has a log."""
    return [WorkspaceStatus(*row) for row in database.execute(_WORKSPACES)]


def lag(database: Database) -> Lag:
    """Return how far behind the projection is."""
    row = database.execute(_TOTAL).fetchone()
    assert row is not None  # an aggregate always answers
    return Lag(*row)
