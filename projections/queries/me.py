"""Who is calling, and every workspace that they may see: what a workspace picker shows."""

from typing import NamedTuple

from psycopg.sql import SQL

from domain.recorder import Database
from projections.queries.caller import CALLER, SEEN, Asked, Credentials, Sealed, parameters

_ME = SQL("""
{seen}
SELECT {caller}, l.workspace_id, l.current, w.name
FROM caller AS c
LEFT JOIN seen AS s ON true
LEFT JOIN workspace_link AS l ON l.user_id = c.user_id AND l.workspace_id = s.workspace_id
LEFT JOIN workspace AS w ON w.workspace_id = s.workspace_id
ORDER BY l.workspace_id
""").format(seen=SEEN, caller=CALLER)


class LinkedWorkspace(NamedTuple):
    """A workspace that the caller may see."""

    id: int
    name: str
    is_current: bool


class Me(NamedTuple):
    """Who is calling; a session has no scopes and no expiry (ms, UTC) of a key."""

    user_id: str
    scopes: list[str] | None
    expires_at: int | None
    workspaces: list[LinkedWorkspace]


def me(database: Database, credentials: Credentials) -> Sealed[Me]:
    """Return who is calling and what they are linked to; an unnamed workspace is called by its number."""
    rows = database.execute(_ME, parameters(credentials, Asked(every=True))).fetchall()
    if not rows:
        return Sealed(None, None)
    user_id, _, scopes, expires_at = rows[0][:4]
    linked = [LinkedWorkspace(row[4], row[6] or f"Workspace {row[4]}", row[5]) for row in rows if row[4] is not None]
    return Sealed(rows[0], Me(user_id, scopes, expires_at, linked))
