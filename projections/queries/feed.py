"""The log itself, as its readers take it: in order, a page at a time, without gaps."""

from typing import NamedTuple

from psycopg.sql import SQL

from domain.ledger import LogRow
from domain.recorder import Database
from projections.queries.caller import SEEN, Asked, Caller, Credentials, parameters

# One snapshot: positions are given out under a lock that is held until the commit, so what it shows has no gap.
_PAGE = SQL("""
{seen}
SELECT c.user_id, c.secret_sha256, c.scopes, c.expires_at, s.workspace_id, coalesce(h.head, 0),
    e.position, e.topic, e.state, floor(extract(epoch FROM e.recorded_at) * 1000)::bigint
FROM caller AS c
LEFT JOIN seen AS s ON true
LEFT JOIN log_head AS h ON h.workspace_id = s.workspace_id
LEFT JOIN LATERAL (
    SELECT position, topic, state, recorded_at FROM stored_events
    WHERE workspace_id = s.workspace_id AND position > %(after)s ORDER BY position LIMIT %(limit)s
) AS e ON true
ORDER BY e.position
""").format(seen=SEEN)


class Page(NamedTuple):
    """A stretch of a workspace's log, with the times of recording (ms, UTC), and the log's head."""

    workspace_id: int
    head: int
    rows: list[tuple[LogRow, int]]


def page(
    database: Database, credentials: Credentials, asked: Asked, after: int, limit: int
) -> tuple[Caller | None, Page | None]:
    """Return who is calling, and what comes behind a position of the asked log where they may see it.

    The caller of this function must compare the key's secret before it uses or shows anything else of the answer.
    """
    given = {**parameters(credentials, asked), "after": after, "limit": limit}
    with database.cursor(binary=True) as cursor:
        rows = cursor.execute(_PAGE, given).fetchall()
    if not rows:
        return None, None
    caller = Caller(*rows[0][:4])
    if rows[0][4] is None:
        return caller, None
    found = [(LogRow(*row[6:9]), row[9]) for row in rows if row[6] is not None]
    return caller, Page(rows[0][4], rows[0][5], found)
