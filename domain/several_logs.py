"""Appends to the logs of several workspaces in one transaction, which waits for no lock.

A commit waits for the disk, however many workspaces it is about. A workspace whose head somebody else holds, whose
log is new, or whose condition does not hold is left out: it is appended to by itself (`domain.recorder`).
"""

from collections.abc import Mapping

from psycopg.sql import SQL

from domain.recorder import Rows

# It waits for no head, so unlike `domain.recorder.APPEND` it needs no lock before it: what it sees of the rest of the
# database is as of when it was sent, not of before a wait. `allowed` names the workspaces to which as many writers may
# write as are asked for. The head that is moved is the latest one, also where that is younger than the statement.
APPEND_TO_SEVERAL = SQL("""
WITH asked AS (
    SELECT a.workspace_id, a.count
    FROM set_config('synchronous_commit', 'on', true),
        unnest(%(workspaces)b::bigint[], %(counts)b::bigint[]) AS a (workspace_id, count)
), allowed AS ({allowed}), held AS MATERIALIZED (
    SELECT l.workspace_id FROM log_head AS l
    WHERE l.workspace_id = ANY (%(workspaces)b::bigint[])
        AND l.workspace_id IN (SELECT workspace_id FROM allowed)
    FOR UPDATE OF l SKIP LOCKED
), moved AS (
    UPDATE log_head AS l SET head = l.head + a.count
    FROM held AS h JOIN asked AS a USING (workspace_id)
    WHERE l.workspace_id = h.workspace_id
    RETURNING l.workspace_id, l.head, a.count, clock_timestamp() AS recorded_at
), stored AS (
    INSERT INTO stored_events
        (workspace_id, originator_id, originator_version, topic, state, position, recorded_at)
    SELECT m.workspace_id, encode(e.originator_id, 'hex')::uuid, e.originator_version, e.topic, e.state,
           m.head - m.count + e.place, m.recorded_at
    FROM moved AS m JOIN unnest(
        %(event_workspaces)b::bigint[], %(places)b::bigint[], %(ids)b::bytea[], %(versions)b::bigint[],
        %(topics)b::text[], %(states)b::bytea[]
    ) AS e (workspace_id, place, originator_id, originator_version, topic, state) USING (workspace_id)
)
SELECT workspace_id, head FROM moved
""")


def parameters_of_several(rows: Mapping[int, Rows]) -> dict[str, object]:
    """Return the parameters of `APPEND_TO_SEVERAL`, but for those of `allowed`, from each workspace's events."""
    counts = {workspace_id: len(each.ids) for workspace_id, each in rows.items()}
    together = Rows(
        *([value for column in columns for value in column] for columns in zip(*rows.values(), strict=True))
    )
    return {
        "workspaces": list(counts),
        "counts": list(counts.values()),
        "event_workspaces": [workspace_id for workspace_id, count in counts.items() for _ in range(count)],
        "places": [place for count in counts.values() for place in range(1, count + 1)],
        **together._asdict(),
    }
