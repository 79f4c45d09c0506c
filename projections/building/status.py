"""How far the read models have come, for operators: per workspace, and all together for probes and metrics."""

from typing import NamedTuple

from psycopg.sql import SQL

from domain.recorder import Database
from projections.statements import Statement

# Of each workspace that is behind, the event that has waited longest, looked up by its whole key.
_WAITING = SQL("""
LEFT JOIN LATERAL (
    SELECT recorded_at FROM stored_events
    WHERE workspace_id = h.workspace_id AND position = coalesce(p.position, 0) + 1 LIMIT 1
) AS e ON h.head > coalesce(p.position, 0)
""")
_IS_LOST = SQL("(p.lost_at IS NOT NULL OR coalesce(p.position > h.head, false))")
_WORKSPACES = SQL("""
SELECT h.workspace_id, h.head, coalesce(p.position, 0), greatest(h.head - coalesce(p.position, 0), 0),
    coalesce(extract(epoch FROM clock_timestamp() - e.recorded_at), 0)::float8, p.rate,
    to_char(p.replayed_at, 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'), h.epoch,
    to_char(h.epoch_since, 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'), {lost}, p.stuck_position, p.stuck_topic, p.stuck_reason
FROM log_head AS h LEFT JOIN projection AS p USING (workspace_id) {waiting}
WHERE h.workspace_id > 0 AND (h.head > 0 OR p.workspace_id IS NOT NULL) ORDER BY h.workspace_id
""").format(waiting=_WAITING, lost=_IS_LOST)
_TOTAL = SQL("""
WITH lag AS (
    SELECT coalesce(sum(greatest(h.head - coalesce(p.position, 0), 0)), 0)::bigint,
        count(*) FILTER (WHERE p.stuck_position IS NOT NULL),
        count(*) FILTER (WHERE {lost}), coalesce(extract(epoch FROM max(h.epoch_since)), 0)::float8,
        coalesce(max(extract(epoch FROM clock_timestamp() - e.recorded_at)), 0)::float8
    FROM log_head AS h LEFT JOIN projection AS p USING (workspace_id) {waiting}
    WHERE h.workspace_id > 0
), aside AS (
    SELECT count(*) FROM set_aside
), building AS (
    SELECT coalesce(sum(folded), 0)::bigint, coalesce(sum(upto), 0)::bigint FROM spare_generation
    WHERE leased_until > clock_timestamp()
)
SELECT * FROM lag, aside, building
""").format(waiting=_WAITING, lost=_IS_LOST)
LAG = Statement("lag", _TOTAL.as_bytes())  # `Lag`, for the event loop


class Stuck(NamedTuple):
    """The event that can't be folded, and why."""

    position: int
    topic: str
    reason: str


class WorkspaceStatus(NamedTuple):
    """How far one workspace's read models are: positions, the lag in events and seconds; `rate` is events a second.

    `epoch_since` is when the log went back, or may have, and began another epoch. `lost` says that the read models are
    of a past that the log no longer has.
    """

    workspace_id: int
    head: int
    position: int
    lag: int
    lag_seconds: float
    rate: int | None
    replayed_at: str | None
    epoch: int
    epoch_since: str | None
    lost: bool
    stuck: Stuck | None


class Lag(NamedTuple):
    """How far behind all read models are together, how many workspaces are stuck or lost, how long the oldest waits."""

    events: int
    stuck: int
    lost: int
    epoch_since: float  # when a log began another epoch than its first, the latest of all; 0 where none has
    seconds: float
    set_aside: int
    replay_folded: int  # events, of the replays that are at work
    replay_upto: int


def workspaces(database: Database) -> list[WorkspaceStatus]:
    """Return the status of every workspace that has a log."""
    statuses = []
    for *columns, position, topic, reason in database.execute(_WORKSPACES):
        stuck = None if position is None else Stuck(position, topic, reason)
        statuses.append(WorkspaceStatus._make([*columns, stuck]))
    return statuses


def lag(database: Database) -> Lag:
    """Return how far behind the projection is."""
    row = database.execute(_TOTAL).fetchone()
    assert row is not None  # an aggregate always answers
    return Lag(*row)
